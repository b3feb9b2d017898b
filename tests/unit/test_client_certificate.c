/* Which registree a certificate is: TS-0003 8.2.2.2, its name *and* its root. Every refusal stands between
 * two that are good. */
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

#include "controlplane/chain.h"
#include "controlplane/client_certificate.h"
#include "tests/unit/authority.h"

/* A store that holds cse-1 of tenant "water" under one root, and can be out of reach or slow. */
static struct {
	uint8_t root[32];
	const char *name;
	int fault;
	unsigned asked;
} rows;

static int find(void *store, const struct credential_id *id, struct registree *out)
{
	rows.asked++;
	if (rows.fault)
		return rows.fault;
	if (id->kind != SLUICE_CREDENTIAL_X509 || strcmp(id->tenant, "water") != 0 ||
	    id->digest_len != sizeof rows.root || memcmp(id->digest, rows.root, sizeof rows.root) != 0 ||
	    id->name_len != strlen(rows.name) || memcmp(id->name, rows.name, id->name_len) != 0)
		return 0;
	*out = (struct registree){.kind = SLUICE_IDENTITY_CSE_ID, .identities_count = 1};
	strcpy(out->identities[0], "/cse-1");
	return 1;
}

static const struct credential_store store = {.name = "test", .find = find};
static struct subject root, other_root;
static struct tls tls = {.tenant = "water", .credentials = {.ops = &store}};
static char file[] = "/tmp/sluice-certificate-XXXXXX";

static int check(const struct subject *s, struct proof *proof, struct refusal *refusal)
{
	uint8_t body[4096];
	size_t len = list_of(body + 3, sizeof body - 3, &s, 1);
	struct client_certificate *kept = NULL;
	int ret;

	body[0] = 0;
	body[1] = (uint8_t)(len >> 8);
	body[2] = (uint8_t)len;
	memset(proof, 0, sizeof *proof);
	memset(refusal, 0, sizeof *refusal);
	ret = client_certificate_check(&kept, &tls, CERTIFICATE_X509, body, len + 3, proof, refusal);
	while (ret == -EAGAIN) {
		rows.fault = 0;
		ret = client_certificate_check(&kept, &tls, CERTIFICATE_X509, body, len + 3, proof, refusal);
	}
	client_certificate_free(kept);
	return ret;
}

static struct subject device(const struct subject *issuer, const char *names)
{
	struct wanted w = {.common_name = names && strncmp(names, "IP:", 3) == 0 ? NULL : "cn",
			   .issuer = issuer,
			   .extensions = {{names ? "subjectAltName" : NULL, names}}};

	return subject_new(&w, 0);
}

static void expect(const struct subject *issuer, const char *names, enum sluice_identity_kind kind,
		   const char *credential, const char *identity)
{
	struct subject s = device(issuer, names);
	struct refusal refusal;
	struct proof proof;

	if (check(&s, &proof, &refusal) != 1)
		fail_msg("%s: %s", names, refusal.text);
	assert_int_equal(proof.credential, SLUICE_CREDENTIAL_X509);
	assert_int_equal(proof.id_len, strlen(credential));
	assert_memory_equal(proof.id, credential, proof.id_len);
	assert_int_equal(proof.registree.kind, kind);
	assert_string_equal(proof.registree.identities[0], identity);
	subject_free(&s);
}

static void expect_registree(void)
{
	expect(&root, "URI:urn:cse:1", SLUICE_IDENTITY_CSE_ID, "urn:cse:1", "/cse-1");
}

static void expect_refused(const struct subject *issuer, const char *names, const char *claimed,
			   enum refusal_cause cause, const char *alert, const char *words)
{
	struct subject s = device(issuer, names);
	struct refusal refusal;
	struct proof proof;
	int fault = rows.fault;

	rows.fault = 0;
	expect_registree();
	rows.fault = fault;
	assert_int_equal(check(&s, &proof, &refusal), 0);
	if (!strstr(refusal.text, words))
		fail_msg("\"%s\" instead of \"%s\"", refusal.text, words);
	assert_string_equal(alert_name(refusal.alert), alert);
	assert_string_equal(refusal_name(refusal.cause), refusal_name(cause));
	/* what the operator will look for, and nothing that would find a registree */
	assert_int_equal(proof.credential, SLUICE_CREDENTIAL_X509);
	assert_int_equal(proof.id_len, strlen(claimed));
	assert_memory_equal(proof.id, claimed, proof.id_len);
	assert_int_equal(proof.registered.kind, 0);
	assert_int_equal(proof.registree.identities_count, 0);
	rows.fault = 0;
	expect_registree();
	subject_free(&s);
}

static void test_name_and_root(void **state)
{
	tls.registrees = CONFIG_REGISTREES_REQUIRED;
	expect_registree();
	/* any of its names */
	expect(&root, "DNS:a.example,URI:urn:x,URI:urn:cse:1", SLUICE_IDENTITY_CSE_ID, "urn:cse:1", "/cse-1");
	expect_refused(&root, "URI:urn:cse:2", "urn:cse:2", REFUSED_NOT_REGISTERED, "access_denied",
		       "no registree has the name \"urn:cse:2\"");
	expect_refused(&root, "URI:urn:cse:12,DNS:urn", "urn:cse:12", REFUSED_NOT_REGISTERED, "access_denied",
		       "\"urn:cse:12\" or another of its names");
	/* both roots are trusted: the right name under the wrong one is somebody else */
	expect_refused(&other_root, "URI:urn:cse:1", "urn:cse:1", REFUSED_NOT_REGISTERED, "access_denied",
		       "under the root that the certificate leads to");
	expect_refused(&root, "IP:192.0.2.1", "", REFUSED_CERTIFICATE_NAME, "bad_certificate",
		       "no name that a registree could have");
	/* another tenant's */
	strcpy(tls.tenant, "heat");
	{
		struct subject s = device(&root, "URI:urn:cse:1");
		struct refusal refusal;
		struct proof proof;

		assert_int_equal(check(&s, &proof, &refusal), 0);
		subject_free(&s);
	}
	strcpy(tls.tenant, "water");
	expect_registree();
}

static void test_without_registree(void **state)
{
	tls.registrees = CONFIG_REGISTREES_OPTIONAL;
	expect_registree();
	expect(&root, "DNS:a.example,URI:urn:x", SLUICE_IDENTITY_CREDENTIAL, "urn:x", "urn:x");
	expect(&other_root, "URI:urn:cse:1", SLUICE_IDENTITY_CREDENTIAL, "urn:cse:1", "urn:cse:1");
	expect(&root, NULL, SLUICE_IDENTITY_CREDENTIAL, "cn", "cn");
	expect(&root, "IP:192.0.2.1", SLUICE_IDENTITY_NONE, "", "");
	tls.credentials.ops = NULL;
	expect(&root, "URI:urn:cse:1", SLUICE_IDENTITY_CREDENTIAL, "urn:cse:1", "urn:cse:1");
	tls.credentials.ops = &store;
}

/* Whether there is a registree must be known even when none is required: it may be another identity. */
static void test_stores_that_do_not_answer(void **state)
{
	tls.registrees = CONFIG_REGISTREES_OPTIONAL;
	rows.fault = -ECONNREFUSED;
	expect_refused(&root, "URI:urn:cse:1", "urn:cse:1", REFUSED_STORE, "internal_error",
		       "\"test\" cannot be reached");
	rows.fault = -EAGAIN;
	rows.asked = 0;
	expect_registree();
	assert_int_equal(rows.asked, 2);
}

static void test_malformed(void **state)
{
	static const uint8_t bodies[][6] = {{0}, {0, 0, 4, 1, 2, 3}, {0, 0, 3, 0, 0, 0}, {0, 0, 3, 0, 0, 1}};
	static const size_t lens[] = {2, 6, 6, 6};

	for (size_t i = 0; i < 4; i++) {
		struct client_certificate *kept = NULL;
		struct refusal refusal = {0};
		struct proof proof = {0};

		assert_int_equal(client_certificate_check(&kept, &tls, CERTIFICATE_X509, bodies[i], lens[i],
							  &proof, &refusal),
				 0);
		assert_true(refusal.text[0]);
		client_certificate_free(kept);
	}
	client_certificate_free(NULL);
}

static int set_up(void **state)
{
	char error[256];

	root = subject_new(&(struct wanted){.common_name = "Root"}, 1);
	other_root = subject_new(&(struct wanted){.common_name = "Another root"}, 1);
	subject_digest(&root, rows.root);
	rows.name = "urn:cse:1";
	close(mkstemp(file));
	subject_write(file, (const struct subject *[]){&root, &other_root}, 2);
	tls.trust = trust_new(file, error, sizeof error);
	return tls.trust ? 0 : -1;
}

static int tear_down(void **state)
{
	trust_free(tls.trust);
	subject_free(&root);
	subject_free(&other_root);
	unlink(file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_and_root),
		cmocka_unit_test(test_without_registree),
		cmocka_unit_test(test_stores_that_do_not_answer),
		cmocka_unit_test(test_malformed),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
