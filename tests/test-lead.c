/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Threads that wait for the kernel: one of them, the leader, reaps for all. It sleeps in read(2) on an eventfd; so
 * does one that was the leader and was late, and what is to wake the one may wake the other.
 */
#include "t.h"

#include <libaio.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { BLOCK = 4096, SIZE = 16 * BLOCK, KEPT = 2, TICKS = 5 };

struct waiter {
    const struct aiocb *list[2];
    sem_t may_sleep;
    atomic_int thread, sleeps;
    atomic_bool let, done;
    pthread_t handle;
};

static atomic_int kept_fd = -1, kicks;
static struct iocb *kept[KEPT];
static io_context_t kept_context;
static int kept_count;
static __thread struct waiter *me;

/* Read by the kernel, unseen by ThreadSanitizer. */
static __attribute__((noinline, no_sanitize("thread"))) struct iocb seen_by_kernel(const struct iocb *iocb)
{
    return *iocb;
}

/* libaio's, for the library too. What comes for one descriptor is kept from the kernel, as if it took its time. */
int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
    const struct iocb first = seen_by_kernel(iocbs[0]);
    long submitted;

    if ((int) first.aio_fildes == atomic_load(&kept_fd)) {
        ck_assert_int_lt(kept_count, KEPT);
        kept_context = context;
        kept[kept_count++] = iocbs[0];
        return 1;
    }
    submitted = syscall(SYS_io_submit, context, count, iocbs);
    if (first.aio_lio_opcode == IO_CMD_POLL)
        atomic_fetch_add(&kicks, 1);
    return submitted < 0 ? -errno : (int) submitted;
}

/* The C library's, for the library too. A waiter is late to go to sleep, as on a busy machine: it does when it may. */
ssize_t read(int fd, void *buffer, size_t length)
{
    if (me && atomic_fetch_add(&me->sleeps, 1) == 0) {
        while (sem_wait(&me->may_sleep))
            ;
        atomic_store(&me->let, true);
    }
    return syscall(SYS_read, fd, buffer, length);
}

static void *wait_for(void *waiter)
{
    me = waiter;
    atomic_store(&me->thread, (int) syscall(SYS_gettid));
    ck_assert_int_eq(aio_suspend(me->list, 2, NULL), 0);
    atomic_store(&me->done, true);
    return NULL;
}

/* Returns when the waiter is about to sleep as the leader. */
static void start(struct waiter *waiter, const struct aiocb *one, const struct aiocb *other)
{
    waiter->list[0] = one;
    waiter->list[1] = other;
    ck_assert_int_eq(sem_init(&waiter->may_sleep, 0, 0), 0);
    ck_assert_int_eq(pthread_create(&waiter->handle, NULL, wait_for, waiter), 0);
    t_until(atomic_load(&waiter->sleeps));
}

/* As a follower; or, if a tick has deposed the other too, as the leader once more. */
static bool sleeps_again(const struct waiter *waiter)
{
    long call = t_call_of(atomic_load(&waiter->thread));

    return atomic_load(&waiter->let) &&
           (call == SYS_futex || (call == SYS_read && atomic_load(&waiter->sleeps) > 1));
}

static void let_sleep(struct waiter *waiter)
{
    ck_assert_int_eq(sem_post(&waiter->may_sleep), 0);
}

/* As aio_error tells, but does not reap. */
static bool is_published(const struct aiocb *cb)
{
    return __atomic_load_n(&cb->__error_code, __ATOMIC_ACQUIRE) != EINPROGRESS;
}

START_TEST(leader_is_woken_though_a_late_one_takes_what_was_to_wake_it)
{
    static struct waiter late, leader;
    static struct aiocb slow[KEPT], fast, message;
    static unsigned char letter;
    const struct t_pair pipe = t_pipe();
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    int other_fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    unsigned char *blocks = t_aligned(SIZE);
    int before;

    atomic_store(&kept_fd, fd);
    for (int i = 0; i < KEPT; i++)
        t_submit_read(&slow[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
    ck_assert_int_eq(kept_count, KEPT);
    atomic_store(&kept_fd, -1);
    start(&late, &slow[0], NULL);
    /* The leader does not take this completion: the tick does, and deposes it. */
    t_submit_read(&fast, other_fd, blocks + KEPT * BLOCK, BLOCK, 0);
    t_until(is_published(&fast));
    t_submit_read(&message, pipe.in, &letter, 1, 0);
    start(&leader, &slow[1], &message);
    /* The leader is woken by a kick, which comes from the thread that ticks: so at the next one it has come. */
    ck_assert_int_eq(write(pipe.out, "x", 1), 1);
    t_until(is_published(&message));
    before = atomic_load(&kicks);
    t_until(atomic_load(&kicks) > before);
    let_sleep(&late);
    t_until(sleeps_again(&late));
    ck_assert(!atomic_load(&late.done));
    let_sleep(&leader);
    t_until(atomic_load(&leader.done));
    for (int i = 0; i < KEPT; i++) {
        ck_assert_int_eq(io_submit(kept_context, 1, &kept[i]), 1);
        t_wait_done(&slow[i], BLOCK);
    }
    ck_assert_int_eq(pthread_join(late.handle, NULL), 0);
    ck_assert_int_eq(pthread_join(leader.handle, NULL), 0);
    t_wait_done(&fast, BLOCK);
    t_assert_done(&message, 1);
    free(blocks);
}
END_TEST

static struct aiocb awaited, cached;
static volatile sig_atomic_t child = -1;

/* The child uses the library, and so starts it anew, before it comes back to the wait. */
static void fork_once(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
    if (child != -1)
        return;
    child = fork();
    if (child == 0)
        aio_read(&cached);
}

/* In the child nobody sleeps, and so nobody is kicked, though a tick reaps what nobody waits for. */
static void assert_no_kick(int fd, unsigned char *blocks)
{
    t_assert_done(&cached, 1);
    /* As it started, the library tried out a kick. */
    atomic_store(&kicks, 0);
    for (int i = 0; i < TICKS; i++) {
        t_submit_read(&awaited, fd, blocks, BLOCK, i * BLOCK);
        t_until(is_published(&awaited));
        t_wait_done(&awaited, BLOCK);
    }
    ck_assert_int_eq(atomic_load(&kicks), 0);
    _exit(0);
}

START_TEST(child_forked_in_the_leaders_handler_counts_anew)
{
    const struct aiocb *list[] = { &awaited };
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    unsigned char *blocks = t_aligned(SIZE), byte;

    t_prepare(&cached, t_cached_file(1), &byte, 1, 0);
    t_handle(SIGALRM, fork_once, 0);
    kept_count = 0;
    atomic_store(&kept_fd, fd);
    t_submit_read(&awaited, fd, blocks, BLOCK, 0);
    ck_assert_int_eq(kept_count, 1);
    atomic_store(&kept_fd, -1);
    t_ring_every(10000);
    while (child == -1)
        aio_suspend(list, 1, NULL);
    t_ring_every(0);
    if (child == 0)
        assert_no_kick(fd, blocks);
    t_reap(child);
    ck_assert_int_eq(io_submit(kept_context, 1, &kept[0]), 1);
    t_wait_done(&awaited, BLOCK);
    free(blocks);
}
END_TEST

static void add_lead(TCase *tests)
{
    tcase_add_test(tests, child_forked_in_the_leaders_handler_counts_anew);
    tcase_add_test(tests, leader_is_woken_though_a_late_one_takes_what_was_to_wake_it);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "leader", .add = add_lead, .need = T_KERNEL },
        { .name = NULL },
    };

    return t_main("lead", parts);
}
