/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The completion thread is one loop around epoll_wait. Streams report their readiness there,
 * and the kernel engine the completion of prompt operations. While engines or queues hold
 * anything it also looks in every PAIO_TICK milliseconds: for completions that lay in the ring for a
 * whole tick, because nobody waits; for what is to be done behind results that aio_error took;
 * for stalled classes of the pool, signals to be sent again, calls without a thread, a leader
 * that does not lead. So no request depends on another call into the library, and none costs a
 * wakeup of this thread.
 *
 * A stream that was closed where close.c cannot see it reports nothing more; so once in LINGER
 * the resting thread looks whether the descriptors it watches are still the same files.
 *
 * State: NONE -> TICKING (paio_completion_start makes the thread), TICKING <-> RESTING (it sleeps
 * in epoll_wait without a tick; paio_completion_wake ends that), RESTING -> NONE (nothing
 * outstanding for LINGER). Both directions are pairs with a fence: the thread writes its state and
 * then looks at what is there, a submitter puts something there and then reads the state.
 *
 * The wakeup is an epoll_ctl that arms an eventfd which is always writable: nothing is ever
 * written to a descriptor that somebody might have closed and reused behind our back.
 */
#include "completion.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "engine_kernel.h"
#include "engine_pool.h"
#include "engine_stream.h"
#include "finish.h"
#include "inbox.h"
#include "notify.h"
#include "process.h"
#include "request.h"
#include "thread.h"
#include "waiter.h"

enum { LINGER = 1000, QUIET_TICKS = 16, EVENTS = 64 };

enum { NONE, TICKING, RESTING };

/* What an event of the set is about, where it is not the number of a stream's descriptor. */
static const uint64_t ABOUT_WAKE = UINT64_MAX, ABOUT_PROMPT = UINT64_MAX - 1;

static struct {
    pthread_mutex_t lock;          /* start and end of the thread */
    _Atomic int state;
    _Atomic int epoll, wake;       /* private descriptors, or -1 */
    uint32_t head;                 /* the thread's: place in the ring at the last tick */
    unsigned quiet;                /* the thread's: ticks without work */
    uint64_t next_tick;            /* the thread's */
} completion = { .lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1, .wake = -1 };

int paio_completion_epoll(void)
{
    return atomic_load(&completion.epoll);
}

/*
 * An event for each completion, or for some together, and nothing to be read: the eventfd is never emptied. Of the sets in
 * which it is, the first with a thread that sleeps gets the event.
 */
static const uint32_t PROMPT_EVENTS = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE;

static int watch(int epoll, int operation, int fd, uint32_t events, uint64_t about)
{
    struct epoll_event event = { .events = events, .data.u64 = about };

    if (epoll_ctl(epoll, operation, fd, &event) == 0)
        return 0;
    /* dup2 has moved it to another number (close.c). */
    return errno == ENOENT ? epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) : -1;
}

void paio_completion_wake(void)
{
    int resting = RESTING;

    /* Pairs with try_to_rest: what the engine was given, or RESTING, is seen. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load(&completion.state) == RESTING &&
        atomic_compare_exchange_strong(&completion.state, &resting, TICKING))
        paio_completion_prompt();
}

int paio_completion_share(int epoll, uint64_t about)
{
    int prompt = paio_kernel_prompt_fd(), own = atomic_load(&completion.epoll);

    if (prompt < 0 || own < 0)
        return -ENOSYS;
    if (watch(epoll, EPOLL_CTL_ADD, prompt, PROMPT_EVENTS, about) < 0)
        return -errno;
    /*
     * Anew, to be behind it. What is signaled in between is an event of the new one. If dup2 has moved the eventfd it is
     * there by its old number too, in front: then the completion thread is woken as before.
     */
    epoll_ctl(own, EPOLL_CTL_DEL, prompt, &(struct epoll_event){ .events = 0 });
    return watch(own, EPOLL_CTL_ADD, prompt, PROMPT_EVENTS, ABOUT_PROMPT) < 0 ? -errno : 0;
}

void paio_completion_ring(int epoll, uint64_t about)
{
    int saved = errno;

    watch(epoll, EPOLL_CTL_MOD, atomic_load(&completion.wake), EPOLLOUT | EPOLLONESHOT, about);
    errno = saved;
}

void paio_completion_prompt(void)
{
    paio_completion_ring(atomic_load(&completion.epoll), ABOUT_WAKE);
}

void paio_completion_reap(void)
{
    paio_kernel_reap();
    paio_finish_settle();
}

/* Is anything held by an engine or a queue that a tick may have to help? */
static bool busy(void)
{
    return paio_kernel_busy() || paio_pool_busy() || paio_notify_busy() || paio_inbox_holds() ||
           paio_finish_unsettled();
}

static void tick(void)
{
    bool stalled = paio_kernel_ready() && paio_kernel_head() == completion.head;

    if (stalled)
        paio_completion_reap();
    else
        paio_finish_settle();
    completion.head = paio_kernel_head();
    paio_pool_tick();
    paio_notify_tick();
    paio_waiter_tick(stalled);
    completion.quiet = busy() ? 0 : completion.quiet + 1;
}

/* Stops ticking unless there is work after all. */
static void try_to_rest(void)
{
    if (completion.quiet < QUIET_TICKS || atomic_load(&completion.epoll) < 0)
        return;
    atomic_store(&completion.state, RESTING);
    atomic_thread_fence(memory_order_seq_cst);
    if (busy())
        atomic_store(&completion.state, TICKING);
    completion.quiet = 0;
}

/* True: the thread has ended as far as everybody else is concerned. */
static bool try_to_end(void)
{
    int resting = RESTING, none = NONE;
    bool ended = false;

    pthread_mutex_lock(&completion.lock);
    if (atomic_compare_exchange_strong(&completion.state, &resting, NONE)) {
        ended = true;
        /* Pairs with paio_completion_start: the request, or NONE, is seen. */
        atomic_thread_fence(memory_order_seq_cst);
        if (paio_request_any(false))
            ended = !atomic_compare_exchange_strong(&completion.state, &none, TICKING);
    }
    pthread_mutex_unlock(&completion.lock);
    return ended;
}

static void handle(const struct epoll_event *event)
{
    if (event->data.u64 == ABOUT_WAKE) {
        paio_finish_settle();
    } else if (event->data.u64 == ABOUT_PROMPT) {
        paio_completion_reap();
    } else {
        paio_stream_ready((int) event->data.u64, event->events);
    }
}

static int next_timeout(void)
{
    uint64_t now;

    if (atomic_load(&completion.state) == RESTING)
        return LINGER;
    now = paio_now();
    if (now >= completion.next_tick)
        return 0;
    return (int) ((completion.next_tick - now + 999999) / 1000000);
}

static void open_descriptors(void);

static int wait_events(struct epoll_event *events, int timeout)
{
    const struct timespec one_tick = { .tv_nsec = PAIO_TICK * 1000000 };
    int epoll = atomic_load(&completion.epoll);

    if (epoll >= 0) {
        int n = epoll_wait(epoll, events, EVENTS, timeout);

        if (n >= 0 || errno == EINTR)
            return n;
        /* Somebody has closed it behind our back, unless dup2 has moved it. */
        atomic_compare_exchange_strong(&completion.epoll, &epoll, -1);
    }
    /* No descriptor was to be had: streams are refused, the rest needs only the tick. */
    nanosleep(&one_tick, NULL);
    /* There may be some by now. Not in place of a lost one, whose number others of the library's may stand for. */
    if (atomic_load(&completion.wake) < 0)
        open_descriptors();
    return 0;
}

static void *run(void *unused)
{
    struct epoll_event events[EVENTS];

    pthread_setname_np(pthread_self(), "posix-aio");
    for (;;) {
        int timeout = next_timeout();
        int n = wait_events(events, timeout);

        for (int i = 0; i < n; i++)
            handle(&events[i]);
        if (atomic_load(&completion.state) == RESTING) {
            if (n == 0)
                paio_stream_check_all();
            if (n == 0 && !paio_request_any(false) && try_to_end())
                return unused;
            continue;
        }
        if (paio_now() < completion.next_tick)
            continue;
        tick();
        completion.next_tick = paio_now() + PAIO_TICK * 1000000u;
        try_to_rest();
    }
}

/* By whoever starts the thread, before it does, or by the thread. */
static void open_descriptors(void)
{
    int fd;

    if (atomic_load(&completion.epoll) >= 0)
        return;
    fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0)
        return;
    paio_private_keep(fd, &completion.wake);
    fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        paio_private_close(&completion.wake);
        return;
    }
    paio_private_keep(fd, &completion.epoll);
    fd = atomic_load(&completion.epoll);
    watch(fd, EPOLL_CTL_ADD, atomic_load(&completion.wake), 0, ABOUT_WAKE);
    if (paio_kernel_prompt_fd() >= 0)
        watch(fd, EPOLL_CTL_ADD, paio_kernel_prompt_fd(), PROMPT_EVENTS, ABOUT_PROMPT);
}

static bool start_thread(void)
{
    open_descriptors();
    completion.quiet = 0;
    completion.next_tick = 0;
    if (paio_thread_start(run, NULL, true) < 0)
        return false;
    /* Not before there is a thread: others believe it without the lock. */
    atomic_store(&completion.state, TICKING);
    return true;
}

bool paio_completion_there(void)
{
    /* Pairs with try_to_end: the caller's request is seen there, or NONE here. */
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load(&completion.state) != NONE;
}

bool paio_completion_start(void)
{
    bool there = true;

    if (paio_completion_there())
        return true;
    pthread_mutex_lock(&completion.lock);
    if (atomic_load(&completion.state) == NONE)
        there = start_thread();
    pthread_mutex_unlock(&completion.lock);
    return there;
}

void paio_completion_reset(void)
{
    pthread_mutex_init(&completion.lock, NULL);
    atomic_store(&completion.state, NONE);
    paio_private_close(&completion.epoll);
    paio_private_close(&completion.wake);
}
