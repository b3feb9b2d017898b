/* From an Ethernet frame to a UDP datagram for us, and back: headers read and checked, headers written. Every
 * length comes from the network and is held against what was received before it is used. Runs on the worker;
 * keeps nothing.
 *
 *   | dst 6 | src 6 | [8100 tci] | type 2 | IPv4 20 + options, or IPv6 40 | UDP 8 | payload | padding |
 */
#include "dataplane/parse.h"

#include <arpa/inet.h>
#include <string.h>

#include "dataplane/checksum.h"

enum {
	ETHERNET_LEN = 14,
	VLAN_TAG_LEN = 4,
	ETHERTYPE_VLAN = 0x8100,
	VLAN_ID_MASK = 0x0fff,
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	UDP_LEN = 8,
	HOP_LIMIT = 64,
	IPV4_FRAGMENT_MASK = 0x3fff, /* more fragments, and the offset */
	ICMP_ECHO_REQUEST = 8,
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_NEIGHBOUR_SOLICITATION = 135,
};

static const uint8_t ipv4_mapped[12] = {[10] = 0xff, [11] = 0xff};

static uint16_t read_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint16_t read_raw16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void write_be16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* ---- what nobody can have as a source ---- */

/* RFC 1122 3.2.1.3: 0/8, 127/8, multicast and the limited broadcast address are no sources; our own is
 * forged. */
static bool ipv4_source_ok(const struct local *local, const uint8_t source[4])
{
	static const uint8_t broadcast[4] = {0xff, 0xff, 0xff, 0xff};

	if (source[0] == 0 || source[0] == 127 || (source[0] & 0xf0) == 0xe0)
		return false;
	return memcmp(source, broadcast, 4) != 0 && memcmp(source, local->ipv4, 4) != 0;
}

/* RFC 4291 2.5.2, 2.5.3, 2.7. An IPv4-mapped source would be taken for an IPv4 peer: RFC 4942 2.2 has it
 * dropped. */
static bool ipv6_source_ok(const struct local *local, const uint8_t source[16])
{
	static const uint8_t zeros[15];

	if (source[0] == 0xff || memcmp(source, ipv4_mapped, sizeof(ipv4_mapped)) == 0)
		return false;
	if (memcmp(source, zeros, sizeof(zeros)) == 0 && source[15] <= 1)
		return false;
	return memcmp(source, local->ipv6, 16) != 0 && memcmp(source, local->ipv6_link_local, 16) != 0;
}

/* ---- Ethernet and IP ---- */

/* A group address may carry ARP and neighbour discovery; for anything else the frame must be addressed to our
 * MAC. */
static bool link_is_ours(const struct local *local, const uint8_t *frame, bool group_allowed)
{
	return memcmp(frame, local->mac, 6) == 0 || (group_allowed && (frame[0] & 1));
}

static enum frame_verdict link_read(const struct local *local, const uint8_t *frame, size_t len,
				    struct layout *out)
{
	size_t network = ETHERNET_LEN;
	unsigned vlan_id = 0;

	if (len < ETHERNET_LEN)
		return FRAME_DROP_TRUNCATED;
	out->ethertype = read_be16(frame + 12);
	out->vlan_tci = 0;
	if (out->ethertype == ETHERTYPE_VLAN) {
		if (len < ETHERNET_LEN + VLAN_TAG_LEN)
			return FRAME_DROP_TRUNCATED;
		out->vlan_tci = read_be16(frame + 14);
		out->ethertype = read_be16(frame + 16);
		vlan_id = out->vlan_tci & VLAN_ID_MASK;
		network += VLAN_TAG_LEN;
	}
	if (vlan_id != local->vlan_id) /* id 0 in a tag: a priority alone, IEEE 802.1Q 9.6 */
		return FRAME_DROP_NOT_OURS;
	if ((frame[6] & 1) || memcmp(frame + 6, local->mac, 6) == 0)
		return FRAME_DROP_SOURCE;
	out->network = (uint16_t)network;
	return FRAME_RECORDS;
}

static enum frame_verdict ipv4_read(const struct local *local, const uint8_t *frame, size_t len,
				    struct layout *out)
{
	const uint8_t *ip = frame + out->network;
	size_t here = len - out->network;
	size_t header_len;
	size_t total_len;

	if (!local->has_ipv4 || !link_is_ours(local, frame, false))
		return FRAME_DROP_NOT_OURS;
	if (here < IPV4_LEN)
		return FRAME_DROP_TRUNCATED;
	header_len = (size_t)(ip[0] & 0x0f) * 4;
	total_len = read_be16(ip + 2);
	if (ip[0] >> 4 != 4)
		return FRAME_DROP_NOT_OURS;
	if (header_len < IPV4_LEN || total_len < header_len || total_len > here)
		return FRAME_DROP_TRUNCATED;
	if (checksum_fold(checksum_add(0, ip, header_len)) != 0xffff)
		return FRAME_DROP_CHECKSUM;
	if (memcmp(ip + 16, local->ipv4, 4) != 0)
		return FRAME_DROP_NOT_OURS;
	if (!ipv4_source_ok(local, ip + 12))
		return FRAME_DROP_SOURCE;
	if (read_be16(ip + 6) & IPV4_FRAGMENT_MASK)
		return FRAME_DROP_FRAGMENT;
	out->protocol = ip[9];
	out->transport = (uint16_t)(out->network + header_len);
	out->transport_len = (uint32_t)(total_len - header_len);
	return FRAME_RECORDS;
}

/* RFC 4291 2.7.1: ff02::1:ff and the last three bytes of the address. */
static bool is_solicited_node(const uint8_t destination[16], const uint8_t address[16])
{
	static const uint8_t prefix[13] = {0xff, 0x02, [11] = 0x01, [12] = 0xff};

	return memcmp(destination, prefix, 13) == 0 && memcmp(destination + 13, address + 13, 3) == 0;
}

/* Neighbour discovery may come to the solicited-node group, and from nobody yet (RFC 4861 7.1.1): neigh.c
 * looks closer. */
static enum frame_verdict ipv6_read(const struct local *local, const uint8_t *frame, size_t len,
				    struct layout *out)
{
	const uint8_t *ip = frame + out->network;
	size_t here = len - out->network;
	const uint8_t *destination = ip + 24;
	size_t payload_len;
	bool group;

	if (!local->has_ipv6 || !link_is_ours(local, frame, true))
		return FRAME_DROP_NOT_OURS;
	if (here < IPV6_LEN)
		return FRAME_DROP_TRUNCATED;
	if (ip[0] >> 4 != 6)
		return FRAME_DROP_NOT_OURS;
	payload_len = read_be16(ip + 4);
	if (payload_len > here - IPV6_LEN)
		return FRAME_DROP_TRUNCATED;
	out->protocol = ip[6];
	group = out->protocol == PROTOCOL_ICMPV6 && (is_solicited_node(destination, local->ipv6) ||
						     is_solicited_node(destination, local->ipv6_link_local));
	if (!group &&
	    (!link_is_ours(local, frame, false) || (memcmp(destination, local->ipv6, 16) != 0 &&
						    memcmp(destination, local->ipv6_link_local, 16) != 0)))
		return FRAME_DROP_NOT_OURS;
	if (!group && !ipv6_source_ok(local, ip + 8))
		return FRAME_DROP_SOURCE;
	if (out->protocol == PROTOCOL_FRAGMENT)
		return FRAME_DROP_FRAGMENT;
	out->transport = (uint16_t)(out->network + IPV6_LEN);
	out->transport_len = (uint32_t)payload_len;
	return FRAME_RECORDS;
}

enum frame_verdict layout_read(const struct local *local, const uint8_t *frame, size_t len,
			       struct layout *out)
{
	enum frame_verdict verdict = link_read(local, frame, len, out);

	if (verdict != FRAME_RECORDS)
		return verdict;
	switch (out->ethertype) {
	case ETHERTYPE_IP4:
		return ipv4_read(local, frame, len, out);
	case ETHERTYPE_IP6:
		return ipv6_read(local, frame, len, out);
	case ETHERTYPE_ARP4:
		return local->has_ipv4 && link_is_ours(local, frame, true) ? FRAME_RECORDS
									   : FRAME_DROP_NOT_OURS;
	default:
		return FRAME_DROP_NOT_OURS;
	}
}

/* ---- UDP ---- */

uint64_t pseudo_header_sum(const uint8_t *addresses, bool ipv6, uint8_t protocol, uint32_t transport_len)
{
	uint64_t sum = checksum_add(0, addresses, ipv6 ? 32 : 8);

	sum = checksum_add16(sum, htons(protocol));
	sum = checksum_add16(sum, htons((uint16_t)(transport_len >> 16)));
	return checksum_add16(sum, htons((uint16_t)transport_len));
}

/* RFC 768; RFC 8200 8.1 forbids to go without a checksum over IPv6. */
static bool udp_checksum_ok(const uint8_t *addresses, bool ipv6, const uint8_t *udp, uint16_t udp_len,
			    enum checksum_state checksum)
{
	uint16_t field = read_raw16(udp + 6);
	uint64_t pseudo;

	if (checksum == CHECKSUM_BAD || (ipv6 && field == 0))
		return false;
	if (checksum == CHECKSUM_GOOD || field == 0)
		return true;
	pseudo = pseudo_header_sum(addresses, ipv6, PROTOCOL_UDP, udp_len);
	if (checksum == CHECKSUM_VERIFY_OR_PSEUDO && field == checksum_fold(pseudo))
		return true;
	return checksum_fold(checksum_add(pseudo, udp, udp_len)) == 0xffff;
}

static enum frame_verdict udp_read(const struct local *local, const uint8_t *frame, const struct layout *at,
				   enum checksum_state checksum, struct datagram *out)
{
	const uint8_t *ip = frame + at->network;
	const uint8_t *udp = frame + at->transport;
	bool ipv6 = at->ethertype == ETHERTYPE_IP6;
	uint16_t udp_len;

	if (ipv6 &&
	    memcmp(ip + 24, local->ipv6, 16) != 0) /* answers have that source, never the link-local one */
		return FRAME_DROP_NOT_OURS;
	if (at->transport_len < UDP_LEN)
		return FRAME_DROP_TRUNCATED;
	if (read_raw16(udp + 2) != local->udp_port)
		return FRAME_DROP_NOT_OURS;
	udp_len = read_be16(udp + 4);
	if (udp_len < UDP_LEN || udp_len > at->transport_len)
		return FRAME_DROP_TRUNCATED;
	if (read_raw16(udp) == 0)
		return FRAME_DROP_SOURCE;
	if (!udp_checksum_ok(ip + (ipv6 ? 8 : 12), ipv6, udp, udp_len, checksum))
		return FRAME_DROP_CHECKSUM;
	if (udp_len == UDP_LEN)
		return FRAME_DROP_EMPTY;

	out->path.peer.port = read_raw16(udp);
	if (ipv6) {
		memcpy(out->path.peer.ip, ip + 8, 16);
	} else {
		memcpy(out->path.peer.ip, ipv4_mapped, 12);
		memcpy(out->path.peer.ip + 12, ip + 12, 4);
	}
	memcpy(out->path.mac, frame + 6, 6);
	out->path.vlan_tci = at->vlan_tci;
	out->payload = udp + UDP_LEN;
	out->payload_len = (uint16_t)(udp_len - UDP_LEN);
	return FRAME_RECORDS;
}

/* ---- the usual frame ---- */

static uint32_t read_raw32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t read_raw64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static void write_raw64(uint8_t *at, uint64_t value)
{
	memcpy(at, &value, sizeof(value));
}

/* Eight bytes as they lie in memory, for comparing several fields at once. */
#define WORD(a, b, c, d, e, f, g, h)                                                                         \
	((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 |                    \
	 (uint64_t)(e) << 32 | (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "WORD() and the words below");

#define MAC_MASK 0x0000ffffffffffffULL

/* Is it Ethernet without a tag to our MAC, IPv4 without options to our address, not fragmented, UDP to our
 * port? Everything with a fixed place and a fixed value, in four comparisons. */
static bool usual_headers(const struct local *local, const uint8_t *frame)
{
	const uint64_t link_mask = WORD(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0); /* source: no group */
	const uint64_t type_mask = WORD(0xff, 0xff, 0xff, 0, 0, 0, 0, 0);
	const uint64_t type = WORD(ETHERTYPE_IP4 >> 8, ETHERTYPE_IP4 & 0xff, 0x45, 0, 0, 0, 0, 0);
	const uint64_t ip_mask =
		WORD(IPV4_FRAGMENT_MASK >> 8, IPV4_FRAGMENT_MASK & 0xff, 0, 0xff, 0, 0, 0, 0);
	const uint64_t ip = WORD(0, 0, 0, PROTOCOL_UDP, 0, 0, 0, 0);
	const uint64_t to_mask =
		WORD(0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff); /* between: the source port */
	uint64_t mac = read_raw64(local->mac) & MAC_MASK;
	uint64_t to = read_raw32(local->ipv4) | (uint64_t)local->udp_port << 48;
	uint64_t wrong = (read_raw64(frame) ^ mac) & link_mask;

	wrong |= (read_raw64(frame + 12) ^ type) & type_mask;
	wrong |= (read_raw64(frame + 20) ^ ip) & ip_mask;
	wrong |= (read_raw64(frame + 30) ^ to) & to_mask;
	return wrong == 0;
}

/* True, with *out filled, only when the frame is what nearly all are and nothing at all speaks against it;
 * otherwise it is for the others to say what it is, or what is wrong with it. */
static bool usual_read(const struct local *local, const uint8_t *frame, size_t len,
		       enum checksum_state checksum, struct datagram *out)
{
	enum { IP = ETHERNET_LEN, UDP = IP + IPV4_LEN, PAYLOAD = UDP + UDP_LEN };
	size_t total_len, udp_len;
	uint64_t source_mac;

	if (len < PAYLOAD || !local->has_ipv4 || local->vlan_id != 0 || !usual_headers(local, frame))
		return false;
	total_len = read_be16(frame + IP + 2);
	udp_len = read_be16(frame + UDP + 4);
	source_mac = read_raw64(frame + 6) & MAC_MASK;
	if (total_len > len - IP || udp_len + IPV4_LEN > total_len || udp_len <= UDP_LEN ||
	    source_mac == (read_raw64(local->mac) & MAC_MASK) || read_raw16(frame + UDP) == 0 ||
	    checksum_fold(checksum_add(0, frame + IP, IPV4_LEN)) != 0xffff ||
	    !ipv4_source_ok(local, frame + IP + 12))
		return false;
	if (checksum != CHECKSUM_GOOD &&
	    !udp_checksum_ok(frame + IP + 12, false, frame + UDP, (uint16_t)udp_len, checksum))
		return false;
	write_raw64(out->path.peer.ip, 0);
	write_raw64(out->path.peer.ip + 8,
		    WORD(0, 0, 0xff, 0xff, 0, 0, 0, 0) | (uint64_t)read_raw32(frame + IP + 12) << 32);
	out->path.peer.port = read_raw16(frame + UDP);
	write_raw64(out->path.mac, source_mac); /* and vlan_tci behind it: none */
	out->payload = frame + PAYLOAD;
	out->payload_len = (uint16_t)(udp_len - UDP_LEN);
	return true;
}
_Static_assert(offsetof(struct path, vlan_tci) == offsetof(struct path, mac) + 6, "written in one");

/* ---- any frame ---- */

static enum frame_verdict parse_any(const struct local *local, const uint8_t *frame, size_t len,
				    enum checksum_state checksum, struct datagram *out)
{
	struct layout at;
	enum frame_verdict verdict = layout_read(local, frame, len, &at);
	const uint8_t *transport;

	if (verdict != FRAME_RECORDS)
		return verdict;
	if (at.ethertype == ETHERTYPE_ARP4)
		return FRAME_NEIGHBOUR;
	if (at.protocol == PROTOCOL_UDP)
		return udp_read(local, frame, &at, checksum, out);

	transport = frame + at.transport;
	if (at.transport_len > 0 && at.ethertype == ETHERTYPE_IP4 && at.protocol == PROTOCOL_ICMP &&
	    transport[0] == ICMP_ECHO_REQUEST)
		return FRAME_ECHO;
	if (at.transport_len > 0 && at.ethertype == ETHERTYPE_IP6 && at.protocol == PROTOCOL_ICMPV6) {
		if (transport[0] == ICMPV6_ECHO_REQUEST)
			return FRAME_ECHO;
		if (transport[0] == ICMPV6_NEIGHBOUR_SOLICITATION)
			return FRAME_NEIGHBOUR;
	}
	return FRAME_DROP_NOT_OURS;
}

enum frame_verdict parse_frame(const struct local *local, const uint8_t *frame, size_t len,
			       enum checksum_state checksum, struct datagram *out)
{
	if (usual_read(local, frame, len, checksum, out))
		return FRAME_RECORDS;
	return parse_any(local, frame, len, checksum, out);
}

/* ---- writing: fields are put together in registers, since what was just written in small pieces cannot be
 * read back as large ones before it has left the store buffer ---- */

static void write_raw32(uint8_t *at, uint32_t value)
{
	memcpy(at, &value, sizeof(value));
}

static uint8_t *ipv4_write(const struct local *local, const struct path *path, uint8_t *udp, size_t udp_len,
			   uint16_t ip_id)
{
	uint8_t *ip = udp - IPV4_LEN;
	uint32_t length = 0x45U | (uint32_t)htons((uint16_t)(IPV4_LEN + udp_len)) << 16;
	uint32_t fragment = htons(ip_id);
	uint32_t protocol = HOP_LIMIT | PROTOCOL_UDP << 8;
	uint32_t source = read_raw32(local->ipv4);
	uint32_t destination = read_raw32(path->peer.ip + 12);
	uint64_t sum = (uint64_t)length + fragment + protocol + source + destination;

	write_raw32(ip, length);
	write_raw32(ip + 4, fragment);
	write_raw32(ip + 8, protocol | (uint32_t)(uint16_t)~checksum_fold(sum) << 16);
	write_raw32(ip + 12, source);
	write_raw32(ip + 16, destination);
	return ip;
}

static uint8_t *ipv6_write(const struct local *local, const struct path *path, uint8_t *udp, size_t udp_len)
{
	uint8_t *ip = udp - IPV6_LEN;

	write_raw32(ip, 0x60);
	write_raw32(ip + 4, htons((uint16_t)udp_len) | PROTOCOL_UDP << 16 | (uint32_t)HOP_LIMIT << 24);
	memcpy(ip + 8, local->ipv6, 16);
	memcpy(ip + 24, path->peer.ip, 16);
	return ip;
}

/* Of the pseudo-header, and of the UDP header without a checksum. */
static uint64_t headers_sum(const struct local *local, const struct path *path, bool ipv6, size_t udp_len,
			    uint64_t *udp_header)
{
	uint16_t len = htons((uint16_t)udp_len);
	uint64_t sum;

	if (ipv6)
		sum = checksum_add(checksum_add(0, local->ipv6, 16), path->peer.ip, 16);
	else
		sum = (uint64_t)read_raw32(local->ipv4) + read_raw32(path->peer.ip + 12);
	*udp_header = (uint64_t)local->udp_port | (uint64_t)path->peer.port << 16 | (uint64_t)len << 32;
	return sum + htons(PROTOCOL_UDP) + len;
}

static uint8_t *link_write(const struct local *local, const struct path *path, uint8_t *ip, bool ipv6)
{
	uint8_t *frame = ip - ETHERNET_LEN - (path->vlan_tci ? VLAN_TAG_LEN : 0);

	memcpy(frame, path->mac, 6);
	memcpy(frame + 6, local->mac, 6);
	if (path->vlan_tci) {
		write_be16(frame + 12, ETHERTYPE_VLAN);
		write_be16(frame + 14, path->vlan_tci);
	}
	write_be16(ip - 2, ipv6 ? ETHERTYPE_IP6 : ETHERTYPE_IP4);
	return frame;
}

size_t frame_write_headers(const struct local *local, const struct path *path, uint8_t *payload,
			   size_t payload_len, uint16_t ip_id, bool checksum_offload)
{
	bool ipv6 = memcmp(path->peer.ip, ipv4_mapped, sizeof(ipv4_mapped)) != 0;
	size_t udp_len = UDP_LEN + payload_len;
	uint8_t *udp = payload - UDP_LEN;
	uint64_t header, sum;
	uint16_t checksum;
	uint8_t *ip;

	if (!(ipv6 ? local->has_ipv6 : local->has_ipv4) ||
	    payload_len > UINT16_MAX - UDP_LEN - (ipv6 ? 0 : IPV4_LEN))
		return 0;
	sum = headers_sum(local, path, ipv6, udp_len, &header);
	if (checksum_offload) {
		checksum = checksum_fold(sum);
	} else {
		sum += (header & 0xffffffff) + (header >> 32);
		checksum = (uint16_t)~checksum_fold(checksum_add(sum, payload, payload_len));
		checksum = checksum ? checksum : 0xffff; /* RFC 768: zero would say "none" */
	}
	write_raw64(udp, header | (uint64_t)checksum << 48);
	ip = ipv6 ? ipv6_write(local, path, udp, udp_len) : ipv4_write(local, path, udp, udp_len, ip_id);
	return (size_t)(payload - link_write(local, path, ip, ipv6));
}
