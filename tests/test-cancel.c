/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_cancel: what can be canceled, what can't, and what becomes of both.
 */
#include "t.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { SIZE = 1 << 20, MANY = 100 };

static struct aiocb cb, next, cbs[MANY];
static unsigned char buf[SIZE], bytes[MANY];

static void assert_cancel_fails(int fd, struct aiocb *one, int error)
{
    errno = 0;
    ck_assert_int_eq(aio_cancel(fd, one), -1);
    ck_assert_int_eq(errno, error);
}

static void submit_signaled_read(struct aiocb *one, int fd, void *into, size_t length)
{
    t_prepare(one, fd, into, length, 0);
    one->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    one->aio_sigevent.sigev_signo = SIGRTMIN;
    one->aio_sigevent.sigev_value.sival_ptr = one;
    ck_assert_int_eq(aio_read(one), 0);
}

/* Errors, and nothing to cancel. */

START_TEST(closed_descriptor_is_ebadf)
{
    int fd = t_empty_file();

    close(fd);
    assert_cancel_fails(fd, NULL, EBADF);
    assert_cancel_fails(-1, NULL, EBADF);
    t_prepare(&cb, fd, buf, 1, 0);
    assert_cancel_fails(fd, &cb, EBADF);
}
END_TEST

START_TEST(request_in_progress_on_another_descriptor_is_einval)
{
    struct t_pair p = t_pipe(), q = t_pipe();

    t_submit_read(&cb, p.in, buf, 1, 0);
    assert_cancel_fails(q.in, &cb, EINVAL);
    t_assert_in_progress(&cb);
    t_put(p.out, 0, 1);
    t_wait_done(&cb, 1);
}
END_TEST

START_TEST(idle_descriptor_is_alldone)
{
    ck_assert_int_eq(aio_cancel(t_empty_file(), NULL), AIO_ALLDONE);
    ck_assert_int_eq(aio_cancel(t_pipe().in, NULL), AIO_ALLDONE);
}
END_TEST

START_TEST(never_submitted_is_alldone)
{
    t_prepare(&cb, t_empty_file(), buf, 1, 0);
    ck_assert_int_eq(aio_cancel(cb.aio_fildes, &cb), AIO_ALLDONE);
}
END_TEST

START_TEST(done_or_returned_is_alldone)
{
    int fd = t_cached_file(SIZE);

    t_submit_read(&cb, fd, buf, 100, 0);
    t_wait(&cb);
    ck_assert_int_eq(aio_cancel(fd, &cb), AIO_ALLDONE);
    t_assert_done(&cb, 100);
    ck_assert_int_eq(aio_cancel(fd, &cb), AIO_ALLDONE);
    ck_assert_int_eq(aio_cancel(fd, NULL), AIO_ALLDONE);
    t_assert_done(&cb, 100);
}
END_TEST

/* Streams. */

START_TEST(pending_stream_read_is_canceled)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp(), t_pty() };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        t_submit_read(&cb, pairs[i].in, buf, 100, 0);
        ck_assert_int_eq(aio_cancel(pairs[i].in, &cb), AIO_CANCELED);
        t_assert_failed(&cb, ECANCELED);
        ck_assert_int_eq(aio_cancel(pairs[i].in, &cb), AIO_ALLDONE);
    }
}
END_TEST

START_TEST(pending_stream_write_is_canceled)
{
    struct t_pair p = t_pipe();
    size_t held = t_fill_up(p.out);

    t_submit_write(&cb, p.out, buf, 100, 0);
    ck_assert_int_eq(aio_cancel(p.out, &cb), AIO_CANCELED);
    t_assert_failed(&cb, ECANCELED);
    t_take(p.in, 0, held);
    ck_assert_int_eq(fcntl(p.in, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(read(p.in, buf, 1), -1);
}
END_TEST

START_TEST(canceled_request_notifies)
{
    struct t_pair p = t_pipe();
    siginfo_t info;

    t_block(SIGRTMIN);
    submit_signaled_read(&cb, p.in, buf, 100);
    ck_assert_int_eq(aio_cancel(p.in, &cb), AIO_CANCELED);
    info = t_accept_signal(SIGRTMIN);
    ck_assert_int_eq(info.si_code, SI_ASYNCIO);
    ck_assert_ptr_eq(info.si_value.sival_ptr, &cb);
    t_assert_failed(&cb, ECANCELED);
}
END_TEST

START_TEST(all_of_a_descriptor_are_canceled_and_notify)
{
    struct t_pair p = t_pipe();

    t_block(SIGRTMIN);
    for (int i = 0; i < MANY; i++)
        submit_signaled_read(&cbs[i], p.in, &bytes[i], 1);
    ck_assert_int_eq(aio_cancel(p.in, NULL), AIO_CANCELED);
    for (int i = 0; i < MANY; i++)
        t_assert_failed(&cbs[i], ECANCELED);
    for (int i = 0; i < MANY; i++)
        t_accept_signal(SIGRTMIN);
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

START_TEST(other_descriptors_are_left_alone)
{
    struct t_pair p = t_pipe(), q = t_pipe();
    int copy = fcntl(p.in, F_DUPFD_CLOEXEC, 0);

    t_submit_read(&cb, p.in, buf, 1, 0);
    t_submit_read(&next, q.in, buf + 1, 1, 0);
    ck_assert_int_eq(aio_cancel(q.in, NULL), AIO_CANCELED);
    ck_assert_int_eq(aio_cancel(copy, NULL), AIO_ALLDONE);
    t_assert_in_progress(&cb);
    t_put(p.out, 0, 1);
    t_wait_done(&cb, 1);
}
END_TEST

START_TEST(canceled_read_takes_no_data)
{
    struct t_pair p = t_pipe();

    t_submit_read(&cb, p.in, buf, 100, 0);
    t_submit_read(&next, p.in, buf + 100, 100, 0);
    ck_assert_int_eq(aio_cancel(p.in, &cb), AIO_CANCELED);
    t_put(p.out, 0, 100);
    t_wait_done(&next, 100);
    t_assert_data(buf + 100, 100, 0);
    t_assert_failed(&cb, ECANCELED);
}
END_TEST

START_TEST(one_of_many_is_canceled)
{
    struct t_pair p = t_pipe();
    int place = 0;

    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], p.in, &bytes[i], 1, 0);
    for (int i = 1; i < MANY; i += 2)
        ck_assert_int_eq(aio_cancel(p.in, &cbs[i]), AIO_CANCELED);
    t_put(p.out, 0, MANY / 2);
    for (int i = 0; i < MANY; i += 2) {
        t_wait_done(&cbs[i], 1);
        t_assert_data(&bytes[i], 1, place++);
    }
    for (int i = 1; i < MANY; i += 2)
        t_assert_failed(&cbs[i], ECANCELED);
}
END_TEST

/* A write that the pipe has taken a part of. */
static size_t start_partial_write(struct t_pair p)
{
    int capacity = fcntl(p.out, F_GETPIPE_SZ);

    ck_assert_int_gt(capacity, 0);
    t_fill(buf, SIZE, 0);
    t_submit_write(&cb, p.out, buf, SIZE, 0);
    t_take(p.in, 0, 1);
    return 1;
}

START_TEST(write_that_has_transferred_bytes_goes_on)
{
    struct t_pair p = t_pipe();
    size_t taken = start_partial_write(p);

    ck_assert_int_eq(aio_cancel(p.out, &cb), AIO_NOTCANCELED);
    t_assert_in_progress(&cb);
    t_take(p.in, (off_t) taken, SIZE - taken);
    t_wait_done(&cb, SIZE);
}
END_TEST

START_TEST(what_is_queued_behind_it_is_canceled)
{
    struct t_pair p = t_pipe();
    size_t taken = start_partial_write(p);

    t_submit_write(&next, p.out, buf, 100, 0);
    t_submit_write(&cbs[0], p.out, buf, 100, 0);
    ck_assert_int_eq(aio_cancel(p.out, NULL), AIO_NOTCANCELED);
    t_assert_failed(&next, ECANCELED);
    t_assert_failed(&cbs[0], ECANCELED);
    t_take(p.in, (off_t) taken, SIZE - taken);
    t_wait_done(&cb, SIZE);
    ck_assert_int_eq(fcntl(p.in, F_SETFL, O_NONBLOCK), 0);
    ck_assert_int_eq(read(p.in, bytes, 1), -1);
}
END_TEST

START_TEST(reads_and_writes_of_a_socket_are_both_canceled)
{
    struct t_pair s = t_socketpair(SOCK_STREAM);

    t_fill_up(s.in);
    t_submit_read(&cb, s.in, buf, 100, 0);
    t_submit_write(&next, s.in, bytes, 100, 0);
    ck_assert_int_eq(aio_cancel(s.in, NULL), AIO_CANCELED);
    t_assert_failed(&cb, ECANCELED);
    t_assert_failed(&next, ECANCELED);
}
END_TEST

/* The request that is canceled completes at the same time: it is one or the other, never both. */
static void *put_one(void *out)
{
    t_put(*(int *) out, 0, 1);
    return NULL;
}

START_TEST(cancellation_races_with_completion)
{
    struct t_pair p = t_pipe();
    size_t rounds = t_scale(2000), canceled = 0;

    for (size_t i = 0; i < rounds; i++) {
        pthread_t thread;
        int answer;

        t_submit_read(&cb, p.in, buf, 1, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, put_one, &p.out), 0);
        while (aio_error(&cb) == EINPROGRESS && (int) (i % 4) * 25 > rand() % 100)
            ;
        answer = aio_cancel(p.in, &cb);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        t_wait(&cb);
        if (answer == AIO_CANCELED) {
            t_assert_failed(&cb, ECANCELED);
            t_take(p.in, 0, 1);
            canceled++;
        } else {
            t_assert_done(&cb, 1);
        }
    }
    ck_assert_uint_gt(canceled, 0);
}
END_TEST

/* Files. */

START_TEST(running_file_request_is_not_canceled)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    ck_assert_int_eq(aio_cancel(fd, &cb), AIO_NOTCANCELED);
    ck_assert_int_eq(aio_cancel(fd, NULL), AIO_NOTCANCELED);
    t_assert_in_progress(&cb);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 1000);
    t_assert_data(buf, 1000, 0);
}
END_TEST

START_TEST(queued_appends_are_canceled)
{
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND);

    t_fill(buf, 3000, 0);
    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&cb, fd, buf, 1000, 0);
    t_submit_write(&next, fd, buf, 500, 0);
    t_submit_write(&cbs[0], fd, buf + 1000, 1000, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    ck_assert_int_eq(aio_cancel(fd, &next), AIO_CANCELED);
    t_assert_failed(&next, ECANCELED);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&cb, 1000);
    t_wait_done(&cbs[0], 1000);
    ck_assert_uint_eq(slowfs_size(0), 2000);
    t_assert_data(slowfs_data(0), 2000, 0);
}
END_TEST

START_TEST(all_appends_but_the_running_one_are_canceled)
{
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND);

    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&cb, fd, buf, 1000, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_write(&cbs[i], fd, buf, 10, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    ck_assert_int_eq(aio_cancel(fd, NULL), AIO_NOTCANCELED);
    for (int i = 0; i < MANY; i++)
        t_assert_failed(&cbs[i], ECANCELED);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&cb, 1000);
    ck_assert_uint_eq(slowfs_size(0), 1000);
    ck_assert_uint_eq(slowfs_arrived(SLOWFS_WRITE), 1);
}
END_TEST

START_TEST(waiting_sync_is_canceled)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    t_submit_sync(&next, fd, O_SYNC);
    ck_assert_int_eq(aio_cancel(fd, &next), AIO_CANCELED);
    t_assert_failed(&next, ECANCELED);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 1000);
    t_submit_sync(&next, fd, O_SYNC);
    t_wait_done(&next, 0);
    ck_assert_uint_eq(slowfs_arrived(SLOWFS_SYNC), 1);
}
END_TEST

/* More than the pool has threads for: whatever has not begun can be canceled, and only that. */
START_TEST(answer_tells_what_becomes_of_a_file_request)
{
    int fd = t_slow_file(0, SIZE, O_RDWR), answers[MANY];
    unsigned int going = 0;

    slowfs_hold(SLOWFS_READ, MANY);
    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], fd, &bytes[i], 1, i);
    t_until(slowfs_held(SLOWFS_READ) > 0);
    for (int i = 0; i < MANY; i++) {
        answers[i] = aio_cancel(fd, &cbs[i]);
        ck_assert(answers[i] == AIO_CANCELED || answers[i] == AIO_NOTCANCELED);
        going += answers[i] == AIO_NOTCANCELED;
    }
    slowfs_hold(SLOWFS_READ, 0);
    slowfs_release(SLOWFS_READ, MANY);
    for (int i = 0; i < MANY; i++) {
        if (answers[i] == AIO_CANCELED) {
            t_assert_failed(&cbs[i], ECANCELED);
            continue;
        }
        t_wait_done(&cbs[i], 1);
        t_assert_data(&bytes[i], 1, i);
    }
    ck_assert_uint_eq(slowfs_arrived(SLOWFS_READ), going);
}
END_TEST

static void add_cancel(TCase *tests)
{
    tcase_add_test(tests, closed_descriptor_is_ebadf);
    tcase_add_test(tests, request_in_progress_on_another_descriptor_is_einval);
    tcase_add_test(tests, idle_descriptor_is_alldone);
    tcase_add_test(tests, never_submitted_is_alldone);
    tcase_add_test(tests, done_or_returned_is_alldone);
}

static void add_streams(TCase *tests)
{
    tcase_add_test(tests, pending_stream_read_is_canceled);
    tcase_add_test(tests, pending_stream_write_is_canceled);
    tcase_add_test(tests, canceled_request_notifies);
    tcase_add_test(tests, all_of_a_descriptor_are_canceled_and_notify);
    tcase_add_test(tests, other_descriptors_are_left_alone);
    tcase_add_test(tests, canceled_read_takes_no_data);
    tcase_add_test(tests, one_of_many_is_canceled);
    tcase_add_test(tests, write_that_has_transferred_bytes_goes_on);
    tcase_add_test(tests, what_is_queued_behind_it_is_canceled);
    tcase_add_test(tests, reads_and_writes_of_a_socket_are_both_canceled);
    tcase_add_test(tests, cancellation_races_with_completion);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, running_file_request_is_not_canceled);
    tcase_add_test(tests, queued_appends_are_canceled);
    tcase_add_test(tests, all_appends_but_the_running_one_are_canceled);
    tcase_add_test(tests, waiting_sync_is_canceled);
    tcase_add_test(tests, answer_tells_what_becomes_of_a_file_request);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "nothing to cancel", .add = add_cancel },
        { .name = "streams", .add = add_streams },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    return t_main("cancel", parts);
}
