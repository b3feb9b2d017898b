/* Look-ups that are answered later, at chosen times: who is told when, what is kept, and how many. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/lookups.h"

enum { TIMEOUT = 1000, KEEP = 5000, WAIT = 10, MAX = 4 };

static struct lookups *new_lookups(void)
{
	struct lookups *ls = lookups_new(MAX, TIMEOUT, KEEP, 12345);

	assert_non_null(ls);
	return ls;
}

static struct lookup *find(struct lookups *ls, const char *key)
{
	return lookups_find(ls, (const uint8_t *)key, strlen(key));
}

static struct lookup *ask(struct lookups *ls, const char *key)
{
	assert_null(find(ls, key));
	return lookups_add(ls, (const uint8_t *)key, strlen(key));
}

static struct lookup *ask_and_send(struct lookups *ls, const char *key, uint64_t now, struct lookup **by)
{
	struct lookup *l = ask(ls, key);

	assert_non_null(l);
	assert_int_equal(lookups_deadline(ls), 0);
	lookups_timers(ls, now, WAIT);
	assert_ptr_equal(lookups_unsent(ls), l);
	*by = l;
	lookup_sent(ls, l, by);
	assert_null(lookups_unsent(ls));
	return l;
}

/* Found and unknown go the same way at the same times. */
static void test_way_of_an_answer(void **state)
{
	for (int result = 0; result <= 1; result++) {
		struct lookups *ls = new_lookups();
		struct lookup *by, *l = ask_and_send(ls, "a", 100, &by);

		assert_int_equal(lookups_deadline(ls), 100 + TIMEOUT);
		assert_int_equal(lookups_ripe(ls), 0);
		lookup_answer(ls, l, result, "row", 3, 150);
		assert_null(by);
		assert_int_equal(lookups_ripe(ls), 1);
		assert_int_equal(l->hold, LOOKUP_RIPE);
		assert_int_equal(l->result, result);
		assert_int_equal(lookups_deadline(ls), 0); /* ripe only for this turn */
		lookups_timers(ls, 150, WAIT);
		assert_int_equal(l->hold, LOOKUP_RESTS);
		assert_int_equal(lookups_deadline(ls), 150 + KEEP);
		lookup_hold(ls, l); /* somebody else asks */
		lookups_timers(ls, 200, WAIT);
		assert_int_equal(l->hold, LOOKUP_HELD);
		assert_int_equal(lookups_release(ls), 200 + WAIT);
		lookups_timers(ls, 200 + WAIT - 1, WAIT);
		assert_int_equal(l->hold, LOOKUP_HELD);
		lookups_timers(ls, 200 + WAIT, WAIT);
		assert_int_equal(l->hold, LOOKUP_RIPE);
		assert_int_equal(lookups_ripe(ls), 1);
		lookups_timers(ls, 150 + KEEP - 1, WAIT);
		assert_ptr_equal(find(ls, "a"), l);
		lookups_timers(ls, 150 + KEEP, WAIT); /* counted from the answer, not from the last use */
		assert_null(find(ls, "a"));
		assert_int_equal(lookups_deadline(ls), UINT64_MAX);
		lookups_free(ls);
	}
}

static void test_held_in_order(void **state)
{
	struct lookups *ls = new_lookups();
	struct lookup *by, *a = ask_and_send(ls, "a", 1, &by), *b;

	lookup_answer(ls, a, 0, NULL, 0, 2);
	b = ask_and_send(ls, "b", 2, &by);
	lookup_answer(ls, b, 0, NULL, 0, 2);
	lookups_timers(ls, 3, WAIT);
	lookup_hold(ls, a);
	lookups_timers(ls, 10, 100); /* answers took long */
	lookup_hold(ls, b);
	lookups_timers(ls, 11, 1); /* and now they do not */
	assert_int_equal(lookups_release(ls), 110);
	lookups_timers(ls, 110, 1);
	assert_int_equal(lookups_ripe(ls), 2);
	lookups_free(ls);
}

static void test_errors_are_told_once(void **state)
{
	struct lookups *ls = new_lookups();
	struct lookup *by, *l = ask_and_send(ls, "a", 100, &by);
	struct lookup *unsent = ask(ls, "b");

	lookups_timers(ls, 200, WAIT);
	lookups_timers(ls, 100 + TIMEOUT, WAIT); /* sent, and no answer came */
	assert_int_equal(l->result, -ETIMEDOUT);
	assert_int_equal(l->hold, LOOKUP_RIPE);
	assert_null(by);
	assert_int_equal(unsent->step, LOOKUP_ASKED);
	lookups_timers(ls, 200 + TIMEOUT, WAIT); /* never sent */
	assert_null(find(ls, "a"));
	assert_int_equal(unsent->result, -ETIMEDOUT);
	lookups_timers(ls, 201 + TIMEOUT, WAIT);
	assert_null(find(ls, "b"));
	l = ask_and_send(ls, "c", 5000, &by);
	unsent = ask(ls, "d");
	lookups_fail(ls, -ENOTCONN, 5001);
	assert_int_equal(lookups_ripe(ls), 2);
	assert_int_equal(l->result, -ENOTCONN);
	assert_int_equal(unsent->result, -ENOTCONN);
	lookups_free(ls);
}

static void test_sent_again(void **state)
{
	struct lookups *ls = new_lookups();
	struct lookup *by[2], *a = ask_and_send(ls, "a", 100, &by[0]),
			      *b = ask_and_send(ls, "b", 150, &by[1]);
	struct lookup *c = ask(ls, "c");

	lookups_timers(ls, 160, WAIT);
	lookups_unsend(ls);
	assert_null(by[0]);
	assert_null(by[1]);
	assert_ptr_equal(lookups_unsent(ls), a); /* in their order, with the time that they have left */
	lookup_sent(ls, a, &by[0]);
	assert_ptr_equal(lookups_unsent(ls), b);
	lookup_sent(ls, b, &by[1]);
	assert_ptr_equal(lookups_unsent(ls), c);
	lookups_timers(ls, 100 + TIMEOUT, WAIT);
	assert_int_equal(a->result, -ETIMEDOUT);
	assert_int_equal(b->step, LOOKUP_SENT);
	lookups_free(ls);
}

static void test_bound(void **state)
{
	struct lookups *ls = new_lookups();
	struct lookup *by, *a = ask_and_send(ls, "a", 1, &by), *b;

	lookup_answer(ls, a, 1, "row", 3, 1);
	b = ask_and_send(ls, "b", 2, &by);
	lookup_answer(ls, b, 1, "row", 3, 2);
	lookups_timers(ls, 3, WAIT);
	lookup_hold(ls, a); /* somebody waits for it: it stays */
	assert_non_null(ask(ls, "c"));
	assert_non_null(ask(ls, "d"));
	assert_non_null(ask(ls, "e"));
	assert_null(find(ls, "b"));
	assert_null(ask(ls, "f"));
	lookups_timers(ls, 4, WAIT);
	lookups_timers(ls, 4 + WAIT, WAIT);
	assert_int_equal(a->hold, LOOKUP_RIPE);
	lookups_timers(ls, 5 + WAIT, WAIT);
	assert_non_null(ask(ls, "f"));
	assert_null(find(ls, "a"));
	lookups_free(ls);
}

static void test_forgetting(void **state)
{
	struct lookups *ls = new_lookups();
	struct lookup *by, *a = ask_and_send(ls, "a", 1, &by), *b;

	lookup_answer(ls, a, 1, "row", 3, 1);
	b = ask_and_send(ls, "b", 1, &by);
	lookup_answer(ls, b, 0, NULL, 0, 1);
	lookups_timers(ls, 2, WAIT);
	lookup_hold(ls, a);
	lookups_timers(ls, 3, WAIT);
	lookups_forget(ls);
	assert_null(find(ls, "b"));
	assert_ptr_equal(find(ls, "a"), a);
	assert_int_equal(lookups_deadline(ls), 3 + WAIT); /* no busy wait for what cannot go yet */
	lookups_timers(ls, 3 + WAIT, WAIT);
	assert_int_equal(lookups_ripe(ls), 1);
	lookups_timers(ls, 4 + WAIT, WAIT);
	assert_null(find(ls, "a"));
	lookups_free(ls);
}

/* Many names, and each finds itself alone. */
static void test_many(void **state)
{
	struct lookups *ls = lookups_new(5000, TIMEOUT, KEEP, 99);
	char key[16];

	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof key, "device-%d", i);
		assert_non_null(ask(ls, key));
	}
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof key, "device-%d", i);
		assert_memory_equal(find(ls, key)->key, key, strlen(key));
	}
	lookups_free(ls);
}

/* Each answer is told of once, by the number that its question has had from the start. */
static void test_numbers(void **state)
{
	struct lookups *ls = new_lookups();
	struct lookup *by[2], *a = ask_and_send(ls, "a", 1, &by[0]), *b = ask_and_send(ls, "b", 1, &by[1]);
	const uint64_t number = a->number;

	assert_true(a->number > 0 && b->number > 0 && a->number != b->number);
	assert_int_equal(lookups_next_ripe(ls), 0);
	lookup_answer(ls, b, 0, NULL, 0, 2);
	assert_int_equal(lookups_next_ripe(ls), b->number);
	assert_int_equal(lookups_next_ripe(ls), 0);
	lookup_answer(ls, a, 1, "row", 3, 2); /* of the same turn */
	assert_int_equal(lookups_next_ripe(ls), number);
	assert_int_equal(lookups_next_ripe(ls), 0);
	lookups_timers(ls, 3, WAIT);
	lookup_hold(ls, a);
	lookup_hold(ls, b);
	lookups_timers(ls, 4, WAIT);
	assert_int_equal(lookups_next_ripe(ls), 0);
	lookups_timers(ls, 4 + WAIT, WAIT);
	assert_int_equal(lookups_ripe(ls), 2);
	assert_int_equal(lookups_next_ripe(ls), number);
	lookups_timers(ls, 5 + WAIT, WAIT); /* the other one is not told of any more */
	assert_int_equal(lookups_next_ripe(ls), 0);
	lookups_timers(ls, 2 + KEEP, WAIT);
	assert_true(ask(ls, "a")->number > number); /* another question */
	lookups_free(ls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_way_of_an_answer),
		cmocka_unit_test(test_held_in_order),
		cmocka_unit_test(test_errors_are_told_once),
		cmocka_unit_test(test_sent_again),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_forgetting),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
