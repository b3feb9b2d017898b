/* Builds Ethernet frames, right and wrong ones, for the tests of parse.c and neigh.c. The checksums are
 * computed here a second time, word by word, so that the code under test is not its own judge.
 */
#ifndef TESTS_UNIT_FRAME_BUILDER_H
#define TESTS_UNIT_FRAME_BUILDER_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "dataplane/parse.h"

enum { FRAME_MAX = 2048, OUR_PORT = 5684, THEIR_PORT = 49152 };

static const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t their_mac[6] = {2, 0, 0, 0, 0, 9};

static inline struct local frame_local(void)
{
	struct local local = {.has_ipv4 = true, .has_ipv6 = true, .udp_port = htons(OUR_PORT)};

	memcpy(local.mac, our_mac, 6);
	inet_pton(AF_INET, "192.0.2.1", local.ipv4);
	inet_pton(AF_INET6, "2001:db8::a:1", local.ipv6);
	inet_pton(AF_INET6, "fe80::ff:fe00:1", local.ipv6_link_local);
	return local;
}

/* RFC 1071, as slow and plain as it gets. */
static inline uint16_t plain_sum(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static inline void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* Of a transport header and its data under the two addresses; complemented. */
static inline uint16_t plain_transport_sum(const uint8_t *addresses, bool ipv6, uint8_t protocol,
					   const uint8_t *bytes, size_t len)
{
	uint32_t sum = plain_sum(0, addresses, ipv6 ? 32 : 8);

	return (uint16_t)~plain_sum(sum + protocol + (uint32_t)len, bytes, len);
}

struct frame_parts {
	bool ipv6;
	const char *source, *destination; /* addresses; NULL: a peer, us */
	uint8_t protocol;                 /* 0: UDP */
	uint8_t hop_limit;                /* 0: 64 */
	unsigned options_len;             /* of IPv4 */
	uint16_t source_port, destination_port;
	unsigned payload_len;
	bool tagged;
	uint16_t tci;
	unsigned padding; /* behind the packet */
};

struct frame {
	uint8_t bytes[FRAME_MAX];
	size_t len;
	uint8_t *ip, *transport, *payload;
	size_t transport_len;
};

/* After a change of the IPv4 header. */
static inline void frame_fix_ip(struct frame *f)
{
	size_t header_len = (size_t)(f->ip[0] & 0x0f) * 4;

	put16(f->ip + 10, 0);
	put16(f->ip + 10, (uint16_t)~plain_sum(0, f->ip, header_len));
}

/* After a change of what the UDP (or ICMPv6) checksum covers. */
static inline void frame_fix_transport(struct frame *f, unsigned checksum_at)
{
	bool ipv6 = f->ip[0] >> 4 == 6;
	uint8_t protocol = f->ip[ipv6 ? 6 : 9];
	uint16_t sum;

	put16(f->transport + checksum_at, 0);
	sum = plain_transport_sum(f->ip + (ipv6 ? 8 : 12), ipv6, protocol, f->transport, f->transport_len);
	put16(f->transport + checksum_at, protocol == 17 && sum == 0 ? 0xffff : sum);
}

static inline void frame_write_ip(struct frame *f, const struct frame_parts *p)
{
	uint8_t protocol = p->protocol ? p->protocol : 17;
	uint8_t hop_limit = p->hop_limit ? p->hop_limit : 64;

	if (p->ipv6) {
		f->ip[0] = 0x60;
		put16(f->ip + 4, (unsigned)f->transport_len);
		f->ip[6] = protocol;
		f->ip[7] = hop_limit;
		inet_pton(AF_INET6, p->source ? p->source : "2001:db8::b:2", f->ip + 8);
		inet_pton(AF_INET6, p->destination ? p->destination : "2001:db8::a:1", f->ip + 24);
		return;
	}
	f->ip[0] = (uint8_t)(0x40 | (5 + p->options_len / 4));
	put16(f->ip + 2, (unsigned)(20 + p->options_len + f->transport_len));
	f->ip[8] = hop_limit;
	f->ip[9] = protocol;
	inet_pton(AF_INET, p->source ? p->source : "198.51.100.7", f->ip + 12);
	inet_pton(AF_INET, p->destination ? p->destination : "192.0.2.1", f->ip + 16);
	memset(f->ip + 20, 1, p->options_len); /* no operation */
	frame_fix_ip(f);
}

/* A frame with a UDP datagram, or with payload_len + 8 bytes of another protocol's. */
static inline void frame_build(struct frame *f, const struct frame_parts *p)
{
	size_t network = p->tagged ? 18 : 14;

	memset(f, 0, sizeof(*f));
	memcpy(f->bytes, our_mac, 6);
	memcpy(f->bytes + 6, their_mac, 6);
	if (p->tagged) {
		put16(f->bytes + 12, 0x8100);
		put16(f->bytes + 14, p->tci);
	}
	put16(f->bytes + network - 2, p->ipv6 ? 0x86dd : 0x0800);
	f->ip = f->bytes + network;
	f->transport = f->ip + (p->ipv6 ? 40 : 20 + p->options_len);
	f->transport_len = 8 + p->payload_len;
	f->payload = f->transport + 8;
	frame_write_ip(f, p);
	put16(f->transport, p->source_port ? p->source_port : THEIR_PORT);
	put16(f->transport + 2, p->destination_port ? p->destination_port : OUR_PORT);
	put16(f->transport + 4, (unsigned)f->transport_len);
	for (unsigned i = 0; i < p->payload_len; i++)
		f->payload[i] = (uint8_t)(i * 7 + 1);
	frame_fix_transport(f, 6);
	f->len = (size_t)(f->payload - f->bytes) + p->payload_len + p->padding;
}

#endif
