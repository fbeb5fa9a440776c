/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Keeping the statistics: counters in a file mapped shared. The file is made anew (the old one
 * unlinked, so that a reader of it keeps what it has) when the library starts in a process; a
 * forked child has its own if the name says %p, and none otherwise. A file that holds anything but
 * statistics is left alone.
 */
#include "stats.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct paio_stats *paio_stats;

static bool started;

static const char magic[8] = PAIO_STATS_MAGIC;

bool paio_stats_expand(char *out, size_t size, const char *name)
{
    size_t used = 0;

    for (; *name && used + 1 < size; name++) {
        if (name[0] == '%' && name[1] == 'p') {
            used += (size_t) snprintf(out + used, size - used, "%d", (int) getpid());
            name++;
        } else {
            out[used++] = *name;
        }
    }
    if (used >= size)
        return false;
    out[used] = '\0';
    return !*name;
}

/* Does the file hold statistics? Also of another version, or of a process that got no further. */
static bool holds_statistics(int fd, off_t size)
{
    static const char unfinished[sizeof magic];
    char begin[sizeof magic];

    if (pread(fd, begin, sizeof begin, 0) != sizeof begin)
        return false;
    return memcmp(begin, magic, sizeof magic - 1) == 0 ||
           (size == (off_t) sizeof *paio_stats && memcmp(begin, unfinished, sizeof begin) == 0);
}

/* 0 if nothing of that name would be lost, else the error; EEXIST: it holds something else. */
static int may_replace(const char *path)
{
    struct stat st;
    bool ours;
    int fd;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : errno;
    /* Nothing but a regular file is to be opened: a device could do something. */
    if (!S_ISREG(st.st_mode))
        return EEXIST;
    if (st.st_size == 0)
        return 0;
    fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    ours = holds_statistics(fd, st.st_size);
    paio_close(fd);
    return ours ? 0 : EEXIST;
}

struct paio_stats *paio_stats_make(const char *path)
{
    void *map = MAP_FAILED;
    int fd;

    errno = may_replace(path);
    if (errno)
        return NULL;
    unlink(path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return NULL;
    /* With its blocks: writing to a mapping that finds no space is a SIGBUS. */
    errno = posix_fallocate(fd, 0, sizeof *paio_stats);
    if (!errno)
        map = mmap(NULL, sizeof *paio_stats, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        int error = errno;

        unlink(path);
        paio_close(fd);
        errno = error;
        return NULL;
    }
    paio_close(fd);
    return map;
}

void paio_stats_start(const char *engine, const char *reason)
{
    const char *name = secure_getenv("LIBPOSIX_AIO_STATS");
    bool child = started;
    char path[PATH_MAX];

    started = true;
    if (!name || !*name || !paio_stats_expand(path, sizeof path, name))
        return;
    if (child && !strstr(name, "%p"))
        return;
    paio_stats = paio_stats_make(path);
    if (!paio_stats)
        return;
    paio_stats->pid = (uint64_t) getpid();
    strncpy(paio_stats->engine, engine, sizeof paio_stats->engine - 1);
    strncpy(paio_stats->reason, reason, sizeof paio_stats->reason - 1);
    memcpy(paio_stats->magic, magic, sizeof magic);
}

void paio_stats_forget(void)
{
    if (paio_stats)
        munmap(paio_stats, sizeof *paio_stats);
    paio_stats = NULL;
}

void paio_stats_outstanding_slowly(int change)
{
    _Atomic uint64_t *most = &paio_stats->counter[PAIO_STAT_OUTSTANDING_MAX];
    uint64_t now = atomic_fetch_add(&paio_stats->counter[PAIO_STAT_OUTSTANDING],
                                    (uint64_t) change) + (uint64_t) change;
    uint64_t seen = atomic_load_explicit(most, memory_order_relaxed);

    while (change > 0 && now > seen && !atomic_compare_exchange_weak(most, &seen, now))
        ;
}

/* Step of the histogram for a time of ns nanoseconds. */
static unsigned step_of(uint64_t ns)
{
    unsigned power;

    if (ns < PAIO_LATENCY_STEPS)
        return (unsigned) ns;
    power = 63 - (unsigned) __builtin_clzll(ns);
    return power * PAIO_LATENCY_STEPS + (unsigned) (ns >> (power - 3) & 7);
}

void paio_stats_done_slowly(unsigned code, enum paio_way way, uint64_t accepted)
{
    unsigned operation = code < PAIO_STAT_OPERATIONS ? code : PAIO_STAT_OPERATIONS - 1;
    uint64_t now = paio_now();

    atomic_fetch_add_explicit(
        &paio_stats->counter[PAIO_STAT_DONE + operation * PAIO_WAYS + way], 1,
        memory_order_relaxed);
    if (accepted && now >= accepted)
        atomic_fetch_add_explicit(&paio_stats->latency[operation][step_of(now - accepted)], 1,
                                  memory_order_relaxed);
}
