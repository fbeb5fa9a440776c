/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inline: requests that are done before the call returns.
 */
#ifndef PAIO_INLINE_H
#define PAIO_INLINE_H

#include "call.h"

/* Longest transfer in the caller: 5.8 µs from the page cache; 256 KiB would take it 21. */
enum { PAIO_INLINE_MAX = 65536 };

/*
 * Carries a request out in the caller if the page cache (or memory) can serve it without waiting, or if it is a buffered
 * write that is granted to the caller (habit.h): bytes, or -EAGAIN, and *progress, which was
 * nothing, says how far it has come. single: it is not one of a list. Says nothing to anyone. Takes no lock. Leaves errno
 * alone.
 */
ssize_t paio_inline(const struct aiocb *cb, enum paio_code code, bool single, struct paio_progress *progress);

#endif
