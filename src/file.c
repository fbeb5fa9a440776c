/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of descriptors (a radix tree of three levels over the number, whose nodes are added
 * by compare-and-swap and never removed) and the hash of file records by identity.
 *
 * Locks: bucket.lock (h) is a leaf and guards the bucket's chain and the references of the
 * records on it; free_lock guards the free list. A record is taken off its chain when its last
 * reference goes, and its memory is used again but never unmapped, so that whoever looks at a
 * request's file field without a lock finds a record there, if perhaps not the right one.
 */
#include "file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>

#include "process.h"

enum { LEAF = 64, MIDDLE = 16384, TOP = 2048, BUCKETS = 256, REFRESH = 64, CHUNK = 65536 };

typedef _Atomic(void *) node;

static node root[TOP];

static struct {
    pthread_mutex_t lock;
    struct paio_link chain; /* h */
} bucket[BUCKETS];

static pthread_mutex_t free_lock = PTHREAD_MUTEX_INITIALIZER;
static struct paio_link free_records; /* free_lock */

/* Memory that is zero and is never given back. */
static void *permanent(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return memory == MAP_FAILED ? NULL : memory;
}

void *paio_permanent(size_t size)
{
    static char *chunk;
    static size_t left;
    void *memory;

    size = (size + 63) & ~(size_t) 63;
    pthread_mutex_lock(&free_lock);
    if (left < size) {
        chunk = permanent(CHUNK);
        left = chunk ? CHUNK : 0;
    }
    memory = left < size ? NULL : chunk + (CHUNK - left);
    left -= memory ? size : 0;
    pthread_mutex_unlock(&free_lock);
    return memory;
}

/* What *slot points to, made of size bytes if nothing is there and create says so. */
static void *follow(node *slot, size_t size, bool create)
{
    void *memory = atomic_load_explicit(slot, memory_order_acquire), *fresh;

    if (memory || !create)
        return memory;
    fresh = permanent(size);
    if (!fresh)
        return NULL;
    if (atomic_compare_exchange_strong(slot, &memory, fresh))
        return fresh;
    munmap(fresh, size);
    return memory;
}

static struct paio_descriptor *descend(int fd, bool create)
{
    unsigned number = (unsigned) fd;
    node *middle;
    struct paio_descriptor *leaf;

    if (fd < 0)
        return NULL;
    middle = follow(&root[number / LEAF / MIDDLE], MIDDLE * sizeof *middle, create);
    if (!middle)
        return NULL;
    leaf = follow(&middle[number / LEAF % MIDDLE], LEAF * sizeof *leaf, create);
    return leaf ? &leaf[number % LEAF] : NULL;
}

struct paio_descriptor *paio_descriptor_get(int fd)
{
    return descend(fd, true);
}

struct paio_descriptor *paio_descriptor_find(int fd)
{
    return descend(fd, false);
}

int paio_descriptor_next(int fd)
{
    for (unsigned t = (unsigned) fd / LEAF / MIDDLE; t < TOP; t++) {
        node *middle = atomic_load_explicit(&root[t], memory_order_acquire);
        unsigned first = t == (unsigned) fd / LEAF / MIDDLE ? (unsigned) fd / LEAF % MIDDLE : 0;

        for (unsigned m = first; middle && m < MIDDLE; m++) {
            int start = (int) ((t * MIDDLE + m) * LEAF);

            if (atomic_load_explicit(&middle[m], memory_order_acquire))
                return start > fd ? start : fd;
        }
    }
    return -1;
}

static enum paio_kind kind_of(int fd, const struct stat *st)
{
    if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode))
        return PAIO_KIND_REGULAR;
    if (S_ISSOCK(st->st_mode))
        return PAIO_KIND_SOCKET;
    if (S_ISDIR(st->st_mode))
        return PAIO_KIND_OTHER;
    if (S_ISFIFO(st->st_mode))
        return PAIO_KIND_STREAM;
    /* A character device that can seek has no readiness worth waiting for: /dev/zero, /dev/mem. */
    if (S_ISCHR(st->st_mode) && lseek(fd, 0, SEEK_CUR) >= 0 && !isatty(fd))
        return PAIO_KIND_OTHER;
    return PAIO_KIND_STREAM;
}

int paio_descriptor_look(int fd, struct paio_look *look)
{
    int saved = errno;
    struct stat st;

    look->flags = fcntl(fd, F_GETFL);
    if (look->flags < 0 || fstat(fd, &st) < 0) {
        errno = saved;
        return -EBADF;
    }
    look->identity = (struct paio_identity){ st.st_dev, st.st_ino, st.st_mode & S_IFMT };
    look->kind = kind_of(fd, &st);
    errno = saved;
    return 0;
}

/* Remembers what was seen. A writer that meets another leaves it to that one, who saw the same. */
static void note_seen(struct paio_descriptor *descriptor, const struct paio_identity *identity,
                      int flags, uint32_t epoch)
{
    bool plain = S_ISREG(identity->type) && !(flags & (O_DIRECT | O_SYNC | O_DSYNC | O_PATH));
    uint32_t version = atomic_load_explicit(&descriptor->seen.version, memory_order_relaxed);

    if (version & 1 ||
        !atomic_compare_exchange_strong(&descriptor->seen.version, &version, version + 1))
        return;
    atomic_store_explicit(&descriptor->seen.type, plain ? S_IFREG : 0, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.flags, flags, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.epoch, epoch, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.dev, identity->dev, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.ino, identity->ino, memory_order_relaxed);
    /* Release: pairs with the acquire of recall_seen. */
    atomic_store_explicit(&descriptor->seen.version, version + 2, memory_order_release);
}

/* The buffered regular file that was seen last, if requests are outstanding since. */
static bool recall_seen(struct paio_descriptor *descriptor, struct paio_look *look)
{
    struct paio_identity *identity = &look->identity;
    uint32_t version = atomic_load_explicit(&descriptor->seen.version, memory_order_acquire);

#ifndef PIC
    /* The static library does not see close(2). */
    return false;
#endif
    look->kind = PAIO_KIND_REGULAR;
    look->flags = atomic_load_explicit(&descriptor->seen.flags, memory_order_relaxed);
    identity->type = atomic_load_explicit(&descriptor->seen.type, memory_order_relaxed);
    identity->dev = atomic_load_explicit(&descriptor->seen.dev, memory_order_relaxed);
    identity->ino = atomic_load_explicit(&descriptor->seen.ino, memory_order_relaxed);
    atomic_thread_fence(memory_order_acquire);
    return !(version & 1) && S_ISREG(identity->type) &&
           atomic_load_explicit(&descriptor->seen.epoch, memory_order_relaxed) ==
               atomic_load(&descriptor->epoch) &&
           atomic_load_explicit(&descriptor->seen.version, memory_order_relaxed) == version &&
           atomic_load(&descriptor->requests);
}

int paio_descriptor_look_again(struct paio_descriptor *descriptor, int fd, struct paio_look *look)
{
    uint32_t epoch = atomic_load(&descriptor->epoch);
    int error;

    if (recall_seen(descriptor, look))
        return 0;
    error = paio_descriptor_look(fd, look);
    if (!error)
        note_seen(descriptor, &look->identity, look->flags, epoch);
    return error;
}

bool paio_identity_holds(int fd, const struct paio_identity *identity)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_dev == identity->dev && st.st_ino == identity->ino &&
           (st.st_mode & S_IFMT) == identity->type;
}

static uint32_t refresh(struct paio_descriptor *descriptor, int fd)
{
    uint32_t bits = PAIO_KNOWN;
    struct paio_look look;
    struct statfs fs;
    int saved = errno;

    if (paio_descriptor_look(fd, &look) < 0) {
        bits = 0;
    } else if (look.kind == PAIO_KIND_REGULAR) {
        if (!(look.flags & (O_DIRECT | O_PATH)))
            bits |= PAIO_BUFFERED;
        if (fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC && S_ISREG(look.identity.type))
            bits |= PAIO_MEMORY;
    }
    errno = saved;
    atomic_store_explicit(&descriptor->memory, bits, memory_order_relaxed);
    atomic_store_explicit(&descriptor->uses, 0, memory_order_relaxed);
    return bits;
}

uint32_t paio_descriptor_recall(struct paio_descriptor *descriptor, int fd)
{
    uint32_t bits = atomic_load_explicit(&descriptor->memory, memory_order_relaxed);
    uint32_t uses = atomic_load_explicit(&descriptor->uses, memory_order_relaxed);

    if (!bits || uses >= REFRESH)
        return refresh(descriptor, fd);
    /* Not an atomic increment: a count lost to another thread delays the refresh by one. */
    atomic_store_explicit(&descriptor->uses, uses + 1, memory_order_relaxed);
    return bits;
}

void paio_descriptor_learn(struct paio_descriptor *descriptor, uint32_t bit)
{
    atomic_fetch_or_explicit(&descriptor->memory, bit, memory_order_relaxed);
}

void paio_descriptor_forget(struct paio_descriptor *descriptor)
{
    atomic_fetch_add(&descriptor->epoch, 1);
    atomic_store_explicit(&descriptor->memory, 0, memory_order_relaxed);
}

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
        paio_list_init(&file->flow[c].queue);
    paio_list_append(&free_records, &file->hash);
}

static struct paio_file *create(bool private)
{
    struct paio_link *link;
    struct paio_file *file;

    pthread_mutex_lock(&free_lock);
    if (paio_list_empty(&free_records)) {
        unsigned count = CHUNK / sizeof *file;
        struct paio_file *chunk = permanent(CHUNK);

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

/* The record of that identity, with a reference; made if need be and create says so. */
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

static void reset_leaf(struct paio_descriptor *leaf)
{
    if (leaf)
        memset(leaf, 0, LEAF * sizeof *leaf);
}

void paio_file_reset(void)
{
    pthread_mutex_init(&free_lock, NULL);
    paio_list_init(&free_records);
    for (unsigned b = 0; b < BUCKETS; b++) {
        pthread_mutex_init(&bucket[b].lock, NULL);
        paio_list_init(&bucket[b].chain);
    }
    for (unsigned t = 0; t < TOP; t++) {
        node *middle = atomic_load_explicit(&root[t], memory_order_acquire);

        for (unsigned m = 0; middle && m < MIDDLE; m++)
            reset_leaf(atomic_load_explicit(&middle[m], memory_order_acquire));
    }
}
