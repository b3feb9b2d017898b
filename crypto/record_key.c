/* From what a handshake exports to what a session keeps. */
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/sha256.h>

#include "crypto/aead.h"
#include "crypto/always.h"
#include "crypto/secret.h"

enum { SHA_BLOCK = 64 };

/* The state of SHA-256 after the one block `mac_key ^ pad`, where an HMAC begins (RFC 2104). */
static void midstate(uint32_t state[8], const uint8_t *mac_key, unsigned mac_key_len, uint8_t pad)
{
	uint8_t block[SHA_BLOCK];
	wc_Sha256 sha;

	memset(block, pad, sizeof block);
	for (unsigned i = 0; i < mac_key_len; i++)
		block[i] ^= mac_key[i];
	always_assert(wc_InitSha256(&sha) == 0);
	always_assert(wc_Sha256Update(&sha, block, sizeof block) == 0);
	memcpy(state, sha.digest, sizeof sha.digest);
	secret_wipe(&sha, sizeof sha);
	secret_wipe(block, sizeof block);
}

void record_key_set(union record_key *out, enum protection_id protection, const uint8_t *key,
		    const uint8_t *salt, const uint8_t *mac_key)
{
	const struct protection *p = protection_get(protection);

	memset(out, 0, sizeof *out);
	switch (protection) {
	case PROTECTION_AES_256_CCM_8:
		memcpy(out->aead256.key, key, sizeof out->aead256.key);
		memcpy(out->aead256.salt, salt, sizeof out->aead256.salt);
		break;
	case PROTECTION_AES_128_CBC_MTE:
	case PROTECTION_AES_128_CBC_ETM:
		memcpy(out->cbc.key, key, sizeof out->cbc.key);
		midstate(out->cbc.inner, mac_key, p->mac_key_len, 0x36);
		midstate(out->cbc.outer, mac_key, p->mac_key_len, 0x5c);
		break;
	default:
		memcpy(out->aead.key, key, sizeof out->aead.key);
		memcpy(out->aead.salt, salt, sizeof out->aead.salt);
		break;
	}
}
