/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limit: RLIMIT_FSIZE, where a write must end. One beyond it raises SIGXFSZ in the thread that carries it out, which
 * is to be none of the caller's.
 */
#ifndef PAIO_LIMIT_H
#define PAIO_LIMIT_H

#include <aio.h>
#include <sys/resource.h>

#include "base.h"

/* Bytes; RLIM_INFINITY: anywhere. Async-signal-safe (getrlimit(2)). */
rlim_t paio_limit(void);

/*
 * The same as of a moment ago, 50 µs at most; now: by paio_now. What this process has set by the C library's functions is
 * seen. Async-signal-safe.
 */
rlim_t paio_limit_lately(uint64_t now);

/* Does the write of the control block end within that limit? */
static inline bool paio_within_limit(const struct aiocb *cb, rlim_t limit)
{
    off_t end;

    return !__builtin_add_overflow(cb->aio_offset, cb->aio_nbytes, &end) && (rlim_t) end <= limit;
}

#endif
