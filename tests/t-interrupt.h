/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests about submissions that SIGUSR1 interrupts just before the kernel has the request, or just after. They are of
 * blocks of a file opened with O_DIRECT, which is in use already.
 */
#ifndef T_INTERRUPT_H
#define T_INTERRUPT_H

#include "t.h"

enum { T_BLOCK = 4096, T_BLOCKS = 32, T_SIZE = T_BLOCKS * T_BLOCK };

/* The file, and memory for all of its blocks. */
extern int t_fd;
extern unsigned char *t_blocks;

/* Opens it anew, with O_DIRECT and flags. */
void t_open_direct(int file, int flags);

/* The next request finds the file in use: behind its end a read is in flight, t_held, until somebody looks. */
extern struct aiocb t_held;
void t_hold_file(void);

/* When the calling thread's submissions to the kernel are interrupted. */
extern __thread enum t_when { T_NEVER, T_BEFORE, T_AFTER } t_when;

/* The last of them was when it should, not later. */
extern bool t_in_time;

/* A test that interrupts nothing shows nothing: most of the submissions must have been interrupted when they should. */
void t_assert_interrupted(int submissions);

/* Until the request has its result, and what is behind that is done: aio_cancel begins with it, for whatever descriptor. */
void t_see_to(const struct aiocb *one);

/* What is submitted to the file before is done. */
void t_sync_the_file(void);

#endif
