/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who waits for a read of a stream, and finds its data there, does not need the completion thread: it is held up, from
 * when it hears of the data.
 */
#include "t-syscall.h"
#include "t.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <termios.h>

enum { SOME = 100, RECORD = 40 };

static struct aiocb cb;
static unsigned char buf[SOME];

/* The next thread that hears of anything is held up. */
static atomic_bool hold;
static sem_t go_on;

/* In place of the C library's, for the library. */
int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
    static _Atomic(int (*)(int, struct epoll_event *, int, int)) next;
    int n;

    if (!atomic_load(&next))
        atomic_store(&next, (int (*)(int, struct epoll_event *, int, int)) dlsym(RTLD_NEXT, "epoll_wait"));
    n = atomic_load(&next)(epoll, events, count, timeout);
    if (n > 0 && atomic_exchange(&hold, false))
        while (sem_wait(&go_on) < 0)
            ;
    return n;
}

/* How it waits for what is there already. */
static void wait_for_it(bool limited)
{
    const struct aiocb *list[] = { &cb };
    const struct timespec patience = { .tv_sec = (time_t) t_patience() };

    ck_assert_int_eq(aio_suspend(list, 1, limited ? &patience : NULL), 0);
    t_assert_done(&cb, SOME);
    t_assert_data(buf, SOME, 0);
}

static void read_what_comes(struct t_pair pair, bool limited)
{
    memset(buf, 0, SOME);
    t_submit_read(&cb, pair.in, buf, SOME, 0);
    t_assert_in_progress(&cb);
    atomic_store(&hold, true);
    t_put(pair.out, 0, SOME);
    wait_for_it(limited);
    /* It may not have heard of it. */
    if (!atomic_exchange(&hold, false))
        sem_post(&go_on);
}

START_TEST(waiter_reads_what_is_there)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_socketpair(SOCK_DGRAM), t_tcp(), t_pty() };

    sem_init(&go_on, 0, 0);
    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        read_what_comes(pairs[i], true);
        read_what_comes(pairs[i], true);
    }
}
END_TEST

START_TEST(waiter_without_a_limit_does_too)
{
    struct t_pair pair = t_pipe();

    sem_init(&go_on, 0, 0);
    read_what_comes(pair, false);
}
END_TEST

/* There a transfer would wait: a thread of the pool that did could not be called back. */
START_TEST(waiter_leaves_what_has_no_way_without_waiting)
{
    const struct aiocb *list[] = { &cb };
    const struct timespec moment = { .tv_nsec = 1000000 };
    int fd = inotify_init1(IN_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    t_submit_read(&cb, fd, buf, SOME, 0);
    ck_assert_int_eq(aio_suspend(list, 1, &moment), -1);
    ck_assert_int_eq(errno, EAGAIN);
    ck_assert_int_eq(aio_cancel(fd, &cb), AIO_CANCELED);
    ck_assert_int_eq(aio_error(&cb), ECANCELED);
}
END_TEST

/* A signal would be sent with all signals blocked in the thread that waits, and be another one's. */
START_TEST(waiter_leaves_what_is_to_be_told_of)
{
    const struct aiocb *list[] = { &cb };
    const struct timespec moment = { .tv_nsec = 1000000 };
    struct t_pair pair = t_pipe();

    sem_init(&go_on, 0, 0);
    t_block(SIGRTMIN);
    t_prepare(&cb, pair.in, buf, SOME, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGRTMIN;
    ck_assert_int_eq(aio_read(&cb), 0);
    atomic_store(&hold, true);
    t_put(pair.out, 0, SOME);
    ck_assert_int_eq(aio_suspend(list, 1, &moment), -1);
    ck_assert_int_eq(errno, EAGAIN);
    t_until(!atomic_load(&hold));
    sem_post(&go_on);
    t_accept_signal(SIGRTMIN);
    t_assert_done(&cb, SOME);
}
END_TEST

/* There is something, and read(2) would wait for more. */
static void wait_in_vain(struct t_pair pair)
{
    const struct aiocb *list[] = { &cb };
    const struct timespec moment = { .tv_nsec = 1000000 };

    /* When it is submitted, and when it is waited for. */
    t_put(pair.out, 0, RECORD / 2);
    t_submit_read(&cb, pair.in, buf, RECORD, 0);
    ck_assert_int_eq(aio_suspend(list, 1, &moment), -1);
    ck_assert_int_eq(errno, EAGAIN);
    t_assert_in_progress(&cb);
    t_put(pair.out, RECORD / 2, RECORD / 2);
    t_wait_done(&cb, RECORD);
    t_assert_data(buf, RECORD, 0);
}

START_TEST(waiter_minds_the_low_water_mark)
{
    struct t_pair pair = t_tcp();
    const int mark = RECORD;

    ck_assert_int_eq(setsockopt(pair.in, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark), 0);
    wait_in_vain(pair);
}
END_TEST

START_TEST(waiter_minds_how_much_a_terminal_waits_for)
{
    struct t_pair pair = t_pty();
    struct termios settings;

    ck_assert_int_eq(tcgetattr(pair.in, &settings), 0);
    settings.c_cc[VMIN] = RECORD;
    ck_assert_int_eq(tcsetattr(pair.in, TCSANOW, &settings), 0);
    wait_in_vain(pair);
}
END_TEST

/* The thread is canceled while it is about to transfer, with the stream's lock. */

enum { SIGCANCEL = 32 }; /* glibc's own */

static pthread_t canceled;
static atomic_bool transfers, seen;
static int type;

static void cancel_it(long number, bool over)
{
    if (over || !atomic_load(&transfers) || !pthread_equal(pthread_self(), canceled) ||
        (number != SYS_preadv2 && number != SYS_recvfrom) || atomic_exchange(&seen, true))
        return;
    /* The C library's signal for it, from a canceler who saw the thread sleep in aio_suspend, comes only now. */
    ck_assert_int_eq(syscall(SYS_tgkill, getpid(), gettid(), SIGCANCEL), 0);
    ck_assert_int_eq(pthread_cancel(canceled), 0);
}

static void *wait_until_canceled(void *unused)
{
    const struct aiocb *list[] = { &cb };

    pthread_setcanceltype(type, NULL);
    canceled = pthread_self();
    atomic_store(&transfers, true);
    aio_suspend(list, 1, NULL);
    pthread_testcancel();
    return unused;
}

static void *pause_until_canceled(void *unused)
{
    for (;;)
        pause();
    return unused;
}

/* The C library handles its signal from the first cancellation of the process on. */
static void cancel_another(void)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, pause_until_canceled, NULL), 0);
    ck_assert_int_eq(pthread_cancel(thread), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

static void cancel_in_transfer(struct t_pair pair)
{
    pthread_t thread;
    void *result;

    atomic_store(&transfers, false);
    atomic_store(&seen, false);
    /* What the completion thread has heard of before is over: it does not come upon the next data with it. */
    t_until(t_all_others_sleep());
    t_submit_read(&cb, pair.in, buf, SOME, 0);
    atomic_store(&hold, true);
    t_put(pair.out, 0, SOME);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_until_canceled, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    ck_assert(atomic_load(&seen));
    if (!atomic_exchange(&hold, false))
        sem_post(&go_on);
    t_wait_done(&cb, SOME);
    t_assert_data(buf, SOME, 0);
}

START_TEST(canceled_waiter_ends_without_the_lock)
{
    static const int types[] = { PTHREAD_CANCEL_DEFERRED, PTHREAD_CANCEL_ASYNCHRONOUS };
    struct t_pair pairs[] = { t_pipe(), t_socketpair(SOCK_STREAM) };

    sem_init(&go_on, 0, 0);
    cancel_another();
    t_watch_syscalls(cancel_it);
    for (size_t i = 0; i < T_COUNT(types); i++) {
        type = types[i];
        for (size_t j = 0; j < T_COUNT(pairs); j++) {
            cancel_in_transfer(pairs[j]);
            read_what_comes(pairs[j], true);
        }
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, waiter_reads_what_is_there);
    tcase_add_test(tests, waiter_without_a_limit_does_too);
    tcase_add_test(tests, waiter_leaves_what_has_no_way_without_waiting);
    tcase_add_test(tests, waiter_leaves_what_is_to_be_told_of);
    tcase_add_test(tests, waiter_minds_the_low_water_mark);
    tcase_add_test(tests, waiter_minds_how_much_a_terminal_waits_for);
    tcase_add_test(tests, canceled_waiter_ends_without_the_lock);
}

int main(void)
{
    static const struct t_part parts[] = {
        { .name = "served", .add = add },
        { .name = NULL },
    };

    return t_main("served", parts);
}
