/* The ways to a peer: IPv4 and IPv6, with a VLAN and without, checksums by the port and by us. What the
 * gateway sends is read as the peer would read it.
 */
#include "dataplane/checksum.h"
#include "tests/unit/worker_fixture.h"

enum { VLAN = 0x0123, VLAN_PRIORITY = 5 << 13 };

static const uint8_t our_ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
static const uint8_t peer_ipv6[16] = {0x20, 0x01, 0x0d, 0xb8, [8] = 7, [15] = 9};

static struct path path_of(uint32_t device, bool ipv6, bool vlan)
{
	struct path path;

	rig_path(device, &path);
	if (ipv6)
		memcpy(path.peer.ip, peer_ipv6, sizeof(peer_ipv6));
	path.vlan_tci = vlan ? VLAN | VLAN_PRIORITY : 0;
	return path;
}

/* A session of the device whose newest record came by this path. */
static struct sluice_ref session_at(struct fixture *f, uint32_t device, bool ipv6, bool vlan)
{
	struct worker *w = f->rig.worker;
	struct path path = path_of(device, ipv6, vlan);
	struct rig_record r = data_record(device, 1);
	uint8_t cid[CID_LEN];
	uint32_t slot;

	w->local.has_ipv6 = true;
	memcpy(w->local.ipv6, our_ipv6, sizeof(our_ipv6));
	w->local.vlan_id = vlan ? VLAN : 0;
	slot = rig_install(&f->rig, device, true);
	session_cid(w->sessions, slot, cid);
	r.cid = cid;
	r.from = &path;
	send_one(f, r); /* moves there */
	r.epoch_seq++;
	if (ipv6)
		expect(f, SLUICE_PEER_MOVED);
	expect_data(f, 1);
	session_tx(w->sessions, slot)->unverified = 0;
	return session_ref(w->sessions, slot);
}

/* The frame as it stands at the peer, whose address is the path's; it was checked by the peer's own rules. */
static struct datagram read_at_peer(struct fixture *f, struct rte_mbuf *m, const struct path *path, bool ipv6)
{
	const struct local *gateway = &f->rig.worker->local;
	struct local peer = {.has_ipv4 = !ipv6,
			     .has_ipv6 = ipv6,
			     .udp_port = path->peer.port,
			     .vlan_id = path->vlan_tci & 0xfff};
	struct datagram d;

	memcpy(peer.mac, path->mac, 6);
	memcpy(peer.ipv4, path->peer.ip + 12, 4);
	memcpy(peer.ipv6, path->peer.ip, 16);
	assert_int_equal(parse_frame(&peer, rte_pktmbuf_mtod(m, uint8_t *), m->data_len, CHECKSUM_VERIFY, &d),
			 FRAME_RECORDS);
	assert_int_equal(d.path.peer.port, gateway->udp_port);
	assert_memory_equal(d.path.mac, gateway->mac, 6);
	assert_int_equal(d.path.vlan_tci, path->vlan_tci);
	if (ipv6)
		assert_memory_equal(d.path.peer.ip, our_ipv6, 16);
	else
		assert_memory_equal(d.path.peer.ip + 12, gateway->ipv4, 4);
	return d;
}

/* O14: each family, and each with a VLAN: in, and the answer out by the same way. */
static void o14_answers_leave_by_the_path_that_asked(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 4; i++) {
		bool ipv6 = i & 1, vlan = i & 2;
		struct path path = path_of(10 + i, ipv6, vlan);
		struct sluice_ref ref = session_at(f, 10 + i, ipv6, vlan);
		struct record_op op;
		struct rte_mbuf *m;

		send_down(f, ref, 33, 0);
		m = rig_receive(&f->rig);
		assert_non_null(m);
		assert_int_equal(read_at_peer(f, m, &path, ipv6).payload_len, 13 + 8 + 33 + 8);
		assert_true(rig_open_record(&f->rig, m, 10 + i, 0, &op));
		assert_int_equal(op.payload_len, 33);
		rte_pktmbuf_free(m);
	}
}

/* R18: the header of IPv6 is longer, a VLAN tag is none of the MTU's business. */
static void r18_the_largest_payload_by_family(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 4; i++) {
		bool ipv6 = i & 1, vlan = i & 2;
		struct path path = path_of(10 + i, ipv6, vlan);
		struct sluice_ref ref = session_at(f, 10 + i, ipv6, vlan);
		struct sluice_message message;
		struct rte_mbuf *m;

		send_down(f, ref, 1500, 0);
		message = expect(f, SLUICE_SEND_FAILED);
		assert_int_equal(message.failed->arg, 1500 - (ipv6 ? 40 : 20) - 8 - 13 - 16);
		send_down(f, ref, message.failed->arg, 0);
		m = rig_receive(&f->rig);
		assert_non_null(m);
		assert_int_equal(m->data_len, 1500 + (vlan ? 18 : 14));
		(void)read_at_peer(f, m, &path, ipv6);
		rte_pktmbuf_free(m);
	}
}

/* What a port with checksum offload does with a frame that asks for it. */
static void complete_checksum(struct rte_mbuf *m)
{
	uint8_t *udp = rte_pktmbuf_mtod_offset(m, uint8_t *, m->l2_len + m->l3_len);
	uint16_t checksum;

	checksum =
		(uint16_t)~checksum_fold(checksum_add(0, udp, m->data_len - (size_t)m->l2_len - m->l3_len));
	memcpy(udp + 6, &checksum, sizeof(checksum));
}

static void a_port_that_offers_it_completes_checksums(void **state)
{
	struct fixture *f = *state;

	f->rig.worker->port.tx_checksum = true;
	for (unsigned i = 0; i < 4; i++) {
		bool ipv6 = i & 1, vlan = i & 2;
		struct path path = path_of(10 + i, ipv6, vlan);
		struct sluice_ref ref = session_at(f, 10 + i, ipv6, vlan);
		struct rte_mbuf *m;

		send_down(f, ref, 33, 0);
		m = rig_receive(&f->rig);
		assert_non_null(m);
		assert_int_equal(m->ol_flags,
				 RTE_MBUF_F_TX_UDP_CKSUM | (ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4));
		assert_int_equal(m->l2_len, vlan ? 18 : 14);
		assert_int_equal(m->l3_len, ipv6 ? 40 : 20);
		complete_checksum(m);
		(void)read_at_peer(f, m, &path, ipv6);
		rte_pktmbuf_free(m);
	}
}

/* Damages the UDP checksum of the frame that waits for the worker, and says what the port says of it. */
static void damage(struct fixture *f, uint64_t port_says)
{
	struct rte_mbuf *m;
	void *frame = NULL;

	assert_int_equal(rte_ring_dequeue(f->rig.rx, &frame), 0);
	m = frame;
	*rte_pktmbuf_mtod_offset(m, uint8_t *, 14 + 20 + 6) ^= 1;
	m->ol_flags = port_says;
	assert_int_equal(rte_ring_enqueue(f->rig.rx, m), 0);
	turn(f);
}

/* O14: a wrong checksum is dropped whoever finds it out; the port's word that it is right is taken. */
static void o14_wrong_checksums_are_dropped(void **state)
{
	struct fixture *f = *state;
	const uint64_t ip_good = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
	struct rig_record r = data_record(3, 1);

	rig_install(&f->rig, 3, false);
	for (unsigned virtual = 0; virtual < 2; virtual ++) {
		f->rig.port.virtual = virtual != 0;
		rig_send(&f->rig, &r, 1);
		damage(f, ip_good | RTE_MBUF_F_RX_L4_CKSUM_BAD);
		rig_send(&f->rig, &r, 1);
		damage(f, ip_good | RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN);
		rig_send(&f->rig, &r, 1);
		damage(f, RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_GOOD);
		assert_int_equal(frame_count(f, FRAME_DROP_CHECKSUM), 3 * (virtual + 1));
	}
	expect_nothing(f);
	rig_send(&f->rig, &r, 1);
	damage(f, ip_good | RTE_MBUF_F_RX_L4_CKSUM_GOOD);
	expect_data(f, 1);
}

/* O14: what a virtual port takes for a wrong checksum may be one that its sender has left to a NIC that is
 * not there: the bytes decide. Of a NIC's word there is no appeal. */
static void o14_only_a_nic_is_believed_what_is_wrong(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 1);

	rig_install(&f->rig, 3, false);
	for (unsigned virtual = 0; virtual < 2; virtual ++) {
		struct rte_mbuf *m;
		void *frame = NULL;

		f->rig.port.virtual = virtual != 0;
		rig_send(&f->rig, &r, 1);
		assert_int_equal(rte_ring_dequeue(f->rig.rx, &frame), 0);
		m = frame;
		m->ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_BAD;
		assert_int_equal(rte_ring_enqueue(f->rig.rx, m), 0);
		turn(f);
		assert_int_equal(frame_count(f, FRAME_DROP_CHECKSUM), 1);
	}
	expect_data(f, 1);
	expect_nothing(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(o14_answers_leave_by_the_path_that_asked),  T(r18_the_largest_payload_by_family),
		T(a_port_that_offers_it_completes_checksums), T(o14_wrong_checksums_are_dropped),
		T(o14_only_a_nic_is_believed_what_is_wrong),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
