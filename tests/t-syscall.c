/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stand-in for the C library's syscall: see t-syscall.h. It is there from the first call of the process, where a sanitizer
 * cannot watch yet.
 */
#include "t-syscall.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic(t_syscall_watcher *) watching;
static atomic_bool missing;

/* It passes on six arguments, also where there are fewer. */
__attribute__((no_sanitize("address", "thread"))) long syscall(long number, ...)
{
    /* Looked up before a handler could find the loader's lock taken. */
    static _Atomic(long (*)(long, ...)) found;
    long (*next)(long, ...) = atomic_load(&found);
    t_syscall_watcher *watcher = atomic_load(&watching);
    long arguments[6], result;
    bool missed;
    va_list list;

    if (!next)
        atomic_store(&found, next = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall"));
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (watcher)
        watcher(number, false);
    /* At a position: a stream has no page cache. */
    missed = number == SYS_preadv2 && arguments[5] & RWF_NOWAIT && arguments[3] >= 0 && atomic_load(&missing);
    result = missed ? -1 : next(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    if (watcher)
        watcher(number, true);
    if (missed)
        errno = EAGAIN;
    return result;
}

void t_watch_syscalls(t_syscall_watcher *watcher)
{
    syscall(SYS_getpid);
    atomic_store(&watching, watcher);
}

void t_miss_the_page_cache(bool from_now_on)
{
    syscall(SYS_getpid);
    atomic_store(&missing, from_now_on);
}
