/* What the tests of one worker share: a worker between a ring port, an application and the mailboxes, turned
 * by hand, and what is to be expected of them.
 */
#ifndef TESTS_UNIT_WORKER_FIXTURE_H
#define TESTS_UNIT_WORKER_FIXTURE_H

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/rig/rig.h"
#include "tests/unit/eal_start.h"

#define EPOCH_1    (1ULL << 48)
#define RING_BYTES (1ULL << 18)

struct fixture {
	struct rig rig;
	struct sluice *app;
	uint64_t now_ns;
};

static inline void *attach_main(void *arg)
{
	struct fixture *f = arg;

	f->app = sluice_attach(f->rig.socket);
	return NULL;
}

static inline void attach(struct fixture *f, uint32_t number)
{
	pthread_t thread;

	sluice_detach(f->app);
	f->app = NULL;
	assert_int_equal(pthread_create(&thread, NULL, attach_main, f), 0);
	rig_accept(&f->rig, number, RING_BYTES, RING_BYTES);
	pthread_join(thread, NULL);
	assert_non_null(f->app);
}

static inline int set_up(void **state)
{
	static const uint8_t secret[COOKIE_SECRET_LEN] = {7};
	struct mail_cookie_secret mail;
	struct fixture *f = calloc(1, sizeof(*f));

	rig_defaults(&f->rig);
	f->rig.config.sessions.failed_tags_max = 5;
	f->rig.config.handshakes.max = 4;
	rig_open(&f->rig);
	rig_listen(&f->rig);
	attach(f, 1);
	memcpy(mail.secret, secret, sizeof(secret));
	assert_true(mailbox_post(&f->rig.link.to_worker, MAIL_COOKIE_SECRET, &mail, sizeof(mail), NULL, 0));
	mailbox_publish(&f->rig.link.to_worker);
	f->now_ns = f->rig.now_ns;
	*state = f;
	return 0;
}

static inline uint64_t frame_count(struct fixture *f, enum frame_verdict v)
{
	return counter_get(&f->rig.link.counters->frames[v]);
}

static inline uint64_t record_count(struct fixture *f, enum record_verdict v)
{
	return counter_get(&f->rig.link.counters->records[v]);
}

/* O13: whatever a test did, everything that came in ended in exactly one verdict. */
static inline void assert_counters_close(struct fixture *f)
{
	uint64_t frames = 0, records = 0;

	for (unsigned i = 0; i < FRAME_VERDICTS_COUNT; i++)
		frames += frame_count(f, i);
	for (unsigned i = 0; i < RECORD_VERDICTS_COUNT; i++)
		records += record_count(f, i);
	assert_int_equal(frames, counter_get(&f->rig.link.counters->frames_in));
	assert_int_equal(records, counter_get(&f->rig.link.counters->records_in));
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_counters_close(f);
	sluice_detach(f->app);
	rig_close(&f->rig);
	free(f);
	return 0;
}

static inline void turn(struct fixture *f)
{
	for (unsigned i = 0; i < 4; i++)
		worker_poll(f->rig.worker, f->now_ns);
}

static inline struct rig_record data_record(uint32_t device, uint64_t seq)
{
	return (struct rig_record){.device = device,
				   .epoch_seq = EPOCH_1 | seq,
				   .payload = "coap",
				   .payload_len = 4,
				   .type = CONTENT_APPLICATION_DATA};
}

static inline void send_one(struct fixture *f, struct rig_record record)
{
	rig_send(&f->rig, &record, 1);
	turn(f);
}

/* The next message for the application must be of this type. */
static inline struct sluice_message expect(struct fixture *f, enum sluice_type type)
{
	struct sluice_message m;

	assert_int_equal(sluice_receive(f->app, &m, 1), 1);
	assert_int_equal(m.type, type);
	return m;
}

static inline void expect_data(struct fixture *f, uint64_t seq)
{
	struct sluice_message m = expect(f, SLUICE_DATA);

	assert_int_equal(m.data->seq, seq);
	assert_int_equal(m.data->payload_len, 4);
	assert_memory_equal(m.data + 1, "coap", 4);
}

static inline void expect_nothing(struct fixture *f)
{
	struct sluice_message m;

	assert_int_equal(sluice_receive(f->app, &m, 1), 0);
}

/* The next mail for the control thread must be of this type; its body stays valid until the next call. */
static inline const void *expect_mail(struct fixture *f, enum mail_type type)
{
	struct spsc_message m;

	mailbox_release(&f->rig.link.to_control);
	assert_true(mailbox_next(&f->rig.link.to_control, &m));
	assert_int_equal(m.type, type);
	return m.body;
}

static inline void expect_no_mail(struct fixture *f)
{
	struct spsc_message m;

	mailbox_release(&f->rig.link.to_control);
	assert_false(mailbox_next(&f->rig.link.to_control, &m));
}

static inline void post(struct fixture *f, enum mail_type type, const void *body, uint32_t len,
			const void *extra, uint32_t extra_len)
{
	assert_true(mailbox_post(&f->rig.link.to_worker, type, body, len, extra, extra_len));
	mailbox_publish(&f->rig.link.to_worker);
	turn(f);
}

/* The gateway must have sent one record to the device; op tells what was in it. */
static inline void expect_sent(struct fixture *f, uint32_t device, struct record_op *op, uint8_t *payload)
{
	struct rte_mbuf *m = rig_receive(&f->rig);
	uint64_t nonce;

	assert_non_null(m);
	assert_true(rig_open_record(&f->rig, m, device, 0, op));
	memcpy(&nonce, op->fragment, sizeof(nonce));
	assert_int_equal(be64toh(nonce),
			 op->epoch_seq); /* R13: what cannot repeat while the number does not */
	memcpy(payload, op->fragment + op->payload_offset, op->payload_len);
	rte_pktmbuf_free(m);
}

static inline void expect_sent_nothing(struct fixture *f)
{
	assert_null(rig_receive(&f->rig));
}

static inline void send_down(struct fixture *f, struct sluice_ref ref, size_t len, uint64_t cookie)
{
	static const uint8_t payload[16384];

	assert_int_equal(sluice_send(f->app, ref, payload, len, cookie), 0);
	sluice_flush(f->app);
	turn(f);
}

/* A ClientHello with this random and cookie, as one record. Returns its length. */
static inline size_t make_hello(uint8_t *out, uint8_t random, const uint8_t *cookie, uint8_t cookie_len)
{
	uint8_t *p = out + 25;
	size_t body;

	memset(out, 0, 128);
	*p++ = 0xfe;
	*p++ = 0xfd;
	memset(p, random, 32);
	p += 32;
	*p++ = 0; /* session_id */
	*p++ = cookie_len;
	if (cookie_len > 0)
		memcpy(p, cookie, cookie_len);
	p += cookie_len;
	memcpy(p, (uint8_t[]){0, 2, 0xc0, 0xa8, 1, 0}, 6);
	p += 6;
	body = (size_t)(p - out) - 25;
	memcpy(out, (uint8_t[]){22, 0xfe, 0xff}, 3);
	out[12] = (uint8_t)(body + 12);
	out[13] = 1;
	out[16] = out[24] = (uint8_t)body;
	return (size_t)(p - out);
}

/* C01, C02: answered without state and without more bytes than came; returns the cookie. */
static inline void hello_verify(struct fixture *f, const struct path *path, uint8_t random,
				uint8_t cookie[COOKIE_LEN])
{
	uint8_t hello[128];
	size_t len = make_hello(hello, random, cookie, 0);
	struct rte_mbuf *m;
	const uint8_t *answer;

	rig_send_bytes(&f->rig, path, hello, len);
	turn(f);
	m = rig_receive(&f->rig);
	assert_non_null(m);
	answer = rte_pktmbuf_mtod_offset(m, const uint8_t *, 42);
	assert_int_equal(m->data_len, 42 + HELLO_VERIFY_LEN);
	assert_true(HELLO_VERIFY_LEN <= len);
	assert_int_equal(answer[13], 3);
	memcpy(cookie, answer + 28, COOKIE_LEN);
	rte_pktmbuf_free(m);
	expect_no_mail(f);
}

static inline struct sluice_ref start_handshake(struct fixture *f, const struct path *path, uint8_t random)
{
	uint8_t cookie[COOKIE_LEN], hello[128];
	const struct mail_hello *mail;
	size_t len;

	hello_verify(f, path, random, cookie);
	len = make_hello(hello, random, cookie, COOKIE_LEN);
	rig_send_bytes(&f->rig, path, hello, len);
	turn(f);
	mail = expect_mail(f, MAIL_HELLO);
	assert_int_equal(mail->record_len, len);
	assert_memory_equal(mail + 1, hello, len);
	assert_int_equal(mail->cookie_secret[0], 7);
	expect_sent_nothing(f);
	return mail->ref;
}

/* As control knows it. */
static inline void name_peer(struct sluice_session_up *up, const struct path *path)
{
	memcpy(up->peer.ip, path->peer.ip, sizeof(up->peer.ip));
	up->peer.port = path->peer.port;
}

static inline void finish_handshake(struct fixture *f, struct sluice_ref ref, uint32_t device)
{
	struct mail_install mail = {.session = {.ref = ref,
						.suite = 0xc0a8,
						.protection = PROTECTION_AES_128_CCM_8,
						.epoch = 1,
						.rx_highest = 1,
						.tx_seq_next = 1}};
	struct sluice_session_up up = {.ref = ref, .suite = 0xc0a8};

	rig_path(device, &mail.session.path);
	name_peer(&up, &mail.session.path);
	rig_key(device, &mail.session.rx_key.aead);
	rig_key(device, &mail.session.tx_key.aead);
	post(f, MAIL_INSTALL, &mail, sizeof(mail), &up, sizeof(up));
}

static inline void fill_mailbox(struct fixture *f)
{
	struct mail_moved filler = {.ref.index = 77};

	while (mailbox_post(&f->rig.link.to_control, MAIL_PEER_MOVED, &filler, sizeof(filler), NULL, 0))
		;
	while (mailbox_post(&f->rig.link.to_control, MAIL_PEER_MOVED, NULL, 0, NULL, 0))
		;
	mailbox_publish(&f->rig.link.to_control);
}

/* Control reads again: all fillers, then what the worker kept back. */
static inline void empty_mailbox(struct fixture *f)
{
	struct spsc_message m;

	while (mailbox_next(&f->rig.link.to_control, &m))
		assert_int_equal(m.type, MAIL_PEER_MOVED);
	mailbox_release(&f->rig.link.to_control);
	turn(f);
}
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
