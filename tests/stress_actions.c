/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stress: what a worker may do next, and how often.
 */
#include "stress_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

static struct target *choose_target(struct worker *w)
{
    return &w->targets[random_below(w, w->target_count)];
}

static enum verb choose_verb(struct worker *w)
{
    return (enum verb)(random_chance(w, 6) ? SYNC : (enum verb) random_below(w, 2));
}

static struct request *choose_request(struct worker *w)
{
    return w->flying ? w->flight[random_below(w, w->flying)] : NULL;
}

static void empty_streams(struct worker *w)
{
    for (unsigned int i = 0; i < w->target_count; i++)
        if (is_stream(&w->targets[i]))
            target_quiesce(w, &w->targets[i]);
}

/* Makes room for so many requests more: waits, and if that does not do, empties what others wait
 * for. */
static void make_room(struct worker *w, unsigned int count)
{
    while (w->unused_count < RESERVED + count) {
        unsigned int before = w->unused_count;

        for (int attempt = 0; attempt < 3 && w->unused_count == before; attempt++)
            wait_target(w, NULL);
        if (w->unused_count == before)
            empty_streams(w);
    }
}

static void do_submit(struct worker *w)
{
    struct request *r;

    make_room(w, 1);
    r = request_prepare(w, choose_target(w), choose_verb(w));
    if (r)
        request_submit(w, r);
}

/* Requests that are refused, at once or by their result. */
static void do_bad(struct worker *w)
{
    struct target *t = choose_target(w);
    struct aiocb cb = { .aio_fildes = stress.shared, .aio_reqprio = -1 };
    struct request *r;

    if (aio_read(&cb) != -1 || errno != EINVAL)
        fail(w, "a negative priority was not refused with EINVAL");
    cb.aio_reqprio = 0;
    if (aio_fsync(O_APPEND, &cb) != -1 || errno != EINVAL)
        fail(w, "aio_fsync took O_APPEND");
    make_room(w, 2);
    r = request_prepare_bad(w, -1, random_chance(w, 50) ? READ : WRITE, 0, EBADF);
    request_submit(w, r);
    if (!is_stream(t) && t->kind != APPEND && t->kind != SHARED_APPEND) {
        r = request_prepare_bad(w, t->fd, READ, -4096, EINVAL);
        request_submit(w, r);
    } else if (is_stream(t) && t->kind != SOCKET && !stress.glibc) {
        r = request_prepare_bad(w, t->fd, WRITE, 0, EBADF);
        request_submit(w, r);
    }
}

/* Suspends on some requests and NULLs, for a time or, where one must end by itself, for ever. */
static void do_suspend(struct worker *w)
{
    struct timespec limit = { 0, (long) random_below(w, 2) * (long) random_below(w, 3000000) };
    const struct aiocb *list[12];
    bool ends = false, done = false;
    int count = 1 + (int) random_below(w, 12), result;
    double begun = now(), took;

    for (int i = 0; i < count; i++) {
        const struct request *r = random_chance(w, 80) ? choose_request(w) : NULL;

        list[i] = r ? &r->cb : NULL;
        ends |= r && (!r->target || !is_stream(r->target));
        done |= r && aio_error(&r->cb) != EINPROGRESS;
    }
    ends = ends && random_chance(w, 70);
    do
        result = aio_suspend(list, count, ends ? NULL : &limit);
    while (ends && result != 0 && errno == EINTR);
    took = now() - begun;
    if (result == 0) {
        bool only_nulls = true;

        for (int i = 0; i < count; i++) {
            done |= list[i] && aio_error(list[i]) != EINPROGRESS;
            only_nulls &= !list[i];
        }
        if (!done && !only_nulls)
            fail(w, "aio_suspend returned 0, but none of its requests is done");
    } else if (errno == EAGAIN) {
        if (ends || done)
            fail(w, "aio_suspend timed out, %s",
                 ends ? "though it had no limit" : "though a request was done");
        if (took < (double) limit.tv_nsec / 1e9)
            fail(w, "aio_suspend timed out after %g s of %ld ns", took, limit.tv_nsec);
    } else if (errno != EINTR || done) {
        fail(w, "aio_suspend: %s%s", strerror(errno), done ? ", though a request was done" : "");
    }
}

static void do_cancel_one(struct worker *w)
{
    struct request *r = choose_request(w);
    bool wrong_fd = random_chance(w, 10), was_done;
    int result, error;

    if (!r || r->fd < 0 || r->settled || stress.glibc)
        return;
    was_done = aio_error(&r->cb) != EINPROGRESS;
    r->cancel_asked |= !wrong_fd;
    result = aio_cancel(wrong_fd ? stress.victim : r->fd, &r->cb);
    error = aio_error(&r->cb);
    if (wrong_fd) {
        if (!was_done && error == EINPROGRESS && (result != -1 || errno != EINVAL))
            fail_request(r, "aio_cancel with another descriptor gave %d, not EINVAL", result);
        return;
    }
    if (result == AIO_CANCELED ? error != ECANCELED : result == AIO_ALLDONE && error == EINPROGRESS)
        fail_request(r, "aio_cancel gave %d, but the request says %d", result, error);
    if (was_done && result != AIO_ALLDONE)
        fail_request(r, "aio_cancel of a request that was done gave %d", result);
    if (result != AIO_CANCELED && result != AIO_NOTCANCELED && result != AIO_ALLDONE)
        fail_request(r, "aio_cancel gave %d (%s)", result, strerror(errno));
}

static void do_cancel_all(struct worker *w)
{
    struct target *t = choose_target(w);
    int fd = t->out >= 0 && random_chance(w, 50) ? t->out : t->fd, result;

    if (stress.glibc)
        return;
    atomic_fetch_add(&cancels_begun[fd], 1);
    result = aio_cancel(fd, NULL);
    atomic_fetch_add(&cancels_over[fd], 1);
    if (result != AIO_CANCELED && result != AIO_NOTCANCELED && result != AIO_ALLDONE)
        fail(w, "aio_cancel of all of a descriptor gave %d (%s)", result, strerror(errno));
    if (result == AIO_NOTCANCELED)
        return;
    for (unsigned int i = 0; i < w->flying; i++)
        if (w->flight[i]->fd == fd && aio_error(&w->flight[i]->cb) == EINPROGRESS)
            fail_request(w->flight[i],
                         "aio_cancel of all of its descriptor gave %d, but it goes on", result);
}

/* Lists. */

static struct list *unused_list(struct worker *w)
{
    for (unsigned int i = 0; i < LISTS; i++)
        if (!w->lists[i].active)
            return &w->lists[i];
    return NULL;
}

/* Requests that the model allows together, with holes between them; on files only if they are
 * waited for. */
static int fill_list(struct worker *w, struct list *l, struct aiocb **entries, bool files_only)
{
    static struct aiocb nothing = { .aio_lio_opcode = LIO_NOP };
    unsigned int wanted = (unsigned int) random_below(w, LIST_REQUESTS + 1);
    int count = 0;

    l->count = 0;
    make_room(w, wanted);
    for (unsigned int i = 0; i < wanted; i++) {
        struct target *t = choose_target(w);
        struct request *r = NULL;

        if (!files_only || !is_stream(t))
            r = request_prepare(w, t, (enum verb) random_below(w, 2));
        if (r) {
            request_begin(w, r);
            l->requests[l->count++] = r;
        }
        entries[count++] = r ? &r->cb : random_chance(w, 50) ? &nothing : NULL;
    }
    return count;
}

static void do_list(struct worker *w)
{
    struct aiocb *entries[LIST_REQUESTS];
    struct list *l = unused_list(w);
    struct sigevent event;
    int count;

    if (!l)
        return;
    count = fill_list(w, l, entries, false);
    list_begin(w, l, &event);
    for (unsigned int i = 0; i < l->count; i++)
        l->requests[i]->list = l;
    if (lio_listio(LIO_NOWAIT, entries, count,
                   random_chance(w, 50) || l->notice != SILENT ? &event : NULL) != 0)
        fail(w, "lio_listio(LIO_NOWAIT): %s", strerror(errno));
    memset(&event, 0xff, sizeof event);
    memset(entries, 0xff, sizeof entries);
}

static void do_list_wait(struct worker *w)
{
    struct aiocb *entries[LIST_REQUESTS];
    struct list l = { .count = 0 };
    bool failed = false;
    int count = fill_list(w, &l, entries, true), result, error;

    result = lio_listio(LIO_WAIT, entries, count, NULL);
    error = result ? errno : 0;
    memset(entries, 0xff, sizeof entries);
    if (error == EINTR)
        return;
    for (unsigned int i = 0; i < l.count; i++) {
        int status = aio_error(&l.requests[i]->cb);

        if (status == EINPROGRESS)
            fail_request(l.requests[i], "lio_listio(LIO_WAIT) returned %s, but it goes on",
                         strerror(error));
        failed |= status != 0;
    }
    if (error != (failed ? EIO : 0))
        fail(w, "lio_listio(LIO_WAIT) gave %d (%s), its requests %s", result, strerror(error),
             failed ? "did not all succeed" : "succeeded");
}

/* Fork: the child does I/O of its own, while the parent's goes on. */

static _Noreturn void child_failed(int line)
{
    fprintf(stderr, "stress: in a forked child, line %d: %s\n", line, strerror(errno));
    _exit(1);
}

#define CHILD_NEEDS(condition)      \
    do {                            \
        if (!(condition))           \
            child_failed(__LINE__); \
    } while (0)

static atomic_uint child_notices;

static void on_child_thread(union sigval value)
{
    (void) value;
    atomic_fetch_add(&child_notices, 1);
}

static void child_wait(struct aiocb *cb, ssize_t wanted)
{
    const struct aiocb *const list[] = { cb };

    while (aio_error(cb) == EINPROGRESS)
        CHILD_NEEDS(aio_suspend(list, 1, NULL) == 0 || errno == EINTR);
    errno = aio_error(cb);
    CHILD_NEEDS(aio_return(cb) == wanted);
}

static void child_streams(unsigned char *out, unsigned char *in, size_t size)
{
    struct aiocb taker = { .aio_nbytes = size,
                           .aio_buf = in,
                           .aio_sigevent.sigev_notify = SIGEV_NONE };
    struct aiocb giver = { .aio_nbytes = size,
                           .aio_buf = out,
                           .aio_sigevent.sigev_notify = SIGEV_THREAD };
    int end[2];

    CHILD_NEEDS(pipe(end) == 0);
    taker.aio_fildes = end[0];
    giver.aio_fildes = end[1];
    giver.aio_sigevent.sigev_notify_function = on_child_thread;
    CHILD_NEEDS(aio_read(&taker) == 0 && aio_write(&giver) == 0);
    child_wait(&giver, (ssize_t) size);
    child_wait(&taker, (ssize_t) size);
    CHILD_NEEDS(memcmp(in, out, size) == 0);
    while (atomic_load(&child_notices) == 0)
        doze(100000);
}

static _Noreturn void be_child(const struct worker *w)
{
    unsigned char *out = w->scratch, *in = w->scratch + ROOM / 2;
    struct aiocb file = { .aio_nbytes = 60000,
                          .aio_buf = out,
                          .aio_sigevent.sigev_notify = SIGEV_NONE };
    char path[4096];

    alarm(60 * stress.scale);
    bytes_fill(out, 60000, w->random, 0);
    child_streams(out, in, 3000);
    snprintf(path, sizeof path, "%s/stress.XXXXXX", stress.directory);
    file.aio_fildes = mkstemp(path);
    CHILD_NEEDS(file.aio_fildes >= 0 && unlink(path) == 0);
    CHILD_NEEDS(aio_write(&file) == 0);
    child_wait(&file, 60000);
    file.aio_buf = in;
    CHILD_NEEDS(aio_read(&file) == 0);
    child_wait(&file, 60000);
    CHILD_NEEDS(memcmp(in, out, 60000) == 0);
    CHILD_NEEDS(aio_fsync(O_DSYNC, &file) == 0);
    child_wait(&file, 0);
    _exit(0);
}

static void do_fork(struct worker *w)
{
    pid_t child;
    int status;

    if (stress.glibc || stress.childless)
        return;
    child = fork();
    if (child == 0)
        be_child(w);
    if (child < 0)
        fail(w, "fork: %s", strerror(errno));
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail(w, "waitpid: %s", strerror(errno));
    if (status != 0)
        fail(w, "a forked child's requests failed: wait status %#x", status);
}

/* The rest concerns one target. */

static void do_quiesce(struct worker *w)
{
    target_quiesce(w, choose_target(w));
}

static void do_truncate(struct worker *w)
{
    target_truncate(w, choose_target(w));
}

static void do_chill(struct worker *w)
{
    target_chill(choose_target(w));
}

static void do_replace(struct worker *w)
{
    target_replace(w, choose_target(w));
}

static void do_nothing(struct worker *w)
{
    doze((long) random_below(w, 200000));
}

static const struct {
    const char *name;
    unsigned int weight; /* of a thousand */
    void (*run)(struct worker *);
} actions[] = {
    { "submit", 620, do_submit },
    { "suspend", 100, do_suspend },
    { "list", 60, do_list },
    { "list and wait", 40, do_list_wait },
    { "cancel one", 50, do_cancel_one },
    { "cancel all", 20, do_cancel_all },
    { "bad requests", 10, do_bad },
    { "quiesce", 20, do_quiesce },
    { "truncate", 10, do_truncate },
    { "chill", 10, do_chill },
    { "replace", 18, do_replace },
    { "fork", 2, do_fork },
    { "nothing", 40, do_nothing },
};

void act(struct worker *w)
{
    size_t n = random_below(w, 1000), i = 0;

    while (n >= actions[i].weight)
        n -= actions[i++].weight;
    atomic_store(&w->doing, actions[i].name);
    actions[i].run(w);
    if (random_chance(w, 70))
        sweep(w);
}
