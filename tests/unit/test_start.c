/* A start that fails half way: whatever runs by then has ended before anything is freed, and the operator is
 * told. Each case is a process of its own, because DPDK starts once in each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

int gateway_main(int argc, char **argv);
#define main gateway_main
#include "dataplane/main.c" /* NOLINT(bugprone-suspicious-include): its statics */
#undef main

enum { WORKERS = 2 };

static char directory[] = "/tmp/sluice-start-XXXXXX";
static unsigned launches, fail_at; /* counted from 1; 0: none */
static _Atomic unsigned ran, ended;
static lcore_function_t *worker;

/* Until the worker that runs has used its memory for a while. */
static int run_worker(void *argument)
{
	int ret;

	atomic_fetch_add(&ran, 1);
	ret = worker(argument);
	atomic_fetch_add(&ended, 1);
	return ret;
}

int __real_rte_eal_remote_launch(lcore_function_t *f, void *argument, unsigned lcore);
int __wrap_rte_eal_remote_launch(lcore_function_t *f, void *argument, unsigned lcore);

int __wrap_rte_eal_remote_launch(lcore_function_t *f, void *argument, unsigned lcore)
{
	int ret;

	if (++launches == fail_at)
		return -EBUSY;
	worker = f;
	ret = __real_rte_eal_remote_launch(run_worker, argument, lcore);
	while (ret == 0 && atomic_load(&ran) < launches)
		usleep(1000);
	return ret;
}

static char *write_file(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static char *write_file(const char *name, const char *format, ...)
{
	static char path[160];
	va_list arguments;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", directory, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fchmod(fileno(f), 0600), 0);
	va_start(arguments, format);
	vfprintf(f, format, arguments);
	va_end(arguments);
	assert_int_equal(fclose(f), 0);
	return path;
}

/* In a process of its own: its exit status says what was wrong. */
static int start(unsigned failing)
{
	char *arguments[] = {(char[]){"sluice"}, (char[]){"--config"},
			     write_file("sluice.yaml",
					"port: {ipv4: 192.0.2.1/24, mbufs: 4096, eal: [--no-huge, -m, "
					"\"96\", --no-pci, --no-telemetry, "
					"--no-shconf, --vdev, \"net_null0,no-rx=1\"]}\n"
					"workers: {count: %d, idle: sleep}\n"
					"sessions: {max: 1024}\n"
					"credentials: {psk_file: %s/psk}\n"
					"ring: {socket: %s/ring}\nadmin: {socket: %s/admin}\n",
					WORKERS, directory, directory, directory),
			     NULL};
	int status;

	fail_at = failing;
	status = gateway_main(3, arguments);
	if (status != (failing ? 1 : 0))
		return 2;
	if (launches != (failing ? failing : WORKERS) ||
	    atomic_load(&ran) != (failing ? failing - 1 : WORKERS))
		return 3;
	return atomic_load(&ended) == atomic_load(&ran) ? 0 : 4;
}

static void expect_clean_end(unsigned failing, const char *sentence)
{
	char said[4096], *end = said;
	int fds[2], status;
	ssize_t got;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		_exit(start(failing));
	}
	close(fds[1]);
	while ((got = read(fds[0], end, (size_t)(said + sizeof said - 1 - end))) > 0) {
		end += got;
		*end = 0;
		if (!failing && strstr(said, "sluice: ready: ")) {
			failing = UINT32_MAX;
			kill(child, SIGTERM);
		}
	}
	*end = 0;
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !strstr(said, sentence))
		fail_msg("status %x: %s", (unsigned)status, said);
}

static void all_start_and_stop(void **state)
{
	expect_clean_end(0, "closing every session");
}

static void the_second_worker_does_not_start(void **state)
{
	expect_clean_end(2, "sluice: worker 1 does not start on lcore 2: Device or resource busy");
}

static void no_worker_starts(void **state)
{
	expect_clean_end(1, "sluice: worker 0 does not start on lcore 1: Device or resource busy");
}

static int set_up(void **state)
{
	if (!mkdtemp(directory))
		return -1;
	(void)write_file("psk", "device-1:00112233445566778899aabbccddeeff\n");
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"psk", "sluice.yaml", "ring", "admin"};
	char path[160];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_start_and_stop),
		cmocka_unit_test(the_second_worker_does_not_start),
		cmocka_unit_test(no_worker_starts),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
