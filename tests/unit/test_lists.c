/* Revocation lists: what they say counts, anew within two seconds of a change, and a broken file changes
 * nothing (checklist A07). Errands, which they are read by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "controlplane/errand.h"
#include "controlplane/issuers.h"
#include "controlplane/lists.h"
#include "tests/unit/authority.h"

enum { CA_SERIAL = 5, GOOD = 11, BAD = 12, LOOK_US = 50000, PATIENCE_LOOKS = 1200 };

static struct subject root, ca, stranger, good, bad, below;
static struct trust *trust;
static struct errands *errands;
static char directory[] = "/tmp/sluice-lists-XXXXXX";

/* Memory that runs out while lists are published: so many calls fail. */
static _Atomic int failures;
static _Atomic int unsorted; /* lists that a handshake would have to sort */
int __real_X509_STORE_add_crl(X509_STORE *store, X509_CRL *crl);
int __wrap_X509_STORE_add_crl(X509_STORE *store, X509_CRL *crl);

int __wrap_X509_STORE_add_crl(X509_STORE *store, X509_CRL *crl)
{
	unsorted += !sk_X509_REVOKED_is_sorted(X509_CRL_get_REVOKED(crl));
	if (failures > 0) {
		failures--;
		return 0;
	}
	return __real_X509_STORE_add_crl(store, crl);
}

static const char *path(const char *name)
{
	static char paths[4][96];
	static unsigned turn;
	char *out = paths[turn++ % 4];

	snprintf(out, sizeof paths[0], "%s/%s", directory, name);
	return out;
}

static const struct subject *under(const struct subject *s)
{
	return s == &below ? &ca : NULL;
}

static struct chain *chain_of(const struct subject *s, struct refusal *refusal)
{
	const struct subject *chain[] = {s, under(s)};
	uint8_t list[8192];

	return chain_verify(trust, list, list_of(list, sizeof list, chain, chain[1] ? 2 : 1), refusal);
}

/* NULL: let in; else the alert's name. */
static const char *verdict_on(const struct subject *s)
{
	struct refusal refusal = {0};
	struct chain *c = chain_of(s, &refusal);

	chain_free(c);
	return c ? NULL : alert_name(refusal.alert);
}

static void write_list(const char *name, const struct subject *issuer, long revoked, long until_s, int der)
{
	struct X509_crl_st *crl = crl_new(issuer, &revoked, revoked ? 1 : 0, until_s);
	char fresh[96], old[96];

	snprintf(fresh, sizeof fresh, "%s", path("fresh"));
	snprintf(old, sizeof old, "%s", path(name));
	crl_write(fresh, crl, der);
	assert_int_equal(rename(fresh, old), 0);
	X509_CRL_free(crl);
}

static void write_text(const char *name, const char *text)
{
	FILE *f = fopen(path(name), "w");

	assert_true(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static char error[512];

static struct lists *lists_of(const char *one, const char *two, bool expired_too)
{
	static char names[2][96];
	static char *files[2];
	struct lists *l;

	error[0] = 0;

	snprintf(names[0], sizeof names[0], "%s", path(one));
	files[0] = names[0];
	if (two)
		snprintf(names[1], sizeof names[1], "%s", path(two));
	files[1] = names[1];
	l = lists_new(trust, errands, files, two ? 2 : 1, expired_too, "tls.", error, sizeof error);
	if (!l)
		print_message("%s\n", error);
	return l;
}

static bool becomes(const struct subject *s, const char *wanted)
{
	for (int i = 0; i < PATIENCE_LOOKS; i++) {
		const char *verdict = verdict_on(s);

		if (wanted ? verdict && strcmp(verdict, wanted) == 0 : !verdict)
			return true;
		usleep(LOOK_US);
	}
	return false;
}

static void test_revoked(void **state)
{
	for (int der = 0; der < 2; der++) {
		struct lists *l;

		write_list("root", &root, BAD, DAY_S, der);
		assert_null(verdict_on(&bad));
		l = lists_of("root", NULL, false);
		assert_non_null(l);
		assert_string_equal(verdict_on(&bad), "certificate_revoked");
		assert_null(verdict_on(&good));
		assert_null(verdict_on(&below)); /* the CA has no list, and is not on the root's */
		lists_free(l);
		trust_free(trust);
		trust = trust_new(path("anchors"), (char[256]){0}, 256);
	}
}

/* What is said about a chain that came in before. */
static bool becomes_revoked(const struct chain *c)
{
	uint64_t serial;
	struct issuer *issuer = chain_under(c, &serial);

	for (int i = 0; i < PATIENCE_LOOKS && !issuer_has_revoked(issuer, serial); i++)
		usleep(LOOK_US);
	return issuer_has_revoked(issuer, serial);
}

/* A CA between client and anchor, which is known from good chains by then. */
static void test_revoked_authority(void **state)
{
	struct lists *l;

	for (int i = 0; i < 3; i++) {
		write_list("root", &root, 0, DAY_S, 0);
		l = lists_of("root", NULL, false);
		assert_non_null(l);
		assert_null(verdict_on(&below));
		lists_free(l);
		write_list("root", &root, CA_SERIAL, DAY_S, 0);
		l = lists_of("root", NULL, false);
		assert_non_null(l);
		assert_string_equal(verdict_on(&below), "certificate_revoked");
		assert_null(verdict_on(&good));
		lists_free(l);
	}
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
}

/* Read anew while it is used; broken ones and missing ones change nothing. Who came in before goes with it.
 */
static void test_changes(void **state)
{
	const struct subject *const subjects[] = {&bad, &below, &good};
	struct refusal refusal;
	struct chain *came_in[3];
	struct lists *l;
	uint64_t serial;

	write_list("root", &root, 0, DAY_S, 0);
	write_list("ca", &ca, 0, DAY_S, 1);
	l = lists_of("root", "ca", false);
	assert_non_null(l);
	assert_null(verdict_on(&bad));
	for (int i = 0; i < 3; i++)
		came_in[i] = chain_of(subjects[i], &refusal);
	write_list("root", &root, BAD, DAY_S, 0);
	assert_true(becomes(&bad, "certificate_revoked"));
	assert_true(becomes_revoked(came_in[0]));
	write_list("ca", &ca, BAD, DAY_S, 0);
	assert_true(becomes(&below, "certificate_revoked"));
	assert_true(becomes_revoked(came_in[1]));
	assert_false(issuer_has_revoked(chain_under(came_in[2], &serial), serial));
	for (int i = 0; i < 3; i++)
		chain_free(came_in[i]);
	assert_null(verdict_on(&good));
	write_text("root", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
	usleep(1300000);
	assert_string_equal(verdict_on(&bad), "certificate_revoked");
	assert_null(verdict_on(&good));
	unlink(path("root"));
	usleep(1300000);
	assert_string_equal(verdict_on(&bad), "certificate_revoked");
	assert_null(verdict_on(&good));
	write_list("root", &root, 0, DAY_S, 0);
	assert_true(becomes(&bad, NULL));
	assert_string_equal(verdict_on(&below), "certificate_revoked");
	assert_int_equal(unsorted, 0);
	lists_free(l);
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
}

/* No descriptor is left when the file is to be read, and then no memory to publish it: it holds as soon as it
 * can, without another change of the file. */
static void test_what_fails_is_tried_again(void **state)
{
	struct X509_crl_st *crl = crl_new(&root, &(long){BAD}, 1, DAY_S);
	struct rlimit limit, none;
	struct lists *l;

	write_list("root", &root, 0, DAY_S, 0);
	l = lists_of("root", NULL, false);
	assert_non_null(l);
	crl_write(path("fresh"), crl, 0);
	X509_CRL_free(crl);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(rename(path("fresh"), path("root")), 0);
	usleep(1300000);
	assert_null(verdict_on(&bad));
	failures = 1; /* of looks, as there is one list */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < PATIENCE_LOOKS && failures > 0; i++) {
		assert_null(verdict_on(&bad));
		usleep(LOOK_US);
	}
	assert_int_equal(failures, 0);
	assert_true(becomes(&bad, "certificate_revoked"));
	assert_null(verdict_on(&good));
	lists_free(l);
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
}

/* It is read as what it is now, which is nothing. */
static void test_a_fifo_keeps_nobody_waiting(void **state)
{
	struct lists *l;

	assert_int_equal(mkfifo(path("fifo"), 0600), 0);
	assert_null(lists_of("fifo", NULL, false));
	assert_non_null(strstr(error, "it holds no revocation list in PEM or DER"));
	assert_int_equal(unlink(path("fifo")), 0);
	write_list("root", &root, BAD, DAY_S, 0);
	l = lists_of("root", NULL, false);
	assert_non_null(l);
	lists_free(l);
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
}

static void test_expired(void **state)
{
	struct lists *l;

	write_list("root", &root, BAD, -1, 0);
	l = lists_of("root", NULL, false);
	assert_string_equal(verdict_on(&good), "certificate_unknown");
	assert_string_equal(verdict_on(&below), "certificate_unknown"); /* its CA is of the root, too */
	lists_free(l);
	l = lists_of("root", NULL, true);
	assert_null(verdict_on(&good));
	assert_string_equal(verdict_on(&bad), "certificate_revoked");
	lists_free(l);
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
}

/* A CA below the anchors: its key is known only when a chain brings it. */
static void test_wrong_signatures(void **state)
{
	struct subject root_again = root, ca_again = ca;
	struct lists *l;

	root_again.key = stranger.key;
	ca_again.key = stranger.key;
	write_list("root", &root_again, 0, DAY_S, 0);
	assert_null(lists_of("root", NULL, false));
	write_list("ca", &ca_again, 0, DAY_S, 0);
	l = lists_of("ca", NULL, false);
	assert_non_null(l);
	assert_string_equal(verdict_on(&below), "certificate_unknown");
	assert_null(verdict_on(&good));
	lists_free(l);
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
	write_text("root", "");
	assert_null(lists_of("root", NULL, false));
	assert_null(lists_of("nonexistent", NULL, false));
}

/* As openssl's configuration has it; or what no configuration writes: its bytes, of a primitive. */
struct scope {
	int nid;
	const char *value;
	uint8_t bytes[8];
	int bytes_len;
	const char *error; /* NULL: taken */
};

static X509_EXTENSION *extension_of(const struct scope *s)
{
	ASN1_OCTET_STRING *bytes = ASN1_OCTET_STRING_new();
	X509_EXTENSION *extension;

	assert_true(ASN1_OCTET_STRING_set(bytes, s->bytes, s->bytes_len));
	extension = s->value ? X509V3_EXT_conf_nid(NULL, NULL, s->nid, s->value)
			     : X509_EXTENSION_create_by_NID(NULL, s->nid, 1, bytes);
	ASN1_OCTET_STRING_free(bytes);
	assert_non_null(extension);
	return extension;
}

/* Who is on such a list would come in: libcrypto passes over it, or knows nothing of the list that it adds
 * to. */
static void test_lists_that_are_not_full(void **state)
{
	static const struct scope scopes[] = {
		{NID_delta_crl, .bytes = {2, 1, 1}, .bytes_len = 3,
		 .error = "is a delta list; name the full"},
		{NID_issuing_distribution_point, "critical,indirectCRL:TRUE",
		 .error = "is an indirect list; name"},
		{NID_issuing_distribution_point, "critical,onlysomereasons:keyCompromise",
		 .error = "is a partial list, about some reasons alone; name"},
		{NID_issuing_distribution_point, "critical,onlyAA:TRUE",
		 .error = "is a partial list, about attribute certificates alone; name"},
		{NID_issuing_distribution_point, "critical,onlyuser:TRUE,onlyCA:TRUE",
		 .error = "is about no certificate"},
		{NID_issuing_distribution_point, .bytes = {2, 1, 1}, .bytes_len = 3, .error = "be read"},
		{NID_issuing_distribution_point, "critical,fullname:URI:http://ca.example/1.crl",
		 .error = NULL},
		{NID_issuing_distribution_point, "critical,onlyuser:TRUE", .error = NULL},
	};

	for (size_t i = 0; i < sizeof scopes / sizeof scopes[0]; i++) {
		struct X509_crl_st *crl = crl_new(&root, &(long){BAD}, 1, DAY_S);
		X509_EXTENSION *extension = extension_of(&scopes[i]);
		struct lists *l;

		assert_true(X509_CRL_add_ext(crl, extension, -1));
		assert_true(X509_CRL_sign(crl, root.key, EVP_sha256()));
		crl_write(path("root"), crl, 0);
		X509_EXTENSION_free(extension);
		X509_CRL_free(crl);
		l = lists_of("root", NULL, false);
		assert_int_equal(l != NULL, scopes[i].error == NULL);
		assert_true(l || strstr(error, scopes[i].error));
		lists_free(l);
	}
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
}

/* Rewrites "root" with this hash, NULL: Ed25519's own; in RSA-PSS when pss. */
static struct lists *lists_signed(const struct subject *issuer, const EVP_MD *hash, bool pss)
{
	struct X509_crl_st *crl = crl_new(&root, &(long){BAD}, 1, DAY_S);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_context;

	assert_true(X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->certificate)));
	assert_int_equal(EVP_DigestSignInit(context, &key_context, hash, NULL, issuer->key), 1);
	if (pss)
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(key_context, RSA_PKCS1_PSS_PADDING), 1);
	assert_true(X509_CRL_sign_ctx(crl, context));
	EVP_MD_CTX_free(context);
	crl_write(path("root"), crl, 1);
	X509_CRL_free(crl);
	return lists_of("root", NULL, false);
}

static void test_hashes(void **state)
{
	struct subject rsa = subject_new(&(struct wanted){.common_name = "RSA", .group = "RSA:2048"}, 1);
	struct subject edwards =
		subject_new(&(struct wanted){.common_name = "Edwards", .group = "ED25519"}, 1);
	const struct {
		const struct subject *issuer;
		const EVP_MD *hash;
		bool pss, taken;
	} cases[] = {
		{&root, EVP_sha1(), false, false},     {&root, EVP_sha224(), false, false},
		{&root, EVP_sha384(), false, true},    {&rsa, EVP_sha1(), false, false},
		{&rsa, EVP_ripemd160(), false, false}, {&rsa, EVP_md5(), false, false},
		{&rsa, EVP_sha512(), false, true},     {&rsa, EVP_sha1(), true, false},
		{&rsa, EVP_sha224(), true, false},     {&rsa, EVP_sha256(), true, true},
		{&edwards, NULL, false, true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct lists *l = lists_signed(cases[i].issuer, cases[i].hash, cases[i].pss);

		assert_int_equal(l != NULL, cases[i].taken);
		assert_true(l || strstr(error, "is signed with a hash that is not enabled"));
		lists_free(l);
	}
	subject_free(&rsa);
	subject_free(&edwards);
	trust_free(trust);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
}

/* ---- errands */

struct counter {
	struct errand errand;
	_Atomic unsigned runs;
	uint64_t gap_ns;
};

static uint64_t count(struct errand *e, uint64_t now_ns)
{
	struct counter *c = (struct counter *)e;

	c->runs++;
	return c->gap_ns ? now_ns + c->gap_ns : 0;
}

static uint64_t take_long(struct errand *e, uint64_t now_ns)
{
	struct counter *c = (struct counter *)e;

	usleep(100000);
	c->runs++;
	return now_ns + 1;
}

static void test_errands(void **state)
{
	struct errands *es = errands_new(3);
	struct counter once = {.errand.run = count}, often = {.errand.run = count, .gap_ns = 10000000};
	struct counter later = {.errand.run = count, .gap_ns = 1}, slow = {.errand.run = take_long};
	unsigned runs;

	assert_int_equal(errands_add(es, &later.errand, errand_now_ns() + 3600000000000ULL), 0);
	assert_int_equal(errands_add(es, &often.errand, 0), 0);
	assert_int_equal(errands_add(es, &slow.errand, 0), 0);
	assert_int_equal(errands_add(es, &once.errand, 0), 0);
	for (int i = 0; i < PATIENCE_LOOKS && (once.runs < 1 || often.runs < 5 || slow.runs < 2); i++)
		usleep(LOOK_US);
	assert_int_equal(once.runs, 1);
	assert_true(often.runs >= 5 && slow.runs >= 2);
	errands_cancel(es, &often.errand);
	runs = often.runs;
	errands_cancel(es, &slow.errand); /* in the middle of a run: waits for its end */
	usleep(LOOK_US);
	assert_int_equal(often.runs, runs);
	errands_cancel(es, &later.errand);
	assert_int_equal(later.runs, 0);
	errands_free(es);
	errands_free(errands_new(2));
	errands_free(NULL);
}

static int set_up(void **state)
{
	root = subject_new(&(struct wanted){.common_name = "Root"}, 1);
	stranger = subject_new(&(struct wanted){.common_name = "Stranger"}, 1);
	ca = subject_new(&(struct wanted){.common_name = "CA", .issuer = &root, .serial = CA_SERIAL}, 1);
	good = subject_new(&(struct wanted){.common_name = "good", .issuer = &root, .serial = GOOD}, 0);
	bad = subject_new(&(struct wanted){.common_name = "bad", .issuer = &root, .serial = BAD}, 0);
	below = subject_new(&(struct wanted){.common_name = "below", .issuer = &ca, .serial = BAD}, 0);
	assert_non_null(mkdtemp(directory));
	subject_write(path("anchors"), (const struct subject *[]){&root}, 1);
	trust = trust_new(path("anchors"), (char[256]){0}, 256);
	errands = errands_new(1);
	return trust && errands ? 0 : -1;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"root", "ca", "anchors", "fresh"};
	struct subject *const all[] = {&root, &stranger, &ca, &good, &bad, &below};

	errands_free(errands);
	trust_free(trust);
	for (int i = 0; i < 4; i++)
		unlink(path(names[i]));
	for (int i = 0; i < 6; i++)
		subject_free(all[i]);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_revoked_authority),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_what_fails_is_tried_again),
		cmocka_unit_test(test_a_fifo_keeps_nobody_waiting),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_wrong_signatures),
		cmocka_unit_test(test_lists_that_are_not_full),
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_errands),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
