/* The session table of one worker (pure): session.h. Here are the life of a session and the look-ups; the
 * memory, the address index and the ages have files of their own.
 *
 *   FREE -> session_reserve() -> RESERVED -> session_install() -> LIVE -> session_remove() -> DOWN_PENDING
 *     ^          session_unreserve() <-'                                     session_release() <-'
 */
#include "dataplane/session_index.h"
#include "dataplane/session_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "crypto/always.h"
#include "crypto/secret.h"

enum {
	WALK_STEPS = 16384, /* slots looked at per call */
	TAG_MASK = 0xffffff,
};

static const char magic[8] = "sluice-t";

/* ---- start and stop ---- */

static int head_init(struct session_head *h, const struct session_limits *limits,
		     const struct session_layout *layout, const uint8_t cid_key[16], uint64_t now_ns)
{
	memcpy(h->magic, magic, sizeof(magic));
	h->version = SESSION_LAYOUT_VERSION;
	h->head_size = sizeof(*h);
	h->limits = *limits;
	h->layout = *layout;
	memcpy(h->cid_key, cid_key, sizeof(h->cid_key));
	if (getrandom(h->hash_seed, sizeof(h->hash_seed), 0) != sizeof(h->hash_seed) ||
	    getrandom(h->generation_key, sizeof(h->generation_key), 0) != sizeof(h->generation_key))
		return -EIO;
	h->free_head = SESSION_NONE;
	h->down_head = h->down_tail = SESSION_NONE;
	h->big_free = SESSION_NONE;
	h->wheel_at = (uint32_t)(now_ns / SESSION_TICK_NS) / layout->wheel_width;
	return 0;
}

/* Where everything is in this process. */
static void table_locate(struct session_table *t)
{
	const struct session_layout *l = &t->head->layout;
	uint8_t *base = t->memory.base;

	t->wheel = (uint32_t *)(void *)(base + l->area[AREA_WHEEL].at);
	t->index = (struct index_bucket *)(void *)(base + l->area[AREA_INDEX].at);
	t->lines.rx = (struct session_rx *)(void *)(base + l->area[AREA_RX].at);
	t->lines.tx = (struct session_tx *)(void *)(base + l->area[AREA_TX].at);
	t->lines.big = (struct session_big *)(void *)(base + l->area[AREA_BIG].at);
	t->lines.slots = l->slots;
	t->lines.worker = t->head->limits.worker;
	t->buckets = l->buckets;
	memcpy(t->hash_seed, t->head->hash_seed, sizeof(t->hash_seed));
	session_prf_init(&t->cid_prf, t->head->cid_key);
	session_prf_init(&t->generation_prf, t->head->generation_key);
}

struct session_table *session_table_new(const struct session_limits *limits, const uint8_t cid_key[16],
					uint64_t now_ns)
{
	struct session_layout layout;
	struct session_table *t;
	int err = session_layout_make(limits, &layout);

	if (err) {
		errno = -err;
		return NULL;
	}
	t = aligned_alloc(64, (sizeof(*t) + 63) / 64 * 64);
	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	err = session_memory_map(&t->memory, layout.size, layout.at_start);
	if (err)
		goto err_map;
	t->head = (struct session_head *)(void *)t->memory.base;
	err = head_init(t->head, limits, &layout, cid_key, now_ns);
	if (err)
		goto err_head;
	t->head->pages = t->memory.pages;
	table_locate(t);
	return t;

err_head:
	session_memory_unmap(&t->memory);
err_map:
	free(t);
	errno = -err;
	return NULL;
}

/* The head of another version, or one that does not describe this mapping, is refused; what stands behind it
 * was written by a gateway like us. */
static bool head_valid(const struct session_head *h, size_t size)
{
	struct session_layout layout;

	return size >= sizeof(*h) && memcmp(h->magic, magic, sizeof(magic)) == 0 &&
	       h->version == SESSION_LAYOUT_VERSION && h->head_size == sizeof(*h) &&
	       session_layout_make(&h->limits, &layout) == 0 &&
	       memcmp(&layout, &h->layout, sizeof(layout)) == 0 && layout.size == size;
}

/* Handshakes in flight stay with the process that leads them. */
static void unreserve_all(struct session_table *t)
{
	for (uint32_t slot = 0; slot < t->head->used && t->head->reserved > 0; slot++)
		session_unreserve(t, slot);
}

struct session_table *session_table_attach(int fd)
{
	struct session_table *t = aligned_alloc(64, (sizeof(*t) + 63) / 64 * 64);
	int err;

	if (!t)
		return NULL;
	memset(t, 0, sizeof(*t));
	err = session_memory_attach(&t->memory, fd);
	if (err)
		goto err_attach;
	t->head = (struct session_head *)(void *)t->memory.base;
	err = -EPROTO;
	if (!head_valid(t->head, t->memory.size))
		goto err_head;
	err = -ENOMEM;
	if (!session_memory_populate(&t->memory, t->head->layout.at_start))
		goto err_head;
	t->memory.pages = t->head->pages;
	table_locate(t);
	unreserve_all(t);
	return t;

err_head:
	t->memory.fd = -1; /* still the caller's */
	session_memory_unmap(&t->memory);
err_attach:
	free(t);
	errno = -err;
	return NULL;
}

void session_table_detach(struct session_table *t)
{
	if (!t)
		return;
	session_memory_unmap(&t->memory);
	secret_wipe(t, sizeof(*t));
	free(t);
}

void session_table_free(struct session_table *t)
{
	if (!t)
		return;
	secret_wipe(t->lines.rx, t->head->used * sizeof(*t->lines.rx));
	secret_wipe(t->lines.tx, t->head->used * sizeof(*t->lines.tx));
	secret_wipe(t->lines.big, t->head->big_used * sizeof(*t->lines.big));
	secret_wipe(t->head, sizeof(*t->head));
	session_table_detach(t);
}

enum session_pages session_table_pages(const struct session_table *t)
{
	return t->memory.pages;
}

const char *session_pages_text(enum session_pages pages)
{
	static const char *const text[] = {
		[SESSION_PAGES_RESERVED] = "2 MiB pages, reserved",
		[SESSION_PAGES_ADVISED] = "2 MiB pages, transparent",
		[SESSION_PAGES_COLLAPSED] = "2 MiB pages, collapsed",
		[SESSION_PAGES_MIXED] = "2 MiB pages as far as there were any, and 4 KiB pages",
		[SESSION_PAGES_ANONYMOUS] = "2 MiB pages, private to the process",
		[SESSION_PAGES_SMALL] = "4 KiB pages",
	};

	return (unsigned)pages < sizeof(text) / sizeof(text[0]) ? text[pages] : "unknown";
}

int session_table_fd(const struct session_table *t)
{
	return t->memory.fd;
}

/* ---- one session ---- */

uint32_t session_live_count(const struct session_table *t)
{
	return t->head->live;
}

/* ---- CID: tag (3 bytes), worker and slot (4 bytes) hidden by the tag's AES ---- */

static uint32_t cid_tag(const uint8_t cid[CID_LEN])
{
	return (uint32_t)cid[0] << 16 | (uint32_t)cid[1] << 8 | cid[2];
}

static uint32_t cid_hidden(const uint8_t cid[CID_LEN])
{
	return (uint32_t)cid[3] << 24 | (uint32_t)cid[4] << 16 | (uint32_t)cid[5] << 8 | cid[6];
}

static uint32_t cid_mask(const struct session_table *t, uint32_t tag)
{
	uint64_t in = tag;
	uint64_t out;

	session_prf_burst(&t->cid_prf, &in, &out, 1);
	return (uint32_t)out;
}

void session_cid(const struct session_table *t, uint32_t slot, uint8_t cid[CID_LEN])
{
	uint32_t tag = t->lines.rx[slot].generation & TAG_MASK;
	uint32_t hidden = ((uint32_t)t->lines.worker << 24 | slot) ^ cid_mask(t, tag);

	for (unsigned i = 0; i < 3; i++)
		cid[i] = (uint8_t)(tag >> (16 - 8 * i));
	for (unsigned i = 0; i < 4; i++)
		cid[3 + i] = (uint8_t)(hidden >> (24 - 8 * i));
}

uint16_t session_cid_worker(const struct session_table *t, const uint8_t cid[CID_LEN])
{
	return (uint16_t)((cid_hidden(cid) ^ cid_mask(t, cid_tag(cid))) >> 24);
}

/* ---- finding ---- */

/* What the steps of a burst hand to each other. */
struct finding {
	uint64_t masks[SESSION_QUERIES_MAX]; /* of the queries by CID, one behind the other; first their tags
					      */
	uint8_t by_cid[SESSION_QUERIES_MAX]; /* which these are */
	unsigned cids;
};

/* Step 1: which lines of the index will be needed. */
static void find_hash(const struct session_table *t, struct finding *f, struct session_query *queries,
		      unsigned n)
{
	f->cids = 0;
	for (unsigned i = 0; i < n; i++) {
		if (queries[i].cid) {
			queries[i].word = cid_tag(queries[i].cid);
			f->masks[f->cids] = queries[i].word;
			f->by_cid[f->cids++] = (uint8_t)i;
		} else {
			queries[i].word = index_hash(t, queries[i].address);
			session_prefetch(index_bucket(t, queries[i].word));
		}
	}
}

/* The slot that a CID names. */
static void find_named(const struct session_table *t, struct session_query *q, uint32_t mask)
{
	uint32_t named = cid_hidden(q->cid) ^ mask;

	q->slot = named & TAG_MASK;
	if (named >> 24 != t->lines.worker || q->slot >= t->lines.slots)
		q->slot = SESSION_NONE;
	else
		session_prefetch(&t->lines.rx[q->slot]);
}

/* Step 2: CIDs to slots, while the index is on its way. */
static void find_cids(const struct session_table *t, struct finding *f, struct session_query *queries)
{
	session_prf_burst(&t->cid_prf, f->masks, f->masks, f->cids);
	for (unsigned k = 0; k < f->cids; k++)
		find_named(t, &queries[f->by_cid[k]], (uint32_t)f->masks[k]);
}

/* Step 3: index lines to the sessions that may be meant. */
static void find_candidate(const struct session_table *t, struct session_query *q)
{
	const struct index_bucket *b = index_bucket(t, q->word);
	unsigned matches = index_match(b, q->word);

	q->slot = SESSION_NONE;
	if (matches) {
		q->slot = b->slots[__builtin_ctz(matches)];
		session_prefetch(&t->lines.tx[q->slot]);
		session_prefetch(&t->lines.rx[q->slot]);
	} else if (b->next) {
		session_prefetch(&t->index[b->next]);
	}
}

/* Step 4: whether they are. */
static uint32_t verify_cid(const struct session_table *t, uint32_t slot, uint64_t tag)
{
	const struct session_rx *rx = &t->lines.rx[slot];

	return rx->state == SESSION_LIVE && (rx->generation & TAG_MASK) == tag ? slot : SESSION_NONE;
}

static uint32_t verify_address(const struct session_table *t, const struct session_query *q, uint64_t hash)
{
	if (q->slot != SESSION_NONE && t->lines.rx[q->slot].state == SESSION_LIVE &&
	    memcmp(&t->lines.tx[q->slot].path.peer, q->address, sizeof(*q->address)) == 0)
		return q->slot;
	if (q->slot == SESSION_NONE && !index_bucket(t, hash)->next)
		return SESSION_NONE;
	return index_find(t, q->address, hash); /* two equal tags, or an overflow bucket */
}

void session_find_begin(const struct session_table *t, struct session_query *queries, unsigned n)
{
	struct finding f;

	always_assert(n <= SESSION_QUERIES_MAX);
	find_hash(t, &f, queries, n);
	find_cids(t, &f, queries);
}

void session_find_proceed(const struct session_table *t, struct session_query *q)
{
	if (!q->cid)
		find_candidate(t, q);
}

uint32_t session_find_end(const struct session_table *t, const struct session_query *q)
{
	if (!q->cid)
		return verify_address(t, q, q->word);
	return q->slot == SESSION_NONE ? SESSION_NONE : verify_cid(t, q->slot, q->word);
}

void session_find_burst(struct session_table *t, struct session_query *queries, unsigned n)
{
	session_find_begin(t, queries, n);
	for (unsigned i = 0; i < n; i++)
		session_find_proceed(t, &queries[i]);
	for (unsigned i = 0; i < n; i++)
		queries[i].slot = session_find_end(t, &queries[i]);
}

/* ---- the life of a session ---- */

static void slot_free(struct session_table *t, uint32_t slot)
{
	uint32_t generation = t->lines.rx[slot].generation;

	secret_wipe(&t->lines.rx[slot], sizeof(t->lines.rx[slot]));
	secret_wipe(&t->lines.tx[slot], sizeof(t->lines.tx[slot]));
	t->lines.rx[slot].generation = generation;
	t->lines.rx[slot].big = t->lines.tx[slot].big = SESSION_NONE;
	t->lines.tx[slot].age_next = t->head->free_head;
	t->head->free_head = slot;
}

static uint32_t slot_take(struct session_table *t)
{
	struct session_head *h = t->head;
	uint32_t slot = h->free_head;

	if (slot != SESSION_NONE) {
		h->free_head = t->lines.tx[slot].age_next;
		return slot;
	}
	if (h->used == h->layout.slots)
		return SESSION_NONE;
	slot = h->used++;
	t->lines.rx[slot].big = t->lines.tx[slot].big = SESSION_NONE;
	return slot;
}

/* The upper 8 bits count, so that the next 255 users of a slot have other generations for sure; the lower 24,
 * which a CID shows, cannot be foreseen. */
static uint32_t generation_next(struct session_table *t, uint32_t generation)
{
	uint64_t in = t->head->generations++;
	uint64_t out;

	session_prf_burst(&t->generation_prf, &in, &out, 1);
	return ((generation >> 24) + 1) << 24 | (uint32_t)(out & TAG_MASK);
}

uint32_t session_reserve(struct session_table *t)
{
	uint32_t slot;

	if (t->head->reserved >= t->head->limits.reserved_max)
		return SESSION_NONE;
	slot = slot_take(t);
	if (slot == SESSION_NONE)
		return SESSION_NONE;
	t->head->reserved++;
	t->lines.rx[slot].state = SESSION_RESERVED;
	t->lines.rx[slot].generation = generation_next(t, t->lines.rx[slot].generation);
	return slot;
}

void session_unreserve(struct session_table *t, uint32_t slot)
{
	if (t->lines.rx[slot].state != SESSION_RESERVED)
		return;
	t->head->reserved--;
	slot_free(t, slot);
}

static bool key_is_big(enum protection_id protection)
{
	return protection == PROTECTION_AES_256_CCM_8 || protection == PROTECTION_AES_128_CBC_MTE ||
	       protection == PROTECTION_AES_128_CBC_ETM;
}

static bool has_big(const struct session_table *t, uint32_t slot)
{
	return slot != SESSION_NONE && t->lines.rx[slot].big != SESSION_NONE;
}

static uint32_t big_take(struct session_table *t)
{
	struct session_head *h = t->head;
	uint32_t big = h->big_free;

	if (big != SESSION_NONE) {
		memcpy(&h->big_free, &t->lines.big[big], sizeof(h->big_free));
	} else {
		if (h->big_used == h->layout.bigs)
			return SESSION_NONE;
		big = h->big_used++;
	}
	h->big_taken++;
	return big;
}

static void big_give(struct session_table *t, uint32_t big)
{
	secret_wipe(&t->lines.big[big], sizeof(t->lines.big[big]));
	memcpy(&t->lines.big[big], &t->head->big_free, sizeof(t->head->big_free));
	t->head->big_free = big;
	t->head->big_taken--;
}

static void install_keys(struct session_table *t, uint32_t slot, const struct session_install *in,
			 uint32_t big)
{
	struct session_rx *rx = &t->lines.rx[slot];
	struct session_tx *tx = &t->lines.tx[slot];

	rx->big = tx->big = big;
	if (big == SESSION_NONE) {
		rx->key = in->rx_key.aead;
		tx->key = in->tx_key.aead;
	} else {
		t->lines.big[big].rx = in->rx_key;
		t->lines.big[big].tx = in->tx_key;
	}
}

static void install_lines(struct session_table *t, uint32_t slot, const struct session_install *in,
			  uint32_t tick)
{
	struct session_rx *rx = &t->lines.rx[slot];
	struct session_tx *tx = &t->lines.tx[slot];

	*rx = (struct session_rx){
		.generation = rx->generation,
		/* What came before the Finished is over, seen or not. */
		.replay = {.highest = in->rx_highest, .seen = UINT64_MAX},
		.active_tick = tick,
		.epoch = in->epoch,
		.protection = in->protection,
		.state = SESSION_LIVE,
		.has_cid = in->has_cid,
	};
	*tx = (struct session_tx){
		.epoch_seq_next = (uint64_t)in->epoch << 48 | in->tx_seq_next,
		.path = in->path,
		.cid_len = in->cid_len,
		.suite = in->suite,
		.holder = in->holder,
		.since_tick = tick,
	};
	memcpy(tx->cid, in->cid, in->cid_len);
}

/* The session that ends because of this one, or SESSION_NONE. */
static uint32_t replaced_by(const struct session_table *t, const struct session_install *in)
{
	uint32_t slot = index_find(t, &in->path.peer, index_hash(t, &in->path.peer));

	if (slot != SESSION_NONE && t->lines.rx[slot].has_cid && t->lines.tx[slot].holder != in->holder)
		return SESSION_NONE;
	return slot;
}

int session_install(struct session_table *t, const struct session_install *in, uint64_t now_ns,
		    uint32_t *replaced, uint32_t *evicted)
{
	struct session_head *h = t->head;
	uint32_t slot = in->ref.index;
	uint32_t big = SESSION_NONE;
	uint32_t same, oldest = SESSION_NONE;

	*replaced = *evicted = SESSION_NONE;
	if (!session_ref_is(t, in->ref, SESSION_RESERVED))
		return -ESTALE;
	if (in->protection == PROTECTION_NONE || in->protection >= PROTECTIONS ||
	    in->cid_len > RECORD_CID_MAX)
		return -EINVAL;
	same = replaced_by(t, in);
	if (same == SESSION_NONE && h->live >= h->limits.max)
		oldest = age_oldest(t, now_ns);
	if (key_is_big(in->protection)) {
		if (h->big_taken >= h->limits.big_max && !has_big(t, same) && !has_big(t, oldest))
			return -ENOSPC;
		big = big_take(t);
		if (big == SESSION_NONE)
			return -ENOSPC;
	}
	install_lines(t, slot, in, (uint32_t)(now_ns / SESSION_TICK_NS));
	install_keys(t, slot, in, big);
	(void)index_set(t, &in->path.peer, slot);
	age_insert(t, slot);
	h->reserved--;
	h->live++;
	*replaced = same;
	*evicted = oldest;
	return 0;
}

/* SESSION_DOWN_PENDING is a list from the oldest to the newest. */
static void down_append(struct session_table *t, uint32_t slot)
{
	struct session_head *h = t->head;

	t->lines.tx[slot].age_next = SESSION_NONE;
	t->lines.tx[slot].age_previous = h->down_tail;
	if (h->down_tail != SESSION_NONE)
		t->lines.tx[h->down_tail].age_next = slot;
	else
		h->down_head = slot;
	h->down_tail = slot;
}

static void down_take(struct session_table *t, uint32_t slot)
{
	struct session_head *h = t->head;
	uint32_t next = t->lines.tx[slot].age_next;
	uint32_t previous = t->lines.tx[slot].age_previous;

	if (next != SESSION_NONE)
		t->lines.tx[next].age_previous = previous;
	else
		h->down_tail = previous;
	if (previous != SESSION_NONE)
		t->lines.tx[previous].age_next = next;
	else
		h->down_head = next;
}

bool session_remove(struct session_table *t, uint32_t slot, enum sluice_reason reason)
{
	struct session_rx *rx = &t->lines.rx[slot];
	struct session_tx *tx = &t->lines.tx[slot];

	if (rx->state != SESSION_LIVE)
		return false;
	index_remove(t, &tx->path.peer, slot);
	age_remove(t, slot);
	if (rx->big != SESSION_NONE)
		big_give(t, rx->big);
	rx->big = tx->big = SESSION_NONE;
	secret_wipe(&rx->key, sizeof(rx->key));
	secret_wipe(&tx->key, sizeof(tx->key));
	rx->state = SESSION_DOWN_PENDING;
	tx->down_reason = (uint8_t)reason;
	down_append(t, slot);
	t->head->live--;
	return true;
}

void session_release(struct session_table *t, uint32_t slot)
{
	if (t->lines.rx[slot].state != SESSION_DOWN_PENDING)
		return;
	down_take(t, slot);
	slot_free(t, slot);
}

uint32_t session_down_pending(const struct session_table *t)
{
	return t->head->down_head;
}

/* An address that leads to another session goes on leading there. Only who has a CID moves, and is found by
 * it; the other has nothing but its address, which anyone with a session could claim by a forged source. */
void session_move(struct session_table *t, uint32_t slot, const struct path *path)
{
	struct session_tx *tx = &t->lines.tx[slot];

	if (t->lines.rx[slot].state != SESSION_LIVE)
		return;
	index_remove(t, &tx->path.peer, slot);
	tx->path = *path;
	if (index_find(t, &path->peer, index_hash(t, &path->peer)) == SESSION_NONE)
		(void)index_set(t, &path->peer, slot);
}

unsigned session_walk(struct session_table *t, uint32_t *cursor, uint32_t *slots, unsigned max)
{
	uint32_t slot = *cursor;
	unsigned found = 0;

	if (slot == SESSION_NONE)
		return 0;
	for (unsigned steps = 0; steps < WALK_STEPS && found < max && slot < t->head->used; steps++, slot++)
		if (t->lines.rx[slot].state == SESSION_LIVE)
			slots[found++] = slot;
	*cursor = slot < t->head->used ? slot : SESSION_NONE;
	return found;
}
