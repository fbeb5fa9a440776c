/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The limit of file sizes, where the library remembers it: for writes of a thread that waits at once, and those that it
 * gives to the kernel.
 */
#include "t-habit.h"
#include "t-syscall.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ulimit.h>

enum { BLOCK = T_BLOCK, SIZE = T_HABIT_SIZE, DEPTH = 8 };

static const struct rlimit limit = { SIZE, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
static struct aiocb cb;
static unsigned char buf[BLOCK];

static int to_write(void)
{
    return t_reopen(t_cached_file(SIZE), O_RDWR);
}

/* The prepared write fails by the limit. No assertions while that is there: Check writes a file of its own. */
static void assert_too_large(void)
{
    aio_write(&cb);
    while (aio_error(&cb) == EINPROGRESS)
        ;
    setrlimit(RLIMIT_FSIZE, &none);
    t_assert_failed(&cb, EFBIG);
}

START_TEST(size_limit_is_seen_at_once)
{
    int fd = to_write();

    for (int way = 0; way < 5; way++) {
        t_be_granted(fd);
        t_prepare(&cb, fd, buf, BLOCK, SIZE);
        switch (way) {
        case 0: setrlimit(RLIMIT_FSIZE, &limit); break;
        case 1: setrlimit64(RLIMIT_FSIZE, (const struct rlimit64 *) &limit); break;
        case 2: prlimit(0, RLIMIT_FSIZE, &limit, NULL); break;
        case 3: prlimit64(getpid(), RLIMIT_FSIZE, (const struct rlimit64 *) &limit, NULL); break;
        case 4: ulimit(UL_SETFSIZE, (long) SIZE / 512);
        }
        assert_too_large();
    }
}
END_TEST

/* By a call that no library sees. */
START_TEST(size_limit_is_seen_within_a_tick)
{
    int fds[2] = { to_write(), -1 };
    unsigned char *aligned = t_aligned(BLOCK);

    fds[1] = t_reopen(fds[0], O_RDWR | O_DIRECT);
    for (size_t i = 0; i < T_COUNT(fds); i++) {
        t_be_granted(fds[0]);
        t_submit_write(&cb, fds[1], aligned, BLOCK, 0);
        t_wait_done(&cb, BLOCK);
        t_prepare(&cb, fds[i], aligned, BLOCK, SIZE);
        syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, &limit, NULL);
        for (int moments = 0; moments < 10; moments++)
            t_moment();
        assert_too_large();
    }
    free(aligned);
}
END_TEST

#ifdef SYS_getrlimit

static atomic_uint asked;

static void count_limits(long number, bool over)
{
    if (number == SYS_getrlimit && over)
        atomic_fetch_add(&asked, 1);
}

/* The answer is good for several writes on any machine that makes them fast. */
START_TEST(size_limit_is_not_asked_for_each_time)
{
    int fd = to_write();
    double end = t_now() + t_patience();
    uint64_t granted;

    t_watch_syscalls(count_limits);
    do {
        t_be_granted(fd);
        ck_assert_uint_gt(atomic_load(&asked), 0);
        granted = t_stat("write.inline");
        atomic_store(&asked, 0);
        for (int i = 0; i < DEPTH; i++)
            t_write_at_once(&cb, fd, buf, 0);
        granted = t_stat("write.inline") - granted;
        ck_assert_msg(t_now() < end, "it is asked for each time");
    } while (granted < DEPTH || atomic_load(&asked) > DEPTH / 2);
}
END_TEST

#endif

START_TEST(limits_are_set_and_told_as_ever)
{
    struct rlimit small = limit, old, now;

    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert_int_eq(prlimit(0, RLIMIT_CORE, NULL, &now), 0);
    ck_assert_int_eq(setrlimit((__rlimit_resource_t) 1000, &small), -1);
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_int_eq(prlimit(-1, RLIMIT_CORE, &small, NULL), -1);
    ck_assert_int_eq(errno, ESRCH);
    small.rlim_cur = 1 << 30;
    ck_assert_int_eq(prlimit(0, RLIMIT_FSIZE, &small, &now), 0);
    ck_assert_uint_eq(now.rlim_cur, old.rlim_cur);
    ck_assert_int_eq(ulimit(UL_GETFSIZE), (1 << 30) / 512);
    ck_assert_int_eq(ulimit(UL_SETFSIZE, 1L << 20), 1L << 20);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &now), 0);
    ck_assert_uint_eq(now.rlim_cur, 1 << 29);
}
END_TEST

START_TEST(append_beyond_the_size_limit_raises_no_signal)
{
    int fd = to_write();

    t_be_granted(fd);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_APPEND), 0);
    t_prepare(&cb, fd, buf, BLOCK, 0);
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_too_large();
}
END_TEST

static void add_limits(TCase *tests)
{
    tcase_add_test(tests, size_limit_is_seen_at_once);
    tcase_add_test(tests, size_limit_is_seen_within_a_tick);
#ifdef SYS_getrlimit
    tcase_add_test(tests, size_limit_is_not_asked_for_each_time);
#endif
    tcase_add_test(tests, limits_are_set_and_told_as_ever);
    tcase_add_test(tests, append_beyond_the_size_limit_raises_no_signal);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "limit of file sizes",
            .add = add_limits,
            .need = T_EXT4 | T_PROMPT | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("filesize", parts);
}
