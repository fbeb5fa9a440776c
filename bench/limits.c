/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What bounds the other programs' figures: system calls one after the other, and no AIO.
 *
 *   limits -k pread|preadv2|pwrite -f FILE [-n THREADS] [-s MiB] [-t ms]
 *   limits -k begin|told -f FILE [-s MiB] [-t ms]
 *   limits -k wakeup [-t ms]
 *
 * pread, preadv2 (with RWF_NOWAIT), pwrite: of what the page cache holds. All THREADS but one only compute: a
 * processor is less fast when the other ones are busy, with those who submit, say. begin: how long a preadv2 with
 * RWF_NOWAIT takes that does not find its block, and has the device begin to read it. wakeup: how long until a
 * thread that sleeps on a semaphore runs again.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The clock is asked for this many calls at once. */
enum { BATCH = 16 };

static struct bench_options options;
static struct bench_file file;
static void *buffer;

static ssize_t read_if_there(off_t offset)
{
    const struct iovec vector = { buffer, file.bytes };

    return preadv2(file.fd, &vector, 1, offset, RWF_NOWAIT);
}

static ssize_t call_once(char kind, off_t offset)
{
    ssize_t n;

    if (kind == 'w')
        return pwrite(file.fd, buffer, file.bytes, offset);
    n = kind == 'v' ? read_if_there(offset) : -1;
    /* The page cache may have lost a page meanwhile. */
    return n < 0 ? pread(file.fd, buffer, file.bytes, offset) : n;
}

static atomic_bool over;

static void *compute(void *unused)
{
    while (!atomic_load_explicit(&over, memory_order_relaxed))
        ;
    return unused;
}

static void calls(char kind)
{
    uint64_t done = 0, end;
    struct bench_interval interval;
    pthread_t others[options.count];

    for (unsigned i = 1; i < options.count; i++)
        if (pthread_create(&others[i], NULL, compute, NULL))
            bench_fail("pthread_create", false);
    interval = bench_begin();
    end = interval.begun + options.duration;
    for (; bench_now() < end; done += BATCH)
        for (int i = 0; i < BATCH; i++)
            if (call_once(kind, bench_offset(&file)) != (ssize_t) file.bytes)
                bench_fail(options.kind, true);
    bench_end(&interval, done);
    atomic_store(&over, true);
    for (unsigned i = 1; i < options.count; i++)
        pthread_join(others[i], NULL);
}

static struct bench_histogram taken;

static void begin(void)
{
    uint64_t before, end = bench_now() + options.duration;

    while (bench_now() < end) {
        off_t offset = bench_offset(&file);

        before = bench_now();
        if (read_if_there(offset) >= 0)
            continue;
        if (errno != EAGAIN)
            bench_fail("preadv2", true);
        bench_add(&taken, bench_now() - before);
        if (pread(file.fd, buffer, file.bytes, offset) != (ssize_t) file.bytes)
            bench_fail("pread", true);
    }
}

static void tell(void)
{
    uint64_t before, end = bench_now() + options.duration;
    sigset_t none;

    sigemptyset(&none);
    while ((before = bench_now()) < end) {
        if (read_if_there(bench_offset(&file)) < 0)
            continue;
        sigprocmask(SIG_SETMASK, &none, NULL);
        bench_add(&taken, bench_now() - before);
    }
}

static sem_t there, back;
static uint64_t woken_at; /* the semaphores hand it over */

static void *sleeper(void *unused)
{
    for (bool ready = false;; ready = true) {
        sem_wait(&there);
        if (atomic_load(&over))
            return unused;
        if (ready)
            bench_add(&taken, bench_now() - woken_at);
        sem_post(&back);
    }
}

/* The first time the thread may still have to start. */
static void wakeup(void)
{
    uint64_t end = bench_now() + options.duration;
    pthread_t thread;

    sem_init(&there, 0, 0);
    sem_init(&back, 0, 0);
    if (pthread_create(&thread, NULL, sleeper, NULL))
        bench_fail("pthread_create", false);
    while (bench_now() < end) {
        woken_at = bench_now();
        sem_post(&there);
        sem_wait(&back);
    }
    atomic_store(&over, true);
    sem_post(&there);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    options = bench_arguments(argc, argv);
    if (!strcmp(options.kind, "wakeup")) {
        wakeup();
    } else {
        file = bench_open(&options, strcmp(options.kind, "pwrite") ? O_RDONLY : O_RDWR);
        buffer = bench_buffer(file.bytes);
        if (!strcmp(options.kind, "begin"))
            begin();
        else if (!strcmp(options.kind, "told"))
            tell();
        else if (!strcmp(options.kind, "pwrite"))
            calls('w');
        else if (!strcmp(options.kind, "preadv2"))
            calls('v');
        else if (!strcmp(options.kind, "pread"))
            calls('r');
        else
            bench_fail("-k", false);
    }
    if (taken.total)
        bench_print_histogram(&taken);
    return 0;
}
