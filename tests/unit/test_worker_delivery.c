/* What an application is given is what the device sent, in every length, and says where it came from; what
 * it is told beside that leaves room for what must not get lost.
 */
#include "tests/unit/worker_fixture.h"

/* Short copies, copies in line and long ones, and each length around a step of theirs. */
static void payloads_of_every_length_arrive(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 0);
	uint8_t payload[1400];

	for (unsigned i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)rig_mix(i);
	rig_install(&f->rig, 3, false);
	for (unsigned len = 0; len <= sizeof(payload); len += len < 300 ? 1 : 50) {
		struct sluice_message m;

		r.epoch_seq++;
		r.payload = payload + len % 3;
		r.payload_len = (uint16_t)(len > sizeof(payload) - 2 ? sizeof(payload) - 2 : len);
		send_one(f, r);
		m = expect(f, SLUICE_DATA);
		assert_int_equal(m.data->seq, r.epoch_seq & 0xffffffffffff);
		assert_int_equal(m.data->payload_len, r.payload_len);
		assert_memory_equal(m.data + 1, r.payload, r.payload_len);
	}
}

/* A late record tells where it came from, not where the device is now. */
static void data_say_where_they_came_from(void **state)
{
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, true);
	struct rig_record r = data_record(3, 10);
	struct path from[2];
	uint8_t cid[CID_LEN];

	session_cid(f->rig.worker->sessions, slot, cid);
	rig_path(98, &from[0]);
	rig_path(3, &from[1]);
	from[0].peer.port ^= htons(0x101);
	r.cid = cid;
	for (unsigned i = 0; i < 2; i++) {
		struct sluice_message m;

		r.from = &from[i];
		r.epoch_seq = EPOCH_1 | (10 - i);
		send_one(f, r);
		if (i == 0)
			expect(f, SLUICE_PEER_MOVED);
		m = expect(f, SLUICE_DATA);
		assert_memory_equal(m.data->peer.ip, from[i].peer.ip, 16);
		assert_int_equal(m.data->peer.port, from[i].peer.port);
		assert_int_equal(m.data->received_ns, f->now_ns);
	}
}

/* I01: a connection ID counts only where it was agreed upon, even the right one under the right key. */
static void i01_a_cid_that_was_not_negotiated(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 1);
	uint8_t cid[CID_LEN];

	session_cid(f->rig.worker->sessions, rig_install(&f->rig, 3, false), cid);
	r.cid = cid;
	send_one(f, r);
	assert_int_equal(record_count(f, RECORD_DROP_NO_CID), 1);
	r.cid = NULL;
	send_one(f, r);
	expect_data(f, 1);
}

/* RFC 5246 7.2 knows two levels: what has neither is no reason to end a session. */
static void h20_an_alert_of_no_level_ends_nothing(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, 1);

	rig_install(&f->rig, 3, false);
	r.type = CONTENT_ALERT;
	r.payload = "\3\50";
	r.payload_len = 2;
	send_one(f, r);
	assert_int_equal(record_count(f, RECORD_ALERT), 1);
	send_one(f, data_record(3, 2));
	expect_data(f, 2);
}

/* A device that changes its address with every record cannot take the room of those whose sessions begin or
 * end: that it moved its data tell as well. */
static void moves_leave_room_for_events(void **state)
{
	enum { OTHERS = 50, RECORDS = 8000 };
	struct fixture *f = *state;
	uint32_t slot = rig_install(&f->rig, 3, true);
	struct rig_record r = data_record(3, 0);
	struct spsc_message mail;
	struct path from[2];
	uint8_t cid[CID_LEN];

	session_cid(f->rig.worker->sessions, slot, cid);
	rig_path(98, &from[0]);
	rig_path(99, &from[1]);
	r.cid = cid;
	for (unsigned i = 0; i < RECORDS; i++) {
		r.epoch_seq++;
		r.from = &from[i % 2];
		rig_send(&f->rig, &r, 1);
		worker_poll(f->rig.worker, f->now_ns);
		while (mailbox_next(&f->rig.link.to_control, &mail))
			;
		mailbox_release(&f->rig.link.to_control);
	}
	assert_int_equal(counter_get(&f->rig.link.counters->sessions_moved), RECORDS);
	assert_true(record_count(f, RECORD_DROP_RING_FULL) > RECORDS / 2);
	for (uint32_t i = 0; i < OTHERS; i++) {
		struct path path;

		rig_path(200 + i, &path);
		finish_handshake(f, start_handshake(f, &path, 1), 200 + i);
		expect_no_mail(f); /* its SESSION_UP found room */
	}
}

/* What the application wrote adds up: sent, refused, or without sense. */
static void messages_of_the_application_add_up(void **state)
{
	struct fixture *f = *state;
	const struct worker_counters *c = f->rig.link.counters;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	struct sluice_ref nobody = {.index = 5};
	struct spsc_producer *down;

	send_down(f, ref, 4, 0);
	send_down(f, nobody, 4, 0);
	expect(f, SLUICE_SEND_FAILED);
	down = calloc(1, sizeof(*down));
	assert_non_null(down);
	spsc_producer_init(down, f->rig.uplink->down.control, (void *)(uintptr_t)f->rig.uplink->down.data,
			   f->rig.uplink->down.size);
	assert_non_null(spsc_reserve(down, 99, 8)); /* no such message */
	spsc_publish(down);
	free(down);
	turn(f);
	assert_int_equal(counter_get(&c->records_out), 1);
	assert_int_equal(counter_get(&c->downlink_failed), 1);
	assert_int_equal(counter_get(&c->downlink_malformed), 1);
	assert_int_equal(counter_get(&c->downlink_messages), 3);
	rte_pktmbuf_free(rig_receive(&f->rig));
}

/* ---- what an application wrote is sent, or it is told ---- */

static void fill_port(struct fixture *f)
{
	while (!rte_ring_full(f->rig.tx))
		assert_int_equal(rte_ring_enqueue(f->rig.tx, f), 0);
}

static void empty_port(struct fixture *f)
{
	void *frame;

	while (rte_ring_dequeue(f->rig.tx, &frame) == 0)
		if (frame != f)
			rte_pktmbuf_free(frame);
}

static void time_passes(struct fixture *f)
{
	turn(f);
	f->now_ns += 200000000ULL;
	turn(f);
}

static struct rig_record close_record(uint32_t device)
{
	struct rig_record r = data_record(device, 1);

	r.type = CONTENT_ALERT;
	r.payload = "\1\0";
	r.payload_len = 2;
	return r;
}

/* Of what waited for a port that is stuck, each message of the application is told under its own name,
 * nothing else is, and the buffers come back. */
static void r18_what_is_stuck_is_told_under_its_own_name(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	unsigned held;
	void *filler;

	rig_install(&f->rig, 4, false);
	rig_install(&f->rig, 5, false);
	turn(f); /* takes its spare buffers */
	held = rte_mempool_in_use_count(f->rig.port.pools[0]);
	fill_port(f);
	for (uint64_t cookie = 1; cookie <= 3; cookie++)
		send_down(f, ref, 4, cookie);
	send_one(f, close_record(4));
	expect(f, SLUICE_SESSION_DOWN);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rte_ring_dequeue(f->rig.tx, &filler), 0);
	time_passes(f); /* the first two go */
	time_passes(f);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out_dropped), 2);
	assert_int_equal(expect(f, SLUICE_SEND_FAILED).failed->cookie, 3);
	expect_nothing(f);
	send_one(f, close_record(5)); /* an alert where an answer was before */
	expect(f, SLUICE_SESSION_DOWN);
	time_passes(f);
	time_passes(f);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out_dropped), 3);
	expect_nothing(f);
	empty_port(f);
	send_down(f, (struct sluice_ref){.index = 7}, 4, 0); /* refills the spare buffers */
	assert_int_equal(rte_mempool_in_use_count(f->rig.port.pools[0]), held);
}

/* H19: CLOSE comes behind the messages before it, and in front of those behind it. */
static void h19_close_keeps_its_place(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	uint8_t payload[64];
	struct record_op op;

	assert_int_equal(sluice_send(f->app, ref, "first", 5, 1), 0);
	assert_int_equal(sluice_close_session(f->app, ref), 0);
	assert_int_equal(sluice_send(f->app, ref, "late", 4, 2), 0);
	sluice_flush(f->app);
	turn(f);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_APPLICATION_DATA);
	assert_memory_equal(payload, "first", 5);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_ALERT);
	expect_sent_nothing(f);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_CLOSED);
	assert_int_equal(expect(f, SLUICE_SEND_FAILED).failed->cookie, 2);
}

/* However full the ring is and however many messages fail: each one is told, once. */
static void r18_no_failure_goes_untold(void **state)
{
	enum { MESSAGES = 2000 };
	struct fixture *f = *state;
	struct sluice_ref nobody = {.index = 5};
	struct sluice_message m;
	uint64_t told = 0;

	rig_install(&f->rig, 3, false);
	for (uint64_t seq = 1; record_count(f, RECORD_DROP_RING_FULL) == 0; seq++)
		send_one(f, data_record(3, seq));
	for (uint64_t cookie = 1; cookie <= MESSAGES; cookie++)
		send_down(f, nobody, 4, cookie);
	assert_true(counter_get(&f->rig.link.counters->downlink_failed) < MESSAGES); /* the others wait */
	while (sluice_receive(f->app, &m, 1) == 1) {
		if (m.type == SLUICE_SEND_FAILED)
			assert_int_equal(m.failed->cookie, ++told);
		turn(f);
	}
	assert_int_equal(told, MESSAGES);
}

/* The control thread learns of every end, however long its mailbox was full. */
static void ends_reach_control_when_there_is_room(void **state)
{
	enum { ENDS = 5 };
	struct fixture *f = *state;
	bool ended[64] = {false};

	for (uint32_t device = 0; device < ENDS; device++)
		rig_install(&f->rig, device, false);
	fill_mailbox(f);
	for (uint32_t device = 0; device < ENDS; device++)
		send_one(f, close_record(device));
	assert_int_equal(record_count(f, RECORD_CLOSED), ENDS);
	empty_mailbox(f);
	for (unsigned i = 0; i < ENDS; i++) {
		const struct mail_ended *mail = expect_mail(f, MAIL_SESSION_ENDED);

		assert_int_equal(mail->reason, SLUICE_REASON_CLOSE_NOTIFY);
		assert_false(ended[mail->ref.index]);
		ended[mail->ref.index] = true;
		expect(f, SLUICE_SESSION_DOWN);
	}
	expect_no_mail(f);
	assert_int_equal(counter_get(&f->rig.link.counters->mail_dropped), 0);
	empty_port(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(payloads_of_every_length_arrive),
		T(data_say_where_they_came_from),
		T(i01_a_cid_that_was_not_negotiated),
		T(h20_an_alert_of_no_level_ends_nothing),
		T(moves_leave_room_for_events),
		T(messages_of_the_application_add_up),
		T(r18_what_is_stuck_is_told_under_its_own_name),
		T(h19_close_keeps_its_place),
		T(r18_no_failure_goes_untold),
		T(ends_reach_control_when_there_is_room),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
