/* See meeting.h. */
#include "tests/unit/meeting.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "dataplane/record.h"

#define ROUND_NS 1000000000ULL

/* ---- the gateway's side */

static void finish(struct meeting *m)
{
	m->install_error = handshake_install(m->handshake, &m->install);
	m->up_len = handshake_session_up(m->handshake, m->up);
	m->last_flight = *handshake_flight(m->handshake);
	*handshake_flight(m->handshake) = (struct flight){0};
	handshake_free(m->handshake);
	m->handshake = NULL;
}

static void to_client(struct meeting *m, const uint8_t *datagram, size_t len);

static void send_all(struct meeting *m, const struct flight *f)
{
	const uint8_t *datagram;
	uint32_t at = 0;
	uint16_t len;

	while ((datagram = flight_next(f, &at, &len)))
		to_client(m, datagram, len);
}

static void after(struct meeting *m, enum handshake_state state)
{
	struct flight out = *handshake_flight(m->handshake);

	m->server = state;
	if (state == HANDSHAKE_DONE) {
		finish(m);
		send_all(m, &m->last_flight);
		return;
	}
	*handshake_flight(m->handshake) = (struct flight){.mtu = out.mtu};
	if (state == HANDSHAKE_FAILED) {
		m->refusal = *handshake_refusal(m->handshake);
		handshake_free(m->handshake);
		m->handshake = NULL;
	}
	send_all(m, &out);
	flight_fini(&out);
}

static void begin(struct meeting *m, const struct record *r, size_t whole)
{
	uint8_t answer[HELLO_VERIFY_LEN];
	const struct cookie_secret *matched;
	struct client_hello hello;

	if (r->type != CONTENT_HANDSHAKE || r->epoch_seq >> 48)
		return;
	switch (cookie_check(&m->secrets, &m->start.path.peer, r, &hello, answer, &matched)) {
	case HELLO_VALID:
		memcpy(m->start.cookie_secret, matched->secret, COOKIE_SECRET_LEN);
		m->handshake = handshake_new(m->tls, &m->start);
		assert(m->handshake);
		after(m, handshake_record(m->handshake, r->header, whole, m->now_ns));
		break;
	case HELLO_ANSWER:
		m->hello_verifies++;
		to_client(m, answer, sizeof answer);
		break;
	default:
		break;
	}
}

void meeting_inject(struct meeting *m, const uint8_t *datagram, size_t len)
{
	enum record_verdict verdict;
	struct record r;
	size_t n;

	while (len > 0 && (n = record_read(datagram, len, &r, &verdict)) > 0) {
		if (m->handshake) {
			after(m, handshake_record(m->handshake, datagram, n, m->now_ns));
			if (m->handshake && handshake_wants_resend(m->handshake))
				after(m, handshake_resend(m->handshake));
		} else if (m->server == HANDSHAKE_GOES_ON) {
			begin(m, &r, n);
		} else if (m->server == HANDSHAKE_DONE && m->client == PEER_GOES_ON &&
			   r.epoch_seq >> 48 == 1) {
			meeting_send_last_flight(m); /* the worker found an authentic Finished again */
		}
		datagram += n;
		len -= n;
	}
}

void meeting_continue(struct meeting *m)
{
	after(m, handshake_continue(m->handshake, m->now_ns));
}

/* ---- the way between them */

static void deliver(struct meeting *m, bool from_client, const uint8_t *bytes, size_t len)
{
	if (from_client)
		meeting_inject(m, bytes, len);
	else if (m->client == PEER_GOES_ON)
		m->client = m->kind->run(m->peer, bytes, len);
	else
		(void)m->kind->run(m->peer, bytes, len);
}

static void deliver_late(struct meeting *m)
{
	static uint8_t bytes[PEER_DATAGRAM_MAX];
	size_t len;

	while ((len = peer_queue_take(&m->late, bytes, sizeof bytes)) > 0)
		deliver(m, m->late_from_client, bytes, len);
}

static void carry(struct meeting *m, bool from_client, const uint8_t *bytes, size_t len)
{
	unsigned nth = from_client ? m->from_client++ : m->from_server++;
	enum fault fault = m->fault ? m->fault(m, from_client, nth, bytes, len) : FAULT_NONE;
	bool late = m->late.first && m->late_from_client == from_client;

	if (fault == FAULT_LATE) {
		m->late_from_client = from_client;
		peer_queue_add(&m->late, bytes, len);
		return;
	}
	if (fault != FAULT_DROP)
		deliver(m, from_client, bytes, len);
	if (fault == FAULT_TWICE)
		deliver(m, from_client, bytes, len);
	if (late)
		deliver_late(m);
}

/* With `split`, plain records only are told apart: those with a CID go as they come. */
static void carry_datagram(struct meeting *m, bool from_client, const uint8_t *bytes, size_t len)
{
	while (m->split && len >= RECORD_HEADER_LEN && bytes[0] != CONTENT_TLS12_CID) {
		size_t n = RECORD_HEADER_LEN + (size_t)(bytes[11] << 8 | bytes[12]);

		if (n >= len)
			break;
		carry(m, from_client, bytes, n);
		bytes += n;
		len -= n;
	}
	if (len > 0)
		carry(m, from_client, bytes, len);
}

static void to_client(struct meeting *m, const uint8_t *datagram, size_t len)
{
	if (len > m->datagram_max)
		m->datagram_max = (unsigned)len;
	carry_datagram(m, false, datagram, len);
}

void meeting_client_speaks(struct meeting *m)
{
	uint8_t *bytes = malloc(PEER_DATAGRAM_MAX);
	size_t len;

	assert(bytes);
	while ((len = m->kind->take(m->peer, bytes)) > 0)
		carry_datagram(m, true, bytes, len);
	free(bytes);
}

static bool over(const struct meeting *m)
{
	return m->client == PEER_FAILED || (m->client == PEER_CONNECTED && m->server == HANDSHAKE_DONE);
}

static void all_timers(struct meeting *m)
{
	m->now_ns += ROUND_NS;
	deliver_late(m);
	if (m->client == PEER_GOES_ON)
		m->kind->timeout(m->peer);
	if (m->handshake)
		after(m, handshake_resend(m->handshake));
}

bool meeting_run(struct meeting *m, unsigned rounds)
{
	if (m->client == PEER_GOES_ON)
		m->client = m->kind->run(m->peer, NULL, 0);
	for (unsigned round = 0;; round++) {
		meeting_client_speaks(m);
		if (over(m) || round == rounds)
			break;
		all_timers(m);
	}
	return m->client == PEER_CONNECTED && m->server == HANDSHAKE_DONE;
}

void meeting_send_last_flight(struct meeting *m)
{
	send_all(m, &m->last_flight);
}

/* ---- afterwards */

static bool client_to_us(struct meeting *m, const char *text)
{
	uint8_t *bytes = malloc(PEER_DATAGRAM_MAX);
	enum record_verdict verdict;
	struct record_op op = {0};
	struct record r;
	bool same;

	assert(bytes);
	while (m->kind->take(m->peer, bytes) > 0) /* what its timer sent meanwhile */
		;
	memset(bytes, 0, PEER_DATAGRAM_MAX);
	same = m->kind->write(m->peer, text, strlen(text));
	size_t len = m->kind->take(m->peer, bytes + 16);

	if (!same || len == 0 || record_read(bytes + 16, len, &r, &verdict) != len)
		return free(bytes), false;
	op = (struct record_op){.fragment = bytes + 16 + r.fragment_offset,
				.fragment_len = r.fragment_len,
				.key = &m->install.rx_key,
				.protection = m->install.protection,
				.epoch_seq = r.epoch_seq,
				.type = r.type,
				.cid = r.cid,
				.cid_len = r.cid ? CID_LEN : 0};
	record_open_burst(m->crypto, &op, 1);
	same = op.ok && op.type == CONTENT_APPLICATION_DATA && op.payload_len == strlen(text) &&
	       memcmp(op.fragment + op.payload_offset, text, op.payload_len) == 0 &&
	       (op.cid_len > 0) == m->install.has_cid && r.epoch_seq >> 48 == m->install.epoch &&
	       (r.epoch_seq & 0xffffffffffff) >= m->install.rx_highest;
	free(bytes);
	return same;
}

static bool we_to_client(struct meeting *m, const char *text)
{
	const struct protection *p = protection_get(m->install.protection);
	uint64_t epoch_seq = (uint64_t)m->install.epoch << 48 | m->install.tx_seq_next++;
	uint8_t record[2048] = {0}, got[256];
	size_t header = 16 + RECORD_HEADER_LEN + m->install.cid_len, len;
	struct record_op op = {.fragment = record + header,
			       .key = &m->install.tx_key,
			       .cid = m->install.cid_len ? m->install.cid : NULL,
			       .cid_len = m->install.cid_len,
			       .epoch_seq = epoch_seq,
			       .type = CONTENT_APPLICATION_DATA,
			       .protection = m->install.protection,
			       .payload_offset = p->explicit_len,
			       .payload_len = (uint16_t)strlen(text)};

	memcpy(op.fragment + op.payload_offset, text, op.payload_len);
	record_write(record + 16, op.cid_len ? CONTENT_TLS12_CID : CONTENT_APPLICATION_DATA, epoch_seq,
		     op.cid, op.cid_len, 0);
	record_seal_burst(m->crypto, &op, 1);
	len = record_write(record + 16, op.cid_len ? CONTENT_TLS12_CID : CONTENT_APPLICATION_DATA, epoch_seq,
			   op.cid, op.cid_len, op.fragment_len) +
	      op.fragment_len;
	(void)m->kind->run(m->peer, record + 16, len);
	len = m->kind->read(m->peer, got, sizeof got);
	return op.ok && len == strlen(text) && memcmp(got, text, len) == 0;
}

bool meeting_echo(struct meeting *m, const char *text)
{
	return m->install_error == 0 && client_to_us(m, text) && we_to_client(m, text) &&
	       client_to_us(m, text);
}

const char *meeting_field(const struct meeting *m, uint16_t type)
{
	static char text[300];
	const struct sluice_session_up *up = (const struct sluice_session_up *)m->up;
	const uint8_t *at = (const uint8_t *)(up + 1), *end = at + up->fields_len;
	uint16_t header[2];

	for (; at < end; at += 4 + header[1] + (-header[1] & 3)) {
		memcpy(header, at, sizeof header);
		if (header[0] == type) {
			memcpy(text, at + 4, header[1]);
			text[header[1]] = 0;
			return text;
		}
	}
	return "";
}

/* The known answers of all engines take a while: once is enough. */
static const struct record_choice *meeting_choice(void)
{
	static struct record_choice choice;
	static bool made;

	if (!made)
		assert(record_choice_make(&choice, "reference", NULL, 0) == 0);
	made = true;
	return &choice;
}

void meeting_new(struct meeting *m, const struct tls *tls, const struct peer_kind *kind,
		 const struct peer_options *options)
{
	static const uint8_t secret[COOKIE_SECRET_LEN] = "the cookie secret of the tests";
	static const struct path path = {
		.peer = {.ip = {[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1},
			 .port = 0x1234}};

	memset(m, 0, sizeof *m);
	m->tls = tls;
	m->kind = kind;
	m->now_ns = 1000 * ROUND_NS;
	cookie_secrets_init(&m->secrets, secret);
	m->start.path = path;
	m->start.ref = (struct sluice_ref){.index = 7, .generation = 3, .worker = 1};
	memcpy(m->start.cid, "\x11\x22\x33\x44\x55\x66\x77", CID_LEN);
	m->crypto = record_crypto_new(meeting_choice());
	m->peer = kind->new (options);
}

void meeting_free(struct meeting *m)
{
	m->kind->free(m->peer);
	handshake_free(m->handshake);
	flight_fini(&m->last_flight);
	peer_queue_clear(&m->late);
	record_crypto_free(m->crypto);
	secret_wipe(m, sizeof *m);
}
