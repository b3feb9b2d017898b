/* Outbound: what the application answers is numbered, sealed in one burst, given its headers and handed to
 * the port. The payload is copied once, from the ring to where it will be sealed in place:
 *
 *   mbuf:  headroom ... | Ethernet, IP, UDP | record header, CID | nonce or IV | payload | tag
 *                                                                             ^ PORT_PAYLOAD_AT
 *
 * Whatever cannot be sent is answered by SEND_FAILED; nothing is taken from the application while the port or
 * the uplink has no room for what may come of it.
 */
#include <rte_branch_prediction.h>

#include "dataplane/worker.h"

enum {
	UPLINK_ROOM_PER_MESSAGE = 2 * SPSC_ALIGN,
	SEQUENCE_LAST = 1 << 10, /* kept for alerts: RFC 6347 4.1 */
};
#define TX_STUCK_MAX_NS 100000000ULL
#define SEQUENCE_MAX    ((1ULL << 48) - 1)

static bool is_ipv4(const struct path *path)
{
	static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

	return memcmp(path->peer.ip, v4_mapped, sizeof(v4_mapped)) == 0;
}

static size_t ip_overhead(const struct path *path)
{
	return (is_ipv4(path) ? 20 : 40) + 8;
}

/* We have an address of the peer's family, and know the MAC of the peer or its router. */
static bool has_route(const struct worker *w, const struct path *path)
{
	static const uint8_t no_mac[6];

	return (is_ipv4(path) ? w->local.has_ipv4 : w->local.has_ipv6) &&
	       memcmp(path->mac, no_mac, sizeof(no_mac)) != 0;
}

/* RFC 6864 4.3: routers may fragment what we send, and fragments of two datagrams must not be taken for one.
 * One count for all addresses that end in the same byte, so that it lasts longer and tells less of what goes
 * to others. */
static uint16_t ip_id_next(struct worker *w, const struct path *path)
{
	return w->ip_ids[path->peer.ip[15]]++;
}

/* Puts the headers in front of len bytes at start, inside the mbuf, and queues the frame. False: no way
 * there.
 */
static bool send_from(struct worker *w, struct rte_mbuf *m, const struct path *path, uint8_t *start,
		      size_t len)
{
	size_t headers =
		frame_write_headers(&w->local, path, start, len, ip_id_next(w, path), w->port.tx_checksum);
	size_t l2 = path->vlan_tci ? 18 : 14;

	if (unlikely(headers == 0)) { /* a path of a family in which we have no address */
		counter_add(&w->counters->frames_out_dropped, 1);
		rte_pktmbuf_free(m);
		return false;
	}
	m->data_off = (uint16_t)(start - headers - (uint8_t *)m->buf_addr);
	m->data_len = (uint16_t)(headers + len);
	m->pkt_len = m->data_len;
	if (w->port.tx_checksum) {
		m->l2_len = l2 & 0x7f;
		m->l3_len = (headers - l2 - 8) & 0x1ff;
		m->ol_flags |=
			RTE_MBUF_F_TX_UDP_CKSUM | (m->l3_len == 20 ? RTE_MBUF_F_TX_IPV4 : RTE_MBUF_F_TX_IPV6);
	}
	send_frame(w, m);
	return true;
}

void send_frame(struct worker *w, struct rte_mbuf *mbuf)
{
	if (unlikely(w->tx_count == TX_PENDING))
		send_flush(w);
	if (unlikely(w->tx_count == TX_PENDING)) {
		counter_add(&w->counters->frames_out_dropped, 1);
		rte_pktmbuf_free(mbuf);
		return;
	}
	w->tx_for[w->tx_count].attach = 0;
	w->tx[w->tx_count++] = mbuf;
}

/* The application learns that a message of its did not go out. False when the uplink has no room for that. */
static bool tell_failed(struct worker *w, struct sluice_ref ref, uint64_t cookie, enum sluice_reason reason,
			size_t arg)
{
	struct sluice_send_failed event = {
		.ref = ref,
		.reason = (uint16_t)reason,
		.arg = (uint16_t)arg,
		.cookie = cookie,
	};

	if (!uplink_event(w->uplink, SLUICE_SEND_FAILED, &event, sizeof(event)))
		return false;
	counter_add(&w->counters->downlink_failed, 1);
	w->uplink_dirty = true;
	return true;
}

/* Frames [0, n) are gone, one way or the other. */
static void leave_queue(struct worker *w, unsigned n)
{
	w->tx_count -= n;
	memmove(w->tx, w->tx + n, w->tx_count * sizeof(w->tx[0]));
	memmove(w->tx_for, w->tx_for + n, w->tx_count * sizeof(w->tx_for[0]));
}

/* The port has taken nothing for too long (a vhost peer that is gone, a link that is down): what waits for it
 * is dropped, as UDP would be, so that nothing else waits with it; as far as those who sent it can be told.
 */
static void drop_stuck(struct worker *w)
{
	unsigned n;

	for (n = 0; n < w->tx_count; n++) {
		const struct sent_for *f = &w->tx_for[n];

		if (f->attach && w->uplink && f->attach == w->attach &&
		    !tell_failed(w, f->ref, f->cookie, SLUICE_REASON_PORT_FULL, 0))
			break;
	}
	counter_add(&w->counters->frames_out_dropped, n);
	rte_pktmbuf_free_bulk(w->tx, n);
	leave_queue(w, n);
	if (w->tx_count == 0)
		w->tx_stuck_ns = 0;
}

void send_flush(struct worker *w)
{
	uint64_t bytes = 0;
	unsigned sent;

	if (w->tx_count == 0)
		return;
	for (unsigned i = 0; i < w->tx_count; i++)
		bytes += w->tx[i]->pkt_len;
	sent = port_transmit(&w->port, w->tx, w->tx_count);
	for (unsigned i = sent; i < w->tx_count; i++)
		bytes -= w->tx[i]->pkt_len;
	leave_queue(w, sent);
	counter_add(&w->counters->frames_out, sent);
	counter_add(&w->counters->bytes_out, bytes);
	if (sent || w->tx_count == 0)
		w->tx_stuck_ns = 0;
	else if (w->tx_stuck_ns == 0)
		w->tx_stuck_ns = w->now_ns;
	else if (w->now_ns - w->tx_stuck_ns > TX_STUCK_MAX_NS)
		drop_stuck(w);
}

bool send_datagram(struct worker *w, const struct path *path, const void *payload, size_t payload_len)
{
	struct rte_mbuf *m;
	uint8_t *start;

	m = payload_len + ip_overhead(path) <= w->mtu ? rte_pktmbuf_alloc(w->port.pool) : NULL;
	if (!m) {
		counter_add(&w->counters->frames_out_dropped, 1);
		return false;
	}
	start = (uint8_t *)m->buf_addr + PORT_PAYLOAD_AT;
	memcpy(start, payload, payload_len);
	return send_from(w, m, path, start, payload_len);
}

/* The size of a sealed record with its header. */
static size_t record_size(const struct session_rx *rx, const struct session_tx *tx, size_t payload_len)
{
	return RECORD_HEADER_LEN + tx->cid_len + payload_len +
	       record_seal_overhead(rx->protection, (unsigned)payload_len, tx->cid_len != 0);
}

/* The op that seals len bytes at PORT_PAYLOAD_AT; takes the session's next sequence number, and its part of
 * what may go to an unverified address: the next message of the same burst must find both taken. The session
 * must not end before the op is sealed. */
static void seal_prepare(struct worker *w, uint32_t slot, struct rte_mbuf *m, uint8_t type, uint16_t len,
			 struct record_op *op)
{
	struct session_tx *tx = session_tx(w->sessions, slot);
	const struct session_rx *rx = session_rx(w->sessions, slot);
	uint8_t explicit_len = protection_get(rx->protection)->explicit_len;

	if (unlikely(tx->unverified))
		tx->unverified_out += (uint32_t)record_size(rx, tx, len);
	*op = (struct record_op){
		.fragment = (uint8_t *)m->buf_addr + PORT_PAYLOAD_AT - explicit_len,
		.key = session_tx_key(w->sessions, slot),
		.cid = tx->cid_len ? tx->cid : NULL,
		.cid_len = tx->cid_len,
		.epoch_seq = tx->epoch_seq_next++,
		.payload_offset = explicit_len,
		.payload_len = len,
		.type = type,
		.protection = rx->protection,
	};
}

/* The sealed record gets its header: where the datagram begins, and in *len how long it is. */
static uint8_t *seal_finish(uint8_t type, const struct record_op *op, size_t *len)
{
	size_t header_len = RECORD_HEADER_LEN + (size_t)op->cid_len;
	uint8_t *start = op->fragment - header_len;

	always_assert(op->ok);
	record_write(start, op->cid_len ? CONTENT_TLS12_CID : type, op->epoch_seq, op->cid, op->cid_len,
		     op->fragment_len);
	*len = header_len + op->fragment_len;
	return start;
}

void send_alert(struct worker *w, uint32_t slot, enum alert_level level, enum alert_description description)
{
	struct session_tx *tx = session_tx(w->sessions, slot);
	struct rte_mbuf *m;
	struct record_op op;
	uint8_t *payload, *start;
	size_t len;

	if ((tx->epoch_seq_next & SEQUENCE_MAX) == SEQUENCE_MAX)
		return;
	m = rte_pktmbuf_alloc(w->port.pool);
	if (!m) {
		counter_add(&w->counters->frames_out_dropped, 1);
		return;
	}
	payload = (uint8_t *)m->buf_addr + PORT_PAYLOAD_AT;
	payload[0] = (uint8_t)level;
	payload[1] = (uint8_t)description;
	seal_prepare(w, slot, m, CONTENT_ALERT, 2, &op);
	record_seal_burst(w->crypto, &op, 1);
	start = seal_finish(CONTENT_ALERT, &op, &len);
	(void)send_from(w, m, &tx->path, start, len);
}

/* One message of the application on its way out. */
struct outbound {
	struct sluice_data data;
	struct rte_mbuf *mbuf;
	uint32_t slot;
	uint8_t *start; /* of the datagram, once sealed */
	size_t len;
};

static void close_by_application(struct worker *w, struct sluice_ref ref)
{
	uint32_t slot = session_by_ref(w->sessions, ref);

	if (slot == SESSION_NONE)
		return;
	send_alert(w, slot, ALERT_WARNING, ALERT_CLOSE_NOTIFY);
	worker_end_session(w, slot, SLUICE_REASON_CLOSED);
}

/* Takes messages into spare mbufs, and starts fetching their sessions. CLOSE ends the batch: it must come
 * after the data before it. */
static unsigned take_burst(struct worker *w, struct outbound *out, struct sluice_ref *close, bool *closing)
{
	unsigned n = 0;
	uint64_t malformed = 0;

	*closing = false;
	while (n < BURST_SEND) {
		struct rte_mbuf *m = w->spare[w->spare_count - 1];
		uint32_t room = m->buf_len - PORT_PAYLOAD_AT - RECORD_OVERHEAD_MAX;
		int type = uplink_take(w->uplink, &out[n].data, (uint8_t *)m->buf_addr + PORT_PAYLOAD_AT,
				       room, &malformed);

		if (type == 0)
			break;
		if (type == SLUICE_CLOSE) {
			*close = out[n].data.ref;
			*closing = true;
			break;
		}
		out[n].mbuf = m;
		w->spare_count--;
		if (out[n].data.ref.index < w->link->slots) {
			rte_prefetch0(session_rx(w->sessions, out[n].data.ref.index));
			session_prefetch_tx(w->sessions, out[n].data.ref.index);
		}
		n++;
	}
	spsc_release(&w->uplink->down);
	counter_add(&w->counters->downlink_messages, n + *closing + malformed);
	counter_add(&w->counters->downlink_malformed, malformed);
	return n;
}

/* The longest payload that fits the MTU: what is around it depends on its length where blocks are padded. */
static size_t payload_max(const struct worker *w, const struct session_rx *rx, const struct session_tx *tx)
{
	size_t room = w->mtu - ip_overhead(&tx->path);
	size_t len = room - record_size(rx, tx, 0);

	while (record_size(rx, tx, len + 1) <= room)
		len++;
	while (record_size(rx, tx, len) > room)
		len--;
	return len;
}

/* Why a message cannot be sent, or SLUICE_REASON_NONE. SEQUENCE_END: its session must end (RFC 6347 4.1). */
static enum sluice_reason send_check(struct worker *w, struct outbound *out, size_t *arg)
{
	const struct session_tx *tx;
	const struct session_rx *rx;
	size_t wire;

	*arg = 0;
	out->slot = session_by_ref(w->sessions, out->data.ref);
	if (out->slot == SESSION_NONE)
		return SLUICE_REASON_NO_SESSION;
	tx = session_tx(w->sessions, out->slot);
	rx = session_rx(w->sessions, out->slot);
	if (unlikely(!has_route(w, &tx->path)))
		return SLUICE_REASON_NO_ROUTE;
	wire = ip_overhead(&tx->path) + record_size(rx, tx, out->data.payload_len);
	if (wire > w->mtu) {
		*arg = payload_max(w, rx, tx);
		return SLUICE_REASON_TOO_LARGE;
	}
	if (unlikely(tx->unverified && tx->unverified_out + wire > 3 * (uint64_t)tx->unverified_in))
		return SLUICE_REASON_UNVERIFIED;
	if (unlikely((tx->epoch_seq_next & SEQUENCE_MAX) >= SEQUENCE_MAX - SEQUENCE_LAST))
		return SLUICE_REASON_SEQUENCE_END;
	return SLUICE_REASON_NONE;
}

/* An impossible index in the downlink: the ring takes nothing more, and control is told once, to end the
 * attachment. */
static void report_broken(struct worker *w)
{
	struct mail_uplink mail = {.uplink = w->uplink, .attach = w->attach};

	if (w->broken_attach == w->attach)
		return;
	if (mail_to_control(w, MAIL_UPLINK_BROKEN, &mail, sizeof(mail), NULL, 0))
		w->broken_attach = w->attach;
}

static bool spare_fill(struct worker *w)
{
	if (w->spare_count >= BURST_SEND)
		return true;
	if (rte_pktmbuf_alloc_bulk(w->port.pool, &w->spare[w->spare_count], BURST_SEND - w->spare_count) != 0)
		return false;
	w->spare_count = BURST_SEND;
	return true;
}

/* All record headers first, then all others: their checksum is over bytes that have left the store buffer by
 * then. */
static void send_sealed(struct worker *w, struct outbound *out, const struct record_op *ops, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		out[i].start = seal_finish(CONTENT_APPLICATION_DATA, &ops[i], &out[i].len);
	for (unsigned i = 0; i < n; i++) {
		struct sent_for *by;

		if (!send_from(w, out[i].mbuf, &session_tx(w->sessions, out[i].slot)->path, out[i].start,
			       out[i].len))
			continue; /* has_route() was true: cannot be */
		by = &w->tx_for[w->tx_count - 1];
		by->ref = out[i].data.ref;
		by->attach = w->attach;
		by->cookie = out[i].data.seq;
	}
}

/* The message cannot be sent, and its sender learns why; its mbuf serves again. */
static void refuse(struct worker *w, const struct outbound *out, enum sluice_reason reason, size_t arg)
{
	bool told = tell_failed(w, out->data.ref, out->data.seq, reason, arg);

	assert(told); /* room was asked for before the message was taken */
	(void)told;
	w->spare[w->spare_count++] = out->mbuf;
}

/* These sessions have no sequence number left; a session may be named twice. Not before all ops are sealed:
 * the end of a session wipes the keys that its ops point to. */
static void end_spent(struct worker *w, const uint32_t *slots, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (session_rx(w->sessions, slots[i])->state != SESSION_LIVE)
			continue;
		send_alert(w, slots[i], ALERT_WARNING, ALERT_CLOSE_NOTIFY);
		worker_end_session(w, slots[i], SLUICE_REASON_SEQUENCE_END);
	}
}

/* Room for whatever may come of a burst of messages: frames for the port, events for their sender. */
static bool may_take(struct worker *w)
{
	return w->uplink && w->tx_count <= TX_PENDING - 2 * BURST_SEND && spare_fill(w) &&
	       spsc_fits(&w->uplink->up, (uint64_t)BURST_SEND * UPLINK_ROOM_PER_MESSAGE);
}

unsigned send_burst(struct worker *w)
{
	struct outbound out[BURST_SEND];
	struct record_op ops[BURST_SEND];
	uint32_t spent[BURST_SEND];
	struct sluice_ref close = {0};
	bool closing;
	unsigned taken, n = 0, spent_count = 0;

	if (!may_take(w))
		return 0;
	taken = take_burst(w, out, &close, &closing);
	if (unlikely(w->uplink->down.broken))
		report_broken(w);
	for (unsigned i = 0; i < taken; i++) {
		size_t arg;
		enum sluice_reason reason = send_check(w, &out[i], &arg);

		if (unlikely(reason == SLUICE_REASON_SEQUENCE_END)) {
			spent[spent_count++] = out[i].slot;
			reason = SLUICE_REASON_NO_SESSION;
		}
		if (unlikely(reason != SLUICE_REASON_NONE)) {
			refuse(w, &out[i], reason, arg);
			continue;
		}
		seal_prepare(w, out[i].slot, out[i].mbuf, CONTENT_APPLICATION_DATA, out[i].data.payload_len,
			     &ops[n]);
		out[n++] = out[i];
	}
	record_seal_burst(w->crypto, ops, n);
	send_sealed(w, out, ops, n);
	counter_add(&w->counters->records_out, n);
	end_spent(w, spent, spent_count);
	if (closing)
		close_by_application(w, close);
	return taken + closing;
}
