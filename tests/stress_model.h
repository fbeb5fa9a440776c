/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stress: what its parts know of each other.
 *
 * The model. Every thread of the stress (a worker) owns targets: files and streams on which it has
 * requests in flight. For each target it knows what every byte must be and for each request which
 * results are right, because it submits only what has one right outcome:
 *
 *  - On a seekable file a request holds its range of bytes until its result has been looked at; a
 *    write shares its range with nobody, reads share with reads. A request that reaches the end of
 *    the file holds everything behind it too. So the file's image in memory, changed when a write
 *    has succeeded, says what any read must have found.
 *  - Appends take effect in the order of submission: the image grows by each that succeeded.
 *  - A stream carries chunks, one a write, whose bytes name the chunk; reads take them in order.
 *    A chunk whose write was canceled never shows.
 *  - A sync is done only when all reads and writes submitted before on its descriptor are done.
 *  - Files shared by all workers are cut into a region for each, or, for appends, into records
 *    that name their worker and are sorted out at the end.
 *
 * ECANCELED is right only if something that cancels was called for the descriptor or request
 * and was not over before the submission. Each request and each list notifies exactly once; the
 * notification bears a token that names the request and its generation, so one that comes late or
 * twice shows.
 *
 * Threads. A worker's data are its own but for what is _Atomic; notifications, which run anywhere
 * and at any time, read of a request or list only what stands before they have counted themselves:
 * until then the owner does not touch it.
 *
 * Files: stress.c (options, watchdog), stress_base.c (choices, bytes, failure), stress_model.c
 * (what a request may be and what must come of it), stress_request.c (a request's way),
 * stress_target.c (files and streams), stress_actions.c (what a worker may do next).
 */
#ifndef STRESS_MODEL_H
#define STRESS_MODEL_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum {
    WORKERS = 64,         /* at most */
    REQUESTS = 40,        /* of a worker, in flight at most */
    RESERVED = 8,         /* of these: kept for emptying streams */
    LISTS = 4,            /* of a worker, in flight at most */
    LIST_REQUESTS = 12,   /* of a list, at most */
    TARGETS = 11,         /* of a worker */
    CHUNKS = 64,          /* of a stream, not yet read, at most */
    BLOCK = 4096,         /* what O_DIRECT goes by */
    LONGEST = 192 * 1024, /* request */
    GUARD = 64,           /* bytes behind a buffer that must stay as they are */
    ROOM = 1024 * 1024,   /* size of a file, or of a worker's region of the shared one */
    DESCRIPTORS = 4096,   /* no descriptor has a higher number */
    UNTOUCHED = 0x5a      /* what a read has not reached */
};

enum kind { BUFFERED, DIRECT, DSYNC, SHARED, APPEND, SHARED_APPEND, PIPE, FIFO, SOCKET, KINDS };
enum verb { READ, WRITE, SYNC };
enum notice { SILENT, BY_SIGNAL, BY_THREAD, BY_THREAD_ID };

struct worker;
struct target;

/* What one write puts into a stream. */
struct chunk {
    uint64_t name;           /* which bytes it has */
    size_t length, seen;     /* bytes it may have; that were read */
    struct request *request; /* until its result is known */
    bool canceled;
};

struct target {
    enum kind kind;
    struct worker *owner;
    int fd, out; /* requests go to fd; for a stream, reads go to fd and writes to out */
    int view;    /* of a file: another descriptor, to look at it */
    off_t base;  /* where the owner's region begins */
    size_t align, size;
    unsigned char *image;
    struct chunk chunks[CHUNKS];
    uint64_t written, reading; /* chunks: the next to write, the one being read */
    bool closing;              /* its descriptors are being closed: short results are right */
    uint64_t salt;
    struct target *twin; /* the other direction of a socket */
};

struct list {
    atomic_uint token, notified;
    enum notice notice;
    bool active;
    unsigned int count;
    struct request *requests[LIST_REQUESTS];
};

struct request {
    struct aiocb cb;
    atomic_uint token, notified;
    enum notice notice;
    bool settled; /* its result has been looked at */
    unsigned int index;
    struct target *target; /* NULL: one that must fail */
    struct list *list;
    struct chunk *chunk;
    enum verb verb;
    uint64_t action, order; /* the action that submitted it; place among the worker's requests */
    int fd;
    off_t offset;
    size_t length, expected;
    off_t held_from, held_to;
    unsigned int cancels; /* of the descriptor that were over when it was submitted */
    bool cancel_asked;
    int wanted_error;
    uint32_t record; /* number of a shared append */
    unsigned char *memory, *buffer;
};

/* A shared append that succeeded. */
struct record {
    uint32_t number, length;
};

struct worker {
    unsigned int number;
    pthread_t thread;
    pid_t tid;
    uint64_t random, order;
    _Atomic uint64_t action, beat;
    _Atomic(const char *) doing;
    struct request requests[REQUESTS];
    struct request *flight[REQUESTS], *unused[REQUESTS];
    _Atomic unsigned int flying;
    unsigned int unused_count;
    struct list lists[LISTS];
    struct target targets[TARGETS];
    unsigned int target_count;
    struct record *records; /* shared appends that succeeded, in order */
    size_t record_count, record_room;
    uint32_t next_record;
    unsigned char *scratch; /* ROOM bytes to read into */
    uint64_t done, canceled, notifications;
};

/* What was asked for on the command line, and what all workers share. */
struct stress {
    uint64_t seed, actions;
    double seconds;
    unsigned int workers, scale;
    bool glibc;      /* not our library: leave out what glibc is known to fail */
    bool unsignaled; /* no notification by signal */
    bool childless;  /* no forks */
    bool hold;       /* on a failure wait for a debugger */
    bool direct;     /* the filesystem allows O_DIRECT */
    const char *directory;
    int shared, shared_append, victim; /* descriptors */
    atomic_bool stop;
    struct worker *worker;
};

extern struct stress stress;
extern _Atomic unsigned int cancels_begun[DESCRIPTORS], cancels_over[DESCRIPTORS];

/* Choices. */
uint64_t mix(uint64_t x);
void random_begin(struct worker *w, uint64_t action);
uint64_t random_word(struct worker *w);
size_t random_below(struct worker *w, size_t n);
bool random_chance(struct worker *w, unsigned int percent);
size_t random_length(struct worker *w, size_t longest, size_t align);

/* Bytes. */
void bytes_fill(unsigned char *at, size_t length, uint64_t name, size_t from);
bool bytes_match(const unsigned char *at, size_t length, uint64_t name, size_t from);
bool bytes_all(const unsigned char *at, size_t length, unsigned char value);

/* The end of a run that failed. */
_Noreturn void fail(const struct worker *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
_Noreturn void fail_request(const struct request *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void show_state(void);
struct worker *worker_of(const struct request *r);

/* What a request may do and what must have come of it. */
bool is_stream(const struct target *t);
bool plan(struct worker *w, struct request *r, struct target *t, enum verb verb);
void check_result(struct worker *w, struct request *r, int error, ssize_t result);
bool must_precede(const struct request *earlier, const struct request *later);
bool stream_is_empty(const struct target *t);

/* A request's way. */
extern int request_signal, list_signal;
void requests_setup(struct worker *w);
void handlers_setup(void);
struct request *request_prepare(struct worker *w, struct target *t, enum verb verb);
struct request *request_prepare_bad(struct worker *w, int fd, enum verb verb, off_t offset,
                                    int wanted);
void request_begin(struct worker *w, struct request *r);
void request_submit(struct worker *w, struct request *r);
void list_begin(struct worker *w, struct list *l, struct sigevent *event);
void sweep(struct worker *w);
bool unsettled(const struct worker *w, const struct target *t);
void wait_target(struct worker *w, struct target *t);
void doze(long nanoseconds);
double now(void);

/* Files and streams. */
void shared_open(void);
void shared_check(void);
void targets_open(struct worker *w);
void targets_close(struct worker *w);
void target_quiesce(struct worker *w, struct target *t);
void target_replace(struct worker *w, struct target *t);
void target_truncate(struct worker *w, struct target *t);
void target_chill(struct target *t);

/* One action, chosen at random. */
void act(struct worker *w);

#endif
