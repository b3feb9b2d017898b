/* See admit.h. */
#include "controlplane/admit.h"

#include <stdlib.h>
#include <string.h>

#include "controlplane/bucket.h"

enum { BUCKETS = 1 << 16, PREFIX_V4 = 12 + 3, PREFIX_V6 = 7 };

struct admit {
	uint64_t seed;
	uint64_t interval_ns, interval_prefix_ns; /* of one token */
	struct bucket total;
	struct bucket *prefixes;
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static struct bucket *bucket_of(struct admit *a, const struct peer_address *peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	uint8_t prefix[16] = {0};
	uint64_t halves[2];

	memcpy(prefix, peer->ip, memcmp(peer->ip, mapped, sizeof mapped) == 0 ? PREFIX_V4 : PREFIX_V6);
	memcpy(halves, prefix, sizeof halves);
	return &a->prefixes[mix(mix(halves[0] ^ a->seed) ^ halves[1]) % BUCKETS];
}

enum admit_verdict admit_ask(struct admit *a, const struct peer_address *peer, uint64_t now_ns)
{
	struct bucket *prefix = bucket_of(a, peer);

	if (!bucket_has(&a->total, a->interval_ns, now_ns))
		return ADMIT_TOTAL_EXCEEDED;
	if (!bucket_has(prefix, a->interval_prefix_ns, now_ns))
		return ADMIT_PREFIX_EXCEEDED;
	bucket_take(&a->total, a->interval_ns, now_ns);
	bucket_take(prefix, a->interval_prefix_ns, now_ns);
	return ADMITTED;
}

struct admit *admit_new(uint32_t rate, uint32_t rate_prefix, uint64_t seed, uint64_t now_ns)
{
	struct admit *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	a->prefixes = calloc(BUCKETS, sizeof *a->prefixes);
	if (!a->prefixes) {
		free(a);
		return NULL;
	}
	a->seed = seed;
	a->interval_ns = BUCKET_SECOND_NS / (rate ? rate : 1);
	a->interval_prefix_ns = BUCKET_SECOND_NS / (rate_prefix ? rate_prefix : 1);
	a->total.full_ns = now_ns;
	return a;
}

void admit_free(struct admit *a)
{
	if (!a)
		return;
	free(a->prefixes);
	free(a);
}
