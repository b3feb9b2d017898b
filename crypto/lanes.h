/* Rows of records for the kernels that work on a burst with one record per 128-bit lane (crypto/ccm_lanes.h,
 * crypto/gcm_lanes.h). A template: the file that includes it has chosen the register width by one of the
 * crypto/vec*.h, which define `vec`, LANES and the vec_*() functions.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "crypto/aead.h"

enum {
	VECS = 4,             /* registers per row */
	GROUP = VECS * LANES, /* records per group */
	ROUNDS_MAX = 14,
	BLOCK = 16,
	EXPLICIT = 8, /* nonce_explicit */
	DATA_MAX = RECORD_FRAGMENT_MAX,
};

/* A row in registers. Not an array: nothing of it shall ever stand in memory. */
struct quad {
	vec a, b, c, d;
};

/* One block of each record of a group; as bytes, lane by lane, while it is put together. */
union row {
	struct quad q;
	vec v[VECS];
	uint64_t half[GROUP][2];
	uint8_t byte[GROUP][BLOCK];
};

/* A register by 16-bit words, lane by lane. */
union lanes {
	vec v;
	uint16_t word[LANES][BLOCK / 2];
};

/* The parameters are constants in each instance of the kernel: nothing of it may be compiled apart from them.
 */
#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t load64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

INLINE uint32_t load32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

INLINE void store64(uint8_t *to, uint64_t value)
{
	memcpy(to, &value, sizeof(value));
}

INLINE uint16_t min16(uint16_t a, uint16_t b)
{
	return a < b ? a : b;
}

INLINE uint16_t max16(uint16_t a, uint16_t b)
{
	return a > b ? a : b;
}

INLINE struct quad quad_xor(struct quad x, struct quad y)
{
	return (struct quad){vec_xor(x.a, y.a), vec_xor(x.b, y.b), vec_xor(x.c, y.c), vec_xor(x.d, y.d)};
}

INLINE struct quad quad_aesenc(struct quad state, struct quad key)
{
	return (struct quad){vec_aesenc(state.a, key.a), vec_aesenc(state.b, key.b),
			     vec_aesenc(state.c, key.c), vec_aesenc(state.d, key.d)};
}

INLINE struct quad quad_aesenclast(struct quad state, struct quad key)
{
	return (struct quad){vec_aesenclast(state.a, key.a), vec_aesenclast(state.b, key.b),
			     vec_aesenclast(state.c, key.c), vec_aesenclast(state.d, key.d)};
}

INLINE struct quad quad_held(struct quad x)
{
	return (struct quad){vec_held(x.a), vec_held(x.b), vec_held(x.c), vec_held(x.d)};
}

/* Word i of every key in register i <-> one key per lane; its own inverse. */
INLINE struct quad transpose(struct quad in)
{
	vec ab = vec_unpacklo32(in.a, in.b);
	vec cd = vec_unpacklo32(in.c, in.d);
	vec ef = vec_unpackhi32(in.a, in.b);
	vec gh = vec_unpackhi32(in.c, in.d);

	return (struct quad){vec_unpacklo64(ab, cd), vec_unpackhi64(ab, cd), vec_unpacklo64(ef, gh),
			     vec_unpackhi64(ef, gh)};
}
