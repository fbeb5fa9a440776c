/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hash of file records by identity.
 *
 * Locks: bucket.lock (h) guards the bucket's chain; free_lock, taken under it, guards the free
 * list. A record is taken off its chain when its last reference goes, and its memory is used again
 * but never unmapped, so that whoever looks at a request's file field without a lock finds a
 * record there, if perhaps not the right one.
 */
#include "file.h"

#include "memory.h"
#include "process.h"

enum { BUCKETS = 256, CHUNK = 65536 };

static struct {
    pthread_mutex_t lock;
    struct paio_link chain; /* h */
} bucket[BUCKETS];

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct paio_link free_records; /* free_lock */

static unsigned hash(const struct paio_identity *identity)
{
    uint64_t mixed = (identity->ino ^ (uint64_t) identity->dev << 32) * 0x9e3779b97f4a7c15u;

    return (unsigned) (mixed >> 56) % BUCKETS;
}

/* Its flows are the pool's, who may be busy with them for the file that had the record before. */
static void prepare(struct paio_file *file, bool private)
{
    file->private = private;
    atomic_store_explicit(&file->references, 0, memory_order_relaxed);
    paio_list_init(&file->in_flight);
    paio_list_init(&file->syncs);
    paio_list_init(&file->lane[0]);
    paio_list_init(&file->lane[1]);
}

static void make(struct paio_file *file)
{
    pthread_mutex_init(&file->lock, NULL);
    for (unsigned c = 0; c < PAIO_CLASSES; c++)
        paio_flow_init(&file->flow[c]);
    paio_list_append(&free_records, &file->hash);
}

static struct paio_file *create(bool private)
{
    struct paio_link *link;
    struct paio_file *file;

    pthread_mutex_lock(&free_lock);
    if (paio_list_empty(&free_records)) {
        unsigned count = CHUNK / sizeof *file;
        struct paio_file *chunk = paio_memory_pages(CHUNK);

        for (unsigned i = 0; chunk && i < count; i++)
            make(&chunk[i]);
    }
    link = paio_list_pop(&free_records);
    pthread_mutex_unlock(&free_lock);
    if (!link)
        return NULL;
    file = paio_container(link, struct paio_file, hash);
    prepare(file, private);
    return file;
}

static void discard(struct paio_file *file)
{
    pthread_mutex_lock(&free_lock);
    paio_list_append(&free_records, &file->hash);
    pthread_mutex_unlock(&free_lock);
}

/* The descriptor's private record. */
static struct paio_file *own(struct paio_descriptor *descriptor, bool make)
{
    struct paio_file *file = atomic_load_explicit(&descriptor->own, memory_order_acquire), *fresh;

    if (file || !make)
        return file;
    fresh = create(true);
    if (!fresh || atomic_compare_exchange_strong(&descriptor->own, &file, fresh))
        return fresh;
    discard(fresh);
    return file;
}

/* The record of that identity, with a reference; made if need be and make says so. */
static struct paio_file *shared(const struct paio_identity *identity, bool make)
{
    unsigned b = hash(identity);
    struct paio_file *file = NULL;

    pthread_mutex_lock(&bucket[b].lock);
    for (struct paio_link *l = bucket[b].chain.next; l != &bucket[b].chain; l = l->next) {
        struct paio_file *each = paio_container(l, struct paio_file, hash);

        if (each->identity.ino == identity->ino && each->identity.dev == identity->dev) {
            file = each;
            break;
        }
    }
    if (!file && make) {
        file = create(false);
        if (file) {
            file->identity = *identity;
            paio_list_append(&bucket[b].chain, &file->hash);
        }
    }
    if (file)
        atomic_fetch_add(&file->references, 1);
    pthread_mutex_unlock(&bucket[b].lock);
    return file;
}

/* A reference to the record that the latest request on the descriptor had, if it is in use. */
static struct paio_file *shared_again(struct paio_descriptor *descriptor,
                                      const struct paio_identity *identity)
{
    struct paio_file *file = atomic_load_explicit(&descriptor->latest, memory_order_acquire);
    uint32_t references;
    struct paio_signals saved;

    if (!file)
        return NULL;
    references = atomic_load(&file->references);
    do {
        if (!references)
            return NULL;
    } while (!atomic_compare_exchange_weak(&file->references, &references, references + 1));
    /* With a reference held the record stays what it is; it may be another file's by now. */
    if (!file->private && file->identity.ino == identity->ino &&
        file->identity.dev == identity->dev)
        return file;
    paio_signals_block(&saved);
    paio_file_put(file);
    paio_signals_restore(&saved);
    return NULL;
}

struct paio_file *paio_file_try(struct paio_descriptor *descriptor, const struct paio_look *look)
{
    return shared_again(descriptor, &look->identity);
}

static struct paio_file *find(struct paio_descriptor *descriptor, const struct paio_look *look,
                              bool make)
{
    struct paio_file *file;

    if (look->kind != PAIO_KIND_REGULAR || paio_settings.descriptor_order)
        return own(descriptor, make);
    file = shared_again(descriptor, &look->identity);
    if (file)
        return file;
    file = shared(&look->identity, make);
    if (file)
        atomic_store_explicit(&descriptor->latest, file, memory_order_release);
    return file;
}

struct paio_file *paio_file_get(struct paio_descriptor *descriptor, const struct paio_look *look)
{
    return find(descriptor, look, true);
}

struct paio_file *paio_file_busy(struct paio_descriptor *descriptor, const struct paio_look *look)
{
    return find(descriptor, look, false);
}

void paio_file_put(struct paio_file *file)
{
    uint32_t references = atomic_load(&file->references);
    unsigned b;
    bool last;

    if (file->private)
        return;
    while (references > 1)
        if (atomic_compare_exchange_weak(&file->references, &references, references - 1))
            return;
    /* The last one, it seems: only with the bucket locked does it go to 0. */
    b = hash(&file->identity);
    pthread_mutex_lock(&bucket[b].lock);
    last = atomic_fetch_sub(&file->references, 1) == 1;
    if (last)
        paio_list_remove(&file->hash);
    pthread_mutex_unlock(&bucket[b].lock);
    if (last)
        discard(file);
}

void paio_file_reset(void)
{
    pthread_mutex_init(&free_lock, NULL);
    paio_list_init(&free_records);
    for (unsigned b = 0; b < BUCKETS; b++) {
        pthread_mutex_init(&bucket[b].lock, NULL);
        paio_list_init(&bucket[b].chain);
    }
}
