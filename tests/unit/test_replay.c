/* RFC 6347 4.1.2.6. The window and a plain array of everything ever seen agree on any order of arrival [R01];
 * a check changes nothing [R02]; the ends of the 48-bit range are like its middle [R12]. */
#include "dataplane/replay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SPAN = 4096 }; /* sequence numbers of one run, counted from base */

struct model {
	bool seen[SPAN];
	uint64_t next; /* one more than the highest, from base */
};

static bool model_new(const struct model *m, uint64_t seq)
{
	return !m->seen[seq] && seq + REPLAY_WINDOW >= m->next;
}

static bool model_commit(struct model *m, uint64_t seq, bool *newest)
{
	*newest = seq >= m->next;
	if (!model_new(m, seq))
		return false;
	m->seen[seq] = true;
	if (*newest)
		m->next = seq + 1;
	return true;
}

/* Wanders forward, with jumps around the window's edges. */
static uint64_t next_seq(const struct model *m)
{
	uint64_t reach = (uint64_t)rand() % 8 ? REPLAY_WINDOW + 4 : 3 * REPLAY_WINDOW;
	uint64_t low = m->next > reach ? m->next - reach : 0;
	uint64_t seq = low + (uint64_t)rand() % (reach + (rand() % 16 ? 3 : 2 * REPLAY_WINDOW));

	return seq < SPAN ? seq : SPAN - 1;
}

static void agrees_with_an_array(uint64_t base, unsigned runs)
{
	for (unsigned run = 0; run < runs; run++) {
		struct replay_window w = {.highest = 0};
		struct model m = {.next = 0};

		if (base > 0) { /* up to base - 1 everything came */
			w.highest = base;
			w.seen = ~0ULL;
		}
		while (m.next < SPAN) {
			uint64_t seq = next_seq(&m);
			struct replay_window before = w;
			bool newest = true;
			bool model_newest;

			assert_int_equal(replay_check(&w, base + seq), model_new(&m, seq));
			assert_memory_equal(&w, &before, sizeof(w));
			if (rand() % 4 == 0)
				continue; /* its tag was wrong: never committed */
			assert_int_equal(replay_commit(&w, base + seq, &newest),
					 model_commit(&m, seq, &model_newest));
			assert_int_equal(newest, model_newest);
		}
	}
}

static void from_the_start(void **state)
{
	agrees_with_an_array(0, 1500);
	(void)state;
}

static void in_the_middle(void **state)
{
	agrees_with_an_array(1ULL << 40, 1000);
	(void)state;
}

/* [R12] Up to 2^48 - 1. */
static void at_the_end(void **state)
{
	agrees_with_an_array((1ULL << 48) - SPAN, 1000);
	(void)state;
}

/* [R01] What lies exactly at the edges, and jumps of every length around the width. */
static void edges(void **state)
{
	for (uint64_t ahead = 1; ahead < 3 * REPLAY_WINDOW; ahead++) {
		struct replay_window w = {.highest = 0};
		bool newest;

		assert_true(replay_commit(&w, 1000, &newest));
		assert_true(replay_commit(&w, 1000 + ahead, &newest));
		assert_true(newest);
		assert_false(replay_check(&w, 1000));
		assert_false(replay_commit(&w, 1000, &newest));
		assert_false(newest);
		for (uint64_t seq = 900; seq < 1000 + ahead; seq++)
			assert_int_equal(replay_check(&w, seq),
					 seq != 1000 && seq + REPLAY_WINDOW > 1000 + ahead);
		assert_true(replay_check(&w, 1001 + ahead));
	}
	(void)state;
}

/* Sequence number 0 is the first of an epoch and may come late. */
static void zero(void **state)
{
	struct replay_window w = {.highest = 0};
	bool newest;

	assert_true(replay_check(&w, 0));
	assert_true(replay_commit(&w, 1, &newest));
	assert_true(replay_commit(&w, 0, &newest));
	assert_false(newest);
	assert_false(replay_commit(&w, 0, &newest));
	assert_false(replay_commit(&w, 1, &newest));
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_the_start), cmocka_unit_test(in_the_middle),
		cmocka_unit_test(at_the_end),     cmocka_unit_test(edges),
		cmocka_unit_test(zero),
	};

	srand(23);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
