/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What runs in parallel, and what in the order of submission.
 */
#include "t.h"

#include <sys/socket.h>

enum { SIZE = 1 << 20, MANY = 100, RECORD = 64 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];

static void wait_all(int count, ssize_t result)
{
    for (int i = 0; i < count; i++)
        t_wait_done(&cbs[i], result);
}

/* Seekable files. */

START_TEST(reads_of_one_file_run_in_parallel)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 4);
    for (int i = 0; i < 4; i++)
        t_submit_read(&cbs[i], fd, buf + i * 1000, 1000, i * 1000);
    t_until(slowfs_held(SLOWFS_READ) == 4);
    slowfs_release(SLOWFS_READ, 4);
    wait_all(4, 1000);
    t_assert_data(buf, 4000, 0);
}
END_TEST

START_TEST(later_read_overtakes_a_held_one)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], fd, buf + 1000 + i, 1, i);
    wait_all(MANY, 1);
    t_assert_data(buf + 1000, MANY, 0);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 1000);
}
END_TEST

START_TEST(read_overtakes_a_held_write)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_submit_read(&cbs[0], fd, buf + 1000, 1000, 5000);
    t_wait_done(&cbs[0], 1000);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&cb, 1000);
}
END_TEST

/* Appends. */

static void submit_appends(int fd)
{
    t_fill(buf, MANY * RECORD, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_write(&cbs[i], fd, buf + i * RECORD, RECORD, 0);
}

static void assert_appended(int fd)
{
    wait_all(MANY, RECORD);
    memset(buf, 0, MANY * RECORD);
    ck_assert_int_eq(pread(fd, buf, SIZE, 0), MANY * RECORD);
    t_assert_data(buf, MANY * RECORD, 0);
}

START_TEST(appends_keep_their_order)
{
    int file = t_empty_file();

    submit_appends(t_reopen(file, O_WRONLY | O_APPEND));
    assert_appended(file);
}
END_TEST

START_TEST(appends_of_a_memory_file_keep_their_order)
{
    int file = t_memory_file(0);

    submit_appends(t_reopen(file, O_WRONLY | O_APPEND));
    assert_appended(file);
}
END_TEST

START_TEST(synchronous_appends_keep_their_order)
{
    int file = t_empty_file();

    submit_appends(t_reopen(file, O_WRONLY | O_APPEND | O_DSYNC));
    assert_appended(file);
}
END_TEST

START_TEST(direct_appends_keep_their_order)
{
    unsigned char *aligned = t_aligned(MANY * 4096);
    int file = t_empty_file(), fd = t_reopen(file, O_RDWR | O_APPEND | O_DIRECT);

    t_fill(aligned, MANY * 4096, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_write(&cbs[i], fd, aligned + i * 4096, 4096, 0);
    wait_all(MANY, 4096);
    ck_assert_int_eq(pread(file, buf, SIZE, 0), MANY * 4096);
    t_assert_data(buf, MANY * 4096, 0);
}
END_TEST

START_TEST(appends_of_a_list_keep_their_order)
{
    struct aiocb *list[MANY];
    int file = t_empty_file(), fd = t_reopen(file, O_WRONLY | O_APPEND);

    t_fill(buf, MANY * RECORD, 0);
    for (int i = 0; i < MANY; i++) {
        t_prepare(&cbs[i], fd, buf + i * RECORD, RECORD, 0);
        cbs[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &cbs[i];
    }
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, NULL), 0);
    assert_appended(file);
}
END_TEST

/* The second could be done in the caller, where the filesystem writes without waiting. */
START_TEST(small_write_does_not_overtake_a_large_one)
{
    static const char last[] = "written last";
    char found[sizeof(last)];
    int fd = t_cached_file(SIZE);

    for (int i = 0; i < 100; i++) {
        t_submit_write(&cbs[0], fd, buf, SIZE, 0);
        t_submit_write(&cbs[1], fd, last, sizeof(last), SIZE - sizeof(last));
        t_wait_done(&cbs[0], SIZE);
        t_wait_done(&cbs[1], sizeof(last));
        ck_assert_int_eq(pread(fd, found, sizeof(last), SIZE - sizeof(last)), sizeof(last));
        ck_assert_str_eq(found, last);
    }
}
END_TEST

/* O_APPEND is looked for at every write, not only when the descriptor is first seen. */
START_TEST(descriptor_that_becomes_appending_keeps_the_order)
{
    int fd = t_empty_file();

    for (int i = 0; i < 50; i++) {
        t_submit_write(&cb, fd, "x", 1, 0);
        t_wait_done(&cb, 1);
    }
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_APPEND), 0);
    submit_appends(fd);
    assert_appended(fd);
}
END_TEST

START_TEST(appends_run_one_at_a_time)
{
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND);

    t_fill(buf, 4000, 0);
    slowfs_hold(SLOWFS_WRITE, 4);
    for (int i = 0; i < 4; i++)
        t_submit_write(&cbs[i], fd, buf + i * 1000, 1000, 0);
    for (int i = 0; i < 4; i++) {
        t_until(slowfs_held(SLOWFS_WRITE) == 1);
        ck_assert_uint_eq(slowfs_arrived(SLOWFS_WRITE), i + 1);
        for (int j = i; j < 4; j++)
            t_assert_in_progress(&cbs[j]);
        slowfs_release(SLOWFS_WRITE, 1);
        t_wait_done(&cbs[i], 1000);
    }
    ck_assert_uint_eq(slowfs_size(0), 4000);
    t_assert_data(slowfs_data(0), 4000, 0);
}
END_TEST

START_TEST(append_goes_on_after_one_that_failed)
{
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND);

    t_fill(buf, 2000, 0);
    slowfs_hold(SLOWFS_WRITE, 1);
    slowfs_fail(SLOWFS_WRITE, 1, ENOSPC);
    t_submit_write(&cb, fd, "lost", 4, 0);
    t_submit_write(&cbs[0], fd, buf, 1000, 0);
    t_submit_write(&cbs[1], fd, buf + 1000, 1000, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_failed(&cb, ENOSPC);
    wait_all(2, 1000);
    t_assert_data(slowfs_data(0), 2000, 0);
}
END_TEST

START_TEST(reads_overtake_appends)
{
    int fd = t_slow_file(0, 1000, O_RDWR | O_APPEND);

    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_submit_read(&cbs[0], fd, buf + 1000, 1000, 0);
    t_wait_done(&cbs[0], 1000);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&cb, 1000);
}
END_TEST

/* Streams. */

START_TEST(stream_reads_keep_their_order)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp(), t_pty() };

    for (size_t p = 0; p < T_COUNT(pairs); p++) {
        memset(buf, 0, sizeof(buf));
        for (int i = 0; i < MANY; i++)
            t_submit_read(&cbs[i], pairs[p].in, buf + i * 3, 3, 0);
        for (int i = 0; i < MANY; i++) {
            t_put(pairs[p].out, i * 3, 3);
            t_wait_done(&cbs[i], 3);
        }
        t_assert_data(buf, MANY * 3, 0);
    }
}
END_TEST

START_TEST(stream_writes_keep_their_order)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp(), t_pty() };

    t_fill(buf, SIZE, 0);
    for (size_t p = 0; p < T_COUNT(pairs); p++) {
        /* The master of a pty is slow. */
        size_t length = p == 4 ? 500 : 9000;

        for (int i = 0; i < MANY; i++)
            t_submit_write(&cbs[i], pairs[p].out, buf + (size_t) i * length, length, 0);
        t_take(pairs[p].in, 0, MANY * length);
        wait_all(MANY, (ssize_t) length);
    }
}
END_TEST

START_TEST(directions_of_a_stream_are_independent)
{
    struct t_pair pairs[] = { t_socketpair(SOCK_STREAM), t_tcp(), t_pty() };

    for (size_t p = 0; p < T_COUNT(pairs); p++) {
        t_submit_read(&cb, pairs[p].in, buf, 10, 0);
        t_fill(buf + 100, 10, 0);
        t_submit_write(&cbs[0], pairs[p].in, buf + 100, 10, 0);
        t_wait_done(&cbs[0], 10);
        t_take(pairs[p].out, 0, 10);
        t_assert_in_progress(&cb);
        t_put(pairs[p].out, 0, 10);
        t_wait_done(&cb, 10);
        t_assert_data(buf, 10, 0);
    }
}
END_TEST

/* More than glibc has threads for. */
START_TEST(blocked_pipe_reads_hold_up_nothing_else)
{
    int file = t_cold_file(SIZE), outs[MANY];
    struct t_pair other = t_pipe();

    for (int i = 0; i < MANY; i++) {
        struct t_pair p = t_pipe();

        outs[i] = p.out;
        t_submit_read(&cbs[i], p.in, buf + i, 1, 0);
    }
    t_submit_read(&cb, file, buf + 4096, 4096, 4096);
    t_wait_done(&cb, 4096);
    t_submit_write(&cb, file, buf, 100, 0);
    t_wait_done(&cb, 100);
    t_submit_sync(&cb, file, O_SYNC);
    t_wait_done(&cb, 0);
    t_submit_write(&cb, other.out, buf, 100, 0);
    t_wait_done(&cb, 100);
    t_submit_read(&cb, other.in, buf + MANY, 100, 0);
    t_wait_done(&cb, 100);
    for (int i = 0; i < MANY; i++) {
        t_assert_in_progress(&cbs[i]);
        t_put(outs[i], i, 1);
    }
    wait_all(MANY, 1);
    t_assert_data(buf, MANY, 0);
}
END_TEST

/* LIBPOSIX_AIO_ORDER=descriptor */

START_TEST(requests_of_one_descriptor_run_one_by_one)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 4);
    for (int i = 0; i < 4; i++)
        t_submit_read(&cbs[i], fd, buf + i * 1000, 1000, i * 1000);
    for (int i = 0; i < 4; i++) {
        t_until(slowfs_held(SLOWFS_READ) == 1);
        ck_assert_uint_eq(slowfs_arrived(SLOWFS_READ), i + 1);
        slowfs_release(SLOWFS_READ, 1);
        t_wait_done(&cbs[i], 1000);
    }
    t_assert_data(buf, 4000, 0);
}
END_TEST

START_TEST(read_behind_a_write_sees_its_data)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_WRITE, 1);
    t_fill(buf, 1000, 77);
    t_submit_write(&cb, fd, buf, 1000, 0);
    t_submit_read(&cbs[0], fd, buf + 1000, 1000, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    ck_assert_uint_eq(slowfs_arrived(SLOWFS_READ), 0);
    t_assert_in_progress(&cbs[0]);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&cb, 1000);
    t_wait_done(&cbs[0], 1000);
    t_assert_data(buf + 1000, 1000, 77);
}
END_TEST

START_TEST(overlapping_writes_end_with_the_last)
{
    int files[] = { t_empty_file(), t_memory_file(0) };

    for (size_t f = 0; f < T_COUNT(files); f++) {
        for (int i = 0; i < MANY; i++) {
            t_fill(buf + i * 5000, 5000, i);
            t_submit_write(&cbs[i], files[f], buf + i * 5000, 5000, 0);
        }
        t_submit_read(&cb, files[f], buf + MANY * 5000, 5000, 0);
        t_wait_done(&cb, 5000);
        t_assert_data(buf + MANY * 5000, 5000, MANY - 1);
        wait_all(MANY, 5000);
    }
}
END_TEST

START_TEST(other_descriptors_still_run_in_parallel)
{
    int fd = t_slow_file(0, SIZE, O_RDWR), other = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    t_submit_read(&cbs[0], other, buf + 1000, 1000, 0);
    t_wait_done(&cbs[0], 1000);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 1000);
}
END_TEST

static void add_files(TCase *tests)
{
    tcase_add_test(tests, reads_of_one_file_run_in_parallel);
    tcase_add_test(tests, later_read_overtakes_a_held_one);
    tcase_add_test(tests, read_overtakes_a_held_write);
    tcase_add_test(tests, appends_run_one_at_a_time);
    tcase_add_test(tests, append_goes_on_after_one_that_failed);
    tcase_add_test(tests, reads_overtake_appends);
}

static void add_appends(TCase *tests)
{
    tcase_add_test(tests, appends_keep_their_order);
    tcase_add_test(tests, appends_of_a_memory_file_keep_their_order);
    tcase_add_test(tests, synchronous_appends_keep_their_order);
    tcase_add_test(tests, direct_appends_keep_their_order);
    tcase_add_test(tests, appends_of_a_list_keep_their_order);
    tcase_add_test(tests, descriptor_that_becomes_appending_keeps_the_order);
    tcase_add_test(tests, small_write_does_not_overtake_a_large_one);
}

static void add_streams(TCase *tests)
{
    tcase_add_test(tests, stream_reads_keep_their_order);
    tcase_add_test(tests, stream_writes_keep_their_order);
    tcase_add_test(tests, directions_of_a_stream_are_independent);
    tcase_add_test(tests, blocked_pipe_reads_hold_up_nothing_else);
}

static void add_by_descriptor(TCase *tests)
{
    tcase_add_test(tests, requests_of_one_descriptor_run_one_by_one);
    tcase_add_test(tests, read_behind_a_write_sees_its_data);
    tcase_add_test(tests, overlapping_writes_end_with_the_last);
    tcase_add_test(tests, other_descriptors_still_run_in_parallel);
    tcase_add_test(tests, appends_run_one_at_a_time);
    tcase_add_test(tests, stream_reads_keep_their_order);
    tcase_add_test(tests, stream_writes_keep_their_order);
    tcase_add_test(tests, blocked_pipe_reads_hold_up_nothing_else);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "slow files", .add = add_files, .need = T_SLOWFS },
        { .name = "appends", .add = add_appends },
        { .name = "streams", .add = add_streams },
        {
            .name = "by descriptor",
            .add = add_by_descriptor,
            .need = T_SLOWFS,
            .settings = { "LIBPOSIX_AIO_ORDER=descriptor" },
        },
        { .name = NULL },
    };

    return t_main("order", parts);
}
