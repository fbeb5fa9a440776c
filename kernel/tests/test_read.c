// SPDX-License-Identifier: GPL-2.0-only
/* Buffered reads: they do not wait in io_submit, and they bring just what pread would have brought. */
#define _GNU_SOURCE
#include "t.h"

#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define SEED 7

/* Time in io_submit is far below the device's delay, which is not above the time to the event. */
START_TEST(submit_does_not_wait_for_the_device)
{
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE);
	struct iocb iocb = t_aio_pread(fd, buffer, PAGE, 512 * KiB);
	int64_t begin, submit;

	t_disk_delay_ms(300, 0);
	begin = t_now_us();
	submit = t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 5000), PAGE);
	ck_assert_int_ge(t_now_us() - begin, 250000);
	ck_assert_msg(submit < 100000, "%ld us in io_submit", (long)submit);
	t_assert_data(buffer, PAGE, SEED, 512 * KiB);
}
END_TEST

/* Depth 32 takes little more than one delay, not 32 of them. */
START_TEST(reads_of_one_submission_wait_together)
{
	enum { N = 32 };
	int fd = t_cold_file("file", 32 * MiB, SEED);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer(N * PAGE);
	struct iocb iocbs[N];
	struct io_event events[N];
	int64_t begin, submit;

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	t_disk_delay_ms(200, 0);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, i * MiB);
	begin = t_now_us();
	submit = t_aio_submit(context, iocbs, N);
	t_aio_events(context, events, N, 10000);
	ck_assert_msg(submit < 150000, "%ld us in io_submit", (long)submit);
	ck_assert_int_lt(t_now_us() - begin, 3 * 200000);
	for (int i = 0; i < N; i++)
		t_assert_data(buffer + i * PAGE, PAGE, SEED, i * MiB);
}
END_TEST

/* Hashed wait queues are shared by many folios: each wakeup must find its own request, and no other. */
START_TEST(six_hundred_pages_in_flight_wake_once_each)
{
	enum { N = 600 };
	int fd = t_cold_file("file", N * 64 * KiB, SEED);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer((size_t)N * PAGE);
	struct iocb *iocbs = calloc(N, sizeof(*iocbs));
	struct io_event *events = calloc(N, sizeof(*events));
	int64_t submit;

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	t_disk_delay_ms(1000, 0);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, i * 64 * KiB);
	if (t_has_series())
		t_trace_begin();
	submit = t_aio_submit(context, iocbs, N);
	ck_assert_int_lt(submit, 900000);
	t_aio_events(context, events, N, 30000);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(events[i].res, PAGE);
		t_assert_data(buffer + i * PAGE, PAGE, SEED, i * 64 * KiB);
	}
	ck_assert_int_eq(t_trace_count("aio_read_queued"), N);
	ck_assert_int_eq(t_trace_count("aio_read_woken"), N);
	ck_assert_int_eq(t_trace_count("aio_read_retried"), N);
	ck_assert_int_eq(t_trace_count("aio_read_punted"), 0);
	t_trace_end();
}
END_TEST

/* An ordinary read waits as ever in a thread that has asynchronous reads in flight. */
START_TEST(synchronous_read_beside_asynchronous_ones)
{
	enum { N = 16 };
	int fd = t_cold_file("file", 32 * MiB, SEED);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer((N + 1) * PAGE);
	struct iocb iocbs[N];
	struct io_event events[N];

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	t_disk_delay_ms(100, 0);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, i * MiB);
	t_aio_submit(context, iocbs, N);
	/* One that is in flight, and one that is not. */
	for (int i = N - 1; i <= N; i++) {
		ck_assert_int_eq(pread(fd, buffer + N * PAGE, PAGE, i * MiB), PAGE);
		t_assert_data(buffer + N * PAGE, PAGE, SEED, i * MiB);
	}
	t_aio_events(context, events, N, 5000);
	for (int i = 0; i < N; i++)
		t_assert_data(buffer + i * PAGE, PAGE, SEED, i * MiB);
}
END_TEST

/* Large and unaligned: read in many steps, each of which goes on where the last one stopped. */
START_TEST(large_unaligned_read_keeps_its_progress)
{
	const size_t length = 3 * MiB + 1234;
	int fd = t_cold_file("file", 16 * MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(4 * (length + PAGE));
	struct iocb iocbs[4];
	struct io_event events[4];

	t_disk_delay_ms(20, 0);
	for (int i = 0; i < 4; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * (length + PAGE) + 3, length, i * 4 * MiB + 777);
	if (t_has_series())
		t_trace_begin();
	t_aio_submit(context, iocbs, 4);
	t_aio_events(context, events, 4, 20000);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(events[i].res, length);
		t_assert_data(buffer + i * (length + PAGE) + 3, length, SEED, i * 4 * MiB + 777);
	}
	/* Several times each on a normal kernel; the debug kernel may be slower than the device. */
	ck_assert_int_ge(t_trace_count("aio_read_retried"), 4);
	ck_assert_int_eq(t_trace_count("aio_read_retried"), t_trace_count("aio_read_woken"));
	t_trace_end();
}
END_TEST

/* The vector must live as long as the request: the caller's copy is overwritten at once. */
START_TEST(vector_of_twenty_elements)
{
	enum { N = 20 };
	int fd = t_cold_file("file", 4 * MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(4 * MiB);
	struct iovec vector[N];
	struct iocb iocb;
	off_t offset = 4321;
	size_t total = 0;

	for (int i = 0; i < N; i++) {
		vector[i].iov_base = buffer + total + (size_t)i * 100;
		vector[i].iov_len = 1 + (size_t)i * 9001 % 70000;
		total += vector[i].iov_len;
	}
	t_disk_delay_ms(50, 0);
	iocb = t_aio_preadv(fd, vector, N, offset);
	if (t_has_series())
		t_trace_begin();
	t_aio_submit(context, &iocb, 1);
	memset(vector, 0, sizeof(vector));
	ck_assert_int_eq(t_aio_result(context, 10000), total);
	for (int i = 0; i < N; i++) {
		size_t length = 1 + (size_t)i * 9001 % 70000;

		t_assert_data(buffer + (offset - 4321) + i * 100, length, SEED, offset);
		offset += (off_t)length;
	}
	ck_assert_int_ge(t_trace_count("aio_read_queued"), 1);
	t_trace_end();
}
END_TEST

START_TEST(end_of_file_inside_the_read)
{
	int fd = t_cold_file("file", MiB + 1000, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(3 * MiB);
	struct iocb iocb = t_aio_pread(fd, buffer, 2 * MiB, 500);

	t_disk_delay_ms(50, 0);
	ck_assert_int_lt(t_aio_submit(context, &iocb, 1), 40000);
	ck_assert_int_eq(t_aio_result(context, 10000), MiB + 500);
	t_assert_data(buffer, MiB + 500, SEED, 500);
	iocb = t_aio_pread(fd, buffer, PAGE, 2 * MiB);
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 10), 0);
}
END_TEST

/* Of a hole punched and a tail cut off meanwhile a read sees the old bytes, or zeroes, or an earlier end. */
START_TEST(truncate_and_hole_punch_under_a_read)
{
	const size_t size = 4 * MiB;
	aio_context_t context = t_aio_setup(8);
	unsigned char *buffer = t_buffer(size);

	for (int round = 0; round < 8; round++) {
		int fd = t_cold_file("file", size, SEED);
		struct iocb iocb = t_aio_pread(fd, buffer, size, 0);
		int64_t result;

		t_disk_delay_ms(10, 0);
		memset(buffer, 0, size);
		t_aio_submit(context, &iocb, 1);
		t_sleep_ms(round * 3);
		ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, MiB, MiB), 0);
		ck_assert_int_eq(ftruncate(fd, 3 * MiB), 0);
		result = t_aio_result(context, 20000);
		ck_assert_msg(result == (int64_t)size || result >= 3 * MiB, "read %ld", (long)result);
		t_disk_delay_ms(0, 0);
		for (off_t at = 0; at < result; at += PAGE) {
			bool may_be_zero = at >= 3 * MiB || (at >= MiB && at < 2 * MiB);
			bool zero = !buffer[at] && !memcmp(buffer + at, buffer + at + 1, PAGE - 1);

			if (!(may_be_zero && zero))
				t_assert_data(buffer + at, PAGE, SEED, at);
		}
		close(fd);
	}
}
END_TEST

static uint64_t sectors_for(int pattern, bool asynchronous)
{
	enum { N = 64 };
	int fd = t_cold_file("file", 8 * MiB, SEED);
	char *buffer = t_buffer(128 * KiB);
	aio_context_t context = t_aio_setup(8);
	uint64_t before = t_disk_sectors_read();

	for (int i = 0; i < N; i++) {
		/* In order and touching; in order with gaps; all over the place. */
		off_t offset = pattern == 0 ? i * 100000L : pattern == 1 ? i * 120000L : i * 37 % N * 130000L;
		size_t length = pattern == 0 ? 100000 : pattern == 1 ? 5000 : 9000;

		if (asynchronous) {
			struct iocb iocb = t_aio_pread(fd, buffer, length, offset);

			t_aio_submit(context, &iocb, 1);
			ck_assert_int_eq(t_aio_result(context, 10000), length);
		} else {
			ck_assert_int_eq(pread(fd, buffer, length, offset), length);
		}
		t_assert_data(buffer, length, SEED, offset);
	}
	/* Readahead may still be on its way. */
	t_sleep_ms(100);
	t_aio_destroy(context);
	close(fd);
	munmap(buffer, 128 * KiB);
	return t_disk_sectors_read() - before;
}

START_TEST(a_retry_repeats_no_readahead)
{
	for (int pattern = 0; pattern < 3; pattern++) {
		uint64_t synchronous = sectors_for(pattern, false);
		uint64_t asynchronous = sectors_for(pattern, true);

		ck_assert_int_gt(synchronous, 0);
		ck_assert_msg(synchronous == asynchronous, "pattern %d: pread read %lu sectors, aio %lu", pattern,
			      (unsigned long)synchronous, (unsigned long)asynchronous);
	}
}
END_TEST

/* An exclusive waiter would keep the wakeup from those behind it. */
START_TEST(sixty_four_readers_of_one_page)
{
	enum { N = 64 };
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer(N * PAGE);
	struct iocb iocbs[N];
	struct io_event events[N];

	t_disk_delay_ms(500, 0);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, 64 * KiB);
	ck_assert_int_lt(t_aio_submit(context, iocbs, N), 400000);
	t_aio_events(context, events, N, 10000);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(events[i].res, PAGE);
		t_assert_data(buffer + i * PAGE, PAGE, SEED, 64 * KiB);
	}
}
END_TEST

static void *read_one_page(void *argument)
{
	char page[PAGE];
	ssize_t got = pread(*(int *)argument, page, PAGE, 64 * KiB);

	return (void *)(got == PAGE && t_differs(page, PAGE, SEED, 64 * KiB) < 0 ? 1L : 0L);
}

/* Synchronous readers queue behind the asynchronous ones, some of which give up. */
START_TEST(synchronous_readers_behind_asynchronous_ones)
{
	enum { N = 16 };
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(N);
	char *buffer = t_buffer(N * PAGE);
	struct iocb iocbs[N];
	struct io_event events[N];
	pthread_t threads[N];
	void *right;

	t_disk_delay_ms(500, 0);
	for (int i = 0; i < N; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, 64 * KiB);
	ck_assert_int_lt(t_aio_submit(context, iocbs, N), 400000);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, read_one_page, &fd), 0);
	t_sleep_ms(100);
	for (int i = 0; i < N; i += 2)
		t_aio_cancel(context, &iocbs[i]);
	t_aio_events(context, events, N, 10000);
	for (int i = 0; i < N; i++) {
		pthread_join(threads[i], &right);
		ck_assert(right != NULL);
	}
}
END_TEST

START_TEST(cached_read_is_an_event_at_once)
{
	int fd = t_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(MiB);
	struct iocb iocb = t_aio_pread(fd, buffer, MiB, 0);

	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 0), MiB);
	t_assert_data(buffer, MiB, SEED, 0);
}
END_TEST

START_TEST(pending_read_is_not_reported_early)
{
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE);
	struct iocb iocb = t_aio_pread(fd, buffer, PAGE, 0);
	struct io_event event;

	t_disk_delay_ms(400, 0);
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_try_events(context, &event, 1, 200), 0);
	ck_assert_int_eq(t_aio_result(context, 5000), PAGE);
	t_assert_data(buffer, PAGE, SEED, 0);
}
END_TEST

/* What is cached comes at submission, and only the rest is awaited. */
START_TEST(half_cached_read)
{
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(64 * KiB), page[PAGE];
	struct iocb iocb = t_aio_pread(fd, buffer, 64 * KiB, 0);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	ck_assert_int_eq(pread(fd, page, PAGE, 0), PAGE);
	ck_assert(!t_is_cached(fd, PAGE));
	t_disk_delay_ms(200, 0);
	ck_assert_int_lt(t_aio_submit(context, &iocb, 1), 100000);
	t_assert_data(buffer, PAGE, SEED, 0);
	ck_assert_int_eq(t_aio_result(context, 5000), 64 * KiB);
	t_assert_data(buffer, 64 * KiB, SEED, 0);
}
END_TEST

/* The bare block device, up to its very end. */
START_TEST(block_device)
{
	int fd = open("/dev/vdb", O_RDWR | O_CLOEXEC);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(64 * KiB);
	off_t size = lseek(fd, 0, SEEK_END);
	struct iocb iocb = t_aio_pread(fd, buffer, 64 * KiB, size - 32 * KiB);

	t_fill(buffer, 32 * KiB, SEED, size - 32 * KiB);
	ck_assert_int_eq(pwrite(fd, buffer, 32 * KiB, size - 32 * KiB), 32 * KiB);
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(ioctl(fd, _IO(0x12, 97) /* BLKFLSBUF */, 0), 0);
	memset(buffer, 0, 64 * KiB);
	if (t_has_series())
		t_trace_begin();
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 5000), 32 * KiB);
	t_assert_data(buffer, 32 * KiB, SEED, size - 32 * KiB);
	ck_assert_int_eq(t_trace_count("aio_read_queued"), 1);
	t_trace_end();
}
END_TEST

START_TEST(switched_off_it_waits_as_ever)
{
	int fd = t_cold_file("file", MiB, SEED);
	aio_context_t context = t_aio_setup(8);
	char *buffer = t_buffer(PAGE);
	struct iocb iocb = t_aio_pread(fd, buffer, PAGE, 0);

	if (t_has_series())
		t_set_buffered(0);
	t_disk_delay_ms(200, 0);
	ck_assert_int_ge(t_aio_submit(context, &iocb, 1), 150000);
	ck_assert_int_eq(t_aio_result(context, 0), PAGE);
	t_assert_data(buffer, PAGE, SEED, 0);
}
END_TEST

const struct t_test t_tests_read[] = {
	T_TEST(submit_does_not_wait_for_the_device, FAILS, 20, NULL),
	T_TEST(reads_of_one_submission_wait_together, FAILS, 20, NULL),
	T_TEST(six_hundred_pages_in_flight_wake_once_each, FAILS, 10, NULL),
	T_TEST(synchronous_read_beside_asynchronous_ones, SAME, 20, NULL),
	T_TEST(large_unaligned_read_keeps_its_progress, FAILS, 30, NULL),
	T_TEST(vector_of_twenty_elements, FAILS, 20, NULL),
	T_TEST(end_of_file_inside_the_read, FAILS, 20, NULL),
	T_TEST(truncate_and_hole_punch_under_a_read, SAME, 40, NULL),
	T_TEST(a_retry_repeats_no_readahead, SAME, 40, NULL),
	T_TEST(sixty_four_readers_of_one_page, FAILS, 20, NULL),
	T_TEST(synchronous_readers_behind_asynchronous_ones, FAILS, 20, NULL),
	T_TEST(cached_read_is_an_event_at_once, SAME, 10, NULL),
	T_TEST(pending_read_is_not_reported_early, FAILS, 20, NULL),
	T_TEST(half_cached_read, FAILS, 20, NULL),
	T_TEST(block_device, FAILS, 20, "ext4"),
	T_TEST(switched_off_it_waits_as_ever, SAME, 20, NULL),
	{ NULL, NULL, SAME, 0, NULL },
};
