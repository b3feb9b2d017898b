/* From a frame to a datagram and back: every verdict, every truncation, every checksum [O14]. Each refusal
 * stands beside a frame that differs in nothing else and is taken.
 */
#include "dataplane/parse.c" /* for its two ways of reading a frame */

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/frame_builder.h"

static struct local local;

static int setup(void **state)
{
	local = frame_local();
	(void)state;
	return 0;
}

/* From a copy of exact size, so that a read behind it is seen by the address sanitizer. */
static enum frame_verdict parse_bytes(const uint8_t *bytes, size_t len, enum checksum_state checksum,
				      struct datagram *d)
{
	uint8_t *copy = malloc(len ? len : 1);
	enum frame_verdict verdict;

	memcpy(copy, bytes, len);
	memset(d, 0, sizeof(*d));
	verdict = parse_frame(&local, copy, len, checksum, d);
	if (verdict == FRAME_RECORDS) {
		assert_true(d->payload >= copy && d->payload + d->payload_len <= copy + len);
		d->payload = bytes + (d->payload - copy);
	}
	free(copy);
	return verdict;
}

static enum frame_verdict parse(const struct frame *f)
{
	struct datagram d;

	return parse_bytes(f->bytes, f->len, CHECKSUM_VERIFY, &d);
}

static enum frame_verdict parse_parts(struct frame_parts p)
{
	struct frame f;

	p.payload_len = p.payload_len ? p.payload_len : 33;
	frame_build(&f, &p);
	return parse(&f);
}

static struct frame_parts random_parts(void)
{
	struct frame_parts p = {
		.ipv6 = rand() & 1,
		.payload_len = 1 + (unsigned)rand() % 1200,
		.source_port = (uint16_t)(1 + rand() % 65535),
		.padding = rand() % 3 ? 0 : (unsigned)rand() % 40,
	};

	p.options_len = p.ipv6 || rand() % 3 ? 0 : (unsigned)rand() % 11 * 4;
	return p;
}

static void takes_what_is_for_us(void **state)
{
	for (unsigned i = 0; i < 5000; i++) {
		struct frame_parts p = random_parts();
		struct frame f;
		struct datagram d;

		frame_build(&f, &p);
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY, &d), FRAME_RECORDS);
		assert_ptr_equal(d.payload, f.payload);
		assert_int_equal(d.payload_len, p.payload_len);
		assert_int_equal(d.path.peer.port, htons(p.source_port));
		assert_memory_equal(d.path.mac, their_mac, 6);
		assert_int_equal(d.path.vlan_tci, 0);
		if (p.ipv6) {
			assert_memory_equal(d.path.peer.ip, f.ip + 8, 16);
		} else {
			const uint8_t mapped[16] = {[10] = 0xff, 0xff, 198, 51, 100, 7};

			assert_memory_equal(d.path.peer.ip, mapped, 16);
		}
	}
	(void)state;
}

/* Cut anywhere, the frame is dropped; cut in its padding it is not. */
static void truncated_at_every_length(void **state)
{
	static const struct frame_parts parts[] = {
		{.payload_len = 20},
		{.payload_len = 20, .ipv6 = true},
		{.payload_len = 20, .options_len = 40},
		{.payload_len = 1},
	};

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct frame f;
		struct datagram d;

		frame_build(&f, &parts[i]);
		for (size_t len = 0; len < f.len; len++)
			assert_int_equal(parse_bytes(f.bytes, len, CHECKSUM_VERIFY, &d),
					 FRAME_DROP_TRUNCATED);
		for (size_t len = f.len; len < f.len + 50; len++)
			assert_int_equal(parse_bytes(f.bytes, len, CHECKSUM_VERIFY, &d), FRAME_RECORDS);
	}
	(void)state;
}

/* The headers' own lengths, in every value that they can have: what is taken lies inside the packet. */
static void lengths_in_the_headers(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct frame_parts p = {.ipv6 = ipv6, .payload_len = 20};
		struct frame f;
		struct datagram d;

		frame_build(&f, &p);
		for (unsigned len = 0; len < 65536; len++) { /* of UDP */
			put16(f.transport + 4, len);
			enum frame_verdict expected = FRAME_DROP_TRUNCATED;

			if (len >= 8 && len <= 28)
				expected = len > 8 ? FRAME_RECORDS : FRAME_DROP_EMPTY;
			assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_GOOD, &d), expected);
			if (expected == FRAME_RECORDS)
				assert_int_equal(d.payload_len, len - 8);
		}
		frame_build(&f, &p);
		for (unsigned len = 0; len < 65536; len++) { /* of IP */
			unsigned right = ipv6 ? 28 : 48;

			put16(f.ip + (ipv6 ? 4 : 2), len);
			if (!ipv6)
				frame_fix_ip(&f);
			assert_int_equal(parse(&f), len == right ? FRAME_RECORDS : FRAME_DROP_TRUNCATED);
		}
	}
	struct frame f;

	frame_build(&f, &(struct frame_parts){.payload_len = 20});
	for (uint8_t words = 0; words < 5; words++) { /* an IPv4 header shorter than a header */
		f.ip[0] = (uint8_t)(0x40 | words);
		assert_int_equal(parse(&f), FRAME_DROP_TRUNCATED);
	}
	(void)state;
}

static void other_versions_and_types(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct frame f;

		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 20});
		for (unsigned version = 0; version < 16; version++) {
			f.ip[0] = (uint8_t)(version << 4 | (ipv6 ? 0 : 5));
			if (!ipv6)
				frame_fix_ip(&f);
			assert_int_equal(parse(&f),
					 version == (ipv6 ? 6 : 4) ? FRAME_RECORDS : FRAME_DROP_NOT_OURS);
		}
		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 20});
		for (unsigned type = 0; type < 65536; type++) {
			if (type == 0x0800 || type == 0x86dd || type == 0x0806 || type == 0x8100)
				continue;
			put16(f.bytes + 12, type);
			assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
		}
	}
	(void)state;
}

static void addressed_to_others(void **state)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 2};
	struct frame f;

	assert_int_equal(parse_parts((struct frame_parts){.destination = "192.0.2.2"}), FRAME_DROP_NOT_OURS);
	assert_int_equal(parse_parts((struct frame_parts){.destination = "255.255.255.255"}),
			 FRAME_DROP_NOT_OURS);
	assert_int_equal(parse_parts((struct frame_parts){.destination = "224.0.0.1"}), FRAME_DROP_NOT_OURS);
	assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true, .destination = "2001:db8::a:2"}),
			 FRAME_DROP_NOT_OURS);
	assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true, .destination = "ff02::1"}),
			 FRAME_DROP_NOT_OURS);
	/* Answers would leave with another source: */
	assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true, .destination = "fe80::ff:fe00:1"}),
			 FRAME_DROP_NOT_OURS);
	/* The solicited-node group is for neighbour discovery alone: */
	assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true, .destination = "ff02::1:ff0a:1"}),
			 FRAME_DROP_NOT_OURS);
	assert_int_equal(parse_parts((struct frame_parts){.destination_port = OUR_PORT + 1}),
			 FRAME_DROP_NOT_OURS);
	assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true, .destination_port = 5683}),
			 FRAME_DROP_NOT_OURS);
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 20});
		assert_int_equal(parse(&f), FRAME_RECORDS);
		memcpy(f.bytes, other, 6);
		assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
		memcpy(f.bytes, broadcast, 6); /* our IP address under a group MAC: RFC 1122 3.3.6 */
		assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
	}
	local.has_ipv4 = false;
	assert_int_equal(parse_parts((struct frame_parts){.ipv6 = false}), FRAME_DROP_NOT_OURS);
	local.has_ipv6 = false;
	assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true}), FRAME_DROP_NOT_OURS);
	(void)state;
}

/* RFC 1122 3.2.1.3, RFC 4291: nobody's, everybody's, our own. */
static void impossible_sources(void **state)
{
	static const char *const bad4[] = {"0.0.0.0",   "0.1.2.3",         "127.0.0.1", "127.255.255.254",
					   "224.0.0.1", "239.255.255.255", "192.0.2.1", "255.255.255.255"};
	static const char *const good4[] = {"1.0.0.0",         "126.255.255.255", "128.0.0.1",
					    "223.255.255.255", "192.0.2.2",       "240.0.0.1"};
	static const char *const bad6[] = {"::",
					   "::1",
					   "ff02::1",
					   "ff0e::1:2",
					   "::ffff:198.51.100.7",
					   "2001:db8::a:1",
					   "fe80::ff:fe00:1",
					   "::ffff:0.0.0.0"};
	static const char *const good6[] = {"2001:db8::a:2", "fe80::1", "::2", "64:ff9b::c633:6407",
					    "fd00::1"};
	struct frame f;

	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(parse_parts((struct frame_parts){.source = bad4[i]}), FRAME_DROP_SOURCE);
		assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true, .source = bad6[i]}),
				 FRAME_DROP_SOURCE);
	}
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(parse_parts((struct frame_parts){.source = good4[i]}), FRAME_RECORDS);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(parse_parts((struct frame_parts){.ipv6 = true, .source = good6[i]}),
				 FRAME_RECORDS);
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 20});
		put16(f.transport, 0); /* port 0 */
		frame_fix_transport(&f, 6);
		assert_int_equal(parse(&f), FRAME_DROP_SOURCE);
		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 20});
		f.bytes[6] |= 1; /* a group MAC */
		assert_int_equal(parse(&f), FRAME_DROP_SOURCE);
		memcpy(f.bytes + 6, our_mac, 6);
		assert_int_equal(parse(&f), FRAME_DROP_SOURCE);
	}
	(void)state;
}

static void destination_port_zero(void **state)
{
	struct frame f;

	frame_build(&f, &(struct frame_parts){.payload_len = 20});
	put16(f.transport + 2, 0);
	frame_fix_transport(&f, 6);
	assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
	(void)state;
}

static void empty_datagrams(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct frame f;

		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6});
		assert_int_equal(parse(&f), FRAME_DROP_EMPTY);
		f.transport[6] ^= 1;
		assert_int_equal(parse(&f), FRAME_DROP_CHECKSUM);
		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 1});
		assert_int_equal(parse(&f), FRAME_RECORDS);
	}
	(void)state;
}

static void vlans(void **state)
{
	struct frame f;
	struct datagram d;

	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		local.vlan_id = 0;
		assert_int_equal(parse_parts((struct frame_parts){.ipv6 = ipv6, .tagged = true, .tci = 100}),
				 FRAME_DROP_NOT_OURS);
		assert_int_equal(
			parse_parts((struct frame_parts){.ipv6 = ipv6, .tagged = true, .tci = 0xe000}),
			FRAME_RECORDS);
		local.vlan_id = 100;
		assert_int_equal(parse_parts((struct frame_parts){.ipv6 = ipv6}), FRAME_DROP_NOT_OURS);
		assert_int_equal(parse_parts((struct frame_parts){.ipv6 = ipv6, .tagged = true, .tci = 101}),
				 FRAME_DROP_NOT_OURS);
		assert_int_equal(parse_parts((struct frame_parts){.ipv6 = ipv6, .tagged = true, .tci = 0}),
				 FRAME_DROP_NOT_OURS);
		frame_build(&f, &(struct frame_parts){
					.ipv6 = ipv6, .payload_len = 9, .tagged = true, .tci = 0x6064});
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY, &d), FRAME_RECORDS);
		assert_int_equal(d.path.vlan_tci, 0x6064); /* its priority is kept */
		for (size_t len = 0; len < f.len; len++)
			assert_int_equal(parse_bytes(f.bytes, len, CHECKSUM_VERIFY, &d),
					 FRAME_DROP_TRUNCATED);
		put16(f.bytes + 16, 0x8100); /* a tag inside a tag */
		assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
	}
	(void)state;
}

/* A fragment has no whole UDP checksum: it must be called a fragment even when the port calls it bad. */
static void fragments(void **state)
{
	struct frame f;
	struct datagram d;

	frame_build(&f, &(struct frame_parts){.payload_len = 20});
	for (unsigned field = 0; field < 65536; field++) {
		bool fragment = field & 0x3fff; /* not "don't fragment", not the reserved bit */

		put16(f.ip + 6, field);
		frame_fix_ip(&f);
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY, &d),
				 fragment ? FRAME_DROP_FRAGMENT : FRAME_RECORDS);
		if (field < 16)
			assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_BAD, &d),
					 fragment ? FRAME_DROP_FRAGMENT : FRAME_DROP_CHECKSUM);
	}
	frame_build(&f, &(struct frame_parts){.ipv6 = true, .payload_len = 20, .protocol = 44});
	assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_BAD, &d), FRAME_DROP_FRAGMENT);
	(void)state;
}

/* Every protocol and next header: UDP, ICMP when it asks, and nothing else; extension headers are not for us.
 */
static void protocols(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		for (unsigned protocol = 1; protocol < 256; protocol++) {
			struct frame f;
			enum frame_verdict expected = FRAME_DROP_NOT_OURS;

			frame_build(&f, &(struct frame_parts){.ipv6 = ipv6,
							      .payload_len = 20,
							      .protocol = (uint8_t)protocol});
			f.transport[0] = ipv6 ? 128 : 8;
			if (protocol == 17)
				continue;
			if (protocol == (ipv6 ? 58 : 1))
				expected = FRAME_ECHO;
			else if (ipv6 && protocol == 44)
				expected = FRAME_DROP_FRAGMENT;
			assert_int_equal(parse(&f), expected);
		}
	}
	(void)state;
}

static void icmp_types(void **state)
{
	struct frame f;

	for (unsigned type = 0; type < 256; type++) {
		frame_build(&f, &(struct frame_parts){.payload_len = 20, .protocol = 1});
		f.transport[0] = (uint8_t)type;
		assert_int_equal(parse(&f), type == 8 ? FRAME_ECHO : FRAME_DROP_NOT_OURS);
		frame_build(&f, &(struct frame_parts){.ipv6 = true, .payload_len = 20, .protocol = 58});
		f.transport[0] = (uint8_t)type;
		assert_int_equal(parse(&f), type == 128   ? FRAME_ECHO
					    : type == 135 ? FRAME_NEIGHBOUR
							  : FRAME_DROP_NOT_OURS);
	}
	frame_build(&f, &(struct frame_parts){.ipv6 = true,
					      .payload_len = 20,
					      .protocol = 58,
					      .destination = "ff02::1:ff0a:1"});
	f.transport[0] = 135;
	memcpy(f.bytes, (uint8_t[]){0x33, 0x33, 0xff, 0x0a, 0, 1}, 6);
	assert_int_equal(parse(&f), FRAME_NEIGHBOUR);
	put16(f.ip + 4, 0); /* ICMPv6 with nothing in it */
	assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
	(void)state;
}

static void arp(void **state)
{
	struct frame f;

	frame_build(&f, &(struct frame_parts){.payload_len = 20});
	put16(f.bytes + 12, 0x0806);
	assert_int_equal(parse(&f), FRAME_NEIGHBOUR);
	memset(f.bytes, 0xff, 6);
	assert_int_equal(parse(&f), FRAME_NEIGHBOUR);
	memcpy(f.bytes, their_mac, 6);
	assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
	memcpy(f.bytes, our_mac, 6);
	local.has_ipv4 = false;
	assert_int_equal(parse(&f), FRAME_DROP_NOT_OURS);
	(void)state;
}

/* The IPv4 header's checksum is verified whatever the port says, over the options too. */
static void ip_checksum(void **state)
{
	struct frame f;
	struct datagram d;

	for (unsigned options_len = 0; options_len <= 40; options_len += 4) {
		frame_build(&f, &(struct frame_parts){.payload_len = 20, .options_len = options_len});
		for (unsigned bit = 8; bit < 8 * (20 + options_len); bit++) {
			enum frame_verdict verdict;

			f.ip[bit / 8] ^= (uint8_t)(1 << bit % 8);
			verdict = parse_bytes(f.bytes, f.len, CHECKSUM_GOOD, &d);
			assert_true(verdict == FRAME_DROP_CHECKSUM ||
				    (bit / 8 < 4 && verdict == FRAME_DROP_TRUNCATED));
			f.ip[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_GOOD, &d), FRAME_RECORDS);
	}
	(void)state;
}

/* Every bit of the datagram, for payloads of even and odd length. */
static void udp_checksum(void **state)
{
	for (unsigned payload_len = 1; payload_len < 40; payload_len++) {
		for (int ipv6 = 0; ipv6 < 2; ipv6++) {
			struct frame f;
			struct datagram d;

			frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = payload_len});
			for (unsigned bit = 0; bit < 8 * f.transport_len; bit++) {
				if (bit >= 16 && bit < 48)
					continue; /* port and length have verdicts of their own */
				f.transport[bit / 8] ^= (uint8_t)(1 << bit % 8);
				assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY, &d),
						 FRAME_DROP_CHECKSUM);
				assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY_OR_PSEUDO, &d),
						 FRAME_DROP_CHECKSUM);
				assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_GOOD, &d),
						 FRAME_RECORDS);
				f.transport[bit / 8] ^= (uint8_t)(1 << bit % 8);
			}
			assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY, &d), FRAME_RECORDS);
			assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_BAD, &d), FRAME_DROP_CHECKSUM);
		}
	}
	(void)state;
}

/* RFC 768: zero says "none" over IPv4. RFC 8200 8.1: it is forbidden over IPv6, even when the port finds
 * nothing wrong. */
static void zero_udp_checksum(void **state)
{
	static const enum checksum_state states[] = {CHECKSUM_GOOD, CHECKSUM_VERIFY,
						     CHECKSUM_VERIFY_OR_PSEUDO};

	for (unsigned i = 0; i < 3; i++) {
		struct frame f;
		struct datagram d;

		frame_build(&f, &(struct frame_parts){.payload_len = 20});
		put16(f.transport + 6, 0);
		assert_int_equal(parse_bytes(f.bytes, f.len, states[i], &d), FRAME_RECORDS);
		frame_build(&f, &(struct frame_parts){.ipv6 = true, .payload_len = 20});
		put16(f.transport + 6, 0);
		assert_int_equal(parse_bytes(f.bytes, f.len, states[i], &d), FRAME_DROP_CHECKSUM);
	}
	(void)state;
}

/* What a virtual port hands over when its sender left the checksum to hardware: only where that is expected.
 */
static void bare_pseudo_header_sum(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct frame f;
		struct datagram d;
		uint16_t sum;

		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 20});
		sum = (uint16_t)~plain_transport_sum(f.ip + (ipv6 ? 8 : 12), ipv6, 17, NULL, 0);
		put16(f.transport + 6, plain_sum((uint32_t)sum + 28, NULL, 0));
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY_OR_PSEUDO, &d), FRAME_RECORDS);
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY, &d), FRAME_DROP_CHECKSUM);
		frame_fix_transport(&f, 6);
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY_OR_PSEUDO, &d), FRAME_RECORDS);
	}
	(void)state;
}

/* ---- writing ---- */

/* What is written is read back by the other side: addresses turned round, checksums right to the plain sum.
 */
static void writes_what_the_peer_reads(void **state)
{
	for (unsigned i = 0; i < 5000; i++) {
		struct frame_parts p = random_parts();
		struct frame f;
		struct datagram d;
		uint8_t out[FRAME_HEADERS_MAX + FRAME_MAX];
		uint8_t *payload = out + FRAME_HEADERS_MAX;
		size_t len = 1 + (size_t)rand() % 1300;
		size_t headers;
		uint8_t *ip, *udp;

		p.tagged = rand() & 1;
		p.tci = p.tagged ? 0x4063 : 0;
		local.vlan_id = p.tci & 0xfff;
		frame_build(&f, &p);
		assert_int_equal(parse_bytes(f.bytes, f.len, CHECKSUM_VERIFY, &d), FRAME_RECORDS);
		for (size_t k = 0; k < len; k++)
			payload[k] = (uint8_t)rand();
		headers = frame_write_headers(&local, &d.path, payload, len, 0x1234, false);
		assert_int_equal(headers, 14 + (p.tagged ? 4 : 0) + (p.ipv6 ? 40 : 20) + 8);
		assert_memory_equal(payload - headers, their_mac, 6);
		assert_memory_equal(payload - headers + 6, our_mac, 6);
		if (p.tagged)
			assert_memory_equal(payload - headers + 12, f.bytes + 12, 4);
		udp = payload - 8;
		ip = udp - (p.ipv6 ? 40 : 20);
		assert_memory_equal(ip + (p.ipv6 ? 8 : 12), f.ip + (p.ipv6 ? 24 : 16), p.ipv6 ? 16 : 4);
		assert_memory_equal(ip + (p.ipv6 ? 24 : 16), f.ip + (p.ipv6 ? 8 : 12), p.ipv6 ? 16 : 4);
		if (!p.ipv6)
			assert_int_equal(plain_sum(0, ip, 20), 0xffff);
		assert_int_equal((udp[6] << 8 | udp[7]) == 0, false);
		assert_int_equal(plain_transport_sum(ip + (p.ipv6 ? 8 : 12), p.ipv6, 17, udp, len + 8), 0);
		/* Our own parser, as the peer's. */
		struct local peer = local;

		memcpy(peer.mac, their_mac, 6);
		memcpy(peer.ipv4, d.path.peer.ip + 12, 4);
		memcpy(peer.ipv6, d.path.peer.ip, 16);
		peer.udp_port = d.path.peer.port;
		assert_int_equal(parse_frame(&peer, payload - headers, headers + len, CHECKSUM_VERIFY, &d),
				 FRAME_RECORDS);
		assert_int_equal(d.payload_len, len);
		assert_int_equal(d.path.peer.port, htons(OUR_PORT));
	}
	(void)state;
}

/* RFC 768: a sum of zero is written as its other zero. */
static void never_writes_a_zero_checksum(void **state)
{
	struct path path = {.peer = {.ip = {[10] = 0xff, 0xff, 198, 51, 100, 7}, .port = htons(THEIR_PORT)}};
	uint8_t out[FRAME_HEADERS_MAX + 2] = {0};
	uint8_t *payload = out + FRAME_HEADERS_MAX;
	unsigned seen = 0;

	for (unsigned word = 0; word < 65536; word++) {
		put16(payload, word);
		frame_write_headers(&local, &path, payload, 2, 0, false);
		assert_true(payload[-2] || payload[-1]);
		seen += payload[-2] == 0xff && payload[-1] == 0xff;
	}
	assert_int_equal(seen, 1); /* the one word that completes the sum */
	(void)state;
}

/* The port adds the rest to the pseudo-header sum: adding it here must give the complete checksum. */
static void checksum_offload(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct path path = {
			.peer = {.ip = {[10] = 0xff, 0xff, 198, 51, 100, 7}, .port = htons(THEIR_PORT)}};
		uint8_t out[FRAME_HEADERS_MAX + 100] = {0};
		uint8_t *payload = out + FRAME_HEADERS_MAX;
		uint8_t complete[2];
		uint8_t *udp = payload - 8;
		size_t headers;

		if (ipv6)
			inet_pton(AF_INET6, "2001:db8::b:2", path.peer.ip);
		memset(payload, 0x5a, 100);
		frame_write_headers(&local, &path, payload, 99, 0, false);
		memcpy(complete, udp + 6, 2);
		headers = frame_write_headers(&local, &path, payload, 99, 0, true);
		assert_memory_not_equal(udp + 6, complete, 2);
		put16(udp + 6, (uint16_t)~plain_sum(0, udp, 8 + 99));
		assert_memory_equal(udp + 6, complete, 2);
		if (!ipv6)
			assert_int_equal(plain_sum(0, payload - headers + 14, 20), 0xffff);
	}
	(void)state;
}

static void writes_nothing_impossible(void **state)
{
	static uint8_t out[FRAME_HEADERS_MAX + 65536];
	struct path path4 = {.peer = {.ip = {[10] = 0xff, 0xff, 198, 51, 100, 7}, .port = 1}};
	struct path path6 = {.peer = {.ip = {0x20, 1}, .port = 1}};
	uint8_t *payload = out + FRAME_HEADERS_MAX;

	assert_int_equal(frame_write_headers(&local, &path4, payload, 65507, 0, true), 42);
	assert_int_equal(frame_write_headers(&local, &path4, payload, 65508, 0, true), 0);
	assert_int_equal(frame_write_headers(&local, &path6, payload, 65527, 0, true), 62);
	assert_int_equal(frame_write_headers(&local, &path6, payload, 65528, 0, true), 0);
	local.has_ipv4 = local.has_ipv6 = false;
	assert_int_equal(frame_write_headers(&local, &path4, payload, 10, 0, true), 0);
	assert_int_equal(frame_write_headers(&local, &path6, payload, 10, 0, true), 0);
	(void)state;
}

/* Random damage to good frames: any verdict, but never a read outside (the copy is of exact size). */
static void damaged_frames(void **state)
{
	unsigned verdicts[FRAME_VERDICTS_COUNT] = {0};

	for (unsigned i = 0; i < 200000; i++) {
		struct frame_parts p = random_parts();
		struct frame f;
		struct datagram d;

		p.payload_len = 1 + p.payload_len % 60;
		frame_build(&f, &p);
		for (unsigned hits = (unsigned)rand() % 3; hits > 0; hits--)
			f.bytes[(size_t)rand() % 70] = (uint8_t)rand();
		verdicts[parse_bytes(f.bytes, (size_t)rand() % 8 ? f.len : (size_t)rand() % f.len,
				     (enum checksum_state)(rand() % 4), &d)]++;
	}
	assert_true(verdicts[FRAME_RECORDS] > 0);
	assert_true(verdicts[FRAME_DROP_NOT_OURS] > 0 && verdicts[FRAME_DROP_TRUNCATED] > 0);
	assert_true(verdicts[FRAME_DROP_CHECKSUM] > 0);
	(void)state;
}

/* Damage where the usual frame has its fixed fields, mostly repaired checksums. */
static void damage_usual(struct frame *f)
{
	for (unsigned hits = (unsigned)rand() % 3; hits > 0; hits--)
		f->bytes[(size_t)rand() % 44] ^= (uint8_t)(1U << rand() % 8);
	if (rand() % 4)
		frame_fix_ip(f);
	if (rand() % 8 == 0)
		memcpy(f->ip + 12, (uint8_t[]){(uint8_t)(rand() % 2 ? 127 : 224), 0, 0, 1}, 4);
	if (rand() % 8 == 0)
		f->len = (size_t)rand() % f->len;
}

/* The short way takes a frame only if the long way does, and reads the same out of it. */
static void the_short_way_is_the_long_way(void **state)
{
	unsigned short_way = 0, long_way_alone = 0, refused = 0;

	for (unsigned i = 0; i < 400000; i++) {
		struct frame_parts p = {.payload_len = 1 + (unsigned)rand() % 60,
					.padding = (unsigned)rand() % 4,
					.options_len = rand() % 8 ? 0 : 4,
					.tagged = rand() % 16 == 0};
		enum checksum_state checksum = (enum checksum_state)(rand() % 4);
		struct datagram a = {0}, b = {0};
		struct frame f;
		bool taken;

		frame_build(&f, &p);
		damage_usual(&f);
		taken = usual_read(&local, f.bytes, f.len, checksum, &a);
		if (parse_any(&local, f.bytes, f.len, checksum, &b) != FRAME_RECORDS) {
			assert_false(taken);
			refused++;
		} else if (taken) {
			assert_memory_equal(&a.path, &b.path, sizeof(a.path));
			assert_ptr_equal(a.payload, b.payload);
			assert_int_equal(a.payload_len, b.payload_len);
			short_way++;
		} else {
			long_way_alone++;
		}
	}
	assert_true(short_way > 50000 && refused > 50000);
	assert_true(long_way_alone > 1000); /* options, a priority tag */
	(void)state;
}

/* Nothing that the short way looks at is left out of that test: one wrong bit sends each frame the long way.
 */
static void the_short_way_checks_each_field(void **state)
{
	static const uint8_t anything_goes[] = {15, 18, 19, 22}; /* TOS, identification, TTL */
	struct frame_parts p = {.payload_len = 9};
	struct frame f;
	struct datagram d;

	frame_build(&f, &p);
	assert_true(usual_read(&local, f.bytes, f.len, CHECKSUM_VERIFY, &d));
	for (unsigned bit = 0; bit < 42 * 8; bit++) {
		unsigned at = bit / 8;
		bool peer = (at >= 6 && at < 12) || (at >= 26 && at < 30) || at == 34 || at == 35;

		if (memchr(anything_goes, (int)at, sizeof(anything_goes)) || peer ||
		    (at == 20 && bit % 8 >= 6))
			continue; /* in byte 20 "do not fragment" and the reserved bit */
		f.bytes[at] ^= (uint8_t)(1U << bit % 8);
		if (at >= 14 && at < 24)
			frame_fix_ip(&f);
		assert_false(usual_read(&local, f.bytes, f.len, CHECKSUM_VERIFY, &d) && at != 16 && at != 17);
		frame_build(&f, &p);
	}
	(void)state;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(takes_what_is_for_us),
		T(truncated_at_every_length),
		T(lengths_in_the_headers),
		T(other_versions_and_types),
		T(addressed_to_others),
		T(impossible_sources),
		T(destination_port_zero),
		T(empty_datagrams),
		T(vlans),
		T(fragments),
		T(protocols),
		T(icmp_types),
		T(arp),
		T(ip_checksum),
		T(udp_checksum),
		T(zero_udp_checksum),
		T(bare_pseudo_header_sum),
		T(writes_what_the_peer_reads),
		T(never_writes_a_zero_checksum),
		T(checksum_offload),
		T(writes_nothing_impossible),
		T(damaged_frames),
		T(the_short_way_is_the_long_way),
		T(the_short_way_checks_each_field),
	};

	srand(26);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
