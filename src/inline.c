/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way in the caller: what the page cache, or memory, can serve without waiting; and buffered writes of a thread
 * that would wait for them at once. No lock is taken, no signal blocked. What it cannot do, or finds wrong, is left to
 * the slower way.
 */
#include "inline.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/uio.h>

#include "engine_pool.h"
#include "habit.h"
#include "limit.h"
#include "process.h"
#include "request.h"

/* Reads one after the other that were not cached, after which the next is taken for one as well; and how often one is tried. */
enum { COLD = 8, PROBE = 16 };

/* Reads of this thread that came alone and were not cached, or not tried, one after the other: whatever their file. */
static __thread uint32_t missed __attribute__((tls_model("initial-exec")));

/*
 * pread(2), or preadv2(2) with flags, which takes longer; and the same for writes. But no cancellation points: aio_read and
 * aio_write are none.
 */
static ssize_t read_at(int fd, void *buffer, size_t length, off_t offset, int flags)
{
    struct iovec vector = { buffer, length };

    return flags ? syscall(SYS_preadv2, fd, &vector, 1, offset, 0, flags)
                 : syscall(SYS_pread64, fd, buffer, length, offset);
}

static ssize_t write_at(int fd, const void *buffer, size_t length, off_t offset, int flags)
{
    struct iovec vector = { (void *) (uintptr_t) buffer, length };

    return flags ? syscall(SYS_pwritev2, fd, &vector, 1, offset, 0, flags)
                 : syscall(SYS_pwrite64, fd, buffer, length, offset);
}

static PAIO_APART ssize_t read_rest(const struct aiocb *cb, size_t length, int flags, size_t *done)
{
    char *buffer = (char *) (uintptr_t) cb->aio_buf;
    ssize_t n = read_at(cb->aio_fildes, buffer + *done, length - *done,
                        cb->aio_offset + (off_t) *done, flags);

    if (n < 0)
        return -errno;
    *done += (size_t) n;
    return n == 0 || *done == length ? (ssize_t) *done : -EAGAIN;
}

/*
 * Reads what the page cache has, in one or two calls: a short first one may be the end of the
 * file or of what is cached, and the second tells. Bytes, or -EAGAIN with *done bytes read,
 * or another error, which the slower way will find out for itself.
 */
static inline ssize_t read_cached(const struct aiocb *cb, size_t length, int flags, size_t *done)
{
    ssize_t n = read_at(cb->aio_fildes, (void *) cb->aio_buf, length, cb->aio_offset, flags);

    if (n < 0)
        return -errno;
    if (n == 0 || (size_t) n == length)
        return n;
    *done = (size_t) n;
    return read_rest(cb, length, flags, done);
}

/*
 * The first piece of a long read, for paio_choose_engine: io_submit of a buffered file copies what is
 * cached in the caller, however much that is, and a long read that begins in the page cache may be in
 * it to its end.
 */
static ssize_t read_beginning(const struct aiocb *cb, size_t *done)
{
    ssize_t n = read_cached(cb, PAIO_INLINE_MAX, RWF_NOWAIT, done);

    if (n < PAIO_INLINE_MAX)
        return n; /* the end of the file, or not cached */
    *done = PAIO_INLINE_MAX;
    return -EAGAIN;
}

static ssize_t write_memory(const struct aiocb *cb)
{
    int flags = fcntl(cb->aio_fildes, F_GETFL);
    ssize_t n;

    if (flags < 0 || flags & O_APPEND || !paio_within_limit(cb, paio_limit_lately(paio_now())))
        return -EAGAIN;
    n = write_at(cb->aio_fildes, (const void *) cb->aio_buf, cb->aio_nbytes, cb->aio_offset, 0);
    return n < 0 ? -errno : n;
}

/*
 * Has fcntl made an append of it, by any descriptor of the file, that is not known yet? It must not overtake others, or
 * end beyond the limit; otherwise it is as well done here.
 */
static bool appends_unknown(int fd, rlim_t limit)
{
    return (limit != RLIM_INFINITY || atomic_load(&paio_appends)) && fcntl(fd, F_GETFL) & O_APPEND;
}

/*
 * Writes into the page cache; with RWF_NOWAIT what it can take without waiting, which XFS, Btrfs and block devices have.
 * Bytes, or -EAGAIN with *done bytes written, or another error, which the slower way will find out for itself.
 */
static ssize_t write_cached(const struct aiocb *cb, int flags, uint64_t now, size_t *done)
{
    rlim_t limit = paio_limit_lately(now);
    ssize_t n;

    if (!paio_within_limit(cb, limit) || appends_unknown(cb->aio_fildes, limit))
        return -EAGAIN;
    n = write_at(cb->aio_fildes, (const void *) cb->aio_buf, cb->aio_nbytes, cb->aio_offset, flags);
    if (n < 0)
        return -errno;
    *done = (size_t) n;
    return *done == cb->aio_nbytes ? n : -EAGAIN;
}

/*
 * A read that was not cached, and the next: is it better not even tried, but left to a thread of the pool as it is? The
 * device would begin with it at once, but a thread is woken on another processor then, while this one goes on, and has
 * to wake this one again; who does all of it is as soon done, and often on this processor. So where reads come one at a
 * time, by a thread that does not wait for them itself, and would hardly be found in the page cache: some before were
 * not. Each PROBE-th is tried all the same.
 */
static PAIO_APART bool is_for_pool(bool single)
{
    if (!single || !paio_pool_at_rest(PAIO_CLASS_READ) || paio_settings.buffered || paio_habit_there()) {
        missed = 0;
        return false;
    }
    return ++missed > COLD && missed % PROBE;
}

static ssize_t try_read(const struct aiocb *cb, uint32_t memory, bool single, struct paio_progress *progress)
{
    bool is_long = cb->aio_nbytes > PAIO_INLINE_MAX;
    ssize_t n;

    if (memory & PAIO_MEMORY)
        return is_long ? -EAGAIN : read_cached(cb, cb->aio_nbytes, 0, &progress->done);
    if ((memory & (PAIO_BUFFERED | PAIO_NO_NOWAIT)) != PAIO_BUFFERED)
        return -EAGAIN;
    if (is_long)
        return paio_settings.buffered && cb->aio_nbytes <= SSIZE_MAX ? read_beginning(cb, &progress->done) : -EAGAIN;
    if (missed && is_for_pool(single))
        return -EAGAIN;
    n = read_cached(cb, cb->aio_nbytes, RWF_NOWAIT, &progress->done);
    if (n == -EAGAIN) {
        progress->under_way = true;
        if (!missed)
            missed = 1;
    } else if (missed) {
        missed = 0;
    }
    return n;
}

/*
 * Where the filesystem does not tell whether it would wait, as ext4, it is written for a thread that waits at once. The
 * kernel may hold the caller up then: to throttle it, to read a page of which a part is written, for the inode's lock.
 */
static ssize_t try_write(struct paio_descriptor *descriptor, const struct aiocb *cb, uint32_t memory, size_t *done)
{
    uint64_t now;
    ssize_t n;

    if (cb->aio_nbytes > PAIO_INLINE_MAX)
        return -EAGAIN;
    if (memory & PAIO_MEMORY)
        return write_memory(cb);
    if (!(memory & PAIO_LAZY))
        return -EAGAIN;
    now = paio_now();
    if (!(memory & (PAIO_NO_NOWAIT | PAIO_NO_NOWAIT_WRITE))) {
        n = write_cached(cb, RWF_NOWAIT, now, done);
        if (n != -EOPNOTSUPP)
            return n;
        paio_descriptor_learn(descriptor, PAIO_NO_NOWAIT_WRITE);
    }
    return memory & PAIO_LOCAL && paio_habit_grants(now) ? write_cached(cb, 0, now, done) : -EAGAIN;
}

ssize_t paio_inline(const struct aiocb *cb, enum paio_code code, bool single, struct paio_progress *progress)
{
    struct paio_descriptor *descriptor = paio_descriptor_get(cb->aio_fildes);
    bool read = code == PAIO_READ;
    uint32_t memory;
    int saved = errno;
    ssize_t n;

    if (!descriptor || cb->aio_offset < 0 || code > PAIO_WRITE || paio_settings.descriptor_order)
        return -EAGAIN;
    /* A write must not overtake another on the descriptor. */
    if (!read && atomic_load(&descriptor->requests))
        return -EAGAIN;
    memory = paio_descriptor_recall(descriptor, cb->aio_fildes);
    n = read ? try_read(cb, memory, single, progress) : try_write(descriptor, cb, memory, &progress->done);
    errno = saved;
    if (n >= 0)
        return n;
    if (n == -EOPNOTSUPP && read)
        paio_descriptor_learn(descriptor, PAIO_NO_NOWAIT);
    else if (n != -EAGAIN)
        paio_descriptor_forget(descriptor);
    return -EAGAIN;
}
