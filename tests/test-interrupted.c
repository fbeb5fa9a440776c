/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Submissions that a signal handler interrupts just before the kernel has the request, or just after, and that go on
 * afterwards. The handler waits for other threads, or forks. The result of the request may be there before it has its order;
 * nothing is lost, and nobody is stopped.
 */
#include "t-interrupt.h"

#include <pthread.h>
#include <semaphore.h>

enum { ROUNDS = 300 };

static struct aiocb cb;

/* Another thread, which does something for a handler. */
static void (*deed)(void);
static sem_t asked, answered;
static bool leaving;
static pthread_t friend;

static void *do_it(void *unused)
{
    while (sem_wait(&asked) == 0 && !leaving) {
        deed();
        sem_post(&answered);
    }
    return unused;
}

static void let_friend_do_it(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    sem_post(&asked);
    while (sem_wait(&answered) < 0)
        ;
}

static void make_friend(void (*function)(void))
{
    deed = function;
    sem_init(&asked, 0, 0);
    sem_init(&answered, 0, 0);
    t_handle(SIGUSR1, let_friend_do_it, SA_RESTART);
    ck_assert_int_eq(pthread_create(&friend, NULL, do_it, NULL), 0);
}

static void let_friend_go(void)
{
    leaving = true;
    sem_post(&asked);
    ck_assert_int_eq(pthread_join(friend, NULL), 0);
}

static void cancel_all(void)
{
    ck_assert_int_ge(aio_cancel(t_fd, &cb), 0);
    ck_assert_int_ge(aio_cancel(t_fd, NULL), 0);
}

/* What it does can be done, whatever the moment, and the request is done. */
static void read_while_friend_does(void (*function)(void))
{
    int rounds = (int) t_scale(ROUNDS);

    t_open_direct(t_cold_file(T_SIZE), O_RDONLY);
    make_friend(function);
    for (int round = 0; round < rounds; round++) {
        t_hold_file();
        t_when = round % 2 ? T_BEFORE : T_AFTER;
        t_submit_read(&cb, t_fd, t_blocks, T_BLOCK, 0);
        t_when = T_NEVER;
        t_wait_done(&cb, T_BLOCK);
        t_assert_data(t_blocks, T_BLOCK, 0);
        memset(t_blocks, 0, T_BLOCK);
        t_wait_done(&t_held, 0);
    }
    t_assert_interrupted(rounds);
    let_friend_go();
}

START_TEST(handler_waits_for_another_threads_sync)
{
    read_while_friend_does(t_sync_the_file);
}
END_TEST

START_TEST(handler_waits_for_another_threads_cancel)
{
    read_while_friend_does(cancel_all);
}
END_TEST

static void see_to_the_read(void)
{
    t_see_to(&cb);
}

/* It is notified once, and when its turn comes there is nothing left of it. */
START_TEST(result_comes_before_the_order)
{
    int rounds = (int) t_scale(ROUNDS);

    t_open_direct(t_cold_file(T_SIZE), O_RDONLY);
    t_block(SIGRTMIN);
    make_friend(see_to_the_read);
    for (int round = 0; round < rounds; round++) {
        t_hold_file();
        t_prepare(&cb, t_fd, t_blocks, T_BLOCK, 0);
        cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb.aio_sigevent.sigev_signo = SIGRTMIN;
        cb.aio_sigevent.sigev_value.sival_int = round;
        t_when = T_AFTER;
        ck_assert_int_eq(aio_read(&cb), 0);
        t_when = T_NEVER;
        t_wait_done(&cb, T_BLOCK);
        ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, round);
        t_assert_no_signal(SIGRTMIN);
        t_wait_done(&t_held, 0);
    }
    t_assert_interrupted(rounds);
    let_friend_go();
    t_sync_the_file();
    /* The library's threads end when all requests are given back. */
    t_until(t_threads() == 1);
}
END_TEST

/* Nor is what the library knows of the file kept: 400 bytes each. */
START_TEST(many_files_leave_nothing_behind)
{
    const int files = (int) t_scale(2 * ROUNDS);
    size_t before = 0;
    int last = -1;

    t_open_direct(t_empty_file(), O_RDONLY);
    make_friend(see_to_the_read);
    for (int i = 0; i < files + 100; i++) {
        int file = t_empty_file();

        if (i == 100)
            before = t_memory_in_use();
        t_fd = t_reopen(file, O_RDONLY | O_DIRECT);
        t_hold_file();
        t_when = T_AFTER;
        t_submit_read(&cb, t_fd, t_blocks, T_BLOCK, 0);
        t_when = T_NEVER;
        t_wait_done(&cb, 0);
        t_wait_done(&t_held, 0);
        t_sync_the_file();
        close(t_fd);
        last = file; /* not closed: the next one is to be another inode */
    }
    t_assert_interrupted(files);
    if (!t_watched())
        ck_assert_uint_le(t_memory_in_use(), before + 128 * 1024);
    ck_assert_int_ge(last, files);
    let_friend_go();
}
END_TEST

static void take_it_back(void)
{
    aio_error(&cb);
    ck_assert_int_eq(aio_cancel(STDERR_FILENO, NULL), AIO_ALLDONE);
}

/* Into a hole the kernel does not write without waiting. The pool does, when the request has its order. */
START_TEST(write_is_handed_back_before_the_order)
{
    t_open_direct(t_empty_file(), O_RDWR);
    t_fill(t_blocks, T_SIZE, 0);
    make_friend(take_it_back);
    for (int i = 0; i < T_BLOCKS; i++) {
        t_hold_file();
        t_prepare(&cb, t_fd, t_blocks + i * T_BLOCK, T_BLOCK, i * T_BLOCK);
        t_when = T_AFTER;
        ck_assert_int_eq(aio_write(&cb), 0);
        t_when = T_NEVER;
        t_wait_done(&cb, T_BLOCK);
        t_wait_done(&t_held, 0);
    }
    t_assert_interrupted(T_BLOCKS);
    let_friend_go();
    t_sync_the_file();
    memset(t_blocks, 0, T_SIZE);
    ck_assert_int_eq(pread(t_fd, t_blocks, T_SIZE, 0), T_SIZE);
    t_assert_data(t_blocks, T_SIZE, 0);
    t_until(t_threads() == 1);
}
END_TEST

static pid_t forked;

static void fork_now(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    forked = fork();
    if (forked == 0)
        t_when = T_NEVER;
}

/* Parent and child both come back from the handler, and both read: not what was the parent's already. */
START_TEST(handler_forks)
{
    int rounds = (int) t_scale(ROUNDS / 3);

    t_open_direct(t_cold_file(T_SIZE), O_RDONLY);
    t_handle(SIGUSR1, fork_now, SA_RESTART);
    for (int round = 0; round < rounds; round++) {
        forked = -1;
        t_hold_file();
        t_when = round % 2 ? T_BEFORE : T_AFTER;
        t_submit_read(&cb, t_fd, t_blocks, T_BLOCK, 0);
        t_when = T_NEVER;
        if (forked == 0 && !t_in_time)
            _exit(0);
        t_wait_done(&cb, T_BLOCK);
        t_assert_data(t_blocks, T_BLOCK, 0);
        if (forked == 0)
            _exit(0);
        memset(t_blocks, 0, T_BLOCK);
        t_wait_done(&t_held, 0);
        if (forked > 0)
            t_reap(forked);
    }
    t_assert_interrupted(rounds);
}
END_TEST

static void add_interrupted(TCase *tests)
{
    tcase_add_test(tests, handler_waits_for_another_threads_sync);
    tcase_add_test(tests, handler_waits_for_another_threads_cancel);
    tcase_add_test(tests, result_comes_before_the_order);
    tcase_add_test(tests, many_files_leave_nothing_behind);
    tcase_add_test(tests, write_is_handed_back_before_the_order);
    tcase_add_test(tests, handler_forks);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "interrupted", .add = add_interrupted, .need = T_HANDLERS | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("interrupted", parts);
}
