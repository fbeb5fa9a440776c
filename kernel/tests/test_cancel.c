// SPDX-License-Identifier: GPL-2.0-only
/* Reads that take five seconds end at once if they are canceled, or if nobody is left to see their end. */
#define _GNU_SOURCE
#include "t.h"

#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#define SEED 11
#define N 16
#define DEVICE_MS 5000
#define QUICK_MS 2500 /* generous: emulation, on a busy machine */

static struct iocb iocbs[N];
static aio_context_t context;
static char *buffer;

static void submit_slow_reads(void)
{
	int fd = t_cold_file("file", N * MiB, SEED);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	t_disk_delay_ms(DEVICE_MS, 0);
	context = t_aio_setup(N);
	buffer = t_buffer(N * PAGE);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, i * MiB);
	ck_assert_int_lt(t_aio_submit(context, &iocbs[0], 1), QUICK_MS * 1000);
	ck_assert_int_lt(t_aio_submit(context, &iocbs[1], N - 1), QUICK_MS * 1000);
}

/* In time for all of them to have got to the device. */
static void let_them_start(void)
{
	t_sleep_ms(300);
}

static void cancel_half_of_them(void)
{
	struct io_event events[N];
	int64_t begin = t_now_us();
	int canceled = 0;

	for (int i = 0; i < N; i += 2) {
		ck_assert_int_eq(t_aio_cancel(context, &iocbs[i]), -EINPROGRESS);
		ck_assert_int_eq(t_aio_cancel(context, &iocbs[i]), -EINVAL);
	}
	t_aio_events(context, events, N / 2, QUICK_MS);
	ck_assert_int_lt(t_now_us() - begin, QUICK_MS * 1000);
	for (int i = 0; i < N / 2; i++)
		ck_assert_int_eq(events[i].res, -ECANCELED);
	/* The others go on as if nothing had been. */
	t_aio_events(context, events, N / 2, 2 * DEVICE_MS);
	for (int i = 0; i < N / 2; i++) {
		struct iocb *iocb = (struct iocb *)(uintptr_t)events[i].obj;

		canceled += (iocb - iocbs) % 2 == 0;
		ck_assert_int_eq(events[i].res, PAGE);
		t_assert_data(buffer + (iocb - iocbs) * PAGE, PAGE, SEED, (iocb - iocbs) * MiB);
	}
	ck_assert_int_eq(canceled, 0);
	ck_assert_int_eq(t_aio_try_events(context, events, 1, 100), 0);
}

START_TEST(cancel)
{
	submit_slow_reads();
	let_them_start();
	cancel_half_of_them();
}
END_TEST

START_TEST(cancel_before_they_have_started)
{
	submit_slow_reads();
	cancel_half_of_them();
}
END_TEST

/* Each in its own time after submission, so that some are just being started. */
START_TEST(cancel_while_they_start)
{
	int fd = t_cold_file("file", N * MiB, SEED);
	struct io_event event;
	int64_t begin;

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	t_disk_delay_ms(DEVICE_MS, 0);
	context = t_aio_setup(N);
	buffer = t_buffer(PAGE);
	for (int i = 0; i < N; i++) {
		struct iocb iocb = t_aio_pread(fd, buffer, PAGE, i * MiB);

		begin = t_now_us();
		t_aio_submit(context, &iocb, 1);
		while (t_now_us() - begin < i * 4000)
			continue;
		t_aio_cancel(context, &iocb);
		t_aio_events(context, &event, 1, QUICK_MS);
		ck_assert_int_eq(event.res, -ECANCELED);
	}
}
END_TEST

START_TEST(destroy_is_quick)
{
	int64_t begin;

	submit_slow_reads();
	let_them_start();
	begin = t_now_us();
	t_aio_destroy(context);
	ck_assert_int_lt(t_now_us() - begin, QUICK_MS * 1000);
	/* And nothing writes to the buffer any more, not even when the device answers. */
	memset(buffer, 0, N * PAGE);
	t_sleep_ms(DEVICE_MS + 1000);
	for (size_t i = 0; i < N * PAGE; i++)
		ck_assert_int_eq(buffer[i], 0);
}
END_TEST

static int read_and_exit(void *ready)
{
	submit_slow_reads();
	let_them_start();
	return write(*(int *)ready, "", 1) != 1;
}

static int read_and_wait(void *ready)
{
	submit_slow_reads();
	let_them_start();
	if (write(*(int *)ready, "", 1) != 1)
		return 1;
	pause();
	return 0;
}

static int read_and_exec(void *ready)
{
	submit_slow_reads();
	let_them_start();
	if (write(*(int *)ready, "", 1) != 1)
		return 1;
	execl("/bin/true", "true", NULL);
	return 1;
}

/* The time that the process takes to end after it has said that its reads are in flight. */
static int64_t ms_to_end(int (*function)(void *), bool kill_it, int *status)
{
	int ends[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	pid = t_child(function, &ends[1]);
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], &byte, 1), 1);
	if (kill_it)
		ck_assert_int_eq(kill(pid, SIGKILL), 0);
	return t_reap_ms(pid, 2 * DEVICE_MS, status);
}

START_TEST(exit_is_quick)
{
	int status;

	ck_assert_int_lt(ms_to_end(read_and_exit, false, &status), QUICK_MS);
	ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(kill_is_quick)
{
	int status;

	ck_assert_int_lt(ms_to_end(read_and_wait, true, &status), QUICK_MS);
	ck_assert(WIFSIGNALED(status));
}
END_TEST

START_TEST(exec_is_quick)
{
	int status;

	ck_assert_int_lt(ms_to_end(read_and_exec, false, &status), QUICK_MS);
	ck_assert_int_eq(status, 0);
}
END_TEST

#define MOUNT "/tmp/mapped"

/* A process whose memory holds a mount busy, and whose read stalls a worker in a fault that nobody serves. */
static int read_into_a_trap(void *ready)
{
	int fd = open(T_DIRECTORY "/file", O_RDONLY), faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	int mapped = open(MOUNT "/file", O_RDWR | O_CREAT, 0600);
	char *trap = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .range = { (uintptr_t)trap, PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct iocb iocb = t_aio_pread(fd, trap, PAGE, 0);

	if (faults < 0 || ioctl(faults, UFFDIO_API, &api) || ioctl(faults, UFFDIO_REGISTER, &area) ||
	    mmap(NULL, PAGE, PROT_READ, MAP_SHARED, mapped, 0) == MAP_FAILED ||
	    write(*(int *)ready, &faults, sizeof(faults)) != sizeof(faults))
		return 1;
	t_aio_submit(t_aio_setup(1), &iocb, 1);
	pause();
	return 0;
}

/*
 * The process is killed while a worker has its memory in use, and so is the last to use it. What the process
 * had mapped goes away all the same, as soon as the worker is let go.
 */
START_TEST(exit_with_a_stalled_worker)
{
	int ends[2], status, remote, faults, pidfd, i;
	pid_t pid;

	close(t_cold_file("file", MiB, SEED));
	t_shell("mkdir -p " MOUNT " && mount -t tmpfs none " MOUNT);
	ck_assert_int_eq(pipe(ends), 0);
	pid = t_child(read_into_a_trap, &ends[1]);
	close(ends[1]);
	ck_assert_int_eq(read(ends[0], &remote, sizeof(remote)), sizeof(remote));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	faults = (int)syscall(SYS_pidfd_getfd, pidfd, remote, 0);
	ck_assert_int_ge(faults, 0);
	t_sleep_ms(500);
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	t_reap_ms(pid, QUICK_MS, &status);
	close(faults); /* lets the fault go on */
	for (i = 0; i < QUICK_MS / 10 && umount(MOUNT); i++)
		t_sleep_ms(10);
	ck_assert_msg(i < QUICK_MS / 10, "the memory of the process is still there");
}
END_TEST

/* The device answers nothing at all: the read of the folio is repeated without readahead, and still canceled. */
START_TEST(destroy_over_a_stuck_device)
{
	int fd = t_cold_file("file", N * MiB, SEED);
	int64_t begin;

	context = t_aio_setup(N);
	buffer = t_buffer(N * PAGE);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, i * MiB);
	t_disk_stuck(true);
	begin = t_now_us();
	ck_assert_int_lt(t_aio_submit(context, iocbs, N), QUICK_MS * 1000);
	let_them_start();
	t_aio_destroy(context);
	ck_assert_int_lt(t_now_us() - begin, QUICK_MS * 1000);
	t_disk_stuck(false);
}
END_TEST

/* Cancellation at every moment of a read's life, over a device that answers about as quickly. */
START_TEST(cancel_races_with_completion)
{
	int fd = t_cold_file("file", N * MiB, SEED), ended[2] = { 0, 0 };
	struct io_event event;

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	context = t_aio_setup(N);
	buffer = t_buffer(PAGE);
	for (int i = 0; i < 3000; i++) {
		off_t offset = i * 37 % (N * 256) * (off_t)PAGE;
		struct iocb iocb = t_aio_pread(fd, buffer, PAGE, offset);

		if (i % 1000 == 0)
			t_make_cold(fd);
		t_aio_submit(context, &iocb, 1);
		for (volatile int spin = 0; spin < i % 100 * 100; spin++)
			continue;
		t_aio_cancel(context, &iocb);
		t_aio_events(context, &event, 1, 10000);
		ck_assert(event.res == PAGE || event.res == -ECANCELED);
		if (event.res == PAGE)
			t_assert_data(buffer, PAGE, SEED, offset);
		ended[event.res == PAGE]++;
	}
	ck_assert_int_eq(t_aio_try_events(context, &event, 1, 0), 0);
	ck_assert_int_gt(ended[0], 0);
	ck_assert_int_gt(ended[1], 0);
}
END_TEST

const struct t_test t_tests_cancel[] = {
	T_TEST(cancel, FAILS, 20, NULL),
	T_TEST(cancel_before_they_have_started, FAILS, 20, NULL),
	T_TEST(cancel_while_they_start, FAILS, 12, NULL),
	T_TEST(destroy_is_quick, FAILS, 20, NULL),
	T_TEST(exit_is_quick, FAILS, 12, NULL),
	T_TEST(kill_is_quick, FAILS, 12, NULL),
	T_TEST(exec_is_quick, FAILS, 12, NULL),
	T_TEST(exit_with_a_stalled_worker, SAME, 30, NULL),
	T_TEST(destroy_over_a_stuck_device, FAILS, 12, NULL),
	T_TEST(cancel_races_with_completion, FAILS, 30, NULL),
	{ NULL, NULL, SAME, 0, NULL },
};
