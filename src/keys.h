/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Thread-specific data: has a function left any in the thread that called it?
 */
#ifndef PAIO_KEYS_H
#define PAIO_KEYS_H

#include <limits.h>

#include "base.h"

enum { PAIO_KEYS_GROUP = 16 };

/* What a thread has: a bit for each key that has a value in it. */
struct paio_keys {
    uint16_t set[PTHREAD_KEYS_MAX / PAIO_KEYS_GROUP];
    unsigned groups; /* of set: those that have, or had, keys that exist */
};

/* Notes what the calling thread has. For a thread that starts: it takes some microseconds. Signals blocked. */
void paio_keys_note(struct paio_keys *keys);

/* Has a key a value in the calling thread that had none when they were noted, or none that had one? Signals blocked. */
bool paio_keys_changed(struct paio_keys *keys);

#endif
