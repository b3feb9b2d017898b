/* Raw public keys (RFC 7250) with wolfSSL as the client, in each direction on its own (checklist A05). Every
 * refusal stands between two handshakes that are good. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/ni.h"
#include "controlplane/raw_key.h"
#include "tests/unit/meeting.h"
#include "tests/unit/pki.h"

static struct pki pki;
static struct {
	uint8_t digest[32];
	int fault;
} rows;

/* Holds one raw public key of the default tenant. */
static int find(void *store, const struct credential_id *id, struct registree *out)
{
	if (rows.fault)
		return rows.fault;
	if (id->kind != SLUICE_CREDENTIAL_RPK || id->tenant[0] || id->digest_len != 32 ||
	    memcmp(id->digest, rows.digest, 32) != 0)
		return 0;
	*out = (struct registree){.kind = SLUICE_IDENTITY_LWM2M_ENDPOINT, .identities_count = 1};
	strcpy(out->identities[0], "urn:ep:1");
	return 1;
}

static const struct credential_store store = {.name = "test", .find = find};

struct options {
	bool certificate, raw_key, anchors;
	enum config_client_certificate clients;
	const struct credential_store *store; /* NULL: the one above */
};

static bool key_of_file(const char *path, struct raw_key *key, char *why, size_t why_len)
{
	char pem[4096];
	FILE *f = fopen(path, "r");
	size_t len;

	assert_non_null(f);
	len = fread(pem, 1, sizeof pem, f);
	fclose(f);
	return raw_key_of_pem(pem, len, key, why, why_len);
}

static struct tls *try_tls(const struct options *o, char *error, size_t error_len)
{
	static const char *const names[] = {"TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8"};
	struct config config = {.handshakes.mtu = 1400, .tls.require_ems = true};

	config.tls.suites = (char **)(uintptr_t)names;
	config.tls.suites_count = 1;
	config.tls.certificate = o->certificate ? pki.certificate : NULL;
	config.tls.key = o->certificate ? pki.key : NULL;
	config.tls.raw_key = o->raw_key ? pki.key : NULL;
	config.tls.trust_anchors = o->anchors ? pki.ca : NULL;
	config.tls.client_certificate = o->clients;
	return tls_new(&config, &config.tls, "", (struct credentials){.ops = o->store ? o->store : &store},
		       error, error_len);
}

static struct tls *new_tls(struct options o)
{
	char error[256] = "";
	struct tls *t = try_tls(&o, error, sizeof error);

	if (!t)
		fail_msg("%s", error);
	return t;
}

static struct peer_options options_of(const char *device, const char *server_types)
{
	static char path[160], error[256];
	static struct raw_key key;
	struct peer_options o = {
		.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = pki.ca, .server_types = server_types};

	if (device) {
		snprintf(path, sizeof path, "%s", pki_path(&pki, device, "key"));
		o.raw_key = path;
		assert_true(key_of_file(path, &key, error, sizeof error));
		o.raw_info = key.info;
		o.raw_info_len = key.info_len;
	}
	return o;
}

static void expect_good(const struct tls *t, struct peer_options o, enum sluice_credential credential)
{
	struct meeting m;
	const struct sluice_session_up *up = (const struct sluice_session_up *)m.up;
	char name[NI_TEXT_MAX];

	meeting_new(&m, t, &peer_wolfssl, &o);
	if (!meeting_run(&m, 3) || !meeting_echo(&m, "hello"))
		fail_msg("client %d, server %d, %s", m.client, m.server, m.refusal.text);
	assert_int_equal(up->credential, credential);
	if (credential == SLUICE_CREDENTIAL_RPK) {
		assert_string_equal(meeting_field(&m, SLUICE_FIELD_CREDENTIAL_ID),
				    ni_text(rows.digest, 32, name));
		assert_string_equal(meeting_field(&m, SLUICE_FIELD_IDENTITY), "urn:ep:1");
		assert_int_equal(up->identity, SLUICE_IDENTITY_LWM2M_ENDPOINT);
	}
	meeting_free(&m);
}

static void expect_refusal(const struct tls *t, struct peer_options o, const char *alert,
			   enum refusal_cause cause, const char *words)
{
	struct meeting m;

	meeting_new(&m, t, &peer_wolfssl, &o);
	assert_false(meeting_run(&m, 1));
	if (!strstr(m.refusal.text, words))
		fail_msg("\"%s\" instead of \"%s\"", m.refusal.text, words);
	assert_string_equal(alert_name(m.refusal.alert), alert);
	assert_string_equal(refusal_name(m.refusal.cause), refusal_name(cause));
	meeting_free(&m);
}

/* Each side with a certificate or a raw key: all four. */
static void test_both_directions(void **state)
{
	struct tls *t = new_tls((struct options){.certificate = true,
						 .raw_key = true,
						 .anchors = true,
						 .clients = CONFIG_CLIENT_CERTIFICATE_REQUIRED});
	struct peer_options with_certificate = options_of(NULL, NULL);

	char certificate[160], key[160];

	snprintf(certificate, sizeof certificate, "%s", pki_path(&pki, "device", "pem"));
	snprintf(key, sizeof key, "%s", pki_path(&pki, "device", "key"));
	with_certificate.certificate = certificate;
	with_certificate.key = key;
	for (int i = 0; i < 2; i++) {
		expect_good(t, options_of("device", NULL), SLUICE_CREDENTIAL_RPK);
		expect_good(t, options_of("device", "r"), SLUICE_CREDENTIAL_RPK);
		expect_good(t, options_of("device", "xr"), SLUICE_CREDENTIAL_RPK);
		expect_good(t, options_of("device", "rx"), SLUICE_CREDENTIAL_RPK);
		with_certificate.server_types = NULL;
		expect_good(t, with_certificate, SLUICE_CREDENTIAL_X509);
		with_certificate.server_types = "r";
		expect_good(t, with_certificate, SLUICE_CREDENTIAL_X509);
	}
	expect_refusal(t, options_of(NULL, NULL), "handshake_failure", REFUSED_NO_CERTIFICATE,
		       "no certificate");
	expect_refusal(t, options_of(NULL, "r"), "handshake_failure", REFUSED_NO_CERTIFICATE,
		       "no certificate");
	tls_free(t);
}

static void test_unpinned_keys(void **state)
{
	struct tls *t = new_tls((struct options){
		.certificate = true, .raw_key = true, .clients = CONFIG_CLIENT_CERTIFICATE_OPTIONAL});

	expect_good(t, options_of("device", "r"), SLUICE_CREDENTIAL_RPK);
	expect_refusal(t, options_of("stranger", "r"), "bad_certificate", REFUSED_NOT_REGISTERED,
		       "no registree has the raw public key ni:///sha-256;");
	expect_good(t, options_of("device", "r"), SLUICE_CREDENTIAL_RPK);
	expect_good(t, options_of(NULL, "r"), SLUICE_CREDENTIAL_NONE);
	rows.fault = -ECONNREFUSED;
	expect_refusal(t, options_of("device", "r"), "internal_error", REFUSED_STORE, "cannot be reached");
	rows.fault = 0;
	expect_good(t, options_of("device", "r"), SLUICE_CREDENTIAL_RPK);
	tls_free(t);
}

static void test_types_that_are_not_there(void **state)
{
	static const struct credential_store none = {.name = "test"};
	struct tls *t = new_tls((struct options){.certificate = true,
						 .anchors = true,
						 .clients = CONFIG_CLIENT_CERTIFICATE_REQUIRED,
						 .store = &none});

	expect_refusal(t, options_of("device", NULL), "unsupported_certificate", REFUSED_CERTIFICATE_TYPE,
		       "offers to show a raw public key, and none is taken");
	expect_refusal(t, options_of("device", "r"), "unsupported_certificate", REFUSED_CERTIFICATE_TYPE,
		       "takes a raw public key from us only, and there is none");
	tls_free(t);
	t = new_tls((struct options){.raw_key = true, .clients = CONFIG_CLIENT_CERTIFICATE_REQUIRED});
	expect_good(t, options_of("device", "xr"), SLUICE_CREDENTIAL_RPK);
	expect_refusal(t, options_of("device", NULL), "unsupported_certificate", REFUSED_CERTIFICATE_TYPE,
		       "takes an X.509 certificate from us only, and there is none");
	expect_refusal(t, options_of(NULL, "r"), "unsupported_certificate", REFUSED_CERTIFICATE_TYPE,
		       "only raw public keys are taken");
	tls_free(t);
}

/* ---- keys */

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

/* A good key on secp224r1. */
static const uint8_t short_key[] = {
	0x30, 0x4e, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
	0x81, 0x04, 0x00, 0x21, 0x03, 0x3a, 0x00, 0x04, 0xc9, 0x3c, 0x53, 0x18, 0x5f, 0x47, 0x9f, 0x4e,
	0xeb, 0xc5, 0x34, 0x04, 0xac, 0x5b, 0xc9, 0xd5, 0x07, 0x3c, 0xc8, 0x1b, 0x64, 0xc4, 0x16, 0x6e,
	0x93, 0x70, 0xa9, 0xd7, 0x79, 0x7e, 0x68, 0x77, 0xf9, 0x0f, 0x60, 0x64, 0xaf, 0x6a, 0x59, 0x33,
	0x9b, 0xe5, 0x2e, 0x37, 0xf0, 0x25, 0x6f, 0xb1, 0xb7, 0x2c, 0xcd, 0x80, 0xdf, 0x73, 0x4c, 0x56};

static void test_keys(void **state)
{
	struct raw_key key, again;
	struct refusal refusal;
	char error[256];
	uint8_t longer[RAW_KEY_MAX + 1];
	struct options o = {.raw_key = true, .clients = CONFIG_CLIENT_CERTIFICATE_NONE};

	assert_true(key_of_file(pki_path(&pki, "device", "key"), &key, error, sizeof error));
	assert_int_equal(key.curve, 23);
	assert_true(raw_key_read(key.info, key.info_len, &again, &refusal));
	assert_memory_equal(key.digest, again.digest, sizeof key.digest);
	for (size_t cut = 0; cut < key.info_len; cut++)
		assert_false(raw_key_read(key.info, cut, &again, &refusal));
	memcpy(longer, key.info, key.info_len);
	longer[key.info_len] = 0;
	assert_false(raw_key_read(longer, key.info_len + 1U, &again, &refusal));
	longer[key.info_len - 1U] ^= 1; /* not on the curve any more */
	assert_false(raw_key_read(longer, key.info_len, &again, &refusal));
	assert_false(raw_key_read(short_key, sizeof short_key, &again, &refusal));
	assert_string_equal(alert_name(refusal.alert), "unsupported_certificate");
	assert_non_null(strstr(refusal.text, "is not on one of the curves"));
	assert_false(raw_key_of_pem("", 0, &key, error, sizeof error));
	assert_false(key_of_file(pki_path(&pki, "small", "key"), &key, error, sizeof error));
	assert_non_null(strstr(error, "on none of the curves"));
	write_file(pki_path(&pki, "nonsense", "key"), "-----BEGIN PRIVATE KEY-----\nAAAA\n");
	assert_false(key_of_file(pki_path(&pki, "nonsense", "key"), &key, error, sizeof error));
	assert_non_null(strstr(error, "cannot be used as a private key"));
	strcpy(pki.key + strlen(pki.key) - 4, ".pem");
	assert_null(try_tls(&o, error, sizeof error));
	assert_non_null(strstr(error, "tls.raw_key: "));
	strcpy(pki.key + strlen(pki.key) - 4, ".key");
}

static int set_up(void **state)
{
	struct raw_key key;
	char error[256];

	assert_int_equal(tls_global_init(), 0);
	pki_new(&pki);
	pki_client(&pki, "device", NULL, "urn:dev:1", NULL, PKI_GOOD);
	pki_client(&pki, "stranger", NULL, "urn:dev:2", NULL, PKI_GOOD);
	pki_client(&pki, "small", NULL, "urn:dev:3", NULL, PKI_SMALL_CURVE);
	assert_true(key_of_file(pki_path(&pki, "device", "key"), &key, error, sizeof error));
	memcpy(rows.digest, key.digest, sizeof rows.digest);
	return 0;
}

static int tear_down(void **state)
{
	pki_free(&pki);
	tls_global_fini();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_directions),
		cmocka_unit_test(test_unpinned_keys),
		cmocka_unit_test(test_types_that_are_not_there),
		cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
