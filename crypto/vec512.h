/* What the kernels on lanes need of the instruction set, on 512-bit registers: AVX-512 and VAES. Four records
 * per register. Included by engines that are compiled for it.
 */
#ifndef CRYPTO_VEC512_H
#define CRYPTO_VEC512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 4

typedef __m512i vec;

static inline vec vec_xor(vec a, vec b)
{
	return _mm512_xor_si512(a, b);
}

static inline vec vec_and(vec a, vec b)
{
	return _mm512_and_si512(a, b);
}

static inline vec vec_or(vec a, vec b)
{
	return _mm512_or_si512(a, b);
}

static inline vec vec_zero(void)
{
	return _mm512_setzero_si512();
}

/* a where the mask's bits are ones, b where they are zeros. */
static inline vec vec_select(vec mask, vec a, vec b)
{
	return _mm512_ternarylogic_epi32(mask, a, b, 0xca);
}

static inline vec vec_aesenc(vec state, vec key)
{
	return _mm512_aesenc_epi128(state, key);
}

static inline vec vec_aesenclast(vec state, vec key)
{
	return _mm512_aesenclast_epi128(state, key);
}

static inline vec vec_shuffle(vec bytes, vec order)
{
	return _mm512_shuffle_epi8(bytes, order);
}

static inline vec vec_sub16(vec a, vec b)
{
	return _mm512_sub_epi16(a, b);
}

static inline vec vec_min16(vec a, vec b)
{
	return _mm512_min_epu16(a, b);
}

static inline vec vec_max16(vec a, vec b)
{
	return _mm512_max_epu16(a, b);
}

/* A bit for every 64 that are zero, the lowest for the first. */
static inline unsigned vec_zeros64(vec value)
{
	return _mm512_cmpeq_epi64_mask(value, vec_zero());
}

/* low[lane] and eight bytes of zeros in each lane. */
static inline vec vec_set64(const uint64_t low[LANES])
{
	return _mm512_set_epi64(0, (long long)low[3], 0, (long long)low[2], 0, (long long)low[1], 0,
				(long long)low[0]);
}

/* 16 bytes in every lane, little endian. */
static inline vec vec_pattern(uint64_t low, uint64_t high)
{
	return _mm512_set_epi64((long long)high, (long long)low, (long long)high, (long long)low,
				(long long)high, (long long)low, (long long)high, (long long)low);
}

static inline vec vec_set32(unsigned value)
{
	return _mm512_set1_epi32((int)value);
}

static inline vec vec_set16(unsigned value)
{
	return _mm512_set1_epi16((short)value);
}

/* Every 16 bits, signed, between 0 and limit. */
static inline vec vec_clamp16(vec value, unsigned limit)
{
	return _mm512_min_epi16(_mm512_max_epi16(value, vec_zero()), vec_set16(limit));
}

/* Ones in every byte in which a > b, signed. */
static inline vec vec_greater8(vec a, vec b)
{
	return _mm512_movm_epi8(_mm512_cmpgt_epi8_mask(a, b));
}

/* The same 16 bytes in every lane. */
static inline vec vec_broadcast(const uint8_t *block)
{
	return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)block));
}

static inline vec vec_unpacklo32(vec a, vec b)
{
	return _mm512_unpacklo_epi32(a, b);
}

static inline vec vec_unpackhi32(vec a, vec b)
{
	return _mm512_unpackhi_epi32(a, b);
}

static inline vec vec_unpacklo64(vec a, vec b)
{
	return _mm512_unpacklo_epi64(a, b);
}

static inline vec vec_unpackhi64(vec a, vec b)
{
	return _mm512_unpackhi_epi64(a, b);
}

/* Keeps the compiler from loading the value once per use. */
static inline vec vec_held(vec value)
{
	__asm__("" : "+v"(value));
	return value;
}

/* 16 bytes from from[lane] + offset in each lane. */
static inline vec vec_load_lanes(const uint8_t *const *from, size_t offset)
{
	vec blocks = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(from[0] + offset)));

	for (unsigned i = 1; i < LANES; i++)
		blocks = _mm512_mask_broadcast_i64x2(blocks, (__mmask8)(3U << 2 * i),
						     _mm_loadu_si128((const __m128i *)(from[i] + offset)));
	return blocks;
}

static inline void vec_store_lanes(uint8_t *const *to, size_t offset, vec blocks)
{
	_mm_storeu_si128((__m128i *)(to[0] + offset), _mm512_castsi512_si128(blocks));
	_mm_storeu_si128((__m128i *)(to[1] + offset), _mm512_extracti64x2_epi64(blocks, 1));
	_mm_storeu_si128((__m128i *)(to[2] + offset), _mm512_extracti64x2_epi64(blocks, 2));
	_mm_storeu_si128((__m128i *)(to[3] + offset), _mm512_extracti64x2_epi64(blocks, 3));
}

/* ---- For GHASH, in files that are compiled with carry-less multiplication ---- */

#ifdef __VPCLMULQDQ__

static inline vec vec_multiply_low(vec a, vec b)
{
	return _mm512_clmulepi64_epi128(a, b, 0x00);
}

static inline vec vec_multiply_high(vec a, vec b)
{
	return _mm512_clmulepi64_epi128(a, b, 0x11);
}

/* The low half of each of a's lanes by the high half of b's. */
static inline vec vec_multiply_low_high(vec a, vec b)
{
	return _mm512_clmulepi64_epi128(a, b, 0x10);
}

static inline vec vec_multiply_high_low(vec a, vec b)
{
	return _mm512_clmulepi64_epi128(a, b, 0x01);
}

static inline vec vec_swap64(vec value)
{
	return _mm512_shuffle_epi32(value, _MM_PERM_BADC);
}

#define vec_shift_left64(value, bits) _mm512_slli_epi64(value, bits)

/* Every 64 bits times two. */
static inline vec vec_double64(vec value)
{
	return _mm512_add_epi64(value, value);
}

/* What doubling a lane loses or has to carry: its sign in the lowest 32 bits and the highest, the sign of its
 * low half in the third.
 */
static inline vec vec_signs_for_double(vec value)
{
	return _mm512_srai_epi32(_mm512_shuffle_epi32(value, _MM_PERM_DBAD), 31);
}

#endif

#endif
