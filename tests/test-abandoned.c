/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that submits some buffered writes, which are left to it, and does not wait for them: it cancels them, closes
 * their file, exits or forks. Each is carried out once or canceled.
 */
#include "t-burst.h"

#include <fcntl.h>
#include <stdlib.h>

/* All that are not canceled, and nothing else, is in the log. */
static unsigned count_canceled(int log)
{
    unsigned canceled = 0;

    for (unsigned i = 0; i < T_BURST; i++) {
        t_until_published(&t_left_burst.cb[i]);
        if (aio_error(&t_left_burst.cb[i]) == ECANCELED) {
            canceled++;
        } else {
            t_assert_done(&t_left_burst.cb[i], sizeof(t_record));
            ck_assert_uint_eq(t_record_at(log, i - canceled), i);
        }
    }
    ck_assert_uint_eq(t_records_in(log), T_BURST - canceled);
    return canceled;
}

START_TEST(what_is_left_can_be_canceled)
{
    double end = t_now() + t_patience();
    unsigned canceled = 0;

    /* The tick may come first. */
    while (canceled < T_BURST) {
        int log = t_leave_burst(), result = aio_cancel(log, NULL);

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
        int log = t_leave_burst();

        canceled = aio_cancel(log, &t_left_burst.cb[T_BURST / 2]) == AIO_CANCELED;
        t_wait_for_burst(&t_left_burst);
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
        int log = t_leave_burst(), copy = fcntl(log, F_DUPFD_CLOEXEC, 0);

        ck_assert_int_eq(close(log), 0);
        canceled = count_canceled(copy);
        ck_assert(t_now() < end);
    }
}
END_TEST

static void leave_and_exit(void *argument)
{
    t_drop_statistics();
    t_form_habit_of_logs();
    t_submit_burst(&t_left_burst, *(int *) argument, 0);
    exit(0);
}

START_TEST(exit_carries_out_what_is_left)
{
    int log = t_empty_log();

    t_reap(t_child(leave_and_exit, &log));
    t_assert_log(log, 0, T_BURST);
}
END_TEST

static void wait_and_write_in_child(void *unused)
{
    (void) unused;
    t_drop_statistics();
    /* What was left is the parent's. */
    t_wait_from_the_first();
    t_form_habit_of_logs();
}

START_TEST(forked_child_leaves_it_alone_and_forms_its_own)
{
    int log = t_leave_burst();
    pid_t child = t_child(wait_and_write_in_child, NULL);

    t_wait_for_burst(&t_left_burst);
    t_assert_burst_written(log);
    t_reap(child);
}
END_TEST

static void add_abandoned(TCase *tests)
{
    tcase_add_test(tests, what_is_left_can_be_canceled);
    tcase_add_test(tests, one_of_those_left_can_be_canceled);
    tcase_add_test(tests, close_cancels_what_is_left);
    tcase_add_test(tests, exit_carries_out_what_is_left);
    tcase_add_test(tests, forked_child_leaves_it_alone_and_forms_its_own);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "bursts that nobody waits for",
            .add = add_abandoned,
            .need = T_LOCAL | T_PROMPT | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("abandoned", parts);
}
