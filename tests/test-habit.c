/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that waits for each request as soon as it has submitted it carries them out itself. Whatever
 * it does instead for once, its requests are carried out all the same, each once and in order.
 */
#include "t.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SIZE = 1 << 20, BLOCK = 4096, SOME = 20, RECORDS = 400, THREADS = 2, LOTS = 200 };

static struct aiocb cb, other;
static unsigned char buf[BLOCK], *aligned;
static atomic_uint rings;

/* Writes that the library cannot do in the caller, whatever the filesystem. */
static int slow_to_write(void)
{
    return t_reopen(t_cached_file(SIZE), O_RDWR | O_DSYNC);
}

static void at_once(void)
{
    const struct aiocb *const list[] = { &cb };

    ck_assert_int_eq(aio_suspend(list, 1, NULL), 0);
}

static void write_at_once(int fd, off_t place)
{
    t_prepare(&cb, fd, buf, BLOCK, place);
    ck_assert_int_eq(aio_write(&cb), 0);
    at_once();
    t_assert_done(&cb, BLOCK);
}

/* In each process of its own. */
static void drop_statistics(void)
{
    static pid_t dropped;

    if (dropped != getpid())
        t_drop_statistics();
    dropped = getpid();
}

/* This thread has the habit when it returns: the latest of its writes was carried out by itself. */
static void form_habit(int fd)
{
    double end = t_now() + t_patience();
    uint64_t before;

    drop_statistics();
    t_fill(buf, BLOCK, 0);
    do {
        before = t_stat("write.waiter");
        write_at_once(fd, 0);
        if (t_now() > end)
            ck_abort_msg("the habit is not seen");
    } while (t_stat("write.waiter") == before);
}

/* The habit is formed, and a write of the block at `place` is left to this thread. */
static void leave_write(int fd, off_t place)
{
    form_habit(fd);
    t_fill(buf, BLOCK, place);
    t_submit_write(&cb, fd, buf, BLOCK, place);
}

static void assert_written(int fd, off_t place)
{
    unsigned char found[BLOCK];

    ck_assert_int_eq(pread(fd, found, BLOCK, place), BLOCK);
    t_assert_data(found, BLOCK, place);
}

/* Without a call that could help it on. */
static void until_published(const struct aiocb *one)
{
    t_until(__atomic_load_n(&one->__error_code, __ATOMIC_ACQUIRE) != EINPROGRESS);
}

START_TEST(writes_are_carried_out_by_their_thread)
{
    int fd = slow_to_write();
    double end = t_now() + t_patience();
    uint64_t before;

    form_habit(fd);
    before = t_stat("write.waiter");
    for (off_t i = 1; t_stat("write.waiter") < before + SOME; i++) {
        off_t place = i % (SIZE / BLOCK) * BLOCK;

        t_fill(buf, BLOCK, place);
        write_at_once(fd, place);
        assert_written(fd, place);
        if (t_now() > end)
            ck_abort_msg("the habit is not seen");
    }
}
END_TEST

START_TEST(cold_reads_are_carried_out_by_their_thread)
{
    int fd = t_cold_file(SIZE);
    double end = t_now() + t_patience();

    drop_statistics();
    for (off_t place = 0; t_stat("read.waiter") < SOME; place = (place + BLOCK) % SIZE) {
        if (place == 0)
            t_make_cold(fd);
        t_submit_read(&cb, fd, buf, BLOCK, place);
        at_once();
        t_assert_done(&cb, BLOCK);
        t_assert_data(buf, BLOCK, place);
        ck_assert_msg(t_now() < end, "the habit is not seen");
    }
}
END_TEST

START_TEST(direct_transfers_are_carried_out_by_their_thread)
{
    int fd = t_reopen(t_cached_file(SIZE), O_RDWR | O_DIRECT);
    double end = t_now() + t_patience();

    drop_statistics();
    aligned = t_aligned(BLOCK);
    for (off_t place = 0; t_stat("read.waiter") < SOME || t_stat("write.waiter") < SOME;
         place = (place + BLOCK) % SIZE) {
        t_submit_read(&cb, fd, aligned, BLOCK, place);
        at_once();
        t_assert_done(&cb, BLOCK);
        t_assert_data(aligned, BLOCK, place);
        t_submit_write(&cb, fd, aligned, BLOCK, place);
        at_once();
        t_assert_done(&cb, BLOCK);
        ck_assert_msg(t_now() < end, "the habit is not seen");
    }
    t_submit_read(&cb, fd, aligned, BLOCK, SIZE);
    at_once();
    t_assert_done(&cb, 0);
}
END_TEST

START_TEST(what_is_left_is_done_without_another_call)
{
    int fd = slow_to_write();

    leave_write(fd, BLOCK);
    until_published(&cb);
    t_assert_done(&cb, BLOCK);
    assert_written(fd, BLOCK);
}
END_TEST

START_TEST(what_is_left_notifies_without_another_call)
{
    int fd = slow_to_write();

    t_block(SIGUSR1);
    form_habit(fd);
    t_prepare(&cb, fd, buf, BLOCK, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGUSR1;
    ck_assert_int_eq(aio_write(&cb), 0);
    t_accept_signal(SIGUSR1);
    t_assert_done(&cb, BLOCK);
}
END_TEST

START_TEST(what_is_left_can_be_waited_for_in_any_way)
{
    const struct timespec limit = { .tv_sec = 1000 };
    const struct aiocb *both[] = { &other, &cb };
    int fd = slow_to_write(), out = t_start_pending(&other);

    leave_write(fd, BLOCK);
    ck_assert_int_eq(t_suspend(&cb, &limit), 0);
    t_assert_done(&cb, BLOCK);
    leave_write(fd, 2 * BLOCK);
    ck_assert_int_eq(aio_suspend(both, 2, NULL), 0);
    t_assert_done(&cb, BLOCK);
    leave_write(fd, 3 * BLOCK);
    while (aio_error(&cb) == EINPROGRESS)
        ;
    t_assert_done(&cb, BLOCK);
    for (off_t i = 1; i <= 3; i++)
        assert_written(fd, i * BLOCK);
    t_finish_pending(out, &other);
}
END_TEST

static void *wait_for_it(void *unused)
{
    at_once();
    return unused;
}

START_TEST(what_is_left_can_be_waited_for_by_another_thread)
{
    int fd = slow_to_write();
    pthread_t thread;

    leave_write(fd, BLOCK);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_for_it, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    t_assert_done(&cb, BLOCK);
    assert_written(fd, BLOCK);
}
END_TEST

START_TEST(next_request_does_not_wait_for_what_is_left)
{
    int fd = slow_to_write();

    for (int i = 0; i < SOME; i++) {
        leave_write(fd, BLOCK);
        t_submit_write(&other, fd, buf, BLOCK, BLOCK);
        at_once();
        t_wait_done(&other, BLOCK);
        t_assert_done(&cb, BLOCK);
    }
}
END_TEST

START_TEST(sync_comes_after_what_is_left)
{
    int fd = t_cached_file(SIZE);

    form_habit(slow_to_write());
    t_fill(buf, BLOCK, BLOCK);
    t_submit_write(&cb, fd, buf, BLOCK, BLOCK);
    t_submit_sync(&other, fd, O_DSYNC);
    until_published(&other);
    t_assert_done(&cb, BLOCK);
    t_assert_done(&other, 0);
}
END_TEST

START_TEST(what_is_left_can_be_canceled)
{
    /* One thread, which does not come to look because it has been idle for so long. */
    const struct aioinit init = { .aio_threads = 1, .aio_idle_time = 1000 };
    int fd = slow_to_write();
    unsigned canceled = 0;
    double end = t_now() + t_patience();

    aio_init(&init);
    /* The tick may come first. */
    while (!canceled) {
        leave_write(fd, BLOCK);
        if (aio_cancel(fd, &cb) == AIO_CANCELED) {
            canceled++;
            t_assert_failed(&cb, ECANCELED);
        } else {
            t_wait_done(&cb, BLOCK);
        }
        ck_assert(t_now() < end);
    }
    /* The pool's queue is as it should be: it does the next one. */
    t_submit_write(&cb, fd, buf, BLOCK, 0);
    until_published(&cb);
    t_assert_done(&cb, BLOCK);
}
END_TEST

START_TEST(close_cancels_what_is_left)
{
    int fd = slow_to_write(), copy = fcntl(fd, F_DUPFD_CLOEXEC, 0), error;

    t_fill(buf, BLOCK, 0);
    ck_assert_int_eq(pwrite(fd, buf, BLOCK, BLOCK), BLOCK);
    leave_write(fd, BLOCK);
    ck_assert_int_eq(close(fd), 0);
    until_published(&cb);
    error = aio_error(&cb);
    if (error == 0) /* the tick came first */
        assert_written(copy, BLOCK);
    else
        ck_assert_int_eq(error, ECANCELED);
}
END_TEST

/* Closed where the library does not see it, and the number is another file's. */
START_TEST(what_is_left_does_not_reach_another_file)
{
    unsigned done = 0;

    for (int i = 0; i < SOME; i++) {
        int victim = t_empty_file(), fd = slow_to_write(), error;

        form_habit(fd);
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        ck_assert_int_eq(syscall(SYS_close, fd), 0);
        ck_assert_int_eq(syscall(SYS_dup2, victim, fd), fd);
        at_once();
        error = aio_error(&cb);
        done += error == 0;
        ck_assert_msg(error == 0 || error == ECANCELED || error == EBADF, "%s", strerror(error));
        ck_assert_int_eq(lseek(victim, 0, SEEK_END), 0);
        ck_assert_int_eq(close(victim), 0);
        ck_assert_int_eq(close(fd), 0);
    }
    ck_assert_uint_lt(done, SOME);
}
END_TEST

/* Check writes to a file of its own as the test goes on: the limit is there for one request. */
static void limit_size(rlim_t size)
{
    const struct rlimit limit = { .rlim_cur = size, .rlim_max = RLIM_INFINITY };

    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

START_TEST(write_past_the_size_limit_raises_no_signal)
{
    const struct aiocb *const list[] = { &cb };
    int fd = slow_to_write();
    uint64_t before;

    do {
        form_habit(fd);
        before = t_stat("write.waiter");
        t_prepare(&cb, fd, buf, BLOCK, SIZE);
        limit_size(SIZE);
        aio_write(&cb);
        aio_suspend(list, 1, NULL);
        limit_size(RLIM_INFINITY);
        t_assert_failed(&cb, EFBIG);
    } while (t_stat("write.waiter") == before);
    t_assert_no_signal(SIGXFSZ);
}
END_TEST

START_TEST(signal_of_the_programs_own_stays_pending)
{
    const off_t far = (off_t) 1 << 50;
    int fd = slow_to_write();

    t_block(SIGXFSZ);
    ck_assert_int_eq(kill(getpid(), SIGXFSZ), 0);
    form_habit(fd);
    t_submit_write(&cb, fd, buf, BLOCK, far);
    at_once();
    ck_assert(aio_error(&cb) == EFBIG || aio_error(&cb) == 0);
    t_accept_signal(SIGXFSZ);
}
END_TEST

START_TEST(long_transfers_are_left_to_others)
{
    static unsigned char much[SIZE];
    int fd = slow_to_write();
    uint64_t before;

    form_habit(fd);
    before = t_stat("write.waiter");
    t_fill(much, SIZE, 0);
    t_submit_write(&cb, fd, much, SIZE, 0);
    at_once();
    t_assert_done(&cb, SIZE);
    ck_assert_uint_eq(t_stat("write.waiter"), before);
}
END_TEST

static atomic_uint waits_after_cancel;

static void *wait_until_canceled(void *unused)
{
    const struct aiocb *const list[] = { &cb };
    int fd = slow_to_write();

    form_habit(fd);
    pthread_cancel(pthread_self());
    /* Without Check, whose functions are cancellation points. */
    do {
        t_prepare(&cb, fd, buf, BLOCK, 0);
        atomic_fetch_add(&waits_after_cancel, 1);
    } while (aio_write(&cb) == 0 && aio_suspend(list, 1, NULL) == 0);
    return unused;
}

/* A request that somebody else has done already is not waited for. */
START_TEST(waiting_is_a_cancellation_point)
{
    for (int i = 0; i < SOME; i++) {
        pthread_t thread;
        void *result;

        ck_assert_int_eq(pthread_create(&thread, NULL, wait_until_canceled, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        ck_assert_ptr_eq(result, PTHREAD_CANCELED);
        t_wait_done(&cb, BLOCK);
    }
    ck_assert_uint_lt(atomic_load(&waits_after_cancel), 2 * SOME);
}
END_TEST

static void count_ring(int signal_number, siginfo_t *info, void *context)
{
    (void) signal_number;
    (void) info;
    (void) context;
    atomic_fetch_add(&rings, 1);
}

START_TEST(signals_disturb_nothing)
{
    int fd = slow_to_write();

    drop_statistics();
    t_handle(SIGALRM, count_ring, SA_RESTART);
    t_ring_every(500);
    for (off_t i = 0; i < (off_t) t_scale(RECORDS) || !atomic_load(&rings); i++) {
        off_t place = i % (SIZE / BLOCK) * BLOCK;

        t_fill(buf, BLOCK, place);
        write_at_once(fd, place);
        assert_written(fd, place);
    }
    t_ring_every(0);
}
END_TEST

/* Two threads append in turn, each told by the other that its request has been submitted. */
struct appender {
    pthread_t thread;
    unsigned char parity;
};

static atomic_uint turn;
static int log_fd;

static void *append_in_turn(void *argument)
{
    const struct appender *me = argument;
    struct aiocb mine;

    for (unsigned i = 0; i < t_scale(RECORDS); i++) {
        const struct aiocb *const list[] = { &mine };
        unsigned char record[8] = { 0 };

        while (atomic_load(&turn) % THREADS != me->parity)
            ;
        record[0] = (unsigned char) atomic_load(&turn);
        t_prepare(&mine, log_fd, record, sizeof(record), 0);
        ck_assert_int_eq(aio_write(&mine), 0);
        atomic_fetch_add(&turn, 1);
        ck_assert_int_eq(aio_suspend(list, 1, NULL), 0);
        t_assert_done(&mine, sizeof(record));
    }
    return NULL;
}

static void *append_another(void *argument)
{
    struct aiocb mine;

    t_submit_write(&mine, log_fd, argument, 1, 0);
    t_wait_done(&mine, 1);
    return NULL;
}

START_TEST(what_is_left_is_appended_before_what_another_thread_appends)
{
    unsigned char found[2];
    pthread_t thread;

    for (int i = 0; i < SOME; i++) {
        log_fd = t_reopen(t_empty_file(), O_RDWR | O_APPEND);
        form_habit(slow_to_write());
        t_submit_write(&cb, log_fd, "1", 1, 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, append_another, "2"), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        t_wait_done(&cb, 1);
        ck_assert_int_eq(pread(log_fd, found, 2, 0), 2);
        ck_assert_mem_eq(found, "12", 2);
        ck_assert_int_eq(close(log_fd), 0);
    }
}
END_TEST

START_TEST(appends_of_two_threads_keep_their_order)
{
    struct appender appenders[THREADS];
    unsigned char record[8];

    drop_statistics();
    log_fd = t_reopen(t_empty_file(), O_RDWR | O_APPEND);
    for (unsigned char i = 0; i < THREADS; i++) {
        appenders[i].parity = i;
        ck_assert_int_eq(pthread_create(&appenders[i].thread, NULL, append_in_turn, &appenders[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(appenders[i].thread, NULL), 0);
    for (unsigned i = 0; i < THREADS * t_scale(RECORDS); i++) {
        ck_assert_int_eq(pread(log_fd, record, sizeof(record), i * sizeof(record)), sizeof(record));
        ck_assert_uint_eq(record[0], (unsigned char) i);
    }
}
END_TEST

static void leave_and_exit(void *argument)
{
    leave_write(*(int *) argument, BLOCK);
    exit(0);
}

START_TEST(exit_carries_out_what_is_left)
{
    int fd = slow_to_write();

    drop_statistics();
    memset(buf, 0, BLOCK);
    ck_assert_int_eq(pwrite(fd, buf, BLOCK, BLOCK), BLOCK);
    t_reap(t_child(leave_and_exit, &fd));
    assert_written(fd, BLOCK);
}
END_TEST

static void write_in_child(void *argument)
{
    int fd = *(int *) argument;

    /* What was left is the parent's. */
    at_once();
    write_at_once(fd, 2 * BLOCK);
    form_habit(fd);
}

START_TEST(forked_child_leaves_it_alone_and_forms_its_own)
{
    int fd = slow_to_write();
    pid_t child;

    leave_write(fd, BLOCK);
    child = t_child(write_in_child, &fd);
    t_wait_done(&cb, BLOCK);
    t_reap(child);
}
END_TEST

/* Where what keeps it may be beyond this machine, aio_suspend stays free for signals. */
START_TEST(slow_filesystem_is_left_to_the_pool)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    drop_statistics();
    for (int i = 0; i < LOTS; i++) {
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        at_once();
        t_submit_read(&cb, fd, buf, BLOCK, 0);
        at_once();
        t_assert_done(&cb, BLOCK);
    }
    ck_assert_uint_eq(t_stat("read.waiter") + t_stat("write.waiter"), 0);
    slowfs_hold(SLOWFS_READ, 1);
    t_handle(SIGALRM, count_ring, 0);
    t_submit_read(&cb, fd, buf, BLOCK, 0);
    t_ring_every(20000);
    ck_assert_int_eq(t_suspend(&cb, NULL), -1);
    ck_assert_int_eq(errno, EINTR);
    t_ring_every(0);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, BLOCK);
}
END_TEST

static void add_habit(TCase *tests)
{
    tcase_add_test(tests, writes_are_carried_out_by_their_thread);
    tcase_add_test(tests, cold_reads_are_carried_out_by_their_thread);
    tcase_add_test(tests, direct_transfers_are_carried_out_by_their_thread);
    tcase_add_test(tests, what_is_left_is_done_without_another_call);
    tcase_add_test(tests, what_is_left_notifies_without_another_call);
    tcase_add_test(tests, what_is_left_can_be_waited_for_in_any_way);
    tcase_add_test(tests, what_is_left_can_be_waited_for_by_another_thread);
    tcase_add_test(tests, next_request_does_not_wait_for_what_is_left);
    tcase_add_test(tests, sync_comes_after_what_is_left);
    tcase_add_test(tests, what_is_left_can_be_canceled);
    tcase_add_test(tests, close_cancels_what_is_left);
    tcase_add_test(tests, what_is_left_does_not_reach_another_file);
    tcase_add_test(tests, write_past_the_size_limit_raises_no_signal);
    tcase_add_test(tests, signal_of_the_programs_own_stays_pending);
    tcase_add_test(tests, long_transfers_are_left_to_others);
    tcase_add_test(tests, waiting_is_a_cancellation_point);
    tcase_add_test(tests, signals_disturb_nothing);
    tcase_add_test(tests, what_is_left_is_appended_before_what_another_thread_appends);
    tcase_add_test(tests, appends_of_two_threads_keep_their_order);
    tcase_add_test(tests, exit_carries_out_what_is_left);
    tcase_add_test(tests, forked_child_leaves_it_alone_and_forms_its_own);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, slow_filesystem_is_left_to_the_pool);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "a thread that waits at once",
            .add = add_habit,
            .need = T_LOCAL | T_PROMPT,
            .settings = { "LIBPOSIX_AIO_STATS=t-habit-%p" },
        },
        {
            .name = "slow files",
            .add = add_slow,
            .need = T_SLOWFS | T_PROMPT,
            .settings = { "LIBPOSIX_AIO_STATS=t-habit-%p" },
        },
        { .name = NULL },
    };

    return t_main("habit", parts);
}
