/* SHA-256 (FIPS 180-4) as far as the cookie and HMAC midstates need it (pure): the block function, and a
 * stream on top that can start from a midstate. Any thread; no allocation. Uses the CPU's SHA instructions
 * where there are any, chosen once before main().
 */
#ifndef CRYPTO_SHA256_H
#define CRYPTO_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BLOCK_LEN = 64, SHA256_LEN = 32 };

/* H(0) of FIPS 180-4 5.3.3: where a hash that begins with nothing begins. */
extern const uint32_t sha256_initial[8];

/* Takes `count` blocks of 64 bytes into the state (host byte order). */
void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count);

struct sha256 {
	uint32_t state[8];
	uint64_t total; /* bytes so far, those before the midstate included */
	uint8_t partial[SHA256_BLOCK_LEN];
};

/* Starts from `state` after `before` bytes, a multiple of 64. sha256_initial and 0: from nothing. */
void sha256_start(struct sha256 *h, const uint32_t state[8], uint64_t before);
void sha256_update(struct sha256 *h, const void *bytes, size_t len);
/* *h is used up. What depends on a secret in it is the caller's to wipe. */
void sha256_finish(struct sha256 *h, uint8_t digest[SHA256_LEN]);

/* The states after the blocks key ^ ipad and key ^ opad (RFC 2104): all that later HMACs need of the key.
 * key_len <= 64. */
void sha256_hmac_midstates(uint32_t inner[8], uint32_t outer[8], const uint8_t *key, size_t key_len);
/* HMAC's second half: the outer hash over the digest of the inner one, which h is. */
void sha256_hmac_finish(struct sha256 *h, const uint32_t outer[8], uint8_t mac[SHA256_LEN]);

#endif
