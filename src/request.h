/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Request: the library's record of one accepted control block, and the slab it comes from.
 */
#ifndef PAIO_REQUEST_H
#define PAIO_REQUEST_H

#include "control.h"
#include "engine.h"
#include "notify.h"

struct paio_file;

/*
 * State of a request. paio_request_move makes every change; who may make it is said here.
 * The file's lock guards it, except that a fresh request belongs to its submitter alone.
 */
enum paio_state {
    PAIO_FREE,    /* in the slab. paio_request_allocate and paio_request_try move it on. */
    PAIO_NEW,     /* the submitter fills it in, and may have given it to the kernel already.
                     paio_order_enter moves it on; what is not accepted, and what carries a
                     notification or stands for a list, is freed as it is. */
    PAIO_WAITING, /* behind another request or a barrier. paio_order_leave (of the other), or
                     paio_order_cancel, moves it on. */
    PAIO_STARTED, /* the dispatcher or an engine has it, or its result is published and the rest
                     is to be done. paio_order_leave moves it on. */
    PAIO_LEFT,    /* off its file's lists; being notified. paio_request_free moves it on. */
};

/*
 * Has the caller got the result? It is about to while PUBLISHING, and has it when PUBLISHED, and its
 * signal too. Signals are blocked from one to the other: nobody waits for that in a handler on the
 * thread that is to do it.
 */
enum paio_publication { PAIO_UNPUBLISHED, PAIO_PUBLISHING, PAIO_PUBLISHED };

struct paio_request {
    struct paio_operation operation;

    /* Identity, for paio_request_find. */
    _Atomic(struct aiocb *) cb;      /* NULL when the request is free */
    _Atomic uint32_t generation;     /* changes each time the request is allocated */
    uint32_t index;                  /* place in the slab, fixed */
    _Atomic uint32_t next_free;      /* the slab's free list: index + 1 of the next, 0: none */

    /* Order: guarded by the lock of file. */
    _Atomic(struct paio_file *) file;
    _Atomic(enum paio_state) state;
    struct paio_link in_file;        /* the file's list of what is in flight; before: the inbox */
    struct paio_link in_lane;        /* those that run one at a time; next == NULL: in none */
    struct paio_link *lane;          /* the list in_lane is on */
    bool early;                      /* finished or handed back before it was put in order; whoever
                                        has set it, or found it set, reads it without the lock too */
    bool open;                       /* signals are open while it is PAIO_NEW: nobody may wait for
                                        its next state; constant while in use */
    struct paio_descriptor *descriptor;

    /* Completion: of whoever completes it. */
    struct paio_request *next;       /* stack of the settled */
    struct paio_request *group;      /* list I/O group, or NULL */
    struct paio_notice notice;       /* its notification; the sigevent is a copy */
    _Atomic uint32_t left;           /* of a group: requests not yet done */
    uint64_t accepted;               /* time, for the statistics; 0 when none are kept */
    const struct paio_engine *chosen; /* the engine it starts on */
    _Atomic(enum paio_publication) publication;
    bool notified;                   /* the notification has been delivered */
    bool carry_on;                   /* the kernel handed it back: the pool goes on */
    _Atomic bool dropped;            /* early: by one of the two that must */
    _Atomic bool file_write;         /* a write to a regular file: exit waits for it */
    bool appends;                    /* counted in paio_appends */
};

_Static_assert(sizeof(struct paio_request) <= 512, "memory per outstanding request");

/* Requests in flight that append (O_APPEND). */
extern _Atomic uint32_t paio_appends;

/* Empties the slab. For start-up and a forked child, while there is one thread. */
void paio_request_reset(void);

/*
 * A fresh request for cb, in state PAIO_NEW, or NULL when memory is short. Without a control
 * block it carries a notification, or stands for a list I/O group. Signals blocked.
 */
struct paio_request *paio_request_allocate(struct aiocb *cb);

/* The same, if one is free: takes no lock, and signals need not be blocked. */
struct paio_request *paio_request_try(struct aiocb *cb);

/* Makes room for count requests outstanding, as far as there is memory. Signals blocked. */
void paio_request_reserve(unsigned count);

/* Gives it back. Lock-free. The memory stays readable as a request for ever. */
void paio_request_free(struct paio_request *request);

/*
 * The same for one that has been accepted: who has finished and notified it calls this, and if it was
 * early who would have put it in order too. The second frees it. Lock-free.
 */
void paio_request_drop(struct paio_request *request);

/*
 * The request that cb stands for while it is in flight, or NULL. The answer may be out of date
 * when it arrives, unless a lock keeps the request from being recycled. Lock-free,
 * async-signal-safe.
 */
struct paio_request *paio_request_find(const struct aiocb *cb);

/*
 * Is any request out of the slab? With unwritten: any write to a regular file whose result is not
 * published, and that is in order? Looks at all there are: for rare occasions. Lock-free.
 */
bool paio_request_any(bool unwritten);

/* The one place where a state changes. Release: pairs with paio_request_any. */
static inline void paio_request_move(struct paio_request *request, enum paio_state state)
{
    atomic_store_explicit(&request->state, state, memory_order_release);
}

/* Turns a chain by next round: stacks are emptied in the order in which they were filled. */
static inline struct paio_request *paio_request_reverse(struct paio_request *chain)
{
    struct paio_request *reversed = NULL;

    while (chain) {
        struct paio_request *next = chain->next;

        chain->next = reversed;
        reversed = chain;
        chain = next;
    }
    return reversed;
}

static inline struct paio_request *paio_request_of(struct paio_operation *operation)
{
    return paio_container(operation, struct paio_request, operation);
}

static inline struct paio_request *paio_request_of_notice(struct paio_notice *notice)
{
    return paio_container(notice, struct paio_request, notice);
}

#endif
