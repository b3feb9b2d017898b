/* Inbound records of established sessions: epoch and replay window first (cheap), then the whole burst
 * through the record layer, then the window again and for good (RFC 6347 4.1.2.6: only what authenticates
 * moves it), then to the application. A record that fails changes nothing but a counter: RFC 6347 4.1.2.7.
 */
#include <rte_branch_prediction.h>

#include "dataplane/worker.h"

enum { HANDSHAKE_CLIENT_HELLO = 1, HANDSHAKE_FINISHED = 20 };
/* The ring's lines are asked for so far ahead of the writing, as long as the consumer's core takes to let go
 * of one; not those of messages of more lines, which the copying fetches as quickly. */
enum { RING_AHEAD = 1024, RING_LINES = 8 };

/* RFC 9146 3: once negotiated, protected records carry the CID, and no others do. */
static enum record_verdict check(const struct session_rx *rx, const struct record *r)
{
	if (!rx->has_cid != !r->cid)
		return RECORD_DROP_NO_CID;
	if (r->epoch_seq >> 48 != rx->epoch)
		return RECORD_DROP_EPOCH;
	if (!replay_check(&rx->replay, r->epoch_seq & 0xffffffffffffULL))
		return RECORD_DROP_REPLAY;
	return RECORD_APP;
}

static unsigned prepare_burst(struct worker *w, struct burst *b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < b->records; i++) {
		struct inbound *in = &b->in[i];
		const struct record *r = &in->record;
		struct session_rx *rx;

		if (in->verdict != RECORD_APP)
			continue;
		rx = session_rx(w->sessions, in->slot);
		in->verdict = (uint8_t)check(rx, r);
		if (unlikely(in->verdict != RECORD_APP))
			continue;
		session_prefetch_tx(w->sessions, in->slot);
		b->ops[n] = (struct record_op){
			.fragment = (uint8_t *)(uintptr_t)(r->header + r->fragment_offset),
			.key = session_rx_key(w->sessions, in->slot),
			.cid = r->cid,
			.cid_len = r->cid ? CID_LEN : 0,
			.epoch_seq = r->epoch_seq,
			.fragment_len = r->fragment_len,
			.type = r->type,
			.protection = rx->protection,
		};
		b->op_in[n++] = (uint8_t)i;
	}
	return n;
}

/* RFC 9147 4.5.3: CCM_8 allows only so many forgeries per key. */
static void count_failure(struct worker *w, uint32_t slot)
{
	struct session_rx *rx = session_rx(w->sessions, slot);

	if (++rx->failed_tags >= w->failed_tags_max)
		worker_end_session(w, slot, SLUICE_REASON_AUTH_FAILURES);
}

/* As little as DATA may this take the room of events that must not get lost: a device can move with every
 * record. While there is no room it is told again before the session's next DATA, which waits for it. */
static void tell_moved(struct worker *w, uint32_t slot)
{
	struct session_tx *tx = session_tx(w->sessions, slot);
	struct sluice_peer_moved *moved;

	tx->moved_untold = 0;
	if (!w->uplink || tx->announced != w->attach)
		return;
	moved = spsc_reserve_leaving(&w->uplink->up, SLUICE_PEER_MOVED, sizeof(*moved), UPLINK_EVENT_RESERVE);
	if (!moved) {
		tx->moved_untold = 1;
		return;
	}
	*moved = (struct sluice_peer_moved){.ref = session_ref(w->sessions, slot),
					    .peer.port = tx->path.peer.port};
	memcpy(moved->peer.ip, tx->path.peer.ip, sizeof(moved->peer.ip));
	w->uplink_dirty = true;
}

/* The newest record authenticated: what answers go to is where it came from. RFC 9146 6: a new address stays
 * unverified, and gets at most three times what came from it, until the peer is heard from there again. */
static void follow_path(struct worker *w, uint32_t slot, const struct datagram *d)
{
	struct session_tx *tx = session_tx(w->sessions, slot);
	struct mail_moved mail;

	if (likely(memcmp(&tx->path, &d->path, sizeof(d->path)) == 0))
		return;
	if (memcmp(&tx->path.peer, &d->path.peer, sizeof(d->path.peer)) == 0) {
		tx->path = d->path; /* another router, the same peer */
		return;
	}
	session_move(w->sessions, slot, &d->path);
	tx->unverified = 1;
	tx->unverified_in = 0;
	tx->unverified_out = 0;
	counter_add(&w->counters->sessions_moved, 1);
	tell_moved(w, slot);
	mail.ref = session_ref(w->sessions, slot);
	mail.path = d->path;
	mail_to_control(w, MAIL_PEER_MOVED, &mail, sizeof(mail), NULL, 0);
}

/* A record from the unverified address widens its allowance by its own size, however many share its datagram;
 * the newest one after something has gone there verifies it. An older one was sent before the peer moved, and
 * answers nothing. */
static void credit_path(struct session_tx *tx, const struct record *r, const struct datagram *d, bool newest)
{
	if (likely(!tx->unverified) || memcmp(&tx->path.peer, &d->path.peer, sizeof(d->path.peer)) != 0)
		return;
	if (newest && tx->unverified_out)
		tx->unverified = 0;
	else
		tx->unverified_in += (uint32_t)r->fragment_offset + r->fragment_len;
}

/* Small copies in line, in whole registers: what a record carries is mostly a few of them long. */
static inline void copy_payload(uint8_t *to, const uint8_t *from, unsigned len)
{
	enum { STEP = 16, IN_LINE_MAX = 256 };

	if (unlikely(len < STEP || len > IN_LINE_MAX)) {
		memcpy(to, from, len);
		return;
	}
	for (unsigned i = 0; i < len - STEP; i += STEP)
		memcpy(to + i, from + i, STEP);
	memcpy(to + len - STEP, from + len - STEP, STEP); /* over a part of the step before */
}

/* The message is written where it will be read, field by field: put together elsewhere first, its small
 * fields would have to leave the store buffer before they could be copied as large ones. */
static enum record_verdict deliver_data(struct worker *w, const struct inbound *in,
					const struct record_op *op, const struct datagram *d, uint64_t now_ns)
{
	struct session_tx *tx = session_tx(w->sessions, in->slot);
	struct sluice_data *data;
	unsigned lines;

	if (unlikely(!w->uplink))
		return RECORD_DROP_NO_CONSUMER;
	if (unlikely(tx->announced != w->attach))
		return RECORD_DROP_RING_FULL; /* its SESSION_UP did not fit yet */
	if (unlikely(tx->moved_untold))
		tell_moved(w, in->slot);
	if (unlikely(tx->moved_untold))
		return RECORD_DROP_RING_FULL; /* nor did its PEER_MOVED */
	data = uplink_data_reserve(w->uplink, op->payload_len);
	if (unlikely(!data))
		return RECORD_DROP_RING_FULL;
	lines = 1 + (op->payload_len + SPSC_ALIGN - 1U) / SPSC_ALIGN;
	spsc_prefetch(&w->uplink->up, RING_AHEAD, lines <= RING_LINES ? lines : 2);
	data->ref.index = in->slot;
	data->ref.generation = session_rx(w->sessions, in->slot)->generation;
	data->ref.worker = w->index;
	data->ref.reserved = 0;
	data->epoch = (uint16_t)(op->epoch_seq >> 48);
	data->payload_len = op->payload_len;
	data->seq = op->epoch_seq & 0xffffffffffffULL;
	data->received_ns = now_ns;
	memcpy(data->peer.ip, d->path.peer.ip, sizeof(data->peer.ip));
	data->peer.port = d->path.peer.port;
	data->peer.reserved = 0;
	data->reserved = 0;
	copy_payload((uint8_t *)(data + 1), op->fragment + op->payload_offset, op->payload_len);
	w->uplink_dirty = true;
	return RECORD_APP;
}

static enum record_verdict deliver_alert(struct worker *w, uint32_t slot, const uint8_t *alert, unsigned len)
{
	if (len != 2)
		return RECORD_DROP_UNEXPECTED;
	if (alert[1] == ALERT_CLOSE_NOTIFY) { /* RFC 5246 7.2.1: answered in kind, then gone */
		send_alert(w, slot, ALERT_WARNING, ALERT_CLOSE_NOTIFY);
		worker_end_session(w, slot, SLUICE_REASON_CLOSE_NOTIFY);
		return RECORD_CLOSED;
	}
	if (alert[0] == ALERT_FATAL) {
		worker_end_session(w, slot, SLUICE_REASON_ALERT);
		return RECORD_CLOSED;
	}
	return RECORD_ALERT;
}

/* After the handshake: a Finished again means that our last flight was lost (RFC 6347 4.2.4); anything else
 * wants to renegotiate and is told no. */
static enum record_verdict deliver_handshake(struct worker *w, uint32_t slot, const uint8_t *message,
					     unsigned len)
{
	struct mail_session mail = {.ref = session_ref(w->sessions, slot)};

	if (len > 0 && message[0] == HANDSHAKE_FINISHED) {
		mail_to_control(w, MAIL_FINISHED_AGAIN, &mail, sizeof(mail), NULL, 0);
		return RECORD_FINISHED_AGAIN;
	}
	if (len > 0 && message[0] == HANDSHAKE_CLIENT_HELLO)
		mail_to_control(w, MAIL_RENEGOTIATION, &mail, sizeof(mail), NULL, 0);
	send_alert(w, slot, ALERT_WARNING, ALERT_NO_RENEGOTIATION);
	return RECORD_DROP_UNEXPECTED;
}

static enum record_verdict deliver(struct worker *w, const struct inbound *in, const struct record_op *op,
				   const struct datagram *d, uint64_t now_ns)
{
	const uint8_t *payload = op->fragment + op->payload_offset;

	switch (op->type) {
	case CONTENT_APPLICATION_DATA:
		return deliver_data(w, in, op, d, now_ns);
	case CONTENT_ALERT:
		return deliver_alert(w, in->slot, payload, op->payload_len);
	case CONTENT_HANDSHAKE:
		return deliver_handshake(w, in->slot, payload, op->payload_len);
	default:
		return RECORD_DROP_UNEXPECTED;
	}
}

/* In the order of arrival. A session may end in the middle of its burst: the records behind that find it
 * gone. */
static void commit_burst(struct worker *w, struct burst *b, unsigned n, uint64_t now_ns)
{
	for (unsigned i = 0; i < n; i++) {
		const struct record_op *op = &b->ops[i];
		struct inbound *in = &b->in[b->op_in[i]];
		const struct datagram *d = &b->datagrams[in->frame];
		struct session_rx *rx = session_rx(w->sessions, in->slot);
		bool newest;

		if (unlikely(rx->state != SESSION_LIVE)) {
			in->verdict = RECORD_DROP_NO_SESSION;
			continue;
		}
		if (unlikely(!op->ok)) {
			in->verdict = RECORD_DROP_AUTH;
			count_failure(w, in->slot);
			continue;
		}
		if (unlikely(!replay_commit(&rx->replay, op->epoch_seq & 0xffffffffffffULL, &newest))) {
			in->verdict = RECORD_DROP_REPLAY;
			continue;
		}
		session_touch(rx, now_ns);
		if (newest)
			follow_path(w, in->slot, d);
		credit_path(session_tx(w->sessions, in->slot), &in->record, d, newest);
		in->verdict = (uint8_t)deliver(w, in, op, d, now_ns);
	}
}

void receive_open_burst(struct worker *w, struct burst *b, uint64_t now_ns)
{
	unsigned n = prepare_burst(w, b);

	stage_end(w, STAGE_FIND);
	if (n == 0)
		return;
	record_open_burst(w->crypto, b->ops, n);
	stage_end(w, STAGE_CRYPTO);
	commit_burst(w, b, n, now_ns);
	stage_end(w, STAGE_DELIVER);
}
