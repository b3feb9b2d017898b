/* One worker turned by hand: frames in, frames out, the application's ring and the control thread's
 * mailboxes, all real. The names of the tests carry the items of the checklist that they cover.
 */
#include "tests/unit/worker_fixture.h"

static void data_reaches_the_application_by_address(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, false);
	struct sluice_message m;
	struct path path;

	rig_path(3, &path);
	send_one(f, data_record(3, 1));
	m = expect(f, SLUICE_DATA);
	assert_int_equal(m.data->ref.index, slot);
	assert_int_equal(m.data->epoch, 1);
	assert_int_equal(m.data->seq, 1);
	assert_int_equal(m.data->received_ns, f->now_ns);
	assert_memory_equal(m.data->peer.ip, path.peer.ip, 16);
	assert_int_equal(m.data->peer.port, path.peer.port);
	assert_memory_equal(m.data + 1, "coap", 4);
	assert_int_equal(record_count(f, RECORD_APP), 1);
	expect_sent_nothing(f);
}

/* R09: nothing in it, and yet a record: both ways. */
static void r09_empty_data_are_data(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	struct rig_record r = data_record(3, 1);
	struct record_op op;
	uint8_t payload[1500];

	r.payload_len = 0;
	send_one(f, r);
	assert_int_equal(expect(f, SLUICE_DATA).data->payload_len, 0);
	send_down(f, ref, 0, 0);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.payload_len, 0);
	send_one(f, data_record(3, 2));
	expect_data(f, 2);
	expect_nothing(f);
}

static void i01_data_reaches_the_application_by_cid(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 1);
	uint8_t cid[CID_LEN];

	session_cid(f->rig.worker->sessions, rig_install(&f->rig, 3, true), cid);
	r.cid = cid;
	send_one(f, r);
	expect_data(f, 1);
}

/* I02: plain records of a CID session, and CIDs that nobody has, are dropped. */
static void i02_only_records_with_the_negotiated_cid(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 2);
	uint8_t cid[CID_LEN], wrong[CID_LEN];

	session_cid(f->rig.worker->sessions, rig_install(&f->rig, 3, true), cid);
	rig_install(&f->rig, 4, false);
	send_one(f, data_record(3, 1));
	assert_int_equal(record_count(f, RECORD_DROP_NO_CID), 1);
	for (unsigned i = 0; i < CID_LEN * 8; i++) {
		memcpy(wrong, cid, sizeof(wrong));
		wrong[i / 8] ^= (uint8_t)(1 << i % 8);
		r.cid = wrong;
		send_one(f, r);
	}
	expect_nothing(f);
	r.cid = cid;
	send_one(f, r);
	expect_data(f, 2);
}

static void r01_duplicates_are_delivered_once(void **state)
{
	struct fixture *f = *state;
	struct rig_record r[5] = {data_record(1, 7), data_record(1, 5), data_record(1, 7), data_record(1, 5),
				  data_record(1, 6)};

	rig_install(&f->rig, 1, false);
	rig_send(&f->rig, r, 5); /* in one burst */
	turn(f);
	expect_data(f, 7);
	expect_data(f, 5);
	expect_data(f, 6);
	expect_nothing(f);
	rig_send(&f->rig, r, 5); /* and in the next */
	send_one(f, data_record(1, 7 + REPLAY_WINDOW));
	send_one(f, data_record(1, 4)); /* left of the window now */
	expect_data(f, 7 + REPLAY_WINDOW);
	expect_nothing(f);
	assert_int_equal(record_count(f, RECORD_DROP_REPLAY), 8);
}

static void r02_r03_a_forged_record_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct rig_record forged = data_record(1, 1000);

	rig_install(&f->rig, 1, false);
	send_one(f, data_record(1, 1));
	forged.spoil = 1;
	send_one(f, forged);
	send_one(f, data_record(1, 2));
	expect_data(f, 1);
	expect_data(f, 2);
	expect_nothing(f);
	expect_sent_nothing(f); /* no alert */
	assert_int_equal(record_count(f, RECORD_DROP_AUTH), 1);
}

static void r04_failed_tags_end_the_session_at_the_limit_only(void **state)
{
	struct fixture *f = *state;
	struct sluice_message m;
	struct rig_record forged;

	rig_install(&f->rig, 1, false);
	for (unsigned i = 0; i < 4; i++) {
		forged = data_record(1, 100 + i);
		forged.spoil = 1;
		send_one(f, forged);
	}
	send_one(f, data_record(1, 1));
	expect_data(f, 1);
	forged = data_record(1, 200);
	forged.spoil = 1;
	send_one(f, forged);
	m = expect(f, SLUICE_SESSION_DOWN);
	assert_int_equal(m.down->reason, SLUICE_REASON_AUTH_FAILURES);
	send_one(f, data_record(1, 2));
	expect_nothing(f);
	assert_int_equal(record_count(f, RECORD_DROP_NO_SESSION), 1);
	expect_mail(f, MAIL_SESSION_ENDED);
}

static void r05_other_epochs_have_no_effect(void **state)
{
	struct fixture *f = *state;
	static const uint8_t fatal[] = {21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
	static const uint8_t data[] = {23, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 'h', 'i'};
	struct rig_record r = data_record(1, 1);
	struct path path;

	rig_path(1, &path);
	rig_install(&f->rig, 1, false);
	r.epoch_seq = 2ULL << 48 | 1;
	send_one(f, r);
	rig_send_bytes(&f->rig, &path, fatal, sizeof(fatal));
	rig_send_bytes(&f->rig, &path, data, sizeof(data));
	turn(f);
	expect_nothing(f);
	expect_no_mail(f);
	assert_int_equal(record_count(f, RECORD_DROP_EPOCH), 1);
	assert_int_equal(record_count(f, RECORD_DROP_PLAINTEXT), 2);
	send_one(f, data_record(1, 1));
	expect_data(f, 1);
}

static void r06_several_records_in_one_datagram(void **state)
{
	struct fixture *f = *state;
	struct rig_record r[20];

	rig_install(&f->rig, 1, false);
	for (unsigned i = 0; i < 20; i++) {
		r[i] = data_record(1, 1 + i);
		r[i].spoil = i == 10;
	}
	rig_send_together(&f->rig, r, 20);
	turn(f);
	for (unsigned i = 0; i < 20; i++)
		if (i != 10)
			expect_data(f, 1 + i);
	expect_nothing(f);
	assert_int_equal(frame_count(f, FRAME_RECORDS), 1);
}

/* More records than one crypto burst holds, in a few datagrams of one port burst. */
static void r06_more_records_than_one_burst(void **state)
{
	struct fixture *f = *state;
	struct rig_record r[30];

	rig_install(&f->rig, 1, false);
	for (unsigned d = 0; d < 5; d++) {
		for (unsigned i = 0; i < 30; i++)
			r[i] = data_record(1, 1 + 30 * d + i);
		rig_send_together(&f->rig, r, 30);
	}
	turn(f);
	for (unsigned i = 0; i < 150; i++)
		expect_data(f, 1 + i);
	expect_nothing(f);
}

static void r10_r11_unknown_types_and_versions(void **state)
{
	struct fixture *f = *state;
	uint8_t bytes[40] = {24, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 27};
	struct path path;

	rig_path(1, &path);
	rig_install(&f->rig, 1, false);
	rig_send_bytes(&f->rig, &path, bytes, sizeof(bytes));
	bytes[0] = 23;
	bytes[1] = 3;
	bytes[2] = 3;
	rig_send_bytes(&f->rig, &path, bytes, sizeof(bytes));
	turn(f);
	expect_nothing(f);
	assert_int_equal(record_count(f, RECORD_DROP_TYPE), 1);
	assert_int_equal(record_count(f, RECORD_DROP_VERSION), 1);
	send_one(f, data_record(1, 1));
	expect_data(f, 1);
}

/* I04: only the newest authentic record moves the address; an older one is delivered and moves nothing. */
static void i04_the_newest_record_moves_the_address(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 10);
	uint8_t cid[CID_LEN];
	uint32_t slot = rig_install(&f->rig, 3, true);
	struct path elsewhere, nowhere;
	struct sluice_message m;

	rig_path(99, &elsewhere);
	rig_path(98, &nowhere);
	session_cid(f->rig.worker->sessions, slot, cid);
	r.cid = cid;
	send_one(f, r);
	expect_data(f, 10);
	r.epoch_seq = EPOCH_1 | 9;
	r.from = &nowhere;
	send_one(f, r);
	expect_data(f, 9);
	r.epoch_seq = EPOCH_1 | 20;
	r.spoil = 1;
	send_one(f, r);
	assert_int_equal(counter_get(&f->rig.link.counters->sessions_moved), 0);
	r.spoil = 0;
	r.from = &elsewhere;
	send_one(f, r);
	m = expect(f, SLUICE_PEER_MOVED);
	assert_memory_equal(m.moved->peer.ip, elsewhere.peer.ip, 16);
	expect_data(f, 20);
	expect_mail(f, MAIL_PEER_MOVED);
	assert_int_equal(counter_get(&f->rig.link.counters->sessions_moved), 1);
	assert_memory_equal(&session_tx(f->rig.worker->sessions, slot)->path, &elsewhere, sizeof(elsewhere));
}

/* An application that does not keep up learns of it late, once, and before anything else from there. */
static void i05_a_move_is_told_when_there_is_room(void **state)
{
	struct fixture *f = *state;
	const struct sluice_peer_moved filler = {0};
	struct rig_record r = data_record(3, 10);
	uint8_t cid[CID_LEN];
	struct path elsewhere;
	struct sluice_message m;
	unsigned moves = 0;

	rig_path(99, &elsewhere);
	session_cid(f->rig.worker->sessions, rig_install(&f->rig, 3, true), cid);
	r.cid = cid;
	while (uplink_event(f->rig.uplink, SLUICE_PEER_MOVED, &filler, sizeof(filler)))
		;
	uplink_publish(f->rig.uplink);
	r.from = &elsewhere;
	send_one(f, r);
	expect_mail(f, MAIL_PEER_MOVED);
	r.epoch_seq = EPOCH_1 | 11;
	send_one(f, r); /* there is no room yet */
	while (sluice_receive(f->app, &m, 1) == 1) {
		assert_int_equal(m.type, SLUICE_PEER_MOVED);
		assert_memory_equal(m.moved, &filler, sizeof(filler));
		moves++;
	}
	assert_true(moves > 0);
	r.epoch_seq = EPOCH_1 | 9; /* an older one, too */
	send_one(f, r);
	m = expect(f, SLUICE_PEER_MOVED);
	assert_memory_equal(m.moved->peer.ip, elsewhere.peer.ip, 16);
	assert_int_equal(m.moved->peer.port, elsewhere.peer.port);
	expect_data(f, 9);
	r.epoch_seq = EPOCH_1 | 12;
	send_one(f, r);
	expect_data(f, 12);
	r.epoch_seq = EPOCH_1 | 13;
	send_one(f, r);
	expect_data(f, 13);
	assert_int_equal(counter_get(&f->rig.link.counters->sessions_moved), 1);
}

/* A device with a session cannot cut another off by forging its address: I04 with no good will. */
static void i04_who_moves_takes_no_address_away(void **state)
{
	struct fixture *f = *state;
	struct rig_record thief = data_record(3, 10), victim = data_record(4, 1);
	uint8_t cid[CID_LEN];
	struct path path;

	rig_install(&f->rig, 4, false);
	session_cid(f->rig.worker->sessions, rig_install(&f->rig, 3, true), cid);
	rig_path(4, &path);
	thief.cid = cid;
	thief.from = &path;
	send_one(f, thief);
	expect(f, SLUICE_PEER_MOVED);
	expect_data(f, 10);
	send_one(f, victim);
	expect_data(f, 1);
}

/* I05: until the peer is heard from its new address again, at most three times its bytes go there. */
static void i05_an_unverified_address_gets_three_times_its_bytes(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 10);
	uint8_t cid[CID_LEN];
	uint32_t slot = rig_install(&f->rig, 3, true);
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, slot);
	struct path elsewhere;
	struct rte_mbuf *frame;
	struct sluice_message m;
	unsigned sent = 0;

	rig_path(99, &elsewhere);
	session_cid(f->rig.worker->sessions, slot, cid);
	r.cid = cid;
	r.from = &elsewhere;
	send_one(f, r);
	expect(f, SLUICE_PEER_MOVED);
	expect_data(f, 10);
	for (unsigned i = 0; i < 10; i++)
		send_down(f, ref, 4, i);
	while ((frame = rig_receive(&f->rig)) != NULL) {
		rte_pktmbuf_free(frame);
		sent++;
	}
	assert_in_range(sent, 1, 3);
	for (unsigned i = sent; i < 10; i++) {
		m = expect(f, SLUICE_SEND_FAILED);
		assert_int_equal(m.failed->reason, SLUICE_REASON_UNVERIFIED);
		assert_int_equal(m.failed->cookie, i);
	}
	r.epoch_seq = EPOCH_1 | 11; /* it answers */
	send_one(f, r);
	expect_data(f, 11);
	send_down(f, ref, 400, 77);
	frame = rig_receive(&f->rig);
	assert_non_null(frame);
	rte_pktmbuf_free(frame);
	expect_nothing(f);
}

static void answers_are_sealed_with_numbers_of_their_own(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, false);
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, slot);
	struct record_op op;
	uint8_t payload[1500];

	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(sluice_send(f->app, ref, "answer", 6, 0), 0);
	sluice_flush(f->app);
	turn(f);
	for (unsigned i = 0; i < 100; i++) {
		expect_sent(f, 3, &op, payload);
		assert_int_equal(op.epoch_seq, EPOCH_1 | (1 + i));
		assert_int_equal(op.type, CONTENT_APPLICATION_DATA);
		assert_int_equal(op.payload_len, 6);
		assert_memory_equal(payload, "answer", 6);
	}
	expect_sent_nothing(f);
}

static void r18_what_cannot_be_sent_is_told(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	struct sluice_ref stale = ref, wild = ref;
	struct sluice_message m;
	struct record_op op;
	uint8_t payload[1500];
	uint16_t largest;

	send_down(f, ref, 1500, 1);
	m = expect(f, SLUICE_SEND_FAILED);
	assert_int_equal(m.failed->reason, SLUICE_REASON_TOO_LARGE);
	largest = m.failed->arg;
	assert_int_equal(largest, 1500 - 20 - 8 - 13 - 16);
	send_down(f, ref, 16384, 2);
	assert_int_equal(expect(f, SLUICE_SEND_FAILED).failed->reason, SLUICE_REASON_TOO_LARGE);
	expect_sent_nothing(f);
	send_down(f, ref, largest, 3);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.payload_len, largest);
	stale.generation++;
	send_down(f, stale, 4, 4);
	assert_int_equal(expect(f, SLUICE_SEND_FAILED).failed->reason, SLUICE_REASON_NO_SESSION);
	wild.index = UINT32_MAX;
	send_down(f, wild, 4, 5);
	m = expect(f, SLUICE_SEND_FAILED);
	assert_int_equal(m.failed->reason, SLUICE_REASON_NO_SESSION);
	assert_int_equal(m.failed->cookie, 5);
	expect_sent_nothing(f);
}

/* No address of ours in the peer's family, or none of a router's: told, and no sequence number is spent. */
static void r18_without_a_route_nothing_is_sent(void **state)
{
	struct fixture *f = *state;
	struct session_table *t = f->rig.worker->sessions;
	uint32_t slot = rig_install(&f->rig, 3, false);
	struct sluice_ref ref = session_ref(t, slot);
	struct path good = session_tx(t, slot)->path;
	struct sluice_message m;
	struct record_op op;
	uint8_t payload[1500];

	session_tx(t, slot)->path.peer.ip[0] = 0x20; /* IPv6, and the rig has IPv4 alone */
	send_down(f, ref, 4, 11);
	m = expect(f, SLUICE_SEND_FAILED);
	assert_int_equal(m.failed->reason, SLUICE_REASON_NO_ROUTE);
	assert_int_equal(m.failed->cookie, 11);
	session_tx(t, slot)->path = good;
	memset(session_tx(t, slot)->path.mac, 0, 6);
	send_down(f, ref, 4, 12);
	assert_int_equal(expect(f, SLUICE_SEND_FAILED).failed->reason, SLUICE_REASON_NO_ROUTE);
	expect_sent_nothing(f);
	session_tx(t, slot)->path = good;
	send_down(f, ref, 4, 13);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.epoch_seq, EPOCH_1 | 1);
	expect_nothing(f);
}

/* R12: a session ends before its sequence numbers do. */
static void r12_sequence_numbers_never_wrap(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, false);
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, slot);
	struct record_op op;
	uint8_t payload[1500];

	session_tx(f->rig.worker->sessions, slot)->epoch_seq_next = EPOCH_1 | ((1ULL << 48) - 10);
	send_down(f, ref, 4, 1);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_ALERT);
	assert_int_equal(payload[1], 0);
	expect(f, SLUICE_SEND_FAILED);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_SEQUENCE_END);
}

static void h19_close_notify_both_ways(void **state)
{
	struct fixture *f = *state;
	struct rig_record close = data_record(3, 5);
	struct record_op op;
	uint8_t payload[1500];
	uint32_t slot;

	rig_install(&f->rig, 3, false);
	close.type = CONTENT_ALERT;
	close.payload = "\1\0";
	close.payload_len = 2;
	send_one(f, close);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_ALERT);
	assert_memory_equal(payload, "\1\0", 2);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_CLOSE_NOTIFY);
	send_one(f, data_record(3, 6));
	expect_nothing(f);
	assert_int_equal(((const struct mail_ended *)expect_mail(f, MAIL_SESSION_ENDED))->reason,
			 SLUICE_REASON_CLOSE_NOTIFY);

	slot = rig_install(&f->rig, 4, false);
	assert_int_equal(sluice_close_session(f->app, session_ref(f->rig.worker->sessions, slot)), 0);
	sluice_flush(f->app);
	turn(f);
	expect_sent(f, 4, &op, payload);
	assert_int_equal(op.type, CONTENT_ALERT);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_CLOSED);
}

static void h20_fatal_alert_ends_one_session(void **state)
{
	struct fixture *f = *state;
	struct rig_record alert = data_record(3, 5);

	rig_install(&f->rig, 3, false);
	rig_install(&f->rig, 4, false);
	alert.type = CONTENT_ALERT;
	alert.payload = "\1\144"; /* a warning: nothing happens */
	alert.payload_len = 2;
	send_one(f, alert);
	expect_nothing(f);
	alert.payload = "\2\50";
	alert.epoch_seq++;
	send_one(f, alert);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_ALERT);
	send_one(f, data_record(4, 1));
	expect_data(f, 1);
}

static void h11_renegotiation_is_refused_and_h03_finished_is_answered(void **state)
{
	struct fixture *f = *state;
	struct rig_record hello = data_record(3, 5);
	struct record_op op;
	uint8_t payload[1500];

	rig_install(&f->rig, 3, false);
	hello.type = CONTENT_HANDSHAKE;
	hello.payload = "\1\0\0\0";
	send_one(f, hello);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_ALERT);
	assert_memory_equal(payload, "\1\144", 2); /* warning, no_renegotiation */
	expect_mail(f, MAIL_RENEGOTIATION);
	hello.payload = "\24\0\0\0"; /* Finished */
	hello.epoch_seq++;
	send_one(f, hello);
	expect_mail(f, MAIL_FINISHED_AGAIN);
	send_one(f, data_record(3, 7));
	expect_data(f, 7);
}

/* O05, O06: a full ring costs data, never an event; and nothing blocks. */
static void o05_full_ring_drops_data_and_keeps_events(void **state)
{
	struct fixture *f = *state;
	struct rig_record close = data_record(3, 1u << 20);
	struct sluice_message m[64];
	unsigned downs = 0, data = 0;
	int n;

	for (uint32_t device = 0; device < 60; device++)
		rig_install(&f->rig, device, false);
	for (unsigned i = 1; i <= 4000; i++) {
		send_one(f, data_record(3, i));
		if (i % 1000 == 0)
			assert_int_equal(counter_get(&f->rig.link.counters->frames_in), i);
	}
	assert_true(record_count(f, RECORD_DROP_RING_FULL) > 0);
	close.type = CONTENT_ALERT;
	close.payload = "\1\0";
	close.payload_len = 2;
	for (uint32_t device = 0; device < 60; device++) {
		close.device = device;
		send_one(f, close);
	}
	while ((n = sluice_receive(f->app, m, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			downs += m[i].type == SLUICE_SESSION_DOWN;
			data += m[i].type == SLUICE_DATA;
		}
		turn(f);
	}
	assert_int_equal(downs, 60);
	assert_int_equal(data, record_count(f, RECORD_APP));
	for (struct rte_mbuf *frame; (frame = rig_receive(&f->rig)) != NULL;)
		rte_pktmbuf_free(frame);
}

static void no_application_then_a_new_one(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, false);
	struct mail_uplink none = {.uplink = NULL, .attach = 1};
	struct sluice_session_up up = {.ref = session_ref(f->rig.worker->sessions, slot), .again = 1};

	name_peer(&up, &session_tx(f->rig.worker->sessions, slot)->path);
	post(f, MAIL_UPLINK, &none, sizeof(none), NULL, 0);
	expect_mail(f, MAIL_UPLINK_RETURNED);
	send_one(f, data_record(3, 1));
	assert_int_equal(record_count(f, RECORD_DROP_NO_CONSUMER), 1);
	attach(f, 2);
	send_one(f, data_record(3, 2)); /* its SESSION_UP has not come yet */
	expect_nothing(f);
	post(f, MAIL_ANNOUNCE, &up, sizeof(up), NULL, 0);
	post(f, MAIL_ANNOUNCE, &up, sizeof(up), NULL, 0); /* once is enough */
	send_one(f, data_record(3, 3));
	assert_int_equal(expect(f, SLUICE_SESSION_UP).up->again, 1);
	expect_data(f, 3);
	expect_nothing(f);
}

/* The control thread may know an older address than the worker when it announces a session. */
static void i05_an_announcement_from_before_a_move(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 1);
	uint32_t slot = rig_install(&f->rig, 3, true);
	struct path before = session_tx(f->rig.worker->sessions, slot)->path, elsewhere;
	struct sluice_session_up up = {
		.ref = session_ref(f->rig.worker->sessions, slot), .again = 1, .peer.port = before.peer.port};
	uint8_t cid[CID_LEN];
	struct sluice_message m;

	name_peer(&up, &before);
	rig_path(99, &elsewhere);
	session_cid(f->rig.worker->sessions, slot, cid);
	r.cid = cid;
	attach(f, 2);
	r.from = &elsewhere;
	send_one(f, r);
	post(f, MAIL_ANNOUNCE, &up, sizeof(up), NULL, 0);
	r.epoch_seq = EPOCH_1 | 2;
	send_one(f, r);
	assert_memory_equal(expect(f, SLUICE_SESSION_UP).up->peer.ip, before.peer.ip, 16);
	m = expect(f, SLUICE_PEER_MOVED);
	assert_memory_equal(m.moved->peer.ip, elsewhere.peer.ip, 16);
	expect_data(f, 2);
}

/* An application that writes an impossible index is reported once, and the devices notice nothing. */
static void an_impossible_index_is_reported(void **state)
{
	struct fixture *f = *state;

	rig_install(&f->rig, 3, false);
	atomic_store(&f->rig.uplink->down.control->head, UINT64_MAX / 3);
	turn(f);
	assert_int_equal(((const struct mail_uplink *)expect_mail(f, MAIL_UPLINK_BROKEN))->attach, 1);
	turn(f);
	expect_no_mail(f);
	send_one(f, data_record(3, 1));
	expect_data(f, 1);
}

static void c01_only_a_valid_cookie_reaches_control(void **state)
{
	struct fixture *f = *state;
	static const uint8_t key_exchange[30] = {22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2, 0, 17, 16};
	struct sluice_ref ref;
	struct path path, other;

	rig_path(5, &path);
	rig_path(6, &other);
	rig_send_bytes(&f->rig, &path, key_exchange, sizeof(key_exchange));
	turn(f);
	assert_int_equal(record_count(f, RECORD_DROP_PLAINTEXT), 1);
	ref = start_handshake(f, &path, 1);
	rig_send_bytes(&f->rig, &path, key_exchange, sizeof(key_exchange));
	rig_send_bytes(&f->rig, &other, key_exchange, sizeof(key_exchange));
	turn(f);
	assert_int_equal(((const struct mail_record *)expect_mail(f, MAIL_RECORD))->ref.index, ref.index);
	expect_no_mail(f);
	finish_handshake(f, ref, 5);
	assert_int_equal(expect(f, SLUICE_SESSION_UP).up->ref.index, ref.index);
	send_one(f, data_record(5, 1));
	expect_data(f, 1);
}

/* C09: before the control thread has given a secret there is none that a cookie could be made or verified
 * with. */
static void c09_no_hello_is_looked_at_without_a_secret(void **state)
{
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN], hello[128];
	struct path path;

	rig_path(5, &path);
	hello_verify(f, &path, 1, cookie);
	f->rig.worker->has_cookies = false;
	rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, cookie, COOKIE_LEN));
	rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, cookie, 0));
	turn(f);
	expect_no_mail(f);
	expect_sent_nothing(f);
	assert_int_equal(record_count(f, RECORD_DROP_PLAINTEXT), 2);
	f->rig.worker->has_cookies = true;
	start_handshake(f, &path, 1);
}

/* C02: several hellos in one datagram get one answer; H12: one of another version gets the same. */
static void c02_h12_one_answer_to_a_datagram(void **state)
{
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN], hellos[256];
	struct path path;
	struct rte_mbuf *m;
	size_t len;

	rig_path(5, &path);
	len = make_hello(hellos, 1, cookie, 0);
	len += make_hello(hellos + len, 2, cookie, 0);
	rig_send_bytes(&f->rig, &path, hellos, len);
	turn(f);
	m = rig_receive(&f->rig);
	assert_non_null(m);
	rte_pktmbuf_free(m);
	expect_sent_nothing(f);
	assert_int_equal(record_count(f, RECORD_HELLO_VERIFY), 1);
	assert_int_equal(record_count(f, RECORD_DROP_HELLO), 1);
	assert_int_equal(counter_get(&f->rig.link.counters->hello_verify_bytes_in), len);
	assert_int_equal(counter_get(&f->rig.link.counters->hello_verify_bytes_out), HELLO_VERIFY_LEN);
	assert_int_equal(counter_get(&f->rig.link.counters->bytes_in), 42 + len);
	assert_int_equal(counter_get(&f->rig.link.counters->bytes_out), 42 + HELLO_VERIFY_LEN);

	len = make_hello(hellos, 1, cookie, 0);
	hellos[26] = 0xff; /* client_version */
	rig_send_bytes(&f->rig, &path, hellos, len);
	turn(f);
	m = rig_receive(&f->rig);
	assert_non_null(m);
	assert_int_equal(m->data_len, 42 + HELLO_VERIFY_LEN);
	rte_pktmbuf_free(m);
	assert_int_equal(record_count(f, RECORD_HELLO_VERIFY), 2);
}

/* C03: a cookie is worth nothing from another address. */
static void c03_cookie_of_another_address(void **state)
{
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN], hello[128];
	struct path path, thief;
	struct rte_mbuf *m;

	rig_path(5, &path);
	rig_path(6, &thief);
	hello_verify(f, &path, 1, cookie);
	rig_send_bytes(&f->rig, &thief, hello, make_hello(hello, 1, cookie, COOKIE_LEN));
	turn(f);
	expect_no_mail(f);
	m = rig_receive(&f->rig);
	assert_non_null(m); /* a new HelloVerifyRequest: C07 */
	rte_pktmbuf_free(m);
	assert_int_equal(record_count(f, RECORD_HELLO_VERIFY), 2);
}

/* H06: the old session lives until the new one has proved itself, and then ends. */
static void h06_a_new_handshake_beside_a_live_session(void **state)
{
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN];
	uint32_t old = rig_install(&f->rig, 5, false);
	struct sluice_message m;
	struct sluice_ref ref;
	struct path path;

	rig_path(5, &path);
	hello_verify(f, &path, 9, cookie); /* anyone can do this much */
	send_one(f, data_record(5, 1));
	expect_data(f, 1);
	ref = start_handshake(f, &path, 1);
	send_one(f, data_record(5, 2)); /* still the old one's */
	expect_data(f, 2);
	finish_handshake(f, ref, 5);
	m = expect(f, SLUICE_SESSION_UP);
	assert_int_equal(m.up->ref.index, ref.index);
	m = expect(f, SLUICE_SESSION_DOWN);
	assert_int_equal(m.down->ref.index, old);
	assert_int_equal(m.down->reason, SLUICE_REASON_REPLACED);
	send_one(f, data_record(5, 3));
	m = expect(f, SLUICE_DATA);
	assert_int_equal(m.data->ref.index, ref.index);
}

/* H09: handshakes in flight are bounded, the oldest makes room. */
static void h09_half_open_handshakes_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref first, again;
	struct path path;

	rig_path(10, &path);
	first = start_handshake(f, &path, 1);
	for (uint32_t device = 11; device < 14; device++) {
		rig_path(device, &path);
		start_handshake(f, &path, 1);
	}
	{ /* the fifth: the mailbox tells first who had to go */
		uint8_t cookie[COOKIE_LEN], hello[128];

		rig_path(14, &path);
		hello_verify(f, &path, 1, cookie);
		rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, cookie, COOKIE_LEN));
		turn(f);
	}
	again = ((const struct mail_session *)expect_mail(f, MAIL_HANDSHAKE_DROPPED))->ref;
	assert_int_equal(again.index, first.index);
	assert_int_equal(again.generation, first.generation);
	expect_mail(f, MAIL_HELLO);
	finish_handshake(f, first, 10); /* too late */
	expect_mail(f, MAIL_NOT_INSTALLED);
	expect_nothing(f);
}

static void a_device_that_starts_over_gets_a_new_handshake(void **state)
{
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN], hello[128];
	struct sluice_ref first;
	struct path path;

	rig_path(10, &path);
	first = start_handshake(f, &path, 1);
	hello_verify(f, &path, 2, cookie);
	rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 2, cookie, COOKIE_LEN));
	turn(f);
	assert_int_equal(
		((const struct mail_session *)expect_mail(f, MAIL_HANDSHAKE_DROPPED))->ref.generation,
		first.generation);
	expect_mail(f, MAIL_HELLO);
}

static void handshake_over_frees_its_place(void **state)
{
	struct fixture *f = *state;
	struct path path;

	for (unsigned i = 0; i < 50; i++) {
		struct mail_session over;

		rig_path(100 + i, &path);
		over.ref = start_handshake(f, &path, 1);
		post(f, MAIL_HANDSHAKE_OVER, &over, sizeof(over), NULL, 0);
		expect_no_mail(f);
	}
}

static void flights_are_sent_and_records_reinjected(void **state)
{
	struct fixture *f = *state;
	struct mail_transmit transmit = {.datagram_len = 5};
	struct mail_record reinject;
	struct rig_record r = data_record(3, 4);
	struct rte_mbuf *m;
	void *frame = NULL;

	rig_install(&f->rig, 3, false);
	rig_path(3, &transmit.path);
	post(f, MAIL_TRANSMIT, &transmit, sizeof(transmit), "hello", 5);
	m = rig_receive(&f->rig);
	assert_non_null(m);
	assert_memory_equal(rte_pktmbuf_mtod_offset(m, void *, 42), "hello", 5);
	rte_pktmbuf_free(m);
	transmit.datagram_len = 1500 - 28 + 1; /* no IP fragments: control keeps to the MTU */
	post(f, MAIL_TRANSMIT, &transmit, sizeof(transmit), (uint8_t[1500]){0}, transmit.datagram_len);
	expect_sent_nothing(f);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out_dropped), 1);

	rig_send(&f->rig, &r, 1); /* catch the record before the worker sees it */
	assert_int_equal(rte_ring_dequeue(f->rig.rx, &frame), 0);
	m = frame;
	reinject = (struct mail_record){.path = transmit.path, .record_len = (uint16_t)(m->data_len - 42)};
	post(f, MAIL_REINJECT, &reinject, sizeof(reinject), rte_pktmbuf_mtod_offset(m, void *, 42),
	     reinject.record_len);
	rte_pktmbuf_free(m);
	expect_data(f, 4);
}

/* Time passes for the worker, with turns in between: a turn expires a bounded number of sessions. */
static void pass(struct fixture *f, uint64_t seconds)
{
	for (uint64_t s = 0; s < seconds; s += 60) {
		f->now_ns += 60000000000ULL;
		turn(f);
	}
}

static void o12_idle_sessions_expire(void **state)
{
	struct fixture *f = *state;

	rig_install(&f->rig, 3, false);
	send_one(f, data_record(3, 1));
	expect_data(f, 1);
	pass(f, 86000);
	send_one(f, data_record(3, 2));
	expect_data(f, 2);
	pass(f, 86000);
	expect_nothing(f);
	pass(f, 1000);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_IDLE);
}

/* RFC 5227 2.3: who knew our address under another MAC learns of the new one, once. */
static void expect_announcement(struct fixture *f)
{
	struct rte_mbuf *m = rig_receive(&f->rig);
	const uint8_t *frame;

	assert_non_null(m);
	frame = rte_pktmbuf_mtod(m, const uint8_t *);
	assert_int_equal(m->data_len, 60);
	assert_memory_equal(frame, ((uint8_t[]){0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), 6);
	assert_memory_equal(frame + 22, f->rig.local.mac, 6);
	assert_memory_equal(frame + 28, f->rig.local.ipv4, 4);
	assert_memory_equal(frame + 38, f->rig.local.ipv4, 4);
	rte_pktmbuf_free(m);
}

static void stop_closes_every_session(void **state)
{
	struct fixture *f = *state;
	struct rte_mbuf *frame;
	unsigned sent = 0;

	for (uint32_t device = 0; device < 60; device++)
		rig_install(&f->rig, device, false);
	assert_true(mailbox_post(&f->rig.link.to_worker, MAIL_STOP, NULL, 0, NULL, 0));
	mailbox_publish(&f->rig.link.to_worker);
	assert_int_equal(worker_run(f->rig.worker), 0);
	for (unsigned i = 0; i < 60; i++)
		assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_SHUTDOWN);
	expect_announcement(f);
	while ((frame = rig_receive(&f->rig)) != NULL) {
		rte_pktmbuf_free(frame);
		sent++;
	}
	assert_int_equal(sent, 60);
}

/* O05's sibling on the other side: a port that takes nothing more costs frames, and does not keep the gateway
 * from stopping. */
static void a_port_that_takes_nothing_blocks_nothing(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));

	for (uint32_t device = 10; device < 60; device++)
		rig_install(&f->rig, device, false);
	while (!rte_ring_full(f->rig.tx))
		send_down(f, ref, 4, 0);
	for (unsigned i = 0; i < 400; i++)
		send_down(f, ref, 4, 0);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out_dropped), 0);
	f->now_ns += 200000000ULL;
	turn(f);
	assert_true(counter_get(&f->rig.link.counters->frames_out_dropped) > 0);
	for (uint64_t i = counter_get(&f->rig.link.counters->frames_out_dropped); i > 0; i--)
		assert_int_equal(expect(f, SLUICE_SEND_FAILED).failed->reason, SLUICE_REASON_PORT_FULL);
	send_one(f, data_record(3, 1));
	expect_data(f, 1);
	post(f, MAIL_STOP, NULL, 0, NULL, 0);
	assert_int_equal(worker_run(f->rig.worker), 0);
}

/* Slow is not stuck: the time runs from the last frame that the port took. */
static void a_port_that_takes_little_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	void *filler = f;

	while (!rte_ring_full(f->rig.tx))
		assert_int_equal(rte_ring_enqueue(f->rig.tx, filler), 0);
	for (unsigned i = 0; i < 10; i++) {
		send_down(f, ref, 4, i);
		f->now_ns += 90000000ULL; /* of 100 ms */
		assert_int_equal(rte_ring_dequeue(f->rig.tx, &filler), 0);
		turn(f); /* one goes */
		f->now_ns += 90000000ULL;
	}
	expect_nothing(f);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out_dropped), 0);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out), 10);
	for (unsigned left = rte_ring_count(f->rig.tx); left > 0; left--) {
		assert_int_equal(rte_ring_dequeue(f->rig.tx, &filler), 0);
		if (left <= 10)
			rte_pktmbuf_free(filler);
	}
}

/* Each message that a port which takes nothing made us drop is told once; what was sent for an application
 * that is gone is told to nobody; and when there is no room to tell, the frames wait for it. */
static void r18_what_the_port_does_not_take_is_told(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	struct worker_counters *c = f->rig.link.counters;
	uint64_t sent = 0, dropped, told = 0;
	struct sluice_message m;
	void *filler = f;

	while (!rte_ring_full(f->rig.tx))
		assert_int_equal(rte_ring_enqueue(f->rig.tx, filler), 0);
	while (sent < 100)
		send_down(f, ref, 4, ++sent);
	expect_nothing(f);
	while (uplink_event(f->rig.uplink, SLUICE_PEER_MOVED, &(struct sluice_peer_moved){0},
			    sizeof(struct sluice_peer_moved)))
		;
	uplink_publish(f->rig.uplink);
	f->now_ns += 200000000ULL;
	turn(f);
	assert_int_equal(counter_get(&c->frames_out_dropped), 0);
	while (sluice_receive(f->app, &m, 1) == 1)
		assert_int_equal(m.type, SLUICE_PEER_MOVED);
	turn(f);
	dropped = counter_get(&c->frames_out_dropped);
	assert_int_equal(dropped, 100);
	while (sluice_receive(f->app, &m, 1) == 1) {
		assert_int_equal(m.type, SLUICE_SEND_FAILED);
		assert_int_equal(m.failed->reason, SLUICE_REASON_PORT_FULL);
		assert_int_equal(m.failed->ref.index, ref.index);
		assert_int_equal(m.failed->cookie, ++told);
	}
	assert_int_equal(told, dropped);
	send_down(f, ref, 4, 200);
	attach(f, 2);
	f->now_ns += 200000000ULL;
	turn(f);
	f->now_ns += 200000000ULL;
	turn(f);
	assert_int_equal(counter_get(&c->frames_out_dropped), dropped + 1);
	expect_nothing(f);
	while (rte_ring_dequeue(f->rig.tx, &filler) == 0)
		;
}

/* What control waits for comes, however long its mailbox was full. */
static void answers_to_control_are_never_lost(void **state)
{
	struct fixture *f = *state;
	struct mail_uplink none = {.attach = 1};
	struct mail_install install = {.session.ref = {.index = 1, .generation = 2}};

	rig_install(&f->rig, 3, false);
	fill_mailbox(f);
	post(f, MAIL_INSTALL, &install, sizeof(install), NULL, 0);
	post(f, MAIL_UPLINK, &none, sizeof(none), NULL, 0);
	send_one(f, data_record(3, 1)); /* the record path goes on */
	expect_data(f, 1);
	empty_mailbox(f);
	assert_int_equal(((const struct mail_ended *)expect_mail(f, MAIL_NOT_INSTALLED))->ref.generation, 2);
	assert_ptr_equal(((const struct mail_uplink *)expect_mail(f, MAIL_UPLINK_RETURNED))->uplink,
			 f->rig.uplink);
	expect_no_mail(f);
	assert_null(f->rig.worker->uplink);
	assert_int_equal(counter_get(&f->rig.link.counters->mail_dropped), 0);
}

static void an_impossible_index_is_reported_when_there_is_room(void **state)
{
	struct fixture *f = *state;

	fill_mailbox(f);
	atomic_store(&f->rig.uplink->down.control->head, UINT64_MAX / 3);
	turn(f);
	empty_mailbox(f);
	assert_int_equal(((const struct mail_uplink *)expect_mail(f, MAIL_UPLINK_BROKEN))->attach, 1);
	turn(f);
	expect_no_mail(f);
}

/* O14: a port that spreads a frame over several buffers; none of ours is asked to. */
static void o14_a_frame_in_pieces_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 1);
	struct rte_mbuf *tail = rte_pktmbuf_alloc(f->rig.port.pools[0]);
	unsigned held = rte_mempool_in_use_count(f->rig.port.pools[0]);
	void *m = NULL;

	assert_non_null(tail);
	rig_install(&f->rig, 3, false);
	rig_send(&f->rig, &r, 1);
	assert_int_equal(rte_ring_dequeue(f->rig.rx, &m), 0);
	assert_int_equal(rte_pktmbuf_chain(m, tail), 0);
	assert_int_equal(rte_ring_enqueue(f->rig.rx, m), 0);
	turn(f);
	expect_nothing(f);
	assert_int_equal(frame_count(f, FRAME_DROP_TRUNCATED), 1);
	send_one(f, data_record(3, 1));
	expect_data(f, 1);
	assert_int_equal(rte_mempool_in_use_count(f->rig.port.pools[0]), held - 1 + BURST_SEND);
}

/* A port may hand over a buffer that borrows the bytes of another one: both go back where they came from. */
static void o14_a_frame_in_a_borrowed_buffer(void **state)
{
	struct fixture *f = *state;
	struct rte_mempool *pool = f->rig.port.pools[0];
	struct rig_record r = data_record(3, 1);
	struct rte_mbuf *borrows;
	void *m = NULL;
	unsigned held;

	rig_install(&f->rig, 3, false);
	turn(f); /* takes its spare buffers */
	held = rte_mempool_in_use_count(pool);
	borrows = rte_pktmbuf_alloc(pool);
	assert_non_null(borrows);
	rig_send(&f->rig, &r, 1);
	assert_int_equal(rte_ring_dequeue(f->rig.rx, &m), 0);
	rte_pktmbuf_attach(borrows, m);
	rte_pktmbuf_free(m);
	assert_int_equal(rte_ring_enqueue(f->rig.rx, borrows), 0);
	turn(f);
	expect_data(f, 1);
	assert_int_equal(rte_mempool_in_use_count(pool), held);
}

/* The request's buffer leaves with the answer: it is sent once, freed once, and asks nothing of the port. */
static void arp_is_answered_in_place(void **state)
{
	struct fixture *f = *state;
	struct rte_mempool *pool = f->rig.port.pools[0];
	struct rte_mbuf *m, *others[64];
	unsigned held;

	turn(f); /* takes its spare buffers */
	held = rte_mempool_in_use_count(pool);
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *frame;

		m = rte_pktmbuf_alloc(pool);
		assert_non_null(m);
		m->data_len = m->pkt_len = 60;
		frame = rte_pktmbuf_mtod(m, uint8_t *);
		memset(frame, 0, 60);
		memset(frame, 0xff, 6);
		memcpy(frame + 6, (uint8_t[]){2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, 16);
		memcpy(frame + 22, (uint8_t[]){2, 0, 0, 0, 0, 9, 10, 0, 0, 1}, 10);
		memcpy(frame + 38, f->rig.local.ipv4, 4);
		m->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_NONE;
		assert_int_equal(rte_ring_enqueue(f->rig.rx, m), 0);
	}
	turn(f);
	assert_int_equal(frame_count(f, FRAME_NEIGHBOUR), 3);
	assert_int_equal(rte_pktmbuf_alloc_bulk(pool, others, 64), 0); /* none of them waits to be sent */
	for (unsigned i = 0; i < 3; i++) {
		m = rig_receive(&f->rig);
		assert_non_null(m);
		assert_int_equal(rte_mbuf_refcnt_read(m), 1);
		assert_int_equal(m->ol_flags, 0);
		assert_memory_equal(rte_pktmbuf_mtod_offset(m, uint8_t *, 22), f->rig.local.mac, 6);
		for (unsigned k = 0; k < 64; k++)
			assert_ptr_not_equal(others[k], m);
		rte_pktmbuf_free(m);
	}
	expect_sent_nothing(f);
	rte_pktmbuf_free_bulk(others, 64);
	assert_int_equal(rte_mempool_in_use_count(pool), held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(data_reaches_the_application_by_address),
		T(r09_empty_data_are_data),
		T(i01_data_reaches_the_application_by_cid),
		T(i02_only_records_with_the_negotiated_cid),
		T(r01_duplicates_are_delivered_once),
		T(r02_r03_a_forged_record_changes_nothing),
		T(r04_failed_tags_end_the_session_at_the_limit_only),
		T(r05_other_epochs_have_no_effect),
		T(r06_several_records_in_one_datagram),
		T(r06_more_records_than_one_burst),
		T(r10_r11_unknown_types_and_versions),
		T(i04_who_moves_takes_no_address_away),
		T(i04_the_newest_record_moves_the_address),
		T(i05_a_move_is_told_when_there_is_room),
		T(i05_an_announcement_from_before_a_move),
		T(i05_an_unverified_address_gets_three_times_its_bytes),
		T(answers_are_sealed_with_numbers_of_their_own),
		T(r18_what_cannot_be_sent_is_told),
		T(r18_without_a_route_nothing_is_sent),
		T(r12_sequence_numbers_never_wrap),
		T(h19_close_notify_both_ways),
		T(h20_fatal_alert_ends_one_session),
		T(h11_renegotiation_is_refused_and_h03_finished_is_answered),
		T(o05_full_ring_drops_data_and_keeps_events),
		T(no_application_then_a_new_one),
		T(an_impossible_index_is_reported),
		T(c01_only_a_valid_cookie_reaches_control),
		T(c09_no_hello_is_looked_at_without_a_secret),
		T(c02_h12_one_answer_to_a_datagram),
		T(c03_cookie_of_another_address),
		T(h06_a_new_handshake_beside_a_live_session),
		T(h09_half_open_handshakes_are_bounded),
		T(a_device_that_starts_over_gets_a_new_handshake),
		T(handshake_over_frees_its_place),
		T(flights_are_sent_and_records_reinjected),
		T(o14_a_frame_in_pieces_is_dropped),
		T(o14_a_frame_in_a_borrowed_buffer),
		T(arp_is_answered_in_place),
		T(o12_idle_sessions_expire),
		T(stop_closes_every_session),
		T(a_port_that_takes_nothing_blocks_nothing),
		T(a_port_that_takes_little_loses_nothing),
		T(r18_what_the_port_does_not_take_is_told),
		T(answers_to_control_are_never_lost),
		T(an_impossible_index_is_reported_when_there_is_room),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
