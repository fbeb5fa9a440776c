/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_error, aio_return and aio_suspend in signal handlers, which may have interrupted any call
 * of ours and may never come back to it. Nobody else may be stopped by that.
 *
 * A timer aims signals at the thread that makes the calls, at ever other places in them.
 */
#include "t.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 1 << 20, MANY = 64 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];
static int file;
static unsigned char *aligned;

/* What the handlers look at: one request that is done and one that never is. */
static struct aiocb done, pending;
static struct t_pair common;
static atomic_uint rings, wrong;
static sigjmp_buf place;
static atomic_bool armed;

static void start(void)
{
    common = t_pipe();
    file = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    ck_assert_int_ge(file, 0);
    aligned = t_aligned(SIZE);
    t_submit_read(&done, t_cached_file(100), buf, 100, 0);
    t_wait(&done);
    t_submit_read(&pending, common.in, buf + 200, 100, 0);
}

static void finish(void)
{
    t_put(common.out, 0, 100);
    t_wait_done(&pending, 100);
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_gt(rings, 0);
}

/* Every call, on every kind of request, as fast as can be. No assertions: those are not safe. */
static void make_all_calls(void)
{
    const struct aiocb *list[MANY];
    struct aiocb *writable[MANY];
    const struct timespec brief = { .tv_nsec = 100000 };

    for (int i = 0; i < MANY; i++) {
        t_prepare(&cbs[i], file, aligned + i * 4096, 4096, i * 4096);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = writable[i] = &cbs[i];
    }
    for (int i = 0; i < MANY / 2; i++)
        while (aio_read(&cbs[i]) && errno == EINTR)
            ;
    while (lio_listio(LIO_NOWAIT, writable + MANY / 2, MANY / 2, NULL) && errno == EINTR)
        ;
    for (int i = 0; i < MANY; i++) {
        while (aio_error(&cbs[i]) == EINPROGRESS)
            aio_suspend(list + i, 1, &brief);
        if (aio_return(&cbs[i]) != 4096)
            atomic_fetch_add(&wrong, 1);
    }
    aio_cancel(file, NULL);
}

/* A handler that comes back. */

static void ask_all(int number, siginfo_t *info, void *context)
{
    const struct aiocb *const finished[] = { &pending, &done }, *const never[] = { &pending };
    const struct timespec none = { 0 }, brief = { .tv_nsec = 50000 };
    int error = errno;

    (void) number, (void) info, (void) context;
    if (aio_error(&done) || aio_return(&done) != 100 || aio_error(&pending) != EINPROGRESS)
        atomic_fetch_add(&wrong, 1);
    if (aio_suspend(finished, 2, NULL))
        atomic_fetch_add(&wrong, 1);
    if (aio_suspend(never, 1, &none) != -1 || errno != EAGAIN)
        atomic_fetch_add(&wrong, 1);
    if (aio_suspend(never, 1, &brief) != -1)
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&rings, 1);
    errno = error;
}

START_TEST(handler_may_ask_whatever_it_interrupted)
{
    start();
    t_handle(SIGALRM, ask_all, SA_RESTART);
    t_ring_every(300);
    for (size_t i = 0; i < t_scale(300); i++)
        make_all_calls();
    t_until(atomic_load(&rings) > t_scale(100));
    t_ring_every(0);
    finish();
}
END_TEST

static void wait_for_one(int number, siginfo_t *info, void *context)
{
    const struct aiocb *const list[] = { &cb };

    (void) number, (void) info, (void) context;
    while (aio_error(&cb) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    atomic_fetch_add(&rings, 1);
}

/* The wait in the handler is for a request that the interrupted wait would have reaped. */
START_TEST(wait_in_a_handler_that_interrupted_a_wait_ends)
{
    const struct aiocb *const list[] = { &pending };

    start();
    t_handle(SIGALRM, wait_for_one, 0);
    for (unsigned int i = 0; i < t_scale(100); i++) {
        t_submit_read(&cb, file, aligned, 65536, 4096);
        t_ring_every(200);
        errno = 0;
        ck_assert_int_eq(aio_suspend(list, 1, NULL), -1);
        ck_assert_int_eq(errno, EINTR);
        t_ring_every(0);
        t_assert_done(&cb, 65536);
    }
    finish();
}
END_TEST

static void nest(int number, siginfo_t *info, void *context)
{
    const struct aiocb *const list[] = { &pending };
    const struct timespec brief = { .tv_nsec = 300000 };

    (void) info, (void) context;
    if (aio_suspend(list, 1, &brief) != -1)
        atomic_fetch_add(&wrong, 1);
    if (number < SIGRTMIN + 8)
        raise(number + 1);
    if (aio_suspend(list, 1, &brief) != -1)
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&rings, 1);
}

START_TEST(waits_may_be_nested_in_handlers)
{
    start();
    for (int i = 0; i <= 8; i++)
        t_handle(SIGRTMIN + i, nest, 0);
    for (int i = 0; i < 10; i++) {
        raise(SIGRTMIN);
        make_all_calls();
    }
    finish();
}
END_TEST

/* Handlers that never come back. */

static void jump_away(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    atomic_fetch_add(&rings, 1);
    if (atomic_exchange(&armed, false))
        siglongjmp(place, 1);
}

static atomic_bool others_ended;
static atomic_uint others_done;

/* Another thread's requests and waits, which must go on all the while. Starts with SIGALRM blocked.
 */
static void *work_on(void *unused)
{
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    void *bytes = t_aligned(4096);
    struct aiocb one;

    (void) unused;
    while (!atomic_load(&others_ended)) {
        t_submit_read(&one, fd, bytes, 4096, 4096);
        t_wait_done(&one, 4096);
        atomic_fetch_add(&others_done, 1);
    }
    free(bytes);
    return NULL;
}

static void assert_others_go_on(void)
{
    unsigned int before = atomic_load(&others_done);

    t_until(atomic_load(&others_done) > before + 2);
}

/* The calls that may be left for good are those that POSIX calls async-signal-safe. */
static void call_the_safe_ones(void)
{
    const struct aiocb *const list[] = { &pending };
    const struct timespec brief = { .tv_nsec = 2000000 };

    for (;;) {
        aio_error(&pending);
        aio_error(&done);
        aio_return(&done);
        aio_suspend(list, 1, &brief);
    }
}

START_TEST(handler_may_leave_by_siglongjmp)
{
    pthread_t thread;

    start();
    t_block(SIGALRM);
    ck_assert_int_eq(pthread_create(&thread, NULL, work_on, NULL), 0);
    t_handle(SIGALRM, jump_away, 0);
    t_unblock(SIGALRM);
    for (volatile size_t i = 0; i < t_scale(300); i++) {
        if (!sigsetjmp(place, 1)) {
            t_ring_every(100 + (long) (i * 37 % 1000));
            /* Only now: a handler that jumps out of an assertion would leave Check's lock taken. */
            atomic_store(&armed, true);
            call_the_safe_ones();
        }
        t_ring_every(0);
        if (i % 20 == 0) {
            assert_others_go_on();
            make_all_calls();
        }
    }
    atomic_store(&others_ended, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    finish();
}
END_TEST

START_TEST(handler_may_leave_a_list_wait_by_siglongjmp)
{
    struct t_pair p = t_pipe();
    static struct aiocb entry;
    struct aiocb *const list[] = { &entry };

    start();
    t_handle(SIGALRM, jump_away, 0);
    for (volatile size_t i = 0; i < t_scale(50); i++) {
        t_prepare(&entry, p.in, buf + 300, 1, 0);
        entry.aio_lio_opcode = LIO_READ;
        if (!sigsetjmp(place, 1)) {
            t_ring_every(2000);
            /* Only now: a handler that jumps out of an assertion would leave Check's lock taken. */
            atomic_store(&armed, true);
            lio_listio(LIO_WAIT, list, 1, NULL);
        }
        t_ring_every(0);
        t_put(p.out, 0, 1);
        t_wait_done(&entry, 1);
        make_all_calls();
    }
    finish();
}
END_TEST

static void loop_on_error(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    atomic_fetch_add(&rings, 1);
    while (aio_error(&pending) == EINPROGRESS)
        ;
}

static void *be_stopped(void *unused)
{
    const struct aiocb *const list[] = { &pending };

    (void) unused;
    t_unblock(SIGALRM);
    aio_suspend(list, 1, NULL);
    return NULL;
}

/* The handler stays on top of the wait, which may have been the one that reaps for all. */
static void stay_in(void (*handler)(int, siginfo_t *, void *))
{
    pthread_t stopped, worker;

    start();
    t_handle(SIGALRM, handler, 0);
    t_block(SIGALRM);
    ck_assert_int_eq(pthread_create(&stopped, NULL, be_stopped, NULL), 0);
    for (int i = 0; i < 20; i++)
        t_moment();
    ck_assert_int_eq(pthread_kill(stopped, SIGALRM), 0);
    t_until(atomic_load(&rings) == 1);
    ck_assert_int_eq(pthread_create(&worker, NULL, work_on, NULL), 0);
    for (int i = 0; i < 20; i++) {
        assert_others_go_on();
        make_all_calls();
    }
    atomic_store(&others_ended, true);
    ck_assert_int_eq(pthread_join(worker, NULL), 0);
    finish();
    ck_assert_int_eq(pthread_join(stopped, NULL), 0);
}

START_TEST(handler_may_loop_on_aio_error)
{
    stay_in(loop_on_error);
}
END_TEST

static void stay_forever(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    atomic_fetch_add(&rings, 1);
    while (!atomic_load(&others_ended))
        t_moment();
}

START_TEST(handler_that_makes_no_call_stops_nobody)
{
    stay_in(stay_forever);
}
END_TEST

/* Cancellation of a thread ends its wait as finally as siglongjmp. */

static void *wait_forever(void *unused)
{
    const struct aiocb *const list[] = { &pending };

    (void) unused;
    for (;;)
        aio_suspend(list, 1, NULL);
    return NULL;
}

START_TEST(canceled_waiters_stop_nobody)
{
    pthread_t threads[4], worker;

    start();
    atomic_store(&rings, 1);
    ck_assert_int_eq(pthread_create(&worker, NULL, work_on, NULL), 0);
    for (size_t round = 0; round < t_scale(50); round++) {
        for (size_t i = 0; i < T_COUNT(threads); i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, wait_forever, NULL), 0);
        if (round % 10 == 0)
            assert_others_go_on();
        for (size_t i = 0; i < T_COUNT(threads); i++)
            ck_assert_int_eq(pthread_cancel(threads[i]), 0);
        for (size_t i = 0; i < T_COUNT(threads); i++)
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        make_all_calls();
    }
    assert_others_go_on();
    atomic_store(&others_ended, true);
    ck_assert_int_eq(pthread_join(worker, NULL), 0);
    finish();
}
END_TEST

static void add_handlers(TCase *tests)
{
    tcase_add_test(tests, handler_may_ask_whatever_it_interrupted);
    tcase_add_test(tests, wait_in_a_handler_that_interrupted_a_wait_ends);
    tcase_add_test(tests, waits_may_be_nested_in_handlers);
    tcase_add_test(tests, handler_may_leave_by_siglongjmp);
    tcase_add_test(tests, handler_may_leave_a_list_wait_by_siglongjmp);
    tcase_add_test(tests, handler_may_loop_on_aio_error);
    tcase_add_test(tests, handler_that_makes_no_call_stops_nobody);
}

static void add_cancellation(TCase *tests)
{
    tcase_add_test(tests, canceled_waiters_stop_nobody);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "signal handlers", .add = add_handlers, .need = T_HANDLERS },
        { .name = "cancellation", .add = add_cancellation },
        { .name = NULL },
    };

    return t_main("handlers", parts);
}
