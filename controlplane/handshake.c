/* See handshake.h. */
#include "controlplane/handshake.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/assembly.h"
#include "controlplane/client_certificate.h"
#include "controlplane/keys.h"
#include "controlplane/log.h"
#include "controlplane/resume.h"
#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

enum {
	HELD_MAX = 8,         /* records of epoch 1 that wait for the end of the handshake */
	HELD_LEN_MAX = 16384, /* bytes of all of them */
	IP_UDP_V4 = 20 + 8,
	IP_UDP_V6 = 40 + 8,
	MASKING_KEY_LEN = 16,
	/* A wrong key shows in nothing but a Finished that does not open. Garbage looks the same: only a
	 * client that insists over some time is told. */
	FINISHED_TRIES = 3,
};
#define FINISHED_TRIES_NS 2000000000ULL

struct held {
	struct held *next;
	uint16_t len;
	bool fed; /* wolfSSL has seen it */
	uint8_t bytes[];
};

/* What our ServerHello says, as it passes by: wolfSSL has no getters for it. */
struct server_hello {
	uint16_t suite;
	bool seen, encrypt_then_mac, extended_master_secret, cid;
};

struct handshake {
	const struct tls *tls;
	struct handshake_start start;
	WOLFSSL *ssl; /* NULL until the ClientHello is whole and acceptable */
	struct assembly assembly;
	struct flight flight;
	struct server_hello server_hello;
	struct refusal refusal;

	/* what wolfSSL reads next; borrowed for one call */
	const uint8_t *feed;
	uint32_t feed_len;
	uint16_t datagram_mtu;

	uint64_t rx_seq;         /* of the next record of epoch 0 that wolfSSL is given */
	uint64_t rx_finished;    /* sequence number of the record that held Finished */
	uint64_t tx_seq;         /* next of ours in epoch 0, for an alert */
	uint64_t tx_epoch1_next; /* one above the highest of ours in epoch 1 */
	struct held *held;       /* in order of arrival */
	uint32_t held_count, held_len;

	/* While it waits for an answer from outside: whose, for the operator, and the message that needs it.
	 * Whatever arrives meanwhile is kept and looked at afterwards. */
	const char *waits_for;
	struct assembly_message *kept;

	struct client_certificate *certificate;
	enum certificate_type client_type;
	bool client_asked;     /* for its certificate */
	bool certificate_good; /* the message that wolfSSL is given */

	struct proof *ticket_proof; /* what the ticket proves, until it is known whether that counts */
	bool ticket_good;
	bool resuming; /* our Finished is under way, and the client has nothing more to say before its own */

	struct proof *proof;
	uint8_t psk[PSK_KEY_MAX];
	uint8_t psk_len;
	bool psk_unknown; /* psk is random: the client shall learn no more than with a wrong key */
	uint8_t sni_len;
	uint8_t sni[255];

	unsigned finished_failures;
	uint64_t finished_failed_ns; /* the first time */
	uint64_t now_ns;
	bool hello_good; /* wolfSSL accepted the cookie */
	bool broken;     /* it did something that must not leave this process */
	bool ccs_seen, ccs_fed, done, resend_wanted;
};

static uint64_t read_48(const uint8_t *at)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 6; i++)
		value = value << 8 | at[i];
	return value;
}

static unsigned read_16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

__attribute__((format(printf, 4, 5))) static enum handshake_state
refuse(struct handshake *h, enum refusal_cause cause, uint8_t alert, const char *format, ...)
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
static enum handshake_state refuse_internal(struct handshake *h, const char *text)
{
	return refuse(h, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR, "internal: %s", text);
}

/* With an alert of our own: for what wolfSSL does not see. */
static enum handshake_state refuse_aloud(struct handshake *h)
{
	flight_clear(&h->flight);
	(void)flight_add_alert(&h->flight, h->tx_seq, h->refusal.alert);
	return HANDSHAKE_FAILED;
}

/* ---- what wolfSSL sends */

static void read_server_extensions(struct server_hello *s, const uint8_t *at, const uint8_t *end)
{
	while (end - at >= 4) {
		unsigned type = read_16(at), len = read_16(at + 2);

		s->encrypt_then_mac |= type == 0x0016;
		s->extended_master_secret |= type == 0x0017;
		s->cid |= type == 0x0036;
		at += 4;
		if (len > (size_t)(end - at))
			return;
		at += len;
	}
}

/* RFC 5246 7.4.1.3: version, random, session_id, suite, compression, extensions. */
static void read_server_hello(struct server_hello *s, const uint8_t *body, size_t len)
{
	const uint8_t *end = body + len, *at;

	if (len < 35 || len < 35U + body[34] + 3)
		return;
	at = body + 35 + body[34];
	s->suite = (uint16_t)read_16(at);
	s->seen = true;
	at += 3;
	if (end - at >= 2)
		read_server_extensions(s, at + 2, end);
}

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
		read_server_hello(&h->server_hello, body, len);
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

static int send_flight(WOLFSSL *ssl, char *bytes, int len, void *context)
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
static int receive_fed(WOLFSSL *ssl, char *room, int room_len, void *context)
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

static enum handshake_state feed_message(struct handshake *h, struct assembly_message *m)
{
	size_t len = HANDSHAKE_HEADER_LEN + m->body_len;
	enum handshake_state state;

	write_record_header(m->bytes, CONTENT_HANDSHAKE, h->rx_seq++, len);
	state = feed(h, m->bytes, RECORD_HEADER_LEN + len);
	/* wolfSSL keeps CAs of one client's chain for the chains of others. */
	if (m->type == HANDSHAKE_CERTIFICATE)
		(void)wolfSSL_CertManagerUnloadIntermediateCerts(
			wolfSSL_CTX_GetCertManager(wolfSSL_get_SSL_CTX(h->ssl)));
	assembly_drop(m);
	return state;
}

/* ---- ClientHello */

static int hello_accepted(WOLFSSL *ssl, void *context)
{
	struct handshake *h = context;

	h->hello_good = true;
	return 0;
}

static bool is_ipv4(const struct peer_address *peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(peer->ip, mapped, sizeof mapped) == 0;
}

/* With a PSK suite no certificate is shown, but wolfSSL wants to find a type in common all the same. */
static int set_certificate_types(WOLFSSL *ssl, const struct offer_choice *choice)
{
	static const char any[] = {CERTIFICATE_X509, CERTIFICATE_RAW_KEY};
	const char server = (char)choice->server_type, client = (char)choice->client_type;
	bool psk = choice->suite->credential == SUITE_PSK;

	if (!psk && !choice->ask_client)
		wolfSSL_set_verify(ssl, WOLFSSL_VERIFY_NONE, NULL);
	return wolfSSL_set_server_cert_type(ssl, psk ? any : &server, psk ? sizeof any : 1) ==
				       WOLFSSL_SUCCESS &&
			       wolfSSL_set_client_cert_type(ssl, psk ? any : &client, psk ? sizeof any : 1) ==
				       WOLFSSL_SUCCESS
		       ? 0
		       : -ENOMEM;
}

/* The peer's 18 bytes enter the cookie's HMAC as they did in the worker. */
static int set_up(struct handshake *h, const struct offer_choice *choice)
{
	struct peer_address peer = h->start.path.peer;
	WOLFSSL *ssl = h->ssl;

	wolfSSL_SSLSetIORecv(ssl, receive_fed);
	wolfSSL_SSLSetIOSend(ssl, send_flight);
	wolfSSL_SetIOReadCtx(ssl, h);
	wolfSSL_SetIOWriteCtx(ssl, h);
	wolfSSL_SetCertCbCtx(ssl, h);
	wolfSSL_dtls_set_using_nonblock(ssl, 1);
	wolfSSL_KeepArrays(ssl);
	if (wolfSSL_DTLS_SetCookieSecret(ssl, h->start.cookie_secret, COOKIE_SECRET_LEN) != 0 ||
	    wolfSSL_dtls_set_peer(ssl, &peer, sizeof peer) != WOLFSSL_SUCCESS ||
	    wolfSSL_dtls_set_mtu(ssl, h->datagram_mtu) != WOLFSSL_SUCCESS ||
	    wolfDTLS_SetChGoodCb(ssl, hello_accepted, h) != WOLFSSL_SUCCESS)
		return -ENOMEM;
	if (choice->take_cid && h->tls->take_cid &&
	    (wolfSSL_dtls_cid_use(ssl) != WOLFSSL_SUCCESS ||
	     wolfSSL_dtls_cid_set(ssl, h->start.cid, CID_LEN) != WOLFSSL_SUCCESS))
		return -ENOMEM;
	/* wolfSSL does not see what speaks against the suites before it in our list. */
	if (!choice->first_common &&
	    wolfSSL_set_cipher_list(ssl, choice->suite->wolfssl_name) != WOLFSSL_SUCCESS)
		return -ENOMEM;
	return set_certificate_types(ssl, choice);
}

/* A CID without an AEAD and without encrypt-then-MAC must not come out: see offer_choose(). */
static bool server_hello_fits(const struct handshake *h)
{
	const struct server_hello *s = &h->server_hello;
	const struct suite *suite = suite_by_id(s->suite);

	if (!s->seen)
		return true;
	return suite && !(s->cid && !s->encrypt_then_mac && !protection_get(suite->protection)->aead) &&
	       (s->extended_master_secret || !h->tls->policy.require_ems);
}

/* RFC 6066 3: whose the ClientHello is. A warning instead of the alert would be unpredictable, it says. */
static bool choose_tenant(struct handshake *h, const struct offer *offer)
{
	char text[160];
	const struct tls *chosen;

	h->sni_len = (uint8_t)offer->server_name.len;
	if (offer->server_name.at)
		memcpy(h->sni, offer->server_name.at, offer->server_name.len);
	if (!h->start.tenants)
		return true;
	chosen = tenants_choose(h->start.tenants, offer->server_name.at, offer->server_name.len);
	if (chosen) {
		h->tls = chosen;
		return true;
	}
	(void)refuse(h, REFUSED_SERVER_NAME, ALERT_UNRECOGNIZED_NAME,
		     "asks for \"%s\", which is a server name of no tenant",
		     log_text(text, sizeof text, h->sni, h->sni_len));
	return false;
}

/* RFC 6066 3: a server name that was used is acknowledged. */
static int acknowledge_server_name(struct handshake *h)
{
	if (!h->tls->tenant[0])
		return 0;
	return wolfSSL_UseSNI(h->ssl, WOLFSSL_SNI_HOST_NAME, h->sni, h->sni_len) == WOLFSSL_SUCCESS ? 0
												    : -ENOMEM;
}

static enum handshake_state wait_for(struct handshake *h, const char *whom)
{
	h->waits_for = whom;
	return HANDSHAKE_WAITING;
}

/* ---- session tickets */

int handshake_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac, int seal,
		     unsigned char *bytes, int len, int *sealed_len, void *context)
{
	const struct handshake *h = wolfSSL_GetIOReadCtx(ssl);
	const struct resume_state state = {.tls = h->tls,
					   .proof = h->proof,
					   .psk = h->psk,
					   .psk_len = h->psk_len,
					   .suite = h->server_hello.suite};
	size_t room = (size_t)*sealed_len, out = 0;

	if (seal) {
		if (resume_write(&state, resume_clock_s(), name, iv, mac, bytes, (size_t)len, room, &out))
			return WOLFSSL_TICKET_RET_FATAL;
	} else if (!h->ticket_good ||
		   resume_open(h->tls->tickets, resume_clock_s(), name, iv, mac, bytes, (size_t)len, &out)) {
		return WOLFSSL_TICKET_RET_REJECT;
	}
	*sealed_len = (int)out;
	return WOLFSSL_TICKET_RET_OK;
}

/* False when the answer comes later. */
static bool judge_ticket(struct handshake *h, const struct offer *offer, const struct offer_choice *choice)
{
	int ret;

	if (!h->tls->tickets || offer->session_ticket.len == 0)
		return true;
	ret = resume_judge(h->tls, offer->session_ticket.at, offer->session_ticket.len, choice->suite->id,
			   resume_clock_s(), &h->ticket_proof);
	h->ticket_good = ret == 1;
	return ret != -EAGAIN;
}

/* wolfSSL gives up over a ticket that is longer than its own could be. Such a one it is not to see. */
static bool ticket_confuses(const struct handshake *h, const struct offer *offer)
{
	return h->tls->tickets && !h->ticket_good && offer->session_ticket.len > RESUME_FOREIGN_MAX;
}

/* wolfSSL may still prefer a full handshake: the server name is another one, say. */
static void note_resumption(struct handshake *h)
{
	h->resuming = wolfSSL_session_reused(h->ssl) == 1;
	if (h->resuming)
		h->proof = h->ticket_proof;
	else
		free(h->ticket_proof);
	h->ticket_proof = NULL;
	h->assembly.flight_complete |= h->resuming;
}

static enum handshake_state feed_hello(struct handshake *h, struct assembly_message *m, bool without_tickets)
{
	WOLFSSL_CTX *ctx = wolfSSL_get_SSL_CTX(h->ssl);
	enum handshake_state state;

	if (without_tickets)
		(void)wolfSSL_CTX_set_TicketEncCb(ctx, NULL);
	state = feed_message(h, m);
	if (without_tickets)
		(void)wolfSSL_CTX_set_TicketEncCb(ctx, handshake_ticket);
	note_resumption(h);
	return state;
}

static enum handshake_state take_hello(struct handshake *h, struct assembly_message *m)
{
	const uint8_t *body = m->bytes + ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN;
	struct offer_choice choice;
	enum handshake_state state;
	struct offer offer;
	bool raw;

	if (!offer_read(body, m->body_len, &offer, &h->refusal) || !choose_tenant(h, &offer) ||
	    !offer_choose(&offer, &h->tls->policy, &choice, &h->refusal))
		return refuse_aloud(h);
	if (!judge_ticket(h, &offer, &choice))
		return wait_for(h, "the credential store");
	if (!tls_admit(h->tls, h->now_ns))
		return refuse(h, REFUSED_TENANT_RATE, 0,
			      "more handshakes per second than its tenant's handshake_rate allows");
	h->client_type = choice.client_type;
	h->client_asked = choice.ask_client;
	raw = choice.suite->credential == SUITE_CERTIFICATE && choice.server_type == CERTIFICATE_RAW_KEY;
	h->ssl = wolfSSL_new(raw ? h->tls->raw_ctx : h->tls->ctx);
	if (!h->ssl || set_up(h, &choice) || acknowledge_server_name(h))
		return refuse_internal(h, "out of memory for the handshake");
	state = feed_hello(h, m, ticket_confuses(h, &offer));
	if (state == HANDSHAKE_GOES_ON && !h->hello_good)
		return refuse_internal(h, "the cookie was not accepted");
	if (state == HANDSHAKE_GOES_ON && !server_hello_fits(h))
		return refuse_internal(h, "a combination was negotiated that must not be");
	return state;
}

/* ---- ClientKeyExchange */

/* wolfSSL hands identities over as C strings; the true bytes stand at the start of the message. RFC 4279 2.
 */
static bool psk_identity(const struct assembly_message *m, const uint8_t **identity, size_t *len)
{
	const uint8_t *body = m->bytes + ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN;

	if (m->body_len < 2 || read_16(body) > m->body_len - 2)
		return false;
	*identity = body + 2;
	*len = read_16(body);
	return true;
}

/* What is known of the peer, provided that it has the key. Known or not, the same is done. */
static int take_psk(struct handshake *h, const struct psk_credential *found, const uint8_t *identity,
		    size_t len)
{
	struct credential_id *id;

	h->proof = calloc(1, sizeof *h->proof);
	if (!h->proof)
		return -ENOMEM;
	len = len <= PSK_IDENTITY_MAX ? len : PSK_IDENTITY_MAX;
	h->proof->credential = SLUICE_CREDENTIAL_PSK;
	h->proof->id_len = (uint8_t)len;
	memcpy(h->proof->id, identity, len);
	id = &h->proof->registered;
	id->kind = SLUICE_CREDENTIAL_PSK;
	id->name_len = (uint8_t)len;
	memcpy(id->name, identity, len);
	memcpy(id->tenant, h->tls->tenant, sizeof id->tenant);
	h->proof->registree = found->registree;
	memcpy(h->psk, found->key, found->key_len);
	h->psk_len = found->key_len;
	return 0;
}

/* An unknown identity goes on with a random key: to the client it looks like a wrong one (checklist A01: the
 * same packets at the same times), so that nobody can try identities out. */
static int mask_unknown(struct psk_credential *found)
{
	found->key_len = MASKING_KEY_LEN;
	found->registree.identities_count = 0;
	return random_block(found->key, MASKING_KEY_LEN);
}

static void describe_unknown(struct handshake *h)
{
	char text[160];

	(void)refuse(h, REFUSED_PSK_UNKNOWN, ALERT_UNKNOWN_PSK_IDENTITY, "unknown PSK identity \"%s\"",
		     log_text(text, sizeof text, h->proof->id, h->proof->id_len));
}

static enum handshake_state find_psk(struct handshake *h, const struct assembly_message *m)
{
	const struct credentials *c = &h->tls->credentials;
	struct psk_credential found = {0};
	const uint8_t *identity;
	size_t len;
	int ret = 0;

	if (!psk_identity(m, &identity, &len)) {
		(void)refuse(h, REFUSED_MALFORMED, ALERT_DECODE_ERROR, "a malformed ClientKeyExchange");
		return refuse_aloud(h);
	}
	if (len > 0 && len <= PSK_IDENTITY_MAX && !memchr(identity, 0, len))
		ret = c->ops->find_psk(c->store, h->tls->tenant, identity, len, &found);
	if (ret == -EAGAIN)
		return wait_for(h, "the credential store");
	if (ret < 0) {
		(void)refuse(h, REFUSED_STORE, ALERT_INTERNAL_ERROR, "the credential store \"%s\" %s",
			     c->ops->name, credential_store_fault(ret));
		return refuse_aloud(h);
	}
	h->psk_unknown = ret == 0;
	ret = h->psk_unknown ? mask_unknown(&found) : 0;
	if (ret == 0)
		ret = take_psk(h, &found, identity, len);
	secret_wipe(&found, sizeof found);
	if (ret)
		return refuse_internal(h, "out of memory");
	if (!h->psk_unknown || !h->tls->reveal_unknown_psk)
		return HANDSHAKE_GOES_ON;
	describe_unknown(h); /* RFC 4279 2: what the operator asked for */
	return refuse_aloud(h);
}

unsigned int handshake_psk_key(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int room)
{
	const struct handshake *h = wolfSSL_GetIOReadCtx(ssl);

	if (h->psk_len > room)
		return 0;
	memcpy(key, h->psk, h->psk_len);
	return h->psk_len;
}

/* ---- Certificate, CertificateVerify */

/* An empty list is wolfSSL's to judge: whether a certificate is required it knows. */
static bool shows_certificate(const struct handshake *h, const struct assembly_message *m)
{
	return h->client_asked && m->body_len > 3;
}

static enum handshake_state check_certificate(struct handshake *h, const struct assembly_message *m)
{
	const uint8_t *body = m->bytes + ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN;
	int ret;

	if (!shows_certificate(h, m))
		return HANDSHAKE_GOES_ON;
	if (!h->proof)
		h->proof = calloc(1, sizeof *h->proof);
	if (!h->proof)
		return refuse(h, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR, "internal: out of memory");
	ret = client_certificate_check(&h->certificate, h->tls, h->client_type, body, m->body_len, h->proof,
				       &h->refusal);
	if (ret == -EAGAIN)
		return wait_for(h, client_certificate_waits_for(h->certificate));
	h->certificate_good = ret == 1;
	return h->certificate_good ? HANDSHAKE_GOES_ON : refuse_aloud(h);
}

/* wolfSSL has no anchors, and so nothing good to say of any chain: check_certificate() has the word. */
int handshake_verify_certificate(int verified, WOLFSSL_X509_STORE_CTX *chain)
{
	const struct handshake *h = chain->userCtx;

	return chain->totalCerts < 1 ? verified : h->certificate_good;
}

/* RFC 9155: no MD5, no SHA-1; nor the SHA-224 that we do not offer. The first byte names the hash, or is 8
 * for RSA-PSS and EdDSA. */
static enum handshake_state check_signature_algorithm(struct handshake *h, const struct assembly_message *m)
{
	uint8_t hash = m->bytes[ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN];

	if (m->body_len >= 2 && hash >= 4 && hash <= 8)
		return HANDSHAKE_GOES_ON;
	(void)refuse(h, REFUSED_SIGNATURE_SHA1, ALERT_ILLEGAL_PARAMETER,
		     "the client signs with a hash that is not enabled");
	return refuse_aloud(h);
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

static void drop_held(struct handshake *h, struct held **at)
{
	struct held *one = *at;

	*at = one->next;
	h->held_count--;
	h->held_len -= one->len;
	free(one);
}

static bool held_is_full(const struct handshake *h, size_t len)
{
	return h->held_count == HELD_MAX || h->held_len + len > HELD_LEN_MAX;
}

/* What cannot be Finished makes room for what can, so that nobody keeps it out by filling the places with
 * early data; then the oldest: what the client repeats is worth more than what anybody may have sent before.
 */
static void make_room(struct handshake *h, size_t len)
{
	struct held **at = &h->held;

	while (*at && held_is_full(h, len)) {
		if ((*at)->fed)
			drop_held(h, at);
		else
			at = &(*at)->next;
	}
	while (h->held && held_is_full(h, len))
		drop_held(h, &h->held);
}

static void hold(struct handshake *h, const uint8_t *record, size_t len)
{
	struct held **last = &h->held;
	struct held *one;

	if (len > HELD_LEN_MAX || (record[0] == CONTENT_APPLICATION_DATA && held_is_full(h, len)))
		return;
	make_room(h, len);
	one = malloc(sizeof *one + len);
	if (!one)
		return;
	one->next = NULL;
	one->len = (uint16_t)len;
	/* Data and alerts cannot be Finished: they overtook it, and are the session's. */
	one->fed = record[0] == CONTENT_APPLICATION_DATA || record[0] == CONTENT_ALERT;
	memcpy(one->bytes, record, len);
	while (*last)
		last = &(*last)->next;
	*last = one;
	h->held_count++;
	h->held_len += (uint32_t)len;
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
	struct held **at = &h->held;
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
			drop_held(h, at);
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
		hold(h, record, len);
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

int handshake_install(struct handshake *h, struct session_install *out)
{
	int ret;

	memset(out, 0, sizeof *out);
	if (!h->done)
		return -EINVAL;
	out->ref = h->start.ref;
	out->path = h->start.path;
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
	const struct held *one = *at ? ((const struct held *)*at)->next : h->held;

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

bool handshake_resumed(const struct handshake *h)
{
	return h->resuming;
}

const struct suite *handshake_suite(const struct handshake *h)
{
	return h->server_hello.seen ? suite_by_id(h->server_hello.suite) : NULL;
}

struct handshake *handshake_new(const struct tls *tls, const struct handshake_start *start)
{
	struct handshake *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->tls = tls;
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
	while (h->held)
		drop_held(h, &h->held);
	free(h->proof);
	client_certificate_free(h->certificate);
	secret_wipe(h, sizeof *h);
	free(h);
}
