/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How completion is told: no word, signals, and functions on threads.
 */
#include "t.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { SIZE = 1 << 20, MANY = 200, LONELY_USER = 64321 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];

static void submit_signaled(struct aiocb *one, int fd, int number, int value)
{
    t_prepare(one, fd, one == &cb ? buf + MANY * 100 : buf + (one - cbs) * 100, 100, 0);
    one->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    one->aio_sigevent.sigev_signo = number;
    one->aio_sigevent.sigev_value.sival_int = value;
    ck_assert_int_eq(aio_read(one), 0);
}

/* Signals. */

START_TEST(sigev_none_tells_nobody)
{
    sigset_t all, pending;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    t_submit_read(&cb, t_cold_file(SIZE), buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    for (int i = 0; i < 20; i++)
        t_moment();
    sigpending(&pending);
    for (int number = 1; number < NSIG; number++)
        ck_assert_int_ne(sigismember(&pending, number), 1);
}
END_TEST

START_TEST(signal_carries_code_value_and_sender)
{
    const int files[] = { t_cached_file(SIZE), t_cold_file(SIZE), -1 };

    t_block(SIGRTMIN);
    for (size_t i = 0; i < T_COUNT(files); i++) {
        siginfo_t info;

        submit_signaled(&cb, files[i], SIGRTMIN, 4711);
        info = t_accept_signal(SIGRTMIN);
        ck_assert_int_eq(info.si_signo, SIGRTMIN);
        ck_assert_int_eq(info.si_code, SI_ASYNCIO);
        ck_assert_int_eq(info.si_value.sival_int, 4711);
        ck_assert_int_eq(info.si_pid, getpid());
        ck_assert_uint_eq(info.si_uid, getuid());
        ck_assert_int_ne(aio_error(&cb), EINPROGRESS);
    }
}
END_TEST

START_TEST(ordinary_signals_are_sent_too)
{
    t_block(SIGUSR1);
    submit_signaled(&cb, t_cold_file(SIZE), SIGUSR1, 1);
    ck_assert_int_eq(t_accept_signal(SIGUSR1).si_code, SI_ASYNCIO);
    t_assert_done(&cb, 100);
}
END_TEST

START_TEST(realtime_signals_are_queued)
{
    int fd = t_cold_file(SIZE), sum = 0;

    t_block(SIGRTMIN + 1);
    for (int i = 0; i < MANY; i++)
        submit_signaled(&cbs[i], fd, SIGRTMIN + 1, i);
    for (int i = 0; i < MANY; i++) {
        int value = t_accept_signal(SIGRTMIN + 1).si_value.sival_int;

        t_assert_done(&cbs[value], 100);
        sum += value;
    }
    ck_assert_int_eq(sum, MANY * (MANY - 1) / 2);
    t_assert_no_signal(SIGRTMIN + 1);
}
END_TEST

static atomic_int seen_error, seen_result;
static atomic_uint handled;

static void look_at_request(int number, siginfo_t *info, void *context)
{
    struct aiocb *one = info->si_value.sival_ptr;

    (void) number, (void) context;
    atomic_store(&seen_error, aio_error(one));
    atomic_store(&seen_result, (int) aio_return(one));
    atomic_fetch_add(&handled, 1);
}

START_TEST(status_is_final_before_the_signal)
{
    int fd = t_cold_file(SIZE);

    t_handle(SIGRTMIN, look_at_request, 0);
    for (unsigned int i = 1; i <= MANY; i++) {
        t_prepare(&cb, fd, buf, 100, i * 4096);
        cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cb.aio_sigevent.sigev_signo = SIGRTMIN;
        cb.aio_sigevent.sigev_value.sival_ptr = &cb;
        ck_assert_int_eq(aio_read(&cb), 0);
        t_until(atomic_load(&handled) == i);
        ck_assert_int_eq(seen_error, 0);
        ck_assert_int_eq(seen_result, 100);
    }
}
END_TEST

START_TEST(sigevent_is_copied_at_submission)
{
    struct t_pair p = t_pipe();

    t_block(SIGRTMIN);
    t_block(SIGRTMIN + 1);
    submit_signaled(&cb, p.in, SIGRTMIN, 5);
    cb.aio_sigevent.sigev_signo = SIGRTMIN + 1;
    cb.aio_sigevent.sigev_value.sival_int = 6;
    t_put(p.out, 0, 100);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 5);
    t_assert_no_signal(SIGRTMIN + 1);
}
END_TEST

START_TEST(bad_signal_number_does_not_change_the_result)
{
    const int numbers[] = { 0, -1, 65, 1000000 };
    int fd = t_cold_file(SIZE);

    for (size_t i = 0; i < T_COUNT(numbers); i++) {
        submit_signaled(&cb, fd, numbers[i], 1);
        t_wait_done(&cb, 100);
        t_assert_data((void *) cb.aio_buf, 100, 0);
    }
}
END_TEST

START_TEST(signals_beyond_the_queue_limit_come_later)
{
    const struct rlimit limit = { .rlim_cur = 10, .rlim_max = 10 };
    int fd = t_cold_file(SIZE), sum = 0;

    t_block(SIGRTMIN);
    /* The limit counts a user's signals: this test's alone, if it can be another user. */
    if (geteuid() == 0)
        ck_assert_int_eq(setuid(LONELY_USER), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_SIGPENDING, &limit), 0);
    for (int i = 0; i < MANY; i++)
        submit_signaled(&cbs[i], fd, SIGRTMIN, i);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 100);
    for (int i = 0; i < MANY; i++)
        sum += t_accept_signal(SIGRTMIN).si_value.sival_int;
    ck_assert_int_eq(sum, MANY * (MANY - 1) / 2);
}
END_TEST

static atomic_int chosen_thread, delivered_to;

static void note_thread(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    atomic_store(&delivered_to, (int) syscall(SYS_gettid));
}

static void *await_delivery(void *unused)
{
    (void) unused;
    atomic_store(&chosen_thread, (int) syscall(SYS_gettid));
    while (!atomic_load(&delivered_to))
        t_moment();
    return NULL;
}

START_TEST(sigev_thread_id_chooses_the_thread)
{
    pthread_t threads[3];

    t_handle(SIGRTMIN, note_thread, 0);
    for (int i = 0; i < 3; i++) {
        atomic_store(&chosen_thread, 0);
        atomic_store(&delivered_to, 0);
        ck_assert_int_eq(pthread_create(&threads[i], NULL, await_delivery, NULL), 0);
        t_until(atomic_load(&chosen_thread));
        t_prepare(&cb, t_cold_file(SIZE), buf, 100, 0);
        cb.aio_sigevent.sigev_notify = SIGEV_THREAD_ID;
        cb.aio_sigevent.sigev_signo = SIGRTMIN;
        cb.aio_sigevent._sigev_un._tid = chosen_thread;
        ck_assert_int_eq(aio_read(&cb), 0);
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_int_eq(delivered_to, chosen_thread);
    }
}
END_TEST

/* Every thread but this one blocks every signal, so the application's handlers never run there. */
static bool mask_of_task_is_full(const char *task)
{
    char path[64], line[256];
    unsigned long long blocked = 0;
    FILE *status;

    snprintf(path, sizeof(path), "/proc/self/task/%.20s/status", task);
    status = fopen(path, "r");
    if (!status)
        return true;
    while (fgets(line, sizeof(line), status))
        sscanf(line, "SigBlk: %llx", &blocked);
    fclose(status);
    /* All but SIGKILL, SIGSTOP and the two that the C library keeps for itself. */
    return (blocked | 1ULL << (SIGKILL - 1) | 1ULL << (SIGSTOP - 1) | 3ULL << 31) == ~0ULL;
}

START_TEST(library_threads_block_every_signal)
{
    unsigned int others = 0;
    const struct dirent *task;
    DIR *tasks;

    t_submit_read(&cbs[0], t_pipe().in, buf, 1, 0);
    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, t_slow_file(0, SIZE, O_RDWR), buf, 100, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    tasks = opendir("/proc/self/task");
    while ((task = readdir(tasks))) {
        if (task->d_name[0] == '.' || atoi(task->d_name) == getpid())
            continue;
        others++;
        ck_assert(mask_of_task_is_full(task->d_name));
    }
    closedir(tasks);
    ck_assert_uint_gt(others, 0);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 100);
}
END_TEST

static void add_signals(TCase *tests)
{
    tcase_add_test(tests, sigev_none_tells_nobody);
    tcase_add_test(tests, signal_carries_code_value_and_sender);
    tcase_add_test(tests, ordinary_signals_are_sent_too);
    tcase_add_test(tests, realtime_signals_are_queued);
    tcase_add_test(tests, sigevent_is_copied_at_submission);
    tcase_add_test(tests, bad_signal_number_does_not_change_the_result);
    tcase_add_test(tests, signals_beyond_the_queue_limit_come_later);
}

static void add_handled(TCase *tests)
{
    tcase_add_test(tests, status_is_final_before_the_signal);
    tcase_add_test(tests, sigev_thread_id_chooses_the_thread);
}

static void add_masks(TCase *tests)
{
    tcase_add_test(tests, library_threads_block_every_signal);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "signals", .add = add_signals },
        { .name = "handlers", .add = add_handled, .need = T_HANDLERS },
        { .name = "masks", .add = add_masks, .need = T_SLOWFS | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("notify", parts);
}
