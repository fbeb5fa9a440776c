/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Children that no fork handler sees, programs that are started, and children of a function that is called for a request.
 */
#include "t.h"

#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SIZE = 4096, MANY = 100 };

extern char **environ;

/* A read of a pipe, which no child must disturb. */
static struct aiocb cb;

/*
 * Children that no fork handler sees: they run in the parent's memory (vfork), or in a copy whose
 * library does not know that it is one (_Fork, clone).
 */
START_TEST(vfork_childs_close_leaves_the_parents_requests_alone)
{
    int out = t_start_pending(&cb);
    pid_t child;
    int status;

    child = vfork();
    if (!child) {
        close(cb.aio_fildes);
        dup2(out, cb.aio_fildes);
        close_range(3, ~0U, 0);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(clones_close_leaves_the_parents_requests_alone)
{
    int out = t_start_pending(&cb);
    pid_t child;

    child = (pid_t) syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0L);
    if (!child) {
        close(cb.aio_fildes);
        dup2(out, cb.aio_fildes);
        syscall(SYS_exit_group, 0);
    }
    t_reap(child);
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(bare_forks_close_leaves_the_parents_requests_alone)
{
    int out = t_start_pending(&cb);
    pid_t child;

    child = _Fork();
    if (!child) {
        close(cb.aio_fildes);
        syscall(SYS_exit_group, 0);
    }
    t_reap(child);
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

START_TEST(spawned_programs_run_while_requests_are_pending)
{
    char *const arguments[] = { "true", NULL };
    int out = t_start_pending(&cb);
    pid_t child;

    ck_assert_int_eq(posix_spawnp(&child, "true", NULL, NULL, arguments, environ), 0);
    t_reap(child);
    ck_assert_int_eq(system("true"), 0);
    t_assert_in_progress(&cb);
    t_finish_pending(out, &cb);
}
END_TEST

/* A function that forks: calls made there, and in the child, in memory that they share. */
static struct {
    atomic_uint here, in_children;
    _Atomic pid_t child;
} *calls;

static struct aiocb cbs[MANY];
static unsigned char buf[MANY];
static int file;

static void count_call(union sigval parent)
{
    atomic_fetch_add(getpid() == parent.sival_int ? &calls->here : &calls->in_children, 1);
}

static void submit_called(int i, void (*function)(union sigval))
{
    t_prepare(&cbs[i], file, &buf[i], 1, 0);
    cbs[i].aio_sigevent.sigev_notify = SIGEV_THREAD;
    cbs[i].aio_sigevent.sigev_notify_function = function;
    cbs[i].aio_sigevent.sigev_value.sival_int = getpid();
    ck_assert_int_eq(aio_read(&cbs[i]), 0);
}

/* Before LeakSanitizer, which would miss the stack of the main thread. */
static void end_at_exit(void)
{
    _exit(0);
}

/* While others wait to be called. */
static void fork_and_return(union sigval parent)
{
    pid_t child;

    (void) parent;
    for (int i = 1; i < MANY; i++)
        submit_called(i, count_call);
    child = fork();
    if (child)
        atomic_store(&calls->child, child);
    else
        atexit(end_at_exit);
}

START_TEST(child_that_returns_from_a_function_leaves_the_parents_calls_alone)
{
    calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(calls, MAP_FAILED);
    file = t_cached_file(SIZE);
    submit_called(0, fork_and_return);
    t_until(atomic_load(&calls->child));
    t_reap(atomic_load(&calls->child));
    t_until(atomic_load(&calls->here) == MANY - 1);
    ck_assert_uint_eq(atomic_load(&calls->in_children), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, vfork_childs_close_leaves_the_parents_requests_alone);
    tcase_add_test(tests, clones_close_leaves_the_parents_requests_alone);
    tcase_add_test(tests, bare_forks_close_leaves_the_parents_requests_alone);
    tcase_add_test(tests, spawned_programs_run_while_requests_are_pending);
    tcase_add_test(tests, child_that_returns_from_a_function_leaves_the_parents_calls_alone);
}

int main(void)
{
    static const struct t_part parts[] = {
        { .name = "children", .add = add },
        { .name = NULL },
    };

    return t_main("children", parts);
}
