/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lio_listio, both modes: what becomes of the entries, and what the call answers. test-told.c has the notifications.
 */
#include "t-list.h"

#include <pthread.h>
#include <sys/time.h>

static void assert_wait_fails(int count, int error)
{
    errno = 0;
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, count, NULL), -1);
    ck_assert_int_eq(errno, error);
}

START_TEST(bad_mode_is_einval)
{
    t_prepare_reads(t_cached_file(T_LIST_SIZE), 1);
    errno = 0;
    ck_assert_int_eq(lio_listio(LIO_WAIT + LIO_NOWAIT + 5, t_list, 1, NULL), -1);
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_int_eq(aio_error(&t_cbs[0]), 0);
}
END_TEST

START_TEST(negative_count_is_einval)
{
    assert_wait_fails(-1, EINVAL);
    errno = 0;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, -1, NULL), -1);
    ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(wait_returns_when_all_are_done)
{
    t_prepare_reads(t_cold_file(T_LIST_SIZE), T_ENTRIES);
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, T_ENTRIES, NULL), 0);
    t_assert_reads_done(T_ENTRIES);
}
END_TEST

START_TEST(reads_and_writes_go_in_one_list)
{
    int from = t_cached_file(T_LIST_SIZE), to = t_empty_file();

    t_fill(t_pieces, T_LIST_SIZE, 0);
    for (int i = 0; i < T_ENTRIES; i++)
        t_prepare_entry(i, i % 2 ? LIO_READ : LIO_WRITE, i % 2 ? from : to);
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, T_ENTRIES, NULL), 0);
    for (int i = 0; i < T_ENTRIES; i++)
        t_assert_done(&t_cbs[i], T_PIECE);
    t_assert_data(t_pieces, T_ENTRIES * T_PIECE, 0);
    for (int i = 0; i < T_ENTRIES; i += 2) {
        ck_assert_int_eq(pread(to, t_pieces, T_PIECE, i * T_PIECE), T_PIECE);
        t_assert_data(t_pieces, T_PIECE, i * T_PIECE);
    }
}
END_TEST

START_TEST(direct_reads_go_in_one_list)
{
    int fd = t_reopen(t_cached_file(T_LIST_SIZE), O_RDONLY | O_DIRECT);
    unsigned char *aligned = t_aligned(T_LIST_SIZE);

    for (int i = 0; i < T_ENTRIES; i++) {
        t_prepare(&t_cbs[i], fd, aligned + i * 8192, 8192, i * 8192);
        t_cbs[i].aio_lio_opcode = LIO_READ;
        t_list[i] = &t_cbs[i];
    }
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, T_ENTRIES, NULL), 0);
    for (int i = 0; i < T_ENTRIES; i++)
        t_assert_done(&t_cbs[i], 8192);
    t_assert_data(aligned, T_ENTRIES * 8192, 0);
}
END_TEST

START_TEST(null_and_nop_entries_are_ignored)
{
    t_prepare_reads(t_cached_file(T_LIST_SIZE), 5);
    t_list[1] = NULL;
    t_prepare_entry(3, LIO_NOP, -1);
    t_cbs[3].aio_reqprio = -7;
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, 5, NULL), 0);
    t_assert_done(&t_cbs[0], T_PIECE);
    t_assert_done(&t_cbs[2], T_PIECE);
    t_assert_done(&t_cbs[4], T_PIECE);
    ck_assert_int_eq(aio_error(&t_cbs[3]), 0);
}
END_TEST

START_TEST(empty_list_is_0_at_once)
{
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, 0, NULL), 0);
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, T_ENTRIES, NULL), 0);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 0, NULL), 0);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, T_ENTRIES, NULL), 0);
}
END_TEST

START_TEST(bad_opcode_leaves_a_request_in_flight_alone)
{
    struct aiocb *list[] = { &t_cbs[0] };
    int out = t_start_pending(&t_cbs[0]);

    t_cbs[0].aio_lio_opcode = 77;
    lio_listio(LIO_NOWAIT, list, 1, NULL);
    t_assert_in_progress(&t_cbs[0]);
    t_finish_pending(out, &t_cbs[0]);
}
END_TEST

START_TEST(bad_opcode_is_einval_on_its_control_block)
{
    t_prepare_reads(t_cached_file(T_LIST_SIZE), 3);
    t_cbs[1].aio_lio_opcode = 77;
    assert_wait_fails(3, EIO);
    t_assert_failed(&t_cbs[1], EINVAL);
    t_assert_done(&t_cbs[0], T_PIECE);
    t_assert_done(&t_cbs[2], T_PIECE);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 3, NULL), 0);
    t_wait_failed(&t_cbs[1], EINVAL);
    t_wait_done(&t_cbs[0], T_PIECE);
    t_wait_done(&t_cbs[2], T_PIECE);
}
END_TEST

START_TEST(failed_entry_is_eio_from_wait)
{
    t_prepare_reads(t_cached_file(T_LIST_SIZE), 3);
    t_cbs[1].aio_fildes = -1;
    assert_wait_fails(3, EIO);
    t_assert_failed(&t_cbs[1], EBADF);
    t_assert_done(&t_cbs[0], T_PIECE);
    t_assert_done(&t_cbs[2], T_PIECE);
}
END_TEST

START_TEST(failed_entry_is_0_from_nowait)
{
    t_prepare_reads(t_cached_file(T_LIST_SIZE), 3);
    t_cbs[1].aio_fildes = -1;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 3, NULL), 0);
    t_wait_failed(&t_cbs[1], EBADF);
    t_wait_done(&t_cbs[0], T_PIECE);
    t_wait_done(&t_cbs[2], T_PIECE);
}
END_TEST

static void *cancel_soon(void *argument)
{
    struct aiocb *one = argument;

    while (aio_error(one) != EINPROGRESS)
        t_moment();
    return (void *) (intptr_t) aio_cancel(one->aio_fildes, one);
}

START_TEST(canceled_entry_is_eio_from_wait)
{
    pthread_t thread;
    void *answer;

    t_prepare_reads(t_cached_file(T_LIST_SIZE), 2);
    t_cbs[1].aio_fildes = t_pipe().in;
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, &t_cbs[1]), 0);
    assert_wait_fails(2, EIO);
    ck_assert_int_eq(pthread_join(thread, &answer), 0);
    ck_assert_int_eq((intptr_t) answer, AIO_CANCELED);
    t_assert_failed(&t_cbs[1], ECANCELED);
    t_assert_done(&t_cbs[0], T_PIECE);
}
END_TEST

static void ignore_signal(int number, siginfo_t *info, void *context)
{
    (void) number, (void) info, (void) context;
}

START_TEST(signal_during_wait_is_eintr_and_the_requests_go_on)
{
    const struct itimerval soon = {
        .it_value = { .tv_usec = 20000 },
        .it_interval = { .tv_usec = 20000 },
    };
    const struct itimerval never = { .it_value = { 0 } };
    struct t_pair p = t_pipe();

    t_handle(SIGALRM, ignore_signal, 0);
    for (int i = 0; i < 3; i++)
        t_prepare_entry(i, LIO_READ, p.in);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_wait_fails(3, EINTR);
    setitimer(ITIMER_REAL, &never, NULL);
    for (int i = 0; i < 3; i++) {
        t_assert_in_progress(&t_cbs[i]);
        t_put(p.out, i * T_PIECE, T_PIECE);
        t_wait_done(&t_cbs[i], T_PIECE);
    }
    t_assert_reads_done(3);
}
END_TEST

START_TEST(nowait_works_without_a_sigevent)
{
    t_prepare_reads(t_cold_file(T_LIST_SIZE), T_ENTRIES);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, T_ENTRIES, NULL), 0);
    for (int i = 0; i < T_ENTRIES; i++)
        t_wait_done(&t_cbs[i], T_PIECE);
    t_assert_reads_done(T_ENTRIES);
}
END_TEST

static void add_wait(TCase *tests)
{
    tcase_add_test(tests, bad_mode_is_einval);
    tcase_add_test(tests, negative_count_is_einval);
    tcase_add_test(tests, wait_returns_when_all_are_done);
    tcase_add_test(tests, reads_and_writes_go_in_one_list);
    tcase_add_test(tests, direct_reads_go_in_one_list);
    tcase_add_test(tests, null_and_nop_entries_are_ignored);
    tcase_add_test(tests, empty_list_is_0_at_once);
    tcase_add_test(tests, bad_opcode_is_einval_on_its_control_block);
    tcase_add_test(tests, bad_opcode_leaves_a_request_in_flight_alone);
    tcase_add_test(tests, failed_entry_is_eio_from_wait);
    tcase_add_test(tests, failed_entry_is_0_from_nowait);
    tcase_add_test(tests, canceled_entry_is_eio_from_wait);
}

static void add_nowait(TCase *tests)
{
    tcase_add_test(tests, nowait_works_without_a_sigevent);
}

static void add_signals(TCase *tests)
{
    tcase_add_test(tests, signal_during_wait_is_eintr_and_the_requests_go_on);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "LIO_WAIT", .add = add_wait },
        { .name = "LIO_NOWAIT", .add = add_nowait },
        { .name = "signals", .add = add_signals, .need = T_HANDLERS },
        { .name = NULL },
    };

    return t_main("listio", parts);
}
