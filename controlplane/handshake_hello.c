/* The ClientHello of a handshake: whose it is (RFC 6066 3), whether its offer is enough, what its ticket is
 * worth (RFC 5077), and the WOLFSSL object that answers it. See handshake_private.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/handshake_private.h"
#include "controlplane/log.h"
#include "controlplane/resume.h"

static int hello_accepted(WOLFSSL *ssl, void *context)
{
	struct handshake *h = context;

	h->hello_good = true;
	return 0;
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

/* RFC 6066 3: whose the ClientHello is. False: nobody's, and the default tenant's as far as it is counted. */
static bool choose_tenant(struct handshake *h, const struct offer *offer)
{
	const struct tls *chosen;

	h->sni_len = (uint8_t)offer->server_name.len;
	if (offer->server_name.at)
		memcpy(h->sni, offer->server_name.at, offer->server_name.len);
	if (!h->start.tenants)
		return true;
	chosen = tenants_choose(h->start.tenants, offer->server_name.at, offer->server_name.len);
	if (chosen) {
		tls_hold(chosen);
		tls_let_go(h->tls);
		h->tls = chosen;
	}
	return chosen != NULL;
}

/* A warning instead of the alert would be unpredictable, says RFC 6066 3. */
static enum handshake_state refuse_server_name(struct handshake *h)
{
	char text[160];

	(void)refuse(h, REFUSED_SERVER_NAME, ALERT_UNRECOGNIZED_NAME,
		     "asks for \"%s\", which is a server name of no tenant",
		     log_text(text, sizeof text, h->sni, h->sni_len));
	return refuse_aloud(h);
}

/* RFC 6066 3: a server name that was used is acknowledged. */
static int acknowledge_server_name(struct handshake *h)
{
	if (!h->tls->tenant[0])
		return 0;
	return wolfSSL_UseSNI(h->ssl, WOLFSSL_SNI_HOST_NAME, h->sni, h->sni_len) == WOLFSSL_SUCCESS ? 0
												    : -ENOMEM;
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

enum handshake_state take_hello(struct handshake *h, struct assembly_message *m)
{
	const uint8_t *body = m->bytes + ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN;
	struct offer_choice choice;
	enum handshake_state state;
	struct offer offer;
	bool raw, good, known;

	good = offer_read(body, m->body_len, &offer, &h->refusal);
	known = choose_tenant(h, &offer); /* of a bad offer, too: its tenant's operator wants to know */
	if (good && !known)
		return refuse_server_name(h);
	if (!good || !offer_choose(&offer, &h->tls->policy, &choice, &h->refusal))
		return refuse_aloud(h);
	if (!judge_ticket(h, &offer, &choice))
		return wait_for_store(h);
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
