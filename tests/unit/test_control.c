/* The control thread against a worker that this test plays through the mailboxes, real clients, and a real
 * application attached by libsluice.
 *
 *   client <-> the test as worker <-> mailboxes <-> control thread <-> ring socket <-> the test as
 * application
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "controlplane/internal.h"
#include "controlplane/log.h"
#include "dataplane/record.h"
#include "ring/sluice.h"
#include "ring/uplink.h"
#include "tests/unit/peer.h"
#include "tests/unit/pki.h"

enum { MAILBOX_BYTES = 1 << 20, CLIENTS_MAX = 8, PATIENCE_MS = 60000 };

static const uint8_t psk[16] = "sixteen bytes ok";
static const uint8_t wrong_psk[16] = "another sixteen ";
static struct pki pki;
static struct worker_counters counters;

struct client {
	struct peer *peer;
	enum peer_state state;
	struct path path;
	struct sluice_ref ref;
	bool has_ref, installed, over, silent;
	unsigned transmits;
	uint32_t announced; /* to which attachment */
	uint8_t last[512];  /* the datagram sent after INSTALL */
	size_t last_len;
};

struct world {
	struct config config;
	struct worker_link link;
	struct control *control;
	struct cookie_secrets secrets;
	char psk_file[128], socket[128];
	struct client clients[CLIENTS_MAX];
	unsigned clients_count;
	const struct peer_kind *kind;

	uint32_t slot, generation;
	unsigned secrets_seen, announced, announced_again, stops;
	struct uplink *uplink;
	uint32_t attach;
	bool full; /* the uplink shall seem full */
};

/* ---- the test as worker */

static void post(struct world *w, enum mail_type type, const void *body, uint32_t len, const void *extra,
		 uint32_t extra_len)
{
	assert_true(mailbox_post(&w->link.to_control, type, body, len, extra, extra_len));
	mailbox_publish(&w->link.to_control);
}

static void from_client(struct world *w, struct client *c, const uint8_t *record, size_t len)
{
	struct record r;
	enum record_verdict verdict;
	uint8_t answer[HELLO_VERIFY_LEN];
	const struct cookie_secret *matched;
	struct client_hello hello;

	assert_int_equal(record_read(record, len, &r, &verdict), len);
	if (c->has_ref) {
		struct mail_record mail = {.ref = c->ref, .path = c->path, .record_len = (uint16_t)len};

		post(w, MAIL_RECORD, &mail, sizeof mail, record, (uint32_t)len);
		return;
	}
	switch (cookie_check(&w->secrets, &c->path.peer, &r, &hello, answer, &matched)) {
	case HELLO_ANSWER:
		c->state = w->kind->run(c->peer, answer, sizeof answer);
		break;
	case HELLO_VALID: {
		struct mail_hello mail = {.path = c->path, .record_len = (uint16_t)len};

		c->ref = mail.ref = (struct sluice_ref){.index = w->slot++, .generation = ++w->generation};
		c->has_ref = true;
		memcpy(mail.cookie_secret, matched->secret, COOKIE_SECRET_LEN);
		memcpy(mail.cid, "1234567", CID_LEN);
		post(w, MAIL_HELLO, &mail, sizeof mail, record, (uint32_t)len);
		break;
	}
	default:
		break;
	}
}

static void clients_speak(struct world *w)
{
	static uint8_t bytes[PEER_DATAGRAM_MAX];
	size_t len;

	for (unsigned i = 0; i < w->clients_count; i++) {
		struct client *c = &w->clients[i];

		while (c->peer && (len = w->kind->take(c->peer, bytes)) > 0) {
			const uint8_t *at = bytes;

			while (len >= RECORD_HEADER_LEN) {
				size_t n = RECORD_HEADER_LEN + (size_t)(at[11] << 8 | at[12]);

				from_client(w, c, at, n);
				at += n;
				len -= n;
			}
		}
	}
}

static struct client *client_of_path(struct world *w, const struct path *path)
{
	for (unsigned i = 0; i < w->clients_count; i++) {
		if (memcmp(&w->clients[i].path, path, sizeof *path) == 0)
			return &w->clients[i];
	}
	return NULL;
}

static struct client *client_of_ref(struct world *w, const struct sluice_ref *ref)
{
	for (unsigned i = 0; i < w->clients_count; i++) {
		if (memcmp(&w->clients[i].ref, ref, sizeof *ref) == 0)
			return &w->clients[i];
	}
	return NULL;
}

static void take_transmit(struct world *w, const struct mail_transmit *mail)
{
	struct client *c = client_of_path(w, &mail->path);
	const uint8_t *datagram = (const uint8_t *)(mail + 1);

	assert_non_null(c);
	c->transmits++;
	if (datagram[0] == CONTENT_CHANGE_CIPHER_SPEC)
		assert_true(c->installed); /* the session stands before the client hears of it */
	if (c->installed) {
		memcpy(c->last, datagram, mail->datagram_len);
		c->last_len = mail->datagram_len;
	}
	if (!c->silent)
		c->state = w->kind->run(c->peer, datagram, mail->datagram_len);
}

static void take_announce(struct world *w, const struct sluice_session_up *up)
{
	struct mail_session mail = {.ref = up->ref};
	struct client *c = client_of_ref(w, &up->ref);

	assert_non_null(c);
	w->announced_again += up->again;
	if (!w->uplink || c->announced == w->attach)
		return;
	if (w->full || !uplink_event(w->uplink, SLUICE_SESSION_UP, up, sizeof *up + up->fields_len)) {
		post(w, MAIL_NOT_ANNOUNCED, &mail, sizeof mail, NULL, 0);
		return;
	}
	w->announced++;
	c->announced = w->attach;
	uplink_publish(w->uplink);
}

static void take_uplink(struct world *w, const struct mail_uplink *mail)
{
	struct mail_uplink old = {.uplink = w->uplink};

	if (w->uplink)
		post(w, MAIL_UPLINK_RETURNED, &old, sizeof old, NULL, 0);
	w->uplink = mail->uplink;
	w->attach = mail->attach;
}

static void take_mail(struct world *w, const struct spsc_message *m)
{
	struct client *c;

	switch ((enum mail_type)m->type) {
	case MAIL_COOKIE_SECRET:
		if (w->secrets_seen++ == 0)
			cookie_secrets_init(&w->secrets,
					    ((const struct mail_cookie_secret *)m->body)->secret);
		else
			cookie_secrets_rotate(&w->secrets,
					      ((const struct mail_cookie_secret *)m->body)->secret);
		break;
	case MAIL_TRANSMIT:
		take_transmit(w, m->body);
		break;
	case MAIL_INSTALL: {
		const struct mail_install *mail = m->body;

		c = client_of_ref(w, &mail->session.ref);
		assert_non_null(c);
		c->installed = true;
		take_announce(w, (const struct sluice_session_up *)(mail + 1));
		break;
	}
	case MAIL_ANNOUNCE:
		take_announce(w, m->body);
		break;
	case MAIL_UPLINK:
		take_uplink(w, m->body);
		break;
	case MAIL_HANDSHAKE_OVER:
		c = client_of_ref(w, &((const struct mail_session *)m->body)->ref);
		if (c)
			c->over = true;
		break;
	case MAIL_STOP:
		w->stops++;
		break;
	case MAIL_REINJECT: /* on a busy machine a client repeats its Finished */
		break;
	default:
		fail_msg("mail of type %u", m->type);
	}
}

static void take_all_mail(struct world *w)
{
	struct spsc_message m;

	while (mailbox_next(&w->link.to_worker, &m))
		take_mail(w, &m);
	mailbox_release(&w->link.to_worker);
}

/* Plays the worker until the condition holds; fails after PATIENCE_MS. */
#define play_until(w, condition)                                                                             \
	do {                                                                                                 \
		unsigned waited_us = 0;                                                                      \
		for (;;) {                                                                                   \
			clients_speak(w);                                                                    \
			take_all_mail(w);                                                                    \
			if (condition)                                                                       \
				break;                                                                       \
			if (waited_us > PATIENCE_MS * 1000u)                                                 \
				fail_msg("waited for: %s", #condition);                                      \
			usleep(200);                                                                         \
			waited_us += 200;                                                                    \
		}                                                                                            \
	} while (0)

static void play_for_ms(struct world *w, unsigned ms)
{
	for (unsigned i = 0; i < ms * 5; i++) {
		clients_speak(w);
		take_all_mail(w);
		usleep(200);
	}
}

/* ---- */

static struct client *add_client(struct world *w, const struct peer_options *options)
{
	struct client *c = &w->clients[w->clients_count++];
	struct path path = {.peer = {.ip = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 0}, .port = 0x3412}};

	assert_true(w->clients_count <= CLIENTS_MAX);
	path.peer.ip[15] = (uint8_t)w->clients_count;
	c->path = path;
	c->peer = w->kind->new (options);
	c->state = w->kind->run(c->peer, NULL, 0);
	return c;
}

static struct peer_options psk_options(const char *identity, const uint8_t *key)
{
	return (struct peer_options){
		.ciphers = "PSK-AES128-CCM-8", .psk_identity = identity, .psk = key, .psk_len = sizeof psk};
}

static void write_psk_file(const struct world *w)
{
	FILE *f = fopen(w->psk_file, "w");

	assert_non_null(f);
	fprintf(f, "# keys\ndevice-1:");
	for (size_t i = 0; i < sizeof psk; i++)
		fprintf(f, "%02x", psk[i]);
	fprintf(f, "\n");
	fclose(f);
	chmod(w->psk_file, 0600);
}

static struct world *world_new(const struct peer_kind *kind, void (*change)(struct config *))
{
	struct world *w = calloc(1, sizeof *w);
	char error[512];

	assert_non_null(w);
	w->kind = kind;
	w->slot = 3;
	snprintf(w->psk_file, sizeof w->psk_file, "%s/psk", pki.directory);
	snprintf(w->socket, sizeof w->socket, "%s/ring", pki.directory);
	write_psk_file(w);
	w->config.workers.count = 1;
	w->config.sessions.max = 100;
	w->config.handshakes = (struct config_handshakes){.max = 16,
							  .timeout_s = 30,
							  .retransmit_ms = 1000,
							  .rate = 1000,
							  .rate_prefix = 1000,
							  .mtu = 1400,
							  .cookie_rotation_s = 60};
	w->config.tls =
		(struct config_tls){.certificate = pki.certificate, .key = pki.key, .require_ems = true};
	w->config.credentials.psk_file = w->psk_file;
	w->config.ring = (struct config_ring){.socket = w->socket, .uplink_kib = 256, .downlink_kib = 256};
	w->config.admin.history = 64;
	w->config.log_level = (char *)"error";
	if (change)
		change(&w->config);
	assert_int_equal(mailbox_init(&w->link.to_control, MAILBOX_BYTES), 0);
	assert_int_equal(mailbox_init(&w->link.to_worker, MAILBOX_BYTES), 0);
	w->link.slots = 116;
	w->link.counters = &counters;
	w->control = control_new(&w->config, &w->link, 1, error, sizeof error);
	if (!w->control)
		fail_msg("%s", error);
	assert_int_equal(control_start(w->control), 0);
	take_all_mail(w);
	assert_int_equal(w->secrets_seen, 1); /* before anything can arrive */
	return w;
}

static void world_free(struct world *w)
{
	if (w->control) {
		control_stop(w->control);
		take_all_mail(w);
		assert_int_equal(w->stops, 1);
		control_free(w->control);
	}
	for (unsigned i = 0; i < w->clients_count; i++)
		w->kind->free(w->clients[i].peer);
	mailbox_fini(&w->link.to_control);
	mailbox_fini(&w->link.to_worker);
	free(w);
}

static void end_session(struct world *w, struct client *c, enum sluice_reason reason)
{
	struct mail_ended mail = {.ref = c->ref, .reason = reason};

	post(w, MAIL_SESSION_ENDED, &mail, sizeof mail, NULL, 0);
}

/* ---- handshakes */

static void test_psk_and_certificate(void **state)
{
	struct world *w = world_new(&peer_openssl, NULL);
	struct peer_options a = psk_options("device-1", psk);
	struct peer_options b = {.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = pki.ca};
	struct client *one = add_client(w, &a), *two = add_client(w, &b);

	play_until(w, one->state == PEER_CONNECTED && two->state == PEER_CONNECTED);
	assert_true(one->installed && two->installed);
	assert_false(one->over || two->over);
	end_session(w, one, SLUICE_REASON_IDLE);
	end_session(w, two, SLUICE_REASON_CLOSE_NOTIFY);
	world_free(w);
}

static void with_a_tenant(struct config *config)
{
	static char name[] = "water", server[] = "water.example", *names[] = {server};
	static struct config_tenant tenant;

	tenant = (struct config_tenant){
		.name = name, .server_names = names, .server_names_count = 1, .tls = config->tls};
	config->tenants = &tenant;
	config->tenants_count = 1;
}

/* A worker that has no room says so; whose device it was is counted. */
static void test_no_room(void **state)
{
	struct world *w = world_new(&peer_openssl, with_a_tenant);
	struct peer_options o = {
		.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = pki.ca, .server_name = "water.example"};
	struct client *c = add_client(w, &o);
	struct mail_ended mail = {.reason = SLUICE_REASON_EVICTED};

	play_until(w, c->state == PEER_CONNECTED);
	mail.ref = c->ref;
	mail.ref.generation++; /* nobody's */
	post(w, MAIL_NOT_INSTALLED, &mail, sizeof mail, NULL, 0);
	mail.ref.generation--;
	post(w, MAIL_NOT_INSTALLED, &mail, sizeof mail, NULL, 0);
	play_for_ms(w, 100);
	control_stop(w->control);
	assert_int_equal(w->control->outcomes[1].established, 1);
	assert_int_equal(w->control->outcomes[1].refused.of[REFUSED_NO_ROOM], 1);
	assert_int_equal(w->control->outcomes[0].refused.of[REFUSED_NO_ROOM], 0);
	assert_null(association_find(w->control->associations, c->ref));
	world_free(w);
}

/* The attempts of an address, newest first. */
static unsigned attempts_of(const struct world *w, const struct client *c, const struct history_attempt **out)
{
	const struct history_query query = {.peer = c->path.peer};

	return history_find(w->control->history, &query, out, 8);
}

/* A device that asks for it again and again is counted each time, under its tenant, and remembered once. */
static void test_renegotiation(void **state)
{
	struct world *w = world_new(&peer_openssl, with_a_tenant);
	struct peer_options o = {
		.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = pki.ca, .server_name = "water.example"};
	struct client *c = add_client(w, &o);
	const struct history_attempt *found[8];
	struct mail_session mail;

	play_until(w, c->state == PEER_CONNECTED);
	mail.ref = c->ref;
	for (int i = 0; i < 20; i++)
		post(w, MAIL_RENEGOTIATION, &mail, sizeof mail, NULL, 0);
	mail.ref.generation++; /* nobody's */
	post(w, MAIL_RENEGOTIATION, &mail, sizeof mail, NULL, 0);
	play_for_ms(w, 100);
	control_stop(w->control);
	assert_int_equal(w->control->outcomes[1].refused.of[REFUSED_RENEGOTIATION], 20);
	assert_int_equal(w->control->outcomes[0].refused.of[REFUSED_RENEGOTIATION], 0);
	assert_non_null(association_find(w->control->associations, c->ref));
	assert_int_equal(attempts_of(w, c, found), 2);
	assert_int_equal(found[0]->cause, REFUSED_RENEGOTIATION);
	assert_int_equal(found[0]->alert, ALERT_NO_RENEGOTIATION);
	assert_string_equal(found[0]->tenant, "water");
	assert_memory_equal(found[0]->server_name, "water.example", found[0]->server_name_len);
	assert_int_equal(found[0]->server_name_len, strlen("water.example"));
	assert_true(found[1]->established);
	world_free(w);
}

/* H12: refused when the address is proved, with an alert that it can read; its tenant's operator sees it. */
static void test_dtls_1_0(void **state)
{
	static const struct {
		const char *server_name;
		const char *tenant;
	} cases[] = {{"water.example", "water"}, {"nobody.example", ""}, {NULL, ""}};
	struct world *w = world_new(&peer_openssl, with_a_tenant);

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct peer_options o = {.ciphers = "ALL:@SECLEVEL=0",
					 .ca = pki.ca,
					 .dtls_1_0 = true,
					 .server_name = cases[i].server_name};
		struct client *c = add_client(w, &o);

		play_until(w, c->state == PEER_FAILED);
		assert_int_equal(c->transmits, 1);
	}
	control_stop(w->control);
	for (unsigned i = 0; i < w->clients_count; i++) {
		const struct history_attempt *found[8];

		assert_int_equal(attempts_of(w, &w->clients[i], found), 1);
		assert_int_equal(found[0]->cause, REFUSED_DTLS_1_0);
		assert_string_equal(found[0]->tenant, cases[i].tenant);
		assert_int_equal(found[0]->server_name_len,
				 cases[i].server_name ? strlen(cases[i].server_name) : 0);
	}
	assert_int_equal(w->control->outcomes[0].refused.of[REFUSED_DTLS_1_0], 2);
	assert_int_equal(w->control->outcomes[1].refused.of[REFUSED_DTLS_1_0], 1);
	world_free(w);
}

static void test_last_flight_again(void **state)
{
	struct world *w = world_new(&peer_openssl, NULL);
	struct peer_options o = psk_options("device-1", psk);
	struct client *c = add_client(w, &o);
	struct mail_session mail;
	uint8_t first[512];
	size_t first_len;
	unsigned before;

	play_until(w, c->state == PEER_CONNECTED);
	memcpy(first, c->last, first_len = c->last_len);
	assert_true(first_len > 0);
	mail.ref = c->ref;
	for (int i = 0; i < 3; i++) {
		before = c->transmits;
		memset(c->last, 0, sizeof c->last);
		play_for_ms(w, 250);
		post(w, MAIL_FINISHED_AGAIN, &mail, sizeof mail, NULL, 0);
		play_until(w, c->transmits == before + 1);
		assert_int_equal(c->last_len, first_len);
		assert_memory_equal(c->last, first, first_len);
	}
	/* at once again: a client that answers our Finished with its own would go on for ever */
	post(w, MAIL_FINISHED_AGAIN, &mail, sizeof mail, NULL, 0);
	play_for_ms(w, 50);
	assert_int_equal(c->transmits, before + 1);
	mail.ref.generation++; /* of somebody else by now */
	before = c->transmits;
	post(w, MAIL_FINISHED_AGAIN, &mail, sizeof mail, NULL, 0);
	play_for_ms(w, 50);
	assert_int_equal(c->transmits, before);
	end_session(w, c, SLUICE_REASON_IDLE);
	world_free(w);
}

static void test_refused_with_alert(void **state)
{
	struct world *w = world_new(&peer_openssl, NULL);
	struct peer_options o = psk_options("device-1", psk);
	struct client *c;

	o.without_ems = true;
	c = add_client(w, &o);
	play_until(w, c->over && c->state == PEER_FAILED);
	assert_int_equal(c->transmits, 1);
	assert_false(c->installed);
	world_free(w);
}

static void few_and_slow(struct config *config)
{
	config->handshakes.max = 2;
	config->handshakes.timeout_s = 1;
	config->handshakes.retransmit_ms = 100;
}

/* Silent clients: the oldest makes room, the others get the flight again and time out. */
static void test_half_open(void **state)
{
	struct world *w = world_new(&peer_openssl, few_and_slow);
	struct peer_options o = psk_options("device-1", psk);
	struct client *c[3], *good;

	for (int i = 0; i < 3; i++) {
		c[i] = add_client(w, &o);
		c[i]->silent = true;
		play_until(w, c[i]->transmits == 1);
	}
	play_until(w, c[0]->over);
	assert_false(c[1]->over || c[2]->over);
	play_until(w, c[1]->over && c[2]->over);
	assert_in_range(c[1]->transmits, 3, 4); /* 0, 100, 300, 700 ms */
	assert_in_range(c[2]->transmits, 3, 4);
	good = add_client(w, &o);
	play_until(w, good->state == PEER_CONNECTED);
	end_session(w, good, SLUICE_REASON_IDLE);
	world_free(w);
}

static void test_wrong_key_times_out(void **state)
{
	struct world *w = world_new(&peer_wolfssl, few_and_slow);
	struct peer_options wrong = psk_options("device-1", wrong_psk),
			    unknown = psk_options("device-2", psk);
	struct client *a = add_client(w, &wrong), *b = add_client(w, &unknown);

	play_until(w, a->over && b->over);
	assert_false(a->installed || b->installed);
	assert_int_equal(a->transmits, b->transmits); /* nothing tells them apart */
	assert_int_equal(a->state, b->state);
	world_free(w);
}

static void one_per_second(struct config *config)
{
	config->handshakes.rate_prefix = 1;
}

static void test_admission(void **state)
{
	struct world *w = world_new(&peer_openssl, one_per_second);
	struct peer_options o = psk_options("device-1", psk);
	struct client *first = add_client(w, &o), *second;

	play_until(w, first->state == PEER_CONNECTED);
	second = add_client(w, &o);
	play_until(w, second->over);
	assert_int_equal(second->transmits, 0); /* silence: it may try again */
	end_session(w, first, SLUICE_REASON_IDLE);
	world_free(w);
}

static void test_newer_hello(void **state)
{
	struct world *w = world_new(&peer_openssl, NULL);
	struct peer_options o = psk_options("device-1", psk);
	struct client *c = add_client(w, &o);
	struct mail_session mail;

	c->silent = true;
	play_until(w, c->transmits == 1);
	mail.ref = c->ref;
	post(w, MAIL_HANDSHAKE_DROPPED, &mail, sizeof mail, NULL, 0);
	w->kind->free(c->peer); /* rebooted: another random from the same address */
	c->peer = w->kind->new (&o);
	c->has_ref = c->silent = false;
	c->state = w->kind->run(c->peer, NULL, 0);
	play_until(w, c->state == PEER_CONNECTED);
	assert_true(c->ref.generation != mail.ref.generation);
	end_session(w, c, SLUICE_REASON_IDLE);
	world_free(w);
}

static void rotate_often(struct config *config)
{
	config->handshakes.cookie_rotation_s = 1;
}

static void test_cookie_rotation(void **state)
{
	struct world *w = world_new(&peer_openssl, rotate_often);
	struct peer_options o = psk_options("device-1", psk);
	struct cookie_secrets first = w->secrets;
	struct client *c;

	play_until(w, w->secrets_seen == 2);
	assert_memory_not_equal(first.current.secret, w->secrets.current.secret, COOKIE_SECRET_LEN);
	c = add_client(w, &o);
	play_until(w, c->state == PEER_CONNECTED);
	end_session(w, c, SLUICE_REASON_IDLE);
	world_free(w);
}

/* ---- the application */

static const char *field_of(const struct sluice_session_up *up, uint16_t type)
{
	static char text[300];
	struct sluice_field field = {0};

	text[0] = 0;
	while (sluice_field_next(up, &field)) {
		if (field.type == type) {
			memcpy(text, field.bytes, field.len);
			text[field.len] = 0;
		}
	}
	return text;
}

static void expect_up(struct sluice *app, const struct client *c, unsigned again)
{
	struct sluice_message message;
	int n = 0;

	for (int i = 0; i < 300 && n == 0; i++) {
		n = sluice_receive(app, &message, 1);
		if (n == 0)
			usleep(10000);
	}
	assert_int_equal(n, 1);
	assert_int_equal(message.type, SLUICE_SESSION_UP);
	assert_memory_equal(&message.up->ref, &c->ref, sizeof c->ref);
	assert_int_equal(message.up->again, again);
	assert_int_equal(message.up->credential, SLUICE_CREDENTIAL_PSK);
	assert_int_equal(message.up->identity, SLUICE_IDENTITY_CREDENTIAL);
	assert_int_equal(message.up->suite, 0xc0a8);
	assert_string_equal(field_of(message.up, SLUICE_FIELD_IDENTITY), "device-1");
	assert_string_equal(field_of(message.up, SLUICE_FIELD_CREDENTIAL_ID), "device-1");
	assert_memory_equal(message.up->peer.ip, c->path.peer.ip, 16);
}

static void test_application(void **state)
{
	struct world *w = world_new(&peer_openssl, NULL);
	struct peer_options o = psk_options("device-1", psk);
	struct client *before = add_client(w, &o), *during;
	struct sluice *app;

	play_until(w, before->state == PEER_CONNECTED);
	app = sluice_attach(w->socket);
	assert_non_null(app);
	play_until(w, w->announced == 1);
	expect_up(app, before, 1);

	/* one at a time */
	assert_null(sluice_attach(w->socket));
	assert_int_equal(errno, EBUSY);

	during = add_client(w, &o);
	play_until(w, w->announced == 2);
	expect_up(app, during, 0);

	/* killed, and back: every live session again, none that ended */
	sluice_detach(app);
	play_until(w, w->uplink == NULL);
	end_session(w, before, SLUICE_REASON_IDLE);
	app = sluice_attach(w->socket);
	assert_non_null(app);
	play_until(w, w->announced == 3);
	expect_up(app, during, 1);
	play_for_ms(w, 50);
	assert_int_equal(w->announced, 3);
	sluice_detach(app);
	end_session(w, during, SLUICE_REASON_IDLE);
	world_free(w);
}

static void test_announced_when_there_is_room(void **state)
{
	struct world *w = world_new(&peer_openssl, NULL);
	struct peer_options o = psk_options("device-1", psk);
	struct client *c = add_client(w, &o);
	struct sluice *app;

	play_until(w, c->state == PEER_CONNECTED);
	w->full = true;
	app = sluice_attach(w->socket);
	assert_non_null(app);
	play_until(w, w->announced_again >= 3); /* it keeps trying */
	w->full = false;
	play_until(w, w->announced == 1);
	expect_up(app, c, 1);
	play_for_ms(w, 60);
	assert_int_equal(w->announced, 1);
	sluice_detach(app);
	end_session(w, c, SLUICE_REASON_IDLE);
	world_free(w);
}

/* ---- start */

static void expect_no_start(void (*change)(struct config *), const char *sentence)
{
	struct world *w = world_new(&peer_openssl, NULL);
	struct config config = w->config;
	char error[512] = "", socket[160];
	struct control *c;

	snprintf(socket, sizeof socket, "%s-2", w->socket);
	config.ring.socket = socket;
	change(&config);
	c = control_new(&config, &w->link, 1, error, sizeof error);
	assert_null(c);
	if (!strstr(error, sentence))
		fail_msg("%s", error);
	world_free(w);
}

static void without_credentials(struct config *config)
{
	config->tls.certificate = NULL;
	config->credentials.psk_file = NULL;
}

static void with_wrong_key(struct config *config)
{
	static char key[160];

	snprintf(key, sizeof key, "%s/root.key", pki.directory);
	config->tls.key = key;
}

static void with_missing_certificate(struct config *config)
{
	config->tls.certificate = (char *)"/nowhere/certificate.pem";
}

static void with_taken_socket(struct config *config)
{
	config->ring.socket[strlen(config->ring.socket) - 2] = 0;
}

static void with_no_store(struct config *config)
{
	config->credentials.store = (char *)"/nowhere/credentials";
}

static void with_an_empty_store(struct config *config)
{
	config->credentials.store = pki.directory;
}

static void with_keys_of_a_tenant_in_a_file_only(struct config *config)
{
	static char *names[] = {"water.example"};
	static struct config_tenant water = {.name = "water", .server_names = names, .server_names_count = 1};

	config->tenants = &water;
	config->tenants_count = 1;
}

/* ---- --check-config */

static const char *expected_log;
static bool was_logged;

static void look_at_log(enum log_level level, const char *line)
{
	was_logged |= expected_log && strstr(line, expected_log);
}

/* sentence NULL: nothing is wrong. */
static void expect_judged(void (*change)(struct config *), const char *sentence)
{
	static struct world w; /* only its files */
	char error[512] = "";
	int ret;

	snprintf(w.psk_file, sizeof w.psk_file, "%s/psk", pki.directory);
	write_psk_file(&w);
	w.config.handshakes = (struct config_handshakes){.mtu = 1400, .ticket_lifetime_s = 60};
	w.config.tls =
		(struct config_tls){.certificate = pki.certificate, .key = pki.key, .require_ems = true};
	w.config.credentials = (struct config_credentials){.psk_file = w.psk_file};
	with_a_tenant(&w.config);
	w.config.ring.socket = (char *)"/nowhere/ring"; /* not looked at */
	change(&w.config);
	log_route(look_at_log);
	was_logged = false;
	ret = control_check(&w.config, error, sizeof error);
	log_route(NULL);
	if (ret != (sentence ? -EINVAL : 0) || (sentence && !strstr(error, sentence)))
		fail_msg("%d: %s", ret, error);
}

static struct config_tls *tls_of_tenant(struct config *config)
{
	return &config->tenants[0].tls;
}

static void with_nothing_wrong(struct config *config)
{
	config->tls.trust_anchors = config->tenants[0].tls.trust_anchors = pki.ca;
	config->tls.client_certificate = CONFIG_CLIENT_CERTIFICATE_REQUIRED;
	config->tls.raw_key = pki.key;
	config->tls.tickets = true;
}

static void with_wrong_key_of_a_tenant(struct config *config)
{
	struct config other = *config;

	with_wrong_key(&other);
	tls_of_tenant(config)->key = other.tls.key;
}

static char *garbled(const char *name, const char *label, unsigned mode)
{
	static char path[160];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", pki.directory, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "-----BEGIN %s-----\nR2FyYmFnZSwgYnV0IGluIGJhc2U2NC4=\n-----END %s-----\n", label, label);
	fclose(f);
	chmod(path, mode);
	return path;
}

static void with_garbled_key_of_a_tenant(struct config *config)
{
	tls_of_tenant(config)->key = garbled("garbled.key", "PRIVATE KEY", 0600);
}

static void with_open_key(struct config *config)
{
	static char key[160];

	snprintf(key, sizeof key, "%s", pki_path(&pki, "other-root", "key"));
	chmod(key, 0644);
	config->tls.key = key;
}

static void with_garbled_certificate(struct config *config)
{
	config->tls.certificate = garbled("garbled.pem", "CERTIFICATE", 0644);
}

static void with_garbled_anchors_of_a_tenant(struct config *config)
{
	tls_of_tenant(config)->client_certificate = CONFIG_CLIENT_CERTIFICATE_REQUIRED;
	tls_of_tenant(config)->trust_anchors = garbled("anchors.pem", "CERTIFICATE", 0644);
}

static void with_garbled_list_of_a_tenant(struct config *config)
{
	static char *lists[1];

	lists[0] = garbled("list.pem", "X509 CRL", 0644);
	tls_of_tenant(config)->client_certificate = CONFIG_CLIENT_CERTIFICATE_REQUIRED;
	tls_of_tenant(config)->trust_anchors = pki.ca;
	tls_of_tenant(config)->crls = lists;
	tls_of_tenant(config)->crls_count = 1;
}

static void with_garbled_raw_key(struct config *config)
{
	config->tls.raw_key = garbled("raw.key", "PRIVATE KEY", 0600);
}

static void with_garbled_ticket_keys(struct config *config)
{
	config->tls.tickets = true;
	config->handshakes.ticket_keys = garbled("ticket.keys", "X", 0600);
}

static void with_garbled_psk_file(struct config *config)
{
	config->credentials.psk_file = garbled("psk-2", "X", 0600);
}

static void with_expired_certificate(struct config *config)
{
	static char certificate[160], key[160];

	pki_client(&pki, "old", "gateway.example", NULL, NULL, PKI_EXPIRED);
	snprintf(certificate, sizeof certificate, "%s", pki_path(&pki, "old", "pem"));
	snprintf(key, sizeof key, "%s", pki_path(&pki, "old", "key"));
	config->tls.certificate = certificate;
	config->tls.key = key;
}

static void test_check(void **state)
{
	expect_judged(with_nothing_wrong, NULL);
	expect_judged(with_wrong_key, "tls.key: ");
	expect_judged(with_wrong_key, "root.key does not belong to the certificate in ");
	expect_judged(with_wrong_key_of_a_tenant, "tenants.water.key: ");
	expect_judged(with_garbled_key_of_a_tenant, "garbled.key cannot be used as a private key in PEM");
	expect_judged(with_open_key, "other-root.key has mode 0644; others must have no access");
	expect_judged(with_missing_certificate, "tls.certificate: /nowhere/certificate.pem cannot be used");
	expect_judged(with_garbled_certificate, "garbled.pem cannot be used as a certificate chain in PEM");
	expect_judged(with_garbled_anchors_of_a_tenant, "tenants.water.trust_anchors: ");
	expect_judged(with_garbled_list_of_a_tenant, "tenants.water.crls: ");
	expect_judged(with_garbled_raw_key, "tls.raw_key: ");
	expect_judged(with_garbled_ticket_keys, "handshakes.ticket_keys: ");
	expect_judged(with_garbled_psk_file, "psk-2, line 1: ");
	expect_judged(with_no_store, "credentials.store: ");
	expected_log = "has expired";
	expect_judged(with_expired_certificate, NULL); /* it does not keep the gateway from starting */
	assert_true(was_logged);
}

static char *responder_url;

static void with_stapling(struct config *config)
{
	static char certificate[160], key[160];

	pki_client(&pki, "stapled", "gateway.example", NULL, NULL, PKI_BELOW_CA);
	snprintf(certificate, sizeof certificate, "%s", pki_path(&pki, "stapled", "pem"));
	snprintf(key, sizeof key, "%s", pki_path(&pki, "stapled", "key"));
	config->tls.certificate = certificate;
	config->tls.key = key;
	config->tls.ocsp_stapling = true;
	config->tls.ocsp_responder = responder_url;
}

/* A running gateway may stand beside, and its responder is none of a check's business. */
static void test_checking_asks_nobody(void **state)
{
	const struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in address;
	socklen_t len = sizeof address;
	int responder = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	static char url[64];

	assert_int_equal(bind(responder, (const struct sockaddr *)&any, sizeof any), 0);
	assert_int_equal(listen(responder, 8), 0);
	assert_int_equal(getsockname(responder, (struct sockaddr *)&address, &len), 0);
	snprintf(url, sizeof url, "http://127.0.0.1:%u/", ntohs(address.sin_port));
	responder_url = url;
	expect_judged(with_stapling, NULL);
	assert_int_equal(accept(responder, NULL, NULL), -1);
	assert_int_equal(errno, EAGAIN);
	close(responder);
}

/* ---- start */

static void test_no_start(void **state)
{
	expect_no_start(with_no_store,
			"credentials.store: There is no credential store /nowhere/credentials: ");
	expect_no_start(with_an_empty_store, "credentials.store: There is no credential store ");
	expect_no_start(with_keys_of_a_tenant_in_a_file_only,
			"tenants.water.suites: none of them can be used");
	expect_no_start(without_credentials, "tls.suites: none of them can be used");
	expect_no_start(with_wrong_key, "does not belong to the certificate");
	expect_no_start(with_missing_certificate, "tls.certificate: /nowhere/certificate.pem");
	expect_no_start(with_taken_socket, "ring.socket");
}

static int set_up(void **state)
{
	pki_new(&pki);
	return 0;
}

static int tear_down(void **state)
{
	pki_free(&pki);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_psk_and_certificate),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_renegotiation),
		cmocka_unit_test(test_dtls_1_0),
		cmocka_unit_test(test_last_flight_again),
		cmocka_unit_test(test_refused_with_alert),
		cmocka_unit_test(test_half_open),
		cmocka_unit_test(test_wrong_key_times_out),
		cmocka_unit_test(test_admission),
		cmocka_unit_test(test_newer_hello),
		cmocka_unit_test(test_cookie_rotation),
		cmocka_unit_test(test_application),
		cmocka_unit_test(test_announced_when_there_is_room),
		cmocka_unit_test(test_no_start),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_checking_asks_nobody),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
