/* OpenSSL's EVP as one would use it for DTLS: a cipher context and a MAC context per session, keyed once; per
 * record a new nonce, the additional data, the text, the tag. CBC as MAC-then-encrypt checks the padding in
 * the plain way (OpenSSL's own records go a constant-time way that EVP does not offer to others).
 */
#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "bench/subject.h"
#include "crypto/aad.h"
#include "crypto/secret.h"

enum { BLOCK = 16, MAC_LEN = 32 };

struct session {
	EVP_CIPHER_CTX *open;
	EVP_CIPHER_CTX *seal;
	EVP_MAC_CTX *mac;
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
	EVP_CIPHER_CTX_free(s->open);
	EVP_CIPHER_CTX_free(s->seal);
	EVP_MAC_CTX_free(s->mac);
	memset(s, 0, sizeof *s);
}

/* The cipher's implementation is fetched once: a fetch per session costs more than the session. */
static EVP_CIPHER *cipher_of(enum protection_id protection)
{
	static EVP_CIPHER *fetched[PROTECTIONS];
	static const char *const names[PROTECTIONS] = {
		NULL,          "AES-128-CCM", "AES-128-CCM", "AES-256-CCM",
		"AES-128-GCM", "AES-128-CBC", "AES-128-CBC",
	};

	if (!fetched[protection])
		fetched[protection] = EVP_CIPHER_fetch(NULL, names[protection], NULL);
	return fetched[protection];
}

static EVP_CIPHER_CTX *context_new(enum protection_id protection, const uint8_t *key, int encrypt)
{
	const struct protection *p = protection_get(protection);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	bool ccm = p->aead && protection != PROTECTION_AES_128_GCM;
	bool good = c && EVP_CipherInit_ex2(c, cipher_of(protection), NULL, NULL, encrypt, NULL);

	good = good && (!p->aead || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_IVLEN, NONCE_LEN, NULL));
	good = good && (!ccm || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, p->tag_len, NULL));
	good = good && EVP_CipherInit_ex2(c, NULL, key, NULL, encrypt, NULL);
	if (good && !p->aead)
		good = EVP_CIPHER_CTX_set_padding(c, 0);
	if (good)
		return c;
	EVP_CIPHER_CTX_free(c);
	return NULL;
}

static EVP_MAC_CTX *mac_new(const uint8_t *mac_key)
{
	static EVP_MAC *hmac;
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC_CTX *mac;

	if (!hmac)
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	mac = EVP_MAC_CTX_new(hmac);
	if (mac && EVP_MAC_init(mac, mac_key, MAC_LEN, params))
		return mac;
	EVP_MAC_CTX_free(mac);
	return NULL;
}

static int session_init(void *session, enum protection_id protection, const struct secrets *secrets)
{
	struct session *s = session;
	bool aead = protection_get(protection)->aead;

	memcpy(s->salt, secrets->salt, sizeof s->salt);
	s->open = context_new(protection, secrets->key, 0);
	s->seal = context_new(protection, secrets->key, 1);
	s->mac = aead ? NULL : mac_new(secrets->mac_key);
	if (s->open && s->seal && (aead || s->mac))
		return 0;
	session_fini(s, protection);
	return -ENOMEM;
}

/* ---- AEAD ---- */

static void aead_open(struct record_op *op)
{
	const struct session *s = op->key;
	const struct protection *p = protection_get(op->protection);
	unsigned len = op->fragment_len - p->explicit_len - p->tag_len;
	uint8_t *text = op->fragment + p->explicit_len;
	bool ccm = op->protection != PROTECTION_AES_128_GCM;
	uint8_t aad[AAD_ROOM];
	uint8_t nonce[NONCE_LEN];
	int aad_len = (int)aad_write(aad, op, len);
	int n = 0;
	bool good;

	nonce_write(nonce, s->salt, op->fragment);
	good = EVP_CIPHER_CTX_ctrl(s->open, EVP_CTRL_AEAD_SET_TAG, p->tag_len, text + len) &&
	       EVP_DecryptInit_ex2(s->open, NULL, NULL, nonce, NULL);
	good = good && (!ccm || EVP_DecryptUpdate(s->open, NULL, &n, NULL, (int)len));
	good = good && EVP_DecryptUpdate(s->open, NULL, &n, aad, aad_len);
	good = good && EVP_DecryptUpdate(s->open, text, &n, text, (int)len) > 0; /* CCM's verdict */
	op->ok = good && (ccm || EVP_DecryptFinal_ex(s->open, text + len, &n) > 0);
	op->payload_offset = p->explicit_len;
	op->payload_len = (uint16_t)len;
}

static void aead_seal(struct record_op *op)
{
	const struct session *s = op->key;
	const struct protection *p = protection_get(op->protection);
	unsigned len = op->payload_len;
	uint8_t *text = op->fragment + p->explicit_len;
	bool ccm = op->protection != PROTECTION_AES_128_GCM;
	uint8_t aad[AAD_ROOM];
	uint8_t nonce[NONCE_LEN];
	int aad_len = (int)aad_write(aad, op, len);
	int n = 0;
	bool good;

	nonce_write(nonce, s->salt, op->fragment);
	good = !ccm || EVP_CIPHER_CTX_ctrl(s->seal, EVP_CTRL_AEAD_SET_TAG, p->tag_len, NULL);
	good = good && EVP_EncryptInit_ex2(s->seal, NULL, NULL, nonce, NULL);
	good = good && (!ccm || EVP_EncryptUpdate(s->seal, NULL, &n, NULL, (int)len));
	good = good && EVP_EncryptUpdate(s->seal, NULL, &n, aad, aad_len);
	good = good && EVP_EncryptUpdate(s->seal, text, &n, text, (int)len);
	good = good && EVP_EncryptFinal_ex(s->seal, text + len, &n);
	op->ok = good && EVP_CIPHER_CTX_ctrl(s->seal, EVP_CTRL_AEAD_GET_TAG, p->tag_len, text + len);
	op->fragment_len = (uint16_t)(p->explicit_len + len + p->tag_len);
}

/* ---- CBC ---- */

static bool mac_make(const struct session *s, const struct record_op *op, unsigned length,
		     const uint8_t *data, unsigned len, uint8_t mac[MAC_LEN])
{
	uint8_t aad[AAD_ROOM];
	size_t n = 0;

	return EVP_MAC_init(s->mac, NULL, 0, NULL) &&
	       EVP_MAC_update(s->mac, aad, aad_write(aad, op, length)) && EVP_MAC_update(s->mac, data, len) &&
	       EVP_MAC_final(s->mac, mac, &n, MAC_LEN);
}

static bool cbc_crypt(EVP_CIPHER_CTX *c, struct record_op *op, unsigned len)
{
	int n;

	return EVP_CipherInit_ex2(c, NULL, NULL, op->fragment, -1, NULL) &&
	       EVP_CipherUpdate(c, op->fragment + BLOCK, &n, op->fragment + BLOCK, (int)len);
}

static unsigned pad(uint8_t *text, unsigned len)
{
	unsigned padding_length = BLOCK - 1 - len % BLOCK;

	memset(text + len, (int)padding_length, padding_length + 1);
	return len + padding_length + 1;
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
	const struct session *s = op->key;
	bool etm = op->protection == PROTECTION_AES_128_CBC_ETM;
	unsigned len = op->fragment_len - BLOCK - (etm ? MAC_LEN : 0);
	uint8_t *text = op->fragment + BLOCK;
	uint8_t mac[MAC_LEN];
	bool good = true;

	if (etm)
		good = mac_make(s, op, BLOCK + len, op->fragment, BLOCK + len, mac) &&
		       secret_equal(mac, text + len, MAC_LEN);
	good = good && cbc_crypt(s->open, op, len) && unpad(text, &len);
	if (!etm && good) {
		good = len >= MAC_LEN;
		len -= good ? MAC_LEN : 0;
		good = good && mac_make(s, op, len, text, len, mac) && secret_equal(mac, text + len, MAC_LEN);
	}
	op->ok = good;
	op->payload_offset = BLOCK;
	op->payload_len = (uint16_t)len;
}

static void cbc_seal(struct record_op *op)
{
	const struct session *s = op->key;
	bool etm = op->protection == PROTECTION_AES_128_CBC_ETM;
	unsigned len = op->payload_len;
	uint8_t *text = op->fragment + BLOCK;

	op->ok = true;
	if (!etm) {
		op->ok = mac_make(s, op, len, text, len, text + len);
		len += MAC_LEN;
	}
	len = pad(text, len);
	op->ok = op->ok && cbc_crypt(s->seal, op, len);
	if (etm) {
		op->ok = op->ok && mac_make(s, op, BLOCK + len, op->fragment, BLOCK + len, text + len);
		len += MAC_LEN;
	}
	op->fragment_len = (uint16_t)(BLOCK + len);
}

/* ---- The contract ---- */

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
	.name = "openssl-evp",
	.usable = usable,
	.worker_new = worker_new,
	.worker_free = worker_free,
	.open_burst = open_burst,
	.seal_burst = seal_burst,
};

const struct subject subject_openssl = {
	.engine = &engine,
	.sessions_max = 1000, /* a session is some kilobytes */
	.session_size = session_size,
	.session_init = session_init,
	.session_fini = session_fini,
};
