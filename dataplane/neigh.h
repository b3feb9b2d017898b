/* ARP (RFC 826), IPv6 neighbour discovery (RFC 4861, solicitations for our addresses) and ICMP echo, v4 and
 * v6 (pure). */
#ifndef DATAPLANE_NEIGH_H
#define DATAPLANE_NEIGH_H

#include "dataplane/parse.h"

/* Turns the request in frame into its answer in place. Returns the answer's length, 0 when there is none to
 * send (not for us, malformed, to a broadcast address). The answer is never longer than room. */
size_t neigh_answer(const struct local *local, uint8_t *frame, size_t len, size_t room);

/* A gratuitous ARP or unsolicited neighbour advertisement for start-up; returns its length. */
size_t neigh_announce(const struct local *local, bool ipv6, uint8_t *frame, size_t room);

#endif
