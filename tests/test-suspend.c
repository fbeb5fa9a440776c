/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_suspend: what ends it, and with what.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

enum { SIZE = 1 << 20 };

static struct aiocb cb, other;
static unsigned char buf[SIZE];

START_TEST(empty_list_is_0_at_once)
{
    const struct aiocb *const nulls[] = { NULL, NULL, NULL };

    ck_assert_int_eq(aio_suspend(nulls, 0, NULL), 0);
    ck_assert_int_eq(aio_suspend(nulls, 3, NULL), 0);
}
END_TEST

START_TEST(negative_count_is_einval)
{
    const struct aiocb *const list[] = { &cb };

    errno = 0;
    ck_assert_int_eq(aio_suspend(list, -1, NULL), -1);
    ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(null_entries_are_ignored)
{
    int out = t_start_pending(&cb);
    const struct aiocb *const list[] = { NULL, &cb, NULL };

    t_put(out, 0, 1);
    ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
    t_assert_done(&cb, 1);
}
END_TEST

START_TEST(done_entry_ends_it_at_once)
{
    int out = t_start_pending(&cb);
    const struct aiocb *const list[] = { &cb, &other };

    t_submit_read(&other, t_cached_file(SIZE), buf, SIZE, 0);
    t_wait(&other);
    ck_assert_int_eq(aio_suspend(list, 2, NULL), 0);
    aio_return(&other);
    ck_assert_int_eq(aio_suspend(list, 2, NULL), 0);
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(never_submitted_entry_ends_it_at_once)
{
    int out = t_start_pending(&cb);
    const struct aiocb *const list[] = { &cb, &other };

    memset(&other, 0, sizeof(other));
    ck_assert_int_eq(aio_suspend(list, 2, NULL), 0);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(one_of_many_ends_it)
{
    enum { MANY = 200 };
    static struct aiocb cbs[MANY];
    const struct aiocb *list[MANY];
    int outs[MANY];

    for (int i = 0; i < MANY; i++) {
        outs[i] = t_start_pending(&cbs[i]);
        list[i] = &cbs[i];
    }
    for (int i = MANY - 1; i >= 0; i--) {
        t_put(outs[i], 0, 1);
        ck_assert_int_eq(aio_suspend(list, MANY, NULL), 0);
        t_wait_done(&cbs[i], 1);
        list[i] = NULL;
    }
}
END_TEST

START_TEST(same_entry_may_be_listed_twice)
{
    int out = t_start_pending(&cb);
    const struct aiocb *const list[] = { &cb, &cb, &cb };

    t_put(out, 0, 1);
    ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
    t_assert_done(&cb, 1);
}
END_TEST

/* Timeouts. */

START_TEST(timeout_is_eagain_and_not_early)
{
    const struct timespec limit = { .tv_nsec = 50000000 };
    int out = t_start_pending(&cb);
    double begin = t_now();

    ck_assert_int_eq(t_suspend(&cb, &limit), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert(t_now() - begin >= 0.05 && t_now() - begin < t_patience());
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(zero_timeout_is_eagain_at_once)
{
    const struct timespec limit = { 0 };
    int out = t_start_pending(&cb);

    ck_assert_int_eq(t_suspend(&cb, &limit), -1);
    ck_assert_int_eq(errno, EAGAIN);
    t_finish_pending(out, &cb);
    ck_assert_int_eq(t_suspend(&cb, &limit), 0);
}
END_TEST

START_TEST(negative_timeout_is_eagain_at_once)
{
    const struct timespec limits[] = { { .tv_sec = -1 }, { .tv_sec = -1000000, .tv_nsec = 5 } };
    int out = t_start_pending(&cb);

    for (size_t i = 0; i < T_COUNT(limits); i++) {
        ck_assert_int_eq(t_suspend(&cb, &limits[i]), -1);
        ck_assert_int_eq(errno, EAGAIN);
    }
    t_finish_pending(out, &cb);
}
END_TEST

static void *put_late(void *out)
{
    for (int i = 0; i < 20; i++)
        t_moment();
    t_put(*(int *) out, 0, 1);
    return NULL;
}

START_TEST(long_timeout_does_not_delay_the_end)
{
    const struct timespec limits[] = { { .tv_sec = 3600 }, { .tv_sec = INT64_MAX } };

    for (size_t i = 0; i < T_COUNT(limits); i++) {
        int out = t_start_pending(&cb);
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, put_late, &out), 0);
        ck_assert_int_eq(t_suspend(&cb, &limits[i]), 0);
        t_assert_done(&cb, 1);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
    }
}
END_TEST

/*
 * A clock that is set must neither end a wait nor prolong it. The library asks for the time of day,
 * if it does, through this function, and finds that it has jumped.
 */
static atomic_long clock_jump;

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long result = syscall(SYS_clock_gettime, clock, t);

    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        t->tv_sec += atomic_fetch_add(&clock_jump, 3600);
    return (int) result;
}

START_TEST(timeout_is_measured_on_the_monotonic_clock)
{
    const struct timespec limit = { .tv_nsec = 20000000 };
    int out = t_start_pending(&cb);

    for (int i = 0; i < 10; i++) {
        double begin = t_now();

        ck_assert_int_eq(t_suspend(&cb, &limit), -1);
        ck_assert(t_now() - begin >= 0.02);
        ck_assert(t_now() - begin < t_patience());
    }
    t_finish_pending(out, &cb);
}
END_TEST

/* Signals. */

static atomic_uint handled;
static atomic_int late_out;

static void count_signal(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    atomic_fetch_add(&handled, 1);
}

static void write_late(int number, siginfo_t *info, void *context)
{
    count_signal(number, info, context);
    if (atomic_load(&handled) == 3 && write(atomic_load(&late_out), "x", 1) != 1)
        _exit(2);
}

START_TEST(signal_is_eintr)
{
    const struct timespec limit = { .tv_sec = (time_t) t_patience() };
    int out = t_start_pending(&cb);

    t_handle(SIGALRM, count_signal, 0);
    t_ring_every(20000);
    ck_assert_int_eq(t_suspend(&cb, &limit), -1);
    ck_assert_int_eq(errno, EINTR);
    ck_assert_int_eq(t_suspend(&cb, NULL), -1);
    ck_assert_int_eq(errno, EINTR);
    t_ring_every(0);
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(signal_under_sa_restart_does_not_end_a_wait_without_timeout)
{
    atomic_store(&late_out, t_start_pending(&cb));
    t_handle(SIGALRM, write_late, SA_RESTART);
    t_ring_every(20000);
    ck_assert_int_eq(t_suspend(&cb, NULL), 0);
    t_ring_every(0);
    ck_assert_uint_ge(atomic_load(&handled), 3);
    t_assert_done(&cb, 1);
}
END_TEST

START_TEST(blocked_signal_does_not_end_it)
{
    const struct timespec limit = { .tv_nsec = 50000000 };
    int out = t_start_pending(&cb);

    t_handle(SIGALRM, count_signal, 0);
    t_block(SIGALRM);
    t_ring_every(5000);
    ck_assert_int_eq(t_suspend(&cb, &limit), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_uint_eq(handled, 0);
    t_ring_every(0);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(signal_mask_is_unchanged)
{
    int out = t_start_pending(&cb);
    sigset_t before, after;

    t_block(SIGUSR2);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    t_suspend(&cb, &(struct timespec){ .tv_nsec = 1000000 });
    t_finish_pending(out, &cb);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    ck_assert_mem_eq(&before, &after, _NSIG / 8);
}
END_TEST

static void add_suspend(TCase *tests)
{
    tcase_add_test(tests, empty_list_is_0_at_once);
    tcase_add_test(tests, negative_count_is_einval);
    tcase_add_test(tests, null_entries_are_ignored);
    tcase_add_test(tests, done_entry_ends_it_at_once);
    tcase_add_test(tests, never_submitted_entry_ends_it_at_once);
    tcase_add_test(tests, one_of_many_ends_it);
    tcase_add_test(tests, same_entry_may_be_listed_twice);
    tcase_add_test(tests, timeout_is_eagain_and_not_early);
    tcase_add_test(tests, zero_timeout_is_eagain_at_once);
    tcase_add_test(tests, negative_timeout_is_eagain_at_once);
    tcase_add_test(tests, long_timeout_does_not_delay_the_end);
    tcase_add_test(tests, timeout_is_measured_on_the_monotonic_clock);
    tcase_add_test(tests, signal_mask_is_unchanged);
}

static void add_signals(TCase *tests)
{
    tcase_add_test(tests, signal_is_eintr);
    tcase_add_test(tests, signal_under_sa_restart_does_not_end_a_wait_without_timeout);
    tcase_add_test(tests, blocked_signal_does_not_end_it);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "one waiter", .add = add_suspend },
        { .name = "signals", .add = add_signals, .need = T_HANDLERS },
        { .name = NULL },
    };

    return t_main("suspend", parts);
}
