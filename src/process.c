/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Starting: on the first call that submits, once per process. A forked child finds the page of
 * paio_alive wiped, and starts anew: every part forgets what it has (paio_*_reset), for the
 * threads, the ring and the requests that it remembers are its parent's. vfork and clone with
 * CLONE_VM share the parent's memory, page included, and change nothing.
 *
 * Starting is guarded by a futex word, not a mutex, so that a child forked while another thread
 * was starting is not stuck: it compares the word with its own process number.
 *
 * Private descriptors: a table of slots, each the address of the number's home, so that the
 * close family can tell them, and dup2 move them out of its way.
 */
#include "process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "completion.h"
#include "engine_kernel.h"
#include "engine_pool.h"
#include "file.h"
#include "finish.h"
#include "habit.h"
#include "inbox.h"
#include "memory.h"
#include "notify.h"
#include "request.h"
#include "stats.h"
#include "waiter.h"

enum { HIGHEST = 65536 };

struct paio_settings paio_settings;
_Atomic(struct paio_alive *) paio_alive;

static _Atomic uint32_t starting; /* the process that is starting the library */
static uint32_t starts;           /* of whoever is starting: how many there were, in all ancestors */
static _Atomic(_Atomic int *) private_slot[PAIO_PRIVATE];

void paio_private_keep(int fd, _Atomic int *slot)
{
    struct rlimit limit;
    int high = -1;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur > 64)
        high = fcntl(fd, F_DUPFD_CLOEXEC,
                     limit.rlim_cur < HIGHEST ? (int) limit.rlim_cur - 32 : HIGHEST - 32);
    if (high >= 0) {
        paio_close(fd);
        fd = high;
    }
    atomic_store(slot, fd);
    /* There is room for all of them. */
    for (unsigned i = 0; i < PAIO_PRIVATE; i++) {
        _Atomic int *none = NULL;

        if (atomic_load(&private_slot[i]) == slot ||
            atomic_compare_exchange_strong(&private_slot[i], &none, slot))
            return;
    }
}

/* Is fd an eventfd or an epoll set, as all of the library's are? */
static bool is_anonymous(int fd)
{
    static const char kind[] = "anon_inode:[event";
    char path[32], link[32];
    ssize_t n;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    n = readlink(path, link, sizeof link);
    return n >= (ssize_t) sizeof kind - 1 && memcmp(link, kind, sizeof kind - 1) == 0;
}

void paio_private_close(_Atomic int *slot)
{
    int fd = atomic_exchange(slot, -1);

    /* A forked child may have closed it unseen, and have the number for something else. */
    if (fd >= 0 && is_anonymous(fd))
        paio_close(fd);
}

int paio_private_number(unsigned i)
{
    _Atomic int *slot = atomic_load_explicit(&private_slot[i], memory_order_acquire);

    return slot ? atomic_load_explicit(slot, memory_order_relaxed) : -1;
}

_Atomic int *paio_private_find(int fd)
{
    for (unsigned i = 0; i < PAIO_PRIVATE; i++)
        if (paio_private_number(i) == fd)
            return atomic_load_explicit(&private_slot[i], memory_order_relaxed);
    return NULL;
}

/* A number from a file of the kernel's, or 0. */
static int read_number(const char *path)
{
    char text[16] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = '\0';
    paio_close(fd);
    return atoi(text);
}

static void read_environment(void)
{
    const char *engine = secure_getenv("LIBPOSIX_AIO_ENGINE");
    const char *order = secure_getenv("LIBPOSIX_AIO_ORDER");

    paio_settings.kernel_wanted = !engine || strcmp(engine, "pool") != 0;
    paio_settings.kernel_forced = engine && strcmp(engine, "kernel") == 0;
    paio_settings.descriptor_order = order && strcmp(order, "descriptor") == 0;
}

static void reset(void)
{
    paio_stats_forget();
    paio_memory_reset();
    paio_request_reset();
    paio_descriptor_reset();
    paio_file_reset();
    paio_notify_reset();
    paio_waiter_reset();
    paio_pool_reset(paio_finish_attend);
    paio_completion_reset();
    paio_kernel_reset();
    paio_finish_reset();
    paio_inbox_reset();
}

static void start(void)
{
    char *reason = paio_settings.reason;
    int error = 0;

    reset();
    read_environment();
    paio_settings.owner = getpid();
    reason[0] = '\0';
    if (!paio_settings.kernel_wanted)
        snprintf(reason, sizeof paio_settings.reason, "LIBPOSIX_AIO_ENGINE=pool");
    else if ((error = paio_kernel_start()) < 0)
        snprintf(reason, sizeof paio_settings.reason, "kernel AIO: %s", strerrorname_np(-error));
    paio_settings.kernel = paio_settings.kernel_wanted && !error;
    paio_settings.buffered = paio_settings.kernel && read_number("/proc/sys/fs/aio-buffered") == 1;
    paio_stats_start(paio_settings.kernel ? "kernel" : "pool", reason);
}

/* The page that a forked child finds wiped. Without one (before Linux 4.14) forks go unseen. */
static struct paio_alive *make_alive(void)
{
    struct paio_alive *alive = atomic_load(&paio_alive);

    if (alive)
        return alive;
    alive = mmap(NULL, sizeof *alive, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (alive == MAP_FAILED) {
        static struct paio_alive last_resort;

        return &last_resort;
    }
    madvise(alive, sizeof *alive, MADV_WIPEONFORK);
    return alive;
}

void paio_process_start_slowly(void)
{
    uint32_t self = (uint32_t) getpid(), seen;
    int saved_errno = errno;
    struct paio_alive *alive;
    struct paio_signals saved;

    paio_signals_block(&saved);
    /* Whatever number is there that is not ours was left behind by a fork. */
    for (;;) {
        seen = atomic_load(&starting);
        if (seen == self)
            paio_futex_wait(&starting, self, NULL);
        else if (atomic_compare_exchange_strong(&starting, &seen, self))
            break;
    }
    if (!paio_process_started()) {
        alive = make_alive();
        atomic_store_explicit(&paio_alive, alive, memory_order_release);
        start();
        atomic_store_explicit(&alive->started, ++starts, memory_order_release);
    }
    atomic_store(&starting, 0);
    paio_futex_wake(&starting, INT32_MAX);
    paio_signals_restore(&saved);
    errno = saved_errno;
}

/*
 * Accepted writes to regular files are carried out before the process ends. Everything goes on
 * by itself; this only waits, and helps with what nobody reaps. What is in the inbox is put in order
 * first: a write that is not may be that of a call which this very thread, in a handler, interrupts.
 */
static __attribute__((destructor)) void finish_writes(void)
{
    const struct timespec pause = { .tv_nsec = 200000 };

    paio_habit_broken();
    while (paio_process_started()) {
        paio_finish_reap();
        if (!paio_request_any(true))
            return;
        nanosleep(&pause, NULL);
    }
}
