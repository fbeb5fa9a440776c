/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the two sides of slowfs share: the test's (slowfs.c) and the server's (slowfs-server.c).
 *
 * The test writes the orders (hold, fail, shorten, delay, release) and the server the counts; all
 * are atomic. A request's effect on the data comes before it is counted in `finished`, and that
 * before it is answered. That it has arrived and that it is held is counted at once, in one word:
 * a test may wait for either and then rely on the other.
 */
#ifndef SLOWFS_SHARED_H
#define SLOWFS_SHARED_H

#include "slowfs.h"

#include <stdatomic.h>

#define SLOWFS_ONE_HELD (1ul << 32)

/* Orders to the server for one kind of operation, and its counts. */
struct slowfs_orders {
    atomic_uint hold;
    atomic_uint release;
    atomic_uint fail;
    atomic_int fail_error;
    atomic_uint shorten;
    atomic_size_t shorten_length;
    atomic_uint delay;
    atomic_ulong arrived; /* and, in steps of SLOWFS_ONE_HELD, how many are held */
    atomic_uint finished;
};

struct slowfs_shared {
    atomic_int state; /* 0 while starting, 1 when mounted, -errno when that failed */
    struct slowfs_orders orders[SLOWFS_OPS];
    atomic_uint records;
    struct slowfs_record record[SLOWFS_RECORDS];
    atomic_size_t size[SLOWFS_FILES];
    unsigned char data[SLOWFS_FILES][SLOWFS_CAPACITY];
};

/*
 * The whole life of the server, in a child of parent: mounts on directory, serves until parent's
 * thread ends, unmounts, exits. A byte in wake_fd, an eventfd, tells of new orders.
 */
_Noreturn void slowfs_serve(struct slowfs_shared *memory, int wake_fd, const char *directory,
                            pid_t parent);

#endif
