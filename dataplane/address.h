/* How a peer is named and reached (pure). Addresses and ports are in network byte order, IPv4 as
 * ::ffff:a.b.c.d. */
#ifndef DATAPLANE_ADDRESS_H
#define DATAPLANE_ADDRESS_H

#include <stdint.h>

/* Hashed and compared as 18 bytes; the same 18 bytes enter the cookie's HMAC. */
struct peer_address {
	uint8_t ip[16];
	uint16_t port;
} __attribute__((packed));

/* Where to send what answers a packet: learnt from that packet. */
struct path {
	struct peer_address peer;
	uint8_t mac[6];    /* of the peer or of its router */
	uint16_t vlan_tci; /* host byte order; 0: untagged */
} __attribute__((packed));

#endif
