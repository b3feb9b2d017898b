/* controlplane/revoke.c: no session outlives its credential because memory is short or a mailbox full; those
 * whose certificate is revoked end as the tenant wants it, some in each turn.
 */
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
				   const struct credential_id *id, uint64_t version,
				   struct standing_certificate certificate)
{
	return no_standing ? NULL : standing_add(ss, ref, tenant, id, version, certificate);
}

#define standing_add add_or_not
#include "../../controlplane/revoke.c"

enum { WORKERS = 2, SLOTS = 20000, NEVER = INT32_MAX };

/* ---- what revoke.c asks of others */

struct issuer {
	unsigned holders;
	int ca;
};

static int room; /* for so many letters */
static unsigned sent, asked;
static struct mail_ended last;
static bool ended[WORKERS][SLOTS];
static struct tls tenant;
static struct proof proof;
static struct credential_change change; /* number 0: there is none */
static struct refusal refusal;

/* What the store says of a PSK, by the one letter of its name; how often it was asked; and that it cannot
 * tell what has changed. */
static int answers[UINT8_MAX + 1];
static unsigned looked_up;
static bool forgets;

/* What lists say; the certificate of a new session. */
static uint64_t version;
static bool revoked[SLOTS + 1];
static struct issuer ca = {.ca = 1}, ca_again = {.ca = 1}, other_ca = {.ca = 2};
static bool has_chain;
static struct standing_certificate certificate;

static struct outbox *control_outboxes(void);

bool outbox_try(struct outbox *o, enum mail_type type, const void *body, uint32_t body_len, const void *extra,
		uint32_t extra_len)
{
	assert_int_equal(type, MAIL_REMOVE);
	assert_int_equal(body_len, sizeof last);
	if (room <= 0)
		return false;
	room--;
	memcpy(&last, body, sizeof last);
	assert_ptr_equal(o, &control_outboxes()[last.ref.worker]);
	assert_false(ended[last.ref.worker][last.ref.index]);
	ended[last.ref.worker][last.ref.index] = true;
	sent++;
	return true;
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

const struct refusal *handshake_refusal(const struct handshake *h)
{
	return &refusal;
}

const struct chain *handshake_chain(const struct handshake *h)
{
	return has_chain ? (const struct chain *)&certificate : NULL;
}

struct issuer *chain_under(const struct chain *c, uint64_t *serial)
{
	*serial = certificate.serial;
	return certificate.issuer;
}

struct issuers *trust_issuers(const struct trust *t)
{
	return (struct issuers *)&version;
}

uint64_t issuers_version(struct issuers *is)
{
	return version;
}

struct issuer *issuer_hold(struct issuer *i)
{
	i->holders++;
	return i;
}

void issuer_release(struct issuer *i)
{
	i->holders--;
}

bool issuer_is_same(const struct issuer *a, const struct issuer *b)
{
	return a->ca == b->ca;
}

bool issuer_has_revoked(const struct issuer *i, uint64_t serial)
{
	asked++;
	return i == &ca && revoked[serial];
}

static int tell_change(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	if (forgets)
		return -ESTALE;
	if (change.number == 0)
		return 0;
	*out = change;
	*number = change.number;
	change.number = 0;
	return 1;
}

static int find_psk(void *store, const char *of, const uint8_t *identity, size_t identity_len,
		    struct psk_credential *out)
{
	assert_int_equal(identity_len, 1);
	looked_up++;
	out->registree.version = 1;
	return answers[identity[0]];
}

static const struct credential_store ops = {.name = "test", .find_psk = find_psk, .changes = tell_change};

/* ---- */

static struct control control;
static struct outbox outboxes[WORKERS];

static struct outbox *control_outboxes(void)
{
	return outboxes;
}

static int setup(void **state)
{
	static const uint32_t slots[WORKERS] = {SLOTS, SLOTS};
	static struct worker_link links[WORKERS] = {{.slots = SLOTS}, {.slots = SLOTS}};

	tenant = (struct tls){.credential_removed = CONFIG_CREDENTIAL_REMOVED_DROP,
			      .rehandshake_s = 10,
			      .trust = (struct trust *)&version};
	control = (struct control){.workers = WORKERS,
				   .links = links,
				   .outboxes = outboxes,
				   .credentials.ops = &ops,
				   .now_ns = 1};
	control.associations = associations_new(WORKERS, slots);
	control.standings = standings_new((uint64_t)WORKERS * SLOTS, 1);
	revoke_open(&control);
	proof = (struct proof){.registered = {.kind = SLUICE_CREDENTIAL_PSK, .name_len = 1, .name = "a"},
			       .registree.version = 1};
	change = (struct credential_change){.number = 0};
	refusal = (struct refusal){.cause = REFUSED_REVOKED};
	memset(revoked, 0, sizeof revoked);
	memset(ended, 0, sizeof ended);
	for (unsigned i = 0; i < sizeof answers / sizeof answers[0]; i++)
		answers[i] = 1;
	sent = asked = looked_up = 0;
	room = NEVER;
	no_standing = has_chain = forgets = false;
	return control.associations && control.standings ? 0 : -1;
}

static int teardown(void **state)
{
	associations_free(control.associations);
	standings_free(control.standings);
	assert_int_equal(ca.holders, 0);
	assert_int_equal(ca_again.holders, 0);
	assert_int_equal(other_ca.holders, 0);
	return 0;
}

static struct association *establish_at(unsigned worker, uint32_t index)
{
	const struct sluice_session_up up = {
		.ref = {.index = index, .generation = 1, .worker = (uint16_t)worker}};
	const struct path path = {.peer.port = (uint16_t)index};
	struct attempt attempt = {.started_ns = control.now_ns};
	struct flight flight = {0};
	struct association *a = association_add(control.associations, &path, &up, sizeof up, &flight, 1);

	assert_non_null(a);
	assert_int_equal(revoke_note(&control, a, &attempt), 0);
	revoke_established(&control, a, &attempt);
	return a;
}

static struct association *establish(uint32_t index)
{
	return establish_at(0, index);
}

static bool turn_after(uint64_t ns)
{
	control.now_ns += ns;
	return revoke_turn(&control);
}

static void turn(void)
{
	(void)turn_after(SECOND_NS);
}

static void remove_credential(void)
{
	change = (struct credential_change){.number = 5, .removed = true, .id = proof.registered};
}

static void an_end_that_finds_no_room_comes_later(void **state)
{
	struct association *one = establish(3), *two = establish(4);

	remove_credential();
	room = 0;
	turn();
	assert_int_equal(sent, 0);
	assert_false(standing_given_up(one->standing) || standing_given_up(two->standing));
	assert_true(revoke_deadline(&control) - control.now_ns <= SECOND_NS / 1000);
	room = 1;
	(void)turn_after(SECOND_NS / 1000);
	assert_int_equal(sent, 1);
	room = NEVER;
	(void)turn_after(SECOND_NS / 1000);
	assert_int_equal(sent, 2);
	assert_int_equal(last.reason, SLUICE_REASON_CREDENTIAL_GONE);
	assert_true(standing_given_up(one->standing) && standing_given_up(two->standing));
	assert_true(revoke_deadline(&control) - control.now_ns > SECOND_NS / 1000);
	turn();
	assert_int_equal(sent, 2);
}

/* Of any earlier version; what is written is read by handshakes before its change is. */
static void those_that_came_after_the_change_stay(void **state)
{
	for (uint32_t written = 0; written < 8; written++) {
		proof.registree.version = written;
		(void)establish(written);
	}
	remove_credential();
	turn();
	for (uint32_t written = 0; written < 8; written++)
		assert_int_equal(ended[0][written], written < 5);
}

/* Without another handshake, and before those whose turn is spread over a while. */
static void one_too_many_is_evicted_later(void **state)
{
	tenant.sessions_max = 2;
	tenant.credential_removed = CONFIG_CREDENTIAL_REMOVED_REHANDSHAKE;
	(void)establish(1);
	(void)establish(2);
	assert_int_equal(sent, 0);
	remove_credential();
	turn();
	control.now_ns++;
	room = 0;
	(void)establish(3);
	assert_int_equal(sent, 0);
	assert_int_equal(standings_count(control.standings, 0), 3);
	room = NEVER;
	(void)turn_after(1);
	assert_int_equal(sent, 1);
	assert_int_equal(last.ref.index, 1);
	assert_int_equal(last.reason, SLUICE_REASON_EVICTED);
	assert_int_equal(standings_count(control.standings, 0), 2);
}

static void a_session_that_no_removal_would_find_does_not_begin(void **state)
{
	const struct sluice_session_up up = {.ref.generation = 1};
	const struct path path = {0};
	struct attempt attempt = {0};
	struct flight flight = {0};
	struct association *a = association_add(control.associations, &path, &up, sizeof up, &flight, 1);

	no_standing = true;
	assert_int_equal(revoke_note(&control, a, &attempt), -ENOMEM);
	assert_null(a->standing);
	assert_int_equal(sent, 0);
}

/* ---- certificates that lists revoke */

/* Session i of each worker has the serial number i + 1; all other ones are PSK's. */
static void fill(void)
{
	certificate.issuer = &ca;
	for (uint32_t i = 0; i < SLOTS; i++) {
		for (unsigned w = 0; w < WORKERS; w++) {
			has_chain = i % 4 != 3;
			certificate.serial = i + 1;
			proof.registered.kind = has_chain ? SLUICE_CREDENTIAL_NONE : SLUICE_CREDENTIAL_PSK;
			(void)establish_at(w, i);
		}
	}
	asked = 0;
}

static void revoke_every(uint32_t nth)
{
	for (uint32_t i = 0; i < SLOTS; i += nth)
		revoked[i + 1] = true;
	version++;
}

/* So many that a list has, and that came in with a certificate. */
static unsigned revoked_sessions(uint32_t nth)
{
	unsigned count = 0;

	for (uint32_t i = 0; i < SLOTS; i += nth)
		count += i % 4 != 3 ? WORKERS : 0;
	return count;
}

/* Turns without time between them, until there is nothing to do at once. Returns how many. */
static unsigned turns_until_idle(void)
{
	unsigned count = 1;
	unsigned before = asked, sent_before = sent;

	control.now_ns += POLL_NS;
	while (revoke_turn(&control)) {
		assert_true(asked - before <= JUDGED_PER_TURN);
		assert_true(sent - sent_before <= JUDGED_PER_TURN + LEAVERS_PER_TURN);
		before = asked;
		sent_before = sent;
		count++;
		assert_true(count < 1000);
	}
	return count;
}

static void expect_ended(uint32_t nth)
{
	assert_int_equal(sent, revoked_sessions(nth));
	for (uint32_t i = 0; i < SLOTS; i++) {
		for (unsigned w = 0; w < WORKERS; w++)
			assert_int_equal(ended[w][i], i % nth == 0 && i % 4 != 3);
	}
}

static void revoked_ones_end_some_in_each_turn(void **state)
{
	unsigned turns;

	fill();
	assert_int_equal(turns_until_idle(), 1);
	assert_int_equal(asked, 0);
	revoke_every(5);
	turns = turns_until_idle();
	assert_true(turns >= 2 * SLOTS / JUDGED_PER_TURN && turns < 100);
	assert_int_equal(last.reason, SLUICE_REASON_REVOKED);
	expect_ended(5);
	version++; /* a list is read anew that says the same */
	(void)turns_until_idle();
	expect_ended(5);
	memset(revoked, 0, sizeof revoked); /* back from hold: nothing */
	version++;
	(void)turns_until_idle();
	expect_ended(5);
}

static void all_end_although_the_mailboxes_are_full(void **state)
{
	unsigned turns = 0;

	fill();
	revoke_every(1);
	room = 0;
	(void)turns_until_idle();
	assert_int_equal(sent, 0);
	assert_int_equal(revoke_deadline(&control), control.now_ns + ROOM_NS);
	while (sent < revoked_sessions(1) && turns++ < 1000) {
		room = 300;
		(void)turn_after(ROOM_NS);
		assert_true(sent <= turns * 300);
	}
	expect_ended(1);
}

static void with_keep_nothing_ends(void **state)
{
	fill();
	tenant.credential_removed = CONFIG_CREDENTIAL_REMOVED_KEEP;
	revoke_every(2);
	(void)turns_until_idle();
	turn();
	assert_int_equal(sent, 0);
	assert_true(asked >= 2 * SLOTS / 4 * 3);
}

static void with_rehandshake_they_end_one_by_one(void **state)
{
	unsigned most = 0;

	fill();
	tenant.credential_removed = CONFIG_CREDENTIAL_REMOVED_REHANDSHAKE;
	revoke_every(10);
	(void)turns_until_idle();
	for (unsigned i = 0; i < 10 * 4 + 8; i++) {
		unsigned before = sent;

		(void)turn_after(POLL_NS);
		most = sent - before > most ? sent - before : most;
		if (i == 20)
			assert_true(sent > revoked_sessions(10) / 3 && sent < revoked_sessions(10) * 2 / 3);
	}
	expect_ended(10);
	assert_true(most <= 2 * revoked_sessions(10) / 40);
	assert_int_equal(last.reason, SLUICE_REASON_REVOKED);
}

/* Many tenants' lists, of which one is always new. */
static void lists_that_change_all_the_time(void **state)
{
	fill();
	revoke_every(7);
	for (unsigned i = 0; i < 100; i++) {
		version++;
		(void)turn_after(POLL_NS);
	}
	expect_ended(7);
}

/* The round has passed some of those whom a second list then names. */
static void a_list_that_changes_during_the_round(void **state)
{
	fill();
	version++;
	(void)turn_after(POLL_NS);
	assert_in_range(asked, 1, SLOTS);
	revoke_every(5);
	(void)turns_until_idle();
	expect_ended(5);
}

static void sessions_that_go_meanwhile(void **state)
{
	uint32_t slot = 0;
	struct association *a;

	fill();
	revoke_every(1);
	(void)turn_after(POLL_NS);
	while ((a = associations_walk(control.associations, 0, &slot, SLOTS)))
		association_remove(control.associations, a);
	(void)turns_until_idle();
	for (uint32_t i = 0; i < SLOTS; i++)
		assert_int_equal(ended[1][i], i % 4 != 3);
}

/* The list came while the handshake was under way, and its round is over. */
static void revoked_before_it_is_established(void **state)
{
	has_chain = true;
	certificate = (struct standing_certificate){.issuer = &ca, .serial = 9};
	revoked[9] = true;
	(void)establish(1);
	assert_int_equal(sent, 1);
	assert_int_equal(last.reason, SLUICE_REASON_REVOKED);
	certificate.serial = 10;
	(void)establish(2);
	certificate = (struct standing_certificate){.issuer = &other_ca, .serial = 9};
	(void)establish(3);
	assert_int_equal(sent, 1);
}

/* ---- a store that cannot tell what has changed */

enum { LOW = 600 };

static_assert(LOW > 2 * ASKED_PER_TURN, "a round goes through many turns");

/* In the low slots of the first worker those with the key a, in the last one of all one with the key b. */
static void establish_low_and_last(void)
{
	for (uint32_t i = 0; i < LOW; i++)
		(void)establish(i);
	proof.registered.name[0] = 'b';
	(void)establish_at(WORKERS - 1, SLOTS - 1);
}

static void forget_once(void)
{
	forgets = true;
	(void)turn_after(POLL_NS);
	forgets = false;
}

static void all_are_looked_up_once(void **state)
{
	establish_low_and_last();
	answers['b'] = 0;
	forget_once();
	assert_in_range(looked_up, 1, ASKED_PER_TURN);
	(void)turns_until_idle();
	assert_int_equal(looked_up, LOW + 1);
	assert_int_equal(sent, 1);
	assert_true(ended[WORKERS - 1][SLOTS - 1]);
	assert_int_equal(last.reason, SLUICE_REASON_CREDENTIAL_GONE);
}

/* What is written in its place is told as a change. */
static void a_row_that_cannot_be_read_holds_nobody_up(void **state)
{
	static const int faults[] = {-EBADMSG, -EPROTO, -ENOKEY, -EKEYREJECTED};

	proof.registered.name[0] = 'c';
	(void)establish_at(0, LOW);
	proof.registered.name[0] = 'a';
	establish_low_and_last();
	for (unsigned i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		answers['c'] = faults[i];
		looked_up = 0;
		forget_once();
		(void)turns_until_idle();
		assert_int_equal(looked_up, LOW + 2);
	}
	answers['b'] = 0;
	forget_once();
	(void)turns_until_idle();
	assert_int_equal(sent, 1);
	assert_true(ended[WORKERS - 1][SLOTS - 1]);
}

/* A file that is written every few seconds while a round takes longer than that. */
static void a_store_that_forgets_all_the_time(void **state)
{
	establish_low_and_last();
	answers['b'] = 0;
	forgets = true;
	for (unsigned i = 0; i < 20; i++)
		(void)turn_after(POLL_NS);
	assert_int_equal(sent, 1);
	assert_true(ended[WORKERS - 1][SLOTS - 1]);
	answers['a'] = 0; /* the first ones, too, have their turn */
	for (unsigned i = 0; i < 20; i++)
		(void)turn_after(POLL_NS);
	assert_int_equal(sent, LOW + 1);
}

/* However often it forgets, one more round is enough when one has begun, and none when it has not. */
static void a_round_is_followed_by_one(void **state)
{
	establish_low_and_last();
	for (unsigned i = 0; i < 3; i++)
		forget_once();
	assert_in_range(looked_up, ASKED_PER_TURN + 1, LOW);
	assert_int_equal(sent, 0);
	answers['a'] = 0; /* the round has passed most of them */
	(void)turns_until_idle();
	assert_int_equal(looked_up, 2 * (LOW + 1));
	assert_int_equal(sent, LOW);
	answers['a'] = -ENOTCONN;
	for (unsigned i = 0; i < 3; i++)
		forget_once();
	answers['a'] = 1;
	looked_up = 0;
	(void)turns_until_idle();
	assert_int_equal(looked_up, LOW + 1);
}

/* ---- and those that a responder revokes */

static void establish_some(void)
{
	has_chain = true;
	certificate = (struct standing_certificate){.issuer = &ca, .serial = 8};
	(void)establish(1);
	certificate.serial = 9;
	(void)establish(2);
	(void)establish(3);
	certificate.issuer = &other_ca;
	(void)establish(4);
	certificate.issuer = &ca;
}

static void refused_as_revoked(void **state)
{
	establish_some();
	has_chain = false; /* the chain was refused: lists have done it */
	revoke_refused(&control, NULL);
	has_chain = true;
	refusal.cause = REFUSED_REVOCATION_UNKNOWN;
	revoke_refused(&control, NULL);
	tenant.credential_removed = CONFIG_CREDENTIAL_REMOVED_KEEP;
	refusal.cause = REFUSED_REVOKED;
	revoke_refused(&control, NULL);
	assert_int_equal(sent, 0);
	tenant.credential_removed = CONFIG_CREDENTIAL_REMOVED_DROP;
	revoke_refused(&control, NULL);
	assert_int_equal(sent, 2);
	assert_true(ended[0][2] && ended[0][3]);
	assert_int_equal(last.reason, SLUICE_REASON_REVOKED);
	revoke_refused(&control, NULL);
	assert_int_equal(sent, 2);
}

/* Who has a certificate chooses what he shows of the CAs above it. */
static void refused_under_another_certificate_of_the_ca(void **state)
{
	establish_some();
	certificate.issuer = &ca_again;
	revoke_refused(&control, NULL);
	assert_int_equal(sent, 2);
	assert_true(ended[0][2] && ended[0][3]);
	certificate.issuer = &ca;
}

static void refused_as_revoked_and_no_room(void **state)
{
	establish_some();
	room = 0;
	revoke_refused(&control, NULL);
	revoke_refused(&control, NULL);
	assert_int_equal(sent, 0);
	room = NEVER;
	(void)turn_after(1);
	assert_int_equal(sent, 2);
	assert_int_equal(last.reason, SLUICE_REASON_REVOKED);
}

static void a_fleet_with_one_certificate(void **state)
{
	has_chain = true;
	certificate = (struct standing_certificate){.issuer = &ca, .serial = 8};
	for (uint32_t i = 0; i < 3 * ALIKE_AT_ONCE / 2; i++)
		(void)establish(i);
	revoke_refused(&control, NULL);
	assert_int_equal(sent, ALIKE_AT_ONCE);
	revoke_refused(&control, NULL);
	assert_int_equal(sent, 3 * ALIKE_AT_ONCE / 2);
}

/* A gateway that has nothing to watch sleeps. */
static void nothing_to_watch(void **state)
{
	control.credentials.ops = NULL;
	tenant.trust = NULL;
	revoke_open(&control);
	(void)establish(1);
	turn();
	assert_true(revoke_deadline(&control) == UINT64_MAX);
	tenant.trust = (struct trust *)&version;
	revoke_open(&control);
	turn();
	assert_int_equal(revoke_deadline(&control), control.now_ns + POLL_NS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_end_that_finds_no_room_comes_later),
		TEST(those_that_came_after_the_change_stay),
		TEST(one_too_many_is_evicted_later),
		TEST(a_session_that_no_removal_would_find_does_not_begin),
		TEST(revoked_ones_end_some_in_each_turn),
		TEST(all_end_although_the_mailboxes_are_full),
		TEST(with_keep_nothing_ends),
		TEST(with_rehandshake_they_end_one_by_one),
		TEST(lists_that_change_all_the_time),
		TEST(a_list_that_changes_during_the_round),
		TEST(sessions_that_go_meanwhile),
		TEST(revoked_before_it_is_established),
		TEST(all_are_looked_up_once),
		TEST(a_row_that_cannot_be_read_holds_nobody_up),
		TEST(a_store_that_forgets_all_the_time),
		TEST(a_round_is_followed_by_one),
		TEST(refused_as_revoked),
		TEST(refused_under_another_certificate_of_the_ca),
		TEST(refused_as_revoked_and_no_room),
		TEST(a_fleet_with_one_certificate),
		TEST(nothing_to_watch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
