/* The library context that certificates of clients are read in: it is there, it has what is enabled and
 * nothing else, and what it reads goes together with what libcrypto's own context has read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "controlplane/algorithms.h"
#include "tests/unit/authority.h"

static X509 *read_in(OSSL_LIB_CTX *context, const struct subject *s)
{
	X509 *one = X509_new_ex(context, NULL);
	unsigned char *der = NULL;
	int len = i2d_X509(s->certificate, &der);
	const unsigned char *at = der;

	assert_true(one && len > 0);
	assert_non_null(d2i_X509(&one, &at, len));
	assert_ptr_equal(at, der + len);
	OPENSSL_free(der);
	return one;
}

static void expect_verified(const X509 *one, const X509 *issuer)
{
	assert_int_equal(X509_verify((X509 *)(uintptr_t)one, X509_get0_pubkey(issuer)), 1);
}

/* Certificates of either context are verified with keys of either. */
static void test_enabled_keys(void **state)
{
	static const char *const groups[] = {"P-256", "P-384", "P-521", "RSA:2048", "ED25519"};

	assert_non_null(algorithms_context());
	for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
		struct subject issuer =
			subject_new(&(struct wanted){.common_name = "issuer", .group = groups[i]}, 1);
		struct subject s = subject_new(
			&(struct wanted){.common_name = "s", .group = groups[i], .issuer = &issuer}, 0);
		X509 *one = read_in(algorithms_context(), &s);
		X509 *above = read_in(algorithms_context(), &issuer);

		assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(one), s.key), 1);
		assert_int_equal(EVP_PKEY_get_base_id(X509_get0_pubkey(one)), EVP_PKEY_get_base_id(s.key));
		expect_verified(one, above);
		expect_verified(one, issuer.certificate);
		expect_verified(s.certificate, above);
		assert_int_equal(X509_verify(above, X509_get0_pubkey(one)), 0);
		X509_free(one);
		X509_free(above);
		subject_free(&s);
		subject_free(&issuer);
	}
}

static void test_no_others(void **state)
{
	static const char *const names[] = {"DSA", "DH", "X25519", "SM2", "HMAC"};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		EVP_KEYMGMT *ours = EVP_KEYMGMT_fetch(algorithms_context(), names[i], NULL);
		EVP_KEYMGMT *all = EVP_KEYMGMT_fetch(NULL, names[i], NULL);

		assert_null(ours);
		assert_non_null(all);
		EVP_KEYMGMT_free(all);
	}
	assert_int_equal(OSSL_PROVIDER_available(algorithms_context(), "sluice"), 1);
	assert_int_equal(OSSL_PROVIDER_available(algorithms_context(), "default"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enabled_keys),
		cmocka_unit_test(test_no_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
