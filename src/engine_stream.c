/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stream engine: pipes, sockets, terminals and everything else that makes a reader wait.
 * No thread waits for any of them. Each descriptor has at most one operation a direction here
 * (lanes, in order.c, see to that); it is armed in the completion thread's epoll set, once
 * (EPOLLONESHOT), and when the set reports readiness the completion thread transfers what can be
 * transferred without waiting.
 *
 * How that is done differs:
 *   socket                   recv, send with MSG_DONTWAIT, and MSG_NOSIGNAL
 *   pipe, and others with    preadv2, pwritev2 with RWF_NOWAIT
 *   RWF_NOWAIT
 *   FIFO, terminal, pipes    a private opening of /proc/self/fd/N with O_NONBLOCK, kept for
 *   before 6.x               the one operation: it would delay end-of-file for others
 *   master of a pty, or a    writes: in small pieces, each after a look that there is room
 *   FIFO that can't be       (opening a master anew would make another pty)
 *   opened anew
 *   the rest                 given back with -EOPNOTSUPP: it was ready a moment ago, a thread of the
 *                            pool makes the transfer. Only if another takes the data, or the room,
 *                            first the thread waits, which harms nobody else.
 *
 * A caller also makes a transfer itself: the one that submits, and the one that is about to sleep until a read is done. It
 * must not mistake bytes that are there for a stream that is ready, for a socket's low-water mark and a terminal's VMIN
 * let a read wait for more.
 *
 * Locks: a stream's lock (t) guards its operations and is held across the transfer, which does
 * not wait. It is a leaf. All calls under it are plain system calls: those of the C library are cancellation points, in
 * which a thread that is canceled may end though it has disabled that (glibc 2.36), with the lock.
 */
#include "engine_stream.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "completion.h"
#include "file.h"
#include "memory.h"
#include "process.h"

enum { IN, OUT, DIRECTIONS };

enum { PTY_UNIT = 256 };

struct paio_stream {
    pthread_mutex_t lock;
    struct paio_operation *active[DIRECTIONS]; /* t */
    int private[DIRECTIONS];                   /* t: opened anew for the active one, or -1 */
};

static struct paio_stream *stream_of(int fd)
{
    struct paio_descriptor *descriptor = paio_descriptor_find(fd);

    return descriptor ? atomic_load_explicit(&descriptor->stream, memory_order_acquire) : NULL;
}

static unsigned direction(const struct paio_operation *operation)
{
    return operation->code == PAIO_READ ? IN : OUT;
}

bool paio_stream_able(int fd)
{
    struct paio_descriptor *descriptor = paio_descriptor_get(fd);
    struct paio_stream *fresh, *none = NULL;

    if (!descriptor || paio_completion_epoll() < 0)
        return false;
    if (atomic_load_explicit(&descriptor->stream, memory_order_acquire))
        return true;
    fresh = paio_memory_permanent(sizeof *fresh);
    if (!fresh)
        return false;
    pthread_mutex_init(&fresh->lock, NULL);
    fresh->private[IN] = fresh->private[OUT] = -1;
    /* Release: pairs with stream_of. Kept as long as the descriptor's record is: for ever. */
    atomic_compare_exchange_strong(&descriptor->stream, &none, fresh);
    return true;
}

/* Arms the set for what is active. 0 or -errno. */
static int arm(struct paio_stream *stream, int fd)
{
    struct epoll_event event = { .events = EPOLLONESHOT, .data.u64 = (uint64_t) fd };
    int epoll = paio_completion_epoll();

    if (stream->active[IN])
        event.events |= EPOLLIN | EPOLLRDHUP;
    if (stream->active[OUT])
        event.events |= EPOLLOUT;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    if (errno == ENOENT && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    return -errno;
}

/* Ends what was opened for the operation that was active in that direction. */
static void deactivate(struct paio_stream *stream, unsigned d)
{
    if (stream->private[d] >= 0)
        paio_close(stream->private[d]);
    stream->private[d] = -1;
    stream->active[d] = NULL;
}

static unsigned submit(struct paio_operation **operations, unsigned count)
{
    unsigned refused = 0;

    for (unsigned i = 0; i < count; i++) {
        struct paio_operation *operation = operations[i];
        struct paio_stream *stream = stream_of(operation->fd);

        pthread_mutex_lock(&stream->lock);
        stream->active[direction(operation)] = operation;
        atomic_store(&operation->arrived, true);
        if (!paio_identity_holds(operation->fd, &operation->identity) ||
            arm(stream, operation->fd) < 0) {
            deactivate(stream, direction(operation));
            atomic_store(&operation->arrived, false);
            operations[refused++] = operation;
        }
        pthread_mutex_unlock(&stream->lock);
    }
    return refused;
}

static bool cancel(struct paio_operation *operation)
{
    struct paio_stream *stream = stream_of(operation->fd);
    unsigned d = direction(operation);
    bool canceled = false;

    if (!stream)
        return false;
    pthread_mutex_lock(&stream->lock);
    if (stream->active[d] == operation && operation->done == 0) {
        deactivate(stream, d);
        canceled = true;
    }
    pthread_mutex_unlock(&stream->lock);
    return canceled;
}

/* What an operation ends with whose descriptor is not its file any more. */
static ssize_t lost(const struct paio_operation *o)
{
    return o->done ? (ssize_t) o->done : paio_descriptor_lost(o->fd);
}

static ssize_t on_socket(struct paio_operation *o, char *buffer, size_t length)
{
    if (o->code == PAIO_READ)
        return syscall(SYS_recvfrom, o->fd, buffer, length, MSG_DONTWAIT, NULL, NULL);
    return syscall(SYS_sendto, o->fd, buffer, length, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
}

static bool is_pty_master(int fd)
{
    unsigned number;

    return ioctl(fd, TIOCGPTN, &number) == 0;
}

/* A descriptor of the same file that never waits, or -1. */
static int open_anew(struct paio_stream *stream, struct paio_operation *o)
{
    unsigned d = direction(o);
    char path[32];

    if (stream->private[d] < 0 && !is_pty_master(o->fd)) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", o->fd);
        stream->private[d] = (int) syscall(SYS_openat, AT_FDCWD, path,
                                           (d == IN ? O_RDONLY : O_WRONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    return stream->private[d];
}

/* Is fd ready for events now, as epoll would say? */
static bool is_ready(int fd, short events)
{
    const struct timespec now = { 0 };
    struct pollfd wanted = { .fd = fd, .events = events };

    return syscall(SYS_ppoll, &wanted, 1, &now, NULL, 0) == 1;
}

/*
 * Writes as much as is sure to be taken at once: a pipe that is not full takes PIPE_BUF bytes,
 * and the buffers of a pty are made in units of PTY_UNIT (tty_buffer.c of the kernel).
 */
static ssize_t write_piece(int fd, const char *buffer, size_t length, size_t most)
{
    if (length && !is_ready(fd, POLLOUT)) {
        errno = EAGAIN;
        return -1;
    }
    return syscall(SYS_write, fd, buffer, length < most ? length : most);
}

static ssize_t without_nowait(struct paio_stream *stream, struct paio_operation *o, char *buffer,
                              size_t length)
{
    int fd = open_anew(stream, o);

    if (fd >= 0)
        return syscall(o->code == PAIO_READ ? SYS_read : SYS_write, fd, buffer, length);
    if (o->code == PAIO_WRITE && o->identity.type == S_IFIFO)
        return write_piece(o->fd, buffer, length, PIPE_BUF);
    if (o->code == PAIO_WRITE && is_pty_master(o->fd))
        return write_piece(o->fd, buffer, length, PTY_UNIT);
    errno = EOPNOTSUPP;
    return -1;
}

/* One transfer that does not wait: bytes, or -errno (-EAGAIN: not now; -EOPNOTSUPP: not so). */
static ssize_t transfer(struct paio_stream *stream, struct paio_operation *o)
{
    struct iovec vector = { (char *) o->buffer + o->done, o->length - o->done };
    ssize_t n;

    if (o->identity.type == S_IFSOCK)
        n = on_socket(o, vector.iov_base, vector.iov_len);
    else if (o->code == PAIO_READ)
        n = syscall(SYS_preadv2, o->fd, &vector, 1L, -1L, -1L, (long) RWF_NOWAIT);
    else
        n = syscall(SYS_pwritev2, o->fd, &vector, 1L, -1L, -1L, (long) RWF_NOWAIT);
    if (n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS) && o->identity.type != S_IFSOCK)
        n = without_nowait(stream, o, vector.iov_base, vector.iov_len);
    return n < 0 ? -errno : n;
}

/*
 * Goes on with an operation: true when it is over, with its result. A read is over with its
 * first bytes; a write when all is written, as a blocking write(2) would do it.
 */
static bool advance(struct paio_stream *stream, struct paio_operation *o, ssize_t *result)
{
    ssize_t n;

    if (!paio_identity_holds(o->fd, &o->identity)) {
        *result = lost(o);
        return true;
    }
    n = transfer(stream, o);
    if (n == -EAGAIN || n == -EINTR)
        return false;
    if (n >= 0) {
        o->done += (size_t) n;
        *result = (ssize_t) o->done;
        return o->code == PAIO_READ || n == 0 || o->done >= o->length;
    }
    *result = o->done && n != -EOPNOTSUPP ? (ssize_t) o->done : n;
    return true;
}

/* An epoll set, a timer: such a one is never ready to be written. A write of nothing tells, and does nothing else. */
static bool cannot_be_written(int fd)
{
    return syscall(SYS_writev, fd, NULL, 0) < 0 && errno == EINVAL;
}

/* Would a read that may wait return at once? */
static bool is_readable(const struct paio_operation *o)
{
    char byte;

    if (o->identity.type == S_IFCHR)
        return is_ready(o->fd, POLLIN);
    if (o->identity.type != S_IFSOCK || is_ready(o->fd, POLLIN))
        return true;
    /* One that cannot be read from fails, and need not be ready for it. */
    return syscall(SYS_recvfrom, o->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) < 0 && errno != EAGAIN;
}

/* Carries the operation out if that can be done at once: true, with its result. In the caller. Under the lock. */
static bool try_now(struct paio_stream *stream, struct paio_operation *operation, ssize_t *result)
{
    if (operation->code == PAIO_READ && !is_readable(operation))
        return false;
    if (!advance(stream, operation, result) || *result == -EOPNOTSUPP)
        return false;
    deactivate(stream, direction(operation));
    return true;
}

bool paio_stream_try(struct paio_operation *operation, ssize_t *result)
{
    struct paio_stream *stream = stream_of(operation->fd);
    bool over;

    /* A broken pipe would send the caller SIGPIPE. The completion thread blocks it for good. */
    if (operation->code == PAIO_WRITE && operation->identity.type != S_IFSOCK) {
        *result = -EINVAL;
        return operation->identity.type != S_IFIFO && cannot_be_written(operation->fd);
    }
    pthread_mutex_lock(&stream->lock);
    over = try_now(stream, operation, result);
    pthread_mutex_unlock(&stream->lock);
    return over;
}

/*
 * Not one that is to be told of: its signal would be sent by the caller, with all signals blocked, and the kernel would have
 * another thread take it, perhaps later than the caller goes on.
 */
static bool serve(struct paio_stream *stream)
{
    struct paio_operation *read;
    ssize_t result;
    bool over;

    /* Whoever has the lock does what is to be done. */
    if (pthread_mutex_trylock(&stream->lock))
        return false;
    read = stream->active[IN];
    over = read && !read->told && try_now(stream, read, &result);
    pthread_mutex_unlock(&stream->lock);
    if (over)
        read->complete(read, result);
    return over;
}

bool paio_stream_serve(int fd)
{
    struct paio_stream *stream = stream_of(fd);
    struct paio_signals saved;
    bool served;

    if (!stream)
        return false;
    paio_signals_block(&saved);
    /* Anew: a handler may have forked, and this be the child, which has nothing in flight, or its own. */
    stream = paio_process_started() ? stream_of(fd) : NULL;
    served = stream && serve(stream);
    paio_signals_restore(&saved);
    return served;
}

void paio_stream_ready(int fd, uint32_t events)
{
    static const uint32_t interest[] = {
        [IN] = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR,
        [OUT] = EPOLLOUT | EPOLLHUP | EPOLLERR,
    };
    struct paio_operation *over[DIRECTIONS] = { NULL, NULL };
    struct paio_stream *stream = stream_of(fd);
    ssize_t result[DIRECTIONS];

    pthread_mutex_lock(&stream->lock);
    for (unsigned d = 0; d < DIRECTIONS; d++) {
        if (stream->active[d] && (events & interest[d]) &&
            advance(stream, stream->active[d], &result[d])) {
            over[d] = stream->active[d];
            deactivate(stream, d);
        }
    }
    if ((stream->active[IN] || stream->active[OUT]) && arm(stream, fd) < 0) {
        /* The descriptor was closed where we could not see it. */
        for (unsigned d = 0; d < DIRECTIONS; d++) {
            if (!stream->active[d])
                continue;
            over[d] = stream->active[d];
            result[d] = over[d]->done ? (ssize_t) over[d]->done : -EBADF;
            deactivate(stream, d);
        }
    }
    pthread_mutex_unlock(&stream->lock);
    for (unsigned d = 0; d < DIRECTIONS; d++)
        if (over[d])
            over[d]->complete(over[d], result[d]);
}

void paio_stream_close(int fd)
{
    struct paio_stream *stream = stream_of(fd);
    struct paio_operation *partial = NULL;

    if (!stream)
        return;
    pthread_mutex_lock(&stream->lock);
    if (stream->active[OUT] && stream->active[OUT]->done) {
        partial = stream->active[OUT];
        deactivate(stream, OUT);
    }
    pthread_mutex_unlock(&stream->lock);
    if (partial)
        partial->complete(partial, (ssize_t) partial->done);
}

void paio_stream_check(int fd)
{
    struct paio_operation *over[DIRECTIONS] = { NULL, NULL };
    struct paio_stream *stream = stream_of(fd);

    if (!stream)
        return;
    pthread_mutex_lock(&stream->lock);
    for (unsigned d = 0; d < DIRECTIONS; d++) {
        struct paio_operation *active = stream->active[d];

        if (active && !paio_identity_holds(fd, &active->identity)) {
            over[d] = active;
            deactivate(stream, d);
        }
    }
    pthread_mutex_unlock(&stream->lock);
    for (unsigned d = 0; d < DIRECTIONS; d++)
        if (over[d])
            over[d]->complete(over[d], lost(over[d]));
}

void paio_stream_check_all(void)
{
    for (int fd = paio_descriptor_next(0); fd >= 0 && fd < INT_MAX;
         fd = paio_descriptor_next(fd + 1))
        paio_stream_check(fd);
}

const struct paio_engine paio_engine_stream = {
    .name = "stream",
    .submit = submit,
    .cancel = cancel,
};
