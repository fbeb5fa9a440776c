/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stacks: the C library takes a thread's static thread-local storage, that of the program and of all its libraries, out of the
 * stack that is asked for. So a small one is asked for beside that.
 */
#include "thread.h"

#include <link.h>

enum { STACK = 256 * 1024 };

static int add_storage(struct dl_phdr_info *object, size_t size, void *sum)
{
    (void) size;
    for (unsigned i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_TLS)
            *(size_t *) sum += object->dlpi_phdr[i].p_memsz + object->dlpi_phdr[i].p_align;
    return 0;
}

/* Bytes of thread-local storage, or more. Asked for once: what is loaded later finds room that the C library has set aside. */
static size_t storage(void)
{
    static _Atomic size_t known;
    size_t sum = atomic_load_explicit(&known, memory_order_relaxed);

    if (!sum) {
        dl_iterate_phdr(add_storage, &sum);
        atomic_store_explicit(&known, sum, memory_order_relaxed);
    }
    return sum;
}

int paio_thread_start(void *(*run)(void *), void *argument, bool own)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int error;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (own)
        pthread_attr_setstacksize(&attributes, STACK + storage());
    error = pthread_create(&thread, &attributes, run, argument);
    pthread_attr_destroy(&attributes);
    return error ? -EAGAIN : 0;
}
