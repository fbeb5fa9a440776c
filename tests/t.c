/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How test programs run: see t.h.
 */
#include "t.h"

#include <dirent.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

/* A thread that is canceled or leaves by pthread_exit seems to have underrun its signal stack. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "use_sigaltstack=0";
}

/* Children of a process with threads start threads of their own. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "die_after_fork=0";
}

static const char *const engines[] = { "kernel", "pool" };

/* What the fixture of the test that runs now has to set up; read in the test's child process. */
struct surroundings {
    const struct t_part *part;
    const char *engine;
};

static struct surroundings surroundings[64];

static long scale(void)
{
    const char *text = getenv("T_SCALE");
    long n = text ? strtol(text, NULL, 10) : 1;

    return n > 1 ? n : 1;
}

bool t_watched(void)
{
    return T_SANITIZED || getenv("T_VALGRIND");
}

size_t t_scale(size_t n)
{
    return n / scale() ? n / scale() : 1;
}

double t_patience(void)
{
    return scale() > 1 ? 4 * T_PATIENCE : T_PATIENCE;
}

const char *t_setting(const char *name)
{
    const char *value = getenv(name);

    ck_assert_msg(value, "%s is not set: run the tests by make check", name);
    return value;
}

/* Running the parts. */

#define STATISTICS "t-statistics-"

void t_drop_statistics(void)
{
    char name[64];

    posix_aio_engine();
    snprintf(name, sizeof(name), STATISTICS "%d", (int) getpid());
    ck_assert_int_eq(unlink(name), 0);
}

static void set_up(const struct surroundings *s)
{
    ck_assert_int_eq(setenv("LIBPOSIX_AIO_ENGINE", s->engine, 1), 0);
    for (size_t i = 0; i < T_COUNT(s->part->settings) && s->part->settings[i]; i++)
        ck_assert_int_eq(putenv((char *) s->part->settings[i]), 0);
    if (s->part->need & T_SLOWFS)
        ck_assert_int_eq(slowfs_start(), 0);
    if (s->part->need & T_STATISTICS) {
        ck_assert_int_eq(setenv("LIBPOSIX_AIO_STATS", STATISTICS "%p", 1), 0);
        t_drop_statistics();
    }
    ck_assert_str_eq(posix_aio_engine(), s->engine);
}

/* A fixture takes no argument, so there is one function for each of the surroundings. */
#define FIXTURE(n)                \
    static void fixture_##n(void) \
    {                             \
        set_up(&surroundings[n]); \
    }
FIXTURE(0)
FIXTURE(1)
FIXTURE(2)
FIXTURE(3)
FIXTURE(4)
FIXTURE(5)
FIXTURE(6)
FIXTURE(7)

static void (*const fixtures[])(void) = {
    fixture_0, fixture_1, fixture_2, fixture_3, fixture_4, fixture_5, fixture_6, fixture_7,
};

/* Why an engine is not to be had, or NULL if it is. The question is put to a child. */
static const char *engine_lack(const char *engine)
{
    static char reason[128];
    aio_context_t context = 0;
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (!child) {
        setenv("LIBPOSIX_AIO_ENGINE", engine, 1);
        _exit(strcmp(posix_aio_engine(), engine) != 0);
    }
    if (child > 0 && waitpid(child, &status, 0) == child && status == 0)
        return NULL;
    if (syscall(SYS_io_setup, 1, &context))
        snprintf(reason, sizeof(reason), "kernel AIO is not to be had: io_setup: %s",
                 strerror(errno));
    else
        snprintf(reason, sizeof(reason), "the library did not choose it (status %#x)", status);
    if (context)
        syscall(SYS_io_destroy, context);
    return reason;
}

/* Why the slow filesystem is not to be had, or NULL if it is. */
static const char *slowfs_lack(void)
{
    static char reason[128];
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (!child)
        _exit(-slowfs_start() & 0xff);
    waitpid(child, &status, 0);
    if (status == 0)
        return NULL;
    snprintf(reason, sizeof(reason), "the tests' FUSE filesystem is not to be had: %s",
             strerror(WEXITSTATUS(status)));
    return reason;
}

/* Why the tests' directory is on no filesystem of this machine's own, or not on ext4; NULL if it is. */
static const char *local_lack(bool ext4)
{
    struct statfs fs;

    if (statfs(".", &fs) == 0)
        switch (fs.f_type) {
        case EXT4_SUPER_MAGIC:
            return NULL;
        case XFS_SUPER_MAGIC:
        case BTRFS_SUPER_MAGIC:
        case F2FS_SUPER_MAGIC:
            if (!ext4)
                return NULL;
        }
    return ext4 ? "the tests' directory is not on ext4"
                : "the tests' directory is not on ext4, XFS, Btrfs or F2FS";
}

/* What is lacking, found out once. */
static const char *engine_lacks[T_COUNT(engines)], *slowfs_lacks;

static void look_around(const struct t_part *parts)
{
    bool slowfs = false;

    for (; parts->name; parts++)
        slowfs |= parts->need & T_SLOWFS;
    for (size_t i = 0; i < T_COUNT(engines); i++)
        engine_lacks[i] = engine_lack(engines[i]);
    if (slowfs)
        slowfs_lacks = slowfs_lack();
}

static const char *missing;
static char names[T_COUNT(fixtures)][128];

START_TEST(everything_that_is_required_is_there)
{
    ck_abort_msg("skipped, but T_REQUIRE_ENGINES is set: %s", missing);
}
END_TEST

/* That this process may run on. */
static int processors(void)
{
    cpu_set_t set;

    return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

/* Why a part cannot run with an engine, or NULL if it can. */
static const char *lack(const struct t_part *part, size_t engine, bool *excused)
{
    *excused = true;
    if (t_watched() && part->need & T_NO_SANITIZER)
        return "not under a sanitizer, whose own threads and locks it would see";
    if (T_HANDLERS_LATE && part->need & T_HANDLERS)
        return "ThreadSanitizer delays signal handlers";
    if (T_HANDLERS_LATE && part->need & T_QUICK)
        return "under ThreadSanitizer no thread gets through some calls in time";
    if ((getenv("T_VALGRIND") || getenv("T_EMULATED")) && part->need & (T_PROMPT | T_QUICK))
        return "emulated, no thread gets from one call to the next in time";
    if (part->need & T_PARALLEL && processors() < 2)
        return "on one processor threads are late that wake others";
    *excused = false;
    if (engine_lacks[engine])
        return engine_lacks[engine];
    if (part->need & (T_LOCAL | T_EXT4) && local_lack(part->need & T_EXT4))
        return local_lack(part->need & T_EXT4);
    return part->need & T_SLOWFS ? slowfs_lacks : NULL;
}

/* Adds a part for one engine. Returns whether its surroundings' place has been used. */
static bool add_part(Suite *suite, const struct t_part *part, size_t engine, size_t place)
{
    const char *required = getenv("T_REQUIRE_ENGINES");
    bool excused;
    const char *reason = lack(part, engine, &excused);
    char *name = names[place];
    TCase *tests;

    snprintf(name, sizeof(names[0]), "%s, engine %s", part->name, engines[engine]);
    if (reason) {
        printf("SKIP: %s: %s\n", name, reason);
        if (excused || !required || strcmp(required, "1"))
            return false;
        missing = reason;
    }
    surroundings[place] = (struct surroundings){ part, engines[engine] };
    tests = tcase_create(name);
    tcase_set_timeout(tests, scale() > 1 ? 600 : 120);
    if (reason) {
        tcase_add_test(tests, everything_that_is_required_is_there);
    } else {
        tcase_add_checked_fixture(tests, fixtures[place], NULL);
        part->add(tests);
    }
    suite_add_tcase(suite, tests);
    return true;
}

static bool is_about(const struct t_part *part, const char *engine)
{
    const char *only = part->need & T_KERNEL ? "kernel" : part->need & T_POOL ? "pool" : engine;

    return !strcmp(only, engine);
}

int t_main(const char *theme, const struct t_part *parts)
{
    Suite *suite = suite_create(theme);
    SRunner *runner = srunner_create(suite);
    size_t place = 0;
    int failures;

    setvbuf(stdout, NULL, _IOLBF, 0);
    look_around(parts);
    for (; parts->name; parts++)
        for (size_t i = 0; i < T_COUNT(engines) && place < T_COUNT(fixtures); i++)
            if (is_about(parts, engines[i]))
                place += add_part(suite, parts, i, place);
    srunner_run_all(runner, CK_ENV);
    failures = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Systems that refuse. */

void t_forbid(unsigned int call, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int) error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = { .len = T_COUNT(filter), .filter = filter };

    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* Waiting. */

double t_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

void t_moment(void)
{
    const struct timespec moment = { .tv_nsec = 500000 };

    nanosleep(&moment, NULL);
}

unsigned int t_close_unseen(const char *file)
{
    DIR *descriptors = opendir("/proc/self/fd");
    const struct dirent *each;
    char file_name[64];
    unsigned int closed = 0;
    ssize_t n;

    ck_assert_ptr_nonnull(descriptors);
    while ((each = readdir(descriptors))) {
        n = readlinkat(dirfd(descriptors), each->d_name, file_name, sizeof file_name - 1);
        if (n < 0)
            continue;
        file_name[n] = '\0';
        if (!strcmp(file_name, file) && syscall(SYS_close, atoi(each->d_name)) == 0)
            closed++;
    }
    closedir(descriptors);
    return closed;
}
