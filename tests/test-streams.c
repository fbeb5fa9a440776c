/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pipes, sockets, FIFOs, terminals and the other descriptors that have no place to seek to.
 */
#include "t.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

enum { SIZE = 1 << 20, MANY = 1000 };

static struct aiocb cb, cbs[MANY];
static unsigned char buf[SIZE];

/* A read that pends, is completed by `ready`, and brings so many bytes. */
static void read_when_ready(int fd, ssize_t result, void (*ready)(int))
{
    t_submit_read(&cb, fd, buf, 4096, 0);
    t_assert_in_progress(&cb);
    ready(fd);
    t_wait_done(&cb, result);
}

/* Reads that pend until there is something. */

START_TEST(read_pends_until_there_is_data)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp(), t_pty(),
                              t_socketpair(SOCK_DGRAM), t_socketpair(SOCK_SEQPACKET) };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        memset(buf, 0, 100);
        t_submit_read(&cb, pairs[i].in, buf, 4096, 0);
        t_assert_in_progress(&cb);
        t_put(pairs[i].out, 0, 100);
        t_wait_done(&cb, 100);
        t_assert_data(buf, 100, 0);
    }
}
END_TEST

START_TEST(read_of_what_is_there_brings_it)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp(), t_pty() };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        t_put(pairs[i].out, 0, 100);
        t_submit_read(&cb, pairs[i].in, buf, 60, 0);
        t_wait_done(&cb, 60);
        t_submit_read(&cb, pairs[i].in, buf + 60, 4096, 0);
        t_wait_done(&cb, 40);
        t_assert_data(buf, 100, 0);
    }
}
END_TEST

START_TEST(fifo_opened_for_both_directions_works)
{
    struct t_pair p = t_fifo();
    int both = t_reopen(p.in, O_RDWR);

    ck_assert_int_ge(both, 0);
    t_submit_read(&cb, both, buf, 100, 0);
    t_assert_in_progress(&cb);
    t_fill(buf + 100, 50, 0);
    t_submit_write(&cbs[0], both, buf + 100, 50, 0);
    t_wait_done(&cbs[0], 50);
    t_wait_done(&cb, 50);
    t_assert_data(buf, 50, 0);
}
END_TEST

START_TEST(master_of_a_pty_works)
{
    struct t_pair p = t_pty();

    t_submit_read(&cb, p.out, buf, 100, 0);
    t_assert_in_progress(&cb);
    t_fill(buf + 100, 50, 0);
    t_submit_write(&cbs[0], p.in, buf + 100, 50, 0);
    t_wait_done(&cbs[0], 50);
    t_wait_done(&cb, 50);
    t_assert_data(buf, 50, 0);
    t_fill(buf + 100, 50, 7);
    t_submit_write(&cb, p.out, buf + 100, 50, 0);
    t_wait_done(&cb, 50);
    t_take(p.in, 7, 50);
}
END_TEST

static void make_event(int fd)
{
    ck_assert_int_eq(eventfd_write(fd, 5), 0);
}

static void touch_file(int fd)
{
    char name[] = "t-watched-XXXXXX";
    int made = mkstemp(name);

    (void) fd;
    close(made);
    unlink(name);
}

static void set_timer(int fd)
{
    const struct itimerspec soon = { .it_value = { .tv_nsec = 1000 } };

    ck_assert_int_eq(timerfd_settime(fd, 0, &soon, NULL), 0);
}

static void raise_signal(int fd)
{
    (void) fd;
    kill(getpid(), SIGUSR1);
}

START_TEST(eventfd_timerfd_and_signalfd_are_read)
{
    sigset_t set;

    read_when_ready(eventfd(0, EFD_CLOEXEC), 8, make_event);
    ck_assert_uint_eq(*(uint64_t *) (void *) buf, 5);
    read_when_ready(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), 8, set_timer);
    t_block(SIGUSR1);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    read_when_ready(signalfd(-1, &set, SFD_CLOEXEC), sizeof(struct signalfd_siginfo), raise_signal);
}
END_TEST

START_TEST(inotify_is_read)
{
    int fd = inotify_init1(IN_CLOEXEC);

    ck_assert_int_ge(inotify_add_watch(fd, ".", IN_CREATE), 0);
    t_submit_read(&cb, fd, buf, 4096, 0);
    t_assert_in_progress(&cb);
    touch_file(fd);
    t_wait(&cb);
    ck_assert_int_eq(aio_error(&cb), 0);
    ck_assert_int_ge(aio_return(&cb), (ssize_t) sizeof(struct inotify_event));
    ck_assert_uint_eq(((struct inotify_event *) (void *) buf)->mask, IN_CREATE);
}
END_TEST

START_TEST(devices_without_a_place_are_read_and_written)
{
    static const unsigned char zeros[SIZE];

    memset(buf, 1, SIZE);
    t_submit_read(&cb, open("/dev/zero", O_RDWR | O_CLOEXEC), buf, SIZE, 77);
    t_wait_done(&cb, SIZE);
    ck_assert_mem_eq(buf, zeros, SIZE);
    t_submit_write(&cb, open("/dev/null", O_RDWR | O_CLOEXEC), buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_submit_read(&cb, open("/dev/null", O_RDWR | O_CLOEXEC), buf, SIZE, 0);
    t_wait_done(&cb, 0);
    t_submit_read(&cb, open("/dev/urandom", O_RDONLY | O_CLOEXEC), buf, 4096, 0);
    t_wait_done(&cb, 4096);
    ck_assert_mem_ne(buf, zeros, 4096);
}
END_TEST

/* Ends and errors. */

START_TEST(closed_writer_is_the_end)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp() };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        for (int j = 0; j < 3; j++)
            t_submit_read(&cbs[j], pairs[i].in, buf, 10, 0);
        t_assert_in_progress(&cbs[0]);
        close(pairs[i].out);
        for (int j = 0; j < 3; j++)
            t_wait_done(&cbs[j], 0);
    }
}
END_TEST

START_TEST(hung_up_terminal_is_an_error)
{
    struct t_pair p = t_pty();

    t_submit_read(&cb, p.out, buf, 10, 0);
    t_assert_in_progress(&cb);
    close(p.in);
    t_wait_failed(&cb, EIO);
}
END_TEST

/* A SIGPIPE would end the test. */
START_TEST(broken_pipe_is_epipe_without_a_signal)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM) };

    signal(SIGPIPE, SIG_DFL);
    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        close(pairs[i].in);
        t_submit_write(&cb, pairs[i].out, buf, 100, 0);
        t_wait_failed(&cb, EPIPE);
        t_submit_write(&cb, pairs[i].out, buf, SIZE, 0);
        t_wait_failed(&cb, EPIPE);
    }
}
END_TEST

START_TEST(pipe_that_breaks_under_a_write_ends_it)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo() };

    signal(SIGPIPE, SIG_DFL);
    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        size_t held = t_fill_up(pairs[i].out);

        t_submit_write(&cb, pairs[i].out, buf, SIZE, 0);
        t_assert_in_progress(&cb);
        ck_assert_uint_gt(held, 0);
        close(pairs[i].in);
        t_wait_failed(&cb, EPIPE);
    }
}
END_TEST

START_TEST(blocking_write_transfers_all_of_it)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp(), t_pty() };

    t_fill(buf, SIZE, 0);
    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        /* The master of a pty is slow. */
        size_t length = i == 4 ? 100000 : SIZE;

        t_submit_write(&cb, pairs[i].out, buf, length, 0);
        /* A TCP connection may take all of it by itself. */
        if (i != 3)
            t_assert_in_progress(&cb);
        t_take(pairs[i].in, 0, length);
        t_wait_done(&cb, (ssize_t) length);
    }
}
END_TEST

START_TEST(nonblocking_and_empty_is_eagain)
{
    struct t_pair pairs[] = { t_pipe(), t_fifo(), t_socketpair(SOCK_STREAM), t_tcp(), t_pty() };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        ck_assert_int_eq(fcntl(pairs[i].in, F_SETFL, O_NONBLOCK), 0);
        t_submit_read(&cb, pairs[i].in, buf, 10, 0);
        t_wait_failed(&cb, EAGAIN);
        t_put(pairs[i].out, 0, 10);
        t_until(!aio_read(&cb) && (t_wait(&cb), aio_error(&cb) != EAGAIN));
        t_assert_done(&cb, 10);
    }
}
END_TEST

START_TEST(nonblocking_and_full_is_eagain_or_short)
{
    struct t_pair pairs[] = { t_pipe(), t_socketpair(SOCK_STREAM) };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        ck_assert_int_eq(fcntl(pairs[i].out, F_SETFL, O_NONBLOCK), 0);
        t_submit_write(&cb, pairs[i].out, buf, SIZE, 0);
        t_wait(&cb);
        ck_assert_int_eq(aio_error(&cb), 0);
        ck_assert(aio_return(&cb) > 0 && aio_return(&cb) < SIZE);
        t_fill_up(pairs[i].out);
        t_submit_write(&cb, pairs[i].out, buf, 4096, 0);
        t_wait_failed(&cb, EAGAIN);
    }
}
END_TEST

START_TEST(sockets_that_cannot_transfer_fail)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    t_submit_read(&cb, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), buf, 10, 0);
    t_wait_failed(&cb, ENOTCONN);
    ck_assert_int_eq(listen(listener, 1), 0);
    t_submit_read(&cb, listener, buf, 10, 0);
    t_wait_failed(&cb, ENOTCONN);
    t_submit_write(&cb, socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), buf, 10, 0);
    t_wait_failed(&cb, ENOTCONN);
}
END_TEST

START_TEST(reset_connection_is_econnreset)
{
    const struct linger abort_at_close = { .l_onoff = 1 };
    struct t_pair p = t_tcp();

    t_submit_read(&cb, p.in, buf, 10, 0);
    t_assert_in_progress(&cb);
    ck_assert_int_eq(
        setsockopt(p.out, SOL_SOCKET, SO_LINGER, &abort_at_close, sizeof(abort_at_close)), 0);
    close(p.out);
    t_wait_failed(&cb, ECONNRESET);
}
END_TEST

START_TEST(datagrams_keep_their_bounds)
{
    struct t_pair pairs[] = { t_socketpair(SOCK_DGRAM), t_socketpair(SOCK_SEQPACKET) };

    for (size_t i = 0; i < T_COUNT(pairs); i++) {
        for (int j = 0; j < 3; j++)
            t_submit_read(&cbs[j], pairs[i].in, buf + j * 1000, 1000, 0);
        for (int j = 0; j < 3; j++) {
            t_fill(buf + 5000, 100, j * 1000);
            t_submit_write(&cb, pairs[i].out, buf + 5000, 100 + (size_t) j, 0);
            t_wait_done(&cb, 100 + j);
            t_wait_done(&cbs[j], 100 + j);
            t_assert_data(buf + j * 1000, 100, j * 1000);
        }
        t_submit_read(&cb, pairs[i].in, buf, 10, 0);
        t_put(pairs[i].out, 0, 50);
        t_wait_done(&cb, 10);
        ck_assert_int_eq(recv(pairs[i].in, buf, 10, MSG_DONTWAIT), -1);
    }
}
END_TEST

START_TEST(requests_of_no_length_end_at_once)
{
    struct t_pair p = t_pipe();

    t_submit_read(&cb, p.in, buf, 0, 0);
    t_wait_done(&cb, 0);
    t_submit_write(&cb, p.out, buf, 0, 0);
    t_wait_done(&cb, 0);
}
END_TEST

/* Many at once. */

START_TEST(thousand_pending_reads_cost_no_thread)
{
    static struct t_pair pairs[MANY];
    unsigned int before;
    int file = t_cold_file(SIZE);

    t_submit_read(&cb, t_pipe().in, buf, 1, 0);
    t_submit_read(&cbs[0], file, buf, 4096, 0);
    t_wait_done(&cbs[0], 4096);
    before = t_threads();
    for (int i = 0; i < MANY; i++) {
        pairs[i] = i % 2 ? t_pipe() : t_socketpair(SOCK_STREAM);
        t_submit_read(&cbs[i], pairs[i].in, buf + i, 1, 0);
    }
    ck_assert_uint_le(t_threads(), before);
    t_submit_read(&cb, file, buf + 8192, 4096, 65536);
    t_wait_done(&cb, 4096);
    t_assert_data(buf + 8192, 4096, 65536);
    for (int i = MANY - 1; i >= 0; i--)
        t_put(pairs[i].out, i, 1);
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], 1);
    t_assert_data(buf, MANY, 0);
}
END_TEST

START_TEST(copies_of_a_descriptor_each_have_their_reads)
{
    struct t_pair p = t_pipe();
    int copy = dup(p.in);

    t_submit_read(&cb, p.in, buf, 1, 0);
    t_submit_read(&cbs[0], copy, buf + 1, 1, 0);
    t_put(p.out, 0, 2);
    t_wait_done(&cb, 1);
    t_wait_done(&cbs[0], 1);
    ck_assert((buf[0] == t_byte(0) && buf[1] == t_byte(1)) ||
              (buf[0] == t_byte(1) && buf[1] == t_byte(0)));
}
END_TEST

START_TEST(stream_is_used_again_and_again)
{
    struct t_pair p = t_socketpair(SOCK_STREAM);

    for (int i = 0; i < MANY; i++) {
        t_submit_read(&cb, p.in, buf, 100, 0);
        t_fill(buf + 1000, 10, i * 10);
        t_submit_write(&cbs[0], p.out, buf + 1000, 10, 0);
        t_wait_done(&cbs[0], 10);
        t_wait_done(&cb, 10);
        t_assert_data(buf, 10, i * 10);
    }
}
END_TEST

static void add_reads(TCase *tests)
{
    tcase_add_test(tests, read_pends_until_there_is_data);
    tcase_add_test(tests, read_of_what_is_there_brings_it);
    tcase_add_test(tests, fifo_opened_for_both_directions_works);
    tcase_add_test(tests, master_of_a_pty_works);
    tcase_add_test(tests, eventfd_timerfd_and_signalfd_are_read);
    tcase_add_test(tests, inotify_is_read);
    tcase_add_test(tests, devices_without_a_place_are_read_and_written);
    tcase_add_test(tests, requests_of_no_length_end_at_once);
    tcase_add_test(tests, datagrams_keep_their_bounds);
}

static void add_ends(TCase *tests)
{
    tcase_add_test(tests, closed_writer_is_the_end);
    tcase_add_test(tests, hung_up_terminal_is_an_error);
    tcase_add_test(tests, broken_pipe_is_epipe_without_a_signal);
    tcase_add_test(tests, pipe_that_breaks_under_a_write_ends_it);
    tcase_add_test(tests, blocking_write_transfers_all_of_it);
    tcase_add_test(tests, nonblocking_and_empty_is_eagain);
    tcase_add_test(tests, nonblocking_and_full_is_eagain_or_short);
    tcase_add_test(tests, sockets_that_cannot_transfer_fail);
    tcase_add_test(tests, reset_connection_is_econnreset);
}

static void add_many(TCase *tests)
{
    tcase_add_test(tests, thousand_pending_reads_cost_no_thread);
    tcase_add_test(tests, copies_of_a_descriptor_each_have_their_reads);
    tcase_add_test(tests, stream_is_used_again_and_again);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "reads", .add = add_reads },
        { .name = "ends and errors", .add = add_ends },
        { .name = "many", .add = add_many },
        { .name = NULL },
    };

    return t_main("streams", parts);
}
