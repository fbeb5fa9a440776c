// SPDX-License-Identifier: GPL-2.0-only
/* See t.h. The disk is a dm-delay device over /dev/vda, whose table is changed under the mounted file system. */
#define _GNU_SOURCE
#include "t.h"

#include <linux/fiemap.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

/* ---- Time ----------------------------------------------------------------------------------------- */

int t_slower(void)
{
	const char *factor = getenv("T_SLOWER");
	int value = factor ? atoi(factor) : 1;

	return value > 0 ? value : 1;
}

int64_t t_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return ((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000) / t_slower();
}

/* So much of the tests' time as the kernel wants to have it. */
static struct timespec real_time(int64_t us)
{
	us *= t_slower();
	return (struct timespec) { us / 1000000, us % 1000000 * 1000 };
}

void t_sleep_ms(int ms)
{
	struct timespec time = real_time(ms * 1000L);

	while (nanosleep(&time, &time) && errno == EINTR)
		continue;
}

void t_shell(const char *format, ...)
{
	char command[1000];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	ck_assert_msg(system(command) == 0, "failed: %s", command);
}

void t_file_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "r");

	ck_assert_msg(file && fgets(line, (int)size, file), "cannot read %s: %m", path);
	fclose(file);
}

void t_write_line(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY);

	ck_assert_msg(fd >= 0, "cannot open %s: %m", path);
	ck_assert_msg(write(fd, line, strlen(line)) == (ssize_t)strlen(line), "cannot write %s: %m", path);
	close(fd);
}

/* ---- The disk --------------------------------------------------------------------------------------- */

static void set_table(const char *target)
{
	t_shell("dmsetup suspend --nolockfs --noflush slow && dmsetup load slow --table \"0 $(blockdev --getsz /dev/vda) %s\""
		" && dmsetup resume slow", target);
}

bool t_is_filesystem(const char *name)
{
	const char *filesystem = getenv("T_FILESYSTEM");

	return filesystem && !strcmp(filesystem, name);
}

void t_disk_delay_ms(int read, int write)
{
	char target[100];

	snprintf(target, sizeof(target), "delay /dev/vda 0 %d /dev/vda 0 %d", read * t_slower(), write * t_slower());
	set_table(target);
}

int t_restore(void)
{
	static const char table[] = "dmsetup suspend --nolockfs --noflush slow && dmsetup load slow --table \"0 $(blockdev --getsz /dev/vda)"
				    " delay /dev/vda 0 0 /dev/vda 0 0\" && dmsetup resume slow";
	static const char sysctl[] = "sysctl=/proc/sys/fs/aio-buffered; ! test -e $sysctl || echo 1 > $sysctl";

	return system(table) || system(sysctl);
}

void t_disk_fault(const char *target, off_t offset, size_t length)
{
	long first = offset / 512, count = (long)(length / 512), next = first + count;
	char fault[100] = "error";

	if (!strcmp(target, "flakey")) /* up for 0 seconds, down for an hour */
		snprintf(fault, sizeof(fault), "flakey /dev/vda %ld 0 3600", first);
	t_shell("size=$(blockdev --getsz /dev/vda); "
		"printf '%%s\\n' \"0 %ld delay /dev/vda 0 0 /dev/vda 0 0\" \"%ld %ld %s\" "
		"\"%ld $((size - %ld)) delay /dev/vda %ld 0 /dev/vda %ld 0\" > /tmp/table && "
		"dmsetup suspend --nolockfs --noflush slow && dmsetup load slow /tmp/table && dmsetup resume slow",
		first, first, count, fault, next, next, next, next);
}

void t_disk_stuck(bool stuck)
{
	t_shell(stuck ? "dmsetup suspend --nolockfs --noflush slow" : "dmsetup resume slow");
}

static uint64_t disk_statistic(int column)
{
	char line[300];
	unsigned long long value = 0;

	t_file_line("/sys/block/vda/stat", line, sizeof(line));
	for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
		if (!--column)
			value = strtoull(word, NULL, 10);
	return value;
}

uint64_t t_disk_sectors_read(void)
{
	return disk_statistic(3);
}

uint64_t t_disk_sectors_written(void)
{
	return disk_statistic(7);
}

/* ---- Files -------------------------------------------------------------------------------------------- */

static uint64_t word_at(int seed, off_t word)
{
	uint64_t x = (uint64_t)word * 0x9e3779b97f4a7c15u + (uint64_t)seed * 0xbf58476d1ce4e5b9u + 1;

	x ^= x >> 31;
	x *= 0x94d049bb133111ebu;
	return (x ^ x >> 29) | 0x0101010101010101u; /* no byte is zero: a hole is not data */
}

static unsigned char byte_at(int seed, off_t offset)
{
	return (unsigned char)(word_at(seed, offset / 8) >> offset % 8 * 8);
}

void t_fill(void *buffer, size_t length, int seed, off_t offset)
{
	unsigned char *bytes = buffer;
	size_t i = 0;

	for (; i < length && (offset + (off_t)i) % 8; i++)
		bytes[i] = byte_at(seed, offset + (off_t)i);
	for (; i + 8 <= length; i += 8) {
		uint64_t word = word_at(seed, (offset + (off_t)i) / 8);

		memcpy(bytes + i, &word, 8);
	}
	for (; i < length; i++)
		bytes[i] = byte_at(seed, offset + (off_t)i);
}

ssize_t t_differs(const void *buffer, size_t length, int seed, off_t offset)
{
	const unsigned char *bytes = buffer;
	unsigned char expected[PAGE];

	for (size_t done = 0; done < length; done += PAGE) {
		size_t n = length - done < PAGE ? length - done : PAGE;

		t_fill(expected, n, seed, offset + (off_t)done);
		if (memcmp(expected, bytes + done, n))
			for (size_t i = 0; i < n; i++)
				if (expected[i] != bytes[done + i])
					return (ssize_t)(done + i);
	}
	return -1;
}

void t_assert_data(const void *buffer, size_t length, int seed, off_t offset)
{
	ssize_t at = t_differs(buffer, length, seed, offset);

	ck_assert_msg(at < 0, "wrong byte %zd of %zu at file offset %lld", at, length, (long long)offset);
}

void *t_buffer(size_t size)
{
	void *buffer = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	ck_assert(buffer != MAP_FAILED);
	return buffer;
}

int t_file(const char *name, size_t size, int seed)
{
	char path[200];
	char *chunk = malloc(MiB);
	int fd;

	snprintf(path, sizeof(path), "%s/%s", T_DIRECTORY, name);
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	ck_assert_msg(fd >= 0, "cannot create %s: %m", path);
	for (size_t done = 0; done < size; done += MiB) {
		size_t n = size - done < (size_t)MiB ? size - done : (size_t)MiB;

		t_fill(chunk, n, seed, (off_t)done);
		ck_assert_int_eq(write(fd, chunk, n), n);
	}
	free(chunk);
	ck_assert_int_eq(fsync(fd), 0);
	return fd;
}

void t_make_cold(int fd)
{
	struct stat stat;

	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	ck_assert_int_eq(fstat(fd, &stat), 0);
	for (off_t offset = 0; offset < stat.st_size; offset += MiB)
		ck_assert_msg(!t_is_cached(fd, offset), "still in the page cache at %lld", (long long)offset);
}

int t_cold_file(const char *name, size_t size, int seed)
{
	int fd = t_file(name, size, seed);

	t_make_cold(fd);
	return fd;
}

off_t t_disk_offset(int fd, off_t offset)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} query = {
		.map = { .fm_start = (uint64_t)offset, .fm_length = 1, .fm_flags = FIEMAP_FLAG_SYNC, .fm_extent_count = 1 },
	};

	ck_assert_int_eq(ioctl(fd, FS_IOC_FIEMAP, &query), 0);
	ck_assert_int_eq(query.map.fm_mapped_extents, 1);
	ck_assert(!(query.extent.fe_flags & FIEMAP_EXTENT_UNKNOWN));
	return (off_t)(query.extent.fe_physical + ((uint64_t)offset - query.extent.fe_logical));
}

bool t_is_cached(int fd, off_t offset)
{
	unsigned char resident;
	void *page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, offset & ~(off_t)(PAGE - 1));

	ck_assert(page != MAP_FAILED);
	ck_assert_int_eq(mincore(page, PAGE, &resident), 0);
	munmap(page, PAGE);
	return resident & 1;
}

/* ---- Kernel AIO ---------------------------------------------------------------------------------------- */

aio_context_t t_aio_setup(int events)
{
	aio_context_t context = 0;

	ck_assert_msg(syscall(SYS_io_setup, events, &context) == 0, "io_setup: %m");
	return context;
}

void t_aio_destroy(aio_context_t context)
{
	ck_assert_msg(syscall(SYS_io_destroy, context) == 0, "io_destroy: %m");
}

static struct iocb make_iocb(int opcode, int fd, const void *buffer, size_t length, off_t offset)
{
	return (struct iocb) {
		.aio_lio_opcode = (uint16_t)opcode,
		.aio_fildes = (uint32_t)fd,
		.aio_buf = (uintptr_t)buffer,
		.aio_nbytes = length,
		.aio_offset = offset,
	};
}

struct iocb t_aio_pread(int fd, void *buffer, size_t length, off_t offset)
{
	return make_iocb(IOCB_CMD_PREAD, fd, buffer, length, offset);
}

struct iocb t_aio_preadv(int fd, const struct iovec *vector, int count, off_t offset)
{
	return make_iocb(IOCB_CMD_PREADV, fd, vector, (size_t)count, offset);
}

struct iocb t_aio_pwrite(int fd, const void *buffer, size_t length, off_t offset)
{
	return make_iocb(IOCB_CMD_PWRITE, fd, buffer, length, offset);
}

int64_t t_aio_submit(aio_context_t context, struct iocb *iocbs, int count)
{
	struct iocb **list = malloc((size_t)count * sizeof(*list));
	int64_t begin, time;
	long taken;

	for (int i = 0; i < count; i++)
		list[i] = &iocbs[i];
	begin = t_now_us();
	taken = syscall(SYS_io_submit, context, (long)count, list);
	time = t_now_us() - begin;
	ck_assert_msg(taken == count, "io_submit took %ld of %d: %m", taken, count);
	free(list);
	return time;
}

int t_aio_cancel(aio_context_t context, struct iocb *iocb)
{
	struct io_event event;

	return syscall(SYS_io_cancel, context, iocb, &event) ? -errno : 0;
}

int t_aio_try_events(aio_context_t context, struct io_event *events, int count, int timeout_ms)
{
	int64_t end = t_now_us() + timeout_ms * 1000L;
	int got = 0;

	while (got < count) {
		int64_t left = end - t_now_us();
		struct timespec time = real_time(left > 0 ? left : 0);
		long n = syscall(SYS_io_getevents, context, 1L, (long)(count - got), events + got, &time);

		ck_assert_msg(n >= 0 || errno == EINTR, "io_getevents: %m");
		if (n > 0)
			got += (int)n;
		else if (left <= 0)
			break;
	}
	return got;
}

void t_aio_events(aio_context_t context, struct io_event *events, int count, int timeout_ms)
{
	int got = t_aio_try_events(context, events, count, timeout_ms);

	ck_assert_msg(got == count, "%d events of %d after %d ms", got, count, timeout_ms);
}

int64_t t_aio_result(aio_context_t context, int timeout_ms)
{
	struct io_event event;

	t_aio_events(context, &event, 1, timeout_ms);
	return event.res;
}

bool t_has_series(void)
{
	return access("/proc/sys/fs/aio-buffered", F_OK) == 0;
}

void t_set_buffered(int on)
{
	t_write_line("/proc/sys/fs/aio-buffered", on ? "1" : "0");
}

/* ---- Tracepoints ---------------------------------------------------------------------------------------- */

#define TRACING "/sys/kernel/tracing/"

void t_trace_begin(void)
{
	t_write_line(TRACING "buffer_size_kb", "8192");
	close(open(TRACING "trace", O_WRONLY | O_TRUNC));
	t_write_line(TRACING "events/aio/enable", "1");
	t_write_line(TRACING "tracing_on", "1");
}

long t_trace_count(const char *name)
{
	FILE *trace = fopen(TRACING "trace", "r");
	char line[500], word[100];
	long count = 0;

	ck_assert(trace != NULL);
	snprintf(word, sizeof(word), ": %s: ", name);
	while (fgets(line, sizeof(line), trace)) {
		ck_assert_msg(!strstr(line, "LOST"), "the trace buffer is too small");
		if (strstr(line, word))
			count++;
	}
	fclose(trace);
	return count;
}

void t_trace_end(void)
{
	t_write_line(TRACING "events/aio/enable", "0");
}

/* ---- Processes -------------------------------------------------------------------------------------------- */

pid_t t_child(int (*function)(void *), void *argument)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(function(argument));
	return pid;
}

int64_t t_reap_ms(pid_t pid, int timeout_ms, int *status)
{
	int64_t begin = t_now_us();
	pid_t got;

	while ((got = waitpid(pid, status, WNOHANG)) == 0 && t_now_us() - begin < timeout_ms * 1000L)
		t_sleep_ms(1);
	ck_assert_msg(got == pid, "process %d has not ended after %d ms", pid, timeout_ms);
	return (t_now_us() - begin) / 1000;
}
