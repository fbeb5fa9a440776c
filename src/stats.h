/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Statistics: what went which way, kept in a mapped file when LIBPOSIX_AIO_STATS names one, so
 * that they outlive _exit and SIGKILL. Without it paio_stats is NULL and each call here is a
 * load and a branch.
 */
#ifndef PAIO_STATS_H
#define PAIO_STATS_H

#include <stdio.h>

#include "base.h"

/* Ways that a request can end on. */
enum paio_way {
    PAIO_WAY_INLINE, /* in the call that submitted it */
    PAIO_WAY_KERNEL,
    PAIO_WAY_POOL,
    PAIO_WAY_STREAM,
    PAIO_WAY_WAITER, /* in the call that waited for it */
    PAIO_WAYS
};

extern const char *const paio_way_names[PAIO_WAYS];

enum { PAIO_STAT_OPERATIONS = 3 }; /* read, write, fsync */

enum paio_stat {
    PAIO_STAT_DONE, /* first of the requests by operation and way */
    PAIO_STAT_CARRIED_ON = PAIO_STAT_DONE + PAIO_STAT_OPERATIONS * PAIO_WAYS,
    PAIO_STAT_CANCELED,
    PAIO_STAT_NOTIFY_SIGNAL,
    PAIO_STAT_NOTIFY_THREAD,
    PAIO_STAT_OUTSTANDING,
    PAIO_STAT_OUTSTANDING_MAX,
    PAIO_STATS
};

/* Latency histogram: each power of two of nanoseconds in eight steps. */
enum { PAIO_LATENCY_STEPS = 8, PAIO_LATENCIES = 64 * PAIO_LATENCY_STEPS };

/* The file begins with it. Little-endian; a change of layout changes the magic. */
#define PAIO_STATS_MAGIC "POSIXAI2"

struct paio_stats {
    char magic[8];
    uint64_t pid;
    char engine[16];       /* "kernel" or "pool" */
    char reason[48];       /* why not "kernel", or empty */
    _Atomic uint64_t counter[PAIO_STATS];
    _Atomic uint64_t latency[PAIO_STAT_OPERATIONS][PAIO_LATENCIES];
};

extern struct paio_stats *paio_stats;

/* Maps the file that LIBPOSIX_AIO_STATS names, if it names one. */
void paio_stats_start(const char *engine, const char *reason);

/*
 * The file's name: name with each %p replaced by the number of this process, into out. False: it
 * does not fit.
 */
bool paio_stats_expand(char *out, size_t size, const char *name);

/*
 * Makes and maps a file for statistics, all zero, in place of earlier ones. NULL with errno;
 * EEXIST: something else has that name, and is left alone.
 */
struct paio_stats *paio_stats_make(const char *path);

/* Lets go of the file without touching it: a forked child's first act. */
void paio_stats_forget(void);

/* The time a request is accepted at, or 0 when no statistics are kept. */
static inline uint64_t paio_stats_accepted(void)
{
    return paio_stats ? paio_now() : 0;
}

static inline void paio_stats_count(enum paio_stat stat)
{
    if (paio_stats)
        atomic_fetch_add_explicit(&paio_stats->counter[stat], 1, memory_order_relaxed);
}

/* Counts requests in and out of the library, where they are not done in the caller. */
void paio_stats_outstanding_slowly(int change);

static inline void paio_stats_outstanding(int change)
{
    if (paio_stats)
        paio_stats_outstanding_slowly(change);
}

/* Counts a request done: code is enum paio_code. */
void paio_stats_done_slowly(unsigned code, enum paio_way way, uint64_t accepted);

static inline void paio_stats_done(unsigned code, enum paio_way way, uint64_t accepted)
{
    if (paio_stats)
        paio_stats_done_slowly(code, way, accepted);
}

/*
 * Reading them: name of the statistic with that number (into name), and its value. False: there
 * are no more. Used by posix_aio_stat and by the program posix-aio.
 */
bool paio_stats_read(const struct paio_stats *stats, unsigned number, char *name, size_t size,
                     uint64_t *value);

/*
 * The latency, in nanoseconds, that so many of a thousand requests of the operation (0: read, 1:
 * write, 2: fsync) did not exceed; 0 if there was none.
 */
uint64_t paio_stats_percentile(const struct paio_stats *stats, unsigned operation,
                               unsigned per_mille);

/* Maps a statistics file for reading, or NULL with errno (EINVAL: it is none). */
const struct paio_stats *paio_stats_open(const char *path);

#endif
