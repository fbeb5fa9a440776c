/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bursts of writes: see t-burst.h.
 */
#include "t-burst.h"

#include <fcntl.h>

struct t_burst t_left_burst;

int t_empty_log(void)
{
    return t_reopen(t_empty_file(), O_RDWR | O_APPEND);
}

void t_submit_burst(struct t_burst *one, int log, t_record first)
{
    for (unsigned i = 0; i < T_BURST; i++) {
        one->number[i] = first + i;
        t_prepare(&one->cb[i], log, &one->number[i], sizeof(t_record), 0);
        ck_assert_int_eq(aio_write(&one->cb[i]), 0);
    }
}

void t_wait_for_burst(const struct t_burst *one)
{
    t_wait_for_any_of(one->cb, T_BURST);
}

void t_assert_burst_done(struct t_burst *one)
{
    for (unsigned i = 0; i < T_BURST; i++)
        t_assert_done(&one->cb[i], sizeof(t_record));
}

t_record t_records_in(int log)
{
    off_t end = lseek(log, 0, SEEK_END);

    ck_assert_int_eq(end % (off_t) sizeof(t_record), 0);
    return (t_record) end / sizeof(t_record);
}

t_record t_record_at(int log, t_record place)
{
    t_record found;

    ck_assert_int_eq(pread(log, &found, sizeof(found), (off_t) (place * sizeof(found))), sizeof(found));
    return found;
}

void t_assert_log(int log, t_record first, t_record count)
{
    ck_assert_uint_eq(t_records_in(log), count);
    for (t_record i = 0; i < count; i++)
        ck_assert_uint_eq(t_record_at(log, i), first + i);
}

void t_form_habit_of_logs(void)
{
    int log = t_empty_log();

    t_form_habit(log);
    ck_assert_int_eq(close(log), 0);
}

int t_leave_burst(void)
{
    int log = t_empty_log();

    t_form_habit_of_logs();
    t_submit_burst(&t_left_burst, log, 0);
    return log;
}

void t_assert_burst_written(int log)
{
    t_assert_burst_done(&t_left_burst);
    t_assert_log(log, 0, T_BURST);
    ck_assert_int_eq(close(log), 0);
}

void t_wait_from_the_first(void)
{
    for (unsigned i = 0; i < T_BURST; i++)
        t_at_once(&t_left_burst.cb[i]);
}
