/* Handshakes whose credential store answers later: they wait with all that came meanwhile, and whether an
 * identity is known shows in nothing. The list of those that wait is tested beside it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/attempt.h"
#include "tests/unit/meeting.h"

static const uint8_t psk[16] = "sixteen bytes ok";

/* Answers -EAGAIN until the test says otherwise. */
struct late_store {
	int answer; /* 1: what is true; -EAGAIN or another error */
	unsigned finds;
};

static int late_find(void *store, const char *tenant, const uint8_t *identity, size_t len,
		     struct psk_credential *out)
{
	struct late_store *s = store;

	s->finds++;
	if (s->answer < 0)
		return s->answer;
	if (len != 8 || memcmp(identity, "device-1", 8) != 0)
		return 0;
	memset(out, 0, sizeof *out);
	memcpy(out->key, psk, sizeof psk);
	out->key_len = sizeof psk;
	registree_by_credential(&out->registree, identity, len);
	return 1;
}

enum { QUESTION = 7 };

static uint64_t late_question(const void *store)
{
	return QUESTION;
}

static const struct credential_store late = {
	.name = "late", .find_psk = late_find, .question = late_question};

static struct tls *new_tls(struct late_store *store)
{
	static char *suites[] = {"TLS_PSK_WITH_AES_128_CCM_8"};
	struct config config = {.sessions.cid = true, .handshakes.mtu = 1400, .tls.require_ems = true};
	char error[256] = "";
	struct tls *t;

	config.tls.suites = suites;
	config.tls.suites_count = 1;
	t = tls_new(&config, &config.tls, "", (struct credentials){.ops = &late, .store = store}, error,
		    sizeof error);
	if (!t)
		print_error("%s\n", error);
	assert_non_null(t);
	return t;
}

static struct peer_options client(const char *identity)
{
	return (struct peer_options){
		.ciphers = "PSK-AES128-CCM-8", .psk_identity = identity, .psk = psk, .psk_len = sizeof psk};
}

/* Until the client's whole last flight lies with a handshake that waits. */
static void start(struct meeting *m, const struct tls *t, const struct peer_options *o, bool split)
{
	meeting_new(m, t, &peer_openssl, o);
	m->split = split;
	assert_false(meeting_run(m, 0));
	assert_int_equal(m->server, HANDSHAKE_WAITING);
	assert_int_equal(handshake_question(m->handshake), QUESTION);
}

static void test_an_answer_in_time(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct late_store store = {.answer = 1};
		struct tls *t = new_tls(&store);
		struct peer_options o = client("device-1");
		struct meeting m;

		meeting_new(&m, t, &peer_openssl, &o);
		assert_true(meeting_run(&m, 3) && meeting_echo(&m, "hello"));
		assert_int_equal(store.finds, 1);
		meeting_free(&m);
		store = (struct late_store){.answer = -EAGAIN};
		start(&m, t, &o, i == 1);
		meeting_continue(&m); /* somebody else's answer came */
		assert_int_equal(m.server, HANDSHAKE_WAITING);
		store.answer = 1;
		meeting_continue(&m);
		assert_int_equal(m.server, HANDSHAKE_DONE);
		assert_int_equal(store.finds, 3);
		assert_true(meeting_run(&m, 3) && meeting_echo(&m, "hello"));
		assert_string_equal(meeting_field(&m, SLUICE_FIELD_IDENTITY), "device-1");
		meeting_free(&m);
		tls_free(t);
	}
}

/* Checklist A01: known with a wrong key and unknown send the same at the same moments. */
static void test_unknown_waits_too(void **state)
{
	static const uint8_t wrong[16] = "another sixteen ";
	struct late_store store = {.answer = -EAGAIN};
	struct tls *t = new_tls(&store);
	struct peer_options unknown = client("device-2"), wrong_key = client("device-1");
	struct peer_options *options[] = {&unknown, &wrong_key};
	unsigned from_server[2], finds[2], before;

	wrong_key.psk = wrong;
	for (int i = 0; i < 2; i++) {
		struct meeting m;

		store = (struct late_store){.answer = -EAGAIN};
		start(&m, t, options[i], false);
		store.answer = 1;
		before = m.from_server; /* where the machine is slow, its client repeats its flights */
		meeting_continue(&m);
		assert_int_equal(m.server, HANDSHAKE_GOES_ON);
		assert_null(m.refusal.text[0] ? m.refusal.text : NULL);
		from_server[i] = m.from_server - before;
		finds[i] = store.finds;
		assert_false(meeting_run(&m, 4));
		assert_int_equal(m.server, HANDSHAKE_FAILED);
		assert_int_equal(m.refusal.alert, 51); /* decrypt_error, for both */
		meeting_free(&m);
	}
	assert_int_equal(from_server[0], from_server[1]);
	assert_int_equal(finds[0], finds[1]);
	tls_free(t);
}

static void test_the_store_fails(void **state)
{
	struct late_store store = {.answer = -EAGAIN};
	struct tls *t = new_tls(&store);
	struct peer_options o = client("device-1");
	uint8_t kind, len;
	struct meeting m;

	start(&m, t, &o, false);
	store.answer = -ETIMEDOUT;
	assert_memory_equal(handshake_claim(m.handshake, &kind, &len), "device-1", 8); /* for whoever looks */
	assert_int_equal(kind, SLUICE_CREDENTIAL_PSK);
	assert_int_equal(len, 8);
	meeting_continue(&m);
	assert_int_equal(m.server, HANDSHAKE_FAILED);
	assert_int_equal(m.refusal.alert, 80);
	assert_non_null(strstr(m.refusal.text, "store \"late\""));
	meeting_free(&m);
	tls_free(t);
}

/* Who waits is quiet, whatever the client repeats; and ends when its time is over, or when the client says
 * so.
 */
static void test_while_it_waits(void **state)
{
	static const uint8_t alert[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
	struct late_store store = {.answer = -EAGAIN};
	struct tls *t = new_tls(&store);
	struct peer_options o = client("device-1");
	unsigned sent;
	struct meeting m;

	start(&m, t, &o, false);
	sent = m.from_server;
	assert_false(meeting_run(&m, 3)); /* its timer fires, and ours */
	assert_int_equal(m.server, HANDSHAKE_WAITING);
	assert_int_equal(m.from_server, sent);
	assert_int_equal(store.finds, 1);
	handshake_give_up(m.handshake);
	assert_string_equal(handshake_refusal(m.handshake)->text,
			    "timed out waiting for the credential store");
	meeting_inject(&m, alert, sizeof alert);
	assert_int_equal(m.server, HANDSHAKE_FAILED);
	assert_non_null(strstr(m.refusal.text, "handshake_failure"));
	meeting_free(&m);
	start(&m, t, &o, false); /* and one that is freed while it waits */
	meeting_free(&m);
	tls_free(t);
}

/* ---- the list of those that wait */

static struct attempt *add(struct attempts *as, const struct tls *t, uint32_t index)
{
	static const struct handshake_start none;
	struct handshake *h = handshake_new(t, &none);
	struct attempt *a;

	assert_non_null(h);
	a = attempt_add(as, (struct sluice_ref){.index = index}, h, 1);
	assert_non_null(a);
	return a;
}

static void test_list(void **state)
{
	struct late_store store = {0};
	struct tls *t = new_tls(&store);
	struct attempts *as = attempts_new(8, 1000, 100000);
	struct attempt *a[5];

	for (uint32_t i = 0; i < 5; i++)
		a[i] = add(as, t, i);
	attempts_wake(as, 9);
	assert_null(attempts_woken(as));
	for (uint32_t i = 0; i < 5; i++) {
		attempt_wait(as, a[i], 9);
		attempt_wait(as, a[i], 9);
	}
	attempt_wait_over(as, a[0]); /* ended by itself */
	attempt_wait_over(as, a[0]);
	assert_null(attempts_woken(as)); /* nothing came yet */
	attempts_wake(as, 9);
	assert_ptr_equal(attempts_woken(as), a[1]);
	attempt_wait(as, a[1], 9); /* not its answer: it is not asked twice in one round */
	attempt_remove(as, a[2]);
	assert_ptr_equal(attempts_woken(as), a[3]);
	attempts_wake(as, 9); /* before the round was over */
	assert_ptr_equal(attempts_woken(as), a[4]);
	assert_ptr_equal(attempts_woken(as), a[1]);
	assert_null(attempts_woken(as));
	attempt_wait(as, a[3], 9); /* left for attempts_free() */
	attempt_wait(as, a[4], 9);
	attempts_wake(as, 9);
	attempts_free(as);
	tls_free(t);
}

/* How many an answer wakes; each of them has asked `question`. */
static unsigned woken(struct attempts *as, uint64_t question)
{
	struct attempt *a;
	unsigned n = 0;

	attempts_wake(as, question);
	for (; (a = attempts_woken(as)); n++)
		assert_int_equal(a->question, question);
	return n;
}

/* However many wait, an answer wakes those whose it is, and nobody for nothing: also where two questions
 * share a list. */
static void test_an_answer_wakes_its_own(void **state)
{
	enum { WAITING = 20000, LISTS = 32768 };
	struct late_store store = {0};
	struct tls *t = new_tls(&store);
	struct attempts *as = attempts_new(LISTS, 1000, 100000);

	for (uint32_t i = 0; i < WAITING; i++) /* four in each list, two of each question */
		attempt_wait(as, add(as, t, i), 1 + i / 4 + LISTS * (i % 2));
	assert_int_equal(woken(as, 1 + 2 * LISTS), 0);
	assert_int_equal(woken(as, LISTS), 0);
	for (uint64_t question = 1; question <= WAITING / 4; question++) {
		assert_int_equal(woken(as, question + LISTS), 2);
		assert_int_equal(woken(as, question), 2);
		assert_int_equal(woken(as, question), 0);
	}
	attempts_free(as);
	tls_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_in_time),
		cmocka_unit_test(test_unknown_waits_too),
		cmocka_unit_test(test_the_store_fails),
		cmocka_unit_test(test_while_it_waits),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_an_answer_wakes_its_own),
	};
	int failed;

	if (tls_global_init())
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_global_fini();
	return failed;
}
