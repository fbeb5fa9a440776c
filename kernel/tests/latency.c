// SPDX-License-Identifier: GPL-2.0-only
/*
 * Measures how long the caller is in io_submit, and how long it takes until the event, for a load of single
 * requests: random cold reads of a file in many pieces, or O_DSYNC writes. The disk's delay is set by the
 * script that calls this (latency-guest).
 *
 * usage: latency read|write DEPTH REQUESTS
 */
#define _GNU_SOURCE
#include "t.h"

#define PIECE (64 * KiB)
#define PIECES 4096
#define BLOCK (4 * KiB)

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void print_times(const char *what, int64_t *times, int count)
{
	qsort(times, (size_t)count, sizeof(*times), compare);
	printf("  %s p50 %ld p99 %ld max %ld us", what, (long)times[count / 2], (long)times[count * 99 / 100],
	       (long)times[count - 1]);
}

static int make_file(const char *path)
{
	char *piece = malloc(PIECE);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (int i = 0; i < PIECES; i++) {
		t_fill(piece, PIECE, 1, i * 2L * PIECE);
		ck_assert_int_eq(pwrite(fd, piece, PIECE, i * 2L * PIECE), PIECE);
	}
	free(piece);
	ck_assert_int_eq(fsync(fd), 0);
	return fd;
}

static bool reading;
static int depth, count;

START_TEST(load)
{
	const char *path = T_DIRECTORY "/load";
	int64_t *submit, *event_time, *begin, start;
	int fd, submitted = 0, done = 0;
	aio_context_t context;
	struct iocb *iocbs;
	char *buffer;

	close(make_file(path));
	/* Not even the extents are in memory, as after a boot. */
	t_shell("umount " T_DIRECTORY " && mount " T_DISK " " T_DIRECTORY);
	t_shell("%s", getenv("T_DELAY"));
	fd = open(path, reading ? O_RDONLY : O_RDWR | O_DSYNC);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	context = t_aio_setup(depth);
	buffer = t_buffer((size_t)(depth * BLOCK));
	iocbs = calloc((size_t)depth, sizeof(*iocbs));
	submit = calloc((size_t)count, sizeof(*submit));
	event_time = calloc((size_t)count, sizeof(*event_time));
	begin = calloc((size_t)depth, sizeof(*begin));
	srandom(1);
	start = t_now_us();
	for (int slot = 0; done < count; ) {
		struct io_event event;
		off_t offset = random() % PIECES * 2L * PIECE + random() % (PIECE / BLOCK) * BLOCK;

		if (submitted < count) {
			if (reading)
				iocbs[slot] = t_aio_pread(fd, buffer + slot * BLOCK, BLOCK, offset);
			else
				iocbs[slot] = t_aio_pwrite(fd, buffer + slot * BLOCK, BLOCK, offset);
			begin[slot] = t_now_us();
			submit[submitted++] = t_aio_submit(context, &iocbs[slot], 1);
			if (submitted < depth) {
				slot++;
				continue;
			}
		}
		t_aio_events(context, &event, 1, 60000);
		ck_assert_int_eq(event.res, BLOCK);
		slot = (int)((struct iocb *)(uintptr_t)event.obj - iocbs);
		event_time[done++] = t_now_us() - begin[slot];
	}
	start = t_now_us() - start;
	printf("%s %s depth %d:", getenv("T_FILESYSTEM"), reading ? "read" : "write", depth);
	print_times("in io_submit", submit, count);
	print_times("until the event", event_time, count);
	printf("  %.0f a second\n", count / ((double)start / 1e6));
}
END_TEST

int main(int argc, char **argv)
{
	TCase *tcase = tcase_create("latency");
	Suite *suite = suite_create("latency");
	SRunner *runner = srunner_create(suite);

	reading = argc == 4 && !strcmp(argv[1], "read");
	depth = argc == 4 ? atoi(argv[2]) : 0;
	count = argc == 4 ? atoi(argv[3]) : 0;
	if (depth < 1 || count < depth)
		return 2;
	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, load);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_SILENT);
	return srunner_ntests_failed(runner) > 0;
}
