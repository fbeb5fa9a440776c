/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the environment, aio_init and sysconf say. A child reads the environment anew, so each
 * setting is tried in one.
 */
#include "t.h"

#include <stdlib.h>

enum { SIZE = 1 << 20 };

/* The library's threads have room for what the program keeps in each of its threads. */
static _Thread_local volatile unsigned char own_to_each_thread[SIZE / 2];

static struct aiocb cb, other;
static unsigned char buf[SIZE];

static void assert_requests_work(void)
{
    int fd = t_cold_file(SIZE);

    t_submit_read(&cb, fd, buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
    t_assert_data(buf, SIZE, 0);
    t_submit_write(&cb, fd, buf, SIZE, 0);
    t_wait_done(&cb, SIZE);
}

struct setting {
    const char *name;
    const char *value;
    const char *engine; /* that must be chosen; NULL for either */
};

static void try_setting(void *argument)
{
    const struct setting *setting = argument;
    const char *engine;

    setenv(setting->name, setting->value, 1);
    engine = posix_aio_engine();
    if (setting->engine)
        ck_assert_str_eq(engine, setting->engine);
    ck_assert(!strcmp(engine, "kernel") || !strcmp(engine, "pool"));
    assert_requests_work();
}

START_TEST(thread_local_storage_may_be_large)
{
    own_to_each_thread[SIZE / 2 - 1] = 1;
    assert_requests_work();
    t_finish_pending(t_start_pending(&cb), &cb);
    ck_assert_uint_eq(own_to_each_thread[SIZE / 2 - 1], 1);
}
END_TEST

START_TEST(engine_is_chosen_by_the_environment)
{
    struct setting settings[] = {
        { "LIBPOSIX_AIO_ENGINE", "pool", "pool" },
        { "LIBPOSIX_AIO_ENGINE", getenv("LIBPOSIX_AIO_ENGINE"), posix_aio_engine() },
        { "LIBPOSIX_AIO_ENGINE", "auto", NULL },
    };

    for (size_t i = 0; i < T_COUNT(settings); i++)
        t_reap(t_child(try_setting, &settings[i]));
}
END_TEST

START_TEST(settings_that_mean_nothing_are_the_default)
{
    struct setting settings[] = {
        { "LIBPOSIX_AIO_ENGINE", "", NULL },
        { "LIBPOSIX_AIO_ENGINE", "steam", NULL },
        { "LIBPOSIX_AIO_ORDER", "alphabetical", NULL },
        { "LIBPOSIX_AIO_ORDER", "", NULL },
    };

    for (size_t i = 0; i < T_COUNT(settings); i++)
        t_reap(t_child(try_setting, &settings[i]));
}
END_TEST

/* Statistics that can't be kept are no reason to fail. */
static void try_bad_statistics(void *path)
{
    uint64_t value;

    setenv("LIBPOSIX_AIO_STATS", path, 1);
    assert_requests_work();
    errno = 0;
    ck_assert_int_eq(posix_aio_stat("read.inline", &value), -1);
    ck_assert_int_eq(errno, ENODATA);
}

START_TEST(statistics_that_cannot_be_kept_are_done_without)
{
    const char *const paths[] = { "/nonexistent/stats", "/proc/version", "", "/" };

    for (size_t i = 0; i < T_COUNT(paths); i++)
        t_reap(t_child(try_bad_statistics, (void *) paths[i]));
}
END_TEST

START_TEST(version_is_that_of_the_header)
{
    ck_assert_uint_eq(posix_aio_version(), POSIX_AIO_VERSION);
}
END_TEST

/* aio_init and sysconf. */

static void try_init(void *argument)
{
    aio_init(argument);
    assert_requests_work();
    aio_init(argument);
    assert_requests_work();
}

START_TEST(aio_init_is_accepted)
{
    struct aioinit inits[] = {
        { .aio_threads = 20, .aio_num = 64, .aio_idle_time = 1 },
        { .aio_threads = 1, .aio_num = 1 },
        { .aio_threads = 0, .aio_num = 0, .aio_idle_time = 0 },
        { .aio_threads = -1, .aio_num = -1, .aio_idle_time = -1 },
        { .aio_threads = INT_MAX, .aio_num = INT_MAX, .aio_idle_time = INT_MAX },
    };

    for (size_t i = 0; i < T_COUNT(inits); i++)
        t_reap(t_child(try_init, &inits[i]));
}
END_TEST

/* One thread for the pool must do, and may not be what streams or notifications wait for. */
START_TEST(aio_init_with_one_thread_stops_nothing)
{
    const struct aioinit init = { .aio_threads = 1, .aio_num = 1, .aio_idle_time = 1 };
    struct t_pair p = t_pipe();
    int fd = t_slow_file(0, SIZE, O_RDWR);

    aio_init(&init);
    slowfs_hold(SLOWFS_READ, 1);
    t_submit_read(&other, fd, buf, 100, 0);
    t_until(slowfs_held(SLOWFS_READ) == 1);
    t_submit_read(&cb, p.in, buf + 100, 100, 0);
    t_put(p.out, 0, 100);
    t_wait_done(&cb, 100);
    slowfs_release(SLOWFS_READ, 1);
    t_wait_done(&other, 100);
}
END_TEST

START_TEST(sysconf_tells_of_no_limit)
{
    ck_assert_int_eq(sysconf(_SC_AIO_LISTIO_MAX), -1);
    ck_assert_int_eq(sysconf(_SC_AIO_MAX), -1);
    ck_assert_int_eq(sysconf(_SC_AIO_PRIO_DELTA_MAX), 20);
}
END_TEST

static void add_environment(TCase *tests)
{
    tcase_add_test(tests, thread_local_storage_may_be_large);
    tcase_add_test(tests, engine_is_chosen_by_the_environment);
    tcase_add_test(tests, settings_that_mean_nothing_are_the_default);
    tcase_add_test(tests, statistics_that_cannot_be_kept_are_done_without);
    tcase_add_test(tests, version_is_that_of_the_header);
    tcase_add_test(tests, aio_init_is_accepted);
    tcase_add_test(tests, sysconf_tells_of_no_limit);
}

static void add_slow(TCase *tests)
{
    tcase_add_test(tests, aio_init_with_one_thread_stops_nothing);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "environment", .add = add_environment },
        { .name = "slow files", .add = add_slow, .need = T_SLOWFS },
        { .name = NULL },
    };

    return t_main("environment", parts);
}
