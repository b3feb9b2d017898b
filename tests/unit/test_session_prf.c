/* The session table's AES against FIPS 197, and its two forms against each other. */
#include "dataplane/session_prf.c" /* for the two forms */

#include "tests/unit/session_helpers.h"

static void fips_197_examples(void **state)
{
	static const uint8_t key_b[16] = {0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
					  0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c};
	static const uint8_t in_b[16] = {0x32, 0x43, 0xf6, 0xa8, 0x88, 0x5a, 0x30, 0x8d,
					 0x31, 0x31, 0x98, 0xa2, 0xe0, 0x37, 0x07, 0x34};
	static const uint8_t out_b[16] = {0x39, 0x25, 0x84, 0x1d, 0x02, 0xdc, 0x09, 0xfb,
					  0xdc, 0x11, 0x85, 0x97, 0x19, 0x6a, 0x0b, 0x32};
	static const uint8_t out_c1[16] = {0x69, 0xc4, 0xe0, 0xd8, 0x6a, 0x7b, 0x04, 0x30,
					   0xd8, 0xcd, 0xb7, 0x80, 0x70, 0xb4, 0xc5, 0x5a};
	struct session_prf prf;
	uint8_t block[16];
	uint8_t key_c1[16];

	session_prf_init(&prf, key_b);
	memcpy(block, in_b, 16);
	encrypt_plain(&prf, block);
	assert_memory_equal(block, out_b, 16);
	for (unsigned i = 0; i < 16; i++) {
		key_c1[i] = (uint8_t)i;
		block[i] = (uint8_t)(i * 0x11);
	}
	session_prf_init(&prf, key_c1);
	encrypt_plain(&prf, block);
	assert_memory_equal(block, out_c1, 16);
}

/* Every length of a burst, and nothing is written behind it. */
static void forms_agree(void **state)
{
	uint64_t random = 42;

	for (unsigned round = 0; round < 20; round++) {
		uint64_t in[65], plain[65], fast[65];
		struct session_prf prf;
		uint64_t key[2] = {test_random(&random), test_random(&random)};

		session_prf_init(&prf, (const uint8_t *)key);
		for (unsigned n = 0; n <= 64; n++) {
			for (unsigned i = 0; i < 65; i++) {
				in[i] = test_random(&random) >> (i % 64);
				plain[i] = fast[i] = i;
			}
			burst_plain(&prf, in, plain, n);
			session_prf_burst(&prf, in, fast, n);
			assert_memory_equal(plain, fast, sizeof(plain));
			assert_int_equal(fast[n], n);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fips_197_examples),
		cmocka_unit_test(forms_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
