/* AES-128-GCM (NIST SP 800-38D, RFC 5288) over a burst of DTLS records, one record per 128-bit lane. A
 * template: the file that includes it chooses the register width, see crypto/vaes_gcm.c. One worker's thread
 * calls it; it allocates nothing.
 *
 * Rows, groups, key expansion and partial blocks are those of crypto/lanes_group.h. Nothing is kept per key:
 * the hash key H = E(0) is made in the first step, beside the mask of the tag E(J_0); H^2 where two blocks
 * are hashed at once. Higher powers would not pay for records: every lane has a chain of its own to multiply
 * along.
 *
 *   step     AES rows                 GHASH, in the gaps between the rounds
 *   first    0 -> H     J_0 -> tag
 *   1        A_2        A_3           AAD, one or two blocks
 *   2        A_4        A_5           C_1, C_2: what the step before has worked on
 *   ...
 *   last     keys of the next group   C_m-1, C_m, lengths
 *
 * Two rows of AES keep its units busy, as in crypto/ccm_lanes.h. What counts is the number of carry-less
 * multiplications, of which Zen starts one every other cycle only, as wide as they may be: hence three for a
 * product (Karatsuba) and one reduction, of two, for a pair of blocks, (hash ^ C_i) H^2 ^ C_i+1 H.
 *
 * GHASH reflects its bits. Blocks are kept with their bytes reversed, so that a carry-less product of two of
 * them is the reflected product but for one bit, which H * x in place of H makes up for. The product is
 * reduced from below in two steps of 64 bits by x^128 + x^127 + x^126 + x^121 + 1, the reflected polynomial.
 *
 * Blocks of zeros before the AAD do not change the hash: so records with AADs of different lengths go
 * together.
 *
 * Constant time: no branch and no address depends on keys, plaintext or tags.
 */
#include <stdlib.h>

#include "crypto/aad.h"
#include "crypto/lanes.h"
#include "crypto/secret.h"

enum {
	GROUPS = 2, /* one is worked on, one is made ready */
	AAD_BLOCKS = (AAD_MAX + BLOCK - 1) / BLOCK,
	NONCE_AT = 4,
	PENDING = 2,
};

/* Every block with its bytes reversed. */
struct own {
	struct power {
		union row value;  /* H * x, and H^2 * x when pairs are hashed */
		union row halves; /* the sum of its halves in its lower half */
	} h[2];
	union row hash;
	union row aad[AAD_BLOCKS]; /* ending at the last index */
	union row lengths;         /* the last block of all */
	union row pending[PENDING];
	union row mask;             /* with ONE pending: all ones where a record has a part of it */
	bool second_aad, third_aad; /* these last blocks but one and two of the AAD are in use */
	bool pairs;                 /* two blocks are hashed at once somewhere */
};

#include "crypto/lanes_group.h"

/* What is not hashed yet. */
enum pending {
	PAIR, /* pending[0] and pending[1], which every record has */
	ONE   /* pending[0], of the records in mask */
};

#define SHUFFLE_PLAIN(at_len)                                                                                \
	{                                                                                                    \
		NONE, NONE, NONE, at_len, (at_len) + 1, NONE, NONE, OP_TYPE, 0, 1, 2, 3, 4, 5, 6, 7          \
	}
#define SHUFFLE_CID7(at_len)                                                                                 \
	{                                                                                                    \
		NONE, NONE, at_len, (at_len) + 1, NONE, NONE, NONE, NONE, NONE, NONE, NONE, 0, 1, 2, 3, 4    \
	}
#define SHUFFLE_LENGTH(at_len)                                                                               \
	{                                                                                                    \
		at_len, (at_len) + 1, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,      \
			NONE, NONE, NONE                                                                     \
	}

/* By direction: open takes the length from fragment_len, seal from payload_len. */
static const uint8_t shuffle_plain[2][BLOCK] = {SHUFFLE_PLAIN(OP_FRAGMENT_LEN),
						SHUFFLE_PLAIN(OP_PAYLOAD_LEN)};
static const uint8_t shuffle_cid7[2][BLOCK] = {SHUFFLE_CID7(OP_FRAGMENT_LEN), SHUFFLE_CID7(OP_PAYLOAD_LEN)};
static const uint8_t shuffle_length[2][BLOCK] = {SHUFFLE_LENGTH(OP_FRAGMENT_LEN),
						 SHUFFLE_LENGTH(OP_PAYLOAD_LEN)};

/* What is the same in every AAD: RFC 5246 6.2.3.3 and RFC 9146 5.3. */
static const uint8_t fixed_plain[BLOCK] = {0, 0, 0, 0, 0, 0xfd, 0xfe};
static const uint8_t fixed_cid7[BLOCK] = {
	0,    0,    0,    0xfd, 0xfe, RECORD_TYPE_CID, 7, RECORD_TYPE_CID, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t shuffle_cid7_first[BLOCK] = {5,    6,    7,    NONE, NONE, NONE, NONE, NONE,
						  NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};
static const uint8_t shuffle_cid7_cid[BLOCK] = {NONE, NONE, NONE, NONE, 6,    5,    4,    3,
						2,    1,    0,    NONE, NONE, NONE, NONE, NONE};
static const uint8_t shuffle_salt[BLOCK] = {12,   13,   14,   15,   NONE, NONE, NONE, NONE,
					    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};
static const uint8_t reverse[BLOCK] = {15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0};

INLINE vec vec_reverse(vec block)
{
	return vec_shuffle(block, vec_broadcast(reverse));
}

/* ---- Taking records in ---- */

INLINE void group_set_vec(struct group *g, unsigned v, vec op, struct params params)
{
	vec key = load_keys(g, v, 0);
	vec salt = load_keys(g, v, 4); /* ends with the salt */
	vec nonce = vec_or(vec_shuffle(salt, vec_broadcast(shuffle_salt)),
			   vec_and(load_fragments(g, v), vec_broadcast(mask_explicit)));
	vec length = vec_shuffle(op, vec_broadcast(shuffle_length[params.seal]));

	g->key[0].v[v] = key;
	g->counter.v[v] = vec_xor(nonce, key);
	g->tag.v[v] = load_tags(g, v, params);
	g->own.aad[AAD_BLOCKS - 2].v[v] = vec_zero();
	g->own.aad[AAD_BLOCKS - 1].v[v] = vec_or(vec_shuffle(op, vec_broadcast(shuffle_plain[params.seal])),
						 vec_broadcast(fixed_plain));
	g->own.lengths.v[v] = vec_or(vec_shift_left64(length, 3), vec_pattern(0, AAD_PLAIN_LEN * 8));
	g->own.hash.v[v] = vec_zero();
}

/* A CID of 7 bytes, which is ours. */
INLINE void group_set_aad_cid7(struct group *g, unsigned v, struct params params)
{
	vec op = load_ops(g, v, params);
	vec aad_len = vec_pattern(0, (AAD_PLAIN_LEN ^ (AAD_CID_LEN + 7)) * 8);
	uint64_t cid[LANES];

	for (unsigned i = 0; i < LANES; i++) {
		const uint8_t *at = g->op[v * LANES + i]->cid;

		cid[i] = load32(at) | (uint64_t)load32(at + 3) << 24;
	}
	g->own.aad[AAD_BLOCKS - 2].v[v] =
		vec_or(vec_broadcast(fixed_cid7), vec_shuffle(op, vec_broadcast(shuffle_cid7_first)));
	g->own.aad[AAD_BLOCKS - 1].v[v] =
		vec_or(vec_shuffle(op, vec_broadcast(shuffle_cid7[params.seal])),
		       vec_shuffle(vec_set64(cid), vec_broadcast(shuffle_cid7_cid)));
	g->own.lengths.v[v] = vec_xor(g->own.lengths.v[v], aad_len);
}

/* A CID of any length, or none. */
static void lane_set_aad(struct group *g, unsigned lane, unsigned len)
{
	uint8_t aad[AAD_ROOM] = {0};
	unsigned aad_length = aad_write(aad, g->op[lane], len);
	unsigned blocks = (aad_length + BLOCK - 1) / BLOCK;

	static_assert((int)AAD_ROOM >= (int)AAD_BLOCKS * (int)BLOCK, "whole blocks are read");
	for (unsigned i = 0; i < blocks; i++) {
		uint64_t *block = g->own.aad[AAD_BLOCKS - blocks + i].half[lane];

		block[1] = __builtin_bswap64(load64(aad + (size_t)BLOCK * i));
		block[0] = __builtin_bswap64(load64(aad + (size_t)BLOCK * i + 8));
	}
	g->own.lengths.half[lane][1] = (uint64_t)aad_length * 8;
}

/* CIDs of any lengths: rare, so lane by lane. */
INLINE void group_set_aad_any(struct group *g, struct params params)
{
	for (unsigned v = 0; v < VECS; v++)
		g->own.aad[0].v[v] = vec_zero();
	for (unsigned lane = 0; lane < GROUP; lane++)
		lane_set_aad(g, lane, lane_len(g, lane, params));
}

/* ---- GHASH ---- */

/* A sum of products that is not reduced: Karatsuba's three parts. */
struct product {
	vec low, middle, high;
};

INLINE struct product ghash_multiply(vec x, const struct power *h, unsigned v)
{
	return (struct product){
		.low = vec_multiply_low(x, h->value.v[v]),
		.middle = vec_multiply_low(vec_xor(x, vec_swap64(x)), h->halves.v[v]),
		.high = vec_multiply_high(x, h->value.v[v]),
	};
}

INLINE struct product product_add(struct product x, struct product y)
{
	return (struct product){vec_xor(x.low, y.low), vec_xor(x.middle, y.middle), vec_xor(x.high, y.high)};
}

INLINE vec ghash_reduce(struct product p)
{
	const vec polynomial = vec_pattern(1, 0xc200000000000000);
	vec middle = vec_xor(p.middle, vec_xor(p.low, p.high));

	middle = vec_xor(middle, vec_xor(vec_swap64(p.low), vec_multiply_low_high(p.low, polynomial)));
	return vec_xor(p.high, vec_xor(vec_swap64(middle), vec_multiply_low_high(middle, polynomial)));
}

INLINE void power_set(struct power *h, unsigned v, vec value)
{
	h->value.v[v] = value;
	h->halves.v[v] = vec_xor(value, vec_swap64(value));
}

/* H * x from E(0). */
INLINE vec ghash_key(vec zero_encrypted)
{
	const vec carries = vec_pattern(1, 0xc200000000000001);
	vec h = vec_reverse(zero_encrypted);

	return vec_xor(vec_double64(h), vec_and(vec_signs_for_double(h), carries));
}

INLINE vec hash_one(const struct group *g, unsigned v, const union row *block)
{
	vec x = vec_xor(g->own.hash.v[v], block->v[v]);

	return ghash_reduce(ghash_multiply(x, &g->own.h[0], v));
}

INLINE vec hash_pair(const struct group *g, unsigned v)
{
	vec x = vec_xor(g->own.hash.v[v], g->own.pending[0].v[v]);

	return ghash_reduce(product_add(ghash_multiply(x, &g->own.h[1], v),
					ghash_multiply(g->own.pending[1].v[v], &g->own.h[0], v)));
}

/* H^2 * x. */
INLINE vec hash_square(const struct group *g, unsigned v)
{
	return ghash_reduce(ghash_multiply(g->own.h[0].value.v[v], &g->own.h[0], v));
}

/* What is pending in register v. */
INLINE void hash_pending(struct group *g, unsigned v, enum pending pending)
{
	if (pending == PAIR)
		g->own.hash.v[v] = hash_pair(g, v);
	else
		g->own.hash.v[v] =
			vec_select(g->own.mask.v[v], hash_one(g, v, &g->own.pending[0]), g->own.hash.v[v]);
}

/* ---- Steps ---- */

INLINE struct quad counter_at(const struct group *g, const uint8_t *counter_be)
{
	vec count = vec_broadcast(counter_be);

	return quad_xor(g->counter.q, (struct quad){count, count, count, count});
}

/* H, and what the tag is hidden by. j0: the counter of J_0, big endian. */
INLINE void step_first(struct group *g, const uint8_t *j0, struct params params)
{
	struct quad zero = g->key[0].q;
	struct quad first = counter_at(g, j0);
	union row h;

	rounds_both(g, &zero, &first, params.rounds);
	h.q = quad_aesenclast(zero, g->key[params.rounds].q);
	for (unsigned v = 0; v < VECS; v++)
		power_set(&g->own.h[0], v, ghash_key(h.v[v]));
	g->tag.q = quad_aesenclast(first, quad_xor(g->tag.q, g->key[params.rounds].q));
}

/* The last round of a whole block of register v's records, and its being left for the hash as pending[i]. */
INLINE void whole_end(struct group *g, unsigned v, unsigned i, vec counter, size_t offset,
		      struct params params)
{
	vec in = vec_load_lanes((const uint8_t *const *)g->data + v * LANES, offset);
	vec out = vec_aesenclast(counter, vec_xor(in, g->key[params.rounds].v[v]));

	vec_store_lanes(g->data + v * LANES, offset, out);
	g->own.pending[i].v[v] = vec_reverse(params.seal ? out : in);
}

/* Two payload blocks, whole in all records; a PAIR is pending after it. */
INLINE void step_pair(struct group *g, const uint8_t (*counters)[BLOCK], enum pending pending,
		      struct params params)
{
	size_t offset = (size_t)g->block * BLOCK;
	struct quad one = counter_at(g, counters[0]);
	struct quad other = counter_at(g, counters[1]);

	keys_stay_in_memory();
#pragma GCC unroll 13
	for (unsigned r = 1; r < params.rounds; r++) {
		struct quad key = quad_held(g->key[r].q);

		one = quad_aesenc(one, key);
		other = quad_aesenc(other, key);
		if (r % 2 == 1 && r / 2 < VECS)
			hash_pending(g, r / 2, pending);
	}
	whole_end(g, 0, 0, one.a, offset, params);
	whole_end(g, 1, 0, one.b, offset, params);
	whole_end(g, 2, 0, one.c, offset, params);
	whole_end(g, 3, 0, one.d, offset, params);
	whole_end(g, 0, 1, other.a, offset + BLOCK, params);
	whole_end(g, 1, 1, other.b, offset + BLOCK, params);
	whole_end(g, 2, 1, other.c, offset + BLOCK, params);
	whole_end(g, 3, 1, other.d, offset + BLOCK, params);
	g->block += 2;
}

INLINE void mask_all(struct group *g)
{
	vec all = vec_set32(~0U);

	g->own.mask.q = (struct quad){all, all, all, all};
}

/* The rounds of one row. */
INLINE struct quad rounds_one(struct group *g, const uint8_t *counter_be, enum pending pending,
			      struct params params)
{
	struct quad counter = counter_at(g, counter_be);

	keys_stay_in_memory();
#pragma GCC unroll 13
	for (unsigned r = 1; r < params.rounds; r++) {
		counter = quad_aesenc(counter, g->key[r].q);
		if (r % 2 == 1 && r / 2 < VECS)
			hash_pending(g, r / 2, pending);
	}
	return counter;
}

/* One payload block, whole in all records. */
INLINE void step_single(struct group *g, const uint8_t *counter_be, enum pending pending,
			struct params params)
{
	size_t offset = (size_t)g->block * BLOCK;
	struct quad counter = rounds_one(g, counter_be, pending, params);

	whole_end(g, 0, 0, counter.a, offset, params);
	whole_end(g, 1, 0, counter.b, offset, params);
	whole_end(g, 2, 0, counter.c, offset, params);
	whole_end(g, 3, 0, counter.d, offset, params);
	mask_all(g);
	g->block++;
}

/* The last round of a block that not all of register v's records have whole. Bytes behind a record's end keep
 * what they hold.
 */
INLINE void masked_end(struct group *g, unsigned v, uint8_t *const *at, vec counter, struct params params)
{
	vec mask = masked_bytes(g, v);
	vec in = vec_load_lanes((const uint8_t *const *)at + v * LANES, 0);
	vec out = vec_aesenclast(counter, vec_xor(in, g->key[params.rounds].v[v]));

	vec_store_lanes(at + v * LANES, 0, vec_select(mask, out, in));
	g->own.pending[0].v[v] = vec_reverse(vec_and(params.seal ? out : in, mask));
	g->own.mask.v[v] = vec_shuffle(mask, vec_zero()); /* of its first byte */
}

/* One block where some record has only a part of it, or nothing. */
INLINE void step_masked(struct group *g, const uint8_t *counter_be, enum pending pending,
			struct params params)
{
	uint8_t *at[GROUP];
	struct quad counter;

	group_places(g, at, params);
	counter = rounds_one(g, counter_be, pending, params);
	masked_end(g, 0, at, counter.a, params);
	masked_end(g, 1, at, counter.b, params);
	masked_end(g, 2, at, counter.c, params);
	masked_end(g, 3, at, counter.d, params);
	g->block++;
}

/* The rest of the hash; next: the group whose keys are expanded meanwhile, or NULL. */
INLINE void step_last(struct group *g, struct group *next, enum pending pending, struct params params)
{
	struct expansion e = {0};

	if (next)
		e = expand_begin(next, params);
#pragma GCC unroll 14
	for (unsigned r = 1; r <= params.rounds; r++) {
		if (next)
			e = expand_round(next, e, r, params);
		if (r <= VECS)
			hash_pending(g, r - 1, pending);
		else if (r <= 2 * VECS)
			g->own.hash.v[r - 1 - VECS] = hash_one(g, r - 1 - VECS, &g->own.lengths);
	}
	if (next)
		expand_end(next, params);
	for (unsigned v = 0; v < VECS; v++)
		g->tag_end->v[v] = vec_xor(g->tag.v[v], vec_reverse(g->own.hash.v[v]));
}

struct gcm_worker {
	struct group groups[GROUPS];
	union row tags[RECORD_BURST_MAX / GROUP];
	uint8_t counters[DATA_MAX / BLOCK + 2][BLOCK]; /* 1 for J_0, 2 for the first payload block ... */
	struct record_op idle;                         /* on the sink */
	uint8_t sink[DATA_MAX + 4 * BLOCK];
};

/* Takes the records from `taken` on, as many as a group has or there are left. Returns how many are taken
 * then.
 */
INLINE unsigned gcm_take(struct gcm_worker *w, struct group *g, struct record_op **ops, unsigned taken,
			 unsigned count, struct params params)
{
	struct taken here = group_take(g, ops + taken, count - taken, &w->idle, params);
	bool cid7 = here.cid_least == 7 && here.cid_most == 7;

	g->tag_end = &w->tags[taken / GROUP];
	g->own.second_aad = here.cid_most > 0;
	g->own.third_aad = here.cid_most > 0 && !cid7;
	g->own.pairs = g->own.second_aad || g->whole_blocks >= 2;
	if (g->own.third_aad)
		group_set_aad_any(g, params);
	for (unsigned v = 0; cid7 && v < VECS; v++)
		group_set_aad_cid7(g, v, params);
	return taken + here.count;
}

/* The AAD becomes what is pending. */
INLINE enum pending group_hash_aad(struct group *g, struct params params)
{
	for (unsigned v = 0; g->own.pairs && v < VECS; v++)
		power_set(&g->own.h[1], v, hash_square(g, v));
	for (unsigned v = 0; g->own.third_aad && v < VECS; v++)
		g->own.hash.v[v] = hash_one(g, v, &g->own.aad[0]);
	if (g->own.second_aad) {
		g->own.pending[0].q = g->own.aad[AAD_BLOCKS - 2].q;
		g->own.pending[1].q = g->own.aad[AAD_BLOCKS - 1].q;
		return PAIR;
	}
	g->own.pending[0].q = g->own.aad[AAD_BLOCKS - 1].q;
	mask_all(g);
	return ONE;
}

/* All but the last step; says what is pending then. */
INLINE enum pending group_run(const struct gcm_worker *w, struct group *g, struct params params)
{
	const uint8_t(*counters)[BLOCK] = w->counters + 1;
	enum pending pending;

	step_first(g, w->counters[0], params);
	pending = group_hash_aad(g, params);
	for (; g->block + 2 <= g->whole_blocks; pending = PAIR) {
		if (pending == PAIR)
			step_pair(g, counters + g->block, PAIR, params);
		else
			step_pair(g, counters + g->block, ONE, params);
	}
	for (; g->block < g->whole_blocks; pending = ONE) {
		if (pending == PAIR)
			step_single(g, counters[g->block], PAIR, params);
		else
			step_single(g, counters[g->block], ONE, params);
	}
	if (g->block < g->blocks)
		group_load_tails(g, params);
	for (; g->block < g->blocks; pending = ONE) {
		if (pending == PAIR)
			step_masked(g, counters[g->block], PAIR, params);
		else
			step_masked(g, counters[g->block], ONE, params);
	}
	return pending;
}

INLINE void powers_wipe(struct group *g)
{
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned v = 0; v < VECS; v++)
			power_set(&g->own.h[i], v, vec_zero());
	}
	__asm__ __volatile__("" : : "r"(g) : "memory");
}

/* Group after group; in the last step of one the keys of the next are expanded. Its tags are looked at when
 * the next one has come to its end.
 */
INLINE void gcm_burst(struct gcm_worker *w, struct record_op **ops, unsigned count, struct params params)
{
	struct group *g = &w->groups[0];
	struct group *other = &w->groups[1];
	unsigned taken = gcm_take(w, g, ops, 0, count, params);
	unsigned first = 0; /* record of the group that is stepped */

	expand(g, params);
	for (struct group *next = g; next; g = next) {
		enum pending pending = group_run(w, g, params);

		next = taken < count ? other : NULL;
		if (next)
			taken = gcm_take(w, next, ops, taken, count, params);
		if (next && pending == PAIR)
			step_last(g, next, PAIR, params);
		else if (next)
			step_last(g, next, ONE, params);
		else if (pending == PAIR)
			step_last(g, NULL, PAIR, params);
		else
			step_last(g, NULL, ONE, params);
		group_end(g, params);
		if (first > 0)
			tags_judge(w->tags, first - GROUP, ops, count, params);
		first += GROUP;
		other = g;
	}
	tags_judge(w->tags, first - GROUP, ops, count, params);
	for (unsigned i = 0; i < GROUPS && i * GROUP < count; i++) {
		keys_wipe(&w->groups[i], params.rounds);
		powers_wipe(&w->groups[i]);
	}
}

static void gcm_open_burst(void *worker, struct record_op **ops, unsigned count)
{
	if (count > 0)
		gcm_burst(worker, ops, count, (struct params){.rounds = 10, .tag_len = BLOCK, .seal = false});
}

static void gcm_seal_burst(void *worker, struct record_op **ops, unsigned count)
{
	if (count > 0)
		gcm_burst(worker, ops, count, (struct params){.rounds = 10, .tag_len = BLOCK, .seal = true});
}

static void *gcm_worker_new(void)
{
	size_t size = (sizeof(struct gcm_worker) + 63) & ~(size_t)63;
	struct gcm_worker *w = aligned_alloc(64, size);

	if (!w)
		return NULL;
	memset(w, 0, size);
	for (unsigned i = 0; i < sizeof w->counters / sizeof w->counters[0]; i++) {
		w->counters[i][14] = (uint8_t)((i + 1) >> 8);
		w->counters[i][15] = (uint8_t)(i + 1);
	}
	w->idle.fragment = w->sink + BLOCK;
	w->idle.key = w->sink;
	return w;
}

static void gcm_worker_free(void *worker)
{
	if (worker)
		secret_wipe(worker, sizeof(struct gcm_worker));
	free(worker);
}
