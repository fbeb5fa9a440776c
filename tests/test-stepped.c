/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A signal handler at every instruction of a submission: it waits for another thread's aio_fsync, for its
 * aio_cancel, until it has seen to the result, or jumps. Nobody is stopped by that, whatever the instruction.
 *
 * The processor traps after each instruction (x86-64), and the handler of that does it at the one that is meant.
 * Where the library blocks signals no handler can come in, and none of the instructions counts.
 */
#include "t.h"

#if defined(__x86_64__)

#include <libaio.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

/* A read that takes longer than it takes another thread to go to sleep. */
enum { LONG = 4 << 20 };

enum { BLOCK = 4096, FEW = 8, SIZE = FEW * BLOCK, TRAP_FLAG = 0x100, STRIDE = 5, SOME = 8 };

/* The moment from which instructions count: the call, or that the kernel has it, or has refused it. */
enum start { FROM_CALL, FROM_KERNEL, FROM_REFUSAL };

static enum start start;
static long target;              /* the instruction at which it happens */
static void (*deed)(void);       /* what another thread does meanwhile, NULL to jump */
static struct aiocb cb, lost, held, sync_cb, cbs[FEW];
static unsigned char *blocks, *spare;
static size_t length;            /* of the request */
static int direct, buffered, fd; /* the file, opened in two ways, and the one of the two that is used */
static atomic_int *past_the_end; /* shared with the parent: the calls that had fewer instructions */

static sigjmp_buf out;
static sem_t asked, answered;

static __thread bool stepping, paused;
static __thread long steps;
static volatile bool armed, hit;

static void act(void)
{
    hit = true;
    if (!deed)
        siglongjmp(out, 1);
    sem_post(&asked);
    while (sem_wait(&answered) < 0)
        ;
}

static greg_t *flags_of(void *context)
{
    ucontext_t *where = context;

    return &where->uc_mcontext.gregs[REG_EFL];
}

static void take_step(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info;
    if (!stepping || ++steps == target)
        *flags_of(context) &= ~TRAP_FLAG;
    if (!stepping || steps != target)
        return;
    stepping = false;
    act();
}

static void begin_steps(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info;
    *flags_of(context) |= TRAP_FLAG;
}

static void step_from_here(void)
{
    stepping = true;
    raise(SIGUSR1);
}

/* The C library's, for the library too: a trap while it is blocked would end the process. */
int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    bool was = stepping;
    int error;

    stepping = false; /* the very next instruction traps, and is the last */
    error = syscall(SYS_rt_sigprocmask, how, set, old, _NSIG / 8) < 0 ? errno : 0;
    if (!was && !paused)
        return error;
    paused = set && how != SIG_UNBLOCK && sigismember(set, SIGTRAP);
    if (!paused)
        step_from_here();
    return error;
}

/* libaio's, for the library too. */
int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
    bool mine = armed && iocbs[0]->aio_fildes == fd && start != FROM_CALL && !hit;
    long submitted = -1;
    sigset_t mask;

    sigprocmask(SIG_BLOCK, NULL, &mask);
    mine = mine && !sigismember(&mask, SIGTRAP);
    if (mine && start == FROM_REFUSAL)
        errno = EAGAIN;
    else
        submitted = syscall(SYS_io_submit, context, count, iocbs);
    submitted = submitted < 0 ? -errno : submitted;
    if (mine)
        step_from_here();
    return (int) submitted;
}

static void *do_it(void *unused)
{
    sem_wait(&asked);
    deed();
    sem_post(&answered);
    return unused;
}

/* Without a limit of time, and without aio_error: either would see to what nobody else does. */
static void sync_the_file(void)
{
    const struct aiocb *const list[] = { &sync_cb };

    t_submit_sync(&sync_cb, fd, O_SYNC);
    while (__atomic_load_n(&sync_cb.__error_code, __ATOMIC_ACQUIRE) == EINPROGRESS)
        aio_suspend(list, 1, NULL);
    t_assert_done(&sync_cb, 0);
}

static void cancel_all(void)
{
    ck_assert_int_ge(aio_cancel(fd, &cb), 0);
    ck_assert_int_ge(aio_cancel(fd, NULL), 0);
}

static void see_to_it(void)
{
    for (int i = 0; i < 20 && aio_error(&cb) == EINPROGRESS; i++)
        t_moment();
    ck_assert_int_eq(aio_cancel(STDERR_FILENO, NULL), AIO_ALLDONE);
}

/* Of a read or a write, by what the descriptor is for. Between the steps nothing but the call. */
static void submit_and_step(struct aiocb *one)
{
    volatile int failed = 0;

    t_prepare(one, fd, blocks, length, 0);
    armed = true;
    if (!sigsetjmp(out, 1)) {
        if (start == FROM_CALL)
            step_from_here();
        failed = fd == direct ? aio_read(one) : aio_write(one);
    }
    stepping = armed = false;
    ck_assert_int_eq(failed, 0);
}

/* Whatever became of the request, everything else goes on. */
static void go_on(void)
{
    sync_the_file();
    cancel_all();
    for (int i = 0; i < FEW; i++)
        t_submit_read(&cbs[i], direct, blocks + i * BLOCK, BLOCK, i * BLOCK);
    for (int i = 0; i < FEW; i++)
        t_wait_done(&cbs[i], BLOCK);
    t_assert_data(blocks, SIZE, 0);
    ck_assert_int_eq(close(fd), 0);
    exit(0);
}

/* Behind the end, a read is in flight until somebody looks: the file is in use. */
static void hold_file(void)
{
    t_submit_read(&held, direct, spare, BLOCK, LONG);
}

/* The threads that may be needed are there. */
static void prepare(void)
{
    pthread_t thread;

    t_handle(SIGTRAP, take_step, 0);
    t_handle(SIGUSR1, begin_steps, 0);
    sem_init(&asked, 0, 0);
    sem_init(&answered, 0, 0);
    if (deed)
        ck_assert_int_eq(pthread_create(&thread, NULL, do_it, NULL), 0);
    t_fill(blocks, BLOCK, 0);
    if (fd == buffered) {
        t_submit_write(&cb, fd, blocks, BLOCK, 0);
        t_wait_done(&cb, BLOCK);
    }
}

static void interrupt(void)
{
    submit_and_step(&cb);
    if (!hit) {
        atomic_fetch_add(past_the_end, 1);
        exit(0);
    }
    if (deed) {
        t_wait(&cb);
        if (aio_error(&cb) != ECANCELED)
            t_assert_done(&cb, (ssize_t) length);
    }
    go_on();
}

static void interrupt_one(void *unused)
{
    (void) unused;
    length = BLOCK;
    prepare();
    hold_file();
    interrupt();
}

/* An earlier jump has left the file in use for ever, and the completion thread has come to rest. */
static void interrupt_at_rest(void *unused)
{
    void (*const then)(void) = deed;
    const long where = target;
    double end;

    (void) unused;
    length = LONG;
    prepare();
    hold_file();
    deed = NULL;
    target = 1;
    submit_and_step(&lost);
    t_wait(&lost);
    t_wait(&held);
    for (end = t_now() + 0.15; t_now() < end;)
        t_moment();
    hit = false;
    steps = 0;
    deed = then;
    target = where;
    interrupt();
}

/* Some at a time, for their ends take long: the kernel waits before it takes a context down. Returns the next. */
static long sweep_some(void (*one)(void *), long stride)
{
    pid_t children[SOME];

    for (int i = 0; i < SOME; i++, target += stride)
        children[i] = t_child(one, NULL);
    for (int i = 0; i < SOME; i++)
        t_reap(children[i]);
    return target;
}

static void sweep(enum start from, void (*what)(void), void (*one)(void *), long stride)
{
    int file = t_cold_file(LONG);
    long first = 1;

    if (from != FROM_CALL && strcmp(posix_aio_engine(), "kernel") != 0)
        return;
    blocks = t_aligned(LONG);
    spare = t_aligned(BLOCK);
    direct = t_reopen(file, O_RDWR | O_DIRECT);
    buffered = file;
    past_the_end = mmap(NULL, sizeof(*past_the_end), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    start = from;
    deed = what;
    for (int kind = 0; kind < (from == FROM_CALL ? 2 : 1); kind++) {
        fd = kind ? buffered : direct;
        *past_the_end = 0;
        for (target = first; *past_the_end < SOME;)
            target = sweep_some(one, stride);
        /* There was something to interrupt. */
        ck_assert_int_gt(target, first + 4 * stride);
    }
}

static void (*const deeds[])(void) = { NULL, sync_the_file, cancel_all, see_to_it };

START_TEST(at_every_instruction_of_the_call)
{
    sweep(FROM_CALL, deeds[_i], interrupt_one, STRIDE);
}
END_TEST

START_TEST(when_the_kernel_has_it)
{
    sweep(FROM_KERNEL, deeds[_i], interrupt_one, 1);
}
END_TEST

START_TEST(when_the_kernel_has_refused_it)
{
    sweep(FROM_REFUSAL, deeds[_i], interrupt_one, 1);
}
END_TEST

START_TEST(when_the_kernel_has_it_and_the_library_rests)
{
    sweep(FROM_KERNEL, deeds[_i], interrupt_at_rest, STRIDE);
}
END_TEST

static void add_all(TCase *tests)
{
    tcase_add_loop_test(tests, at_every_instruction_of_the_call, 0, T_COUNT(deeds));
    tcase_add_loop_test(tests, when_the_kernel_has_it, 0, T_COUNT(deeds));
    tcase_add_loop_test(tests, when_the_kernel_has_refused_it, 0, T_COUNT(deeds));
    tcase_add_loop_test(tests, when_the_kernel_has_it_and_the_library_rests, 0, 2);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "stepped", .add = add_all, .need = T_HANDLERS | T_NO_SANITIZER | T_PROMPT },
        { .name = NULL },
    };

    return t_main("stepped", parts);
}

#else

#include <stdio.h>

int main(void)
{
    puts("SKIP: only x86-64 traps after each instruction in a way that this test knows");
    return 77;
}

#endif
