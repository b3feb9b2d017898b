/* controlplane/standing.c: the sessions of a credential are found as in a plain array, whatever comes and
 * goes; those that shall leave do so evenly and in time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/issuers.h"
#include "controlplane/standing.h"

/* Of issuers.c it is their number that counts here, and of which CA they are. */
struct issuer {
	int holders, ca;
};

struct issuer *issuer_hold(struct issuer *i)
{
	i->holders++;
	return i;
}

void issuer_release(struct issuer *i)
{
	i->holders--;
}

bool issuer_has_revoked(const struct issuer *i, uint64_t serial)
{
	return serial == 7;
}

bool issuer_is_same(const struct issuer *a, const struct issuer *b)
{
	return a->ca == b->ca;
}

static const struct standing_certificate uncertified;

enum { SLOTS = 500, CREDENTIALS = 60, TENANTS = 3 };
#define SECOND_NS 1000000000ULL

static void fill(struct credential_id *id, unsigned n)
{
	memset(id, 0, sizeof *id);
	id->kind = n % 3 == 0   ? SLUICE_CREDENTIAL_PSK
		   : n % 3 == 1 ? SLUICE_CREDENTIAL_X509
				: SLUICE_CREDENTIAL_RPK;
	snprintf(id->tenant, sizeof id->tenant, "%s", n % 2 ? "water" : "");
	if (id->kind != SLUICE_CREDENTIAL_RPK)
		id->name_len = (uint8_t)snprintf((char *)id->name, sizeof id->name, "device-%u", n / 6);
	if (id->kind != SLUICE_CREDENTIAL_PSK) {
		id->digest_len = 32;
		memset(id->digest, (int)(n / 6), 32);
	}
}

/* ---- against a plain array */

struct model {
	struct standing *standing;
	unsigned credential;
};

static void compare(const struct standings *ss, const struct model *model)
{
	for (unsigned n = 0; n < CREDENTIALS; n++) {
		struct credential_id id;
		struct standing *s = NULL;
		unsigned found = 0, wanted = 0;

		fill(&id, n);
		for (unsigned i = 0; i < SLOTS; i++)
			wanted += model[i].standing && model[i].credential == n;
		while ((s = standings_next(ss, &id, s))) {
			unsigned slot = standing_ref(s).index;

			assert_ptr_equal(model[slot].standing, s);
			assert_int_equal(model[slot].credential, n);
			assert_int_equal(standing_version(s), slot);
			found++;
		}
		assert_int_equal(found, wanted);
	}
}

static void test_agrees_with_an_array(void **state)
{
	static struct model model[SLOTS];
	struct standings *ss = standings_new(64, TENANTS); /* fewer chains than sessions */
	uint32_t count[TENANTS] = {0};

	assert_non_null(ss);
	srand(7);
	for (unsigned step = 0; step < 5000; step++) {
		unsigned slot = (unsigned)rand() % SLOTS;
		struct model *m = &model[slot];
		struct sluice_ref ref = {.index = slot, .generation = step};
		struct credential_id id;

		if (m->standing) {
			count[standing_tenant(m->standing)]--;
			standing_remove(m->standing);
			m->standing = NULL;
		} else {
			m->credential = (unsigned)rand() % CREDENTIALS;
			fill(&id, m->credential);
			m->standing = standing_add(ss, ref, step % TENANTS, &id, slot, uncertified);
			count[step % TENANTS]++;
		}
		for (unsigned i = 0; i < TENANTS; i++)
			assert_int_equal(standings_count(ss, i), count[i]);
		if (step % 500 == 0)
			compare(ss, model);
	}
	compare(ss, model);
	for (unsigned i = 0; i < SLOTS; i++)
		standing_remove(model[i].standing);
	standing_remove(NULL);
	standings_free(ss);
}

/* RFC 6920: a row under 16 or 15 bytes of the digest is found by sessions that know all of it. */
static void test_shorter_identifiers(void **state)
{
	static const uint8_t lengths[] = {32, 16, 15};
	struct standings *ss = standings_new(16, 1);
	struct credential_id id;
	struct standing *s;

	fill(&id, 2);
	assert_int_equal(id.kind, SLUICE_CREDENTIAL_RPK);
	s = standing_add(ss, (struct sluice_ref){0}, 0, &id, 1, uncertified);
	for (unsigned i = 0; i < 3; i++) {
		id.digest_len = lengths[i];
		assert_ptr_equal(standings_next(ss, &id, NULL), s);
		assert_null(standings_next(ss, &id, s));
		id.digest[14] ^= 1;
		assert_null(standings_next(ss, &id, NULL));
		id.digest[14] ^= 1;
	}
	standing_remove(s);
	standings_free(ss);
}

static void test_without_a_credential(void **state)
{
	static const struct credential_id none;
	struct standings *ss = standings_new(16, 2);
	struct standing *s = standing_add(ss, (struct sluice_ref){.index = 3}, 1, &none, 0, uncertified);
	struct credential_id id;

	assert_false(standing_credential(s, &id));
	assert_null(standings_next(ss, &none, NULL));
	assert_int_equal(standings_count(ss, 1), 1);
	assert_ptr_equal(standings_oldest(ss, 1), s);
	assert_null(standings_oldest(ss, 0));
	assert_true(standing_give_up(s));
	assert_false(standing_give_up(s));
	assert_int_equal(standings_count(ss, 1), 0);
	standing_remove(s);
	standings_free(ss);
}

/* ---- by certificate */

static unsigned count_of(struct standings *ss, struct standing_certificate certificate)
{
	unsigned count = 0;
	struct standing *s;

	while ((s = standings_of_certificate(ss, certificate))) {
		assert_true(count % 2 ? standing_give_up(s) : true);
		standing_leave(s, SLUICE_REASON_REVOKED, 1, 1); /* either way it is not found again */
		count++;
	}
	return count;
}

/* One of the two CAs is there under two certificates, which are asked about in turns. */
static void test_of_a_certificate(void **state)
{
	static struct issuer one = {.ca = 1}, one_again = {.ca = 1}, two = {.ca = 2};
	struct issuer *const ones[] = {&one, &one_again};
	struct standings *ss = standings_new(16, 1);
	struct standing *all[60];
	struct credential_id id;

	for (unsigned i = 0; i < 60; i++) {
		struct standing_certificate certificate = {.issuer = i % 2 ? ones[i / 2 % 2] : &two,
							   .serial = i % 10};

		fill(&id, i);
		all[i] = standing_add(ss, (struct sluice_ref){.index = i}, 0, &id, 1,
				      i < 40 ? certificate : uncertified);
		assert_int_equal(standing_is_revoked(all[i]), i < 40 && i % 10 == 7);
		assert_ptr_equal(standings_next(ss, &id, NULL), all[i]);
	}
	assert_int_equal(one.holders, 10);
	assert_int_equal(one_again.holders, 10);
	assert_int_equal(two.holders, 20);
	for (unsigned i = 0; i < 10; i++) {
		struct issuer *asked = ones[i / 2 % 2];

		assert_int_equal(count_of(ss, (struct standing_certificate){asked, i + 16}), 0);
		assert_int_equal(count_of(ss, (struct standing_certificate){asked, i}), i % 2 ? 4 : 0);
		assert_int_equal(count_of(ss, (struct standing_certificate){&two, i}), i % 2 ? 0 : 4);
	}
	for (unsigned i = 0; i < 60; i++)
		standing_remove(all[i]);
	assert_int_equal(one.holders, 0);
	assert_int_equal(one_again.holders, 0);
	assert_int_equal(two.holders, 0);
	standings_free(ss);
}

/* ---- leaving */

static void leave(unsigned count, uint64_t grace_ns, uint64_t step_ns)
{
	static const struct credential_id none;
	struct standings *ss = standings_new(16, 1);
	struct standing **all = calloc(count, sizeof *all), *s;
	uint64_t now_ns = 5 * SECOND_NS, start_ns = now_ns;
	unsigned left = 0, most = 0;

	for (unsigned i = 0; i < count; i++) {
		all[i] = standing_add(ss, (struct sluice_ref){.index = i}, 0, &none, 0, uncertified);
		standing_leave(all[i], SLUICE_REASON_REVOKED, now_ns, grace_ns);
		standing_leave(all[i], SLUICE_REASON_REVOKED, now_ns, grace_ns); /* said twice */
	}
	while (left < count) {
		unsigned now_left = 0;

		now_ns += step_ns;
		while ((s = standings_leaver(ss, 0, now_ns, step_ns))) {
			assert_ptr_equal(s, all[left + now_left]); /* in order */
			assert_true(standing_give_up(s));
			now_left++;
		}
		left += now_left;
		most = now_left > most ? now_left : most;
		/* about as many are gone as time is */
		if (count >= 100 && now_ns - start_ns < grace_ns)
			assert_true(left >=
				    (double)count * (double)(now_ns - start_ns) / (double)grace_ns * 0.9 - 2);
		assert_true(now_ns - start_ns <= grace_ns + step_ns);
	}
	assert_true(most <= 3.0 * count * (double)step_ns / (double)grace_ns + 3);
	for (unsigned i = 0; i < count; i++)
		standing_remove(all[i]);
	free(all);
	standings_free(ss);
}

/* Without grace it is before all others, for its own reason, also when it had been given some. */
static void test_leaving_at_once(void **state)
{
	static const struct credential_id none;
	struct standings *ss = standings_new(16, 1);
	struct standing *s[4];

	for (unsigned i = 0; i < 4; i++) {
		s[i] = standing_add(ss, (struct sluice_ref){.index = i}, 0, &none, 0, uncertified);
		standing_leave(s[i], SLUICE_REASON_CREDENTIAL_GONE, SECOND_NS, i < 3 ? 60 * SECOND_NS : 0);
	}
	standing_leave(s[1], SLUICE_REASON_EVICTED, SECOND_NS, 0);
	standing_leave(s[1], SLUICE_REASON_REVOKED, SECOND_NS, 60 * SECOND_NS);
	assert_ptr_equal(standings_leaver(ss, 0, SECOND_NS, 0), s[1]);
	assert_int_equal(standing_leaves_for(s[1]), SLUICE_REASON_EVICTED);
	assert_true(standing_give_up(s[1]));
	assert_ptr_equal(standings_leaver(ss, 0, SECOND_NS, 0), s[3]);
	assert_int_equal(standing_leaves_for(s[3]), SLUICE_REASON_CREDENTIAL_GONE);
	assert_true(standing_give_up(s[3]));
	assert_null(standings_leaver(ss, 0, SECOND_NS, 0));
	assert_ptr_equal(standings_leaver(ss, 0, 61 * SECOND_NS, 60 * SECOND_NS), s[0]);
	for (unsigned i = 0; i < 4; i++)
		standing_remove(s[i]);
	standings_free(ss);
}

static void test_leaving_is_even(void **state)
{
	leave(10000, 60 * SECOND_NS, SECOND_NS / 4);
	leave(100, 60 * SECOND_NS, SECOND_NS / 4);
	leave(7, SECOND_NS, SECOND_NS / 4);
	leave(1, 60 * SECOND_NS, SECOND_NS / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_agrees_with_an_array), cmocka_unit_test(test_shorter_identifiers),
		cmocka_unit_test(test_without_a_credential), cmocka_unit_test(test_of_a_certificate),
		cmocka_unit_test(test_leaving_at_once),      cmocka_unit_test(test_leaving_is_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
