/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the programs of the benchmark share: arguments, clocks, percentiles, the file that is read or
 * written, and the figures that are printed.
 *
 * The programs use <aio.h> alone, so they run on any implementation of it: the C library's, or one
 * that LD_PRELOAD puts before it. Each measures one thing, checks every result, and prints lines of
 * a name and a number. A program ends with a message and status 1 when a call fails.
 */
#ifndef BENCH_H
#define BENCH_H

#include <aio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The arguments; each program uses those that mean something to it. */
struct bench_options {
    const char *file;    /* -f */
    const char *kind;    /* -k: what is done; the program says which it knows */
    bool direct;         /* -d: O_DIRECT */
    bool write;          /* -w: writes, not reads */
    bool held;           /* -m: what is used of the file is held in memory meanwhile (mmap, mlock) */
    unsigned count;      /* -n: depth, entries, requests outstanding; 1 unless given */
    size_t bytes;        /* -b: of one request; 4096 unless given */
    off_t span;          /* -s MiB: how much of the file is used; all of it unless given */
    uint64_t duration;   /* -t ms: how long to measure, in nanoseconds; 500 ms unless given */
};

/* Reads the arguments; ends the program if one is wrong. */
struct bench_options bench_arguments(int argc, char **argv);

/* Ends the program with a message; with_errno appends what errno says. */
_Noreturn void bench_fail(const char *what, bool with_errno);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t bench_now(void);

/* Memory that O_DIRECT takes, filled so that it is there. */
void *bench_buffer(size_t bytes);

/* calloc that does not fail. */
void *bench_array(size_t count, size_t size);

/* --- A file, and the order in which its blocks are used --------------------------------------- */

/* Blocks come in a shuffled order, none a second time before all have had their turn. */
struct bench_file {
    int fd;
    uint64_t blocks;     /* a power of two */
    uint64_t next;
    uint64_t stride;     /* odd, so that its multiples meet each block */
    size_t bytes;
};

/* Opens the file of the arguments with these flags of open(2), and O_DIRECT if they ask for it. */
struct bench_file bench_open(const struct bench_options *options, int flags);

/* The offset of the next block. */
off_t bench_offset(struct bench_file *file);

/* --- Requests -------------------------------------------------------------------------------- */

/* Sets the control block up for one block of the file; no notification. */
void bench_prepare(struct aiocb *cb, struct bench_file *file, void *buffer, int opcode);

/* Waits for one request by aio_suspend. */
void bench_wait(const struct aiocb *cb);

/* Takes the result of a finished request, which must be its full length. */
void bench_take(struct aiocb *cb);

/* Submits by aio_read or aio_write, as aio_lio_opcode says. */
void bench_submit(struct aiocb *cb);

/* --- Figures --------------------------------------------------------------------------------- */

/* A histogram of durations: each power of two of nanoseconds in 32 steps (3 % wide). */
enum { BENCH_STEPS = 32, BENCH_BUCKETS = 64 * BENCH_STEPS };
struct bench_histogram {
    uint64_t count[BENCH_BUCKETS];
    uint64_t total;
    uint64_t maximum;
};

void bench_add(struct bench_histogram *histogram, uint64_t nanoseconds);

/*
 * Prints p50, p99, p999 and max in microseconds. A percentile that no duration at all would lie beyond
 * is left out: p99 needs 100 durations, p999 needs 1000.
 */
void bench_print_histogram(const struct bench_histogram *histogram);

/* Prints one figure. */
void bench_print(const char *name, double value);

/* A stretch of time: the clock, and the CPU time of the whole process, all threads included. */
struct bench_interval {
    uint64_t begun;      /* ns */
    double cpu;          /* s */
};

struct bench_interval bench_begin(void);

/* Prints done (their number), rate (per second) and cpu (seconds per million) of what was done since bench_begin. */
void bench_end(const struct bench_interval *interval, uint64_t done);

/* Of this process, from /proc/self/status: a field's number (kB, or a plain count). */
long bench_status(const char *field);

#endif
