/* Times in nanoseconds, kept to 6 % (16 steps per power of two): enough for percentiles, in 8 KiB. */
#ifndef BENCH_SWARM_HISTOGRAM_H
#define BENCH_SWARM_HISTOGRAM_H

#include <stdint.h>

enum { HISTOGRAM_STEPS = 16, HISTOGRAM_BUCKETS = 64 * HISTOGRAM_STEPS };

struct histogram {
	uint64_t count, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
	unsigned log = ns < HISTOGRAM_STEPS ? 3 : 63U - (unsigned)__builtin_clzll(ns);
	uint64_t step = ns < HISTOGRAM_STEPS ? ns : (ns >> (log - 4)) & (HISTOGRAM_STEPS - 1);

	h->buckets[(ns < HISTOGRAM_STEPS ? 0 : log - 3) * HISTOGRAM_STEPS + step]++;
	h->count++;
	if (ns > h->max)
		h->max = ns;
}

/* The time below which that share (0..1) of all lies; 0 when there are none. */
static inline uint64_t histogram_percentile(const struct histogram *h, double share)
{
	uint64_t want = (uint64_t)(share * (double)h->count), seen = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		unsigned row = i / HISTOGRAM_STEPS;
		uint64_t step = i % HISTOGRAM_STEPS;

		seen += h->buckets[i];
		if (seen > want)
			return row == 0 ? step : (HISTOGRAM_STEPS + step) << (row - 1);
	}
	return h->max;
}

#endif
