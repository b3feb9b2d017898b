/* Frames on their way from the worker that received them to the worker that owns their session: RFC 9146 CIDs
 * name the owner; where the port does not spread by the UDP 4-tuple itself, a hash of the peer does. One SPSC
 * rte_ring per pair.
 */
#ifndef DATAPLANE_STEER_H
#define DATAPLANE_STEER_H

#include <rte_mbuf.h>
#include <stdbool.h>

struct steer;
struct worker;
struct burst;

/* Main thread. NULL when out of memory. by_hash: the port has no RSS of its own. */
struct steer *steer_new(unsigned workers, bool by_hash, uint32_t seed);
void steer_free(struct steer *s); /* frees frames still inside; NULL is fine */

/* Worker. Takes frames that others sent to it, beginning with those of `first`: who counts it up by call lets
 * none of them keep the others waiting. steer NULL (one worker): 0. */
unsigned steer_take(struct steer *s, unsigned worker, unsigned first, struct rte_mbuf **mbufs, unsigned n);

/* Worker. Sends frames that another worker owns there, FRAME_STEERED (or FRAME_DROP_STEER_FULL). A frame is
 * steered once: one that came from another worker stays. */
void steer_burst(struct worker *w, struct burst *b);

#endif
