/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread that waits for each request as soon as it has submitted it carries them out itself, as anybody
 * else would.
 */
#include "t-habit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { SIZE = T_HABIT_SIZE, BLOCK = T_BLOCK, SOME = 20, RECORDS = 400, THREADS = 2, LOTS = 200 };

static struct aiocb cb;
static unsigned char buf[BLOCK], *aligned;
static atomic_uint rings;

START_TEST(writes_are_carried_out_by_their_thread)
{
    int fd = t_slow_to_write();
    double end = t_now() + t_patience();
    uint64_t before;

    t_form_habit(fd);
    before = t_stat("write.waiter");
    for (off_t i = 1; t_stat("write.waiter") < before + SOME; i++) {
        off_t place = i % (SIZE / BLOCK) * BLOCK;

        t_fill(buf, BLOCK, place);
        t_write_at_once(&cb, fd, buf, place);
        t_assert_written(fd, place);
        if (t_now() > end)
            ck_abort_msg("the habit is not seen");
    }
}
END_TEST

START_TEST(cold_reads_are_carried_out_by_their_thread)
{
    int fd = t_cold_file(SIZE);
    double end = t_now() + t_patience();

    for (off_t place = 0; t_stat("read.waiter") < SOME; place = (place + BLOCK) % SIZE) {
        if (place == 0)
            t_make_cold(fd);
        t_submit_read(&cb, fd, buf, BLOCK, place);
        t_at_once(&cb);
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

    aligned = t_aligned(BLOCK);
    for (off_t place = 0; t_stat("read.waiter") < SOME || t_stat("write.waiter") < SOME;
         place = (place + BLOCK) % SIZE) {
        t_submit_read(&cb, fd, aligned, BLOCK, place);
        t_at_once(&cb);
        t_assert_done(&cb, BLOCK);
        t_assert_data(aligned, BLOCK, place);
        t_submit_write(&cb, fd, aligned, BLOCK, place);
        t_at_once(&cb);
        t_assert_done(&cb, BLOCK);
        ck_assert_msg(t_now() < end, "the habit is not seen");
    }
    t_submit_read(&cb, fd, aligned, BLOCK, SIZE);
    t_at_once(&cb);
    t_assert_done(&cb, 0);
}
END_TEST

static void list_at_once(struct aiocb *const list[], int count)
{
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, count, NULL), 0);
}

/* There is nothing to be guessed: without a habit too. */
START_TEST(list_of_one_is_carried_out_by_its_thread)
{
    struct aiocb *const list[] = { &cb };
    int fd = t_slow_to_write();
    double end = t_now() + t_patience();

    for (off_t i = 1; t_stat("write.waiter") < SOME; i++) {
        off_t place = i % (SIZE / BLOCK) * BLOCK;

        t_fill(buf, BLOCK, place);
        t_prepare(&cb, fd, buf, BLOCK, place);
        cb.aio_lio_opcode = LIO_WRITE;
        list_at_once(list, 1);
        t_assert_done(&cb, BLOCK);
        t_assert_written(fd, place);
        ck_assert_msg(t_now() < end, "others do it");
    }
}
END_TEST

/* They are to be under way together. */
START_TEST(list_of_two_is_left_to_others)
{
    static struct aiocb other;
    struct aiocb *const list[] = { &cb, &other };
    int fd = t_slow_to_write();

    for (int i = 0; i < SOME; i++) {
        t_prepare(&cb, fd, buf, BLOCK, 0);
        t_prepare(&other, fd, buf, BLOCK, BLOCK);
        cb.aio_lio_opcode = other.aio_lio_opcode = LIO_WRITE;
        list_at_once(list, 2);
        t_assert_done(&cb, BLOCK);
        t_assert_done(&other, BLOCK);
    }
    ck_assert_uint_eq(t_stat("write.waiter"), 0);
}
END_TEST

/* What is left to the thread is not left to lie while it does something else: waiting, or reading what is cached. */
START_TEST(list_leaves_what_is_awaited_to_others)
{
    static struct aiocb written;
    static unsigned char block[BLOCK];
    const struct t_pair pipe = t_pipe();
    const int others[] = { pipe.out, t_cached_file(SIZE) };
    struct aiocb *const list[] = { &cb };
    int fd = t_slow_to_write();

    for (int i = 0; i < 2; i++) {
        uint64_t before;

        t_leave_write(&written, fd, buf, BLOCK);
        before = t_stat("write.waiter");
        t_prepare(&cb, others[i], block, BLOCK, 0);
        cb.aio_lio_opcode = i ? LIO_READ : LIO_WRITE;
        list_at_once(list, 1);
        t_at_once(&written);
        t_assert_done(&written, BLOCK);
        t_assert_written(fd, BLOCK);
        ck_assert_uint_eq(t_stat("write.waiter"), before);
    }
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
    int fd = t_slow_to_write();
    uint64_t before;

    do {
        t_form_habit(fd);
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
    int fd = t_slow_to_write();

    t_block(SIGXFSZ);
    ck_assert_int_eq(kill(getpid(), SIGXFSZ), 0);
    t_form_habit(fd);
    t_submit_write(&cb, fd, buf, BLOCK, far);
    t_at_once(&cb);
    ck_assert(aio_error(&cb) == EFBIG || aio_error(&cb) == 0);
    t_accept_signal(SIGXFSZ);
}
END_TEST

START_TEST(long_transfers_are_left_to_others)
{
    static unsigned char much[SIZE];
    int fd = t_slow_to_write();
    uint64_t before;

    t_form_habit(fd);
    before = t_stat("write.waiter");
    t_fill(much, SIZE, 0);
    t_submit_write(&cb, fd, much, SIZE, 0);
    t_at_once(&cb);
    t_assert_done(&cb, SIZE);
    ck_assert_uint_eq(t_stat("write.waiter"), before);
}
END_TEST

static atomic_uint waits_after_cancel;

static bool write_and_wait(void)
{
    const struct aiocb *const list[] = { &cb };

    return aio_write(&cb) == 0 && aio_suspend(list, 1, NULL) == 0;
}

static bool write_in_list(void)
{
    struct aiocb *const list[] = { &cb };

    return lio_listio(LIO_WAIT, list, 1, NULL) == 0;
}

static void *wait_until_canceled(void *wait)
{
    bool (*const *write_one)(void) = wait;
    int fd = t_slow_to_write();

    t_form_habit(fd);
    pthread_cancel(pthread_self());
    /* Without Check, whose functions are cancellation points. */
    do {
        t_prepare(&cb, fd, buf, BLOCK, 0);
        cb.aio_lio_opcode = LIO_WRITE;
        atomic_fetch_add(&waits_after_cancel, 1);
    } while ((*write_one)());
    return NULL;
}

/* A request that somebody else has done already is not waited for. */
START_TEST(waiting_is_a_cancellation_point)
{
    static bool (*const ways[])(void) = { write_and_wait, write_in_list };

    for (int i = 0; i < SOME; i++) {
        pthread_t thread;
        void *result;

        ck_assert_int_eq(pthread_create(&thread, NULL, wait_until_canceled, (void *) &ways[i % 2]), 0);
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
    int fd = t_slow_to_write();

    t_handle(SIGALRM, count_ring, SA_RESTART);
    t_ring_every(500);
    for (off_t i = 0; i < (off_t) t_scale(RECORDS) || !atomic_load(&rings); i++) {
        off_t place = i % (SIZE / BLOCK) * BLOCK;

        t_fill(buf, BLOCK, place);
        t_write_at_once(&cb, fd, buf, place);
        t_assert_written(fd, place);
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

START_TEST(appends_of_two_threads_keep_their_order)
{
    struct appender appenders[THREADS];
    unsigned char record[8];

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

/* Where what keeps it may be beyond this machine, aio_suspend stays free for signals. */
START_TEST(slow_filesystem_is_left_to_the_pool)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    for (int i = 0; i < LOTS; i++) {
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        t_at_once(&cb);
        t_submit_read(&cb, fd, buf, BLOCK, 0);
        t_at_once(&cb);
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
    tcase_add_test(tests, list_of_one_is_carried_out_by_its_thread);
    tcase_add_test(tests, list_of_two_is_left_to_others);
    tcase_add_test(tests, list_leaves_what_is_awaited_to_others);
    tcase_add_test(tests, write_past_the_size_limit_raises_no_signal);
    tcase_add_test(tests, signal_of_the_programs_own_stays_pending);
    tcase_add_test(tests, long_transfers_are_left_to_others);
    tcase_add_test(tests, waiting_is_a_cancellation_point);
    tcase_add_test(tests, signals_disturb_nothing);
    tcase_add_test(tests, appends_of_two_threads_keep_their_order);
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
            .need = T_LOCAL | T_PROMPT | T_STATISTICS,
        },
        {
            .name = "slow files",
            .add = add_slow,
            .need = T_SLOWFS | T_PROMPT | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("habit", parts);
}
