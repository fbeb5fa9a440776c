/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory for the library's records: mmap(2), never malloc.
 */
#ifndef PAIO_MEMORY_H
#define PAIO_MEMORY_H

#include <stddef.h>

/* Pages of their own, zero, or NULL; munmap gives them back. Lock-free, async-signal-safe. */
void *paio_memory_pages(size_t size);

/* Memory for one small record that is never given back, zero, in cache lines of its own, or NULL. Signals blocked. */
void *paio_memory_permanent(size_t size);

/* For start-up and a forked child, while there is one thread. What has been divided stays so. */
void paio_memory_reset(void);

#endif
