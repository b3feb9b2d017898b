/* Tenants: which one a server name chooses, and that each handshake is held against its own certificate,
 * keys, suites and rules.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/meeting.h"
#include "tests/unit/pki.h"

static const uint8_t key_of_default[16] = "of the default o", key_of_water[16] = "of the water one";
static struct pki pki, other_pki;

/* The same identity, "meter", with another key in each of two tenants. */
static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t len,
		    struct psk_credential *out)
{
	const uint8_t *key = strcmp(tenant, "") == 0        ? key_of_default
			     : strcmp(tenant, "water") == 0 ? key_of_water
							    : NULL;

	memset(out, 0, sizeof *out);
	if (!key || len != 5 || memcmp(identity, "meter", 5) != 0)
		return 0;
	memcpy(out->key, key, 16);
	out->key_len = 16;
	registree_by_credential(&out->registree, identity, len);
	return 1;
}

static const struct credential_store store = {.name = "test", .find_psk = find_psk};

static char *water_names[] = {"water.example", "*.Water.Example", "*.deep.water.example"};
static char *heat_names[] = {"HEAT.example", "a.b.water.example"};
static char *psk_suites[] = {"TLS_PSK_WITH_AES_128_CCM_8"};
static char *heat_suites[] = {"TLS_ECDHE_ECDSA_WITH_AES_128_CCM"};

static struct tenants *make_tenants(enum config_unknown_server_name unknown)
{
	struct config_tenant list[] = {
		{.name = "water", .server_names = water_names, .server_names_count = 3},
		{.name = "heat", .server_names = heat_names, .server_names_count = 2},
	};
	struct config config = {.sessions.cid = true,
				.handshakes.mtu = 1400,
				.tls.require_ems = true,
				.tls.unknown_server_name = unknown,
				.tenants = list,
				.tenants_count = 2};
	char error[256] = "";
	struct tenants *ts;

	config.tls.certificate = pki.certificate;
	config.tls.key = pki.key;
	config.tls.trust_anchors = pki.ca;
	config.tls.client_certificate = CONFIG_CLIENT_CERTIFICATE_OPTIONAL;
	list[0].tls.suites = psk_suites;
	list[0].tls.suites_count = 1;
	list[0].tls.reveal_unknown_psk = true;
	list[1].tls = (struct config_tls){.certificate = other_pki.certificate,
					  .key = other_pki.key,
					  .trust_anchors = other_pki.ca,
					  .client_certificate = CONFIG_CLIENT_CERTIFICATE_REQUIRED,
					  .suites = heat_suites,
					  .suites_count = 1,
					  .require_ems = true};
	ts = tenants_new(&config, (struct credentials){.ops = &store}, error, sizeof error);
	if (!ts)
		fail_msg("%s", error);
	return ts;
}

/* ---- choosing */

static const char *chosen(const struct tenants *ts, const char *name)
{
	const struct tls *t = tenants_choose(ts, (const uint8_t *)name, name ? strlen(name) : 0);

	return t ? t->tenant : "refused";
}

static void test_choice(void **state)
{
	static const struct {
		const char *name, *tenant;
	} cases[] = {
		{NULL, ""},
		{"water.example", "water"},
		{"WATER.eXample", "water"},
		{"x.water.example", "water"},
		{"x.y.z.water.example", "water"},
		{"b.water.example", "water"},
		{"a.b.water.example", "heat"}, /* exact before the wildcard */
		{"A.B.WATER.EXAMPLE", "heat"},
		{"x.deep.water.example", "water"},
		{"heat.example", "heat"},
		{"x.heat.example", "refused"},
		{"xwater.example", "refused"},
		{".water.example", "water"},
		{"example", "refused"},
		{"water.example.", "refused"},
		{"water", "refused"},
		{"*.water.example", "water"},
		{"", "refused"},
		{".", "refused"},
		{"...", "refused"},
	};
	struct tenants *ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_REFUSE);
	uint8_t longest[255];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (strcmp(chosen(ts, cases[i].name), cases[i].tenant) != 0)
			fail_msg("%s: %s", cases[i].name, chosen(ts, cases[i].name));
	}
	memset(longest, '.', sizeof longest);
	assert_null(tenants_choose(ts, longest, sizeof longest));
	assert_null(tenants_choose(ts, (const uint8_t *)"water.example\0", 14));
	assert_ptr_equal(tenants_default(ts), tenants_at(ts, 0));
	assert_int_equal(tenants_count(ts), 3);
	assert_string_equal(tenants_at(ts, 2)->tenant, "heat");
	assert_int_equal(tenants_find(ts, "heat")->place, 2);
	assert_null(tenants_find(ts, "gas"));
	tenants_free(ts);
	ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_DEFAULT);
	assert_string_equal(chosen(ts, "nobody.example"), "");
	assert_string_equal(chosen(ts, "x.water.example"), "water");
	tenants_free(ts);
}

/* Many names, against a plain search. */
static void test_choice_agrees_with_a_search(void **state)
{
	enum { NAMES = 64, TENANTS = 100 };
	static char text[TENANTS][NAMES][32], *names[TENANTS][NAMES];
	static struct config_tenant list[TENANTS];
	struct config config = {
		.handshakes.mtu = 1400, .tenants = list, .tenants_count = TENANTS, .tls.require_ems = true};
	char error[256], wanted[64];
	struct tenants *ts;

	for (unsigned i = 0; i < TENANTS; i++) {
		for (unsigned j = 0; j < NAMES; j++) {
			snprintf(text[i][j], sizeof text[i][j], "%sn%u.t%u.example", j % 2 ? "*." : "", j, i);
			names[i][j] = text[i][j];
		}
		list[i] = (struct config_tenant){
			.name = names[i][0], .server_names = names[i], .server_names_count = NAMES};
	}
	ts = tenants_new(&config, (struct credentials){.ops = &store}, error, sizeof error);
	assert_non_null(ts);
	for (unsigned i = 0; i < TENANTS; i++) {
		for (unsigned j = 0; j < NAMES; j++) {
			snprintf(wanted, sizeof wanted, "%sN%u.T%u.example", j % 2 ? "some.thing." : "", j,
				 i);
			assert_string_equal(chosen(ts, wanted), names[i][0]);
			snprintf(wanted, sizeof wanted, "%sn%u.t%u.example", j % 2 ? "" : "x.", j, i);
			assert_string_equal(chosen(ts, wanted), "");
		}
	}
	tenants_free(ts);
}

/* ---- handshakes */

static struct peer_options with_psk(const uint8_t *key, const char *server_name)
{
	return (struct peer_options){.ciphers = "PSK-AES128-CCM-8",
				     .psk_identity = "meter",
				     .psk = key,
				     .psk_len = 16,
				     .server_name = server_name};
}

static bool meet(struct meeting *m, const struct tenants *ts, const struct peer_kind *kind,
		 const struct peer_options *o)
{
	meeting_new(m, tenants_default(ts), kind, o);
	m->start.tenants = ts;
	return meeting_run(m, 3) && meeting_echo(m, "hello");
}

static void expect(const struct tenants *ts, const struct peer_options *o, const char *tenant)
{
	static const struct peer_kind *const kinds[] = {&peer_wolfssl, &peer_openssl};

	for (unsigned i = 0; i < 2; i++) {
		struct meeting m;

		if (!meet(&m, ts, kinds[i], o))
			fail_msg("%s, %s: %s", kinds[i]->name, o->server_name, m.refusal.text);
		assert_string_equal(meeting_field(&m, SLUICE_FIELD_TENANT), tenant);
		assert_string_equal(meeting_field(&m, SLUICE_FIELD_SNI),
				    o->server_name ? o->server_name : "");
		meeting_free(&m);
	}
}

static void expect_refused(const struct tenants *ts, const struct peer_options *o, uint8_t alert,
			   const char *why)
{
	struct meeting m;

	assert_false(meet(&m, ts, &peer_openssl, o));
	if (m.server != HANDSHAKE_FAILED || m.refusal.alert != alert || !strstr(m.refusal.text, why))
		fail_msg("%s: state %d, alert %u, %s", o->server_name, m.server, m.refusal.alert,
			 m.refusal.text);
	meeting_free(&m);
}

/* RFC 6066 3 (checklist H17), and each tenant's own space of pre-shared keys. */
static void test_own_keys(void **state)
{
	struct tenants *ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_REFUSE);
	struct peer_options o = with_psk(key_of_default, NULL);

	expect(ts, &o, "");
	o = with_psk(key_of_water, "water.example");
	expect(ts, &o, "water");
	o = with_psk(key_of_water, "Meters.Water.example");
	expect(ts, &o, "water");
	o = with_psk(key_of_default, "water.example");
	expect_refused(ts, &o, ALERT_DECRYPT_ERROR, "another key");
	o = with_psk(key_of_water, NULL);
	expect_refused(ts, &o, ALERT_DECRYPT_ERROR, "another key");
	o = with_psk(key_of_water, "nobody.example");
	expect_refused(ts, &o, ALERT_UNRECOGNIZED_NAME,
		       "\"nobody.example\", which is a server name of no tenant");
	tenants_free(ts);
	ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_DEFAULT);
	o = with_psk(key_of_default, "nobody.example");
	expect(ts, &o, "");
	tenants_free(ts);
}

/* RFC 4279 2: unknown_psk_identity only where the operator wants it. */
static void test_own_word_about_unknown_keys(void **state)
{
	struct tenants *ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_REFUSE);
	struct peer_options o = with_psk(key_of_default, NULL);

	o.psk_identity = "nobody";
	expect_refused(ts, &o, ALERT_DECRYPT_ERROR, "unknown PSK identity \"nobody\"");
	o.server_name = "water.example";
	expect_refused(ts, &o, ALERT_UNKNOWN_PSK_IDENTITY, "unknown PSK identity \"nobody\"");
	o.psk_identity = "meter"; /* known, but with another key */
	expect_refused(ts, &o, ALERT_DECRYPT_ERROR, "another key");
	tenants_free(ts);
}

static void test_own_suites(void **state)
{
	struct tenants *ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_REFUSE);
	struct peer_options o = {.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = pki.ca};

	expect(ts, &o, "");
	o.server_name = "water.example"; /* has no certificate, so never falls into certificate mode */
	expect_refused(ts, &o, ALERT_HANDSHAKE_FAILURE, "not enabled");
	o.server_name = "heat.example"; /* has another suite */
	expect_refused(ts, &o, ALERT_HANDSHAKE_FAILURE, "not enabled");
	o = with_psk(key_of_default, "heat.example");
	expect_refused(ts, &o, ALERT_HANDSHAKE_FAILURE, "not enabled");
	tenants_free(ts);
}

static void test_own_certificates(void **state)
{
	static char files[4][160];
	struct tenants *ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_REFUSE);
	struct peer_options ours, theirs;

	snprintf(files[0], sizeof files[0], "%s", pki_path(&pki, "device", "pem"));
	snprintf(files[1], sizeof files[1], "%s", pki_path(&pki, "device", "key"));
	snprintf(files[2], sizeof files[2], "%s", pki_path(&other_pki, "device", "pem"));
	snprintf(files[3], sizeof files[3], "%s", pki_path(&other_pki, "device", "key"));
	ours = (struct peer_options){
		.ciphers = "ECDHE-ECDSA-AES128-CCM", .ca = pki.ca, .certificate = files[0], .key = files[1]};
	theirs = (struct peer_options){.ciphers = "ECDHE-ECDSA-AES128-CCM",
				       .ca = other_pki.ca,
				       .certificate = files[2],
				       .key = files[3],
				       .server_name = "heat.example"};
	expect(ts, &theirs, "heat");
	theirs.ca = pki.ca; /* it is not the default tenant's certificate */
	expect_refused(ts, &theirs, ALERT_CLOSE_NOTIFY, "the client sent the alert");
	theirs.ca = other_pki.ca;
	theirs.certificate = files[0]; /* a device of the default tenant */
	theirs.key = files[1];
	expect_refused(ts, &theirs, ALERT_BAD_CERTIFICATE, "signature"); /* its root has the same name */
	theirs.certificate = theirs.key = NULL;                          /* required there, optional here */
	expect_refused(ts, &theirs, ALERT_HANDSHAKE_FAILURE, "sent no certificate");
	ours.ciphers = "ECDHE-ECDSA-AES128-CCM-8";
	expect(ts, &ours, "");
	ours.certificate = files[2];
	ours.key = files[3];
	expect_refused(ts, &ours, ALERT_BAD_CERTIFICATE, "signature");
	tenants_free(ts);
}

static void test_own_ems_switch(void **state)
{
	struct tenants *ts = make_tenants(CONFIG_UNKNOWN_SERVER_NAME_REFUSE);
	struct peer_options o = with_psk(key_of_default, NULL);
	struct meeting m;

	o.without_ems = true;
	assert_false(meet(&m, ts, &peer_wolfssl, &o));
	assert_non_null(strstr(m.refusal.text, "RFC 7627"));
	meeting_free(&m);
	o = with_psk(key_of_water, "water.example");
	o.without_ems = true;
	assert_true(meet(&m, ts, &peer_wolfssl, &o));
	meeting_free(&m);
	tenants_free(ts);
}

static void test_faults_name_the_tenant(void **state)
{
	struct config_tenant list[] = {
		{.name = "water", .server_names = water_names, .server_names_count = 1}};
	struct config config = {.handshakes.mtu = 1400, .tenants = list, .tenants_count = 1};
	struct credentials credentials = {.ops = &store};
	char error[256];

	list[0].tls.certificate = pki.certificate;
	list[0].tls.key = other_pki.key;
	assert_null(tenants_new(&config, credentials, error, sizeof error));
	assert_non_null(strstr(error, "tenants.water.key: "));
	list[0].tls.certificate = list[0].tls.key = NULL;
	credentials.default_only = true; /* as a file is */
	assert_null(tenants_new(&config, credentials, error, sizeof error));
	assert_non_null(strstr(error, "tenants.water.suites: "));
}

static int set_up(void **state)
{
	pki_new(&pki);
	pki_new(&other_pki);
	pki_client(&pki, "device", "device 1", NULL, NULL, PKI_GOOD);
	pki_client(&other_pki, "device", "device 1", NULL, NULL, PKI_GOOD);
	return tls_global_init();
}

static int tear_down(void **state)
{
	tls_global_fini();
	pki_free(&pki);
	pki_free(&other_pki);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choice),         cmocka_unit_test(test_choice_agrees_with_a_search),
		cmocka_unit_test(test_own_keys),       cmocka_unit_test(test_own_word_about_unknown_keys),
		cmocka_unit_test(test_own_suites),     cmocka_unit_test(test_own_certificates),
		cmocka_unit_test(test_own_ems_switch), cmocka_unit_test(test_faults_name_the_tenant),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
