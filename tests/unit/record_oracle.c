#include "tests/unit/record_oracle.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { MAC_LEN = 32, ROOM = 20000 };

static void must(int ok)
{
	if (!ok)
		abort();
}

/* Appends the big-endian number of so many bytes. */
static uint8_t *append(uint8_t *at, uint64_t number, unsigned bytes)
{
	for (unsigned i = bytes; i > 0; i--)
		*at++ = (uint8_t)(number >> (i - 1) * 8);
	return at;
}

/* RFC 5246 6.2.3.3 and RFC 6347 4.1.2.1; RFC 9146 5.1 to 5.3. */
static unsigned additional_data(const struct oracle_record *r, unsigned length, uint8_t *out)
{
	uint8_t *at = out;

	if (r->cid_len > 0) {
		at = append(at, UINT64_MAX, 8);
		at = append(at, 25, 1);
		at = append(at, r->cid_len, 1);
		at = append(at, 25, 1);
		at = append(at, 0xfefd, 2);
		at = append(at, r->epoch_seq >> 48, 2);
		at = append(at, r->epoch_seq, 6);
		for (unsigned i = 0; i < r->cid_len; i++)
			at = append(at, r->cid[i], 1);
	} else {
		at = append(at, r->epoch_seq >> 48, 2);
		at = append(at, r->epoch_seq, 6);
		at = append(at, r->type, 1);
		at = append(at, 0xfefd, 2);
	}
	at = append(at, length, 2);
	return (unsigned)(at - out);
}

static unsigned seal_aead(const struct oracle_record *r, const uint8_t *inner, unsigned len, uint8_t *out)
{
	bool gcm = r->protection == PROTECTION_AES_128_GCM;
	bool long_key = r->protection == PROTECTION_AES_256_CCM_8;
	bool short_tag = r->protection == PROTECTION_AES_128_CCM_8 || long_key;
	int tag_len = short_tag ? 8 : 16;
	const EVP_CIPHER *cipher = gcm ? EVP_aes_128_gcm() : long_key ? EVP_aes_256_ccm() : EVP_aes_128_ccm();
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t nonce[12];
	uint8_t aad[64];
	unsigned aad_len = additional_data(r, len, aad);
	uint8_t *tag = out + 8 + len;
	int n;

	memcpy(nonce, r->key->salt, 4);
	memcpy(nonce + 4, r->explicit_part, 8);
	memcpy(out, r->explicit_part, 8);
	must(EVP_EncryptInit_ex(c, cipher, NULL, NULL, NULL));
	must(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_IVLEN, 12, NULL));
	must(gcm || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, tag_len, NULL));
	must(EVP_EncryptInit_ex(c, NULL, NULL, r->key->key, nonce));
	must(gcm || EVP_EncryptUpdate(c, NULL, &n, NULL, (int)len));
	must(EVP_EncryptUpdate(c, NULL, &n, aad, (int)aad_len));
	must((gcm && len == 0) || EVP_EncryptUpdate(c, out + 8, &n, inner, (int)len));
	must(EVP_EncryptFinal_ex(c, tag, &n) && n == 0);
	must(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, tag_len, tag));
	EVP_CIPHER_CTX_free(c);
	return 8 + len + (unsigned)tag_len;
}

/* HMAC-SHA256 over additional data and data. */
static void mac(const struct oracle_record *r, unsigned length, const uint8_t *data, unsigned len,
		uint8_t *out)
{
	static uint8_t message[ROOM];
	unsigned aad_len = additional_data(r, length, message);

	memcpy(message + aad_len, data, len);
	must(HMAC(EVP_sha256(), r->key->mac_key, 32, message, aad_len + len, out, NULL) != NULL);
}

/* Appends the padding to len bytes in text. */
static unsigned pad(const struct oracle_record *r, uint8_t *text, unsigned len)
{
	unsigned padding = 15 - len % 16 + r->extra_padding;

	must(padding < 256);
	for (unsigned i = 0; i <= padding; i++)
		text[len + i] = (uint8_t)padding;
	len += padding + 1;
	if (r->spoil_padding >= 0) {
		uint8_t *spoilt = &text[len - 1 - (unsigned)r->spoil_padding];

		*spoilt ^= *spoilt == 0x40 ? 0x80 : 0x40; /* a length of zero would be right again */
	}
	return len;
}

static void encrypt_cbc(const struct oracle_record *r, const uint8_t *text, unsigned len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n;

	must(EVP_EncryptInit_ex(c, EVP_aes_128_cbc(), NULL, r->key->key, r->explicit_part));
	must(EVP_CIPHER_CTX_set_padding(c, 0));
	must(EVP_EncryptUpdate(c, out, &n, text, (int)len) && n == (int)len);
	EVP_CIPHER_CTX_free(c);
}

unsigned oracle_seal(const struct oracle_record *r, uint8_t *out)
{
	static uint8_t inner[ROOM];
	unsigned len = r->payload_len;

	memcpy(inner, r->payload, len);
	if (r->cid_len > 0) {
		inner[len++] = r->type;
		memset(inner + len, 0, r->inner_zeros);
		len += r->inner_zeros;
	}
	switch (r->protection) {
	case PROTECTION_AES_128_CBC_MTE: /* RFC 5246 6.2.3.2 */
		mac(r, len, inner, len, inner + len);
		len = pad(r, inner, len + MAC_LEN);
		memcpy(out, r->explicit_part, 16);
		encrypt_cbc(r, inner, len, out + 16);
		return 16 + len;
	case PROTECTION_AES_128_CBC_ETM: /* RFC 7366 3 */
		len = pad(r, inner, len);
		memcpy(out, r->explicit_part, 16);
		encrypt_cbc(r, inner, len, out + 16);
		mac(r, 16 + len, out, 16 + len, out + 16 + len);
		return 16 + len + MAC_LEN;
	default:
		return seal_aead(r, inner, len, out);
	}
}
