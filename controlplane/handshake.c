/* See handshake.h. */
#include "controlplane/handshake_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "controlplane/client_certificate.h"
#include "controlplane/keys.h"
#include "crypto/secret.h"
#include "crypto/sha256.h"

enum {
	IP_UDP_V4 = 20 + 8,
	IP_UDP_V6 = 40 + 8,
	/* A wrong key shows in nothing but a Finished that does not open. Garbage looks the same: only a
	 * client that insists over some time is told. */
	FINISHED_TRIES = 3,
};
#define FINISHED_TRIES_NS 2000000000ULL

enum handshake_state refuse(struct handshake *h, enum refusal_cause cause, uint8_t alert, const char *format,
			    ...)
{
	va_list arguments;

	h->refusal.cause = cause;
	h->refusal.alert = alert;
	va_start(arguments, format);
	vsnprintf(h->refusal.text, sizeof h->refusal.text, format, arguments);
	va_end(arguments);
	return HANDSHAKE_FAILED;
}

/* Our own fault. */
enum handshake_state refuse_internal(struct handshake *h, const char *text)
{
	return refuse(h, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR, "internal: %s", text);
}

/* With an alert of our own: for what wolfSSL does not see. */
enum handshake_state refuse_aloud(struct handshake *h)
{
	bool past = h->refusal.cause == REFUSED_DTLS_1_0 || h->refusal.cause == REFUSED_SSL_OR_TLS;

	flight_clear(&h->flight);
	(void)flight_add_alert(&h->flight, past ? DTLS_1_0 : DTLS_1_2, h->tx_seq, h->refusal.alert);
	return HANDSHAKE_FAILED;
}

enum handshake_state wait_for_store(struct handshake *h)
{
	h->waits_for = "the credential store";
	h->question = h->tls->credentials.ops->question(h->tls->credentials.store);
	return HANDSHAKE_WAITING;
}

enum handshake_state wait_for_responder(struct handshake *h)
{
	h->waits_for = "the OCSP responder";
	h->question = client_certificate_question(h->certificate);
	return HANDSHAKE_WAITING;
}

/* ---- what wolfSSL sends */

/* RFC 8422 5.4: named_curve (3), the curve. None below 256 bits may be used. */
static bool curve_allowed(const struct handshake *h, const uint8_t *body, size_t len)
{
	const struct suite *s = suite_by_id(h->server_hello.suite);
	unsigned curve = len >= 3 ? read_16(body + 1) : 0;

	if (!s || s->credential != SUITE_CERTIFICATE)
		return true;
	return curve == 23 || curve == 24 || curve == 25 || curve == 29;
}

/* One of our handshake messages or its first fragment, in the clear. */
static void look_at_message(struct handshake *h, const uint8_t *message, size_t len)
{
	const uint8_t *body = message + HANDSHAKE_HEADER_LEN;

	if (len < HANDSHAKE_HEADER_LEN || message[6] || message[7] || message[8])
		return;
	len -= HANDSHAKE_HEADER_LEN;
	switch (message[0]) {
	case HANDSHAKE_SERVER_HELLO:
		server_hello_read(&h->server_hello, body, len);
		break;
	case HANDSHAKE_HELLO_VERIFY_REQUEST: /* answering these is the worker's job, statelessly */
		h->broken = true;
		break;
	case HANDSHAKE_SERVER_KEY_EXCHANGE:
		h->broken |= !curve_allowed(h, body, len);
		break;
	default:
		break;
	}
}

static void look_at_record(struct handshake *h, const uint8_t *record, size_t len)
{
	uint64_t seq = read_48(record + 5);

	if (read_16(record + 3) == 0) {
		if (seq >= h->tx_seq)
			h->tx_seq = seq + 1;
		if (record[0] == CONTENT_HANDSHAKE)
			look_at_message(h, record + RECORD_HEADER_LEN, len - RECORD_HEADER_LEN);
	} else if (seq >= h->tx_epoch1_next) {
		h->tx_epoch1_next = seq + 1;
	}
}

/* The whole length of the first record in bytes; 0 when there is none. */
static size_t record_len(const struct handshake *h, const uint8_t *bytes, size_t len)
{
	size_t header = RECORD_HEADER_LEN, whole;

	if (len > 0 && bytes[0] == CONTENT_TLS12_CID && h->ssl) {
		unsigned cid_len = 0;

		if (wolfSSL_dtls_cid_get_tx_size(h->ssl, &cid_len) == WOLFSSL_SUCCESS)
			header += cid_len;
	}
	if (len < header)
		return 0;
	whole = header + read_16(bytes + header - 2);
	return whole <= len ? whole : 0;
}

int send_flight(WOLFSSL *ssl, char *bytes, int len, void *context)
{
	struct handshake *h = context;
	const uint8_t *at = (const uint8_t *)bytes;
	size_t left = (size_t)len, n;

	while ((n = record_len(h, at, left)) > 0) {
		look_at_record(h, at, n);
		if (h->broken || !flight_add(&h->flight, at, n))
			return WOLFSSL_CBIO_ERR_GENERAL;
		at += n;
		left -= n;
	}
	return len;
}

/* ---- what wolfSSL reads */

/* One record per call, then nothing: records behind Finished stay ours. */
int receive_fed(WOLFSSL *ssl, char *room, int room_len, void *context)
{
	struct handshake *h = context;
	uint32_t len = h->feed_len;

	if (!h->feed || len > (uint32_t)room_len)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(room, h->feed, len);
	h->feed = NULL;
	if (len > h->datagram_mtu)
		(void)wolfSSL_dtls_set_mtu(ssl, h->datagram_mtu);
	return (int)len;
}

static enum handshake_state failed_in_wolfssl(struct handshake *h, int error)
{
	WOLFSSL_ALERT_HISTORY alerts = {0};

	if (h->broken)
		return refuse_internal(h, "wolfSSL wanted to send what must not be sent");
	(void)wolfSSL_get_alert_history(h->ssl, &alerts);
	if (h->refusal.text[0]) { /* a callback knew better */
		h->refusal.alert = (uint8_t)alerts.last_tx.code;
		return HANDSHAKE_FAILED;
	}
	if (error == WC_NO_ERR_TRACE(FATAL_ERROR) && alerts.last_rx.code >= 0)
		return refuse(h, REFUSED_CLIENT_ALERT, ALERT_CLOSE_NOTIFY, "the client sent the alert %s",
			      alert_name((uint8_t)alerts.last_rx.code));
	if (alerts.last_tx.code >= 0)
		return refuse(h, tls_error_cause(error), (uint8_t)alerts.last_tx.code, "%s",
			      tls_error_text(error));
	/* It gave up in silence; the client shall not wait for the end of its own patience. RFC 5246 7.4.6
	 * names the alert for a certificate that is missing. */
	(void)refuse(h, tls_error_cause(error),
		     error == WC_NO_ERR_TRACE(NO_PEER_CERT) ? ALERT_HANDSHAKE_FAILURE : ALERT_INTERNAL_ERROR,
		     "%s", tls_error_text(error));
	return refuse_aloud(h);
}

static enum handshake_state feed(struct handshake *h, const uint8_t *record, size_t len)
{
	int ret, error;

	h->feed = record;
	h->feed_len = (uint32_t)len;
	/* wolfSSL reads no more than its MTU at once; a message that we put together may be longer. */
	if (len > h->datagram_mtu && wolfSSL_dtls_set_mtu(h->ssl, (unsigned short)len) != WOLFSSL_SUCCESS)
		return refuse(h, REFUSED_MALFORMED, ALERT_INTERNAL_ERROR,
			      "a handshake message of %zu bytes is too long", len);
	ret = wolfSSL_accept(h->ssl);
	h->feed = NULL;
	if (ret == WOLFSSL_SUCCESS && !h->broken) {
		h->done = true;
		return HANDSHAKE_DONE;
	}
	error = wolfSSL_get_error(h->ssl, ret);
	if (error == WOLFSSL_ERROR_WANT_READ && !h->broken)
		return HANDSHAKE_GOES_ON;
	return failed_in_wolfssl(h, error);
}

static void write_record_header(uint8_t *at, uint8_t type, uint64_t seq, size_t len)
{
	at[0] = type;
	at[1] = DTLS_1_2 >> 8;
	at[2] = DTLS_1_2 & 0xff;
	at[3] = at[4] = 0;
	for (unsigned i = 0; i < 6; i++)
		at[5 + i] = (uint8_t)(seq >> (40 - 8 * i));
	at[11] = (uint8_t)(len >> 8);
	at[12] = (uint8_t)len;
}

/* A chain that check_certificate() has found good. wolfSSL would verify its signatures once more, and keep
 * its CAs for the chains of other clients. What it asks for after this message is what it asked for before:
 * the proof that the client has the key (CertificateVerify). */
static enum handshake_state feed_certificate(struct handshake *h, const uint8_t *record, size_t len)
{
	enum handshake_state state;

	wolfSSL_set_verify(h->ssl, WOLFSSL_VERIFY_NONE, handshake_verify_certificate);
	state = feed(h, record, len);
	wolfSSL_set_verify(h->ssl, tls_client_mode(h->tls), handshake_verify_certificate);
	return state;
}

enum handshake_state feed_message(struct handshake *h, struct assembly_message *m)
{
	size_t len = HANDSHAKE_HEADER_LEN + m->body_len;
	enum handshake_state state;

	write_record_header(m->bytes, CONTENT_HANDSHAKE, h->rx_seq++, len);
	state = m->type == HANDSHAKE_CERTIFICATE && h->certificate_good
			? feed_certificate(h, m->bytes, RECORD_HEADER_LEN + len)
			: feed(h, m->bytes, RECORD_HEADER_LEN + len);
	assembly_drop(m);
	return state;
}

/* ---- records */

static enum handshake_state take_message(struct handshake *h, struct assembly_message *m)
{
	enum handshake_state state = HANDSHAKE_GOES_ON;

	if (m->type == HANDSHAKE_CLIENT_HELLO)
		return take_hello(h, m);
	if (m->type == HANDSHAKE_CLIENT_KEY_EXCHANGE && handshake_suite(h) &&
	    handshake_suite(h)->credential == SUITE_PSK)
		state = find_psk(h, m);
	if (m->type == HANDSHAKE_CERTIFICATE)
		state = check_certificate(h, m);
	if (m->type == HANDSHAKE_CERTIFICATE_VERIFY)
		state = check_signature_algorithm(h, m);
	return state == HANDSHAKE_GOES_ON ? feed_message(h, m) : state;
}

static enum handshake_state note_failed_finished(struct handshake *h, uint64_t now_ns)
{
	if (h->finished_failures++ == 0)
		h->finished_failed_ns = now_ns;
	if (h->finished_failures < FINISHED_TRIES || now_ns - h->finished_failed_ns < FINISHED_TRIES_NS)
		return HANDSHAKE_GOES_ON;
	handshake_give_up(h);
	return HANDSHAKE_FAILED;
}

/* With a CID the type of a record is hidden: what is not Finished may be data that overtook it, and is kept.
 */
static enum handshake_state feed_held(struct handshake *h, uint64_t now_ns)
{
	struct held **at = &h->held.first;
	enum handshake_state state = HANDSHAKE_GOES_ON;

	while (*at && state == HANDSHAKE_GOES_ON) {
		struct held *one = *at;

		if (one->fed) {
			at = &one->next;
			continue;
		}
		state = feed(h, one->bytes, one->len);
		one->fed = true;
		if (state == HANDSHAKE_DONE)
			h->rx_finished = read_48(one->bytes + 5);
		else if (state == HANDSHAKE_GOES_ON)
			state = note_failed_finished(h, now_ns);
		if (state == HANDSHAKE_DONE || one->bytes[0] != CONTENT_TLS12_CID)
			held_drop(&h->held, at);
		else
			at = &one->next;
	}
	return state;
}

static enum handshake_state feed_change_cipher_spec(struct handshake *h)
{
	uint8_t record[RECORD_HEADER_LEN + 1];

	write_record_header(record, CONTENT_CHANGE_CIPHER_SPEC, h->rx_seq++, 1);
	record[RECORD_HEADER_LEN] = 1;
	h->ccs_fed = true;
	return feed(h, record, sizeof record);
}

/* After a ticket only ChangeCipherSpec and Finished are to come: RFC 5077 3.1. */
static struct assembly_message *next_message(struct handshake *h)
{
	if (h->kept)
		return h->kept;
	return h->resuming ? NULL : assembly_take(&h->assembly);
}

static enum handshake_state progress(struct handshake *h, uint64_t now_ns)
{
	enum handshake_state state = HANDSHAKE_GOES_ON;
	struct assembly_message *m;

	if (h->waits_for)
		return HANDSHAKE_WAITING;
	while (state == HANDSHAKE_GOES_ON && (m = next_message(h))) {
		state = take_message(h, m);
		h->kept = state == HANDSHAKE_WAITING ? m : NULL;
	}
	if (state == HANDSHAKE_GOES_ON && h->assembly.flight_complete && h->ccs_seen && !h->ccs_fed)
		state = feed_change_cipher_spec(h);
	if (state == HANDSHAKE_GOES_ON && h->ccs_fed)
		state = feed_held(h, now_ns);
	return state;
}

enum handshake_state handshake_continue(struct handshake *h, uint64_t now_ns)
{
	if (!h->waits_for)
		return HANDSHAKE_GOES_ON;
	h->waits_for = NULL;
	return progress(h, now_ns);
}

/* Unprotected, so anyone who can forge the peer's address can send it; but to go on after a fatal alert would
 * be worse, and a client of ours that was cut off begins anew. Warnings are ignored. */
static enum handshake_state take_alert(struct handshake *h, const uint8_t *alert, size_t len)
{
	if (len != 2 || (alert[0] != 2 && alert[1] != ALERT_CLOSE_NOTIFY))
		return HANDSHAKE_GOES_ON;
	return refuse(h, REFUSED_CLIENT_ALERT, ALERT_CLOSE_NOTIFY, "the client sent the alert %s",
		      alert_name(alert[1]));
}

static enum handshake_state take_epoch0(struct handshake *h, const uint8_t *record, size_t len,
					uint64_t now_ns)
{
	const uint8_t *fragment = record + RECORD_HEADER_LEN;

	len -= RECORD_HEADER_LEN;
	switch (record[0]) {
	case CONTENT_HANDSHAKE:
		if (!h->assembly.has_first)
			h->rx_seq = h->tx_seq = read_48(record + 5);
		h->resend_wanted |= assembly_add(&h->assembly, fragment, len);
		break;
	case CONTENT_CHANGE_CIPHER_SPEC:
		h->ccs_seen |= len == 1 && fragment[0] == 1;
		break;
	case CONTENT_ALERT:
		return take_alert(h, fragment, len);
	default: /* application data in the clear least of all */
		return HANDSHAKE_GOES_ON;
	}
	return progress(h, now_ns);
}

/* What could not be opened for its form alone. wolfSSL gives the handshake up over some of these, which would
 * let anybody end it. RFC 9146 3: with a CID agreed on, protected records have it. */
static bool may_be_protected(const struct handshake *h, const uint8_t *record, size_t len)
{
	const struct suite *suite = handshake_suite(h);
	size_t header = RECORD_HEADER_LEN + (h->server_hello.cid ? CID_LEN : 0);
	const struct protection *p;

	if (!suite || read_16(record + 1) != DTLS_1_2 || len < header ||
	    read_16(record + header - 2) != len - header)
		return false;
	p = protection_get(suite->protection);
	if (len - header <= (size_t)p->explicit_len + p->tag_len)
		return false;
	if (h->server_hello.cid)
		return record[0] == CONTENT_TLS12_CID;
	return record[0] == CONTENT_HANDSHAKE || record[0] == CONTENT_ALERT ||
	       record[0] == CONTENT_APPLICATION_DATA;
}

static enum handshake_state take_record(struct handshake *h, const uint8_t *record, size_t len,
					uint64_t now_ns)
{
	if (h->done || len < RECORD_HEADER_LEN || len > UINT16_MAX)
		return HANDSHAKE_GOES_ON;
	switch (read_16(record + 3)) {
	case 0:
		return take_epoch0(h, record, len, now_ns);
	case 1:
		if (!may_be_protected(h, record, len))
			return HANDSHAKE_GOES_ON;
		held_add(&h->held, record, len);
		return h->ccs_fed || h->ccs_seen ? progress(h, now_ns) : HANDSHAKE_GOES_ON;
	default:
		return HANDSHAKE_GOES_ON;
	}
}

enum handshake_state handshake_record(struct handshake *h, const uint8_t *record, size_t len, uint64_t now_ns)
{
	enum handshake_state state;

	h->now_ns = now_ns;
	state = take_record(h, record, len, now_ns);

	return state == HANDSHAKE_GOES_ON && h->waits_for ? HANDSHAKE_WAITING : state;
}

enum handshake_state handshake_resend(struct handshake *h)
{
	if (h->waits_for) /* the client has said all; it is us who owe an answer */
		return HANDSHAKE_WAITING;
	if (!h->ssl || h->done)
		return HANDSHAKE_GOES_ON;
	if (wolfSSL_dtls_retransmit(h->ssl) == WOLFSSL_SUCCESS)
		return HANDSHAKE_GOES_ON;
	return failed_in_wolfssl(h, wolfSSL_get_error(h->ssl, WOLFSSL_FATAL_ERROR));
}

uint64_t handshake_question(const struct handshake *h)
{
	return h->waits_for ? h->question : 0;
}

bool handshake_wants_resend(struct handshake *h)
{
	bool wanted = h->resend_wanted;

	h->resend_wanted = false;
	return wanted;
}

static const char *waiting_for(const struct handshake *h)
{
	if (h->waits_for)
		return h->waits_for;
	if (!h->ssl)
		return "the rest of its ClientHello";
	if (!h->assembly.flight_complete)
		return h->assembly.next > 1 ? "the rest of its flight" : "its answer to our ServerHello";
	return h->ccs_seen ? "its Finished" : "its ChangeCipherSpec";
}

void handshake_give_up(struct handshake *h)
{
	if (h->finished_failures == 0) {
		(void)refuse(h, REFUSED_TIMEOUT, ALERT_HANDSHAKE_FAILURE, "timed out waiting for %s",
			     waiting_for(h));
		return;
	}
	if (h->psk_unknown)
		describe_unknown(h);
	else
		(void)refuse(h, REFUSED_WRONG_KEY, ALERT_DECRYPT_ERROR,
			     "its Finished does not open: most likely it has another key");
	h->refusal.alert = ALERT_DECRYPT_ERROR; /* RFC 4279 2, for both causes */
	(void)refuse_aloud(h);
}

/* ---- the end */

struct flight *handshake_flight(struct handshake *h)
{
	return &h->flight;
}

/* wolfSSL knows the CID for what we send as its "tx" CID. */
static int export_cid(struct handshake *h, struct session_install *out)
{
	unsigned len = 0;

	out->has_cid = h->server_hello.cid;
	if (!out->has_cid)
		return 0;
	if (wolfSSL_dtls_cid_get_tx_size(h->ssl, &len) != WOLFSSL_SUCCESS || len > RECORD_CID_MAX)
		return -EPROTO;
	if (len > 0 && wolfSSL_dtls_cid_get_tx(h->ssl, out->cid, len) != WOLFSSL_SUCCESS)
		return -EPROTO;
	out->cid_len = (uint8_t)len;
	return 0;
}

/* The same in every process. A digest that cannot be made is nobody's. */
static uint64_t holder_of(const struct tls *tls, const struct proof *proof)
{
	uint8_t text[TENANT_MAX + 2 + CREDENTIAL_ID_MAX], digest[SHA256_LEN];
	size_t tenant_len = strlen(tls->tenant);
	unsigned digest_len = sizeof digest;
	uint64_t holder;

	if (!proof || proof->credential == SLUICE_CREDENTIAL_NONE)
		return 0;
	memcpy(text, tls->tenant, tenant_len + 1);
	text[tenant_len + 1] = proof->credential;
	memcpy(text + tenant_len + 2, proof->id, proof->id_len);
	if (!EVP_Digest(text, tenant_len + 2 + proof->id_len, digest, &digest_len, EVP_sha256(), NULL))
		return 0;
	memcpy(&holder, digest, sizeof holder);
	return holder;
}

int handshake_install(struct handshake *h, struct session_install *out)
{
	int ret;

	memset(out, 0, sizeof *out);
	if (!h->done)
		return -EINVAL;
	out->ref = h->start.ref;
	out->path = h->start.path;
	out->holder = holder_of(h->tls, h->proof);
	out->epoch = 1;
	out->rx_highest = h->rx_finished + 1;
	out->tx_seq_next = h->tx_epoch1_next;
	ret = export_cid(h, out);
	if (ret == 0)
		ret = keys_export(h->ssl, h->server_hello.suite, h->server_hello.encrypt_then_mac, out);
	return ret;
}

size_t handshake_session_up(const struct handshake *h, void *out)
{
	size_t len = session_up_write(out, h->start.ref, &h->start.path.peer, h->server_hello.suite,
				      h->server_hello.cid, h->proof, h->tls->tenant, h->sni, h->sni_len);

	return exporter_write(h->ssl, h->tls->exporters, h->tls->exporters_count, out, len);
}

const uint8_t *handshake_held(const struct handshake *h, const void **at, uint16_t *len)
{
	const struct held *one = *at ? ((const struct held *)*at)->next : h->held.first;

	*at = one;
	if (!one)
		return NULL;
	*len = one->len;
	return one->bytes;
}

const struct tls *handshake_tls(const struct handshake *h)
{
	return h->tls;
}

const uint8_t *handshake_claim(const struct handshake *h, uint8_t *kind, uint8_t *len)
{
	*kind = h->proof ? h->proof->credential : SLUICE_CREDENTIAL_NONE;
	*len = h->proof ? h->proof->id_len : 0;
	return h->proof ? h->proof->id : h->sni;
}

const uint8_t *handshake_server_name(const struct handshake *h, uint8_t *len)
{
	*len = h->sni_len;
	return h->sni;
}

const struct handshake_start *handshake_start(const struct handshake *h)
{
	return &h->start;
}

const struct refusal *handshake_refusal(const struct handshake *h)
{
	return &h->refusal;
}

const struct proof *handshake_proof(const struct handshake *h)
{
	return h->proof;
}

const struct chain *handshake_chain(const struct handshake *h)
{
	return h->certificate ? client_certificate_chain(h->certificate) : NULL;
}

bool handshake_resumed(const struct handshake *h)
{
	return h->resuming;
}

const struct suite *handshake_suite(const struct handshake *h)
{
	return h->server_hello.seen ? suite_by_id(h->server_hello.suite) : NULL;
}

static bool is_ipv4(const struct peer_address *peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(peer->ip, mapped, sizeof mapped) == 0;
}

struct handshake *handshake_new(const struct tls *tls, const struct handshake_start *start)
{
	struct handshake *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->tls = tls_hold(tls);
	h->start = *start;
	h->datagram_mtu = (uint16_t)(tls->packet_mtu - (is_ipv4(&start->path.peer) ? IP_UDP_V4 : IP_UDP_V6));
	h->flight.mtu = h->datagram_mtu;
	return h;
}

void handshake_free(struct handshake *h)
{
	if (!h)
		return;
	wolfSSL_free(h->ssl);
	assembly_fini(&h->assembly);
	flight_fini(&h->flight);
	held_fini(&h->held);
	free(h->proof);
	free(h->ticket_proof);
	client_certificate_free(h->certificate);
	tls_let_go(h->tls); /* last: another thread may free it at once */
	secret_wipe(h, sizeof *h);
	free(h);
}
