/* Listings of a large, sparse table of sessions: each session once, page by page, in steps that stay small.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "controlplane/answer.h"
#include "controlplane/internal.h"

enum { WORKERS = 2, SLOTS = 200000, SESSIONS = 20000 /* of each worker */, STEP_BYTES_MAX = 64 * 1024 };

static struct control control;
static uint64_t longest_ns;

static void add_session(unsigned worker, uint32_t slot)
{
	struct path path = {.peer = {.ip = {[10] = 0xff,
					    [11] = 0xff,
					    10,
					    (uint8_t)worker,
					    (uint8_t)(slot >> 8),
					    (uint8_t)slot},
				     .port = (uint16_t)(slot >> 16)}};
	struct flight flight = {0};
	_Alignas(8) uint8_t up[SESSION_UP_MAX];
	struct proof proof = {.credential = SLUICE_CREDENTIAL_PSK};
	struct sluice_ref ref = {.worker = (uint16_t)worker, .index = slot, .generation = 7};
	size_t len;

	proof.id_len = (uint8_t)snprintf((char *)proof.id, sizeof proof.id, "device-%u-%u", worker, slot);
	proof.registree.kind = SLUICE_IDENTITY_AE_ID;
	proof.registree.identities_count = 1;
	snprintf(proof.registree.identities[0], IDENTITY_MAX, "C-%u", slot % 100);
	len = session_up_write(up, ref, &path.peer, 0xc0a8, false, &proof, "", NULL, 0);
	assert_non_null(association_add(control.associations, &path, up, len, &flight, 0));
}

static int set_up(void **state)
{
	static const uint32_t slots[WORKERS] = {SLOTS, SLOTS};

	control.workers = WORKERS;
	control.associations = associations_new(WORKERS, slots);
	assert_non_null(control.associations);
	for (unsigned worker = 0; worker < WORKERS; worker++) {
		for (uint32_t i = 0; i < SESSIONS; i++)
			add_session(worker, i * (SLOTS / SESSIONS) + worker);
	}
	(void)state;
	return 0;
}

static int tear_down(void **state)
{
	associations_free(control.associations);
	(void)state;
	return 0;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The whole answer as a string. */
static char *read_all(const char *target)
{
	struct answer a = {.c = &control};
	char *out = calloc(1, 4 << 20);
	size_t len = 0, n;

	assert_non_null(out);
	assert_true(admin_request_read("GET", target, &a.request, &a.fault));
	assert_int_equal(answer_begin(&a), 200);
	do {
		uint64_t start = now_ns(), took;

		n = answer_read(&a, out + len, 16384);
		took = now_ns() - start;
		longest_ns = took > longest_ns ? took : longest_ns;
		assert_true(a.text.len < STEP_BYTES_MAX);
		len += n;
	} while (n > 0);
	assert_false(a.text.failed);
	answer_fini(&a);
	assert_true(len > 0 && out[len - 1] == '\n');
	return out;
}

static unsigned count(const char *text, const char *what)
{
	unsigned n = 0;

	while ((text = strstr(text, what))) {
		n++;
		text += strlen(what);
	}
	return n;
}

static void every_session_once(void **state)
{
	static bool seen[WORKERS][SLOTS];
	char target[128] = "/sessions?limit=999", *text, *next;
	unsigned total = 0;

	do {
		text = read_all(target);
		for (char *at = text; (at = strstr(at, "{\"session\":\"")); total++) {
			unsigned worker, slot, generation;

			at += strlen("{\"session\":\"");
			assert_int_equal(sscanf(at, "%u.%u.%u", &worker, &slot, &generation),
					 3); /* NOLINT(cert-err34-c) */
			assert_true(worker < WORKERS && slot < SLOTS && generation == 7);
			assert_false(seen[worker][slot]);
			seen[worker][slot] = true;
		}
		next = strstr(text, "\"next\":\"");
		if (next)
			snprintf(target, sizeof target, "/sessions?limit=999&cursor=%.*s",
				 (int)strcspn(next + 8, "\""), next + 8);
		free(text);
	} while (next);
	assert_int_equal(total, WORKERS * SESSIONS);
	(void)state;
}

static void filtered(void **state)
{
	char *text = read_all("/sessions?identity=C-30&limit=1000&worker=0");

	assert_int_equal(count(text, "{\"session\":\"0."), 1000);
	assert_int_equal(count(text, "\"identities\":[\"C-30\"]"), 1000);
	assert_non_null(strstr(text, "\"next\":\"0.")); /* there are 2000 */
	free(text);
	text = read_all("/sessions?identity=device-1-11");
	assert_int_equal(count(text, "{\"session\":\"1.11.7\""), 1);
	assert_int_equal(count(text, "session\":"), 1);
	free(text);
	(void)state;
}

static void none_fits(void **state)
{
	char *text = read_all("/sessions?identity=nobody");

	assert_int_equal(count(text, "session\":"), 0);
	assert_non_null(strstr(text, "{\"sessions\":["));
	assert_null(strstr(text, "next"));
	free(text);
	text = read_all("/sessions?worker=1&cursor=1.199999");
	assert_int_equal(count(text, "session\":"), 0);
	free(text);
	(void)state;
}

/* What was asked for, and where to go on, must not be of two workers: one of them would be shown all the
 * same. */
static void a_cursor_of_another_worker(void **state)
{
	static const char *const targets[] = {"/sessions?worker=0&cursor=1.0", "/sessions?worker=9"};

	for (unsigned i = 0; i < 2; i++) {
		struct answer a = {.c = &control};

		assert_true(admin_request_read("GET", targets[i], &a.request, &a.fault));
		(void)answer_begin(&a);
		assert_int_equal(a.fault.status, 400);
		assert_non_null(strstr(a.fault.why, "worker"));
		answer_fini(&a);
	}
	(void)state;
}

static void by_address(void **state)
{
	struct peer_address peer;
	bool has_port;
	struct association *a;

	assert_true(admin_address_read("10.1.0.11", &peer, &has_port));
	a = association_at(control.associations, &peer);
	assert_non_null(a);
	assert_int_equal(association_up(a)->ref.index, 11);
	peer.ip[15] = 12;
	assert_null(association_at(control.associations, &peer));
	(void)state;
}

static void steps_are_short(void **state)
{
	print_message("the longest step took %u us\n", (unsigned)(longest_ns / 1000));
	assert_true(longest_ns < 500000000); /* generous: the machine may be busy, or a sanitizer there */
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_session_once), cmocka_unit_test(filtered),
		cmocka_unit_test(none_fits),          cmocka_unit_test(a_cursor_of_another_worker),
		cmocka_unit_test(by_address),         cmocka_unit_test(steps_are_short),
	};

	return cmocka_run_group_tests_name("answer", tests, set_up, tear_down);
}
