/* SHA-256's block function over two messages at once: with the SHA instructions one message alone leaves the
 * unit idle half of the time. Any thread; no allocation. No branch and no address depends on states or
 * blocks.
 */
#ifndef CRYPTO_SHA256_PAIR_H
#define CRYPTO_SHA256_PAIR_H

#include <stddef.h>
#include <stdint.h>

typedef void (*sha256_pair)(uint32_t a[8], uint32_t b[8], const uint8_t *blocks_a, const uint8_t *blocks_b,
			    size_t count);

/* Takes `count` blocks of 64 bytes into each state (host byte order). */
void sha256_pair_ni(uint32_t a[8], uint32_t b[8], const uint8_t *blocks_a, const uint8_t *blocks_b,
		    size_t count);

/* The same one after the other, for CPUs without the SHA instructions. */
void sha256_pair_portable(uint32_t a[8], uint32_t b[8], const uint8_t *blocks_a, const uint8_t *blocks_b,
			  size_t count);

#endif
