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

/* A frame for us down to the header of its network layer, which made sense: what parse_frame() and neigh.c
 * stand on. The offsets are from the start of the frame and lie inside it. */
struct layout {
	uint16_t ethertype; /* host byte order, behind a VLAN tag */
	uint16_t vlan_tci;
	uint16_t network;   /* ARP, IPv4 or IPv6 */
	uint16_t transport; /* behind the IPv4 options */
	uint32_t transport_len;
	uint8_t protocol; /* of IPv4, or next header of IPv6 */
};
enum {
	ETHERTYPE_IP4 = 0x0800,
	ETHERTYPE_ARP4 = 0x0806,
	ETHERTYPE_IP6 = 0x86dd,
	PROTOCOL_ICMP = 1,
	PROTOCOL_UDP = 17,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_ICMPV6 = 58,
};

/* FRAME_RECORDS when the frame is an IP packet or an ARP message to us (of any protocol), with *out filled;
 * else the drop. */
enum frame_verdict layout_read(const struct local *local, const uint8_t *frame, size_t len,
			       struct layout *out);

/* The sum of the pseudo-header (RFC 768, RFC 8200 8.1) of the packet with the two addresses at `addresses`,
 * IPv4's or IPv6's; for checksum_fold(). */
uint64_t pseudo_header_sum(const uint8_t *addresses, bool ipv6, uint8_t protocol, uint32_t transport_len);

struct datagram {
	struct path path;
	const uint8_t *payload; /* inside the frame */
	uint16_t payload_len;   /* by the UDP header, checked against the frame */
};

/* FRAME_RECORDS with *out filled; FRAME_NEIGHBOUR or FRAME_ECHO for what neigh.c must look at; else the drop.
 * Reads nothing behind frame + len. IPv4 options are skipped; a chain of IPv6 extension headers is not for
 * us; a fragment is told apart before any checksum of UDP, which it cannot have. The IPv4 header's checksum
 * is always verified here, whatever the port says. RFC 768, RFC 791, RFC 8200, RFC 1122 3.2.1.3. Any thread.
 */
enum frame_verdict parse_frame(const struct local *local, const uint8_t *frame, size_t len,
			       enum checksum_state checksum, struct datagram *out);

/* Writes Ethernet (and VLAN), IP and UDP headers for payload_len bytes to path in front of the payload: they
 * end at `payload`. Returns the length of the headers: the frame starts at payload - that; 0 when there is no
 * address of ours of the peer's family, or payload_len does not fit one packet. The IPv4 header's checksum is
 * always complete. The UDP checksum is computed over the payload unless checksum_offload (then the
 * pseudo-header sum is written, for the port to add the rest). ip_id: host byte order, IPv4 only. Any thread.
 */
size_t frame_write_headers(const struct local *local, const struct path *path, uint8_t *payload,
			   size_t payload_len, uint16_t ip_id, bool checksum_offload);
enum { FRAME_HEADERS_MAX = 14 + 4 + 40 + 8 };

#endif
