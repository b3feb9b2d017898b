/* AES-128 (FIPS 197), encryption alone, for session_prf.h. With AES-NI where the CPU has it. Otherwise in
 * plain C without tables, so that its time does not tell the key: eight bytes of the state at once in a
 * 64-bit word.
 */
#include "dataplane/session_prf.h"

#include <string.h>

enum { ROUNDS = 10 };

#define EACH(byte) (0x0101010101010101ULL * (byte))

/* Times x in GF(2^8), in each byte. */
static uint64_t times_x(uint64_t a)
{
	return (a & EACH(0x7f)) << 1 ^ (a >> 7 & EACH(1)) * 0x1b;
}

static uint64_t multiply(uint64_t a, uint64_t b)
{
	uint64_t product = 0;

	for (unsigned i = 0; i < 8; i++) {
		product ^= a & (b >> i & EACH(1)) * 0xff;
		a = times_x(a);
	}
	return product;
}

static uint64_t rotate_bytes(uint64_t a, unsigned n)
{
	return (a & EACH(0xff >> n)) << n | (a >> (8 - n) & EACH((1U << n) - 1));
}

/* FIPS 197 5.1.1: the inverse (the 254th power), then the affine map. */
static uint64_t substitute(uint64_t x)
{
	uint64_t x2 = multiply(x, x);
	uint64_t x3 = multiply(x2, x);
	uint64_t x6 = multiply(x3, x3);
	uint64_t x12 = multiply(x6, x6);
	uint64_t power = multiply(x12, x3);

	for (unsigned i = 0; i < 4; i++)
		power = multiply(power, power); /* x^240 */
	power = multiply(multiply(power, x12), x2);
	return power ^ rotate_bytes(power, 1) ^ rotate_bytes(power, 2) ^ rotate_bytes(power, 3) ^
	       rotate_bytes(power, 4) ^ EACH(0x63);
}

static void substitute_bytes(uint8_t *bytes, unsigned len)
{
	for (unsigned i = 0; i < len; i += 8) {
		uint64_t word = 0;
		unsigned n = len - i < 8 ? len - i : 8;

		memcpy(&word, bytes + i, n);
		word = substitute(word);
		memcpy(bytes + i, &word, n);
	}
}

static void mix_column(uint8_t column[4])
{
	uint8_t all = column[0] ^ column[1] ^ column[2] ^ column[3];
	uint8_t first = column[0];

	for (unsigned i = 0; i < 4; i++) {
		uint8_t next = i < 3 ? column[i + 1] : first;

		column[i] ^= all ^ (uint8_t)times_x(column[i] ^ next);
	}
}

static void encrypt_plain(const struct session_prf *prf, uint8_t state[16])
{
	uint8_t shifted[16];

	for (unsigned i = 0; i < 16; i++)
		state[i] ^= prf->round_keys[0][i];
	for (unsigned round = 1; round <= ROUNDS; round++) {
		substitute_bytes(state, 16);
		for (unsigned i = 0; i < 16; i++)
			shifted[i] = state[(i + 4 * (i % 4)) % 16];
		for (unsigned i = 0; i < 16 && round < ROUNDS; i += 4)
			mix_column(shifted + i);
		for (unsigned i = 0; i < 16; i++)
			state[i] = shifted[i] ^ prf->round_keys[round][i];
	}
}

static void burst_plain(const struct session_prf *prf, const uint64_t *in, uint64_t *out, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t state[16] = {0};

		memcpy(state, &in[i], 8);
		encrypt_plain(prf, state);
		memcpy(&out[i], state, 8);
	}
}

void session_prf_init(struct session_prf *prf, const uint8_t key[16])
{
	uint8_t rcon = 1;

	memcpy(prf->round_keys[0], key, 16);
	for (unsigned round = 1; round <= ROUNDS; round++) {
		const uint8_t *previous = prf->round_keys[round - 1];
		uint8_t *next = prf->round_keys[round];
		uint8_t word[4] = {previous[13], previous[14], previous[15], previous[12]};

		substitute_bytes(word, 4);
		word[0] ^= rcon;
		rcon = (uint8_t)times_x(rcon);
		for (unsigned i = 0; i < 16; i++)
			next[i] = previous[i] ^ (i < 4 ? word[i] : next[i - 4]);
	}
}

#if defined(__x86_64__)
#include <immintrin.h>

enum { LANES = 8 }; /* in flight: hides the latency of aesenc */

/* Short, so that the CPU overlaps it with what the caller does next. */
__attribute__((target("aes"))) static uint64_t one_aesni(const struct session_prf *prf, uint64_t in)
{
	const __m128i *keys = (const __m128i *)prf->round_keys;
	__m128i block = _mm_xor_si128(_mm_cvtsi64_si128((long long)in), _mm_load_si128(keys));

	for (unsigned round = 1; round < ROUNDS; round++)
		block = _mm_aesenc_si128(block, _mm_load_si128(&keys[round]));
	return (uint64_t)_mm_cvtsi128_si64(_mm_aesenclast_si128(block, _mm_load_si128(&keys[ROUNDS])));
}

__attribute__((target("aes"))) static void burst_aesni(const struct session_prf *prf, const uint64_t *in,
						       uint64_t *out, unsigned n)
{
	__m128i keys[ROUNDS + 1];

	for (unsigned i = 0; i <= ROUNDS; i++)
		keys[i] = _mm_load_si128((const __m128i *)prf->round_keys[i]);
	for (unsigned at = 0; at < n; at += LANES) {
		__m128i lanes[LANES];

		for (unsigned i = 0; i < LANES; i++) {
			uint64_t word = at + i < n ? in[at + i] : 0;

			lanes[i] = _mm_xor_si128(_mm_cvtsi64_si128((long long)word), keys[0]);
		}
		for (unsigned round = 1; round < ROUNDS; round++)
			for (unsigned i = 0; i < LANES; i++)
				lanes[i] = _mm_aesenc_si128(lanes[i], keys[round]);
		for (unsigned i = 0; i < LANES; i++) {
			lanes[i] = _mm_aesenclast_si128(lanes[i], keys[ROUNDS]);
			if (at + i < n)
				out[at + i] = (uint64_t)_mm_cvtsi128_si64(lanes[i]);
		}
	}
}

void session_prf_burst(const struct session_prf *prf, const uint64_t *in, uint64_t *out, unsigned n)
{
	if (!__builtin_cpu_supports("aes"))
		burst_plain(prf, in, out, n);
	else if (n == 1)
		*out = one_aesni(prf, *in);
	else
		burst_aesni(prf, in, out, n);
}

#else

void session_prf_burst(const struct session_prf *prf, const uint64_t *in, uint64_t *out, unsigned n)
{
	burst_plain(prf, in, out, n);
}

#endif
