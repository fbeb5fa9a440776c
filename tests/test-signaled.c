/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who waits for a request returns after its signal has been sent, also who comes when the result is there already
 * and the signal is not: a thread is held up with it.
 */
#include "t-syscall.h"
#include "t.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static struct aiocb cb, other;
static unsigned char bytes[2];

/* The next signal of a completion is held up. */
static atomic_bool hold_signal, signaled;
static sem_t signal_held, go_on;

static void hold_it(long number, bool over)
{
    static __thread bool held;

    if (number != SYS_rt_sigqueueinfo)
        return;
    if (over) {
        if (held)
            atomic_store(&signaled, true);
        return;
    }
    held = atomic_exchange(&hold_signal, false);
    if (held) {
        sem_post(&signal_held);
        while (sem_wait(&go_on) < 0)
            ;
    }
}

static void *cancel_it(void *unused)
{
    (void) unused;
    ck_assert_int_eq(aio_cancel(cb.aio_fildes, &cb), AIO_CANCELED);
    return NULL;
}

/* The result of cb is there afterwards, and its signal is not: a thread is held up with it. */
static pthread_t canceler;

static void cancel_and_hold_signal(void)
{
    sem_init(&signal_held, 0, 0);
    sem_init(&go_on, 0, 0);
    atomic_store(&hold_signal, true);
    ck_assert_int_eq(pthread_create(&canceler, NULL, cancel_it, NULL), 0);
    while (sem_wait(&signal_held) < 0)
        ;
    t_assert_failed(&cb, ECANCELED);
}

static void signal_when_it_completes(struct aiocb *one)
{
    t_prepare(one, t_pipe().in, bytes, 1, 0);
    one->aio_lio_opcode = LIO_READ;
    one->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    one->aio_sigevent.sigev_signo = SIGRTMIN;
}

/* A thread that comes when the result is there. */
static pthread_t latecomer;
static atomic_int late_thread;
static atomic_bool came, left;

static void assert_waits_for_signal(void)
{
    t_until(atomic_load(&left) ||
            (atomic_load(&came) && t_call_of(atomic_load(&late_thread)) == SYS_futex));
    sem_post(&go_on);
    ck_assert_int_eq(pthread_join(latecomer, NULL), 0);
    ck_assert_int_eq(pthread_join(canceler, NULL), 0);
    t_accept_signal(SIGRTMIN);
}

static void *suspend_late(void *deadline)
{
    const struct aiocb *const list[] = { NULL, &cb };

    atomic_store(&late_thread, (int) syscall(SYS_gettid));
    atomic_store(&came, true);
    ck_assert_int_eq(aio_suspend(list, 2, deadline), 0);
    ck_assert(atomic_load(&signaled));
    atomic_store(&left, true);
    return NULL;
}

static void suspend_while_signal_is_held(struct timespec *deadline)
{
    t_block(SIGRTMIN);
    signal_when_it_completes(&cb);
    ck_assert_int_eq(aio_read(&cb), 0);
    cancel_and_hold_signal();
    ck_assert_int_eq(pthread_create(&latecomer, NULL, suspend_late, deadline), 0);
    assert_waits_for_signal();
}

START_TEST(suspend_that_finds_a_result_waits_for_its_signal)
{
    suspend_while_signal_is_held(NULL);
}
END_TEST

START_TEST(suspend_past_its_deadline_waits_for_the_signal_of_a_result)
{
    struct timespec passed = { 0, 0 };

    suspend_while_signal_is_held(&passed);
}
END_TEST

static atomic_int child;

static void fork_late(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    atomic_store(&child, fork());
}

/* The child does not assert: another thread may have held Check's lock when it was forked. */
static void *suspend_late_or_leave(void *unused)
{
    const struct aiocb *const list[] = { NULL, &cb };
    pid_t parent = getpid();
    int result;

    atomic_store(&late_thread, (int) syscall(SYS_gettid));
    atomic_store(&came, true);
    result = aio_suspend(list, 2, NULL);
    if (getpid() != parent)
        _exit(result != 0);
    ck_assert_int_eq(result, 0);
    ck_assert(atomic_load(&signaled));
    atomic_store(&left, true);
    return unused;
}

/* In the child nobody will send the signal, nor are its copies of what is in progress anybody's. */
START_TEST(child_that_a_handler_forks_does_not_wait_for_a_signal)
{
    t_block(SIGRTMIN);
    t_handle(SIGUSR1, fork_late, SA_RESTART);
    signal_when_it_completes(&cb);
    ck_assert_int_eq(aio_read(&cb), 0);
    cancel_and_hold_signal();
    ck_assert_int_eq(pthread_create(&latecomer, NULL, suspend_late_or_leave, NULL), 0);
    t_until(atomic_load(&came) && t_call_of(atomic_load(&late_thread)) == SYS_futex);
    ck_assert_int_eq(pthread_kill(latecomer, SIGUSR1), 0);
    t_until(atomic_load(&child));
    t_reap(atomic_load(&child));
    assert_waits_for_signal();
}
END_TEST

static void *list_late(void *unused)
{
    struct aiocb *const list[] = { &other, &cb };

    atomic_store(&late_thread, (int) syscall(SYS_gettid));
    ck_assert_int_lt(lio_listio(LIO_WAIT, list, 2, NULL), 0);
    ck_assert_int_eq(errno, EIO);
    ck_assert(atomic_load(&signaled));
    atomic_store(&left, true);
    return unused;
}

static int out_of_other;

/* Interrupts the wait for the first entry of the list; then both have their result. */
static void complete_both(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    cancel_and_hold_signal();
    t_put(out_of_other, 0, 1);
    t_until(aio_error(&other) != EINPROGRESS);
    atomic_store(&came, true);
}

START_TEST(list_that_finds_a_result_waits_for_its_signal)
{
    struct t_pair p = t_pipe();

    t_block(SIGRTMIN);
    t_handle(SIGUSR1, complete_both, 0);
    signal_when_it_completes(&cb);
    t_prepare(&other, p.in, bytes + 1, 1, 0);
    other.aio_lio_opcode = LIO_READ;
    out_of_other = p.out;
    ck_assert_int_eq(pthread_create(&latecomer, NULL, list_late, NULL), 0);
    t_until(t_is_awaited(&other) && t_call_of(atomic_load(&late_thread)) == SYS_futex);
    ck_assert_int_eq(pthread_kill(latecomer, SIGUSR1), 0);
    assert_waits_for_signal();
}
END_TEST

static void add_waiters(TCase *tests)
{
    tcase_add_test(tests, suspend_that_finds_a_result_waits_for_its_signal);
    tcase_add_test(tests, suspend_past_its_deadline_waits_for_the_signal_of_a_result);
}

static void add_handled(TCase *tests)
{
    tcase_add_test(tests, list_that_finds_a_result_waits_for_its_signal);
    tcase_add_test(tests, child_that_a_handler_forks_does_not_wait_for_a_signal);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "late waiters", .add = add_waiters },
        { .name = "handlers", .add = add_handled, .need = T_HANDLERS },
        { .name = NULL },
    };

    t_watch_syscalls(hold_it);
    return t_main("signaled", parts);
}
