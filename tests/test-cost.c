/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What requests cost: no memory that grows with their number, no time that grows with how many are
 * outstanding.
 */
#include "t.h"

#include <stdlib.h>

enum { SIZE = 1 << 20, OUTSTANDING = 100000, PIPES = 100 };

static struct aiocb cb;
static unsigned char buf[SIZE];

static void make_requests(int cached, int direct, struct t_pair p, unsigned char *aligned)
{
    struct aiocb list[20];

    for (int i = 0; i < 10; i++) {
        t_submit_read(&list[i], direct, aligned + i * 4096, 4096, i * 4096);
        t_submit_read(&list[10 + i], cached, buf + i * 100, 100, i * 100);
    }
    for (size_t i = 0; i < T_COUNT(list); i++)
        t_wait_done(&list[i], i < 10 ? 4096 : 100);
    t_submit_write(&cb, cached, buf, 100, 0);
    t_wait_done(&cb, 100);
    t_submit_read(&cb, p.in, buf, 10, 0);
    t_put(p.out, 0, 10);
    t_wait_done(&cb, 10);
    t_submit_read(&cb, p.in, buf, 10, 0);
    ck_assert_int_eq(aio_cancel(p.in, &cb), AIO_CANCELED);
}

START_TEST(nothing_grows_with_the_number_of_requests_made)
{
    int cached = t_cached_file(SIZE), direct = t_reopen(cached, O_RDONLY | O_DIRECT);
    unsigned char *aligned = t_aligned(SIZE);
    struct t_pair p = t_pipe();
    size_t rounds = t_scale(5000), before;

    for (size_t i = 0; i < rounds / 4; i++)
        make_requests(cached, direct, p, aligned);
    before = t_memory_in_use();
    for (size_t i = 0; i < rounds; i++)
        make_requests(cached, direct, p, aligned);
    if (!t_watched())
        ck_assert_uint_le(t_memory_in_use(), before + 256 * 1024);
    free(aligned);
}
END_TEST

START_TEST(nothing_grows_with_the_number_of_descriptors_used)
{
    unsigned char *aligned = t_aligned(4096);
    size_t rounds = t_scale(3000), before = 0;

    for (size_t i = 0; i < rounds; i++) {
        int file = t_empty_file(), direct = t_reopen(file, O_RDWR | O_DIRECT | O_APPEND);
        struct t_pair p = t_pipe();

        t_submit_write(&cb, direct, aligned, 4096, 0);
        t_wait_done(&cb, 4096);
        t_submit_read(&cb, p.in, buf, 1, 0);
        close(p.in);
        t_wait_failed(&cb, ECANCELED);
        close(p.out);
        close(file);
        close(direct);
        if (i == rounds / 4)
            before = t_memory_in_use();
    }
    if (!t_watched())
        ck_assert_uint_le(t_memory_in_use(), before + 256 * 1024);
    free(aligned);
}
END_TEST

/* Seconds for so many requests one after another. */
static double time_of(size_t count, int cached, struct t_pair p)
{
    double begin = t_now();

    for (size_t i = 0; i < count; i++) {
        t_submit_read(&cb, cached, buf, 100, 0);
        t_wait_done(&cb, 100);
        t_submit_read(&cb, p.in, buf, 1, 0);
        t_put(p.out, 0, 1);
        t_wait_done(&cb, 1);
        t_submit_read(&cb, p.in, buf, 1, 0);
        ck_assert_int_eq(aio_cancel(p.in, &cb), AIO_CANCELED);
    }
    return t_now() - begin;
}

START_TEST(cost_does_not_grow_with_the_number_outstanding)
{
    size_t count = t_scale(OUTSTANDING), rounds = t_scale(2000);
    struct aiocb *cbs = t_control_blocks(count);
    struct t_pair p = t_pipe(), pipes[PIPES];
    int cached = t_cached_file(SIZE);
    double alone = 1e9, among = 1e9, time;

    for (int i = 0; i < 3; i++) {
        time = time_of(rounds, cached, p);
        alone = time < alone ? time : alone;
    }
    for (size_t i = 0; i < PIPES; i++)
        pipes[i] = t_pipe();
    for (size_t i = 0; i < count; i++)
        t_submit_read(&cbs[i], pipes[i % PIPES].in, buf + 1, 1, 0);
    for (int i = 0; i < 3; i++) {
        time = time_of(rounds, cached, p);
        among = time < among ? time : among;
    }
    ck_assert_msg(among < 5 * alone + 0.05, "%zu rounds: %g s alone, %g s among %zu", rounds, alone,
                  among, count);
    for (size_t i = 0; i < PIPES; i++)
        ck_assert_int_eq(aio_cancel(pipes[i].in, NULL), AIO_CANCELED);
    free(cbs);
}
END_TEST

static void add_cost(TCase *tests)
{
    tcase_add_test(tests, nothing_grows_with_the_number_of_requests_made);
    tcase_add_test(tests, nothing_grows_with_the_number_of_descriptors_used);
    tcase_add_test(tests, cost_does_not_grow_with_the_number_outstanding);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "cost", .add = add_cost },
        { .name = NULL },
    };

    return t_main("cost", parts);
}
