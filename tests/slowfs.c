/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The test's side of slowfs.h: starts the server, gives it orders, reads its counts.
 *
 * The mount is made in a private mount namespace where that is allowed, so that it goes away with
 * the processes that see it even if the server is killed.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "slowfs-shared.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

static struct slowfs_shared *shared;
static int wake_fd = -1;
static char directory[] = "/tmp/slowfs-XXXXXX";

#ifdef HAVE_FUSE

static int await_mount(void)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    int state;

    while (!(state = atomic_load(&shared->state)))
        nanosleep(&moment, NULL);
    return state < 0 ? state : 0;
}

int slowfs_start(void)
{
    pid_t parent = getpid(), child;

    if (access("/dev/fuse", R_OK | W_OK))
        return -errno;
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return -errno;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0 || !mkdtemp(directory))
        return -errno;
    if (!unshare(CLONE_NEWNS))
        mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL);
    child = fork();
    if (child < 0)
        return -errno;
    if (!child)
        slowfs_serve(shared, wake_fd, directory, parent);
    return await_mount();
}

#else

int slowfs_start(void)
{
    return -ENOSYS;
}

#endif

int slowfs_open(int file, int flags)
{
    char path[sizeof(directory) + 16];
    int fd;

    snprintf(path, sizeof(path), "%s/%d", directory, file);
    fd = open(path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static void wake(void)
{
    eventfd_write(wake_fd, 1);
}

void slowfs_hold(enum slowfs_op op, unsigned int count)
{
    atomic_store(&shared->orders[op].hold, count);
}

void slowfs_release(enum slowfs_op op, unsigned int count)
{
    atomic_fetch_add(&shared->orders[op].release, count);
    wake();
}

void slowfs_fail(enum slowfs_op op, unsigned int count, int error)
{
    atomic_store(&shared->orders[op].fail_error, error);
    atomic_store(&shared->orders[op].fail, count);
}

void slowfs_shorten(enum slowfs_op op, unsigned int count, size_t length)
{
    atomic_store(&shared->orders[op].shorten_length, length);
    atomic_store(&shared->orders[op].shorten, count);
}

void slowfs_delay(enum slowfs_op op, unsigned int milliseconds)
{
    atomic_store(&shared->orders[op].delay, milliseconds);
}

unsigned int slowfs_arrived(enum slowfs_op op)
{
    return (unsigned int) (atomic_load(&shared->orders[op].arrived) % SLOWFS_ONE_HELD);
}

unsigned int slowfs_held(enum slowfs_op op)
{
    return (unsigned int) (atomic_load(&shared->orders[op].arrived) / SLOWFS_ONE_HELD);
}

unsigned int slowfs_finished(enum slowfs_op op)
{
    return atomic_load(&shared->orders[op].finished);
}

struct slowfs_record slowfs_record(unsigned int i)
{
    return shared->record[i % SLOWFS_RECORDS];
}

unsigned char *slowfs_data(int file)
{
    return shared->data[file];
}

size_t slowfs_size(int file)
{
    return atomic_load(&shared->size[file]);
}

void slowfs_set_size(int file, size_t size)
{
    atomic_store(&shared->size[file], size);
}
