/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many direct transfers of one file outstanding: they keep their place before what comes later, none
 * is lost, and none reaches another file, whatever happens between their submission and their start.
 */
#include "t.h"

#include <libaio.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { BLOCK = 4096, MANY = 32, SIZE = MANY * BLOCK, ROUNDS = 200, THREADS = 4, DEPTH = 4 };

/* More than the kernel engine has room for; what may be between the comparison and the system call. */
enum { QUEUED = 400, WINDOW = 64, LONG = 16 };

static struct aiocb cbs[MANY], sync_cb, queued[QUEUED];
static unsigned char *blocks;
static int fd;

static void open_direct(int file, int flags)
{
    fd = t_reopen(file, flags | O_DIRECT);
    blocks = t_aligned(SIZE);
}

static void submit_reads(int first, int count)
{
    for (int i = first; i < first + count; i++)
        t_submit_read(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
}

static void wait_reads(void)
{
    for (int i = 0; i < MANY; i++)
        t_wait_done(&cbs[i], BLOCK);
    t_assert_data(blocks, SIZE, 0);
    memset(blocks, 0, SIZE);
}

START_TEST(what_the_kernel_refuses_in_the_middle_is_done)
{
    int cold = t_cold_file(SIZE);

    open_direct(cold, O_RDONLY);
    /* A thread of the pool is there. */
    t_submit_read(&sync_cb, cold, blocks, BLOCK, 0);
    t_wait_done(&sync_cb, BLOCK);
    submit_reads(0, MANY / 2);
    t_forbid(SYS_io_submit, ENOMEM);
    submit_reads(MANY / 2, MANY / 2);
    t_until_published(&cbs[MANY - 1]);
    wait_reads();
}
END_TEST

START_TEST(sync_waits_for_all_that_were_submitted_before)
{
    open_direct(t_cached_file(SIZE), O_RDWR);
    t_fill(blocks, SIZE, 0);
    for (size_t round = 0; round < t_scale(ROUNDS); round++) {
        for (int i = 0; i < MANY; i++)
            t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
        t_submit_sync(&sync_cb, fd, O_DSYNC);
        t_until_published(&sync_cb);
        for (int i = 0; i < MANY; i++)
            ck_assert_int_eq(__atomic_load_n(&cbs[i].__error_code, __ATOMIC_ACQUIRE), 0);
        t_assert_done(&sync_cb, 0);
    }
}
END_TEST

START_TEST(cancel_of_all_finds_all)
{
    int answer;

    open_direct(t_cold_file(SIZE), O_RDONLY);
    for (size_t round = 0; round < t_scale(ROUNDS); round++) {
        submit_reads(0, MANY);
        /* The device has some: they are not canceled. The others wait for room, or are done. */
        answer = aio_cancel(fd, NULL);
        ck_assert_int_ge(answer, 0);
        for (int i = 0; i < MANY; i++) {
            if (answer != AIO_NOTCANCELED)
                ck_assert_int_ne(aio_error(&cbs[i]), EINPROGRESS);
            t_wait(&cbs[i]);
            if (aio_error(&cbs[i]) != ECANCELED)
                t_assert_done(&cbs[i], BLOCK);
        }
    }
}
END_TEST

/* The flags are the file's as they are now, though nothing else of it has to be asked again. */
START_TEST(writes_append_in_order_from_where_the_flag_is_set)
{
    unsigned char *read = t_aligned(BLOCK);
    int file = t_empty_file();

    for (size_t round = 0; round < t_scale(ROUNDS) / 4; round++) {
        ck_assert_int_eq(ftruncate(file, 0), 0);
        open_direct(file, O_RDWR);
        t_fill(blocks, SIZE, 0);
        /* Behind the end: in flight until somebody looks. */
        t_submit_read(&sync_cb, fd, read, BLOCK, 0);
        /* By a call that no library sees. */
        ck_assert_int_eq(syscall(SYS_fcntl, fd, F_SETFL, O_DIRECT | O_APPEND), 0);
        for (int i = 0; i < MANY; i++)
            t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, 0);
        for (int i = 0; i < MANY; i++)
            t_wait_done(&cbs[i], BLOCK);
        t_wait(&sync_cb);
        memset(blocks, 0, SIZE);
        ck_assert_int_eq(pread(fd, blocks, SIZE, 0), SIZE);
        t_assert_data(blocks, SIZE, 0);
        free(blocks);
        close(fd);
    }
    free(read);
}
END_TEST

START_TEST(write_past_a_new_limit_raises_no_signal)
{
    const struct rlimit limit = { SIZE / 2, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
    int failed;

    open_direct(t_cached_file(SIZE), O_RDWR);
    t_fill(blocks, SIZE, 0);
    for (size_t round = 0; round < t_scale(ROUNDS); round++) {
        for (int i = 0; i < MANY / 2; i++)
            t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
        t_prepare(&sync_cb, fd, blocks + SIZE / 2, BLOCK, SIZE / 2);
        /* No assertions while it is there: Check writes a file of its own. */
        failed = setrlimit(RLIMIT_FSIZE, &limit);
        failed |= aio_write(&sync_cb);
        while (aio_error(&sync_cb) == EINPROGRESS)
            ;
        failed |= setrlimit(RLIMIT_FSIZE, &none);
        ck_assert_int_eq(failed, 0);
        t_assert_failed(&sync_cb, EFBIG);
        for (int i = 0; i < MANY / 2; i++)
            t_wait_done(&cbs[i], BLOCK);
    }
}
END_TEST

/* By a call that no library sees. */
static int limit_size(rlim_t size)
{
    const struct rlimit limit = { size, RLIM_INFINITY };

    return (int) syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, &limit, NULL);
}

/* How many of the writes are done when a limit is set behind their submission. */
static int write_until_limited(void)
{
    const struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY };
    int failed, done = 0;

    for (int i = 0; i < QUEUED; i++)
        t_submit_write(&queued[i], fd, blocks, SIZE, i % LONG * SIZE);
    failed = limit_size(BLOCK);
    for (int i = 0; i < QUEUED; i++) {
        const struct aiocb *const list[] = { &queued[i] };

        while (aio_error(&queued[i]) == EINPROGRESS)
            aio_suspend(list, 1, NULL);
    }
    failed |= setrlimit(RLIMIT_FSIZE, &none);
    ck_assert_int_eq(failed, 0);
    for (int i = 0; i < QUEUED; i++) {
        int error = aio_error(&queued[i]);

        ck_assert_msg(error == 0 || error == EFBIG, "%s", strerror(error));
        done += error == 0;
        aio_return(&queued[i]);
    }
    return done;
}

/* Nor do those that the kernel has no room for yet when the limit is set. */
START_TEST(limit_for_what_waits_raises_no_signal)
{
    int done = QUEUED;

    open_direct(t_cached_file(LONG * SIZE), O_RDWR);
    t_fill(blocks, SIZE, 0);
    for (int round = 0; round < 20 && done == QUEUED; round++)
        done = write_until_limited();
    /* Emulated, and under Valgrind, the process is slower than its disk: nothing is left to be limited. */
    if (!getenv("T_EMULATED") && !t_watched())
        ck_assert_int_lt(done, QUEUED);
}
END_TEST

static void write_into_holes_and_exit(void *refuse)
{
    t_fill(blocks, SIZE, 0);
    for (int i = 0; i < MANY; i++) {
        if (refuse && i == MANY / 2)
            t_forbid(SYS_io_submit, ENOMEM);
        t_submit_write(&cbs[i], fd, blocks + i * BLOCK, BLOCK, i * BLOCK);
    }
    exit(0);
}

/* What the kernel hands back at once, or refuses, is carried out before the process ends. */
START_TEST(exit_carries_out_what_the_kernel_hands_back)
{
    for (size_t round = 0; round < t_scale(ROUNDS) / 4; round++) {
        open_direct(t_empty_file(), O_RDWR);
        t_reap(t_child(write_into_holes_and_exit, round % 2 ? &fd : NULL));
        ck_assert_int_eq(pread(fd, blocks, SIZE, 0), SIZE);
        t_assert_data(blocks, SIZE, 0);
        free(blocks);
        ck_assert_int_eq(close(fd), 0);
    }
}
END_TEST

/*
 * Closed by somebody whom the library does not see, with most of the requests still here. What is on
 * its way into the kernel just then can go astray (libposix-aio(7) says so), nothing that waits.
 */
START_TEST(waiting_writes_do_not_reach_the_file_that_takes_the_number)
{
    unsigned char *block = t_aligned(BLOCK), *found = t_aligned(QUEUED * BLOCK);
    int strays;

    memset(block, 'x', BLOCK);
    for (int round = 0; round < 5; round++) {
        /* The other one is as ready to be written to. */
        int file = t_cold_file(QUEUED * BLOCK), other = t_cold_file(QUEUED * BLOCK);
        int direct = t_reopen(other, O_RDWR | O_DIRECT);

        fd = t_reopen(file, O_WRONLY | O_DIRECT);
        for (int i = 0; i < QUEUED; i++)
            t_submit_write(&queued[i], fd, block, BLOCK, i * BLOCK);
        ck_assert_int_eq((int) syscall(SYS_dup2, direct, fd), fd);
        for (int i = 0; i < QUEUED; i++) {
            t_wait(&queued[i]);
            if (aio_error(&queued[i]) != ECANCELED)
                t_assert_done(&queued[i], BLOCK);
        }
        ck_assert_int_eq(pread(direct, found, QUEUED * BLOCK, 0), QUEUED * BLOCK);
        strays = 0;
        for (int i = 0; i < QUEUED; i++) {
            if (memcmp(found + i * BLOCK, block, BLOCK) == 0)
                strays++;
            else
                t_assert_data(found + i * BLOCK, BLOCK, i * BLOCK);
        }
        ck_assert_int_le(strays, WINDOW);
        close(fd);
        close(direct);
        close(other);
        close(file);
    }
    free(block);
    free(found);
}
END_TEST

/* Some reap by aio_error, some by aio_suspend, while others submit. */
static void *read_and_poll(void *argument)
{
    long number = (long) argument;
    unsigned char *bytes = t_aligned(DEPTH * BLOCK);
    struct aiocb mine[DEPTH];
    int place[DEPTH] = { 0 };

    memset(mine, 0, sizeof(mine));
    for (size_t n = 0; n < DEPTH * t_scale(5000); n++) {
        int i = (int) (n % DEPTH);

        if (n >= DEPTH) {
            while (number % 2 && aio_error(&mine[i]) == EINPROGRESS)
                ;
            t_wait_done(&mine[i], BLOCK);
            t_assert_data(bytes + i * BLOCK, BLOCK, place[i]);
        }
        place[i] = (int) (n * 7 % MANY) * BLOCK;
        t_submit_read(&mine[i], fd, bytes + i * BLOCK, BLOCK, place[i]);
    }
    for (int i = 0; i < DEPTH; i++)
        t_wait_done(&mine[i], BLOCK);
    free(bytes);
    return NULL;
}

START_TEST(many_threads_read_one_file)
{
    pthread_t threads[THREADS];

    open_direct(t_cold_file(SIZE), O_RDONLY);
    for (long i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_and_poll, (void *) i), 0);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    /* All have left: a barrier has nothing to wait for. */
    t_submit_sync(&sync_cb, fd, O_SYNC);
    t_wait_done(&sync_cb, 0);
}
END_TEST

/*
 * What comes for one descriptor is kept from the kernel, as if it took its time; what comes for another is held up
 * on its way in.
 */
static atomic_int kept_fd = -1, held_fd = -1;
static struct iocb *kept[QUEUED];
static io_context_t kept_context;
static int kept_count;
static sem_t go_on;
static atomic_bool entering, closed;
static atomic_int closing_thread;

/* Read by the kernel: what comes between that and the next use of it ThreadSanitizer does not see. */
static __attribute__((noinline, no_sanitize("thread"))) int descriptor_of(const struct iocb *iocb)
{
    return iocb->aio_fildes;
}

/* libaio's, for the library too. */
int io_submit(io_context_t context, long count, struct iocb **iocbs)
{
    long submitted;

    if (descriptor_of(iocbs[0]) == atomic_load(&kept_fd)) {
        kept_context = context;
        for (long i = 0; i < count; i++)
            kept[kept_count++] = iocbs[i];
        return (int) count;
    }
    for (long i = 0; i < count; i++) {
        int expected = descriptor_of(iocbs[i]);

        if (atomic_compare_exchange_strong(&held_fd, &expected, -1)) {
            atomic_store(&entering, true);
            while (sem_wait(&go_on) < 0)
                ;
        }
    }
    submitted = syscall(SYS_io_submit, context, count, iocbs);
    return submitted < 0 ? -errno : (int) submitted;
}

static void *close_it(void *descriptor)
{
    atomic_store(&closing_thread, (int) syscall(SYS_gettid));
    ck_assert_int_eq(close(*(int *) descriptor), 0);
    atomic_store(&closed, true);
    return NULL;
}

static bool sleeps_in_between(pid_t thread)
{
    long call = t_call_of(thread);

    return call == SYS_nanosleep || call == SYS_clock_nanosleep;
}

/* The last of many reads that have waited for room is on another file, and on its way. */
static void let_it_enter(int other, unsigned char *block)
{
    atomic_store(&kept_fd, fd);
    for (int i = 0; i < QUEUED; i++)
        t_submit_read(&queued[i], fd, blocks + i % MANY * BLOCK, BLOCK, i % MANY * BLOCK);
    t_submit_read(&sync_cb, other, block, BLOCK, BLOCK);
    ck_assert_int_lt(kept_count, QUEUED);
    atomic_store(&kept_fd, -1);
    atomic_store(&held_fd, other);
    for (int i = 0; i < kept_count; i++)
        ck_assert_int_eq(io_submit(kept_context, 1, &kept[i]), 1);
    t_until(atomic_load(&entering));
}

/* Between the look at its descriptor and the kernel: from then on the kernel has the file itself. */
START_TEST(close_waits_for_what_enters_the_kernel)
{
    int other = t_reopen(t_cold_file(SIZE), O_RDONLY | O_DIRECT);
    unsigned char *block = t_aligned(BLOCK);
    pthread_t closer;

    open_direct(t_cold_file(SIZE), O_RDONLY);
    sem_init(&go_on, 0, 0);
    let_it_enter(other, block);
    ck_assert_int_eq(pthread_create(&closer, NULL, close_it, &other), 0);
    t_until(atomic_load(&closed) || sleeps_in_between(atomic_load(&closing_thread)));
    ck_assert(!atomic_load(&closed));
    sem_post(&go_on);
    ck_assert_int_eq(pthread_join(closer, NULL), 0);
    t_wait_done(&sync_cb, BLOCK);
    t_assert_data(block, BLOCK, BLOCK);
    for (int i = 0; i < QUEUED; i++)
        t_wait_done(&queued[i], BLOCK);
    free(block);
}
END_TEST

static void add_many(TCase *tests)
{
    tcase_add_test(tests, what_the_kernel_refuses_in_the_middle_is_done);
    tcase_add_test(tests, sync_waits_for_all_that_were_submitted_before);
    tcase_add_test(tests, cancel_of_all_finds_all);
    tcase_add_test(tests, writes_append_in_order_from_where_the_flag_is_set);
    tcase_add_test(tests, write_past_a_new_limit_raises_no_signal);
    tcase_add_test(tests, limit_for_what_waits_raises_no_signal);
    tcase_add_test(tests, exit_carries_out_what_the_kernel_hands_back);
    tcase_add_test(tests, many_threads_read_one_file);
    tcase_add_test(tests, waiting_writes_do_not_reach_the_file_that_takes_the_number);
}

static void add_kernel(TCase *tests)
{
    tcase_add_test(tests, close_waits_for_what_enters_the_kernel);
}

static void add_queue(TCase *tests)
{
    tcase_add_test(tests, waiting_writes_do_not_reach_the_file_that_takes_the_number);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "many outstanding", .add = add_many },
        { .name = "one at a time", .add = add_queue, .settings = { "LIBPOSIX_AIO_ORDER=descriptor" } },
        { .name = "room in the kernel", .add = add_kernel, .need = T_KERNEL },
        { .name = NULL },
    };

    return t_main("outstanding", parts);
}
