/* The first step into the address index (pure): which bucket, which of its entries. In line, because a burst
 * of look-ups takes it for all its addresses before it goes on. See session_index.c.
 */
#ifndef DATAPLANE_SESSION_INDEX_H
#define DATAPLANE_SESSION_INDEX_H

#include <string.h>

#include "dataplane/session_table.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static inline uint64_t index_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t index_hash(const struct session_table *t, const struct peer_address *address)
{
	const uint64_t *seed = t->hash_seed;
	uint64_t low, high;

	memcpy(&low, address->ip, 8);
	memcpy(&high, address->ip + 8, 8);
	return index_fold(index_fold(low ^ seed[0], high ^ seed[1]) ^ seed[2], address->port ^ seed[3]);
}

static inline struct index_bucket *index_bucket(const struct session_table *t, uint64_t hash)
{
	return &t->index[(hash >> 32) * t->buckets >> 32];
}

static inline uint16_t index_tag(uint64_t hash)
{
	uint16_t tag = (uint16_t)hash;

	return tag ? tag : 1;
}

#if defined(__SSE2__)

/* Bit i: tag i is there. The second load runs over into the slots, the mask forgets them. */
static inline unsigned index_match_tag(const struct index_bucket *b, uint16_t tag)
{
	__m128i wanted = _mm_set1_epi16((short)tag);
	__m128i low = _mm_cmpeq_epi16(_mm_load_si128((const __m128i *)b), wanted);
	__m128i high = _mm_cmpeq_epi16(_mm_load_si128((const __m128i *)b + 1), wanted);

	return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(low, high)) & ((1U << INDEX_WAYS) - 1);
}

#else

static inline unsigned index_match_tag(const struct index_bucket *b, uint16_t tag)
{
	unsigned matches = 0;

	for (unsigned i = 0; i < INDEX_WAYS; i++)
		matches |= (unsigned)(b->tags[i] == tag) << i;
	return matches;
}

#endif

/* Bit i: entry i may be it. */
static inline unsigned index_match(const struct index_bucket *b, uint64_t hash)
{
	return index_match_tag(b, index_tag(hash));
}

#endif
