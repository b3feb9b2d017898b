/* The pool of randomness: nothing twice, not across threads and not across a fork, and nothing kept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

#include "crypto/random.c"

static bool all_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

static void gives_any_size(void **state)
{
	static uint8_t out[3 * POOL_LEN + 2];
	static const unsigned sizes[] = {0, 1, 16, 100, POOL_LEN - 1, POOL_LEN, POOL_LEN + 1, 3 * POOL_LEN};

	for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		memset(out, 0, sizeof out);
		assert_int_equal(random_block(out + 1, sizes[i]), 0);
		assert_int_equal(out[0], 0);
		assert_int_equal(out[1 + sizes[i]], 0);
		if (sizes[i] >= 16)
			assert_false(all_zero(out + 1 + sizes[i] - 16, 16));
	}
}

/* 16-byte draws: a repeat among a hundred thousand would be no accident. */
static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static void never_repeats(void **state)
{
	enum { DRAWS = 100000 };
	static uint8_t drawn[DRAWS][16];

	for (unsigned i = 0; i < DRAWS; i++)
		assert_int_equal(random_block(drawn[i], 16), 0);
	qsort(drawn, DRAWS, 16, compare);
	for (unsigned i = 1; i < DRAWS; i++)
		assert_memory_not_equal(drawn[i - 1], drawn[i], 16);
}

static void keeps_nothing_it_gave(void **state)
{
	uint8_t out[100];

	assert_int_equal(random_block(out, sizeof out), 0);
	assert_true(all_zero(pool.bytes, POOL_LEN - pool.left));
	assert_true(pool.left < POOL_LEN);
}

static void fork_gets_its_own(void **state)
{
	uint8_t mine[32];
	uint8_t childs[32];
	int ends[2];

	assert_int_equal(random_block(mine, 1), 0);
	assert_true(pool.left >= sizeof mine); /* the child inherits what we draw next */
	assert_int_equal(pipe(ends), 0);

	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		bool sent = random_block(childs, sizeof childs) == 0 &&
			    write(ends[1], childs, sizeof childs) == sizeof childs;

		_exit(sent ? 0 : 1);
	}
	assert_int_equal(random_block(mine, sizeof mine), 0);
	assert_int_equal(read(ends[0], childs, sizeof childs), sizeof childs);
	assert_memory_not_equal(mine, childs, sizeof mine);
	assert_int_equal(waitpid(child, NULL, 0), child);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void *draw(void *out)
{
	return random_block(out, 32) == 0 ? out : NULL;
}

static void threads_get_their_own(void **state)
{
	uint8_t drawn[8][32];
	pthread_t threads[8];
	void *done;

	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, draw, drawn[i]), 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(threads[i], &done), 0);
		assert_non_null(done);
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(drawn[i], drawn[j], 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_any_size),        cmocka_unit_test(never_repeats),
		cmocka_unit_test(keeps_nothing_it_gave), cmocka_unit_test(fork_gets_its_own),
		cmocka_unit_test(threads_get_their_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
