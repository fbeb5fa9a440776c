/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffered writes of a thread that waits at once, or of a function that returns at once, are done in the call that submits
 * them, as long as nothing holds them up, overtake nothing, and reach nothing else than what their descriptor stands for.
 */
#include "t-habit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { BLOCK = T_BLOCK, SIZE = T_HABIT_SIZE, DEPTH = 8, SOME = 100, MUCH = 64 << 20, LONG = MUCH / DEPTH };

static struct aiocb cb, cbs[DEPTH];
static unsigned char buf[BLOCK];

static int to_write(void)
{
    return t_reopen(t_cached_file(SIZE), O_RDWR);
}

START_TEST(single_writes_are_done_in_the_call)
{
    int fd = to_write();
    double end = t_now() + t_patience();

    for (off_t i = 1; t_stat("write.inline") < SOME; i++) {
        off_t place = i % (SIZE / BLOCK) * BLOCK;

        t_fill(buf, BLOCK, place);
        t_write_at_once(&cb, fd, buf, place);
        t_assert_written(fd, place);
        ck_assert_msg(t_now() < end, "the calls leave the writes to others");
    }
}
END_TEST

START_TEST(several_writes_are_done_in_the_calls)
{
    static unsigned char blocks[DEPTH * BLOCK];
    int fd = to_write();
    double end = t_now() + t_patience();

    for (off_t round = 1; t_stat("write.inline") < SOME; round++) {
        off_t first = round * DEPTH % (SIZE / BLOCK) * BLOCK;

        t_fill(blocks, sizeof(blocks), first);
        for (int i = 0; i < DEPTH; i++)
            t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, first + i * BLOCK);
        t_wait_for_any_of(cbs, DEPTH);
        for (int i = 0; i < DEPTH; i++) {
            t_assert_done(&cbs[i], BLOCK);
            t_assert_written(fd, first + i * BLOCK);
        }
        ck_assert_msg(t_now() < end, "the calls leave the writes to others");
    }
}
END_TEST

START_TEST(what_is_outstanding_is_not_overtaken)
{
    unsigned char *much = calloc(1, MUCH);
    int fd = to_write();

    for (size_t round = 0; round < 4; round++) {
        struct aiocb longer;

        t_be_granted(fd);
        t_submit_write(&longer, fd, much, MUCH, 0);
        t_fill(buf, BLOCK, BLOCK);
        t_submit_write(&cb, fd, buf, BLOCK, BLOCK);
        t_wait_done(&cb, BLOCK);
        t_wait_done(&longer, MUCH);
        t_assert_written(fd, BLOCK);
    }
    free(much);
}
END_TEST

START_TEST(flag_set_meanwhile_appends)
{
    int fd = to_write();

    t_be_granted(fd);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_APPEND), 0);
    for (off_t i = 0; i < SOME; i++) {
        t_fill(buf, BLOCK, SIZE + i * BLOCK);
        t_write_at_once(&cb, fd, buf, 0);
    }
    for (off_t i = 0; i < SOME; i++)
        t_assert_written(fd, SIZE + i * BLOCK);
    ck_assert_int_eq(lseek(fd, 0, SEEK_END), SIZE + SOME * BLOCK);
}
END_TEST

/* By another descriptor of the file. */
START_TEST(flag_that_another_descriptor_sets_keeps_the_order)
{
    unsigned char *much = calloc(1, LONG);
    int fd = to_write(), other = dup(fd);

    for (int round = 0; round < 4; round++) {
        off_t end = lseek(fd, 0, SEEK_END) + DEPTH * LONG;

        t_be_granted(fd);
        ck_assert_int_eq(fcntl(other, F_SETFL, O_APPEND), 0);
        for (int i = 0; i < DEPTH; i++)
            t_submit_write(&cbs[i], other, much, LONG, 0);
        t_fill(buf, BLOCK, end);
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        t_wait_done(&cb, BLOCK);
        for (int i = 0; i < DEPTH; i++)
            t_wait_done(&cbs[i], LONG);
        t_assert_written(fd, end);
        ck_assert_int_eq(fcntl(other, F_SETFL, 0), 0);
    }
    free(much);
}
END_TEST

/* By calls that no library sees. */
START_TEST(number_that_stands_for_a_pipe_reaches_the_pipe)
{
    struct t_pair pipe = t_pipe();
    int fd = to_write();

    t_be_granted(fd);
    ck_assert_int_eq(syscall(SYS_dup3, pipe.out, fd, 0), fd);
    t_fill(buf, BLOCK, 0);
    t_submit_write(&cb, fd, buf, BLOCK, 0);
    t_wait_done(&cb, BLOCK);
    t_take(pipe.in, 0, BLOCK);
}
END_TEST

START_TEST(errors_are_those_of_the_request)
{
    int fd = to_write();

    t_be_granted(fd);
    t_submit_write(&cb, fd, (void *) 8, BLOCK, 0);
    t_wait_failed(&cb, EFAULT);
    t_be_granted(fd);
    t_submit_write(&cb, fd, buf, BLOCK, -1);
    t_wait_failed(&cb, EINVAL);
    t_be_granted(fd);
    ck_assert_int_eq(syscall(SYS_dup3, t_reopen(fd, O_RDONLY), fd, 0), fd);
    t_submit_write(&cb, fd, buf, BLOCK, 0);
    t_wait_failed(&cb, EBADF);
}
END_TEST

START_TEST(writes_of_other_threads_are_not_done_in_the_call)
{
    const struct timespec limit = { .tv_sec = 60 };
    int fd = to_write();

    for (int i = 0; i < SOME; i++) {
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        while (aio_error(&cb) == EINPROGRESS)
            ck_assert_int_eq(t_suspend(&cb, &limit), 0);
        t_assert_done(&cb, BLOCK);
    }
    ck_assert_uint_eq(t_stat("write.inline"), 0);
}
END_TEST

static void ignore(int signal_number, siginfo_t *info, void *context)
{
    (void) signal_number, (void) info, (void) context;
}

START_TEST(other_waits_end_it)
{
    const struct timespec limit = { .tv_sec = 60 };
    struct aiocb *const entry[] = { &cbs[0] };
    int fd = to_write();
    uint64_t before;

    for (int way = 0; way < 2; way++) {
        t_be_granted(fd);
        if (way) {
            t_prepare(&cbs[0], fd, buf, 1, 0);
            cbs[0].aio_lio_opcode = LIO_READ;
            ck_assert_int_eq(lio_listio(LIO_NOWAIT, entry, 1, NULL), 0);
            t_wait_done(&cbs[0], 1);
        } else {
            t_suspend(&cb, &limit);
        }
        before = t_stat("write.inline");
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        t_wait_done(&cb, BLOCK);
        ck_assert_uint_eq(t_stat("write.inline"), before);
    }
}
END_TEST

START_TEST(wait_for_something_else_ends_it)
{
    int fd = to_write(), out = t_start_pending(&cbs[0]);
    uint64_t before;

    t_be_granted(fd);
    t_ring_every(1000);
    t_handle(SIGALRM, ignore, 0);
    ck_assert_int_eq(t_suspend(&cbs[0], NULL), -1);
    t_ring_every(0);
    before = t_stat("write.inline");
    t_submit_write(&cb, fd, buf, BLOCK, 0);
    t_wait_done(&cb, BLOCK);
    ck_assert_uint_eq(t_stat("write.inline"), before);
    t_finish_pending(out, &cbs[0]);
}
END_TEST

START_TEST(waits_for_something_else_grant_nothing)
{
    const struct aiocb *const list[] = { &cb, &cbs[0] };
    int fd = to_write(), out = t_start_pending(&cbs[0]);

    for (int i = 0; i < SOME; i++) {
        t_submit_write(&cb, fd, buf, BLOCK, 0);
        while (aio_error(&cb) == EINPROGRESS)
            ck_assert_int_eq(aio_suspend(list, 2, NULL), 0);
        t_assert_done(&cb, BLOCK);
    }
    t_finish_pending(out, &cbs[0]);
    t_form_habit(t_slow_to_write());
    t_submit_write(&cb, fd, buf, BLOCK, 0);
    t_wait_done(&cb, BLOCK);
    ck_assert_uint_eq(t_stat("write.inline"), 0);
}
END_TEST

static atomic_int rounds;

static void *write_until_canceled(void *fd)
{
    const struct aiocb *const list[] = { &cb };

    t_be_granted(*(int *) fd);
    t_prepare(&cb, *(int *) fd, buf, BLOCK, 0);
    pthread_cancel(pthread_self());
    /* An assertion may be a cancellation point. */
    for (int i = 0; i < SOME; i++) {
        aio_write(&cb);
        atomic_fetch_add(&rounds, 1);
        aio_suspend(list, 1, NULL);
    }
    return NULL;
}

START_TEST(waits_are_cancellation_points)
{
    int fd = to_write();
    pthread_t thread;
    void *result;

    ck_assert_int_eq(pthread_create(&thread, NULL, write_until_canceled, &fd), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_ptr_eq(result, PTHREAD_CANCELED);
    ck_assert_int_eq(atomic_load(&rounds), 1);
}
END_TEST

/* Whatever took it, computing or a write that was held up. */
START_TEST(time_ends_it)
{
    int fd = to_write();
    uint64_t before;

    t_be_granted(fd);
    for (int moments = 0; moments < 10; moments++)
        t_moment();
    before = t_stat("write.inline");
    t_submit_write(&cb, fd, buf, BLOCK, 0);
    t_wait_done(&cb, BLOCK);
    ck_assert_uint_eq(t_stat("write.inline"), before);
}
END_TEST

/* Functions that are called for a write, and submit the next. */
static struct {
    int fd;
    unsigned moments;    /* for which a function goes on when it has submitted */
    off_t place;         /* of the write that it is called for */
    atomic_uint to_come; /* calls */
    atomic_bool over;    /* the last one */
} chain;

static void write_next(union sigval unused);

static void submit_next(void)
{
    chain.place = (chain.place + BLOCK) % SIZE;
    t_fill(buf, BLOCK, chain.place);
    t_prepare(&cb, chain.fd, buf, BLOCK, chain.place);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = write_next;
    ck_assert_int_eq(aio_write(&cb), 0);
}

static void write_next(union sigval unused)
{
    bool last = atomic_fetch_sub(&chain.to_come, 1) == 1;
    unsigned moments = chain.moments; /* of this chain: the next one may begin before this function ends */

    (void) unused;
    t_assert_done(&cb, BLOCK);
    t_assert_written(chain.fd, chain.place);
    if (!last)
        submit_next();
    /* The next may be called meanwhile. */
    for (unsigned i = 0; i < moments; i++)
        t_moment();
    if (last)
        atomic_store(&chain.over, true);
}

static void write_chain(unsigned moments)
{
    chain.moments = moments;
    atomic_store(&chain.over, false);
    atomic_store(&chain.to_come, SOME);
    submit_next();
    t_until(atomic_load(&chain.over));
}

/* Until some functions have returned so soon, in a row. */
static void write_chains(void)
{
    double end = t_now() + t_patience();

    do {
        write_chain(0);
        ck_assert_msg(t_now() < end, "the calls leave the writes to others");
    } while (t_stat("write.inline") < SOME);
}

START_TEST(writes_are_done_in_functions_that_return_at_once)
{
    chain.fd = to_write();
    write_chains();
}
END_TEST

START_TEST(functions_that_go_on_are_granted_nothing)
{
    chain.fd = to_write();
    write_chain(1);
    ck_assert_uint_eq(t_stat("write.inline"), 0);
}
END_TEST

START_TEST(functions_that_come_to_go_on_lose_the_grant)
{
    uint64_t before;

    chain.fd = to_write();
    write_chains();
    write_chain(1);
    before = t_stat("write.inline");
    write_chain(1);
    ck_assert_uint_eq(t_stat("write.inline"), before);
}
END_TEST

static void add_functions(TCase *tests)
{
    tcase_add_test(tests, writes_are_done_in_functions_that_return_at_once);
    tcase_add_test(tests, functions_that_go_on_are_granted_nothing);
    tcase_add_test(tests, functions_that_come_to_go_on_lose_the_grant);
}

static void add_quick(TCase *tests)
{
    tcase_add_test(tests, several_writes_are_done_in_the_calls);
}

static void add_granted(TCase *tests)
{
    tcase_add_test(tests, single_writes_are_done_in_the_call);
    tcase_add_test(tests, what_is_outstanding_is_not_overtaken);
    tcase_add_test(tests, flag_set_meanwhile_appends);
    tcase_add_test(tests, flag_that_another_descriptor_sets_keeps_the_order);
    tcase_add_test(tests, number_that_stands_for_a_pipe_reaches_the_pipe);
    tcase_add_test(tests, errors_are_those_of_the_request);
    tcase_add_test(tests, writes_of_other_threads_are_not_done_in_the_call);
    tcase_add_test(tests, other_waits_end_it);
    tcase_add_test(tests, wait_for_something_else_ends_it);
    tcase_add_test(tests, waits_for_something_else_grant_nothing);
    tcase_add_test(tests, waits_are_cancellation_points);
    tcase_add_test(tests, time_ends_it);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "several writes in the calls",
            .add = add_quick,
            .need = T_EXT4 | T_QUICK | T_PARALLEL | T_STATISTICS,
        },
        {
            .name = "writes in functions",
            .add = add_functions,
            .need = T_EXT4 | T_PROMPT | T_PARALLEL | T_STATISTICS,
        },
        {
            .name = "writes in the call",
            .add = add_granted,
            .need = T_EXT4 | T_PROMPT | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("granted", parts);
}
