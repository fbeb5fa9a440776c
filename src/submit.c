/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A write that is told of by a call is carried out in the caller only if all is there that telling takes. A read that
 * nobody can be told of is refused when it has been made, and as well made again.
 */
#include "submit.h"

bool paio_submit_told_write(struct aiocb *cb, bool single, struct paio_progress *progress, uint64_t began, int *error)
{
    struct paio_reserved reserved;
    ssize_t n;

    if (!paio_finish_reserve(&reserved, &cb->aio_sigevent))
        return false;
    n = paio_inline(cb, PAIO_WRITE, single, progress);
    if (n < 0) {
        paio_finish_unreserve(&reserved);
        return false;
    }
    *error = paio_finish_in_caller(cb, PAIO_WRITE, n, began, &reserved);
    return true;
}
