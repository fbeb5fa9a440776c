/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the programs of the benchmark share; see bench.h.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *program = "bench";

void bench_fail(const char *what, bool with_errno)
{
    if (with_errno)
        fprintf(stderr, "%s: %s: %s\n", program, what, strerror(errno));
    else
        fprintf(stderr, "%s: %s\n", program, what);
    exit(1);
}

static double positive(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end || value <= 0)
        bench_fail("a number above 0 is needed", false);
    return value;
}

struct bench_options bench_arguments(int argc, char **argv)
{
    struct bench_options options = { .kind = "", .count = 1, .bytes = 4096, .duration = 500000000 };
    int letter;

    program = argv[0];
    while ((letter = getopt(argc, argv, "f:k:dwmn:b:s:t:")) != -1)
        switch (letter) {
        case 'f': options.file = optarg; break;
        case 'k': options.kind = optarg; break;
        case 'd': options.direct = true; break;
        case 'w': options.write = true; break;
        case 'm': options.held = true; break;
        case 'n': options.count = positive(optarg); break;
        case 'b': options.bytes = positive(optarg); break;
        case 's': options.span = positive(optarg) * (1 << 20); break;
        case 't': options.duration = positive(optarg) * 1e6; break;
        default: bench_fail("usage: [-f FILE] [-k KIND] [-d] [-w] [-m] [-n COUNT] [-b BYTES] [-s MiB] [-t ms]", false);
        }
    return options;
}

uint64_t bench_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000 + t.tv_nsec;
}

void *bench_buffer(size_t bytes)
{
    void *memory;

    if (posix_memalign(&memory, 4096, bytes))
        bench_fail("out of memory", false);
    return memset(memory, 0x5a, bytes);
}

void *bench_array(size_t count, size_t size)
{
    void *memory = calloc(count, size);

    if (!memory)
        bench_fail("out of memory", false);
    return memory;
}

/* --- A file ---------------------------------------------------------------------------------- */

/* Without the right to lock so much memory, the file's part may go when the kernel wants it. */
static void hold(int fd, off_t span)
{
    void *memory = mmap(NULL, span, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);

    if (memory == MAP_FAILED)
        bench_fail("mmap of the file", true);
    mlock(memory, span);
}

struct bench_file bench_open(const struct bench_options *options, int flags)
{
    struct bench_file file = { .bytes = options->bytes };
    struct stat status;
    off_t span;

    if (!options->file)
        bench_fail("-f FILE is needed", false);
    file.fd = open(options->file, flags | (options->direct ? O_DIRECT : 0));
    if (file.fd < 0 || fstat(file.fd, &status))
        bench_fail(options->file, true);
    span = options->span && options->span < status.st_size ? options->span : status.st_size;
    if ((size_t) span < file.bytes)
        bench_fail("the file is smaller than one request", false);
    for (file.blocks = 1; file.blocks * 2 * file.bytes <= (uint64_t) span; file.blocks *= 2)
        ;
    posix_fadvise(file.fd, 0, 0, POSIX_FADV_RANDOM);
    if (options->held)
        hold(file.fd, span);
    file.next = bench_now();
    file.stride = (uint64_t) (file.blocks * 0.618) | 1;
    return file;
}

off_t bench_offset(struct bench_file *file)
{
    /* Bits are mixed above the stride, so that neighbors in time are no neighbors in the file. */
    uint64_t i = file->next++ * file->stride;

    return (off_t) (i & (file->blocks - 1)) * file->bytes;
}

/* --- Requests -------------------------------------------------------------------------------- */

void bench_prepare(struct aiocb *cb, struct bench_file *file, void *buffer, int opcode)
{
    memset(cb, 0, sizeof(*cb));
    cb->aio_fildes = file->fd;
    cb->aio_buf = buffer;
    cb->aio_nbytes = file->bytes;
    cb->aio_offset = bench_offset(file);
    cb->aio_lio_opcode = opcode;
    cb->aio_sigevent.sigev_notify = SIGEV_NONE;
}

void bench_submit(struct aiocb *cb)
{
    if (cb->aio_lio_opcode == LIO_WRITE ? aio_write(cb) : aio_read(cb))
        bench_fail("a request was not accepted", true);
}

void bench_wait(const struct aiocb *cb)
{
    while (aio_error(cb) == EINPROGRESS)
        if (aio_suspend(&cb, 1, NULL) && errno != EINTR)
            bench_fail("aio_suspend", true);
}

void bench_take(struct aiocb *cb)
{
    int error = aio_error(cb);

    if (error) {
        errno = error;
        bench_fail("a request failed", true);
    }
    if (aio_return(cb) != (ssize_t) cb->aio_nbytes)
        bench_fail("a request was cut short", false);
}

/* --- Figures --------------------------------------------------------------------------------- */

void bench_add(struct bench_histogram *histogram, uint64_t ns)
{
    unsigned power = 63 - __builtin_clzll(ns | BENCH_STEPS);
    unsigned step = (ns >> (power - 5)) & (BENCH_STEPS - 1);

    histogram->count[ns < BENCH_STEPS ? ns : power * BENCH_STEPS + step]++;
    histogram->total++;
    if (histogram->maximum < ns)
        histogram->maximum = ns;
}

static double percentile(const struct bench_histogram *histogram, double part)
{
    uint64_t seen = 0, wanted = (uint64_t) (part * (double) histogram->total);

    for (unsigned i = 0; i < BENCH_BUCKETS; i++) {
        seen += histogram->count[i];
        if (seen > wanted)
            return i < BENCH_STEPS ? i
                : (double) (1ULL << (i / BENCH_STEPS)) * (1 + (i % BENCH_STEPS + 0.5) / BENCH_STEPS);
    }
    return (double) histogram->maximum;
}

void bench_print(const char *name, double value)
{
    printf("%s %.9g\n", name, value);
}

void bench_print_histogram(const struct bench_histogram *histogram)
{
    const struct { const char *name; double part; uint64_t least; } parts[] = {
        { "p50", 0.50, 10 }, { "p99", 0.99, 100 }, { "p999", 0.999, 1000 },
    };

    for (unsigned i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        if (histogram->total >= parts[i].least)
            printf("%s %.3f\n", parts[i].name, percentile(histogram, parts[i].part) / 1e3);
    printf("max %.3f\n", (double) histogram->maximum / 1e3);
}

static double seconds_of(struct timeval t)
{
    return (double) t.tv_sec + (double) t.tv_usec / 1e6;
}

static double cpu_used(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

struct bench_interval bench_begin(void)
{
    return (struct bench_interval){ .cpu = cpu_used(), .begun = bench_now() };
}

void bench_end(const struct bench_interval *interval, uint64_t done)
{
    uint64_t now = bench_now();

    if (!done)
        bench_fail("nothing was done in the time", false);
    bench_print("done", (double) done);
    bench_print("rate", (double) done / ((double) (now - interval->begun) / 1e9));
    bench_print("cpu", (cpu_used() - interval->cpu) / (double) done * 1e6);
}

long bench_status(const char *field)
{
    FILE *status = fopen("/proc/self/status", "re");
    size_t length = strlen(field);
    char line[256];
    long value = -1;

    if (!status)
        bench_fail("/proc/self/status", true);
    while (fgets(line, sizeof(line), status))
        if (!strncmp(line, field, length) && line[length] == ':')
            value = strtol(line + length + 1, NULL, 10);
    fclose(status);
    if (value < 0)
        bench_fail(field, false);
    return value;
}
