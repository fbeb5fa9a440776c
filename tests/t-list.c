/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lists: see t-list.h.
 */
#include "t-list.h"

struct aiocb t_cbs[T_ENTRIES], *t_list[T_ENTRIES];
unsigned char t_pieces[T_LIST_SIZE];

void t_prepare_entry(int i, int opcode, int fd)
{
    t_prepare(&t_cbs[i], fd, t_pieces + i * T_PIECE, T_PIECE, i * T_PIECE);
    t_cbs[i].aio_lio_opcode = opcode;
    t_list[i] = &t_cbs[i];
}

void t_prepare_reads(int fd, int count)
{
    for (int i = 0; i < count; i++)
        t_prepare_entry(i, LIO_READ, fd);
}

void t_assert_reads_done(int count)
{
    for (int i = 0; i < count; i++)
        t_assert_done(&t_cbs[i], T_PIECE);
    t_assert_data(t_pieces, (size_t) count * T_PIECE, 0);
}
