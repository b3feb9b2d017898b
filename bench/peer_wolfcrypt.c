/* wolfCrypt with a context per session: what the handshake library's own record layer would cost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/hmac.h>

#include "bench/subject.h"
#include "crypto/aad.h"
#include "crypto/secret.h"

enum { BLOCK = 16, MAC_LEN = 32 };

struct contexts {
	Aes open;
	Aes seal;
	Hmac hmac;
};

struct session {
	struct contexts *contexts;
	uint8_t salt[4];
};

static size_t session_size(enum protection_id protection)
{
	(void)protection;
	return 64;
}

static void session_fini(void *session, enum protection_id protection)
{
	struct session *s = session;

	(void)protection;
	if (s->contexts) {
		wc_AesFree(&s->contexts->open);
		wc_AesFree(&s->contexts->seal);
		wc_HmacFree(&s->contexts->hmac);
		secret_wipe(s->contexts, sizeof *s->contexts);
	}
	free(s->contexts);
	memset(s, 0, sizeof *s);
}

static int key_set(struct contexts *c, enum protection_id protection, const struct secrets *secrets)
{
	unsigned key_len = protection_get(protection)->key_len;
	static const uint8_t iv[BLOCK];

	if (protection == PROTECTION_AES_128_GCM)
		return wc_AesGcmSetKey(&c->open, secrets->key, key_len) |
		       wc_AesGcmSetKey(&c->seal, secrets->key, key_len);
	if (protection_get(protection)->aead)
		return wc_AesCcmSetKey(&c->open, secrets->key, key_len) |
		       wc_AesCcmSetKey(&c->seal, secrets->key, key_len);
	return wc_AesSetKey(&c->open, secrets->key, key_len, iv, AES_DECRYPTION) |
	       wc_AesSetKey(&c->seal, secrets->key, key_len, iv, AES_ENCRYPTION) |
	       wc_HmacSetKey(&c->hmac, WC_SHA256, secrets->mac_key, MAC_LEN);
}

static int session_init(void *session, enum protection_id protection, const struct secrets *secrets)
{
	struct session *s = session;
	size_t size = (sizeof *s->contexts + 63) / 64 * 64;

	s->contexts = aligned_alloc(64, size);
	if (!s->contexts)
		return -ENOMEM;
	memset(s->contexts, 0, size);
	memcpy(s->salt, secrets->salt, sizeof s->salt);
	if (wc_AesInit(&s->contexts->open, NULL, INVALID_DEVID) ||
	    wc_AesInit(&s->contexts->seal, NULL, INVALID_DEVID) ||
	    wc_HmacInit(&s->contexts->hmac, NULL, INVALID_DEVID) ||
	    key_set(s->contexts, protection, secrets)) {
		session_fini(s, protection);
		return -ENOMEM;
	}
	return 0;
}

static void aead_open(struct record_op *op)
{
	const struct session *s = op->key;
	const struct protection *p = protection_get(op->protection);
	unsigned len = op->fragment_len - p->explicit_len - p->tag_len;
	uint8_t *text = op->fragment + p->explicit_len;
	uint8_t aad[AAD_ROOM];
	uint8_t nonce[NONCE_LEN];
	unsigned aad_length = aad_write(aad, op, len);

	nonce_write(nonce, s->salt, op->fragment);
	if (op->protection == PROTECTION_AES_128_GCM)
		op->ok = wc_AesGcmDecrypt(&s->contexts->open, text, text, len, nonce, NONCE_LEN, text + len,
					  p->tag_len, aad, aad_length) == 0;
	else
		op->ok = wc_AesCcmDecrypt(&s->contexts->open, text, text, len, nonce, NONCE_LEN, text + len,
					  p->tag_len, aad, aad_length) == 0;
	op->payload_offset = p->explicit_len;
	op->payload_len = (uint16_t)len;
}

static void aead_seal(struct record_op *op)
{
	const struct session *s = op->key;
	const struct protection *p = protection_get(op->protection);
	unsigned len = op->payload_len;
	uint8_t *text = op->fragment + p->explicit_len;
	uint8_t aad[AAD_ROOM];
	uint8_t nonce[NONCE_LEN];
	unsigned aad_length = aad_write(aad, op, len);

	nonce_write(nonce, s->salt, op->fragment);
	if (op->protection == PROTECTION_AES_128_GCM)
		op->ok = wc_AesGcmEncrypt(&s->contexts->seal, text, text, len, nonce, NONCE_LEN, text + len,
					  p->tag_len, aad, aad_length) == 0;
	else
		op->ok = wc_AesCcmEncrypt(&s->contexts->seal, text, text, len, nonce, NONCE_LEN, text + len,
					  p->tag_len, aad, aad_length) == 0;
	op->fragment_len = (uint16_t)(p->explicit_len + len + p->tag_len);
}

static bool mac_make(struct contexts *c, const struct record_op *op, unsigned length, const uint8_t *data,
		     unsigned len, uint8_t mac[MAC_LEN])
{
	uint8_t aad[AAD_ROOM];

	return wc_HmacUpdate(&c->hmac, aad, aad_write(aad, op, length)) == 0 &&
	       wc_HmacUpdate(&c->hmac, data, len) == 0 && wc_HmacFinal(&c->hmac, mac) == 0;
}

static bool unpad(const uint8_t *text, unsigned *len)
{
	unsigned padding_length = text[*len - 1];
	uint8_t difference = 0;

	if (padding_length >= *len)
		return false;
	for (unsigned i = 0; i < padding_length; i++)
		difference |= text[*len - 2 - i] ^ (uint8_t)padding_length;
	*len -= padding_length + 1;
	return difference == 0;
}

static void cbc_open(struct record_op *op)
{
	struct contexts *c = ((const struct session *)op->key)->contexts;
	bool etm = op->protection == PROTECTION_AES_128_CBC_ETM;
	unsigned len = op->fragment_len - BLOCK - (etm ? MAC_LEN : 0);
	uint8_t *text = op->fragment + BLOCK;
	uint8_t mac[MAC_LEN];
	bool good = true;

	if (etm)
		good = mac_make(c, op, BLOCK + len, op->fragment, BLOCK + len, mac) &&
		       secret_equal(mac, text + len, MAC_LEN);
	good = good && wc_AesSetIV(&c->open, op->fragment) == 0 &&
	       wc_AesCbcDecrypt(&c->open, text, text, len) == 0 && unpad(text, &len);
	if (!etm && good) {
		good = len >= MAC_LEN;
		len -= good ? MAC_LEN : 0;
		good = good && mac_make(c, op, len, text, len, mac) && secret_equal(mac, text + len, MAC_LEN);
	}
	op->ok = good;
	op->payload_offset = BLOCK;
	op->payload_len = (uint16_t)len;
}

static void cbc_seal(struct record_op *op)
{
	struct contexts *c = ((const struct session *)op->key)->contexts;
	bool etm = op->protection == PROTECTION_AES_128_CBC_ETM;
	unsigned len = op->payload_len;
	uint8_t *text = op->fragment + BLOCK;

	op->ok = true;
	if (!etm) {
		op->ok = mac_make(c, op, len, text, len, text + len);
		len += MAC_LEN;
	}
	unsigned padding_length = BLOCK - 1 - len % BLOCK;

	memset(text + len, (int)padding_length, padding_length + 1);
	len += padding_length + 1;
	op->ok = op->ok && wc_AesSetIV(&c->seal, op->fragment) == 0 &&
		 wc_AesCbcEncrypt(&c->seal, text, text, len) == 0;
	if (etm) {
		op->ok = op->ok && mac_make(c, op, BLOCK + len, op->fragment, BLOCK + len, text + len);
		len += MAC_LEN;
	}
	op->fragment_len = (uint16_t)(BLOCK + len);
}

static void open_burst(void *worker, struct record_op **ops, unsigned count)
{
	(void)worker;
	for (unsigned i = 0; i < count; i++) {
		if (protection_get(ops[i]->protection)->aead)
			aead_open(ops[i]);
		else
			cbc_open(ops[i]);
	}
}

static void seal_burst(void *worker, struct record_op **ops, unsigned count)
{
	(void)worker;
	for (unsigned i = 0; i < count; i++) {
		if (protection_get(ops[i]->protection)->aead)
			aead_seal(ops[i]);
		else
			cbc_seal(ops[i]);
	}
}

static bool usable(const struct cpu_features *cpu, enum protection_id protection)
{
	(void)cpu;
	return protection != PROTECTION_NONE && protection < PROTECTIONS;
}

static void *worker_new(void)
{
	static int nothing;

	return &nothing;
}

static void worker_free(void *worker)
{
	(void)worker;
}

static const struct record_engine engine = {
	.name = "wolfcrypt",
	.usable = usable,
	.worker_new = worker_new,
	.worker_free = worker_free,
	.open_burst = open_burst,
	.seal_burst = seal_burst,
};

const struct subject subject_wolfcrypt = {
	.engine = &engine,
	.sessions_max = 1000,
	.session_size = session_size,
	.session_init = session_init,
	.session_fini = session_fini,
};
