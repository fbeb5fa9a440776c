/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thread of the library's own is held up (stopped by ptrace): what it would have done is done by
 * another, and nothing waits for it that can be done without.
 */
#include "t.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SIZE = 1 << 20, APPENDS = 20, ROUNDS = 1000, BLOCK = 4096, COLD = 16 << 20, PASSES = 16, FEW = 32 };

static struct aiocb cb, other, pending;
static unsigned char buf[SIZE];

/* The number of the thread of that name, or 0. */
static pid_t thread_named(const char *name)
{
    DIR *directory = opendir("/proc/self/task");
    struct dirent *entry;
    pid_t found = 0;

    ck_assert_ptr_nonnull(directory);
    while ((entry = readdir(directory))) {
        char path[300], line[32] = "";
        FILE *comm;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        comm = fopen(path, "r");
        if (!comm)
            continue;
        if (fgets(line, sizeof(line), comm) && !strncmp(line, name, strlen(name)) &&
            line[strlen(name)] == '\n')
            found = (pid_t) atoi(entry->d_name);
        fclose(comm);
    }
    closedir(directory);
    return found;
}

/* What the child that holds a thread up shares with the test. */
struct holdup {
    pid_t thread;
    int stopped, go_on; /* ends of pipes */
};

/* Stops the thread where it is. */
static void stop(pid_t thread)
{
    int status;

    if (ptrace(PTRACE_INTERRUPT, thread, NULL, NULL) < 0 ||
        waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status))
        _exit(2);
}

/* Stops the thread of its parent where it sleeps, and holds no lock, until the pipe says to go on. */
static void hold_up(void *argument)
{
    const struct holdup *h = argument;
    char byte = 0;

    if (ptrace(PTRACE_SEIZE, h->thread, NULL, NULL) < 0)
        _exit(2);
    for (stop(h->thread); t_call_of(h->thread) != T_EPOLL_WAIT; stop(h->thread))
        if (ptrace(PTRACE_CONT, h->thread, NULL, NULL) < 0)
            _exit(2);
    if (write(h->stopped, &byte, 1) != 1 || read(h->go_on, &byte, 1) != 1)
        _exit(3);
    if (ptrace(PTRACE_DETACH, h->thread, NULL, NULL) < 0)
        _exit(4);
}

static void write_then_read_directly(int file, int direct, void *aligned, unsigned char what)
{
    buf[0] = what;
    t_submit_write(&other, file, buf, 1, 0);
    t_wait_done(&other, 1);
    t_submit_read(&cb, direct, aligned, 4096, 0);
    t_wait_done(&cb, 4096);
    ck_assert_uint_eq(*(unsigned char *) aligned, what);
}

/*
 * A direct read of what has just been written has to wait for the device, so the kernel hands it
 * back. Whoever waits for it carries it on: the thread that does so for those who do not wait is
 * held up meanwhile.
 */
START_TEST(waiter_carries_on_what_the_kernel_hands_back)
{
    int file = t_cached_file(SIZE), direct = t_reopen(file, O_RDONLY | O_DIRECT);
    int out = t_start_pending(&pending);
    unsigned char *aligned = t_aligned(4096);
    struct t_pair stopped = t_pipe(), go_on = t_pipe();
    struct holdup h = { 0, stopped.out, go_on.in };
    uint64_t before = t_stat("carried_on");
    pid_t child;

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    write_then_read_directly(file, direct, aligned, 0);
    t_until((h.thread = thread_named("posix-aio")));
    child = t_child(hold_up, &h);
    ck_assert_int_eq(read(stopped.in, buf, 1), 1);
    for (int i = 1; i < 100; i++)
        write_then_read_directly(file, direct, aligned, (unsigned char) i);
    ck_assert_int_eq(write(go_on.out, buf, 1), 1);
    t_reap(child);
    if (!strcmp(posix_aio_engine(), "kernel"))
        ck_assert_uint_gt(t_stat("carried_on"), before);
    t_finish_pending(out, &pending);
}
END_TEST

/* Lets the stopped thread run to where it next enters (or leaves) a system call, and tells which. */
static struct __ptrace_syscall_info next_stop(pid_t thread)
{
    struct __ptrace_syscall_info info = { 0 };
    int status;

    if (ptrace(PTRACE_SYSCALL, thread, NULL, NULL) < 0 ||
        waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status) ||
        ptrace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info) <= 0)
        _exit(5);
    return info;
}

/* Stops the thread of its parent where it is about to send the signal for a request that is done. */
static void hold_up_on_the_way_back(void *argument)
{
    const struct holdup *h = argument;
    char byte = 0;

    if (ptrace(PTRACE_SEIZE, h->thread, NULL, (void *) PTRACE_O_TRACESYSGOOD) < 0)
        _exit(2);
    stop(h->thread);
    if (write(h->stopped, &byte, 1) != 1)
        _exit(2);
    for (;;) {
        struct __ptrace_syscall_info info = next_stop(h->thread);

        if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_rt_sigqueueinfo)
            break;
    }
    if (write(h->stopped, &byte, 1) != 1 || read(h->go_on, &byte, 1) != 1)
        _exit(3);
    if (ptrace(PTRACE_DETACH, h->thread, NULL, NULL) < 0)
        _exit(4);
}

static void ignore(int signal_number, siginfo_t *info, void *context)
{
    (void) signal_number;
    (void) info;
    (void) context;
}

/* The next request is left to the thread that is about to come back; but not if it does not come. */
START_TEST(request_is_begun_though_the_thread_that_comes_back_is_held_up)
{
    struct t_pair stopped = t_pipe(), go_on = t_pipe();
    struct holdup h = { 0, stopped.out, go_on.in };
    /* A thread without work must not come to look because it has been idle for so long. */
    const struct aioinit init = { .aio_idle_time = 1000 };
    int file = t_cached_file(SIZE);
    pid_t child;

    aio_init(&init);
    t_handle(SIGUSR1, ignore, SA_RESTART);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    t_submit_sync(&cb, file, O_SYNC);
    t_wait_done(&cb, 0);
    t_until((h.thread = thread_named("posix-aio/sync")));
    child = t_child(hold_up_on_the_way_back, &h);
    ck_assert_int_eq(read(stopped.in, buf, 1), 1);
    t_prepare(&cb, file, NULL, 0, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    cb.aio_sigevent.sigev_signo = SIGUSR1;
    ck_assert_int_eq(aio_fsync(O_SYNC, &cb), 0);
    ck_assert_int_eq(read(stopped.in, buf, 1), 1);
    t_assert_done(&cb, 0);
    /* The first starts a thread, which takes it; from then on there is one without work. */
    for (int i = 0; i < 10; i++) {
        t_submit_sync(&other, file, O_SYNC);
        t_wait_done(&other, 0);
        t_moment();
    }
    ck_assert_int_eq(write(go_on.out, buf, 1), 1);
    t_reap(child);
}
END_TEST

static int log_fd;
static atomic_uint rounds;       /* that the first thread has finished */
static pthread_barrier_t round_ends;

/* Appends to the file one after the other, each waited for at once: this thread does them itself. */
static void *append_one_by_one(void *unused)
{
    struct aiocb mine;
    const struct aiocb *const list[] = { &mine };

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < APPENDS; i++) {
            t_prepare(&mine, log_fd, buf, 64, 0);
            ck_assert_int_eq(aio_write(&mine), 0);
            ck_assert_int_eq(aio_suspend(list, 1, NULL), 0);
            t_assert_done(&mine, 64);
        }
        atomic_fetch_add(&rounds, 1);
        pthread_barrier_wait(&round_ends);
    }
    return unused;
}

/* Has two outstanding until the other thread has finished: a thread of the pool does them. */
static void *append_in_pairs(void *unused)
{
    struct aiocb mine[2];

    for (unsigned round = 0; round < ROUNDS; round++) {
        int i = 0;

        t_submit_write(&mine[0], log_fd, buf, 64, 0);
        while (atomic_load(&rounds) == round) {
            i++;
            t_submit_write(&mine[i % 2], log_fd, buf, 64, 0);
            t_wait_done(&mine[(i + 1) % 2], 64);
        }
        t_wait_done(&mine[i % 2], 64);
        pthread_barrier_wait(&round_ends);
    }
    return unused;
}

static struct holdup *hold_up_completion_thread(pid_t *child)
{
    static struct holdup h;
    struct t_pair stopped = t_pipe(), go_on = t_pipe();

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    t_until((h.thread = thread_named("posix-aio")));
    h.stopped = stopped.out;
    h.go_on = go_on.in;
    *child = t_child(hold_up, &h);
    ck_assert_int_eq(read(stopped.in, buf, 1), 1);
    h.go_on = go_on.out;
    return &h;
}

static void let_go(const struct holdup *h, pid_t child)
{
    ck_assert_int_eq(write(h->go_on, buf, 1), 1);
    t_reap(child);
}

/*
 * A thread that does its own requests, and does no more of them, sees to what others have put behind the
 * last: nobody else comes to look.
 */
START_TEST(threads_that_share_a_file_need_no_tick)
{
    const struct aioinit init = { .aio_threads = 1, .aio_idle_time = 1000 };
    int out = t_start_pending(&pending);
    pthread_t threads[2];
    struct holdup *h;
    pid_t child;

    aio_init(&init);
    log_fd = t_reopen(t_empty_file(), O_WRONLY | O_APPEND);
    pthread_barrier_init(&round_ends, NULL, 2);
    h = hold_up_completion_thread(&child);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, append_one_by_one, NULL), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, append_in_pairs, NULL), 0);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_gt(t_stat("write.waiter"), 0);
    ck_assert_uint_gt(t_stat("write.pool"), 0);
    let_go(h, child);
    t_finish_pending(out, &pending);
}
END_TEST

static void spin(double seconds)
{
    double end = t_now() + seconds;

    while (t_now() < end)
        ;
}

/* The place of a block of the cold file: no two that follow each other lie so. */
static off_t scattered(int i)
{
    return (off_t) i * 997 % (COLD / BLOCK) * BLOCK;
}

/*
 * Reads that the device has begun with are left to the thread that waits for an earlier one, and may just be
 * about to have nothing to do: it sees to them before it sleeps.
 */
START_TEST(cold_reads_need_no_tick)
{
    const struct aioinit init = { .aio_threads = 1, .aio_idle_time = 1000 };
    const int blocks = COLD / BLOCK;
    struct aiocb cbs[FEW];
    int out = t_start_pending(&pending), file = t_cold_file(COLD);
    struct holdup *h;
    pid_t child;

    aio_init(&init);
    h = hold_up_completion_thread(&child);
    srand(1);
    for (int i = 0; i < (int) t_scale(PASSES * blocks / FEW) * FEW; i++) {
        if (i % blocks == 0)
            t_make_cold(file);
        /* The last comes when the thread is done with the others, perhaps. */
        if (i % FEW == FEW - 1)
            spin(4e-7 * (rand() % 1000));
        t_submit_read(&cbs[i % FEW], file, buf + i % FEW * BLOCK, BLOCK, scattered(i));
        /* aio_error takes what a kernel with fs.aio-buffered has, and does nothing for the others. */
        for (int k = 0; i % FEW == FEW - 1 && k < FEW; k++)
            t_until(aio_error(&cbs[k]) != EINPROGRESS);
    }
    for (int k = 0; k < FEW; k++)
        t_assert_done(&cbs[k], BLOCK);
    let_go(h, child);
    ck_assert_uint_gt(t_stat("read.pool") + t_stat("read.kernel"), 0);
    t_finish_pending(out, &pending);
}
END_TEST

static void add_held_up(TCase *tests)
{
    tcase_add_test(tests, waiter_carries_on_what_the_kernel_hands_back);
    tcase_add_test(tests, request_is_begun_though_the_thread_that_comes_back_is_held_up);
    tcase_add_test(tests, cold_reads_need_no_tick);
}

static void add_waiters(TCase *tests)
{
    tcase_add_test(tests, threads_that_share_a_file_need_no_tick);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "a thread of ours held up",
            .add = add_held_up,
            .need = T_NO_SANITIZER | T_STATISTICS,
        },
        {
            .name = "threads that carry out their requests",
            .add = add_waiters,
            .need = T_NO_SANITIZER | T_LOCAL | T_PROMPT | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("held up", parts);
}
