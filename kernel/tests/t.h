/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the kernel's tests share: a disk that can be made slow, faulty or stuck (t_disk_*), files of which
 * every byte is known (t_file_*), kernel AIO by its bare system calls (t_aio_*), and the tracepoints of
 * the series (t_trace_*). Everything fails the test by itself; nothing returns an error.
 */
#ifndef T_H
#define T_H

#include <check.h>

/*
 * An assertion that holds leaves no trace. Check would write its place into a file, which is in memory here: the test
 * of many processes in little memory makes so many that on a fast machine no memory was left to it.
 */
#define _mark_point(file, line) ((void)0)

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096
#define KiB 1024L
#define MiB (1024L * KiB)

/* A test of the table in main.c. */
struct t_test {
	const char *name;
	const TTest **function;
	/* What must happen without the series, or with fs.aio-buffered = 0 where the test does not set it. */
	enum { SAME, FAILS } unpatched;
	int seconds;          /* until it counts as hung, in the time of t_now_us() */
	const char *only_on;  /* "ext4", "xfs", or NULL: both */
};

#define T_TEST(name, ...) { #name, &name, __VA_ARGS__ }

extern const struct t_test t_tests_read[], t_tests_write[], t_tests_cancel[], t_tests_limit[],
	t_tests_identity[], t_tests_stress[];

/* ---- Time --------------------------------------------------------------------------------------- */

/*
 * On a debug kernel, which computes several times slower, all time is stretched by the factor T_SLOWER of the
 * environment: the disk's delays, the sleeps, the bounds and the timeouts alike. The tests' own figures are in
 * this stretched time, so that what they assert about each other holds on every kernel. 1 without the variable.
 */
int t_slower(void);
/* A clock that only moves forward, in microseconds of stretched time. */
int64_t t_now_us(void);
void t_sleep_ms(int ms);
/* Runs a shell command and fails the test if it fails. */
void t_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The first line of a file that the kernel writes. */
void t_file_line(const char *path, char *line, size_t size);
void t_write_line(const char *path, const char *line);

/* ---- The disk, /dev/mapper/slow, with the file system on T_DIRECTORY ----------------------------------- */

#define T_DIRECTORY "/mnt"
#define T_DISK "/dev/mapper/slow"

bool t_is_filesystem(const char *name);
/* From now on every read takes so long, and every write; 0: no delay. */
void t_disk_delay_ms(int read, int write);
/* The sectors below these bytes of the disk fail from now on, by the target "error" or "flakey"; no delay. */
void t_disk_fault(const char *target, off_t offset, size_t length);
/* Nothing is answered, from now on (true); then all of it (false). */
void t_disk_stuck(bool stuck);
/* After a test, in the process that runs them all: no delay, no fault, the sysctl on. Not 0 if that fails. */
int t_restore(void);
uint64_t t_disk_sectors_read(void);
uint64_t t_disk_sectors_written(void);

/* ---- Files with known bytes -------------------------------------------------------------------------- */

/* What stands at each offset of a file with this seed; a hole is zero. */
void t_fill(void *buffer, size_t length, int seed, off_t offset);
/* The offset of the first byte that differs, or -1. */
ssize_t t_differs(const void *buffer, size_t length, int seed, off_t offset);
void t_assert_data(const void *buffer, size_t length, int seed, off_t offset);
/* A new file with such bytes, all on the device and in the page cache; open for reading and writing. */
int t_file(const char *name, size_t size, int seed);
/* The same, and nothing of its data is in the page cache. */
int t_cold_file(const char *name, size_t size, int seed);
void t_make_cold(int fd);
bool t_is_cached(int fd, off_t offset);
void *t_buffer(size_t size);
/* Where on the disk this byte of the file is. */
off_t t_disk_offset(int fd, off_t offset);

/* ---- Kernel AIO ---------------------------------------------------------------------------------- */

aio_context_t t_aio_setup(int events);
void t_aio_destroy(aio_context_t context);
struct iocb t_aio_pread(int fd, void *buffer, size_t length, off_t offset);
struct iocb t_aio_preadv(int fd, const struct iovec *vector, int count, off_t offset);
struct iocb t_aio_pwrite(int fd, const void *buffer, size_t length, off_t offset);
/* Submits them in one call, all of which must be taken; the time in the call in microseconds. */
int64_t t_aio_submit(aio_context_t context, struct iocb *iocbs, int count);
int t_aio_cancel(aio_context_t context, struct iocb *iocb);
/* Waits for so many events (none may be missing after the time) and returns them. */
void t_aio_events(aio_context_t context, struct io_event *events, int count, int timeout_ms);
/* The result of the one event that is awaited. */
int64_t t_aio_result(aio_context_t context, int timeout_ms);
/* How many events there are within so many milliseconds, at most count. */
int t_aio_try_events(aio_context_t context, struct io_event *events, int count, int timeout_ms);

bool t_has_series(void);
void t_set_buffered(int on);

/* ---- Tracepoints of the series ------------------------------------------------------------------------ */

void t_trace_begin(void);
/* How often the tracepoint aio:NAME was passed since t_trace_begin(). */
long t_trace_count(const char *name);
void t_trace_end(void);

/* ---- Processes ------------------------------------------------------------------------------------ */

/* Runs the function in a child, which exits with what it returns. */
pid_t t_child(int (*function)(void *), void *argument);
/* Waits for it, at most so long; the time that took in milliseconds. */
int64_t t_reap_ms(pid_t pid, int timeout_ms, int *status);

#endif
