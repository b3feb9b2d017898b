/* ARP (RFC 826), IPv6 neighbour discovery (RFC 4861, solicitations for our addresses) and ICMP echo, v4 and
 * v6 (pure). */
#ifndef DATAPLANE_NEIGH_H
#define DATAPLANE_NEIGH_H

#include "dataplane/parse.h"

/* Turns the request in frame, which holds len bytes and has room for `room`, into its answer in place.
 * Returns the answer's length, 0 when there is none to send (not for us, malformed, wrong checksum, to or
 * from a group address): the frame is unchanged then. An answer is padded to the least length of an Ethernet
 * frame where there is room. Any thread. */
size_t neigh_answer(const struct local *local, uint8_t *frame, size_t len, size_t room);

/* Writes an announcement of our address for start-up: RFC 5227 2.3 (ARP) or an unsolicited neighbour
 * advertisement, RFC 4861 7.2.6. Returns its length; 0 when there is no address of that family or less room
 * than 90 bytes. Any thread. */
size_t neigh_announce(const struct local *local, bool ipv6, uint8_t *frame, size_t room);

#endif
