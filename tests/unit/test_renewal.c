/* Certificates, keys and trust anchors that change while handshakes go on: what is new is taken whole, what
 * is wrong changes nothing, and whoever has begun ends with what it began with.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/renewal.c"
#include "controlplane/tenant.h"
#include "tests/unit/meeting.h"
#include "tests/unit/memory_search.h"
#include "tests/unit/pki.h"

enum { WAIT_MS = 60000 };

static struct pki ours, theirs; /* what is in use to begin with, and what takes its place */
static char directory[] = "/tmp/sluice-renewal-XXXXXX";
static char certificate[64], key[64], anchors[64], raw_key[64];

static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t len,
		    struct psk_credential *out)
{
	return 0;
}

static const struct credential_store store = {.name = "test", .find_psk = find_psk};
static const struct credentials credentials = {.ops = &store};

/* ---- files */

static size_t read_file(const char *path, char *out, size_t room)
{
	FILE *f = fopen(path, "r");
	size_t len;

	assert_non_null(f);
	len = fread(out, 1, room, f);
	fclose(f);
	return len;
}

static void write_bytes(const char *path, const char *bytes, size_t len)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fchmod(fileno(f), 0600), 0);
	assert_int_equal(fwrite(bytes, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void write_in_place(const char *path, const char *from)
{
	char bytes[8192];

	write_bytes(path, bytes, read_file(from, bytes, sizeof bytes));
}

static void write_by_rename(const char *path, const char *from)
{
	char fresh[96];

	snprintf(fresh, sizeof fresh, "%s.new", path);
	write_in_place(fresh, from);
	assert_int_equal(rename(fresh, path), 0);
}

static void begin_with_ours(void)
{
	write_in_place(certificate, ours.certificate);
	write_in_place(key, ours.key);
	write_in_place(anchors, ours.ca);
}

/* ---- tenants */

static struct config config;

static struct tenants *make_tenants(void)
{
	char error[512] = "";
	struct tenants *ts;

	begin_with_ours();
	config = (struct config){.handshakes.mtu = 1400, .handshakes.ticket_lifetime_s = 3600};
	config.tls = (struct config_tls){.certificate = certificate,
					 .key = key,
					 .trust_anchors = anchors,
					 .client_certificate = CONFIG_CLIENT_CERTIFICATE_OPTIONAL,
					 .handshake_rate = 100,
					 .tickets = true,
					 .require_ems = true};
	ts = tenants_new(&config, credentials, error, sizeof error);
	if (!ts)
		fail_msg("%s", error);
	return ts;
}

static bool meets(const struct tls *t, const char *ca, const struct pki *device)
{
	char files[2][160];
	struct peer_options o = {.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = ca};
	struct meeting m;
	bool good;

	if (device) {
		snprintf(files[0], sizeof files[0], "%s", pki_path(device, "device", "pem"));
		snprintf(files[1], sizeof files[1], "%s", pki_path(device, "device", "key"));
		o.certificate = files[0];
		o.key = files[1];
	}
	meeting_new(&m, t, &peer_openssl, &o);
	good = meeting_run(&m, 3) && meeting_echo(&m, "hello");
	meeting_free(&m);
	return good;
}

static struct renewal_state state_of(const struct tenants *ts)
{
	struct renewal_state state;

	tenants_renewal(ts, 0, &state);
	return state;
}

/* What is asked for now, and taken. */
static void look_and_take(struct tenants *ts)
{
	struct pollfd p = {.fd = tenants_fd(ts), .events = POLLIN};
	uint64_t taken = state_of(ts).taken;

	tenants_look(ts);
	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("nothing came: %s", state_of(ts).fault);
	assert_int_equal(state_of(ts).taken, taken + 1);
	assert_string_equal(state_of(ts).fault, "");
	tenants_renew(ts);
	assert_int_equal(poll(&p, 1, 0), 0);
}

static void look_and_refuse(struct tenants *ts, const char *why)
{
	struct pollfd p = {.fd = tenants_fd(ts), .events = POLLIN};
	uint64_t refused = state_of(ts).refused;
	const struct tls *before = tenants_default(ts);

	tenants_look(ts);
	for (int i = 0; i < WAIT_MS / 10 && state_of(ts).refused == refused; i++)
		usleep(10000);
	assert_int_equal(state_of(ts).refused, refused + 1);
	if (!strstr(state_of(ts).fault, why))
		fail_msg("not \"%s\": %s", why, state_of(ts).fault);
	assert_int_equal(poll(&p, 1, 0), 0);
	tenants_renew(ts);
	assert_ptr_equal(tenants_default(ts), before);
	assert_true(meets(before, ours.ca, NULL));
}

/* ---- what is new */

static void a_renewed_pair_is_taken(void **state)
{
	static void (*const ways[])(const char *, const char *) = {write_by_rename, write_in_place};

	for (unsigned i = 0; i < 2; i++) {
		struct tenants *ts = make_tenants();
		const struct tls *before = tenants_default(ts);

		assert_true(meets(before, ours.ca, NULL));
		ways[i](certificate, theirs.certificate);
		ways[i](key, theirs.key);
		look_and_take(ts);
		assert_ptr_not_equal(tenants_default(ts), before);
		assert_true(meets(tenants_default(ts), theirs.ca, NULL));
		assert_false(meets(tenants_default(ts), ours.ca, NULL));
		/* anchors are as they were, and shared */
		assert_ptr_equal(tenants_default(ts)->trust, before->trust);
		assert_true(meets(tenants_default(ts), theirs.ca, &ours));
		tenants_free(ts);
	}
}

static void without_being_asked_it_takes_two_looks(void **state)
{
	struct tenants *ts = make_tenants();
	struct pollfd p = {.fd = tenants_fd(ts), .events = POLLIN};

	write_by_rename(certificate, theirs.certificate);
	write_by_rename(key, theirs.key);
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	tenants_renew(ts);
	assert_true(meets(tenants_default(ts), theirs.ca, NULL));
	assert_int_equal(state_of(ts).refused, 0);
	tenants_free(ts);
}

static enum fault lose_finished(struct meeting *m, bool from_client, unsigned nth, const uint8_t *record,
				size_t len)
{
	return from_client && record[4] == 1 ? FAULT_DROP : FAULT_NONE; /* of epoch 1 */
}

static void a_handshake_ends_with_what_it_began_with(void **state)
{
	struct tenants *ts = make_tenants();
	const struct tls *before = tenants_default(ts);
	struct peer_options old_ca = {.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = ours.ca};
	struct meeting m;

	meeting_new(&m, before, &peer_openssl, &old_ca);
	m.start.tenants = ts;
	m.split = true;
	m.fault = lose_finished;
	assert_false(meeting_run(&m, 0));
	assert_int_equal(m.server, HANDSHAKE_GOES_ON);
	assert_true(tls_is_held(before));
	write_by_rename(certificate, theirs.certificate);
	write_by_rename(key, theirs.key);
	write_by_rename(anchors, theirs.ca);
	look_and_take(ts);
	tenants_look(ts);
	usleep(200000); /* the old one is not freed meanwhile: a sanitizer sees it otherwise */
	assert_true(tls_is_held(before));
	m.fault = NULL;
	assert_true(meeting_run(&m, 3));
	assert_true(meeting_echo(&m, "hello"));
	meeting_free(&m);
	assert_false(tls_is_held(before));
	assert_true(meets(tenants_default(ts), theirs.ca, &theirs));
	tenants_free(ts);
}

static void new_anchors_count_for_new_handshakes(void **state)
{
	struct tenants *ts = make_tenants();
	const struct tls *before = tenants_default(ts);

	assert_true(meets(before, ours.ca, &ours));
	assert_false(meets(before, ours.ca, &theirs));
	write_by_rename(anchors, theirs.ca);
	look_and_take(ts);
	assert_ptr_equal(tenants_default(ts)->own, before->own); /* and its staple goes on */
	assert_true(meets(tenants_default(ts), ours.ca, &theirs));
	assert_false(meets(tenants_default(ts), ours.ca, &ours));
	tenants_free(ts);
}

static void what_is_not_in_files_goes_on(void **state)
{
	struct tenants *ts = make_tenants();
	const struct tls *before = tenants_default(ts);
	uint64_t now_ns = 1000000000000;
	unsigned admitted = 0;

	while (tls_admit(before, now_ns))
		admitted++;
	assert_int_equal(admitted, 100);
	write_by_rename(certificate, theirs.certificate);
	write_by_rename(key, theirs.key);
	look_and_take(ts);
	assert_false(tls_admit(tenants_default(ts), now_ns)); /* a renewal is no new second's worth */
	assert_non_null(before->tickets);
	assert_ptr_equal(tenants_default(ts)->tickets, before->tickets);
	assert_ptr_equal(tenants_default(ts)->policy.suites, tenants_default(ts)->suites);
	assert_int_equal(tenants_default(ts)->place, 0);
	assert_true(tls_admit(tenants_default(ts), now_ns + SECOND_NS));
	tenants_free(ts);
}

/* ---- what is wrong */

static void a_key_that_lags_behind_is_waited_for(void **state)
{
	struct tenants *ts = make_tenants();

	write_by_rename(certificate, theirs.certificate);
	look_and_refuse(ts, "tls.key: ");
	assert_non_null(strstr(state_of(ts).fault, "does not belong to the certificate"));
	write_by_rename(key, theirs.key);
	look_and_take(ts);
	assert_true(meets(tenants_default(ts), theirs.ca, NULL));
	tenants_free(ts);
}

static void what_is_wrong_changes_nothing(void **state)
{
	static const char *const flaws[][3] = {
		{"expired", "has expired", "pem"},
		{"sha1", "hash that is not enabled", "pem"},
		{"small", "certificate: ", "pem"},
	};
	struct tenants *ts = make_tenants();

	assert_true(meets(tenants_default(ts), ours.ca, &ours));
	for (size_t i = 0; i < sizeof flaws / sizeof flaws[0]; i++) {
		write_by_rename(certificate, pki_path(&theirs, flaws[i][0], "pem"));
		write_by_rename(key, pki_path(&theirs, flaws[i][0], "key"));
		look_and_refuse(ts, flaws[i][1]);
	}
	write_by_rename(key, theirs.key);
	write_bytes(certificate, "", 0);
	look_and_refuse(ts, "tls.certificate: ");
	write_bytes(certificate, "-----BEGIN CERTIFICATE-----\nMIIB\n", 33);
	look_and_refuse(ts, "tls.certificate: ");
	unlink(certificate);
	look_and_refuse(ts, "No such file");
	write_by_rename(certificate, theirs.certificate);
	assert_int_equal(chmod(key, 0644), 0);
	look_and_refuse(ts, "others must have no access");
	assert_int_equal(chmod(key, 0600), 0);
	write_by_rename(anchors, theirs.key); /* all or nothing: the certificate is good */
	look_and_refuse(ts, "tls.trust_anchors: ");
	assert_true(meets(tenants_default(ts), ours.ca, &ours));
	write_by_rename(anchors, theirs.ca);
	look_and_take(ts);
	assert_true(meets(tenants_default(ts), theirs.ca, &theirs));
	tenants_free(ts);
}

static void the_old_files_again_are_no_fault(void **state)
{
	struct tenants *ts = make_tenants();

	write_by_rename(certificate, theirs.certificate);
	look_and_refuse(ts, "does not belong");
	write_by_rename(certificate, ours.certificate);
	look_and_take(ts);
	assert_true(meets(tenants_default(ts), ours.ca, &ours));
	tenants_free(ts);
}

/* ---- when it looks: without the thread, at times of our own */

struct stage {
	struct renewals *r;
	struct tls *t;
	uint64_t now_ns;
};

static void set_stage(struct stage *s)
{
	char error[512] = "";

	begin_with_ours();
	config = (struct config){.handshakes.mtu = 1400};
	config.tls = (struct config_tls){.certificate = certificate, .key = key, .require_ems = true};
	s->r = renewals_new(&config);
	s->t = tls_new(&config, &config.tls, "", credentials, error, sizeof error);
	if (!s->r || !s->t)
		fail_msg("%s", error);
	s->r->of[0].newest = s->t;
	s->r->of[0].files[ANCHORS].path = NULL;
	s->now_ns = errand_now_ns();
}

static void clear_stage(struct stage *s)
{
	renewals_free(s->r);
	tls_free(s->t);
}

/* A second later. */
static struct renewal_state next_look(struct stage *s)
{
	struct renewal_state state;

	s->now_ns += LOOK_NS;
	(void)look(&s->r->errand, s->now_ns);
	renewals_take(s->r, &s->t);
	renewals_state(s->r, 0, &state);
	return state;
}

static void files_come_to_rest_first(void **state)
{
	struct stage s;

	set_stage(&s);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(next_look(&s).taken, 0);
	for (unsigned i = 0; i < 5; i++) { /* each look finds something new */
		write_by_rename(certificate, i % 2 ? ours.certificate : theirs.certificate);
		assert_int_equal(next_look(&s).taken, 0);
	}
	write_by_rename(key, theirs.key);
	assert_int_equal(next_look(&s).taken, 0);
	assert_int_equal(next_look(&s).taken, 1);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(next_look(&s).taken, 1);
	assert_int_equal(next_look(&s).refused, 0);
	assert_true(meets(s.t, theirs.ca, NULL));
	clear_stage(&s);
}

static void a_fault_is_told_once_and_tried_again(void **state)
{
	struct renewal_state now;
	struct stage s;

	set_stage(&s);
	write_by_rename(certificate, theirs.certificate);
	now = next_look(&s);
	assert_int_equal(now.refused, 0);
	for (unsigned i = 0; i < 3 * RENEWAL_AGAIN_S; i++) {
		now = next_look(&s);
		assert_int_equal(now.refused, 1);
		assert_non_null(strstr(now.fault, "does not belong"));
	}
	write_in_place(certificate, theirs.certificate); /* another try of somebody, and wrong again */
	(void)next_look(&s);
	assert_int_equal(next_look(&s).refused, 2);
	renewals_now(s.r); /* who asks is told */
	assert_int_equal(next_look(&s).refused, 3);
	write_by_rename(key, theirs.key);
	(void)next_look(&s);
	now = next_look(&s);
	assert_int_equal(now.taken, 1);
	assert_string_equal(now.fault, "");
	clear_stage(&s);
}

/* What the clock alone mends needs no new file. */
static void a_fault_goes_away_by_itself(void **state)
{
	struct stage s;

	set_stage(&s);
	write_by_rename(certificate, theirs.certificate);
	write_by_rename(key, theirs.key);
	s.r->of[0].own_changed = true; /* as after a fault that is none any more */
	for (unsigned i = 0; i < FILES; i++) {
		if (s.r->of[0].files[i].path)
			(void)stat(s.r->of[0].files[i].path, &s.r->of[0].files[i].read);
	}
	s.r->of[0].again_ns = s.now_ns + RENEWAL_AGAIN_S * SECOND_NS;
	for (unsigned i = 1; i < RENEWAL_AGAIN_S; i++)
		assert_int_equal(next_look(&s).taken, 0);
	assert_int_equal(next_look(&s).taken, 1);
	clear_stage(&s);
}

static void who_is_asked_does_not_wait(void **state)
{
	struct stage s;

	set_stage(&s);
	write_by_rename(certificate, theirs.certificate);
	write_by_rename(key, theirs.key);
	renewals_now(s.r);
	assert_int_equal(next_look(&s).taken, 1);
	renewals_now(s.r); /* nothing has changed */
	assert_int_equal(next_look(&s).taken, 1);
	clear_stage(&s);
}

/* Two that come before the control thread has taken the first. */
static void one_that_was_never_taken_is_given_back(void **state)
{
	struct stage s;

	set_stage(&s);
	for (unsigned i = 0; i < 3; i++) {
		write_by_rename(certificate, i % 2 ? ours.certificate : theirs.certificate);
		write_by_rename(key, i % 2 ? ours.key : theirs.key);
		renewals_now(s.r);
		(void)look(&s.r->errand, s.now_ns);
	}
	renewals_take(s.r, &s.t);
	assert_true(meets(s.t, theirs.ca, NULL));
	(void)next_look(&s);
	assert_null(s.r->replaced);
	clear_stage(&s);
}

static void what_is_held_is_not_given_back(void **state)
{
	const struct tls *held;
	struct stage s;

	set_stage(&s);
	held = tls_hold(s.t);
	write_by_rename(certificate, theirs.certificate);
	write_by_rename(key, theirs.key);
	renewals_now(s.r);
	(void)next_look(&s);
	assert_ptr_not_equal(s.t, held);
	for (unsigned i = 0; i < 3; i++)
		(void)next_look(&s);
	assert_ptr_equal(s.r->replaced, held);
	assert_true(meets(held, ours.ca, NULL));
	tls_let_go(held);
	(void)next_look(&s);
	assert_null(s.r->replaced);
	clear_stage(&s);
}

/* ---- raw public keys */

static void a_raw_key_is_renewed(void **state)
{
	struct renewal_state now;
	uint8_t before[RAW_KEY_DIGEST];
	char error[512] = "";
	struct stage s;

	write_in_place(raw_key, ours.key);
	config = (struct config){.handshakes.mtu = 1400};
	config.tls = (struct config_tls){.raw_key = raw_key, .require_ems = true};
	s.r = renewals_new(&config);
	s.t = tls_new(&config, &config.tls, "", credentials, error, sizeof error);
	assert_non_null(s.t);
	s.r->of[0].newest = s.t;
	s.now_ns = errand_now_ns();
	memcpy(before, s.t->own->raw_key_digest, sizeof before);
	write_bytes(raw_key, "nonsense", 8);
	renewals_now(s.r);
	now = next_look(&s);
	assert_non_null(strstr(now.fault, "tls.raw_key: "));
	assert_memory_equal(before, s.t->own->raw_key_digest, sizeof before);
	write_by_rename(raw_key, theirs.key);
	renewals_now(s.r);
	assert_int_equal(next_look(&s).taken, 1);
	assert_memory_not_equal(before, s.t->own->raw_key_digest, sizeof before);
	clear_stage(&s);
}

/* ---- no trace of the old key */

/* The private scalar out of the PEM: PKCS #8 has it behind 04 20. */
static void take_scalar(const char *path, uint8_t masked[32])
{
	char pem[4096];
	static uint8_t der[1024];
	size_t len = read_file(path, pem, sizeof pem);
	int der_len = wc_KeyPemToDer((const unsigned char *)pem, (int)len, der, sizeof der, NULL);

	assert_true(der_len > 64);
	for (int i = 0; i + 34 <= der_len; i++) {
		if (der[i] == 4 && der[i + 1] == 32) {
			for (int j = 0; j < 32; j++)
				masked[j] = der[i + 2 + j] ^ 0x5a;
			break;
		}
	}
	memset(pem, 0, sizeof pem);
	memset(der, 0, sizeof der);
}

static void the_old_key_is_wiped(void **state)
{
	uint8_t old[32] = {0}, fresh[32] = {0};
	struct stage s;

	set_stage(&s);
	take_scalar(ours.key, old);
	take_scalar(theirs.key, fresh);
	assert_true(meets(s.t, ours.ca, NULL));
	assert_true(times_in_memory(old, sizeof old) > 0);
	write_by_rename(certificate, theirs.certificate);
	rename(theirs.key, key); /* not through our memory */
	renewals_now(s.r);
	assert_int_equal(next_look(&s).taken, 1);
	(void)next_look(&s);
	assert_null(s.r->replaced);
	assert_true(meets(s.t, theirs.ca, NULL));
	assert_true(times_in_memory(fresh, sizeof fresh) > 0);
	assert_int_equal(times_in_memory(old, sizeof old), 0);
	rename(key, theirs.key);
	clear_stage(&s);
	assert_int_equal(times_in_memory(fresh, sizeof fresh), 0);
}

static int set_up(void **state)
{
	static const struct {
		const char *name;
		enum pki_flaw flaw;
	} flawed[] = {{"expired", PKI_EXPIRED}, {"sha1", PKI_SHA1}, {"small", PKI_SMALL_CURVE}};

	if (!mkdtemp(directory))
		return -1;
	snprintf(certificate, sizeof certificate, "%s/certificate.pem", directory);
	snprintf(key, sizeof key, "%s/key.pem", directory);
	snprintf(anchors, sizeof anchors, "%s/anchors.pem", directory);
	snprintf(raw_key, sizeof raw_key, "%s/raw-key.pem", directory);
	pki_new(&ours);
	pki_new(&theirs);
	pki_client(&ours, "device", "device 1", NULL, NULL, PKI_GOOD);
	pki_client(&theirs, "device", "device 1", NULL, NULL, PKI_GOOD);
	for (size_t i = 0; i < sizeof flawed / sizeof flawed[0]; i++)
		pki_client(&theirs, flawed[i].name, "gateway.example", NULL, NULL, flawed[i].flaw);
	return tls_global_init();
}

static int tear_down(void **state)
{
	tls_global_fini();
	pki_free(&ours);
	pki_free(&theirs);
	unlink(certificate);
	unlink(key);
	unlink(anchors);
	unlink(raw_key);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_old_key_is_wiped),
		cmocka_unit_test(a_renewed_pair_is_taken),
		cmocka_unit_test(without_being_asked_it_takes_two_looks),
		cmocka_unit_test(a_handshake_ends_with_what_it_began_with),
		cmocka_unit_test(new_anchors_count_for_new_handshakes),
		cmocka_unit_test(what_is_not_in_files_goes_on),
		cmocka_unit_test(a_key_that_lags_behind_is_waited_for),
		cmocka_unit_test(what_is_wrong_changes_nothing),
		cmocka_unit_test(the_old_files_again_are_no_fault),
		cmocka_unit_test(files_come_to_rest_first),
		cmocka_unit_test(a_fault_is_told_once_and_tried_again),
		cmocka_unit_test(a_fault_goes_away_by_itself),
		cmocka_unit_test(who_is_asked_does_not_wait),
		cmocka_unit_test(one_that_was_never_taken_is_given_back),
		cmocka_unit_test(what_is_held_is_not_given_back),
		cmocka_unit_test(a_raw_key_is_renewed),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
