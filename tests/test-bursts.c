/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that submits some buffered writes, and waits as soon as it has, carries them out itself. Whatever it does
 * instead, all are carried out, once, and in the order of their submission.
 *
 * Every write appends a record with its number, so that the file tells what was done, and when; and on all
 * filesystems it is one that the library cannot do in the call that submits it.
 */
#include "t-habit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* Few enough to be submitted in time where a sanitizer watches. */
enum { DEPTH = 4, SOME = 20, THREADS = 2, BURSTS = 200 };

typedef uint64_t record;

struct burst {
    struct aiocb cb[DEPTH];
    record number[DEPTH];
};

static struct burst burst;

static int empty_log(void)
{
    return t_reopen(t_empty_file(), O_RDWR | O_APPEND);
}

static void submit(struct burst *one, int log, record first)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        one->number[i] = first + i;
        t_prepare(&one->cb[i], log, &one->number[i], sizeof(record), 0);
        ck_assert_int_eq(aio_write(&one->cb[i]), 0);
    }
}

/* For any of those that are left, as often as it takes. */
static void wait_for_all(const struct burst *one)
{
    for (;;) {
        const struct aiocb *list[DEPTH];
        int count = 0;

        for (unsigned i = 0; i < DEPTH; i++)
            if (aio_error(&one->cb[i]) == EINPROGRESS)
                list[count++] = &one->cb[i];
        if (!count)
            return;
        ck_assert_int_eq(aio_suspend(list, count, NULL), 0);
    }
}

static void assert_done(struct burst *one)
{
    for (unsigned i = 0; i < DEPTH; i++)
        t_assert_done(&one->cb[i], sizeof(record));
}

/* Without a call that could help it on. */
static void until_published(const struct aiocb *one)
{
    t_until(__atomic_load_n(&one->__error_code, __ATOMIC_ACQUIRE) != EINPROGRESS);
}

static record records_in(int log)
{
    off_t end = lseek(log, 0, SEEK_END);

    ck_assert_int_eq(end % (off_t) sizeof(record), 0);
    return (record) end / sizeof(record);
}

static record record_at(int log, record place)
{
    record found;

    ck_assert_int_eq(pread(log, &found, sizeof(found), (off_t) (place * sizeof(found))), sizeof(found));
    return found;
}

static void assert_log(int log, record first, record count)
{
    ck_assert_uint_eq(records_in(log), count);
    for (record i = 0; i < count; i++)
        ck_assert_uint_eq(record_at(log, i), first + i);
}

/* The calling thread has the habit when it returns, with other writes to another file. */
static void form_habit(void)
{
    int log = empty_log();

    t_form_habit(log);
    ck_assert_int_eq(close(log), 0);
}

/* A burst is left to this thread, most likely. */
static int leave_burst(void)
{
    int log = empty_log();

    form_habit();
    submit(&burst, log, 0);
    return log;
}

static void assert_all_written(int log)
{
    assert_done(&burst);
    assert_log(log, 0, DEPTH);
    ck_assert_int_eq(close(log), 0);
}

START_TEST(bursts_are_carried_out_by_their_thread)
{
    double end = t_now() + t_patience();
    int log = empty_log();
    record written = 0;
    uint64_t before;

    form_habit();
    before = t_stat("write.waiter");
    for (; t_stat("write.waiter") < before + SOME * DEPTH; written += DEPTH) {
        submit(&burst, log, written);
        wait_for_all(&burst);
        assert_done(&burst);
        ck_assert_msg(t_now() < end, "the habit is not seen");
    }
    assert_log(log, 0, written);
}
END_TEST

START_TEST(what_is_left_is_done_without_another_call)
{
    int log = leave_burst();

    for (unsigned i = 0; i < DEPTH; i++)
        until_published(&burst.cb[i]);
    assert_all_written(log);
}
END_TEST

static void wait_from_the_first(void)
{
    for (unsigned i = 0; i < DEPTH; i++)
        t_at_once(&burst.cb[i]);
}

static void wait_from_the_last(void)
{
    for (unsigned i = DEPTH; i--;)
        t_at_once(&burst.cb[i]);
}

static void wait_for_the_last_only(void)
{
    t_at_once(&burst.cb[DEPTH - 1]);
}

static void wait_with_a_limit(void)
{
    const struct timespec limit = { .tv_sec = 1000 };

    for (unsigned i = 0; i < DEPTH; i++)
        ck_assert_int_eq(t_suspend(&burst.cb[i], &limit), 0);
}

START_TEST(what_is_left_can_be_waited_for_in_any_way)
{
    static void (*const waits[])(void) = { wait_from_the_first, wait_from_the_last, wait_for_the_last_only,
                                           wait_with_a_limit };

    for (unsigned i = 0; i < SOME * T_COUNT(waits); i++) {
        int log = leave_burst();

        waits[i % T_COUNT(waits)]();
        assert_all_written(log);
    }
}
END_TEST

/* One that nobody can carry out keeps none of the others. */
START_TEST(what_is_left_can_be_waited_for_with_a_read_of_a_pipe)
{
    static struct aiocb pending;
    const struct aiocb *const list[] = { &pending, &burst.cb[DEPTH / 2] };
    int out = t_start_pending(&pending);

    for (int i = 0; i < SOME; i++) {
        int log = leave_burst();

        ck_assert_int_eq(aio_suspend(list, T_COUNT(list), NULL), 0);
        t_assert_in_progress(&pending);
        t_assert_done(&burst.cb[DEPTH / 2], sizeof(record));
        wait_for_all(&burst);
        assert_all_written(log);
    }
    t_finish_pending(out, &pending);
}
END_TEST

static void *wait_for_it(void *unused)
{
    wait_for_all(&burst);
    return unused;
}

START_TEST(what_is_left_can_be_waited_for_by_another_thread)
{
    for (int i = 0; i < SOME; i++) {
        int log = leave_burst();
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        assert_all_written(log);
    }
}
END_TEST

START_TEST(sync_comes_after_what_is_left)
{
    static struct aiocb sync;

    for (int i = 0; i < SOME; i++) {
        int log = leave_burst();

        t_submit_sync(&sync, log, O_DSYNC);
        t_at_once(&sync);
        t_assert_done(&sync, 0);
        assert_all_written(log);
    }
}
END_TEST

/* All that are not canceled, and nothing else, is in the log. */
static unsigned count_canceled(int log)
{
    unsigned canceled = 0;

    for (unsigned i = 0; i < DEPTH; i++) {
        until_published(&burst.cb[i]);
        if (aio_error(&burst.cb[i]) == ECANCELED) {
            canceled++;
        } else {
            t_assert_done(&burst.cb[i], sizeof(record));
            ck_assert_uint_eq(record_at(log, i - canceled), i);
        }
    }
    ck_assert_uint_eq(records_in(log), DEPTH - canceled);
    return canceled;
}

START_TEST(what_is_left_can_be_canceled)
{
    double end = t_now() + t_patience();
    unsigned canceled = 0;

    /* The tick may come first. */
    while (canceled < DEPTH) {
        int log = leave_burst(), result = aio_cancel(log, NULL);

        ck_assert(result == AIO_CANCELED || result == AIO_NOTCANCELED || result == AIO_ALLDONE);
        canceled = count_canceled(log);
        ck_assert(result != AIO_CANCELED || canceled > 0);
        ck_assert(t_now() < end);
    }
}
END_TEST

START_TEST(one_of_those_left_can_be_canceled)
{
    double end = t_now() + t_patience();
    bool canceled = false;

    while (!canceled) {
        int log = leave_burst();

        canceled = aio_cancel(log, &burst.cb[DEPTH / 2]) == AIO_CANCELED;
        wait_for_all(&burst);
        ck_assert_uint_eq(count_canceled(log), canceled);
        ck_assert(t_now() < end);
    }
}
END_TEST

START_TEST(close_cancels_what_is_left)
{
    double end = t_now() + t_patience();
    unsigned canceled = 0;

    while (!canceled) {
        int log = leave_burst(), copy = fcntl(log, F_DUPFD_CLOEXEC, 0);

        ck_assert_int_eq(close(log), 0);
        canceled = count_canceled(copy);
        ck_assert(t_now() < end);
    }
}
END_TEST

START_TEST(each_of_those_left_notifies)
{
    t_block(SIGRTMIN);
    for (int i = 0; i < SOME; i++) {
        int log = empty_log();

        form_habit();
        for (int j = 0; j < DEPTH; j++) {
            struct aiocb *cb = &burst.cb[j];

            burst.number[j] = (record) j;
            t_prepare(cb, log, &burst.number[j], sizeof(record), 0);
            cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
            cb->aio_sigevent.sigev_signo = SIGRTMIN;
            cb->aio_sigevent.sigev_value.sival_int = j;
            ck_assert_int_eq(aio_write(cb), 0);
        }
        wait_for_all(&burst);
        for (int j = 0; j < DEPTH; j++)
            ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, j);
        assert_all_written(log);
    }
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

struct appender {
    pthread_t thread;
    record first;
};

/* Who waits in another way now is not to pay a tick for each. */
START_TEST(habit_ends_with_polling)
{
    const struct aiocb *const list[] = { &burst.cb[0] };
    int log = empty_log();
    uint64_t before;

    form_habit();
    for (record i = 0; i < 4; i++) {
        t_submit_write(&burst.cb[0], log, &i, sizeof(i), 0);
        while (aio_error(list[0]) == EINPROGRESS)
            t_moment();
        t_assert_done(&burst.cb[0], sizeof(i));
    }
    before = t_stat("write.waiter");
    submit(&burst, log, 4);
    wait_for_all(&burst);
    ck_assert_uint_eq(t_stat("write.waiter"), before);
    assert_log(log, 0, 4 + DEPTH);
}
END_TEST

static int common_log;

static void *append_bursts(void *argument)
{
    const struct appender *me = argument;
    struct burst own;

    for (record i = 0; i < t_scale(BURSTS); i++) {
        submit(&own, common_log, me->first + i * DEPTH);
        wait_for_all(&own);
        assert_done(&own);
    }
    return NULL;
}

START_TEST(each_of_two_threads_keeps_its_order)
{
    const record share = (record) 1 << 32;
    record next[THREADS], total = THREADS * t_scale(BURSTS) * DEPTH;
    struct appender appenders[THREADS];

    common_log = empty_log();
    for (unsigned i = 0; i < THREADS; i++) {
        appenders[i].first = next[i] = i * share;
        ck_assert_int_eq(pthread_create(&appenders[i].thread, NULL, append_bursts, &appenders[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(appenders[i].thread, NULL), 0);
    ck_assert_uint_eq(records_in(common_log), total);
    for (record i = 0; i < total; i++) {
        record found = record_at(common_log, i);

        ck_assert_uint_lt(found / share, THREADS);
        ck_assert_uint_eq(found, next[found / share]++);
    }
}
END_TEST

static void leave_and_exit(void *argument)
{
    t_drop_statistics();
    form_habit();
    submit(&burst, *(int *) argument, 0);
    exit(0);
}

START_TEST(exit_carries_out_what_is_left)
{
    int log = empty_log();

    t_reap(t_child(leave_and_exit, &log));
    assert_log(log, 0, DEPTH);
}
END_TEST

static void wait_and_write_in_child(void *unused)
{
    (void) unused;
    t_drop_statistics();
    /* What was left is the parent's. */
    wait_from_the_first();
    form_habit();
}

START_TEST(forked_child_leaves_it_alone_and_forms_its_own)
{
    int log = leave_burst();
    pid_t child = t_child(wait_and_write_in_child, NULL);

    wait_for_all(&burst);
    assert_all_written(log);
    t_reap(child);
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
    tcase_add_test(tests, what_is_left_can_be_canceled);
    tcase_add_test(tests, one_of_those_left_can_be_canceled);
    tcase_add_test(tests, close_cancels_what_is_left);
    tcase_add_test(tests, each_of_those_left_notifies);
    tcase_add_test(tests, habit_ends_with_polling);
    tcase_add_test(tests, each_of_two_threads_keeps_its_order);
    tcase_add_test(tests, exit_carries_out_what_is_left);
    tcase_add_test(tests, forked_child_leaves_it_alone_and_forms_its_own);
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
