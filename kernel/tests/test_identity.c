// SPDX-License-Identifier: GPL-2.0-only
/* Whose I/O it is that a worker does: the submitter's, by accounting, by its groups and by its credentials. */
#define _GNU_SOURCE
#include "t.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <sys/fsuid.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define SEED 29

static long statistic(const char *path, const char *key)
{
	FILE *file = fopen(path, "r");
	char line[1000];
	long value = 0;

	ck_assert_msg(file != NULL, "cannot open %s: %m", path);
	while (fgets(line, sizeof(line), file)) {
		char *at = strstr(line, key);

		if (at)
			value += atol(at + strlen(key));
	}
	fclose(file);
	return value;
}

#define GROUP "/sys/fs/cgroup/reader"

/* The I/O and the page cache are the submitter's: in /proc/PID/io, in its memory group, in its block group. */
START_TEST(accounting_stays_the_submitters)
{
	const long size = 8 * MiB;
	int fd = t_cold_file("file", (size_t)size, SEED);
	char *buffer = t_buffer((size_t)size);
	aio_context_t context;
	struct iocb iocb;
	long before;

	t_write_line("/sys/fs/cgroup/cgroup.subtree_control", "+memory +io");
	t_shell("rmdir " GROUP " 2> /dev/null; mkdir " GROUP);
	t_write_line(GROUP "/cgroup.procs", "0");
	context = t_aio_setup(8);
	iocb = t_aio_pread(fd, buffer, (size_t)size, 0);
	before = statistic("/proc/self/io", "read_bytes: ");
	t_aio_submit(context, &iocb, 1);
	ck_assert_int_eq(t_aio_result(context, 20000), size);
	t_assert_data(buffer, (size_t)size, SEED, 0);
	t_sleep_ms(200);
	ck_assert_int_ge(statistic("/proc/self/io", "read_bytes: ") - before, size);
	ck_assert_int_ge(statistic(GROUP "/memory.stat", "file "), size * 9 / 10);
	ck_assert_int_ge(statistic(GROUP "/io.stat", "rbytes="), size);
}
END_TEST

/* ---- A filesystem that tells who reads: one file of one page, whose first read takes a while ---------------- */

#define MOUNT "/tmp/fuse"
#define FILE_NODE 2
#define READS 2
#define FIRST_MS 500

static int device;
static uint32_t reader[READS];
static _Atomic int reads;

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr) {
		.ino = node, .nlink = 1, .size = PAGE,
		.mode = node == FILE_NODE ? S_IFREG | 0666 : S_IFDIR | 0777,
	};
}

static void reply(const struct fuse_in_header *in, int error, const void *out, size_t length)
{
	struct fuse_out_header header = { (uint32_t)(sizeof(header) + length), error, in->unique };
	struct iovec vector[2] = { { &header, sizeof(header) }, { (void *)(uintptr_t)out, length } };

	if (writev(device, vector, 2) < 0 && errno != ENOENT)
		abort();
}

static void reply_read(const struct fuse_in_header *in)
{
	char page[PAGE];

	if (reads < READS)
		reader[reads] = in->uid;
	if (!reads++)
		t_sleep_ms(FIRST_MS);
	t_fill(page, PAGE, SEED, 0);
	reply(in, 0, page, PAGE);
}

static void answer(const struct fuse_in_header *in, const void *argument)
{
	const struct fuse_init_in *init = argument;
	struct fuse_attr attr = attributes(in->nodeid);

	switch (in->opcode) {
	case FUSE_INIT:
		reply(in, 0, &(struct fuse_init_out) {
			.major = FUSE_KERNEL_VERSION, .minor = init->minor, .max_write = PAGE,
		}, sizeof(struct fuse_init_out));
		break;
	case FUSE_LOOKUP:
		reply(in, 0, &(struct fuse_entry_out) {
			.nodeid = FILE_NODE, .attr = attributes(FILE_NODE),
		}, sizeof(struct fuse_entry_out));
		break;
	case FUSE_GETATTR:
		reply(in, 0, &(struct fuse_attr_out) { .attr = attr }, sizeof(struct fuse_attr_out));
		break;
	case FUSE_OPEN:
		reply(in, 0, &(struct fuse_open_out) { .open_flags = FOPEN_DIRECT_IO },
		      sizeof(struct fuse_open_out));
		break;
	case FUSE_READ:
		reply_read(in);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break; /* these want no answer */
	default:
		reply(in, -ENOSYS, NULL, 0);
	}
}

static void *serve(void *unused)
{
	static char request[FUSE_MIN_READ_BUFFER + PAGE] __attribute__((aligned(8)));

	(void)unused;
	while (read(device, request, sizeof(request)) > 0)
		answer((struct fuse_in_header *)request, request + sizeof(struct fuse_in_header));
	return NULL;
}

static int open_told_file(void)
{
	char options[100];
	pthread_t thread;
	int fd;

	device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	ck_assert_msg(device >= 0, "cannot open /dev/fuse: %m");
	t_shell("mkdir -p " MOUNT);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", device);
	ck_assert_msg(!mount("t", MOUNT, "fuse", 0, options), "mount: %m");
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
	fd = open(MOUNT "/file", O_RDONLY);
	ck_assert_msg(fd >= 0, "cannot open the file: %m");
	return fd;
}

/*
 * The second read waits for the one worker that the context has, and by the time it gets it the submitter is
 * somebody else again: it is read in the name of whoever submitted it.
 */
START_TEST(credentials_are_those_at_submission)
{
	const uid_t someone = 1234;
	aio_context_t context = t_aio_setup(1);
	char *buffer = t_buffer(READS * PAGE);
	struct io_event events[READS];
	struct iocb iocbs[READS];
	int fd = open_told_file();

	for (int i = 0; i < READS; i++)
		iocbs[i] = t_aio_pread(fd, buffer + i * PAGE, PAGE, 0);
	t_aio_submit(context, &iocbs[0], 1);
	setfsuid(someone);
	t_aio_submit(context, &iocbs[1], 1);
	setfsuid(0);
	t_aio_events(context, events, READS, 10000);
	/* First, while there is a server: a process that fails with the file open waits for the answer to its flush. */
	close(fd);
	ck_assert_int_eq(umount2(MOUNT, MNT_DETACH), 0);
	ck_assert_int_eq(reads, READS);
	for (int i = 0; i < READS; i++)
		t_assert_data(buffer + i * PAGE, PAGE, SEED, 0);
	ck_assert_uint_eq(reader[0], 0);
	ck_assert_uint_eq(reader[1], someone);
}
END_TEST

const struct t_test t_tests_identity[] = {
	T_TEST(accounting_stays_the_submitters, SAME, 30, NULL),
	T_TEST(credentials_are_those_at_submission, SAME, 20, "ext4"),
	{ NULL, NULL, SAME, 0, NULL },
};
