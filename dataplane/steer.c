#include "dataplane/steer.h"

#include <rte_hash_crc.h>
#include <rte_malloc.h>
#include <rte_ring.h>
#include <stdio.h>

#include "dataplane/worker.h"

enum { STEER_RING_SIZE = 1024 };

struct steer {
	unsigned workers;
	bool by_hash;
	uint32_t seed;
	struct rte_ring *rings[]; /* [from * workers + to], NULL on the diagonal */
};

struct steer *steer_new(unsigned workers, bool by_hash, uint32_t seed)
{
	struct steer *s =
		rte_zmalloc("steer", sizeof(*s) + sizeof(s->rings[0]) * (size_t)workers * workers, 64);

	if (!s)
		return NULL;
	s->workers = workers;
	s->by_hash = by_hash;
	s->seed = seed;
	for (unsigned i = 0; i < workers * workers; i++) {
		char name[RTE_RING_NAMESIZE];

		if (i / workers == i % workers)
			continue;
		snprintf(name, sizeof(name), "steer_%u_%u", i / workers, i % workers);
		s->rings[i] =
			rte_ring_create(name, STEER_RING_SIZE, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
		if (!s->rings[i]) {
			steer_free(s);
			return NULL;
		}
	}
	return s;
}

void steer_free(struct steer *s)
{
	void *mbuf;

	if (!s)
		return;
	for (unsigned i = 0; i < s->workers * s->workers; i++) {
		if (!s->rings[i])
			continue;
		while (rte_ring_dequeue(s->rings[i], &mbuf) == 0)
			rte_pktmbuf_free(mbuf);
		rte_ring_free(s->rings[i]);
	}
	rte_free(s);
}

unsigned steer_take(struct steer *s, unsigned worker, unsigned first, struct rte_mbuf **mbufs, unsigned n)
{
	unsigned taken = 0;

	if (!s)
		return 0;
	for (unsigned i = 0; i < s->workers && taken < n; i++) {
		struct rte_ring *r = s->rings[(first + i) % s->workers * s->workers + worker];

		if (r)
			taken += rte_ring_dequeue_burst(r, (void **)&mbufs[taken], n - taken, NULL);
	}
	return taken;
}

/* A datagram that begins with a record of ours names the owner itself; otherwise its peer does. */
static unsigned owner_of(const struct worker *w, const struct datagram *d)
{
	unsigned owner = w->index;

	if (d->payload_len >= RECORD_HEADER_LEN + CID_LEN && d->payload[0] == CONTENT_TLS12_CID)
		owner = session_cid_worker(w->sessions, d->payload + RECORD_HEADER_LEN - 2);
	else if (w->steer->by_hash)
		owner = rte_hash_crc(&d->path.peer, sizeof(d->path.peer), w->steer->seed) % w->workers;
	return owner < w->workers ? owner : w->index;
}

void steer_burst(struct worker *w, struct burst *b)
{
	if (!w->steer)
		return;
	for (unsigned i = b->parsed; i < b->frames; i++) {
		unsigned owner;

		if (b->verdicts[i] != FRAME_RECORDS)
			continue;
		owner = owner_of(w, &b->datagrams[i]);
		if (owner == w->index)
			continue;
		b->verdicts[i] =
			rte_ring_enqueue(w->steer->rings[w->index * w->workers + owner], b->mbufs[i]) == 0
				? FRAME_STEERED
				: FRAME_DROP_STEER_FULL;
	}
}
