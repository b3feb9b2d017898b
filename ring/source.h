/* Which source address stands for which session towards the backend (pure): a table of sluice-forward, one
 * thread. A slot is an address of the net, counted from its start, so that an answer finds its session by
 * subtraction.
 *
 * A session's address follows from its reference and its identity, so that it is the same again when either
 * program restarts; another free one is taken when that one is in use. An address that a session gave back is
 * held for a while before another session gets it: a late answer must not reach a stranger.
 */
#ifndef RING_SOURCE_H
#define RING_SOURCE_H

#include "ring/sluice.h"

enum {
	SOURCE_NONE = 0,            /* no slot: slots start behind the net's own address and its first host */
	SOURCE_SLOTS_MAX = 1 << 24, /* of a larger net the first so many addresses are used */
	SOURCE_INDEX_MAX = 1 << 26, /* of sluice_ref.index: bounds the memory for finding */
	SOURCE_WORKERS_MAX = 64,
};

struct source_net {
	int family;     /* AF_INET or AF_INET6 */
	uint8_t ip[16]; /* the first 4 bytes for AF_INET */
	unsigned prefix_len;
};

/* "127.64.0.0/10" or "2001:db8::/64" of that family. False when it is not a net: bad syntax, bits set behind
 * the prefix, fewer than 8 addresses. */
bool source_net_parse(struct source_net *net, int family, const char *text);

struct source_pool;

/* hold_ns: how long a returned address stays unused. NULL when out of memory. */
struct source_pool *source_new(const struct source_net *net, uint64_t hold_ns);
void source_free(struct source_pool *p);

/* What a SESSION_UP says about who the peer is, as a number: of its credential and its identities. */
uint64_t source_fingerprint(const struct sluice_session_up *up);

/* Gives the session a slot, or the one that it has. An older generation of the same index gives its own back.
 * SOURCE_NONE: every address is in use or held, or ref is out of bounds, or out of memory. */
uint32_t source_take(struct source_pool *p, struct sluice_ref ref, uint64_t fingerprint, uint64_t now_ns);

/* Takes it back; the address is held from now on. Without a slot: nothing. */
void source_release(struct source_pool *p, struct sluice_ref ref, uint64_t now_ns);
void source_release_all(struct source_pool *p, uint64_t now_ns);

/* Per packet. The slot of a live session or SOURCE_NONE; the session that a slot stands for. */
uint32_t source_find(const struct source_pool *p, struct sluice_ref ref);
bool source_session(const struct source_pool *p, uint32_t slot, struct sluice_ref *ref);

/* Per packet. Slot to address (4 or 16 bytes) and back: SOURCE_NONE for an address that is not in use here.
 */
void source_address(const struct source_pool *p, uint32_t slot, uint8_t *ip);
uint32_t source_slot(const struct source_pool *p, const uint8_t *ip);

uint32_t source_live(const struct source_pool *p);
uint32_t source_capacity(const struct source_pool *p);

#endif
