/* The worker's side of its mailboxes: installations, handshakes that end or do not fit, a full mailbox, the
 * stop. What a session's records do is test_worker.c's.
 */
#include "tests/unit/worker_fixture.h"

/* A record of epoch 1 as a handshake in flight sends it: nobody here can open it. */
static struct rig_record finished_record(uint32_t device, uint64_t seq)
{
	struct rig_record r = data_record(device, seq);

	r.type = CONTENT_HANDSHAKE;
	r.payload = "\24\0\0\0";
	return r;
}

static struct mail_install install_mail(struct sluice_ref ref, uint32_t device)
{
	struct mail_install mail = {.session = {.ref = ref,
						.protection = PROTECTION_AES_128_CCM_8,
						.epoch = 1,
						.rx_highest = 1,
						.tx_seq_next = 1}};

	rig_path(device, &mail.session.path);
	rig_key(device, &mail.session.rx_key.aead);
	rig_key(device, &mail.session.tx_key.aead);
	return mail;
}

/* H06: beside a live session of the same peer, what only a handshake can have sent goes to control. */
static void h06_the_new_finished_is_not_taken_for_the_old_sessions(void **state)
{
	struct fixture *f = *state;
	struct sluice_ref ref;
	struct path path;

	rig_path(5, &path);
	rig_install(&f->rig, 5, false);
	ref = start_handshake(f, &path, 1);
	send_one(f, finished_record(5, 0));
	assert_int_equal(((const struct mail_record *)expect_mail(f, MAIL_RECORD))->ref.generation,
			 ref.generation);
	send_one(f, data_record(5, 1));
	expect_data(f, 1);
	expect_no_mail(f);
}

/* H06 with a CID: it says whose a record is, whatever its type within. */
static void h06_a_cid_belongs_to_its_session_beside_a_handshake(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(5, 1);
	uint8_t cid[CID_LEN];
	struct path path;

	rig_path(5, &path);
	session_cid(f->rig.worker->sessions, rig_install(&f->rig, 5, true), cid);
	start_handshake(f, &path, 1);
	r.cid = cid;
	send_one(f, r);
	expect_data(f, 1);
	expect_no_mail(f);
}

/* The whole second flight in one burst, as after a retransmission. */
static void a_finished_in_the_burst_of_its_hello_reaches_control(void **state)
{
	struct fixture *f = *state;
	struct rig_record finished = finished_record(5, 0);
	uint8_t cookie[COOKIE_LEN], hello[128];
	struct path path;

	rig_path(5, &path);
	hello_verify(f, &path, 1, cookie);
	rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, cookie, COOKIE_LEN));
	rig_send(&f->rig, &finished, 1);
	turn(f);
	expect_mail(f, MAIL_HELLO);
	expect_mail(f, MAIL_RECORD);
}

/* O04: a handshake that control has no room to hear of leaves nothing behind. */
static void o04_a_full_mailbox_costs_hellos_and_no_slots(void **state)
{
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN], hello[128];
	struct path path;
	size_t len;

	rig_path(5, &path);
	hello_verify(f, &path, 1, cookie);
	len = make_hello(hello, 1, cookie, COOKIE_LEN);
	fill_mailbox(f);
	for (unsigned i = 0; i < 10; i++) { /* handshakes.max is four */
		rig_send_bytes(&f->rig, &path, hello, len);
		turn(f);
	}
	assert_int_equal(record_count(f, RECORD_DROP_CONTROL_FULL), 10);
	empty_mailbox(f);
	expect_no_mail(f);
	start_handshake(f, &path, 1);
	fill_mailbox(f);
	send_one(f, finished_record(5, 0));
	assert_int_equal(record_count(f, RECORD_DROP_CONTROL_FULL), 11);
	empty_mailbox(f);
}

/* Mail about an earlier user of a slot concerns nobody. */
static void a_stale_generation_ends_no_handshake(void **state)
{
	struct fixture *f = *state;
	struct mail_session over;
	struct path path;

	rig_path(5, &path);
	over.ref = start_handshake(f, &path, 1);
	over.ref.generation++;
	post(f, MAIL_HANDSHAKE_OVER, &over, sizeof(over), NULL, 0);
	send_one(f, finished_record(5, 0));
	expect_mail(f, MAIL_RECORD);
}

static void what_cannot_be_installed_gives_its_slot_back(void **state)
{
	struct fixture *f = *state;
	struct path path;

	for (uint32_t device = 5; device < 15; device++) { /* handshakes.max is four */
		struct mail_install mail;

		rig_path(device, &path);
		mail = install_mail(start_handshake(f, &path, 1), device);
		mail.session.protection = PROTECTION_NONE;
		post(f, MAIL_INSTALL, &mail, sizeof(mail), NULL, 0);
		assert_int_equal(((const struct mail_ended *)expect_mail(f, MAIL_NOT_INSTALLED))->ref.index,
				 mail.session.ref.index);
		expect_no_mail(f);
	}
	expect_nothing(f);
}

/* No frame that a record could have come in is as long. */
static void what_fits_no_buffer_is_not_reinjected(void **state)
{
	static const uint8_t record[5000];
	struct fixture *f = *state;
	struct mail_record mail = {.record_len = sizeof(record)};

	rig_path(5, &mail.path);
	post(f, MAIL_REINJECT, &mail, sizeof(mail), record, sizeof(record));
	assert_int_equal(counter_get(&f->rig.link.counters->frames_in), 0);
}

/* O03: the table is full: the least recently used session goes, and everybody hears of it. */
static void o03_a_full_table_evicts_the_least_recently_used(void **state)
{
	struct fixture *f = *state;
	uint32_t oldest = SESSION_NONE;
	struct sluice_message m;
	struct sluice_ref ref;
	struct path path;

	for (uint32_t device = 0; device < f->rig.config.sessions.max; device++) {
		uint32_t slot = rig_install(&f->rig, device, false);

		if (device == 7)
			oldest = slot;
	}
	f->now_ns += 5 * SESSION_TICK_NS;
	for (uint32_t device = 0; device < f->rig.config.sessions.max; device++) {
		if (device == 7)
			continue;
		send_one(f, data_record(device, 1));
		expect_data(f, 1);
	}
	rig_path(1000, &path);
	ref = start_handshake(f, &path, 1);
	finish_handshake(f, ref, 1000);
	assert_int_equal(expect(f, SLUICE_SESSION_UP).up->ref.index, ref.index);
	m = expect(f, SLUICE_SESSION_DOWN);
	assert_int_equal(m.down->ref.index, oldest);
	assert_int_equal(m.down->reason, SLUICE_REASON_EVICTED);
	assert_int_equal(((const struct mail_ended *)expect_mail(f, MAIL_SESSION_ENDED))->ref.index, oldest);
	assert_int_equal(session_live_count(f->rig.worker->sessions), f->rig.config.sessions.max);
}

/* An application hears of the end of what it has heard of the beginning, and of nothing else; control of
 * both.
 */
static void the_end_of_an_unannounced_session_is_controls_alone(void **state)
{
	struct fixture *f = *state;
	struct rig_record close = data_record(3, 1);

	session_tx(f->rig.worker->sessions, rig_install(&f->rig, 3, false))->announced = 0;
	close.type = CONTENT_ALERT;
	close.payload = "\2\50";
	close.payload_len = 2;
	send_one(f, close);
	expect_nothing(f);
	assert_int_equal(((const struct mail_ended *)expect_mail(f, MAIL_SESSION_ENDED))->reason,
			 SLUICE_REASON_ALERT);
}

static void a_removed_session_says_goodbye(void **state)
{
	struct fixture *f = *state;
	struct mail_ended mail = {.reason = SLUICE_REASON_CREDENTIAL_GONE};
	struct record_op op;
	uint8_t payload[1500];

	mail.ref = session_ref(f->rig.worker->sessions, rig_install(&f->rig, 3, false));
	post(f, MAIL_REMOVE, &mail, sizeof(mail), NULL, 0);
	expect_sent(f, 3, &op, payload);
	assert_int_equal(op.type, CONTENT_ALERT);
	assert_memory_equal(payload, "\1\0", 2);
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_CREDENTIAL_GONE);
	post(f, MAIL_REMOVE, &mail, sizeof(mail), NULL, 0); /* again: it is gone */
	expect_sent_nothing(f);
	expect_nothing(f);
}

static bool contains(const uint8_t *bytes, size_t len, const void *what, size_t what_len)
{
	for (size_t at = 0; at + what_len <= len; at++)
		if (memcmp(bytes + at, what, what_len) == 0)
			return true;
	return false;
}

/* O11: keys and secrets do not stay in the mailbox that brought them. */
static void o11_mail_with_secrets_is_wiped(void **state)
{
	struct fixture *f = *state;
	struct mailbox *box = &f->rig.link.to_worker;
	struct mail_cookie_secret secret;
	struct mail_install mail;
	struct path path;

	rig_path(5, &path);
	mail = install_mail(start_handshake(f, &path, 1), 5);
	memset(secret.secret, 0x5a, sizeof(secret.secret));
	assert_true(mailbox_post(box, MAIL_INSTALL, &mail, sizeof(mail), NULL, 0));
	assert_true(mailbox_post(box, MAIL_COOKIE_SECRET, &secret, sizeof(secret), NULL, 0));
	mailbox_publish(box);
	assert_true(contains(box->data, box->size, &mail.session.rx_key.aead, 16));
	assert_true(contains(box->data, box->size, secret.secret, sizeof(secret.secret)));
	turn(f);
	assert_false(contains(box->data, box->size, &mail.session.rx_key.aead, 16));
	assert_false(contains(box->data, box->size, secret.secret, sizeof(secret.secret)));
	send_one(f, data_record(5, 1));
	assert_int_equal(record_count(f, RECORD_DROP_RING_FULL), 1); /* installed; not announced */
}

/* O03: as long as ended sessions keep all slots, since the application has not heard of them, hellos are
 * refused and leave nothing behind. */
static void o03_without_a_slot_no_handshake_begins(void **state)
{
	static const struct sluice_peer_moved filler;
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN], hello[128];
	struct session_table *t = f->rig.worker->sessions;
	struct sluice_message m;
	struct rte_mbuf *frame;
	struct path path;
	size_t len;

	while (uplink_event(f->rig.uplink, SLUICE_PEER_MOVED, &filler, sizeof(filler)))
		;
	uplink_publish(f->rig.uplink);
	for (uint32_t device = 0; device < session_slots(t); device++) {
		struct mail_ended remove = {.ref = session_ref(t, rig_install(&f->rig, device, false)),
					    .reason = SLUICE_REASON_CLOSED};

		post(f, MAIL_REMOVE, &remove, sizeof(remove), NULL, 0);
		while ((frame = rig_receive(&f->rig)) != NULL)
			rte_pktmbuf_free(frame);
	}
	rig_path(1000, &path);
	hello_verify(f, &path, 1, cookie);
	len = make_hello(hello, 1, cookie, COOKIE_LEN);
	for (unsigned i = 0; i < 10; i++) {
		rig_send_bytes(&f->rig, &path, hello, len);
		turn(f);
	}
	expect_no_mail(f);
	assert_int_equal(record_count(f, RECORD_DROP_HELLO_RATE), 10);
	assert_int_equal(pending_count(f->rig.worker->pending), 0);
	while (sluice_receive(f->app, &m, 1) == 1)
		turn(f);
	for (uint32_t i = 0; i < session_slots(t); i++)
		expect_mail(f, MAIL_SESSION_ENDED);
	rig_send_bytes(&f->rig, &path, hello, len);
	turn(f);
	expect_mail(f, MAIL_HELLO);
}

/* O01: one peer whose handshake does not end has its share of the control thread's mailbox, and no more. */
static void o01_a_handshake_has_an_end(void **state)
{
	struct fixture *f = *state;
	struct mail_session over;
	unsigned mails = 0;
	struct spsc_message m;
	struct path path;

	rig_path(5, &path);
	over.ref = start_handshake(f, &path, 1);
	for (uint64_t seq = 1; seq <= 3000; seq++) {
		send_one(f, finished_record(5, seq));
		while (mailbox_next(&f->rig.link.to_control, &m))
			mails += m.type == MAIL_RECORD;
		mailbox_release(&f->rig.link.to_control);
	}
	assert_in_range(mails, 500, 2000); /* beyond what any handshake takes */
	assert_int_equal(record_count(f, RECORD_DROP_HANDSHAKE_LONG), 3000 - mails);
	rig_path(6, &path);
	start_handshake(f, &path, 1); /* nobody else pays for it */
	send_one(f, finished_record(6, 1));
	expect_mail(f, MAIL_RECORD);
	post(f, MAIL_HANDSHAKE_OVER, &over, sizeof(over), NULL, 0);
	rig_path(5, &path);
	start_handshake(f, &path, 2); /* and a new one begins anew */
	send_one(f, finished_record(5, 1));
	expect_mail(f, MAIL_RECORD);
}

/* C04: a cookie outlives one change of the secret, and not a second one. */
static void c04_a_cookie_lives_through_one_rotation(void **state)
{
	struct fixture *f = *state;
	struct mail_cookie_secret next = {.secret = {8}};
	uint8_t cookie[COOKIE_LEN], hello[128];
	const struct mail_hello *mail;
	struct path path;

	rig_path(5, &path);
	hello_verify(f, &path, 1, cookie);
	post(f, MAIL_COOKIE_SECRET, &next, sizeof(next), NULL, 0);
	rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, cookie, COOKIE_LEN));
	turn(f);
	mail = expect_mail(f, MAIL_HELLO);
	assert_int_equal(mail->cookie_secret[0], 7); /* the one that it was made with */
	rig_path(6, &path);
	hello_verify(f, &path, 1, cookie);
	next.secret[0] = 9;
	post(f, MAIL_COOKIE_SECRET, &next, sizeof(next), NULL, 0);
	next.secret[0] = 10;
	post(f, MAIL_COOKIE_SECRET, &next, sizeof(next), NULL, 0);
	rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, cookie, COOKIE_LEN));
	turn(f);
	expect_no_mail(f);
	rte_pktmbuf_free(rig_receive(&f->rig)); /* another HelloVerifyRequest */
	assert_int_equal(record_count(f, RECORD_HELLO_VERIFY), 3);
}

/* ---- the stop ---- */

/* A port that is busy gets every goodbye when it has room again. */
static void goodbyes_wait_for_the_port(void **state)
{
	enum { SESSIONS = 60 };
	struct fixture *f = *state;
	unsigned frames = 0;
	struct rte_mbuf *m;
	struct path path;
	void *filler;

	for (uint32_t device = 0; device < SESSIONS; device++)
		rig_install(&f->rig, device, false);
	while (!rte_ring_full(f->rig.tx))
		assert_int_equal(rte_ring_enqueue(f->rig.tx, f), 0);
	for (uint32_t i = 0; i < TX_PENDING; i++) { /* their answers wait */
		uint8_t hello[128];

		rig_path(100 + i, &path);
		rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, NULL, 0));
	}
	while (counter_get(&f->rig.link.counters->frames_in) < TX_PENDING)
		turn(f);
	post(f, MAIL_STOP, NULL, 0, NULL, 0);
	assert_int_equal(counter_get(&f->rig.link.counters->frames_out_dropped), 0);
	while (rte_ring_dequeue(f->rig.tx, &filler) == 0)
		assert_ptr_equal(filler, f);
	for (unsigned i = 0; i < 8; i++) {
		turn(f);
		while ((m = rig_receive(&f->rig)) != NULL) {
			rte_pktmbuf_free(m);
			frames++;
		}
	}
	assert_int_equal(frames, TX_PENDING + SESSIONS);
}

/* Nor is an application that reads no more, of whose sessions the worker cannot tell it. */
static void a_still_application_does_not_keep_a_worker_from_stopping(void **state)
{
	static const struct sluice_peer_moved filler;
	struct fixture *f = *state;
	struct rte_mbuf *m;

	rig_install(&f->rig, 3, false);
	while (uplink_event(f->rig.uplink, SLUICE_PEER_MOVED, &filler, sizeof(filler)))
		;
	uplink_publish(f->rig.uplink);
	assert_true(mailbox_post(&f->rig.link.to_worker, MAIL_STOP, NULL, 0, NULL, 0));
	mailbox_publish(&f->rig.link.to_worker);
	assert_int_equal(worker_run(f->rig.worker), 0); /* after some seconds */
	assert_int_equal(session_live_count(f->rig.worker->sessions), 0);
	while ((m = rig_receive(&f->rig)) != NULL)
		rte_pktmbuf_free(m);
}

static void who_stops_begins_no_handshake(void **state)
{
	struct fixture *f = *state;
	uint8_t cookie[COOKIE_LEN], hello[128];
	struct path path;

	rig_path(5, &path);
	hello_verify(f, &path, 1, cookie);
	post(f, MAIL_STOP, NULL, 0, NULL, 0);
	rig_send_bytes(&f->rig, &path, hello, make_hello(hello, 1, cookie, COOKIE_LEN));
	turn(f);
	expect_no_mail(f);
	assert_int_equal(record_count(f, RECORD_DROP_PLAINTEXT), 1);
}

/* A flood is no reason to stay. */
static void a_flood_does_not_keep_a_worker_from_stopping(void **state)
{
	struct fixture *f = *state;
	struct rte_mbuf *frame;
	struct path path;
	void *m;

	rig_path(77, &path);
	rig_install(&f->rig, 3, false);
	for (unsigned i = 0; i < 5000; i++)
		rig_send_bytes(&f->rig, &path, "flood", 5);
	assert_true(mailbox_post(&f->rig.link.to_worker, MAIL_STOP, NULL, 0, NULL, 0));
	mailbox_publish(&f->rig.link.to_worker);
	assert_int_equal(worker_run(f->rig.worker), 0);
	assert_true(rte_ring_count(f->rig.rx) > 1000); /* it has not waited for the end of it */
	assert_int_equal(expect(f, SLUICE_SESSION_DOWN).down->reason, SLUICE_REASON_SHUTDOWN);
	for (unsigned i = 0; i < 2; i++) { /* the announcement of the start, the close_notify */
		frame = rig_receive(&f->rig);
		assert_non_null(frame);
		rte_pktmbuf_free(frame);
	}
	while (rte_ring_dequeue(f->rig.rx, &m) == 0)
		rte_pktmbuf_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(h06_the_new_finished_is_not_taken_for_the_old_sessions),
		T(h06_a_cid_belongs_to_its_session_beside_a_handshake),
		T(a_finished_in_the_burst_of_its_hello_reaches_control),
		T(o04_a_full_mailbox_costs_hellos_and_no_slots),
		T(a_stale_generation_ends_no_handshake),
		T(what_cannot_be_installed_gives_its_slot_back),
		T(what_fits_no_buffer_is_not_reinjected),
		T(o03_a_full_table_evicts_the_least_recently_used),
		T(the_end_of_an_unannounced_session_is_controls_alone),
		T(a_removed_session_says_goodbye),
		T(o11_mail_with_secrets_is_wiped),
		T(o03_without_a_slot_no_handshake_begins),
		T(o01_a_handshake_has_an_end),
		T(c04_a_cookie_lives_through_one_rotation),
		T(who_stops_begins_no_handshake),
		T(goodbyes_wait_for_the_port),
		T(a_still_application_does_not_keep_a_worker_from_stopping),
		T(a_flood_does_not_keep_a_worker_from_stopping),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
