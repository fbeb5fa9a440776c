/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads that the page cache does not have: see t-reads.h.
 */
#include "t-reads.h"

#include "t-syscall.h"

struct t_reads t_left_reads;

int t_missed_file(void)
{
    t_miss_the_page_cache(true);
    return t_cached_file(T_HABIT_SIZE);
}

void t_submit_reads(struct t_reads *reads, int fd)
{
    for (unsigned i = 0; i < T_READS; i++) {
        memset(reads->buf[i], 0, T_BLOCK);
        t_submit_read(&reads->cb[i], fd, reads->buf[i], T_BLOCK, (off_t) i * T_BLOCK);
    }
}

void t_wait_for_reads(const struct t_reads *reads)
{
    t_wait_for_any_of(reads->cb, T_READS);
}

void t_assert_read(struct t_reads *reads, unsigned i)
{
    t_assert_done(&reads->cb[i], T_BLOCK);
    t_assert_data(reads->buf[i], T_BLOCK, (off_t) i * T_BLOCK);
}

void t_assert_all_read(struct t_reads *reads)
{
    for (unsigned i = 0; i < T_READS; i++)
        t_assert_read(reads, i);
}

void t_form_habit_of_reads(int fd)
{
    double end = t_now() + t_patience();
    uint64_t before;

    do {
        before = t_stat("read.waiter");
        t_submit_reads(&t_left_reads, fd);
        t_wait_for_reads(&t_left_reads);
        t_assert_all_read(&t_left_reads);
        ck_assert_msg(t_now() < end, "the habit is not seen");
    } while (t_stat("read.waiter") < before + T_READS);
}

void t_leave_reads(int fd)
{
    t_form_habit_of_reads(fd);
    t_submit_reads(&t_left_reads, fd);
}
