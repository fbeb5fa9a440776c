/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signal handlers that run wherever a timer finds a program that submits: they use the descriptor for something
 * else, jump, or end the process. (test-interrupted.c and test-broken-off.c have the moments beside the kernel's
 * call, test-stepped.c every instruction.)
 */
#include "t.h"

#include <setjmp.h>
#include <stdlib.h>

enum { BLOCK = 4096, MANY = 32, SIZE = MANY * BLOCK, JUMPS = 100000 };

static struct aiocb cbs[MANY], sync_cb;
static unsigned char *blocks;
static int fd;
static sigjmp_buf out;

static void open_direct(int file, int flags)
{
    fd = t_reopen(file, flags | O_DIRECT);
    blocks = t_aligned(SIZE);
}

static int handled;

static void write_for(double seconds)
{
    double end = t_now() + seconds;

    for (int i = 0; t_now() < end; i = (i + 1) % MANY) {
        t_wait(&cbs[i]);
        t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
    }
    t_ring_every(0);
    for (int i = 0; i < MANY; i++)
        t_wait(&cbs[i]);
}

static void turn_to_the_other(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    handled++;
    dup2(sync_cb.aio_fildes, fd);
}

/* dup2 is async-signal-safe: also in a handler that interrupts a submission to that descriptor. */
START_TEST(dup2_in_a_handler_returns)
{
    int file = t_cold_file(SIZE);

    open_direct(file, O_RDWR);
    sync_cb.aio_fildes = t_reopen(file, O_RDWR | O_DIRECT);
    t_handle(SIGALRM, turn_to_the_other, SA_RESTART);
    t_ring_every(97);
    write_for(1);
    ck_assert_int_gt(handled, 0);
}
END_TEST

static volatile sig_atomic_t submitting;

static void jump(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    if (submitting)
        siglongjmp(out, 1);
}

static void jump_out_and_exit(void *unused)
{
    struct aiocb *fresh = t_control_blocks(JUMPS);
    volatile int i = 0, lost = 0;

    (void) unused;
    t_handle(SIGALRM, jump, SA_RESTART);
    t_ring_every(97);
    while (lost < 20 && i < JUMPS) {
        struct aiocb *cb;
        int error;

        if (sigsetjmp(out, 1)) {
            submitting = 0;
            lost++;
        }
        cb = &fresh[i++];
        t_prepare(cb, fd, blocks + i % MANY * BLOCK, BLOCK, i % MANY * BLOCK);
        submitting = 1;
        error = aio_read(cb);
        submitting = 0;
        ck_assert_int_eq(error, 0);
        if (i % MANY == 0)
            t_wait_done(cb, BLOCK);
    }
    t_ring_every(0);
    ck_assert_int_gt(lost, 0);
    for (int n = 0; n < MANY; n++) {
        t_submit_read(&cbs[n], fd, blocks + n * BLOCK, BLOCK, n * BLOCK);
        t_wait_done(&cbs[n], BLOCK);
    }
    /* Nor does a barrier wait for what was lost. */
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
    exit(0);
}

/* The request may be lost. Nothing else is, and the process ends. */
START_TEST(handler_that_jumps_out_of_a_submission_stops_nobody)
{
    open_direct(t_cold_file(SIZE), O_RDONLY);
    t_reap(t_child(jump_out_and_exit, NULL));
}
END_TEST

static void leave(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    exit(0);
}

static void write_until_left(void *microseconds)
{
    t_handle(SIGALRM, leave, 0);
    t_ring_every((long) microseconds);
    write_for(t_patience() * 2);
}

/* Programs do that on SIGTERM. */
START_TEST(exit_in_a_handler_ends_the_process)
{
    const int flags[] = { O_DIRECT, 0 };

    for (size_t f = 0; f < T_COUNT(flags); f++) {
        fd = t_reopen(t_cached_file(SIZE), O_RDWR | flags[f]);
        blocks = t_aligned(SIZE);
        for (size_t i = 0; i < t_scale(80); i++)
            t_reap(t_child(write_until_left, (void *) (long) (2000 + i * 37)));
    }
}
END_TEST

static void add_timers(TCase *tests)
{
    tcase_add_test(tests, dup2_in_a_handler_returns);
    tcase_add_test(tests, handler_that_jumps_out_of_a_submission_stops_nobody);
    tcase_add_test(tests, exit_in_a_handler_ends_the_process);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "anywhere", .add = add_timers, .need = T_HANDLERS | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("timers", parts);
}
