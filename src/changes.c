/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The functions by which a process changes the flags of its descriptors (F_SETFL) and its limits. Each does
 * what the C library's does, and then counts the change: whoever counts on an older answer has it from
 * before. They are as async-signal-safe as those they stand for, and fcntl is a cancellation point where
 * that is.
 */
#include "changes.h"

#ifdef PIC

#include <fcntl.h>
#include <stdarg.h>
#include <sys/resource.h>

/* ThreadSanitizer's runtime calls them before it is ready for what it adds to functions. */
#define EARLY PAIO_EXPORT __attribute__((no_sanitize("thread")))

/* The C library's own name of it. */
extern int __fcntl(int fd, int command, ...);

static _Atomic uint32_t changes;

uint64_t paio_changes_moment(void)
{
    struct timespec t;
    uint64_t ticks;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    /* Microseconds: a tick takes a thousand of them, and more changes than that it does not see. */
    ticks = (uint64_t) t.tv_sec * 1000000u + (uint64_t) t.tv_nsec / 1000u;
    return (ticks << 16 | (atomic_load(&changes) & 0xffff)) + 1;
}

EARLY int fcntl(int fd, int command, ...)
{
    void *argument;
    va_list list;
    int result;

    /* Whatever it is, if it is there: as the C library takes it. */
    va_start(list, command);
    argument = va_arg(list, void *);
    va_end(list);
    result = __fcntl(fd, command, argument);
    if (command == F_SETFL)
        atomic_fetch_add(&changes, 1);
    return result;
}

EARLY int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
    int result = (int) syscall(SYS_prlimit64, 0, resource, limit, NULL);

    atomic_fetch_add(&changes, 1);
    return result;
}

EARLY int prlimit(pid_t process, enum __rlimit_resource resource, const struct rlimit *fresh,
                  struct rlimit *old)
{
    int result = (int) syscall(SYS_prlimit64, process, resource, fresh, old);

    if (fresh)
        atomic_fetch_add(&changes, 1);
    return result;
}

_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "one layout for both interfaces");

/* The types differ in name only. */
#pragma GCC diagnostic ignored "-Wattribute-alias"
__attribute__((alias("fcntl"), visibility("default"))) int fcntl64(int fd, int command, ...);
__attribute__((alias("setrlimit"), visibility("default"))) int
setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit);
__attribute__((alias("prlimit"), visibility("default"))) int
prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *fresh,
          struct rlimit64 *old);

#else

uint64_t paio_changes_moment(void)
{
    static _Atomic uint64_t moments;

    return atomic_fetch_add(&moments, 1) + 1;
}

#endif
