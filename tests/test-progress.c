/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every accepted request finishes, and notifies, without another call into the library. These
 * tests submit, and from then on look only at memory, signals and the other end of streams.
 */
#include "t.h"

#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>

enum { SIZE = 1 << 20, MANY = 100 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];
static atomic_uint called;

static void count(sigval_t value)
{
    (void) value;
    atomic_fetch_add(&called, 1);
}

static void ask_for_signal(struct aiocb *one)
{
    one->aio_sigevent.sigev_notify = SIGEV_SIGNAL;
    one->aio_sigevent.sigev_signo = SIGRTMIN;
    one->aio_sigevent.sigev_value.sival_ptr = one;
}

static void submit_signaled(int (*submit)(struct aiocb *), int fd, void *bytes, size_t length)
{
    t_block(SIGRTMIN);
    t_prepare(&cb, fd, bytes, length, 0);
    ask_for_signal(&cb);
    ck_assert_int_eq(submit(&cb), 0);
}

static void assert_told(ssize_t result)
{
    ck_assert_ptr_eq(t_accept_signal(SIGRTMIN).si_value.sival_ptr, &cb);
    t_assert_done(&cb, result);
}

START_TEST(cached_read_notifies)
{
    submit_signaled(aio_read, t_cached_file(SIZE), buf, 4096);
    assert_told(4096);
}
END_TEST

START_TEST(cold_read_notifies)
{
    submit_signaled(aio_read, t_cold_file(SIZE), buf, SIZE);
    assert_told(SIZE);
    t_assert_data(buf, SIZE, 0);
}
END_TEST

START_TEST(direct_read_notifies)
{
    unsigned char *aligned = t_aligned(SIZE);

    submit_signaled(aio_read, t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT), aligned, SIZE);
    assert_told(SIZE);
    t_assert_data(aligned, SIZE, 0);
}
END_TEST

START_TEST(write_notifies)
{
    submit_signaled(aio_write, t_empty_file(), buf, SIZE);
    assert_told(SIZE);
}
END_TEST

/* A direct write that allocates is one that the kernel may hand back to be carried on. */
START_TEST(direct_write_of_a_hole_notifies)
{
    int fd = t_empty_file();

    ck_assert_int_eq(ftruncate(fd, SIZE), 0);
    submit_signaled(aio_write, t_reopen(fd, O_WRONLY | O_DIRECT), t_aligned(SIZE), SIZE);
    assert_told(SIZE);
}
END_TEST

static int synchronize(struct aiocb *one)
{
    return aio_fsync(O_SYNC, one);
}

START_TEST(sync_notifies)
{
    submit_signaled(synchronize, t_cached_file(SIZE), NULL, 0);
    assert_told(0);
}
END_TEST

START_TEST(stream_read_notifies)
{
    struct t_pair pairs[] = { t_pipe(), t_socketpair(SOCK_STREAM), t_pty(), t_fifo() };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        submit_signaled(aio_read, pairs[i].in, buf, 100);
        t_put(pairs[i].out, 0, 100);
        assert_told(100);
        t_assert_data(buf, 100, 0);
    }
}
END_TEST

/* The completion thread has come to rest by the time that the data comes: it is to be up again. */
START_TEST(stream_read_notifies_after_a_long_time)
{
    struct t_pair pty = t_pty(), master = { pty.out, pty.in };
    struct t_pair pairs[] = { t_pipe(), t_socketpair(SOCK_STREAM), t_pty(), t_fifo(), master };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        double begin = t_now();

        submit_signaled(aio_read, pairs[i].in, buf, 100);
        t_until(t_now() > begin + 0.3);
        t_put(pairs[i].out, 0, 100);
        assert_told(100);
    }
}
END_TEST

START_TEST(stream_write_of_many_pieces_goes_on)
{
    struct t_pair pairs[] = { t_pipe(), t_socketpair(SOCK_STREAM), t_pty(), t_fifo() };

    t_fill(buf, SIZE, 0);
    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        submit_signaled(aio_write, pairs[i].out, buf, 256 * 1024);
        t_take(pairs[i].in, 0, 256 * 1024);
        assert_told(256 * 1024);
    }
}
END_TEST

/* Without any notification only the data shows that it was done. */
START_TEST(read_without_notification_brings_its_data)
{
    volatile unsigned char *last = buf + SIZE - 1;
    int fd = t_cold_file(SIZE);

    buf[SIZE - 1] = (unsigned char) ~t_byte(SIZE - 1);
    t_submit_read(&cb, fd, buf, SIZE, 0);
    t_until(__atomic_load_n(last, __ATOMIC_ACQUIRE) == t_byte(SIZE - 1));
    t_wait_done(&cb, SIZE);
}
END_TEST

START_TEST(queued_appends_are_all_written)
{
    int file = t_empty_file(), fd = t_reopen(file, O_WRONLY | O_APPEND);

    t_fill(buf, MANY * 5000, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_write(&cbs[i], fd, buf + i * 5000, 5000, 0);
    t_until(lseek(file, 0, SEEK_END) == MANY * 5000);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 5000);
    memset(buf, 0, SIZE);
    ck_assert_int_eq(pread(file, buf, SIZE, 0), MANY * 5000);
    t_assert_data(buf, MANY * 5000, 0);
}
END_TEST

START_TEST(queued_stream_writes_are_all_transferred)
{
    struct t_pair p = t_socketpair(SOCK_STREAM);

    t_fill(buf, SIZE, 0);
    for (int i = 0; i < MANY; i++)
        t_submit_write(&cbs[i], p.out, buf + i * 10000, 10000, 0);
    t_take(p.in, 0, MANY * 10000);
}
END_TEST

START_TEST(functions_are_called)
{
    int files[] = { t_cached_file(SIZE), t_cold_file(SIZE),
                    t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT), t_pipe().in };
    unsigned char *aligned = t_aligned(8192);
    struct t_pair p = t_pipe();

    files[3] = p.in;
    for (size_t i = 0; i < T_COUNT(files); i++) {
        t_prepare(&cbs[i], files[i], aligned, 4096, 0);
        cbs[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
        cbs[i].aio_sigevent.sigev_notify_function = count;
        ck_assert_int_eq(aio_read(&cbs[i]), 0);
    }
    t_put(p.out, 0, 4096);
    t_until(atomic_load(&called) == T_COUNT(files));
}
END_TEST

START_TEST(lists_notify)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN };
    int files[] = { t_cached_file(SIZE), t_cold_file(SIZE),
                    t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT) };
    unsigned char *aligned = t_aligned(MANY * 4096);
    struct aiocb *list[MANY];

    t_block(SIGRTMIN);
    for (int i = 0; i < MANY; i++) {
        t_prepare(&cbs[i], files[i % 3], aligned + i * 4096, 4096, i * 4096);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, MANY, &event), 0);
    t_accept_signal(SIGRTMIN);
    for (int i = 0; i < MANY; i++)
        t_assert_done(&cbs[i], 4096);
    t_assert_data(aligned, MANY * 4096, 0);
}
END_TEST

/* More direct reads than the device takes at once, and a caller that only waits for signals. */
START_TEST(many_direct_reads_all_notify)
{
    int fd = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    static struct aiocb many[2000];
    unsigned char *aligned = t_aligned(T_COUNT(many) * 4096);

    t_block(SIGRTMIN);
    for (size_t i = 0; i < T_COUNT(many); i++) {
        t_prepare(&many[i], fd, aligned + i * 4096, 4096, (off_t) (i % 200) * 4096);
        ask_for_signal(&many[i]);
        ck_assert_int_eq(aio_read(&many[i]), 0);
    }
    for (size_t i = 0; i < T_COUNT(many); i++)
        t_accept_signal(SIGRTMIN);
    for (size_t i = 0; i < T_COUNT(many); i++) {
        t_assert_done(&many[i], 4096);
        t_assert_data(aligned + i * 4096, 4096, (off_t) (i % 200) * 4096);
    }
}
END_TEST

START_TEST(held_requests_notify_when_they_are_released)
{
    int fd = t_slow_file(0, 0, O_RDWR | O_APPEND);

    t_block(SIGRTMIN);
    slowfs_hold(SLOWFS_WRITE, 3);
    for (int i = 0; i < 3; i++) {
        t_prepare(&cbs[i], fd, buf, 1000, 0);
        ask_for_signal(&cbs[i]);
        ck_assert_int_eq(aio_write(&cbs[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        t_until(slowfs_held(SLOWFS_WRITE) == 1);
        t_assert_no_signal(SIGRTMIN);
        slowfs_release(SLOWFS_WRITE, 1);
        ck_assert_ptr_eq(t_accept_signal(SIGRTMIN).si_value.sival_ptr, &cbs[i]);
    }
    ck_assert_uint_eq(slowfs_size(0), 3000);
}
END_TEST

START_TEST(sync_behind_a_held_read_notifies)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&cbs[0], fd, buf, 1000, 0);
    submit_signaled(synchronize, fd, NULL, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    slowfs_release(SLOWFS_READ, 1);
    assert_told(0);
}
END_TEST

/*
 * More hang than there are threads where syncs follow each other fast, when what is queued is left to those (is_in_hand
 * in engine_pool.c). No thread ends for having nothing to do. FUSE does the syncs of a file one by one: one is held, and
 * the others wait for it.
 */
START_TEST(sync_beside_hung_ones_of_another_file_is_done)
{
    enum { THREADS = 16, HUNG = 24 };
    const struct aioinit init = { .aio_idle_time = 1000 };
    int fast = t_memory_file(4096), hung = t_slow_file(0, 4096, O_RDWR);

    aio_init(&init);
    for (int i = 0; i < MANY; i++)
        t_submit_sync(&cbs[i], fast, O_SYNC);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 0);
    slowfs_hold(SLOWFS_SYNC, 1);
    for (int i = 0; i < HUNG; i++)
        t_submit_sync(&cbs[i], hung, O_SYNC);
    t_until(t_threads_in(SYS_fsync) >= THREADS);
    submit_signaled(synchronize, fast, NULL, 0);
    assert_told(0);
    slowfs_release(SLOWFS_SYNC, 1);
    for (int i = 0; i < HUNG; i++)
        t_wait_done(&cbs[i], 0);
}
END_TEST

/* A list that begins with slow requests and then keeps the caller busy for a fifth of a second. */
enum { SLOW = 16, CACHED = 30000 };

static struct aiocb list_cbs[SLOW + CACHED], *list[SLOW + CACHED];

static void submit_long_list(unsigned slow)
{
    size_t count = t_scale(CACHED);
    int cached = t_cached_file(65536);

    for (size_t i = 0; i < count; i++)
        t_prepare(&list_cbs[slow + i], cached, buf, 65536, 0);
    for (size_t i = 0; i < slow + count; i++) {
        list_cbs[i].aio_lio_opcode = list_cbs[i].aio_lio_opcode == LIO_WRITE ? LIO_WRITE : LIO_READ;
        list[i] = &list_cbs[i];
    }
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, (int) (slow + count), NULL), 0);
}

/* The first two that arrive are held: on a busy machine a thread may be so late that one is the good one. */
static bool is_held(int file)
{
    return slowfs_arrived(SLOWFS_READ) >= 2 &&
           (slowfs_record(0).file == file || slowfs_record(1).file == file);
}

START_TEST(read_behind_hung_ones_of_a_long_list_is_done)
{
    int hung = t_slow_file(0, SIZE, O_RDWR), good = t_slow_file(1, SIZE, O_RDWR);
    static unsigned char bytes[SLOW][100];

    slowfs_hold(SLOWFS_READ, 2);
    for (int i = 0; i < 9; i++)
        t_prepare(&list_cbs[i], i < 8 ? hung : good, bytes[i], 100, i * 100);
    submit_long_list(9);
    t_until(aio_error(&list_cbs[8]) == 0 || is_held(1));
    slowfs_release(SLOWFS_READ, 2);
    for (int i = 0; i < 9; i++)
        t_wait_done(&list_cbs[i], 100);
}
END_TEST

START_TEST(write_before_a_hung_one_of_a_long_list_is_told)
{
    int fd = t_slow_file(0, SIZE, O_RDWR);

    slowfs_hold(SLOWFS_WRITE, 3);
    for (int i = 0; i < 4; i++) {
        t_prepare(&list_cbs[i], fd, buf, 100, i * 100);
        list_cbs[i].aio_lio_opcode = LIO_WRITE;
    }
    submit_long_list(4);
    slowfs_release(SLOWFS_WRITE, 2);
    t_wait_done(&list_cbs[1], 100);
    slowfs_release(SLOWFS_WRITE, 1);
    for (int i = 0; i < 4; i++)
        t_wait_done(&list_cbs[i], 100);
}
END_TEST

static void add_progress(TCase *tests)
{
    tcase_add_test(tests, cached_read_notifies);
    tcase_add_test(tests, cold_read_notifies);
    tcase_add_test(tests, direct_read_notifies);
    tcase_add_test(tests, write_notifies);
    tcase_add_test(tests, direct_write_of_a_hole_notifies);
    tcase_add_test(tests, sync_notifies);
    tcase_add_test(tests, stream_read_notifies);
    tcase_add_test(tests, stream_read_notifies_after_a_long_time);
    tcase_add_test(tests, stream_write_of_many_pieces_goes_on);
    tcase_add_test(tests, queued_appends_are_all_written);
    tcase_add_test(tests, queued_stream_writes_are_all_transferred);
    tcase_add_test(tests, functions_are_called);
    tcase_add_test(tests, lists_notify);
    tcase_add_test(tests, many_direct_reads_all_notify);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, held_requests_notify_when_they_are_released);
    tcase_add_test(tests, sync_behind_a_held_read_notifies);
    tcase_add_test(tests, read_behind_hung_ones_of_a_long_list_is_done);
    tcase_add_test(tests, sync_beside_hung_ones_of_another_file_is_done);
    tcase_add_test(tests, write_before_a_hung_one_of_a_long_list_is_told);
}

/* Memory that another thread fills is looked at without asking anybody. */
static void add_memory(TCase *tests)
{
    tcase_add_test(tests, read_without_notification_brings_its_data);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "progress without calls", .add = add_progress },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = "memory alone", .add = add_memory, .need = T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("progress", parts);
}
