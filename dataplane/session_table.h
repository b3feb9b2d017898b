/* Inside of the session table (pure): what session*.c share and nobody else includes.
 *
 * One mapping, every position relative to its start, so that another process can attach it:
 *
 *   head | wheel[wheel_size] | index[buckets + overflow] | rx[slots] | tx[slots] | big[bigs]
 *
 * Fresh memory is zero, and zero is a valid beginning everywhere: a free slot, an empty tag, no overflow, an
 * empty age bucket.
 */
#ifndef DATAPLANE_SESSION_TABLE_H
#define DATAPLANE_SESSION_TABLE_H

#include "dataplane/session.h"
#include "dataplane/session_prf.h"

enum {
	SESSION_LAYOUT_VERSION = 2,
	SESSION_SLOTS_MAX = 1 << 24,  /* a CID names a slot in 24 bits ... */
	SESSION_WORKERS_MAX = 1 << 8, /* ... and a worker in 8 */
	INDEX_WAYS = 10,              /* entries of a bucket */
	INDEX_FILL = 5,      /* entries per bucket when the table is full: 1.4 % of the buckets overflow */
	WHEEL_MAX = 1 << 18, /* age buckets: three days by the second */
};

struct index_bucket {
	uint16_t tags[INDEX_WAYS]; /* 0: empty; the used ones come first */
	uint32_t slots[INDEX_WAYS];
	uint32_t next; /* number of the overflow bucket; 0: none */
};
_Static_assert(sizeof(struct index_bucket) == 64, "one cache line");

enum session_area { AREA_WHEEL, AREA_INDEX, AREA_RX, AREA_TX, AREA_BIG, SESSION_AREAS };

struct session_layout {
	uint64_t size;     /* of the mapping */
	uint64_t at_start; /* of them in memory from the start; behind them the big pool */
	uint32_t slots, buckets, overflow, bigs, wheel_size;
	uint32_t wheel_width; /* ticks per age bucket */
	struct {
		uint64_t at, count, entry_size;
	} area[SESSION_AREAS];
};

/* The beginning of the mapping: what it is, then the state that changes. */
struct session_head {
	char magic[8];
	uint32_t version, head_size;
	struct session_limits limits;
	struct session_layout layout;
	enum session_pages pages;
	uint64_t hash_seed[4];
	uint8_t cid_key[16], generation_key[16];
	uint64_t generations; /* made so far */

	uint32_t used;      /* slots below have been used */
	uint32_t free_head; /* list through tx.age_next */
	uint32_t live, reserved;
	uint32_t down_head, down_tail; /* SESSION_DOWN_PENDING, oldest first */
	uint32_t big_used, big_free, big_taken;
	uint32_t overflow_used, overflow_free;
	uint32_t wheel_at; /* number of the oldest age bucket that may hold a session */
};

struct session_memory_map {
	uint8_t *base;
	size_t size;
	int fd; /* -1: anonymous */
	enum session_pages pages;
};

/* One process's view of the mapping. The copies of what the head says are there because every look-up needs
 * them. */
struct session_table {
	struct session_lines lines;
	struct session_head *head;
	uint32_t *wheel; /* slot + 1 of the first session of the age bucket; 0: empty */
	struct index_bucket *index;
	uint64_t hash_seed[4];
	uint32_t buckets;
	struct session_prf cid_prf, generation_prf;
	struct session_memory_map memory;
};
_Static_assert(offsetof(struct session_table, lines) == 0, "session.h looks for them there");

/* session_memory.c: start and stop. 0, -EINVAL or -ENOMEM. */
int session_layout_make(const struct session_limits *limits, struct session_layout *out);
int session_memory_map(struct session_memory_map *m, size_t size, size_t at_start);
int session_memory_attach(struct session_memory_map *m, int fd);
/* Every page of the first `size` bytes, so that there is none left to wait for. False: no memory. */
bool session_memory_populate(const struct session_memory_map *m, size_t size);
void session_memory_unmap(struct session_memory_map *m);

/* session_index.c: address -> slot. See also session_index.h. */
uint32_t index_find(const struct session_table *t, const struct peer_address *address, uint64_t hash);
/* The address leads to slot from now on. Returns where it led before, or SESSION_NONE. Never fails for as
 * many addresses as there are slots. */
uint32_t index_set(struct session_table *t, const struct peer_address *address, uint32_t slot);
/* Nothing happens when the address leads to another slot meanwhile. */
void index_remove(struct session_table *t, const struct peer_address *address, uint32_t slot);

/* session_age.c: live sessions by the tick of their last record. */
void age_insert(struct session_table *t, uint32_t slot);
void age_remove(struct session_table *t, uint32_t slot);
uint32_t age_oldest(struct session_table *t, uint64_t now_ns);

#endif
