/* The peers whose ClientHello carried a valid cookie and whose handshake is in flight (pure): only they may
 * send handshake records to the control thread. Fixed size, open addressing; owner: the worker.
 */
#ifndef DATAPLANE_PENDING_H
#define DATAPLANE_PENDING_H

#include "dataplane/address.h"
#include "ring/sluice.h"

struct pending_table;

struct pending {
	struct peer_address peer;
	uint8_t random[32];    /* of the ClientHello: another one from the same peer starts anew */
	struct sluice_ref ref; /* its reserved session */
	uint32_t records;      /* given to control so far */
};

/* Start and stop. max: entries, at least 1; seed: random, secret. NULL when out of memory. */
struct pending_table *pending_new(uint32_t max, uint64_t seed);
void pending_free(struct pending_table *t); /* NULL is fine */

/* A pointer to an entry stays good until that entry is removed. */
struct pending *pending_find(struct pending_table *t, const struct peer_address *peer);
/* A new entry with the peer set and the rest zero; NULL when max are in flight. The caller has checked that
 * the peer is not there yet. */
struct pending *pending_add(struct pending_table *t, const struct peer_address *peer);
/* The entry that was added first of those in flight; NULL when there is none. */
struct pending *pending_oldest(struct pending_table *t);
void pending_remove(struct pending_table *t, struct pending *p);
uint32_t pending_count(const struct pending_table *t);

#endif
