/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors and files: what the library knows of the numbers that callers use, and of the
 * files behind them.
 */
#ifndef PAIO_FILE_H
#define PAIO_FILE_H

#include <sys/stat.h>

#include "flow.h"

/* Kind of file: which ways are open to its requests. */
enum paio_kind {
    PAIO_KIND_REGULAR = 1, /* regular file or block device */
    PAIO_KIND_SOCKET,
    PAIO_KIND_STREAM, /* pipe, FIFO, terminal, eventfd, inotify, … */
    PAIO_KIND_OTHER,  /* directory, seekable character device: the pool */
};

/* What fcntl(F_GETFL) and statx say of a descriptor. */
struct paio_look {
    enum paio_kind kind;
    int flags; /* as F_GETFL */
    struct paio_identity identity;
};

/*
 * What is remembered of a descriptor for the way in the caller: a set of bits, 0 for nothing.
 * A stale value costs a read some time and nothing else.
 */
enum {
    PAIO_KNOWN = 1,     /* the other bits mean something */
    PAIO_BUFFERED = 2,  /* a regular file, not O_DIRECT */
    PAIO_MEMORY = 4,    /* on tmpfs: no device to wait for, and no RWF_NOWAIT */
    PAIO_NO_NOWAIT = 8, /* its filesystem has no RWF_NOWAIT */
    PAIO_LAZY = 16,     /* PAIO_BUFFERED, and writes are done when the page cache has them */
    PAIO_NO_NOWAIT_WRITE = 32, /* its filesystem has no RWF_NOWAIT for buffered writes */
    PAIO_LOCAL = 64,    /* a regular file or block device whose device is in this machine */
};

struct paio_stream;

/*
 * Descriptor: one number of the process. Made when first used, kept for ever (a number costs
 * 80 bytes), so that it can be looked at without a lock.
 */
struct paio_descriptor {
    _Atomic uint32_t memory;   /* PAIO_KNOWN, … */
    _Atomic uint32_t uses;     /* of memory */
    _Atomic uint32_t requests; /* accepted, result not published: close looks at it */
    _Atomic uint32_t epoch;    /* changes when the number comes to stand for another file */
    _Atomic uint64_t refreshed; /* when memory was, by paio_now */
    struct {
        _Atomic uint32_t version; /* odd while it is being written */
        _Atomic uint32_t epoch;   /* epoch of the descriptor when it was seen */
        _Atomic mode_t type;      /* S_IFREG, or 0 for nothing seen */
        _Atomic int flags;        /* as F_GETFL */
        _Atomic uint64_t dev, ino;
    } seen;                    /* what statx said last; good while there are requests */
    _Atomic(struct paio_file *) own;       /* its private file record: streams */
    _Atomic(struct paio_file *) latest;    /* the shared record of its latest request: a hint */
    _Atomic(struct paio_stream *) stream;  /* the stream engine's */
};

/*
 * File: what orders the requests on one file. Regular files are found by identity, so that
 * descriptors of one file share the record and aio_fsync waits for all of them; streams, and
 * everything under LIBPOSIX_AIO_ORDER=descriptor, have one a descriptor.
 *
 * Lock key: (f) the file's lock, (h) the lock of its hash bucket, (p) the pool's lock.
 */
struct paio_file {
    pthread_mutex_t lock;
    struct paio_link hash;          /* h: bucket, or free list */
    struct paio_identity identity;  /* h */
    _Atomic uint32_t references;    /* requests in flight; h to go from or to 0 */
    bool private;                   /* constant while referenced */
    struct paio_link in_flight;     /* f: data requests and waiting barriers, as submitted */
    struct paio_link syncs;         /* f: barriers that have started */
    struct paio_link lane[2];       /* f: one at a time: reads, writes */
    struct paio_flow flow[PAIO_CLASSES]; /* p */
};

/* Forgets everything. For start-up and a forked child, while there is one thread. */
void paio_descriptor_reset(void);
void paio_file_reset(void);

/* The record of fd, or NULL (a number beyond the table, or no memory). Lock-free unless new. */
struct paio_descriptor *paio_descriptor_get(int fd);

/* The record of fd if there is one. Lock-free, async-signal-safe. */
struct paio_descriptor *paio_descriptor_find(int fd);

/* The smallest number from fd up that has a record, or -1. Lock-free, async-signal-safe. */
int paio_descriptor_next(int fd);

/* Asks the kernel what fd is. 0 or -EBADF. */
int paio_descriptor_look(int fd, struct paio_look *look);

/*
 * The same, but a regular file that has requests outstanding on fd is taken to be still what it was
 * when the first of them came: whoever closed fd meanwhile had to cancel them (close.c). F_SETFL may
 * have changed O_APPEND or O_DIRECT meanwhile. That costs a read nothing but time, nor a buffered
 * write, for the pool does those of a file in turn anyway; for other writes, whose order O_APPEND
 * changes, the flags are asked for again.
 */
int paio_descriptor_look_again(struct paio_descriptor *descriptor, int fd, bool write,
                               struct paio_look *look);

/* The bits remembered of fd, asked for anew every 64th time, if they are 10 ms old. 0: fd is not open. */
uint32_t paio_descriptor_recall(struct paio_descriptor *descriptor, int fd);

/* Remembers one bit more. */
void paio_descriptor_learn(struct paio_descriptor *descriptor, uint32_t bit);

/* Forgets what was remembered of fd: its number may stand for another file from now on. */
void paio_descriptor_forget(struct paio_descriptor *descriptor);

/*
 * What a request ends with whose descriptor is not its file any more, for somebody has closed it
 * unseen: -EBADF, or -ECANCELED if the number is in use. Forgets what was remembered of it.
 */
int paio_descriptor_lost(int fd);

static inline bool paio_identity_equal(const struct paio_identity *a, const struct paio_identity *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->type == b->type;
}

/* Does identity still describe the file behind fd? */
bool paio_identity_holds(int fd, const struct paio_identity *identity);

/*
 * The record that orders requests on descriptor, with a reference, or NULL when memory is
 * short. Signals blocked. paio_file_put gives the reference back.
 */
struct paio_file *paio_file_get(struct paio_descriptor *descriptor, const struct paio_look *look);

/* The same, if that takes no lock. Signals need not be blocked. */
struct paio_file *paio_file_try(struct paio_descriptor *descriptor, const struct paio_look *look);

void paio_file_put(struct paio_file *file);

/* As paio_file_get, but NULL where there is no such record: nothing is in flight then. */
struct paio_file *paio_file_busy(struct paio_descriptor *descriptor,
                                 const struct paio_look *look);

#endif
