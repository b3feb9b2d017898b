/* The address index of the session table (pure). A bucket is one cache line and holds ten entries of a 16-bit
 * tag and a slot; a full table has five per bucket on average, so that one line nearly always decides. What
 * does not fit goes to overflow buckets, of which there are enough for any distribution: an insertion cannot
 * fail. The address itself stands in the session's send line, which every record needs anyway.
 *
 * The hash is keyed with random bytes: nobody outside can choose addresses that fall together.
 */
#include "dataplane/session_index.h"

#include <string.h>

#include "crypto/always.h"

/* Entries in use: they come first. */
static unsigned bucket_count(const struct index_bucket *b)
{
	return INDEX_WAYS - (unsigned)__builtin_popcount(index_match_tag(b, 0));
}

/* The entry of the address, or NULL. */
static uint32_t *entry_find(const struct session_table *t, const struct peer_address *address, uint64_t hash)
{
	struct index_bucket *b = index_bucket(t, hash);

	for (;;) {
		for (unsigned matches = index_match(b, hash); matches; matches &= matches - 1) {
			uint32_t *slot = &b->slots[__builtin_ctz(matches)];

			if (memcmp(&t->lines.tx[*slot].path.peer, address, sizeof(*address)) == 0)
				return slot;
		}
		if (b->next == 0)
			return NULL;
		b = &t->index[b->next];
	}
}

uint32_t index_find(const struct session_table *t, const struct peer_address *address, uint64_t hash)
{
	const uint32_t *slot = entry_find(t, address, hash);

	return slot ? *slot : SESSION_NONE;
}

/* There is always one: session_layout_make() counts them. */
static uint32_t overflow_take(struct session_table *t)
{
	struct session_head *h = t->head;
	uint32_t number = h->overflow_free;

	if (number) {
		h->overflow_free = t->index[number].next;
		t->index[number].next = 0;
		return number;
	}
	always_assert(h->overflow_used < h->layout.overflow);
	number = h->layout.buckets + h->overflow_used++;
	return number;
}

uint32_t index_set(struct session_table *t, const struct peer_address *address, uint32_t slot)
{
	uint64_t hash = index_hash(t, address);
	uint32_t *entry = entry_find(t, address, hash);
	struct index_bucket *b = index_bucket(t, hash);
	unsigned count;

	if (entry) {
		uint32_t before = *entry;

		*entry = slot;
		return before;
	}
	while (b->next)
		b = &t->index[b->next];
	count = bucket_count(b);
	if (count == INDEX_WAYS) {
		b->next = overflow_take(t);
		b = &t->index[b->next];
		count = 0;
	}
	b->tags[count] = index_tag(hash);
	b->slots[count] = slot;
	return SESSION_NONE;
}

/* The last entry of the chain fills the hole, so that only the last bucket of a chain is ever not full. */
static void entry_clear(struct session_table *t, uint64_t hash, struct index_bucket *hole, unsigned at)
{
	struct index_bucket *before = NULL;
	struct index_bucket *last = index_bucket(t, hash);
	unsigned count;

	while (last->next) {
		before = last;
		last = &t->index[last->next];
	}
	count = bucket_count(last);
	hole->tags[at] = last->tags[count - 1];
	hole->slots[at] = last->slots[count - 1];
	last->tags[count - 1] = 0;
	last->slots[count - 1] = 0;
	if (count == 1 && before) {
		last->next = t->head->overflow_free;
		t->head->overflow_free = before->next;
		before->next = 0;
	}
}

void index_remove(struct session_table *t, const struct peer_address *address, uint32_t slot)
{
	uint64_t hash = index_hash(t, address);
	struct index_bucket *b = index_bucket(t, hash);

	for (;;) {
		for (unsigned matches = index_match(b, hash); matches; matches &= matches - 1) {
			unsigned at = (unsigned)__builtin_ctz(matches);

			if (b->slots[at] == slot) {
				entry_clear(t, hash, b, at);
				return;
			}
		}
		if (b->next == 0)
			return;
		b = &t->index[b->next];
	}
}
