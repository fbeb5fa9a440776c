/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data of reads and writes on every kind of seekable file: cached, cold, direct, synchronous,
 * in memory, of no disk at all.
 */
#include "t.h"

#include <stdlib.h>

enum { SIZE = 1 << 20, PIECE = 10000 };

static struct aiocb cb;
static unsigned char buf[SIZE];

START_TEST(cached_reads_bring_the_bytes_of_their_place)
{
    int fd = t_cached_file(SIZE);
    const size_t lengths[] = { 0, 1, 511, 4096, 4097, 65536, 65537, 300000, SIZE };

    for (size_t i = 0; i < T_COUNT(lengths); i++) {
        off_t place = (off_t) (SIZE - lengths[i]) / 3;

        memset(buf, 0xaa, sizeof(buf));
        t_submit_read(&cb, fd, buf, lengths[i], place);
        t_wait_done(&cb, (ssize_t) lengths[i]);
        t_assert_data(buf, lengths[i], place);
        ck_assert(lengths[i] == SIZE || buf[lengths[i]] == 0xaa);
    }
}
END_TEST

START_TEST(cold_reads_bring_the_bytes_of_their_place)
{
    int fd = t_cold_file(SIZE);

    for (off_t place = 1; place < SIZE - PIECE; place += 8 * PIECE) {
        t_submit_read(&cb, fd, buf, PIECE, place);
        t_wait_done(&cb, PIECE);
        t_assert_data(buf, PIECE, place);
    }
}
END_TEST

START_TEST(direct_reads_and_writes_bring_the_bytes_of_their_place)
{
    int file = t_cached_file(SIZE), fd = t_reopen(file, O_RDWR | O_DIRECT);
    unsigned char *aligned = t_aligned(SIZE);

    if (fd < 0)
        return;
    t_submit_read(&cb, fd, aligned, SIZE / 2, 8192);
    t_wait_done(&cb, SIZE / 2);
    t_assert_data(aligned, SIZE / 2, 8192);
    t_fill(aligned, 16384, 77);
    t_submit_write(&cb, fd, aligned, 16384, 4096);
    t_wait_done(&cb, 16384);
    ck_assert_int_eq(pread(file, buf, 16384, 4096), 16384);
    t_assert_data(buf, 16384, 77);
    free(aligned);
}
END_TEST

START_TEST(misaligned_direct_read_is_einval_or_done)
{
    int fd = t_reopen(t_cached_file(SIZE), O_RDWR | O_DIRECT);
    unsigned char *aligned = t_aligned(8192);
    ssize_t truth = pread(fd, aligned + 3, 1000, 5);
    int error = truth < 0 ? errno : 0;

    t_submit_read(&cb, fd, aligned + 3, 1000, 5);
    if (error)
        t_wait_failed(&cb, error);
    else
        t_wait_done(&cb, truth);
    free(aligned);
}
END_TEST

START_TEST(memory_files_are_read_and_written)
{
    int fd = t_memory_file(SIZE);

    t_submit_read(&cb, fd, buf, SIZE / 2, 5);
    t_wait_done(&cb, SIZE / 2);
    t_assert_data(buf, SIZE / 2, 5);
    t_submit_write(&cb, fd, buf, SIZE / 2, SIZE);
    t_wait_done(&cb, SIZE / 2);
    ck_assert_int_eq(pread(fd, buf, SIZE / 2, SIZE), SIZE / 2);
    t_assert_data(buf, SIZE / 2, 5);
}
END_TEST

START_TEST(files_of_proc_are_read)
{
    unsigned char truth[100];
    int fd = open("/proc/sys/kernel/ostype", O_RDONLY | O_CLOEXEC);
    ssize_t n = pread(fd, truth, sizeof(truth), 0);

    t_submit_read(&cb, fd, buf, sizeof(truth), 0);
    t_wait_done(&cb, n);
    ck_assert_mem_eq(buf, truth, n);
}
END_TEST

START_TEST(writes_put_the_bytes_at_their_place)
{
    int fd = t_empty_file();

    t_fill(buf, SIZE, 0);
    for (off_t place = 0; place < SIZE; place += SIZE / 8) {
        t_submit_write(&cb, fd, buf + place, SIZE / 8, place);
        t_wait_done(&cb, SIZE / 8);
    }
    memset(buf, 0, SIZE);
    ck_assert_int_eq(pread(fd, buf, SIZE, 0), SIZE);
    t_assert_data(buf, SIZE, 0);
}
END_TEST

START_TEST(synchronous_files_are_written)
{
    const int flags[] = { O_SYNC, O_DSYNC, O_DSYNC | O_DIRECT };
    unsigned char *aligned = t_aligned(8192);
    int file = t_cached_file(SIZE);

    t_fill(aligned, 8192, 11);
    for (size_t i = 0; i < T_COUNT(flags); i++) {
        off_t place = (off_t) (i + 1) * 16384;

        t_submit_write(&cb, t_reopen(file, O_RDWR | flags[i]), aligned, 8192, place);
        t_wait_done(&cb, 8192);
        ck_assert_int_eq(pread(file, buf, 8192, place), 8192);
        t_assert_data(buf, 8192, 11);
    }
    free(aligned);
}
END_TEST

START_TEST(read_at_the_end_is_short_and_past_it_is_0)
{
    int fd = t_cached_file(PIECE);

    t_submit_read(&cb, fd, buf, PIECE, PIECE - 10);
    t_wait_done(&cb, 10);
    t_submit_read(&cb, fd, buf, PIECE, PIECE);
    t_wait_done(&cb, 0);
    t_submit_read(&cb, fd, buf, PIECE, 10 * PIECE);
    t_wait_done(&cb, 0);
    t_submit_read(&cb, t_memory_file(PIECE), buf, PIECE, PIECE - 10);
    t_wait_done(&cb, 10);
}
END_TEST

START_TEST(cold_read_across_the_end_is_short)
{
    int fd = t_cold_file(SIZE / 2 + 100);

    t_submit_read(&cb, fd, buf, SIZE, 0);
    t_wait_done(&cb, SIZE / 2 + 100);
    t_assert_data(buf, SIZE / 2 + 100, 0);
}
END_TEST

START_TEST(half_cached_read_is_whole)
{
    int fd = t_cold_file(SIZE);

    ck_assert_int_eq(pread(fd, buf, 8192, 0), 8192);
    memset(buf, 0, SIZE);
    t_submit_read(&cb, fd, buf, 60000, 0);
    t_wait_done(&cb, 60000);
    t_assert_data(buf, 60000, 0);
}
END_TEST

static void add_data(TCase *tests)
{
    tcase_add_test(tests, cached_reads_bring_the_bytes_of_their_place);
    tcase_add_test(tests, cold_reads_bring_the_bytes_of_their_place);
    tcase_add_test(tests, direct_reads_and_writes_bring_the_bytes_of_their_place);
    tcase_add_test(tests, misaligned_direct_read_is_einval_or_done);
    tcase_add_test(tests, memory_files_are_read_and_written);
    tcase_add_test(tests, files_of_proc_are_read);
    tcase_add_test(tests, writes_put_the_bytes_at_their_place);
    tcase_add_test(tests, synchronous_files_are_written);
    tcase_add_test(tests, read_at_the_end_is_short_and_past_it_is_0);
    tcase_add_test(tests, cold_read_across_the_end_is_short);
    tcase_add_test(tests, half_cached_read_is_whole);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "data", .add = add_data },
        { .name = NULL },
    };

    return t_main("data", parts);
}
