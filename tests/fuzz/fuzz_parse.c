/* Any bytes as an Ethernet frame. The first byte chooses what the port says of the checksums and which of
 * them are made right, so that what stands behind them is reached too. What is taken lies inside the frame
 * and can be answered.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/neigh.h"
#include "dataplane/parse.h"
#include "tests/unit/frame_builder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIX_IP = 4, FIX_TRANSPORT = 8, VLAN = 16, ROOM_TO_ANSWER = 32 };

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void fix_checksums(const struct local *local, uint8_t *bytes, size_t len, uint8_t choice)
{
	struct frame f = {.ip = bytes + (choice & VLAN ? 18 : 14)};
	struct layout at;
	bool ipv6;

	if ((size_t)(f.ip - bytes) + 20 > len)
		return;
	ipv6 = f.ip[-2] == 0x86;
	if ((choice & FIX_IP) && !ipv6 && (size_t)(f.ip - bytes) + (size_t)(f.ip[0] & 0x0f) * 4 <= len &&
	    (f.ip[0] & 0x0f) >= 5)
		frame_fix_ip(&f);
	if (!(choice & FIX_TRANSPORT) || layout_read(local, bytes, len, &at) != FRAME_RECORDS ||
	    at.ethertype == ETHERTYPE_ARP4 || at.transport_len < 8)
		return;
	f.transport = bytes + at.transport;
	f.transport_len = at.transport_len;
	if (at.protocol == PROTOCOL_ICMP) {
		put16(f.transport + 2, 0);
		put16(f.transport + 2, (uint16_t)~plain_sum(0, f.transport, f.transport_len));
	} else {
		frame_fix_transport(&f, at.protocol == PROTOCOL_ICMPV6 ? 2 : 6);
	}
}

/* The way back: headers for the peer that the datagram came from, which our parser as the peer's takes. */
static void check_answer(const struct local *local, const struct datagram *d)
{
	uint8_t out[FRAME_HEADERS_MAX + 16] = {0};
	size_t headers = frame_write_headers(local, &d->path, out + FRAME_HEADERS_MAX, 16, 1, false);
	struct local peer = *local;
	struct datagram back;

	require(headers > 0);
	memcpy(peer.mac, d->path.mac, 6);
	memcpy(peer.ipv4, d->path.peer.ip + 12, 4);
	memcpy(peer.ipv6, d->path.peer.ip, 16);
	peer.udp_port = d->path.peer.port;
	require(parse_frame(&peer, out + FRAME_HEADERS_MAX - headers, headers + 16, CHECKSUM_VERIFY, &back) ==
		FRAME_RECORDS);
	require(back.payload_len == 16 && back.path.peer.port == local->udp_port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct local local = frame_local();
	struct datagram d;
	enum frame_verdict verdict;
	uint8_t choice;
	size_t room;
	uint8_t *bytes;

	if (size < 1 || size > 2048)
		return 0;
	choice = *data++;
	size--;
	local.vlan_id = choice & VLAN ? 100 : 0;
	room = size + (choice & ROOM_TO_ANSWER ? 64 : 0);
	bytes = malloc(room ? room : 1);
	if (size > 0)
		memcpy(bytes, data, size);
	fix_checksums(&local, bytes, size, choice);
	verdict = parse_frame(&local, bytes, size, (enum checksum_state)(choice & 3), &d);
	require(verdict < FRAME_VERDICTS_COUNT);
	if (verdict == FRAME_RECORDS) {
		require(d.payload >= bytes && (size_t)(d.payload - bytes) + d.payload_len <= size);
		require(d.path.peer.port != 0);
		check_answer(&local, &d);
	}
	size_t len = neigh_answer(&local, bytes, size, room);

	require(len <= room);
	require(len == 0 || verdict == FRAME_NEIGHBOUR || verdict == FRAME_ECHO);
	free(bytes);
	return 0;
}
