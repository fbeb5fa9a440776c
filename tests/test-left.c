/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A request is left to the thread that is expected to wait for it at once. Whatever the thread does instead,
 * the request is carried out all the same, once and in order.
 */
#include "t-habit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { BLOCK = T_BLOCK, SOME = 20 };

static struct aiocb cb, other;
static unsigned char buf[BLOCK];

START_TEST(what_is_left_is_done_without_another_call)
{
    int fd = t_slow_to_write();

    t_leave_write(&cb, fd, buf, BLOCK);
    t_until_published(&cb);
    t_assert_done(&cb, BLOCK);
    t_assert_written(fd, BLOCK);
}
END_TEST

START_TEST(what_is_left_notifies_without_another_call)
{
    int fd = t_slow_to_write();

    t_block(SIGUSR1);
    t_form_habit(fd);
    t_prepare(&cb, fd, buf, BLOCK, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGUSR1;
    ck_assert_int_eq(aio_write(&cb), 0);
    t_accept_signal(SIGUSR1);
    t_assert_done(&cb, BLOCK);
}
END_TEST

START_TEST(what_is_left_can_be_waited_for_in_any_way)
{
    const struct timespec limit = { .tv_sec = 1000 };
    const struct aiocb *both[] = { &other, &cb };
    int fd = t_slow_to_write(), out = t_start_pending(&other);

    t_leave_write(&cb, fd, buf, BLOCK);
    ck_assert_int_eq(t_suspend(&cb, &limit), 0);
    t_assert_done(&cb, BLOCK);
    t_leave_write(&cb, fd, buf, 2 * BLOCK);
    ck_assert_int_eq(aio_suspend(both, 2, NULL), 0);
    t_assert_done(&cb, BLOCK);
    t_leave_write(&cb, fd, buf, 3 * BLOCK);
    while (aio_error(&cb) == EINPROGRESS)
        ;
    t_assert_done(&cb, BLOCK);
    for (off_t i = 1; i <= 3; i++)
        t_assert_written(fd, i * BLOCK);
    t_finish_pending(out, &other);
}
END_TEST

static void *wait_for_it(void *unused)
{
    t_at_once(&cb);
    return unused;
}

START_TEST(what_is_left_can_be_waited_for_by_another_thread)
{
    int fd = t_slow_to_write();
    pthread_t thread;

    t_leave_write(&cb, fd, buf, BLOCK);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    t_assert_done(&cb, BLOCK);
    t_assert_written(fd, BLOCK);
}
END_TEST

START_TEST(next_request_does_not_wait_for_what_is_left)
{
    int fd = t_slow_to_write();

    for (int i = 0; i < SOME; i++) {
        t_leave_write(&cb, fd, buf, BLOCK);
        t_submit_write(&other, fd, buf, BLOCK, BLOCK);
        t_at_once(&cb);
        t_wait_done(&other, BLOCK);
        t_assert_done(&cb, BLOCK);
    }
}
END_TEST

START_TEST(sync_comes_after_what_is_left)
{
    int fd = t_cached_file(T_HABIT_SIZE);

    t_form_habit(t_slow_to_write());
    t_fill(buf, BLOCK, BLOCK);
    t_submit_write(&cb, fd, buf, BLOCK, BLOCK);
    t_submit_sync(&other, fd, O_DSYNC);
    t_until_published(&other);
    t_assert_done(&cb, BLOCK);
    t_assert_done(&other, 0);
}
END_TEST

START_TEST(what_is_left_can_be_canceled)
{
    /* One thread, which does not come to look because it has been idle for so long. */
    const struct aioinit init = { .aio_threads = 1, .aio_idle_time = 1000 };
    int fd = t_slow_to_write();
    unsigned canceled = 0;
    double end = t_now() + t_patience();

    aio_init(&init);
    /* The tick may come first. */
    while (!canceled) {
        t_leave_write(&cb, fd, buf, BLOCK);
        if (aio_cancel(fd, &cb) == AIO_CANCELED) {
            canceled++;
            t_assert_failed(&cb, ECANCELED);
        } else {
            t_wait_done(&cb, BLOCK);
        }
        ck_assert(t_now() < end);
    }
    /* The pool's queue is as it should be: it does the next one. */
    t_submit_write(&cb, fd, buf, BLOCK, 0);
    t_until_published(&cb);
    t_assert_done(&cb, BLOCK);
}
END_TEST

START_TEST(close_cancels_what_is_left)
{
    int fd = t_slow_to_write(), copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), error;

    t_fill(buf, BLOCK, 0);
    ck_assert_int_eq(pwrite(fd, buf, BLOCK, BLOCK), BLOCK);
    t_leave_write(&cb, fd, buf, BLOCK);
    ck_assert_int_eq(close(fd), 0);
    t_until_published(&cb);
    error = aio_error(&cb);
    if (error == 0) /* the tick came first */
        t_assert_written(copy, BLOCK);
    else
        ck_assert_int_eq(error, ECANCELED);
}
END_TEST

/* Closed where the library does not see it, and the number is another file's. */
START_TEST(what_is_left_does_not_reach_another_file)
{
    unsigned done = 0;

    for (int i = 0; i < SOME; i++) {
        int victim = t_empty_file(), fd = t_slow_to_write(), error;

        t_form_habit(fd);
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        ck_assert_int_eq(syscall(SYS_close, fd), 0);
        ck_assert_int_eq(syscall(SYS_dup2, victim, fd), fd);
        t_at_once(&cb);
        error = aio_error(&cb);
        done += error == 0;
        ck_assert_msg(error == 0 || error == ECANCELED || error == EBADF, "%s", strerror(error));
        ck_assert_int_eq(lseek(victim, 0, SEEK_END), 0);
        ck_assert_int_eq(close(victim), 0);
        ck_assert_int_eq(close(fd), 0);
    }
    ck_assert_uint_lt(done, SOME);
}
END_TEST

static int log_fd;

static void *append_another(void *argument)
{
    struct aiocb mine;

    t_submit_write(&mine, log_fd, argument, 1, 0);
    t_wait_done(&mine, 1);
    return NULL;
}

START_TEST(what_is_left_is_appended_before_what_another_thread_appends)
{
    unsigned char found[2];
    pthread_t thread;

    for (int i = 0; i < SOME; i++) {
        log_fd = t_reopen(t_empty_file(), O_RDWR | O_APPEND);
        t_form_habit(t_slow_to_write());
        t_submit_write(&cb, log_fd, "1", 1, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, append_another, "2"), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        t_wait_done(&cb, 1);
        ck_assert_int_eq(pread(log_fd, found, 2, 0), 2);
        ck_assert_mem_eq(found, "12", 2);
        ck_assert_int_eq(close(log_fd), 0);
    }
}
END_TEST

static void leave_and_exit(void *argument)
{
    t_drop_statistics();
    t_leave_write(&cb, *(int *) argument, buf, BLOCK);
    exit(0);
}

START_TEST(exit_carries_out_what_is_left)
{
    int fd = t_slow_to_write();

    memset(buf, 0, BLOCK);
    ck_assert_int_eq(pwrite(fd, buf, BLOCK, BLOCK), BLOCK);
    t_reap(t_child(leave_and_exit, &fd));
    t_assert_written(fd, BLOCK);
}
END_TEST

static void write_in_child(void *argument)
{
    int fd = *(int *) argument;

    t_drop_statistics();
    /* What was left is the parent's. */
    t_at_once(&cb);
    t_write_at_once(&cb, fd, buf, 2 * BLOCK);
    t_form_habit(fd);
}

START_TEST(forked_child_leaves_it_alone_and_forms_its_own)
{
    int fd = t_slow_to_write();
    pid_t child;

    t_leave_write(&cb, fd, buf, BLOCK);
    child = t_child(write_in_child, &fd);
    t_wait_done(&cb, BLOCK);
    t_reap(child);
}
END_TEST

static void add_left(TCase *tests)
{
    tcase_add_test(tests, what_is_left_is_done_without_another_call);
    tcase_add_test(tests, what_is_left_notifies_without_another_call);
    tcase_add_test(tests, what_is_left_can_be_waited_for_in_any_way);
    tcase_add_test(tests, what_is_left_can_be_waited_for_by_another_thread);
    tcase_add_test(tests, next_request_does_not_wait_for_what_is_left);
    tcase_add_test(tests, sync_comes_after_what_is_left);
    tcase_add_test(tests, what_is_left_can_be_canceled);
    tcase_add_test(tests, close_cancels_what_is_left);
    tcase_add_test(tests, what_is_left_does_not_reach_another_file);
    tcase_add_test(tests, what_is_left_is_appended_before_what_another_thread_appends);
    tcase_add_test(tests, exit_carries_out_what_is_left);
    tcase_add_test(tests, forked_child_leaves_it_alone_and_forms_its_own);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "what is left to a waiter",
            .add = add_left,
            .need = T_LOCAL | T_PROMPT | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("left", parts);
}
