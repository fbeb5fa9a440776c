/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests, processes, threads and signals for the tests: see t.h.
 */
#include "t.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>

/* Requests. */

void t_prepare(struct aiocb *cb, int fd, void *buf, size_t length, off_t offset)
{
    memset(cb, 0, sizeof(*cb));
    cb->aio_fildes = fd;
    cb->aio_buf = buf;
    cb->aio_nbytes = length;
    cb->aio_offset = offset;
    cb->aio_sigevent.sigev_notify = SIGEV_NONE;
}

void t_submit_read(struct aiocb *cb, int fd, void *buf, size_t length, off_t offset)
{
    t_prepare(cb, fd, buf, length, offset);
    ck_assert_msg(!aio_read(cb), "aio_read: %s", strerror(errno));
}

void t_submit_write(struct aiocb *cb, int fd, const void *buf, size_t length, off_t offset)
{
    t_prepare(cb, fd, (void *) buf, length, offset);
    ck_assert_msg(!aio_write(cb), "aio_write: %s", strerror(errno));
}

void t_submit_sync(struct aiocb *cb, int fd, int op)
{
    t_prepare(cb, fd, NULL, 0, 0);
    ck_assert_msg(!aio_fsync(op, cb), "aio_fsync: %s", strerror(errno));
}

void t_wait(const struct aiocb *cb)
{
    const struct aiocb *const list[] = { cb };
    double end = t_now() + t_patience();
    struct timespec second = { .tv_sec = 1 };

    while (aio_error(cb) == EINPROGRESS) {
        ck_assert_msg(t_now() < end, "a request never completed");
        if (aio_suspend(list, 1, &second))
            ck_assert(errno == EAGAIN || errno == EINTR);
    }
}

void t_until_published(const struct aiocb *one)
{
    t_until(__atomic_load_n(&one->__error_code, __ATOMIC_ACQUIRE) != EINPROGRESS);
}

void t_wait_done(struct aiocb *cb, ssize_t result)
{
    t_wait(cb);
    t_assert_done(cb, result);
}

void t_wait_failed(struct aiocb *cb, int error)
{
    t_wait(cb);
    t_assert_failed(cb, error);
}

void t_assert_in_progress(const struct aiocb *cb)
{
    ck_assert_int_eq(aio_error(cb), EINPROGRESS);
}

void t_assert_done(struct aiocb *cb, ssize_t result)
{
    int error = aio_error(cb);

    ck_assert_msg(!error, "a request failed: %s", strerror(error));
    ck_assert_int_eq(aio_return(cb), result);
}

void t_assert_failed(struct aiocb *cb, int error)
{
    ck_assert_str_eq(strerror(aio_error(cb)), strerror(error));
    ck_assert_int_eq(aio_return(cb), -1);
}

struct aiocb *t_control_blocks(size_t count)
{
    struct aiocb *cbs = malloc(count * sizeof(*cbs));

    ck_assert_ptr_nonnull(cbs);
    memset(cbs, 0, count * sizeof(*cbs));
    return cbs;
}

int t_suspend(const struct aiocb *one, const struct timespec *limit)
{
    const struct aiocb *const list[] = { one };

    errno = 0;
    return aio_suspend(list, 1, limit);
}

int t_start_pending(struct aiocb *pending)
{
    static unsigned char bytes[1024];
    static atomic_uint used;
    struct t_pair p = t_pipe();

    t_submit_read(pending, p.in, &bytes[atomic_fetch_add(&used, 1) % sizeof(bytes)], 1, 0);
    return p.out;
}

void t_finish_pending(int out, struct aiocb *pending)
{
    t_put(out, 0, 1);
    t_wait_done(pending, 1);
}

/* Then the word behind the error status is not zero any more. */
bool t_is_awaited(const struct aiocb *cb)
{
    const uint32_t *asked = (const uint32_t *) (const void *) &cb->__error_code + 1;

    return __atomic_load_n(asked, __ATOMIC_ACQUIRE) != 0;
}

/* Processes and threads. */

long t_call_of(pid_t thread)
{
    char path[64];
    long number = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/syscall", (int) thread);
    file = fopen(path, "r");
    if (!file || fscanf(file, "%ld", &number) != 1)
        number = -1;
    if (file)
        fclose(file);
    return number;
}

/* How many threads of this process are such; with NULL all of them. */
static unsigned int count_threads(bool (*is_such)(pid_t thread, long what), long what)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *entry;
    unsigned int n = 0;

    ck_assert_ptr_nonnull(tasks);
    while ((entry = readdir(tasks)))
        n += entry->d_name[0] != '.' && (!is_such || is_such(atoi(entry->d_name), what));
    closedir(tasks);
    return n;
}

unsigned int t_threads(void)
{
    return count_threads(NULL, 0);
}

static bool sleeps_in(pid_t thread, long call)
{
    return t_call_of(thread) == call;
}

unsigned int t_threads_in(long call)
{
    return count_threads(sleeps_in, call);
}

/* By its state, as the kernel tells it: 'S' is asleep. One that has ended is not awake. */
static bool is_awake(pid_t thread, long but)
{
    char path[64], state = 'S';
    FILE *stat;

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int) thread);
    stat = fopen(path, "r");
    if (stat && fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
        state = '?';
    if (stat)
        fclose(stat);
    return thread != but && state != 'S';
}

bool t_all_others_sleep(void)
{
    return count_threads(is_awake, getpid()) == 0;
}

pid_t t_child(void (*run)(void *), void *argument)
{
    pid_t child;

    /* A sanitizer's allocator may be locked by a thread that starts, and stays so in the child. */
    if (T_SANITIZED)
        t_until(t_all_others_sleep());
    child = fork();
    ck_assert_int_ge(child, 0);
    if (!child) {
        run(argument);
        _exit(0);
    }
    return child;
}

void t_reap(pid_t child)
{
    int status = -1;

    t_until(waitpid(child, &status, WNOHANG) == child);
    ck_assert_msg(status == 0, "a child left with status %#x", status);
}

size_t t_memory_in_use(void)
{
    FILE *rollup = fopen("/proc/self/smaps_rollup", "r");
    unsigned long kilobytes = 0;
    char line[256];

    ck_assert_ptr_nonnull(rollup);
    while (fgets(line, sizeof(line), rollup))
        sscanf(line, "Anonymous: %lu kB", &kilobytes);
    fclose(rollup);
    return kilobytes * 1024;
}

void t_handle(int signal_number, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action = { .sa_flags = SA_SIGINFO | flags };

    action.sa_sigaction = handler;
    ck_assert_int_eq(sigaction(signal_number, &action, NULL), 0);
}

static void change_mask(int how, int signal_number)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal_number);
    ck_assert_int_eq(pthread_sigmask(how, &set, NULL), 0);
}

void t_block(int signal_number)
{
    change_mask(SIG_BLOCK, signal_number);
}

void t_unblock(int signal_number)
{
    change_mask(SIG_UNBLOCK, signal_number);
}

void t_ring_every(long microseconds)
{
    /* Emulated, a handler takes so much longer that it would leave no time for anything else. */
    const long interval = getenv("T_EMULATED") ? 20 * microseconds : microseconds;
    const struct itimerval timer = {
        .it_value = { .tv_usec = interval },
        .it_interval = { .tv_usec = interval },
    };

    ck_assert_int_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

siginfo_t t_accept_signal(int signal_number)
{
    const struct timespec limit = { .tv_sec = t_patience() };
    siginfo_t info;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal_number);
    ck_assert_msg(sigtimedwait(&set, &info, &limit) == signal_number,
                  "a notification did not come");
    return info;
}

void t_assert_no_signal(int signal_number)
{
    sigset_t pending;

    sigpending(&pending);
    ck_assert(!sigismember(&pending, signal_number));
}

uint64_t t_stat(const char *name)
{
    uint64_t value = 0;

    ck_assert_msg(!posix_aio_stat(name, &value), "no statistic %s: %s", name, strerror(errno));
    return value;
}
