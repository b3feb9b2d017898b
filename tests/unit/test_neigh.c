/* ARP, neighbour discovery and echo: right requests become right answers, wrong ones are left as they are
 * [C08]. */
#include "dataplane/neigh.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/frame_builder.h"

static struct local local;
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static int setup(void **state)
{
	local = frame_local();
	(void)state;
	return 0;
}

/* From a buffer of exactly `room` bytes; the answer replaces the frame. No answer leaves the frame as it was.
 */
static size_t answer_within(struct frame *f, size_t room)
{
	uint8_t *copy = malloc(room ? room : 1);
	size_t len;

	assert_true(f->len <= room);
	memcpy(copy, f->bytes, f->len);
	len = neigh_answer(&local, copy, f->len, room);
	assert_true(len <= room);
	if (len > 0) {
		memcpy(f->bytes, copy, len);
		f->len = len;
	} else {
		assert_memory_equal(copy, f->bytes, f->len);
	}
	free(copy);
	return len;
}

static size_t answer(struct frame *f)
{
	return answer_within(f, f->len + 64);
}

/* ---- ARP ---- */

static void build_arp(struct frame *f, const char *sender, const char *target, bool tagged)
{
	static const uint8_t head[8] = {0, 1, 8, 0, 6, 4, 0, 1};
	uint8_t *arp;

	memset(f, 0, sizeof(*f));
	memcpy(f->bytes, broadcast, 6);
	memcpy(f->bytes + 6, their_mac, 6);
	arp = f->bytes + 14;
	if (tagged) {
		put16(f->bytes + 12, 0x8100);
		put16(f->bytes + 14, local.vlan_id);
		arp += 4;
	}
	put16(arp - 2, 0x0806);
	memcpy(arp, head, 8);
	memcpy(arp + 8, their_mac, 6);
	inet_pton(AF_INET, sender, arp + 14);
	inet_pton(AF_INET, target, arp + 24);
	f->transport = arp;
	f->len = (size_t)(arp - f->bytes) + 28;
}

static void arp_request(void **state)
{
	for (int tagged = 0; tagged < 2; tagged++) {
		struct frame f;
		uint8_t expected[28] = {0, 1, 8, 0, 6, 4, 0, 2};

		local.vlan_id = tagged ? 100 : 0;
		build_arp(&f, "192.0.2.9", "192.0.2.1", tagged);
		assert_int_equal(answer(&f), 60);
		memcpy(expected + 8, our_mac, 6);
		memcpy(expected + 14, local.ipv4, 4);
		memcpy(expected + 18, their_mac, 6);
		inet_pton(AF_INET, "192.0.2.9", expected + 24);
		assert_memory_equal(f.transport, expected, 28);
		assert_memory_equal(f.bytes, their_mac, 6);
		assert_memory_equal(f.bytes + 6, our_mac, 6);
		for (size_t i = (size_t)(f.transport - f.bytes) + 28; i < 60; i++)
			assert_int_equal(f.bytes[i], 0);
		build_arp(&f, "0.0.0.0", "192.0.2.1", tagged); /* a probe: RFC 5227 */
		assert_int_equal(answer(&f), 60);
	}
	(void)state;
}

static void arp_not_for_us(void **state)
{
	struct frame f;

	build_arp(&f, "192.0.2.9", "192.0.2.2", false);
	assert_int_equal(answer(&f), 0);
	build_arp(&f, "192.0.2.1", "192.0.2.1", false); /* somebody says that he is we */
	assert_int_equal(answer(&f), 0);
	build_arp(&f, "224.0.0.1", "192.0.2.1", false);
	assert_int_equal(answer(&f), 0);
	build_arp(&f, "192.0.2.9", "192.0.2.1", false);
	f.transport[8] |= 1; /* the answer would go to a group */
	assert_int_equal(answer(&f), 0);
	build_arp(&f, "192.0.2.9", "192.0.2.1", false);
	local.has_ipv4 = false;
	assert_int_equal(answer(&f), 0);
	(void)state;
}

/* Each byte of the fixed part must be what it is, and nothing may be missing. */
static void arp_malformed(void **state)
{
	struct frame f;

	for (unsigned i = 0; i < 8; i++) {
		build_arp(&f, "192.0.2.9", "192.0.2.1", false);
		f.transport[i] ^= 4;
		assert_int_equal(answer(&f), 0);
	}
	for (size_t len = 0; len < 42; len++) {
		build_arp(&f, "192.0.2.9", "192.0.2.1", false);
		f.len = len;
		assert_int_equal(answer_within(&f, len), 0);
	}
	build_arp(&f, "192.0.2.9", "192.0.2.1", false);
	assert_int_equal(answer_within(&f, 42), 42); /* no room to pad */
	(void)state;
}

/* ---- echo ---- */

static void build_echo(struct frame *f, bool ipv6, unsigned payload_len, const char *destination)
{
	frame_build(f, &(struct frame_parts){.ipv6 = ipv6,
					     .protocol = ipv6 ? 58 : 1,
					     .payload_len = payload_len,
					     .destination = destination});
	memset(f->transport, 0, 8);
	f->transport[0] = ipv6 ? 128 : 8;
	put16(f->transport + 4, 0xbeef);
	put16(f->transport + 6, 7);
	if (ipv6)
		frame_fix_transport(f, 2);
	else
		put16(f->transport + 2, (uint16_t)~plain_sum(0, f->transport, f->transport_len));
}

static void check_echo_answer(struct frame *f, bool ipv6, const struct frame *request)
{
	unsigned addresses = ipv6 ? 8 : 12;
	unsigned address_len = ipv6 ? 16 : 4;

	assert_memory_equal(f->bytes, their_mac, 6);
	assert_memory_equal(f->bytes + 6, our_mac, 6);
	assert_memory_equal(f->ip + addresses, request->ip + addresses + address_len, address_len);
	assert_memory_equal(f->ip + addresses + address_len, request->ip + addresses, address_len);
	assert_int_equal(f->transport[0], ipv6 ? 129 : 0);
	assert_memory_equal(f->transport + 4, request->transport + 4, f->transport_len - 4);
	if (ipv6) {
		assert_int_equal(plain_transport_sum(f->ip + 8, true, 58, f->transport, f->transport_len), 0);
	} else {
		assert_int_equal(plain_sum(0, f->ip, 20), 0xffff);
		assert_int_equal(plain_sum(0, f->transport, f->transport_len), 0xffff);
	}
}

static void echo(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		for (unsigned payload_len = 0; payload_len < 1400; payload_len += 1 + payload_len / 8) {
			struct frame f, request;
			size_t whole;

			build_echo(&f, ipv6, payload_len, NULL);
			f.ip[ipv6 ? 7 : 8] = 3; /* came from afar */
			if (!ipv6)
				frame_fix_ip(&f);
			build_echo(&request, ipv6, payload_len, NULL);
			whole = f.len < 60 ? 60 : f.len;
			assert_int_equal(answer(&f), whole);
			check_echo_answer(&f, ipv6, &request);
			assert_int_equal(f.ip[ipv6 ? 7 : 8], 64);
		}
	}
	(void)state;
}

/* The link-local address answers for itself. */
static void echo_to_link_local(void **state)
{
	struct frame f, request;

	build_echo(&f, true, 56, "fe80::ff:fe00:1");
	build_echo(&request, true, 56, "fe80::ff:fe00:1");
	assert_true(answer(&f) > 0);
	check_echo_answer(&f, true, &request);
	(void)state;
}

static void echo_refused(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct frame f;

		for (unsigned bit = 0; bit < 8 * 28; bit++) { /* every bit that the checksum covers */
			build_echo(&f, ipv6, 20, NULL);
			f.transport[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(answer(&f), 0);
		}
		build_echo(&f, ipv6, 20, ipv6 ? "ff02::1" : "192.0.2.255"); /* to a group: no amplifier */
		assert_int_equal(answer(&f), 0);
		build_echo(&f, ipv6, 20, ipv6 ? "ff02::1:ff0a:1" : "224.0.0.1");
		assert_int_equal(answer(&f), 0);
		build_echo(&f, ipv6, 20, NULL);
		memcpy(f.bytes, broadcast, 6);
		assert_int_equal(answer(&f), 0);
		for (size_t len = 0; len < (ipv6 ? 82U : 62U); len++) {
			build_echo(&f, ipv6, 20, NULL);
			f.len = len;
			assert_int_equal(answer_within(&f, len), 0);
		}
		build_echo(&f, ipv6, 20, NULL);
		f.transport[1] = 1; /* a code that there is not */
		if (ipv6)
			frame_fix_transport(&f, 2);
		else
			put16(f.transport + 2, (uint16_t)~plain_sum(0, f.transport, 2));
		assert_int_equal(answer(&f), 0);
	}
	(void)state;
}

/* A frame with a UDP datagram has no answer here. */
static void not_a_request(void **state)
{
	for (int ipv6 = 0; ipv6 < 2; ipv6++) {
		struct frame f;

		frame_build(&f, &(struct frame_parts){.ipv6 = ipv6, .payload_len = 20});
		assert_int_equal(answer(&f), 0);
	}
	(void)state;
}

/* ---- neighbour discovery ---- */

struct solicitation {
	const char *source, *destination, *target;
	bool no_option;
	uint8_t hop_limit, code;
};

static void build_solicitation(struct frame *f, const struct solicitation *s)
{
	unsigned len = s->no_option ? 24 : 32;

	frame_build(f,
		    &(struct frame_parts){.ipv6 = true,
					  .protocol = 58,
					  .hop_limit = s->hop_limit ? s->hop_limit : 255,
					  .payload_len = len - 8,
					  .source = s->source ? s->source : "2001:db8::b:2",
					  .destination = s->destination ? s->destination : "ff02::1:ff0a:1"});
	memset(f->transport, 0, len);
	f->transport[0] = 135;
	f->transport[1] = s->code;
	inet_pton(AF_INET6, s->target ? s->target : "2001:db8::a:1", f->transport + 8);
	if (!s->no_option) {
		f->transport[24] = 1;
		f->transport[25] = 1;
		memcpy(f->transport + 26, their_mac, 6);
	}
	if (f->ip[24] == 0xff)
		memcpy(f->bytes, (uint8_t[]){0x33, 0x33, f->ip[36], f->ip[37], f->ip[38], f->ip[39]}, 6);
	frame_fix_transport(f, 2);
}

static void check_advertisement(const struct frame *f, const char *to, const char *target, uint8_t flags)
{
	uint8_t address[16];

	assert_int_equal(f->len, 14 + 40 + 32);
	assert_memory_equal(f->bytes + 6, our_mac, 6);
	inet_pton(AF_INET6, to, address);
	assert_memory_equal(f->ip + 24, address, 16);
	inet_pton(AF_INET6, target, address);
	assert_memory_equal(f->ip + 8, address, 16);
	assert_int_equal(f->ip[0] >> 4, 6);
	assert_int_equal(f->ip[4] << 8 | f->ip[5], 32);
	assert_int_equal(f->ip[6], 58);
	assert_int_equal(f->ip[7], 255);
	assert_int_equal(f->transport[0], 136);
	assert_int_equal(f->transport[1], 0);
	assert_int_equal(f->transport[4], flags);
	assert_memory_equal(f->transport + 8, address, 16);
	assert_int_equal(f->transport[24], 2);
	assert_int_equal(f->transport[25], 1);
	assert_memory_equal(f->transport + 26, our_mac, 6);
	assert_int_equal(plain_transport_sum(f->ip + 8, true, 58, f->transport, 32), 0);
}

static void solicitation(void **state)
{
	struct frame f;

	build_solicitation(&f, &(struct solicitation){.no_option = false});
	assert_true(answer(&f) > 0);
	check_advertisement(&f, "2001:db8::b:2", "2001:db8::a:1", 0x60);
	assert_memory_equal(f.bytes, their_mac, 6);
	/* To our own address, to see whether we are still there, without the option: the answer is longer. */
	build_solicitation(&f, &(struct solicitation){.destination = "2001:db8::a:1", .no_option = true});
	assert_true(answer(&f) > 0);
	check_advertisement(&f, "2001:db8::b:2", "2001:db8::a:1", 0x60);
	build_solicitation(&f, &(struct solicitation){.destination = "2001:db8::a:1", .no_option = true});
	assert_int_equal(answer_within(&f, f.len), 0);
	/* For the link-local address. */
	build_solicitation(&f, &(struct solicitation){.target = "fe80::ff:fe00:1",
						      .destination = "ff02::1:ff00:1",
						      .source = "fe80::5"});
	assert_true(answer(&f) > 0);
	check_advertisement(&f, "fe80::5", "fe80::ff:fe00:1", 0x60);
	(void)state;
}

/* The option names the MAC that is asked for, which need not be the frame's. */
static void answers_to_the_option(void **state)
{
	struct frame f;
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 0x77};

	build_solicitation(&f, &(struct solicitation){.no_option = false});
	memcpy(f.transport + 26, other, 6);
	frame_fix_transport(&f, 2);
	assert_true(answer(&f) > 0);
	assert_memory_equal(f.bytes, other, 6);
	(void)state;
}

/* RFC 4861 7.2.4: somebody wants our address for himself; all nodes hear that it is taken. */
static void duplicate_detection(void **state)
{
	static const uint8_t group[6] = {0x33, 0x33, 0, 0, 0, 1};
	struct frame f;

	build_solicitation(&f, &(struct solicitation){.source = "::", .no_option = true});
	assert_true(answer(&f) > 0);
	check_advertisement(&f, "ff02::1", "2001:db8::a:1", 0x20);
	assert_memory_equal(f.bytes, group, 6);
	(void)state;
}

/* RFC 4861 7.1.1, one by one. */
static void solicitation_refused(void **state)
{
	static const struct solicitation bad[] = {
		{.hop_limit = 254},
		{.code = 1},
		{.target = "2001:db8::a:2"},
		{.target = "2001:db8:1::a:1"}, /* the same group, another address */
		{.target = "ff02::1:ff0a:1"},
		{.destination = "ff02::1"},
		{.source = "ff02::7"},
		{.source = "2001:db8::a:1"},
		{.source = "::"},                                                    /* with an option */
		{.source = "::", .no_option = true, .destination = "2001:db8::a:1"}, /* not to the group */
	};
	struct frame f;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		build_solicitation(&f, &bad[i]);
		assert_int_equal(answer(&f), 0);
	}
	for (unsigned bit = 0; bit < 8 * 32; bit++) {
		build_solicitation(&f, &(struct solicitation){.no_option = false});
		f.transport[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(answer(&f), 0);
	}
	for (unsigned len = 0; len < 256; len++) { /* an option of zero length, or longer than the message */
		build_solicitation(&f, &(struct solicitation){.no_option = false});
		f.transport[25] = (uint8_t)len;
		frame_fix_transport(&f, 2);
		assert_int_equal(answer(&f) > 0, len == 1);
	}
	build_solicitation(&f, &(struct solicitation){.no_option = false});
	f.transport[26] |= 1; /* a group MAC in the option */
	frame_fix_transport(&f, 2);
	assert_int_equal(answer(&f), 0);
	for (size_t len = 0; len < 14 + 40 + 32; len++) {
		build_solicitation(&f, &(struct solicitation){.no_option = false});
		f.len = len;
		assert_int_equal(answer(&f), 0);
	}
	(void)state;
}

/* An option cut short by the message's own length. */
static void options_cut(void **state)
{
	for (unsigned len = 0; len < 32; len++) {
		struct frame f;

		build_solicitation(&f, &(struct solicitation){.no_option = false});
		put16(f.ip + 4, len);
		f.transport_len = len;
		if (len >= 8)
			frame_fix_transport(&f, 2);
		assert_int_equal(answer(&f) > 0, len == 24);
	}
	(void)state;
}

/* ---- announcements ---- */

static void announcements(void **state)
{
	struct frame f = {.len = 0};

	assert_int_equal(neigh_announce(&local, false, f.bytes, sizeof(f.bytes)), 60);
	assert_memory_equal(f.bytes, broadcast, 6);
	assert_memory_equal(f.bytes + 14 + 14, local.ipv4, 4);
	assert_memory_equal(f.bytes + 14 + 24, local.ipv4, 4);

	memset(&f, 0, sizeof(f));
	f.len = neigh_announce(&local, true, f.bytes, sizeof(f.bytes));
	f.ip = f.bytes + 14;
	f.transport = f.ip + 40;
	check_advertisement(&f, "ff02::1", "2001:db8::a:1", 0x20);

	local.vlan_id = 0x123;
	assert_int_equal(neigh_announce(&local, true, f.bytes, sizeof(f.bytes)), 18 + 72);
	assert_memory_equal(f.bytes + 12, ((uint8_t[]){0x81, 0, 1, 0x23, 0x86, 0xdd}), 6);

	assert_int_equal(neigh_announce(&local, true, f.bytes, 89), 0);
	local.has_ipv4 = local.has_ipv6 = false;
	assert_int_equal(neigh_announce(&local, true, f.bytes, sizeof(f.bytes)), 0);
	assert_int_equal(neigh_announce(&local, false, f.bytes, sizeof(f.bytes)), 0);
	(void)state;
}

/* Random damage: an answer or none, never a byte outside (the buffer is of exact size). */
static void damaged_requests(void **state)
{
	unsigned answered = 0;

	for (unsigned i = 0; i < 100000; i++) {
		struct frame f;

		switch (i % 4) {
		case 0:
			build_arp(&f, "192.0.2.9", "192.0.2.1", false);
			break;
		case 1:
			build_echo(&f, false, i % 50, NULL);
			break;
		case 2:
			build_echo(&f, true, i % 50, NULL);
			break;
		default:
			build_solicitation(&f, &(struct solicitation){.no_option = i & 8});
		}
		for (unsigned hits = (unsigned)rand() % 3; hits > 0; hits--)
			f.bytes[(size_t)rand() % f.len] = (uint8_t)rand();
		if (i & 4 && f.ip && f.bytes[12] == 0x86) /* past the checksum */
			frame_fix_transport(&f, 2);
		answered += answer_within(&f, f.len + (size_t)rand() % 64) > 0;
	}
	assert_true(answered > 10000);
	(void)state;
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		T(arp_request),           T(arp_not_for_us),      T(arp_malformed),        T(echo),
		T(echo_to_link_local),    T(echo_refused),        T(not_a_request),        T(solicitation),
		T(answers_to_the_option), T(duplicate_detection), T(solicitation_refused), T(options_cut),
		T(announcements),         T(damaged_requests),
	};

	srand(27);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
