/* SHA-256 in two forms with one result: as FIPS 180-4 6.2 writes it, and with the SHA instructions of x86-64
 * (about seven times as fast), which are looked for once, before main().
 */
#include "crypto/sha256.h"

#include <assert.h>
#include <string.h>

#include "crypto/secret.h"

const uint32_t sha256_initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/* FIPS 180-4 4.2.2. */
static const uint32_t round_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t read_be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void write_be32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
}

static uint32_t rotate_right(uint32_t x, unsigned bits)
{
	return x >> bits | x << (32 - bits);
}

/* FIPS 180-4 6.2.2, step 1. */
static void expand_schedule(uint32_t w[64], const uint8_t *block)
{
	for (unsigned t = 0; t < 16; t++)
		w[t] = read_be32(block + 4 * t);
	for (unsigned t = 16; t < 64; t++) {
		uint32_t s0 = rotate_right(w[t - 15], 7) ^ rotate_right(w[t - 15], 18) ^ w[t - 15] >> 3;
		uint32_t s1 = rotate_right(w[t - 2], 17) ^ rotate_right(w[t - 2], 19) ^ w[t - 2] >> 10;

		w[t] = s1 + w[t - 7] + s0 + w[t - 16];
	}
}

static void blocks_portable(uint32_t state[8], const uint8_t *blocks, size_t count)
{
	uint32_t w[64];

	for (; count > 0; count--, blocks += SHA256_BLOCK_LEN) {
		uint32_t v[8];

		expand_schedule(w, blocks);
		memcpy(v, state, sizeof v);
		for (unsigned t = 0; t < 64; t++) {
			uint32_t e = v[4];
			uint32_t a = v[0];
			uint32_t choice = (e & v[5]) ^ (~e & v[6]);
			uint32_t majority = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
			uint32_t sum1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
			uint32_t sum0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
			uint32_t t1 = v[7] + sum1 + choice + round_constants[t] + w[t];

			memmove(v + 1, v, 7 * sizeof v[0]);
			v[4] += t1;
			v[0] = t1 + sum0 + majority;
		}
		for (unsigned i = 0; i < 8; i++)
			state[i] += v[i];
	}
	secret_wipe(w, sizeof w);
}

static void (*blocks_chosen)(uint32_t state[8], const uint8_t *blocks, size_t count) = blocks_portable;

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* The instructions keep the state as the two halves ABEF and CDGH and do two rounds each. Four words of the
 * schedule are one register; w0 holds the words of the four rounds to come, w1..w3 the twelve behind them.
 */
__attribute__((target("sha,sse4.1"))) static void blocks_sha_ni(uint32_t state[8], const uint8_t *blocks,
								size_t count)
{
	const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
	__m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state);
	__m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
	__m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
	__m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
	__m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
	__m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);

	for (; count > 0; count--, blocks += SHA256_BLOCK_LEN) {
		const __m128i *in = (const __m128i *)(const void *)blocks;
		__m128i abef_before = abef;
		__m128i cdgh_before = cdgh;
		__m128i w0 = _mm_shuffle_epi8(_mm_loadu_si128(in), swap_bytes);
		__m128i w1 = _mm_shuffle_epi8(_mm_loadu_si128(in + 1), swap_bytes);
		__m128i w2 = _mm_shuffle_epi8(_mm_loadu_si128(in + 2), swap_bytes);
		__m128i w3 = _mm_shuffle_epi8(_mm_loadu_si128(in + 3), swap_bytes);

#pragma GCC unroll 16
		for (unsigned t = 0; t < 64; t += 4) {
			const void *at = round_constants + t;
			__m128i sum = _mm_add_epi32(w0, _mm_loadu_si128(at));
			__m128i next;

			cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
			abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0e));
			/* w[t+16 .. t+19]; those of the last four turns are not used. */
			next = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
			next = _mm_sha256msg2_epu32(next, w3);
			w0 = w1;
			w1 = w2;
			w2 = w3;
			w3 = next;
		}
		abef = _mm_add_epi32(abef, abef_before);
		cdgh = _mm_add_epi32(cdgh, cdgh_before);
	}
	__m128i feba = _mm_shuffle_epi32(abef, 0x1b);
	__m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);

	_mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* Leaf 7, EBX bit 29: SHA. Leaf 1, ECX bits 9 and 19: SSSE3 and SSE4.1. These use XMM registers alone, which
 * every x86-64 kernel saves. */
__attribute__((constructor)) static void choose_blocks(void)
{
	unsigned a;
	unsigned b;
	unsigned c;
	unsigned d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 9 & 1) || !(c >> 19 & 1))
		return;
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1)
		blocks_chosen = blocks_sha_ni;
}
#endif

void sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count)
{
	blocks_chosen(state, blocks, count);
}

void sha256_start(struct sha256 *h, const uint32_t state[8], uint64_t before)
{
	assert(before % SHA256_BLOCK_LEN == 0);
	memcpy(h->state, state, sizeof h->state);
	h->total = before;
}

void sha256_update(struct sha256 *h, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	size_t held = h->total % SHA256_BLOCK_LEN;

	h->total += len;
	if (held > 0 && len >= SHA256_BLOCK_LEN - held) {
		memcpy(h->partial + held, at, SHA256_BLOCK_LEN - held);
		sha256_blocks(h->state, h->partial, 1);
		at += SHA256_BLOCK_LEN - held;
		len -= SHA256_BLOCK_LEN - held;
		held = 0;
	}
	if (len >= SHA256_BLOCK_LEN) {
		sha256_blocks(h->state, at, len / SHA256_BLOCK_LEN);
		at += len - len % SHA256_BLOCK_LEN;
		len %= SHA256_BLOCK_LEN;
	}
	if (len > 0)
		memcpy(h->partial + held, at, len);
}

void sha256_finish(struct sha256 *h, uint8_t digest[SHA256_LEN])
{
	size_t held = h->total % SHA256_BLOCK_LEN;
	uint64_t bits = h->total * 8;

	h->partial[held++] = 0x80;
	if (held > SHA256_BLOCK_LEN - 8) {
		memset(h->partial + held, 0, SHA256_BLOCK_LEN - held);
		sha256_blocks(h->state, h->partial, 1);
		held = 0;
	}
	memset(h->partial + held, 0, SHA256_BLOCK_LEN - 8 - held);
	write_be32(h->partial + SHA256_BLOCK_LEN - 8, (uint32_t)(bits >> 32));
	write_be32(h->partial + SHA256_BLOCK_LEN - 4, (uint32_t)bits);
	sha256_blocks(h->state, h->partial, 1);
	for (unsigned i = 0; i < 8; i++)
		write_be32(digest + 4 * i, h->state[i]);
}

static void midstate(uint32_t state[8], const uint8_t *key, size_t key_len, uint8_t pad)
{
	uint8_t block[SHA256_BLOCK_LEN];

	memset(block, pad, sizeof block);
	for (size_t i = 0; i < key_len; i++)
		block[i] ^= key[i];
	memcpy(state, sha256_initial, sizeof sha256_initial);
	sha256_blocks(state, block, 1);
	secret_wipe(block, sizeof block);
}

void sha256_hmac_midstates(uint32_t inner[8], uint32_t outer[8], const uint8_t *key, size_t key_len)
{
	assert(key_len <= SHA256_BLOCK_LEN);
	midstate(inner, key, key_len, 0x36);
	midstate(outer, key, key_len, 0x5c);
}

void sha256_hmac_finish(struct sha256 *h, const uint32_t outer[8], uint8_t mac[SHA256_LEN])
{
	uint8_t digest[SHA256_LEN];

	sha256_finish(h, digest);
	sha256_start(h, outer, SHA256_BLOCK_LEN);
	sha256_update(h, digest, sizeof digest);
	sha256_finish(h, mac);
}
