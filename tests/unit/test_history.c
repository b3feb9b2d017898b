/* What is remembered of handshakes: bounded in all and per device, found by name, identity and address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/history.h"

static struct history_attempt attempt(const char *name, const char *identity, unsigned host, uint64_t number)
{
	struct history_attempt a = {.ended_ms = number, .credential = SLUICE_CREDENTIAL_PSK};

	a.name_len = (uint8_t)strlen(name);
	memcpy(a.name, name, a.name_len);
	snprintf(a.identity, sizeof a.identity, "%s", identity);
	memset(a.peer.ip + 10, 0xff, 2);
	a.peer.ip[14] = (uint8_t)(host >> 8);
	a.peer.ip[15] = (uint8_t)host;
	a.peer.port = (uint16_t)(number % 60000 + 1);
	return a;
}

static const struct history_attempt *found[2000];

static unsigned by_name(const struct history *h, const char *name, const char *tenant)
{
	struct history_query q = {.name = (const uint8_t *)name, .name_len = strlen(name), .tenant = tenant};

	return history_find(h, &q, found, 2000);
}

static unsigned by_host(const struct history *h, unsigned host, uint16_t port)
{
	struct history_attempt a = attempt("", "", host, 0);
	struct history_query q = {.peer = a.peer};

	q.peer.port = port;
	return history_find(h, &q, found, 2000);
}

static void finding(void **state)
{
	struct history *h = history_new(100, 1);
	struct history_attempt a = attempt("kpsa-1", "/ae-1", 1, 1);

	assert_int_equal(by_name(h, "kpsa-1", NULL), 0);
	history_add(h, &a);
	a = attempt("kpsa-2", "/ae-1", 2, 2); /* two credentials of one identity */
	history_add(h, &a);
	a = attempt("", "", 1, 3); /* refused before it said who it is */
	history_add(h, &a);
	a = attempt("kpsa-1", "/ae-1", 3, 4);
	snprintf(a.tenant, sizeof a.tenant, "water");
	history_add(h, &a);

	assert_int_equal(by_name(h, "kpsa-1", NULL), 2);
	assert_int_equal(found[0]->ended_ms, 4);
	assert_int_equal(found[1]->ended_ms, 1);
	assert_int_equal(by_name(h, "kpsa-1", "water"), 1);
	assert_int_equal(by_name(h, "kpsa-1", ""), 1);
	assert_int_equal(by_name(h, "/ae-1", NULL), 3);
	assert_int_equal(found[0]->ended_ms, 4);
	assert_int_equal(found[2]->ended_ms, 1);
	assert_int_equal(by_name(h, "kpsa", NULL), 0);
	assert_int_equal(by_name(h, "kpsa-11", NULL), 0);
	assert_int_equal(by_host(h, 1, 0), 2);
	assert_int_equal(found[0]->ended_ms, 3);
	assert_int_equal(by_host(h, 1, 2), 1);
	assert_int_equal(by_host(h, 9, 0), 0);
	history_free(h);
	(void)state;
}

/* A credential named like an identity is not told twice. */
static void same_name_and_identity(void **state)
{
	struct history *h = history_new(10, 2);
	struct history_attempt a = attempt("x", "x", 1, 1);

	history_add(h, &a);
	assert_int_equal(by_name(h, "x", NULL), 1);
	history_free(h);
	(void)state;
}

/* One that fails for ever has its newest attempts, and the others keep theirs. */
static void one_noisy_device(void **state)
{
	struct history *h = history_new(100, 3);
	struct history_attempt a = attempt("quiet", "", 1, 1);

	history_add(h, &a);
	for (unsigned i = 0; i < 10000; i++) {
		a = attempt("noisy", "", 1, 10 + i);
		history_add(h, &a);
		a = attempt("", "", 2, 10 + i);
		history_add(h, &a);
	}
	assert_int_equal(by_name(h, "quiet", NULL), 1);
	assert_int_equal(by_name(h, "noisy", NULL), HISTORY_PER_DEVICE);
	for (unsigned i = 0; i < HISTORY_PER_DEVICE; i++)
		assert_int_equal(found[i]->ended_ms, 10009 - i);
	assert_int_equal(by_host(h, 2, 0), HISTORY_PER_DEVICE);
	assert_int_equal(history_count(h), 1 + 2 * HISTORY_PER_DEVICE);
	history_free(h);
	(void)state;
}

/* Against a plain array: with many devices the newest of all are there, and no others. */
static void agrees_with_model(void **state)
{
	enum { MAX = 50, DEVICES = 200, ROUNDS = 5000 };
	static unsigned devices[ROUNDS];
	struct history *h = history_new(MAX, 4);

	srand(7); /* NOLINT(cert-msc32-c,cert-msc51-cpp): the same each time */
	for (unsigned i = 0; i < ROUNDS; i++) {
		char name[16];
		struct history_attempt a;
		unsigned expected = 0;

		devices[i] = (unsigned)rand() %
			     DEVICES; /* NOLINT(cert-msc30-c,cert-msc50-cpp,concurrency-mt-unsafe) */
		snprintf(name, sizeof name, "device-%u", devices[i]);
		a = attempt(name, "", devices[i], i);
		history_add(h, &a);
		for (unsigned j = i + 1 > MAX ? i + 1 - MAX : 0; j <= i; j++)
			expected += devices[j] == devices[i];
		assert_in_range(expected, 1, HISTORY_PER_DEVICE);
		assert_int_equal(by_name(h, name, NULL), expected);
		assert_int_equal(by_host(h, devices[i], 0), expected);
		assert_int_equal(found[0]->ended_ms, i);
	}
	assert_int_equal(history_count(h), MAX);
	history_free(h);
	history_free(NULL);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finding),
		cmocka_unit_test(same_name_and_identity),
		cmocka_unit_test(one_noisy_device),
		cmocka_unit_test(agrees_with_model),
	};

	return cmocka_run_group_tests_name("history", tests, NULL, NULL);
}
