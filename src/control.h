/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control block: the library's view of the private fields of the caller's struct aiocb.
 *
 * The status word is the eight bytes that begin at __error_code. Its low half is the error
 * status that aio_error reports, EINPROGRESS while the request is in flight; its high half says
 * which buckets of waiters want to hear of the completion (see waiter.c). One exchange of the
 * whole word publishes the result: it pairs, as release, with the acquire load of whoever reads
 * a status other than EINPROGRESS. From then on the control block is its owner's, who may free
 * it, and the library does not touch it again.
 *
 * __abs_prio and __policy hold the index and generation of the request, so that a control block
 * that was never submitted, or was submitted long ago, is told from one in flight
 * (paio_request_find); nothing in them is trusted.
 */
#ifndef PAIO_CONTROL_H
#define PAIO_CONTROL_H

#include <aio.h>

#include "base.h"

_Static_assert(sizeof(struct aiocb) == sizeof(struct aiocb64), "one layout for both interfaces");
_Static_assert(offsetof(struct aiocb, aio_offset) == offsetof(struct aiocb64, aio_offset),
               "one layout for both interfaces");
_Static_assert(sizeof(((struct aiocb *) 0)->__error_code) == 4 &&
                   offsetof(struct aiocb, __error_code) % 8 == 0 &&
                   offsetof(struct aiocb, __return_value) ==
                       offsetof(struct aiocb, __error_code) + 8,
               "the status word takes __error_code and the padding behind it");
_Static_assert(sizeof(((struct aiocb *) 0)->__return_value) == sizeof(ssize_t), "result fits");
_Static_assert(offsetof(struct aiocb, __error_code) == 112 && sizeof(struct aiocb) == 168,
               "glibc's struct aiocb on LP64");

static inline _Atomic uint64_t *paio_status(const struct aiocb *cb)
{
    return (_Atomic uint64_t *) (uintptr_t) ((const char *) cb +
                                             offsetof(struct aiocb, __error_code));
}

/* The error status, as aio_error reports it. */
static inline int paio_status_error(uint64_t word)
{
    return (int) (uint32_t) word;
}

static inline bool paio_in_progress(const struct aiocb *cb)
{
    uint64_t word = atomic_load_explicit(paio_status(cb), memory_order_acquire);

    return paio_status_error(word) == EINPROGRESS;
}

/*
 * Publishes result (bytes or -errno) and returns the buckets of waiters to be woken. The
 * exchange is sequentially consistent: it pairs with the waiter that sets its bit and then looks
 * whether it must sleep.
 */
static inline uint32_t paio_publish(struct aiocb *cb, ssize_t result)
{
    uint64_t error = result < 0 ? (uint64_t) (uint32_t) -result : 0;

    cb->__return_value = result < 0 ? -1 : result;
    return (uint32_t) (atomic_exchange(paio_status(cb), error) >> 32);
}

#endif
