/* The table of suites agrees with wolfSSL's, by name and by number, and holds what is always offered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "crypto/suite.h"

static void wolfssl_knows_them(void **state)
{
	unsigned count;
	const struct suite *suites = suite_all(&count);

	for (unsigned i = 0; i < count; i++) {
		byte first = 0;
		byte second = 0;
		int flags = 0;
		const char *iana = wolfSSL_get_cipher_name_iana_from_suite((byte)(suites[i].id >> 8),
									   (byte)suites[i].id);

		assert_int_equal(
			wolfSSL_get_cipher_suite_from_name(suites[i].wolfssl_name, &first, &second, &flags),
			0);
		assert_int_equal(first << 8 | second, suites[i].id);
		assert_non_null(iana);
		assert_string_equal(iana, suites[i].name);
	}
}

static void finds_by_id_and_name(void **state)
{
	unsigned count;
	const struct suite *suites = suite_all(&count);

	for (unsigned i = 0; i < count; i++) {
		assert_ptr_equal(suite_by_id(suites[i].id), &suites[i]);
		assert_ptr_equal(suite_by_name(suites[i].name), &suites[i]);
		assert_true(suites[i].protection > PROTECTION_NONE && suites[i].protection < PROTECTIONS);
		if (suites[i].protection == PROTECTION_AES_128_CBC_MTE)
			assert_int_equal(suites[i].protection_etm, PROTECTION_AES_128_CBC_ETM);
		else
			assert_int_equal(suites[i].protection_etm, suites[i].protection);
	}
	assert_null(suite_by_id(0));
	assert_null(suite_by_id(0x002f)); /* TLS_RSA_WITH_AES_128_CBC_SHA */
	assert_null(suite_by_name("TLS_PSK_WITH_AES_128_CCM_"));
	assert_null(suite_by_name(""));
}

/* oneM2M TS-0003 and LwM2M 1.0 ask for the four; GCM is ours. */
static void offers_by_default(void **state)
{
	static const uint16_t wanted[] = {0xc0a8, 0xc0ae, 0x00ae, 0xc023, 0x00a8, 0xc02b};
	unsigned count;
	unsigned by_default = 0;
	const struct suite *suites = suite_all(&count);

	for (unsigned i = 0; i < count; i++)
		by_default += suites[i].by_default;
	assert_int_equal(by_default, sizeof wanted / sizeof wanted[0]);
	for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
		assert_true(suite_by_id(wanted[i])->by_default);
}

static void protections_have_sizes(void **state)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		const struct protection *protection = protection_get(p);

		assert_non_null(protection->name);
		assert_true(protection->key_len == 16 || protection->key_len == 32);
		assert_int_equal(protection->explicit_len, protection->aead ? 8 : 16);
		assert_int_equal(protection->salt_len, protection->aead ? 4 : 0);
		assert_int_equal(protection->mac_key_len, protection->aead ? 0 : 32);
		assert_true(protection->tag_len >= 8);
	}
	assert_non_null(protection_get(PROTECTION_NONE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wolfssl_knows_them),
		cmocka_unit_test(finds_by_id_and_name),
		cmocka_unit_test(offers_by_default),
		cmocka_unit_test(protections_have_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
