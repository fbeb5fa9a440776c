/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of lio_listio: a list, its control blocks, and what they read.
 */
#ifndef T_LIST_H
#define T_LIST_H

#include "t.h"

enum { T_LIST_SIZE = 1 << 20, T_ENTRIES = 100, T_PIECE = 1000 };

extern struct aiocb t_cbs[T_ENTRIES], *t_list[T_ENTRIES];
extern unsigned char t_pieces[T_LIST_SIZE];

/* Makes list entry i a request of its own piece of t_pieces. */
void t_prepare_entry(int i, int opcode, int fd);

/* Makes the first count entries reads of fd, which t_fill has filled. */
void t_prepare_reads(int fd, int count);

/* They are done, and have read what is there. */
void t_assert_reads_done(int count);

#endif
