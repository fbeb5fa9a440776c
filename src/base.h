/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Base: what every file needs and no system header has. An intrusive list, the futex calls, and
 * the guard that keeps signals out while a lock is held. Calls nothing of the library.
 */
#ifndef PAIO_BASE_H
#define PAIO_BASE_H

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define PAIO_EXPORT __attribute__((visibility("default")))

/*
 * Before the declaration of another name, which is exported, for a function of this file. The types may differ in name, as
 * those of 64 bits do from the others on LP64 (control.h asserts it), which gcc minds.
 */
#define PAIO_ALIAS(name) __attribute__((alias(#name), visibility("default")))
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wattribute-alias"
#endif

/* Out of line: rarely needed in a function by which every request comes, and which need not save registers for it then. */
#define PAIO_APART __attribute__((noinline))

/* Most that one read(2) or write(2) transfers (MAX_RW_COUNT of the kernel). */
#define PAIO_TRANSFER_MAX ((size_t) 0x7ffff000)

#define paio_container(pointer, type, member) \
    ((type *) (void *) ((char *) (pointer) - offsetof(type, member)))

/*
 * Doubly linked list with a head that is a link. A link that is on no list has next == NULL.
 * The lists have no lock of their own: whoever owns the head says which one guards it.
 */
struct paio_link {
    struct paio_link *next, *prev;
};

static inline void paio_list_init(struct paio_link *head)
{
    head->next = head->prev = head;
}

static inline bool paio_list_empty(const struct paio_link *head)
{
    return head->next == head;
}

static inline void paio_list_append(struct paio_link *head, struct paio_link *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

static inline void paio_list_push(struct paio_link *head, struct paio_link *link)
{
    paio_list_append(head->next, link);
}

static inline void paio_list_remove(struct paio_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

static inline struct paio_link *paio_list_pop(struct paio_link *head)
{
    struct paio_link *first = head->next;

    if (first == head)
        return NULL;
    paio_list_remove(first);
    return first;
}

/* Moves all of from to the end of to. */
static inline void paio_list_splice(struct paio_link *to, struct paio_link *from)
{
    struct paio_link *link;

    while ((link = paio_list_pop(from)))
        paio_list_append(to, link);
}

/*
 * futex(2), private. wait returns 0 or -errno; deadline is absolute on CLOCK_MONOTONIC, NULL to
 * wait for ever (only then does the kernel restart it under SA_RESTART). Async-signal-safe;
 * errno is left as it was.
 */
static inline int paio_futex_wait(_Atomic uint32_t *word, uint32_t value,
                                  const struct timespec *deadline)
{
    int saved = errno, result = 0;

    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value, deadline, NULL,
                FUTEX_BITSET_MATCH_ANY) < 0)
        result = -errno;
    errno = saved;
    return result;
}

static inline void paio_futex_wake(_Atomic uint32_t *word, int count)
{
    int saved = errno;

    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count);
    errno = saved;
}

/*
 * Signals and cancellation. Every lock of the library is held with all signals blocked, so that a
 * handler may call in at any moment without finding its own thread's lock, and with cancellation
 * disabled, so that no thread dies with one. glibc 2.36 cancels one all the same that was canceled just before, if it may be at
 * any moment: hence its type too. Async-signal-safe.
 */
struct paio_signals {
    sigset_t mask;
    int cancel_state, cancel_type;
};

static inline void paio_signals_block(struct paio_signals *saved)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &saved->mask);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &saved->cancel_state);
    pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &saved->cancel_type);
}

static inline void paio_signals_restore(const struct paio_signals *saved)
{
    pthread_setcanceltype(saved->cancel_type, NULL);
    pthread_setcancelstate(saved->cancel_state, NULL);
    pthread_sigmask(SIG_SETMASK, &saved->mask, NULL);
}

/*
 * close(2) itself, for our own descriptors: the function of that name is ours, and for the
 * program's. ThreadSanitizer follows descriptors, and is to see it.
 */
#ifdef __SANITIZE_THREAD__
int __interceptor_close(int fd);
#endif

static inline int paio_close(int fd)
{
#ifdef __SANITIZE_THREAD__
    return __interceptor_close(fd);
#else
    return (int) syscall(SYS_close, fd);
#endif
}

/* Now, in nanoseconds of CLOCK_MONOTONIC. */
static inline uint64_t paio_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

#endif
