/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stress: what it stands on: choices, bytes that are known by name, and the end of a run that
 * failed.
 */
#include "stress_model.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct stress stress = { .shared = -1, .shared_append = -1, .victim = -1 };
_Atomic unsigned int cancels_begun[DESCRIPTORS], cancels_over[DESCRIPTORS];

static const char *const kind_names[KINDS] = { "buffered", "direct", "dsync",
                                               "shared",   "append", "shared append",
                                               "pipe",     "fifo",   "socket" };
static const char *const verb_names[] = { "read", "write", "sync" };

/* Choices: each action draws from a sequence of its own, so that it chooses the same every time. */

uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

void random_begin(struct worker *w, uint64_t action)
{
    w->random = mix(mix(mix(stress.seed) + w->number) + action);
}

uint64_t random_word(struct worker *w)
{
    w->random += 0x9e3779b97f4a7c15;
    return mix(w->random);
}

size_t random_below(struct worker *w, size_t n)
{
    return (size_t) (random_word(w) % n);
}

bool random_chance(struct worker *w, unsigned int percent)
{
    return random_below(w, 100) < percent;
}

/* Short lengths are as likely as long ones, and some are none at all. */
size_t random_length(struct worker *w, size_t longest, size_t align)
{
    size_t span = (size_t) 1 << random_below(w, 19);
    size_t length = random_below(w, span) + random_below(w, 2);

    if (align > 1)
        length = (length + align) / align * align;
    if (longest > LONGEST)
        longest = LONGEST;
    return length < longest ? length : longest / align * align;
}

/* Bytes: byte n of the bytes called name. */

void bytes_fill(unsigned char *at, size_t length, uint64_t name, size_t from)
{
    size_t i = 0;

    while (i < length) {
        uint64_t word = mix(name ^ ((from + i) / 8 * 0x2545f4914f6cdd1d));

        for (size_t k = (from + i) % 8; k < 8 && i < length; k++)
            at[i++] = (unsigned char) (word >> (8 * k));
    }
}

bool bytes_match(const unsigned char *at, size_t length, uint64_t name, size_t from)
{
    unsigned char right[4096];

    for (size_t i = 0; i < length;) {
        size_t part = length - i < sizeof right ? length - i : sizeof right;

        bytes_fill(right, part, name, from + i);
        if (memcmp(at + i, right, part) != 0)
            return false;
        i += part;
    }
    return true;
}

bool bytes_all(const unsigned char *at, size_t length, unsigned char value)
{
    for (size_t i = 0; i < length; i++)
        if (at[i] != value)
            return false;
    return true;
}

/* Failure: one line that says what is wrong, the state, and the words that repeat the run. */

struct worker *worker_of(const struct request *r)
{
    for (unsigned int i = 0; i < stress.workers; i++) {
        struct worker *w = &stress.worker[i];

        if (r >= w->requests && r < w->requests + REQUESTS)
            return w;
    }
    return NULL;
}

static void show_request(const struct worker *w, const struct request *r)
{
    fprintf(stderr, "    request %u: %s on %s, fd %d, offset %lld, length %zu, action %llu",
            r->index, verb_names[r->verb], r->target ? kind_names[r->target->kind] : "nothing",
            r->fd, (long long) r->offset, r->length, (unsigned long long) r->action);
    fprintf(stderr, ", error %d%s, notice %d came %u%s%s\n", aio_error(&r->cb),
            r->settled ? " (settled)" : "", (int) r->notice, atomic_load(&r->notified),
            r->list ? ", in a list" : "", w ? "" : ", of nobody");
}

/* Other workers' requests are read as they stand: good enough for somebody who looks for a hang. */
void show_state(void)
{
    for (unsigned int i = 0; i < stress.workers; i++) {
        const struct worker *w = &stress.worker[i];

        fprintf(stderr, "  worker %u: action %llu, %s\n", i,
                (unsigned long long) atomic_load(&w->action), atomic_load(&w->doing));
        for (unsigned int k = 0; k < atomic_load(&w->flying); k++)
            if (w->flight[k])
                show_request(w, w->flight[k]);
    }
}

static void show_thread_file(const char *thread, const char *name)
{
    char path[320], text[128];
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%s/%s", thread, name);
    file = fopen(path, "re");
    if (file && fgets(text, sizeof text, file))
        fprintf(stderr, " %.*s", (int) strcspn(text, "\n"), text);
    if (file)
        fclose(file);
}

/* Name, state and number in "stat", system call, and where the kernel waits, of every thread. */
static void show_threads(void)
{
    static const char *const files[] = { "stat", "syscall", "wchan" };
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *task;

    while (tasks && (task = readdir(tasks))) {
        if (task->d_name[0] == '.')
            continue;
        fprintf(stderr, "  thread");
        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
            show_thread_file(task->d_name, files[i]);
        fprintf(stderr, "\n");
    }
    if (tasks)
        closedir(tasks);
}

static _Noreturn void end_failed(const struct worker *w)
{
    fprintf(stderr,
            "stress: failed in action %llu of worker %d; again: stress --seed %llu --threads %u",
            w ? (unsigned long long) atomic_load(&w->action) : 0ULL, w ? (int) w->number : -1,
            (unsigned long long) stress.seed, stress.workers);
    fprintf(stderr, " --actions %llu --seconds %g\n", (unsigned long long) stress.actions,
            stress.seconds);
    show_state();
    show_threads();
    if (stress.hold) {
        fprintf(stderr, "stress: process %d waits for a debugger\n", (int) getpid());
        for (;;)
            pause();
    }
    _exit(1);
}

/* The first failure is the one that tells; workers that fail meanwhile wait for the end. */
static void begin_failed(void)
{
    static atomic_flag failing = ATOMIC_FLAG_INIT;
    sigset_t all;

    sigfillset(&all);
    sigdelset(&all, SIGINT);
    sigdelset(&all, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    if (atomic_flag_test_and_set(&failing))
        for (;;)
            pause();
}

static __attribute__((format(printf, 1, 0))) void say_failed(const char *format, va_list arguments)
{
    begin_failed();
    fprintf(stderr, "stress: FAILED: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
}

void fail(const struct worker *w, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say_failed(format, arguments);
    va_end(arguments);
    end_failed(w);
}

void fail_request(const struct request *r, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say_failed(format, arguments);
    va_end(arguments);
    show_request(worker_of(r), r);
    end_failed(worker_of(r));
}
