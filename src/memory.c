/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory from the kernel, not from malloc: the library is called in signal handlers, and by programs that bring a malloc of
 * their own.
 *
 * Locks: memory.lock is a leaf.
 */
#include "memory.h"

#include <pthread.h>
#include <sys/mman.h>

/* Asked of the kernel at a time; what a piece of it is a whole number of. */
enum { PAGES = 65536, LINE = 64 };

static struct {
    pthread_mutex_t lock;
    char *next;
    size_t left;
} memory = { .lock = PTHREAD_MUTEX_INITIALIZER };

void *paio_memory_pages(size_t size)
{
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return pages == MAP_FAILED ? NULL : pages;
}

void *paio_memory_permanent(size_t size)
{
    void *piece = NULL;

    size = (size + LINE - 1) & ~(size_t) (LINE - 1);
    pthread_mutex_lock(&memory.lock);
    if (memory.left < size) {
        memory.next = paio_memory_pages(PAGES);
        memory.left = memory.next ? PAGES : 0;
    }
    if (memory.left >= size) {
        piece = memory.next;
        memory.next += size;
        memory.left -= size;
    }
    pthread_mutex_unlock(&memory.lock);
    return piece;
}

void paio_memory_reset(void)
{
    pthread_mutex_init(&memory.lock, NULL);
}
