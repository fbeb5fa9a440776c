/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libposix-aio: what it offers beyond POSIX.
 *
 * Asynchronous I/O itself is in the system's <aio.h>; a program that uses nothing of this
 * header runs on libposix-aio unchanged, by LD_PRELOAD or by linking with -lposix-aio.
 */
#ifndef POSIX_AIO_H
#define POSIX_AIO_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Version of this header: 0xMMmmpp, two hexadecimal digits each of major, minor and patch. */
#define POSIX_AIO_VERSION 0x010000

/*
 * Version of the library that is running, in the form of POSIX_AIO_VERSION.
 * Never fails. Thread-safe, async-signal-safe. Source: posix_aio_version(3).
 */
unsigned int posix_aio_version(void);

/*
 * Whether kernel AIO is in use in this process: "kernel", or "pool" (then the pool of threads takes
 * what would go to the kernel). Starts the library if it has not been started. The string is
 * constant. Never fails. Thread-safe, not async-signal-safe. Source: posix_aio_engine(3).
 */
const char *posix_aio_engine(void);

/*
 * Stores in *value the statistic called name, one of those that "posix-aio stat" prints
 * (libposix-aio(7) lists them). Counters count since the library started in this process, which
 * is at the first call that submits, or of aio_init, posix_aio_engine or this function; times are
 * in nanoseconds. *value is left alone on failure.
 *
 * Returns 0, or -1 with errno ENOENT (there is no such statistic) or ENODATA (the process keeps
 * no statistics: LIBPOSIX_AIO_STATS is not set or is ignored, its file could not be made, or the
 * process is a forked child and the name has no %p).
 * Thread-safe, not async-signal-safe. Source: posix_aio_stat(3).
 */
int posix_aio_stat(const char *name, uint64_t *value);

#ifdef __cplusplus
}
#endif

#endif
