/* A burst neither allocates nor calls the kernel. The allocator is counted by taking its place; the kernel is
 * made to kill the child process that asks for anything but its exit. Each has its positive control.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/quiet.h"
#include "tests/unit/sample.h"

enum { BURSTS = 40 };

static struct sample samples[RECORD_BURST_MAX];
static uint8_t buffers[RECORD_BURST_MAX][16 + SLOT];
static struct record_op to_open[RECORD_BURST_MAX];
static struct record_op to_seal[RECORD_BURST_MAX];

/* A mix of all protections and lengths, one in four damaged. */
static void ops_make(void)
{
	for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
		sample_make(&samples[i], 1 + i % (PROTECTIONS - 1), random_below(1500), i % 3 ? 0 : 8);
		sample_expect(&samples[i]);
		sample_present(&samples[i], buffers[i] + 16);
		if (i % 4 == 0)
			samples[i].op.fragment[random_below(samples[i].expected_len)] ^= 1;
		to_open[i] = samples[i].op;
	}
}

/* Opens once, then seals again and again: often enough for every pool to be refilled. */
static void run(struct record_crypto *crypto)
{
	record_open_burst(crypto, to_open, RECORD_BURST_MAX);
	for (unsigned burst = 0; burst < BURSTS; burst++) {
		for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
			sample_offer(&samples[i], buffers[i] + 16);
			to_seal[i] = samples[i].op;
		}
		record_seal_burst(crypto, to_seal, RECORD_BURST_MAX);
	}
}

static void allocates_nothing(struct record_crypto *crypto)
{
	ops_make();

	unsigned before = allocator_calls;

	run(crypto);
	assert_int_equal(allocator_calls, before);
}

static void counts_allocations(void **state)
{
	void *volatile memory; /* or the compiler leaves both calls out */
	unsigned before = allocator_calls;

	memory = malloc(1);
	free(memory);
	assert_int_equal(allocator_calls, before + 2);
}

static void counts_aligned_and_array_allocations(void **state)
{
	void *volatile memory;
	void *aligned = NULL;
	unsigned before = allocator_calls;

	memory = aligned_alloc(64, 64);
	free(memory);
	assert_int_equal(allocator_calls, before + 2);
	memory = memalign(64, 64);
	free(memory);
	assert_int_equal(allocator_calls, before + 4);
	assert_int_equal(posix_memalign(&aligned, 64, 64), 0);
	memory = aligned;
	free(memory);
	assert_int_equal(allocator_calls, before + 6);
	memory = reallocarray(NULL, 2, 8);
	free(memory);
	assert_int_equal(allocator_calls, before + 8);
}

/* How a child ends that runs bursts (or, without crypto, one system call) under that ban. */
static int child_end(struct record_crypto *crypto)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		forbid_system_calls();
		if (crypto)
			run(crypto);
		else
			(void)getppid();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void calls_no_kernel(struct record_crypto *crypto)
{
	ops_make();
	assert_int_equal(child_end(crypto), 0);
}

static void catches_system_calls(void **state)
{
	int status = child_end(NULL);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

EACH_ENGINE(allocates_nothing)
EACH_ENGINE(calls_no_kernel)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_allocations),
		cmocka_unit_test(counts_aligned_and_array_allocations),
		cmocka_unit_test(each_allocates_nothing),
		cmocka_unit_test(catches_system_calls),
		cmocka_unit_test(each_calls_no_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
