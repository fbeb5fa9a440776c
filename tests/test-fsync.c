/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_fsync: its arguments, what it syncs, and what it waits for.
 */
#include "t.h"

#include <sys/socket.h>

enum { SIZE = 65536 };

static struct aiocb sync_cb, cb;
static unsigned char buf[SIZE];

static void assert_refused(int fd, int op, int error)
{
    t_prepare(&sync_cb, fd, NULL, 0, 0);
    errno = 0;
    ck_assert_int_eq(aio_fsync(op, &sync_cb), -1);
    ck_assert_int_eq(errno, error);
}

START_TEST(bad_op_is_einval_at_once)
{
    int fd = t_empty_file();

    assert_refused(fd, -1, EINVAL);
    assert_refused(fd, 0, EINVAL);
    assert_refused(fd, O_RDWR, EINVAL);
}
END_TEST

START_TEST(closed_descriptor_is_ebadf_at_once)
{
    int fd = t_empty_file();

    close(fd);
    assert_refused(fd, O_SYNC, EBADF);
    assert_refused(fd, O_DSYNC, EBADF);
    assert_refused(-1, O_SYNC, EBADF);
}
END_TEST

START_TEST(sync_of_a_file_succeeds)
{
    int fd = t_cached_file(SIZE);

    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
    t_submit_sync(&sync_cb, fd, O_DSYNC);
    t_wait_done(&sync_cb, 0);
}
END_TEST

START_TEST(read_only_descriptor_can_be_synced)
{
    t_submit_sync(&sync_cb, t_reopen(t_cached_file(SIZE), O_RDONLY), O_SYNC);
    t_wait_done(&sync_cb, 0);
}
END_TEST

START_TEST(other_members_are_ignored)
{
    t_prepare(&sync_cb, t_cached_file(SIZE), (void *) 8, SIZE_MAX, -5);
    sync_cb.aio_reqprio = 999;
    sync_cb.aio_lio_opcode = 77;
    ck_assert_int_eq(aio_fsync(O_SYNC, &sync_cb), 0);
    t_wait_done(&sync_cb, 0);
}
END_TEST

START_TEST(what_cannot_be_synced_fails_by_aio_error)
{
    const int fds[] = { t_pipe().in, t_socketpair(SOCK_STREAM).in };

    for (size_t i = 0; i < T_COUNT(fds); i++) {
        t_submit_sync(&sync_cb, fds[i], O_SYNC);
        t_wait_failed(&sync_cb, EINVAL);
    }
}
END_TEST

START_TEST(sync_notifies)
{
    t_block(SIGRTMIN);
    t_prepare(&sync_cb, t_cached_file(SIZE), NULL, 0, 0);
    sync_cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    sync_cb.aio_sigevent.sigev_signo = SIGRTMIN;
    sync_cb.aio_sigevent.sigev_value.sival_int = 42;
    ck_assert_int_eq(aio_fsync(O_SYNC, &sync_cb), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 42);
    t_assert_done(&sync_cb, 0);
}
END_TEST

/* On the slow filesystem. */

static struct slowfs_record last_record(void)
{
    return slowfs_record(slowfs_arrived(SLOWFS_READ) + slowfs_arrived(SLOWFS_WRITE) +
                         slowfs_arrived(SLOWFS_SYNC) - 1);
}

START_TEST(o_sync_is_fsync_and_o_dsync_is_fdatasync)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
    ck_assert_int_eq(last_record().op, SLOWFS_SYNC);
    ck_assert(!last_record().data_only);
    t_submit_sync(&sync_cb, fd, O_DSYNC);
    t_wait_done(&sync_cb, 0);
    ck_assert_uint_eq(slowfs_arrived(SLOWFS_SYNC), 2);
    ck_assert(last_record().data_only);
}
END_TEST

START_TEST(call_returns_while_the_sync_is_held)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_SYNC, 1);
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_until(slowfs_held(SLOWFS_SYNC) == 1);
    t_assert_in_progress(&sync_cb);
    slowfs_release(SLOWFS_SYNC, 1);
    t_wait_done(&sync_cb, 0);
}
END_TEST

START_TEST(failed_sync_is_told_by_aio_error)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_fail(SLOWFS_SYNC, 1, EIO);
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_failed(&sync_cb, EIO);
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
}
END_TEST

START_TEST(sync_completes_after_the_write_before_it)
{
    int fd = t_slow_file(0, 0, O_RDWR);

    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&cb, fd, buf, 1000, 0);
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_assert_in_progress(&sync_cb);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&sync_cb, 0);
    t_assert_done(&cb, 1000);
    ck_assert_int_eq(last_record().op, SLOWFS_SYNC);
}
END_TEST

/* The kernel's own lock keeps a sync behind a write, but not behind a read: only we can. */
START_TEST(sync_starts_after_the_read_before_it)
{
    int fd = t_slow_file(0, SIZE, O_RDWR), other = t_slow_file(1, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    t_submit_sync(&sync_cb, fd, O_SYNC);
    for (int i = 0; i < 20; i++) {
        struct aiocb probe;

        t_submit_sync(&probe, other, O_SYNC);
        t_wait_done(&probe, 0);
    }
    ck_assert_uint_eq(slowfs_arrived(SLOWFS_SYNC), 20);
    t_assert_in_progress(&sync_cb);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&sync_cb, 0);
    t_assert_done(&cb, 1000);
}
END_TEST

START_TEST(sync_waits_for_all_before_it_and_none_after_it)
{
    struct aiocb before[8], after;
    static unsigned char bytes[T_COUNT(before)][1000];
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, T_COUNT(before));
    for (size_t i = 0; i < T_COUNT(before); i++)
        t_submit_read(&before[i], fd, bytes[i], 1000, (off_t) i * 1000);
    t_submit_sync(&sync_cb, fd, O_DSYNC);
    for (size_t i = 0; i < T_COUNT(before); i++) {
        t_until(slowfs_held(SLOWFS_READ) > 0);
        t_assert_in_progress(&sync_cb);
        slowfs_release(SLOWFS_READ, 1);
        t_until(slowfs_finished(SLOWFS_READ) == i + 1);
    }
    t_wait_done(&sync_cb, 0);
    for (size_t i = 0; i < T_COUNT(before); i++)
        t_assert_done(&before[i], 1000);
    slowfs_hold(SLOWFS_READ, 1);
    t_submit_sync(&sync_cb, fd, O_DSYNC);
    t_submit_read(&after, fd, buf, 1000, 0);
    t_wait_done(&sync_cb, 0);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&after, 1000);
}
END_TEST

START_TEST(sync_does_not_wait_for_other_files)
{
    int slow = t_slow_file(0, SIZE, O_RDWR), fd = t_slow_file(1, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, slow, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 1000);
}
END_TEST

START_TEST(second_sync_waits_with_the_first)
{
    struct aiocb second;
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_submit_sync(&second, fd, O_DSYNC);
    t_assert_in_progress(&second);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&sync_cb, 0);
    t_wait_done(&second, 0);
    ck_assert_uint_eq(slowfs_finished(SLOWFS_SYNC), 2);
}
END_TEST

static void add_files(TCase *tests)
{
    tcase_add_test(tests, bad_op_is_einval_at_once);
    tcase_add_test(tests, closed_descriptor_is_ebadf_at_once);
    tcase_add_test(tests, sync_of_a_file_succeeds);
    tcase_add_test(tests, read_only_descriptor_can_be_synced);
    tcase_add_test(tests, other_members_are_ignored);
    tcase_add_test(tests, what_cannot_be_synced_fails_by_aio_error);
    tcase_add_test(tests, sync_notifies);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, o_sync_is_fsync_and_o_dsync_is_fdatasync);
    tcase_add_test(tests, call_returns_while_the_sync_is_held);
    tcase_add_test(tests, failed_sync_is_told_by_aio_error);
    tcase_add_test(tests, sync_completes_after_the_write_before_it);
    tcase_add_test(tests, sync_starts_after_the_read_before_it);
    tcase_add_test(tests, sync_waits_for_all_before_it_and_none_after_it);
    tcase_add_test(tests, sync_does_not_wait_for_other_files);
    tcase_add_test(tests, second_sync_waits_with_the_first);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "files", .add = add_files },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    return t_main("fsync", parts);
}
