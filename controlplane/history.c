/* See history.h. */
#include "controlplane/history.h"

#include <stdlib.h>
#include <string.h>

enum { LOOK_AT_MAX = 4096 /* entries of one chain, per search */ };

enum chain { CHAIN_NAME, CHAIN_IDENTITY, CHAIN_ADDRESS, CHAINS };

struct entry {
	struct history_attempt attempt;
	TAILQ_ENTRY(entry) age;
	LIST_ENTRY(entry) links[CHAINS];
	bool linked[CHAINS];
};

TAILQ_HEAD(entry_queue, entry);
LIST_HEAD(entry_chain, entry);

struct history {
	struct entry *entries;
	struct entry_chain *chains; /* CHAINS times mask + 1 */
	uint32_t mask, max, count;
	uint64_t seed;
	struct entry_queue ages; /* newest first */
};

struct history *history_new(uint32_t max, uint64_t seed)
{
	struct history *h = calloc(1, sizeof *h);
	uint32_t size = 16;

	if (!h)
		return NULL;
	while (size < max)
		size *= 2;
	h->entries = calloc(max, sizeof h->entries[0]);
	h->chains = calloc((size_t)size * CHAINS, sizeof h->chains[0]);
	if (!h->entries || !h->chains) {
		history_free(h);
		return NULL;
	}
	h->mask = size - 1;
	h->max = max;
	h->seed = seed;
	TAILQ_INIT(&h->ages);
	return h;
}

void history_free(struct history *h)
{
	if (!h)
		return;
	free(h->entries);
	free(h->chains);
	free(h);
}

uint32_t history_count(const struct history *h)
{
	return h->count;
}

/* FNV-1a, from a secret start. */
static struct entry_chain *chain_of(const struct history *h, enum chain kind, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint64_t hash = h->seed ^ (0xcbf29ce484222325ULL + (uint64_t)kind);

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ at[i]) * 0x100000001b3ULL;
	return &h->chains[(size_t)kind * (h->mask + 1) + ((hash ^ hash >> 32) & h->mask)];
}

static void link_in(struct history *h, struct entry *e, enum chain kind, const void *bytes, size_t len)
{
	e->linked[kind] = len > 0;
	if (len > 0)
		LIST_INSERT_HEAD(chain_of(h, kind, bytes, len), e, links[kind]);
}

static void unlink_all(struct history *h, struct entry *e)
{
	for (unsigned kind = 0; kind < CHAINS; kind++) {
		if (e->linked[kind])
			LIST_REMOVE(e, links[kind]);
	}
	TAILQ_REMOVE(&h->ages, e, age);
}

/* The same credential of the same tenant, or the same address where neither has told a credential. */
static bool same_device(const struct history_attempt *a, const struct history_attempt *b)
{
	if (a->name_len != b->name_len || a->credential != b->credential || strcmp(a->tenant, b->tenant) != 0)
		return false;
	return a->name_len > 0 ? memcmp(a->name, b->name, a->name_len) == 0
			       : memcmp(a->peer.ip, b->peer.ip, sizeof a->peer.ip) == 0;
}

/* The oldest attempt of the device, when it has as many as it may. */
static struct entry *oldest_of_device(const struct history *h, const struct history_attempt *a)
{
	enum chain kind = a->name_len > 0 ? CHAIN_NAME : CHAIN_ADDRESS;
	const void *key = a->name_len > 0 ? (const void *)a->name : a->peer.ip;
	size_t len = a->name_len > 0 ? a->name_len : sizeof a->peer.ip;
	unsigned found = 0, looked = 0;
	struct entry *e;

	LIST_FOREACH(e, chain_of(h, kind, key, len), links[kind])
	{
		if (same_device(&e->attempt, a) && ++found == HISTORY_PER_DEVICE)
			return e;
		if (++looked == LOOK_AT_MAX)
			return NULL;
	}
	return NULL;
}

void history_add(struct history *h, const struct history_attempt *attempt)
{
	struct entry *e = oldest_of_device(h, attempt);

	if (!e && h->count == h->max)
		e = TAILQ_LAST(&h->ages, entry_queue);
	if (e)
		unlink_all(h, e);
	else
		e = &h->entries[h->count++];
	e->attempt = *attempt;
	link_in(h, e, CHAIN_NAME, attempt->name, attempt->name_len);
	link_in(h, e, CHAIN_IDENTITY, attempt->identity, strlen(attempt->identity));
	link_in(h, e, CHAIN_ADDRESS, attempt->peer.ip, sizeof attempt->peer.ip);
	TAILQ_INSERT_HEAD(&h->ages, e, age);
}

/* ---- searching */

static bool named(const struct history_attempt *a, enum chain kind, const struct history_query *q)
{
	if (kind == CHAIN_NAME)
		return a->name_len == q->name_len && memcmp(a->name, q->name, q->name_len) == 0;
	return strlen(a->identity) == q->name_len && memcmp(a->identity, q->name, q->name_len) == 0;
}

static bool matches(const struct history_attempt *a, enum chain kind, const struct history_query *q)
{
	if (q->tenant && strcmp(a->tenant, q->tenant) != 0)
		return false;
	if (kind == CHAIN_ADDRESS)
		return memcmp(a->peer.ip, q->peer.ip, sizeof a->peer.ip) == 0 &&
		       (q->peer.port == 0 || a->peer.port == q->peer.port);
	/* Found in the chain of names already. */
	if (kind == CHAIN_IDENTITY && named(a, CHAIN_NAME, q))
		return false;
	return named(a, kind, q);
}

static unsigned search(const struct history *h, enum chain kind, const struct history_query *q,
		       const struct history_attempt **out, unsigned most)
{
	const void *key = kind == CHAIN_ADDRESS ? (const void *)q->peer.ip : q->name;
	size_t len = kind == CHAIN_ADDRESS ? sizeof q->peer.ip : q->name_len;
	unsigned found = 0, looked = 0;
	const struct entry *e;

	LIST_FOREACH(e, chain_of(h, kind, key, len), links[kind])
	{
		if (found == most || looked++ == LOOK_AT_MAX)
			break;
		if (matches(&e->attempt, kind, q))
			out[found++] = &e->attempt;
	}
	return found;
}

static int newer_first(const void *a, const void *b)
{
	const struct history_attempt *const *left = a, *const *right = b;

	return ((*left)->ended_ms < (*right)->ended_ms) - ((*left)->ended_ms > (*right)->ended_ms);
}

unsigned history_find(const struct history *h, const struct history_query *q,
		      const struct history_attempt **out, unsigned most)
{
	unsigned names;

	if (q->name_len == 0)
		return search(h, CHAIN_ADDRESS, q, out, most);
	names = search(h, CHAIN_NAME, q, out, most);
	most = names + search(h, CHAIN_IDENTITY, q, out + names, most - names);
	if (most > names && names > 0)
		qsort((void *)out, most, sizeof out[0], newer_first);
	return most;
}
