/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The kernel engine: io_submit with RWF_NOWAIT, so that what cannot be begun without waiting
 * comes back with -EAGAIN, and io_getevents with a timeout of zero, called by whoever wants
 * completions. The kernel's own lock of the ring keeps reapers apart, so any number of threads
 * and handlers may reap at once. What there is no room for waits in the backlog (backlog.c).
 *
 * Nobody waits in io_getevents: it would return EINTR even under SA_RESTART, and while anyone is
 * inside others could not look at the ring. Each operation names an eventfd (IOCB_FLAG_RESFD)
 * that the kernel signals on completion: `waiters` for those somebody will wait for, `prompt` for
 * those that a thread of the library must see at once. A waiter sleeps in read(2) on the first,
 * which restarts, is a cancellation point, and takes no event with it if its handler never
 * returns.
 *
 * Two counts, for what is submitted with signals open. Room is taken when the kernel has it, so that a handler
 * that jumps out takes none for ever: until then its completion may have left the count one too low. Given it is
 * before, so that whoever asks whether there is anything to be reaped never hears no too early.
 *
 * No locks.
 */
#include "engine_kernel.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "backlog.h"
#include "process.h"

/*
 * LIMIT is kept below the 256 requests that a device's queue takes as a rule: beyond it
 * RWF_NOWAIT answers -EAGAIN, and the pool would do what the device will soon have room for.
 */
enum { RING = 1024, LIMIT = 192 };

/* What the kernel maps at the address that an io_context_t is. */
struct ring {
    unsigned id, nr;
    _Atomic uint32_t head, tail;
    unsigned magic, compat_features, incompat_features, header_length;
};

static const unsigned RING_MAGIC = 0xa10a10a1;

static struct {
    _Atomic uint32_t given;            /* operations that the kernel holds, or is about to be given */
    _Atomic int32_t submitted;         /* those for which room is taken */
    io_context_t context;              /* constant once started */
    struct ring *ring;                 /* the same, as memory; NULL: no engine. A forked child has it too, and
                                          may look: the kernel refuses it its parent's context */
    _Atomic int waiters, prompt, idle; /* eventfds; idle is always writable */
} engine = { .waiters = -1, .prompt = -1, .idle = -1 };

bool paio_kernel_busy(void)
{
    /* In this order: what goes from the backlog to the kernel is seen (paio_kernel_take_room comes first). */
    return !paio_backlog_empty() || atomic_load(&engine.given);
}

bool paio_kernel_refillable(void)
{
    return !paio_backlog_empty() && atomic_load(&engine.submitted) < LIMIT;
}

bool paio_kernel_ready(void)
{
    struct ring *ring = engine.ring;

    return ring && atomic_load_explicit(&ring->head, memory_order_relaxed) !=
                       atomic_load_explicit(&ring->tail, memory_order_acquire);
}

uint32_t paio_kernel_head(void)
{
    return engine.ring ? atomic_load_explicit(&engine.ring->head, memory_order_relaxed) : 0;
}

int paio_kernel_prompt_fd(void)
{
    return atomic_load(&engine.prompt);
}

static void prepare(struct paio_operation *o)
{
    char *buffer = (char *) o->buffer + o->done;
    size_t length = o->length - o->done;
    off_t offset = o->offset + (off_t) o->done;

    if (o->code == PAIO_READ)
        io_prep_pread(&o->iocb, o->fd, buffer, length, offset);
    else
        io_prep_pwrite(&o->iocb, o->fd, buffer, length, offset);
    o->iocb.data = o;
    if (!o->may_block)
        o->iocb.aio_rw_flags = RWF_NOWAIT;
    io_set_eventfd(&o->iocb, o->prompt || !paio_backlog_empty() ? engine.prompt : engine.waiters);
    /* Release: pairs with the acquire of paio_kernel_reap, through the kernel. */
    atomic_store_explicit(&o->arrived, true, memory_order_release);
}

unsigned paio_kernel_take_room(unsigned count)
{
    int32_t now = atomic_load(&engine.submitted);
    unsigned room;

    do {
        room = now >= LIMIT ? 0 : (unsigned) (LIMIT - now);
        if (room > count)
            room = count;
    } while (room && !atomic_compare_exchange_weak(&engine.submitted, &now, now + (int32_t) room));
    atomic_fetch_add(&engine.given, room);
    return room;
}

void paio_kernel_give_back_room(unsigned count)
{
    atomic_fetch_sub(&engine.submitted, (int32_t) count);
    atomic_fetch_sub(&engine.given, count);
}

unsigned paio_kernel_push(struct paio_operation **operations, unsigned count)
{
    struct iocb *iocbs[PAIO_KERNEL_BATCH];
    unsigned refused = 0;

    for (unsigned i = 0; i < count; i++) {
        prepare(operations[i]);
        iocbs[i] = &operations[i]->iocb;
    }
    for (unsigned i = 0; i < count;) {
        int n = io_submit(engine.context, (long) (count - i), iocbs + i);

        if (n > 0) {
            i += (unsigned) n;
        } else {
            operations[i]->error = n;
            atomic_store(&operations[i]->arrived, false);
            operations[refused++] = operations[i++];
            paio_kernel_give_back_room(1);
        }
    }
    return refused;
}

bool paio_kernel_begin(void)
{
    if (!engine.ring || !paio_backlog_empty() || atomic_load(&engine.submitted) >= LIMIT)
        return false;
    atomic_fetch_add(&engine.given, 1);
    return true;
}

bool paio_kernel_push_one(struct paio_operation *operation)
{
    struct iocb *iocb = &operation->iocb;
    int n;

    prepare(operation);
    n = io_submit(engine.context, 1, &iocb);
    if (n > 0) {
        atomic_fetch_add(&engine.submitted, 1);
        return true;
    }
    atomic_fetch_sub(&engine.given, 1);
    operation->error = n;
    return false;
}

static unsigned submit(struct paio_operation **operations, unsigned count)
{
    unsigned refused = 0, room;

    if (!engine.ring)
        return count;
    for (unsigned i = 0; i < count; i += room) {
        unsigned these = count - i < PAIO_KERNEL_BATCH ? count - i : PAIO_KERNEL_BATCH;

        room = paio_backlog_empty() ? paio_kernel_take_room(these) : 0;
        if (!room) {
            paio_backlog_put(operations + i, count - i);
            paio_backlog_refill();
            break;
        }
        these = paio_kernel_push(operations + i, room);
        memmove(operations + refused, operations + i, these * sizeof *operations);
        refused += these;
    }
    return refused;
}

unsigned paio_kernel_reap(void)
{
    struct io_event events[PAIO_KERNEL_BATCH];
    unsigned total = 0;
    int n;

    while (paio_kernel_ready()) {
        unsigned operations = 0;

        n = io_getevents(engine.context, 0, PAIO_KERNEL_BATCH, events, &(struct timespec){ 0, 0 });
        for (int i = 0; i < n; i++) {
            struct paio_operation *operation = events[i].data;

            if (!operation) /* a kick */
                continue;
            operations++;
            atomic_fetch_sub(&engine.submitted, 1);
            /* Acquire: pairs with the release of prepare, which has set it. */
            (void) atomic_load_explicit(&operation->arrived, memory_order_acquire);
            operation->complete(operation, (ssize_t) (long) events[i].res);
        }
        atomic_fetch_sub(&engine.given, operations);
        if (n <= 0)
            break;
        total += (unsigned) n;
    }
    return total;
}

/* Empties the eventfd if something is in it, without waiting. */
static void clear(int fd)
{
    uint64_t count;
    struct iovec vector = { &count, sizeof count };

    if (preadv2(fd, &vector, 1, -1, RWF_NOWAIT) < 0 && errno == EOPNOTSUPP) {
        struct pollfd ready = { .fd = fd, .events = POLLIN };

        /* Before 5.8. Only the leader reads, so what is there now stays there. */
        if (poll(&ready, 1, 0) == 1 && read(fd, &count, sizeof count) < 0)
            return;
    }
}

static int wait_until(const struct timespec *deadline)
{
    struct pollfd ready = { .fd = engine.waiters, .events = POLLIN };
    struct timespec now, left;
    int n;

    clock_gettime(CLOCK_MONOTONIC, &now);
    left.tv_sec = deadline->tv_sec - now.tv_sec;
    left.tv_nsec = deadline->tv_nsec - now.tv_nsec;
    if (left.tv_nsec < 0) {
        left.tv_sec--;
        left.tv_nsec += 1000000000;
    }
    if (left.tv_sec < 0)
        return -ETIMEDOUT;
    n = ppoll(&ready, 1, &left, NULL);
    if (n < 0)
        return -errno;
    if (n == 0)
        return -ETIMEDOUT;
    if (!(ready.revents & POLLIN))
        return -EBADF;
    clear(engine.waiters);
    return 0;
}

int paio_kernel_wait(const struct timespec *deadline)
{
    uint64_t count;

    if (deadline)
        return wait_until(deadline);
    return read(engine.waiters, &count, sizeof count) < 0 ? -errno : 0;
}

void paio_kernel_kick(void)
{
    /*
     * A poll that is ready at once, whose completion signals the eventfd. Not a write to it: if
     * somebody has closed our descriptors behind our back, a poll of the wrong file does no harm.
     */
    struct iocb poll_idle, *iocb = &poll_idle;

    io_prep_poll(&poll_idle, engine.idle, POLLOUT);
    poll_idle.data = NULL;
    io_set_eventfd(&poll_idle, engine.waiters);
    io_submit(engine.context, 1, &iocb);
}

static int make_eventfd(_Atomic int *slot)
{
    int fd = eventfd(0, EFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    paio_private_keep(fd, slot);
    return 0;
}

/* Does a kick arrive? That needs IOCB_CMD_POLL (4.19), and with it RWF_NOWAIT is there. */
static int try_out(void)
{
    struct timespec soon;
    int error;

    clock_gettime(CLOCK_MONOTONIC, &soon);
    soon.tv_sec++;
    paio_kernel_kick();
    error = paio_kernel_ready() ? 0 : -ENOSYS;
    if (!error)
        error = paio_kernel_wait(&soon);
    if (!error && paio_kernel_reap() != 1)
        error = -ENOSYS;
    return error;
}

int paio_kernel_start(void)
{
    int error = io_setup(RING, &engine.context);

    if (error)
        return error;
    engine.ring = (struct ring *) engine.context;
    if (engine.ring->magic != RING_MAGIC || engine.ring->incompat_features)
        error = -ENOSYS;
    if (!error)
        error = make_eventfd(&engine.waiters);
    if (!error)
        error = make_eventfd(&engine.prompt);
    if (!error)
        error = make_eventfd(&engine.idle);
    if (!error)
        error = try_out();
    if (!error)
        return 0;
    io_destroy(engine.context);
    paio_kernel_reset();
    return error;
}

void paio_kernel_reset(void)
{
    paio_backlog_reset();
    engine.given = 0;
    engine.submitted = 0;
    engine.context = NULL;
    engine.ring = NULL;
    paio_private_close(&engine.waiters);
    paio_private_close(&engine.prompt);
    paio_private_close(&engine.idle);
}

const struct paio_engine paio_engine_kernel = {
    .name = "kernel",
    .submit = submit,
    .cancel = paio_backlog_cancel,
};
