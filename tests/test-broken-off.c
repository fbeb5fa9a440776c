/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Submissions that a signal handler ends just before the kernel has the request, or just after: it jumps, or ends the
 * process. The request may then be lost; nothing else is, and nobody is stopped.
 */
#include "t-interrupt.h"

#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { ROUNDS = 300 };

static struct aiocb cbs[T_BLOCKS];
static sigjmp_buf out;

static void jump_always(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    siglongjmp(out, 1);
}

static void read_all(void)
{
    for (int i = 0; i < T_BLOCKS; i++)
        t_submit_read(&cbs[i], t_fd, t_blocks + i * T_BLOCK, T_BLOCK, i * T_BLOCK);
}

/* More of them than the kernel engine has room for: none keeps its room. */
static void jump_out_of_many(void *moment_of_jump)
{
    struct aiocb *lost = t_control_blocks(ROUNDS);

    t_handle(SIGUSR1, jump_always, SA_RESTART);
    for (volatile int i = 0; i < ROUNDS; i++) {
        t_hold_file();
        t_when = moment_of_jump ? T_AFTER : T_BEFORE;
        if (!sigsetjmp(out, 1))
            t_submit_read(&lost[i], t_fd, t_blocks, T_BLOCK, 0);
        t_when = T_NEVER;
        t_wait_done(&t_held, 0);
    }
    t_assert_interrupted(ROUNDS);
    /* The kernel has it, and its result is published. */
    for (int i = 0; moment_of_jump && i < ROUNDS; i++)
        t_wait(&lost[i]);
    read_all();
    t_sync_the_file();
    for (int i = 0; i < T_BLOCKS; i++)
        t_assert_done(&cbs[i], T_BLOCK);
    t_assert_data(t_blocks, T_SIZE, 0);
    ck_assert_int_ge(aio_cancel(t_fd, NULL), 0);
    ck_assert_int_eq(close(t_fd), 0);
    exit(0);
}

START_TEST(handler_jumps_before_the_kernel_has_it)
{
    t_open_direct(t_cold_file(T_SIZE), O_RDONLY);
    t_reap(t_child(jump_out_of_many, NULL));
}
END_TEST

START_TEST(handler_jumps_when_the_kernel_has_it)
{
    t_open_direct(t_cold_file(T_SIZE), O_RDONLY);
    t_reap(t_child(jump_out_of_many, &t_fd));
}
END_TEST

/*
 * Even blocks: lost when the kernel had them. Odd ones: not interrupted, and done. A loaded machine interrupts some later,
 * when they are nothing special any more.
 */
static void jump_out_of_writes(void *lost)
{
    t_handle(SIGUSR1, jump_always, SA_RESTART);
    t_fill(t_blocks, T_SIZE, 0);
    for (volatile int i = 0; i < T_BLOCKS; i++) {
        t_hold_file();
        t_when = i % 2 ? T_NEVER : T_AFTER;
        t_in_time = false;
        if (!sigsetjmp(out, 1))
            t_submit_write(&cbs[i], t_fd, t_blocks + i * T_BLOCK, T_BLOCK, i * T_BLOCK);
        t_when = T_NEVER;
        ((bool *) lost)[i] = t_in_time;
        t_see_to(i % 2 ? &cbs[i] : &t_held);
        t_wait(&t_held);
    }
    t_assert_interrupted(T_BLOCKS / 2);
    exit(0);
}

/*
 * What the kernel hands back of it, and that is all there is of writes into holes, nobody goes on with: close would
 * not find it, and it might come to be another file's.
 */
START_TEST(write_that_was_lost_and_handed_back_is_not_done)
{
    unsigned char *none;
    bool *lost = mmap(NULL, T_BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(lost, MAP_FAILED);
    t_open_direct(t_empty_file(), O_RDWR);
    none = t_aligned(T_BLOCK);
    memset(none, 0, T_BLOCK);
    t_reap(t_child(jump_out_of_writes, lost));
    if (strcmp(posix_aio_engine(), "kernel") != 0)
        return;
    ck_assert_int_eq(pread(t_fd, t_blocks, T_SIZE, 0), T_SIZE);
    for (int i = 0; i < T_BLOCKS; i++) {
        if (lost[i])
            ck_assert_mem_eq(t_blocks + i * T_BLOCK, none, T_BLOCK);
        else if (i % 2)
            t_assert_data(t_blocks + i * T_BLOCK, T_BLOCK, i * T_BLOCK);
    }
}
END_TEST

static void leave(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    exit(0);
}

static void write_and_leave(void *moment_of_exit)
{
    t_handle(SIGUSR1, leave, 0);
    t_hold_file();
    t_when = moment_of_exit ? T_AFTER : T_BEFORE;
    t_submit_write(&cbs[0], t_fd, t_blocks, T_BLOCK, 0);
    t_when = T_NEVER;
    _exit(strcmp(posix_aio_engine(), "kernel") == 0);
}

START_TEST(exit_beside_the_kernels_call_ends_the_process)
{
    t_open_direct(t_cold_file(T_SIZE), O_RDWR);
    t_reap(t_child(write_and_leave, NULL));
    t_reap(t_child(write_and_leave, &t_fd));
}
END_TEST

static void add_broken_off(TCase *tests)
{
    tcase_add_test(tests, handler_jumps_before_the_kernel_has_it);
    tcase_add_test(tests, handler_jumps_when_the_kernel_has_it);
    tcase_add_test(tests, write_that_was_lost_and_handed_back_is_not_done);
    tcase_add_test(tests, exit_beside_the_kernels_call_ends_the_process);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "broken off", .add = add_broken_off, .need = T_HANDLERS | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("broken-off", parts);
}
