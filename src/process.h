/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Process: when the library starts, what the environment asks of it, what a fork and the exit
 * of the process do to it.
 */
#ifndef PAIO_PROCESS_H
#define PAIO_PROCESS_H

#include "base.h"

/* Answers of the environment and of the kernel; constant once the library has started. */
struct paio_settings {
    bool descriptor_order;  /* LIBPOSIX_AIO_ORDER=descriptor */
    bool kernel_wanted;     /* LIBPOSIX_AIO_ENGINE is not "pool" */
    bool kernel_forced;     /* LIBPOSIX_AIO_ENGINE=kernel */
    bool kernel;            /* kernel AIO works */
    bool buffered;          /* io_submit of buffered files does not block: fs.aio-buffered is 1 */
    char reason[48];        /* why it is not used, or empty */
    pid_t owner;            /* the process that all of this belongs to */
};

extern struct paio_settings paio_settings;

/*
 * Alive: set once the library has started, on a page of its own that a forked child finds wiped
 * (MADV_WIPEONFORK), whichever way it was forked. The futexes of waiters are there too: no word that a
 * thread has read before a handler forked is there in the child, so it does not sleep on there for what only the parent's
 * threads could tell it.
 */
enum { PAIO_BUCKETS = 32 };

struct paio_alive {
    _Atomic uint32_t started; /* which start of the library it was, 0 for none */
    struct {
        _Alignas(64) _Atomic uint32_t word; /* see waiter.c; never 0 once started */
    } bucket[PAIO_BUCKETS];
};

extern _Atomic(struct paio_alive *) paio_alive;

/* Starts the library, in this process for the first time or in a forked child anew. */
void paio_process_start_slowly(void);

/*
 * Has the library started in this process? The answer is another number after each start: a call that got one
 * earlier can tell that it goes on in a forked child. Async-signal-safe: two loads.
 */
static inline uint32_t paio_process_started(void)
{
    struct paio_alive *alive = atomic_load_explicit(&paio_alive, memory_order_acquire);

    return alive ? atomic_load_explicit(&alive->started, memory_order_acquire) : 0;
}

/* What each call that submits begins with. */
static inline void paio_process_start(void)
{
    if (__builtin_expect(!paio_process_started(), 0))
        paio_process_start_slowly();
}

/*
 * A descriptor of the library's own: moved to a high number, close-on-exec, and remembered, so
 * that the close family leaves it alone. slot is where its number is kept.
 */
void paio_private_keep(int fd, _Atomic int *slot);

/* Closes the private descriptor kept in slot, if any. */
void paio_private_close(_Atomic int *slot);

/* Room for the library's own descriptors, and the number of the i-th of them, or -1. */
enum { PAIO_PRIVATE = 8 };
int paio_private_number(unsigned i);

/* The slot of fd if it is one of them, or NULL. Lock-free, async-signal-safe. */
_Atomic int *paio_private_find(int fd);

#endif
