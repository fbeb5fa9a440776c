// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many processes read one file asynchronously, within too little memory, while others truncate it, punch holes
 * into it, write it anew and drop its pages. Every byte of every read is checked: the bytes of the first half
 * never change; those of the second are the same or zero, and may be cut off.
 */
#define _GNU_SOURCE
#include "t.h"

#include <sys/prctl.h>
#include <signal.h>

#define SEED 31
#define SIZE (96 * MiB)
#define STEADY (SIZE / 2)
#define READERS 6
#define DEPTH 16
#define LONGEST (200 * KiB)
#define GROUP "/sys/fs/cgroup/stress"

static int64_t end_us;

struct slot {
	struct iocb iocb;
	struct iovec vector[4];
	char *buffer;
	size_t length;
	bool moved, canceled;
};

static void check_bytes(const struct slot *slot, int64_t result)
{
	off_t offset = slot->iocb.aio_offset;

	if (result == -EFAULT) {
		ck_assert(slot->moved);
		return;
	}
	if (result == -ECANCELED) {
		ck_assert(slot->canceled);
		return;
	}
	ck_assert_msg(result >= 0, "result %ld", (long)result);
	if (offset + (off_t)slot->length <= STEADY) {
		ck_assert(result == (int64_t)slot->length || slot->moved);
		t_assert_data(slot->buffer, (size_t)result, SEED, offset);
		return;
	}
	for (off_t at = 0; at < result;) {
		off_t n = PAGE - (offset + at) % PAGE;
		ssize_t differs;

		if (n > result - at)
			n = result - at;
		differs = t_differs(slot->buffer + at, (size_t)n, SEED, offset + at);
		if (differs >= 0) {
			ck_assert_int_ge(offset + at + n, STEADY);
			/* From the first difference on there must be nothing but zeroes or the known bytes. */
			for (off_t i = differs; i < n; i++) {
				char expected;

				t_fill(&expected, 1, SEED, offset + at + i);
				ck_assert_msg(slot->buffer[at + i] == 0 || slot->buffer[at + i] == expected,
					      "wrong byte at %lld", (long long)(offset + at + i));
			}
		}
		at += n;
	}
}

static void prepare(struct slot *slot, int fd)
{
	off_t offset = random() % (SIZE - LONGEST);

	slot->length = (size_t)(1 + random() % LONGEST);
	slot->moved = slot->canceled = false;
	memset(slot->buffer, 0x5a, slot->length);
	if (random() % 2) {
		size_t part = slot->length / 4;

		for (int i = 0; i < 4; i++)
			slot->vector[i] = (struct iovec) {
				slot->buffer + (size_t)i * part, i < 3 ? part : slot->length - 3 * part
			};
		slot->iocb = t_aio_preadv(fd, slot->vector, 4, offset);
	} else {
		slot->iocb = t_aio_pread(fd, slot->buffer, slot->length, offset);
	}
	slot->iocb.aio_data = (uintptr_t)slot;
}

/* Nothing may ever be mapped again where the buffer was: a read in flight would write to it. */
static void move_buffer(struct slot *slot)
{
	char *old = slot->buffer;

	slot->buffer = mremap(old, LONGEST, LONGEST, MREMAP_MAYMOVE | MREMAP_FIXED, t_buffer(LONGEST));
	ck_assert(slot->buffer != MAP_FAILED);
	ck_assert(mmap(old, LONGEST, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == old);
}

static int reader(void *number)
{
	int fd = open(T_DIRECTORY "/stress", O_RDONLY);
	aio_context_t context = t_aio_setup(DEPTH);
	struct slot slots[DEPTH];
	struct io_event event;

	srandom((unsigned int)(long)number);
	for (int i = 0; i < DEPTH; i++) {
		slots[i].buffer = t_buffer(LONGEST);
		prepare(&slots[i], fd);
		t_aio_submit(context, &slots[i].iocb, 1);
	}
	while (t_now_us() < end_us) {
		struct slot *slot = &slots[random() % DEPTH];

		switch (random() % 16) {
		case 0:
			slot->canceled = true;
			t_aio_cancel(context, &slot->iocb);
			break;
		case 1:
			/* The data that has come moves along, and the rest finds no memory. */
			slot->moved = true;
			move_buffer(slot);
			break;
		}
		t_aio_events(context, &event, 1, 60000);
		slot = (struct slot *)(uintptr_t)event.data;
		check_bytes(slot, event.res);
		prepare(slot, fd);
		t_aio_submit(context, &slot->iocb, 1);
	}
	/* Leaves with all of them in flight. */
	return 0;
}

static int disturber(void *unused)
{
	int fd = open(T_DIRECTORY "/stress", O_RDWR);
	char *chunk = malloc(MiB);

	(void)unused;
	while (t_now_us() < end_us) {
		off_t at = STEADY + random() % (SIZE - STEADY - MiB) / PAGE * PAGE;

		switch (random() % 4) {
		case 0:
			ck_assert_int_eq(ftruncate(fd, at), 0);
			ck_assert_int_eq(ftruncate(fd, SIZE), 0);
			break;
		case 1:
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, MiB);
			break;
		case 2:
			t_fill(chunk, MiB, SEED, at);
			ck_assert_int_eq(pwrite(fd, chunk, MiB, at), MiB);
			break;
		case 3:
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
			break;
		}
		t_sleep_ms(1);
	}
	return 0;
}

/* O_DSYNC writes of the bytes that are there anyhow; each read back past the cache would be slow: the counts do. */
static int writer(void *unused)
{
	int fd = open(T_DIRECTORY "/stress", O_RDWR | O_DSYNC);
	aio_context_t context = t_aio_setup(DEPTH);
	char *buffer = t_buffer(DEPTH * 8 * PAGE);
	struct iocb iocbs[DEPTH];
	struct io_event events[DEPTH];

	(void)unused;
	while (t_now_us() < end_us) {
		for (int i = 0; i < DEPTH; i++) {
			off_t at = random() % (STEADY - 8 * PAGE);

			t_fill(buffer + i * 8 * PAGE, 8 * PAGE, SEED, at);
			iocbs[i] = t_aio_pwrite(fd, buffer + i * 8 * PAGE, 8 * PAGE, at);
		}
		t_aio_submit(context, iocbs, DEPTH);
		t_aio_events(context, events, DEPTH, 60000);
		for (int i = 0; i < DEPTH; i++)
			ck_assert_int_eq(events[i].res, 8 * PAGE);
	}
	return 0;
}

START_TEST(stress)
{
	pid_t pids[READERS + 2];
	int status;

	t_write_line("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	t_shell("rmdir " GROUP " 2> /dev/null; mkdir " GROUP);
	t_write_line(GROUP "/memory.max", "67108864");
	close(t_cold_file("stress", SIZE, SEED));
	t_write_line(GROUP "/cgroup.procs", "0");
	t_disk_delay_ms(4, 0);
	end_us = t_now_us() + 10 * 1000000L;
	for (long i = 0; i < READERS; i++)
		pids[i] = t_child(reader, (void *)(i + 1));
	pids[READERS] = t_child(disturber, NULL);
	pids[READERS + 1] = t_child(writer, NULL);
	for (int i = 0; i < READERS + 2; i++) {
		t_reap_ms(pids[i], 100000, &status);
		ck_assert_msg(status == 0, "process %d ended with status %x", i, status);
	}
}
END_TEST

/* Processes that die with requests in flight, again and again. */
START_TEST(killed_again_and_again)
{
	int64_t end = t_now_us() + 5 * 1000000L;
	int status, fd = t_cold_file("stress", SIZE, SEED);

	t_disk_delay_ms(8, 0);
	end_us = end + 60 * 1000000L;
	for (int i = 1; t_now_us() < end; i++) {
		pid_t pid = t_child(reader, (void *)(long)i);

		t_sleep_ms(i * 7 % 100);
		kill(pid, SIGKILL);
		t_reap_ms(pid, 20000, &status);
		ck_assert(WIFSIGNALED(status));
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	}
}
END_TEST

const struct t_test t_tests_stress[] = {
	T_TEST(stress, SAME, 150, NULL),
	T_TEST(killed_again_and_again, SAME, 60, NULL),
	{ NULL, NULL, SAME, 0, NULL },
};
