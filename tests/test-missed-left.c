/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads that are left to a thread which would wait for any of them at once. Whatever it does instead, however it waits, all
 * are carried out or canceled.
 */
#include "t-reads.h"

#include <pthread.h>
#include <unistd.h>

enum { SOME = 20 };

START_TEST(what_is_left_is_done_without_another_call)
{
    int fd = t_missed_file();

    t_leave_reads(fd);
    for (unsigned i = 0; i < T_READS; i++)
        t_until_published(&t_left_reads.cb[i]);
    t_assert_all_read(&t_left_reads);
}
END_TEST

static void wait_from_the_first(void)
{
    for (unsigned i = 0; i < T_READS; i++)
        t_at_once(&t_left_reads.cb[i]);
}

static void wait_from_the_last(void)
{
    for (unsigned i = T_READS; i--;)
        t_at_once(&t_left_reads.cb[i]);
}

static void wait_with_a_limit(void)
{
    const struct timespec limit = { .tv_sec = 1000 };

    for (unsigned i = 0; i < T_READS; i++)
        ck_assert_int_eq(t_suspend(&t_left_reads.cb[i], &limit), 0);
}

static void poll_all(void)
{
    for (unsigned i = 0; i < T_READS; i++)
        while (aio_error(&t_left_reads.cb[i]) == EINPROGRESS)
            ;
}

static void *wait_for_left(void *unused)
{
    t_wait_for_reads(&t_left_reads);
    return unused;
}

static void wait_in_another_thread(void)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_left, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

START_TEST(what_is_left_can_be_waited_for_in_any_way)
{
    static void (*const waits[])(void) = { wait_from_the_first, wait_from_the_last, wait_with_a_limit, poll_all,
                                           wait_in_another_thread };
    int fd = t_missed_file();

    for (unsigned i = 0; i < 2 * T_COUNT(waits); i++) {
        t_leave_reads(fd);
        waits[i % T_COUNT(waits)]();
        t_assert_all_read(&t_left_reads);
    }
}
END_TEST

START_TEST(what_is_left_can_be_waited_for_with_a_read_of_a_pipe)
{
    static struct aiocb pending;
    const struct aiocb *const list[] = { &pending, &t_left_reads.cb[T_READS / 2] };
    int fd = t_missed_file(), out = t_start_pending(&pending);

    for (int i = 0; i < SOME; i++) {
        t_leave_reads(fd);
        ck_assert_int_eq(aio_suspend(list, T_COUNT(list), NULL), 0);
        t_assert_in_progress(&pending);
        t_assert_read(&t_left_reads, T_READS / 2);
        for (unsigned j = 0; j < T_READS; j++)
            if (j != T_READS / 2)
                t_at_once(&t_left_reads.cb[j]);
    }
    t_finish_pending(out, &pending);
}
END_TEST

static void canceled_or_read(unsigned *canceled)
{
    for (unsigned i = 0; i < T_READS; i++) {
        t_until_published(&t_left_reads.cb[i]);
        if (aio_error(&t_left_reads.cb[i]) == ECANCELED) {
            t_assert_failed(&t_left_reads.cb[i], ECANCELED);
            (*canceled)++;
        } else {
            t_assert_read(&t_left_reads, i);
        }
    }
}

START_TEST(what_is_left_can_be_canceled)
{
    double end = t_now() + t_patience();
    int fd = t_missed_file();
    unsigned canceled = 0;

    /* Not all of it need have been t_left_reads. */
    while (canceled < T_READS) {
        t_leave_reads(fd);
        ck_assert_int_ne(aio_cancel(fd, NULL), -1);
        canceled_or_read(&canceled);
        ck_assert(t_now() < end);
    }
    /* The queue is as it should be. */
    t_submit_reads(&t_left_reads, fd);
    t_wait_for_reads(&t_left_reads);
    t_assert_all_read(&t_left_reads);
}
END_TEST

START_TEST(close_cancels_what_is_left)
{
    double end = t_now() + t_patience();
    unsigned canceled = 0;

    while (canceled < T_READS) {
        int fd = t_missed_file();

        t_leave_reads(fd);
        ck_assert_int_eq(close(fd), 0);
        canceled_or_read(&canceled);
        ck_assert(t_now() < end);
    }
}
END_TEST

static void add_left(TCase *tests)
{
    tcase_add_test(tests, what_is_left_is_done_without_another_call);
    tcase_add_test(tests, what_is_left_can_be_waited_for_in_any_way);
    tcase_add_test(tests, what_is_left_can_be_waited_for_with_a_read_of_a_pipe);
    tcase_add_test(tests, what_is_left_can_be_canceled);
    tcase_add_test(tests, close_cancels_what_is_left);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "reads that are left to a thread",
            .add = add_left,
            .need = T_LOCAL | T_QUICK | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("missed-left", parts);
}
