/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The least behind <aio.h>: a module for LD_PRELOAD that scripts/bench measures as the side "bare", to
 * see what any library could reach here with the same program above it and the same kernel below.
 *
 * A read or write of an O_DIRECT file is one io_submit in the caller. A buffered read is done in the
 * caller if the page cache has all of it; else the device has begun with it, and the caller reads it when it
 * waits, the oldest first. A buffered write is done in the caller. O_DSYNC writes are handed to SYNCERS threads. Nobody
 * spins, and nobody makes a futex call when there is nobody to wake.
 *
 * It is a measuring instrument, no library: one thread at a time makes requests and waits for them,
 * on files that are all O_DIRECT or all not, and no fork or close comes between. It keeps no order of
 * writes, has no barriers (no aio_fsync), cancels nothing, notifies nobody, does not mind signals, and
 * believes what it saw of a descriptor number the first time.
 *
 * The caller owns context, in_kernel, kinds, begun, and the threads and tail of the queue; the threads own
 * its head and share the rest, which is atomic, with the caller. A control block is the kernel's, a
 * thread's or begun's until it is published.
 */
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <libaio.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SYNCERS = 64 };
enum { ROOM = 65536, DESCRIPTORS = 65536, KERNEL_ROOM = 1024, AT_ONCE = 64, CACHE_LINE = 64 };

enum kind { UNKNOWN, DIRECT, BUFFERED, DSYNC };

/*
 * Requests for threads. items is how many no thread has claimed, less the threads that wait: who puts
 * one in and finds it negative owes a token to one of them. Who has claimed one takes the next slot.
 */
struct queue {
    int32_t threads; /* 0: not started yet */
    uint32_t tail;
    _Alignas(CACHE_LINE) _Atomic int32_t items;
    _Atomic uint32_t tokens; /* futex: threads wait for it to leave 0 */
    _Atomic uint32_t head;
    _Alignas(CACHE_LINE) struct aiocb *_Atomic slots[ROOM];
};

static struct queue syncers;

/* Reads that the device has begun with. */
static struct {
    struct aiocb *slots[ROOM];
    uint32_t head, tail;
} begun;

/*
 * What threads completed, counted in twos; futex: the caller waits for it to change, having added
 * SLEEPING. Who counts on takes SLEEPING away in the same step and owes the wake: were it a step of
 * its own, it could be taken from the caller's next sleep, whose own waker then would see nobody.
 */
enum { SLEEPING = 1 };
static _Alignas(CACHE_LINE) _Atomic uint32_t completions;

static io_context_t context;
static unsigned in_kernel;

static _Atomic int *status(const struct aiocb *cb)
{
    return (_Atomic int *) (uintptr_t) &cb->__error_code;
}

/* Bytes or -errno. The release pairs with the acquire of aio_error and any_done. */
static void publish(struct aiocb *cb, ssize_t result)
{
    cb->__return_value = result < 0 ? -1 : result;
    atomic_store_explicit(status(cb), result < 0 ? (int) -result : 0, memory_order_release);
}

static int answer(int error)
{
    if (!error)
        return 0;
    errno = -error;
    return -1;
}

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bare: %s\n", what);
    abort();
}

static void wake_one(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1);
}

/* --- The threads --- */

static void take_token(struct queue *queue)
{
    uint32_t tokens = atomic_load(&queue->tokens);

    for (;;) {
        while (tokens == 0) {
            syscall(SYS_futex, &queue->tokens, FUTEX_WAIT_PRIVATE, 0, NULL);
            tokens = atomic_load(&queue->tokens);
        }
        if (atomic_compare_exchange_weak(&queue->tokens, &tokens, tokens - 1))
            return;
    }
}

static void count_completion(void)
{
    uint32_t seen = atomic_load(&completions);

    while (!atomic_compare_exchange_weak(&completions, &seen, (seen | SLEEPING) + 1))
        ;
    if (seen & SLEEPING)
        wake_one(&completions);
}

static void carry_out(struct aiocb *cb)
{
    void *buffer = (void *) (uintptr_t) cb->aio_buf;
    ssize_t n = cb->aio_lio_opcode == LIO_READ
                    ? pread(cb->aio_fildes, buffer, cb->aio_nbytes, cb->aio_offset)
                    : pwrite(cb->aio_fildes, buffer, cb->aio_nbytes, cb->aio_offset);

    publish(cb, n < 0 ? -errno : n);
}

static void *serve(void *argument)
{
    struct queue *queue = argument;

    for (;;) {
        if (atomic_fetch_sub(&queue->items, 1) <= 0)
            take_token(queue);
        carry_out(queue->slots[atomic_fetch_add(&queue->head, 1) % ROOM]);
        count_completion();
    }
    return NULL;
}

/* --- The caller --- */

/* At the first request, not when the module is loaded: fio's worker may be a child of that process. */
static void start(struct queue *queue, int32_t threads)
{
    pthread_t thread;

    for (; queue->threads < threads; queue->threads++)
        if (pthread_create(&thread, NULL, serve, queue))
            fail("no thread could be made");
}

/* A slot is free once its thread has read it: besides the unclaimed ones, each thread may be at one. */
static void hand_over(struct queue *queue, int32_t threads, struct aiocb *cb)
{
    if (!queue->threads)
        start(queue, threads);
    if (atomic_load(&queue->items) + threads >= ROOM)
        fail("too many requests in flight");
    queue->slots[queue->tail++ % ROOM] = cb;
    if (atomic_fetch_add(&queue->items, 1) < 0) {
        atomic_fetch_add(&queue->tokens, 1);
        wake_one(&queue->tokens);
    }
}

static int submit_direct(struct aiocb *cb)
{
    void *buffer = (void *) (uintptr_t) cb->aio_buf;
    struct iocb iocb, *list = &iocb;
    int n = context ? 0 : io_setup(KERNEL_ROOM, &context);

    if (n < 0)
        return n;
    if (cb->aio_lio_opcode == LIO_READ)
        io_prep_pread(&iocb, cb->aio_fildes, buffer, cb->aio_nbytes, cb->aio_offset);
    else
        io_prep_pwrite(&iocb, cb->aio_fildes, buffer, cb->aio_nbytes, cb->aio_offset);
    iocb.data = cb;
    n = io_submit(context, 1, &list);
    if (n < 0)
        return n;
    in_kernel++;
    return 0;
}

/* All of it or nothing: what else there is, a thread finds out. */
static bool read_cached(struct aiocb *cb)
{
    struct iovec vector = { (void *) (uintptr_t) cb->aio_buf, cb->aio_nbytes };
    ssize_t n = preadv2(cb->aio_fildes, &vector, 1, cb->aio_offset, RWF_NOWAIT);

    if (n < 0 || (size_t) n != cb->aio_nbytes)
        return false;
    publish(cb, n);
    return true;
}

static void put_begun(struct aiocb *cb)
{
    if (begun.tail - begun.head == ROOM)
        fail("too many requests in flight");
    begun.slots[begun.tail++ % ROOM] = cb;
}

static enum kind kind_of(int fd)
{
    static unsigned char kinds[DESCRIPTORS];
    bool small = fd >= 0 && fd < DESCRIPTORS;
    enum kind kind = small ? kinds[fd] : UNKNOWN;
    int flags;

    if (kind != UNKNOWN)
        return kind;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return UNKNOWN;
    kind = flags & O_DIRECT ? DIRECT : flags & O_DSYNC ? DSYNC : BUFFERED;
    if (small)
        kinds[fd] = (unsigned char) kind;
    return kind;
}

static int submit(struct aiocb *cb, int opcode)
{
    enum kind kind = kind_of(cb->aio_fildes);
    int error = 0;

    if (kind == UNKNOWN)
        return -1;
    cb->aio_lio_opcode = opcode;
    atomic_store_explicit(status(cb), EINPROGRESS, memory_order_relaxed);
    if (kind == DIRECT)
        error = submit_direct(cb);
    else if (opcode == LIO_WRITE && kind == DSYNC)
        hand_over(&syncers, SYNCERS, cb);
    else if (opcode == LIO_WRITE)
        carry_out(cb);
    else if (!read_cached(cb))
        put_begun(cb);
    if (error)
        publish(cb, error);
    return answer(error);
}

static bool any_done(const struct aiocb *const list[], int count)
{
    for (int i = 0; i < count; i++)
        if (list[i] && atomic_load_explicit(status(list[i]), memory_order_acquire) != EINPROGRESS)
            return true;
    return false;
}

static int wait_kernel(const struct timespec *timeout)
{
    struct io_event events[AT_ONCE];
    int n = io_getevents(context, 1, AT_ONCE, events, (struct timespec *) (uintptr_t) timeout);

    for (int i = 0; i < n; i++)
        publish(events[i].data, (long) events[i].res);
    if (n <= 0)
        return n ? n : -EAGAIN;
    in_kernel -= (unsigned) n;
    return 0;
}

/* Until completions is no longer what it was. SLEEPING may be left over from a sleep cut short. */
static int wait_threads(uint32_t seen, const struct timespec *timeout)
{
    if (!atomic_compare_exchange_strong(&completions, &seen, seen | SLEEPING) ||
        !syscall(SYS_futex, &completions, FUTEX_WAIT_PRIVATE, seen | SLEEPING, timeout) ||
        errno == EAGAIN)
        return 0;
    return errno == ETIMEDOUT ? -EAGAIN : -errno;
}

int aio_read(struct aiocb *cb)
{
    return submit(cb, LIO_READ);
}

int aio_write(struct aiocb *cb)
{
    return submit(cb, LIO_WRITE);
}

/* Here so that the C library's is not called, which knows nothing of our requests. */
int aio_fsync(int operation, struct aiocb *cb)
{
    (void) operation;
    (void) cb;
    return answer(-ENOSYS);
}

int aio_error(const struct aiocb *cb)
{
    return atomic_load_explicit(status(cb), memory_order_acquire);
}

ssize_t aio_return(struct aiocb *cb)
{
    int error = aio_error(cb);

    return error ? answer(-error) : cb->__return_value;
}

/* completions is read before the look: what completes after the look has changed it. */
int aio_suspend(const struct aiocb *const list[], int count, const struct timespec *timeout)
{
    int error = 0;

    while (!error) {
        uint32_t seen = atomic_load(&completions);

        if (any_done(list, count))
            return 0;
        if (begun.head != begun.tail) {
            carry_out(begun.slots[begun.head++ % ROOM]);
            continue;
        }
        error = in_kernel ? wait_kernel(timeout) : wait_threads(seen, timeout);
    }
    return answer(error);
}

int aio_cancel(int fd, struct aiocb *cb)
{
    (void) fd;
    return cb && aio_error(cb) != EINPROGRESS ? AIO_ALLDONE : AIO_NOTCANCELED;
}

/* The types differ in name only: on LP64 the two interfaces have one layout. */
#pragma GCC diagnostic ignored "-Wattribute-alias"
#define TWIN(name) __attribute__((alias(#name)))
TWIN(aio_read) int aio_read64(struct aiocb64 *cb);
TWIN(aio_write) int aio_write64(struct aiocb64 *cb);
TWIN(aio_fsync) int aio_fsync64(int operation, struct aiocb64 *cb);
TWIN(aio_error) int aio_error64(const struct aiocb64 *cb);
TWIN(aio_return) ssize_t aio_return64(struct aiocb64 *cb);
TWIN(aio_suspend) int aio_suspend64(const struct aiocb64 *const list[], int count,
                                    const struct timespec *timeout);
TWIN(aio_cancel) int aio_cancel64(int fd, struct aiocb64 *cb);
