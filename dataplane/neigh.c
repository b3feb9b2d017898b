/* What a host must answer to be reachable: ARP, neighbour solicitations, echo requests. Each request becomes
 * its answer in place; layout_read() has checked the headers down to IP, what stands behind is checked here.
 * Runs on the worker; keeps nothing, learns nothing: the gateway sends only to where a record came from.
 */
#include "dataplane/neigh.h"

#include <arpa/inet.h>
#include <string.h>

#include "dataplane/checksum.h"

enum {
	FRAME_MIN = 60, /* IEEE 802.3 3.2.8, without FCS */
	ARP_LEN = 28,
	ARP_REQUEST = 1,
	ARP_REPLY = 2,
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	ECHO_LEN = 8,
	ICMP_ECHO_REPLY = 0,
	ICMP_ECHO_REQUEST = 8,
	ICMPV6_ECHO_REQUEST = 128,
	ICMPV6_ECHO_REPLY = 129,
	ICMPV6_SOLICITATION = 135,
	ICMPV6_ADVERTISEMENT = 136,
	SOLICITATION_LEN = 24,
	ADVERTISEMENT_LEN = 32, /* with its option */
	OPTION_SOURCE_LINK = 1,
	OPTION_TARGET_LINK = 2,
	FLAG_SOLICITED = 0x40,
	FLAG_OVERRIDE = 0x20,
	HOP_LIMIT = 64,
	HOP_LIMIT_ND = 255, /* RFC 4861 7.1.1: cannot have come through a router */
};

static const uint8_t zeros[16];

static void put_checksum(uint8_t *at, uint64_t sum)
{
	uint16_t checksum = (uint16_t)~checksum_fold(sum);

	memcpy(at, &checksum, sizeof(checksum));
}

/* Short answers are padded where there is room, since not every port does it. */
static size_t pad_frame(uint8_t *frame, size_t len, size_t room)
{
	if (len >= FRAME_MIN || room < FRAME_MIN)
		return len;
	memset(frame + len, 0, FRAME_MIN - len);
	return FRAME_MIN;
}

static void turn_link(const struct local *local, uint8_t *frame, const uint8_t *to)
{
	memmove(frame, to, 6);
	memcpy(frame + 6, local->mac, 6);
}

/* ---- ARP ---- */

/* RFC 826; a probe from 0.0.0.0 is answered too, since it asks whether the address is in use (RFC
 * 5227 2.1.1). */
static size_t answer_arp(const struct local *local, uint8_t *frame, size_t len, size_t room, size_t network)
{
	static const uint8_t request[8] = {0, 1, 8, 0, 6, 4, 0, ARP_REQUEST};
	uint8_t *arp = frame + network, asker[10];

	if (len - network < ARP_LEN || memcmp(arp, request, sizeof(request)) != 0)
		return 0;
	if (memcmp(arp + 24, local->ipv4, 4) != 0 || memcmp(arp + 14, local->ipv4, 4) == 0)
		return 0;
	if ((arp[8] & 1) || arp[14] >= 0xe0)
		return 0;
	turn_link(local, frame, arp + 8);
	arp[7] = ARP_REPLY;
	memcpy(asker, arp + 8, sizeof(asker)); /* its two addresses */
	memcpy(arp + 18, asker, sizeof(asker));
	memcpy(arp + 8, local->mac, 6);
	memcpy(arp + 14, local->ipv4, 4);
	return pad_frame(frame, network + ARP_LEN, room);
}

/* ---- ICMP ---- */

/* RFC 1122 3.2.2.6. A request with IP options is not answered: none that matters has any. */
static size_t answer_echo4(const struct local *local, uint8_t *frame, size_t room, const struct layout *at)
{
	uint8_t *ip = frame + at->network;
	uint8_t *icmp = frame + at->transport;

	if (at->transport - at->network != IPV4_LEN || at->transport_len < ECHO_LEN)
		return 0;
	if (icmp[0] != ICMP_ECHO_REQUEST || icmp[1] != 0)
		return 0;
	if (checksum_fold(checksum_add(0, icmp, at->transport_len)) != 0xffff)
		return 0;
	turn_link(local, frame, frame + 6);
	memcpy(ip + 16, ip + 12, 4);
	memcpy(ip + 12, local->ipv4, 4);
	ip[8] = HOP_LIMIT;
	memset(ip + 10, 0, 2);
	put_checksum(ip + 10, checksum_add(0, ip, IPV4_LEN));
	icmp[0] = ICMP_ECHO_REPLY;
	memset(icmp + 2, 0, 2);
	put_checksum(icmp + 2, checksum_add(0, icmp, at->transport_len));
	return pad_frame(frame, at->transport + at->transport_len, room);
}

static uint64_t icmpv6_sum(const uint8_t *ip, const uint8_t *icmp, uint32_t icmp_len)
{
	return checksum_add(pseudo_header_sum(ip + 8, true, PROTOCOL_ICMPV6, icmp_len), icmp, icmp_len);
}

/* RFC 4443 4.2. The answer leaves with the address that was asked. */
static size_t answer_echo6(const struct local *local, uint8_t *frame, size_t room, const struct layout *at)
{
	uint8_t *ip = frame + at->network;
	uint8_t *icmp = frame + at->transport;
	uint8_t asked[16];

	if (at->transport_len < ECHO_LEN || icmp[1] != 0 || ip[24] == 0xff)
		return 0;
	turn_link(local, frame, frame + 6);
	memcpy(asked, ip + 24, 16);
	memcpy(ip + 24, ip + 8, 16);
	memcpy(ip + 8, asked, 16);
	ip[7] = HOP_LIMIT;
	icmp[0] = ICMPV6_ECHO_REPLY;
	memset(icmp + 2, 0, 2);
	put_checksum(icmp + 2, icmpv6_sum(ip, icmp, at->transport_len));
	return pad_frame(frame, at->transport + at->transport_len, room);
}

/* ---- neighbour discovery ---- */

/* Walks the options (RFC 4861 4.6); false when one has length zero or leaves the message. *link: the source
 * link-layer address, NULL when there is none. */
static bool options_read(const uint8_t *options, size_t len, const uint8_t **link)
{
	*link = NULL;
	while (len > 0) {
		size_t option_len = len >= 2 ? (size_t)options[1] * 8 : 0;

		if (option_len == 0 || option_len > len)
			return false;
		if (options[0] == OPTION_SOURCE_LINK && option_len == 8)
			*link = options + 2;
		options += option_len;
		len -= option_len;
	}
	return true;
}

static bool is_ours(const struct local *local, const uint8_t address[16])
{
	return memcmp(address, local->ipv6, 16) == 0 || memcmp(address, local->ipv6_link_local, 16) == 0;
}

/* RFC 4861 7.1.1: what a solicitation must be to be looked at. */
static bool solicitation_ok(const struct local *local, const uint8_t *ip, const uint8_t *icmp,
			    uint32_t icmp_len, const uint8_t **link)
{
	bool unspecified = memcmp(ip + 8, zeros, 16) == 0;

	if (ip[7] != HOP_LIMIT_ND || icmp[1] != 0 || icmp_len < SOLICITATION_LEN)
		return false;
	if (!is_ours(local, icmp + 8) || ip[8] == 0xff || is_ours(local, ip + 8))
		return false;
	if (!options_read(icmp + SOLICITATION_LEN, icmp_len - SOLICITATION_LEN, link))
		return false;
	if (unspecified && (ip[24] != 0xff || *link))
		return false;
	return !*link || !((*link)[0] & 1);
}

/* Writes the advertisement behind the Ethernet header: our address `target`, to one neighbour or to all
 * nodes. */
static size_t write_advertisement(const struct local *local, uint8_t *ip, const uint8_t target[16],
				  const uint8_t to[16], uint8_t flags)
{
	uint8_t *icmp = ip + IPV6_LEN;

	memset(ip, 0, 8);
	ip[0] = 0x60;
	ip[5] = ADVERTISEMENT_LEN;
	ip[6] = PROTOCOL_ICMPV6;
	ip[7] = HOP_LIMIT_ND;
	memcpy(ip + 8, target, 16);
	memcpy(ip + 24, to, 16);
	memset(icmp, 0, 8);
	icmp[0] = ICMPV6_ADVERTISEMENT;
	icmp[4] = flags;
	memcpy(icmp + 8, target, 16);
	icmp[24] = OPTION_TARGET_LINK;
	icmp[25] = 1;
	memcpy(icmp + 26, local->mac, 6);
	put_checksum(icmp + 2, icmpv6_sum(ip, icmp, ADVERTISEMENT_LEN));
	return IPV6_LEN + ADVERTISEMENT_LEN;
}

static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};

/* RFC 4861 7.2.4. Whoever has no address yet (duplicate detection) gets the answer by the all-nodes group. */
static size_t answer_solicitation(const struct local *local, uint8_t *frame, size_t room,
				  const struct layout *at)
{
	uint8_t *ip = frame + at->network;
	const uint8_t *link;
	uint8_t target[16];
	uint8_t to[16];

	if (room < (size_t)at->network + IPV6_LEN + ADVERTISEMENT_LEN)
		return 0;
	if (!solicitation_ok(local, ip, frame + at->transport, at->transport_len, &link))
		return 0;
	memcpy(target, frame + at->transport + 8, 16);
	if (memcmp(ip + 8, zeros, 16) == 0) {
		turn_link(local, frame, all_nodes_mac);
		return at->network + write_advertisement(local, ip, target, all_nodes, FLAG_OVERRIDE);
	}
	memcpy(to, ip + 8, 16);
	turn_link(local, frame, link ? link : frame + 6);
	return at->network + write_advertisement(local, ip, target, to, FLAG_SOLICITED | FLAG_OVERRIDE);
}

static size_t answer_icmpv6(const struct local *local, uint8_t *frame, size_t room, const struct layout *at)
{
	const uint8_t *icmp = frame + at->transport;

	if (at->transport_len < ECHO_LEN ||
	    checksum_fold(icmpv6_sum(frame + at->network, icmp, at->transport_len)) != 0xffff)
		return 0;
	if (icmp[0] == ICMPV6_SOLICITATION)
		return answer_solicitation(local, frame, room, at);
	return icmp[0] == ICMPV6_ECHO_REQUEST ? answer_echo6(local, frame, room, at) : 0;
}

size_t neigh_answer(const struct local *local, uint8_t *frame, size_t len, size_t room)
{
	struct layout at;

	if (len > room || layout_read(local, frame, len, &at) != FRAME_RECORDS)
		return 0;
	if (at.ethertype == ETHERTYPE_ARP4)
		return answer_arp(local, frame, len, room, at.network);
	if (at.ethertype == ETHERTYPE_IP4)
		return at.protocol == PROTOCOL_ICMP ? answer_echo4(local, frame, room, &at) : 0;
	return at.protocol == PROTOCOL_ICMPV6 ? answer_icmpv6(local, frame, room, &at) : 0;
}

/* ---- announcements ---- */

static size_t write_link(const struct local *local, uint8_t *frame, const uint8_t to[6], uint16_t ethertype)
{
	size_t at = 12;

	memcpy(frame, to, 6);
	memcpy(frame + 6, local->mac, 6);
	if (local->vlan_id) {
		memcpy(frame + at,
		       (uint8_t[]){0x81, 0, (uint8_t)(local->vlan_id >> 8), (uint8_t)local->vlan_id}, 4);
		at += 4;
	}
	frame[at] = (uint8_t)(ethertype >> 8);
	frame[at + 1] = (uint8_t)ethertype;
	return at + 2;
}

size_t neigh_announce(const struct local *local, bool ipv6, uint8_t *frame, size_t room)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t header[8] = {0, 1, 8, 0, 6, 4, 0, ARP_REQUEST};
	size_t at;

	if (room < 18 + IPV6_LEN + ADVERTISEMENT_LEN || !(ipv6 ? local->has_ipv6 : local->has_ipv4))
		return 0;
	if (ipv6) {
		at = write_link(local, frame, all_nodes_mac, ETHERTYPE_IP6);
		return at + write_advertisement(local, frame + at, local->ipv6, all_nodes, FLAG_OVERRIDE);
	}
	at = write_link(local, frame, broadcast, ETHERTYPE_ARP4);
	memcpy(frame + at, header, sizeof(header));
	memcpy(frame + at + 8, local->mac, 6);
	memcpy(frame + at + 14, local->ipv4, 4);
	memset(frame + at + 18, 0, 6);
	memcpy(frame + at + 24, local->ipv4, 4); /* RFC 5227 2.3: sender and target are the same */
	return pad_frame(frame, at + ARP_LEN, room);
}
