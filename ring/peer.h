/* Who stands behind each source address: what SESSION_UP told, kept by slot (source.h) for those who must
 * know later: the checks (edge.h) and the look-up (door.h). Exporter values are secrets and are not kept. A
 * table of sluice-forward, one thread. About 150 bytes per session.
 */
#ifndef RING_PEER_H
#define RING_PEER_H

#include "ring/sluice.h"

#include <sys/queue.h>

/* What the requests of a session are checked against: edge.h. */
enum edge_check { EDGE_NONE, EDGE_ONEM2M, EDGE_LWM2M, EDGE_CHECKS };

struct peer {
	LIST_ENTRY(peer) all;
	uint32_t slot;
	enum edge_check check;
	/* struct sluice_session_up with its fields, fields_len telling the bytes that are kept */
	_Alignas(8) uint8_t up[];
};

struct peers;

/* slots_end: one above the highest slot. NULL when out of memory. */
struct peers *peers_new(uint32_t slots_end);
void peers_free(struct peers *ps); /* NULL is fine */

/* Keeps a copy in the place of what was there. False when out of memory: nothing is there then. */
bool peer_set(struct peers *ps, uint32_t slot, enum edge_check check, const struct sluice_session_up *up);
/* NULL: nothing is known. */
const struct peer *peer_get(const struct peers *ps, uint32_t slot);
/* The session goes on from another address. */
void peer_moved(struct peers *ps, uint32_t slot, const struct sluice_address *to);
void peer_drop(struct peers *ps, uint32_t slot); /* of none: nothing */
void peers_clear(struct peers *ps);

const struct sluice_session_up *peer_up(const struct peer *p);

#endif
