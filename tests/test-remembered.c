/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the library remembers of a descriptor, for reads that it serves in the caller, while that changes where it does not
 * see it: soon it does.
 */
#include "t.h"
#include "t-syscall.h"

#include <stdlib.h>
#include <sys/syscall.h>

enum { BLOCK = 4096, SOME = 10 };

static void *buf;

/* How many of so many reads are served in the caller. */
static uint64_t served(int fd, int count)
{
    uint64_t before = t_stat("read.inline");
    struct aiocb cb;

    for (int i = 0; i < count; i++) {
        t_submit_read(&cb, fd, buf, BLOCK, 0);
        t_wait_done(&cb, BLOCK);
    }
    return t_stat("read.inline") - before;
}

static void make_buffer(void)
{
    buf = t_aligned(BLOCK);
}

static void free_buffer(void)
{
    free(buf);
}

START_TEST(a_file_becomes_direct)
{
    int fd = t_cached_file(BLOCK);

    ck_assert_uint_gt(served(fd, SOME), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_DIRECT), 0);
    t_until(served(fd, SOME) == 0);
}
END_TEST

START_TEST(a_file_becomes_buffered)
{
    int fd = t_reopen(t_cached_file(BLOCK), O_RDONLY | O_DIRECT);

    ck_assert_uint_eq(served(fd, SOME), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
    t_until(served(fd, SOME) > 0);
}
END_TEST

/* A file in memory is read without asking whether that would wait. */
START_TEST(the_number_becomes_another_files)
{
    int fd = t_memory_file(BLOCK), file = t_cached_file(BLOCK);

    ck_assert_uint_eq(served(fd, SOME), SOME);
    t_miss_the_page_cache(true);
    ck_assert_int_eq(syscall(SYS_dup3, file, fd, O_CLOEXEC), fd);
    t_until(served(fd, SOME) == 0);
}
END_TEST

static void add_remembered(TCase *tests)
{
    tcase_add_checked_fixture(tests, make_buffer, free_buffer);
    tcase_add_test(tests, a_file_becomes_direct);
    tcase_add_test(tests, a_file_becomes_buffered);
    tcase_add_test(tests, the_number_becomes_another_files);
}

int main(void)
{
    const struct t_part parts[] = {
        {
            .name = "what is remembered of descriptors",
            .add = add_remembered,
            .need = T_LOCAL | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("remembered", parts);
}
