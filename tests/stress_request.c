/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stress: a request's way from its preparation to the moment when its place is free again.
 *
 * A place is free when the result has been looked at (settled), the notification has come if one
 * was asked for, and the list that the request is in, if any, has notified. Notifications carry
 * worker, place and generation; the handlers read the control block first and count last, and
 * only the count lets the owner go on with it.
 */
#include "stress_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

int request_signal, list_signal;

/* Tokens: 8 bits of worker, 1 for lists, 7 of place, 48 of generation, of which a count keeps 32.
 */

static void *token_pack(const struct worker *w, bool of_list, unsigned int place,
                        unsigned int generation)
{
    uintptr_t token = ((uintptr_t) w->number << 40) | ((uintptr_t) of_list << 39) |
                      ((uintptr_t) place << 32) | generation;

    return (void *) token;
}

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

void doze(long nanoseconds)
{
    struct timespec t = { 0, nanoseconds };

    nanosleep(&t, NULL);
}

/* Notifications. glibc's calls deadlock in a signal handler that interrupts one of them. */

static bool may_ask(bool by_signal)
{
    return !stress.glibc || !by_signal;
}

static void take_request_notice(struct worker *w, unsigned int place, unsigned int generation,
                                bool by_signal)
{
    static const struct timespec none = { 0, 0 };
    struct request *r = &w->requests[place];
    const struct aiocb *const list[] = { NULL, &r->cb };

    if (atomic_load(&r->token) != generation)
        fail_request(r, "a notification came late or once too often");
    if (atomic_load(&r->notified) != 0)
        fail_request(r, "a request notified twice");
    if (by_signal != (r->notice == BY_SIGNAL || r->notice == BY_THREAD_ID))
        fail_request(r, "a request notified in another way than it was asked to");
    if (r->notice == BY_THREAD_ID && (pid_t) syscall(SYS_gettid) != w->tid)
        fail_request(r, "a signal for one thread came to another");
    if (may_ask(by_signal) && aio_error(&r->cb) == EINPROGRESS)
        fail_request(r, "a notification came before the request was done");
    if (may_ask(by_signal) && aio_suspend(list, 2, &none) != 0)
        fail_request(r, "aio_suspend in a notification did not see that the request is done");
    atomic_fetch_add(&r->notified, 1);
}

static void take_list_notice(struct worker *w, unsigned int place, unsigned int generation,
                             bool by_signal)
{
    struct list *l = &w->lists[place];

    if (atomic_load(&l->token) != generation)
        fail(w, "a list's notification came late or once too often");
    if (atomic_load(&l->notified) != 0)
        fail(w, "a list notified twice");
    for (unsigned int i = 0; may_ask(by_signal) && i < l->count; i++)
        if (aio_error(&l->requests[i]->cb) == EINPROGRESS)
            fail_request(l->requests[i], "a list notified before all its requests were done");
    atomic_fetch_add(&l->notified, 1);
}

static void take_notice(union sigval value, bool of_list, bool by_signal)
{
    uintptr_t token = (uintptr_t) value.sival_ptr;
    unsigned int number = (unsigned int) (token >> 40), place = (token >> 32) & 0x7f;

    if (number >= stress.workers || ((token >> 39) & 1) != of_list)
        fail(NULL, "a notification brought a value that nobody gave: %#lx", (unsigned long) token);
    if (of_list)
        take_list_notice(&stress.worker[number], place, (unsigned int) token, by_signal);
    else
        take_request_notice(&stress.worker[number], place, (unsigned int) token, by_signal);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
    int saved = errno;

    (void) context;
    if (info->si_code != SI_ASYNCIO)
        fail(NULL, "a signal came with si_code %d, not SI_ASYNCIO", info->si_code);
    take_notice(info->si_value, number == list_signal, true);
    errno = saved;
}

static void check_thread(void)
{
    sigset_t blocked;

    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    if (sigismember(&blocked, SIGUSR1) || sigismember(&blocked, request_signal))
        fail(NULL, "a notification's thread has signals blocked");
}

static void on_request_thread(union sigval value)
{
    check_thread();
    take_notice(value, false, false);
    if ((uintptr_t) value.sival_ptr % 16 == 0)
        pthread_exit(NULL);
}

static void on_list_thread(union sigval value)
{
    check_thread();
    take_notice(value, true, false);
}

void handlers_setup(void)
{
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART };

    request_signal = SIGRTMIN + 1;
    list_signal = SIGRTMIN + 2;
    sigemptyset(&action.sa_mask);
    sigaction(request_signal, &action, NULL);
    sigaction(list_signal, &action, NULL);
}

static void fill_event(struct worker *w, struct sigevent *event, enum notice notice, void *token,
                       bool of_list)
{
    memset(event, 0, sizeof *event);
    event->sigev_value.sival_ptr = token;
    switch (notice) {
    case SILENT:
        event->sigev_notify = SIGEV_NONE;
        break;
    case BY_THREAD:
        event->sigev_notify = SIGEV_THREAD;
        event->sigev_notify_function = of_list ? on_list_thread : on_request_thread;
        break;
    case BY_THREAD_ID:
        event->sigev_notify = SIGEV_THREAD_ID;
        event->sigev_signo = of_list ? list_signal : request_signal;
        event->sigev_notify_thread_id = w->tid;
        break;
    case BY_SIGNAL:
        event->sigev_notify = SIGEV_SIGNAL;
        event->sigev_signo = of_list ? list_signal : request_signal;
        break;
    }
}

static enum notice choose_notice(struct worker *w)
{
    size_t n = random_below(w, 10);

    if (n < 5)
        return SILENT;
    if (n < 7 || stress.unsignaled)
        return BY_THREAD;
    return n < 9 || stress.glibc ? BY_SIGNAL : BY_THREAD_ID;
}

/* A list's notification: called before the list is submitted. */
void list_begin(struct worker *w, struct list *l, struct sigevent *event)
{
    l->notice = choose_notice(w);
    l->active = true;
    atomic_store(&l->notified, 0);
    fill_event(
        w, event, l->notice,
        token_pack(w, true, (unsigned int) (l - w->lists), atomic_fetch_add(&l->token, 1) + 1),
        true);
}

/* Preparation and submission. */

void requests_setup(struct worker *w)
{
    for (unsigned int i = 0; i < REQUESTS; i++) {
        struct request *r = &w->requests[i];

        r->index = i;
        if (posix_memalign((void **) &r->memory, BLOCK, LONGEST + BLOCK) != 0)
            fail(w, "no memory for buffers");
        w->unused[w->unused_count++] = r;
    }
    w->scratch = malloc(ROOM);
    if (!w->scratch)
        fail(w, "no memory for buffers");
}

/* The caller's part of the control block; the library's part holds what happens to be there. */
static void fill_control_block(struct worker *w, struct request *r)
{
    static const unsigned char fillings[] = { 0, 0xff, 0x73 };

    if (random_chance(w, 50))
        memset(&r->cb, fillings[random_below(w, 3)], sizeof r->cb);
    r->cb.aio_fildes = r->fd;
    r->cb.aio_buf = r->buffer;
    r->cb.aio_nbytes = r->length;
    r->cb.aio_offset = r->offset + (r->target ? r->target->base : 0);
    r->cb.aio_reqprio =
        stress.glibc ? 0 : (int) random_below(w, 3); /* glibc puts them in order of it */
    r->cb.aio_lio_opcode = r->verb == READ ? LIO_READ : LIO_WRITE;
    if (r->target && (is_stream(r->target) || (r->target->kind == APPEND && r->verb == WRITE)))
        r->cb.aio_offset = (off_t) random_below(w, 3) * 1000; /* means nothing there */
}

static void prepare_rest(struct worker *w, struct request *r)
{
    w->unused_count--;
    if (r->verb == READ)
        memset(r->buffer, UNTOUCHED, r->length + GUARD);
    r->list = NULL;
    r->settled = r->cancel_asked = false;
    r->action = atomic_load(&w->action);
    r->order = w->order++;
    r->cancels = atomic_load(&cancels_over[r->fd < 0 ? 0 : r->fd]);
    r->notice = choose_notice(w);
    fill_control_block(w, r);
    atomic_store(&r->notified, 0);
    fill_event(w, &r->cb.aio_sigevent, r->notice,
               token_pack(w, false, r->index, atomic_fetch_add(&r->token, 1) + 1), false);
}

/* A request on the target that the model can judge, or NULL if there is none now. */
struct request *request_prepare(struct worker *w, struct target *t, enum verb verb)
{
    struct request *r = w->unused[w->unused_count - 1];

    r->wanted_error = 0;
    r->chunk = NULL;
    if (!plan(w, r, t, verb))
        return NULL;
    prepare_rest(w, r);
    return r;
}

/* One that is accepted and must then fail. */
struct request *request_prepare_bad(struct worker *w, int fd, enum verb verb, off_t offset,
                                    int wanted)
{
    struct request *r = w->unused[w->unused_count - 1];

    r->wanted_error = wanted;
    r->chunk = NULL;
    r->target = NULL;
    r->verb = verb;
    r->fd = fd;
    r->buffer = r->memory;
    r->length = 512;
    r->offset = offset;
    prepare_rest(w, r);
    return r;
}

/* From here on the request counts as in flight. */
void request_begin(struct worker *w, struct request *r)
{
    w->flight[w->flying] = r;
    w->flying++;
}

static int submit(struct request *r)
{
    if (r->verb == READ)
        return aio_read(&r->cb);
    if (r->verb == WRITE)
        return aio_write(&r->cb);
    return aio_fsync(r->index % 2 ? O_SYNC : O_DSYNC, &r->cb);
}

static void *submit_and_leave(void *request)
{
    return submit(request) == 0 ? request : NULL;
}

/* Now and then from a thread that ends at once, which must not matter. */
void request_submit(struct worker *w, struct request *r)
{
    bool elsewhere = random_chance(w, 2);
    pthread_t thread;
    void *accepted = r;

    request_begin(w, r);
    if (!elsewhere)
        accepted = submit_and_leave(r);
    else if (pthread_create(&thread, NULL, submit_and_leave, r) != 0)
        fail(w, "pthread_create failed");
    else
        pthread_join(thread, &accepted);
    if (!accepted)
        fail_request(r, "a request was refused: %s", strerror(errno));
}

/* Results. */

static void settle(struct worker *w, struct request *r);

/* A request that succeeded vouches for those before it in the same queue; they are settled first.
 */
static void settle_before(struct worker *w, struct request *r)
{
    for (unsigned int i = 0; i < w->flying && w->flight[i] != r; i++) {
        struct request *earlier = w->flight[i];

        if (earlier->settled || !must_precede(earlier, r))
            continue;
        if (aio_error(&earlier->cb) == EINPROGRESS)
            fail_request(r, "done before request %u (%s), which was queued before it",
                         earlier->index, earlier->verb == READ ? "a read" : "a write");
        settle(w, earlier);
    }
}

static void settle(struct worker *w, struct request *r)
{
    int error = aio_error(&r->cb);
    ssize_t result = aio_return(&r->cb);

    if (error == 0)
        settle_before(w, r);
    if (r->action % 4 == 0 && (aio_error(&r->cb) != error || aio_return(&r->cb) != result))
        fail_request(r, "asked again, it says something else than %d, %zd", error, result);
    check_result(w, r, error, result);
    r->settled = true;
    w->done++;
    atomic_fetch_add(&w->beat, 1);
}

static bool list_is_over(struct list *l)
{
    if (l->notice != SILENT && atomic_load(&l->notified) == 0)
        return false;
    for (unsigned int i = 0; i < l->count; i++)
        if (!l->requests[i]->settled)
            return false;
    return true;
}

static bool request_is_over(const struct request *r)
{
    return r->settled && (r->notice == SILENT || atomic_load(&r->notified) == 1) &&
           (!r->list || !r->list->active);
}

/* Settles what is done and frees the places of what is over. */
void sweep(struct worker *w)
{
    unsigned int kept = 0, count = w->flying;

    for (unsigned int i = 0; i < count; i++)
        if (!w->flight[i]->settled && aio_error(&w->flight[i]->cb) != EINPROGRESS)
            settle(w, w->flight[i]);
    for (unsigned int i = 0; i < LISTS; i++)
        if (w->lists[i].active && list_is_over(&w->lists[i]))
            w->lists[i].active = false;
    for (unsigned int i = 0; i < count; i++) {
        struct request *r = w->flight[i];

        if (request_is_over(r)) {
            w->notifications += r->notice != SILENT;
            w->unused[w->unused_count++] = r;
        } else {
            w->flight[kept++] = r;
        }
    }
    w->flying = kept;
}

/* Is there a request on the target whose result has not been looked at? */
bool unsettled(const struct worker *w, const struct target *t)
{
    for (unsigned int i = 0; i < w->flying; i++)
        if (w->flight[i]->target == t && !w->flight[i]->settled)
            return true;
    return false;
}

/*
 * Waits a little for any request on the target (NULL: on any), in one of the ways a program may:
 * in aio_suspend, by asking, or by sleeping, without which all must go on as well.
 */
void wait_target(struct worker *w, struct target *t)
{
    const struct timespec while_ = { 0, 5000000 };
    const struct aiocb *list[REQUESTS];
    int count = 0;

    for (unsigned int i = 0; i < w->flying; i++)
        if ((!t || w->flight[i]->target == t) && !w->flight[i]->settled)
            list[count++] = &w->flight[i]->cb;
    if (count == 0 || w->order % 3 == 0)
        doze(50000);
    else if (w->order % 3 == 1 && aio_suspend(list, count, &while_) != 0 && errno != EAGAIN &&
             errno != EINTR)
        fail(w, "aio_suspend: %s", strerror(errno));
    sweep(w);
}
