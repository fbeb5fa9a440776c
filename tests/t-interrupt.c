/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stand-in for libaio's io_submit, for the library too, which signals before or after: see t-interrupt.h.
 */
#include "t-interrupt.h"

#include <libaio.h>
#include <sys/syscall.h>

int t_fd;
unsigned char *t_blocks;
struct aiocb t_held;
__thread enum t_when t_when;
bool t_in_time;

static unsigned char *spare;
static int interruptions; /* that came when they should */

void t_open_direct(int file, int flags)
{
    t_fd = t_reopen(file, flags | O_DIRECT);
    t_blocks = t_aligned(T_SIZE);
    spare = t_aligned(T_BLOCK);
}

void t_hold_file(void)
{
    t_submit_read(&t_held, t_fd, spare, T_BLOCK, 2 * T_SIZE);
}

static void interrupt(void)
{
    sigset_t mask;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    t_in_time = !sigismember(&mask, SIGUSR1);
    interruptions += t_in_time;
    raise(SIGUSR1);
}

int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
    long submitted;

    if (t_when == T_BEFORE)
        interrupt();
    submitted = syscall(SYS_io_submit, context, count, iocbs);
    if (t_when == T_AFTER)
        interrupt();
    return submitted < 0 ? -errno : (int) submitted;
}

void t_assert_interrupted(int submissions)
{
    if (strcmp(posix_aio_engine(), "kernel") == 0)
        ck_assert_int_ge(interruptions, submissions / 4 * 3);
}

void t_see_to(const struct aiocb *one)
{
    t_until(aio_error(one) != EINPROGRESS);
    ck_assert_int_eq(aio_cancel(STDERR_FILENO, NULL), AIO_ALLDONE);
}

void t_sync_the_file(void)
{
    struct aiocb cb;

    t_submit_sync(&cb, t_fd, O_SYNC);
    t_wait_done(&cb, 0);
}
