/* The reference engine: every protection by the letter of the RFCs, one record at a time, on wolfCrypt. It is
 * there to be read and compared with, and to run where no other engine can. Slow, but as blind to the padding
 * of CBC as the fast ones (Lucky 13).
 */
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include "crypto/aad.h"
#include "crypto/aead.h"
#include "crypto/always.h"
#include "crypto/engines.h"
#include "crypto/secret.h"

enum { BLOCK = 16, SHA_BLOCK = 64, MAC_LEN = 32, PADDING_MAX = 256 };

struct reference {
	Aes aes;
	wc_Sha256 sha;
	uint8_t aad[AAD_ROOM];
};

static bool reference_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	(void)cpu;
	return protection != PROTECTION_NONE && protection < PROTECTIONS;
}

static void *reference_new(void)
{
	size_t size = (sizeof(struct reference) + 63) / 64 * 64;
	struct reference *r = aligned_alloc(64, size);

	if (!r)
		return NULL;
	memset(r, 0, size);
	if (wc_AesInit(&r->aes, NULL, INVALID_DEVID) || wc_InitSha256(&r->sha)) {
		free(r);
		return NULL;
	}
	return r;
}

static void reference_free(void *worker)
{
	struct reference *r = worker;

	if (!r)
		return;
	wc_AesFree(&r->aes);
	wc_Sha256Free(&r->sha);
	secret_wipe(r, sizeof *r);
	free(r);
}

/* ---- AEAD: RFC 6655, RFC 5288 ---- */

static void aead_set_key(struct reference *r, const struct record_op *op, const uint8_t **salt)
{
	const struct protection *p = protection_get(op->protection);
	const uint8_t *key = op->key; /* aead_key and aead256_key: the key, then the salt */
	int error;

	if (op->protection == PROTECTION_AES_128_GCM)
		error = wc_AesGcmSetKey(&r->aes, key, p->key_len);
	else
		error = wc_AesCcmSetKey(&r->aes, key, p->key_len);
	always_assert(error == 0);
	*salt = key + p->key_len;
}

static void aead_open(struct reference *r, struct record_op *op)
{
	const struct protection *p = protection_get(op->protection);
	unsigned len = op->fragment_len - p->explicit_len - p->tag_len;
	uint8_t *text = op->fragment + p->explicit_len;
	unsigned aad_len = aad_write(r->aad, op, len);
	uint8_t nonce[NONCE_LEN];
	const uint8_t *salt;
	int error;

	aead_set_key(r, op, &salt);
	nonce_write(nonce, salt, op->fragment);
	if (op->protection == PROTECTION_AES_128_GCM)
		error = wc_AesGcmDecrypt(&r->aes, text, text, len, nonce, sizeof nonce, text + len,
					 p->tag_len, r->aad, aad_len);
	else
		error = wc_AesCcmDecrypt(&r->aes, text, text, len, nonce, sizeof nonce, text + len,
					 p->tag_len, r->aad, aad_len);
	op->ok = error == 0;
	op->payload_offset = p->explicit_len;
	op->payload_len = (uint16_t)len;
}

static void aead_seal(struct reference *r, struct record_op *op)
{
	const struct protection *p = protection_get(op->protection);
	unsigned len = op->payload_len;
	uint8_t *text = op->fragment + p->explicit_len;
	unsigned aad_len = aad_write(r->aad, op, len);
	uint8_t nonce[NONCE_LEN];
	const uint8_t *salt;
	int error;

	aead_set_key(r, op, &salt);
	nonce_write(nonce, salt, op->fragment);
	if (op->protection == PROTECTION_AES_128_GCM)
		error = wc_AesGcmEncrypt(&r->aes, text, text, len, nonce, sizeof nonce, text + len,
					 p->tag_len, r->aad, aad_len);
	else
		error = wc_AesCcmEncrypt(&r->aes, text, text, len, nonce, sizeof nonce, text + len,
					 p->tag_len, r->aad, aad_len);
	always_assert(error == 0);
	op->ok = true;
	op->fragment_len = (uint16_t)(p->explicit_len + len + p->tag_len);
}

/* ---- HMAC-SHA256 from midstates ---- */

static void sha_resume(wc_Sha256 *sha, const uint32_t state[8])
{
	always_assert(wc_InitSha256(sha) == 0);
	memcpy(sha->digest, state, sizeof sha->digest);
	sha->loLen = SHA_BLOCK;
}

static void sha_update(wc_Sha256 *sha, const uint8_t *data, unsigned len)
{
	always_assert(wc_Sha256Update(sha, data, len) == 0);
}

static void hmac_finish(struct reference *r, const struct cbc_key *key, const uint8_t inner[MAC_LEN],
			uint8_t mac[MAC_LEN])
{
	sha_resume(&r->sha, key->outer);
	sha_update(&r->sha, inner, MAC_LEN);
	always_assert(wc_Sha256Final(&r->sha, mac) == 0);
}

static void hmac(struct reference *r, const struct cbc_key *key, unsigned aad_len, const uint8_t *data,
		 unsigned len, uint8_t mac[MAC_LEN])
{
	uint8_t inner[MAC_LEN];

	sha_resume(&r->sha, key->inner);
	sha_update(&r->sha, r->aad, aad_len);
	sha_update(&r->sha, data, len);
	always_assert(wc_Sha256Final(&r->sha, inner) == 0);
	hmac_finish(r, key, inner, mac);
}

/* ---- CBC ---- */

static void cbc_crypt(struct reference *r, struct record_op *op, unsigned len, int direction)
{
	const struct cbc_key *key = op->key;
	uint8_t *text = op->fragment + BLOCK;
	int error = wc_AesSetKey(&r->aes, key->key, sizeof key->key, op->fragment, direction);

	if (error == 0 && direction == AES_ENCRYPTION)
		error = wc_AesCbcEncrypt(&r->aes, text, text, len);
	else if (error == 0)
		error = wc_AesCbcDecrypt(&r->aes, text, text, len);
	always_assert(error == 0);
}

/* RFC 5246 6.2.3.2: padding_length, and as many bytes of that value before it. */
static unsigned cbc_pad(uint8_t *text, unsigned len)
{
	unsigned padding_length = BLOCK - 1 - len % BLOCK;

	memset(text + len, (int)padding_length, padding_length + 1);
	return len + padding_length + 1;
}

static void etm_seal(struct reference *r, struct record_op *op)
{
	unsigned len = cbc_pad(op->fragment + BLOCK, op->payload_len);
	unsigned aad_len;

	cbc_crypt(r, op, len, AES_ENCRYPTION);
	aad_len = aad_write(r->aad, op, BLOCK + len);
	hmac(r, op->key, aad_len, op->fragment, BLOCK + len, op->fragment + BLOCK + len);
	op->fragment_len = (uint16_t)(BLOCK + len + MAC_LEN);
	op->ok = true;
}

/* RFC 7366: the MAC decides before anything is decrypted, so the padding may be looked at in the open. */
static void etm_open(struct reference *r, struct record_op *op)
{
	unsigned len = op->fragment_len - BLOCK - MAC_LEN;
	unsigned aad_len = aad_write(r->aad, op, BLOCK + len);
	uint8_t *text = op->fragment + BLOCK;
	uint8_t mac[MAC_LEN];

	hmac(r, op->key, aad_len, op->fragment, BLOCK + len, mac);
	op->ok = secret_equal(mac, text + len, MAC_LEN);
	secret_publish(&op->ok, sizeof op->ok);
	if (!op->ok)
		return;
	cbc_crypt(r, op, len, AES_DECRYPTION);
	secret_publish(text, len);

	unsigned padding_length = text[len - 1];
	uint8_t difference = 0;

	op->ok = padding_length < len;
	for (unsigned i = 0; op->ok && i < padding_length; i++)
		difference |= text[len - 2 - i] ^ (uint8_t)padding_length;
	op->ok = op->ok && difference == 0;
	op->payload_offset = BLOCK;
	op->payload_len = (uint16_t)(op->ok ? len - 1 - padding_length : 0);
}

static void mte_seal(struct reference *r, struct record_op *op)
{
	uint8_t *text = op->fragment + BLOCK;
	unsigned aad_len = aad_write(r->aad, op, op->payload_len);
	unsigned len;

	hmac(r, op->key, aad_len, text, op->payload_len, text + op->payload_len);
	len = cbc_pad(text, op->payload_len + MAC_LEN);
	cbc_crypt(r, op, len, AES_ENCRYPTION);
	op->fragment_len = (uint16_t)(BLOCK + len);
	op->ok = true;
}

/* ---- MAC-then-encrypt without an oracle. From here to the end of mte_open() no branch and no address
 * depends on the plaintext: masks are all ones for true. Values are far below 2^31.
 */

static uint32_t mask_less(uint32_t a, uint32_t b)
{
	uint32_t mask;

	/* The compiler must not know the numbers, or it reckons with them elsewhere, nor that the mask has
	 * but two values, or it branches.
	 */
	__asm__ __volatile__("" : "+r"(a), "+r"(b));
	mask = 0 - ((a - b) >> 31);
	__asm__ __volatile__("" : "+r"(mask));
	return mask;
}

static uint32_t mask_equal(uint32_t a, uint32_t b)
{
	return mask_less(a, b + 1) & mask_less(b, a + 1);
}

/* Length of the padding, its length byte included, and in *good whether it is what RFC 5246 demands. Looks at
 * the last 256 bytes whatever they hold. A bad one counts as one byte.
 */
static uint32_t padding_check(const uint8_t *text, uint32_t len, uint32_t *good)
{
	uint32_t padding_length = text[len - 1];
	uint32_t range = len < PADDING_MAX ? len : PADDING_MAX;
	uint32_t difference = 0;

	for (uint32_t i = 0; i < range; i++)
		difference |= mask_less(i, padding_length + 1) & (text[len - 1 - i] ^ padding_length);
	*good = mask_equal(difference, 0) & mask_less(padding_length + MAC_LEN, len);
	return (padding_length & *good) + 1;
}

/* Block `index` of the message `aad | text[0, content_len)` with SHA-256's own padding, of which only the
 * length is a secret.
 */
static void masked_block(uint8_t block[SHA_BLOCK], uint32_t index, const uint8_t *aad, uint32_t aad_len,
			 const uint8_t *text, uint32_t len, uint32_t content_len)
{
	uint32_t end = aad_len + content_len;
	uint32_t is_last = mask_equal(index, (end + 8) / SHA_BLOCK);
	uint64_t bits = (uint64_t)(SHA_BLOCK + end) * 8;

	for (uint32_t i = 0; i < SHA_BLOCK; i++) {
		uint32_t at = index * SHA_BLOCK + i; /* public */
		uint32_t octet = 0;

		if (at < aad_len)
			octet = aad[at];
		else if (at - aad_len < len)
			octet = text[at - aad_len];
		octet &= mask_less(at, end);
		octet |= mask_equal(at, end) & 0x80;
		if (i >= SHA_BLOCK - 8)
			octet |= is_last & (bits >> (SHA_BLOCK - 1 - i) * 8 & 0xff);
		block[i] = (uint8_t)octet;
	}
}

/* The inner hash of HMAC over `aad | text[0, content_len)`: always hashes as many blocks as the longest
 * content for this len has, and keeps the state after the one that was the last.
 */
static void masked_hash(struct reference *r, const struct cbc_key *key, uint32_t aad_len, const uint8_t *text,
			uint32_t len, uint32_t content_len, uint8_t digest[MAC_LEN])
{
	uint32_t blocks = (aad_len + len - MAC_LEN - 1 + 8) / SHA_BLOCK + 1;
	uint32_t last = (aad_len + content_len + 8) / SHA_BLOCK;
	uint32_t state[8] = {0};
	uint8_t block[SHA_BLOCK];

	sha_resume(&r->sha, key->inner);
	for (uint32_t i = 0; i < blocks; i++) {
		uint32_t keep = mask_equal(i, last);

		masked_block(block, i, r->aad, aad_len, text, len, content_len);
		sha_update(&r->sha, block, SHA_BLOCK);
		for (unsigned j = 0; j < 8; j++)
			state[j] |= r->sha.digest[j] & keep;
	}
	for (unsigned j = 0; j < 8; j++) {
		state[j] = __builtin_bswap32(state[j]);
		memcpy(digest + (size_t)4 * j, &state[j], 4);
	}
	secret_wipe(block, sizeof block);
}

/* Copies text[content_len, + MAC_LEN): reads every place where it could stand, lays what belongs to it into a
 * ring, and then turns the ring to its beginning, one bit of the angle after the other.
 */
static void masked_mac(uint8_t mac[MAC_LEN], const uint8_t *text, uint32_t len, uint32_t content_len)
{
	uint32_t first = len > MAC_LEN + PADDING_MAX ? len - MAC_LEN - PADDING_MAX : 0;
	uint32_t angle = (content_len - first) % MAC_LEN;
	uint8_t turned[MAC_LEN];

	memset(mac, 0, MAC_LEN);
	for (uint32_t at = first; at < len; at++) {
		uint32_t inside = mask_less(at, content_len + MAC_LEN) & ~mask_less(at, content_len);

		mac[(at - first) % MAC_LEN] |= text[at] & inside;
	}
	for (uint32_t step = 1; step < MAC_LEN; step *= 2) {
		uint32_t turn = ~mask_equal(angle & step, 0);

		for (uint32_t i = 0; i < MAC_LEN; i++)
			turned[i] = (uint8_t)((mac[(i + step) % MAC_LEN] & turn) | (mac[i] & ~turn));
		memcpy(mac, turned, MAC_LEN);
	}
	secret_wipe(turned, sizeof turned);
}

static void mte_open(struct reference *r, struct record_op *op)
{
	const struct cbc_key *key = op->key;
	uint8_t *text = op->fragment + BLOCK;
	uint32_t len = op->fragment_len - BLOCK;
	uint8_t inner[MAC_LEN];
	uint8_t mac[MAC_LEN];
	uint8_t received[MAC_LEN];
	uint32_t good;
	uint32_t content_len;
	unsigned aad_len;

	cbc_crypt(r, op, len, AES_DECRYPTION);
	content_len = len - MAC_LEN - padding_check(text, len, &good);
	aad_len = aad_write(r->aad, op, content_len);
	masked_hash(r, key, aad_len, text, len, content_len, inner);
	hmac_finish(r, key, inner, mac);
	masked_mac(received, text, len, content_len);
	op->ok = secret_equal(mac, received, MAC_LEN) & (good & 1);
	op->payload_offset = BLOCK;
	op->payload_len = (uint16_t)content_len;
}

static void reference_open(void *worker, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (ops[i]->protection == PROTECTION_AES_128_CBC_MTE)
			mte_open(worker, ops[i]);
		else if (ops[i]->protection == PROTECTION_AES_128_CBC_ETM)
			etm_open(worker, ops[i]);
		else
			aead_open(worker, ops[i]);
	}
}

static void reference_seal(void *worker, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (ops[i]->protection == PROTECTION_AES_128_CBC_MTE)
			mte_seal(worker, ops[i]);
		else if (ops[i]->protection == PROTECTION_AES_128_CBC_ETM)
			etm_seal(worker, ops[i]);
		else
			aead_seal(worker, ops[i]);
	}
}

const struct record_engine engine_reference = {
	.name = "reference",
	.usable = reference_usable,
	.worker_new = reference_new,
	.worker_free = reference_free,
	.open_burst = reference_open,
	.seal_burst = reference_seal,
};
