/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list that threads of the pool carry out: the caller starts, or wakes, one of them, and they do the same for each other,
 * until all of it is under way.
 */
#include "t-reads.h"
#include "t-syscall.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/syscall.h>

static pthread_t caller;
static atomic_bool submitting; /* the caller is in lio_listio */
/* Reads of the list that are under way, held up until all of them are. */
static atomic_uint under_way = T_READS;

/* Threads started, and system calls that may wake one. */
static struct {
    atomic_uint by_caller, by_readers;
} started, woken;

static bool is_reader(void)
{
    char name[16] = "";

    pthread_getname_np(pthread_self(), name, sizeof name);
    return !strcmp(name, "posix-aio/read");
}

static bool is_submitting(void)
{
    return atomic_load(&submitting) && pthread_equal(pthread_self(), caller);
}

/* A stand-in for the C library's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    int (*next)(pthread_t *, const pthread_attr_t *, void *(*) (void *), void *) =
        (int (*)(pthread_t *, const pthread_attr_t *, void *(*) (void *), void *) ) dlsym(RTLD_NEXT, "pthread_create");

    if (is_reader())
        atomic_fetch_add(&started.by_readers, 1);
    else if (is_submitting())
        atomic_fetch_add(&started.by_caller, 1);
    return next(thread, attributes, run, argument);
}

static void watch(long number, bool over)
{
    if (over || atomic_load(&under_way) >= T_READS)
        return;
    if (number == SYS_futex && is_submitting())
        atomic_fetch_add(&woken.by_caller, 1);
    if (number == SYS_futex && is_reader())
        atomic_fetch_add(&woken.by_readers, 1);
    if (number == SYS_pread64) {
        atomic_fetch_add(&under_way, 1);
        t_until(atomic_load(&under_way) >= T_READS);
    }
}

/* Carries out a list of reads at leisure, all at the same time. */
static void read_list(int fd)
{
    static struct t_reads reads;
    struct aiocb *list[T_READS];

    for (unsigned i = 0; i < T_READS; i++) {
        memset(reads.buf[i], 0, T_BLOCK);
        t_prepare(&reads.cb[i], fd, reads.buf[i], T_BLOCK, (off_t) i * T_BLOCK);
        reads.cb[i].aio_lio_opcode = LIO_READ;
        list[i] = &reads.cb[i];
    }
    atomic_store(&under_way, 0);
    atomic_store(&submitting, true);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, T_READS, NULL), 0);
    atomic_store(&submitting, false);
    t_until(atomic_load(&under_way) >= T_READS);
    t_wait_for_reads(&reads);
    t_assert_all_read(&reads);
}

/* A file whose reads go to the pool; from now on this thread is the caller, and watched. */
static int watched_file(void)
{
    t_watch_syscalls(watch);
    caller = pthread_self();
    return t_missed_file();
}

/* A tick starts all of them, if it comes before the first thread has begun. */
START_TEST(threads_are_started_by_each_other)
{
    double end = t_now() + t_patience();
    int fd = watched_file();

    do {
        ck_assert(t_now() < end);
        /* Those of the last time have ended. */
        t_until(t_threads() == 1);
        atomic_store(&started.by_caller, 0);
        read_list(fd);
        /* The completion thread, and one that reads. */
        ck_assert_uint_le(atomic_load(&started.by_caller), 2);
    } while (!atomic_load(&started.by_readers));
}
END_TEST

/* Likewise. */
START_TEST(threads_are_woken_by_each_other)
{
    double end = t_now() + t_patience();
    int fd = watched_file();

    do {
        ck_assert(t_now() < end);
        read_list(fd);
        t_until(t_threads_in(SYS_futex) == t_threads() - 2);
        atomic_store(&woken.by_caller, 0);
        atomic_store(&woken.by_readers, 0);
        read_list(fd);
        ck_assert_uint_le(atomic_load(&woken.by_caller), 1);
    } while (!atomic_load(&woken.by_readers));
}
END_TEST

/* A write for the pool, and two reads that are not: nobody is at work on what is collected, and there may be many of them. */
static struct {
    struct aiocb write, read[2];
    unsigned char written[T_BLOCK], buf[2][T_BLOCK];
    int second;  /* the second read's descriptor */
    bool waited; /* with that read, until the write was done */
} mixed;

static void wait_with_second(int fd)
{
    if (!is_submitting() || fd != mixed.second)
        return;
    mixed.waited = true;
    t_until(aio_error(&mixed.write) == 0);
}

/* A stand-in for the C library's, with which the library looks at each descriptor that it has not seen. */
int fcntl(int fd, int command, ...)
{
    long argument = 0;
    va_list list;

    if (command == F_GETFL) {
        wait_with_second(fd);
    } else {
        va_start(list, command);
        argument = va_arg(list, long);
        va_end(list);
    }
    return (int) syscall(SYS_fcntl, fd, command, argument);
}

static void list_mixed(int first, int second)
{
    struct aiocb *list[] = { &mixed.write, &mixed.read[0], &mixed.read[1] };

    t_fill(mixed.written, T_BLOCK, 0);
    t_prepare(&mixed.write, t_reopen(t_cached_file(T_BLOCK), O_RDWR | O_DSYNC), mixed.written, T_BLOCK, 0);
    mixed.write.aio_lio_opcode = LIO_WRITE;
    t_prepare(&mixed.read[0], first, mixed.buf[0], T_BLOCK, 0);
    t_prepare(&mixed.read[1], second, mixed.buf[1], T_BLOCK, 0);
    mixed.read[0].aio_lio_opcode = mixed.read[1].aio_lio_opcode = LIO_READ;
    mixed.second = second;
    caller = pthread_self();
    atomic_store(&submitting, true);
    ck_assert_int_eq(lio_listio(LIO_NOWAIT, list, 3, NULL), 0);
    atomic_store(&submitting, false);
    ck_assert(mixed.waited);
    t_assert_done(&mixed.write, T_BLOCK);
}

START_TEST(reads_in_the_caller_do_not_hold_up_what_is_collected)
{
    list_mixed(t_memory_file(T_BLOCK), t_memory_file(T_BLOCK));
    for (int i = 0; i < 2; i++) {
        t_assert_done(&mixed.read[i], T_BLOCK);
        t_assert_data(mixed.buf[i], T_BLOCK, 0);
    }
}
END_TEST

START_TEST(refused_entries_do_not_hold_up_what_is_collected)
{
    /* Numbers that no file of the test will have. */
    enum { FIRST = 300, SECOND };

    list_mixed(FIRST, SECOND);
    for (int i = 0; i < 2; i++)
        t_assert_failed(&mixed.read[i], EBADF);
}
END_TEST

static void add(TCase *tcase)
{
    tcase_add_test(tcase, threads_are_started_by_each_other);
    tcase_add_test(tcase, threads_are_woken_by_each_other);
    tcase_add_test(tcase, reads_in_the_caller_do_not_hold_up_what_is_collected);
    tcase_add_test(tcase, refused_entries_do_not_hold_up_what_is_collected);
}

int main(void)
{
    static const struct t_part parts[] = {
        {
            .name = "lists in the pool",
            .add = add,
            .need = T_POOL | T_NO_SANITIZER | T_STATISTICS,
        },
        { .name = NULL },
    };

    return t_main("spread", parts);
}
