/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads that come one at a time, by a thread that does not wait for them itself: where the page cache has not had the ones
 * before, the next is left to a thread of the pool without a try in the caller.
 */
#include "t-reads.h"
#include "t-syscall.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

/* Reads, and of them such as may be tried: more than each sixteenth. */
enum { SOME = 64, FEW = 6 };

static pthread_t caller;
static unsigned tried;           /* reads, in the caller */
static atomic_uint held_up;      /* reads of the pool that are to be, until it is 0 */
static atomic_uint under_way;    /* reads of the pool */

static void watch(long number, bool over)
{
    if (number == SYS_preadv2 && !over && pthread_equal(pthread_self(), caller))
        tried++;
    if (number != SYS_pread64 || over || pthread_equal(pthread_self(), caller))
        return;
    atomic_fetch_add(&under_way, 1);
    t_until(!atomic_load(&held_up));
}

/* Waits as somebody who does not carry requests out himself. */
static void wait_with_a_limit(const struct aiocb *cb)
{
    const struct timespec limit = { .tv_sec = 1000 };

    ck_assert_int_eq(aio_suspend(&cb, 1, &limit), 0);
}

static void read_one(int fd, unsigned i)
{
    memset(t_left_reads.buf[i], 0, T_BLOCK);
    t_submit_read(&t_left_reads.cb[i], fd, t_left_reads.buf[i], T_BLOCK, (off_t) i * T_BLOCK);
    wait_with_a_limit(&t_left_reads.cb[i]);
    t_assert_read(&t_left_reads, i);
}

/* SOME reads; says how many were tried. */
static unsigned read_some(int fd)
{
    tried = 0;
    for (unsigned i = 0; i < SOME; i++)
        read_one(fd, i % T_READS);
    return tried;
}

/* Until hardly any is tried: a thread of the pool that is kept from running for some ticks begins it anew. */
static void read_until_left(int fd)
{
    double end = t_now() + t_patience();

    while (read_some(fd) > FEW)
        ck_assert_msg(t_now() < end, "they are tried for ever");
}

/* From now on this thread is the caller, and watched. */
static int watched_file(void)
{
    caller = pthread_self();
    t_watch_syscalls(watch);
    return t_missed_file();
}

START_TEST(reads_that_miss_are_left_to_the_pool)
{
    int fd = watched_file();
    uint64_t before = t_stat("read.pool");

    read_until_left(fd);
    /* Each of them, tried or not. */
    ck_assert_uint_ge(t_stat("read.pool"), before + SOME);
    ck_assert_uint_eq(t_stat("read.inline"), 0);
}
END_TEST

START_TEST(reads_that_hit_again_are_done_in_the_caller)
{
    int fd = watched_file();
    uint64_t before;

    read_until_left(fd);
    t_miss_the_page_cache(false);
    read_some(fd);
    before = t_stat("read.inline");
    ck_assert_uint_eq(read_some(fd), SOME);
    ck_assert_uint_eq(t_stat("read.inline"), before + SOME);
}
END_TEST

/* So that the device is at work on it meanwhile. */
START_TEST(read_beside_another_is_tried)
{
    int fd = watched_file();

    read_until_left(fd);
    atomic_store(&under_way, 0);
    atomic_store(&held_up, 1);
    for (unsigned i = 0; i < T_READS; i++) {
        tried = 0;
        memset(t_left_reads.buf[i], 0, T_BLOCK);
        t_submit_read(&t_left_reads.cb[i], fd, t_left_reads.buf[i], T_BLOCK, (off_t) i * T_BLOCK);
        if (i)
            ck_assert_uint_eq(tried, 1);
        t_until(atomic_load(&under_way));
    }
    atomic_store(&held_up, 0);
    t_wait_for_reads(&t_left_reads);
    t_assert_all_read(&t_left_reads);
    /* Nor is the next one left to the pool because of those before. */
    tried = 0;
    read_one(fd, 0);
    ck_assert_uint_eq(tried, 1);
}
END_TEST

START_TEST(reads_of_a_list_are_tried)
{
    struct aiocb *list[T_READS];
    int fd = watched_file();

    read_until_left(fd);
    for (unsigned i = 0; i < T_READS; i++) {
        t_prepare(&t_left_reads.cb[i], fd, t_left_reads.buf[i], T_BLOCK, (off_t) i * T_BLOCK);
        t_left_reads.cb[i].aio_lio_opcode = LIO_READ;
        list[i] = &t_left_reads.cb[i];
    }
    tried = 0;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, T_READS, NULL), 0);
    ck_assert_uint_eq(tried, T_READS);
    for (unsigned i = 0; i < T_READS; i++)
        wait_with_a_limit(list[i]);
    t_assert_all_read(&t_left_reads);
}
END_TEST

/* They are the pool's all the same until it is known how the thread waits now. */
START_TEST(thread_that_begins_to_wait_at_once_carries_them_out)
{
    double end = t_now() + t_patience();
    int fd = watched_file();
    uint64_t before;

    read_until_left(fd);
    do {
        before = t_stat("read.waiter");
        tried = 0;
        for (unsigned i = 0; i < T_READS; i++) {
            t_submit_read(&t_left_reads.cb[i], fd, t_left_reads.buf[i], T_BLOCK, (off_t) i * T_BLOCK);
            t_at_once(&t_left_reads.cb[i]);
            t_assert_read(&t_left_reads, i);
        }
        ck_assert_msg(t_now() < end, "the habit is not seen");
    } while (t_stat("read.waiter") < before + T_READS || tried < T_READS);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, reads_that_miss_are_left_to_the_pool);
    tcase_add_test(tests, reads_that_hit_again_are_done_in_the_caller);
    tcase_add_test(tests, read_beside_another_is_tried);
    tcase_add_test(tests, reads_of_a_list_are_tried);
    tcase_add_test(tests, thread_that_begins_to_wait_at_once_carries_them_out);
}

int main(void)
{
    static const struct t_part parts[] = {
        {
            .name = "reads one at a time",
            .add = add,
            .need = T_POOL | T_LOCAL | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("alone", parts);
}
