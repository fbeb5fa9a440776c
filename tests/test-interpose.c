/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Taking the calls over from the C library: by linking, by LD_PRELOAD, by dlopen; programs new and
 * old; and what the library exports to that end.
 */
#include "t.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

enum { READS = 20, WRITES = 20, LISTED = 10 }; /* of plain.c */

static const char *const names[] = {
    "aio_cancel",        "aio_cancel64",     "aio_error",      "aio_error64", "aio_fsync",
    "aio_fsync64",       "aio_init",         "aio_read",       "aio_read64",  "aio_return",
    "aio_return64",      "aio_suspend",      "aio_suspend64",  "aio_write",   "aio_write64",
    "lio_listio",        "lio_listio64",     "close",          "dup2",        "dup3",
    "close_range",       "closefrom",        "fclose",         "freopen",     "freopen64",
    "posix_aio_version", "posix_aio_engine", "posix_aio_stat", "setrlimit",   "setrlimit64",
    "prlimit",           "prlimit64",        "ulimit",
};

static bool is_aio(const char *name)
{
    return strstr(name, "aio_") || strstr(name, "lio_");
}

static bool is_ours(const void *address)
{
    Dl_info where;

    ck_assert_int_ne(dladdr(address, &where), 0);
    return strstr(where.dli_fname, "libposix-aio.so") != NULL;
}

START_TEST(every_name_is_bound_to_the_library)
{
    for (size_t i = 0; i < T_COUNT(names); i++) {
        const void *address = dlsym(RTLD_DEFAULT, names[i]);

        /* A sanitizer takes over some of them itself, and passes them on. */
        if (T_SANITIZED && !is_aio(names[i]))
            continue;

        ck_assert_msg(address && is_ours(address), "%s is not the library's", names[i]);
    }
    ck_assert(is_ours((void *) aio_read) && is_ours((void *) aio_read64));
    ck_assert(is_ours((void *) aio_write) && is_ours((void *) lio_listio));
    ck_assert(is_ours((void *) aio_error) && is_ours((void *) aio_suspend64));
}
END_TEST

START_TEST(names_with_64_are_aliases)
{
    ck_assert_ptr_eq((void *) aio_read, (void *) aio_read64);
    ck_assert_ptr_eq((void *) aio_write, (void *) aio_write64);
    ck_assert_ptr_eq((void *) aio_fsync, (void *) aio_fsync64);
    ck_assert_ptr_eq((void *) aio_error, (void *) aio_error64);
    ck_assert_ptr_eq((void *) aio_return, (void *) aio_return64);
    ck_assert_ptr_eq((void *) aio_suspend, (void *) aio_suspend64);
    ck_assert_ptr_eq((void *) aio_cancel, (void *) aio_cancel64);
    ck_assert_ptr_eq((void *) lio_listio, (void *) lio_listio64);
}
END_TEST

/* The symbols that a file defines, one a line, sorted, without version or address. */
static FILE *symbols_of(const char *options, const char *path)
{
    char command[1024];
    FILE *lines;

    snprintf(command, sizeof(command),
             "nm %s --defined-only '%s' | awk 'NF == 3 { print $3 }' | LC_ALL=C sort", options,
             path);
    lines = popen(command, "r");
    ck_assert_ptr_nonnull(lines);
    return lines;
}

START_TEST(exported_symbols_are_those_of_the_list)
{
    FILE *found = symbols_of("-D", t_setting("T_LIBRARY"));
    FILE *expected = fopen(t_setting("T_SYMBOLS"), "r");
    char is[128], ought[128];

    ck_assert_ptr_nonnull(expected);
    while (fgets(ought, sizeof(ought), expected)) {
        ck_assert_msg(fgets(is, sizeof(is), found), "not exported: %s", ought);
        ck_assert_str_eq(is, ought);
    }
    ck_assert_msg(!fgets(is, sizeof(is), found), "exported, but not in the list: %s", is);
    fclose(expected);
    ck_assert_int_eq(pclose(found), 0);
}
END_TEST

/* A program that links the archive keeps the C library's close. */
START_TEST(archive_does_not_take_over_close)
{
    FILE *found;
    char line[256];
    size_t lines = 0;

    if (access(t_setting("T_ARCHIVE"), R_OK)) {
        printf("SKIP: there is no static library in this build\n");
        return;
    }
    found = symbols_of("-g", t_setting("T_ARCHIVE"));
    while (fgets(line, sizeof(line), found)) {
        line[strcspn(line, "\n")] = 0;
        for (size_t i = 0; i < T_COUNT(names); i++)
            if (!strncmp(names[i], "close", 5) || !strncmp(names[i], "dup", 3) ||
                !strncmp(names[i], "f", 1))
                ck_assert_str_ne(line, names[i]);
        lines++;
    }
    ck_assert_uint_gt(lines, 0);
    pclose(found);
}
END_TEST

/* Programs that know nothing of the library. */

static int run(const char *program, const char *argument, const char *variables)
{
    char command[2048];

    snprintf(command, sizeof(command), "%s ASAN_OPTIONS=verify_asan_link_order=0 '%s/%s' %s",
             variables, t_setting("T_PROGRAMS"), program, argument);
    fflush(NULL);
    return system(command);
}

/* The sum of the counters whose names begin so, as the program posix-aio prints them. */
static unsigned long counted(const char *file, const char *beginning)
{
    char command[1024], name[64];
    unsigned long value, sum = 0;
    FILE *lines;

    snprintf(command, sizeof(command), "'%s' stat %s", t_setting("T_TOOL"), file);
    lines = popen(command, "r");
    ck_assert_ptr_nonnull(lines);
    while (fscanf(lines, "%63s %lu%*[^\n]", name, &value) >= 1)
        if (!strncmp(name, beginning, strlen(beginning)) && !strstr(name, "latency"))
            sum += value;
    ck_assert_int_eq(pclose(lines), 0);
    return sum;
}

static void assert_goes_through(const char *program, const char *end)
{
    const char *file = "t-preload-stats";
    char variables[1024];
    int status;

    unlink(file);
    snprintf(variables, sizeof(variables), "LD_PRELOAD='%s' LIBPOSIX_AIO_STATS=%s",
             t_setting("T_LIBRARY"), file);
    status = run(program, end, variables);
    ck_assert_msg(status == 0 || !strcmp(end, "kill"), "%s: status %#x", program, status);
    ck_assert_uint_eq(counted(file, "read."), READS + LISTED);
    ck_assert_uint_eq(counted(file, "write."), WRITES);
    ck_assert_uint_eq(counted(file, "fsync."), 1);
    ck_assert_uint_eq(counted(file, "canceled"), 1);
    unlink(file);
}

START_TEST(programs_are_taken_over_by_preloading)
{
    ck_assert_int_eq(run("plain", "exit", ""), 0);
    assert_goes_through("plain", "exit");
}
END_TEST

START_TEST(old_programs_are_taken_over_by_preloading)
{
    ck_assert_int_eq(run("plain-old", "exit", ""), 0);
    assert_goes_through("plain-old", "exit");
}
END_TEST

START_TEST(statistics_survive_immediate_exit_and_sigkill)
{
    assert_goes_through("plain", "_exit");
    assert_goes_through("plain", "kill");
}
END_TEST

START_TEST(library_can_be_loaded_and_let_go)
{
    ck_assert_int_eq(run("loader", t_setting("T_LIBRARY"), ""), 0);
}
END_TEST

static void add_names(TCase *tests)
{
    tcase_add_test(tests, every_name_is_bound_to_the_library);
    tcase_add_test(tests, names_with_64_are_aliases);
    tcase_add_test(tests, exported_symbols_are_those_of_the_list);
    tcase_add_test(tests, archive_does_not_take_over_close);
}

static void add_programs(TCase *tests)
{
    tcase_add_test(tests, programs_are_taken_over_by_preloading);
    tcase_add_test(tests, old_programs_are_taken_over_by_preloading);
    tcase_add_test(tests, statistics_survive_immediate_exit_and_sigkill);
}

/* A sanitizer's runtime must be there from the start. */
static void add_loading(TCase *tests)
{
    tcase_add_test(tests, library_can_be_loaded_and_let_go);
}

int main(void)
{
    const struct t_part parts[] = {
        { .name = "names", .add = add_names },
        { .name = "programs", .add = add_programs },
        { .name = "loading", .add = add_loading, .need = T_NO_SANITIZER },
        { .name = NULL },
    };

    return t_main("interpose", parts);
}
