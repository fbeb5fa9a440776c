/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that keeps several reads in flight which the page cache does not have, and waits for any of them as soon as it has
 * submitted, carries them out itself, where they follow each other fast: which it does, and which it leaves to the pool.
 */
#include "t-reads.h"
#include "t-syscall.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { BLOCK = T_BLOCK, SOME = 20, MANY = 200, THREADS = 2 };

/* Waits that earn less than a read that is held up for 20 moments costs (habit.c). */
enum { WITHOUT = 400 };

START_TEST(reads_are_carried_out_by_their_thread)
{
    int fd = t_missed_file();

    for (int i = 0; i < SOME; i++)
        t_form_habit_of_reads(fd);
}
END_TEST

/* For each, so that nothing is left to the wait. */
static void wait_with_limits(const struct aiocb *const list[], int count)
{
    const struct timespec limit = { .tv_sec = 1000 };

    for (int i = 0; i < count; i++)
        ck_assert_int_eq(aio_suspend(&list[i], 1, &limit), 0);
}

/* One file's may be held up by one of them, another's must not. */
START_TEST(reads_of_two_files_are_the_pools)
{
    static struct aiocb cb[2];
    static unsigned char buf[2][BLOCK];
    const struct aiocb *const list[] = { &cb[0], &cb[1] };
    int fd[2] = { t_missed_file(), t_cached_file(T_HABIT_SIZE) };
    uint64_t before;

    t_form_habit_of_reads(fd[1]);
    before = t_stat("read.waiter");
    for (int i = 0; i < MANY; i++) {
        for (int j = 0; j < 2; j++)
            t_submit_read(&cb[j], fd[j], buf[j], BLOCK, 0);
        ck_assert_int_eq(aio_suspend(list, 2, NULL), 0);
        wait_with_limits(list, 2);
        for (int j = 0; j < 2; j++)
            t_assert_done(&cb[j], BLOCK);
    }
    ck_assert_uint_eq(t_stat("read.waiter"), before);
}
END_TEST

static atomic_bool slow; /* the next read is */
static pthread_t reader; /* that was held up */

static void hold_up(long number, bool over)
{
    if (number != SYS_pread64 || over || !atomic_exchange(&slow, false))
        return;
    reader = pthread_self();
    for (int moments = 0; moments < 20; moments++)
        t_moment();
}

static void assert_long_read_ends_it(void (*wait)(void))
{
    double end = t_now() + t_patience();
    int fd = t_missed_file();
    uint64_t before;

    t_watch_syscalls(hold_up);
    do {
        t_leave_reads(fd);
        atomic_store(&slow, true);
        wait();
        t_wait_for_reads(&t_left_reads);
        t_assert_all_read(&t_left_reads);
        ck_assert(!atomic_load(&slow));
        ck_assert(t_now() < end);
    } while (!pthread_equal(reader, pthread_self()));
    before = t_stat("read.waiter");
    for (int i = 0; i < WITHOUT / T_READS; i++) {
        t_submit_reads(&t_left_reads, fd);
        t_wait_for_reads(&t_left_reads);
        t_assert_all_read(&t_left_reads);
    }
    ck_assert_uint_eq(t_stat("read.waiter"), before);
}

static void wait_for_any(void)
{
    t_wait_for_reads(&t_left_reads);
}

static void wait_for_the_last(void)
{
    t_at_once(&t_left_reads.cb[T_READS - 1]);
}

/* The others had to wait for it. */
START_TEST(read_that_takes_long_ends_it)
{
    assert_long_read_ends_it(wait_for_any);
}
END_TEST

START_TEST(read_that_keeps_the_wait_for_another_ends_it)
{
    assert_long_read_ends_it(wait_for_the_last);
}
END_TEST

/* What holds a read up must not hold up a write, in the wait or in the next call. */
START_TEST(reads_and_writes_together_are_the_pools)
{
    static struct aiocb write, read;
    static unsigned char buf[2][BLOCK];
    const struct aiocb *const list[] = { &write, &read };
    int fd = t_missed_file(), to_write = t_reopen(fd, O_RDWR);
    uint64_t reads, writes;

    t_form_habit_of_reads(fd);
    reads = t_stat("read.waiter");
    writes = t_stat("write.inline");
    t_fill(buf[0], BLOCK, 0);
    t_watch_syscalls(hold_up);
    for (int i = 0; i < SOME; i++) {
        atomic_store(&slow, true);
        t_submit_read(&read, fd, buf[1], BLOCK, BLOCK);
        t_submit_write(&write, to_write, buf[0], BLOCK, 0);
        ck_assert_int_eq(aio_suspend(list, 2, NULL), 0);
        if (aio_error(&write) == 0)
            t_submit_write(&write, to_write, buf[0], BLOCK, 0);
        wait_with_limits(list, 2);
    }
    ck_assert_uint_eq(t_stat("read.waiter"), reads);
    ck_assert_uint_eq(t_stat("write.inline"), writes);
}
END_TEST

/* In whichever way the thread goes on then. */
START_TEST(reads_one_at_a_time_of_two_files_are_carried_out_by_their_thread)
{
    double end = t_now() + t_patience();
    int fd[2] = { t_missed_file(), t_cached_file(T_HABIT_SIZE) };
    unsigned in_a_row = 0;

    for (unsigned i = 0; in_a_row < SOME; i++) {
        uint64_t before = t_stat("read.waiter");

        t_submit_read(&t_left_reads.cb[0], fd[i % 2], t_left_reads.buf[0], BLOCK, 0);
        t_at_once(&t_left_reads.cb[0]);
        t_assert_read(&t_left_reads, 0);
        in_a_row = t_stat("read.waiter") > before ? in_a_row + 1 : 0;
        ck_assert_msg(t_now() < end, "the habit is not seen");
    }
}
END_TEST

static int common;

static void *read_for_itself(void *argument)
{
    struct t_reads *own = argument;

    for (size_t i = 0; i < t_scale(MANY); i++) {
        t_submit_reads(own, common);
        t_wait_for_reads(own);
        t_assert_all_read(own);
    }
    return NULL;
}

START_TEST(each_of_two_threads_has_its_own)
{
    static struct t_reads own[THREADS];
    pthread_t threads[THREADS];

    common = t_missed_file();
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_for_itself, &own[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

static void add_quick(TCase *tests)
{
    tcase_add_test(tests, reads_are_carried_out_by_their_thread);
    tcase_add_test(tests, reads_of_two_files_are_the_pools);
    tcase_add_test(tests, read_that_takes_long_ends_it);
    tcase_add_test(tests, read_that_keeps_the_wait_for_another_ends_it);
    tcase_add_test(tests, reads_one_at_a_time_of_two_files_are_carried_out_by_their_thread);
}

static void add_to_ext4(TCase *tests)
{
    tcase_add_test(tests, reads_and_writes_together_are_the_pools);
}

static void add_any(TCase *tests)
{
    tcase_add_test(tests, each_of_two_threads_has_its_own);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "reads that are left to their thread",
            .add = add_quick,
            .need = T_LOCAL | T_QUICK | T_STATISTICS,
        },
        {
            .name = "reads and writes that are left to their thread",
            .add = add_to_ext4,
            .need = T_EXT4 | T_QUICK | T_STATISTICS,
        },
        {
            .name = "reads of threads that wait at once",
            .add = add_any,
            .need = T_LOCAL,
        },
        { .name = NULL },
    };

    return t_main("missed", parts);
}
