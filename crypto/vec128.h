/* What the kernels on lanes need of the instruction set, on 128-bit registers: AES-NI and PCLMULQDQ in the
 * AVX encoding. One record per register. Included by engines that are compiled for it.
 */
#ifndef CRYPTO_VEC128_H
#define CRYPTO_VEC128_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 1

typedef __m128i vec;

static inline vec vec_xor(vec a, vec b)
{
	return _mm_xor_si128(a, b);
}

static inline vec vec_and(vec a, vec b)
{
	return _mm_and_si128(a, b);
}

static inline vec vec_or(vec a, vec b)
{
	return _mm_or_si128(a, b);
}

static inline vec vec_zero(void)
{
	return _mm_setzero_si128();
}

/* a where the mask's bytes are ones, b where they are zeros. */
static inline vec vec_select(vec mask, vec a, vec b)
{
	return _mm_blendv_epi8(b, a, mask);
}

static inline vec vec_aesenc(vec state, vec key)
{
	return _mm_aesenc_si128(state, key);
}

static inline vec vec_aesenclast(vec state, vec key)
{
	return _mm_aesenclast_si128(state, key);
}

static inline vec vec_shuffle(vec bytes, vec order)
{
	return _mm_shuffle_epi8(bytes, order);
}

static inline vec vec_sub16(vec a, vec b)
{
	return _mm_sub_epi16(a, b);
}

static inline vec vec_min16(vec a, vec b)
{
	return _mm_min_epu16(a, b);
}

static inline vec vec_max16(vec a, vec b)
{
	return _mm_max_epu16(a, b);
}

/* A bit for every 64 that are zero, the lowest for the first. */
static inline unsigned vec_zeros64(vec value)
{
	return (unsigned)_mm_movemask_pd(_mm_castsi128_pd(_mm_cmpeq_epi64(value, vec_zero())));
}

/* low[lane] and eight bytes of zeros in each lane. */
static inline vec vec_set64(const uint64_t low[LANES])
{
	return _mm_set_epi64x(0, (long long)low[0]);
}

/* 16 bytes in every lane, little endian. */
static inline vec vec_pattern(uint64_t low, uint64_t high)
{
	return _mm_set_epi64x((long long)high, (long long)low);
}

static inline vec vec_set32(unsigned value)
{
	return _mm_set1_epi32((int)value);
}

static inline vec vec_set16(unsigned value)
{
	return _mm_set1_epi16((short)value);
}

/* Every 16 bits, signed, between 0 and limit. */
static inline vec vec_clamp16(vec value, unsigned limit)
{
	return _mm_min_epi16(_mm_max_epi16(value, vec_zero()), vec_set16(limit));
}

/* Ones in every byte in which a > b, signed. */
static inline vec vec_greater8(vec a, vec b)
{
	return _mm_cmpgt_epi8(a, b);
}

/* The same 16 bytes in every lane. */
static inline vec vec_broadcast(const uint8_t *block)
{
	return _mm_loadu_si128((const __m128i *)block);
}

static inline vec vec_unpacklo32(vec a, vec b)
{
	return _mm_unpacklo_epi32(a, b);
}

static inline vec vec_unpackhi32(vec a, vec b)
{
	return _mm_unpackhi_epi32(a, b);
}

static inline vec vec_unpacklo64(vec a, vec b)
{
	return _mm_unpacklo_epi64(a, b);
}

static inline vec vec_unpackhi64(vec a, vec b)
{
	return _mm_unpackhi_epi64(a, b);
}

/* Keeps the compiler from loading the value once per use: two loads per cycle are what the AES units can eat.
 */
static inline vec vec_held(vec value)
{
	__asm__("" : "+x"(value));
	return value;
}

/* 16 bytes from from[0] + offset. */
static inline vec vec_load_lanes(const uint8_t *const *from, size_t offset)
{
	return _mm_loadu_si128((const __m128i *)(from[0] + offset));
}

static inline void vec_store_lanes(uint8_t *const *to, size_t offset, vec blocks)
{
	_mm_storeu_si128((__m128i *)(to[0] + offset), blocks);
}

/* ---- For GHASH, in files that are compiled with carry-less multiplication ---- */

#ifdef __PCLMUL__

static inline vec vec_multiply_low(vec a, vec b)
{
	return _mm_clmulepi64_si128(a, b, 0x00);
}

static inline vec vec_multiply_high(vec a, vec b)
{
	return _mm_clmulepi64_si128(a, b, 0x11);
}

/* The low half of each of a's lanes by the high half of b's. */
static inline vec vec_multiply_low_high(vec a, vec b)
{
	return _mm_clmulepi64_si128(a, b, 0x10);
}

static inline vec vec_multiply_high_low(vec a, vec b)
{
	return _mm_clmulepi64_si128(a, b, 0x01);
}

static inline vec vec_swap64(vec value)
{
	return _mm_shuffle_epi32(value, 0x4e);
}

#define vec_shift_left64(value, bits) _mm_slli_epi64(value, bits)

/* Every 64 bits times two. */
static inline vec vec_double64(vec value)
{
	return _mm_add_epi64(value, value);
}

/* What doubling a lane loses or has to carry: its sign in the lowest 32 bits and the highest, the sign of its
 * low half in the third.
 */
static inline vec vec_signs_for_double(vec value)
{
	return _mm_srai_epi32(_mm_shuffle_epi32(value, 0xd3), 31);
}

#endif

#endif
