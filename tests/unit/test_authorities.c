/* CAs that were in good chains, found again by their bytes: those, no others, and never more than there is
 * room for. That nothing follows from being among them is in test_chain.c and test_lists.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509v3.h>

#include "controlplane/authorities.h"
#include "tests/unit/authority.h"

struct known {
	struct subject subject;
	unsigned char *der;
	size_t len;
};

static struct known known_new(const char *name, const char *comment)
{
	struct wanted w = {.common_name = name, .extensions = {{comment ? "nsComment" : NULL, comment}}};
	struct known k = {.subject = subject_new(&w, 1)};
	int len = i2d_X509(k.subject.certificate, &k.der);

	assert_true(len > 0);
	k.len = (size_t)len;
	return k;
}

static void known_free(struct known *k)
{
	subject_free(&k->subject);
	OPENSSL_free(k->der);
}

static void expect(struct authorities *a, const struct known *k, const X509 *wanted)
{
	X509 *found = authorities_find(a, k->der, k->len);

	assert_ptr_equal(found, wanted);
	X509_free(found);
}

/* One name, two keys: neither stands for the other, nor does anything that is nearly the same. */
static void test_found_by_bytes(void **state)
{
	struct authorities *a = authorities_new();
	struct known one = known_new("CA", NULL), other = known_new("CA", NULL);

	expect(a, &one, NULL);
	authorities_keep(a, one.subject.certificate);
	expect(a, &one, one.subject.certificate);
	expect(a, &other, NULL);
	authorities_keep(a, other.subject.certificate);
	expect(a, &one, one.subject.certificate);
	expect(a, &other, other.subject.certificate);
	for (size_t i = 0; i < one.len; i++) {
		one.der[i] ^= 1;
		expect(a, &one, NULL);
		one.der[i] ^= 1;
	}
	assert_null(authorities_find(a, one.der, one.len - 1));
	assert_null(authorities_find(a, one.der, 0));
	authorities_free(a);
	known_free(&one);
	known_free(&other);
}

static void test_room(void **state)
{
	struct authorities *a = authorities_new();
	struct known all[AUTHORITIES_MAX + 1];
	X509 *first;

	for (unsigned i = 0; i <= AUTHORITIES_MAX; i++)
		all[i] = known_new("CA", NULL);
	for (unsigned i = 0; i < AUTHORITIES_MAX; i++) {
		authorities_keep(a, all[i].subject.certificate);
		authorities_keep(a, all[0].subject.certificate); /* is there: takes no room */
	}
	for (unsigned i = 0; i < AUTHORITIES_MAX; i++)
		expect(a, &all[i], all[i].subject.certificate);
	first = authorities_find(a, all[0].der, all[0].len);
	authorities_keep(a, all[AUTHORITIES_MAX].subject.certificate);
	expect(a, &all[0], NULL);
	for (unsigned i = 1; i <= AUTHORITIES_MAX; i++)
		expect(a, &all[i], all[i].subject.certificate);
	authorities_free(a);
	for (unsigned i = 0; i <= AUTHORITIES_MAX; i++)
		known_free(&all[i]);
	assert_int_equal(X509_check_ca(first), 1); /* ours still */
	X509_free(first);
}

/* Bytes that are not DER are never found, and their certificate is read each time they are shown: it takes
 * room once, and drives nobody out. */
static void test_the_same_read_anew(void **state)
{
	struct authorities *a = authorities_new();
	struct known one = known_new("CA", NULL), other = known_new("CA", NULL);

	authorities_keep(a, other.subject.certificate);
	authorities_keep(a, one.subject.certificate);
	for (unsigned i = 0; i < 2 * AUTHORITIES_MAX; i++) {
		const unsigned char *der = one.der;
		X509 *again = d2i_X509(NULL, &der, (long)one.len);

		assert_non_null(again);
		authorities_keep(a, again);
		X509_free(again);
	}
	expect(a, &one, one.subject.certificate);
	expect(a, &other, other.subject.certificate);
	authorities_free(a);
	known_free(&one);
	known_free(&other);
}

static void test_found_by_name(void **state)
{
	struct authorities *a = authorities_new();
	struct known all[] = {known_new("CA", NULL), known_new("Other", NULL), known_new("CA", NULL)};
	X509_NAME *name = X509_get_subject_name(all[0].subject.certificate);
	X509 *found[3] = {NULL};

	assert_int_equal(authorities_named(a, name, found, 3), 0);
	for (int i = 0; i < 3; i++)
		authorities_keep(a, all[i].subject.certificate);
	assert_int_equal(authorities_named(a, name, found, 3), 2);
	assert_ptr_equal(found[0], all[0].subject.certificate);
	assert_ptr_equal(found[1], all[2].subject.certificate);
	assert_null(found[2]);
	X509_free(found[0]);
	assert_int_equal(authorities_named(a, name, found, 1), 1);
	authorities_free(a);
	assert_int_equal(X509_check_ca(found[1]), 1); /* ours still */
	X509_free(found[0]);
	X509_free(found[1]);
	for (int i = 0; i < 3; i++)
		known_free(&all[i]);
}

static void test_long_ones(void **state)
{
	static char comment[AUTHORITY_LEN_MAX + 1];
	struct authorities *a = authorities_new();
	struct known large;

	memset(comment, 'x', AUTHORITY_LEN_MAX);
	large = known_new("CA", comment);
	authorities_keep(a, large.subject.certificate);
	expect(a, &large, NULL);
	authorities_free(a);
	authorities_free(NULL);
	known_free(&large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found_by_bytes),     cmocka_unit_test(test_room),
		cmocka_unit_test(test_the_same_read_anew), cmocka_unit_test(test_found_by_name),
		cmocka_unit_test(test_long_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
