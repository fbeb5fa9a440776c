/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of descriptors: a radix tree of three levels over the number, whose nodes are added by
 * compare-and-swap and never removed, so that it is read without a lock; and what the kernel says
 * of a descriptor, as far as it is worth remembering.
 */
#include "file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "memory.h"

/* A leaf is a whole number of pages. */
enum { LEAF = 256, MIDDLE = 4096, TOP = 2048 };

/*
 * What is remembered of a descriptor is asked for anew when it has been used OFTEN, if it is OLD (nanoseconds). To ask takes
 * longer than a read of what is cached, so fast reads share it; and where it is wrong, and reads wait in the caller, OFTEN of
 * them make it old. By its age alone it would be asked for with each read where many descriptors are seldom used.
 */
enum { OFTEN = 64, OLD = 10000000 };

typedef _Atomic(void *) node;

static node root[TOP];

static void *follow(node *slot)
{
    return atomic_load_explicit(slot, memory_order_acquire);
}

/* What *slot points to, made of size bytes if nothing is there. */
static void *follow_or_make(node *slot, size_t size)
{
    void *memory = follow(slot), *fresh;

    if (memory)
        return memory;
    fresh = paio_memory_pages(size);
    if (!fresh)
        return NULL;
    if (atomic_compare_exchange_strong(slot, &memory, fresh))
        return fresh;
    munmap(fresh, size);
    return memory;
}

struct paio_descriptor *paio_descriptor_find(int fd)
{
    unsigned number = (unsigned) fd;
    node *middle = fd < 0 ? NULL : follow(&root[number / LEAF / MIDDLE]);
    struct paio_descriptor *leaf = middle ? follow(&middle[number / LEAF % MIDDLE]) : NULL;

    return leaf ? &leaf[number % LEAF] : NULL;
}

static PAIO_APART struct paio_descriptor *make(int fd)
{
    unsigned number = (unsigned) fd;
    node *middle = follow_or_make(&root[number / LEAF / MIDDLE], MIDDLE * sizeof *middle);

    if (middle)
        follow_or_make(&middle[number / LEAF % MIDDLE], LEAF * sizeof(struct paio_descriptor));
    return paio_descriptor_find(fd);
}

struct paio_descriptor *paio_descriptor_get(int fd)
{
    struct paio_descriptor *descriptor = paio_descriptor_find(fd);

    return descriptor || fd < 0 ? descriptor : make(fd);
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

/*
 * Which file fd stands for. By statx without the times: after a look at its times an inode gets
 * a finer one at the next write, which costs a write of 4 KiB a quarter more (Linux 6.13). And
 * without asking a server.
 */
static bool identify(int fd, struct paio_identity *identity)
{
    struct statx sx;
    struct stat st;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &sx) == 0) {
        *identity = (struct paio_identity){ makedev(sx.stx_dev_major, sx.stx_dev_minor),
                                            sx.stx_ino, sx.stx_mode & S_IFMT };
        return true;
    }
    /* There are sandboxes that do not know it. */
    if (errno == EBADF || fstat(fd, &st) < 0)
        return false;
    *identity = (struct paio_identity){ st.st_dev, st.st_ino, st.st_mode & S_IFMT };
    return true;
}

static enum paio_kind kind_of(int fd, mode_t type)
{
    if (S_ISREG(type) || S_ISBLK(type))
        return PAIO_KIND_REGULAR;
    if (S_ISSOCK(type))
        return PAIO_KIND_SOCKET;
    if (S_ISDIR(type))
        return PAIO_KIND_OTHER;
    if (S_ISFIFO(type))
        return PAIO_KIND_STREAM;
    /* A character device that can seek has no readiness worth waiting for: /dev/zero, /dev/mem. */
    if (S_ISCHR(type) && lseek(fd, 0, SEEK_CUR) >= 0 && !isatty(fd))
        return PAIO_KIND_OTHER;
    return PAIO_KIND_STREAM;
}

int paio_descriptor_look(int fd, struct paio_look *look)
{
    int saved = errno;

    look->flags = fcntl(fd, F_GETFL);
    if (look->flags < 0 || !identify(fd, &look->identity)) {
        errno = saved;
        return -EBADF;
    }
    look->kind = kind_of(fd, look->identity.type);
    errno = saved;
    return 0;
}

/* Remembers what was seen. A writer that meets another leaves it to that one, who saw the same. */
static void note_seen(struct paio_descriptor *descriptor, const struct paio_identity *identity,
                      int flags, uint32_t epoch)
{
    bool file = S_ISREG(identity->type) && !(flags & O_PATH);
    uint32_t version = atomic_load_explicit(&descriptor->seen.version, memory_order_relaxed);

    if (version & 1 ||
        !atomic_compare_exchange_strong(&descriptor->seen.version, &version, version + 1))
        return;
    /* Whoever sees any of what follows sees that the version is odd. */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&descriptor->seen.type, file ? S_IFREG : 0, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.flags, flags, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.epoch, epoch, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.dev, identity->dev, memory_order_relaxed);
    atomic_store_explicit(&descriptor->seen.ino, identity->ino, memory_order_relaxed);
    /* Release: pairs with the acquire of recall_seen. */
    atomic_store_explicit(&descriptor->seen.version, version + 2, memory_order_release);
}

/* The regular file that was seen last, if requests are outstanding since. */
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

static bool renew_flags(int fd, struct paio_look *look)
{
    int saved = errno;

    look->flags = fcntl(fd, F_GETFL);
    errno = saved;
    return look->flags >= 0;
}

int paio_descriptor_look_again(struct paio_descriptor *descriptor, int fd, bool write,
                               struct paio_look *look)
{
    uint32_t epoch = atomic_load(&descriptor->epoch);
    int error;

    if (recall_seen(descriptor, look) &&
        (!write || !(look->flags & (O_DIRECT | O_SYNC | O_DSYNC)) || renew_flags(fd, look)))
        return 0;
    error = paio_descriptor_look(fd, look);
    if (!error)
        note_seen(descriptor, &look->identity, look->flags, epoch);
    return error;
}

bool paio_identity_holds(int fd, const struct paio_identity *identity)
{
    struct paio_identity now;

    return identify(fd, &now) && paio_identity_equal(&now, identity);
}

/* What the kind of its filesystem says of a regular file. */
static uint32_t bits_of_filesystem(int fd)
{
    struct statfs fs;

    if (fstatfs(fd, &fs) < 0)
        return 0;
    switch (fs.f_type) {
    case TMPFS_MAGIC:
        return PAIO_MEMORY;
    case EXT4_SUPER_MAGIC: /* and ext2, ext3 */
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
        return PAIO_LOCAL;
    default:
        return 0;
    }
}

static uint32_t refresh(struct paio_descriptor *descriptor, int fd, uint64_t now)
{
    uint32_t bits = PAIO_KNOWN;
    struct paio_look look;
    int saved = errno;

    if (paio_descriptor_look(fd, &look) < 0) {
        bits = 0;
    } else if (look.kind == PAIO_KIND_REGULAR) {
        if (!(look.flags & (O_DIRECT | O_PATH)))
            bits |= PAIO_BUFFERED;
        if (!(look.flags & (O_DIRECT | O_PATH | O_SYNC | O_DSYNC | O_APPEND)))
            bits |= PAIO_LAZY;
        bits |= S_ISREG(look.identity.type) ? bits_of_filesystem(fd) : PAIO_LOCAL;
    }
    errno = saved;
    atomic_store_explicit(&descriptor->memory, bits, memory_order_relaxed);
    atomic_store_explicit(&descriptor->refreshed, now, memory_order_relaxed);
    return bits;
}

static PAIO_APART uint32_t recall_anew(struct paio_descriptor *descriptor, int fd, uint32_t bits)
{
    uint64_t refreshed = atomic_load_explicit(&descriptor->refreshed, memory_order_relaxed);
    uint64_t now = paio_now();

    return bits && now - refreshed < OLD ? bits : refresh(descriptor, fd, now);
}

uint32_t paio_descriptor_recall(struct paio_descriptor *descriptor, int fd)
{
    uint32_t bits = atomic_load_explicit(&descriptor->memory, memory_order_relaxed);
    uint32_t uses = atomic_load_explicit(&descriptor->uses, memory_order_relaxed) + 1;

    /* Not an atomic increment: what is lost to another thread delays the refresh. */
    atomic_store_explicit(&descriptor->uses, uses, memory_order_relaxed);
    return bits && uses % OFTEN ? bits : recall_anew(descriptor, fd, bits);
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

int paio_descriptor_lost(int fd)
{
    struct paio_descriptor *descriptor = paio_descriptor_find(fd);
    int saved = errno, error;

    if (descriptor)
        paio_descriptor_forget(descriptor);
    error = fcntl(fd, F_GETFD) < 0 ? -EBADF : -ECANCELED;
    errno = saved;
    return error;
}

static void reset_leaf(struct paio_descriptor *leaf)
{
    if (leaf)
        memset(leaf, 0, LEAF * sizeof *leaf);
}

void paio_descriptor_reset(void)
{
    for (unsigned t = 0; t < TOP; t++) {
        node *middle = atomic_load_explicit(&root[t], memory_order_acquire);

        for (unsigned m = 0; middle && m < MIDDLE; m++)
            reset_leaf(atomic_load_explicit(&middle[m], memory_order_acquire));
    }
}
