/* The worker's side of its two mailboxes: what the control thread asks for is carried out here, between two
 * bursts; and the end of a session, which the application and the control thread learn exactly once.
 */
#include <rte_branch_prediction.h>

#include "dataplane/worker.h"

enum { MAILS_PER_TURN = BURST_RECEIVE, ENDED_PER_TURN = 64, STOPPED_PER_TURN = 32 };

/* A mail is answered by one of these at most: NOT_INSTALLED, NOT_ANNOUNCED, UPLINK_RETURNED. */
enum { ANSWER_ROOM = SPSC_ALIGN };
_Static_assert(sizeof(struct spsc_header) + sizeof(struct mail_ended) <= ANSWER_ROOM &&
		       sizeof(struct spsc_header) + sizeof(struct mail_session) <= ANSWER_ROOM &&
		       sizeof(struct spsc_header) + sizeof(struct mail_uplink) <= ANSWER_ROOM,
	       "an answer takes one line, and so never a pad before it");

bool mail_to_control(struct worker *w, enum mail_type type, const void *body, uint32_t body_len,
		     const void *extra, uint32_t extra_len)
{
	if (!mailbox_post(&w->link->to_control, type, body, body_len, extra, extra_len)) {
		counter_add(&w->counters->mail_dropped, 1);
		return false;
	}
	w->mailed = true;
	return true;
}

void worker_end_session(struct worker *w, uint32_t slot, enum sluice_reason reason)
{
	if (!session_remove(w->sessions, slot, reason))
		return; /* ended by an earlier record of the same burst */
	counter_add(&w->counters->sessions_ended, 1);
	counter_add(&w->counters->ended[reason], 1);
}

/* A session that ended keeps its slot until both have been told: an application that does not keep up cannot
 * make us forget, only make the table fuller. */
void worker_flush_ended(struct worker *w)
{
	for (unsigned i = 0; i < ENDED_PER_TURN; i++) {
		uint32_t slot = session_down_pending(w->sessions);
		const struct session_tx *tx;
		struct sluice_session_down down;
		struct mail_ended mail;

		if (slot == SESSION_NONE || !spsc_fits(&w->link->to_control.producer, 2 * SPSC_ALIGN))
			return;
		tx = session_tx(w->sessions, slot);
		mail = (struct mail_ended){.ref = session_ref(w->sessions, slot), .reason = tx->down_reason};
		down = (struct sluice_session_down){.ref = mail.ref, .reason = mail.reason};
		if (w->uplink && tx->announced == w->attach) {
			if (!uplink_event(w->uplink, SLUICE_SESSION_DOWN, &down, sizeof(down)))
				return;
			w->uplink_dirty = true;
		}
		mail_to_control(w, MAIL_SESSION_ENDED, &mail, sizeof(mail), NULL, 0);
		session_release(w->sessions, slot);
	}
}

/* The handshake of a reserved slot, or NULL when it is over. */
static struct pending *pending_of(struct worker *w, struct sluice_ref ref)
{
	struct pending *p;

	if (ref.index >= w->link->slots || session_rx(w->sessions, ref.index)->state != SESSION_RESERVED)
		return NULL;
	p = pending_find(w->pending, &session_tx(w->sessions, ref.index)->path.peer);
	return p && p->ref.index == ref.index && p->ref.generation == ref.generation ? p : NULL;
}

static void announce(struct worker *w, const struct sluice_session_up *up, uint32_t up_len)
{
	uint32_t slot = session_by_ref(w->sessions, up->ref);
	struct mail_session mail = {.ref = up->ref};
	struct session_tx *tx;

	if (slot == SESSION_NONE || !w->uplink)
		return;
	tx = session_tx(w->sessions, slot);
	if (tx->announced == w->attach)
		return;
	if (uplink_event(w->uplink, SLUICE_SESSION_UP, up, up_len)) {
		tx->announced = w->attach;
		/* it may have moved since control wrote this, which need not have heard of it */
		tx->moved_untold = memcmp(up->peer.ip, tx->path.peer.ip, sizeof(up->peer.ip)) != 0 ||
				   up->peer.port != tx->path.peer.port;
		w->uplink_dirty = true;
	} else {
		mail_to_control(w, MAIL_NOT_ANNOUNCED, &mail, sizeof(mail), NULL, 0);
	}
}

static void mail_install(struct worker *w, const void *body, uint32_t len, uint64_t now_ns)
{
	const struct mail_install *mail = body;
	struct mail_ended refused = {.ref = mail->session.ref};
	struct pending *p = pending_of(w, mail->session.ref);
	uint32_t replaced, evicted;
	int err;

	if (!p) { /* the device has started over meanwhile */
		mail_to_control(w, MAIL_NOT_INSTALLED, &refused, sizeof(refused), NULL, 0);
		return;
	}
	pending_remove(w->pending, p);
	err = session_install(w->sessions, &mail->session, now_ns, &replaced, &evicted);
	if (replaced != SESSION_NONE) /* RFC 6347 4.2.8 */
		worker_end_session(w, replaced, SLUICE_REASON_REPLACED);
	if (evicted != SESSION_NONE)
		worker_end_session(w, evicted, SLUICE_REASON_EVICTED);
	if (err) {
		session_unreserve(w->sessions, mail->session.ref.index);
		mail_to_control(w, MAIL_NOT_INSTALLED, &refused, sizeof(refused), NULL, 0);
		return;
	}
	counter_add(&w->counters->sessions_installed, 1);
	announce(w, (const struct sluice_session_up *)(mail + 1), len - (uint32_t)sizeof(*mail));
}

static void mail_remove(struct worker *w, const struct mail_ended *mail)
{
	uint32_t slot = session_by_ref(w->sessions, mail->ref);

	if (slot == SESSION_NONE)
		return;
	send_alert(w, slot, ALERT_WARNING, ALERT_CLOSE_NOTIFY);
	worker_end_session(w, slot, mail->reason);
}

static void mail_handshake_over(struct worker *w, const struct mail_session *mail)
{
	struct pending *p = pending_of(w, mail->ref);

	if (!p)
		return;
	pending_remove(w->pending, p);
	session_unreserve(w->sessions, mail->ref.index);
}

/* The record joins this turn's burst as a datagram of its own. */
static void mail_reinject(struct worker *w, const struct mail_record *mail)
{
	struct burst *b = &w->burst;
	struct rte_mbuf *m;
	uint8_t *start;

	assert(mail->record_len > 0 && b->frames < BURST_RECEIVE); /* MAILS_PER_TURN of them at most */
	m = rte_pktmbuf_alloc(w->port.pool);
	if (!m)
		return;
	start = (uint8_t *)m->buf_addr + PORT_PAYLOAD_AT;
	if (mail->record_len > m->buf_len - PORT_PAYLOAD_AT) {
		rte_pktmbuf_free(m);
		return;
	}
	memcpy(start, mail + 1, mail->record_len);
	b->datagrams[b->frames] =
		(struct datagram){.path = mail->path, .payload = start, .payload_len = mail->record_len};
	b->mbufs[b->frames++] = m;
	counter_add(&w->counters->frames_in, 1);
}

static void mail_uplink(struct worker *w, const struct mail_uplink *mail)
{
	struct mail_uplink old = {.uplink = w->uplink, .attach = w->attach};

	if (w->uplink) {
		uplink_publish(w->uplink);
		mail_to_control(w, MAIL_UPLINK_RETURNED, &old, sizeof(old), NULL, 0);
	}
	w->uplink = mail->uplink;
	w->attach = mail->attach;
	w->uplink_dirty = false;
}

static void mail_cookie_secret(struct worker *w, const struct mail_cookie_secret *mail)
{
	if (w->has_cookies)
		cookie_secrets_rotate(&w->cookies, mail->secret);
	else
		cookie_secrets_init(&w->cookies, mail->secret);
	w->has_cookies = true;
}

/* Says goodbye to some sessions; called every turn until none is left. */
static void stop_some(struct worker *w)
{
	uint32_t slots[STOPPED_PER_TURN];
	uint32_t cursor = 0;
	unsigned n;

	if (w->tx_count > TX_PENDING - STOPPED_PER_TURN || session_live_count(w->sessions) == 0)
		return;
	cursor = w->stop_cursor;
	n = session_walk(w->sessions, &cursor, slots, STOPPED_PER_TURN);
	w->stop_cursor = cursor == SESSION_NONE ? 0 : cursor;
	for (unsigned i = 0; i < n; i++) {
		send_alert(w, slots[i], ALERT_WARNING, ALERT_CLOSE_NOTIFY);
		worker_end_session(w, slots[i], SLUICE_REASON_SHUTDOWN);
	}
}

static void read_one(struct worker *w, const struct spsc_message *m, uint64_t now_ns)
{
	const struct mail_transmit *transmit = m->body;

	switch ((enum mail_type)m->type) {
	case MAIL_TRANSMIT:
		(void)send_datagram(w, &transmit->path, transmit + 1, transmit->datagram_len);
		break;
	case MAIL_INSTALL:
		mail_install(w, m->body, m->len, now_ns);
		break;
	case MAIL_REMOVE:
		mail_remove(w, m->body);
		break;
	case MAIL_HANDSHAKE_OVER:
		mail_handshake_over(w, m->body);
		break;
	case MAIL_REINJECT:
		mail_reinject(w, m->body);
		break;
	case MAIL_ANNOUNCE:
		announce(w, m->body, m->len);
		break;
	case MAIL_UPLINK:
		mail_uplink(w, m->body);
		break;
	case MAIL_COOKIE_SECRET:
		mail_cookie_secret(w, m->body);
		break;
	case MAIL_STOP:
		w->stopping = true;
		break;
	default:
		assert(!"mail that no worker understands");
	}
	if (m->type == MAIL_INSTALL || m->type == MAIL_ANNOUNCE || m->type == MAIL_COOKIE_SECRET)
		secret_wipe((void *)(uintptr_t)m->body, m->len);
}

unsigned worker_read_mail(struct worker *w, uint64_t now_ns)
{
	struct spsc_message m;
	unsigned n = 0;

	/* No mail is taken whose answer might find no room: control would wait for it for ever. */
	while (n < MAILS_PER_TURN && spsc_fits(&w->link->to_control.producer, ANSWER_ROOM) &&
	       mailbox_next(&w->link->to_worker, &m)) {
		read_one(w, &m, now_ns);
		n++;
	}
	if (n)
		mailbox_release(&w->link->to_worker);
	if (w->stopping)
		stop_some(w);
	return n;
}
