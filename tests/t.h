/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the tests have in common: files and streams to do I/O on, requests, and waiting.
 *
 * A test program is a list of parts given to t_main(). Every part runs once per engine, each test
 * in a child process of its own whose environment names the engine before the library starts. An
 * engine that is not to be had is skipped, and the log says so and why; with T_REQUIRE_ENGINES=1
 * it is a failure. T_SCALE=N makes the tests that are large N times smaller, and patience longer,
 * for sanitizers and Valgrind.
 *
 * Everything here ends the test if it fails. Nothing sleeps in the hope that something has
 * happened: t_until() waits for a condition, and gives up after T_PATIENCE seconds.
 */
#ifndef T_H
#define T_H

#include <aio.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "posix-aio.h"
#include "slowfs.h"

/* Seconds after which what has not come is taken for lost. */
enum { T_PATIENCE = 30 };

#define T_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__SANITIZE_THREAD__)
#define T_HANDLERS_LATE 1
#else
#define T_HANDLERS_LATE 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define T_SANITIZED 1
#else
#define T_SANITIZED 0
#endif

/*
 * What a part needs beyond an engine; without it the part is skipped, visibly.
 * - The slow filesystem.
 * - Signal handlers that run when the signal comes. ThreadSanitizer keeps them for later.
 * - No sanitizer: its runtime has threads, memory and locks of its own, which a test that counts
 *   threads or forks among them would see.
 * - The tests' directory on a filesystem whose device is in this machine: ext4, XFS, Btrfs or F2FS.
 * - Threads that get from one call to the next within some microseconds. Under Valgrind they do not,
 *   nor on an emulated processor (T_EMULATED is set).
 * - The same of some calls in a row: ThreadSanitizer takes too long over them.
 * - Two processors: on one a thread that is woken may run at once, and who has woken it is late.
 * - The kernel engine, or the pool: it is about that, and does not exist for the other. On a kernel with buffered AIO the
 *   kernel engine leaves less to the pool.
 * - The tests' directory on ext4, which does not tell whether a buffered write would wait.
 * - Statistics, in a file that is removed before the test begins; its children have t_drop_statistics.
 */
enum t_need {
    T_SLOWFS = 1,
    T_HANDLERS = 2,
    T_NO_SANITIZER = 4,
    T_LOCAL = 8,
    T_PROMPT = 16,
    T_KERNEL = 32,
    T_QUICK = 64,
    T_STATISTICS = 128,
    T_EXT4 = 256,
    T_PARALLEL = 512,
    T_POOL = 1024,
};

/*
 * A part: a named set of tests that run in the same surroundings. The settings are environment
 * variables, "NAME=VALUE" each. A list of parts ends with one that has no name.
 */
struct t_part {
    const char *name;
    void (*add)(TCase *);
    unsigned int need;
    const char *settings[3];
};

/* Runs the parts, once per engine, and returns the program's exit status. */
int t_main(const char *theme, const struct t_part *parts);

/*
 * In a child of a test with T_STATISTICS, before it uses the library: starts it, and removes the file of the child's own
 * statistics. They go on, and nothing is left behind.
 */
void t_drop_statistics(void);

/* n made smaller by T_SCALE, but at least 1. */
size_t t_scale(size_t n);

/* Does a sanitizer or Valgrind (T_VALGRIND is set) watch, with memory and threads of its own? */
bool t_watched(void);

/* Seconds to be patient for, longer under T_SCALE. */
double t_patience(void);

/* The value of an environment variable that the test programs are given, which must be set. */
const char *t_setting(const char *name);

/* Waiting for conditions. */

double t_now(void);
void t_moment(void);

/* Waits until the condition is true. */
#define t_until(condition)                                                   \
    do {                                                                     \
        double t_end_ = t_now() + t_patience();                              \
        while (!(condition)) {                                               \
            ck_assert_msg(t_now() < t_end_, "still not so: %s", #condition); \
            t_moment();                                                      \
        }                                                                    \
    } while (0)

/* Data: every byte is a function of its place in the file, so that a byte from elsewhere shows. */

unsigned char t_byte(off_t place);
void t_fill(void *buf, size_t length, off_t place);
void t_assert_data(const void *buf, size_t length, off_t place);

/* Files: descriptors of unlinked files with known data, in the directory that the tests run in. */

int t_empty_file(void);
int t_cached_file(size_t size);
int t_cold_file(size_t size);
int t_memory_file(size_t size);

/* Drops a file's data from the page cache. */
void t_make_cold(int fd);

/* The same file opened anew with other flags; -1 with errno set if that can't be. */
int t_reopen(int fd, int flags);

/* Memory that O_DIRECT takes. */
void *t_aligned(size_t size);

/* File number `file` of the slow filesystem, filled with size bytes of data, opened with flags. */
int t_slow_file(int file, size_t size, int flags);

/* Streams. */

struct t_pair {
    int in;  /* what comes out here */
    int out; /* was written here */
};

struct t_pair t_pipe(void);
struct t_pair t_fifo(void);
struct t_pair t_socketpair(int type);
struct t_pair t_tcp(void);
struct t_pair t_pty(void); /* in: the slave, raw; out: the master */

/* Writes or reads all of it, in the caller, and asserts the data of a read. */
void t_put(int fd, off_t place, size_t length);
void t_take(int fd, off_t place, size_t length);

/* Fills a stream until it takes no more, and returns how much that was. */
size_t t_fill_up(int fd);

/* Requests. */

/* Fills in a control block that asks for no notification. */
void t_prepare(struct aiocb *cb, int fd, void *buf, size_t length, off_t offset);

void t_submit_read(struct aiocb *cb, int fd, void *buf, size_t length, off_t offset);
void t_submit_write(struct aiocb *cb, int fd, const void *buf, size_t length, off_t offset);
void t_submit_sync(struct aiocb *cb, int fd, int op);

/* Many zeroed control blocks in memory that is in use already; free() them. */
struct aiocb *t_control_blocks(size_t count);

/* aio_suspend for one request, with errno 0 before. */
int t_suspend(const struct aiocb *one, const struct timespec *limit);

/* Starts a read of one byte of an empty pipe, and returns the end to write it to. */
int t_start_pending(struct aiocb *pending);

/* Completes that read. */
void t_finish_pending(int out, struct aiocb *pending);

/* Until the request is done, without a call that could help it, or others, on. */
void t_until_published(const struct aiocb *one);

/* Waits in aio_suspend until the request is done, whatever its result. */
void t_wait(const struct aiocb *cb);

/* The same, and asserts the result: so many bytes, or an error. */
void t_wait_done(struct aiocb *cb, ssize_t result);
void t_wait_failed(struct aiocb *cb, int error);

/* Asserts the state of a request without waiting. */
void t_assert_in_progress(const struct aiocb *cb);
void t_assert_done(struct aiocb *cb, ssize_t result);
void t_assert_failed(struct aiocb *cb, int error);

/* Processes and threads. */

/* The number of threads of this process. */
unsigned int t_threads(void);

/* Bytes of private memory in use. */
size_t t_memory_in_use(void);

/* Starts a child that runs the function and leaves by _exit(0); a failed assertion ends it with 1.
 */
pid_t t_child(void (*run)(void *), void *argument);

/* Waits for a child and asserts that it left with status 0. */
void t_reap(pid_t child);

/* From now on the system call fails with the error, in this process and its children. */
void t_forbid(unsigned int call, int error);

/* Installs a handler, blocks or unblocks a signal in this thread. */
void t_handle(int signal_number, void (*handler)(int, siginfo_t *, void *), int flags);
void t_block(int signal_number);
void t_unblock(int signal_number);

/* Has anybody asked to be woken when the request in progress is done? */
bool t_is_awaited(const struct aiocb *cb);

/* The system call that the thread sleeps in, or -1: also in a child, of its parent's. */
long t_call_of(pid_t thread);

/* What the C library's epoll_wait is there: newer architectures have no system call of that name. */
#ifdef SYS_epoll_wait
#define T_EPOLL_WAIT SYS_epoll_wait
#else
#define T_EPOLL_WAIT SYS_epoll_pwait
#endif

/* The number of threads of this process that sleep in the system call. */
unsigned int t_threads_in(long call);

/* Whether every other thread sleeps. */
bool t_all_others_sleep(void);

/* SIGALRM for the process, again and again, 20 times as slowly if T_EMULATED is set; 0 ends that. */
void t_ring_every(long microseconds);

/*
 * Closes all descriptors of this process that /proc shows as that file, by plain system calls, as a program does that
 * closes every one. How many these were.
 */
unsigned int t_close_unseen(const char *file);

/* Waits for a blocked signal and returns what came with it. */
siginfo_t t_accept_signal(int signal_number);

/* Asserts that a blocked signal is not pending. */
void t_assert_no_signal(int signal_number);

/* A counter of posix_aio_stat(); the test fails if there is none of that name. */
uint64_t t_stat(const char *name);

#endif
