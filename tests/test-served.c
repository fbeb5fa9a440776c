/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who waits for a read of a stream, and finds its data there, does not need the completion thread: it is held up, from
 * when it hears of the data.
 */
#include "t.h"

#include <dlfcn.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>

enum { SOME = 100 };

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

static void add(TCase *tests)
{
    tcase_add_test(tests, waiter_reads_what_is_there);
    tcase_add_test(tests, waiter_without_a_limit_does_too);
    tcase_add_test(tests, waiter_leaves_what_has_no_way_without_waiting);
}

int main(void)
{
    static const struct t_part parts[] = {
        { .name = "served", .add = add },
        { .name = NULL },
    };

    return t_main("served", parts);
}
