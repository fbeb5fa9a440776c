/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Engine: the contract between the dispatcher and whatever carries out an operation. There are
 * three: kernel AIO (engine_kernel.c), the pool of threads (engine_pool.c), and the readiness
 * of streams (engine_stream.c). An engine knows nothing of control blocks, order or
 * notification: it is given operations, and gives each back once, by its complete callback.
 */
#ifndef PAIO_ENGINE_H
#define PAIO_ENGINE_H

#include <libaio.h>
#include <sys/stat.h>

#include "base.h"

enum paio_code { PAIO_READ, PAIO_WRITE, PAIO_FSYNC, PAIO_FDATASYNC };

/* Class of work: what the pool keeps apart so that one cannot starve another. */
enum paio_class {
    PAIO_CLASS_READ,   /* reads that the page cache could not serve */
    PAIO_CLASS_WRITE,  /* buffered writes */
    PAIO_CLASS_SYNC,   /* fsync, and writes that wait for the device: many at once batch well */
    PAIO_CLASS_STREAM, /* transfers of ready streams that know no way without waiting */
    PAIO_CLASSES
};

/* Which file a descriptor stood for when the request was accepted. */
struct paio_identity {
    dev_t dev;
    ino_t ino;
    mode_t type; /* S_IFMT of st_mode */
};

struct paio_flow;

/*
 * Operation: what is to be done. Filled in by the dispatcher, owned by the engine from submit
 * until complete (or until cancel has returned true).
 */
struct paio_operation {
    void (*complete)(struct paio_operation *operation, ssize_t result);
    _Atomic(const struct paio_engine *) engine; /* the one that has it; the dispatcher's */
    _Atomic(const struct paio_engine *) queued; /* on whose queue it is, not begun; NULL: none's */
    struct paio_link link;                      /* that queue */
    struct paio_flow *flow;           /* the pool's queue for this file and class */
    struct paio_identity identity;
    pthread_t waiter; /* the thread that it is left to, if it is awaited */
    void *buffer;
    size_t length;        /* at most PAIO_TRANSFER_MAX */
    off_t offset;
    size_t done; /* bytes transferred so far; the engine goes on behind them */
    int fd;
    int error;        /* of one that submit refused: why, -errno, where the engine knows */
    uint8_t code;     /* enum paio_code */
    uint8_t class;    /* enum paio_class */
    uint8_t left_at;  /* pool: the tick before which it was set aside for a waiter */
    _Atomic bool arrived; /* the engine has seen it; before, cancel cannot tell anything of it */
    bool under_way;   /* a read that the device has begun with in the call that submitted it */
    bool stream;      /* no file position: read and write in place of pread and pwrite */
    bool prompt;      /* somebody waits who will not reap: wake a thread of ours that does */
    bool told;        /* somebody is to be told when it is done */
    bool may_block;   /* kernel engine: the kernel takes it without RWF_NOWAIT */
    bool followed;    /* pool: the thread does another one at once: waiters may sleep till then */
    _Atomic bool awaited; /* pool: left to a thread that waits, and not claimed yet; under the pool's lock, but a hint
                             * to others */
    _Atomic bool exposed; /* pool: it was, and is left to a thread of the pool; likewise */
    bool by_waiter;   /* pool: that thread has claimed it */
    struct iocb iocb; /* kernel engine */
};

struct paio_engine {
    const char *name;

    /*
     * Takes count operations. Those that the engine cannot take are moved to the front of the
     * array, and their number is returned: they are still the caller's. Sets arrived on the
     * others, not later than it makes them known to any other thread. Never calls complete
     * itself, though another thread may before submit returns. Called with signals blocked and
     * no lock held.
     */
    unsigned (*submit)(struct paio_operation **operations, unsigned count);

    /*
     * Takes the operation back if nothing of it has been carried out yet: true, and complete
     * will not be called. Called with signals blocked and the file's lock held, so that the
     * operation cannot be recycled meanwhile.
     */
    bool (*cancel)(struct paio_operation *operation);

    /*
     * Begins an operation that was submitted as `awaited`, on behalf of the calling thread, if nothing of it has
     * been begun; or the one that is to be done before it, if that is awaited too. The thread must call perform with
     * what is returned. From then on it is like any other to cancel. NULL: the engine goes on with it by itself, and
     * it is awaited no more. Called with signals blocked and the file's lock held. Without this function the
     * engine has no awaited ones.
     */
    struct paio_operation *(*claim)(struct paio_operation *operation);

    /*
     * Carries out and completes what claim has begun, and the awaited ones that come next on its file while
     * go_on(next, wait) says so, which must not block. True: more is left to the calling thread. Signals blocked,
     * still, and no lock held.
     */
    bool (*perform)(struct paio_operation *operation,
                    bool (*go_on)(const struct paio_operation *next, void *wait), void *wait);
};

/*
 * complete(operation, result): result is what read(2), write(2) or fsync(2) would return, or
 * -errno. Called once, on any thread, with signals blocked and no lock of the engine held.
 * -EAGAIN and -EOPNOTSUPP from the kernel engine mean "not this way".
 */

extern const struct paio_engine paio_engine_kernel, paio_engine_pool, paio_engine_stream;

#endif
