/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A system that has no thread left: what needs one is refused, and then has not been done.
 */
#include "t.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>

enum { SIZE = 4096 };

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
        { .name = NULL },
    };

    return t_main("threadless", parts);
}
