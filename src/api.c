/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The API floor: the functions of <aio.h> for single requests, and ours. Here, in lio.c, close.c
 * and limit.c are errno and -1; below, results are bytes or -errno. Each function of <aio.h> has its
 * *64 twin as an alias: on LP64 the two are the same.
 *
 * aio_error, aio_return and aio_suspend are async-signal-safe. aio_error reads the status word;
 * if the request is in progress and the kernel's ring has completions, it takes and publishes
 * them, which needs no lock.
 */
#include <aio.h>
#include <fcntl.h>
#include <string.h>

#include "posix-aio.h"

#include "cancel.h"
#include "completion.h"
#include "engine_kernel.h"
#include "engine_pool.h"
#include "habit.h"
#include "perform.h"
#include "submit.h"
#include "waiter.h"

/* Requests that aio_init makes room for in advance, 2 MiB: more come as they are needed. */
enum { RESERVE_MAX = 4096 };

static int answer(int error)
{
    if (!error)
        return 0;
    errno = -error;
    return -1;
}

/* Makes a request of what could not be done in the caller. */
static PAIO_APART int accept_rest(struct aiocb *cb, enum paio_code code, struct paio_progress progress, uint32_t process)
{
    struct paio_call call = { .cb = cb, .code = code, .process = process, .progress = progress };
    struct paio_batch batch;
    struct paio_signals saved;
    int saved_errno = errno, error = 0;

    call.expected = paio_habit_expects(&call);
    paio_choose_look(&call);
    if (!paio_dispatch_quick(&call)) {
        paio_signals_block(&saved);
        /* Anew, if a handler has forked since, and this is the child. */
        paio_process_start();
        paio_finish_settle();
        paio_batch_init(&batch);
        error = paio_dispatch_accept(&call, &batch);
        paio_dispatch_flush(&batch);
        paio_signals_restore(&saved);
    }
    if (!error)
        paio_habit_submitted(&call);
    errno = saved_errno;
    return error;
}

static int submit(struct aiocb *cb, enum paio_code code)
{
    uint32_t process;
    struct paio_progress progress = { 0 };
    int error;

    paio_process_start();
    process = paio_process_started();
    error = paio_submit_check(cb, code);
    if (!error && !paio_submit_inline(cb, code, true, &progress, &error))
        error = accept_rest(cb, code, progress, process);
    return answer(error);
}

PAIO_EXPORT int aio_read(struct aiocb *cb)
{
    return submit(cb, PAIO_READ);
}

PAIO_EXPORT int aio_write(struct aiocb *cb)
{
    return submit(cb, PAIO_WRITE);
}

PAIO_EXPORT int aio_fsync(int operation, struct aiocb *cb)
{
    if (operation != O_SYNC && operation != O_DSYNC)
        return answer(-EINVAL);
    if (fcntl(cb->aio_fildes, F_GETFL) < 0)
        return answer(-EBADF);
    return submit(cb, operation == O_SYNC ? PAIO_FSYNC : PAIO_FDATASYNC);
}

/* Publishes what the kernel has done; what follows from it is left to others. */
static PAIO_APART void reap(void)
{
    struct paio_signals saved;

    paio_signals_block(&saved);
    paio_kernel_reap();
    if (paio_finish_urgent())
        paio_completion_prompt();
    paio_signals_restore(&saved);
}

PAIO_EXPORT int aio_error(const struct aiocb *cb)
{
    if (paio_in_progress(cb) && paio_process_started() && paio_kernel_ready())
        reap();
    return paio_status_error(atomic_load_explicit(paio_status(cb), memory_order_acquire));
}

/* In progress: 0, errno left alone, as glibc has it for files (POSIX leaves it undefined). */
PAIO_EXPORT ssize_t aio_return(struct aiocb *cb)
{
    int error = paio_status_error(atomic_load_explicit(paio_status(cb), memory_order_acquire));

    if (error == EINPROGRESS)
        return 0;
    return error ? answer(-error) : cb->__return_value;
}

/* On CLOCK_MONOTONIC. A timeout that is negative has passed; one of ages is as good as some years. */
static struct timespec deadline_of(const struct timespec *timeout)
{
    const time_t ages = 1000000000;
    struct timespec deadline = { 0, 0 };

    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0)
        return deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += timeout->tv_sec < ages ? timeout->tv_sec : ages;
    deadline.tv_sec += timeout->tv_nsec / 1000000000;
    deadline.tv_nsec += timeout->tv_nsec % 1000000000;
    deadline.tv_sec += deadline.tv_nsec / 1000000000;
    deadline.tv_nsec %= 1000000000;
    return deadline;
}

PAIO_EXPORT int aio_suspend(const struct aiocb *const list[], int count,
                            const struct timespec *timeout)
{
    struct paio_performed performed = { 0 };
    struct timespec deadline;
    struct paio_signals signals;
    int saved = errno, error;

    if (count < 0)
        return answer(-EINVAL);
    /* With a request done, or carried out here, there is no wait that would be the cancellation point. */
    pthread_testcancel();
    if (timeout)
        deadline = deadline_of(timeout);
    if (timeout) {
        paio_habit_broken();
    } else if (paio_habit_waits(list, count)) {
        paio_signals_block(&signals);
        performed = paio_perform(list, count);
        paio_signals_restore(&signals);
    }
    error = paio_wait_any(list, count, timeout ? &deadline : NULL);
    paio_habit_performed(&performed);
    errno = saved;
    return answer(error == -ETIMEDOUT ? -EAGAIN : error);
}

PAIO_EXPORT int aio_cancel(int fd, struct aiocb *cb)
{
    if (fcntl(fd, F_GETFL) < 0)
        return answer(-EBADF);
    if (!paio_process_started())
        return AIO_ALLDONE;
    if (cb && (!paio_in_progress(cb) || !paio_request_find(cb)))
        return AIO_ALLDONE;
    if (cb && cb->aio_fildes != fd)
        return answer(-EINVAL);
    return paio_cancel(fd, cb);
}

PAIO_EXPORT void aio_init(const struct aioinit *init)
{
    struct paio_signals saved;

    paio_process_start();
    paio_signals_block(&saved);
    paio_pool_configure(init->aio_threads > 0 ? (unsigned) init->aio_threads : 0,
                        init->aio_idle_time > 0 ? (unsigned) init->aio_idle_time : 0);
    if (init->aio_num > 0)
        paio_request_reserve(init->aio_num < RESERVE_MAX ? (unsigned) init->aio_num : RESERVE_MAX);
    paio_signals_restore(&saved);
}

PAIO_ALIAS(aio_read) int aio_read64(struct aiocb64 *cb);
PAIO_ALIAS(aio_write) int aio_write64(struct aiocb64 *cb);
PAIO_ALIAS(aio_fsync) int aio_fsync64(int operation, struct aiocb64 *cb);
PAIO_ALIAS(aio_error) int aio_error64(const struct aiocb64 *cb);
PAIO_ALIAS(aio_return) ssize_t aio_return64(struct aiocb64 *cb);
PAIO_ALIAS(aio_suspend) int aio_suspend64(const struct aiocb64 *const list[], int count, const struct timespec *timeout);
PAIO_ALIAS(aio_cancel) int aio_cancel64(int fd, struct aiocb64 *cb);

PAIO_EXPORT unsigned int posix_aio_version(void)
{
    return POSIX_AIO_VERSION;
}

PAIO_EXPORT const char *posix_aio_engine(void)
{
    paio_process_start();
    return paio_settings.kernel ? "kernel" : "pool";
}

PAIO_EXPORT int posix_aio_stat(const char *name, uint64_t *value)
{
    uint64_t found;
    char each[32];

    paio_process_start();
    if (!paio_stats)
        return answer(-ENODATA);
    for (unsigned i = 0; paio_stats_read(paio_stats, i, each, sizeof each, &found); i++) {
        if (strcmp(each, name) == 0) {
            *value = found;
            return 0;
        }
    }
    return answer(-ENOENT);
}
