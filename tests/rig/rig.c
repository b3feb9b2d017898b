#include "tests/rig/rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <rte_eth_ring.h>
#include <rte_malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { RING_SIZE = 8192 };

static void die(const char *what)
{
	fprintf(stderr, "rig: %s\n", what);
	exit(1);
}

uint64_t rig_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

void rig_key(uint32_t device, struct aead_key *key)
{
	uint64_t words[3] = {rig_mix(device), rig_mix(device + (1ULL << 32)), rig_mix(device + (2ULL << 32))};

	memcpy(key, words, sizeof(*key));
}

void rig_path(uint32_t device, struct path *path)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 9};

	memset(path, 0, sizeof(*path));
	path->peer.ip[10] = path->peer.ip[11] = 0xff;
	path->peer.ip[12] = 10;
	path->peer.ip[13] = (uint8_t)(device >> 14);
	path->peer.ip[14] = (uint8_t)(device >> 6);
	path->peer.ip[15] = (uint8_t)(1 + (device & 63));
	path->peer.port = htons((uint16_t)(20000 + (device >> 22)));
	memcpy(path->mac, mac, sizeof(mac));
}

void rig_defaults(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	r->connection = r->listen_fd = -1;
	r->config.workers.count = 1;
	r->config.sessions.max = 64;
	r->config.sessions.idle_timeout_s = 86400;
	r->config.sessions.failed_tags_max = 1000;
	r->config.handshakes.max = 64;
	r->config.port.mtu = 1500;
	r->config.port.mbufs = 16383;
	r->config.port.rx_descriptors = r->config.port.tx_descriptors = 1024;
}

static void open_port(struct rig *r)
{
	static unsigned number;
	char name[32], error[256];

	snprintf(name, sizeof(name), "rig_rx_%u", number);
	r->rx = rte_ring_create(name, RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	snprintf(name, sizeof(name), "rig_tx_%u", number);
	r->tx = rte_ring_create(name, RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
	snprintf(name, sizeof(name), "rig_%u", number++);
	if (!r->rx || !r->tx || rte_eth_from_rings(name, &r->rx, 1, &r->tx, 1, 0) < 0)
		die("no ring port");
	if (port_open(&r->port, &r->config, &r->local, error, sizeof(error)) != 0)
		die(error);
	r->local.has_ipv4 = true;
	memcpy(r->local.ipv4, (uint8_t[]){10, 255, 255, 254}, 4);
	r->local.udp_port = htons(5684);
}

void rig_open(struct rig *r)
{
	static const uint8_t cid_key[16] = {1, 2, 3};
	struct worker_setup setup = {.config = &r->config,
				     .link = &r->link,
				     .crypto = &r->choice,
				     .cid_key = cid_key,
				     .port = &r->port};
	struct timespec now;
	char error[512];

	clock_gettime(CLOCK_MONOTONIC, &now);
	r->now_ns = (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
	if (record_choice_make(&r->choice, r->config.crypto_engine, error, sizeof(error)) != 0)
		die(error);
	r->crypto = record_crypto_new(&r->choice);
	open_port(r);
	setup.local = r->local;
	r->link.counters = rte_zmalloc(NULL, sizeof(*r->link.counters), 64);
	if (!r->crypto || !r->link.counters || mailbox_init(&r->link.to_control, 1 << 20) != 0 ||
	    mailbox_init(&r->link.to_worker, 1 << 20) != 0)
		die("no mailboxes");
	r->worker = worker_new(&setup, error, sizeof(error));
	if (!r->worker)
		die(error);
}

void rig_close(struct rig *r)
{
	struct rte_mbuf *m;

	worker_free(r->worker);
	while ((m = rig_receive(r)) != NULL)
		rte_pktmbuf_free(m);
	port_close(&r->port);
	rte_ring_free(r->rx);
	rte_ring_free(r->tx);
	mailbox_fini(&r->link.to_control);
	mailbox_fini(&r->link.to_worker);
	rte_free(r->link.counters);
	record_crypto_free(r->crypto);
	uplink_free(r->uplink);
	if (r->connection >= 0)
		close(r->connection);
	if (r->listen_fd >= 0) {
		close(r->listen_fd);
		unlink(r->socket);
	}
}

void rig_listen(struct rig *r)
{
	snprintf(r->socket, sizeof(r->socket), "/tmp/sluice-rig-%d.sock", getpid());
	r->listen_fd = uplink_listen(r->socket, 0600, NULL);
	if (r->listen_fd < 0)
		die("no ring socket");
}

void rig_accept(struct rig *r, uint32_t attach, uint64_t up_bytes, uint64_t down_bytes)
{
	unsigned uid;
	int pid;

	if (r->connection >= 0)
		close(r->connection);
	uplink_free(r->uplink);
	r->uplink = uplink_new(up_bytes, down_bytes);
	if (!r->uplink)
		die("no ring");
	do
		r->connection = uplink_accept(r->listen_fd, &uid, &pid);
	while (r->connection == -EAGAIN);
	if (r->connection < 0 || uplink_hand_over(r->connection, &r->uplink, 1) != 0)
		die("the ring cannot be handed over");
	r->worker->uplink = r->uplink;
	r->worker->attach = attach;
}

uint32_t rig_install(struct rig *r, uint32_t device, bool cid)
{
	struct session_table *t = r->worker->sessions;
	uint32_t slot = session_reserve(t), replaced, evicted;
	struct session_install in = {
		.suite = 0xc0a8,
		.protection = PROTECTION_AES_128_CCM_8,
		.has_cid = cid,
		.epoch = 1,
		.rx_highest = 1,
		.tx_seq_next = 1,
	};

	if (slot == SESSION_NONE)
		die("the session table is full");
	in.ref = session_ref(t, slot);
	rig_path(device, &in.path);
	rig_key(device, &in.rx_key.aead);
	rig_key(device, &in.tx_key.aead);
	if (session_install(t, &in, r->now_ns, &replaced, &evicted) != 0 || evicted != SESSION_NONE)
		die("a session cannot be installed");
	session_tx(t, slot)->announced = r->worker->attach;
	return slot;
}

/* The devices' side of the Ethernet: their frames come from here and go to the gateway. */
static void write_frame(struct rig *r, struct rte_mbuf *m, const struct path *from, uint8_t *start,
			size_t len)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	bool ipv4 = memcmp(from->peer.ip, mapped, sizeof(mapped)) == 0;
	struct local local = {.has_ipv4 = ipv4, .has_ipv6 = !ipv4, .udp_port = from->peer.port};
	struct path to = {.peer.port = r->local.udp_port, .vlan_tci = from->vlan_tci};
	size_t headers;

	memcpy(local.mac, from->mac, 6);
	memcpy(local.ipv4, from->peer.ip + 12, 4);
	memcpy(local.ipv6, from->peer.ip, 16);
	memcpy(to.mac, r->local.mac, 6);
	memcpy(to.peer.ip, mapped, sizeof(mapped));
	memcpy(to.peer.ip + 12, r->local.ipv4, 4);
	if (!ipv4)
		memcpy(to.peer.ip, r->worker->local.ipv6, 16);
	headers = frame_write_headers(&local, &to, start, len, 0, false);
	m->data_off = (uint16_t)(start - headers - (uint8_t *)m->buf_addr);
	m->data_len = (uint16_t)(headers + len);
	m->pkt_len = m->data_len;
	m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_IP_CKSUM_GOOD;
}

/* Seals into mbufs; starts[i] and lens[i] are the whole records. */
static void seal(struct rig *r, const struct rig_record *records, struct rte_mbuf **mbufs, unsigned n,
		 uint8_t **starts, size_t *lens)
{
	struct record_op ops[RECORD_BURST_MAX];
	struct aead_key keys[RECORD_BURST_MAX];

	if (rte_pktmbuf_alloc_bulk(r->port.pools[0], mbufs, n) != 0)
		die("no mbufs for the devices' frames");
	for (unsigned i = 0; i < n; i++) {
		rig_key(records[i].device, &keys[i]);
		ops[i] = (struct record_op){
			.fragment = (uint8_t *)mbufs[i]->buf_addr + PORT_PAYLOAD_AT - 8,
			.key = &keys[i],
			.cid = records[i].cid,
			.cid_len = records[i].cid ? CID_LEN : 0,
			.epoch_seq = records[i].epoch_seq,
			.payload_offset = 8,
			.payload_len = records[i].payload_len,
			.type = records[i].type,
			.protection = PROTECTION_AES_128_CCM_8,
		};
		memcpy(ops[i].fragment + 8, records[i].payload, records[i].payload_len);
	}
	record_seal_burst(r->crypto, ops, n);
	for (unsigned i = 0; i < n; i++) {
		starts[i] = ops[i].fragment - RECORD_HEADER_LEN - ops[i].cid_len;
		lens[i] = (size_t)(ops[i].fragment - starts[i]) + ops[i].fragment_len;
		record_write(starts[i], ops[i].cid_len ? CONTENT_TLS12_CID : records[i].type,
			     ops[i].epoch_seq, ops[i].cid, ops[i].cid_len, ops[i].fragment_len);
		starts[i][lens[i] - 1] ^= records[i].spoil;
	}
}

static void enqueue(struct rig *r, struct rte_mbuf **mbufs, unsigned n)
{
	if (rte_ring_enqueue_bulk(r->rx, (void **)mbufs, n, NULL) != n)
		die("the receive ring is full");
}

void rig_send(struct rig *r, const struct rig_record *records, unsigned n)
{
	struct rte_mbuf *mbufs[RECORD_BURST_MAX];
	uint8_t *starts[RECORD_BURST_MAX];
	size_t lens[RECORD_BURST_MAX];

	seal(r, records, mbufs, n, starts, lens);
	for (unsigned i = 0; i < n; i++) {
		struct path own;

		rig_path(records[i].device, &own);
		write_frame(r, mbufs[i], records[i].from ? records[i].from : &own, starts[i], lens[i]);
	}
	enqueue(r, mbufs, n);
}

void rig_send_together(struct rig *r, const struct rig_record *records, unsigned n)
{
	struct rte_mbuf *mbufs[RECORD_BURST_MAX];
	uint8_t *starts[RECORD_BURST_MAX], bytes[1500];
	size_t lens[RECORD_BURST_MAX], len = 0;
	struct path own;

	seal(r, records, mbufs, n, starts, lens);
	for (unsigned i = 0; i < n; i++) {
		if (len + lens[i] > sizeof(bytes))
			die("these records are too long for one datagram");
		memcpy(bytes + len, starts[i], lens[i]);
		len += lens[i];
	}
	rte_pktmbuf_free_bulk(mbufs, n);
	rig_path(records[0].device, &own);
	rig_send_bytes(r, records[0].from ? records[0].from : &own, bytes, len);
}

void rig_send_bytes(struct rig *r, const struct path *from, const void *bytes, size_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(r->port.pools[0]);

	if (!m || len > (size_t)m->buf_len - PORT_PAYLOAD_AT)
		die("no room for a datagram");
	memcpy((uint8_t *)m->buf_addr + PORT_PAYLOAD_AT, bytes, len);
	write_frame(r, m, from, (uint8_t *)m->buf_addr + PORT_PAYLOAD_AT, len);
	enqueue(r, &m, 1);
}

struct rte_mbuf *rig_receive(struct rig *r)
{
	void *m;

	return rte_ring_dequeue(r->tx, &m) == 0 ? m : NULL;
}

bool rig_open_record(struct rig *r, struct rte_mbuf *frame, uint32_t device, uint8_t cid_len,
		     struct record_op *op)
{
	uint8_t *bytes = rte_pktmbuf_mtod(frame, uint8_t *);
	uint8_t *ip = bytes + (bytes[12] == 0x81 && bytes[13] == 0 ? 18 : 14);
	uint8_t *header = ip + (ip[0] >> 4 == 4 ? 20 : 40) + 8;
	struct aead_key key;
	uint64_t epoch_seq;

	memcpy(&epoch_seq, header + 3, sizeof(epoch_seq));
	rig_key(device, &key);
	*op = (struct record_op){
		.fragment = header + RECORD_HEADER_LEN + cid_len,
		.key = &key,
		.cid = cid_len ? header + RECORD_HEADER_LEN - 2 : NULL,
		.cid_len = cid_len,
		.epoch_seq = be64toh(epoch_seq),
		.fragment_len = (uint16_t)(header[11 + cid_len] << 8 | header[12 + cid_len]),
		.type = header[0],
		.protection = PROTECTION_AES_128_CCM_8,
	};
	record_open_burst(r->crypto, op, 1);
	op->key = NULL;
	return op->ok;
}
