/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests about a thread that waits for each request at once, and so comes to carry them out itself. They need
 * T_STATISTICS, by which the habit is seen.
 */
#ifndef T_HABIT_H
#define T_HABIT_H

#include "t.h"

enum { T_HABIT_SIZE = 1 << 20, T_BLOCK = 4096 };

/* A file of T_HABIT_SIZE, writes to which the library cannot do in the caller, whatever the filesystem. */
int t_slow_to_write(void);

/* Waits for the request in the way that makes the habit. */
void t_at_once(const struct aiocb *cb);

/* The same for any of those in progress, as often as it takes until none is; at most T_HABIT_MANY. */
enum { T_HABIT_MANY = 8 };
void t_wait_for_any_of(const struct aiocb *cbs, unsigned count);

/* Writes T_BLOCK bytes, waits at once, and asserts that they are written. */
void t_write_at_once(struct aiocb *cb, int fd, const void *block, off_t place);

/*
 * The calling thread has the habit when it returns: the latest of its writes of T_BLOCK to the beginning of fd was carried
 * out by itself.
 */
void t_form_habit(int fd);

/* The same for writes that the call does which submits them, where fd's filesystem lets it. */
void t_be_granted(int fd);

/* The habit is formed, and a write of the block at that place is left to this thread. */
void t_leave_write(struct aiocb *cb, int fd, void *block, off_t place);

/* The block at that place of the file is what t_fill puts there. */
void t_assert_written(int fd, off_t place);

#endif
