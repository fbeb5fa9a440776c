/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SIGEV_THREAD: the threads that have no call to make. With kernel AIO they sleep in an epoll set of the library's own.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { SIZE = 1 << 20, BLOCK = 4096 };

static struct aiocb cb;
static int direct, cached; /* the same file: the kernel carries out what is read, or the caller does */
static unsigned char *buf;
static _Atomic pid_t caller; /* the thread that made the last call; 0 as long as there is none */

static void note_caller(union sigval unused)
{
    (void) unused;
    atomic_store(&caller, gettid());
}

static void read_and_call(int fd)
{
    atomic_store(&caller, 0);
    t_prepare(&cb, fd, buf, BLOCK, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = note_caller;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_until(atomic_load(&caller));
    t_assert_done(&cb, BLOCK);
}

static void read_and_signal(int fd)
{
    t_prepare(&cb, fd, buf, BLOCK, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGRTMIN;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_accept_signal(SIGRTMIN);
    t_assert_done(&cb, BLOCK);
}

static void open_files(void)
{
    cached = t_cached_file(SIZE);
    direct = t_reopen(cached, O_RDONLY | O_DIRECT);
    ck_assert_int_ge(direct, 0);
    buf = t_aligned(BLOCK);
    t_block(SIGRTMIN);
}

static bool exists(pid_t thread)
{
    return syscall(SYS_tgkill, getpid(), thread, 0) == 0;
}

/* Each completion wakes the thread, which has nothing else to do. */
START_TEST(thread_without_calls_ends_among_completions)
{
    double end = t_now() + t_patience();

    open_files();
    read_and_call(direct);
    while (exists(caller)) {
        ck_assert_double_lt(t_now(), end);
        read_and_signal(direct);
    }
    read_and_call(direct);
}
END_TEST

static void close_epoll_sets(void)
{
    /* The completion thread's, and that of the idle threads. */
    ck_assert_uint_eq(t_close_unseen("anon_inode:[eventpoll]"), 2);
}

/* The thread that sleeps there cannot be woken any more, and another one makes the calls before it wakes by itself. */
START_TEST(calls_are_made_without_the_set)
{
    pid_t asleep;

    open_files();
    read_and_call(direct);
    asleep = caller;
    t_until(t_call_of(asleep) == T_EPOLL_WAIT);
    close_epoll_sets();
    read_and_call(cached);
    ck_assert_int_ne(caller, asleep);
    for (int i = 0; i < 3; i++) {
        read_and_call(direct);
        read_and_signal(direct);
    }
}
END_TEST

static double processor_time(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double) used.tv_sec + (double) used.tv_nsec / 1e9;
}

/* The completion thread looks at every tick then, and sleeps meanwhile; the others sleep elsewhere. */
START_TEST(threads_do_not_spin_without_their_sets)
{
    double start, used;

    open_files();
    read_and_call(direct);
    close_epoll_sets();
    read_and_call(direct);
    start = t_now();
    used = processor_time();
    while (t_now() < start + 0.5)
        t_moment();
    used = processor_time() - used;
    ck_assert_double_lt(used, (t_now() - start) / 2);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, thread_without_calls_ends_among_completions);
    tcase_add_test(tests, calls_are_made_without_the_set);
    tcase_add_test(tests, threads_do_not_spin_without_their_sets);
}

int main(void)
{
    static const struct t_part parts[] = {
        { .name = "idle threads", .add = add, .need = T_KERNEL | T_PROMPT | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("idle", parts);
}
