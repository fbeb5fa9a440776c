// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the kernel's tests, on the kernel that is booted and on the file system that is mounted. A test of
 * what the series does must fail on a kernel without it: there, only that counts as passed.
 *
 * usage: kernel-tests [TEST...]; T_SLOWER=FACTOR on a slow kernel (t.h); the times that are printed are real
 */
#include "t.h"

static const struct t_test *const suites[] = {
	t_tests_read, t_tests_write, t_tests_cancel, t_tests_limit, t_tests_identity, t_tests_stress,
};

static bool is_wanted(const char *name, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return true;
	return argc == 1;
}

static bool run(const struct t_test *test)
{
	bool must_fail = test->unpatched == FAILS && !t_has_series();
	Suite *suite = suite_create(test->name);
	TCase *tcase = tcase_create(test->name);
	SRunner *runner = srunner_create(suite);
	int64_t begin = t_now_us();
	TestResult **results;
	bool failed, passed;

	suite_add_tcase(suite, tcase);
	tcase_set_timeout(tcase, test->seconds * t_slower());
	tcase_add_test(tcase, *test->function);
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner) > 0;
	passed = failed == must_fail;
	printf("%s %s %s%s (%.1f s)\n", passed ? "ok    " : "NOT OK", getenv("T_FILESYSTEM"), test->name,
	       must_fail ? ", which must fail here" : "", (double)(t_now_us() - begin) * t_slower() / 1e6);
	results = srunner_results(runner);
	if (failed)
		printf("       %s:%d: %s\n", tr_lfile(results[0]), tr_lno(results[0]), tr_msg(results[0]));
	fflush(stdout);
	free(results);
	srunner_free(runner);
	return passed;
}

int main(int argc, char **argv)
{
	int passed = 0, failed = 0;

	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		for (const struct t_test *test = suites[i]; test->name; test++) {
			if (!is_wanted(test->name, argc, argv) || (test->only_on && !t_is_filesystem(test->only_on)))
				continue;
			if (run(test))
				passed++;
			else
				failed++;
			if (t_restore()) {
				printf("NOT OK the disk cannot be restored\n");
				return 1;
			}
		}
	}
	printf("%d passed, %d failed\n", passed, failed);
	return failed || !passed;
}
