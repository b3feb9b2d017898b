/* The table of handshakes in flight. The entries stay where they are while they live, so that a pointer to
 * one stays good; the open-addressing index beside them is what probes and shifts.
 *
 *   index[n]     entry number + 1, or 0: empty; linear probing from the hash, at most half full
 *   entries[max] in a list by age, or in the list of free ones
 *
 * The hash is SipHash under a secret seed: a peer chooses its address within a prefix, but cannot choose
 * where it lands.
 */
#include "dataplane/pending.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

enum { NONE = 0 }; /* entry numbers in lists and in the index count from 1 */

struct entry {
	struct pending pending; /* first: a pointer to it is a pointer to the entry */
	uint32_t hash;
	uint32_t older, newer; /* newer: the next free one, in the free list */
	bool used;
};

struct pending_table {
	uint64_t key[2];
	uint32_t max, count;
	uint32_t index_mask;
	uint32_t oldest, newest, free;
	uint32_t *index;
	struct entry *entries;
};

/* ---- SipHash-2-4 (Aumasson and Bernstein, 2012) of 18 bytes ---- */

static uint64_t rotate_left(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate_left(v[1], 13) ^ v[0];
	v[0] = rotate_left(v[0], 32);
	v[2] += v[3];
	v[3] = rotate_left(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate_left(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate_left(v[1], 17) ^ v[2];
	v[2] = rotate_left(v[2], 32);
}

static uint32_t hash_of(const struct pending_table *t, const struct peer_address *peer)
{
	uint64_t v[4] = {t->key[0] ^ 0x736f6d6570736575, t->key[1] ^ 0x646f72616e646f6d,
			 t->key[0] ^ 0x6c7967656e657261, t->key[1] ^ 0x7465646279746573};
	uint64_t words[3] = {[2] = (uint64_t)sizeof(*peer) << 56};

	memcpy(words, peer, sizeof(*peer));
	for (unsigned i = 0; i < 3; i++) {
		v[3] ^= words[i];
		sip_round(v);
		sip_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		sip_round(v);
	return (uint32_t)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

/* splitmix64: one seed of 64 bits becomes the two keys. */
static uint64_t next_key(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* ---- table ---- */

struct pending_table *pending_new(uint32_t max, uint64_t seed)
{
	struct pending_table *t = calloc(1, sizeof(*t));
	uint32_t size = 4;

	if (!t || max == 0 || max > UINT32_MAX / 4)
		goto err;
	while (size < 2 * max)
		size *= 2;
	t->key[0] = next_key(&seed);
	t->key[1] = next_key(&seed);
	t->max = max;
	t->index_mask = size - 1;
	t->index = calloc(size, sizeof(*t->index));
	t->entries = calloc(max, sizeof(*t->entries));
	if (!t->index || !t->entries)
		goto err;
	for (uint32_t n = max; n > 0; n--) {
		t->entries[n - 1].newer = t->free;
		t->free = n;
	}
	return t;
err:
	pending_free(t);
	return NULL;
}

void pending_free(struct pending_table *t)
{
	if (!t)
		return;
	secret_wipe(t->key, sizeof(t->key));
	free(t->index);
	free(t->entries);
	free(t);
}

/* Where in the index the peer's entry stands, or where the empty place is that ends its probes. */
static uint32_t find_place(const struct pending_table *t, const struct peer_address *peer, uint32_t hash)
{
	uint32_t place = hash & t->index_mask;

	while (t->index[place] != NONE) {
		const struct entry *e = &t->entries[t->index[place] - 1];

		if (e->hash == hash && memcmp(&e->pending.peer, peer, sizeof(*peer)) == 0)
			break;
		place = (place + 1) & t->index_mask;
	}
	return place;
}

struct pending *pending_find(struct pending_table *t, const struct peer_address *peer)
{
	uint32_t n;

	if (t->count == 0)
		return NULL;
	n = t->index[find_place(t, peer, hash_of(t, peer))];
	return n == NONE ? NULL : &t->entries[n - 1].pending;
}

struct pending *pending_add(struct pending_table *t, const struct peer_address *peer)
{
	uint32_t n = t->free;
	uint32_t hash = hash_of(t, peer);
	uint32_t place = find_place(t, peer, hash);
	struct entry *e;

	assert(t->index[place] == NONE); /* the caller has looked */
	if (n == NONE)
		return NULL;
	e = &t->entries[n - 1];
	t->free = e->newer;
	*e = (struct entry){.pending.peer = *peer, .hash = hash, .older = t->newest, .used = true};
	t->index[place] = n;
	if (t->newest != NONE)
		t->entries[t->newest - 1].newer = n;
	else
		t->oldest = n;
	t->newest = n;
	t->count++;
	return &e->pending;
}

struct pending *pending_oldest(struct pending_table *t)
{
	return t->oldest == NONE ? NULL : &t->entries[t->oldest - 1].pending;
}

/* Takes an entry out of the index. What follows in its cluster moves up unless its own hash lies behind the
 * gap, so that no probe meets an empty place too early. */
static void index_remove(struct pending_table *t, uint32_t gap)
{
	uint32_t place = gap;

	for (;;) {
		uint32_t home;

		place = (place + 1) & t->index_mask;
		if (t->index[place] == NONE)
			break;
		home = t->entries[t->index[place] - 1].hash & t->index_mask;
		if (((place - home) & t->index_mask) < ((place - gap) & t->index_mask))
			continue;
		t->index[gap] = t->index[place];
		gap = place;
	}
	t->index[gap] = NONE;
}

void pending_remove(struct pending_table *t, struct pending *p)
{
	struct entry *e = (struct entry *)(void *)p;
	uint32_t n = (uint32_t)(e - t->entries) + 1;

	assert(n <= t->max && e->used);
	index_remove(t, find_place(t, &p->peer, e->hash));
	if (e->older != NONE)
		t->entries[e->older - 1].newer = e->newer;
	else
		t->oldest = e->newer;
	if (e->newer != NONE)
		t->entries[e->newer - 1].older = e->older;
	else
		t->newest = e->older;
	*e = (struct entry){.newer = t->free};
	t->free = n;
	t->count--;
}

uint32_t pending_count(const struct pending_table *t)
{
	return t->count;
}
