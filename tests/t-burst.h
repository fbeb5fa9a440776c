/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests about a thread that submits some buffered writes, and waits as soon as it has. They need T_STATISTICS.
 *
 * Every write appends a record with its number to a log, so that the file tells what was done, and when; and on all
 * filesystems it is one that the library cannot do in the call that submits it.
 */
#ifndef T_BURST_H
#define T_BURST_H

#include "t-habit.h"

/* Few enough to be submitted in time where a sanitizer watches. */
enum { T_BURST = 4 };

typedef uint64_t t_record;

struct t_burst {
    struct aiocb cb[T_BURST];
    t_record number[T_BURST];
};

int t_empty_log(void);
void t_submit_burst(struct t_burst *one, int log, t_record first);

/* For any of those that are in progress, as often as it takes. */
void t_wait_for_burst(const struct t_burst *one);

void t_assert_burst_done(struct t_burst *one);

t_record t_records_in(int log);
t_record t_record_at(int log, t_record place);

/* The log has these records, one after the other, and nothing else. */
void t_assert_log(int log, t_record first, t_record count);

/* The calling thread has the habit when it returns, with other writes to another file. */
void t_form_habit_of_logs(void);

/* The one of t_leave_burst. */
extern struct t_burst t_left_burst;

/* A burst is left to this thread, most likely. Returns its log. */
int t_leave_burst(void);

/* For each of it. */
void t_wait_from_the_first(void);

/* All of it is done. Closes the log. */
void t_assert_burst_written(int log);

#endif
