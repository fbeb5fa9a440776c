/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests about a thread that submits some reads which the page cache does not have, and waits as soon as it has. They
 * need T_STATISTICS, and t-syscall.c: the page cache is said to have none of them, and the device to be at work on them, so
 * that they depend on no disk.
 */
#ifndef T_READS_H
#define T_READS_H

#include "t-habit.h"

enum { T_READS = 8 };

/* Of the first blocks of a file. */
struct t_reads {
    struct aiocb cb[T_READS];
    unsigned char buf[T_READS][T_BLOCK];
};

/* A file of T_HABIT_SIZE. From now on no read finds anything in the page cache. */
int t_missed_file(void);

void t_submit_reads(struct t_reads *reads, int fd);

/* For any of those in progress, as often as it takes. */
void t_wait_for_reads(const struct t_reads *reads);

void t_assert_read(struct t_reads *reads, unsigned i);
void t_assert_all_read(struct t_reads *reads);

/* Those of t_leave_reads. */
extern struct t_reads t_left_reads;

/* The calling thread has the habit when it returns: all of its latest reads were carried out by itself. */
void t_form_habit_of_reads(int fd);

/* Some are left to this thread, most likely. */
void t_leave_reads(int fd);

#endif
