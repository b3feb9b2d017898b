/* Handshakes with real clients in memory: wolfSSL (with connection IDs) and OpenSSL. */
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

static const uint8_t psk[16] = "sixteen bytes ok";
static const uint8_t long_psk[64] = "a key of sixty-four bytes is the longest that a file may hold";
static struct pki pki;

static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t len,
		    struct psk_credential *out)
{
	memset(out, 0, sizeof *out);
	if (len == 8 && memcmp(identity, "device-1", 8) == 0) {
		memcpy(out->key, psk, sizeof psk);
		out->key_len = sizeof psk;
	} else if (len == 128 || len == 1) {
		memcpy(out->key, long_psk, sizeof long_psk);
		out->key_len = sizeof long_psk;
	} else {
		return len == 5 && memcmp(identity, "store", 5) == 0 ? -ECONNREFUSED : 0;
	}
	registree_by_credential(&out->registree, identity, len);
	return 1;
}

static const struct credential_store store = {.name = "test", .find_psk = find_psk};

/* All suites that there are, unless `suites` says otherwise. */
static struct tls *new_tls(char **suites, unsigned count, enum config_client_certificate client_certificate,
			   unsigned mtu)
{
	char *all[TLS_SUITES_MAX], error[256] = "";
	struct config config = {.sessions.cid = true, .handshakes.mtu = mtu, .tls.require_ems = true};
	struct credentials credentials = {.ops = &store};
	struct tls *t;

	config.tls.certificate = pki.certificate;
	config.tls.key = pki.key;
	config.tls.trust_anchors = pki.ca;
	config.tls.client_certificate = client_certificate;
	config.tls.suites = suites;
	config.tls.suites_count = count;
	if (!suites) {
		const struct suite *s = suite_all(&count);

		for (unsigned i = 0; i < count; i++)
			all[i] = (char *)s[i].name;
		config.tls.suites = all;
		config.tls.suites_count = count;
	}
	t = tls_new(&config, credentials, error, sizeof error);
	if (!t)
		print_error("%s\n", error);
	assert_non_null(t);
	return t;
}

static struct tls *tls_all(void)
{
	return new_tls(NULL, 0, CONFIG_CLIENT_CERTIFICATE_OPTIONAL, 1400);
}

static struct peer_options psk_options(const char *ciphers)
{
	return (struct peer_options){
		.ciphers = ciphers, .psk_identity = "device-1", .psk = psk, .psk_len = sizeof psk};
}

static struct peer_options ecdsa_options(const char *ciphers)
{
	return (struct peer_options){.ciphers = ciphers, .ca = pki.ca};
}

static void expect_good(const struct tls *t, const struct peer_kind *kind, const struct peer_options *o)
{
	struct meeting m;

	meeting_new(&m, t, kind, o);
	if (!meeting_run(&m, 3) || !meeting_echo(&m, "hello"))
		fail_msg("%s, %s: client %d, server %d, %s", kind->name, o->ciphers, m.client, m.server,
			 m.refusal.text);
	meeting_free(&m);
}

/* ---- suites */

static void every_suite_with(const struct peer_kind *kind, bool use_cid)
{
	struct tls *t = tls_all();
	unsigned count;
	const struct suite *s = suite_all(&count);

	for (unsigned i = 0; i < count; i++) {
		struct peer_options o = s[i].credential == SUITE_PSK ? psk_options(s[i].wolfssl_name)
								     : ecdsa_options(s[i].wolfssl_name);
		struct meeting m;

		o.use_cid = use_cid;
		o.cid = (const uint8_t *)"cid";
		o.cid_len = 3;
		meeting_new(&m, t, kind, &o);
		if (!meeting_run(&m, 3) || !meeting_echo(&m, "hello"))
			fail_msg("%s, %s: client %d, server %d, %s", kind->name, s[i].name, m.client,
				 m.server, m.refusal.text);
		assert_int_equal(m.install.suite, s[i].id);
		assert_int_equal(m.install.protection, s[i].protection_etm);
		assert_int_equal(m.install.has_cid, use_cid);
		assert_int_equal(m.hello_verifies, 1);
		meeting_free(&m);
	}
	tls_free(t);
}

static void test_every_suite_wolfssl(void **state)
{
	every_suite_with(&peer_wolfssl, false);
}

static void test_every_suite_wolfssl_cid(void **state)
{
	every_suite_with(&peer_wolfssl, true);
}

static void test_every_suite_openssl(void **state)
{
	every_suite_with(&peer_openssl, false);
}

/* ---- */

static int set_up(void **state)
{
	pki_new(&pki);
	return tls_global_init();
}

static int tear_down(void **state)
{
	tls_global_fini();
	pki_free(&pki);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_suite_wolfssl),
		cmocka_unit_test(test_every_suite_wolfssl_cid),
		cmocka_unit_test(test_every_suite_openssl),
	};

	(void)expect_good;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
