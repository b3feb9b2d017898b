/* What several records, or several messages, of one session do to each other within one burst; and what a
 * peer that moves may make the gateway send before it has answered from its new address (RFC 9146 6).
 */
#include "tests/unit/worker_fixture.h"

enum { UDP_AT = 14 + 20, HEADERS_LEN = UDP_AT + 8, SEQUENCES_KEPT = 1024 };
#define SEQUENCE_MAX ((1ULL << 48) - 1)

static struct rig_record alert_record(uint32_t device, uint64_t seq, const char *alert, uint16_t len)
{
	struct rig_record r = data_record(device, seq);

	r.type = CONTENT_ALERT;
	r.payload = alert;
	r.payload_len = len;
	return r;
}

/* Takes n messages at once, so that they are one burst of the worker's. */
static void send_down_together(struct fixture *f, struct sluice_ref ref, size_t len, unsigned n)
{
	static const uint8_t payload[1500];

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(sluice_send(f->app, ref, payload, len, i), 0);
	sluice_flush(f->app);
	turn(f);
}

/* The bytes of the DTLS datagrams that have left since the last call. */
static size_t bytes_sent(struct fixture *f)
{
	struct rte_mbuf *m;
	size_t bytes = 0;

	while ((m = rig_receive(&f->rig)) != NULL) {
		bytes += m->data_len - HEADERS_LEN;
		rte_pktmbuf_free(m);
	}
	return bytes;
}

static unsigned failures(struct fixture *f, enum sluice_reason reason)
{
	struct sluice_message m;
	unsigned n = 0;

	while (sluice_receive(f->app, &m, 1) == 1) {
		assert_int_equal(m.type, SLUICE_SEND_FAILED);
		assert_int_equal(m.failed->reason, reason);
		n++;
	}
	return n;
}

/* ---- a session that ends in the middle of a burst ---- */

static void h19_data_behind_close_notify_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct rig_record r[4] = {data_record(3, 1), alert_record(3, 2, "\1\0", 2), data_record(3, 3),
				  alert_record(3, 4, "\1\0", 2)};
	struct record_op op;
	uint8_t payload[1500];

	rig_install(&f->rig, 3, false);
	rig_send(&f->rig, r, 4);
	turn(f);
	expect_data(f, 1);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_CLOSE_NOTIFY);
	expect_nothing(f);
	assert_int_equal(record_count(f, RECORD_DROP_NO_SESSION), 2);
	expect_sent(f, 3, &op, payload); /* one answer */
	expect_sent_nothing(f);
	expect_mail(f, MAIL_SESSION_ENDED);
	expect_no_mail(f);
}

static void r04_the_limit_of_failed_tags_holds_within_a_burst(void **state)
{
	struct fixture *f = *state;
	struct rig_record r[8];

	rig_install(&f->rig, 3, false);
	for (unsigned i = 0; i < 8; i++) {
		r[i] = data_record(3, 1 + i);
		r[i].spoil = i < 7; /* the limit is five */
	}
	rig_send(&f->rig, r, 8);
	turn(f);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_AUTH_FAILURES);
	expect_nothing(f);
	assert_int_equal(record_count(f, RECORD_DROP_AUTH), 5);
	assert_int_equal(record_count(f, RECORD_DROP_NO_SESSION), 3);
}

/* R12: messages that were taken before the numbers ended are sealed with the session's key, not with what is
 * left of it. */
static void r12_the_last_number_is_sealed_with_the_key(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, false);
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, slot);
	uint64_t last = EPOCH_1 | (SEQUENCE_MAX - SEQUENCES_KEPT - 1);
	struct record_op op;
	uint8_t payload[1500];

	session_tx(f->rig.worker->sessions, slot)->epoch_seq_next = last;
	send_down_together(f, ref, 4, 3);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_APPLICATION_DATA);
	assert_int_equal(op.epoch_seq, last);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_ALERT);
	assert_memory_equal(payload, "\1\0", 2);
	expect_sent_nothing(f);
	for (uint64_t cookie = 1; cookie < 3; cookie++) {
		struct sluice_message m = expect(f, SLUICE_SEND_FAILED);

		assert_int_equal(m.failed->reason, SLUICE_REASON_NO_SESSION);
		assert_int_equal(m.failed->cookie, cookie);
	}
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_SEQUENCE_END);
	expect_nothing(f);
}

/* R12: an alert is given up before a number is used twice. */
static void r12_no_alert_behind_the_last_number(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, false);

	session_tx(f->rig.worker->sessions, slot)->epoch_seq_next = EPOCH_1 | SEQUENCE_MAX;
	send_one(f, alert_record(3, 1, "\1\0", 2));
	expect_sent_nothing(f);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_CLOSE_NOTIFY);
}

/* ---- replays and forgeries ---- */

/* What was seen before is not even opened: its forgeries do not count towards the limit. */
static void r04_forged_replays_cost_nothing(void **state)
{
	struct fixture *f = *state;
	struct rig_record forged = data_record(3, 7);

	rig_install(&f->rig, 3, false);
	send_one(f, data_record(3, 7));
	expect_data(f, 7);
	forged.spoil = 1;
	for (unsigned i = 0; i < 20; i++)
		send_one(f, forged);
	assert_int_equal(record_count(f, RECORD_DROP_REPLAY), 20);
	assert_int_equal(record_count(f, RECORD_DROP_AUTH), 0);
	send_one(f, data_record(3, 8));
	expect_data(f, 8);
}

/* RFC 5246 7.2: level and description, nothing more and nothing less. */
static void h20_alerts_of_other_lengths_end_nothing(void **state)
{
	struct fixture *f = *state;

	rig_install(&f->rig, 3, false);
	send_one(f, alert_record(3, 1, "\2\0\0", 3));
	send_one(f, alert_record(3, 2, "\2", 1));
	send_one(f, alert_record(3, 3, "", 0));
	assert_int_equal(record_count(f, RECORD_DROP_UNEXPECTED), 3);
	send_one(f, data_record(3, 4));
	expect_data(f, 4);
	expect_sent_nothing(f);
}

/* ---- a peer that moves ---- */

struct mover {
	struct path home, elsewhere, third;
	struct sluice_ref ref;
	uint8_t cid[CID_LEN];
};

static struct mover mover(struct fixture *f)
{
	struct mover m;
	uint32_t slot = rig_install(&f->rig, 3, true);

	rig_path(3, &m.home);
	rig_path(98, &m.elsewhere);
	rig_path(99, &m.third);
	m.ref = session_ref(f->rig.worker->sessions, slot);
	session_cid(f->rig.worker->sessions, slot, m.cid);
	return m;
}

static struct rig_record record_from(const struct mover *m, const struct path *from, uint64_t seq)
{
	struct rig_record r = data_record(3, seq);

	r.cid = m->cid;
	r.from = from;
	return r;
}

enum { DATA_RECORD_LEN = RECORD_HEADER_LEN + CID_LEN + 8 + 4 + 1 + 8 }; /* data_record() with a CID */

static void move(struct fixture *f, const struct mover *m, const struct path *to, uint64_t seq)
{
	send_one(f, record_from(m, to, seq));
	expect(f, SLUICE_PEER_MOVED);
	expect_data(f, seq);
}

/* I05: the allowance is spent message by message, also by those of one burst. */
static void i05_a_burst_of_answers_gets_no_more(void **state)
{
	struct fixture *f = *state;
	struct mover m = mover(f);
	size_t sent;

	move(f, &m, &m.elsewhere, 10);
	send_down_together(f, m.ref, 4, 20);
	sent = bytes_sent(f);
	assert_in_range(sent, 1, 3 * DATA_RECORD_LEN);
	assert_int_equal(failures(f, SLUICE_REASON_UNVERIFIED), 20 - sent / (RECORD_HEADER_LEN + 8 + 4 + 8));
}

/* I05: many records in one datagram are not many datagrams. */
static void i05_each_byte_counts_once(void **state)
{
	struct fixture *f = *state;
	struct mover m = mover(f);
	struct rig_record r[20];

	for (unsigned i = 0; i < 20; i++)
		r[i] = record_from(&m, &m.elsewhere, 10 + i);
	rig_send_together(&f->rig, r, 20);
	turn(f);
	expect(f, SLUICE_PEER_MOVED);
	for (unsigned i = 0; i < 20; i++)
		expect_data(f, 10 + i);
	for (unsigned i = 0; i < 20; i++)
		send_down(f, m.ref, 200, i);
	assert_in_range(bytes_sent(f), 200, 3 * 20 * DATA_RECORD_LEN);
	assert_in_range(failures(f, SLUICE_REASON_UNVERIFIED), 1, 19);
}

/* I05: what was sent before the newest record answers nothing that came after it. */
static void i05_an_older_record_verifies_nothing(void **state)
{
	struct fixture *f = *state;
	struct mover m = mover(f);

	move(f, &m, &m.elsewhere, 20);
	send_down(f, m.ref, 4, 0);
	assert_true(bytes_sent(f) > 0);
	send_one(f, record_from(&m, &m.elsewhere, 15));
	expect_data(f, 15);
	send_down(f, m.ref, 400, 0);
	assert_int_equal(failures(f, SLUICE_REASON_UNVERIFIED), 1);
	send_one(f, record_from(&m, &m.elsewhere, 21));
	expect_data(f, 21);
	send_down(f, m.ref, 400, 0);
	assert_true(bytes_sent(f) > 400);
	expect_nothing(f);
}

/* I05: bytes from where the peer was do not count for where it says that it is. */
static void i05_only_bytes_from_the_new_address_count(void **state)
{
	struct fixture *f = *state;
	struct mover m = mover(f);

	move(f, &m, &m.elsewhere, 20);
	for (uint64_t seq = 10; seq < 15; seq++) {
		send_one(f, record_from(&m, &m.home, seq));
		expect_data(f, seq);
	}
	send_down(f, m.ref, 150, 0);
	assert_int_equal(failures(f, SLUICE_REASON_UNVERIFIED), 1);
}

/* I05: who moves again begins again. */
static void i05_each_address_is_verified_anew(void **state)
{
	struct fixture *f = *state;
	struct mover m = mover(f);

	move(f, &m, &m.elsewhere, 10);
	for (uint64_t seq = 11; seq < 20; seq++) {
		send_one(f, record_from(&m, &m.elsewhere, seq));
		expect_data(f, seq);
	}
	send_down(f, m.ref, 4, 0);
	assert_true(bytes_sent(f) > 0);
	move(f, &m, &m.third, 20); /* with nothing of what the address before was allowed */
	send_down(f, m.ref, 400, 0);
	assert_int_equal(failures(f, SLUICE_REASON_UNVERIFIED), 1);
}

/* An application hears nothing of a session that it has not heard of. */
static void moves_of_unannounced_sessions_are_controls_alone(void **state)
{
	struct fixture *f = *state;
	struct mover m = mover(f);

	session_tx(f->rig.worker->sessions, m.ref.index)->announced = 0;
	send_one(f, record_from(&m, &m.elsewhere, 10));
	expect_nothing(f);
	expect_mail(f, MAIL_PEER_MOVED);
	assert_int_equal(counter_get(&f->rig.link.counters->sessions_moved), 1);
}

static void expect_sent_to(struct fixture *f, const uint8_t mac[6])
{
	struct rte_mbuf *m = rig_receive(&f->rig);

	assert_non_null(m);
	assert_memory_equal(rte_pktmbuf_mtod(m, uint8_t *), mac, 6);
	rte_pktmbuf_free(m);
}

/* The same peer by way of another router: answers follow the newest record, and nobody is told. */
static void another_router_is_followed(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	struct rig_record r = data_record(3, 10);
	struct path first, second;

	rig_path(3, &first);
	second = first;
	second.mac[5] = 77;
	r.from = &second;
	send_one(f, r);
	expect_data(f, 10);
	send_down(f, ref, 4, 0);
	expect_sent_to(f, second.mac);
	r = data_record(3, 9); /* late, by the first one */
	send_one(f, r);
	expect_data(f, 9);
	send_down(f, ref, 4, 0);
	expect_sent_to(f, second.mac);
	assert_int_equal(counter_get(&f->rig.link.counters->sessions_moved), 0);
	expect_no_mail(f);
}

/* ---- what leaves ---- */

/* RFC 6864 4.3: routers may fragment what we send. */
static void datagrams_to_one_peer_have_different_identifications(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	bool seen[100] = {false};

	send_down_together(f, ref, 4, 100);
	for (unsigned i = 0; i < 100; i++) {
		struct rte_mbuf *m = rig_receive(&f->rig);
		const uint8_t *ip;

		assert_non_null(m);
		ip = rte_pktmbuf_mtod_offset(m, const uint8_t *, 14);
		assert_int_equal(ip[4], 0);
		assert_in_range(ip[5], 0, 99);
		assert_false(seen[ip[5]]);
		seen[ip[5]] = true;
		rte_pktmbuf_free(m);
	}
}

/* R18: the length that is told is the longest that goes, whatever padding does, for any session. */
static void r18_the_largest_payload_is_exact(void **state)
{
	static const enum protection_id protections[] = {PROTECTION_AES_128_CCM_8, PROTECTION_AES_128_GCM,
							 PROTECTION_AES_128_CBC_MTE,
							 PROTECTION_AES_128_CBC_ETM};
	struct fixture *f = *state;
	struct session_table *t = f->rig.worker->sessions;
	uint32_t replaced, evicted;

	for (unsigned i = 0; i < 2 * RTE_DIM(protections); i++) {
		struct session_install in = {.protection = (uint8_t)protections[i / 2],
					     .cid_len = i % 2 ? 5 : 0,
					     .epoch = 1,
					     .rx_highest = 1,
					     .tx_seq_next = 1};
		uint32_t slot = session_reserve(t);
		uint16_t largest = 0;

		in.ref = session_ref(t, slot);
		rig_path(10 + i, &in.path);
		assert_int_equal(session_install(t, &in, f->now_ns, &replaced, &evicted), 0);
		session_tx(t, slot)->announced = 1;
		for (uint16_t len = 1500; len > 1470; len--) { /* none of them fits */
			struct sluice_message m;

			send_down(f, in.ref, len, 0);
			m = expect(f, SLUICE_SEND_FAILED);
			assert_int_equal(m.failed->reason, SLUICE_REASON_TOO_LARGE);
			assert_true(largest == 0 || m.failed->arg == largest);
			largest = m.failed->arg;
		}
		for (uint16_t mtu = 1485; mtu <= 1500; mtu++) { /* wherever the last block ends */
			f->rig.worker->mtu = mtu;
			send_down(f, in.ref, 1500, 0);
			largest = expect(f, SLUICE_SEND_FAILED).failed->arg;
			send_down(f, in.ref, largest, 0);
			assert_in_range(bytes_sent(f), mtu - 28 - 15, mtu - 28);
			expect_nothing(f);
			send_down(f, in.ref, largest + 1U, 0);
			assert_int_equal(failures(f, SLUICE_REASON_TOO_LARGE), 1);
		}
	}
}

/* O04: without a buffer what would have been sent is counted, and the session goes its way. */
static void o04_without_a_buffer_an_alert_is_counted(void **state)
{
	struct fixture *f = *state;
	struct rig_record close = alert_record(3, 1, "\1\0", 2);
	struct mail_transmit transmit = {.datagram_len = 5};
	struct rte_mbuf *held = NULL, *m;

	rig_install(&f->rig, 3, false);
	rig_path(3, &transmit.path);
	rig_send(&f->rig, &close, 1);
	while ((m = rte_pktmbuf_alloc(f->rig.port.pools[0])) != NULL) {
		m->next = held;
		held = m;
	}
	assert_true(
		mailbox_post(&f->rig.link.to_worker, MAIL_TRANSMIT, &transmit, sizeof(transmit), "hello", 5));
	mailbox_publish(&f->rig.link.to_worker);
	turn(f);
	for (; held; held = m) {
		m = held->next;
		held->next = NULL;
		rte_pktmbuf_free(held);
	}
	expect_sent_nothing(f);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out_dropped), 2);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_CLOSE_NOTIFY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(h19_data_behind_close_notify_is_dropped),
		T(r04_the_limit_of_failed_tags_holds_within_a_burst),
		T(r12_the_last_number_is_sealed_with_the_key),
		T(r12_no_alert_behind_the_last_number),
		T(r04_forged_replays_cost_nothing),
		T(h20_alerts_of_other_lengths_end_nothing),
		T(i05_a_burst_of_answers_gets_no_more),
		T(i05_each_byte_counts_once),
		T(i05_an_older_record_verifies_nothing),
		T(i05_only_bytes_from_the_new_address_count),
		T(i05_each_address_is_verified_anew),
		T(moves_of_unannounced_sessions_are_controls_alone),
		T(another_router_is_followed),
		T(datagrams_to_one_peer_have_different_identifications),
		T(r18_the_largest_payload_is_exact),
		T(o04_without_a_buffer_an_alert_is_counted),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
