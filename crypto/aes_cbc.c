/* AES-128-CBC with AES-NI. Decryption takes eight blocks of one span at a time, encryption (where a block
 * waits for the one before it) one block each of eight spans. Keys are expanded four at a time, since each is
 * a chain of waits. Compiled with -maes -msse4.1.
 */
#include "crypto/aes_cbc.h"

#include <immintrin.h>

#include "crypto/secret.h"

enum { BLOCK = 16, ROUNDS = 10, WIDTH = 8, KEYS = 4 };

/* Expanded keys of some spans. */
struct schedule {
	__m128i round[ROUNDS + 1];
};

static inline __m128i load(const uint8_t *from)
{
	return _mm_loadu_si128((const __m128i *)(const void *)from);
}

static inline void store(uint8_t *to, __m128i block)
{
	_mm_storeu_si128((__m128i *)(void *)to, block);
}

/* FIPS 197 5.2 with aesenclast as SubWord: RotWord of the last word stands in all four columns, so that
 * ShiftRows does not change it, and the round constant is the key.
 */
static inline __m128i expand_round(__m128i key, uint32_t constant)
{
	const __m128i last_rotated = _mm_set1_epi32(0x0c0f0e0d);
	__m128i add =
		_mm_aesenclast_si128(_mm_shuffle_epi8(key, last_rotated), _mm_set1_epi32((int)constant));

	key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
	key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
	return _mm_xor_si128(key, add);
}

/* `count` of at most KEYS spans; the others get the first one's key. */
static void expand(struct schedule keys[KEYS], const struct cbc_span *spans, unsigned count)
{
	static const uint8_t constants[ROUNDS] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
	__m128i key[KEYS];

	for (unsigned i = 0; i < KEYS; i++) {
		key[i] = load(spans[i < count ? i : 0].key);
		keys[i].round[0] = key[i];
	}
	for (unsigned r = 1; r <= ROUNDS; r++) {
#pragma GCC unroll 4
		for (unsigned i = 0; i < KEYS; i++) {
			key[i] = expand_round(key[i], constants[r - 1]);
			keys[i].round[r] = key[i];
		}
	}
}

/* FIPS 197 5.3.5: the equivalent inverse cipher. */
static void invert(struct schedule *key)
{
	for (unsigned r = 1; r < ROUNDS; r++)
		key->round[r] = _mm_aesimc_si128(key->round[r]);
}

/* `width` blocks, a constant. *previous is the ciphertext block before them. */
static inline __attribute__((always_inline)) void decrypt_blocks(const struct schedule *key, uint8_t *text,
								 unsigned width, __m128i *previous)
{
	__m128i cipher[WIDTH];
	__m128i state[WIDTH];

#pragma GCC unroll 8
	for (unsigned i = 0; i < width; i++) {
		cipher[i] = load(text + (size_t)i * BLOCK);
		state[i] = _mm_xor_si128(cipher[i], key->round[ROUNDS]);
	}
#pragma GCC unroll 9
	for (unsigned r = ROUNDS - 1; r > 0; r--) {
		__m128i round = key->round[r];

#pragma GCC unroll 8
		for (unsigned i = 0; i < width; i++)
			state[i] = _mm_aesdec_si128(state[i], round);
	}
#pragma GCC unroll 8
	for (unsigned i = 0; i < width; i++) {
		__m128i mask = _mm_xor_si128(key->round[0], *previous);

		store(text + (size_t)i * BLOCK, _mm_aesdeclast_si128(state[i], mask));
		*previous = cipher[i];
	}
}

static void decrypt_span(const struct schedule *key, const struct cbc_span *span)
{
	__m128i previous = load(span->text - BLOCK);
	uint8_t *text = span->text;
	unsigned left = span->blocks;

	for (; left >= WIDTH; left -= WIDTH, text += WIDTH * BLOCK)
		decrypt_blocks(key, text, WIDTH, &previous);
	if (left & 4) {
		decrypt_blocks(key, text, 4, &previous);
		text += 4 * BLOCK;
	}
	if (left & 2) {
		decrypt_blocks(key, text, 2, &previous);
		text += 2 * BLOCK;
	}
	if (left & 1)
		decrypt_blocks(key, text, 1, &previous);
}

void aes_cbc_decrypt(const struct cbc_span *spans, unsigned count)
{
	struct schedule keys[KEYS];

	for (unsigned first = 0; first < count; first += KEYS) {
		unsigned n = count - first < KEYS ? count - first : KEYS;

		expand(keys, spans + first, n);
		for (unsigned i = 0; i < n; i++) {
			invert(&keys[i]);
			decrypt_span(&keys[i], &spans[first + i]);
		}
	}
	secret_wipe(keys, sizeof keys);
}

/* Blocks [from, to) of WIDTH spans, all of which have them. */
static void encrypt_together(const struct schedule *keys, const struct cbc_span *spans, unsigned from,
			     unsigned to)
{
	__m128i state[WIDTH];

#pragma GCC unroll 8
	for (unsigned i = 0; i < WIDTH; i++)
		state[i] = load(spans[i].text + (size_t)from * BLOCK - BLOCK);
	for (unsigned block = from; block < to; block++) {
		size_t at = (size_t)block * BLOCK;

#pragma GCC unroll 8
		for (unsigned i = 0; i < WIDTH; i++)
			state[i] = _mm_xor_si128(_mm_xor_si128(state[i], load(spans[i].text + at)),
						 keys[i].round[0]);
#pragma GCC unroll 9
		for (unsigned r = 1; r < ROUNDS; r++)
#pragma GCC unroll 8
			for (unsigned i = 0; i < WIDTH; i++)
				state[i] = _mm_aesenc_si128(state[i], keys[i].round[r]);
#pragma GCC unroll 8
		for (unsigned i = 0; i < WIDTH; i++) {
			state[i] = _mm_aesenclast_si128(state[i], keys[i].round[ROUNDS]);
			store(spans[i].text + at, state[i]);
		}
	}
}

/* Blocks [from, its end) of one span. */
static void encrypt_alone(const struct schedule *key, const struct cbc_span *span, unsigned from)
{
	__m128i state = load(span->text + (size_t)from * BLOCK - BLOCK);

	for (unsigned block = from; block < span->blocks; block++) {
		uint8_t *at = span->text + (size_t)block * BLOCK;

		state = _mm_xor_si128(_mm_xor_si128(state, load(at)), key->round[0]);
		for (unsigned r = 1; r < ROUNDS; r++)
			state = _mm_aesenc_si128(state, key->round[r]);
		state = _mm_aesenclast_si128(state, key->round[ROUNDS]);
		store(at, state);
	}
}

void aes_cbc_encrypt(const struct cbc_span *spans, unsigned count)
{
	struct schedule keys[WIDTH];

	for (unsigned first = 0; first < count; first += WIDTH) {
		unsigned n = count - first < WIDTH ? count - first : WIDTH;
		unsigned together = n == WIDTH ? spans[first].blocks : 0;

		for (unsigned i = 0; i < n; i += KEYS)
			expand(keys + i, spans + first + i, n - i < KEYS ? n - i : KEYS);
		for (unsigned i = 1; i < n; i++)
			together = spans[first + i].blocks < together ? spans[first + i].blocks : together;
		if (together > 0)
			encrypt_together(keys, spans + first, 0, together);
		for (unsigned i = 0; i < n; i++)
			encrypt_alone(&keys[i], &spans[first + i], together);
	}
	secret_wipe(keys, sizeof keys);
}
