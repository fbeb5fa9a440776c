// SPDX-License-Identifier: GPL-2.0-only
/*
 * Measures what a program sees that knows nothing but <aio.h>: how long it is in aio_read or aio_write, how long
 * until the request is done, how long until all of a round are, in how many of its calls it was put to sleep, and
 * how many threads it has got. The loads are random reads of 4 KiB of which nothing is in memory, and O_DSYNC writes. The disk's delay is set by
 * the script that calls this (posix-guest). Whose AIO it is depends on LD_PRELOAD.
 *
 * usage: posix prepare
 *        posix read|write DEPTH ROUNDS      a round is DEPTH requests, submitted together and then awaited
 *
 * The second prints name=value pairs, times in microseconds, and fails if a byte is wrong.
 */
#define _GNU_SOURCE
#include "t.h"

#include <aio.h>
#include <sys/resource.h>

#define PATH T_DIRECTORY "/posix"
#define PIECE (64 * KiB)
#define PIECES 4096
#define BLOCK (4 * KiB)
#define DEEPEST 64

struct times {
	int64_t *us;
	int count;
};

static struct times in_call, until_done, until_all;
static int slept; /* calls that did */

static void give_up(const char *what)
{
	fprintf(stderr, "posix: %s: %m\n", what);
	exit(1);
}

/* Pieces with holes between, so that a filesystem needs an extent for each. */
static void prepare(void)
{
	char *piece = malloc(PIECE);
	int fd = open(PATH, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	for (int i = 0; i < PIECES; i++) {
		off_t offset = i * 2L * PIECE;

		t_fill(piece, PIECE, 1, offset);
		if (pwrite(fd, piece, PIECE, offset) != PIECE)
			give_up(PATH);
	}
	if (fsync(fd))
		give_up("fsync");
	free(piece);
	close(fd);
}

/* Another block each time, in no order: 1677 and the number of pieces have no common divisor. */
static off_t next_offset(void)
{
	static long n;
	long piece = n++ * 1677 % PIECES;

	return piece * 2L * PIECE + piece % (PIECE / BLOCK) * BLOCK;
}

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void add(struct times *times, int64_t us)
{
	times->us[times->count++] = us;
}

static void print_times(const char *name, struct times *times)
{
	qsort(times->us, (size_t)times->count, sizeof(*times->us), compare);
	printf("%s_p50=%ld %s_p99=%ld %s_max=%ld ", name, (long)times->us[times->count / 2],
	       name, (long)times->us[times->count * 99 / 100], name, (long)times->us[times->count - 1]);
}

/* Threads of this process beside the one that makes the calls. */
static int threads(void)
{
	FILE *status = fopen("/proc/self/status", "r");
	char line[200];
	int count = 0;

	while (status && fgets(line, sizeof(line), status))
		if (sscanf(line, "Threads: %d", &count) == 1)
			break;
	if (!count)
		give_up("/proc/self/status");
	fclose(status);
	return count - 1;
}

/* Takes those that are done. Their number. */
static int take(struct aiocb *blocks, const struct aiocb **list, const int64_t *begin, int depth, bool reading)
{
	int taken = 0;

	for (int i = 0; i < depth; i++) {
		if (!list[i] || aio_error(&blocks[i]) == EINPROGRESS)
			continue;
		add(&until_done, t_now_us() - begin[i]);
		list[i] = NULL;
		taken++;
		if (aio_return(&blocks[i]) != BLOCK)
			give_up("aio_return");
		if (reading && t_differs((const char *)blocks[i].aio_buf, BLOCK, 1, blocks[i].aio_offset) >= 0)
			give_up("a byte is wrong");
	}
	return taken;
}

/* How often this thread has gone to sleep. */
static long sleeps(void)
{
	struct rusage usage;

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

static void submit(struct aiocb *block, bool reading, int64_t *begin)
{
	long before = sleeps();

	*begin = t_now_us();
	if (reading ? aio_read(block) : aio_write(block))
		give_up("submission");
	add(&in_call, t_now_us() - *begin);
	slept += sleeps() > before;
}

static int run_round(int fd, int depth, bool reading, char *buffer)
{
	static struct aiocb blocks[DEEPEST];
	const struct aiocb *list[DEEPEST];
	int64_t begin[DEEPEST], first;
	int most;

	for (int i = 0; i < depth; i++) {
		char *bytes = buffer + i * BLOCK;

		blocks[i] = (struct aiocb) {
			.aio_fildes = fd, .aio_buf = bytes, .aio_nbytes = BLOCK, .aio_offset = next_offset(),
		};
		list[i] = &blocks[i];
		if (reading)
			memset(bytes, 0, BLOCK);
		else
			t_fill(bytes, BLOCK, 1, blocks[i].aio_offset);
	}
	first = t_now_us();
	for (int i = 0; i < depth; i++)
		submit(&blocks[i], reading, &begin[i]);
	most = threads();
	for (int left = depth; left; left -= take(blocks, list, begin, depth, reading))
		if (aio_suspend(list, depth, NULL))
			give_up("aio_suspend");
	add(&until_all, t_now_us() - first);
	return most > threads() ? most : threads();
}

static int load(bool reading, int depth, int rounds)
{
	size_t requests = (size_t)depth * (size_t)rounds;
	int fd = open(PATH, reading ? O_RDONLY : O_RDWR | O_DSYNC), most = 0;
	char *buffer = aligned_alloc(PAGE, (size_t)depth * BLOCK);

	if (fd < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM))
		give_up(PATH);
	in_call.us = calloc(requests, sizeof(*in_call.us));
	until_done.us = calloc(requests, sizeof(*until_done.us));
	until_all.us = calloc((size_t)rounds, sizeof(*until_all.us));
	for (int i = 0; i < rounds; i++) {
		int now = run_round(fd, depth, reading, buffer);

		most = now > most ? now : most;
	}
	print_times("call", &in_call);
	print_times("done", &until_done);
	print_times("all", &until_all);
	printf("slept=%d threads=%d\n", slept, most);
	return 0;
}

int main(int argc, char **argv)
{
	int depth = argc == 4 ? atoi(argv[2]) : 0, rounds = argc == 4 ? atoi(argv[3]) : 0;

	if (argc == 2 && !strcmp(argv[1], "prepare")) {
		prepare();
		return 0;
	}
	if (depth < 1 || depth > DEEPEST || rounds < 1 || depth * rounds > PIECES)
		return 2;
	return load(!strcmp(argv[1], "read"), depth, rounds);
}
