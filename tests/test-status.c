/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * aio_error and aio_return, and the control block's life from submission to the next.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

enum { SIZE = 65536 };

static struct aiocb cb;
static unsigned char buf[SIZE];

START_TEST(never_submitted_is_0)
{
    memset(&cb, 0, sizeof(cb));
    ck_assert_int_eq(aio_error(&cb), 0);
    ck_assert_int_eq(aio_return(&cb), 0);
}
END_TEST

START_TEST(pending_request_is_einprogress)
{
    struct t_pair p = t_pipe();

    t_submit_read(&cb, p.in, buf, 100, 0);
    for (int i = 0; i < 1000; i++)
        t_assert_in_progress(&cb);
    t_put(p.out, 0, 100);
    t_wait_done(&cb, 100);
}
END_TEST

/* What it answers is nobody's business; the request's is that it goes on. */
START_TEST(return_of_a_pending_request_changes_nothing)
{
    struct t_pair p = t_pipe();

    t_submit_read(&cb, p.in, buf, 100, 0);
    for (int i = 0; i < 10; i++)
        ck_assert_int_le(aio_return(&cb), 0);
    t_assert_in_progress(&cb);
    t_put(p.out, 0, 100);
    t_wait_done(&cb, 100);
}
END_TEST

START_TEST(canceled_request_is_ecanceled)
{
    struct t_pair p = t_pipe();

    t_submit_read(&cb, p.in, buf, 100, 0);
    ck_assert_int_eq(aio_cancel(p.in, &cb), AIO_CANCELED);
    t_assert_failed(&cb, ECANCELED);
}
END_TEST

START_TEST(status_may_be_asked_for_any_number_of_times)
{
    t_submit_read(&cb, t_cached_file(SIZE), buf, 1000, 0);
    t_wait(&cb);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(aio_error(&cb), 0);
    for (int i = 0; i < 10; i++)
        t_assert_done(&cb, 1000);
}
END_TEST

START_TEST(failure_may_be_asked_for_any_number_of_times)
{
    t_submit_read(&cb, -1, buf, 1000, 0);
    t_wait(&cb);
    for (int i = 0; i < 10; i++)
        t_assert_failed(&cb, EBADF);
}
END_TEST

START_TEST(submission_in_flight_is_refused)
{
    struct t_pair p = t_pipe();

    t_submit_read(&cb, p.in, buf, 100, 0);
    errno = 0;
    ck_assert_int_eq(aio_read(&cb), -1);
    ck_assert_int_eq(errno, EINVAL);
    errno = 0;
    ck_assert_int_eq(aio_fsync(O_SYNC, &cb), -1);
    ck_assert_int_eq(errno, EINVAL);
    t_assert_in_progress(&cb);
    t_put(p.out, 0, 100);
    t_wait_done(&cb, 100);
    t_assert_data(buf, 100, 0);
}
END_TEST

/* stress-ng and glibc's own tests do not call aio_return, and some callers clear nothing. */
START_TEST(done_request_may_be_submitted_again)
{
    int fd = t_cached_file(SIZE);

    t_submit_read(&cb, fd, buf, 100, 0);
    t_wait(&cb);
    cb.aio_offset = 100;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_wait_done(&cb, 100);
    t_assert_data(buf, 100, 100);
    cb.aio_fildes = -1;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_wait_failed(&cb, EBADF);
    cb.aio_fildes = fd;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_wait_done(&cb, 100);
}
END_TEST

START_TEST(status_of_a_refused_submission_is_no_leftover)
{
    t_prepare(&cb, t_cached_file(SIZE), buf, 100, 0);
    cb.aio_reqprio = -1;
    ck_assert_int_eq(aio_read(&cb), -1);
    ck_assert_int_ne(aio_error(&cb), EINPROGRESS);
    cb.aio_reqprio = 0;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_wait_done(&cb, 100);
}
END_TEST

/* Once the status says done the control block and the buffer are the caller's alone. */
START_TEST(done_control_block_is_touched_no_more)
{
    int fd = t_cold_file(SIZE);
    unsigned char before[sizeof(cb)];

    for (off_t place = 0; place < SIZE; place += 4096) {
        t_submit_read(&cb, fd, buf, 4096, place);
        while (aio_error(&cb) == EINPROGRESS)
            ;
        memset(&cb, 0x5a, sizeof(cb));
        memcpy(before, &cb, sizeof(cb));
        t_moment();
        ck_assert_mem_eq(&cb, before, sizeof(cb));
    }
}
END_TEST

/* The result is there with the status, also for a thread that only ever asks for the status. */
static atomic_bool asking_ended;
static atomic_uint torn;

static void *ask(void *unused)
{
    (void) unused;
    while (!atomic_load(&asking_ended)) {
        int error = aio_error(&cb);

        if (error == 0 && aio_return(&cb) != 64)
            atomic_fetch_add(&torn, 1);
        if (error != 0 && error != EINPROGRESS)
            atomic_fetch_add(&torn, 1);
    }
    return NULL;
}

START_TEST(status_and_result_agree_for_every_observer)
{
    struct t_pair p = t_pipe();
    pthread_t thread;

    t_submit_read(&cb, p.in, buf, 64, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask, NULL), 0);
    t_put(p.out, 0, 64);
    t_wait_done(&cb, 64);
    t_assert_data(buf, 64, 0);
    atomic_store(&asking_ended, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(torn, 0);
}
END_TEST

/* Data written by whoever carries out the request is seen by whoever sees the status. */
START_TEST(data_is_there_before_the_status)
{
    int fd = t_cold_file(1 << 20);

    for (off_t place = 0; place < 1 << 20; place += 16384) {
        memset(buf, 0, 16384);
        t_submit_read(&cb, fd, buf, 16384, place);
        while (aio_error(&cb) == EINPROGRESS)
            ;
        t_assert_data(buf, 16384, place);
        t_assert_done(&cb, 16384);
    }
}
END_TEST

START_TEST(asking_does_not_wait_for_a_held_file)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);
    double begin;

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 1000, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    begin = t_now();
    for (int i = 0; i < 1000; i++)
        t_assert_in_progress(&cb);
    ck_assert(t_now() - begin < t_patience() / 4);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 1000);
}
END_TEST

static atomic_int submitted, canceled;
static int cancels;

static void *cancel_when_seen(void *unused)
{
    (void) unused;
    for (int i = 1; i <= cancels; i++) {
        while (atomic_load(&submitted) < i - 1 || aio_error(&cb) != EINPROGRESS)
            ;
        if (aio_cancel(cb.aio_fildes, &cb) != AIO_CANCELED)
            return &cb;
        atomic_store(&canceled, i);
    }
    return NULL;
}

/* aio_read may not have returned yet when another thread sees its request. */
START_TEST(request_seen_in_progress_can_be_canceled)
{
    struct t_pair p = t_pipe();
    pthread_t thread;
    void *failed;

    cancels = (int) t_scale(5000);
    t_prepare(&cb, p.in, buf, 1, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_when_seen, NULL), 0);
    for (int i = 1; i <= cancels; i++) {
        ck_assert_int_eq(aio_read(&cb), 0);
        t_until(atomic_load(&canceled) == i || pthread_tryjoin_np(thread, &failed) == 0);
        ck_assert_int_eq(atomic_load(&canceled), i);
        t_assert_failed(&cb, ECANCELED);
        atomic_store(&submitted, i);
    }
    ck_assert_int_eq(pthread_join(thread, &failed), 0);
    ck_assert_ptr_null(failed);
}
END_TEST

/* As write(2) does: they never become ready for it. */
START_TEST(what_cannot_be_written_fails_at_once)
{
    const int fds[] = { epoll_create1(EPOLL_CLOEXEC), timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC) };

    for (size_t i = 0; i < T_COUNT(fds); i++) {
        t_submit_write(&cb, fds[i], buf, 8, 0);
        t_wait_failed(&cb, EINVAL);
    }
}
END_TEST

static void add_status(TCase *tests)
{
    tcase_add_test(tests, request_seen_in_progress_can_be_canceled);
    tcase_add_test(tests, never_submitted_is_0);
    tcase_add_test(tests, pending_request_is_einprogress);
    tcase_add_test(tests, return_of_a_pending_request_changes_nothing);
    tcase_add_test(tests, canceled_request_is_ecanceled);
    tcase_add_test(tests, status_may_be_asked_for_any_number_of_times);
    tcase_add_test(tests, failure_may_be_asked_for_any_number_of_times);
    tcase_add_test(tests, submission_in_flight_is_refused);
    tcase_add_test(tests, done_request_may_be_submitted_again);
    tcase_add_test(tests, status_of_a_refused_submission_is_no_leftover);
    tcase_add_test(tests, done_control_block_is_touched_no_more);
    tcase_add_test(tests, status_and_result_agree_for_every_observer);
    tcase_add_test(tests, data_is_there_before_the_status);
    tcase_add_test(tests, what_cannot_be_written_fails_at_once);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, asking_does_not_wait_for_a_held_file);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "status", .add = add_status },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    return t_main("status", parts);
}
