/* From an Ethernet frame to a UDP datagram for us (pure). */
#ifndef DATAPLANE_PARSE_H
#define DATAPLANE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/address.h"
#include "dataplane/verdict.h"

/* What the port accepts; constant after start. */
struct local {
	uint8_t mac[6];
	uint8_t ipv4[4]; /* network byte order; has_ipv4 */
	uint8_t ipv6[16];
	uint8_t ipv6_link_local[16]; /* from the MAC, also answered in neighbour discovery */
	bool has_ipv4, has_ipv6;
	uint16_t udp_port; /* network byte order */
	uint16_t vlan_id;  /* 0: untagged only */
};

/* What the port says of the checksums, and what remains to be verified. */
enum checksum_state {
	CHECKSUM_GOOD,             /* verified by the port, or a virtual port's word for it */
	CHECKSUM_VERIFY,           /* verify in software */
	CHECKSUM_VERIFY_OR_PSEUDO, /* virtual ports: also accept the bare pseudo-header sum (facts: af_packet
				      on veth) */
	CHECKSUM_BAD,
};

struct datagram {
	struct path path;
	const uint8_t *payload; /* inside the frame */
	uint16_t payload_len;   /* by the UDP header, checked against the frame */
	bool ipv6;
};

/* FRAME_RECORDS with *out filled; FRAME_NEIGHBOUR or FRAME_ECHO for what neigh.c must look at; else the drop.
 * Reads nothing behind frame + len. RFC 768, RFC 791, RFC 8200 (a chain of extension headers is not for us),
 * RFC 1122 3.2.1.3. */
enum frame_verdict parse_frame(const struct local *local, const uint8_t *frame, size_t len,
			       enum checksum_state checksum, struct datagram *out);

/* Writes Ethernet (and VLAN), IP and UDP headers for payload_len bytes to path in front of the payload: they
 * end at `payload`. Returns the length of the headers: the frame starts at payload - that. UDP checksum
 * computed in software over the payload unless checksum_offload (then the pseudo-header sum is written). */
size_t frame_write_headers(const struct local *local, const struct path *path, uint8_t *payload,
			   size_t payload_len, uint16_t ip_id, bool checksum_offload);
enum { FRAME_HEADERS_MAX = 14 + 4 + 40 + 8 };

#endif
