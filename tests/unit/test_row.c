/* controlplane/row.c, wrap.c and ni.c: a row comes back as it went in, and one that was changed in any byte
 * is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/ni.h"
#include "controlplane/row.c"

static char directory[] = "/tmp/sluice-test-row-XXXXXX";
static char key_file[80];
static char error[512];

static int make_key(void **state)
{
	if (mkdtemp(directory) == NULL)
		return -1;
	snprintf(key_file, sizeof(key_file), "%s/key", directory);
	return wrap_create_key(key_file);
}

static int remove_key(void **state)
{
	unlink(key_file);
	return rmdir(directory);
}

static void fill_psk(struct credential *c)
{
	memset(c, 0, sizeof(*c));
	c->id.kind = SLUICE_CREDENTIAL_PSK;
	strcpy(c->id.tenant, "acme");
	c->id.name_len = 5;
	memcpy(c->id.name, "a\0b\xff-", 5); /* any bytes */
	c->psk.key_len = 16;
	memset(c->psk.key, 0x5a, 16);
	c->psk.registree.kind = SLUICE_IDENTITY_AE_ID;
	c->psk.registree.identities_count = 2;
	strcpy(c->psk.registree.identities[0], "C-device");
	strcpy(c->psk.registree.identities[1], "S\xc3\xbc\xc3\x9f"); /* UTF-8 */
	c->psk.registree.version = 0x0123456789abcdef;
}

static void expect_equal(const struct credential *a, const struct psk_credential *b)
{
	assert_int_equal(a->psk.key_len, b->key_len);
	assert_memory_equal(a->psk.key, b->key, b->key_len);
	assert_int_equal(a->psk.registree.kind, b->registree.kind);
	assert_int_equal(a->psk.registree.identities_count, b->registree.identities_count);
	for (unsigned i = 0; i < b->registree.identities_count; i++)
		assert_string_equal(a->psk.registree.identities[i], b->registree.identities[i]);
	assert_string_equal(a->id.tenant, b->registree.tenant);
	assert_true(a->psk.registree.version == b->registree.version);
}

static void crc_is_castagnoli(void **state)
{
	assert_int_equal(crc32c(0, (const uint8_t *)"123456789", 9), 0xe3069283); /* the usual check value */
	assert_int_equal(crc32c(0, (const uint8_t *)"", 0), 0);
}

static void rows_come_back(void **state)
{
	struct wrap *wrap = wrap_new(key_file, error, sizeof(error));
	uint8_t key[ROW_KEY_MAX], row[ROW_MAX];
	struct psk_credential out;
	struct credential_id id;
	struct credential c;
	size_t key_len;

	assert_non_null(wrap);
	fill_psk(&c);
	assert_null(credential_fault(&c));
	key_len = row_key_encode(&c.id, key);
	assert_int_equal(row_key_decode(key, key_len, &id), 0);
	assert_memory_equal(&id, &c.id, sizeof(id));
	for (int sealed = 0; sealed < 2; sealed++) {
		int len = row_encode(&c, sealed ? wrap : NULL, row);

		assert_true(len > 0);
		assert_int_equal(memmem(row, (size_t)len, c.psk.key, 16) == NULL, sealed);
		assert_int_equal(row_decode(key, key_len, row, (size_t)len, sealed ? wrap : NULL, &out), 0);
		expect_equal(&c, &out);
		assert_int_equal(row_decode(key, key_len, row, (size_t)len, sealed ? NULL : wrap, &out),
				 sealed ? -ENOKEY : -EKEYREJECTED);
		assert_int_equal(out.key_len, 0);
	}
	wrap_free(wrap);
}

static void longest_rows_fit(void **state)
{
	struct wrap *wrap = wrap_new(key_file, error, sizeof(error));
	uint8_t key[ROW_KEY_MAX], row[ROW_MAX];
	struct psk_credential out;
	struct credential c = {.id.kind = SLUICE_CREDENTIAL_X509};

	assert_non_null(wrap);
	memset(c.id.tenant, 't', TENANT_MAX);
	memset(c.id.name, 'n', CREDENTIAL_NAME_MAX);
	c.id.name_len = CREDENTIAL_NAME_MAX;
	c.id.digest_len = 32;
	c.psk.registree.kind = SLUICE_IDENTITY_AE_ID;
	c.psk.registree.identities_count = IDENTITIES_MAX;
	for (unsigned i = 0; i < IDENTITIES_MAX; i++)
		memset(c.psk.registree.identities[i], 'i', IDENTITY_MAX);
	assert_null(credential_fault(&c));
	assert_int_equal(row_key_encode(&c.id, key), ROW_KEY_MAX);
	assert_true(ROW_KEY_MAX <= 511); /* the most that LMDB takes */
	assert_int_equal(row_encode(&c, wrap, row), ROW_MAX - PSK_KEY_MAX);
	assert_int_equal(row_decode(key, ROW_KEY_MAX, row, ROW_MAX - PSK_KEY_MAX, wrap, &out), 0);
	expect_equal(&c, &out);
	wrap_free(wrap);
}

/* Every byte, two ways; every shorter and one longer length; and another row's key. */
static void changed_rows_are_refused(void **state)
{
	struct wrap *wrap = wrap_new(key_file, error, sizeof(error));
	uint8_t key[ROW_KEY_MAX], row[ROW_MAX], bad[ROW_MAX];
	struct psk_credential out;
	struct credential c;
	size_t key_len;

	assert_non_null(wrap);
	fill_psk(&c);
	key_len = row_key_encode(&c.id, key);
	for (int sealed = 0; sealed < 2; sealed++) {
		struct wrap *w = sealed ? wrap : NULL;
		int len = row_encode(&c, w, row);

		assert_true(len > 0);
		for (int i = 0; i < len; i++) {
			memcpy(bad, row, (size_t)len);
			bad[i] ^= 1;
			assert_true(row_decode(key, key_len, bad, (size_t)len, w, &out) < 0);
			bad[i] = (uint8_t)~row[i];
			assert_true(row_decode(key, key_len, bad, (size_t)len, w, &out) < 0);
			assert_true(row_decode(key, key_len, row, (size_t)i, w, &out) < 0);
		}
		memcpy(bad, row, (size_t)len);
		bad[len] = 0;
		assert_true(row_decode(key, key_len, bad, (size_t)len + 1, w, &out) < 0);
		key[2] ^= 1; /* the same row under another tenant */
		assert_true(row_decode(key, key_len, row, (size_t)len, w, &out) < 0);
		key[2] ^= 1;
	}
	wrap_free(wrap);
}

/* Somebody who can write the store, and knows CRCs, but not the key, must not move an identity. */
static void sealed_rows_are_authentic(void **state)
{
	struct wrap *wrap = wrap_new(key_file, error, sizeof(error));
	uint8_t key[ROW_KEY_MAX], row[ROW_MAX];
	struct psk_credential out;
	struct credential c;
	size_t key_len;
	int len;

	assert_non_null(wrap);
	fill_psk(&c);
	key_len = row_key_encode(&c.id, key);
	len = row_encode(&c, wrap, row);
	assert_true(len > 0);
	row[ROW_HEADER + 1] = 'X'; /* C-device -> X-device */
	put_le(row + AT_CRC, row_crc(key, key_len, row, (size_t)len), 4);
	assert_int_equal(row_decode(key, key_len, row, (size_t)len, wrap, &out), -EBADMSG);
	wrap_free(wrap);
}

/* A text that ends early would be another identity than the one that was checked. */
static void identities_end_where_they_say(void **state)
{
	uint8_t key[ROW_KEY_MAX], row[ROW_MAX];
	struct psk_credential out;
	struct credential c;
	size_t key_len;
	int len;

	fill_psk(&c);
	key_len = row_key_encode(&c.id, key);
	len = row_encode(&c, NULL, row);
	assert_true(len > 0);
	row[ROW_HEADER + 3] = 0;
	put_le(row + AT_CRC, row_crc(key, key_len, row, (size_t)len), 4);
	assert_int_equal(row_decode(key, key_len, row, (size_t)len, NULL, &out), -EBADMSG);
}

static void faults_are_found(void **state)
{
	struct credential c;

#define EXPECT_FAULT(change)                                                                                 \
	do {                                                                                                 \
		fill_psk(&c);                                                                                \
		change;                                                                                      \
		assert_non_null(credential_fault(&c));                                                       \
	} while (0)
	EXPECT_FAULT(c.id.kind = SLUICE_CREDENTIAL_NONE);
	EXPECT_FAULT(c.id.name_len = 0);
	EXPECT_FAULT(c.id.name_len = 129);
	EXPECT_FAULT(c.id.digest_len = 32);
	EXPECT_FAULT(c.psk.key_len = 0);
	EXPECT_FAULT(c.psk.key_len = 65);
	EXPECT_FAULT(c.id.tenant[0] = '\n');
	EXPECT_FAULT(c.psk.registree.kind = SLUICE_IDENTITY_NONE);
	EXPECT_FAULT(c.psk.registree.kind = SLUICE_IDENTITY_CSE_ID); /* two of them */
	EXPECT_FAULT(c.psk.registree.identities_count = 0);
	EXPECT_FAULT(c.psk.registree.identities_count = 17);
	EXPECT_FAULT(c.psk.registree.identities[1][0] = 0);
	EXPECT_FAULT(strcpy(c.psk.registree.identities[1], "\xc0\xaf"));     /* overlong */
	EXPECT_FAULT(strcpy(c.psk.registree.identities[1], "\xed\xa0\x80")); /* surrogate */
	EXPECT_FAULT(c.id.kind = SLUICE_CREDENTIAL_RPK);
	EXPECT_FAULT(c.id.kind = SLUICE_CREDENTIAL_X509);
#undef EXPECT_FAULT
}

static void key_files_are_checked(void **state)
{
	char path[100];
	FILE *f;

	assert_int_equal(wrap_create_key(key_file), -EEXIST);
	snprintf(path, sizeof(path), "%s/gone", directory);
	assert_null(wrap_new(path, error, sizeof(error)));
	assert_null(wrap_new(directory, error, sizeof(error)));
	snprintf(path, sizeof(path), "%s/bad", directory);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("00112233\n", f);
	fclose(f);
	assert_int_equal(chmod(path, 0600), 0);
	assert_null(wrap_new(path, error, sizeof(error)));
	assert_non_null(strstr(error, "64 hexadecimal digits"));
	assert_int_equal(chmod(path, 0644), 0);
	assert_null(wrap_new(path, error, sizeof(error)));
	assert_non_null(strstr(error, "others must have no access"));
	unlink(path);
}

/* RFC 6920 8.2 names a public key; its digest in hex is in the same section. */
static void names_of_public_keys(void **state)
{
	static const char whole[] = "ni:///sha-256;UyaQV-Ev4rdLoHyJJWCi11OHfrYv9E1aGQAlMO2X_-Q";
	uint8_t digest[NI_DIGEST_MAX], again[NI_DIGEST_MAX];
	char text[NI_TEXT_MAX];

	assert_int_equal(ni_parse(whole, digest), 32);
	assert_int_equal(digest[0], 0x53);
	assert_int_equal(digest[31], 0xe4);
	assert_string_equal(ni_text(digest, 32, text), whole);
	assert_int_equal(ni_parse(ni_text(digest, 16, text), again), 16);
	assert_memory_equal(digest, again, 16);
	assert_int_equal(ni_parse(ni_text(digest, 15, text), again), 15);
	assert_string_equal(text, "ni:///sha-256-120;UyaQV-Ev4rdLoHyJJWCi");
	assert_string_equal(ni_text(digest, 20, text), "");
	assert_int_equal(ni_parse("ni:///sha-256;UyaQV-Ev4rdLoHyJJWCi11OHfrYv9E1aGQAlMO2X_-", again),
			 -EINVAL);
	assert_int_equal(ni_parse("ni:///sha-256;UyaQV-Ev4rdLoHyJJWCi11OHfrYv9E1aGQAlMO2X_-R", again),
			 -EINVAL);
	assert_int_equal(ni_parse("ni:///sha-256;UyaQV+Ev4rdLoHyJJWCi11OHfrYv9E1aGQAlMO2X_-Q", again),
			 -EINVAL);
	assert_int_equal(ni_parse("ni:///sha-1;UyaQV", again), -EINVAL);
	assert_int_equal(ni_parse("", again), -EINVAL);
}

static void names_of_keys_have_bounds(void **state)
{
	uint8_t identity[PSK_IDENTITY_MAX + 1] = "a";
	char tenant[TENANT_MAX + 2];
	struct credential_id id;

	memset(tenant, 't', sizeof tenant);
	tenant[TENANT_MAX] = 0;
	assert_true(credential_id_psk(&id, tenant, identity, PSK_IDENTITY_MAX));
	assert_int_equal(id.kind, SLUICE_CREDENTIAL_PSK);
	assert_int_equal(id.name_len, PSK_IDENTITY_MAX);
	assert_memory_equal(id.name, identity, PSK_IDENTITY_MAX);
	assert_string_equal(id.tenant, tenant);
	assert_false(credential_id_psk(&id, tenant, identity, PSK_IDENTITY_MAX + 1));
	assert_false(credential_id_psk(&id, tenant, identity, 0));
	tenant[TENANT_MAX] = 't';
	tenant[TENANT_MAX + 1] = 0;
	assert_false(credential_id_psk(&id, tenant, identity, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc_is_castagnoli),         cmocka_unit_test(rows_come_back),
		cmocka_unit_test(longest_rows_fit),          cmocka_unit_test(changed_rows_are_refused),
		cmocka_unit_test(sealed_rows_are_authentic), cmocka_unit_test(identities_end_where_they_say),
		cmocka_unit_test(faults_are_found),          cmocka_unit_test(key_files_are_checked),
		cmocka_unit_test(names_of_public_keys),      cmocka_unit_test(names_of_keys_have_bounds),
	};

	return cmocka_run_group_tests(tests, make_key, remove_key);
}
