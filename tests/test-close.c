/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors that are closed, or replaced, while requests are queued on them.
 *
 * A request that has not begun is canceled, with notification; one that has goes on on the old
 * file; and none ever touches the file that gets the same number.
 */
#include "t.h"

#include <linux/close_range.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>

enum { SIZE = 1 << 20, MANY = 20 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];
static struct t_pair p;

/* A read of an empty pipe that will tell of its end by SIGRTMIN. */
static void pend(void)
{
    p = t_pipe();
    t_block(SIGRTMIN);
    t_prepare(&cb, p.in, buf, 100, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGRTMIN;
    ck_assert_int_eq(aio_read(&cb), 0);
}

static void assert_canceled(void)
{
    t_assert_failed(&cb, ECANCELED);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_code, SI_ASYNCIO);
    t_assert_no_signal(SIGRTMIN);
}

static void assert_undisturbed(void)
{
    t_assert_in_progress(&cb);
    t_put(p.out, 0, 100);
    t_wait_done(&cb, 100);
    t_assert_data(buf, 100, 0);
}

START_TEST(close_cancels_what_is_queued)
{
    pend();
    ck_assert_int_eq(close(p.in), 0);
    assert_canceled();
}
END_TEST

START_TEST(dup2_over_a_descriptor_cancels_what_is_queued)
{
    pend();
    ck_assert_int_eq(dup2(t_empty_file(), p.in), p.in);
    assert_canceled();
}
END_TEST

START_TEST(dup3_over_a_descriptor_cancels_what_is_queued)
{
    pend();
    ck_assert_int_eq(dup3(t_empty_file(), p.in, O_CLOEXEC), p.in);
    assert_canceled();
}
END_TEST

/* Check's own descriptors lie below. */
static void pend_high(void)
{
    pend();
    ck_assert_int_eq(fcntl(p.in, F_DUPFD_CLOEXEC, 500), 500);
    t_submit_read(&cbs[0], 500, buf + 200, 100, 0);
}

START_TEST(close_range_cancels_what_is_queued)
{
    pend_high();
    ck_assert_int_eq(close_range(500, 500, 0), 0);
    t_assert_failed(&cbs[0], ECANCELED);
    assert_undisturbed();
}
END_TEST

START_TEST(closefrom_cancels_what_is_queued)
{
    pend_high();
    closefrom(500);
    t_assert_failed(&cbs[0], ECANCELED);
    assert_undisturbed();
}
END_TEST

START_TEST(fclose_cancels_what_is_queued)
{
    FILE *stream;

    pend();
    stream = fdopen(p.in, "r");
    ck_assert_int_eq(fclose(stream), 0);
    assert_canceled();
}
END_TEST

static void reopen_by(FILE *(*reopen)(const char *, const char *, FILE *) )
{
    FILE *stream;

    pend();
    stream = reopen("/dev/null", "r", fdopen(p.in, "r"));
    ck_assert_ptr_nonnull(stream);
    assert_canceled();
    fclose(stream);
}

START_TEST(freopen_cancels_what_is_queued)
{
    reopen_by(freopen);
}
END_TEST

START_TEST(freopen64_cancels_what_is_queued)
{
    reopen_by(freopen64);
}
END_TEST

/* What closes nothing cancels nothing. */

START_TEST(close_of_a_copy_cancels_nothing)
{
    pend();
    ck_assert_int_eq(close(dup(p.in)), 0);
    assert_undisturbed();
}
END_TEST

START_TEST(dup2_onto_itself_cancels_nothing)
{
    pend();
    ck_assert_int_eq(dup2(p.in, p.in), p.in);
    assert_undisturbed();
}
END_TEST

START_TEST(failed_dup_cancels_nothing)
{
    pend();
    errno = 0;
    ck_assert_int_eq(dup2(-1, p.in), -1);
    ck_assert_int_eq(errno, EBADF);
    errno = 0;
    ck_assert_int_eq(dup2(10000, p.in), -1);
    ck_assert_int_eq(errno, EBADF);
    errno = 0;
    ck_assert_int_eq(dup3(p.in, p.in, 0), -1);
    ck_assert_int_eq(errno, EINVAL);
    errno = 0;
    ck_assert_int_eq(dup3(p.out, p.in, 12345), -1);
    ck_assert_int_eq(errno, EINVAL);
    assert_undisturbed();
}
END_TEST

START_TEST(failed_close_range_cancels_nothing)
{
    pend();
    ck_assert_int_eq(close_range((unsigned int) p.in + 1, (unsigned int) p.in, 0), -1);
    ck_assert_int_eq(close_range((unsigned int) p.in, ~0U, 0x4000), -1);
    assert_undisturbed();
}
END_TEST

START_TEST(close_range_that_only_marks_cancels_nothing)
{
    pend();
    ck_assert_int_eq(close_range((unsigned int) p.in, (unsigned int) p.in, CLOSE_RANGE_CLOEXEC), 0);
    assert_undisturbed();
}
END_TEST

START_TEST(errors_of_close_are_the_systems)
{
    errno = 0;
    ck_assert_int_eq(close(-1), -1);
    ck_assert_int_eq(errno, EBADF);
    errno = 0;
    ck_assert_int_eq(close(9999), -1);
    ck_assert_int_eq(errno, EBADF);
    pend();
    errno = E2BIG;
    ck_assert_int_eq(close(p.in), 0);
    ck_assert_int_eq(errno, E2BIG);
    assert_canceled();
}
END_TEST

/* Reuse of the number. */

START_TEST(reused_number_gets_no_old_request)
{
    for (int i = 0; i < 100; i++) {
        struct t_pair q;

        p = t_pipe();
        t_submit_read(&cb, p.in, buf, 100, 0);
        close(p.in);
        close(p.out);
        q = t_pipe();
        ck_assert_int_eq(q.in, p.in);
        t_put(q.out, 0, 100);
        t_wait_failed(&cb, ECANCELED);
        t_submit_read(&cbs[0], q.in, buf, 100, 0);
        t_wait_done(&cbs[0], 100);
        t_assert_data(buf, 100, 0);
        close(q.in);
        close(q.out);
    }
}
END_TEST

START_TEST(what_is_known_of_a_descriptor_ends_with_it)
{
    int fds[] = { t_cached_file(SIZE), t_pipe().in, t_cached_file(SIZE), t_memory_file(SIZE) };
    int number = fds[0];

    t_submit_read(&cb, number, buf, 100, 0);
    t_wait_done(&cb, 100);
    close(number);
    ck_assert_int_eq(t_reopen(fds[2], O_RDWR | O_APPEND), number);
    t_submit_write(&cb, number, "end", 3, 0);
    t_wait_done(&cb, 3);
    ck_assert_int_eq(lseek(fds[2], 0, SEEK_END), SIZE + 3);
    for (size_t i = 1; i < T_COUNT(fds); i++) {
        ck_assert_int_eq(dup2(fds[i], number), number);
        t_submit_read(&cb, number, buf, 100, 200);
        if (i == 1) {
            t_assert_in_progress(&cb);
            continue;
        }
        t_wait_done(&cb, 100);
        t_assert_data(buf, 100, 200);
    }
}
END_TEST

static void close_in_handler(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    close(p.in);
}

START_TEST(close_works_in_a_signal_handler)
{
    pend();
    t_handle(SIGUSR1, close_in_handler, 0);
    raise(SIGUSR1);
    assert_canceled();
}
END_TEST

/* Closing a descriptor of ours would drop the process's locks on the file. */
START_TEST(record_locks_survive_requests)
{
    const struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10 };
    int fd = t_cold_file(SIZE), status;
    pid_t child;

    ck_assert_int_eq(fcntl(fd, F_SETLK, &lock), 0);
    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], fd, buf + i * 4096, 4096, i * 4096);
    t_submit_write(&cb, fd, buf, 10, 0);
    t_wait_done(&cb, 10);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 4096);
    t_submit_sync(&cb, fd, O_SYNC);
    t_wait_done(&cb, 0);
    child = fork();
    if (!child)
        _exit(fcntl(fd, F_SETLK, &lock) == 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* On the slow filesystem. */

START_TEST(queued_append_never_runs_on_the_new_file)
{
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND), reused;

    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&cb, fd, "first", 5, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_write(&cbs[i], fd, "queued", 6, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    /* Closing may wait for the transfer that has begun, so let it end while close runs. */
    slowfs_release(SLOWFS_WRITE, 1);
    ck_assert_int_eq(close(fd), 0);
    reused = t_slow_file(1, 0, O_RDWR | O_APPEND);
    ck_assert_int_eq(reused, fd);
    t_wait_done(&cb, 5);
    for (int i = 0; i < MANY; i++)
        t_wait(&cbs[i]);
    ck_assert_uint_eq(slowfs_size(1), 0);
    ck_assert_uint_eq(slowfs_size(0) % 6, 5);
}
END_TEST

START_TEST(running_request_ends_on_the_old_file)
{
    int fd = t_slow_file(0, SIZE, O_RDWR), reused;

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 100, 5000);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    slowfs_release(SLOWFS_READ, 1);
    ck_assert_int_eq(close(fd), 0);
    reused = t_empty_file();
    ck_assert_int_eq(reused, fd);
    t_wait_done(&cb, 100);
    t_assert_data(buf, 100, 5000);
}
END_TEST

/* One file's close has nothing to do with what other files' requests wait for. */
START_TEST(close_does_not_wait_for_other_descriptors)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cbs[0], fd, buf, 100, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    ck_assert_int_eq(close(t_empty_file()), 0);
    pend();
    ck_assert_int_eq(close(p.in), 0);
    assert_canceled();
    t_assert_in_progress(&cbs[0]);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cbs[0], 100);
}
END_TEST

/* A transfer that the kernel has begun needs the descriptor no more. */
START_TEST(close_does_not_wait_for_a_transfer)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 100, 5000);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    ck_assert_int_eq(close(fd), 0);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 100);
}
END_TEST

static void add_close(TCase *tests)
{
    tcase_add_test(tests, close_cancels_what_is_queued);
    tcase_add_test(tests, dup2_over_a_descriptor_cancels_what_is_queued);
    tcase_add_test(tests, dup3_over_a_descriptor_cancels_what_is_queued);
    tcase_add_test(tests, close_range_cancels_what_is_queued);
    tcase_add_test(tests, closefrom_cancels_what_is_queued);
    tcase_add_test(tests, fclose_cancels_what_is_queued);
    tcase_add_test(tests, freopen_cancels_what_is_queued);
    tcase_add_test(tests, freopen64_cancels_what_is_queued);
    tcase_add_test(tests, close_of_a_copy_cancels_nothing);
    tcase_add_test(tests, dup2_onto_itself_cancels_nothing);
    tcase_add_test(tests, failed_dup_cancels_nothing);
    tcase_add_test(tests, failed_close_range_cancels_nothing);
    tcase_add_test(tests, close_range_that_only_marks_cancels_nothing);
    tcase_add_test(tests, errors_of_close_are_the_systems);
    tcase_add_test(tests, reused_number_gets_no_old_request);
    tcase_add_test(tests, what_is_known_of_a_descriptor_ends_with_it);
    tcase_add_test(tests, close_works_in_a_signal_handler);
    tcase_add_test(tests, record_locks_survive_requests);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, close_does_not_wait_for_other_descriptors);
}

/* ThreadSanitizer takes a close during a transfer for a race, which here it is meant to be. */
static void add_races(TCase *tests)
{
    tcase_add_test(tests, queued_append_never_runs_on_the_new_file);
    tcase_add_test(tests, running_request_ends_on_the_old_file);
    tcase_add_test(tests, close_does_not_wait_for_a_transfer);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "close", .add = add_close },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = "close during a transfer", .add = add_races, .need = T_SLOWFS | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("close", parts);
}
