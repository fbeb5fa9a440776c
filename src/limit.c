/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * To ask the kernel takes a tenth of what a buffered write of 4 KiB takes. So for writes that the caller carries out, or
 * gives to the kernel, each thread remembers the answer for a moment, or until the process sets limits: the functions
 * that do it are interposed, in the shared library only. Plain system calls and other processes (prlimit(1)) are seen
 * when the moment is over. Where the functions are another's (dlopen, a sandbox) the kernel is asked each time.
 */
#include "limit.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <ulimit.h>

rlim_t paio_limit(void)
{
    struct rlimit limit;

#ifdef SYS_getrlimit
    /* At half the price of prlimit64, by which the C library asks. */
    if (syscall(SYS_getrlimit, RLIMIT_FSIZE, &limit) == 0)
        return limit.rlim_cur;
#endif
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

#ifdef PIC

enum { MOMENT = 50000 }; /* nanoseconds */

static _Atomic uint32_t changes; /* twice for each call that sets a limit: before and after */

static __thread struct {
    rlim_t limit;
    uint64_t asked;
    uint32_t changes; /* before it was asked for */
} last __attribute__((tls_model("initial-exec")));

/* ThreadSanitizer's runtime sets limits before it can look at anything. */
#ifdef __SANITIZE_THREAD__
#define UNWATCHED __attribute__((no_sanitize_thread))
#else
#define UNWATCHED
#endif

/*
 * Whoever asks meanwhile asks again when it is over; and at once if it is not over for him, because he is a handler
 * that has come in between, or it has jumped out.
 */
UNWATCHED static int set(pid_t process, int resource, const struct rlimit *limit, struct rlimit *old)
{
    int result;

    atomic_fetch_add(&changes, 1);
    result = (int) syscall(SYS_prlimit64, process, resource, limit, old);
    atomic_fetch_add(&changes, 1);
    return result;
}

/* setrlimit(2), prlimit(2), ulimit(3). On LP64 there is one struct rlimit, which is the kernel's. */

UNWATCHED static int set_own(int resource, const struct rlimit *limit)
{
    return set(0, resource, limit, NULL);
}

UNWATCHED static int set_any(pid_t process, int resource, const struct rlimit *limit, struct rlimit *old)
{
    return set(process, resource, limit, old);
}

PAIO_ALIAS(set_own) int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit);
PAIO_ALIAS(set_own) int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit);
PAIO_ALIAS(set_any) int prlimit(pid_t process, enum __rlimit_resource resource, const struct rlimit *limit,
                                struct rlimit *old);
PAIO_ALIAS(set_any) int prlimit64(pid_t process, enum __rlimit_resource resource, const struct rlimit64 *limit,
                                  struct rlimit64 *old);

/* Does the process set limits by these? The addresses are what the dynamic linker has found. */
static bool interposed(void)
{
    static void *const volatile found[] = { (void *) setrlimit, (void *) prlimit };

    return found[0] == (void *) set_own && found[1] == (void *) set_any;
}

rlim_t paio_limit_lately(uint64_t now)
{
    uint32_t before = atomic_load(&changes);

    if (!interposed() || last.changes != before || !last.asked || now - last.asked > MOMENT) {
        last.limit = paio_limit();
        last.asked = now;
        last.changes = before;
    }
    return last.limit;
}

PAIO_EXPORT long ulimit(int command, ...)
{
    static long (*_Atomic real)(int, ...);
    va_list arguments;
    long value = 0;

    if (!real)
        real = (long (*)(int, ...)) dlsym(RTLD_NEXT, "ulimit");
    va_start(arguments, command);
    if (command == UL_SETFSIZE)
        value = va_arg(arguments, long);
    va_end(arguments);
    atomic_fetch_add(&changes, 1);
    value = real(command, value);
    atomic_fetch_add(&changes, 1);
    return value;
}

#else

rlim_t paio_limit_lately(uint64_t now)
{
    (void) now;
    return paio_limit();
}

#endif
