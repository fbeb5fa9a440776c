/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Transfers that are accepted without a lock because others of their file are in flight: they keep
 * their place before what comes later, and none is lost, whoever puts them in order.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { BLOCK = 4096, MANY = 32, SIZE = MANY * BLOCK, ROUNDS = 200, THREADS = 4, DEPTH = 4 };

static struct aiocb cbs[MANY], sync_cb;
static unsigned char *blocks;
static int fd;

static void open_direct(int file, int flags)
{
    fd = t_reopen(file, flags | O_DIRECT);
    blocks = t_aligned(SIZE);
}

static void submit_reads(int first, int count)
{
    for (int i = first; i < first + count; i++)
        t_submit_read(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
}

static void wait_reads(void)
{
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], BLOCK);
    t_assert_data(blocks, SIZE, 0);
    memset(blocks, 0, SIZE);
}

START_TEST(what_the_kernel_refuses_in_the_middle_is_done)
{
    open_direct(t_cold_file(SIZE), O_RDONLY);
    submit_reads(0, MANY / 2);
    t_forbid(SYS_io_submit, ENOMEM);
    submit_reads(MANY / 2, MANY / 2);
    wait_reads();
}
END_TEST

START_TEST(sync_waits_for_all_that_were_submitted_before)
{
    open_direct(t_cached_file(SIZE), O_RDWR);
    t_fill(blocks, SIZE, 0);
    for (size_t round = 0; round < t_scale(ROUNDS); round++) {
        for (int i = 0; i < MANY; i++)
            t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
        t_submit_sync(&sync_cb, fd, O_DSYNC);
        /* Without aio_error or aio_suspend, which would see to the writes too. */
        t_until(__atomic_load_n(&sync_cb.__error_code, __ATOMIC_ACQUIRE) != EINPROGRESS);
        for (int i = 0; i < MANY; i++)
            ck_assert_int_eq(__atomic_load_n(&cbs[i].__error_code, __ATOMIC_ACQUIRE), 0);
        t_assert_done(&sync_cb, 0);
    }
}
END_TEST

START_TEST(cancel_of_all_finds_all)
{
    int answer;

    open_direct(t_cold_file(SIZE), O_RDONLY);
    for (size_t round = 0; round < t_scale(ROUNDS); round++) {
        submit_reads(0, MANY);
        /* The device has some: they are not canceled. The others wait for room, or are done. */
        answer = aio_cancel(fd, NULL);
        ck_assert_int_ge(answer, 0);
        for (int i = 0; i < MANY; i++) {
            if (answer != AIO_NOTCANCELED)
                ck_assert_int_ne(aio_error(&cbs[i]), EINPROGRESS);
            t_wait(&cbs[i]);
            if (aio_error(&cbs[i]) != ECANCELED)
                t_assert_done(&cbs[i], BLOCK);
        }
    }
}
END_TEST

/* The flags are the file's as they are now, though nothing else of it has to be asked again. */
START_TEST(writes_append_in_order_from_where_the_flag_is_set)
{
    unsigned char *read = t_aligned(BLOCK);
    int file = t_empty_file();

    for (size_t round = 0; round < t_scale(ROUNDS) / 4; round++) {
        ck_assert_int_eq(ftruncate(file, 0), 0);
        open_direct(file, O_RDWR);
        t_fill(blocks, SIZE, 0);
        /* Behind the end: in flight until somebody looks. */
        t_submit_read(&sync_cb, fd, read, BLOCK, 0);
        ck_assert_int_eq(fcntl(fd, F_SETFL, O_DIRECT | O_APPEND), 0);
        for (int i = 0; i < MANY; i++)
            t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, 0);
        for (int i = 0; i < MANY; i++)
            t_wait_done(&cbs[i], BLOCK);
        t_wait(&sync_cb);
        memset(blocks, 0, SIZE);
        ck_assert_int_eq(pread(fd, blocks, SIZE, 0), SIZE);
        t_assert_data(blocks, SIZE, 0);
        free(blocks);
        close(fd);
    }
    free(read);
}
END_TEST

/* Some reap by aio_error, some by aio_suspend, while others submit. */
static void *read_and_poll(void *argument)
{
    long number = (long) argument;
    unsigned char *bytes = t_aligned(DEPTH * BLOCK);
    struct aiocb mine[DEPTH];
    int place[DEPTH] = { 0 };

    memset(mine, 0, sizeof(mine));
    for (size_t n = 0; n < DEPTH * t_scale(5000); n++) {
        int i = (int) (n % DEPTH);

        if (n >= DEPTH) {
            while (number % 2 && aio_error(&mine[i]) == EINPROGRESS)
                ;
            t_wait_done(&mine[i], BLOCK);
            t_assert_data(bytes + i * BLOCK, BLOCK, place[i]);
        }
        place[i] = (int) (n * 7 % MANY) * BLOCK;
        t_submit_read(&mine[i], fd, bytes + i * BLOCK, BLOCK, place[i]);
    }
    for (int i = 0; i < DEPTH; i++)
        t_wait_done(&mine[i], BLOCK);
    free(bytes);
    return NULL;
}

START_TEST(many_threads_read_one_file)
{
    pthread_t threads[THREADS];

    open_direct(t_cold_file(SIZE), O_RDONLY);
    for (long i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_and_poll, (void *) i), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    /* All have left: a barrier has nothing to wait for. */
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
}
END_TEST

static void add_inbox(TCase *tests)
{
    tcase_add_test(tests, what_the_kernel_refuses_in_the_middle_is_done);
    tcase_add_test(tests, sync_waits_for_all_that_were_submitted_before);
    tcase_add_test(tests, cancel_of_all_finds_all);
    tcase_add_test(tests, writes_append_in_order_from_where_the_flag_is_set);
    tcase_add_test(tests, many_threads_read_one_file);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "accepted without a lock", .add = add_inbox },
        { .name = NULL },
    };

    return t_main("inbox", parts);
}
