/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the statistics are called, and reading a file of them. Shared by the library and the
 * program posix-aio.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "stats.h"

static const char *const operations[PAIO_STAT_OPERATIONS] = { "read", "write", "fsync" };
const char *const paio_way_names[PAIO_WAYS] = { "inline", "kernel", "pool", "stream", "waiter" };
static const char *const counters[] = { "carried_on",    "canceled",    "notify.signal",
                                        "notify.thread", "outstanding", "outstanding.max" };

static const struct {
    const char *name;
    unsigned per_mille;
} percentiles[] = { { "p50", 500 }, { "p90", 900 }, { "p99", 990 }, { "max", 1000 } };

enum { PERCENTILES = sizeof percentiles / sizeof percentiles[0] };

/* The upper end of a step of the histogram. */
static uint64_t latency_of(unsigned step)
{
    unsigned power = step / PAIO_LATENCY_STEPS, part = step % PAIO_LATENCY_STEPS;

    if (power < 3)
        return step + 1;
    return ((uint64_t) 1 << power) + ((uint64_t) (part + 1) << (power - 3));
}

uint64_t paio_stats_percentile(const struct paio_stats *stats, unsigned operation,
                               unsigned per_mille)
{
    const _Atomic uint64_t *latency = stats->latency[operation];
    uint64_t total = 0, seen = 0;

    for (unsigned i = 0; i < PAIO_LATENCIES; i++)
        total += atomic_load_explicit(&latency[i], memory_order_relaxed);
    for (unsigned i = 0; i < PAIO_LATENCIES && total; i++) {
        seen += atomic_load_explicit(&latency[i], memory_order_relaxed);
        if (seen * 1000 >= total * per_mille)
            return latency_of(i);
    }
    return 0;
}

bool paio_stats_read(const struct paio_stats *stats, unsigned number, char *name, size_t size,
                     uint64_t *value)
{
    unsigned operation;

    if (number < PAIO_STATS) {
        if (number < PAIO_STAT_CARRIED_ON)
            snprintf(name, size, "%s.%s", operations[number / PAIO_WAYS],
                     paio_way_names[number % PAIO_WAYS]);
        else
            snprintf(name, size, "%s", counters[number - PAIO_STAT_CARRIED_ON]);
        *value = atomic_load_explicit(&stats->counter[number], memory_order_relaxed);
        return true;
    }
    number -= PAIO_STATS;
    operation = number / PERCENTILES;
    number %= PERCENTILES;
    if (operation >= PAIO_STAT_OPERATIONS)
        return false;
    snprintf(name, size, "%s.latency.%s", operations[operation], percentiles[number].name);
    *value = paio_stats_percentile(stats, operation, percentiles[number].per_mille);
    return true;
}

const struct paio_stats *paio_stats_open(const char *path)
{
    /* It may be no such file at all: a FIFO must not block, a terminal not be taken. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    void *map = MAP_FAILED;
    struct stat st;

    if (fd < 0)
        return NULL;
    if (fstat(fd, &st) == 0) {
        errno = EINVAL;
        if (st.st_size == (off_t) sizeof(struct paio_stats))
            map = mmap(NULL, sizeof(struct paio_stats), PROT_READ, MAP_SHARED, fd, 0);
    }
    paio_close(fd);
    if (map == MAP_FAILED)
        return NULL;
    if (memcmp(map, PAIO_STATS_MAGIC, sizeof PAIO_STATS_MAGIC - 1) != 0) {
        munmap(map, sizeof(struct paio_stats));
        errno = EINVAL;
        return NULL;
    }
    return map;
}
