/* SHA-256 against FIPS 180-4's examples, both forms against each other, HMAC against RFC 4231. */
#include "crypto/sha256.c" /* for the two forms of the block function */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void from_hex(uint8_t *out, const char *hex)
{
	for (; *hex; hex += 2) {
		unsigned byte;

		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		*out++ = (uint8_t)byte;
	}
}

static void assert_digest(const char *text, size_t repeat, const char *hex)
{
	struct sha256 h;
	uint8_t digest[SHA256_LEN];
	uint8_t expected[SHA256_LEN];

	from_hex(expected, hex);
	sha256_start(&h, sha256_initial, 0);
	for (size_t i = 0; i < repeat; i++)
		sha256_update(&h, text, strlen(text));
	sha256_finish(&h, digest);
	assert_memory_equal(digest, expected, sizeof digest);
}

static void fips_examples(void **state)
{
	assert_digest("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	assert_digest("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	assert_digest("a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	(void)state;
}

static void both_forms_agree(void **state)
{
	uint8_t blocks[5 * SHA256_BLOCK_LEN];

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t a[8];
		uint32_t b[8];
		size_t count = (size_t)rand() % 6;

		for (size_t k = 0; k < sizeof blocks; k++)
			blocks[k] = (uint8_t)rand();
		for (unsigned k = 0; k < 8; k++)
			a[k] = b[k] = (uint32_t)rand() << 16 ^ (uint32_t)rand();
		blocks_portable(a, blocks, count);
		sha256_blocks(b, blocks, count);
		assert_memory_equal(a, b, sizeof a);
	}
	(void)state;
}

/* Any split of the same bytes into updates gives the same digest, at every length around the block size. */
static void any_split(void **state)
{
	uint8_t bytes[300];

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)rand();
	for (size_t len = 0; len <= sizeof bytes; len++) {
		uint8_t whole[SHA256_LEN];
		uint8_t split[SHA256_LEN];
		struct sha256 h;

		sha256_start(&h, sha256_initial, 0);
		sha256_update(&h, bytes, len);
		sha256_finish(&h, whole);
		sha256_start(&h, sha256_initial, 0);
		for (size_t at = 0; at < len;) {
			size_t part = 1 + (size_t)rand() % (len - at);

			sha256_update(&h, bytes + at, part);
			at += part;
		}
		sha256_finish(&h, split);
		assert_memory_equal(whole, split, sizeof whole);
	}
	(void)state;
}

static void assert_hmac(const uint8_t *key, size_t key_len, const char *text, const char *hex)
{
	uint32_t inner[8];
	uint32_t outer[8];
	uint8_t mac[SHA256_LEN];
	uint8_t expected[SHA256_LEN];
	struct sha256 h;

	from_hex(expected, hex);
	sha256_hmac_midstates(inner, outer, key, key_len);
	sha256_start(&h, inner, SHA256_BLOCK_LEN);
	sha256_update(&h, text, strlen(text));
	sha256_hmac_finish(&h, outer, mac);
	assert_memory_equal(mac, expected, sizeof mac);
}

static void rfc_4231(void **state)
{
	uint8_t key[25];

	memset(key, 0x0b, 20);
	assert_hmac(key, 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	assert_hmac((const uint8_t *)"Jefe", 4, "what do ya want for nothing?",
		    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fips_examples),
		cmocka_unit_test(both_forms_agree),
		cmocka_unit_test(any_split),
		cmocka_unit_test(rfc_4231),
	};

	srand(20);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
