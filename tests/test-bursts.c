/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that submits some buffered writes, and waits as soon as it has, carries them out itself. However it waits, all
 * are carried out, once, and in the order of their submission.
 */
#include "t-burst.h"

#include <pthread.h>

enum { SOME = 20, THREADS = 2, BURSTS = 200 };

START_TEST(bursts_are_carried_out_by_their_thread)
{
    double end = t_now() + t_patience();
    int log = t_empty_log();
    t_record written = 0;
    uint64_t before;

    t_form_habit_of_logs();
    before = t_stat("write.waiter");
    for (; t_stat("write.waiter") < before + SOME * T_BURST; written += T_BURST) {
        t_submit_burst(&t_left_burst, log, written);
        t_wait_for_burst(&t_left_burst);
        t_assert_burst_done(&t_left_burst);
        ck_assert_msg(t_now() < end, "the habit is not seen");
    }
    t_assert_log(log, 0, written);
}
END_TEST

START_TEST(what_is_left_is_done_without_another_call)
{
    int log = t_leave_burst();

    for (unsigned i = 0; i < T_BURST; i++)
        t_until_published(&t_left_burst.cb[i]);
    t_assert_burst_written(log);
}
END_TEST

static void wait_from_the_last(void)
{
    for (unsigned i = T_BURST; i--;)
        t_at_once(&t_left_burst.cb[i]);
}

static void wait_for_the_last_only(void)
{
    t_at_once(&t_left_burst.cb[T_BURST - 1]);
}

static void wait_with_a_limit(void)
{
    const struct timespec limit = { .tv_sec = 1000 };

    for (unsigned i = 0; i < T_BURST; i++)
        ck_assert_int_eq(t_suspend(&t_left_burst.cb[i], &limit), 0);
}

START_TEST(what_is_left_can_be_waited_for_in_any_way)
{
    static void (*const waits[])(void) = { t_wait_from_the_first, wait_from_the_last, wait_for_the_last_only,
                                           wait_with_a_limit };

    for (unsigned i = 0; i < SOME * T_COUNT(waits); i++) {
        int log = t_leave_burst();

        waits[i % T_COUNT(waits)]();
        t_assert_burst_written(log);
    }
}
END_TEST

/* One that nobody can carry out keeps none of the others. */
START_TEST(what_is_left_can_be_waited_for_with_a_read_of_a_pipe)
{
    static struct aiocb pending;
    const struct aiocb *const list[] = { &pending, &t_left_burst.cb[T_BURST / 2] };
    int out = t_start_pending(&pending);

    for (int i = 0; i < SOME; i++) {
        int log = t_leave_burst();

        ck_assert_int_eq(aio_suspend(list, T_COUNT(list), NULL), 0);
        t_assert_in_progress(&pending);
        t_assert_done(&t_left_burst.cb[T_BURST / 2], sizeof(t_record));
        t_wait_for_burst(&t_left_burst);
        t_assert_burst_written(log);
    }
    t_finish_pending(out, &pending);
}
END_TEST

static void *wait_for_it(void *unused)
{
    t_wait_for_burst(&t_left_burst);
    return unused;
}

START_TEST(what_is_left_can_be_waited_for_by_another_thread)
{
    for (int i = 0; i < SOME; i++) {
        int log = t_leave_burst();
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        t_assert_burst_written(log);
    }
}
END_TEST

START_TEST(sync_comes_after_what_is_left)
{
    static struct aiocb sync;

    for (int i = 0; i < SOME; i++) {
        int log = t_leave_burst();

        t_submit_sync(&sync, log, O_DSYNC);
        t_at_once(&sync);
        t_assert_done(&sync, 0);
        t_assert_burst_written(log);
    }
}
END_TEST

START_TEST(each_of_those_left_notifies)
{
    t_block(SIGRTMIN);
    for (int i = 0; i < SOME; i++) {
        int log = t_empty_log();

        t_form_habit_of_logs();
        for (int j = 0; j < T_BURST; j++) {
            struct aiocb *cb = &t_left_burst.cb[j];

            t_left_burst.number[j] = (t_record) j;
            t_prepare(cb, log, &t_left_burst.number[j], sizeof(t_record), 0);
            cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
            cb->aio_sigevent.sigev_signo = SIGRTMIN;
            cb->aio_sigevent.sigev_value.sival_int = j;
            ck_assert_int_eq(aio_write(cb), 0);
        }
        t_wait_for_burst(&t_left_burst);
        for (int j = 0; j < T_BURST; j++)
            ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, j);
        t_assert_burst_written(log);
    }
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

/* Who waits in another way now is not to pay a tick for each. */
START_TEST(habit_ends_with_polling)
{
    const struct aiocb *const list[] = { &t_left_burst.cb[0] };
    int log = t_empty_log();
    uint64_t before;

    t_form_habit_of_logs();
    for (t_record i = 0; i < 4; i++) {
        t_submit_write(&t_left_burst.cb[0], log, &i, sizeof(i), 0);
        while (aio_error(list[0]) == EINPROGRESS)
            t_moment();
        t_assert_done(&t_left_burst.cb[0], sizeof(i));
    }
    before = t_stat("write.waiter");
    t_submit_burst(&t_left_burst, log, 4);
    t_wait_for_burst(&t_left_burst);
    ck_assert_uint_eq(t_stat("write.waiter"), before);
    t_assert_log(log, 0, 4 + T_BURST);
}
END_TEST

struct appender {
    pthread_t thread;
    t_record first;
};

static int common_log;

static void *append_bursts(void *argument)
{
    const struct appender *me = argument;
    struct t_burst own;

    for (t_record i = 0; i < t_scale(BURSTS); i++) {
        t_submit_burst(&own, common_log, me->first + i * T_BURST);
        t_wait_for_burst(&own);
        t_assert_burst_done(&own);
    }
    return NULL;
}

START_TEST(each_of_two_threads_keeps_its_order)
{
    const t_record share = (t_record) 1 << 32;
    t_record next[THREADS], total = THREADS * t_scale(BURSTS) * T_BURST;
    struct appender appenders[THREADS];

    common_log = t_empty_log();
    for (unsigned i = 0; i < THREADS; i++) {
        appenders[i].first = next[i] = i * share;
        ck_assert_int_eq(pthread_create(&appenders[i].thread, NULL, append_bursts, &appenders[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(appenders[i].thread, NULL), 0);
    ck_assert_uint_eq(t_records_in(common_log), total);
    for (t_record i = 0; i < total; i++) {
        t_record found = t_record_at(common_log, i);

        ck_assert_uint_lt(found / share, THREADS);
        ck_assert_uint_eq(found, next[found / share]++);
    }
}
END_TEST

static void add_quick(TCase *tests)
{
    tcase_add_test(tests, bursts_are_carried_out_by_their_thread);
}

static void add_bursts(TCase *tests)
{
    tcase_add_test(tests, what_is_left_is_done_without_another_call);
    tcase_add_test(tests, what_is_left_can_be_waited_for_in_any_way);
    tcase_add_test(tests, what_is_left_can_be_waited_for_with_a_read_of_a_pipe);
    tcase_add_test(tests, what_is_left_can_be_waited_for_by_another_thread);
    tcase_add_test(tests, sync_comes_after_what_is_left);
    tcase_add_test(tests, each_of_those_left_notifies);
    tcase_add_test(tests, habit_ends_with_polling);
    tcase_add_test(tests, each_of_two_threads_keeps_its_order);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "bursts that are left to their thread",
            .add = add_quick,
            .need = T_LOCAL | T_QUICK | T_STATISTICS,
        },
        {
            .name = "bursts of a thread that waits at once",
            .add = add_bursts,
            .need = T_LOCAL | T_PROMPT | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("bursts", parts);
}
