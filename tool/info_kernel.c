/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the kernel offers to this process, by trying.
 */
#include "info.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "process.h"

/* The value of a line "NAME:\tVALUE" of a file, or with no name all of it, or "". */
static void read_value(const char *path, const char *name, char *value, size_t size)
{
    FILE *file = fopen(path, "re");
    size_t length = strlen(name);
    char line[256];

    value[0] = '\0';
    while (file && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, name, length) == 0) {
            snprintf(value, size, "%s", line + length + strspn(line + length, "\t "));
            break;
        }
    }
    if (file)
        fclose(file);
}

/* 0, or -errno: a poll by io_submit completes, and signals an eventfd, as the library needs it. */
static int try_submit(io_context_t context)
{
    int fd = eventfd(0, EFD_CLOEXEC), n;
    struct timespec second = { 1, 0 };
    struct iocb poll, *iocb = &poll;
    struct io_event event;

    if (fd < 0)
        return -errno;
    io_prep_poll(&poll, fd, POLLOUT);
    io_set_eventfd(&poll, fd);
    n = io_submit(context, 1, &iocb);
    if (n == 1)
        n = io_getevents(context, 1, 1, &event, &second);
    close(fd);
    return n == 1 ? 0 : n < 0 ? n : -ETIME;
}

/* What may be behind an error of io_setup. */
static const char *explain_setup(int error)
{
    switch (-error) {
    case EAGAIN: return "fs.aio-max-nr is used up";
    case EPERM: return "a seccomp filter forbids it, as some containers have one";
    case ENOSYS: return "the kernel has no AIO, or a seccomp filter hides it";
    case ENOMEM: return "memory is short";
    default: return strerror(-error);
    }
}

static void print_aio(void)
{
    io_context_t context = NULL;
    int error = io_setup(8, &context);

    if (error) {
        info_line("io_setup", "fails: %s (%s)", strerrorname_np(-error), explain_setup(error));
        return;
    }
    info_line("io_setup", "works");
    error = try_submit(context);
    io_destroy(context);
    if (error)
        info_line("io_submit", "fails: %s", strerrorname_np(-error));
    else
        info_line("io_submit", "works");
}

/* Of kernels and filesystems: tried on the one where this program is. */
static void print_nowait(void)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    char byte, filesystem[256];
    struct iovec vector = { &byte, 1 };

    if (fd < 0)
        return;
    info_filesystem(fd, filesystem, sizeof filesystem);
    if (preadv2(fd, &vector, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN)
        info_line("RWF_NOWAIT", "works on %s, where this program is", filesystem);
    else
        info_line("RWF_NOWAIT", "fails on %s, where this program is: %s", filesystem,
                  strerrorname_np(errno));
    close(fd);
}

static void print_epoll(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd < 0)
        info_line("epoll", "fails: %s", strerrorname_np(errno));
    else
        info_line("epoll", "works");
    if (fd >= 0)
        close(fd);
}

static void print_limits(void)
{
    char used[32], most[32], buffered[32], seccomp[32];

    read_value("/proc/sys/fs/aio-nr", "", used, sizeof used);
    read_value("/proc/sys/fs/aio-max-nr", "", most, sizeof most);
    read_value("/proc/sys/fs/aio-buffered", "", buffered, sizeof buffered);
    read_value("/proc/self/status", "Seccomp:", seccomp, sizeof seccomp);
    info_line("fs.aio-nr", "%s", used[0] ? used : "cannot be read");
    info_line("fs.aio-max-nr", "%s%s", most[0] ? most : "cannot be read",
              most[0] && strtoul(most, NULL, 10) < strtoul(used, NULL, 10) + 1024 ?
                  ": too little for another process's 1024" : "");
    info_line("fs.aio-buffered", "%s", buffered[0] ? buffered : "not there: io_submit waits in buffered reads");
    info_line("seccomp", "%s", strcmp(seccomp, "2") == 0 ? "a filter" :
                               strcmp(seccomp, "1") == 0 ? "strict" : "no filter");
}

void info_kernel(void)
{
    struct utsname kernel;

    uname(&kernel);
    info_line("kernel", "%s %s %s", kernel.sysname, kernel.release, kernel.machine);
    print_aio();
    print_nowait();
    print_epoll();
    print_limits();
}
