/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many threads in aio_suspend: each is woken by what it waits for, none keeps completions from the
 * others, and each can be canceled there. Who waits returns after the signal, also who comes late.
 */
#include "t.h"

#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>

enum { SIZE = 1 << 20, THREADS = 16 };

static struct aiocb cb, other;
static unsigned char buf[SIZE];

struct waiter {
    pthread_t thread;
    struct aiocb cb;
    int out;
    atomic_bool ended;
    int result;
};

static struct waiter waiters[THREADS];
static atomic_uint begun;

static void *wait_for_own(void *argument)
{
    struct waiter *w = argument;
    const struct aiocb *const list[] = { &w->cb };

    atomic_fetch_add(&begun, 1);
    w->result = aio_suspend(list, 1, NULL);
    atomic_store(&w->ended, true);
    return NULL;
}

static void *wait_for_common(void *argument)
{
    struct waiter *w = argument;
    const struct aiocb *const list[] = { &cb };

    atomic_fetch_add(&begun, 1);
    w->result = aio_suspend(list, 1, NULL);
    return NULL;
}

static void start_waiters(void *(*run)(void *) )
{
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&waiters[i].thread, NULL, run, &waiters[i]), 0);
    t_until(atomic_load(&begun) == THREADS);
}

START_TEST(each_waiter_is_woken_by_its_own_request)
{
    for (int i = 0; i < THREADS; i++)
        waiters[i].out = t_start_pending(&waiters[i].cb);
    start_waiters(wait_for_own);
    for (int i = 0; i < THREADS; i++) {
        int last = i < THREADS / 2 ? i : THREADS - 1 - (i - THREADS / 2);

        t_put(waiters[last].out, 0, 1);
        ck_assert_int_eq(pthread_join(waiters[last].thread, NULL), 0);
        ck_assert_int_eq(waiters[last].result, 0);
        t_assert_done(&waiters[last].cb, 1);
        for (int j = i + 1; j < THREADS / 2; j++)
            ck_assert(!atomic_load(&waiters[j].ended));
    }
}
END_TEST

START_TEST(all_waiters_of_one_request_are_woken)
{
    int out = t_start_pending(&cb);

    start_waiters(wait_for_common);
    t_put(out, 0, 1);
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(waiters[i].thread, NULL), 0);
        ck_assert_int_eq(waiters[i].result, 0);
    }
    t_assert_done(&cb, 1);
}
END_TEST

/* A waiter whose request never comes must not keep the completions of the others to itself. */
START_TEST(stuck_waiter_does_not_hold_up_others)
{
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    unsigned char *aligned = t_aligned(4096);

    for (int i = 0; i < THREADS; i++)
        waiters[i].out = t_start_pending(&waiters[i].cb);
    start_waiters(wait_for_own);
    for (off_t place = 0; fd >= 0 && place < SIZE; place += 4096) {
        t_submit_read(&cb, fd, aligned, 4096, place);
        ck_assert_int_eq(t_suspend(&cb, NULL), 0);
        t_assert_done(&cb, 4096);
        t_assert_data(aligned, 4096, place);
    }
    for (int i = 0; i < THREADS; i++) {
        t_put(waiters[i].out, 0, 1);
        ck_assert_int_eq(pthread_join(waiters[i].thread, NULL), 0);
    }
}
END_TEST

START_TEST(mixed_kinds_of_requests_end_it)
{
    int out = t_start_pending(&cb), cold = t_cold_file(SIZE), slow = t_slow_file(0, SIZE, O_RDWR);
    struct aiocb held;
    const struct aiocb *list[] = { &cb, &held, &other };

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&held, slow, buf + SIZE / 2, 1000, 0);
    for (off_t place = 0; place < SIZE / 2; place += 65536) {
        t_submit_read(&other, cold, buf, 4096, place);
        ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
        t_assert_done(&other, 4096);
    }
    list[2] = NULL;
    t_until(slowfs_held(SLOWFS_READ) == 1);
    slowfs_release(SLOWFS_READ, 1);
    ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
    t_assert_done(&held, 1000);
    list[1] = NULL;
    t_put(out, 0, 1);
    ck_assert_int_eq(aio_suspend(list, 3, NULL), 0);
    t_assert_done(&cb, 1);
}
END_TEST

START_TEST(cancellation_of_a_request_ends_it)
{
    struct t_pair p = t_pipe();

    t_submit_read(&waiters[0].cb, p.in, buf, 1, 0);
    ck_assert_int_eq(pthread_create(&waiters[0].thread, NULL, wait_for_own, &waiters[0]), 0);
    t_until(atomic_load(&begun) == 1);
    ck_assert_int_eq(aio_cancel(p.in, NULL), AIO_CANCELED);
    ck_assert_int_eq(pthread_join(waiters[0].thread, NULL), 0);
    ck_assert_int_eq(waiters[0].result, 0);
    t_assert_failed(&waiters[0].cb, ECANCELED);
}
END_TEST

/* Cancellation of threads. */

START_TEST(it_is_a_cancellation_point)
{
    void *result = NULL;
    int out = t_start_pending(&waiters[0].cb);

    ck_assert_int_eq(pthread_create(&waiters[0].thread, NULL, wait_for_own, &waiters[0]), 0);
    t_until(atomic_load(&begun) == 1);
    ck_assert_int_eq(pthread_cancel(waiters[0].thread), 0);
    ck_assert_int_eq(pthread_join(waiters[0].thread, &result), 0);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    t_assert_in_progress(&waiters[0].cb);
    t_finish_pending(out, &waiters[0].cb);
}
END_TEST

static void *wait_when_canceled(void *argument)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_cancel(pthread_self());
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return wait_for_own(argument);
}

START_TEST(pending_cancellation_acts_in_it)
{
    void *result = NULL;
    int out = t_start_pending(&waiters[0].cb);

    ck_assert_int_eq(pthread_create(&waiters[0].thread, NULL, wait_when_canceled, &waiters[0]), 0);
    ck_assert_int_eq(pthread_join(waiters[0].thread, &result), 0);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    t_finish_pending(out, &waiters[0].cb);
}
END_TEST

/* It has asked to be woken when the word behind the error status is not zero any more. */
static bool is_asleep_on(const struct aiocb *one)
{
    const uint32_t *asked = (const uint32_t *) (const void *) &one->__error_code + 1;

    return __atomic_load_n(asked, __ATOMIC_ACQUIRE) != 0;
}

/* Wakeups for writes that follow each other are put together; the one that hangs must not have it. */
START_TEST(waiter_is_woken_though_the_next_write_hangs)
{
    enum { WRITES = 4 };
    struct aiocb writes[WRITES];
    struct waiter *w = &waiters[0];
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_WRITE, 3);
    for (int i = 0; i < WRITES; i++)
        t_submit_write(i == 1 ? &w->cb : &writes[i], fd, buf, 100, i * 100);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_for_own, w), 0);
    t_until(is_asleep_on(&w->cb));
    slowfs_release(SLOWFS_WRITE, 2);
    ck_assert_int_eq(pthread_join(w->thread, NULL), 0);
    t_assert_done(&w->cb, 100);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_assert_in_progress(&writes[2]);
    slowfs_release(SLOWFS_WRITE, 1);
    for (int i = 0; i < WRITES; i++)
        t_wait_done(i == 1 ? &w->cb : &writes[i], 100);
}
END_TEST

/* The next signal of a completion is held up. */
static atomic_bool hold_signal, signaled;
static sem_t signal_held, go_on;

/* The C library's, for the library too. It passes on six arguments, also where there are fewer. */
__attribute__((no_sanitize("address"))) long syscall(long number, ...)
{
    /* Looked up by main's call: in a handler the loader's lock might be found taken. */
    static _Atomic(long (*)(long, ...)) found;
    long (*next)(long, ...) = atomic_load(&found);
    long arguments[6], result;
    va_list list;
    bool held = number == SYS_rt_sigqueueinfo && atomic_exchange(&hold_signal, false);

    if (!next)
        atomic_store(&found, next = (long (*)(long, ...)) dlsym(RTLD_NEXT, "syscall"));
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        arguments[i] = va_arg(list, long);
    va_end(list);
    if (held) {
        sem_post(&signal_held);
        while (sem_wait(&go_on) < 0)
            ;
    }
    result = next(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                  arguments[5]);
    if (held)
        atomic_store(&signaled, true);
    return result;
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
    t_prepare(one, t_pipe().in, buf, 1, 0);
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
    t_prepare(&other, p.in, buf + 1, 1, 0);
    other.aio_lio_opcode = LIO_READ;
    out_of_other = p.out;
    ck_assert_int_eq(pthread_create(&latecomer, NULL, list_late, NULL), 0);
    t_until(is_asleep_on(&other) && t_call_of(atomic_load(&late_thread)) == SYS_futex);
    ck_assert_int_eq(pthread_kill(latecomer, SIGUSR1), 0);
    assert_waits_for_signal();
}
END_TEST

static void add_waiters(TCase *tests)
{
    tcase_add_test(tests, each_waiter_is_woken_by_its_own_request);
    tcase_add_test(tests, all_waiters_of_one_request_are_woken);
    tcase_add_test(tests, stuck_waiter_does_not_hold_up_others);
    tcase_add_test(tests, cancellation_of_a_request_ends_it);
    tcase_add_test(tests, it_is_a_cancellation_point);
    tcase_add_test(tests, pending_cancellation_acts_in_it);
    tcase_add_test(tests, suspend_that_finds_a_result_waits_for_its_signal);
    tcase_add_test(tests, suspend_past_its_deadline_waits_for_the_signal_of_a_result);
}

static void add_handled(TCase *tests)
{
    tcase_add_test(tests, list_that_finds_a_result_waits_for_its_signal);
    tcase_add_test(tests, child_that_a_handler_forks_does_not_wait_for_a_signal);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, mixed_kinds_of_requests_end_it);
    tcase_add_test(tests, waiter_is_woken_though_the_next_write_hangs);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "many waiters", .add = add_waiters },
        { .name = "handlers", .add = add_handled, .need = T_HANDLERS },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    syscall(SYS_getpid);
    return t_main("waiters", parts);
}
