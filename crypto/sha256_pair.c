/* Two chains of SHA-256 through the SHA instructions. sha256rnds2 takes 4 cycles and a new one can begin
 * every 2, so two messages in turn fill it. See sha256.c for the layout of the state (ABEF, CDGH) and of the
 * schedule. Compiled with -msha -msse4.1; sha256_pair_ni() may run only where those are.
 */
#include "crypto/sha256_pair.h"

#include <immintrin.h>

#include "crypto/sha256.h"

static const uint32_t constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

struct chain {
	__m128i abef, cdgh;
	__m128i w0, w1, w2, w3;
};

static inline struct chain chain_load(const uint32_t state[8])
{
	__m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state);
	__m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
	__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
	__m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
	struct chain c = {0};

	c.abef = _mm_alignr_epi8(cdab, efgh, 8);
	c.cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
	return c;
}

static inline void chain_store(uint32_t state[8], struct chain c)
{
	__m128i feba = _mm_shuffle_epi32(c.abef, 0x1b);
	__m128i dchg = _mm_shuffle_epi32(c.cdgh, 0xb1);

	_mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static inline struct chain chain_block(struct chain c, const uint8_t *block)
{
	const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	const __m128i *in = (const __m128i *)(const void *)block;

	c.w0 = _mm_shuffle_epi8(_mm_loadu_si128(in), swap_bytes);
	c.w1 = _mm_shuffle_epi8(_mm_loadu_si128(in + 1), swap_bytes);
	c.w2 = _mm_shuffle_epi8(_mm_loadu_si128(in + 2), swap_bytes);
	c.w3 = _mm_shuffle_epi8(_mm_loadu_si128(in + 3), swap_bytes);
	return c;
}

/* Four rounds, with the words that stand in w0; `more`: the words of four later ones take their place. */
static inline struct chain chain_rounds(struct chain c, __m128i constant, int more)
{
	__m128i sum = _mm_add_epi32(c.w0, constant);
	__m128i next = c.w0;

	c.cdgh = _mm_sha256rnds2_epu32(c.cdgh, c.abef, sum);
	c.abef = _mm_sha256rnds2_epu32(c.abef, c.cdgh, _mm_shuffle_epi32(sum, 0x0e));
	if (more) {
		next = _mm_add_epi32(_mm_sha256msg1_epu32(c.w0, c.w1), _mm_alignr_epi8(c.w3, c.w2, 4));
		next = _mm_sha256msg2_epu32(next, c.w3);
	}
	c.w0 = c.w1;
	c.w1 = c.w2;
	c.w2 = c.w3;
	c.w3 = next;
	return c;
}

void sha256_pair_ni(uint32_t a[8], uint32_t b[8], const uint8_t *blocks_a, const uint8_t *blocks_b,
		    size_t count)
{
	struct chain x = chain_load(a);
	struct chain y = chain_load(b);

	for (; count > 0; count--) {
		__m128i x_abef = x.abef;
		__m128i x_cdgh = x.cdgh;
		__m128i y_abef = y.abef;
		__m128i y_cdgh = y.cdgh;

		x = chain_block(x, blocks_a);
		y = chain_block(y, blocks_b);
#pragma GCC unroll 16
		for (unsigned t = 0; t < 64; t += 4) {
			__m128i constant = _mm_loadu_si128((const __m128i *)(const void *)(constants + t));

			x = chain_rounds(x, constant, t < 48);
			y = chain_rounds(y, constant, t < 48);
		}
		x.abef = _mm_add_epi32(x.abef, x_abef);
		x.cdgh = _mm_add_epi32(x.cdgh, x_cdgh);
		y.abef = _mm_add_epi32(y.abef, y_abef);
		y.cdgh = _mm_add_epi32(y.cdgh, y_cdgh);
		blocks_a += SHA256_BLOCK_LEN;
		blocks_b += SHA256_BLOCK_LEN;
	}
	chain_store(a, x);
	chain_store(b, y);
}

void sha256_pair_portable(uint32_t a[8], uint32_t b[8], const uint8_t *blocks_a, const uint8_t *blocks_b,
			  size_t count)
{
	sha256_blocks(a, blocks_a, count);
	sha256_blocks(b, blocks_b, count);
}
