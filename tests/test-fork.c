/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fork: what the parent keeps, and what the child can do. Children that come about otherwise are in test-children.c.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SIZE = 1 << 20, MANY = 100 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];
static struct t_pair common;
static int file;

/* Every way a request can go, in whatever process this runs. */
static void do_some_of_everything(void *unused)
{
    static unsigned char bytes[8192];
    int cold = t_cold_file(SIZE);
    struct t_pair p = t_pipe();
    struct aiocb one;

    (void) unused;
    t_submit_read(&one, cold, bytes, 8192, 8192);
    t_wait_done(&one, 8192);
    t_assert_data(bytes, 8192, 8192);
    t_submit_read(&one, cold, bytes, 4096, 8192);
    t_wait_done(&one, 4096);
    t_submit_write(&one, cold, bytes, 4096, 8192);
    t_wait_done(&one, 4096);
    t_submit_sync(&one, cold, O_SYNC);
    t_wait_done(&one, 0);
    t_submit_read(&one, p.in, bytes, 100, 0);
    t_put(p.out, 0, 100);
    t_wait_done(&one, 100);
    t_assert_data(bytes, 100, 0);
}

static void do_notified_read(void *unused)
{
    (void) unused;
    t_block(SIGRTMIN);
    t_prepare(&cb, t_cold_file(SIZE), buf, 100, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGRTMIN;
    ck_assert_int_eq(aio_read(&cb), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_pid, getpid());
    t_assert_done(&cb, 100);
}

static void do_nothing(void *unused)
{
    (void) unused;
}

START_TEST(childs_requests_work)
{
    do_some_of_everything(NULL);
    t_reap(t_child(do_some_of_everything, NULL));
    do_some_of_everything(NULL);
}
END_TEST

START_TEST(childs_notifications_work)
{
    do_notified_read(NULL);
    t_reap(t_child(do_notified_read, NULL));
    do_notified_read(NULL);
}
END_TEST

START_TEST(child_of_a_process_without_requests_works)
{
    t_reap(t_child(do_some_of_everything, NULL));
}
END_TEST

static void fork_again(void *depth)
{
    do_some_of_everything(NULL);
    if (depth)
        t_reap(t_child(fork_again, (char *) depth - 1));
    do_some_of_everything(NULL);
}

START_TEST(grandchildrens_requests_work)
{
    fork_again((void *) 3);
}
END_TEST

START_TEST(parents_pending_requests_are_untouched)
{
    common = t_pipe();
    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], common.in, buf + i, 1, 0);
    t_reap(t_child(do_some_of_everything, NULL));
    t_reap(t_child(do_nothing, NULL));
    for (int i = 0; i < MANY; i++)
        t_assert_in_progress(&cbs[i]);
    t_put(common.out, 0, MANY);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 1);
    t_assert_data(buf, MANY, 0);
}
END_TEST

static void exit_normally(void *unused)
{
    (void) unused;
    exit(0);
}

/* The child's exit carries out writes that were accepted, but these are not its own. */
START_TEST(childs_exit_leaves_the_parents_requests_alone)
{
    int out = t_start_pending(&cb);

    t_reap(t_child(exit_normally, NULL));
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

/* The ring of completions is shared memory: a child that looks into it must not take from it. */
static void look_for_completions(void *unused)
{
    const struct aiocb *const list[] = { &cb };
    const struct timespec limit = { .tv_nsec = 1000000 };

    (void) unused;
    for (int i = 0; i < 20; i++) {
        aio_error(&cbs[i]);
        aio_suspend(list, 1, &limit);
    }
    do_some_of_everything(NULL);
}

START_TEST(child_takes_no_completions_of_the_parent)
{
    int fd = t_reopen(t_cached_file(SIZE), O_RDONLY | O_DIRECT);
    unsigned char *aligned = t_aligned(SIZE);
    pid_t child;

    common = t_pipe();
    t_submit_read(&cb, common.in, buf, 1, 0);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < MANY; i++)
            t_submit_read(&cbs[i], fd, aligned + i * 4096, 4096, i * 4096);
        child = t_child(look_for_completions, NULL);
        for (int i = 0; i < MANY; i++)
            t_wait_done(&cbs[i], 4096);
        t_assert_data(aligned, MANY * 4096, 0);
        t_reap(child);
    }
}
END_TEST

/* The child's copies of control blocks in flight are nobody's: the child may use them anew. */
static void use_copies(void *unused)
{
    static unsigned char bytes[100];

    (void) unused;
    for (int i = 0; i < 3; i++) {
        t_submit_read(&cbs[i], file, bytes, 100, i * 100);
        t_wait_done(&cbs[i], 100);
        t_assert_data(bytes, 100, i * 100);
    }
    ck_assert_int_eq(aio_cancel(common.in, NULL), AIO_ALLDONE);
}

START_TEST(child_may_use_copies_of_control_blocks_in_flight)
{
    file = t_cached_file(SIZE);
    common = t_pipe();
    for (int i = 0; i < 3; i++)
        t_submit_read(&cbs[i], common.in, buf, 100, 0);
    t_reap(t_child(use_copies, NULL));
    for (int i = 0; i < 3; i++)
        t_assert_in_progress(&cbs[i]);
    t_put(common.out, 0, 300);
    for (int i = 0; i < 3; i++)
        t_wait_done(&cbs[i], 100);
}
END_TEST

static void close_descriptors(void *out)
{
    close(*(int *) out);
    close(cb.aio_fildes);
    closefrom(3);
}

START_TEST(childs_close_leaves_the_parents_requests_alone)
{
    int out = t_start_pending(&cb);

    t_reap(t_child(close_descriptors, &out));
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

/* Forks while other threads submit, wait and cancel: no lock may be left taken in the child. */
static atomic_bool busy_ended;

static void *keep_busy(void *argument)
{
    struct aiocb own;
    unsigned char bytes[4096];
    struct t_pair p = t_pipe();

    while (!atomic_load(&busy_ended)) {
        t_prepare(&own, *(int *) argument, bytes, sizeof(bytes), 4096);
        if (!aio_read(&own))
            t_wait(&own);
        t_prepare(&own, p.in, bytes, 1, 0);
        if (!aio_read(&own)) {
            aio_cancel(p.in, NULL);
            t_wait(&own);
        }
    }
    return NULL;
}

START_TEST(forks_among_busy_threads_work)
{
    pthread_t threads[4];
    int fd = t_reopen(t_cached_file(SIZE), O_RDONLY);

    for (size_t i = 0; i < T_COUNT(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, keep_busy, &fd), 0);
    for (size_t i = 0; i < t_scale(30); i++)
        t_reap(t_child(do_some_of_everything, NULL));
    atomic_store(&busy_ended, true);
    for (size_t i = 0; i < T_COUNT(threads); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

START_TEST(held_requests_of_the_parent_do_not_stop_the_child)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 4);
    for (int i = 0; i < 4; i++)
        t_submit_read(&cbs[i], fd, buf + i * 100, 100, i * 100);
    t_until(slowfs_held(SLOWFS_READ) == 4);
    t_reap(t_child(do_some_of_everything, NULL));
    t_reap(t_child(exit_normally, NULL));
    for (int i = 0; i < 4; i++)
        t_assert_in_progress(&cbs[i]);
    slowfs_release(SLOWFS_READ, 4);
    for (int i = 0; i < 4; i++)
        t_wait_done(&cbs[i], 100);
    t_assert_data(buf, 400, 0);
}
END_TEST

START_TEST(queued_appends_are_written_once)
{
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND);

    t_fill(buf, 1000, 0);
    slowfs_hold(SLOWFS_WRITE, 1);
    for (int i = 0; i < 10; i++)
        t_submit_write(&cbs[i], fd, buf + i * 100, 100, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_reap(t_child(exit_normally, NULL));
    t_reap(t_child(do_some_of_everything, NULL));
    slowfs_release(SLOWFS_WRITE, 1);
    for (int i = 0; i < 10; i++)
        t_wait_done(&cbs[i], 100);
    ck_assert_uint_eq(slowfs_size(0), 1000);
    t_assert_data(slowfs_data(0), 1000, 0);
}
END_TEST

/* A control block in memory of its own, which is not to be had until a handler allows it, and forks. */
static struct {
    struct aiocb *cb;
    volatile pid_t child;
} apart;

static void allow_and_fork(int number)
{
    (void) number;
    mprotect(apart.cb, sizeof(struct aiocb), PROT_READ | PROT_WRITE);
    apart.child = fork();
}

/* Both come back from the call, and each has made a request of its own. */
START_TEST(child_that_a_handler_forks_in_a_call_is_told_itself)
{
    struct sigaction action = { .sa_handler = allow_and_fork };

    do_notified_read(NULL);
    apart.cb = mmap(NULL, sizeof(struct aiocb), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(apart.cb, MAP_FAILED);
    t_prepare(apart.cb, t_memory_file(SIZE), buf, 100, 0);
    apart.cb->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    apart.cb->aio_sigevent.sigev_signo = SIGRTMIN;
    sigaction(SIGSEGV, &action, NULL);
    ck_assert_int_eq(mprotect(apart.cb, sizeof(struct aiocb), PROT_NONE), 0);
    ck_assert_int_eq(aio_read(apart.cb), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_pid, getpid());
    t_assert_done(apart.cb, 100);
    if (apart.child)
        t_reap(apart.child);
    t_assert_no_signal(SIGRTMIN);
    if (!apart.child)
        _exit(0);
}
END_TEST

static void add_handler(TCase *tests)
{
    tcase_add_test(tests, child_that_a_handler_forks_in_a_call_is_told_itself);
}

static void add_fork(TCase *tests)
{
    tcase_add_test(tests, childs_requests_work);
    tcase_add_test(tests, childs_notifications_work);
    tcase_add_test(tests, child_of_a_process_without_requests_works);
    tcase_add_test(tests, grandchildrens_requests_work);
    tcase_add_test(tests, parents_pending_requests_are_untouched);
    tcase_add_test(tests, childs_exit_leaves_the_parents_requests_alone);
    tcase_add_test(tests, child_takes_no_completions_of_the_parent);
    tcase_add_test(tests, child_may_use_copies_of_control_blocks_in_flight);
    tcase_add_test(tests, childs_close_leaves_the_parents_requests_alone);
}

static void add_busy(TCase *tests)
{
    tcase_add_test(tests, forks_among_busy_threads_work);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, held_requests_of_the_parent_do_not_stop_the_child);
    tcase_add_test(tests, queued_appends_are_written_once);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "fork", .add = add_fork },
        { .name = "busy threads", .add = add_busy, .need = T_NO_SANITIZER },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = "forking handler", .add = add_handler, .need = T_HANDLERS | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("fork", parts);
}
