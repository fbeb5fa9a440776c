/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_read and aio_write: what they take, what they transfer, and which errors come when.
 */
#include "t.h"

#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { SIZE = 1 << 20, PIECE = 10000 };

static struct aiocb cb;
static unsigned char buf[SIZE];

/* Descriptors and modes. */

START_TEST(read_of_a_closed_descriptor_is_ebadf_by_aio_error)
{
    int fd = t_empty_file();

    close(fd);
    t_submit_read(&cb, fd, buf, PIECE, 0);
    t_wait_failed(&cb, EBADF);
}
END_TEST

START_TEST(write_of_a_closed_descriptor_is_ebadf_by_aio_error)
{
    int fd = t_empty_file();

    close(fd);
    t_submit_write(&cb, fd, buf, PIECE, 0);
    t_wait_failed(&cb, EBADF);
    t_submit_write(&cb, -1, buf, PIECE, 0);
    t_wait_failed(&cb, EBADF);
}
END_TEST

START_TEST(read_of_a_write_only_descriptor_is_ebadf_by_aio_error)
{
    int fd = t_reopen(t_cached_file(PIECE), O_WRONLY);

    t_submit_read(&cb, fd, buf, PIECE, 0);
    t_wait_failed(&cb, EBADF);
    t_submit_read(&cb, t_pipe().out, buf, PIECE, 0);
    t_wait_failed(&cb, EBADF);
}
END_TEST

START_TEST(write_of_a_read_only_descriptor_is_ebadf_by_aio_error)
{
    int fd = t_reopen(t_cached_file(PIECE), O_RDONLY);

    t_submit_write(&cb, fd, buf, PIECE, 0);
    t_wait_failed(&cb, EBADF);
    t_submit_write(&cb, t_pipe().in, buf, PIECE, 0);
    t_wait_failed(&cb, EBADF);
}
END_TEST

START_TEST(read_of_a_directory_is_eisdir)
{
    t_submit_read(&cb, open(".", O_RDONLY | O_CLOEXEC), buf, PIECE, 0);
    t_wait_failed(&cb, EISDIR);
}
END_TEST

/* Priority. */

START_TEST(priority_outside_0_to_20_is_einval_at_once)
{
    const int bad[] = { -1, 21, 1000, -1000 };

    for (size_t i = 0; i < T_COUNT(bad); i++) {
        t_prepare(&cb, t_empty_file(), buf, PIECE, 0);
        cb.aio_reqprio = bad[i];
        errno = 0;
        ck_assert_int_eq(aio_read(&cb), -1);
        ck_assert_int_eq(errno, EINVAL);
        errno = 0;
        ck_assert_int_eq(aio_write(&cb), -1);
        ck_assert_int_eq(errno, EINVAL);
    }
}
END_TEST

START_TEST(priorities_0_to_20_are_accepted)
{
    int fd = t_cached_file(PIECE);

    for (int priority = 0; priority <= 20; priority++) {
        t_prepare(&cb, fd, buf, PIECE, 0);
        cb.aio_reqprio = priority;
        ck_assert_int_eq(aio_read(&cb), 0);
        t_wait_done(&cb, PIECE);
    }
}
END_TEST

/* Offsets. */

START_TEST(negative_offset_on_a_file_is_einval_by_aio_error)
{
    int fd = t_cached_file(PIECE);

    lseek(fd, 7, SEEK_SET);
    t_submit_read(&cb, fd, buf, PIECE, -1);
    t_wait_failed(&cb, EINVAL);
    t_submit_write(&cb, fd, buf, PIECE, -1);
    t_wait_failed(&cb, EINVAL);
    t_submit_read(&cb, fd, buf, PIECE, INT64_MIN);
    t_wait_failed(&cb, EINVAL);
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 7);
}
END_TEST

START_TEST(negative_offset_on_a_socket_is_einval_by_aio_error)
{
    struct t_pair s = t_socketpair(SOCK_STREAM);

    t_put(s.out, 0, 10);
    t_submit_read(&cb, s.in, buf, 10, -1);
    t_wait_failed(&cb, EINVAL);
    t_submit_write(&cb, s.in, buf, 10, -1);
    t_wait_failed(&cb, EINVAL);
}
END_TEST

START_TEST(pipes_and_ttys_ignore_the_offset)
{
    const off_t offsets[] = { 0, 12345, INT64_MAX };
    struct t_pair pairs[] = { t_pipe(), t_pty() };

    for (size_t p = 0; p < T_COUNT(pairs); p++)
        for (size_t i = 0; i < T_COUNT(offsets); i++) {
            int there = 0;

            t_fill(buf, 100, 0);
            t_submit_write(&cb, pairs[p].out, buf, 100, offsets[i]);
            t_wait_done(&cb, 100);
            /* What goes into a terminal comes out piece by piece. */
            t_until(!ioctl(pairs[p].in, FIONREAD, &there) && there == 100);
            memset(buf, 0, 100);
            t_submit_read(&cb, pairs[p].in, buf, 100, offsets[i]);
            t_wait_done(&cb, 100);
            t_assert_data(buf, 100, 0);
        }
}
END_TEST

START_TEST(file_position_is_never_moved)
{
    int fd = t_cached_file(SIZE);

    ck_assert_int_eq(lseek(fd, 123, SEEK_SET), 123);
    t_submit_read(&cb, fd, buf, PIECE, 5);
    t_wait_done(&cb, PIECE);
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 123);
    t_submit_write(&cb, fd, buf, PIECE, 5);
    t_wait_done(&cb, PIECE);
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 123);
    t_make_cold(fd);
    t_submit_read(&cb, fd, buf, PIECE, 5);
    t_wait_done(&cb, PIECE);
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 123);
}
END_TEST

/* Lengths and buffers. */

START_TEST(length_beyond_ssize_max_is_efault_by_aio_error)
{
    int fd = t_cached_file(PIECE);

    t_submit_read(&cb, fd, buf, (size_t) SSIZE_MAX + 1, 0);
    t_wait_failed(&cb, EFAULT);
    t_submit_write(&cb, fd, buf, SIZE_MAX, 0);
    t_wait_failed(&cb, EFAULT);
}
END_TEST

START_TEST(bad_buffer_is_efault_by_aio_error)
{
    int fd = t_cached_file(PIECE);
    void *unmapped = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    t_submit_read(&cb, fd, unmapped, 100, 0);
    t_wait_failed(&cb, EFAULT);
    t_submit_write(&cb, fd, unmapped, 100, 0);
    t_wait_failed(&cb, EFAULT);
    t_submit_read(&cb, t_cold_file(PIECE), NULL, 100, 0);
    t_wait_failed(&cb, EFAULT);
    t_submit_write(&cb, t_pipe().out, unmapped, 100, 0);
    t_wait_failed(&cb, EFAULT);
}
END_TEST

START_TEST(write_that_finds_no_space_is_enospc)
{
    t_submit_write(&cb, open("/dev/full", O_RDWR | O_CLOEXEC), buf, 100, 0);
    t_wait_failed(&cb, ENOSPC);
}
END_TEST

/* A signal that a request sends to its caller would end the test. */
START_TEST(write_past_the_size_limit_is_efbig_without_sigxfsz)
{
    const struct rlimit limit = { .rlim_cur = PIECE, .rlim_max = RLIM_INFINITY };
    int files[] = { t_empty_file(), t_memory_file(0) };

    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (size_t i = 0; i < T_COUNT(files); i++) {
        t_submit_write(&cb, files[i], buf, 100, PIECE);
        t_wait_failed(&cb, EFBIG);
    }
}
END_TEST

/* Control blocks. */

START_TEST(control_block_full_of_ones_is_accepted)
{
    int fd = t_cached_file(PIECE);

    memset(&cb, 0xff, sizeof(cb));
    cb.aio_fildes = fd;
    cb.aio_reqprio = 0;
    cb.aio_buf = buf;
    cb.aio_nbytes = PIECE;
    cb.aio_offset = 0;
    memset(&cb.aio_sigevent, 0, sizeof(cb.aio_sigevent));
    cb.aio_sigevent.sigev_notify = SIGEV_NONE;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_wait_done(&cb, PIECE);
    t_assert_data(buf, PIECE, 0);
}
END_TEST

START_TEST(lio_opcode_is_ignored)
{
    int fd = t_cached_file(PIECE);

    t_prepare(&cb, fd, buf, PIECE, 0);
    cb.aio_lio_opcode = LIO_WRITE;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_wait_done(&cb, PIECE);
    t_assert_data(buf, PIECE, 0);
    t_fill(buf, PIECE, 3);
    t_prepare(&cb, fd, buf, PIECE, 0);
    cb.aio_lio_opcode = LIO_READ;
    ck_assert_int_eq(aio_write(&cb), 0);
    t_wait_done(&cb, PIECE);
    ck_assert_int_eq(pread(fd, buf, PIECE, 0), PIECE);
    t_assert_data(buf, PIECE, 3);
}
END_TEST

START_TEST(control_block_is_used_again_without_aio_return)
{
    int fd = t_cached_file(SIZE);

    for (int i = 0; i < 1000; i++) {
        t_submit_read(&cb, fd, buf, 100, i * 100);
        t_wait(&cb);
        t_assert_data(buf, 100, i * 100);
    }
    t_assert_done(&cb, 100);
}
END_TEST

START_TEST(errno_is_left_alone_by_calls_that_succeed)
{
    int fd = t_cold_file(SIZE);

    errno = E2BIG;
    t_submit_read(&cb, fd, buf, PIECE, 0);
    ck_assert_int_eq(errno, E2BIG);
    t_wait_done(&cb, PIECE);
}
END_TEST

/* Files that are slow, short or broken. */

START_TEST(call_returns_while_the_read_is_held)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, PIECE, 100);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, PIECE);
    t_assert_data(buf, PIECE, 100);
}
END_TEST

START_TEST(call_returns_while_the_write_is_held)
{
    int fd = t_slow_file(0, 0, O_RDWR);

    slowfs_hold(SLOWFS_WRITE, 1);
    t_fill(buf, PIECE, 100);
    t_submit_write(&cb, fd, buf, PIECE, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&cb, PIECE);
    t_assert_data(slowfs_data(0), PIECE, 100);
}
END_TEST

START_TEST(error_of_the_file_comes_by_aio_error)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_fail(SLOWFS_READ, 1, EIO);
    t_submit_read(&cb, fd, buf, PIECE, 0);
    t_wait_failed(&cb, EIO);
    slowfs_fail(SLOWFS_WRITE, 1, EDQUOT);
    t_submit_write(&cb, fd, buf, PIECE, 0);
    t_wait_failed(&cb, EDQUOT);
    t_submit_read(&cb, fd, buf, PIECE, 0);
    t_wait_done(&cb, PIECE);
}
END_TEST

/* A file that transfers less is asked no more, as read(2) and write(2) would not ask. */
START_TEST(short_transfer_of_a_file_is_the_result)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_shorten(SLOWFS_READ, 1, 1234);
    t_submit_read(&cb, fd, buf, PIECE, 0);
    t_wait_done(&cb, 1234);
    slowfs_shorten(SLOWFS_WRITE, 1, 1234);
    t_submit_write(&cb, fd, buf, PIECE, 0);
    t_wait_done(&cb, 1234);
}
END_TEST

static void add_calls(TCase *tests)
{
    tcase_add_test(tests, read_of_a_closed_descriptor_is_ebadf_by_aio_error);
    tcase_add_test(tests, write_of_a_closed_descriptor_is_ebadf_by_aio_error);
    tcase_add_test(tests, read_of_a_write_only_descriptor_is_ebadf_by_aio_error);
    tcase_add_test(tests, write_of_a_read_only_descriptor_is_ebadf_by_aio_error);
    tcase_add_test(tests, read_of_a_directory_is_eisdir);
    tcase_add_test(tests, priority_outside_0_to_20_is_einval_at_once);
    tcase_add_test(tests, priorities_0_to_20_are_accepted);
    tcase_add_test(tests, negative_offset_on_a_file_is_einval_by_aio_error);
    tcase_add_test(tests, negative_offset_on_a_socket_is_einval_by_aio_error);
    tcase_add_test(tests, pipes_and_ttys_ignore_the_offset);
    tcase_add_test(tests, file_position_is_never_moved);
    tcase_add_test(tests, length_beyond_ssize_max_is_efault_by_aio_error);
    tcase_add_test(tests, bad_buffer_is_efault_by_aio_error);
    tcase_add_test(tests, write_that_finds_no_space_is_enospc);
    tcase_add_test(tests, write_past_the_size_limit_is_efbig_without_sigxfsz);
    tcase_add_test(tests, control_block_full_of_ones_is_accepted);
    tcase_add_test(tests, lio_opcode_is_ignored);
    tcase_add_test(tests, control_block_is_used_again_without_aio_return);
    tcase_add_test(tests, errno_is_left_alone_by_calls_that_succeed);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, call_returns_while_the_read_is_held);
    tcase_add_test(tests, call_returns_while_the_write_is_held);
    tcase_add_test(tests, error_of_the_file_comes_by_aio_error);
    tcase_add_test(tests, short_transfer_of_a_file_is_the_result);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "arguments and errors", .add = add_calls },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    return t_main("calls", parts);
}
