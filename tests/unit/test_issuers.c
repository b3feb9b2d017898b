/* controlplane/issuers.c: what revocation lists that come later say about certificates whose sessions live:
 * the certificate itself, a CA on its way to the anchor, and who signed the list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "controlplane/issuers.h"
#include "tests/unit/authority.h"

enum { DEVICE = 100, OTHER = 101, CA = 5, MANY = 20000 };

static struct subject root, ca, ca_again, stranger, device, other, direct, without_usage;
static struct issuers *issuers;

static STACK_OF(X509) * path_of(const struct subject *const *subjects, int count)
{
	STACK_OF(X509) *path = sk_X509_new_null();

	for (int i = 0; i < count; i++)
		assert_true(sk_X509_push(path, subjects[i]->certificate));
	return path;
}

/* A session's, as chain.c makes it. */
struct held {
	struct issuer *under;
	uint64_t serial;
};

static struct held come_in(const struct subject *const *subjects, int count)
{
	STACK_OF(X509) *path = path_of(subjects, count);
	bool full;
	struct held h = {.under = issuers_take(issuers, path, &full)};

	assert_false(full);
	h.serial = issuer_serial(X509_get0_serialNumber(subjects[0]->certificate));
	sk_X509_free(path);
	return h;
}

static bool is_revoked(const struct held *h)
{
	return issuer_has_revoked(h->under, h->serial);
}

/* With a certificate under the CA, another one, and one under the root itself. */
struct three {
	struct held device, other, direct;
};

static struct three three_come_in(void)
{
	return (struct three){
		.device = come_in((const struct subject *[]){&device, &ca, &root}, 3),
		.other = come_in((const struct subject *[]){&other, &ca, &root}, 3),
		.direct = come_in((const struct subject *[]){&direct, &root}, 2),
	};
}

static void three_go(struct three *t)
{
	issuer_release(t->device.under);
	issuer_release(t->other.under);
	issuer_release(t->direct.under);
}

static void expect(const struct three *t, bool device_revoked, bool other_revoked, bool direct_revoked)
{
	assert_int_equal(is_revoked(&t->device), device_revoked);
	assert_int_equal(is_revoked(&t->other), other_revoked);
	assert_int_equal(is_revoked(&t->direct), direct_revoked);
}

/* From now on these lists, NULL at the end, and no others; frees them. */
static void judge(X509_CRL *one, X509_CRL *two)
{
	X509_CRL *lists[] = {one, two};
	struct listing *listings[2] = {NULL, NULL};
	unsigned count = 0;

	for (unsigned i = 0; i < 2 && lists[i]; i++) {
		listings[count++] = listing_new(lists[i]);
		assert_non_null(listings[i]);
		X509_CRL_free(lists[i]);
	}
	assert_int_equal(issuers_judge(issuers, listings, count), 0);
	for (unsigned i = 0; i < count; i++)
		listing_release(listings[i]);
}

static X509_CRL *list_by(const struct subject *issuer, long serial)
{
	return crl_new(issuer, &serial, serial ? 1 : 0, DAY_S);
}

static void test_the_certificate_and_those_above_it(void **state)
{
	struct three t = three_come_in();
	uint64_t version = issuers_version(issuers);

	expect(&t, false, false, false);
	judge(list_by(&ca, DEVICE), NULL);
	expect(&t, true, false, false);
	assert_int_not_equal(issuers_version(issuers), version);
	judge(list_by(&root, DEVICE), NULL); /* the same number at another CA */
	expect(&t, false, false, false);
	judge(list_by(&root, CA), list_by(&ca, 0));
	expect(&t, true, true, false);
	judge(list_by(&root, 0), list_by(&ca, OTHER));
	expect(&t, false, true, false);
	judge(list_by(&root, 1), NULL); /* the root itself, as in a handshake */
	assert_int_equal(ASN1_INTEGER_get(X509_get0_serialNumber(root.certificate)), 1);
	expect(&t, true, true, true);
	judge(NULL, NULL);
	expect(&t, false, false, false);
	three_go(&t);
}

/* RFC 5280 6.3.3 f, g: of a CA of the same name, but not with its key; with its key, but not for lists. */
static void test_who_signed(void **state)
{
	struct subject forged = ca;
	struct three t = three_come_in();
	struct held h = come_in((const struct subject *[]){&device, &without_usage, &root}, 3);

	forged.key = stranger.key;
	judge(list_by(&forged, DEVICE), NULL);
	expect(&t, false, false, false);
	judge(list_by(&forged, DEVICE), list_by(&ca, OTHER));
	expect(&t, false, true, false);
	judge(list_by(&without_usage, DEVICE), NULL);
	assert_false(is_revoked(&h));
	issuer_release(h.under);
	three_go(&t);
}

/* A CA has two certificates, and one of them is revoked: who came in with the other one stays. */
static void test_two_ways_up(void **state)
{
	struct held one = come_in((const struct subject *[]){&device, &ca, &root}, 3);
	struct held two = come_in((const struct subject *[]){&device, &ca_again, &root}, 3);

	assert_ptr_not_equal(one.under, two.under);
	judge(list_by(&root, CA), NULL);
	assert_true(is_revoked(&one));
	assert_false(is_revoked(&two));
	judge(list_by(&ca, DEVICE), NULL); /* their key is one */
	assert_true(is_revoked(&one));
	assert_true(is_revoked(&two));
	issuer_release(one.under);
	issuer_release(two.under);
	judge(NULL, NULL);
}

static void test_expired_lists_name_whom_they_name(void **state)
{
	struct three t = three_come_in();
	long serial = DEVICE;

	judge(crl_new(&ca, &serial, 1, -1), NULL);
	expect(&t, true, false, false);
	judge(crl_new(&ca, NULL, 0, -1), crl_new(&root, NULL, 0, -1));
	expect(&t, false, false, false);
	three_go(&t);
}

static X509_CRL *list_with(const struct subject *issuer, long serial, X509_EXTENSION *extension)
{
	X509_CRL *list = list_by(issuer, serial);

	assert_true(extension && X509_CRL_add_ext(list, extension, -1));
	assert_true(X509_CRL_sign(list, issuer->key, EVP_sha256()));
	X509_EXTENSION_free(extension);
	return list;
}

static X509_EXTENSION *scope(const char *text)
{
	return X509V3_EXT_conf_nid(NULL, NULL, NID_issuing_distribution_point, text);
}

/* RFC 5280 5.2.5, 5.2 */
static void test_scope(void **state)
{
	struct three t = three_come_in();
	ASN1_OCTET_STRING *bytes = ASN1_OCTET_STRING_new();

	judge(list_with(&root, CA, scope("critical,onlyuser:TRUE")), NULL);
	expect(&t, false, false, false);
	judge(list_with(&root, CA, scope("critical,onlyCA:TRUE")), NULL);
	expect(&t, true, true, false);
	judge(list_with(&ca, DEVICE, scope("critical,onlyCA:TRUE")), NULL);
	expect(&t, false, false, false);
	judge(list_with(&ca, DEVICE, scope("critical,fullname:URI:http://ca.example/1.crl")), NULL);
	expect(&t, true, false, false);
	assert_true(ASN1_OCTET_STRING_set(bytes, (const uint8_t[]){5, 0}, 2));
	judge(list_with(&ca, DEVICE, X509_EXTENSION_create_by_NID(NULL, NID_ms_csp_name, 1, bytes)), NULL);
	expect(&t, false, false, false); /* nobody knows what it means */
	judge(list_with(&ca, DEVICE, X509_EXTENSION_create_by_NID(NULL, NID_ms_csp_name, 0, bytes)), NULL);
	expect(&t, true, false, false);
	ASN1_OCTET_STRING_free(bytes);
	judge(NULL, NULL);
	three_go(&t);
}

static X509_CRL *list_for_a_reason(long serial, long why)
{
	X509_CRL *list = list_by(&ca, serial);
	ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();

	assert_true(ASN1_ENUMERATED_set(reason, why));
	assert_true(X509_REVOKED_add1_ext_i2d(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(list), 0),
					      NID_crl_reason, reason, 0, 0));
	ASN1_ENUMERATED_free(reason);
	assert_true(X509_CRL_sign(list, ca.key, EVP_sha256()));
	return list;
}

/* RFC 5280 5.3.1 */
static void test_reasons(void **state)
{
	struct three t = three_come_in();

	judge(list_for_a_reason(DEVICE, CRL_REASON_CERTIFICATE_HOLD), NULL);
	expect(&t, true, false, false);
	judge(list_for_a_reason(DEVICE, CRL_REASON_REMOVE_FROM_CRL), NULL);
	expect(&t, false, false, false);
	judge(list_for_a_reason(DEVICE, CRL_REASON_KEY_COMPROMISE), NULL);
	expect(&t, true, false, false);
	judge(NULL, NULL);
	three_go(&t);
}

/* Who comes in under a CA that the lists were not asked about is judged with them the next time. */
static void test_an_issuer_that_comes_later(void **state)
{
	struct listing *l;
	X509_CRL *list = list_by(&ca, DEVICE);
	uint64_t version;
	struct held h;

	l = listing_new(list);
	assert_int_equal(issuers_judge(issuers, &l, 1), 0);
	assert_false(issuers_wait(issuers));
	version = issuers_version(issuers);
	h = come_in((const struct subject *[]){&device, &ca, &root}, 3);
	assert_true(issuers_wait(issuers));
	assert_false(is_revoked(&h));
	assert_int_equal(issuers_judge(issuers, &l, 1), 0);
	assert_true(is_revoked(&h));
	assert_int_not_equal(issuers_version(issuers), version);
	version = issuers_version(issuers);
	assert_int_equal(issuers_judge(issuers, &l, 1), 0); /* nothing new */
	assert_int_equal(issuers_version(issuers), version);
	issuer_release(h.under);
	listing_release(l);
	X509_CRL_free(list);
}

/* Another certificate of the CA for who has none of its keys: (r, n - s) is as good a signature as (r, s). */
static struct subject with_its_other_signature(const struct subject *from)
{
	struct subject s = {.certificate = X509_dup(from->certificate), .key = from->key};
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	const ASN1_BIT_STRING *bits;
	const uint8_t *at;
	uint8_t *der = NULL;
	ECDSA_SIG *signature;
	BIGNUM *n_s = BN_new();
	int len;

	X509_get0_signature(&bits, NULL, s.certificate);
	at = ASN1_STRING_get0_data(bits);
	signature = d2i_ECDSA_SIG(NULL, &at, ASN1_STRING_length(bits));
	assert_true(signature && BN_sub(n_s, EC_GROUP_get0_order(group), ECDSA_SIG_get0_s(signature)));
	assert_true(ECDSA_SIG_set0(signature, BN_dup(ECDSA_SIG_get0_r(signature)), n_s));
	len = i2d_ECDSA_SIG(signature, &der);
	assert_true(len > 0 && ASN1_STRING_set((ASN1_BIT_STRING *)(uintptr_t)bits, der, len));
	OPENSSL_free(der);
	ECDSA_SIG_free(signature);
	EC_GROUP_free(group);
	return s;
}

/* Not the same struct, both ways round. */
static void expect_same(const struct held *a, const struct held *b, bool same)
{
	assert_ptr_not_equal(a->under, b->under);
	assert_int_equal(issuer_is_same(a->under, b->under), same);
	assert_int_equal(issuer_is_same(b->under, a->under), same);
	assert_int_equal(ERR_peek_error(), 0);
}

/* RFC 6960 4.1.1: a CA is a name and a key. */
static void test_other_certificates_of_a_ca(void **state)
{
	struct held h = come_in((const struct subject *[]){&device, &ca, &root}, 3), other_way;
	struct subject flipped = with_its_other_signature(&ca);
	struct subject namesake = subject_new(&(struct wanted){.common_name = "CA", .issuer = &root}, 1);
	struct subject rsa =
		subject_new(&(struct wanted){.common_name = "CA", .issuer = &root, .group = "RSA:2048"}, 1);
	struct subject renamed = {.certificate = X509_dup(ca.certificate), .key = ca.key};
	const struct subject *const same[] = {&ca_again, &flipped}, *const others[] = {&namesake, &rsa,
										       &renamed};

	assert_int_equal(X509_verify(flipped.certificate, root.key), 1);
	assert_true(X509_set_subject_name(renamed.certificate, X509_get_subject_name(stranger.certificate)));
	assert_true(X509_sign(renamed.certificate, root.key, EVP_sha256()));
	assert_true(issuer_is_same(h.under, h.under));
	for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
		other_way = come_in((const struct subject *[]){&device, same[i], &root}, 3);
		expect_same(&h, &other_way, true);
		issuer_release(other_way.under);
	}
	other_way = come_in((const struct subject *[]){&device, &ca}, 2); /* an anchor itself */
	expect_same(&h, &other_way, true);
	issuer_release(other_way.under);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		other_way = come_in((const struct subject *[]){&device, others[i], &root}, 3);
		expect_same(&h, &other_way, false);
		issuer_release(other_way.under);
	}
	issuer_release(h.under);
	X509_free(flipped.certificate);
	X509_free(renamed.certificate);
	subject_free(&namesake);
	subject_free(&rsa);
}

static void test_a_ca_of_two_tenants(void **state)
{
	struct held h = come_in((const struct subject *[]){&device, &ca, &root}, 3), elsewhere;
	struct issuers *own = issuers;

	issuers = issuers_new();
	assert_non_null(issuers);
	elsewhere = come_in((const struct subject *[]){&device, &ca, &root}, 3);
	expect_same(&h, &elsewhere, false);
	issuer_release(elsewhere.under);
	issuers_free(issuers);
	issuers = own;
	issuer_release(h.under);
}

/* They are kept as long as somebody holds them, and all above them. */
static void test_held_and_given_back(void **state)
{
	struct held one = come_in((const struct subject *[]){&device, &ca, &root}, 3), two;
	struct issuer *first = one.under;

	two = come_in((const struct subject *[]){&other, &ca, &root}, 3);
	assert_ptr_equal(two.under, first);
	issuer_release(one.under);
	assert_ptr_equal(issuer_hold(two.under), first);
	issuer_release(two.under);
	judge(list_by(&root, CA), NULL);
	assert_true(is_revoked(&two));
	issuer_release(first);
	one = come_in((const struct subject *[]){&root}, 1); /* pinned */
	assert_null(one.under);
	issuer_release(NULL);
	judge(NULL, NULL);
}

/* As anchors are replaced: the first user goes, and its sessions are found all the same. */
static void test_shared(void **state)
{
	struct three t = three_come_in();

	assert_ptr_equal(issuers_share(issuers), issuers);
	issuers_free(issuers);
	judge(list_by(&ca, DEVICE), NULL);
	expect(&t, true, false, false);
	three_go(&t);
}

/* While both are there the lists of either may judge, also those that the old anchors accept: who stays does
 * so once more when the other one has gone. */
static void test_who_stays_has_the_last_word(void **state)
{
	struct three t = three_come_in();

	(void)issuers_share(issuers);
	judge(list_by(&ca, DEVICE), NULL);
	judge(NULL, NULL); /* the one that goes */
	expect(&t, false, false, false);
	assert_false(issuers_wait(issuers));
	issuers_free(issuers);
	assert_true(issuers_wait(issuers));
	judge(list_by(&ca, DEVICE), NULL);
	expect(&t, true, false, false);
	assert_false(issuers_wait(issuers));
	three_go(&t);
	judge(NULL, NULL);
}

static void set_anchors(const struct subject *one, const struct subject *two)
{
	X509_STORE *store = X509_STORE_new();

	assert_true(!one || X509_STORE_add_cert(store, one->certificate));
	assert_true(!two || X509_STORE_add_cert(store, two->certificate));
	issuers_set_anchors(issuers, store);
	X509_STORE_free(store);
}

static void test_anchors_that_go_and_come_back(void **state)
{
	struct three t = three_come_in();
	struct held elsewhere = come_in((const struct subject *[]){&other, &stranger}, 2);
	uint64_t version = issuers_version(issuers);

	set_anchors(&root, &stranger);
	assert_true(issuers_version(issuers) == version); /* nothing new */
	expect(&t, false, false, false);
	set_anchors(&stranger, NULL);
	assert_int_not_equal(issuers_version(issuers), version);
	expect(&t, true, true, true);
	assert_false(is_revoked(&elsewhere));
	set_anchors(&stranger, &ca); /* which is not the one they came in under */
	expect(&t, true, true, true);
	version = issuers_version(issuers);
	set_anchors(&root, NULL);
	assert_int_not_equal(issuers_version(issuers), version);
	expect(&t, false, false, false);
	assert_true(is_revoked(&elsewhere));
	set_anchors(NULL, NULL);
	expect(&t, true, true, true);
	judge(list_by(&ca, 0), NULL); /* lists do not bring it back */
	expect(&t, true, true, true);
	set_anchors(&root, &stranger);
	judge(list_by(&ca, DEVICE), NULL);
	expect(&t, true, false, false);
	judge(NULL, NULL);
	issuer_release(elsewhere.under);
	three_go(&t);
}

/* Another certificate of the same name and key is the same anchor; one of the same name alone is not. */
static void test_anchors_that_are_renewed(void **state)
{
	struct subject renewed = {.certificate = X509_dup(root.certificate), .key = root.key};
	struct subject namesake = subject_new(&(struct wanted){.common_name = "Root", .serial = 1}, 1);
	struct three t = three_come_in();

	ASN1_INTEGER_set(X509_get_serialNumber(renewed.certificate), 77);
	assert_true(X509_sign(renewed.certificate, root.key, EVP_sha256()));
	set_anchors(&renewed, NULL);
	expect(&t, false, false, false);
	set_anchors(&namesake, NULL);
	expect(&t, true, true, true);
	set_anchors(&root, &stranger);
	three_go(&t);
	X509_free(renewed.certificate);
	subject_free(&namesake);
}

/* As with a handshake that began before they were replaced. */
static void test_under_an_anchor_that_has_gone(void **state)
{
	struct three t;

	set_anchors(&stranger, NULL);
	t = three_come_in();
	expect(&t, true, true, true);
	set_anchors(&root, &stranger);
	expect(&t, false, false, false);
	three_go(&t);
}

/* Serial numbers of all lengths, beside a search; those that a list does not have are not in it. */
static void test_many_serials(void **state)
{
	struct held h = come_in((const struct subject *[]){&device, &ca, &root}, 3);
	long *serials = calloc(MANY, sizeof *serials);
	ASN1_INTEGER *number = ASN1_INTEGER_new();

	for (long i = 0; i < MANY; i++)
		serials[i] = (2 * i + 1) << (i % 40);
	judge(crl_new(&ca, serials, MANY, DAY_S), NULL);
	for (long i = 0; i < MANY; i++) {
		assert_true(ASN1_INTEGER_set(number, serials[i]));
		assert_true(issuer_has_revoked(h.under, issuer_serial(number)));
		assert_true(ASN1_INTEGER_set(number, -serials[i]));
		assert_false(issuer_has_revoked(h.under, issuer_serial(number)));
	}
	ASN1_INTEGER_free(number);
	free(serials);
	issuer_release(h.under);
	judge(NULL, NULL);
}

/* ISSUERS_MAX, and not one more until one goes. The certificates of CAs need not be good here. */
static void test_full(void **state)
{
	static struct issuer *held[ISSUERS_MAX];
	STACK_OF(X509) *path = path_of((const struct subject *[]){&device, &root}, 2);
	bool full;

	for (unsigned i = 0; i <= ISSUERS_MAX; i++) {
		X509 *one = X509_dup(ca.certificate);
		uint8_t *fresh = NULL;

		assert_true(ASN1_INTEGER_set(X509_get_serialNumber(one), 1000 + i));
		assert_true(i2d_re_X509_tbs(one, &fresh) > 0);
		OPENSSL_free(fresh);
		(void)sk_X509_set(path, 1, one);
		if (i < ISSUERS_MAX)
			held[i] = issuers_take(issuers, path, &full);
		else
			assert_null(issuers_take(issuers, path, &full));
		assert_int_equal(full, i == ISSUERS_MAX);
		if (i == ISSUERS_MAX) {
			issuer_release(held[0]);
			held[0] = issuers_take(issuers, path, &full);
			assert_non_null(held[0]);
		}
		X509_free(one);
	}
	for (unsigned i = 0; i < ISSUERS_MAX; i++)
		issuer_release(held[i]);
	sk_X509_free(path);
}

static int set_up(void **state)
{
	root = subject_new(&(struct wanted){.common_name = "Root", .serial = 1}, 1);
	stranger = subject_new(&(struct wanted){.common_name = "Stranger"}, 1);
	ca = subject_new(&(struct wanted){.common_name = "CA", .issuer = &root, .serial = CA}, 1);
	ca_again.key = ca.key;
	ca_again.certificate = X509_dup(ca.certificate);
	ASN1_INTEGER_set(X509_get_serialNumber(ca_again.certificate), CA + 1);
	X509_sign(ca_again.certificate, root.key, EVP_sha256());
	without_usage = subject_new(&(struct wanted){.common_name = "CA without lists",
						     .issuer = &root,
						     .extensions = {{"keyUsage", "critical,keyCertSign"}}},
				    1);
	device = subject_new(&(struct wanted){.common_name = "d", .issuer = &ca, .serial = DEVICE}, 0);
	other = subject_new(&(struct wanted){.common_name = "o", .issuer = &ca, .serial = OTHER}, 0);
	direct = subject_new(&(struct wanted){.common_name = "r", .issuer = &root, .serial = OTHER}, 0);
	issuers = issuers_new();
	return issuers ? 0 : -1;
}

static int tear_down(void **state)
{
	struct subject *const all[] = {&root, &ca, &stranger, &device, &other, &direct, &without_usage};

	issuers_free(issuers);
	issuers_free(NULL);
	X509_free(ca_again.certificate);
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		subject_free(all[i]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_certificate_and_those_above_it),
		cmocka_unit_test(test_who_signed),
		cmocka_unit_test(test_two_ways_up),
		cmocka_unit_test(test_expired_lists_name_whom_they_name),
		cmocka_unit_test(test_scope),
		cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_an_issuer_that_comes_later),
		cmocka_unit_test(test_other_certificates_of_a_ca),
		cmocka_unit_test(test_a_ca_of_two_tenants),
		cmocka_unit_test(test_held_and_given_back),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_who_stays_has_the_last_word),
		cmocka_unit_test(test_anchors_that_go_and_come_back),
		cmocka_unit_test(test_anchors_that_are_renewed),
		cmocka_unit_test(test_under_an_anchor_that_has_gone),
		cmocka_unit_test(test_many_serials),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
