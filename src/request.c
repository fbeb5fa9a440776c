/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The slab of requests. Chunks are added when the free list is empty and are never given back,
 * so that memory follows the greatest number ever outstanding and a request, once made, can be
 * looked at for ever: paio_request_find reads it without a lock and believes it only when the
 * generation and the control block agree.
 *
 * The free list is a stack without a lock; its head carries a tag that changes with each pop, so
 * that a request that was taken and given back meanwhile is not mistaken for the one that was
 * seen. Locks: slab.lock (s) guards the chunk table's growth. It is a leaf.
 */
#include "request.h"

#include <string.h>

#include "memory.h"

enum { CHUNK = 128, CHUNKS = 1 << 16 };

static struct {
    pthread_mutex_t lock;
    _Atomic uint64_t free;                          /* tag, and index + 1 of the first */
    uint32_t chunks;                                /* s */
    _Atomic(struct paio_request *) chunk[CHUNKS];   /* s to write; read by anyone */
} slab = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct paio_request *at(uint32_t index)
{
    struct paio_request *chunk = atomic_load_explicit(&slab.chunk[index / CHUNK],
                                                      memory_order_acquire);

    return chunk ? chunk + index % CHUNK : NULL;
}

static void put(struct paio_request *request)
{
    uint64_t head = atomic_load_explicit(&slab.free, memory_order_relaxed), next;

    do {
        atomic_store_explicit(&request->next_free, (uint32_t) head, memory_order_relaxed);
        next = (head >> 32 << 32) | (request->index + 1);
        /* Release: pairs with the acquire of take, which reads next_free. */
    } while (!atomic_compare_exchange_weak_explicit(&slab.free, &head, next, memory_order_release,
                                                    memory_order_relaxed));
}

static struct paio_request *take(void)
{
    uint64_t head = atomic_load_explicit(&slab.free, memory_order_acquire), next;
    struct paio_request *request;

    do {
        if (!(uint32_t) head)
            return NULL;
        request = at((uint32_t) head - 1);
        next = ((head >> 32) + 1) << 32 |
               atomic_load_explicit(&request->next_free, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&slab.free, &head, next, memory_order_acquire,
                                                    memory_order_acquire));
    return request;
}

static bool grow(void)
{
    struct paio_request *chunk;

    if (slab.chunks == CHUNKS)
        return false;
    chunk = paio_memory_pages(CHUNK * sizeof *chunk);
    if (!chunk)
        return false;
    /* Release: pairs with the acquire of at(), in whichever thread finds an index of it. */
    atomic_store_explicit(&slab.chunk[slab.chunks], chunk, memory_order_release);
    for (uint32_t i = CHUNK; i-- > 0;) {
        chunk[i].index = slab.chunks * CHUNK + i;
        put(&chunk[i]);
    }
    slab.chunks++;
    return true;
}

_Atomic uint32_t paio_appends;

void paio_request_reset(void)
{
    atomic_store(&paio_appends, 0);
    pthread_mutex_init(&slab.lock, NULL);
    atomic_store(&slab.free, 0);
    for (uint32_t c = slab.chunks; c-- > 0;) {
        struct paio_request *chunk = atomic_load_explicit(&slab.chunk[c], memory_order_relaxed);

        for (uint32_t i = CHUNK; i-- > 0;) {
            atomic_store_explicit(&chunk[i].cb, NULL, memory_order_relaxed);
            paio_request_move(&chunk[i], PAIO_FREE);
            put(&chunk[i]);
        }
    }
}

void paio_request_reserve(unsigned count)
{
    pthread_mutex_lock(&slab.lock);
    while (slab.chunks < CHUNKS && slab.chunks * CHUNK < count && grow())
        ;
    pthread_mutex_unlock(&slab.lock);
}

static void prepare(struct paio_request *request, struct aiocb *cb, bool open)
{
    uint32_t generation = atomic_load_explicit(&request->generation, memory_order_relaxed) + 1;

    memset(&request->operation, 0, offsetof(struct paio_operation, iocb));
    atomic_store_explicit(&request->generation, generation, memory_order_relaxed);
    atomic_store_explicit(&request->file, NULL, memory_order_relaxed);
    request->group = NULL;
    request->in_lane.next = NULL;
    request->lane = NULL;
    request->chosen = NULL;
    request->carry_on = false;
    request->early = false;
    request->open = open;
    atomic_store_explicit(&request->dropped, false, memory_order_relaxed);
    atomic_store_explicit(&request->file_write, false, memory_order_relaxed);
    atomic_store_explicit(&request->publication, PAIO_UNPUBLISHED, memory_order_relaxed);
    request->accepted = 0;
    if (cb) {
        cb->__abs_prio = (int) request->index;
        cb->__policy = (int) generation;
    }
    paio_request_move(request, PAIO_NEW);
    /* Release: whoever finds this control block here sees its generation, and `open`. */
    atomic_store_explicit(&request->cb, cb, memory_order_release);
}

struct paio_request *paio_request_try(struct aiocb *cb)
{
    struct paio_request *request = take();

    if (request)
        prepare(request, cb, true);
    return request;
}

static struct paio_request *take_or_grow(void)
{
    struct paio_request *request;

    pthread_mutex_lock(&slab.lock);
    do
        request = take();
    while (!request && grow());
    pthread_mutex_unlock(&slab.lock);
    return request;
}

struct paio_request *paio_request_allocate(struct aiocb *cb)
{
    struct paio_request *request = take();

    if (!request)
        request = take_or_grow();
    if (request)
        prepare(request, cb, false);
    return request;
}

void paio_request_free(struct paio_request *request)
{
    atomic_store_explicit(&request->cb, NULL, memory_order_relaxed);
    paio_request_move(request, PAIO_FREE);
    put(request);
}

void paio_request_drop(struct paio_request *request)
{
    if (!request->early || atomic_exchange(&request->dropped, true))
        paio_request_free(request);
}

/* In a state that was loaded with acquire. */
static bool unwritten_file(const struct paio_request *request, enum paio_state state)
{
    return state != PAIO_NEW &&
           atomic_load_explicit(&request->file_write, memory_order_relaxed) &&
           atomic_load_explicit(&request->publication, memory_order_acquire) != PAIO_PUBLISHED;
}

bool paio_request_any(bool unwritten)
{
    for (uint32_t i = 0; i / CHUNK < CHUNKS && at(i); i++) {
        const struct paio_request *request = at(i);
        enum paio_state state = atomic_load_explicit(&request->state, memory_order_acquire);

        if (state != PAIO_FREE && (!unwritten || unwritten_file(request, state)))
            return true;
    }
    return false;
}

struct paio_request *paio_request_find(const struct aiocb *cb)
{
    uint32_t index = (uint32_t) cb->__abs_prio;
    struct paio_request *request = index / CHUNK < CHUNKS ? at(index) : NULL;

    if (!request)
        return NULL;
    if (atomic_load_explicit(&request->cb, memory_order_acquire) != cb ||
        atomic_load_explicit(&request->generation, memory_order_relaxed) !=
            (uint32_t) cb->__policy)
        return NULL;
    return request;
}
