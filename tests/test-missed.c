/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reads that the page cache does not have, of a thread that waits for any of several as soon as it has submitted them: it
 * carries them out itself, where they follow each other fast. However it waits, all of them are carried out.
 *
 * The page cache is said to have none of them, and the device to be at work on them: so it depends on no disk.
 */
#include "t-habit.h"
#include "t-syscall.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { BLOCK = T_BLOCK, DEPTH = 8, SOME = 20, MANY = 200, THREADS = 2 };

/* Waits that earn less than a read that is held up for 20 moments costs (habit.c). */
enum { WITHOUT = 400 };

/* Some reads of a file, the first from there on. */
struct reads {
    struct aiocb cb[DEPTH];
    unsigned char buf[DEPTH][BLOCK];
};

static struct reads left;

static int missed_file(void)
{
    t_miss_the_page_cache();
    return t_cached_file(T_HABIT_SIZE);
}

static void submit(struct reads *reads, int fd)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        memset(reads->buf[i], 0, BLOCK);
        t_submit_read(&reads->cb[i], fd, reads->buf[i], BLOCK, (off_t) i * BLOCK);
    }
}

/* For any of those in progress, as often as it takes. */
static void wait_for(const struct reads *reads)
{
    for (;;) {
        const struct aiocb *list[DEPTH];
        int count = 0;

        for (unsigned i = 0; i < DEPTH; i++)
            if (aio_error(&reads->cb[i]) == EINPROGRESS)
                list[count++] = &reads->cb[i];
        if (!count)
            return;
        ck_assert_int_eq(aio_suspend(list, count, NULL), 0);
    }
}

static void assert_read(struct reads *reads, unsigned i)
{
    t_assert_done(&reads->cb[i], BLOCK);
    t_assert_data(reads->buf[i], BLOCK, (off_t) i * BLOCK);
}

static void assert_all_read(struct reads *reads)
{
    for (unsigned i = 0; i < DEPTH; i++)
        assert_read(reads, i);
}

/* The calling thread has the habit when it returns: all of its latest reads were carried out by itself. */
static void form_habit(int fd)
{
    double end = t_now() + t_patience();
    uint64_t before;

    do {
        before = t_stat("read.waiter");
        submit(&left, fd);
        wait_for(&left);
        assert_all_read(&left);
        ck_assert_msg(t_now() < end, "the habit is not seen");
    } while (t_stat("read.waiter") < before + DEPTH);
}

/* Some are left to this thread, most likely. */
static void leave(int fd)
{
    form_habit(fd);
    submit(&left, fd);
}

static void until_published(const struct aiocb *one)
{
    t_until(__atomic_load_n(&one->__error_code, __ATOMIC_ACQUIRE) != EINPROGRESS);
}

START_TEST(reads_are_carried_out_by_their_thread)
{
    int fd = missed_file();

    for (int i = 0; i < SOME; i++)
        form_habit(fd);
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
    int fd[2] = { missed_file(), t_cached_file(T_HABIT_SIZE) };
    uint64_t before;

    form_habit(fd[1]);
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
    int fd = missed_file();
    uint64_t before;

    t_watch_syscalls(hold_up);
    do {
        leave(fd);
        atomic_store(&slow, true);
        wait();
        wait_for(&left);
        assert_all_read(&left);
        ck_assert(!atomic_load(&slow));
        ck_assert(t_now() < end);
    } while (!pthread_equal(reader, pthread_self()));
    before = t_stat("read.waiter");
    for (int i = 0; i < WITHOUT / DEPTH; i++) {
        submit(&left, fd);
        wait_for(&left);
        assert_all_read(&left);
    }
    ck_assert_uint_eq(t_stat("read.waiter"), before);
}

static void wait_for_any(void)
{
    wait_for(&left);
}

static void wait_for_the_last(void)
{
    t_at_once(&left.cb[DEPTH - 1]);
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
    int fd = missed_file(), to_write = t_reopen(fd, O_RDWR);
    uint64_t reads, writes;

    form_habit(fd);
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
    int fd[2] = { missed_file(), t_cached_file(T_HABIT_SIZE) };
    unsigned in_a_row = 0;

    for (unsigned i = 0; in_a_row < SOME; i++) {
        uint64_t before = t_stat("read.waiter");

        t_submit_read(&left.cb[0], fd[i % 2], left.buf[0], BLOCK, 0);
        t_at_once(&left.cb[0]);
        assert_read(&left, 0);
        in_a_row = t_stat("read.waiter") > before ? in_a_row + 1 : 0;
        ck_assert_msg(t_now() < end, "the habit is not seen");
    }
}
END_TEST

START_TEST(what_is_left_is_done_without_another_call)
{
    int fd = missed_file();

    leave(fd);
    for (unsigned i = 0; i < DEPTH; i++)
        until_published(&left.cb[i]);
    assert_all_read(&left);
}
END_TEST

static void wait_from_the_first(void)
{
    for (unsigned i = 0; i < DEPTH; i++)
        t_at_once(&left.cb[i]);
}

static void wait_from_the_last(void)
{
    for (unsigned i = DEPTH; i--;)
        t_at_once(&left.cb[i]);
}

static void wait_with_a_limit(void)
{
    const struct timespec limit = { .tv_sec = 1000 };

    for (unsigned i = 0; i < DEPTH; i++)
        ck_assert_int_eq(t_suspend(&left.cb[i], &limit), 0);
}

static void poll_all(void)
{
    for (unsigned i = 0; i < DEPTH; i++)
        while (aio_error(&left.cb[i]) == EINPROGRESS)
            ;
}

static void *wait_for_left(void *unused)
{
    wait_for(&left);
    return unused;
}

static void wait_in_another_thread(void)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_left, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

START_TEST(what_is_left_can_be_waited_for_in_any_way)
{
    static void (*const waits[])(void) = { wait_from_the_first, wait_from_the_last, wait_with_a_limit, poll_all,
                                           wait_in_another_thread };
    int fd = missed_file();

    for (unsigned i = 0; i < 2 * T_COUNT(waits); i++) {
        leave(fd);
        waits[i % T_COUNT(waits)]();
        assert_all_read(&left);
    }
}
END_TEST

START_TEST(what_is_left_can_be_waited_for_with_a_read_of_a_pipe)
{
    static struct aiocb pending;
    const struct aiocb *const list[] = { &pending, &left.cb[DEPTH / 2] };
    int fd = missed_file(), out = t_start_pending(&pending);

    for (int i = 0; i < SOME; i++) {
        leave(fd);
        ck_assert_int_eq(aio_suspend(list, T_COUNT(list), NULL), 0);
        t_assert_in_progress(&pending);
        assert_read(&left, DEPTH / 2);
        for (unsigned j = 0; j < DEPTH; j++)
            if (j != DEPTH / 2)
                t_at_once(&left.cb[j]);
    }
    t_finish_pending(out, &pending);
}
END_TEST

static void canceled_or_read(unsigned *canceled)
{
    for (unsigned i = 0; i < DEPTH; i++) {
        until_published(&left.cb[i]);
        if (aio_error(&left.cb[i]) == ECANCELED) {
            t_assert_failed(&left.cb[i], ECANCELED);
            (*canceled)++;
        } else {
            assert_read(&left, i);
        }
    }
}

START_TEST(what_is_left_can_be_canceled)
{
    double end = t_now() + t_patience();
    int fd = missed_file();
    unsigned canceled = 0;

    /* Not all of it need have been left. */
    while (canceled < DEPTH) {
        leave(fd);
        ck_assert_int_ne(aio_cancel(fd, NULL), -1);
        canceled_or_read(&canceled);
        ck_assert(t_now() < end);
    }
    /* The queue is as it should be. */
    submit(&left, fd);
    wait_for(&left);
    assert_all_read(&left);
}
END_TEST

START_TEST(close_cancels_what_is_left)
{
    double end = t_now() + t_patience();
    unsigned canceled = 0;

    while (canceled < DEPTH) {
        int fd = missed_file();

        leave(fd);
        ck_assert_int_eq(close(fd), 0);
        canceled_or_read(&canceled);
        ck_assert(t_now() < end);
    }
}
END_TEST

static int common;

static void *read_for_itself(void *argument)
{
    struct reads *own = argument;

    for (size_t i = 0; i < t_scale(MANY); i++) {
        submit(own, common);
        wait_for(own);
        assert_all_read(own);
    }
    return NULL;
}

START_TEST(each_of_two_threads_has_its_own)
{
    static struct reads own[THREADS];
    pthread_t threads[THREADS];

    common = missed_file();
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
    tcase_add_test(tests, reads_one_at_a_time_of_two_files_are_carried_out_by_their_thread);
    tcase_add_test(tests, read_that_takes_long_ends_it);
    tcase_add_test(tests, read_that_keeps_the_wait_for_another_ends_it);
    tcase_add_test(tests, what_is_left_is_done_without_another_call);
    tcase_add_test(tests, what_is_left_can_be_waited_for_in_any_way);
    tcase_add_test(tests, what_is_left_can_be_waited_for_with_a_read_of_a_pipe);
    tcase_add_test(tests, what_is_left_can_be_canceled);
    tcase_add_test(tests, close_cancels_what_is_left);
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
