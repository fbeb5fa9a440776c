// SPDX-License-Identifier: GPL-2.0-only
/* What else could stall the submitter, or its neighbors: metadata, locks, full queues, errors, memory. */
#define _GNU_SOURCE
#include "t.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define SEED 23

/* A file in two thousand pieces, and none of the blocks that tell where they are is in memory. */
START_TEST(cold_extent_metadata)
{
	enum { N = 2000 };
	int fd = t_file("pieces", 0, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE);
	struct iocb iocb;
	int64_t begin, submit;

	for (int i = 0; i < N; i++) {
		t_fill(buffer, PAGE, SEED, i * 2L * PAGE);
		ck_assert_int_eq(pwrite(fd, buffer, PAGE, i * 2L * PAGE), PAGE);
	}
	ck_assert_int_eq(fsync(fd), 0);
	close(fd);
	/* Dropping the caches is not enough: the journal keeps metadata in memory. */
	t_shell("umount " T_DIRECTORY " && mount -o noatime " T_DISK " " T_DIRECTORY);
	fd = open(T_DIRECTORY "/pieces", O_RDONLY);
	ck_assert_int_ge(fd, 0);
	t_disk_delay_ms(400, 0);
	iocb = t_aio_pread(fd, buffer, PAGE, 2 * 1777L * PAGE);
	begin = t_now_us();
	submit = t_aio_submit(context, &iocb, 1);
	ck_assert_msg(submit < 200000, "%ld us in io_submit", (long)submit);
	ck_assert_int_eq(t_aio_result(context, 10000), PAGE);
	/* One delay for the extents and one for the data: else this has tested nothing. */
	ck_assert_int_ge(t_now_us() - begin, 750000);
	t_assert_data(buffer, PAGE, SEED, 2 * 1777L * PAGE);
}
END_TEST

/* A device that takes four requests, two hundred a second. */
START_TEST(full_request_queue)
{
	enum { N = 100 };
	int fd = open("/dev/vdc", O_RDWR);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer(N * PAGE);
	struct iocb iocbs[N];
	struct io_event events[N];
	int64_t begin, submit;

	ck_assert_int_ge(fd, 0);
	for (int i = 0; i < N; i++) {
		t_fill(buffer + i * PAGE, PAGE, SEED, i * MiB);
		ck_assert_int_eq(pwrite(fd, buffer + i * PAGE, PAGE, i * MiB), PAGE);
	}
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(ioctl(fd, _IO(0x12, 97) /* BLKFLSBUF */, 0), 0);
	memset(buffer, 0, N * PAGE);
	t_write_line("/sys/block/vdc/queue/nr_requests", "4");
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, i * MiB);
	begin = t_now_us();
	submit = t_aio_submit(context, iocbs, N);
	t_aio_events(context, events, N, 20000);
	ck_assert_int_ge(t_now_us() - begin, 300000);
	ck_assert_msg(submit < 150000, "%ld us in io_submit", (long)submit);
	for (int i = 0; i < N; i++)
		t_assert_data(buffer + i * PAGE, PAGE, SEED, i * MiB);
}
END_TEST

static void *write_into_a_cold_page(void *argument)
{
	/* Reads the rest of the page from the device, under the inode's lock. */
	return (void *)(long)pwrite(*(int *)argument, "x", 1, 512 * KiB + 100);
}

START_TEST(inode_lock_held_by_a_writer)
{
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE);
	struct iocb iocb = t_aio_pread(fd, buffer, PAGE, 0);
	pthread_t thread;
	int64_t submit;
	void *written;

	t_disk_delay_ms(600, 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, write_into_a_cold_page, &fd), 0);
	t_sleep_ms(100);
	submit = t_aio_submit(context, &iocb, 1);
	ck_assert_msg(submit < 200000, "%ld us in io_submit", (long)submit);
	ck_assert_int_eq(t_aio_result(context, 10000), PAGE);
	t_assert_data(buffer, PAGE, SEED, 0);
	pthread_join(thread, &written);
	ck_assert_int_eq((long)written, 1);
}
END_TEST

static void read_over_a_fault(const char *target)
{
	enum { LENGTH = 16 * PAGE };
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(LENGTH);
	struct iocb iocbs[2] = {
		t_aio_pread(fd, buffer, PAGE, 64 * PAGE),
		t_aio_pread(fd, buffer, LENGTH, 56 * PAGE),
	};

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	t_disk_fault(target, t_disk_offset(fd, 64 * PAGE), PAGE);
	t_aio_submit(context, &iocbs[0], 1);
	ck_assert_int_eq(t_aio_result(context, 10000), -EIO);
	/* Nothing is dirty, and fsync would fail: dm-flakey fails flushes too. */
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	t_aio_submit(context, &iocbs[1], 1);
	/* As by pread: what comes before the fault. */
	ck_assert_int_eq(t_aio_result(context, 10000), 8 * PAGE);
	t_assert_data(buffer, 8 * PAGE, SEED, 56 * PAGE);
	ck_assert_int_eq(pread(fd, buffer, LENGTH, 56 * PAGE), 8 * PAGE);
	ck_assert_int_eq(pread(fd, buffer, PAGE, 64 * PAGE), -1);
	ck_assert_int_eq(errno, EIO);
}

START_TEST(read_error)
{
	read_over_a_fault("error");
}
END_TEST

START_TEST(read_error_of_a_flakey_device)
{
	read_over_a_fault("flakey");
}
END_TEST

/* Readahead is off: the folios are read one by one, but nobody waits for them. */
START_TEST(without_readahead)
{
	enum { N = 16 };
	int fd = t_cold_file("file", N * MiB, SEED);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer(N * PAGE);
	struct iocb iocbs[N];
	struct io_event events[N];
	int64_t begin;

	close(fd);
	t_shell("blockdev --setra 0 " T_DISK);
	fd = open(T_DIRECTORY "/file", O_RDONLY);
	t_shell("blockdev --setra 256 " T_DISK);
	t_disk_delay_ms(300, 0);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, i * MiB);
	begin = t_now_us();
	ck_assert_int_lt(t_aio_submit(context, iocbs, N), 200000);
	t_aio_events(context, events, N, 10000);
	ck_assert_int_lt(t_now_us() - begin, 3 * 300000);
	for (int i = 0; i < N; i++)
		t_assert_data(buffer + i * PAGE, PAGE, SEED, i * MiB);
}
END_TEST

/* Blocks smaller than a page, of which one has been written: the folio is there, and not uptodate. */
START_TEST(partly_valid_page)
{
	char *page = t_buffer(PAGE), *buffer = t_buffer(PAGE);
	aio_context_t context = t_aio_setup(8);
	struct iocb iocb;
	int fd;

	t_shell("mkfs.ext4 -q -F -b 1024 /dev/vdb 64M && mkdir -p /tmp/small && mount /dev/vdb /tmp/small");
	fd = open("/tmp/small/file", O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	t_fill(page, PAGE, SEED, 0);
	ck_assert_int_eq(pwrite(fd, page, PAGE, 0), PAGE);
	t_make_cold(fd);
	t_fill(page + KiB, KiB, SEED + 1, 0);
	ck_assert_int_eq(pwrite(fd, page + KiB, KiB, KiB), KiB);
	iocb = t_aio_pread(fd, buffer, PAGE, 0);
	if (t_has_series())
		t_trace_begin();
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 10000), PAGE);
	ck_assert_int_eq(memcmp(buffer, page, PAGE), 0);
	close(fd);
	t_shell("umount /tmp/small");
	ck_assert_int_eq(t_trace_count("aio_read_started"), 1);
	ck_assert_int_eq(t_trace_count("aio_read_punted"), 0);
	t_trace_end();
}
END_TEST

/* A file of the host's, by 9p under an overlay: no asynchronous reads there, so a worker reads it. */
START_TEST(file_system_without_asynchronous_reads)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(3 * PAGE), *expected = t_buffer(3 * PAGE);
	struct iocb iocb = t_aio_pread(fd, buffer, 3 * PAGE, 100);

	ck_assert_int_eq(pread(fd, expected, 3 * PAGE, 100), 3 * PAGE);
	if (t_has_series())
		t_trace_begin();
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 10000), 3 * PAGE);
	ck_assert_int_eq(memcmp(buffer, expected, 3 * PAGE), 0);
	ck_assert_int_eq(t_trace_count("aio_read_punted"), 1);
	t_trace_end();
}
END_TEST

/* Memory that nobody fills in stalls the reads into it, and as many workers as one context may have: no more. */
START_TEST(userfaultfd_stalls_only_its_owner)
{
	enum { N = 40, WORKERS = 16 };
	int fd = t_cold_file("file", 2 * N * MiB, SEED);
	int faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	aio_context_t stalled = t_aio_setup(N), other = t_aio_setup(N);
	char *trap = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *buffer = t_buffer(N * PAGE);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = {
		.range = { (uintptr_t)trap, N * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_zeropage zero = { .range = { (uintptr_t)trap, N * PAGE } };
	struct iocb trapped[N], iocbs[N];
	struct io_event events[N];

	ck_assert_int_ge(faults, 0);
	ck_assert_int_eq(ioctl(faults, UFFDIO_API, &api), 0);
	ck_assert_int_eq(ioctl(faults, UFFDIO_REGISTER, &area), 0);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (int i = 0; i < N; i++) {
		trapped[i] = t_aio_pread(fd, trap + i * PAGE, PAGE, i * MiB);
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, (N + i) * MiB);
	}
	if (t_has_series())
		t_trace_begin();
	/* Slow enough for all of them to wait for the device first. */
	t_disk_delay_ms(300, 0);
	t_aio_submit(stalled, trapped, N);
	t_sleep_ms(1500);
	ck_assert_int_eq(t_trace_count("aio_read_woken"), N);
	ck_assert_int_eq(t_trace_count("aio_read_retried"), WORKERS);
	ck_assert_int_eq(t_aio_try_events(stalled, events, 1, 0), 0);
	t_aio_submit(other, iocbs, N);
	t_aio_events(other, events, N, 5000);
	for (int i = 0; i < N; i++)
		t_assert_data(buffer + i * PAGE, PAGE, SEED, (N + i) * MiB);
	ck_assert_int_eq(t_aio_try_events(stalled, events, 1, 0), 0);
	t_trace_end();
	/* The owner does its duty in the end. */
	ck_assert_int_eq(ioctl(faults, UFFDIO_ZEROPAGE, &zero), 0);
	t_aio_events(stalled, events, N, 5000);
	for (int i = 0; i < N; i++)
		t_assert_data(trap + i * PAGE, PAGE, SEED, i * MiB);
}
END_TEST

START_TEST(eventfd_is_signaled)
{
	int fd = t_cold_file("file", MiB, SEED), event = eventfd(0, EFD_NONBLOCK);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE);
	struct iocb iocb = t_aio_pread(fd, buffer, PAGE, 0);
	struct pollfd wait = { event, POLLIN, 0 };

	iocb.aio_flags = IOCB_FLAG_RESFD;
	iocb.aio_resfd = (uint32_t)event;
	t_disk_delay_ms(300, 0);
	ck_assert_int_lt(t_aio_submit(context, &iocb, 1), 150000);
	ck_assert_int_eq(poll(&wait, 1, 100), 0);
	ck_assert_int_eq(poll(&wait, 1, 5000), 1);
	ck_assert_int_eq(t_aio_result(context, 0), PAGE);
}
END_TEST

const struct t_test t_tests_limit[] = {
	T_TEST(cold_extent_metadata, FAILS, 30, NULL),
	T_TEST(full_request_queue, FAILS, 30, "ext4"),
	T_TEST(inode_lock_held_by_a_writer, FAILS, 30, NULL),
	T_TEST(read_error, SAME, 30, NULL),
	T_TEST(read_error_of_a_flakey_device, SAME, 30, NULL),
	T_TEST(without_readahead, FAILS, 30, NULL),
	T_TEST(partly_valid_page, FAILS, 30, "ext4"),
	T_TEST(file_system_without_asynchronous_reads, FAILS, 30, "ext4"),
	T_TEST(userfaultfd_stalls_only_its_owner, FAILS, 20, NULL),
	T_TEST(eventfd_is_signaled, FAILS, 20, NULL),
	{ NULL, NULL, SAME, 0, NULL },
};
