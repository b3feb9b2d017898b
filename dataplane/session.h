/* The session table of one worker (pure): every association's keys, window, sequence numbers and address.
 *
 *   rx[slot]   64 bytes   all that opening a record touches: key, window, epoch, generation
 *   tx[slot]  128 bytes   all that sealing a record touches: key, next sequence number, path, peer's CID
 *   big[n]     96 bytes x 2 keys that do not fit (CBC, AES-256), from a pool of their own
 *   address index: 64-byte buckets of 16-bit tags and slots
 *
 * Owner: one worker, every field, except session_table_new/free and the memory plan (start). All memory is
 * taken by session_table_new() in one mapping that holds no pointers and begins with a version and a
 * description of its layout, so that another process can attach it. Lookups are in bulk. Time comes in as
 * now_ns (CLOCK_MONOTONIC); idle expiry and eviction go by ticks of SESSION_TICK_NS.
 */
#ifndef DATAPLANE_SESSION_H
#define DATAPLANE_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/aead.h"
#include "dataplane/address.h"
#include "dataplane/record.h"
#include "dataplane/replay.h"
#include "ring/sluice.h"

#define SESSION_NONE UINT32_MAX

enum session_state { SESSION_FREE, SESSION_RESERVED, SESSION_LIVE, SESSION_DOWN_PENDING };

struct session_rx {
	struct aead_key key; /* or big */
	uint32_t generation; /* of sluice_ref; its low 24 bits are the tag inside the CID */
	struct replay_window replay;
	uint32_t active_tick; /* of the newest authenticated record */
	uint32_t failed_tags; /* RFC 9147 4.5.3 */
	uint16_t epoch;
	uint8_t protection; /* enum protection_id */
	uint8_t state;      /* enum session_state */
	uint8_t has_cid;    /* records must carry our CID */
	uint8_t reserved[3];
	uint32_t big; /* index in the big pool, SESSION_NONE: key is above */
};
_Static_assert(sizeof(struct session_rx) == 64, "one cache line");

struct session_tx {
	/* First line: with session_rx all that opening needs, and sealing unless the peer has a CID. */
	struct aead_key key; /* or big */
	uint32_t big;
	uint64_t epoch_seq_next;  /* epoch << 48 | sequence number of the next record */
	struct path path;         /* of the newest authenticated record */
	uint8_t unverified : 1;   /* peer moved and has not answered from there: RFC 9146 6 */
	uint8_t moved_untold : 1; /* and the application, whose ring was full, has yet to learn it */
	uint8_t cid_len;          /* 0: plain records towards the peer */
	/* Attach count of the uplink that got SESSION_UP; 0: none. Who takes the table over goes on counting
	 * where the other one ended. */
	uint32_t announced;
	/* Second line. */
	uint8_t cid[RECORD_CID_MAX];
	uint16_t suite;
	uint8_t down_reason; /* enum sluice_reason, in SESSION_DOWN_PENDING */
	uint8_t reserved;
	uint32_t unverified_in, unverified_out; /* bytes since the peer moved, until it answers */
	uint32_t age_next, age_previous;        /* live: in its age bucket; ended: in order of ending */
	uint32_t age_bucket;
	uint32_t since_tick; /* of the installation */
	uint64_t holder;     /* of session_install */
	uint32_t reserved_for_growth[2];
};
_Static_assert(sizeof(struct session_tx) == 128, "two cache lines");
_Static_assert(offsetof(struct session_tx, cid) == 64, "the first line is full");

/* Keys that do not fit into the lines above. A free entry begins with the number of the next free one. */
struct session_big {
	union record_key rx;
	uint8_t rx_room[96 - sizeof(union record_key)];
	union record_key tx;
	uint8_t tx_room[96 - sizeof(union record_key)];
};
_Static_assert(sizeof(struct session_big) == 192, "2 x 96");

struct session_table;

struct session_limits {
	uint32_t max;          /* live sessions */
	uint32_t reserved_max; /* slots reserved for handshakes in flight, beyond max */
	uint32_t big_max;      /* of them with large keys */
	uint32_t idle_timeout_s;
	uint16_t worker; /* goes into refs and CIDs */
};

/* What the table will take, in bytes, without taking it: big as it is used, all else at once. */
struct session_memory {
	size_t rx, tx, big, index, other, total;
	double per_session; /* all but big, by max: what a session with a 128-bit AEAD key takes */
};
/* All 0 for limits that session_table_new() refuses: no session at all, more than 2^24 with the reserved
 * ones, a worker above 255, big_max above max. */
void session_memory_plan(const struct session_limits *limits, struct session_memory *out);

/* What the mapping came from; anything but SESSION_PAGES_SMALL has 2 MiB pages. */
enum session_pages {
	SESSION_PAGES_RESERVED,  /* memfd of reserved huge pages */
	SESSION_PAGES_ADVISED,   /* memfd in transparent huge pages */
	SESSION_PAGES_COLLAPSED, /* memfd made huge at start */
	SESSION_PAGES_MIXED,     /* the same, but only a part: memory is short or in pieces */
	SESSION_PAGES_ANONYMOUS, /* transparent huge pages that cannot be attached: handing over means copying
				  */
	SESSION_PAGES_SMALL,     /* memfd of 4 KiB pages */
};

/* cid_key: 16 random bytes, the same for all workers of a gateway. NULL with errno (ENOMEM, EINVAL) on
 * failure. */
struct session_table *session_table_new(const struct session_limits *limits, const uint8_t cid_key[16],
					uint64_t now_ns);
void session_table_free(struct session_table *t); /* wipes every key; NULL is fine */
/* The same table in another process, from a duplicate of session_table_fd(): it becomes the owner, the
 * process that made the table must not touch it any more and ends with session_table_detach(), which wipes
 * nothing. Live and ended sessions come along, slots reserved for handshakes do not. fd is the table's
 * afterwards. NULL with errno, and fd still the caller's: EPROTO for what is no table of this version. */
struct session_table *session_table_attach(int fd);
void session_table_detach(struct session_table *t); /* NULL is fine */
enum session_pages session_table_pages(const struct session_table *t);
const char *session_pages_text(enum session_pages pages);
/* The memory for another process, or -1 (SESSION_PAGES_ANONYMOUS). The table keeps it. */
int session_table_fd(const struct session_table *t);

/* The lines of all sessions, for this process: a session table begins with them, so that the record path gets
 * at its lines without a call. */
struct session_lines {
	struct session_rx *rx;
	struct session_tx *tx;
	struct session_big *big;
	uint32_t slots; /* refs name one below */
	uint16_t worker;
};

static inline const struct session_lines *session_lines(const struct session_table *t)
{
	return (const struct session_lines *)(const void *)t;
}

static inline uint32_t session_slots(const struct session_table *t)
{
	return session_lines(t)->slots;
}

static inline struct session_rx *session_rx(struct session_table *t, uint32_t slot) /* slot < slots */
{
	return &session_lines(t)->rx[slot];
}

static inline struct session_tx *session_tx(struct session_table *t, uint32_t slot)
{
	return &session_lines(t)->tx[slot];
}

/* Into the second-level cache alone: of the first one's misses only a dozen can be under way, which would
 * make this wait; of the second one's several dozens. Measured: 13 to 19 cycles per line of main memory in
 * batches of 64 and more, against 30. */
static inline void session_prefetch(const void *line)
{
	__builtin_prefetch(line, 0, 2);
}

/* A large key lies over two lines; the engine wants it when the burst is complete. */
static inline const void *session_key_prefetch(const union record_key *key)
{
	__builtin_prefetch(key);
	__builtin_prefetch((const uint8_t *)(key + 1) - 1);
	return key;
}

/* For struct record_op; of a live session. */
static inline const void *session_rx_key(struct session_table *t, uint32_t slot)
{
	const struct session_rx *rx = session_rx(t, slot);

	if (rx->big == SESSION_NONE)
		return &rx->key;
	return session_key_prefetch(&session_lines(t)->big[rx->big].rx);
}

static inline const void *session_tx_key(struct session_table *t, uint32_t slot)
{
	const struct session_tx *tx = session_tx(t, slot);

	if (tx->big == SESSION_NONE)
		return &tx->key;
	return session_key_prefetch(&session_lines(t)->big[tx->big].tx);
}

static inline struct sluice_ref session_ref(struct session_table *t, uint32_t slot)
{
	return (struct sluice_ref){.index = slot,
				   .generation = session_rx(t, slot)->generation,
				   .worker = session_lines(t)->worker};
}

static inline bool session_ref_is(struct session_table *t, struct sluice_ref ref, enum session_state state)
{
	const struct session_lines *l = session_lines(t);

	return ref.index < l->slots && ref.worker == l->worker && l->rx[ref.index].state == state &&
	       l->rx[ref.index].generation == ref.generation;
}

/* The live slot of a ref from outside (ring, mail), or SESSION_NONE: any value is safe. */
static inline uint32_t session_by_ref(struct session_table *t, struct sluice_ref ref)
{
	return session_ref_is(t, ref, SESSION_LIVE) ? ref.index : SESSION_NONE;
}

uint32_t session_live_count(const struct session_table *t);

/* The CID of a slot (7 bytes): 24-bit tag || 32 bits of (worker 8, slot 24) xor AES(cid_key, tag):
 * unpredictable, unique among live sessions, leads to worker and slot without a hash. */
void session_cid(const struct session_table *t, uint32_t slot, uint8_t cid[CID_LEN]);
/* Which worker a CID of ours names; any key holder can tell. */
uint16_t session_cid_worker(const struct session_table *t, const uint8_t cid[CID_LEN]);

struct session_query {
	const uint8_t *cid; /* NULL: by address */
	const struct peer_address *address;
	uint64_t word; /* the table's: the hash of the address, or the tag of the CID */
	uint32_t slot; /* out: live slot, or SESSION_NONE */
};
enum { SESSION_QUERIES_MAX = 64 };
/* Finds n <= SESSION_QUERIES_MAX sessions with the memory latencies overlapped, and prefetches their rx
 * lines. */
void session_find_burst(struct session_table *t, struct session_query *queries, unsigned n);
/* The same in three steps, with the caller's other work between them, so that the memory of each comes
 * meanwhile: for n <= SESSION_QUERIES_MAX, then one by one. The last returns the live slot or SESSION_NONE. A
 * session that ends in between is not found; one that is installed in between may be missed. */
void session_find_begin(const struct session_table *t, struct session_query *queries, unsigned n);
void session_find_proceed(const struct session_table *t, struct session_query *query);
uint32_t session_find_end(const struct session_table *t, const struct session_query *query);
/* The first line: all that a record needs unless the peer has a CID. */
static inline void session_prefetch_tx(struct session_table *t, uint32_t slot)
{
	session_prefetch(session_tx(t, slot));
}

/* Reserves a slot for a handshake: SESSION_NONE when reserved_max are in flight. */
uint32_t session_reserve(struct session_table *t);
void session_unreserve(struct session_table *t, uint32_t slot);

struct session_install {
	struct sluice_ref ref; /* of the reserved slot */
	struct path path;
	uint16_t suite;
	uint8_t protection;
	bool has_cid; /* we handed out session_cid() and the client uses it */
	uint8_t cid_len;
	uint8_t cid[RECORD_CID_MAX]; /* of the peer's choice, for what we send */
	uint64_t holder; /* stands for who has proved to be there: the same in all sessions of one; 0: nobody
			  */
	uint16_t epoch;
	uint64_t rx_highest; /* highest sequence number of the epoch already authenticated + 1 */
	uint64_t tx_seq_next;
	union record_key rx_key, tx_key;
};

/* Makes the reserved slot live; its address leads to it from now on. *replaced is the slot of the live
 * session that had the address (SESSION_NONE: none), which the caller must end (RFC 6347 4.2.8) - but one of
 * another holder with our CID lives on: a NAT gives the port of a device that sleeps to others, and the
 * device is found by its CID when it wakes. *evicted is the least recently used session that must make room,
 * to be ended by the caller as well. 0; -ESTALE when ref is not reserved; -ENOSPC when big keys are used up;
 * -EINVAL for a protection or CID length that cannot be. After an error nothing has changed, the slot is
 * still reserved. Wipes nothing of the caller's. */
int session_install(struct session_table *t, const struct session_install *in, uint64_t now_ns,
		    uint32_t *replaced, uint32_t *evicted);

/* Ends a live session: keys wiped, lookups find it no more. It keeps its ref in SESSION_DOWN_PENDING until
 * session_release(), so that the application learns of every end even when its ring is full; until then its
 * slot is missing to session_reserve(). False, and nothing happens, when it was not live any more (two
 * records of one burst may both end it). */
bool session_remove(struct session_table *t, uint32_t slot, enum sluice_reason reason);
void session_release(struct session_table *t, uint32_t slot);
/* The oldest session in SESSION_DOWN_PENDING, or SESSION_NONE. */
uint32_t session_down_pending(const struct session_table *t);

/* A record of slot authenticated. Cheap: notes the tick only. */
static inline void session_touch(struct session_rx *rx, uint64_t now_ns);
/* The newest record of a session with a CID came from another address: the address index follows, unless that
 * address leads to another session. */
void session_move(struct session_table *t, uint32_t slot, const struct path *path);

/* Removes at most `max` sessions that have been idle too long; fills slots with them (not yet
 * session_remove()d). Bounded work per call. */
unsigned session_expire(struct session_table *t, uint64_t now_ns, uint32_t *slots, unsigned max);

/* Visits up to max live slots from *cursor on (start with 0, ends at SESSION_NONE): for announcements and
 * listings. Bounded work: may find none before the end. */
unsigned session_walk(struct session_table *t, uint32_t *cursor, uint32_t *slots, unsigned max);

#define SESSION_TICK_NS 1000000000ULL /* one second */
static inline void session_touch(struct session_rx *rx, uint64_t now_ns)
{
	rx->active_tick = (uint32_t)(now_ns / SESSION_TICK_NS);
}

#endif
