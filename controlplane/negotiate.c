/* The mail about handshakes: from a ClientHello with a valid cookie to a session at its worker, or to a
 * refusal; and what becomes of the session afterwards. See mailbox.h for the messages.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "controlplane/internal.h"
#include "crypto/secret.h"

/* A client that repeats its ClientHello or its Finished gets our flight again, but not more often than this.
 */
#define RESEND_GAP_NS 200000000ULL

const char *peer_text(char out[PEER_TEXT_MAX], const struct peer_address *peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char ip[INET6_ADDRSTRLEN] = "";

	if (memcmp(peer->ip, mapped, sizeof mapped) == 0) {
		inet_ntop(AF_INET, peer->ip + sizeof mapped, ip, sizeof ip);
		snprintf(out, PEER_TEXT_MAX, "%s:%u", ip, ntohs(peer->port));
	} else {
		inet_ntop(AF_INET6, peer->ip, ip, sizeof ip);
		snprintf(out, PEER_TEXT_MAX, "[%s]:%u", ip, ntohs(peer->port));
	}
	return out;
}

/* ---- mail out */

static struct outbox *outbox_of(struct control *c, struct sluice_ref ref)
{
	return &c->outboxes[ref.worker];
}

static void transmit(struct control *c, struct sluice_ref ref, const struct path *path,
		     const struct flight *f)
{
	struct mail_transmit mail = {.path = *path};
	const uint8_t *datagram;
	uint32_t at = 0;

	while ((datagram = flight_next(f, &at, &mail.datagram_len)))
		(void)outbox_try(outbox_of(c, ref), MAIL_TRANSMIT, &mail, sizeof mail, datagram,
				 mail.datagram_len);
}

static void tell_over(struct control *c, struct sluice_ref ref)
{
	struct mail_session mail = {.ref = ref};

	if (outbox_send(outbox_of(c, ref), MAIL_HANDSHAKE_OVER, &mail, sizeof mail, NULL, 0))
		log_write(LOG_LEVEL_ERROR, "out of memory: a handshake's slot is not given back");
}

/* ---- the operator's lines */

const char *credential_text(char *out, size_t room, uint8_t credential, const uint8_t *id, size_t id_len)
{
	static const char *const kinds[] = {"no client credential", "PSK", "certificate", "public key"};
	char text[200];

	if (credential == SLUICE_CREDENTIAL_NONE || credential >= sizeof kinds / sizeof kinds[0])
		snprintf(out, room, "%s", kinds[0]);
	else
		snprintf(out, room, "%s \"%s\"", kinds[credential], log_text(text, sizeof text, id, id_len));
	return out;
}

static const char *proof_text(char *out, size_t room, const struct proof *proof)
{
	return credential_text(out, room, proof ? proof->credential : SLUICE_CREDENTIAL_NONE,
			       proof ? proof->id : NULL, proof ? proof->id_len : 0);
}

static void log_established(struct control *c, const struct attempt *a, const struct session_install *in)
{
	char peer[PEER_TEXT_MAX], who[256];
	const struct suite *suite = suite_by_id(in->suite);

	log_limited(&c->log_up, c->now_ns, LOG_LEVEL_INFO, "%s: up: %s, %s%s%s, after %llu ms",
		    peer_text(peer, &in->path.peer),
		    proof_text(who, sizeof who, handshake_proof(a->handshake)), suite->name,
		    in->has_cid ? ", CID" : "", handshake_resumed(a->handshake) ? ", resumed" : "",
		    (unsigned long long)((c->now_ns - a->started_ns) / 1000000));
}

/* ---- handshakes */

static void end_refused(struct control *c, struct attempt *a)
{
	const struct path *path = &handshake_start(a->handshake)->path;
	const struct refusal *refusal = handshake_refusal(a->handshake);

	transmit(c, a->ref, path, handshake_flight(a->handshake));
	tell_over(c, a->ref);
	outcome_refused(c, path, a, refusal->cause, refusal->text);
	revoke_refused(c, a->handshake);
	attempt_remove(c->attempts, a);
}

/* INSTALL goes out before our last flight, so that the client's first data finds the session; records that
 * came too early follow it. */
static int hand_over(struct control *c, struct attempt *a, const struct mail_install *mail, const uint8_t *up)
{
	const struct path *path = &mail->session.path;
	struct association *as;
	const void *at = NULL;
	const uint8_t *record;
	struct mail_record held = {.ref = a->ref, .path = *path};

	as = association_add(c->associations, path, up, mail->up_len, handshake_flight(a->handshake),
			     c->now_ns);
	if (!as)
		return -1;
	if (revoke_note(c, as, a) ||
	    outbox_send(outbox_of(c, a->ref), MAIL_INSTALL, mail, sizeof *mail, up, mail->up_len)) {
		association_remove(c->associations, as);
		return -1;
	}
	((struct sluice_session_up *)as->up)->again = 1; /* from now on */
	transmit(c, a->ref, path, &as->last_flight);
	while ((record = handshake_held(a->handshake, &at, &held.record_len)))
		(void)outbox_try(outbox_of(c, a->ref), MAIL_REINJECT, &held, sizeof held, record,
				 held.record_len);
	revoke_established(c, as, a);
	return 0;
}

static void establish(struct control *c, struct attempt *a)
{
	struct mail_install mail = {0};
	_Alignas(8) uint8_t up[SESSION_UP_MAX];
	int ret = handshake_install(a->handshake, &mail.session);

	mail.up_len = (uint16_t)handshake_session_up(a->handshake, up);
	if (ret == 0)
		ret = mail.up_len > 0 ? hand_over(c, a, &mail, up) : -1;
	if (ret == 0) {
		log_established(c, a, &mail.session);
		outcome_established(c, &mail.session.path, a);
	} else {
		tell_over(c, a->ref);
		outcome_refused(c, &mail.session.path, a, REFUSED_INTERNAL,
				"internal: the session cannot be installed");
	}
	secret_wipe(&mail, sizeof mail);
	secret_wipe(up, sizeof up);
	attempt_remove(c->attempts, a);
}

static void conclude(struct control *c, struct attempt *a, enum handshake_state state)
{
	struct flight *flight = handshake_flight(a->handshake);

	if (state == HANDSHAKE_WAITING)
		attempt_wait(c->attempts, a, handshake_question(a->handshake));
	else
		attempt_wait_over(c->attempts, a);
	switch (state) {
	case HANDSHAKE_GOES_ON:
	case HANDSHAKE_WAITING:
		if (flight->len > 0) {
			transmit(c, a->ref, &handshake_start(a->handshake)->path, flight);
			flight_clear(flight);
			a->sent_ns = c->now_ns;
		}
		break;
	case HANDSHAKE_DONE:
		establish(c, a);
		break;
	case HANDSHAKE_FAILED:
		end_refused(c, a);
		break;
	}
}

static void take_record(struct control *c, struct attempt *a, const uint8_t *record, size_t len)
{
	enum handshake_state state = handshake_record(a->handshake, record, len, c->now_ns);

	if (state == HANDSHAKE_GOES_ON && handshake_wants_resend(a->handshake) &&
	    c->now_ns - a->sent_ns >= RESEND_GAP_NS)
		state = handshake_resend(a->handshake);
	conclude(c, a, state);
}

static void make_room(struct control *c)
{
	struct attempt *oldest = attempts_oldest(c->attempts);

	if (attempts_count(c->attempts) < c->config->handshakes.max || !oldest)
		return;
	outcome_refused(c, &handshake_start(oldest->handshake)->path, oldest, REFUSED_TOO_MANY,
			"too many handshakes at once, and this one was the oldest");
	tell_over(c, oldest->ref);
	attempt_remove(c->attempts, oldest);
}

static struct attempt *begin(struct control *c, const struct mail_hello *mail)
{
	struct handshake_start start = {.ref = mail->ref, .path = mail->path, .tenants = c->tenants};
	struct handshake *h;
	struct attempt *a;

	memcpy(start.cookie_secret, mail->cookie_secret, sizeof start.cookie_secret);
	memcpy(start.cid, mail->cid, sizeof start.cid);
	make_room(c);
	h = handshake_new(tenants_default(c->tenants), &start);
	a = h ? attempt_add(c->attempts, mail->ref, h, c->now_ns) : NULL;
	if (!a)
		handshake_free(h);
	secret_wipe(&start, sizeof start);
	return a;
}

void negotiate_hello(struct control *c, const struct mail_hello *mail)
{
	struct attempt *a = attempt_find(c->attempts, mail->ref);
	enum refusal_cause cause = REFUSED_INTERNAL;
	const char *why = NULL;

	if (a) /* the worker has used the name again: it knows best */
		attempt_remove(c->attempts, a);
	if (c->stopping) {
		cause = REFUSED_STOPPING;
		why = "the gateway is about to stop";
	} else {
		switch (admit_ask(c->admit, &mail->path.peer, c->now_ns)) {
		case ADMITTED:
			break;
		case ADMIT_TOTAL_EXCEEDED:
			cause = REFUSED_RATE_TOTAL;
			why = "more handshakes per second than handshakes.rate allows";
			break;
		case ADMIT_PREFIX_EXCEEDED:
			cause = REFUSED_RATE_PREFIX;
			why = "more handshakes per second from its network than handshakes.rate_prefix "
			      "allows";
			break;
		}
	}
	a = why ? NULL : begin(c, mail);
	if (!a) {
		tell_over(c, mail->ref);
		outcome_refused(c, &mail->path, NULL, cause,
				why ? why : "internal: out of memory for the handshake");
		return;
	}
	take_record(c, a, (const uint8_t *)(mail + 1), mail->record_len);
}

/* Of a session that has just been installed: with a ticket the client is ready before we are, and its first
 * data can be on the way here while the worker does not know the session yet. */
static void give_back(struct control *c, const struct mail_record *mail)
{
	const uint8_t *record = (const uint8_t *)(mail + 1);

	if (mail->record_len >= RECORD_HEADER_LEN && record[3] == 0 && record[4] == 1)
		(void)outbox_try(outbox_of(c, mail->ref), MAIL_REINJECT, mail, sizeof *mail, record,
				 mail->record_len);
}

void negotiate_record(struct control *c, const struct mail_record *mail)
{
	struct attempt *a = attempt_find(c->attempts, mail->ref);

	if (a)
		take_record(c, a, (const uint8_t *)(mail + 1), mail->record_len);
	else if (association_find(c->associations, mail->ref))
		give_back(c, mail);
}

void negotiate_answered(struct control *c, uint64_t question)
{
	struct attempt *a;

	attempts_wake(c->attempts, question);
	while ((a = attempts_woken(c->attempts)))
		conclude(c, a, handshake_continue(a->handshake, c->now_ns));
}

void negotiate_dropped(struct control *c, struct sluice_ref ref)
{
	struct attempt *a = attempt_find(c->attempts, ref);

	if (!a)
		return;
	outcome_refused(c, &handshake_start(a->handshake)->path, a, REFUSED_SUPERSEDED,
			"given up for a newer handshake from the same address");
	attempt_remove(c->attempts, a);
}

void negotiate_timers(struct control *c)
{
	struct attempt *a;

	while ((a = attempts_timed_out(c->attempts, c->now_ns))) {
		handshake_give_up(a->handshake);
		end_refused(c, a);
	}
	while ((a = attempts_resend(c->attempts, c->now_ns)))
		conclude(c, a, handshake_resend(a->handshake));
	(void)associations_expire_flights(c->associations, c->now_ns);
}

/* ---- sessions */

void negotiate_finished_again(struct control *c, struct sluice_ref ref)
{
	struct association *a = association_find(c->associations, ref);

	/* RFC 6347 4.2.4: the identical bytes, so that no nonce is used for anything else. Clients answer a
	 * Finished that they have with all of their flight again: without a gap the two would never end, once
	 * a client that had to wait has repeated its own. */
	if (!a || !a->has_flight || c->now_ns - a->flight_sent_ns < RESEND_GAP_NS)
		return;
	a->flight_sent_ns = c->now_ns;
	transmit(c, ref, &a->path, &a->last_flight);
}

/* The worker has answered it with no_renegotiation already. */
void negotiate_renegotiation(struct control *c, struct sluice_ref ref)
{
	struct association *a = association_find(c->associations, ref);

	if (a)
		outcome_renegotiation(c, a);
}

static void log_down(struct control *c, const struct association *a, const char *why)
{
	const struct sluice_session_up *up = association_up(a);
	const uint8_t *at = (const uint8_t *)(up + 1), *end = at + up->fields_len;
	char peer[PEER_TEXT_MAX], who[256];
	uint16_t field[2] = {0, 0};

	for (; at < end; at += sizeof field + field[1] + (-field[1] & 3)) {
		memcpy(field, at, sizeof field);
		if (field[0] == SLUICE_FIELD_CREDENTIAL_ID)
			break;
	}
	if (at >= end)
		field[1] = 0;
	log_limited(&c->log_down, c->now_ns, LOG_LEVEL_INFO, "%s: down: %s, %s",
		    peer_text(peer, &a->path.peer),
		    credential_text(who, sizeof who, up->credential, at + sizeof field, field[1]), why);
}

void negotiate_ended(struct control *c, const struct mail_ended *mail)
{
	struct association *a = association_find(c->associations, mail->ref);

	if (!a)
		return;
	log_down(c, a, sluice_reason_text(mail->reason));
	association_remove(c->associations, a);
}

void negotiate_not_installed(struct control *c, const struct mail_ended *mail)
{
	struct association *a = association_find(c->associations, mail->ref);

	if (!a)
		return;
	outcome_no_room(c, a);
	log_down(c, a, "there was no room for the session");
	association_remove(c->associations, a);
}

void negotiate_moved(struct control *c, const struct mail_moved *mail)
{
	struct association *a = association_find(c->associations, mail->ref);
	struct sluice_session_up *up;

	if (!a)
		return;
	up = (struct sluice_session_up *)a->up;
	association_move(c->associations, a, &mail->path);
	memcpy(up->peer.ip, mail->path.peer.ip, sizeof up->peer.ip);
	up->peer.port = mail->path.peer.port;
}
