/* The benchmarks' shim: one that failed makes the whole program fail, so that nobody takes its figures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/shim.h"

static bool fails;

static void measure(struct bench *bench, void *context)
{
	(void)context;
	while (bench_next(bench))
		bench_took(bench, 1e-6);
	if (fails)
		bench_fail(bench, "as it was told");
}

/* In a process of its own: Google Benchmark starts once. Returns whether bench_run() said that all went well.
 */
static bool run(char *option)
{
	char name[] = "test", *arguments[] = {name, option, NULL};
	int count = 2, status = 0;
	pid_t child = fork();

	if (child == 0) {
		bench_register("measure", measure, NULL);
		_exit(bench_run(&count, arguments) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 0;
}

static void a_benchmark_that_failed_is_no_success(void **state)
{
	char once[] = "--benchmark_repetitions=1", none[] = "--benchmark_no_such_option";

	(void)state;
	assert_true(run(once));
	assert_false(run(none));
	fails = true;
	assert_false(run(once));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(a_benchmark_that_failed_is_no_success)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
