/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How many, how long, how far: limits that hold.
 */
#include "t.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { SIZE = 1 << 20, OUTSTANDING = 100000, DESCRIPTORS = 10000, PIPES = 100, MEMORY_MAX = 512 };

/* Most that read(2) and write(2) transfer. */
static const ssize_t transfer_max = 0x7ffff000;

static struct aiocb cb;
static unsigned char buf[SIZE];

/*
 * The place of request i in the file and in memory. Several read the same bytes to the same place,
 * which is no harm, unless a sanitizer watches.
 */
static size_t places(size_t count)
{
    return T_SANITIZED || count < 128 ? count : 128;
}

static void allow_descriptors(rlim_t count)
{
    struct rlimit limit;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur >= count)
        return;
    limit.rlim_cur = count;
    if (limit.rlim_max < count)
        limit.rlim_max = count;
    ck_assert_msg(!setrlimit(RLIMIT_NOFILE, &limit), "%lu descriptors are not allowed here",
                  (unsigned long) count);
}

/* Many outstanding. */

START_TEST(hundred_thousand_stream_reads_are_outstanding)
{
    size_t count = t_scale(OUTSTANDING), before;
    struct aiocb *cbs = t_control_blocks(count);
    unsigned char *bytes = calloc(1, count);
    struct t_pair pipes[PIPES];

    memset(bytes, 0xee, count);
    for (size_t i = 0; i < PIPES; i++) {
        pipes[i] = t_pipe();
        t_submit_read(&cb, pipes[i].in, buf, 1, 0);
        ck_assert_int_eq(aio_cancel(pipes[i].in, NULL), AIO_CANCELED);
    }
    before = t_memory_in_use();
    for (size_t i = 0; i < count; i++)
        t_submit_read(&cbs[i], pipes[i % PIPES].in, &bytes[i], 1, 0);
    if (!t_watched())
        ck_assert_uint_le((t_memory_in_use() - before) / count, MEMORY_MAX);
    for (size_t i = 0; i < PIPES; i++)
        t_put(pipes[i].out, 0, count / PIPES + (i < count % PIPES));
    for (size_t i = 0; i < count; i++) {
        t_wait_done(&cbs[i], 1);
        ck_assert(bytes[i] == t_byte((off_t) (i / PIPES)));
    }
    free(bytes);
    free(cbs);
}
END_TEST

static void read_many_directly(int fd, size_t count)
{
    struct aiocb *cbs = t_control_blocks(count);
    unsigned char *aligned = t_aligned(places(count) * 4096);

    for (size_t i = 0; i < count; i++)
        t_submit_read(&cbs[i], fd, aligned + i % places(count) * 4096, 4096,
                      (off_t) (i % 128) * 4096);
    for (size_t i = 0; i < count; i++)
        t_wait_done(&cbs[i], 4096);
    for (size_t i = 0; i < places(count); i++)
        t_assert_data(aligned + i * 4096, 4096, (off_t) (i % 128) * 4096);
    free(aligned);
    free(cbs);
}

/* Beyond what the kernel's ring holds they queue; none is refused. */
START_TEST(hundred_thousand_direct_reads_are_outstanding)
{
    read_many_directly(t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT), t_scale(OUTSTANDING));
}
END_TEST

/* What aio_error takes off the ring must not leave a backlog that nobody submits. */
START_TEST(backlog_behind_a_polled_head_is_submitted)
{
    enum { COUNT = 800, HEAD = 200 };
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    struct aiocb *cbs = t_control_blocks(COUNT);
    unsigned char *aligned = t_aligned(COUNT * 4096);

    for (size_t i = 0; i < COUNT; i++)
        t_submit_read(&cbs[i], fd, aligned + i * 4096, 4096, (off_t) (i % 128) * 4096);
    for (size_t i = 0; i < HEAD; i++)
        t_until(aio_error(&cbs[i]) != EINPROGRESS);
    for (size_t i = COUNT; i-- > 0;) {
        t_wait_done(&cbs[i], 4096);
        t_assert_data(aligned + i * 4096, 4096, (off_t) (i % 128) * 4096);
    }
    free(aligned);
    free(cbs);
}
END_TEST

START_TEST(hundred_thousand_writes_are_outstanding)
{
    size_t count = t_scale(OUTSTANDING);
    struct aiocb *cbs = t_control_blocks(count);
    int fd = t_empty_file();

    t_fill(buf, SIZE, 0);
    for (size_t i = 0; i < count; i++)
        t_submit_write(&cbs[i], fd, buf + i % SIZE, 1, (off_t) (i % SIZE));
    for (size_t i = 0; i < count; i++)
        t_wait_done(&cbs[i], 1);
    memset(buf, 0, SIZE);
    ck_assert_int_eq(pread(fd, buf, SIZE, 0), (ssize_t) count);
    t_assert_data(buf, count, 0);
    free(cbs);
}
END_TEST

START_TEST(hundred_thousand_appends_wait_behind_a_held_one)
{
    size_t count = t_scale(OUTSTANDING), before;
    struct aiocb *cbs = t_control_blocks(count);
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND);

    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&cb, fd, "first", 5, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    before = t_memory_in_use();
    for (size_t i = 0; i < count; i++)
        t_submit_write(&cbs[i], fd, "x", 1, 0);
    if (!t_watched())
        ck_assert_uint_le((t_memory_in_use() - before) / count, MEMORY_MAX);
    ck_assert_int_eq(aio_cancel(fd, NULL), AIO_NOTCANCELED);
    for (size_t i = 0; i < count; i++)
        t_assert_failed(&cbs[i], ECANCELED);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&cb, 5);
    ck_assert_uint_eq(slowfs_size(0), 5);
    free(cbs);
}
END_TEST

static void list_many(int mode, struct sigevent *event)
{
    size_t count = t_scale(OUTSTANDING);
    struct aiocb *cbs = t_control_blocks(count), **list = calloc(count, sizeof(*list));
    int files[] = { t_cached_file(SIZE), t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT) };
    unsigned char *aligned = t_aligned(places(count) * 4096);

    for (size_t i = 0; i < count; i++) {
        t_prepare(&cbs[i], files[i % 2], aligned + i % places(count) * 4096, 4096,
                  (off_t) (i % 128) * 4096);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    t_block(SIGRTMIN);
    ck_assert_int_eq(lio_listio(mode, list, (int) count, event), 0);
    if (mode == LIO_NOWAIT)
        ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 99);
    for (size_t i = 0; i < count; i++)
        t_assert_done(&cbs[i], 4096);
    for (size_t i = 0; i < places(count); i++)
        t_assert_data(aligned + i * 4096, 4096, (off_t) (i % 128) * 4096);
    free(aligned);
    free(list);
    free(cbs);
}

START_TEST(list_of_a_hundred_thousand_is_waited_for)
{
    list_many(LIO_WAIT, NULL);
}
END_TEST

START_TEST(list_of_a_hundred_thousand_notifies)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };

    event.sigev_value.sival_int = 99;
    list_many(LIO_NOWAIT, &event);
}
END_TEST

START_TEST(suspend_takes_a_list_of_a_hundred_thousand)
{
    size_t count = t_scale(OUTSTANDING);
    struct aiocb *cbs = t_control_blocks(count);
    const struct aiocb **list = calloc(count, sizeof(*list));
    struct t_pair p = t_pipe();

    for (size_t i = 0; i < count; i++) {
        t_submit_read(&cbs[i], p.in, buf + i % SIZE, 1, 0);
        list[i] = &cbs[i];
    }
    t_put(p.out, 0, 1);
    ck_assert_int_eq(aio_suspend(list, (int) count, NULL), 0);
    t_assert_done(&cbs[0], 1);
    ck_assert_int_eq(aio_cancel(p.in, NULL), AIO_CANCELED);
    free(list);
    free(cbs);
}
END_TEST

START_TEST(ten_thousand_descriptors_are_used)
{
    size_t count = t_scale(DESCRIPTORS);
    struct aiocb *cbs = t_control_blocks(count);
    uint64_t *values = calloc(count, sizeof(*values));
    unsigned int threads;

    allow_descriptors(count + 200);
    t_submit_read(&cb, t_pipe().in, buf, 1, 0);
    threads = t_threads();
    for (size_t i = 0; i < count; i++) {
        int fd = eventfd(0, EFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        t_submit_read(&cbs[i], fd, &values[i], 8, 0);
    }
    ck_assert_uint_le(t_threads(), threads + 1);
    for (size_t i = 0; i < count; i++)
        ck_assert_int_eq(eventfd_write(cbs[i].aio_fildes, i + 1), 0);
    for (size_t i = 0; i < count; i++) {
        t_wait_done(&cbs[i], 8);
        ck_assert(values[i] == i + 1);
    }
    free(values);
    free(cbs);
}
END_TEST

/* Long and far. */

/* length bytes of address space over a few bytes of memory. */
static void *long_buffer(size_t length)
{
    size_t piece = 64 << 20;
    int memory = memfd_create("t", MFD_CLOEXEC);
    char *start = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    ck_assert(start != MAP_FAILED && !ftruncate(memory, (off_t) piece));
    for (size_t i = 0; i < length; i += piece)
        ck_assert(mmap(start + i, piece, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, memory,
                       0) != MAP_FAILED);
    return start;
}

START_TEST(more_than_two_gigabytes_are_cut)
{
    size_t length = 3UL << 30;
    void *memory = long_buffer(length);
    int file = t_empty_file(), direct = t_reopen(file, O_RDONLY | O_DIRECT);

    t_submit_write(&cb, open("/dev/null", O_WRONLY | O_CLOEXEC), memory, length, 0);
    t_wait_done(&cb, transfer_max);
    if (t_scale(2) < 2)
        return;
    t_submit_read(&cb, open("/dev/zero", O_RDONLY | O_CLOEXEC), memory, length, 0);
    t_wait_done(&cb, transfer_max);
    ck_assert_int_eq(ftruncate(file, (off_t) length), 0);
    t_submit_read(&cb, direct, memory, length, 0);
    t_wait_done(&cb, transfer_max);
    munmap(memory, length);
}
END_TEST

START_TEST(long_request_of_a_short_file_is_short)
{
    size_t length = 3UL << 30;
    unsigned char *memory = long_buffer(length);

    t_submit_read(&cb, t_cached_file(SIZE), memory, length, 0);
    t_wait_done(&cb, SIZE);
    t_assert_data(memory, SIZE, 0);
    t_submit_read(&cb, t_cold_file(SIZE), memory, length, 100);
    t_wait_done(&cb, SIZE - 100);
    t_assert_data(memory, SIZE - 100, 100);
}
END_TEST

START_TEST(offsets_beyond_four_gigabytes_are_used)
{
    const off_t far = (5LL << 30) + 4096;
    int file = t_empty_file(), direct = t_reopen(file, O_RDWR | O_DIRECT);
    unsigned char *aligned = t_aligned(8192);

    t_fill(aligned, 8192, far);
    t_submit_write(&cb, file, aligned, 8192, far);
    t_wait_done(&cb, 8192);
    t_submit_read(&cb, file, buf, 8192, far);
    t_wait_done(&cb, 8192);
    t_assert_data(buf, 8192, far);
    t_make_cold(file);
    t_submit_read(&cb, file, buf, 8192, far);
    t_wait_done(&cb, 8192);
    t_assert_data(buf, 8192, far);
    t_fill(aligned, 4096, 3);
    t_submit_write(&cb, direct, aligned, 4096, far);
    t_wait_done(&cb, 4096);
    t_submit_read(&cb, direct, aligned, 8192, far);
    t_wait_done(&cb, 8192);
    t_assert_data(aligned, 4096, 3);
    t_assert_data(aligned + 4096, 4096, far + 4096);
    free(aligned);
}
END_TEST

START_TEST(streams_work_as_soon_as_there_are_descriptors)
{
    static struct aiocb other;
    struct t_pair p = t_pipe();
    int fd = t_reopen(t_cached_file(SIZE), O_RDWR | O_DSYNC);
    struct rlimit limit, none;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    t_submit_write(&other, fd, buf, 4096, 0);
    t_prepare(&cb, p.in, buf, 1, 0);
    ck_assert_int_eq(aio_read(&cb), -1);
    ck_assert_int_eq(errno, EAGAIN);
    t_wait_done(&other, 4096);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    t_until(aio_read(&cb) == 0);
    t_finish_pending(p.out, &cb);
}
END_TEST

static void add_descriptors(TCase *tests)
{
    tcase_add_test(tests, streams_work_as_soon_as_there_are_descriptors);
}

static void add_many(TCase *tests)
{
    tcase_add_test(tests, hundred_thousand_stream_reads_are_outstanding);
    tcase_add_test(tests, hundred_thousand_direct_reads_are_outstanding);
    tcase_add_test(tests, backlog_behind_a_polled_head_is_submitted);
    tcase_add_test(tests, hundred_thousand_writes_are_outstanding);
    tcase_add_test(tests, list_of_a_hundred_thousand_is_waited_for);
    tcase_add_test(tests, list_of_a_hundred_thousand_notifies);
    tcase_add_test(tests, suspend_takes_a_list_of_a_hundred_thousand);
    tcase_add_test(tests, ten_thousand_descriptors_are_used);
}

static void add_long(TCase *tests)
{
    tcase_add_test(tests, more_than_two_gigabytes_are_cut);
    tcase_add_test(tests, long_request_of_a_short_file_is_short);
    tcase_add_test(tests, offsets_beyond_four_gigabytes_are_used);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, hundred_thousand_appends_wait_behind_a_held_one);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "descriptors", .add = add_descriptors },
        { .name = "many", .add = add_many },
        { .name = "long and far", .add = add_long },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    return t_main("limits", parts);
}
