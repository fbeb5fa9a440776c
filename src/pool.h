/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the pool share: engine_pool.c, which queues operations and says who begins which,
 * worker.c, the threads that do, and guest.c, threads of the caller's that do so in their place.
 *
 * Locks: paio_pool.lock (p) guards everything but what says otherwise. Only the lock of paio_memory_permanent is taken
 * under it. All functions here are called with it held and signals blocked, except those that say otherwise.
 */
#ifndef PAIO_POOL_H
#define PAIO_POOL_H

#include "engine_pool.h"
#include "flow.h"

/* Class of work, as the pool serves it. */
extern const struct paio_pool_class {
    const char *name;
    unsigned base;      /* threads started without waiting for a stall */
    unsigned leisurely; /* the same where there is leisure */
    unsigned most;      /* threads in all */
    unsigned share;     /* threads at work on one file */
} paio_pool_classes[PAIO_CLASSES];

/*
 * Worker: the record of one thread. The memory is used again for other threads and never given
 * back, for whoever rings the doorman or wakes a sleeper does so without a lock, late perhaps.
 *
 * A worker without work sleeps on `awake`. Whoever has work for it takes it off `idle`, gives it
 * the operation, which is begun from then on, and wakes it; a thread that is only starting is
 * given work in the same way. Wakeups may come that bring nothing: everybody looks again.
 *
 * A worker that completes an operation is on its way back, and will look for the next: as many
 * operations as such workers are counted in `returning` are left to them. `way` says whether it is one
 * of those, and whether a tick has seen it so: at the next tick it is late, and not counted any more.
 */
enum paio_returning { PAIO_NOT_COUNTED, PAIO_RETURNING, PAIO_SEEN_RETURNING };

struct paio_worker {
    struct paio_link all;         /* p: workers */
    struct paio_link link;        /* p: idle, or spare; next == NULL: neither */
    struct paio_operation *given; /* p: begun on its behalf */
    struct paio_flow *flow;       /* p: the one it counts for in `running`, or NULL */
    unsigned followed;            /* p: operations followed by another, since one that was not */
    bool seen;                    /* p: by a tick, since it was given this operation */
    enum paio_class class;        /* constant while the thread lives */
    _Atomic pid_t thread;         /* its number once it runs, 0 before */
    _Atomic int fd;               /* of the operation begun and not yet performed, or -1 */
    _Atomic(enum paio_returning) way; /* from PAIO_NOT_COUNTED by the worker itself, else p */
    _Atomic uint32_t awake;
};

extern struct paio_pool {
    pthread_mutex_t lock;
    struct {
        struct paio_line line;        /* p: what is queued */
        struct paio_link idle;        /* p: workers that were given nothing, the latest first */
        unsigned threads;             /* p */
        _Atomic unsigned working;     /* p to write: threads that are not idle */
        unsigned guests;              /* p: callers at work in the place of a thread */
        bool asked;                   /* p: paio_pool_able was, since a thread would have ended: it is to be there */
        _Atomic unsigned late;        /* p to write: threads that the last two ticks saw with the same operation */
        unsigned begun_before;        /* p: operations begun at the last tick */
        _Atomic unsigned returning;   /* workers by their `way`; p to count down */
        _Atomic uint32_t interval;    /* p to write: reads and syncs, nanoseconds from one to the next, on average */
    } class[PAIO_CLASSES];
    uint64_t read_begun;              /* p: time at which the latest read was begun */
    struct paio_link workers;         /* p: all of them */
    struct paio_link spare;           /* p: records without a thread */
    unsigned most;                    /* p: aio_init's limit, 0 for none */
    unsigned idle_seconds;            /* p */
    void (*attend)(bool leaving);     /* constant once started */
    _Atomic(struct paio_worker *) doorman; /* an idle worker of the class of writes, to be rung */
} paio_pool;

/*
 * A record without a thread, for work of that class, or NULL when memory is short. It is on no list, and goes
 * back by paio_worker_dismiss.
 */
struct paio_worker *paio_worker_recruit(enum paio_class class);
void paio_worker_dismiss(struct paio_worker *worker);

/* One thread more, idle until it is given work. False: the limits, or the system, do not allow it. */
bool paio_worker_start(enum paio_class class);

/* The record of the calling thread, NULL if it is none of the pool's. Needs no lock. */
struct paio_worker *paio_worker_self(void);

/* From now on the worker counts as running for flow, or for none. True: it did for another. */
bool paio_worker_count_for(struct paio_worker *worker, struct paio_flow *flow);

/* At every tick: workers that the last one has seen on their way back, or with the same operation, are late. */
void paio_worker_look_for_late(void);

/*
 * Begins the next operation for the worker: it is in worker->given, NULL if there is none. True: the
 * worker has left a flow.
 */
bool paio_pool_begin(struct paio_worker *worker);

/* A read is begun. Under the lock. */
void paio_pool_note_read(void);

/* As paio_pool_left_to. Under the lock. */
bool paio_pool_has_left(pthread_t thread);

/* What the transfer of a sync took, in nanoseconds, on a thread that is still at work. Under the lock. */
void paio_pool_note_sync(uint64_t took);

/* Workers that are to be woken when the lock has been released. */
enum { PAIO_WAKEUPS = 16 };

struct paio_wakeups {
    struct paio_worker *woken[PAIO_WAKEUPS];
    unsigned count;
};

/* Begins what is queued for those that have nothing to do, as far as there is room in wakeups. */
void paio_pool_hand_over(enum paio_class class, struct paio_wakeups *wakeups);

/* A thread is about to serve: what is queued besides, and left to nobody, gets others, which do the same. */
void paio_pool_spread(enum paio_class class, struct paio_wakeups *wakeups);

/* Leaves what is awaited to threads after all, and begins it like that. */
void paio_pool_expose_class(enum paio_class class, struct paio_wakeups *wakeups);

/* Without the lock. */
void paio_pool_wake(struct paio_wakeups *wakeups);

/* What the engine does for a waiter: see engine.h, claim and perform. Without the lock. */
struct paio_operation *paio_guest_claim(struct paio_operation *operation);
bool paio_guest_perform(struct paio_operation *operation,
                        bool (*go_on)(const struct paio_operation *next, void *wait), void *wait);

#endif
