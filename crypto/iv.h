/* Unpredictable IVs for CBC (RFC 5246 6.2.3.2) without a system call per burst: ChaCha20 under a key that is
 * replaced by its own output at every refill, so that what was given out cannot be computed afterwards. One
 * per record_crypto, not shared, not to be carried over a fork.
 */
#ifndef CRYPTO_IV_H
#define CRYPTO_IV_H

#include <stdint.h>

enum { IV_LEN = 16, IV_POOL = 64 };

struct iv_source {
	uint8_t key[32];
	uint8_t pool[IV_POOL * IV_LEN]; /* directly behind key: one run of the cipher fills both */
	unsigned left;                  /* unused IVs, at the end of the pool */
};

/* Seeds from random_block(). 0, or -EIO when the kernel gives no randomness. */
int iv_source_init(struct iv_source *source);

/* Writes the next IV. No allocation, no system call. */
void iv_source_take(struct iv_source *source, uint8_t out[IV_LEN]);

#endif
