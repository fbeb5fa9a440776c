/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lio_listio, both modes.
 */
#include "t.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/time.h>

enum { SIZE = 1 << 20, MANY = 100, PIECE = 1000 };

static struct aiocb cbs[MANY], *list[MANY];
static unsigned char buf[SIZE];

/* Makes list entry i a request of its own piece of buf. */
static void prepare_entry(int i, int opcode, int fd)
{
    t_prepare(&cbs[i], fd, buf + i * PIECE, PIECE, i * PIECE);
    cbs[i].aio_lio_opcode = opcode;
    list[i] = &cbs[i];
}

static void prepare_reads(int fd, int count)
{
    for (int i = 0; i < count; i++)
        prepare_entry(i, LIO_READ, fd);
}

static void assert_reads_done(int count)
{
    for (int i = 0; i < count; i++)
        t_assert_done(&cbs[i], PIECE);
    t_assert_data(buf, (size_t) count * PIECE, 0);
}

static struct sigevent signal_for(int value)
{
    return (struct sigevent){
        .sigev_notify = SIGEV_SIGNAL,
        .sigev_signo = SIGRTMIN,
        .sigev_value.sival_int = value,
    };
}

static void assert_wait_fails(int count, int error)
{
    errno = 0;
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, count, NULL), -1);
    ck_assert_int_eq(errno, error);
}

START_TEST(bad_mode_is_einval)
{
    prepare_reads(t_cached_file(SIZE), 1);
    errno = 0;
    ck_assert_int_eq(lio_listio(LIO_WAIT + LIO_NOWAIT + 5, list, 1, NULL), -1);
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_int_eq(aio_error(&cbs[0]), 0);
}
END_TEST

START_TEST(negative_count_is_einval)
{
    assert_wait_fails(-1, EINVAL);
    errno = 0;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, -1, NULL), -1);
    ck_assert_int_eq(errno, EINVAL);
}
END_TEST

START_TEST(wait_returns_when_all_are_done)
{
    prepare_reads(t_cold_file(SIZE), MANY);
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, NULL), 0);
    assert_reads_done(MANY);
}
END_TEST

START_TEST(reads_and_writes_go_in_one_list)
{
    int from = t_cached_file(SIZE), to = t_empty_file();

    t_fill(buf, SIZE, 0);
    for (int i = 0; i < MANY; i++)
        prepare_entry(i, i % 2 ? LIO_READ : LIO_WRITE, i % 2 ? from : to);
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, NULL), 0);
    for (int i = 0; i < MANY; i++)
        t_assert_done(&cbs[i], PIECE);
    t_assert_data(buf, MANY * PIECE, 0);
    for (int i = 0; i < MANY; i += 2) {
        ck_assert_int_eq(pread(to, buf, PIECE, i * PIECE), PIECE);
        t_assert_data(buf, PIECE, i * PIECE);
    }
}
END_TEST

START_TEST(direct_reads_go_in_one_list)
{
    int fd = t_reopen(t_cached_file(SIZE), O_RDONLY | O_DIRECT);
    unsigned char *aligned = t_aligned(SIZE);

    for (int i = 0; i < MANY; i++) {
        t_prepare(&cbs[i], fd, aligned + i * 8192, 8192, i * 8192);
        cbs[i].aio_lio_opcode = LIO_READ;
        list[i] = &cbs[i];
    }
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, NULL), 0);
    for (int i = 0; i < MANY; i++)
        t_assert_done(&cbs[i], 8192);
    t_assert_data(aligned, MANY * 8192, 0);
}
END_TEST

START_TEST(null_and_nop_entries_are_ignored)
{
    prepare_reads(t_cached_file(SIZE), 5);
    list[1] = NULL;
    prepare_entry(3, LIO_NOP, -1);
    cbs[3].aio_reqprio = -7;
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, 5, NULL), 0);
    t_assert_done(&cbs[0], PIECE);
    t_assert_done(&cbs[2], PIECE);
    t_assert_done(&cbs[4], PIECE);
    ck_assert_int_eq(aio_error(&cbs[3]), 0);
}
END_TEST

START_TEST(empty_list_is_0_at_once)
{
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, 0, NULL), 0);
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, NULL), 0);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 0, NULL), 0);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, MANY, NULL), 0);
}
END_TEST

START_TEST(bad_opcode_is_einval_on_its_control_block)
{
    prepare_reads(t_cached_file(SIZE), 3);
    cbs[1].aio_lio_opcode = 77;
    assert_wait_fails(3, EIO);
    t_assert_failed(&cbs[1], EINVAL);
    t_assert_done(&cbs[0], PIECE);
    t_assert_done(&cbs[2], PIECE);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 3, NULL), 0);
    t_wait_failed(&cbs[1], EINVAL);
    t_wait_done(&cbs[0], PIECE);
    t_wait_done(&cbs[2], PIECE);
}
END_TEST

START_TEST(failed_entry_is_eio_from_wait)
{
    prepare_reads(t_cached_file(SIZE), 3);
    cbs[1].aio_fildes = -1;
    assert_wait_fails(3, EIO);
    t_assert_failed(&cbs[1], EBADF);
    t_assert_done(&cbs[0], PIECE);
    t_assert_done(&cbs[2], PIECE);
}
END_TEST

START_TEST(failed_entry_is_0_from_nowait)
{
    prepare_reads(t_cached_file(SIZE), 3);
    cbs[1].aio_fildes = -1;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 3, NULL), 0);
    t_wait_failed(&cbs[1], EBADF);
    t_wait_done(&cbs[0], PIECE);
    t_wait_done(&cbs[2], PIECE);
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

    prepare_reads(t_cached_file(SIZE), 2);
    cbs[1].aio_fildes = t_pipe().in;
    ck_assert_int_eq(pthread_create(&thread, NULL, cancel_soon, &cbs[1]), 0);
    assert_wait_fails(2, EIO);
    ck_assert_int_eq(pthread_join(thread, &answer), 0);
    ck_assert_int_eq((intptr_t) answer, AIO_CANCELED);
    t_assert_failed(&cbs[1], ECANCELED);
    t_assert_done(&cbs[0], PIECE);
}
END_TEST

START_TEST(wait_ignores_the_sigevent)
{
    struct sigevent event = signal_for(1);

    t_block(SIGRTMIN);
    prepare_reads(t_cold_file(SIZE), MANY);
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, &event), 0);
    for (int i = 0; i < 20; i++)
        t_moment();
    t_assert_no_signal(SIGRTMIN);
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
        prepare_entry(i, LIO_READ, p.in);
    setitimer(ITIMER_REAL, &soon, NULL);
    assert_wait_fails(3, EINTR);
    setitimer(ITIMER_REAL, &never, NULL);
    for (int i = 0; i < 3; i++) {
        t_assert_in_progress(&cbs[i]);
        t_put(p.out, i * PIECE, PIECE);
        t_wait_done(&cbs[i], PIECE);
    }
    assert_reads_done(3);
}
END_TEST

/* LIO_NOWAIT. */

START_TEST(nowait_returns_at_once_and_notifies_when_all_are_done)
{
    struct sigevent event = signal_for(7);
    struct t_pair p = t_pipe();
    siginfo_t info;

    t_block(SIGRTMIN);
    prepare_reads(t_cached_file(SIZE), 3);
    cbs[1].aio_fildes = p.in;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 3, &event), 0);
    t_wait_done(&cbs[0], PIECE);
    t_wait_done(&cbs[2], PIECE);
    t_assert_no_signal(SIGRTMIN);
    t_put(p.out, PIECE, PIECE);
    info = t_accept_signal(SIGRTMIN);
    assert_reads_done(3);
    ck_assert_int_eq(info.si_code, SI_ASYNCIO);
    ck_assert_int_eq(info.si_value.sival_int, 7);
    for (int i = 0; i < 20; i++)
        t_moment();
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

START_TEST(nowait_notifies_for_an_empty_list)
{
    struct sigevent event = signal_for(8);

    t_block(SIGRTMIN);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 0, &event), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 8);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, MANY, &event), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 8);
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

START_TEST(nowait_notifies_when_every_entry_fails)
{
    struct sigevent event = signal_for(9);

    t_block(SIGRTMIN);
    prepare_reads(-1, 3);
    cbs[2].aio_lio_opcode = 77;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 3, &event), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 9);
    t_assert_failed(&cbs[0], EBADF);
    t_assert_failed(&cbs[2], EINVAL);
}
END_TEST

START_TEST(nowait_notifies_after_cancellation)
{
    struct sigevent event = signal_for(10);
    struct t_pair p = t_pipe();

    t_block(SIGRTMIN);
    prepare_reads(p.in, 3);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 3, &event), 0);
    ck_assert_int_eq(aio_cancel(p.in, NULL), AIO_CANCELED);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 10);
    for (int i = 0; i < 3; i++)
        t_assert_failed(&cbs[i], ECANCELED);
}
END_TEST

START_TEST(nowait_works_without_a_sigevent)
{
    prepare_reads(t_cold_file(SIZE), MANY);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, MANY, NULL), 0);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], PIECE);
    assert_reads_done(MANY);
}
END_TEST

/* The list and the sigevent are the caller's again when the call returns. */
START_TEST(nowait_copies_the_list_and_the_sigevent)
{
    struct sigevent event = signal_for(11);
    struct t_pair p = t_pipe();

    t_block(SIGRTMIN);
    for (int i = 0; i < 3; i++)
        prepare_entry(i, LIO_READ, p.in);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 3, &event), 0);
    memset(list, 0x55, sizeof(list));
    memset(&event, 0x55, sizeof(event));
    t_put(p.out, 0, 3 * PIECE);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 11);
    assert_reads_done(3);
}
END_TEST

START_TEST(entries_notify_before_their_list)
{
    struct sigevent event = signal_for(MANY);

    t_block(SIGRTMIN);
    for (int round = 0; round < 20; round++) {
        int seen = 0;

        prepare_reads(t_cold_file(SIZE), MANY);
        for (int i = 0; i < MANY; i++)
            cbs[i].aio_sigevent = signal_for(i);
        ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, MANY, &event), 0);
        while (t_accept_signal(SIGRTMIN).si_value.sival_int != MANY)
            seen++;
        ck_assert_int_eq(seen, MANY);
        assert_reads_done(MANY);
        close(cbs[0].aio_fildes);
    }
}
END_TEST

START_TEST(entries_of_wait_notify_too)
{
    t_block(SIGRTMIN);
    prepare_reads(t_cold_file(SIZE), MANY);
    for (int i = 0; i < MANY; i++)
        cbs[i].aio_sigevent = signal_for(i);
    ck_assert_int_eq(lio_listio(LIO_WAIT, list, MANY, NULL), 0);
    for (int i = 0; i < MANY; i++)
        t_accept_signal(SIGRTMIN);
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

static volatile sig_atomic_t in_list, told, too_early;

/* As many programs do: told of one, it looks at all, and takes what is done. One not submitted is not in progress either. */
static void look_at_all(int signal_number, siginfo_t *info, void *context)
{
    (void) signal_number;
    (void) info;
    (void) context;
    told++;
    for (int i = 0; in_list && i < MANY; i++)
        if (aio_error(&cbs[i]) != EINPROGRESS && aio_return(&cbs[i]) != PIECE)
            too_early++;
}

START_TEST(handlers_find_all_entries_submitted)
{
    static const int modes[] = { LIO_WAIT, LIO_NOWAIT };
    int fd = t_cached_file(SIZE);

    t_handle(SIGRTMIN, look_at_all, SA_RESTART);
    for (int round = 0; round < 20; round++) {
        told = 0;
        prepare_reads(fd, MANY);
        for (int i = 0; i < MANY; i++)
            cbs[i].aio_sigevent = signal_for(i);
        in_list = 1;
        ck_assert_int_eq(lio_listio(modes[round % 2], list, MANY, NULL), 0);
        in_list = 0;
        t_until(told);
        ck_assert_int_eq(too_early, 0);
        assert_reads_done(MANY);
    }
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
    tcase_add_test(tests, failed_entry_is_eio_from_wait);
    tcase_add_test(tests, failed_entry_is_0_from_nowait);
    tcase_add_test(tests, canceled_entry_is_eio_from_wait);
    tcase_add_test(tests, wait_ignores_the_sigevent);
    tcase_add_test(tests, entries_of_wait_notify_too);
    tcase_add_test(tests, handlers_find_all_entries_submitted);
}

static void add_nowait(TCase *tests)
{
    tcase_add_test(tests, nowait_returns_at_once_and_notifies_when_all_are_done);
    tcase_add_test(tests, nowait_notifies_for_an_empty_list);
    tcase_add_test(tests, nowait_notifies_when_every_entry_fails);
    tcase_add_test(tests, nowait_notifies_after_cancellation);
    tcase_add_test(tests, nowait_works_without_a_sigevent);
    tcase_add_test(tests, nowait_copies_the_list_and_the_sigevent);
    tcase_add_test(tests, entries_notify_before_their_list);
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
