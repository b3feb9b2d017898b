/* Paths of client certificates: RFC 5280 section 6, and what is asked beyond it. Every refusal stands between
 * two chains that are good (checklist A03, A07, H13). */
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
#include "tests/unit/authority.h"

enum { LIST_MAX = 65536 };

static struct subject root, other_root, ca, device;
static struct trust *trust;
static char file[] = "/tmp/sluice-chain-XXXXXX";

static struct trust *trust_in(const struct subject *const *anchors, size_t count)
{
	char error[256] = "";
	struct trust *t;

	subject_write(file, anchors, count);
	t = trust_new(file, error, sizeof error);
	if (!t)
		fail_msg("%s", error);
	return t;
}

static struct chain *try_chain(struct trust *t, const struct subject *const *subjects, size_t count,
			       struct refusal *refusal)
{
	uint8_t *list = malloc(LIST_MAX);
	size_t len = list_of(list, LIST_MAX, subjects, count);
	struct chain *c;

	memset(refusal, 0, sizeof *refusal);
	c = chain_verify(t, list, len, refusal);
	free(list);
	return c;
}

static void expect_good_in(struct trust *t, const struct subject *const *subjects, size_t count,
			   const struct subject *anchor)
{
	struct refusal refusal;
	struct chain *c = try_chain(t, subjects, count, &refusal);
	uint8_t digest[32];

	if (!c)
		fail_msg("refused: %s", refusal.text);
	subject_digest(anchor, digest);
	assert_memory_equal(chain_root(c), digest, sizeof digest);
	chain_free(c);
}

static void check_good(void)
{
	const struct subject *const path[] = {&device, &ca};

	expect_good_in(trust, path, 2, &root);
}

static void expect_refused_in(struct trust *t, const struct subject *const *subjects, size_t count,
			      uint8_t alert, enum refusal_cause cause, const char *words)
{
	struct refusal refusal;
	struct chain *c;

	check_good();
	c = try_chain(t, subjects, count, &refusal);
	if (c)
		fail_msg("not refused: %s", words);
	if (!strstr(refusal.text, words))
		fail_msg("\"%s\" instead of \"%s\"", refusal.text, words);
	assert_string_equal(alert_name(refusal.alert), alert_name(alert));
	assert_string_equal(refusal_name(refusal.cause), refusal_name(cause));
	check_good();
}

/* A leaf like this, under the root itself. */
static void expect_leaf_refused(struct wanted w, uint8_t alert, enum refusal_cause cause, const char *words)
{
	struct subject leaf;

	w.issuer = w.issuer ? w.issuer : &root;
	w.common_name = "device";
	leaf = subject_new(&w, 0);
	expect_refused_in(trust, (const struct subject *[]){&leaf}, 1, alert, cause, words);
	subject_free(&leaf);
}

/* A good leaf under an intermediate like this. */
static void expect_ca_refused(struct wanted w, uint8_t alert, enum refusal_cause cause, const char *words)
{
	struct subject middle, leaf;

	w.issuer = w.issuer ? w.issuer : &root;
	w.common_name = "CA under test";
	middle = subject_new(&w, 1);
	leaf = subject_new(&(struct wanted){.common_name = "device", .issuer = &middle}, 0);
	expect_refused_in(trust, (const struct subject *[]){&leaf, &middle}, 2, alert, cause, words);
	subject_free(&leaf);
	subject_free(&middle);
}

static void test_good_chains(void **state)
{
	static const char *const groups[] = {"P-256", "P-384", "P-521"};
	static const char *const ca_groups[] = {"P-384", "RSA:2048", "ED25519"};

	check_good();
	/* the root sent along, and certificates that have nothing to do with the path */
	expect_good_in(trust, (const struct subject *[]){&device, &other_root, &ca, &root}, 4, &root);
	for (int i = 0; i < 3; i++) {
		struct subject middle = subject_new(
			&(struct wanted){.common_name = "x", .issuer = &root, .group = ca_groups[i]}, 1);
		struct subject leaf = subject_new(
			&(struct wanted){.common_name = "y",
					 .issuer = &middle,
					 .group = groups[i],
					 .extensions = {{"extendedKeyUsage", "serverAuth,clientAuth"}}},
			0);

		expect_good_in(trust, (const struct subject *[]){&leaf, &middle}, 2, &root);
		subject_free(&leaf);
		subject_free(&middle);
	}
}

static void test_own_certificate_refused(void **state)
{
	expect_leaf_refused((struct wanted){.from_s = -9 * DAY_S, .until_s = -1}, ALERT_CERTIFICATE_EXPIRED,
			    REFUSED_EXPIRED, "client's certificate has expired");
	expect_leaf_refused((struct wanted){.from_s = DAY_S, .until_s = 9 * DAY_S}, ALERT_CERTIFICATE_EXPIRED,
			    REFUSED_NOT_YET_VALID, "not valid yet");
	expect_leaf_refused((struct wanted){.version = 1}, ALERT_UNSUPPORTED_CERTIFICATE,
			    REFUSED_CERTIFICATE_BAD, "not of version 3");
	expect_leaf_refused((struct wanted){.hash = "SHA1"}, ALERT_UNSUPPORTED_CERTIFICATE,
			    REFUSED_SIGNATURE_SHA1, "hash that is not enabled");
	expect_leaf_refused((struct wanted){.group = "P-224"}, ALERT_UNSUPPORTED_CERTIFICATE,
			    REFUSED_CERTIFICATE_KEY, "shorter than 256 bits");
	expect_leaf_refused((struct wanted){.group = "secp256k1"}, ALERT_UNSUPPORTED_CERTIFICATE,
			    REFUSED_CERTIFICATE_KEY, "curve that is not enabled");
	expect_leaf_refused((struct wanted){.group = "RSA:2048"}, ALERT_UNSUPPORTED_CERTIFICATE,
			    REFUSED_CERTIFICATE_KEY, "of a kind that is not enabled");
	expect_leaf_refused((struct wanted){.extensions = {{"extendedKeyUsage", "serverAuth"}}},
			    ALERT_UNSUPPORTED_CERTIFICATE, REFUSED_CERTIFICATE_USE, "not meant for clients");
	expect_leaf_refused((struct wanted){.extensions = {{"keyUsage", "critical,keyAgreement"}}},
			    ALERT_UNSUPPORTED_CERTIFICATE, REFUSED_CERTIFICATE_USE,
			    "not meant for signatures");
	expect_leaf_refused((struct wanted){.extensions = {{"basicConstraints", "critical,CA:TRUE"},
							   {"keyUsage", "keyCertSign,digitalSignature"}}},
			    ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_USE, "certificate of a CA");
	expect_leaf_refused((struct wanted){.signed_by = other_root.key}, ALERT_BAD_CERTIFICATE,
			    REFUSED_CERTIFICATE_BAD, "signature");
	expect_leaf_refused((struct wanted){.extensions = {{"1.2.3.4", "critical,DER:0500"}}},
			    ALERT_UNSUPPORTED_CERTIFICATE, REFUSED_CERTIFICATE_BAD, "critical extension");
}

/* The right name under the wrong root, and no root at all. */
static void test_unknown_roots_refused(void **state)
{
	struct wanted w = {.common_name = "device-1", .issuer = &other_root};
	struct subject foreign = subject_new(&w, 0), own;

	expect_refused_in(trust, (const struct subject *[]){&foreign}, 1, ALERT_UNKNOWN_CA,
			  REFUSED_UNKNOWN_ROOT, "ends at an unknown root: CN=Another root");
	expect_refused_in(trust, (const struct subject *[]){&foreign, &other_root}, 2, ALERT_UNKNOWN_CA,
			  REFUSED_UNKNOWN_ROOT, "ends at an unknown root: CN=Another root");
	/* the intermediate was seen a moment ago, but not in this chain */
	expect_refused_in(trust, (const struct subject *[]){&device}, 1, ALERT_UNKNOWN_CA,
			  REFUSED_UNKNOWN_ROOT, "ends at an unknown root: CN=Issuing CA");
	w.issuer = NULL;
	own = subject_new(&w, 0);
	expect_refused_in(trust, (const struct subject *[]){&own}, 1, ALERT_UNKNOWN_CA, REFUSED_UNKNOWN_ROOT,
			  "self-signed and not trusted");
	subject_free(&foreign);
	subject_free(&own);
}

/* Extensions that cannot be read matter in the path, and nowhere else. */
static void test_extensions_that_cannot_be_read(void **state)
{
	struct wanted w = {.common_name = "Beside the path", .extensions = {{"keyUsage", "DER:0500"}}};
	struct subject beside = subject_new(&w, 1);

	expect_leaf_refused(w, ALERT_UNKNOWN_CA, REFUSED_UNKNOWN_ROOT, "unknown root: CN=Root");
	expect_ca_refused(w, ALERT_UNKNOWN_CA, REFUSED_UNKNOWN_ROOT, "unknown root: CN=CA under test");
	expect_good_in(trust, (const struct subject *[]){&device, &beside, &ca}, 3, &root);
	subject_free(&beside);
}

static void test_authorities_refused(void **state)
{
	struct subject not_ca = subject_new(&(struct wanted){.common_name = "n", .issuer = &root}, 0);
	struct wanted w = {.extensions = {{"basicConstraints", "critical,CA:TRUE,pathlen:0"}}};
	struct subject last;

	expect_ca_refused((struct wanted){.from_s = -9 * DAY_S, .until_s = -1}, ALERT_CERTIFICATE_EXPIRED,
			  REFUSED_EXPIRED, "a CA in the client's certificate chain has expired");
	expect_ca_refused((struct wanted){.hash = "SHA1"}, ALERT_UNSUPPORTED_CERTIFICATE,
			  REFUSED_SIGNATURE_SHA1, "hash that is not enabled");
	expect_ca_refused((struct wanted){.group = "P-224"}, ALERT_UNSUPPORTED_CERTIFICATE,
			  REFUSED_CERTIFICATE_KEY, "a CA in the client's certificate chain has a key");
	expect_ca_refused((struct wanted){.group = "RSA:1024"}, ALERT_UNSUPPORTED_CERTIFICATE,
			  REFUSED_CERTIFICATE_KEY, "a CA in the client's certificate chain has a key");
	expect_ca_refused((struct wanted){.extensions = {{"basicConstraints", "critical,CA:FALSE"}}},
			  ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_BAD, "not a CA's");
	/* keyCertSign alone makes no CA */
	expect_ca_refused((struct wanted){.extensions = {{"basicConstraints", ""}}}, ALERT_BAD_CERTIFICATE,
			  REFUSED_CERTIFICATE_BAD, "not a CA's");
	expect_ca_refused((struct wanted){.extensions = {{"keyUsage", "critical,cRLSign"}}},
			  ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_BAD, "not a CA's");
	expect_ca_refused((struct wanted){.extensions = {{"extendedKeyUsage", "serverAuth"}}},
			  ALERT_UNSUPPORTED_CERTIFICATE, REFUSED_CERTIFICATE_USE,
			  "may not issue for clients");
	expect_ca_refused((struct wanted){.issuer = &not_ca}, ALERT_UNKNOWN_CA, REFUSED_UNKNOWN_ROOT,
			  "unknown root");
	w.issuer = &root;
	w.common_name = "Last CA";
	last = subject_new(&w, 1);
	struct subject one_more = subject_new(&(struct wanted){.common_name = "M", .issuer = &last}, 1);
	struct subject leaf = subject_new(&(struct wanted){.common_name = "d", .issuer = &one_more}, 0);

	expect_refused_in(trust, (const struct subject *[]){&leaf, &one_more, &last}, 3,
			  ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_BAD, "path length");
	subject_free(&leaf);
	subject_free(&one_more);
	subject_free(&last);
	subject_free(&not_ca);
}

/* RFC 5280 4.2.1.10. Constraints hold for all below, not only for the next. */
static void test_name_constraints(void **state)
{
	static const struct {
		const char *names, *words;
	} cases[] = {
		{"DNS:a.fleet.example", NULL},
		{"DNS:a.other.example", "name constraints"},
		{"DNS:a.fleet.example,DNS:b.other.example", "name constraints"},
		{"URI:coap://a.fleet.example/x", NULL},
		{"URI:coap://a.other.example/x", "name constraints"},
		{"URI:urn:dev:ops:1", "cannot be held against the name constraints"},
		{"DNS:bad.fleet.example", "name constraints"},
	};
	struct subject limited = subject_new(
		&(struct wanted){.common_name = "Limited CA",
				 .issuer = &root,
				 .extensions = {{"nameConstraints",
						 "critical,permitted;DNS:fleet.example,permitted;URI:.fleet."
						 "example,excluded;DNS:bad.fleet.example"}}},
		1);
	struct subject below = subject_new(&(struct wanted){.common_name = "B", .issuer = &limited}, 1);

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct wanted w = {.issuer = &below,
					 .extensions = {{"subjectAltName", cases[i].names}}};
		struct subject leaf = subject_new(&w, 0);
		const struct subject *const path[] = {&leaf, &below, &limited};

		if (cases[i].words)
			expect_refused_in(trust, path, 3, ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_BAD,
					  cases[i].words);
		else
			expect_good_in(trust, path, 3, &root);
		subject_free(&leaf);
	}
	/* constraints do not reach the common name: it names nobody then */
	struct subject hidden = subject_new(&(struct wanted){.common_name = "other", .issuer = &limited}, 0);
	struct refusal refusal;
	const struct chain_name *names;
	struct chain *c = try_chain(trust, (const struct subject *[]){&hidden, &limited}, 2, &refusal);

	assert_non_null(c);
	assert_int_equal(chain_names(c, &names), 0);
	chain_free(c);
	subject_free(&hidden);
	subject_free(&below);
	subject_free(&limited);
}

/* A CA that has been in good chains is judged each time anew: by its dates, by its key, by the anchors. */
static void test_authorities_known_already(void **state)
{
	struct wanted w = {.common_name = "CA for a moment", .issuer = &root, .from_s = -DAY_S, .until_s = 8};
	struct subject moment = subject_new(&w, 1), twin, leaf, leaf_of_twin;
	struct trust *elsewhere = trust_in((const struct subject *[]){&other_root}, 1);

	w.issuer = &other_root;
	twin = subject_new(&w, 1);
	leaf = subject_new(&(struct wanted){.common_name = "device", .issuer = &moment}, 0);
	leaf_of_twin = subject_new(&(struct wanted){.common_name = "device", .issuer = &twin}, 0);
	for (int i = 0; i < 3; i++) {
		expect_good_in(trust, (const struct subject *[]){&leaf, &moment}, 2, &root);
		expect_good_in(elsewhere, (const struct subject *[]){&leaf_of_twin, &twin}, 2, &other_root);
		/* signed with the key of another CA of the same name */
		expect_refused_in(trust, (const struct subject *[]){&leaf_of_twin, &moment}, 2,
				  ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_BAD, "signature");
		expect_refused_in(trust, (const struct subject *[]){&leaf_of_twin, &twin}, 2,
				  ALERT_UNKNOWN_CA, REFUSED_UNKNOWN_ROOT, "unknown root");
		expect_refused_in(elsewhere, (const struct subject *[]){&leaf, &moment}, 2, ALERT_UNKNOWN_CA,
				  REFUSED_UNKNOWN_ROOT, "unknown root");
		/* a CA is no device, known or not */
		expect_refused_in(trust, (const struct subject *[]){&moment}, 1, ALERT_BAD_CERTIFICATE,
				  REFUSED_CERTIFICATE_USE, "certificate of a CA");
		expect_refused_in(trust, (const struct subject *[]){&leaf}, 1, ALERT_UNKNOWN_CA,
				  REFUSED_UNKNOWN_ROOT, "unknown root");
	}
	sleep(9);
	expect_refused_in(trust, (const struct subject *[]){&leaf, &moment}, 2, ALERT_CERTIFICATE_EXPIRED,
			  REFUSED_EXPIRED, "a CA in the client's certificate chain has expired");
	trust_free(elsewhere);
	subject_free(&leaf);
	subject_free(&leaf_of_twin);
	subject_free(&moment);
	subject_free(&twin);
}

/* A device's own certificate as its anchor, and a CA below the root. */
static void test_anchors_that_are_no_roots(void **state)
{
	struct subject pinned = subject_new(&(struct wanted){.common_name = "pinned"}, 0);
	struct subject careless = subject_new(&(struct wanted){.common_name = "pinned CA"}, 1);
	struct subject minted = subject_new(&(struct wanted){.common_name = "m", .issuer = &pinned}, 0);
	struct subject other = subject_new(&(struct wanted){.common_name = "pinned"}, 0);
	struct trust *t = trust_in((const struct subject *[]){&pinned, &careless, &ca}, 3);

	expect_good_in(t, (const struct subject *[]){&pinned}, 1, &pinned);
	expect_good_in(t, (const struct subject *[]){&device}, 1, &ca);
	expect_refused_in(t, (const struct subject *[]){&other}, 1, ALERT_UNKNOWN_CA, REFUSED_UNKNOWN_ROOT,
			  "self-signed and not trusted");
	expect_refused_in(t, (const struct subject *[]){&minted, &pinned}, 2, ALERT_BAD_CERTIFICATE,
			  REFUSED_CERTIFICATE_BAD, "not a CA's");
	expect_refused_in(t, (const struct subject *[]){&careless}, 1, ALERT_BAD_CERTIFICATE,
			  REFUSED_CERTIFICATE_USE, "certificate of a CA");
	trust_free(t);
	subject_free(&pinned);
	subject_free(&careless);
	subject_free(&minted);
	subject_free(&other);
}

/* ---- names */

static void expect_names(const struct wanted *w, const char *const *expected, unsigned count)
{
	struct subject leaf = subject_new(w, 0);
	const struct chain_name *names;
	struct refusal refusal;
	struct chain *c = try_chain(trust, (const struct subject *[]){&leaf}, 1, &refusal);

	if (!c)
		fail_msg("%s", refusal.text);
	assert_int_equal(chain_names(c, &names), count);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(names[i].len, strlen(expected[i]));
		assert_memory_equal(names[i].text, expected[i], names[i].len);
	}
	chain_free(c);
	subject_free(&leaf);
}

/* The flavours of TS-0003 10.1.1: CSE-ID and AE-ID as URI or DNS name, FQDN, hardware module, M2M device id.
 */
static void test_names(void **state)
{
	struct wanted w = {.issuer = &root, .common_name = "name in the subject"};

	expect_names(&w, (const char *const[]){"name in the subject"}, 1);
	w.extensions[0].name = "subjectAltName";
	w.extensions[0].value = "DNS:b.example,URI:urn:dev:1,email:x@y.example,DNS:a.example,URI:/cse-1";
	expect_names(&w, (const char *const[]){"urn:dev:1", "/cse-1", "b.example", "a.example"}, 4);
	/* id-on-hardwareModuleName { 1.2.840.113549, 0x01ab } */
	w.extensions[0].value = "DER:3021A01F06082B06010505070804A013301106062A864886F70D0407DEADBEEF000102";
	expect_names(&w, (const char *const[]){"1.2.840.113549:deadbeef000102"}, 1);
	w.extensions[0].value = "RID:2.999.7.8,IP:192.0.2.1";
	expect_names(&w, (const char *const[]){"2.999.7.8"}, 1);
	w.common_name = NULL;
	w.extensions[0].value = "IP:192.0.2.1";
	expect_names(&w, NULL, 0);
}

static void test_bad_names_refused(void **state)
{
	char many[2048] = "";

	for (unsigned i = 0; i <= CHAIN_NAMES_MAX; i++)
		sprintf(many + strlen(many), "%sDNS:n%u.example", i ? "," : "", i);
	expect_leaf_refused((struct wanted){.extensions = {{"subjectAltName", many}}}, ALERT_BAD_CERTIFICATE,
			    REFUSED_CERTIFICATE_NAME, "a name in the client's certificate");
	/* a DNS name with a NUL in it; one without bytes */
	expect_leaf_refused((struct wanted){.extensions = {{"subjectAltName", "DER:30058203410042"}}},
			    ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_NAME,
			    "a name in the client's certificate");
	expect_leaf_refused((struct wanted){.extensions = {{"subjectAltName", "DER:30028200"}}},
			    ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_NAME,
			    "a name in the client's certificate");
	/* a hardware module name whose value is none */
	expect_leaf_refused((struct wanted){.extensions = {{"subjectAltName",
							    "DER:3010A00E06082B06010505070804A0020500"}}},
			    ALERT_BAD_CERTIFICATE, REFUSED_CERTIFICATE_NAME,
			    "a name in the client's certificate");
}

/* ---- bytes that are no list */

static void test_malformed_lists(void **state)
{
	const struct subject *const path[] = {&device, &ca};
	uint8_t list[8192], changed[8192];
	size_t len = list_of(list, sizeof list, path, 2);
	struct refusal refusal;

	for (size_t cut = 0; cut < len; cut++) {
		struct chain *c = chain_verify(trust, list, cut, &refusal);

		assert_null(c);
	}
	srand(1);
	for (unsigned i = 0; i < 3000; i++) {
		struct chain *c;

		memcpy(changed, list, len);
		/* the device's certificate; what is changed in the CA's may be harmless */
		changed[(size_t)rand() % (size_t)(list[1] << 8 | list[2])] ^= (uint8_t)(1 << rand() % 8);
		c = chain_verify(trust, changed, len, &refusal);
		assert_null(c);
		assert_true(refusal.text[0]);
	}
	const struct subject *nine[9] = {&device, &ca, &ca, &ca, &ca, &ca, &ca, &ca, &ca};

	expect_refused_in(trust, nine, 9, ALERT_BAD_CERTIFICATE, REFUSED_MALFORMED, "too long");
}

static void test_anchors_that_cannot_be_read(void **state)
{
	static const char no_certificate[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
	static const char *const texts[] = {"", "hello\n", no_certificate};
	char error[256];

	for (int i = 0; i < 3; i++) {
		FILE *f = fopen(file, "w");

		assert_true(f && fputs(texts[i], f) >= 0 && fclose(f) == 0);
		assert_null(trust_new(file, error, sizeof error));
		assert_non_null(strstr(error, "holds no usable certificates"));
	}
	assert_null(trust_new("/nonexistent", error, sizeof error));
}

static int set_up(void **state)
{
	root = subject_new(&(struct wanted){.common_name = "Root"}, 1);
	other_root = subject_new(&(struct wanted){.common_name = "Another root"}, 1);
	ca = subject_new(&(struct wanted){.common_name = "Issuing CA", .issuer = &root}, 1);
	device = subject_new(&(struct wanted){.common_name = "device-1",
					      .issuer = &ca,
					      .extensions = {{"extendedKeyUsage", "clientAuth"}}},
			     0);
	assert_true(close(mkstemp(file)) == 0);
	trust = trust_in((const struct subject *[]){&root}, 1);
	return 0;
}

static int tear_down(void **state)
{
	trust_free(trust);
	subject_free(&root);
	subject_free(&other_root);
	subject_free(&ca);
	subject_free(&device);
	unlink(file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_chains),
		cmocka_unit_test(test_own_certificate_refused),
		cmocka_unit_test(test_extensions_that_cannot_be_read),
		cmocka_unit_test(test_unknown_roots_refused),
		cmocka_unit_test(test_authorities_refused),
		cmocka_unit_test(test_name_constraints),
		cmocka_unit_test(test_authorities_known_already),
		cmocka_unit_test(test_anchors_that_are_no_roots),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_bad_names_refused),
		cmocka_unit_test(test_malformed_lists),
		cmocka_unit_test(test_anchors_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
