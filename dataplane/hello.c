/* What happens to a record before any session is looked for: ClientHellos are answered or admitted, records
 * of handshakes in flight go to the control thread, everything else of epoch 0 is dropped. Memory is spent
 * only on a peer that has proved its address with a cookie (RFC 6347 4.2.1).
 */
#include <rte_branch_prediction.h>

#include "dataplane/worker.h"

/* A chain of certificates in small fragments, every flight five times over, takes some hundred. Without an
 * end one peer could keep the mailbox full with records that cost it nothing. */
enum { HANDSHAKE_RECORDS_MAX = 1024 };

static void give_to_control(struct worker *w, const struct burst *b, struct inbound *in, struct pending *p)
{
	const struct record *r = &in->record;
	struct mail_record mail = {
		.ref = p->ref,
		.path = b->datagrams[in->frame].path,
		.record_len = (uint16_t)(r->fragment_offset + r->fragment_len),
	};

	if (p->records == HANDSHAKE_RECORDS_MAX) {
		in->verdict = RECORD_DROP_HANDSHAKE_LONG;
		return;
	}
	if (!mailbox_post(&w->link->to_control, MAIL_RECORD, &mail, sizeof(mail), r->header,
			  mail.record_len)) {
		in->verdict = RECORD_DROP_CONTROL_FULL;
		return;
	}
	in->verdict = RECORD_CONTROL;
	w->mailed = true;
	p->records++;
}

/* The handshake in flight ends here; control is told unless it is the one that says so. */
static void pending_drop(struct worker *w, struct pending *p)
{
	struct mail_session mail = {.ref = p->ref};

	session_unreserve(w->sessions, p->ref.index);
	pending_remove(w->pending, p);
	mail_to_control(w, MAIL_HANDSHAKE_DROPPED, &mail, sizeof(mail), NULL, 0);
}

/* A peer that owns its address wants a new handshake: a slot is reserved for what it may become. When all are
 * taken the oldest handshake makes room. */
static void admit(struct worker *w, const struct burst *b, struct inbound *in,
		  const struct client_hello *hello, const struct cookie_secret *matched)
{
	const struct datagram *d = &b->datagrams[in->frame];
	const struct record *r = &in->record;
	struct mail_hello mail = {
		.path = d->path,
		.record_len = (uint16_t)(r->fragment_offset + r->fragment_len),
	};
	struct pending *p = pending_add(w->pending, &d->path.peer);
	uint32_t slot;

	if (!p) {
		pending_drop(w, pending_oldest(w->pending));
		p = pending_add(w->pending, &d->path.peer);
	}
	slot = p ? session_reserve(w->sessions) : SESSION_NONE;
	if (slot == SESSION_NONE) {
		if (p)
			pending_remove(w->pending, p);
		in->verdict = RECORD_DROP_HELLO_RATE;
		return;
	}
	p->ref = mail.ref = session_ref(w->sessions, slot);
	session_tx(w->sessions, slot)->path = d->path; /* how mail about this handshake finds it */
	memcpy(p->random, hello->random, sizeof(p->random));
	memcpy(mail.cookie_secret, matched->secret, sizeof(mail.cookie_secret));
	session_cid(w->sessions, slot, mail.cid);
	if (mailbox_post(&w->link->to_control, MAIL_HELLO, &mail, sizeof(mail), r->header, mail.record_len)) {
		w->mailed = true;
		in->verdict = RECORD_CONTROL;
	} else {
		session_unreserve(w->sessions, slot);
		pending_remove(w->pending, p);
		in->verdict = RECORD_DROP_CONTROL_FULL;
	}
	secret_wipe(mail.cookie_secret, sizeof(mail.cookie_secret));
}

/* One answer to one datagram, or the headers around each answer would make more of it than came in (RFC
 * 6347 4.2.1). */
static void answer_hello(struct worker *w, const struct burst *b, struct inbound *in,
			 const uint8_t answer[HELLO_VERIFY_LEN])
{
	const struct datagram *d = &b->datagrams[in->frame];

	if (in->record.header != d->payload) {
		in->verdict = RECORD_DROP_HELLO;
		return;
	}
	in->verdict = RECORD_HELLO_VERIFY;
	counter_add(&w->counters->hello_verify_bytes_in, d->payload_len);
	if (send_datagram(w, &d->path, answer, HELLO_VERIFY_LEN))
		counter_add(&w->counters->hello_verify_bytes_out, HELLO_VERIFY_LEN);
}

/* Epoch 0: nothing in it is authentic. */
static void classify_plaintext(struct worker *w, const struct burst *b, struct inbound *in)
{
	const struct datagram *d = &b->datagrams[in->frame];
	const struct cookie_secret *matched = NULL;
	struct client_hello hello;
	uint8_t answer[HELLO_VERIFY_LEN];
	enum hello_verdict verdict = HELLO_NOT;
	struct pending *p;

	if (in->record.type == CONTENT_HANDSHAKE && likely(w->has_cookies))
		verdict = cookie_check(&w->cookies, &d->path.peer, &in->record, &hello, answer, &matched);
	if (verdict == HELLO_MALFORMED) {
		in->verdict = RECORD_DROP_HELLO;
		return;
	}
	if (verdict == HELLO_ANSWER) {
		answer_hello(w, b, in, answer);
		return;
	}
	p = pending_find(w->pending, &d->path.peer);
	if (verdict == HELLO_VALID && p && memcmp(p->random, hello.random, sizeof(p->random)) != 0) {
		pending_drop(w, p); /* the device started over */
		p = NULL;
	}
	if (p)
		give_to_control(w, b, in, p);
	else if (verdict == HELLO_VALID && !w->stopping)
		admit(w, b, in, &hello, matched);
	else
		in->verdict = RECORD_DROP_PLAINTEXT;
}

/* Protected records belong to a session, unless they are the Finished (or an alert) of a handshake in flight.
 * Asked for records that found no session, and for all but application data of a peer that has both. */
static void classify_protected(struct worker *w, const struct burst *b, struct inbound *in)
{
	struct pending *p;

	if (in->slot != SESSION_NONE && (in->record.cid || in->record.type == CONTENT_APPLICATION_DATA))
		return;
	p = pending_find(w->pending, &b->datagrams[in->frame].path.peer);
	if (p)
		give_to_control(w, b, in, p);
}

static void found(struct worker *w, struct burst *b, struct inbound *in, uint32_t slot, bool handshakes)
{
	in->slot = slot;
	if (unlikely(handshakes))
		classify_protected(w, b, in);
	if (in->verdict == RECORD_APP && in->slot == SESSION_NONE)
		in->verdict = RECORD_DROP_NO_SESSION;
}

/* A record behind the first one of its datagram: rare. In its turn, since control wants a handshake's records
 * in the order in which they came. */
static void classify_follower(struct worker *w, struct burst *b, struct inbound *in)
{
	struct session_query query = {.cid = in->record.cid, .address = &b->datagrams[in->frame].path.peer};

	session_find_burst(w->sessions, &query, 1);
	found(w, b, in, query.slot, pending_count(w->pending) != 0);
}

void receive_classify_burst(struct worker *w, struct burst *b)
{
	bool handshakes = pending_count(w->pending) != 0;

	for (unsigned i = 0; i < b->records; i++) {
		struct inbound *in = &b->in[i];

		if (unlikely(in->verdict != RECORD_APP))
			continue;
		if (unlikely(in->record.epoch_seq >> 48 == 0)) {
			classify_plaintext(w, b, in);
			handshakes = true; /* a ClientHello may have begun one */
		} else if (likely(in->lead))
			found(w, b, in, session_find_end(w->sessions, in->lead), handshakes);
		else
			classify_follower(w, b, in);
	}
}
