/* A bucket of tokens that holds one second's worth, kept as the time at which it is, or will be, full: one
 * number does (GCRA). It belongs to one thread. All zero: full.
 */
#ifndef CONTROLPLANE_BUCKET_H
#define CONTROLPLANE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_SECOND_NS 1000000000ULL

struct bucket {
	uint64_t full_ns;
};

/* interval_ns: in which one token comes; 0: there is always one. */
static inline bool bucket_has(const struct bucket *b, uint64_t interval_ns, uint64_t now_ns)
{
	uint64_t full_ns = b->full_ns > now_ns ? b->full_ns : now_ns;

	return full_ns + interval_ns <= now_ns + BUCKET_SECOND_NS;
}

static inline void bucket_take(struct bucket *b, uint64_t interval_ns, uint64_t now_ns)
{
	b->full_ns = (b->full_ns > now_ns ? b->full_ns : now_ns) + interval_ns;
}

#endif
