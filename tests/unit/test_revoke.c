/* controlplane/revoke.c when memory is short: no session outlives its credential because of it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/internal.h"

/* Memory for a standing, or none. */
static bool no_standing;

static struct standing *add_or_not(struct standings *ss, struct sluice_ref ref, unsigned tenant,
				   const struct credential_id *id, uint64_t version)
{
	return no_standing ? NULL : standing_add(ss, ref, tenant, id, version);
}

#define standing_add add_or_not
#include "../../controlplane/revoke.c"

enum { SLOTS = 16 };

/* ---- what revoke.c asks of others */

static unsigned fails; /* so many letters find no memory */
static unsigned sent;
static struct mail_ended last;
static struct tls tenant;
static struct proof proof;
static struct credential_change change; /* number 0: there is none */

int outbox_send(struct outbox *o, enum mail_type type, const void *body, uint32_t body_len, const void *extra,
		uint32_t extra_len)
{
	assert_int_equal(type, MAIL_REMOVE);
	assert_int_equal(body_len, sizeof last);
	if (fails > 0) {
		fails--;
		return -ENOMEM;
	}
	memcpy(&last, body, sizeof last);
	sent++;
	return 0;
}

const struct tls *tenants_at(const struct tenants *ts, unsigned place)
{
	return &tenant;
}

unsigned tenants_count(const struct tenants *ts)
{
	return 1;
}

const struct tls *handshake_tls(const struct handshake *h)
{
	return &tenant;
}

const struct proof *handshake_proof(const struct handshake *h)
{
	return &proof;
}

static int tell_change(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	if (change.number == 0)
		return 0;
	*out = change;
	*number = change.number;
	change.number = 0;
	return 1;
}

static const struct credential_store ops = {.name = "test", .changes = tell_change};

/* ---- */

static struct control control;
static struct outbox outbox;

static int setup(void **state)
{
	static const uint32_t slots[] = {SLOTS};

	control = (struct control){.workers = 1, .outboxes = &outbox, .credentials.ops = &ops, .now_ns = 1};
	control.associations = associations_new(1, slots);
	control.standings = standings_new(SLOTS, 1);
	revoke_open(&control);
	tenant = (struct tls){.credential_removed = CONFIG_CREDENTIAL_REMOVED_DROP};
	proof = (struct proof){.registered = {.kind = SLUICE_CREDENTIAL_PSK, .name_len = 1, .name = "a"},
			       .registree.version = 1};
	change = (struct credential_change){.number = 0};
	fails = sent = 0;
	no_standing = false;
	return control.associations && control.standings ? 0 : -1;
}

static int teardown(void **state)
{
	associations_free(control.associations);
	standings_free(control.standings);
	return 0;
}

static struct association *establish(uint32_t index)
{
	const struct sluice_session_up up = {.ref = {.index = index, .generation = 1}};
	const struct path path = {0};
	struct attempt attempt = {.started_ns = control.now_ns};
	struct flight flight = {0};
	struct association *a = association_add(control.associations, &path, &up, sizeof up, &flight, 1);

	assert_non_null(a);
	revoke_established(&control, a, &attempt);
	return a;
}

static void turn(void)
{
	control.now_ns += SECOND_NS;
	(void)revoke_turn(&control);
}

static void remove_credential(void)
{
	change = (struct credential_change){.number = 5, .removed = true, .id = proof.registered};
}

static void an_end_that_finds_no_memory_comes_later(void **state)
{
	struct association *one = establish(3), *two = establish(4);

	remove_credential();
	fails = 3;
	turn(); /* both, and one of them again with those that leave */
	assert_int_equal(sent, 0);
	assert_int_equal(fails, 0);
	assert_false(standing_given_up(one->standing) || standing_given_up(two->standing));
	turn();
	assert_int_equal(sent, 2);
	assert_int_equal(last.reason, SLUICE_REASON_CREDENTIAL_GONE);
	assert_true(standing_given_up(one->standing) && standing_given_up(two->standing));
	turn();
	assert_int_equal(sent, 2);
}

static void one_too_many_is_evicted_with_the_next(void **state)
{
	tenant.sessions_max = 2;
	(void)establish(1);
	(void)establish(2);
	assert_int_equal(sent, 0);
	fails = 1;
	(void)establish(3);
	assert_int_equal(sent, 0);
	assert_int_equal(standings_count(control.standings, 0), 3);
	(void)establish(4);
	assert_int_equal(sent, 2);
	assert_int_equal(last.ref.index, 2);
	assert_int_equal(last.reason, SLUICE_REASON_EVICTED);
	assert_int_equal(standings_count(control.standings, 0), 2);
}

static void a_session_that_no_removal_would_find_ends(void **state)
{
	no_standing = true;
	assert_null(establish(7)->standing);
	assert_int_equal(sent, 1);
	assert_int_equal(last.ref.index, 7);
	assert_int_equal(last.ref.generation, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_end_that_finds_no_memory_comes_later, setup, teardown),
		cmocka_unit_test_setup_teardown(one_too_many_is_evicted_with_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(a_session_that_no_removal_would_find_ends, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
