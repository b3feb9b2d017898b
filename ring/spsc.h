/* A ring of messages of any length between one producer and one consumer (pure): the layout in shared memory
 * and both ends. The uplink, the downlink and the mailboxes between threads are all this ring.
 *
 *   control:  | head (line 0, producer writes) | tail (line 1, consumer writes) | sleeping (line 2) |
 *   data:     | message | message | ... | pad to the end |   size is a power of two
 *   message:  | u32 length | u16 type | u16 flags | body ... | padded to SPSC_ALIGN |
 *
 * head and tail count bytes since the start and never wrap within a lifetime. A message never wraps: one that
 * does not fit before the end is preceded by SPSC_PAD. The other side's memory is data to check: each end
 * keeps its own index privately, reads the other's once per batch, and a length once per message.
 */
#ifndef RING_SPSC_H
#define RING_SPSC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	SPSC_ALIGN = 64,
	SPSC_PAD = 0,
	SPSC_MESSAGE_SHARE = 4, /* one message takes at most this part of the ring */
};

struct spsc_control {
	_Alignas(64) _Atomic uint64_t head;     /* producer */
	_Alignas(64) _Atomic uint64_t tail;     /* consumer */
	_Alignas(64) _Atomic uint32_t sleeping; /* consumer: 1 while it blocks; apart from tail, since the
						 * producer reads it at every publish */
};

struct spsc_header {
	uint32_t length; /* header and body, without padding */
	uint16_t type;   /* SPSC_PAD: skip to the end */
	uint16_t flags;
};

struct spsc_producer {
	struct spsc_control *control;
	uint8_t *data;
	uint64_t size;
	uint64_t head;        /* next byte to write; private */
	uint64_t published;   /* last value stored in control->head */
	uint64_t tail_cached; /* last plausible value read from control->tail */
	uint64_t bad_tails;   /* implausible values read: the consumer misbehaves */
};

struct spsc_consumer {
	struct spsc_control *control;
	const uint8_t *data;
	uint64_t size;
	uint64_t tail;     /* next byte to read; private */
	uint64_t released; /* last value stored in control->tail */
	uint64_t head_cached;
	bool broken; /* the producer wrote something impossible: nothing more is read */
};

struct spsc_message {
	uint16_t type;
	uint32_t len;     /* of the body; checked to lie inside the ring */
	const void *body; /* in the ring, until spsc_release(); the other side may change it meanwhile */
};

/* Both ends start at what control holds (a fresh ring: zeros). size: a power of two, at least 4096. */
void spsc_producer_init(struct spsc_producer *p, struct spsc_control *control, void *data, uint64_t size);
void spsc_consumer_init(struct spsc_consumer *c, struct spsc_control *control, const void *data,
			uint64_t size);

/* Producer's thread. Space for one message with len bytes of body, already counted as written; NULL when it
 * does not fit now (or never: more than a quarter of the size). Not visible before spsc_publish(). */
void *spsc_reserve(struct spsc_producer *p, uint16_t type, uint32_t len);
/* The same, and refuses unless `leave` bytes stay free behind the message. */
static inline void *spsc_reserve_leaving(struct spsc_producer *p, uint16_t type, uint32_t len,
					 uint64_t leave);
/* Starts to fetch for writing lines of the ring that will be written soon: from `ahead` bytes behind what has
 * been written on. The consumer's core has them. */
static inline void spsc_prefetch(const struct spsc_producer *p, uint64_t ahead, unsigned lines);
/* Bytes free now: what messages take with their headers, their alignment and a pad at the end. */
uint64_t spsc_room(struct spsc_producer *p);
/* Whether that many are. Asks the consumer only when what is known of it is not enough. */
static inline bool spsc_fits(struct spsc_producer *p, uint64_t bytes)
{
	return bytes <= p->size - (p->head - p->tail_cached) || bytes <= spsc_room(p);
}
/* Makes everything reserved visible. True when the consumer sleeps and must be woken: the flag is cleared by
 * this. */
bool spsc_publish(struct spsc_producer *p);

/* Consumer's thread. The next message, false when there is none (or the ring is broken). */
bool spsc_next(struct spsc_consumer *c, struct spsc_message *m);
/* Gives the space of everything taken so far back to the producer. */
void spsc_release(struct spsc_consumer *c);
/* Announces that the consumer will block; false when a message is there after all (then it is not asleep). */
bool spsc_sleep(struct spsc_consumer *c);
void spsc_awake(struct spsc_consumer *c);

/* ---- in line, because a worker does it for every record ---- */

/* What needs more than the cached index: a wrap, or the consumer's progress. */
void *spsc_reserve_slowly(struct spsc_producer *p, uint16_t type, uint32_t len, uint64_t leave);

static inline uint64_t spsc_align(uint64_t bytes)
{
	return (bytes + SPSC_ALIGN - 1) & ~(uint64_t)(SPSC_ALIGN - 1);
}

/* One access: the consumer, which may be another program, never sees half a header. */
static inline void spsc_header_write(uint8_t *at, uint32_t length, uint16_t type)
{
	struct spsc_header header = {.length = length, .type = type};
	uint64_t word;

	memcpy(&word, &header, sizeof(word));
	__atomic_store_n((uint64_t *)(void *)at, word, __ATOMIC_RELAXED);
}

static inline void *spsc_reserve_leaving(struct spsc_producer *p, uint16_t type, uint32_t len, uint64_t leave)
{
	uint64_t total = spsc_align(sizeof(struct spsc_header) + (uint64_t)len);
	uint64_t offset = p->head & (p->size - 1);
	uint8_t *at = p->data + offset;

	if (total > p->size / SPSC_MESSAGE_SHARE || offset + total > p->size ||
	    total + leave > p->size - (p->head - p->tail_cached))
		return spsc_reserve_slowly(p, type, len, leave);
	spsc_header_write(at, (uint32_t)sizeof(struct spsc_header) + len, type);
	p->head += total;
	return at + sizeof(struct spsc_header);
}

static inline void spsc_prefetch(const struct spsc_producer *p, uint64_t ahead, unsigned lines)
{
	for (unsigned i = 0; i < lines; i++)
		__builtin_prefetch(p->data + ((p->head + ahead + (uint64_t)SPSC_ALIGN * i) & (p->size - 1)),
				   1);
}

#endif
