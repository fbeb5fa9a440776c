/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SIGEV_THREAD: the thread that a notification function finds itself on.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>

enum { SIZE = 1 << 20, MANY = 200, STACK = 1 << 20 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];
static atomic_uint called;
static atomic_bool gate;

/* Each request has a place of its own for its data. */
static unsigned char *place_of(const struct aiocb *one)
{
    return one == &cb ? buf + MANY * 100 : buf + (one - cbs) * 100;
}

static void submit_told(struct aiocb *one, int fd, void (*function)(sigval_t),
                        pthread_attr_t *attributes)
{
    t_prepare(one, fd, place_of(one), 100, 0);
    one->aio_sigevent.sigev_notify = SIGEV_THREAD;
    one->aio_sigevent.sigev_notify_function = function;
    one->aio_sigevent.sigev_notify_attributes = attributes;
    one->aio_sigevent.sigev_value.sival_ptr = one;
    ck_assert_int_eq(aio_read(one), 0);
}

static void await_calls(unsigned int count)
{
    t_until(atomic_load(&called) >= count);
    ck_assert_uint_eq(atomic_load(&called), count);
}

/* What the function saw, for the test to judge. */
static struct {
    pthread_t thread;
    sigset_t blocked;
    struct aiocb *value;
    int error;
    int detached;
    int cancel_state, cancel_type;
    size_t stack;
    void *specific;
    ssize_t read;
} seen;

static pthread_key_t key;

/* Notes all that, and counts the call only when the caller of this one does. */
static void look_around(sigval_t value)
{
    pthread_attr_t attributes;

    seen.value = value.sival_ptr;
    seen.error = aio_error(seen.value);
    seen.thread = pthread_self();
    pthread_sigmask(SIG_SETMASK, NULL, &seen.blocked);
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getdetachstate(&attributes, &seen.detached);
    pthread_attr_getstacksize(&attributes, &seen.stack);
    pthread_attr_destroy(&attributes);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &seen.cancel_state);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &seen.cancel_type);
}

static void look(sigval_t value)
{
    look_around(value);
    atomic_fetch_add(&called, 1);
}

static void count(sigval_t value)
{
    (void) value;
    atomic_fetch_add(&called, 1);
}

START_TEST(function_is_called_with_the_value_after_the_status)
{
    const int files[] = { t_cached_file(SIZE), t_cold_file(SIZE), t_memory_file(SIZE) };

    for (unsigned int i = 0; i < T_COUNT(files); i++) {
        submit_told(&cb, files[i], look, NULL);
        await_calls(i + 1);
        ck_assert_ptr_eq(seen.value, &cb);
        ck_assert_int_eq(seen.error, 0);
        ck_assert(!pthread_equal(seen.thread, pthread_self()));
        t_assert_done(&cb, 100);
    }
}
END_TEST

START_TEST(function_runs_with_nothing_blocked)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    submit_told(&cb, t_cold_file(SIZE), look, NULL);
    await_calls(1);
    for (int number = 1; number < NSIG; number++)
        ck_assert_int_ne(sigismember(&seen.blocked, number), 1);
}
END_TEST

START_TEST(function_runs_detached_by_default)
{
    submit_told(&cb, t_cold_file(SIZE), look, NULL);
    await_calls(1);
    ck_assert_int_eq(seen.detached, PTHREAD_CREATE_DETACHED);
}
END_TEST

START_TEST(attributes_are_honored)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 3 * STACK);
    /* Nobody could join it. */
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    submit_told(&cb, t_cold_file(SIZE), look, &attributes);
    await_calls(1);
    ck_assert_uint_ge(seen.stack, 3 * STACK);
    ck_assert_uint_lt(seen.stack, 4 * STACK);
    ck_assert_int_eq(seen.detached, PTHREAD_CREATE_DETACHED);
    for (int number = 1; number < NSIG; number++)
        ck_assert_int_ne(sigismember(&seen.blocked, number), 1);
    pthread_attr_destroy(&attributes);
}
END_TEST

START_TEST(attributes_that_no_thread_can_have_are_ignored)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    ck_assert_int_eq(pthread_attr_setstacksize(&attributes, (size_t) 1 << 47), 0);
    submit_told(&cb, t_cached_file(SIZE), look, &attributes);
    await_calls(1);
    ck_assert_ptr_eq(seen.value, &cb);
    pthread_attr_destroy(&attributes);
}
END_TEST

static void spoil_and_exit(sigval_t value)
{
    sigset_t all;

    look_around(value);
    seen.specific = pthread_getspecific(key);
    pthread_setspecific(key, &cb);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    if (atomic_fetch_add(&called, 1) % 5 == 0)
        pthread_exit(NULL);
}

START_TEST(each_call_finds_a_fresh_thread)
{
    int fd = t_cached_file(SIZE);

    ck_assert_int_eq(pthread_key_create(&key, NULL), 0);
    for (unsigned int i = 1; i <= 50; i++) {
        submit_told(&cb, fd, spoil_and_exit, NULL);
        await_calls(i);
        ck_assert_int_eq(sigismember(&seen.blocked, SIGUSR1), 0);
        ck_assert_int_eq(seen.cancel_state, PTHREAD_CANCEL_ENABLE);
        ck_assert_int_eq(seen.cancel_type, PTHREAD_CANCEL_DEFERRED);
        t_until(aio_error(&cb) != EINPROGRESS);
    }
    ck_assert_ptr_null(seen.specific);
}
END_TEST

static atomic_uint destroyed;

static void destroy(void *specific)
{
    (void) specific;
    atomic_fetch_add(&destroyed, 1);
}

static void set_specific(sigval_t value)
{
    if (pthread_getspecific(key))
        seen.specific = pthread_getspecific(key);
    pthread_setspecific(key, value.sival_ptr);
    atomic_fetch_add(&called, 1);
}

START_TEST(destructors_of_thread_specific_data_run)
{
    int fd = t_cached_file(SIZE);

    ck_assert_int_eq(pthread_key_create(&key, destroy), 0);
    for (unsigned int i = 1; i <= 20; i++) {
        submit_told(&cb, fd, set_specific, NULL);
        await_calls(i);
        t_until(atomic_load(&destroyed) == i);
    }
    ck_assert_ptr_null(seen.specific);
}
END_TEST

START_TEST(data_of_every_key_is_noticed)
{
    enum { KEYS = 300, STEP = 13 };
    pthread_key_t keys[KEYS];
    unsigned int calls = 1;
    int fd = t_cached_file(SIZE);

    /* The thread that makes the calls is there before the keys. */
    submit_told(&cb, fd, count, NULL);
    await_calls(calls);
    for (unsigned int i = 0; i < KEYS; i++)
        ck_assert_int_eq(pthread_key_create(&keys[i], destroy), 0);
    /* Holes do not hide what is behind them. */
    for (unsigned int i = 1; i < KEYS; i++)
        if (i % STEP)
            pthread_key_delete(keys[i]);
    /* The highest first, while that thread is still there. */
    for (unsigned int i = (KEYS - 1) / STEP + 1; i-- > 0;) {
        key = keys[i * STEP];
        for (unsigned int twice = 0; twice < 2; twice++) {
            submit_told(&cb, fd, set_specific, NULL);
            await_calls(++calls);
        }
        ck_assert_ptr_null(seen.specific);
    }
}
END_TEST

static void exit_thread(sigval_t value)
{
    count(value);
    pthread_exit(NULL);
}

START_TEST(function_may_call_pthread_exit)
{
    int fd = t_cold_file(SIZE);

    for (int i = 0; i < MANY; i++)
        submit_told(&cbs[i], fd, exit_thread, NULL);
    await_calls(MANY);
    submit_told(&cb, fd, count, NULL);
    await_calls(MANY + 1);
}
END_TEST

static void read_again(sigval_t value)
{
    static struct aiocb again;
    static unsigned char bytes[1000];
    const struct aiocb *done = value.sival_ptr;
    const struct aiocb *const list[] = { &again };

    t_prepare(&again, done->aio_fildes, bytes, sizeof(bytes), 50000);
    if (!aio_read(&again))
        while (aio_suspend(list, 1, NULL))
            ;
    seen.error = aio_error(&again);
    seen.read = aio_return(&again);
    count(value);
}

START_TEST(function_may_submit_and_wait)
{
    submit_told(&cb, t_cold_file(SIZE), read_again, NULL);
    await_calls(1);
    ck_assert_int_eq(seen.error, 0);
    ck_assert_int_eq(seen.read, 1000);
}
END_TEST

static void wait_for_gate(sigval_t value)
{
    while (!atomic_load(&gate))
        t_moment();
    count(value);
}

START_TEST(function_that_blocks_starves_no_other)
{
    int fd = t_cached_file(SIZE);

    for (int i = 0; i < 50; i++)
        submit_told(&cbs[i], fd, wait_for_gate, NULL);
    for (unsigned int i = 1; i <= 50; i++) {
        submit_told(&cb, fd, count, NULL);
        await_calls(i);
        t_until(aio_error(&cb) != EINPROGRESS);
    }
    atomic_store(&gate, true);
    await_calls(100);
}
END_TEST

/* The application may hold its locks when it submits or waits. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void take_lock(sigval_t value)
{
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    count(value);
}

START_TEST(function_never_runs_in_the_caller)
{
    int files[] = { t_cached_file(SIZE), t_cold_file(SIZE) };

    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < T_COUNT(files); i++) {
        submit_told(&cbs[i], files[i], take_lock, NULL);
        t_wait_done(&cbs[i], 100);
    }
    ck_assert_uint_eq(called, 0);
    pthread_mutex_unlock(&lock);
    await_calls(T_COUNT(files));
}
END_TEST

START_TEST(every_request_of_many_is_told_once)
{
    int files[] = { t_cached_file(SIZE), t_cold_file(SIZE) };

    for (unsigned int round = 1; round <= 10; round++) {
        for (int i = 0; i < MANY; i++)
            submit_told(&cbs[i], files[i % 2], count, NULL);
        await_calls(round * MANY);
        for (int i = 0; i < MANY; i++)
            t_assert_done(&cbs[i], 100);
    }
}
END_TEST

static void open_gate(sigval_t value)
{
    (void) value;
    atomic_store(&gate, true);
}

START_TEST(list_is_told_by_a_thread)
{
    struct sigevent event = { .sigev_notify = SIGEV_THREAD };
    struct aiocb *list[MANY];
    int fd = t_cold_file(SIZE);

    event.sigev_notify_function = open_gate;
    for (int i = 0; i < MANY; i++) {
        t_prepare(&cbs[i], fd, place_of(&cbs[i]), 100, i * 4096);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, MANY, &event), 0);
    t_until(atomic_load(&gate));
    for (int i = 0; i < MANY; i++)
        t_assert_done(&cbs[i], 100);
}
END_TEST

START_TEST(canceled_request_is_told)
{
    struct t_pair p = t_pipe();

    submit_told(&cb, p.in, look, NULL);
    ck_assert_int_eq(aio_cancel(p.in, &cb), AIO_CANCELED);
    await_calls(1);
    ck_assert_int_eq(seen.error, ECANCELED);
}
END_TEST

START_TEST(threads_end_when_nothing_is_left_to_tell)
{
    int fd = t_cached_file(SIZE);
    unsigned int before = t_threads();

    for (unsigned int i = 1; i <= MANY; i++) {
        submit_told(&cb, fd, count, NULL);
        await_calls(i);
        t_until(aio_error(&cb) != EINPROGRESS);
    }
    ck_assert_uint_lt(t_threads(), before + 20);
    t_until(t_threads() <= before);
}
END_TEST

static void add_threads(TCase *tests)
{
    tcase_add_test(tests, function_is_called_with_the_value_after_the_status);
    tcase_add_test(tests, function_runs_with_nothing_blocked);
    tcase_add_test(tests, function_runs_detached_by_default);
    tcase_add_test(tests, attributes_are_honored);
    tcase_add_test(tests, each_call_finds_a_fresh_thread);
    tcase_add_test(tests, destructors_of_thread_specific_data_run);
    tcase_add_test(tests, data_of_every_key_is_noticed);
    tcase_add_test(tests, function_may_call_pthread_exit);
    tcase_add_test(tests, function_may_submit_and_wait);
    tcase_add_test(tests, function_that_blocks_starves_no_other);
    tcase_add_test(tests, function_never_runs_in_the_caller);
    tcase_add_test(tests, every_request_of_many_is_told_once);
    tcase_add_test(tests, list_is_told_by_a_thread);
    tcase_add_test(tests, canceled_request_is_told);
}

/* A sanitizer may have a thread of its own, and gives up if one cannot be made. */
static void add_ends(TCase *tests)
{
    tcase_add_test(tests, attributes_that_no_thread_can_have_are_ignored);
    tcase_add_test(tests, threads_end_when_nothing_is_left_to_tell);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "functions on threads", .add = add_threads },
        { .name = "beginnings and ends of threads", .add = add_ends, .need = T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("threads", parts);
}
