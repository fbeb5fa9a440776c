/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads in aio_suspend: each is woken by what it waits for, none keeps completions from the
 * others, and each can be canceled there.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { SIZE = 1 << 20, THREADS = 16, READS = 256 };

static struct aiocb cb, other;
static unsigned char buf[SIZE];

struct waiter {
    pthread_t thread;
    struct aiocb cb;
    int out;
    atomic_bool ended;
    int result;
};

static struct waiter waiters[THREADS];
static atomic_uint begun;

static void *wait_for_own(void *argument)
{
    struct waiter *w = argument;
    const struct aiocb *const list[] = { &w->cb };

    atomic_fetch_add(&begun, 1);
    w->result = aio_suspend(list, 1, NULL);
    atomic_store(&w->ended, true);
    return NULL;
}

static void *wait_for_common(void *argument)
{
    struct waiter *w = argument;
    const struct aiocb *const list[] = { &cb };

    atomic_fetch_add(&begun, 1);
    w->result = aio_suspend(list, 1, NULL);
    return NULL;
}

static void start_waiters(void *(*run)(void *) )
{
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&waiters[i].thread, NULL, run, &waiters[i]), 0);
    t_until(atomic_load(&begun) == THREADS);
}

START_TEST(each_waiter_is_woken_by_its_own_request)
{
    for (int i = 0; i < THREADS; i++)
        waiters[i].out = t_start_pending(&waiters[i].cb);
    start_waiters(wait_for_own);
    for (int i = 0; i < THREADS; i++) {
        int last = i < THREADS / 2 ? i : THREADS - 1 - (i - THREADS / 2);

        t_put(waiters[last].out, 0, 1);
        ck_assert_int_eq(pthread_join(waiters[last].thread, NULL), 0);
        ck_assert_int_eq(waiters[last].result, 0);
        t_assert_done(&waiters[last].cb, 1);
        for (int j = i + 1; j < THREADS / 2; j++)
            ck_assert(!atomic_load(&waiters[j].ended));
    }
}
END_TEST

START_TEST(all_waiters_of_one_request_are_woken)
{
    int out = t_start_pending(&cb);

    start_waiters(wait_for_common);
    t_put(out, 0, 1);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(waiters[i].thread, NULL), 0);
        ck_assert_int_eq(waiters[i].result, 0);
    }
    t_assert_done(&cb, 1);
}
END_TEST

/* A waiter whose request never comes must not keep the completions of the others to itself. */
START_TEST(stuck_waiter_does_not_hold_up_others)
{
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    unsigned char *aligned = t_aligned(4096);

    for (int i = 0; i < THREADS; i++)
        waiters[i].out = t_start_pending(&waiters[i].cb);
    start_waiters(wait_for_own);
    for (off_t place = 0; fd >= 0 && place < SIZE; place += 4096) {
        t_submit_read(&cb, fd, aligned, 4096, place);
        ck_assert_int_eq(t_suspend(&cb, NULL), 0);
        t_assert_done(&cb, 4096);
        t_assert_data(aligned, 4096, place);
    }
    for (int i = 0; i < THREADS; i++) {
        t_put(waiters[i].out, 0, 1);
        ck_assert_int_eq(pthread_join(waiters[i].thread, NULL), 0);
    }
}
END_TEST

START_TEST(mixed_kinds_of_requests_end_it)
{
    int out = t_start_pending(&cb), cold = t_cold_file(SIZE), slow = t_slow_file(0, SIZE, O_RDWR);
    struct aiocb held;
    const struct aiocb *list[] = { &cb, &held, &other };

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&held, slow, buf + SIZE / 2, 1000, 0);
    for (off_t place = 0; place < SIZE / 2; place += 65536) {
        t_submit_read(&other, cold, buf, 4096, place);
        ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
        t_assert_done(&other, 4096);
    }
    list[2] = NULL;
    t_until(slowfs_held(SLOWFS_READ) == 1);
    slowfs_release(SLOWFS_READ, 1);
    ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
    t_assert_done(&held, 1000);
    list[1] = NULL;
    t_put(out, 0, 1);
    ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
    t_assert_done(&cb, 1);
}
END_TEST

START_TEST(cancellation_of_a_request_ends_it)
{
    struct t_pair p = t_pipe();

    t_submit_read(&waiters[0].cb, p.in, buf, 1, 0);
    ck_assert_int_eq(pthread_create(&waiters[0].thread, NULL, wait_for_own, &waiters[0]), 0);
    t_until(atomic_load(&begun) == 1);
    ck_assert_int_eq(aio_cancel(p.in, NULL), AIO_CANCELED);
    ck_assert_int_eq(pthread_join(waiters[0].thread, NULL), 0);
    ck_assert_int_eq(waiters[0].result, 0);
    t_assert_failed(&waiters[0].cb, ECANCELED);
}
END_TEST

/* Cancellation of threads. */

START_TEST(it_is_a_cancellation_point)
{
    void *result = NULL;
    int out = t_start_pending(&waiters[0].cb);

    ck_assert_int_eq(pthread_create(&waiters[0].thread, NULL, wait_for_own, &waiters[0]), 0);
    t_until(atomic_load(&begun) == 1);
    ck_assert_int_eq(pthread_cancel(waiters[0].thread), 0);
    ck_assert_int_eq(pthread_join(waiters[0].thread, &result), 0);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    t_assert_in_progress(&waiters[0].cb);
    t_finish_pending(out, &waiters[0].cb);
}
END_TEST

static void *wait_when_canceled(void *argument)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return wait_for_own(argument);
}

START_TEST(pending_cancellation_acts_in_it)
{
    void *result = NULL;
    int out = t_start_pending(&waiters[0].cb);

    ck_assert_int_eq(pthread_create(&waiters[0].thread, NULL, wait_when_canceled, &waiters[0]), 0);
    ck_assert_int_eq(pthread_join(waiters[0].thread, &result), 0);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    t_finish_pending(out, &waiters[0].cb);
}
END_TEST

/* Wakeups for writes that follow each other are put together; the one that hangs must not have it. */
START_TEST(waiter_is_woken_though_the_next_write_hangs)
{
    enum { WRITES = 4 };
    struct aiocb writes[WRITES];
    struct waiter *w = &waiters[0];
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_WRITE, 3);
    for (int i = 0; i < WRITES; i++)
        t_submit_write(i == 1 ? &w->cb : &writes[i], fd, buf, 100, i * 100);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_for_own, w), 0);
    t_until(t_is_awaited(&w->cb));
    slowfs_release(SLOWFS_WRITE, 2);
    ck_assert_int_eq(pthread_join(w->thread, NULL), 0);
    t_assert_done(&w->cb, 100);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_assert_in_progress(&writes[2]);
    slowfs_release(SLOWFS_WRITE, 1);
    for (int i = 0; i < WRITES; i++)
        t_wait_done(i == 1 ? &w->cb : &writes[i], 100);
}
END_TEST

/* Waits that have no descriptor to sleep on. */

static const struct timespec long_enough = { .tv_sec = 60 };

/* Reads that take longer than to come to the wait, where there is O_DIRECT; with a limit or NULL. */
static void read_slowly(void (*take_descriptors)(void), const struct timespec *limit)
{
    int count = (int) t_scale(READS), fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    struct aiocb *reads;
    unsigned char *aligned;
    struct rlimit allowed;

    if (fd < 0)
        return;
    reads = t_control_blocks(READS);
    aligned = t_aligned(SIZE);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &allowed), 0);
    for (int i = 0; i < count; i++)
        t_submit_read(&reads[i], fd, aligned, SIZE, 0);
    take_descriptors();
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(t_suspend(&reads[i], limit), 0);
        t_assert_done(&reads[i], SIZE);
    }
    t_assert_data(aligned, SIZE, 0);
    /* The leak checker, for one, needs descriptors. */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &allowed), 0);
    free(aligned);
    free(reads);
}

static void allow_no_descriptor(void)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void close_eventfds(void)
{
    ck_assert_uint_ge(t_close_unseen("anon_inode:[eventfd]"), 1);
}

/* ppoll(2) takes one descriptor for too many then. */
START_TEST(limited_wait_ends_with_its_request_where_no_descriptor_is_allowed)
{
    read_slowly(allow_no_descriptor, &long_enough);
}
END_TEST

START_TEST(wait_ends_with_its_request_without_the_library_s_descriptors)
{
    read_slowly(close_eventfds, NULL);
}
END_TEST

static void add_waiters(TCase *tests)
{
    tcase_add_test(tests, each_waiter_is_woken_by_its_own_request);
    tcase_add_test(tests, all_waiters_of_one_request_are_woken);
    tcase_add_test(tests, stuck_waiter_does_not_hold_up_others);
    tcase_add_test(tests, cancellation_of_a_request_ends_it);
    tcase_add_test(tests, it_is_a_cancellation_point);
    tcase_add_test(tests, pending_cancellation_acts_in_it);
    tcase_add_test(tests, limited_wait_ends_with_its_request_where_no_descriptor_is_allowed);
    tcase_add_test(tests, wait_ends_with_its_request_without_the_library_s_descriptors);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, mixed_kinds_of_requests_end_it);
    tcase_add_test(tests, waiter_is_woken_though_the_next_write_hangs);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "many waiters", .add = add_waiters },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    return t_main("waiters", parts);
}
