/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests and the life of threads, programs and processes: thread exit, exec, exit, and systems
 * that refuse the library what it would like to have.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { SIZE = 1 << 20, MANY = 50 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];
static unsigned char *aligned;
static struct t_pair common;
static int file;

/* Threads. */

static void *submit_and_leave(void *unused)
{
    (void) unused;
    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], file, aligned + i * 8192, 8192, i * 8192);
    t_submit_read(&cb, common.in, buf, 100, 0);
    return NULL;
}

static void run_submitter(void)
{
    pthread_t thread;

    common = t_pipe();
    aligned = t_aligned(SIZE);
    ck_assert_int_eq(pthread_create(&thread, NULL, submit_and_leave, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 8192);
    t_assert_data(aligned, MANY * 8192, 0);
    t_put(common.out, 0, 100);
    t_wait_done(&cb, 100);
}

START_TEST(requests_outlive_the_thread_that_submitted_them)
{
    file = t_cold_file(SIZE);
    run_submitter();
}
END_TEST

START_TEST(direct_requests_outlive_the_thread_that_submitted_them)
{
    file = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    run_submitter();
}
END_TEST

/* The application's own system calls end by themselves, not because of our work. */
static atomic_bool traffic_ended;

static void *make_traffic(void *unused)
{
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    void *bytes = t_aligned(4096);
    struct aiocb one;

    (void) unused;
    while (!atomic_load(&traffic_ended)) {
        t_submit_read(&one, fd, bytes, 4096, 4096);
        t_wait_done(&one, 4096);
    }
    free(bytes);
    return NULL;
}

START_TEST(waits_of_the_application_get_no_eintr)
{
    int set = epoll_create1(EPOLL_CLOEXEC), fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    struct epoll_event event = { .events = EPOLLIN };
    pthread_t thread;

    common = t_pipe();
    aligned = t_aligned(SIZE);
    ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_ADD, common.in, &event), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, make_traffic, NULL), 0);
    for (int i = 0; i < MANY; i++) {
        t_submit_read(&cbs[i], fd, aligned + i * 8192, 8192, i * 8192);
        ck_assert_int_eq(epoll_wait(set, &event, 1, 5), 0);
        ck_assert_int_eq(usleep(1000), 0);
    }
    atomic_store(&traffic_ended, true);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

/* A process whose last thread of its own leaves must end: ours may not keep it. */
static void leave_by_pthread_exit(void *unused)
{
    (void) unused;
    t_submit_read(&cb, t_cold_file(SIZE), buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    pthread_exit(NULL);
}

START_TEST(process_ends_with_its_last_thread)
{
    t_reap(t_child(leave_by_pthread_exit, NULL));
}
END_TEST

/* Exec and exit. */

static void pend_and_exec(void *unused)
{
    (void) unused;
    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], t_pipe().in, buf + i, 1, 0);
    t_submit_read(&cb, t_cold_file(SIZE), buf + MANY, 1000, 0);
    execlp("true", "true", NULL);
    _exit(3);
}

START_TEST(exec_hangs_at_nothing)
{
    t_reap(t_child(pend_and_exec, NULL));
}
END_TEST

static void pend_and_exit(void *unused)
{
    struct t_pair full = t_pipe();

    (void) unused;
    t_fill_up(full.out);
    t_submit_write(&cb, full.out, buf, 1000, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], t_pipe().in, buf + i, 1, 0);
    exit(0);
}

START_TEST(exit_does_not_wait_for_streams)
{
    t_reap(t_child(pend_and_exit, NULL));
}
END_TEST

static void write_and_exit(void *flags)
{
    int fd = t_reopen(file, O_WRONLY | (int) (intptr_t) flags);

    t_fill(buf, SIZE, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_write(&cbs[i], fd, buf + i * 20000, 20000, i * 20000);
    exit(0);
}

START_TEST(exit_carries_out_writes_to_files)
{
    const int flags[] = { 0, O_APPEND, O_DSYNC };

    for (size_t i = 0; i < T_COUNT(flags); i++) {
        file = t_empty_file();
        t_reap(t_child(write_and_exit, (void *) (intptr_t) flags[i]));
        memset(buf, 0, SIZE);
        ck_assert_int_eq(pread(file, buf, SIZE, 0), MANY * 20000);
        t_assert_data(buf, MANY * 20000, 0);
    }
}
END_TEST

START_TEST(exit_carries_out_writes_that_are_queued)
{
    file = t_slow_file(0, 0, O_RDWR);
    slowfs_delay(SLOWFS_WRITE, 2);
    t_reap(t_child(write_and_exit, (void *) (intptr_t) O_APPEND));
    ck_assert_uint_eq(slowfs_size(0), MANY * 20000);
    t_assert_data(slowfs_data(0), MANY * 20000, 0);
}
END_TEST

static void exit_at_once(void *unused)
{
    (void) unused;
    _exit(0);
}

START_TEST(immediate_exit_after_requests_works)
{
    t_submit_read(&cb, t_cold_file(SIZE), buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_reap(t_child(exit_at_once, NULL));
    t_reap(t_child(pend_and_exit, NULL));
}
END_TEST

/* Systems that refuse. */

static void assert_requests_work(void)
{
    int cold = t_cold_file(SIZE), direct = t_reopen(cold, O_RDWR | O_DIRECT);

    common = t_pipe();
    aligned = t_aligned(8192);
    t_submit_read(&cb, direct, aligned, 8192, 8192);
    t_wait_done(&cb, 8192);
    t_assert_data(aligned, 8192, 8192);
    t_submit_read(&cb, cold, buf, 10000, 100);
    t_wait_done(&cb, 10000);
    t_assert_data(buf, 10000, 100);
    t_submit_write(&cb, direct, aligned, 8192, 0);
    t_wait_done(&cb, 8192);
    t_submit_sync(&cb, cold, O_SYNC);
    t_wait_done(&cb, 0);
    t_submit_read(&cb, common.in, buf, 10, 0);
    t_put(common.out, 0, 10);
    t_wait_done(&cb, 10);
    free(aligned);
    aligned = NULL;
}

static void start_without_kernel_aio(void *error)
{
    t_forbid(SYS_io_setup, (int) (intptr_t) error);
    setenv("LIBPOSIX_AIO_ENGINE", "auto", 1);
    ck_assert_str_eq(posix_aio_engine(), "pool");
    assert_requests_work();
}

/* The engine that was asked for is chosen in a child, where the library starts anew. */
START_TEST(pool_does_everything_where_kernel_aio_is_not_to_be_had)
{
    const int errors[] = { EAGAIN, EPERM, ENOSYS, ENOMEM, EACCES };

    for (size_t i = 0; i < T_COUNT(errors); i++)
        t_reap(t_child(start_without_kernel_aio, (void *) (intptr_t) errors[i]));
}
END_TEST

static void start_without_pgetevents(void *engine)
{
    t_forbid(SYS_io_pgetevents, ENOSYS);
    ck_assert_str_eq(posix_aio_engine(), engine);
    assert_requests_work();
    setenv("LIBPOSIX_AIO_ENGINE", "auto", 1);
}

/* As under Valgrind: not a reason to do without the engine. */
START_TEST(engine_works_without_io_pgetevents)
{
    t_reap(t_child(start_without_pgetevents, getenv("LIBPOSIX_AIO_ENGINE")));
}
END_TEST

static void lose_io_submit(void *error)
{
    assert_requests_work();
    t_forbid(SYS_io_submit, (int) (intptr_t) error);
    assert_requests_work();
}

START_TEST(requests_go_elsewhere_when_io_submit_is_refused)
{
    const int errors[] = { EAGAIN, EPERM, ENOSYS, ENOMEM };

    for (size_t i = 0; i < T_COUNT(errors); i++)
        t_reap(t_child(lose_io_submit, (void *) (intptr_t) errors[i]));
}
END_TEST

START_TEST(requests_work_without_locked_memory)
{
    const struct rlimit none = { 0, 0 };

    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    assert_requests_work();
}
END_TEST

/* No thread is to be had: a request is then carried out or refused, but never forgotten. */
static void start_without_threads(void *call)
{
    int cold = t_cold_file(SIZE), accepted = 0;

    t_forbid(SYS_clone, EAGAIN);
    t_forbid(SYS_clone3, EAGAIN);
    (void) call;
    for (int i = 0; i < MANY; i++) {
        t_prepare(&cbs[i], cold, buf + i * 4096, 4096, i * 4096);
        if (aio_read(&cbs[i])) {
            ck_assert_int_eq(errno, EAGAIN);
            continue;
        }
        accepted++;
        t_wait(&cbs[i]);
        if (aio_error(&cbs[i])) {
            t_assert_failed(&cbs[i], EAGAIN);
            continue;
        }
        t_assert_done(&cbs[i], 4096);
        t_assert_data(buf + i * 4096, 4096, i * 4096);
    }
}

START_TEST(no_request_is_forgotten_without_threads)
{
    t_reap(t_child(start_without_threads, NULL));
}
END_TEST

/* The library's threads go when there is nothing to do. */
START_TEST(threads_end_when_idle)
{
    t_submit_read(&cb, t_cold_file(SIZE), buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_submit_write(&cb, t_empty_file(), buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_until(t_threads() == 1);
}
END_TEST

static void add_threads(TCase *tests)
{
    tcase_add_test(tests, requests_outlive_the_thread_that_submitted_them);
    tcase_add_test(tests, direct_requests_outlive_the_thread_that_submitted_them);
    tcase_add_test(tests, waits_of_the_application_get_no_eintr);
}

static void add_ends(TCase *tests)
{
    tcase_add_test(tests, exec_hangs_at_nothing);
    tcase_add_test(tests, exit_does_not_wait_for_streams);
    tcase_add_test(tests, exit_carries_out_writes_to_files);
    tcase_add_test(tests, immediate_exit_after_requests_works);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, exit_carries_out_writes_that_are_queued);
}

static void add_refusals(TCase *tests)
{
    tcase_add_test(tests, pool_does_everything_where_kernel_aio_is_not_to_be_had);
    tcase_add_test(tests, engine_works_without_io_pgetevents);
    tcase_add_test(tests, requests_go_elsewhere_when_io_submit_is_refused);
    tcase_add_test(tests, requests_work_without_locked_memory);
    tcase_add_test(tests, no_request_is_forgotten_without_threads);
}

/* A sanitizer may have a thread of its own. */
static void add_last_threads(TCase *tests)
{
    tcase_add_test(tests, process_ends_with_its_last_thread);
    tcase_add_test(tests, threads_end_when_idle);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "threads", .add = add_threads },
        { .name = "exec and exit", .add = add_ends },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = "refusals", .add = add_refusals },
        { .name = "last threads", .add = add_last_threads, .need = T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("life", parts);
}
