/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notifications: how many a second, and how long from submission until the program is told.
 *
 *   notify -f FILE -k signal|thread|list [-d] [-w] [-n DEPTH] [-s MiB] [-t ms]
 *
 * DEPTH transfers are kept in flight. signal: each sends a queued realtime signal, which the program
 * takes by sigwaitinfo and then submits the read anew. thread: each calls a SIGEV_THREAD function,
 * which submits it anew itself. list: DEPTH lists of LIST transfers, each by one lio_listio(LIO_NOWAIT) with
 * one signal for the list; a notification is one list, and so are the rate and the CPU time.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

enum { LIST = 4 };

/* One notification's worth of transfers. */
struct slot {
    struct aiocb cb[LIST];
    struct aiocb *list[LIST];
    struct sigevent event;
    uint64_t submitted;
    struct bench_histogram latency; /* own to the slot: functions run side by side */
    struct bench_file file;         /* likewise */
};

static struct slot *slots;
static unsigned transfers;    /* in a slot: 1 or LIST */
static int opcode;
static uint64_t end;
static atomic_uint ended;
static sem_t all_ended;
static unsigned depth;

static void submit(struct slot *slot)
{
    for (unsigned i = 0; i < transfers; i++) {
        bench_prepare(&slot->cb[i], &slot->file, (void *) slot->cb[i].aio_buf, opcode);
        if (transfers == 1)
            slot->cb[i].aio_sigevent = slot->event;
    }
    slot->submitted = bench_now();
    if (transfers == 1)
        bench_submit(&slot->cb[0]);
    else if (lio_listio(LIO_NOWAIT, slot->list, LIST, &slot->event))
        bench_fail("lio_listio", true);
}

/* Told of a slot; submits it anew unless the time is over. True: it was the last of all. */
static bool told(struct slot *slot)
{
    uint64_t now = bench_now();

    bench_add(&slot->latency, now - slot->submitted);
    for (unsigned i = 0; i < transfers; i++)
        bench_take(&slot->cb[i]);
    if (now < end) {
        submit(slot);
        return false;
    }
    return atomic_fetch_add(&ended, 1) + 1 == depth;
}

static void on_thread(union sigval value)
{
    if (told(value.sival_ptr))
        sem_post(&all_ended);
}

static void take_signals(const sigset_t *set)
{
    siginfo_t info;

    for (;;) {
        if (sigwaitinfo(set, &info) < 0) {
            if (errno == EINTR)
                continue;
            bench_fail("sigwaitinfo", true);
        }
        if (told(info.si_value.sival_ptr))
            return;
    }
}

static void prepare_slots(const struct bench_options *options, bool thread)
{
    struct bench_file file = bench_open(options, options->write ? O_RDWR : O_RDONLY);

    slots = bench_array(depth, sizeof(*slots));
    for (unsigned i = 0; i < depth; i++) {
        struct slot *slot = &slots[i];

        slot->file = file;
        slot->file.next += i * (file.blocks / depth);
        for (unsigned j = 0; j < transfers; j++) {
            slot->cb[j].aio_buf = bench_buffer(file.bytes);
            slot->list[j] = &slot->cb[j];
        }
        slot->event.sigev_value.sival_ptr = slot;
        slot->event.sigev_notify = thread ? SIGEV_THREAD : SIGEV_SIGNAL;
        if (thread)
            slot->event.sigev_notify_function = on_thread;
        else
            slot->event.sigev_signo = SIGRTMIN;
    }
}

int main(int argc, char **argv)
{
    struct bench_options options = bench_arguments(argc, argv);
    bool thread = !strcmp(options.kind, "thread");
    static struct bench_histogram latency;
    struct bench_interval interval;
    sigset_t set;

    depth = options.count;
    opcode = options.write ? LIO_WRITE : LIO_READ;
    transfers = strcmp(options.kind, "list") ? 1 : LIST;
    prepare_slots(&options, thread);
    sem_init(&all_ended, 0, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);

    interval = bench_begin();
    end = interval.begun + options.duration;
    for (unsigned i = 0; i < depth; i++)
        submit(&slots[i]);
    if (thread)
        while (sem_wait(&all_ended))
            ;
    else
        take_signals(&set);
    for (unsigned i = 0; i < depth; i++) {
        for (unsigned j = 0; j < BENCH_BUCKETS; j++)
            latency.count[j] += slots[i].latency.count[j];
        latency.total += slots[i].latency.total;
        if (latency.maximum < slots[i].latency.maximum)
            latency.maximum = slots[i].latency.maximum;
    }
    bench_end(&interval, latency.total);
    bench_print_histogram(&latency);
    return 0;
}
