/* THE LOOP. One worker on one core takes frames from its port, and what the application answers from its
 * ring; each stage below takes the whole burst and writes verdicts, and one place lets frames go.
 *
 *   in:   port -> parse -> steer -> record -> hello | find -> replay check -> open -> replay commit -> ring
 *   out:  ring -> number -> seal -> header -> port
 *
 * Thread: the worker's own. Nothing here allocates, locks, logs or calls the kernel, but for sleeping when
 * idle.
 */
#include "dataplane/worker.h"

#include <errno.h>
#include <poll.h>
#include <rte_cycles.h>
#include <rte_malloc.h>
#include <time.h>
#include <unistd.h>

#include "crypto/wolfssl_random.h"
#include "dataplane/neigh.h"
#include "dataplane/steer.h"

static inline uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* Frames from the port go behind those that are already in the burst (from other workers, or from control).
 */
static void receive_burst(struct worker *w, struct burst *b)
{
	unsigned n;

	n = steer_take(w->steer, w->index, w->steer_first++, &b->mbufs[b->frames], BURST_RECEIVE);
	counter_add(&w->counters->frames_in, n); /* again: it was STEERED at the worker that received it */
	b->frames += n;
	b->parsed = b->frames;
	n = port_receive(&w->port, &b->mbufs[b->frames], BURST_RECEIVE);
	for (unsigned i = 0; i < n; i++)
		rte_prefetch0(b->mbufs[b->frames + i]);
	b->frames += n;
	counter_add(&w->counters->frames_in, n);
}

static void parse_burst(struct worker *w, struct burst *b)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < b->frames; i++)
		rte_prefetch0(rte_pktmbuf_mtod(b->mbufs[i], void *));
	for (unsigned i = b->parsed; i < b->frames; i++)
		bytes += rte_pktmbuf_pkt_len(b->mbufs[i]);
	counter_add(&w->counters->bytes_in, bytes);
	for (unsigned i = 0; i < b->frames; i++) {
		struct rte_mbuf *m = b->mbufs[i];

		if (b->datagrams[i].payload) /* injected by control, parsed before */
			b->verdicts[i] = FRAME_RECORDS;
		else if (m->nb_segs != 1)
			b->verdicts[i] = FRAME_DROP_TRUNCATED;
		else
			b->verdicts[i] =
				(uint8_t)parse_frame(&w->local, rte_pktmbuf_mtod(m, uint8_t *), m->data_len,
						     port_checksum(&w->port, m), &b->datagrams[i]);
	}
}

/* The look-up of each datagram's first record begins as soon as its bytes are there, so that what it needs
 * comes while they are read; it decides nothing yet. */
static void find_begin(struct worker *w, struct burst *b)
{
	b->leads = 0;
	for (unsigned i = 0; i < b->frames; i++) {
		const struct datagram *d = &b->datagrams[i];

		if (unlikely(b->verdicts[i] != FRAME_RECORDS))
			continue;
		b->lead[b->leads].cid = NULL;
		if (d->payload[0] == CONTENT_TLS12_CID && d->payload_len >= RECORD_HEADER_LEN + CID_LEN)
			b->lead[b->leads].cid = d->payload + RECORD_HEADER_LEN - 2;
		b->lead[b->leads++].address = &d->path.peer;
	}
	for (unsigned i = 0; i < b->leads; i += SESSION_QUERIES_MAX)
		session_find_begin(w->sessions, &b->lead[i],
				   RTE_MIN(b->leads - i, (unsigned)SESSION_QUERIES_MAX));
	b->leads = 0;
}

/* ARP, neighbour discovery, echo: rare, answered in place. */
static void neigh_burst(struct worker *w, struct burst *b)
{
	for (unsigned i = 0; i < b->frames; i++) {
		struct rte_mbuf *m = b->mbufs[i];
		size_t len;

		if (likely(b->verdicts[i] != FRAME_NEIGHBOUR && b->verdicts[i] != FRAME_ECHO))
			continue;
		len = neigh_answer(&w->local, rte_pktmbuf_mtod(m, uint8_t *), m->data_len,
				   m->data_len + rte_pktmbuf_tailroom(m));
		if (len == 0)
			continue;
		m->data_len = (uint16_t)len;
		m->pkt_len = (uint32_t)len;
		m->ol_flags = 0;
		rte_mbuf_refcnt_update(m, 1);
		send_frame(w, m);
	}
}

/* Lines up the next records of the burst's datagrams. False when there are none left. A record that cannot be
 * told apart takes the rest of its datagram with it: RFC 6347 4.1.1. */
static bool record_burst(struct worker *w, struct burst *b)
{
	b->records = 0;
	while (b->frame_at < b->frames && b->records < BURST_RECORDS) {
		const struct datagram *d = &b->datagrams[b->frame_at];
		struct inbound *in = &b->in[b->records];
		enum record_verdict verdict = RECORD_APP;
		size_t len;

		if (b->verdicts[b->frame_at] != FRAME_RECORDS || b->offset_at >= d->payload_len) {
			b->frame_at++;
			b->offset_at = 0;
			continue;
		}
		in->lead = NULL;
		if (likely(b->offset_at == 0)) {
			in->lead = &b->lead[b->leads++];
			session_find_proceed(w->sessions, in->lead);
		}
		len = record_read(d->payload + b->offset_at, d->payload_len - b->offset_at, &in->record,
				  &verdict);
		b->offset_at = len ? b->offset_at + (uint32_t)len : d->payload_len;
		in->frame = (uint8_t)b->frame_at;
		in->slot = SESSION_NONE;
		in->verdict = (uint8_t)verdict;
		b->records++;
	}
	counter_add(&w->counters->records_in, b->records);
	return b->records != 0;
}

/* The usual verdict is counted in a register: an addition in memory has to wait for the one before it. */
static void count_records(struct worker *w, const struct burst *b)
{
	uint64_t given = 0;

	for (unsigned i = 0; i < b->records; i++) {
		if (likely(b->in[i].verdict == RECORD_APP))
			given++;
		else
			counter_add(&w->counters->records[b->in[i].verdict], 1);
	}
	counter_add(&w->counters->records[RECORD_APP], given);
}

/* Frames of our own pool that nobody else holds, nearly all, go back in one piece and without a look at their
 * second line: a buffer that is alone has no next one. */
static void free_frames(struct worker *w, struct rte_mbuf **mbufs, unsigned n)
{
	struct rte_mempool *pool = w->port.pool;
	unsigned ours = 0;

	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = mbufs[i];

		if (likely(m->pool == pool && m->nb_segs == 1 && rte_mbuf_refcnt_read(m) == 1 &&
			   RTE_MBUF_DIRECT(m)))
			mbufs[ours++] = m;
		else
			rte_pktmbuf_free(m);
	}
	if (ours)
		rte_mempool_put_bulk(pool, (void **)mbufs, ours);
}

/* The only exit of a received frame. */
static void dispose_burst(struct worker *w, struct burst *b)
{
	uint64_t usual = 0;
	unsigned gone = 0;

	for (unsigned i = 0; i < b->frames; i++) {
		if (likely(b->verdicts[i] == FRAME_RECORDS))
			usual++;
		else
			counter_add(&w->counters->frames[b->verdicts[i]], 1);
		b->datagrams[i].payload = NULL;
		if (b->verdicts[i] != FRAME_STEERED)
			b->mbufs[gone++] = b->mbufs[i];
	}
	counter_add(&w->counters->frames[FRAME_RECORDS], usual);
	free_frames(w, b->mbufs, gone);
	b->frames = 0;
	b->parsed = 0;
	b->frame_at = 0;
	b->offset_at = 0;
}

static void expire_sessions(struct worker *w, uint64_t now_ns)
{
	uint32_t slots[16];
	unsigned n = session_expire(w->sessions, now_ns, slots, RTE_DIM(slots));

	for (unsigned i = 0; i < n; i++)
		worker_end_session(w, slots[i], SLUICE_REASON_IDLE);
}

/* What the turn has written becomes visible to the application and to control, once. */
static void publish(struct worker *w)
{
	worker_flush_ended(w);
	if (w->uplink && w->uplink_dirty)
		uplink_publish(w->uplink);
	w->uplink_dirty = false;
	if (w->mailed)
		mailbox_publish(&w->link->to_control);
	w->mailed = false;
}

unsigned worker_poll(struct worker *w, uint64_t now_ns)
{
	struct burst *b = &w->burst;
	unsigned work;

	w->now_ns = now_ns;
	work = worker_read_mail(w, now_ns); /* install, remove, transmit: applied between bursts only */
	stage_end(w, STAGE_MAIL);
	receive_burst(w, b);
	work += b->frames;
	stage_end(w, STAGE_RECEIVE);
	if (b->frames) {
		parse_burst(w, b);
		neigh_burst(w, b);
		steer_burst(w, b);
		stage_end(w, STAGE_PARSE);
		find_begin(w, b);
		while (record_burst(w, b)) {
			receive_classify_burst(w, b);
			receive_open_burst(w, b, now_ns);
			count_records(w, b);
		}
		dispose_burst(w, b);
		stage_end(w, STAGE_DISPOSE);
	}
	work += send_burst(w);
	expire_sessions(w, now_ns);
	publish(w);
	send_flush(w);
	stage_end(w, STAGE_SEND);
	return work;
}

/* Sleeps until mail, a message from the application or the time comes: the port itself is asked again after
 * idle_us at the latest. The first turns without work only pause, so that a burst in progress is not slept
 * through. */
static void worker_idle(struct worker *w)
{
	enum { TURNS_BEFORE_SLEEP = 200 };
	struct pollfd fds[2] = {{.fd = w->link->to_worker.event_fd, .events = POLLIN}, {.fd = -1}};
	struct timespec wait = {.tv_nsec = (long)w->idle_us * 1000L};
	bool may_sleep;

	if (w->poll || ++w->idle_turns < TURNS_BEFORE_SLEEP) {
		rte_pause();
		return;
	}
	if (w->idle_turns < TURNS_BEFORE_SLEEP + 20) /* 20 short sleeps before the long ones */
		wait.tv_nsec = RTE_MIN(50000L, wait.tv_nsec);
	may_sleep = spsc_sleep(&w->link->to_worker.consumer);
	if (may_sleep && w->uplink) {
		fds[1] = (struct pollfd){.fd = w->uplink->wake_fd, .events = POLLIN};
		may_sleep = uplink_sleep(w->uplink);
	}
	if (may_sleep && w->tx_count == 0 && ppoll(fds, RTE_DIM(fds), &wait, NULL) > 0 &&
	    (fds[0].revents & POLLIN)) {
		uint64_t ignored;

		(void)!read(fds[0].fd, &ignored, sizeof(ignored));
	}
	spsc_awake(&w->link->to_worker.consumer);
	if (w->uplink)
		uplink_awake(w->uplink);
}

#define STOP_STUCK_NS 3000000000ULL

/* Every session has ended and everybody knows; or nobody takes the news any more: an application that stands
 * still, or a control thread that is gone, must not keep us. */
static bool stop_is_over(struct worker *w)
{
	uint32_t pending = session_down_pending(w->sessions); /* another one with every session told of */
	uint64_t left = (uint64_t)session_live_count(w->sessions) << 32 | (uint32_t)(pending - SESSION_NONE);

	if (left != w->stop_left || w->stop_since_ns == 0) {
		w->stop_left = left;
		w->stop_since_ns = w->now_ns;
	}
	return left == 0 || w->now_ns - w->stop_since_ns > STOP_STUCK_NS;
}

/* Neighbours may know our addresses under the MAC of an earlier start, routers for hours. */
static void announce_addresses(struct worker *w)
{
	for (unsigned ipv6 = 0; ipv6 < 2; ipv6++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(w->port.pool);
		size_t len;

		if (!m)
			return;
		len = neigh_announce(&w->local, ipv6, rte_pktmbuf_mtod(m, uint8_t *),
				     rte_pktmbuf_tailroom(m));
		if (len == 0) { /* no address of that family */
			rte_pktmbuf_free(m);
			continue;
		}
		m->data_len = (uint16_t)len;
		m->pkt_len = (uint32_t)len;
		send_frame(w, m);
	}
	send_flush(w);
}

int worker_run(void *worker)
{
	struct worker *w = worker;

	if (w->index == 0)
		announce_addresses(w);
	while (!w->stopped) {
		unsigned work = worker_poll(w, clock_ns());

		counter_add(&w->counters->polls, 1);
		counter_add(&w->counters->polls_idle, work == 0);
		if (w->stopping && stop_is_over(w)) /* whatever still comes in: a flood must not keep us */
			w->stopped = true;
		else if (work)
			w->idle_turns = 0;
		else
			worker_idle(w);
	}
	send_flush(w);
	return 0;
}

static int worker_init(struct worker *w, const struct worker_setup *s)
{
	const struct config *c = s->config;
	struct session_limits limits = {
		.max = c->sessions.max,
		.reserved_max = c->handshakes.max,
		.big_max = c->sessions.max,
		.idle_timeout_s = c->sessions.idle_timeout_s,
		.worker = s->index,
	};
	uint64_t seed;

	if (random_block((unsigned char *)&seed, sizeof(seed)) != 0)
		return -EIO;
	w->index = s->index;
	w->workers = (uint16_t)c->workers.count;
	w->poll = c->workers.idle == CONFIG_IDLE_POLL;
	w->idle_us = c->workers.idle_us;
	w->link = s->link;
	w->counters = s->link->counters;
	w->steer = s->steer;
	w->local = s->local;
	w->mtu = (uint16_t)c->port.mtu;
	w->failed_tags_max = c->sessions.failed_tags_max;
	port_queue_init(&w->port, s->port, s->index);
	w->sessions = session_table_new(&limits, s->cid_key, clock_ns());
	w->pending = pending_new(c->handshakes.max, seed);
	w->crypto = record_crypto_new(s->crypto);
	if (!w->sessions || !w->pending || !w->crypto)
		return -ENOMEM;
	s->link->slots = session_slots(w->sessions);
	return 0;
}

struct worker *worker_new(const struct worker_setup *setup, char *error, size_t error_len)
{
	struct worker *w = rte_zmalloc("worker", sizeof(*w), RTE_CACHE_LINE_SIZE);

	if (w && worker_init(w, setup) == 0)
		return w;
	snprintf(error, error_len,
		 "worker %u: no memory for %u sessions and %u handshakes: lower sessions.max or "
		 "handshakes.max",
		 setup->index, setup->config->sessions.max, setup->config->handshakes.max);
	worker_free(w);
	return NULL;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	rte_pktmbuf_free_bulk(w->tx, w->tx_count);
	rte_pktmbuf_free_bulk(w->spare, w->spare_count);
	session_table_free(w->sessions);
	pending_free(w->pending);
	record_crypto_free(w->crypto);
	cookie_secrets_wipe(&w->cookies);
	rte_free(w);
}
