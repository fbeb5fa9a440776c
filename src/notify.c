/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Signals are sent by whoever completes the request; when the process may not queue more of
 * them (RLIMIT_SIGPENDING) they wait in line and the completion thread tries again.
 *
 * Calls (SIGEV_THREAD) run on threads that are used again as long as each call leaves its thread
 * as it found it. A thread ends, and its thread-specific data with it, when a call has set any,
 * has called pthread_exit, or was canceled. While a call blocks, others are served by the other
 * threads; when all block, the completion thread adds one each tick. With attributes of the
 * caller's, each call gets a thread made to them.
 *
 * With kernel AIO idle threads sleep in an epoll set, where a completion that is to be told at once wakes one of
 * them: it reaps, and makes the call that comes of it; the completion thread would have to wake it for that. For
 * other calls the set is rung. Without it, for want of descriptors or of the kernel's AIO, they sleep on a condition.
 * If somebody closes the set behind our back, the tick finds calls that nobody begins.
 *
 * A function that forks may return in the child as well. Nothing there is the child's: neither the calls that wait, nor
 * the lock, nor the set, which is the parent's own. So the thread ends, and the child with it, as one of glibc's would.
 *
 * No thread is started but by paio_notify_able (in a call that submits), by the completion
 * thread, and by the threads here: paio_notify may run in a signal handler.
 *
 * Locks: notify.lock (n) is a leaf.
 */
#include "notify.h"

#include <string.h>
#include <sys/epoll.h>

#include "completion.h"
#include "engine_kernel.h"
#include "habit.h"
#include "keys.h"
#include "process.h"
#include "stats.h"
#include "thread.h"

enum { IDLE_SECONDS = 1, TRIES = 100 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t condition;
    _Atomic int epoll;             /* a private descriptor, or -1 */
    struct paio_link signals;      /* n: notices that the kernel had no room for */
    struct paio_link calls;        /* n: notices that wait for a thread */
    _Atomic uint32_t waiting;      /* n to write: length of signals */
    _Atomic unsigned threads;      /* n to write: that make calls */
    unsigned idle;                 /* n: of them */
    unsigned coming;               /* n: of them, started, and not yet looking for a call */
    unsigned begun, begun_before;  /* n: calls begun; at the last tick */
    unsigned stalled;              /* n: ticks in a row that found calls, and none begun */
} notify = { .lock = PTHREAD_MUTEX_INITIALIZER, .epoll = -1 };

/* What an event of the set is about. */
enum { ABOUT_CALL, ABOUT_PROMPT, EVENTS = 2 };

/* The thread reaps, and looks for a call afterwards: it need not be woken for one. */
static __thread bool looking __attribute__((tls_model("initial-exec")));

void paio_notify_reset(void)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&notify.lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&notify.condition, &attributes);
    pthread_condattr_destroy(&attributes);
    paio_list_init(&notify.signals);
    paio_list_init(&notify.calls);
    atomic_store(&notify.waiting, 0);
    paio_private_close(&notify.epoll);
    atomic_store(&notify.threads, 0);
    notify.idle = notify.coming = 0;
    notify.begun = notify.begun_before = notify.stalled = 0;
}

/* 0 also for a signal that does not exist: that must not change the result of the I/O. */
static int send_signal(const struct sigevent *event)
{
    int saved = errno, error = 0;
    siginfo_t info;

    memset(&info, 0, sizeof info);
    info.si_signo = event->sigev_signo;
    info.si_code = SI_ASYNCIO;
    /* In a child that a handler has forked meanwhile, the library is not started yet. */
    info.si_pid = paio_process_started() ? paio_settings.owner : getpid();
    info.si_uid = getuid();
    info.si_value = event->sigev_value;
    if (event->sigev_notify == SIGEV_SIGNAL)
        error = (int) syscall(SYS_rt_sigqueueinfo, info.si_pid, info.si_signo, &info);
    else
        error = (int) syscall(SYS_rt_tgsigqueueinfo, info.si_pid, event->_sigev_un._tid,
                              info.si_signo, &info);
    error = error < 0 && errno == EAGAIN ? -EAGAIN : 0;
    errno = saved;
    if (!error)
        paio_stats_count(PAIO_STAT_NOTIFY_SIGNAL);
    return error;
}

static bool is_signal(const struct sigevent *event)
{
    return event->sigev_notify == SIGEV_SIGNAL || event->sigev_notify == SIGEV_THREAD_ID;
}

bool paio_notify_at_once(const struct sigevent *event)
{
    if (event->sigev_notify == SIGEV_THREAD)
        return false;
    return !is_signal(event) || (!atomic_load(&notify.waiting) && send_signal(event) == 0);
}

static bool start_thread(void);

/* Its function has left something in it, or it had none to call. For calls that have come there is to be another. */
static void thread_ends(void *argument)
{
    const uint32_t *process = argument;
    struct paio_signals saved;

    if (paio_process_started() != *process)
        return;
    paio_signals_block(&saved);
    pthread_mutex_lock(&notify.lock);
    atomic_fetch_sub(&notify.threads, 1);
    if (!paio_list_empty(&notify.calls) && !notify.idle && !notify.coming)
        start_thread();
    pthread_mutex_unlock(&notify.lock);
}

static void call(const struct sigevent *event, const sigset_t *mask)
{
    paio_stats_count(PAIO_STAT_NOTIFY_THREAD);
    pthread_sigmask(SIG_SETMASK, mask, NULL);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    event->sigev_notify_function(event->sigev_value);
    pthread_testcancel();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
}

/* A thread that the caller's attributes made. */
static void *call_once(void *argument)
{
    struct paio_notice *notice = argument;
    struct sigevent event = notice->event;
    sigset_t mask;
    struct paio_signals saved;

    paio_signals_block(&saved);
    if (pthread_attr_getsigmask_np(event.sigev_notify_attributes, &mask) != 0)
        sigemptyset(&mask);
    notice->release(notice);
    call(&event, &mask);
    return NULL;
}

/* True: a thread made to the caller's attributes has it now. False: they cannot be honored. */
static bool with_attributes(struct paio_notice *notice)
{
    pthread_attr_t *attributes = notice->event.sigev_notify_attributes;
    const struct timespec pause = { .tv_nsec = 1000000 };
    pthread_t thread;
    int error;

    /* That there are too many threads passes, that there is no room for such a stack does not. */
    for (unsigned i = 1; (error = pthread_create(&thread, attributes, call_once, notice)) == EAGAIN && i < TRIES; i++)
        nanosleep(&pause, NULL);
    return error == 0;
}

/* While there is no thread, for all are to sleep in one place. */
static void open_set(void)
{
    int epoll;

    if (notify.threads || atomic_load(&notify.epoll) >= 0 || paio_kernel_prompt_fd() < 0)
        return;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        return;
    paio_private_keep(epoll, &notify.epoll);
    if (paio_completion_share(atomic_load(&notify.epoll), ABOUT_PROMPT) < 0)
        paio_private_close(&notify.epoll);
}

/* Wakes one of the idle threads, or one that is about to sleep. Under the lock. Async-signal-safe. */
static void wake_one(void)
{
    int epoll = atomic_load(&notify.epoll);

    if (epoll < 0)
        pthread_cond_signal(&notify.condition);
    else
        paio_completion_ring(epoll, ABOUT_CALL);
}

/* Milliseconds from now, at least 0. */
static int time_left(const struct timespec *until)
{
    int64_t then = (int64_t) until->tv_sec * 1000000000 + until->tv_nsec, left = then - (int64_t) paio_now();

    return left > 0 ? (int) ((left + 999999) / 1000000) : 0;
}

/* Sleeps until woken, perhaps, or for as long as until says: false. Under the lock, which it releases meanwhile. */
static bool sleep_until(const struct timespec *until)
{
    struct epoll_event events[EVENTS];
    int epoll = atomic_load(&notify.epoll), n;

    if (epoll < 0)
        return pthread_cond_timedwait(&notify.condition, &notify.lock, until) == 0;
    pthread_mutex_unlock(&notify.lock);
    n = epoll_wait(epoll, events, EVENTS, time_left(until));
    looking = true;
    for (int i = 0; i < n; i++)
        if (events[i].data.u64 == ABOUT_PROMPT)
            paio_completion_reap();
    looking = false;
    pthread_mutex_lock(&notify.lock);
    /* Somebody has closed it behind our back, unless dup2 has moved it, and may have the number for something else. */
    if (n < 0 && errno != EINTR)
        atomic_compare_exchange_strong(&notify.epoll, &epoll, -1);
    return n != 0;
}

/* Waits until a call is there, or none was for a while. Under the lock. */
static void await_call(void)
{
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    notify.idle++;
    while (paio_list_empty(&notify.calls) && sleep_until(&until))
        ;
    notify.idle--;
}

/* A call to make, or NULL when there was none for a while. Under the lock. */
static struct paio_notice *next_call(void)
{
    struct paio_link *link;

    if (paio_list_empty(&notify.calls))
        await_call();
    link = paio_list_pop(&notify.calls);
    if (!link)
        return NULL;
    notify.begun++;
    /* One wakeup may have been for some. */
    if (notify.idle && !paio_list_empty(&notify.calls))
        wake_one();
    return paio_container(link, struct paio_notice, link);
}

static void *serve_calls(void *unused)
{
    uint32_t process = paio_process_started();
    struct paio_keys keys;
    struct paio_notice *notice;
    sigset_t all, none;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_setname_np(pthread_self(), "posix-aio/call");
    sigfillset(&all);
    sigemptyset(&none);
    paio_keys_note(&keys);
    pthread_mutex_lock(&notify.lock);
    notify.coming--;
    pthread_mutex_unlock(&notify.lock);
    pthread_cleanup_push(thread_ends, &process);
    do {
        struct sigevent event;

        pthread_mutex_lock(&notify.lock);
        notice = next_call();
        pthread_mutex_unlock(&notify.lock);
        if (!notice)
            break;
        event = notice->event;
        if (event.sigev_notify_attributes && with_attributes(notice))
            continue;
        notice->release(notice);
        call(&event, &none);
        paio_habit_returned();
        pthread_sigmask(SIG_SETMASK, &all, NULL);
    } while (paio_process_started() == process && !paio_keys_changed(&keys));
    pthread_cleanup_pop(1);
    return unused;
}

/* One thread more. Under the lock. */
static bool start_thread(void)
{
    open_set();
    if (paio_thread_start(serve_calls, NULL, false) < 0)
        return false;
    atomic_fetch_add(&notify.threads, 1);
    notify.coming++;
    return true;
}

bool paio_notify_there(const struct sigevent *event)
{
    return event->sigev_notify != SIGEV_THREAD || atomic_load_explicit(&notify.threads, memory_order_relaxed);
}

bool paio_notify_able(const struct sigevent *event)
{
    bool able;

    if (paio_notify_there(event))
        return true;
    pthread_mutex_lock(&notify.lock);
    able = paio_notify_there(event) || start_thread();
    pthread_mutex_unlock(&notify.lock);
    return able;
}

void paio_notify(struct paio_notice *notice)
{
    if (paio_notify_at_once(&notice->event)) {
        notice->release(notice);
        return;
    }
    pthread_mutex_lock(&notify.lock);
    if (notice->event.sigev_notify == SIGEV_THREAD) {
        paio_list_append(&notify.calls, &notice->link);
        if (notify.idle && !looking)
            wake_one();
    } else {
        paio_list_append(&notify.signals, &notice->link);
        atomic_fetch_add(&notify.waiting, 1);
    }
    pthread_mutex_unlock(&notify.lock);
    paio_completion_wake();
}

/* Sends what waits in line, until the kernel has no more room. */
static void send_waiting(void)
{
    struct paio_link *first;

    while (atomic_load(&notify.waiting)) {
        struct paio_notice *notice;

        pthread_mutex_lock(&notify.lock);
        first = notify.signals.next;
        notice = paio_container(first, struct paio_notice, link);
        if (send_signal(&notice->event) < 0) {
            pthread_mutex_unlock(&notify.lock);
            return;
        }
        paio_list_remove(first);
        atomic_fetch_sub(&notify.waiting, 1);
        pthread_mutex_unlock(&notify.lock);
        notice->release(notice);
    }
}

void paio_notify_tick(void)
{
    send_waiting();
    pthread_mutex_lock(&notify.lock);
    if (paio_list_empty(&notify.calls) || notify.begun != notify.begun_before)
        notify.stalled = 0;
    else if (notify.stalled++ || (!notify.idle && !notify.coming))
        start_thread();
    notify.begun_before = notify.begun;
    pthread_mutex_unlock(&notify.lock);
}

bool paio_notify_busy(void)
{
    bool busy;

    pthread_mutex_lock(&notify.lock);
    busy = !paio_list_empty(&notify.calls) || !paio_list_empty(&notify.signals);
    pthread_mutex_unlock(&notify.lock);
    return busy;
}
