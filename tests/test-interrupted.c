/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Submissions that a signal handler interrupts just before the kernel has the request, or just after. The handler
 * waits for other threads, jumps, or ends the process. The request may then be lost, or its result be there before
 * it has its order; nothing else is lost, and nobody is stopped.
 */
#include "t.h"

#include <libaio.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

enum { BLOCK = 4096, MANY = 32, SIZE = MANY * BLOCK, ROUNDS = 300 };

static struct aiocb cbs[MANY], held, sync_cb;
static unsigned char *blocks, *spare;
static int fd;

static void open_direct(int file, int flags)
{
    fd = t_reopen(file, flags | O_DIRECT);
    blocks = t_aligned(SIZE);
    spare = t_aligned(BLOCK);
}

/* The moment at which this thread's submissions to the kernel are interrupted. */
static __thread enum { NEVER, BEFORE, AFTER } moment;

static int interruptions; /* that came at that moment, and not later */
static bool at_once;      /* the last one did */

static void interrupt(void)
{
    sigset_t mask;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    at_once = !sigismember(&mask, SIGUSR1);
    interruptions += at_once;
    raise(SIGUSR1);
}

/* libaio's, for the library too. */
int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
    long submitted;

    if (moment == BEFORE)
        interrupt();
    submitted = syscall(SYS_io_submit, context, count, iocbs);
    if (moment == AFTER)
        interrupt();
    return submitted < 0 ? -errno : (int) submitted;
}

/* A test that interrupts nothing shows nothing: most of the submissions must have been given at once. */
static void assert_interrupted(int submissions)
{
    if (strcmp(posix_aio_engine(), "kernel") == 0)
        ck_assert_int_ge(interruptions, submissions / 4 * 3);
}

/* The next one finds its file in use: behind the end, a read is in flight until somebody looks. */
static void hold_file(void)
{
    t_submit_read(&held, fd, spare, BLOCK, 2 * SIZE);
}

/* Another thread, which does something for a handler. */
static void (*deed)(void);
static sem_t asked, answered;
static bool leaving;
static pthread_t friend;

static void *do_it(void *unused)
{
    while (sem_wait(&asked) == 0 && !leaving) {
        deed();
        sem_post(&answered);
    }
    return unused;
}

static void let_friend_do_it(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    sem_post(&asked);
    while (sem_wait(&answered) < 0)
        ;
}

static void make_friend(void (*function)(void))
{
    deed = function;
    sem_init(&asked, 0, 0);
    sem_init(&answered, 0, 0);
    t_handle(SIGUSR1, let_friend_do_it, SA_RESTART);
    ck_assert_int_eq(pthread_create(&friend, NULL, do_it, NULL), 0);
}

static void let_friend_go(void)
{
    leaving = true;
    sem_post(&asked);
    ck_assert_int_eq(pthread_join(friend, NULL), 0);
}

static void sync_the_file(void)
{
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
}

static void cancel_all(void)
{
    ck_assert_int_ge(aio_cancel(fd, &cbs[0]), 0);
    ck_assert_int_ge(aio_cancel(fd, NULL), 0);
}

/* What it does can be done, whatever the moment, and the request is done. */
static void read_while_friend_does(void (*function)(void))
{
    int rounds = (int) t_scale(ROUNDS);

    open_direct(t_cold_file(SIZE), O_RDONLY);
    make_friend(function);
    for (int round = 0; round < rounds; round++) {
        hold_file();
        moment = round % 2 ? BEFORE : AFTER;
        t_submit_read(&cbs[0], fd, blocks, BLOCK, 0);
        moment = NEVER;
        t_wait_done(&cbs[0], BLOCK);
        t_assert_data(blocks, BLOCK, 0);
        memset(blocks, 0, BLOCK);
        t_wait_done(&held, 0);
    }
    assert_interrupted(rounds);
    let_friend_go();
}

START_TEST(handler_waits_for_another_threads_sync)
{
    read_while_friend_does(sync_the_file);
}
END_TEST

START_TEST(handler_waits_for_another_threads_cancel)
{
    read_while_friend_does(cancel_all);
}
END_TEST

/* And to what is behind its result: aio_cancel begins with that, for whatever descriptor. */
static void see_to_it(const struct aiocb *one)
{
    t_until(aio_error(one) != EINPROGRESS);
    ck_assert_int_eq(aio_cancel(STDERR_FILENO, NULL), AIO_ALLDONE);
}

static void see_to_the_first(void)
{
    see_to_it(&cbs[0]);
}

/* It is notified once, and when its turn comes there is nothing left of it. */
START_TEST(result_comes_before_the_order)
{
    int rounds = (int) t_scale(ROUNDS);

    open_direct(t_cold_file(SIZE), O_RDONLY);
    t_block(SIGRTMIN);
    make_friend(see_to_the_first);
    for (int round = 0; round < rounds; round++) {
        hold_file();
        t_prepare(&cbs[0], fd, blocks, BLOCK, 0);
        cbs[0].aio_sigevent.sigev_notify = SIGEV_SIGNAL;
        cbs[0].aio_sigevent.sigev_signo = SIGRTMIN;
        cbs[0].aio_sigevent.sigev_value.sival_int = round;
        moment = AFTER;
        ck_assert_int_eq(aio_read(&cbs[0]), 0);
        moment = NEVER;
        t_wait_done(&cbs[0], BLOCK);
        ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, round);
        t_assert_no_signal(SIGRTMIN);
        t_wait_done(&held, 0);
    }
    assert_interrupted(rounds);
    let_friend_go();
    sync_the_file();
    /* The library's threads end when all requests are given back. */
    t_until(t_threads() == 1);
}
END_TEST

/* Nor is what the library knows of the file kept: 400 bytes each. */
START_TEST(many_files_leave_nothing_behind)
{
    const int files = (int) t_scale(2 * ROUNDS);
    size_t before = 0;
    int last = -1;

    open_direct(t_empty_file(), O_RDONLY);
    make_friend(see_to_the_first);
    for (int i = 0; i < files + 100; i++) {
        int file = t_empty_file();

        if (i == 100)
            before = t_memory_in_use();
        fd = t_reopen(file, O_RDONLY | O_DIRECT);
        hold_file();
        moment = AFTER;
        t_submit_read(&cbs[0], fd, blocks, BLOCK, 0);
        moment = NEVER;
        t_wait_done(&cbs[0], 0);
        t_wait_done(&held, 0);
        sync_the_file();
        close(fd);
        last = file; /* not closed: the next one is to be another inode */
    }
    assert_interrupted(files);
    if (!t_watched())
        ck_assert_uint_le(t_memory_in_use(), before + 128 * 1024);
    ck_assert_int_ge(last, files);
    let_friend_go();
}
END_TEST

static void take_it_back(void)
{
    aio_error(&cbs[0]);
    ck_assert_int_eq(aio_cancel(STDERR_FILENO, NULL), AIO_ALLDONE);
}

/* Into a hole the kernel does not write without waiting. The pool does, when the request has its order. */
START_TEST(write_is_handed_back_before_the_order)
{
    open_direct(t_empty_file(), O_RDWR);
    t_fill(blocks, SIZE, 0);
    make_friend(take_it_back);
    for (int i = 0; i < MANY; i++) {
        hold_file();
        t_prepare(&cbs[0], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
        moment = AFTER;
        ck_assert_int_eq(aio_write(&cbs[0]), 0);
        moment = NEVER;
        t_wait_done(&cbs[0], BLOCK);
        t_wait_done(&held, 0);
    }
    assert_interrupted(MANY);
    let_friend_go();
    sync_the_file();
    memset(blocks, 0, SIZE);
    ck_assert_int_eq(pread(fd, blocks, SIZE, 0), SIZE);
    t_assert_data(blocks, SIZE, 0);
    t_until(t_threads() == 1);
}
END_TEST

static pid_t forked;

static void fork_now(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    forked = fork();
    if (forked == 0)
        moment = NEVER;
}

/* Parent and child both come back from the handler, and both read: not what was the parent's already. */
START_TEST(handler_forks)
{
    int rounds = (int) t_scale(ROUNDS / 3);

    open_direct(t_cold_file(SIZE), O_RDONLY);
    t_handle(SIGUSR1, fork_now, SA_RESTART);
    for (int round = 0; round < rounds; round++) {
        forked = -1;
        hold_file();
        moment = round % 2 ? BEFORE : AFTER;
        t_submit_read(&cbs[0], fd, blocks, BLOCK, 0);
        moment = NEVER;
        if (forked == 0 && !at_once)
            _exit(0);
        t_wait_done(&cbs[0], BLOCK);
        t_assert_data(blocks, BLOCK, 0);
        if (forked == 0)
            _exit(0);
        memset(blocks, 0, BLOCK);
        t_wait_done(&held, 0);
        if (forked > 0)
            t_reap(forked);
    }
    assert_interrupted(rounds);
}
END_TEST

static sigjmp_buf out;

static void jump_always(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    siglongjmp(out, 1);
}

static void submit_reads(int first, int count)
{
    for (int i = first; i < first + count; i++)
        t_submit_read(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
}

/* More of them than the kernel engine has room for: none keeps its room. */
static void jump_out_of_many(void *moment_of_jump)
{
    struct aiocb *lost = t_control_blocks(ROUNDS);

    t_handle(SIGUSR1, jump_always, SA_RESTART);
    for (volatile int i = 0; i < ROUNDS; i++) {
        hold_file();
        moment = moment_of_jump ? AFTER : BEFORE;
        if (!sigsetjmp(out, 1))
            t_submit_read(&lost[i], fd, blocks, BLOCK, 0);
        moment = NEVER;
        t_wait_done(&held, 0);
    }
    assert_interrupted(ROUNDS);
    /* The kernel has it, and its result is published. */
    for (int i = 0; moment_of_jump && i < ROUNDS; i++)
        t_wait(&lost[i]);
    submit_reads(0, MANY);
    sync_the_file();
    for (int i = 0; i < MANY; i++)
        t_assert_done(&cbs[i], BLOCK);
    t_assert_data(blocks, SIZE, 0);
    ck_assert_int_ge(aio_cancel(fd, NULL), 0);
    ck_assert_int_eq(close(fd), 0);
    exit(0);
}

START_TEST(handler_jumps_before_the_kernel_has_it)
{
    open_direct(t_cold_file(SIZE), O_RDONLY);
    t_reap(t_child(jump_out_of_many, NULL));
}
END_TEST

START_TEST(handler_jumps_when_the_kernel_has_it)
{
    open_direct(t_cold_file(SIZE), O_RDONLY);
    t_reap(t_child(jump_out_of_many, &fd));
}
END_TEST

/*
 * Even blocks: lost when the kernel had them. Odd ones: not interrupted, and done. A loaded machine interrupts some later,
 * when they are nothing special any more.
 */
static void jump_out_of_writes(void *lost)
{
    t_handle(SIGUSR1, jump_always, SA_RESTART);
    t_fill(blocks, SIZE, 0);
    for (volatile int i = 0; i < MANY; i++) {
        hold_file();
        moment = i % 2 ? NEVER : AFTER;
        at_once = false;
        if (!sigsetjmp(out, 1))
            t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
        moment = NEVER;
        ((bool *) lost)[i] = at_once;
        see_to_it(i % 2 ? &cbs[i] : &held);
        t_wait(&held);
    }
    assert_interrupted(MANY / 2);
    exit(0);
}

/*
 * What the kernel hands back of it, and that is all there is of writes into holes, nobody goes on with: close would
 * not find it, and it might come to be another file's.
 */
START_TEST(write_that_was_lost_and_handed_back_is_not_done)
{
    unsigned char *none;
    bool *lost = mmap(NULL, MANY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    ck_assert_ptr_ne(lost, MAP_FAILED);
    open_direct(t_empty_file(), O_RDWR);
    none = t_aligned(BLOCK);
    memset(none, 0, BLOCK);
    t_reap(t_child(jump_out_of_writes, lost));
    if (strcmp(posix_aio_engine(), "kernel") != 0)
        return;
    ck_assert_int_eq(pread(fd, blocks, SIZE, 0), SIZE);
    for (int i = 0; i < MANY; i++) {
        if (lost[i])
            ck_assert_mem_eq(blocks + i * BLOCK, none, BLOCK);
        else if (i % 2)
            t_assert_data(blocks + i * BLOCK, BLOCK, i * BLOCK);
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
    hold_file();
    moment = moment_of_exit ? AFTER : BEFORE;
    t_submit_write(&cbs[0], fd, blocks, BLOCK, 0);
    moment = NEVER;
    _exit(strcmp(posix_aio_engine(), "kernel") == 0);
}

START_TEST(exit_beside_the_kernels_call_ends_the_process)
{
    open_direct(t_cold_file(SIZE), O_RDWR);
    t_reap(t_child(write_and_leave, NULL));
    t_reap(t_child(write_and_leave, &fd));
}
END_TEST

static void add_at_the_call(TCase *tests)
{
    tcase_add_test(tests, handler_waits_for_another_threads_sync);
    tcase_add_test(tests, handler_waits_for_another_threads_cancel);
    tcase_add_test(tests, result_comes_before_the_order);
    tcase_add_test(tests, many_files_leave_nothing_behind);
    tcase_add_test(tests, write_is_handed_back_before_the_order);
    tcase_add_test(tests, handler_forks);
    tcase_add_test(tests, handler_jumps_before_the_kernel_has_it);
    tcase_add_test(tests, handler_jumps_when_the_kernel_has_it);
    tcase_add_test(tests, write_that_was_lost_and_handed_back_is_not_done);
    tcase_add_test(tests, exit_beside_the_kernels_call_ends_the_process);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "at the kernel's call", .add = add_at_the_call, .need = T_HANDLERS | T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("interrupted", parts);
}
