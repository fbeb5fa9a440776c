/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kernel engine: what it offers beside the contract of engine.h. Submission never waits; who
 * wants completions comes and takes them.
 */
#ifndef PAIO_ENGINE_KERNEL_H
#define PAIO_ENGINE_KERNEL_H

#include "engine.h"

/*
 * Sets the engine up and tries it out. 0, or -errno: what the kernel lacks, after which the
 * engine refuses every operation.
 */
int paio_kernel_start(void);

/* How many operations go to the kernel at a time. */
enum { PAIO_KERNEL_BATCH = 64 };

/* Takes room for as many operations as there is room for, at most count. Signals blocked. Lock-free. */
unsigned paio_kernel_take_room(unsigned count);

/* Gives back room that was taken and is not used. Signals blocked. Lock-free. */
void paio_kernel_give_back_room(unsigned count);

/*
 * Submits count operations that have room, at most PAIO_KERNEL_BATCH. Returns how many the kernel refused: they are in
 * front then, have no room any more, and their `error` says why. Signals blocked. Lock-free.
 */
unsigned paio_kernel_push(struct paio_operation **operations, unsigned count);

/* Closes and forgets what a forked child has inherited. */
void paio_kernel_reset(void);

/* Are there operations that the kernel holds, or is just given, or that wait here for room in it? */
bool paio_kernel_busy(void);

/* Do operations wait for room, and there is room? Somebody has to call paio_backlog_refill. */
bool paio_kernel_refillable(void);

/* Are there completions to be taken? A look at the ring, no system call. Async-signal-safe. */
bool paio_kernel_ready(void);

/* Place of the next completion in the ring: unchanged when nobody has reaped meanwhile. */
uint32_t paio_kernel_head(void);

/*
 * Takes the completions that are there and hands each to its operation's complete. Never waits
 * for a lock of the library, nor for the device. Returns their number. Signals blocked.
 * Async-signal-safe.
 */
unsigned paio_kernel_reap(void);

/*
 * May one operation be submitted at once: is there room, and no other that waits for it? Then paio_kernel_busy
 * says yes from now on. Lock-free.
 */
bool paio_kernel_begin(void);

/*
 * Submits the operation for which that was asked. False: the kernel refused it, operation->error says why, and
 * whoever wants to cancel it is still told that it goes on. Lock-free; signals need not be blocked, and a handler
 * may jump out of it.
 */
bool paio_kernel_push_one(struct paio_operation *operation);

/*
 * Waits, with the caller's signals open, until completions may have arrived or until
 * paio_kernel_kick: 0, -EINTR, or -ETIMEDOUT past deadline (CLOCK_MONOTONIC; NULL: none; only
 * then SA_RESTART restarts it). Another error: it cannot, for RLIMIT_NOFILE is 0, which ppoll(2) takes for EINVAL,
 * memory lacks, or somebody has closed our descriptors behind our back. For one thread at a time; a second one may wake
 * it in vain. A cancellation point. Async-signal-safe.
 */
int paio_kernel_wait(const struct timespec *deadline);

/* Makes paio_kernel_wait return. */
void paio_kernel_kick(void);

/*
 * The eventfd that is signaled when a prompt operation has completed, and that nobody reads; -1 without the
 * engine.
 */
int paio_kernel_prompt_fd(void);

#endif
