// SPDX-License-Identifier: GPL-2.0-only
/* Synchronous buffered writes, and the rows of the old work that mainline has solved since. */
#define _GNU_SOURCE
#include "t.h"

#include <sys/stat.h>

#define OLD 3
#define NEW 4

/* What the device below these bytes of the file holds, past every cache. */
static void read_device(off_t where, void *buffer, size_t length)
{
	int disk = open("/dev/vda", O_RDONLY | O_DIRECT);

	ck_assert_msg(disk >= 0, "cannot open the disk: %m");
	ck_assert_int_eq(pread(disk, buffer, length, where), length);
	close(disk);
}

static void write_is_on_the_device_at_its_event(int flag)
{
	int fd = t_file("file", MiB, OLD), sync_fd = open(T_DIRECTORY "/file", O_RDWR | flag);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE), *seen = t_buffer(PAGE);
	off_t where = t_disk_offset(fd, 128 * KiB);
	struct iocb iocb = t_aio_pwrite(sync_fd, buffer, PAGE, 128 * KiB);
	int64_t submit;

	t_fill(buffer, PAGE, NEW, 128 * KiB);
	t_disk_delay_ms(0, 300);
	submit = t_aio_submit(context, &iocb, 1);
	ck_assert_msg(submit < 150000, "%ld us in io_submit", (long)submit);
	/* At once in the page cache, ... */
	ck_assert_int_eq(pread(fd, seen, PAGE, 128 * KiB), PAGE);
	t_assert_data(seen, PAGE, NEW, 128 * KiB);
	/* ... not yet on the device, and only there when the event says so. */
	read_device(where, seen, PAGE);
	t_assert_data(seen, PAGE, OLD, 128 * KiB);
	ck_assert_int_eq(t_aio_result(context, 10000), PAGE);
	read_device(where, seen, PAGE);
	t_assert_data(seen, PAGE, NEW, 128 * KiB);
	ck_assert_int_eq(t_disk_offset(fd, 128 * KiB), where);
}

START_TEST(dsync_write_is_on_the_device_at_its_event)
{
	write_is_on_the_device_at_its_event(O_DSYNC);
}
END_TEST

START_TEST(sync_write_is_on_the_device_at_its_event)
{
	write_is_on_the_device_at_its_event(O_SYNC);
}
END_TEST

/* The size is metadata that even O_DSYNC must bring along: it must survive the loss of all caches. */
START_TEST(appending_sync_write_brings_the_size)
{
	enum { LENGTH = 128 * KiB }; /* few enough pages for the slowest kernel to copy sooner than the device writes */
	int fd = t_file("file", 0, OLD), sync_fd = open(T_DIRECTORY "/file", O_RDWR | O_SYNC | O_APPEND);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(LENGTH);
	struct iocb iocb = t_aio_pwrite(sync_fd, buffer, LENGTH, 0);
	struct stat stat;
	uint64_t before;

	t_fill(buffer, LENGTH, NEW, 0);
	t_disk_delay_ms(0, 100);
	before = t_disk_sectors_written();
	ck_assert_int_lt(t_aio_submit(context, &iocb, 1), 80000);
	ck_assert_int_eq(t_aio_result(context, 20000), LENGTH);
	/* The data, and a journal's worth of metadata. */
	ck_assert_int_gt(t_disk_sectors_written() - before, LENGTH / 512);
	ck_assert_int_eq(fstat(fd, &stat), 0);
	ck_assert_int_eq(stat.st_size, LENGTH);
	read_device(t_disk_offset(fd, LENGTH - PAGE), buffer, PAGE);
	t_assert_data(buffer, PAGE, NEW, LENGTH - PAGE);
}
END_TEST

/* A sync must wait for all of its own range, whatever its neighbours do. */
START_TEST(sixteen_neighboring_sync_writes)
{
	enum { N = 16 };
	int fd = t_file("file", MiB, OLD), sync_fd = open(T_DIRECTORY "/file", O_RDWR | O_DSYNC);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer(N * 2 * PAGE), *seen = t_buffer(2 * PAGE);
	off_t where = t_disk_offset(fd, 0);
	struct iocb iocbs[N];
	struct io_event event;

	/* Each overlaps the next by a page, with the same bytes. */
	for (int i = 0; i < N; i++) {
		t_fill(buffer + i * 2 * PAGE, 2 * PAGE, NEW, i * PAGE);
		iocbs[i] = t_aio_pwrite(sync_fd, buffer + i * 2 * PAGE, 2 * PAGE, i * PAGE);
	}
	t_disk_delay_ms(0, 200);
	ck_assert_int_lt(t_aio_submit(context, iocbs, N), 180000);
	for (int i = 0; i < N; i++) {
		long at;

		t_aio_events(context, &event, 1, 20000);
		ck_assert_int_eq(event.res, 2 * PAGE);
		at = (struct iocb *)(uintptr_t)event.obj - iocbs;
		read_device(where + at * PAGE, seen, 2 * PAGE);
		t_assert_data(seen, 2 * PAGE, NEW, at * PAGE);
	}
}
END_TEST

/* The event of a sync that fails must say so. */
START_TEST(sync_write_to_a_faulty_device_fails)
{
	int fd = t_file("file", MiB, OLD), sync_fd = open(T_DIRECTORY "/file", O_RDWR | O_DSYNC);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE);
	struct iocb iocb = t_aio_pwrite(sync_fd, buffer, PAGE, 0);

	t_fill(buffer, PAGE, NEW, 0);
	t_disk_fault("flakey", t_disk_offset(fd, 0), PAGE);
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 20000), -EIO);
}
END_TEST

/* A direct write over allocated blocks and a hole writes nothing twice. */
START_TEST(direct_write_over_a_hole_writes_once)
{
	const size_t half = 4 * MiB;
	int fd = t_file("file", half, OLD), direct_fd = open(T_DIRECTORY "/file", O_RDWR | O_DIRECT);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(2 * half);
	struct iocb iocb = t_aio_pwrite(direct_fd, buffer, 2 * half, 0);
	uint64_t before, written;

	ck_assert_int_eq(ftruncate(fd, (off_t)(2 * half)), 0);
	ck_assert_int_eq(fsync(fd), 0);
	t_fill(buffer, 2 * half, NEW, 0);
	before = t_disk_sectors_written();
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 10000), 2 * half);
	ck_assert_int_eq(fsync(fd), 0);
	written = t_disk_sectors_written() - before;
	ck_assert_int_ge(written, 2 * half / 512);
	ck_assert_int_lt(written, (2 * half + MiB) / 512);
	ck_assert_int_eq(pread(fd, buffer, 2 * half, 0), 2 * half);
	t_assert_data(buffer, 2 * half, NEW, 0);
}
END_TEST

/* A direct write that extends the file out of memory that ends half way: one event, not two. */
START_TEST(half_unmapped_buffer_gives_one_event)
{
	int fd = t_file("file", PAGE, OLD), direct_fd = open(T_DIRECTORY "/file", O_RDWR | O_DIRECT);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(16 * PAGE);
	struct iocb iocbs[2] = {
		t_aio_pwrite(direct_fd, buffer, 16 * PAGE, PAGE),
		t_aio_pread(fd, buffer, 16 * PAGE, 0),
	};
	struct io_event events[3];

	ck_assert_int_eq(munmap(buffer + 8 * PAGE, 8 * PAGE), 0);
	t_aio_submit(context, &iocbs[0], 1);
	ck_assert_int_eq(t_aio_try_events(context, events, 2, 500), 1);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(ftruncate(fd, 16 * PAGE), 0);
	/* And the like of a cold buffered read: what fits is read. */
	t_make_cold(fd);
	t_aio_submit(context, &iocbs[1], 1);
	ck_assert_int_eq(t_aio_try_events(context, events, 2, 500), 1);
	ck_assert_int_eq(events[0].res, 8 * PAGE);
}
END_TEST

const struct t_test t_tests_write[] = {
	T_TEST(dsync_write_is_on_the_device_at_its_event, FAILS, 20, NULL),
	T_TEST(sync_write_is_on_the_device_at_its_event, FAILS, 20, NULL),
	T_TEST(appending_sync_write_brings_the_size, FAILS, 20, NULL),
	T_TEST(sixteen_neighboring_sync_writes, FAILS, 40, NULL),
	T_TEST(sync_write_to_a_faulty_device_fails, SAME, 20, NULL),
	T_TEST(direct_write_over_a_hole_writes_once, SAME, 20, NULL),
	T_TEST(half_unmapped_buffer_gives_one_event, SAME, 20, NULL),
	{ NULL, NULL, SAME, 0, NULL },
};
