/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lio_listio: who is told of a list and of its entries, when, and what is to be seen then.
 */
#include "t-list.h"

static struct sigevent signal_for(int value)
{
    return (struct sigevent){
        .sigev_notify = SIGEV_SIGNAL,
        .sigev_signo = SIGRTMIN,
        .sigev_value.sival_int = value,
    };
}

START_TEST(wait_ignores_the_sigevent)
{
    struct sigevent event = signal_for(1);

    t_block(SIGRTMIN);
    t_prepare_reads(t_cold_file(T_LIST_SIZE), T_ENTRIES);
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, T_ENTRIES, &event), 0);
    for (int i = 0; i < 20; i++)
        t_moment();
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

START_TEST(nowait_returns_at_once_and_notifies_when_all_are_done)
{
    struct sigevent event = signal_for(7);
    struct t_pair p = t_pipe();
    siginfo_t info;

    t_block(SIGRTMIN);
    t_prepare_reads(t_cached_file(T_LIST_SIZE), 3);
    t_cbs[1].aio_fildes = p.in;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 3, &event), 0);
    t_wait_done(&t_cbs[0], T_PIECE);
    t_wait_done(&t_cbs[2], T_PIECE);
    t_assert_no_signal(SIGRTMIN);
    t_put(p.out, T_PIECE, T_PIECE);
    info = t_accept_signal(SIGRTMIN);
    t_assert_reads_done(3);
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
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 0, &event), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 8);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, T_ENTRIES, &event), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 8);
    t_assert_no_signal(SIGRTMIN);
}
END_TEST

START_TEST(nowait_notifies_when_every_entry_fails)
{
    struct sigevent event = signal_for(9);

    t_block(SIGRTMIN);
    t_prepare_reads(-1, 3);
    t_cbs[2].aio_lio_opcode = 77;
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 3, &event), 0);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 9);
    t_assert_failed(&t_cbs[0], EBADF);
    t_assert_failed(&t_cbs[2], EINVAL);
}
END_TEST

START_TEST(nowait_notifies_after_cancellation)
{
    struct sigevent event = signal_for(10);
    struct t_pair p = t_pipe();

    t_block(SIGRTMIN);
    t_prepare_reads(p.in, 3);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 3, &event), 0);
    ck_assert_int_eq(aio_cancel(p.in, NULL), AIO_CANCELED);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 10);
    for (int i = 0; i < 3; i++)
        t_assert_failed(&t_cbs[i], ECANCELED);
}
END_TEST

/* The list and the sigevent are the caller's again when the call returns. */
START_TEST(nowait_copies_the_list_and_the_sigevent)
{
    struct sigevent event = signal_for(11);
    struct t_pair p = t_pipe();

    t_block(SIGRTMIN);
    for (int i = 0; i < 3; i++)
        t_prepare_entry(i, LIO_READ, p.in);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, 3, &event), 0);
    memset(t_list, 0x55, sizeof(t_list));
    memset(&event, 0x55, sizeof(event));
    t_put(p.out, 0, 3 * T_PIECE);
    ck_assert_int_eq(t_accept_signal(SIGRTMIN).si_value.sival_int, 11);
    t_assert_reads_done(3);
}
END_TEST

START_TEST(entries_notify_before_their_list)
{
    struct sigevent event = signal_for(T_ENTRIES);

    t_block(SIGRTMIN);
    for (int round = 0; round < 20; round++) {
        int seen = 0;

        t_prepare_reads(t_cold_file(T_LIST_SIZE), T_ENTRIES);
        for (int i = 0; i < T_ENTRIES; i++)
            t_cbs[i].aio_sigevent = signal_for(i);
        ck_assert_int_eq(lio_listio(LIO_NOWAIT, t_list, T_ENTRIES, &event), 0);
        while (t_accept_signal(SIGRTMIN).si_value.sival_int != T_ENTRIES)
            seen++;
        ck_assert_int_eq(seen, T_ENTRIES);
        t_assert_reads_done(T_ENTRIES);
        close(t_cbs[0].aio_fildes);
    }
}
END_TEST

START_TEST(entries_of_wait_notify_too)
{
    t_block(SIGRTMIN);
    t_prepare_reads(t_cold_file(T_LIST_SIZE), T_ENTRIES);
    for (int i = 0; i < T_ENTRIES; i++)
        t_cbs[i].aio_sigevent = signal_for(i);
    ck_assert_int_eq(lio_listio(LIO_WAIT, t_list, T_ENTRIES, NULL), 0);
    for (int i = 0; i < T_ENTRIES; i++)
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
    for (int i = 0; in_list && i < T_ENTRIES; i++)
        if (aio_error(&t_cbs[i]) != EINPROGRESS && aio_return(&t_cbs[i]) != T_PIECE)
            too_early++;
}

START_TEST(handlers_find_all_entries_submitted)
{
    static const int modes[] = { LIO_WAIT, LIO_NOWAIT };
    int fd = t_cached_file(T_LIST_SIZE);

    t_handle(SIGRTMIN, look_at_all, SA_RESTART);
    for (int round = 0; round < 20; round++) {
        told = 0;
        t_prepare_reads(fd, T_ENTRIES);
        for (int i = 0; i < T_ENTRIES; i++)
            t_cbs[i].aio_sigevent = signal_for(i);
        in_list = 1;
        ck_assert_int_eq(lio_listio(modes[round % 2], t_list, T_ENTRIES, NULL), 0);
        in_list = 0;
        t_until(told);
        ck_assert_int_eq(too_early, 0);
        t_assert_reads_done(T_ENTRIES);
    }
}
END_TEST

static void add_list(TCase *tests)
{
    tcase_add_test(tests, wait_ignores_the_sigevent);
    tcase_add_test(tests, nowait_returns_at_once_and_notifies_when_all_are_done);
    tcase_add_test(tests, nowait_notifies_for_an_empty_list);
    tcase_add_test(tests, nowait_notifies_when_every_entry_fails);
    tcase_add_test(tests, nowait_notifies_after_cancellation);
    tcase_add_test(tests, nowait_copies_the_list_and_the_sigevent);
}

static void add_entries(TCase *tests)
{
    tcase_add_test(tests, entries_notify_before_their_list);
    tcase_add_test(tests, entries_of_wait_notify_too);
    tcase_add_test(tests, handlers_find_all_entries_submitted);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "a list", .add = add_list },
        { .name = "entries of a list", .add = add_entries },
        { .name = NULL },
    };

    return t_main("told", parts);
}
