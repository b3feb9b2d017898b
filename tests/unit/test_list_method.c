/* What revocation lists say at a handshake (RFC 5280 6.3.3): which list of a CA counts, when it counts, and
 * who is refused as what (checklist A07). Every case is asked several times over, as what was verified once
 * is known from then on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "controlplane/errand.h"
#include "controlplane/list_method.h"
#include "controlplane/lists.h"
#include "tests/unit/authority.h"

enum { ROOT_SERIAL = 1, CA_SERIAL = 5, NEXT_SERIAL = 6, DEVICE = 100, OTHER = 101, FILES = 2, ROUNDS = 3 };

/* The CA has a twin: the same name, and another key. It goes on under its name with another key, for which
 * the first one vouches: that certificate is self-issued (RFC 5280 3.2). */
static struct subject root, ca, twin, next, silent, stranger;
static struct subject direct, device, other, device_of_twin, device_of_next, device_of_silent, named, wrong;
static struct trust *trust;
static struct lists *lists;
static struct errands *errands;
static char directory[] = "/tmp/sluice-method-XXXXXX";

/* Signatures of lists that this thread has verified, which is the one of the handshakes. */
static _Thread_local unsigned verified;
int __real_ASN1_item_verify(const ASN1_ITEM *it, const X509_ALGOR *algorithm,
			    const ASN1_BIT_STRING *signature, const void *data, EVP_PKEY *key);
int __wrap_ASN1_item_verify(const ASN1_ITEM *it, const X509_ALGOR *algorithm,
			    const ASN1_BIT_STRING *signature, const void *data, EVP_PKEY *key);

int __wrap_ASN1_item_verify(const ASN1_ITEM *it, const X509_ALGOR *algorithm,
			    const ASN1_BIT_STRING *signature, const void *data, EVP_PKEY *key)
{
	verified++;
	return __real_ASN1_item_verify(it, algorithm, signature, data, key);
}

static const char *path(const char *name)
{
	static char paths[4][96];
	static unsigned turn;
	char *out = paths[turn++ % 4];

	snprintf(out, sizeof paths[0], "%s/%s", directory, name);
	return out;
}

/* ---- certificates */

static struct subject leaf(const struct subject *issuer, long serial)
{
	return subject_new(&(struct wanted){.common_name = "device", .issuer = issuer, .serial = serial}, 0);
}

static struct subject leaf_with(const struct subject *issuer, long serial, const char *points)
{
	return subject_new(&(struct wanted){.common_name = "device",
					    .issuer = issuer,
					    .serial = serial,
					    .extensions = {{"crlDistributionPoints", points}}},
			   0);
}

static struct subject authority(const char *name, const struct subject *issuer, long serial)
{
	return subject_new(
		&(struct wanted){.common_name = name,
				 .issuer = issuer,
				 .serial = serial,
				 .extensions = {{"subjectKeyIdentifier", "hash"},
						{"authorityKeyIdentifier", issuer ? "keyid:always" : ""}}},
		1);
}

/* ---- lists */

static X509_CRL *sign(X509_CRL *list, const struct subject *issuer)
{
	assert_true(X509_CRL_sign(list, issuer->key, EVP_sha256()));
	return list;
}

static X509_CRL *list_by(const struct subject *issuer, long serial)
{
	return crl_new(issuer, &serial, serial ? 1 : 0, DAY_S);
}

static X509_CRL *list_until(const struct subject *issuer, long serial, long until_s)
{
	return crl_new(issuer, &serial, serial ? 1 : 0, until_s);
}

static X509_CRL *list_from(const struct subject *issuer, long serial, long from_s)
{
	X509_CRL *list = list_by(issuer, serial);
	ASN1_TIME *from = X509_gmtime_adj(NULL, from_s);

	assert_true(from && X509_CRL_set1_lastUpdate(list, from));
	ASN1_TIME_free(from);
	return sign(list, issuer);
}

/* In the name of one, with the key of another. */
static X509_CRL *list_forged(const struct subject *issuer, const struct subject *signer, long serial)
{
	return sign(list_by(issuer, serial), signer);
}

static X509_CRL *list_with(const struct subject *issuer, long serial, int nid, const char *value)
{
	X509_CRL *list = list_by(issuer, serial);
	X509_EXTENSION *extension;
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer->certificate, NULL, NULL, list, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_true(extension && X509_CRL_add_ext(list, extension, -1));
	X509_EXTENSION_free(extension);
	return sign(list, issuer);
}

static X509_CRL *list_scoped(const struct subject *issuer, long serial, const char *value)
{
	return list_with(issuer, serial, NID_issuing_distribution_point, value);
}

/* What nobody knows the meaning of. */
static X509_EXTENSION *strange_extension(int critical)
{
	ASN1_OCTET_STRING *bytes = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension;

	assert_true(ASN1_OCTET_STRING_set(bytes, (const uint8_t[]){5, 0}, 2));
	extension = X509_EXTENSION_create_by_NID(NULL, NID_ms_csp_name, critical, bytes);
	ASN1_OCTET_STRING_free(bytes);
	return extension;
}

static X509_CRL *list_strange(const struct subject *issuer, long serial, int critical)
{
	X509_CRL *list = list_by(issuer, serial);
	X509_EXTENSION *extension = strange_extension(critical);

	assert_true(X509_CRL_add_ext(list, extension, -1));
	X509_EXTENSION_free(extension);
	return sign(list, issuer);
}

static X509_CRL *list_of_strange_entries(const struct subject *issuer, long serial)
{
	X509_CRL *list = list_by(issuer, serial);
	X509_REVOKED *entry = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(list), 0);
	X509_EXTENSION *extension = strange_extension(1);

	assert_true(X509_REVOKED_add_ext(entry, extension, -1));
	X509_EXTENSION_free(extension);
	return sign(list, issuer);
}

static void add_entry(X509_CRL *list, long serial, long why)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, 0);

	assert_true(ASN1_INTEGER_set(number, serial) && X509_REVOKED_set_serialNumber(entry, number));
	assert_true(X509_REVOKED_set_revocationDate(entry, now));
	assert_true(ASN1_ENUMERATED_set(reason, why));
	assert_true(X509_REVOKED_add1_ext_i2d(entry, NID_crl_reason, reason, 0, 0));
	assert_true(X509_CRL_add0_revoked(list, entry));
	ASN1_TIME_free(now);
	ASN1_ENUMERATED_free(reason);
	ASN1_INTEGER_free(number);
}

static X509_CRL *list_for(const struct subject *issuer, long serial, long why)
{
	X509_CRL *list = list_by(issuer, 0);

	add_entry(list, serial, why);
	return sign(list, issuer);
}

/* Takes them; NULL at the end. */
static void use(X509_CRL *one, X509_CRL *two, bool expired_too)
{
	X509_CRL *all[FILES] = {one, two};
	static char names[FILES][96], *files[FILES];
	char error[512] = "";
	unsigned count = 0;

	lists_free(lists);
	trust_free(trust);
	trust = trust_new(path("anchors"), error, sizeof error);
	for (; count < FILES && all[count]; count++) {
		snprintf(names[count], sizeof names[0], "%s", path(count ? "two" : "one"));
		files[count] = names[count];
		crl_write(names[count], all[count], (int)count);
		X509_CRL_free(all[count]);
	}
	lists = lists_new(trust, errands, files, count, expired_too, "tls.", error, sizeof error);
	if (!lists)
		fail_msg("%s", error);
}

/* Takes it. */
static void expect_useless(X509_CRL *list, const char *words)
{
	char name[96], *files[] = {name}, error[512] = "";

	lists_free(lists);
	trust_free(trust);
	snprintf(name, sizeof name, "%s", path("one"));
	crl_write(name, list, 0);
	X509_CRL_free(list);
	trust = trust_new(path("anchors"), error, sizeof error);
	if (!trust)
		fail_msg("%s", error);
	lists = lists_new(trust, errands, files, 1, false, "tls.", error, sizeof error);
	assert_null(lists);
	if (!strstr(error, words))
		fail_msg("\"%s\" instead of \"%s\"", error, words);
}

/* ---- who comes */

static bool comes_in(const struct subject *const *chain, size_t count, struct refusal *refusal)
{
	uint8_t list[8192];
	struct chain *c;

	memset(refusal, 0, sizeof *refusal);
	c = chain_verify(trust, list, list_of(list, sizeof list, chain, count), refusal);
	chain_free(c);
	return c != NULL;
}

/* Everybody's way up, but for the root. */
static size_t way_of(const struct subject *s, const struct subject *chain[3])
{
	size_t count = 0;

	chain[count++] = s;
	if (s == &device || s == &other || s == &named || s == &wrong)
		chain[count++] = &ca;
	if (s == &device_of_twin)
		chain[count++] = &twin;
	if (s == &device_of_silent)
		chain[count++] = &silent;
	if (s == &device_of_next) {
		chain[count++] = &next;
		chain[count++] = &ca;
	}
	return count;
}

static bool is_let_in(const struct subject *s, struct refusal *refusal)
{
	const struct subject *chain[3];

	return comes_in(chain, way_of(s, chain), refusal);
}

static void expect_good(const struct subject *s)
{
	struct refusal refusal;

	for (int i = 0; i < ROUNDS; i++) {
		if (!is_let_in(s, &refusal))
			fail_msg("refused: %s", refusal.text);
	}
}

static void expect_refused(const struct subject *s, enum refusal_cause cause, uint8_t alert,
			   const char *words)
{
	struct refusal refusal;

	for (int i = 0; i < ROUNDS; i++) {
		if (is_let_in(s, &refusal))
			fail_msg("let in: %s", words);
		if (!strstr(refusal.text, words))
			fail_msg("\"%s\" instead of \"%s\"", refusal.text, words);
		assert_string_equal(refusal_name(refusal.cause), refusal_name(cause));
		assert_string_equal(alert_name(refusal.alert), alert_name(alert));
	}
}

static void expect_revoked(const struct subject *s, const char *words)
{
	expect_refused(s, REFUSED_REVOKED, ALERT_CERTIFICATE_REVOKED, words);
}

static void expect_unknown(const struct subject *s, const char *words)
{
	expect_refused(s, REFUSED_REVOCATION_UNKNOWN, ALERT_CERTIFICATE_UNKNOWN, words);
}

static void expect_bad(const struct subject *s, const char *words)
{
	expect_refused(s, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE, words);
}

/* ---- */

/* A CA without a list is not asked about; the same number at another CA is another certificate. */
static void test_named_by_a_list(void **state)
{
	use(list_by(&ca, DEVICE), NULL, false);
	expect_revoked(&device, "the client's certificate has been revoked");
	expect_good(&other);
	expect_good(&direct);
	use(list_by(&root, DEVICE), NULL, false);
	expect_good(&device);
	expect_revoked(&direct, "the client's certificate has been revoked");
	use(list_by(&root, OTHER), list_by(&ca, 0), false);
	expect_good(&device);
	expect_good(&other);
	expect_good(&direct);
}

static void test_authorities_named_by_a_list(void **state)
{
	use(list_by(&root, CA_SERIAL), NULL, false);
	expect_revoked(&device, "a CA in the client's certificate chain has been revoked");
	expect_revoked(&device_of_next, "a CA in the client's certificate chain has been revoked");
	expect_good(&direct);
	expect_good(&device_of_twin);
	use(list_by(&root, ROOT_SERIAL), NULL, false); /* itself */
	expect_revoked(&direct, "a CA in the client's certificate chain has been revoked");
	expect_revoked(&device, "a CA in the client's certificate chain has been revoked");
}

/* Both orders of the files, and of who comes first. */
static void test_a_ca_of_the_same_name(void **state)
{
	static const char words[] =
		"the revocation list about the client's certificate has a wrong signature";

	for (int i = 0; i < 4; i++) {
		const struct subject *first = i & 1 ? &device_of_twin : &device;

		use(list_by(i & 2 ? &twin : &ca, DEVICE), NULL, false);
		for (int n = 0; n < 4; n++) {
			const struct subject *s = n & 1              ? first
						  : first == &device ? &device_of_twin
								     : &device;

			if ((s == &device_of_twin) == (i >= 2))
				expect_revoked(s, "has been revoked");
			else
				expect_unknown(s, words);
		}
		expect_good(&direct);
	}
}

static void test_forged(void **state)
{
	static const char words[] =
		"the revocation list about the client's certificate has a wrong signature";

	use(list_forged(&ca, &stranger, 0), NULL, false);
	expect_unknown(&device, words);
	expect_good(&direct);
	use(list_forged(&ca, &stranger, DEVICE), list_by(&root, 0), true);
	expect_unknown(&device, words);
	use(list_forged(&ca, &root, 0), NULL, false); /* one above it is not it */
	expect_unknown(&device, words);
}

/* RFC 5280 6.3.3 f */
static void test_a_key_that_is_not_for_lists(void **state)
{
	use(list_by(&silent, 0), NULL, false);
	expect_bad(&device_of_silent, "key usage does not include CRL signing");
	expect_good(&device);
	expect_good(&direct);
}

/* The key that a list is signed with may be the one before: what it names decides (RFC 5280 5.2.1). */
static void test_self_issued(void **state)
{
	static const char words[] =
		"the revocation list about the client's certificate has a wrong signature";

	use(list_by(&ca, OTHER), NULL, false);
	expect_good(&device);
	expect_unknown(&device_of_next, words);
	use(list_with(&ca, OTHER, NID_authority_key_identifier, "keyid:always"), NULL, false);
	expect_good(&device);
	expect_good(&device_of_next);
	use(list_with(&ca, DEVICE, NID_authority_key_identifier, "keyid:always"), NULL, false);
	expect_revoked(&device, "the client's certificate has been revoked");
	expect_revoked(&device_of_next, "the client's certificate has been revoked");
	use(list_with(&ca, NEXT_SERIAL, NID_authority_key_identifier, "keyid:always"), NULL, false);
	expect_revoked(&device_of_next, "a CA in the client's certificate chain has been revoked");
	expect_good(&device);
}

/* A list of another key of the CA says nothing, and the CA then has none. */
static void test_a_list_that_names_another_key(void **state)
{
	use(list_with(&twin, DEVICE, NID_authority_key_identifier, "keyid:always"), NULL, false);
	expect_good(&device);
	expect_revoked(&device_of_twin, "has been revoked");
	use(list_with(&twin, DEVICE, NID_authority_key_identifier, "keyid:always"), list_by(&ca, OTHER),
	    false);
	expect_good(&device);
	expect_revoked(&other, "has been revoked");
}

static void test_past_its_time(void **state)
{
	use(list_until(&ca, DEVICE, -1), NULL, false);
	expect_unknown(&other, "the revocation list about the client's certificate has expired");
	expect_unknown(&device, "the revocation list about the client's certificate has expired");
	expect_good(&direct);
	use(list_until(&root, 0, -1), NULL, false);
	expect_unknown(&direct, "the revocation list about the client's certificate has expired");
	expect_unknown(&device,
		       "the revocation list about a CA in the client's certificate chain has expired");
	use(list_until(&ca, DEVICE, -1), list_until(&root, 0, -1), true);
	expect_good(&other);
	expect_good(&direct);
	expect_revoked(&device, "has been revoked");
	use(list_until(&ca, DEVICE, -1), list_forged(&ca, &stranger, 0), true);
	expect_unknown(&device, "wrong signature"); /* one that is valid goes first */
}

static void test_before_its_time(void **state)
{
	for (int expired_too = 0; expired_too < 2; expired_too++) {
		use(list_from(&ca, 0, DAY_S / 2), NULL, expired_too);
		expect_unknown(&device,
			       "the revocation list about the client's certificate is not valid yet");
		expect_good(&direct);
	}
}

/* The clock moves while the list stays. A machine that stalls between the two sees only its end: again. */
static void test_its_time_comes(void **state)
{
	struct refusal refusal;
	bool was_good = false;

	for (long until_s = 2; !was_good && until_s < 100; until_s *= 2) {
		use(list_until(&ca, OTHER, until_s), NULL, false);
		was_good = is_let_in(&device, &refusal);
		while (is_let_in(&device, &refusal))
			usleep(50000);
		expect_unknown(&device, "the revocation list about the client's certificate has expired");
	}
	assert_true(was_good);
	was_good = true;
	for (long from_s = 2; was_good && from_s < 100; from_s *= 2) {
		use(list_from(&ca, OTHER, from_s), NULL, false);
		was_good = is_let_in(&device, &refusal);
		while (!is_let_in(&device, &refusal))
			usleep(50000);
		expect_good(&device);
		expect_revoked(&other, "has been revoked");
	}
	assert_false(was_good);
}

/* Of two lists that are as good the newer one counts; one that is past its time counts for less. */
static void test_two_lists_of_one_ca(void **state)
{
	use(list_from(&ca, DEVICE, -2000), list_from(&ca, OTHER, -1000), false);
	expect_good(&device);
	expect_revoked(&other, "has been revoked");
	use(list_from(&ca, DEVICE, -1000), list_from(&ca, OTHER, -2000), false);
	expect_revoked(&device, "has been revoked");
	expect_good(&other);
	use(list_until(&ca, DEVICE, -1), list_by(&ca, OTHER), false);
	expect_good(&device);
	expect_revoked(&other, "has been revoked");
	use(list_forged(&ca, &stranger, 0), list_from(&ca, DEVICE, -2 * DAY_S), false);
	expect_unknown(&device, "wrong signature");
}

/* RFC 5280 5.2.5: one that does not speak about everybody refuses those that it does not speak about. */
static void test_scope(void **state)
{
	use(list_scoped(&ca, DEVICE, "critical,onlyuser:TRUE"), NULL, false);
	expect_revoked(&device, "has been revoked");
	expect_good(&other);
	use(list_scoped(&ca, DEVICE, "critical,onlyCA:TRUE"), NULL, false);
	expect_bad(&device, "different CRL scope");
	expect_bad(&other, "different CRL scope");
	expect_good(&direct);
	use(list_scoped(&root, 0, "critical,onlyuser:TRUE"), NULL, false);
	expect_bad(&device, "different CRL scope");
	use(list_scoped(&ca, DEVICE, "critical,onlyCA:TRUE"), list_by(&ca, OTHER), false);
	expect_good(&device);
	expect_revoked(&other, "has been revoked");
	use(list_scoped(&ca, DEVICE, "critical,fullname:URI:http://ca.example/1.crl"), NULL, false);
	expect_bad(&device, "different CRL scope");
	expect_good(&named);
	expect_bad(&wrong, "different CRL scope");
}

static void test_what_is_not_understood(void **state)
{
	use(list_strange(&ca, DEVICE, 0), NULL, false);
	expect_revoked(&device, "has been revoked");
	expect_good(&other);
	use(list_strange(&ca, DEVICE, 1), NULL, false);
	expect_bad(&device, "unhandled critical CRL extension");
	expect_bad(&other, "unhandled critical CRL extension");
	expect_good(&direct);
	use(list_of_strange_entries(&ca, DEVICE), NULL, false);
	expect_bad(&device, "unhandled critical CRL extension");
	expect_bad(&other, "unhandled critical CRL extension");
}

/* RFC 5280 5.3.1 */
static void test_reasons(void **state)
{
	use(list_for(&ca, DEVICE, CRL_REASON_CERTIFICATE_HOLD), NULL, false);
	expect_revoked(&device, "has been revoked");
	use(list_for(&ca, DEVICE, CRL_REASON_REMOVE_FROM_CRL), NULL, false);
	expect_good(&device);
	use(list_for(&ca, DEVICE, CRL_REASON_KEY_COMPROMISE), NULL, false);
	expect_revoked(&device, "has been revoked");
}

/* Whoever signs. */
static void expect_signed_by(const char *group)
{
	struct subject signer = subject_new(&(struct wanted){.common_name = "R", .group = group}, 1);
	struct subject good = leaf(&signer, OTHER), bad = leaf(&signer, DEVICE);
	X509_CRL *list = crl_new(&root, &(long){DEVICE}, 1, DAY_S);

	assert_true(X509_CRL_set_issuer_name(list, X509_get_subject_name(signer.certificate)));
	assert_true(X509_CRL_sign(list, signer.key, strcmp(group, "ED25519") == 0 ? NULL : EVP_sha256()));
	subject_write(path("anchors"), (const struct subject *[]){&root, &signer}, 2);
	use(list, NULL, false);
	verified = 0;
	expect_good(&good);
	expect_revoked(&bad, "has been revoked");
	assert_int_equal(verified, 0);
	subject_write(path("anchors"), (const struct subject *[]){&root}, 1);
	subject_free(&signer);
	subject_free(&good);
	subject_free(&bad);
}

static void test_kinds_of_keys(void **state)
{
	expect_signed_by("P-256");
	expect_signed_by("P-521");
	expect_signed_by("RSA:2048");
	expect_signed_by("ED25519");
}

/* Its key is of a kind that nobody knows: the last arc of id-ecPublicKey is another one (RFC 5480 2.1.1). */
static struct subject of_an_unknown_kind(const char *name)
{
	static const uint8_t known[] = {0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
	struct subject s = authority(name, NULL, ROOT_SERIAL);
	uint8_t *der = NULL, *kind;
	int len = i2d_X509(s.certificate, &der);
	const uint8_t *at = der;

	assert_true(len > 0);
	kind = memmem(der, (size_t)len, known, sizeof known);
	assert_non_null(kind);
	kind[sizeof known - 1] = 0x7f;
	X509_free(s.certificate);
	s.certificate = d2i_X509(NULL, &at, len);
	assert_non_null(s.certificate);
	assert_null(X509_get0_pubkey(s.certificate));
	OPENSSL_free(der);
	return s;
}

/* Nothing is signed with it, and it is in nobody's way. */
static void test_an_anchor_of_an_unknown_kind(void **state)
{
	struct subject strange = of_an_unknown_kind("Root");

	for (int i = 0; i < 2; i++) {
		subject_write(path("anchors"),
			      (const struct subject *[]){i ? &root : &strange, i ? &strange : &root}, 2);
		use(list_by(&root, DEVICE), list_by(&ca, OTHER), false);
		expect_revoked(&direct, "the client's certificate has been revoked");
		expect_revoked(&other, "the client's certificate has been revoked");
		expect_good(&device);
	}
	subject_write(path("anchors"), (const struct subject *[]){&strange}, 1);
	expect_useless(list_by(&root, DEVICE), "the list of CN=Root is not signed with its key");
	subject_write(path("anchors"), (const struct subject *[]){&root}, 1);
	subject_free(&strange);
}

/* Numbers of all lengths, in no order. */
static void test_long_lists(void **state)
{
	enum { COUNT = 500 };
	long serials[COUNT];
	X509_CRL *list;

	for (long i = 0; i < COUNT; i++)
		serials[i] = (7 * i % COUNT + 1) * 4 << (7 * i % 40);
	list = crl_new(&root, serials, COUNT, DAY_S);
	add_entry(list, 2, CRL_REASON_KEY_COMPROMISE);
	use(sign(list, &root), NULL, false);
	for (int i = 0; i <= COUNT; i += 20) {
		long serial = i < COUNT ? serials[i] : 2;
		struct subject bad = leaf(&root, serial), good = leaf(&root, serial + 1);

		expect_revoked(&bad, "has been revoked");
		expect_good(&good);
		subject_free(&bad);
		subject_free(&good);
	}
}

/* A list may say both; what revokes counts. */
static void test_two_entries_of_one_certificate(void **state)
{
	for (int i = 0; i < 2; i++) {
		X509_CRL *list = list_by(&ca, 0);

		add_entry(list, DEVICE, i ? CRL_REASON_REMOVE_FROM_CRL : CRL_REASON_SUPERSEDED);
		add_entry(list, DEVICE, i ? CRL_REASON_SUPERSEDED : CRL_REASON_REMOVE_FROM_CRL);
		use(sign(list, &ca), NULL, false);
		expect_revoked(&device, "has been revoked");
		expect_good(&other);
	}
}

/* ---- once */

/* The anchor's list when it is read, the other one when the first chain brings the key. */
static void test_verified_once(void **state)
{
	use(list_by(&root, OTHER), list_by(&ca, OTHER), false);
	verified = 0;
	expect_good(&direct);
	assert_int_equal(verified, 0);
	expect_good(&device);
	expect_revoked(&other, "has been revoked");
	expect_good(&direct);
	assert_int_equal(verified, 1);
	expect_unknown(&device_of_twin, "wrong signature");
	expect_good(&device);
	expect_unknown(&device_of_twin, "wrong signature");
	assert_int_equal(verified, 2);
}

/* With the keys of the CAs that are known by then, before a handshake meets it. */
static void test_read_anew(void **state)
{
	X509_CRL *list = list_by(&ca, OTHER);
	struct refusal refusal;

	use(list_by(&ca, 0), NULL, false);
	expect_good(&other);
	crl_write(path("fresh"), list, 0);
	X509_CRL_free(list);
	verified = 0;
	assert_int_equal(rename(path("fresh"), path("one")), 0);
	for (int i = 0; i < 1200 && is_let_in(&other, &refusal); i++)
		usleep(50000);
	expect_revoked(&other, "has been revoked");
	expect_good(&device);
	assert_int_equal(verified, 0);
}

/* Anybody can make up a key, and a certificate that calls it the CA's. */
static void test_a_key_that_nobody_vouches_for(void **state)
{
	struct wanted w = {
		.common_name = "CA", .issuer = &root, .signed_by = stranger.key, .serial = CA_SERIAL};
	struct subject forged = subject_new(&w, 1), leaf_of_it = leaf(&forged, OTHER);
	const struct subject *const chain[] = {&leaf_of_it, &forged};
	struct refusal refusal;

	use(list_by(&ca, OTHER), NULL, false);
	verified = 0;
	assert_false(comes_in(chain, 2, &refusal));
	assert_string_equal(refusal_name(refusal.cause), refusal_name(REFUSED_CERTIFICATE_BAD));
	assert_string_equal(alert_name(refusal.alert), alert_name(ALERT_BAD_CERTIFICATE));
	assert_int_equal(verified, 0);
	subject_free(&leaf_of_it);
	subject_free(&forged);
}

/* More CAs of one name than outcomes are kept: of only one the list is. */
static void test_many_keys(void **state)
{
	enum { KEYS = LIST_KEYS_MAX + 2, SIGNER = 3 };
	struct subject cas[KEYS], leaves[KEYS];
	struct refusal refusal;

	for (int i = 0; i < KEYS; i++) {
		cas[i] = authority("CA", &root, 0);
		leaves[i] = leaf(&cas[i], DEVICE);
	}
	for (long serial = DEVICE; serial <= OTHER; serial++) {
		use(list_by(&cas[SIGNER], serial), NULL, false);
		for (int i = 0; i < ROUNDS * KEYS; i++) {
			const struct subject *chain[] = {&leaves[i % KEYS], &cas[i % KEYS]};
			bool good = i % KEYS == SIGNER && serial != DEVICE;

			assert_int_equal(comes_in(chain, 2, &refusal), good);
			if (!good)
				assert_int_equal(refusal.cause, i % KEYS == SIGNER
									? REFUSED_REVOKED
									: REFUSED_REVOCATION_UNKNOWN);
		}
	}
	for (int i = 0; i < KEYS; i++) {
		subject_free(&cas[i]);
		subject_free(&leaves[i]);
	}
}

/* RFC 5280 6.1.3 a: its dates come before its standing. */
static void test_expired_and_revoked(void **state)
{
	struct wanted w = {
		.common_name = "d", .issuer = &ca, .serial = DEVICE, .from_s = -9 * DAY_S, .until_s = -1};
	struct subject late = subject_new(&w, 0);
	const struct subject *const chain[] = {&late, &ca};
	struct refusal refusal;

	use(list_by(&ca, DEVICE), NULL, false);
	assert_false(comes_in(chain, 2, &refusal));
	assert_string_equal(refusal_name(refusal.cause), refusal_name(REFUSED_EXPIRED));
	subject_free(&late);
}

/* ---- */

static int set_up(void **state)
{
	root = authority("Root", NULL, ROOT_SERIAL);
	stranger = authority("Stranger", NULL, 0);
	ca = authority("CA", &root, CA_SERIAL);
	twin = authority("CA", &root, CA_SERIAL + 100);
	next = authority("CA", &ca, NEXT_SERIAL);
	silent = subject_new(&(struct wanted){.common_name = "CA without lists",
					      .issuer = &root,
					      .extensions = {{"keyUsage", "critical,keyCertSign"}}},
			     1);
	direct = leaf(&root, DEVICE);
	device = leaf(&ca, DEVICE);
	other = leaf(&ca, OTHER);
	device_of_twin = leaf(&twin, DEVICE);
	device_of_next = leaf(&next, DEVICE);
	device_of_silent = leaf(&silent, DEVICE);
	named = leaf_with(&ca, DEVICE + 50, "URI:http://ca.example/1.crl");
	wrong = leaf_with(&ca, DEVICE + 51, "URI:http://ca.example/2.crl");
	assert_non_null(mkdtemp(directory));
	subject_write(path("anchors"), (const struct subject *[]){&root}, 1);
	errands = errands_new(1);
	return errands ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"one", "two", "anchors"};
	struct subject *const all[] = {
		&root,   &ca,    &twin,           &next,           &silent,           &stranger, &direct,
		&device, &other, &device_of_twin, &device_of_next, &device_of_silent, &named,    &wrong};

	lists_free(lists);
	trust_free(trust);
	errands_free(errands);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		unlink(path(names[i]));
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		subject_free(all[i]);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_named_by_a_list),
		cmocka_unit_test(test_authorities_named_by_a_list),
		cmocka_unit_test(test_a_ca_of_the_same_name),
		cmocka_unit_test(test_forged),
		cmocka_unit_test(test_a_key_that_is_not_for_lists),
		cmocka_unit_test(test_self_issued),
		cmocka_unit_test(test_a_list_that_names_another_key),
		cmocka_unit_test(test_past_its_time),
		cmocka_unit_test(test_before_its_time),
		cmocka_unit_test(test_its_time_comes),
		cmocka_unit_test(test_two_lists_of_one_ca),
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_what_is_not_understood),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_kinds_of_keys),
		cmocka_unit_test(test_an_anchor_of_an_unknown_kind),
		cmocka_unit_test(test_long_lists),
		cmocka_unit_test(test_two_entries_of_one_certificate),
		cmocka_unit_test(test_verified_once),
		cmocka_unit_test(test_read_anew),
		cmocka_unit_test(test_a_key_that_nobody_vouches_for),
		cmocka_unit_test(test_many_keys),
		cmocka_unit_test(test_expired_and_revoked),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
