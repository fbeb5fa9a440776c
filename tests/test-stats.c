/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What posix_aio_stat and the statistics file say of the way that requests went. Where a way is
 * the point of the library (a cold read not in the caller, a direct one in the kernel), this is
 * the test that it is taken.
 */
#include "t.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>

enum { SIZE = 1 << 20, MANY = 50 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];
static atomic_uint called;

static bool engine_is_kernel(void)
{
    return !strcmp(posix_aio_engine(), "kernel");
}

/* The kernel can complete buffered reads itself, where it has been taught to. */
static bool kernel_does_buffered_aio(void)
{
    FILE *setting = fopen("/proc/sys/fs/aio-buffered", "r");
    int value = 0;

    if (!setting)
        return false;
    if (fscanf(setting, "%d", &value) != 1)
        value = 0;
    fclose(setting);
    return value == 1 && engine_is_kernel();
}

START_TEST(cached_read_is_done_in_the_caller)
{
    t_submit_read(&cb, t_cached_file(SIZE), buf, 4096, 0);
    t_assert_done(&cb, 4096);
    ck_assert_uint_eq(t_stat("read.inline"), 1);
    ck_assert_uint_eq(t_stat("read.pool") + t_stat("read.kernel"), 0);
}
END_TEST

START_TEST(cold_read_is_not_done_in_the_caller)
{
    const char *way = kernel_does_buffered_aio() ? "read.kernel" : "read.pool";
    int fd = t_cold_file(SIZE), reads = 0;
    double end = t_now() + t_patience();

    /*
     * The first attempt starts the device, which may be done by the time that it looks: where the kernel
     * lets others run meanwhile, a hundred times in succession.
     */
    while (!t_stat(way)) {
        ck_assert_double_lt(t_now(), end);
        reads++;
        t_make_cold(fd);
        t_submit_read(&cb, fd, buf, 4096, 4096);
        t_wait_done(&cb, 4096);
    }
    ck_assert_uint_eq(t_stat("read.inline") + 1, (uint64_t) reads);
}
END_TEST

/* To copy all of it would take the caller long; a cold one is not copied at submission. */
START_TEST(long_read_goes_where_its_beginning_is)
{
    int fd = t_cold_file(SIZE);
    bool does = kernel_does_buffered_aio();

    t_submit_read(&cb, fd, buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_assert_data(buf, SIZE, 0);
    ck_assert_uint_eq(t_stat(does ? "read.kernel" : "read.pool"), 1);
    /* All of it is cached now. */
    memset(buf, 0, SIZE);
    t_submit_read(&cb, fd, buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_assert_data(buf, SIZE, 0);
    ck_assert_uint_eq(t_stat("read.pool"), does ? 1 : 2);
    ck_assert_uint_eq(t_stat("read.inline"), 0);
}
END_TEST

/* Does the kernel write there without waiting, if not every time? bytes: 4096 of them. */
static bool writes_without_waiting(int fd, void *bytes)
{
    struct iovec vector = { bytes, 4096 };

    for (int i = 0; i < 100; i++)
        if (pwritev2(fd, &vector, 1, 0, RWF_NOWAIT) == 4096)
            return true;
    return false;
}

START_TEST(direct_requests_go_to_the_kernel)
{
    int file = t_cold_file(SIZE), fd = t_reopen(file, O_RDWR | O_DIRECT);
    unsigned char *aligned = t_aligned(4096);
    const char *way[] = { "read.pool", "write.pool" };
    int writes = 0;
    double end = t_now() + t_patience();

    if (engine_is_kernel()) {
        way[0] = "read.kernel";
        way[1] = "write.kernel";
    }
    t_submit_read(&cb, fd, aligned, 4096, 0);
    t_wait_done(&cb, 4096);
    ck_assert_uint_eq(t_stat(way[0]), 1);
    /* What its filesystem is not ready for the kernel hands back, and the pool carries it on. */
    while (!t_stat(way[1]) && writes_without_waiting(fd, aligned)) {
        ck_assert_double_lt(t_now(), end);
        writes++;
        t_submit_write(&cb, fd, aligned, 4096, 0);
        t_wait_done(&cb, 4096);
    }
    ck_assert_uint_eq(t_stat("carried_on") + t_stat(way[1]), (uint64_t) writes);
}
END_TEST

START_TEST(direct_entries_of_a_list_go_to_the_kernel)
{
    int fd = t_reopen(t_cold_file(SIZE), O_RDWR | O_DIRECT);
    unsigned char *aligned = t_aligned(MANY * 4096);
    struct aiocb *list[MANY];

    for (int i = 0; i < MANY; i++) {
        t_prepare(&cbs[i], fd, aligned + i * 4096, 4096, i * 4096);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, NULL), 0);
    ck_assert_uint_eq(t_stat(engine_is_kernel() ? "read.kernel" : "read.pool"), MANY);
}
END_TEST

/* Extending a file takes the kernel's waiting, which a submission must not. */
START_TEST(direct_append_is_carried_on_by_the_pool)
{
    int fd = t_reopen(t_empty_file(), O_RDWR | O_DIRECT);

    t_submit_write(&cb, fd, t_aligned(4096), 4096, 0);
    t_wait_done(&cb, 4096);
    ck_assert_uint_eq(t_stat("write.pool"), 1);
    ck_assert_uint_le(t_stat("carried_on"), engine_is_kernel());
}
END_TEST

START_TEST(cached_write_is_done_where_it_does_not_wait)
{
    int fd = t_cached_file(SIZE);
    const char *way = writes_without_waiting(fd, buf) ? "write.inline" : "write.pool";
    double end = t_now() + t_patience();

    /* XFS waits now and then, to note the time. */
    while (!t_stat(way)) {
        ck_assert_double_lt(t_now(), end);
        t_submit_write(&cb, fd, buf, 4096, 0);
        t_wait_done(&cb, 4096);
    }
}
END_TEST

START_TEST(synchronous_write_is_not_done_in_the_caller)
{
    int file = t_cached_file(SIZE);

    t_submit_write(&cb, t_reopen(file, O_WRONLY | O_DSYNC), buf, 4096, 0);
    t_wait_done(&cb, 4096);
    ck_assert_uint_eq(t_stat("write.inline"), 0);
}
END_TEST

START_TEST(memory_file_is_served_in_the_caller)
{
    int fd = t_memory_file(SIZE);

    t_submit_read(&cb, fd, buf, 4096, 0);
    t_assert_done(&cb, 4096);
    t_submit_write(&cb, fd, buf, 4096, 0);
    t_assert_done(&cb, 4096);
    ck_assert_uint_eq(t_stat("read.inline"), 1);
    ck_assert_uint_eq(t_stat("write.inline"), 1);
}
END_TEST

START_TEST(sync_goes_to_the_pool)
{
    t_submit_sync(&cb, t_cached_file(SIZE), O_SYNC);
    t_wait_done(&cb, 0);
    ck_assert_uint_eq(t_stat("fsync.pool"), 1);
}
END_TEST

START_TEST(streams_have_a_way_of_their_own)
{
    struct t_pair p = t_pipe();

    t_submit_read(&cb, p.in, buf, 100, 0);
    t_put(p.out, 0, 100);
    t_wait_done(&cb, 100);
    ck_assert_uint_eq(t_stat("read.stream"), 1);
    t_submit_write(&cb, p.out, buf, 100, 0);
    t_wait_done(&cb, 100);
    ck_assert_uint_eq(t_stat("write.stream"), 1);
}
END_TEST

START_TEST(cancellations_are_counted)
{
    struct t_pair p = t_pipe();

    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], p.in, buf, 1, 0);
    ck_assert_int_eq(aio_cancel(p.in, NULL), AIO_CANCELED);
    ck_assert_uint_eq(t_stat("canceled"), MANY);
}
END_TEST

START_TEST(outstanding_requests_are_counted)
{
    struct t_pair p = t_pipe();

    for (int i = 0; i < MANY; i++)
        t_submit_read(&cbs[i], p.in, buf, 1, 0);
    ck_assert_uint_eq(t_stat("outstanding"), MANY);
    t_put(p.out, 0, MANY);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 1);
    t_until(t_stat("outstanding") == 0);
    ck_assert_uint_eq(t_stat("outstanding.max"), MANY);
}
END_TEST

static void count(sigval_t value)
{
    (void) value;
    atomic_fetch_add(&called, 1);
}

static void submit_with(int notify, int fd)
{
    t_prepare(&cb, fd, buf, 100, 0);
    cb.aio_sigevent.sigev_notify = notify;
    if (notify == SIGEV_THREAD)
        cb.aio_sigevent.sigev_notify_function = count;
    else
        cb.aio_sigevent.sigev_signo = SIGRTMIN;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_wait_done(&cb, 100);
}

START_TEST(notifications_are_counted)
{
    int fd = t_cached_file(SIZE);

    t_block(SIGRTMIN);
    for (int i = 0; i < 3; i++) {
        submit_with(SIGEV_SIGNAL, fd);
        t_accept_signal(SIGRTMIN);
    }
    for (int i = 0; i < 7; i++)
        submit_with(SIGEV_THREAD, fd);
    t_until(atomic_load(&called) == 7);
    t_until(t_stat("notify.signal") == 3 && t_stat("notify.thread") == 7);
    submit_with(SIGEV_NONE, fd);
    ck_assert_uint_eq(t_stat("notify.signal") + t_stat("notify.thread"), 10);
}
END_TEST

START_TEST(latency_is_measured)
{
    struct t_pair p = t_pipe();
    double begin = t_now();

    t_submit_read(&cb, p.in, buf, 1, 0);
    for (int i = 0; i < 20; i++)
        t_moment();
    t_put(p.out, 0, 1);
    t_wait_done(&cb, 1);
    ck_assert_uint_ge(t_stat("read.latency.max"), 10000000 * 7 / 8);
    ck_assert(t_stat("read.latency.max") < (t_now() - begin) * 1e9 * 9 / 8 + 1);
}
END_TEST

START_TEST(unknown_statistic_is_enoent)
{
    uint64_t value;

    errno = 0;
    ck_assert_int_eq(posix_aio_stat("read.sideways", &value), -1);
    ck_assert_int_eq(errno, ENOENT);
}
END_TEST

/* The child keeps a file of its own, and its counters begin at nothing. */
static void count_own(void *unused)
{
    (void) unused;
    t_drop_statistics();
    t_submit_read(&cb, t_cached_file(SIZE), buf, 100, 0);
    t_wait_done(&cb, 100);
    ck_assert_uint_eq(t_stat("read.inline"), 1);
}

START_TEST(forked_child_keeps_its_own)
{
    int fd = t_cached_file(SIZE);

    for (int i = 0; i < 5; i++) {
        t_submit_read(&cb, fd, buf, 100, 0);
        t_wait_done(&cb, 100);
    }
    t_reap(t_child(count_own, NULL));
    ck_assert_uint_eq(t_stat("read.inline"), 5);
}
END_TEST

/* Held requests are in the pool now, and the counters say so only once they are done. */
START_TEST(request_is_counted_when_it_is_done)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cb, fd, buf, 100, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    ck_assert_uint_eq(t_stat("read.pool"), 0);
    ck_assert_uint_eq(t_stat("outstanding"), 1);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&cb, 100);
    t_until(t_stat("read.pool") == 1);
}
END_TEST

START_TEST(nothing_is_kept_unless_asked_for)
{
    uint64_t value;

    errno = 0;
    ck_assert_int_eq(posix_aio_stat("read.inline", &value), -1);
    ck_assert_int_eq(errno, ENODATA);
}
END_TEST

static void add_ways(TCase *tests)
{
    tcase_add_test(tests, cached_read_is_done_in_the_caller);
    tcase_add_test(tests, cold_read_is_not_done_in_the_caller);
    tcase_add_test(tests, long_read_goes_where_its_beginning_is);
    tcase_add_test(tests, direct_requests_go_to_the_kernel);
    tcase_add_test(tests, direct_entries_of_a_list_go_to_the_kernel);
    tcase_add_test(tests, direct_append_is_carried_on_by_the_pool);
    tcase_add_test(tests, cached_write_is_done_where_it_does_not_wait);
    tcase_add_test(tests, synchronous_write_is_not_done_in_the_caller);
    tcase_add_test(tests, memory_file_is_served_in_the_caller);
    tcase_add_test(tests, sync_goes_to_the_pool);
    tcase_add_test(tests, streams_have_a_way_of_their_own);
}

static void add_counters(TCase *tests)
{
    tcase_add_test(tests, cancellations_are_counted);
    tcase_add_test(tests, outstanding_requests_are_counted);
    tcase_add_test(tests, notifications_are_counted);
    tcase_add_test(tests, latency_is_measured);
    tcase_add_test(tests, unknown_statistic_is_enoent);
    tcase_add_test(tests, forked_child_keeps_its_own);
    tcase_add_test(tests, request_is_counted_when_it_is_done);
}

static void add_none(TCase *tests)
{
    tcase_add_test(tests, nothing_is_kept_unless_asked_for);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "ways",
            .add = add_ways,
            .need = T_STATISTICS,
        },
        {
            .name = "counters",
            .add = add_counters,
            .need = T_SLOWFS | T_STATISTICS,
        },
        { .name = "no statistics", .add = add_none },
        { .name = NULL },
    };

    return t_main("stats", parts);
}
