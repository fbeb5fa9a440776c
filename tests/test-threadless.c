/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A system that has no thread left: what needs one is refused, and then has not been done; what was accepted
 * before is carried out.
 */
#include "t.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>

enum { SIZE = 4096, SOME = 64 };

static struct aiocb cb;
static unsigned char buf[SIZE], new[SIZE];
static atomic_bool refusing = true;
static atomic_uint called;

/* A stand-in for the C library's, for the library too. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*) (void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*) (void *), void *) ) dlsym(RTLD_NEXT, "pthread_create");

    return atomic_load(&refusing) ? EAGAIN : next(thread, attributes, run, argument);
}

static void count(sigval_t value)
{
    (void) value;
    atomic_fetch_add(&called, 1);
}

/* A request for the whole file, in memory, to be told of by a call. */
static void prepare(int fd, void *bytes)
{
    t_prepare(&cb, fd, bytes, SIZE, 0);
    cb.aio_sigevent.sigev_notify = SIGEV_THREAD;
    cb.aio_sigevent.sigev_notify_function = count;
}

static void assert_write_is_refused(void)
{
    errno = 0;
    ck_assert_int_eq(aio_write(&cb), -1);
    ck_assert_int_eq(errno, EAGAIN);
}

/* The same in a list. */
static void assert_entry_is_refused(void)
{
    struct aiocb *list[] = { &cb };

    cb.aio_lio_opcode = LIO_WRITE;
    errno = 0;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 1, NULL), -1);
    ck_assert_int_eq(errno, EAGAIN);
    t_assert_failed(&cb, EAGAIN);
}

static void assert_unwritten(int fd)
{
    ck_assert_int_eq(pread(fd, buf, SIZE, 0), SIZE);
    t_assert_data(buf, SIZE, 0);
    ck_assert_uint_eq(atomic_load(&called), 0);
}

/* With threads again it is written, and told of. */
static void assert_written_with_threads(int fd)
{
    atomic_store(&refusing, false);
    prepare(fd, new);
    ck_assert_int_eq(aio_write(&cb), 0);
    t_until(atomic_load(&called) == 1);
    t_assert_done(&cb, SIZE);
    ck_assert_int_eq(pread(fd, buf, SIZE, 0), SIZE);
    t_assert_data(buf, SIZE, SIZE);
}

START_TEST(write_that_is_refused_is_not_done)
{
    int fd = t_memory_file(SIZE);

    t_fill(new, SIZE, SIZE);
    prepare(fd, new);
    for (int i = 0; i < 3; i++) {
        assert_write_is_refused();
        assert_unwritten(fd);
    }
    assert_written_with_threads(fd);
}
END_TEST

START_TEST(write_of_a_list_that_is_refused_is_not_done)
{
    int fd = t_memory_file(SIZE);

    t_fill(new, SIZE, SIZE);
    prepare(fd, new);
    assert_entry_is_refused();
    assert_unwritten(fd);
    assert_written_with_threads(fd);
}
END_TEST

/* What is wrong with a write cannot be told of either. */
START_TEST(write_that_would_fail_is_refused)
{
    int fd = t_memory_file(SIZE);

    for (int i = 0; i < 3; i++) {
        prepare(i == 0 ? t_reopen(fd, O_RDONLY) : i == 1 ? -1 : fd, new);
        if (i == 2)
            cb.aio_offset = -1;
        assert_write_is_refused();
        assert_entry_is_refused();
    }
    assert_unwritten(fd);
}
END_TEST

static atomic_bool ending;

static void last_long(sigval_t value)
{
    count(value);
    t_until(atomic_load(&ending));
}

/* The thread for calls is there, in a function, and the one that would add another to it has ended. */
START_TEST(write_behind_a_function_that_lasts_is_not_done)
{
    int fd = t_memory_file(SIZE), other = t_memory_file(SIZE);

    atomic_store(&refusing, false);
    prepare(other, buf);
    cb.aio_sigevent.sigev_notify_function = last_long;
    ck_assert_int_eq(aio_read(&cb), 0);
    t_until(atomic_load(&called) == 1);
    atomic_store(&called, 0);
    t_until(t_threads() == 2);
    atomic_store(&refusing, true);
    t_fill(new, SIZE, SIZE);
    prepare(fd, new);
    assert_write_is_refused();
    assert_unwritten(fd);
    assert_written_with_threads(fd);
    atomic_store(&ending, true);
}
END_TEST

START_TEST(read_that_is_refused_is_made_again)
{
    int fd = t_memory_file(SIZE);

    prepare(fd, buf);
    errno = 0;
    ck_assert_int_eq(aio_read(&cb), -1);
    ck_assert_int_eq(errno, EAGAIN);
    atomic_store(&refusing, false);
    ck_assert_int_eq(aio_read(&cb), 0);
    t_until(atomic_load(&called) == 1);
    t_assert_done(&cb, SIZE);
    t_assert_data(buf, SIZE, 0);
}
END_TEST

/* Nor does the library need a thread for what can be done in the caller. */
START_TEST(requests_in_the_caller_need_no_thread)
{
    int fd = t_memory_file(SIZE);

    t_fill(new, SIZE, SIZE);
    t_submit_write(&cb, fd, new, SIZE, 0);
    t_assert_done(&cb, SIZE);
    t_submit_read(&cb, fd, buf, SIZE, 0);
    t_assert_done(&cb, SIZE);
    t_assert_data(buf, SIZE, SIZE);
}
END_TEST

/* The kernel engine's, which it cannot do when it comes to it. */
START_TEST(what_the_kernel_gives_back_is_carried_out)
{
    int file = t_cold_file(SOME * SIZE), fd = t_reopen(file, O_RDWR | O_DIRECT);
    unsigned char *aligned = t_aligned(SOME * SIZE);
    struct aiocb *cbs = t_control_blocks(SOME);

    if (fd < 0)
        return;
    atomic_store(&refusing, false);
    t_submit_read(&cb, fd, aligned, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_until(t_threads() == 2);
    atomic_store(&refusing, true);
    t_forbid(SYS_io_submit, ENOMEM);
    for (int i = 0; i < SOME; i++) {
        unsigned char *place = aligned + i * SIZE;

        t_fill(place, SIZE, SIZE);
        if (i % 2)
            t_submit_write(&cbs[i], fd, place, SIZE, i * SIZE);
        else
            t_submit_read(&cbs[i], fd, place, SIZE, i * SIZE);
    }
    for (int i = 0; i < SOME; i++) {
        t_wait_done(&cbs[i], SIZE);
        ck_assert_int_eq(pread(file, buf, SIZE, i * SIZE), SIZE);
        t_assert_data(buf, SIZE, i % 2 ? SIZE : i * SIZE);
        t_assert_data(aligned + i * SIZE, SIZE, i % 2 ? SIZE : i * SIZE);
    }
    ck_assert_uint_eq(t_threads(), 2);
    free(cbs);
    free(aligned);
}
END_TEST

/* The thread that was there for it when it was accepted has ended meanwhile. */
START_TEST(sync_that_has_waited_long_is_carried_out)
{
    struct aiocb held;
    int fd = t_slow_file(0, SIZE, O_RDWR);

    atomic_store(&refusing, false);
    slowfs_hold(SLOWFS_WRITE, 1);
    t_submit_write(&held, fd, buf, SIZE, 0);
    t_until(slowfs_held(SLOWFS_WRITE) == 1);
    t_submit_sync(&cb, fd, O_SYNC);
    t_until(t_threads() == 3); /* and that which is held */
    atomic_store(&refusing, true);
    slowfs_release(SLOWFS_WRITE, 1);
    t_wait_done(&held, SIZE);
    t_wait_done(&cb, 0);
}
END_TEST

static void add_given_back(TCase *tcase)
{
    tcase_add_test(tcase, what_the_kernel_gives_back_is_carried_out);
}

static void add_slow(TCase *tcase)
{
    tcase_add_test(tcase, sync_that_has_waited_long_is_carried_out);
}

static void add(TCase *tcase)
{
    tcase_add_test(tcase, write_that_is_refused_is_not_done);
    tcase_add_test(tcase, write_of_a_list_that_is_refused_is_not_done);
    tcase_add_test(tcase, write_that_would_fail_is_refused);
    tcase_add_test(tcase, write_behind_a_function_that_lasts_is_not_done);
    tcase_add_test(tcase, read_that_is_refused_is_made_again);
    tcase_add_test(tcase, requests_in_the_caller_need_no_thread);
}

int main(void)
{
    static const struct t_part parts[] = {
        { .name = "no thread left", .add = add, .need = T_NO_SANITIZER },
        { .name = "accepted for the kernel", .add = add_given_back, .need = T_NO_SANITIZER | T_KERNEL | T_LOCAL },
        { .name = "accepted for slow files", .add = add_slow, .need = T_NO_SANITIZER | T_SLOWFS },
        { .name = NULL },
    };

    return t_main("threadless", parts);
}
