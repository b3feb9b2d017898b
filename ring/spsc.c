/* Both ends of the ring (spsc.h). Producer functions run on the producer's thread, consumer functions on the
 * consumer's; the two meet in struct spsc_control alone. Either side may be hostile: an index or a header is
 * read once, checked against private state, and only the checked copy is used.
 *
 * Publishing and falling asleep is the store-then-load pattern on both sides (head then sleeping, sleeping
 * then head). Both use seq_cst accesses, which do the work of the fence and which ThreadSanitizer
 * understands.
 */
#include "ring/spsc.h"

#include <assert.h>
#include <string.h>

static_assert(sizeof(struct spsc_header) == sizeof(uint64_t), "a header is read and written in one access");
static_assert(sizeof(struct spsc_control) == 192, "layout shared between processes");

static struct spsc_header header_read(const uint8_t *at)
{
	uint64_t word = __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
	struct spsc_header header;

	memcpy(&header, &word, sizeof(header));
	return header;
}

void spsc_producer_init(struct spsc_producer *p, struct spsc_control *control, void *data, uint64_t size)
{
	uint64_t head = atomic_load_explicit(&control->head, memory_order_relaxed);

	assert(size >= 4096 && (size & (size - 1)) == 0);
	*p = (struct spsc_producer){
		.control = control,
		.data = data,
		.size = size,
		.head = head,
		.published = head,
		.tail_cached = atomic_load_explicit(&control->tail, memory_order_acquire),
	};
}

/* The consumer's index can only move forward, to the start of a message that was published. */
static void refresh_tail(struct spsc_producer *p)
{
	uint64_t tail = atomic_load_explicit(&p->control->tail, memory_order_acquire); /* spsc_release */

	if (tail - p->tail_cached > p->published - p->tail_cached || tail % SPSC_ALIGN != 0)
		p->bad_tails++;
	else
		p->tail_cached = tail;
}

static uint64_t free_bytes(const struct spsc_producer *p)
{
	return p->size - (p->head - p->tail_cached);
}

void *spsc_reserve_slowly(struct spsc_producer *p, uint16_t type, uint32_t len, uint64_t leave)
{
	uint64_t total = spsc_align(sizeof(struct spsc_header) + (uint64_t)len);
	uint64_t offset = p->head & (p->size - 1);
	uint64_t pad = offset + total > p->size ? p->size - offset : 0;
	uint8_t *at;

	assert(type != SPSC_PAD);
	if (total > p->size / SPSC_MESSAGE_SHARE)
		return NULL;
	if (pad + total + leave > free_bytes(p)) {
		refresh_tail(p);
		if (pad + total + leave > free_bytes(p))
			return NULL;
	}
	if (pad > 0) {
		spsc_header_write(p->data + offset, (uint32_t)sizeof(struct spsc_header), SPSC_PAD);
		offset = 0;
	}
	at = p->data + offset;
	spsc_header_write(at, (uint32_t)sizeof(struct spsc_header) + len, type);
	p->head += pad + total;
	return at + sizeof(struct spsc_header);
}

void *spsc_reserve(struct spsc_producer *p, uint16_t type, uint32_t len)
{
	return spsc_reserve_leaving(p, type, len, 0);
}

uint64_t spsc_room(struct spsc_producer *p)
{
	refresh_tail(p);
	return free_bytes(p);
}

bool spsc_publish(struct spsc_producer *p)
{
	if (p->head == p->published)
		return false;
	p->published = p->head;
	/* Pairs with the acquire in spsc_next() for the messages, and with spsc_sleep() for the flag. */
	atomic_store_explicit(&p->control->head, p->head, memory_order_seq_cst);
	if (atomic_load_explicit(&p->control->sleeping, memory_order_seq_cst) == 0)
		return false;
	return atomic_exchange_explicit(&p->control->sleeping, 0, memory_order_relaxed) != 0;
}

void spsc_consumer_init(struct spsc_consumer *c, struct spsc_control *control, const void *data,
			uint64_t size)
{
	uint64_t tail = atomic_load_explicit(&control->tail, memory_order_relaxed);

	assert(size >= 4096 && (size & (size - 1)) == 0);
	*c = (struct spsc_consumer){
		.control = control,
		.data = data,
		.size = size,
		.tail = tail,
		.released = tail,
		.head_cached = tail,
	};
}

/* Reads the producer's index when everything up to the last one has been taken. It must have moved forward by
 * whole messages, and not past what the producer knows to be free. */
static bool refresh_head(struct spsc_consumer *c)
{
	uint64_t head = atomic_load_explicit(&c->control->head, memory_order_acquire); /* spsc_publish */

	if (head == c->tail)
		return false;
	if (head - c->released > c->size || head - c->released < c->tail - c->released ||
	    head % SPSC_ALIGN != 0) {
		c->broken = true;
		return false;
	}
	c->head_cached = head;
	return true;
}

/* The header at c->tail, which lies before head_cached. False: the ring is broken. */
static bool take_message(struct spsc_consumer *c, struct spsc_message *m)
{
	uint64_t offset = c->tail & (c->size - 1);
	uint64_t available = c->head_cached - c->tail;
	uint64_t to_end = c->size - offset;
	struct spsc_header header = header_read(c->data + offset);
	uint64_t total = header.type == SPSC_PAD ? to_end : spsc_align(header.length);

	if (header.length < sizeof(header) || total > to_end || total > available) {
		c->broken = true;
		return false;
	}
	c->tail += total;
	*m = (struct spsc_message){
		.type = header.type,
		.len = header.length - (uint32_t)sizeof(header),
		.body = c->data + offset + sizeof(header),
	};
	return true;
}

bool spsc_next(struct spsc_consumer *c, struct spsc_message *m)
{
	do {
		if (c->broken || (c->tail == c->head_cached && !refresh_head(c)))
			return false;
		if (!take_message(c, m))
			return false;
	} while (m->type == SPSC_PAD); /* a pad consumes all up to the end: at most two fit in one ring */
	return true;
}

void spsc_release(struct spsc_consumer *c)
{
	if (c->tail == c->released)
		return;
	c->released = c->tail;
	atomic_store_explicit(&c->control->tail, c->tail,
			      memory_order_release); /* pairs with refresh_tail() */
}

bool spsc_sleep(struct spsc_consumer *c)
{
	/* Pairs with spsc_publish(): one of the two sides sees what the other stored. */
	atomic_store_explicit(&c->control->sleeping, 1, memory_order_seq_cst);
	if (c->broken || atomic_load_explicit(&c->control->head, memory_order_seq_cst) == c->tail)
		return true;
	spsc_awake(c);
	return false;
}

void spsc_awake(struct spsc_consumer *c)
{
	atomic_store_explicit(&c->control->sleeping, 0, memory_order_relaxed);
}
