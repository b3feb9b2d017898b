/* A group of records, one per lane, and what the kernels on lanes have in common: taking records in,
 * expanding their keys, partial blocks, verdicts. A template as crypto/lanes.h is; the kernel that includes
 * it has defined, between the two,
 *
 *   struct own              what a group of its has besides,
 *   NONCE_AT                where nonce_explicit stands in its nonce,
 *   group_set_vec()         which is declared below.
 *
 * Keys are expanded for a whole group from the raw keys, transposed (register d holds word d of every key),
 * which needs one shuffle and one aesenclast (SubWord; the round constant is its key) for all of them, and a
 * 4 x 4 transpose back per round.
 *
 * Partial blocks come from and go to `tail`. Nothing behind the fragment is touched: a partial block of r
 * bytes is loaded and stored as its first 8 and, when r >= 8, its second 8 bytes; as a tag of 8 or more bytes
 * follows it, both lie inside the fragment.
 *
 * Constant time: no branch and no address depends on keys, plaintext or tags. Lengths and the presence of a
 * CID are public.
 */
#include "crypto/always.h"

struct params {
	unsigned rounds;  /* 10 or 14 */
	unsigned tag_len; /* 8 or 16 */
	bool seal;
};

struct group {
	union row key[ROUNDS_MAX + 2]; /* [rounds + 1] is key[rounds] ^ key[0] */
	union row counter;             /* the first counter block, its count 0, ^ key[0] */
	union row tag;                 /* received tag or 0 */
	union row *tag_end;            /* where it goes ^ what it ought to be: see tags_judge() */
	union row tail;                /* partial blocks */
	union row len16; /* payload length in every 16 bits of a lane: when there are partial blocks */
	struct own own;
	uint8_t *data[GROUP];            /* payload: ciphertext and plaintext in place */
	struct record_op *const *op;     /* GROUP of them; lanes without a record do what the others do */
	struct record_op *padded[GROUP]; /* where they stand when the idle one is among them */
	unsigned block;                  /* next payload block to be stepped */
	unsigned whole_blocks;           /* that every record has */
	unsigned blocks;                 /* of the longest, with its partial one */
};

/* Register v's key[0], counter, tag and all that is the kernel's own. op: what load_ops() gives. */
INLINE void group_set_vec(struct group *g, unsigned v, vec op, struct params params);

/* Bytes of a record_op from epoch_seq on, as one 16-byte load sees them. */
enum { OP_SEQ = 0, OP_FRAGMENT_LEN = 8, OP_PAYLOAD_LEN = 12, OP_CID_LEN = 14, OP_TYPE = 15, NONE = 0x80 };
static_assert(offsetof(struct record_op, fragment_len) - offsetof(struct record_op, epoch_seq) ==
			      OP_FRAGMENT_LEN &&
		      offsetof(struct record_op, payload_len) - offsetof(struct record_op, epoch_seq) ==
			      OP_PAYLOAD_LEN &&
		      offsetof(struct record_op, cid_len) - offsetof(struct record_op, epoch_seq) ==
			      OP_CID_LEN &&
		      offsetof(struct record_op, type) - offsetof(struct record_op, epoch_seq) == OP_TYPE,
	      "the heads are shuffled together from these");
static_assert(offsetof(struct record_op, payload_len) - offsetof(struct record_op, payload_offset) == 2,
	      "both are written at once");

/* By direction: open takes the length from fragment_len, seal from payload_len. */
#define LENGTH_AND_CID(at_len)                                                                               \
	{                                                                                                    \
		[at_len] = 0xff, [(at_len) + 1] = 0xff, [OP_CID_LEN] = 0xff                                  \
	}
#define SHUFFLE_LEN16(at_len)                                                                                \
	{                                                                                                    \
		at_len, (at_len) + 1, at_len, (at_len) + 1, at_len, (at_len) + 1, at_len, (at_len) + 1,      \
			at_len, (at_len) + 1, at_len, (at_len) + 1, at_len, (at_len) + 1, at_len,            \
			(at_len) + 1                                                                         \
	}
static const uint8_t length_and_cid[2][BLOCK] = {LENGTH_AND_CID(OP_FRAGMENT_LEN),
						 LENGTH_AND_CID(OP_PAYLOAD_LEN)};
static const uint8_t shuffle_len16[2][BLOCK] = {SHUFFLE_LEN16(OP_FRAGMENT_LEN),
						SHUFFLE_LEN16(OP_PAYLOAD_LEN)};
static const uint8_t mask_explicit[BLOCK] = {[NONCE_AT... NONCE_AT + EXPLICIT - 1] = 0xff};
static const uint8_t shuffle_high_half[BLOCK] = {8,    9,    10,   11,   12,   13,   14,   15,
						 NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};

/* 16 bytes of each lane's key structure, from `offset`. */
INLINE vec load_keys(const struct group *g, unsigned v, size_t offset)
{
	const uint8_t *at[LANES];

	for (unsigned i = 0; i < LANES; i++)
		at[i] = g->op[v * LANES + i]->key;
	return vec_load_lanes(at, offset);
}

/* 16 bytes of each lane's record, nonce_explicit in the middle; what is before it is the record's header. */
INLINE vec load_fragments(const struct group *g, unsigned v)
{
	const uint8_t *at[LANES];

	for (unsigned i = 0; i < LANES; i++)
		at[i] = g->data[v * LANES + i] - EXPLICIT - NONCE_AT;
	return vec_load_lanes(at, 0);
}

/* The ops themselves from epoch_seq on, with the length of the payload in place of the fragment's (open). */
INLINE vec load_ops(const struct group *g, unsigned v, struct params params)
{
	const vec overhead = vec_pattern(0, EXPLICIT + params.tag_len); /* at OP_FRAGMENT_LEN */
	const uint8_t *at[LANES];

	for (unsigned i = 0; i < LANES; i++)
		at[i] = (const uint8_t *)g->op[v * LANES + i] + offsetof(struct record_op, epoch_seq);
	return params.seal ? vec_load_lanes(at, 0) : vec_sub16(vec_load_lanes(at, 0), overhead);
}

/* Payload bytes. */
INLINE unsigned lane_len(const struct group *g, unsigned lane, struct params params)
{
	const struct record_op *op = g->op[lane];

	return params.seal ? op->payload_len : (unsigned)op->fragment_len - EXPLICIT - params.tag_len;
}

/* The last 16 bytes of each fragment hold the tag, or its 8 bytes in their higher half. */
INLINE vec load_tags(const struct group *g, unsigned v, struct params params)
{
	const uint8_t *at[LANES];

	if (params.seal)
		return vec_zero();
	for (unsigned i = 0; i < LANES; i++) {
		const struct record_op *op = g->op[v * LANES + i];

		at[i] = op->fragment + op->fragment_len - BLOCK;
	}
	return params.tag_len == BLOCK ? vec_load_lanes(at, 0)
				       : vec_shuffle(vec_load_lanes(at, 0), vec_broadcast(shuffle_high_half));
}

/* The CIDs of a group: the lengths of the shortest and the longest. */
struct taken {
	unsigned count; /* records */
	unsigned cid_least, cid_most;
};

/* The least and the greatest of 16 bits in all lanes. */
INLINE struct taken lanes_limits(union lanes *low, union lanes *high, unsigned at_len)
{
	const unsigned at_cid = OP_CID_LEN / 2;

	for (unsigned i = 1; i < LANES; i++) {
		low->word[0][at_len] = min16(low->word[0][at_len], low->word[i][at_len]);
		high->word[0][at_len] = max16(high->word[0][at_len], high->word[i][at_len]);
		low->word[0][at_cid] = min16(low->word[0][at_cid], low->word[i][at_cid]);
		high->word[0][at_cid] = max16(high->word[0][at_cid], high->word[i][at_cid]);
	}
	return (struct taken){.cid_least = low->word[0][at_cid], .cid_most = high->word[0][at_cid]};
}

/* Points the group at the next GROUP records, or at what is left of them and the idle one. */
INLINE void group_point(struct group *g, struct record_op *const *ops, unsigned count, struct record_op *idle,
			struct params params)
{
	const unsigned overhead = EXPLICIT + params.tag_len;

	g->op = ops;
	if (count < GROUP) {
		const struct record_op *last = ops[count - 1]; /* no record has more blocks */

		idle->cid = last->cid;
		idle->cid_len = last->cid_len;
		idle->payload_len =
			(uint16_t)(params.seal ? last->payload_len : last->fragment_len - overhead);
		idle->fragment_len = (uint16_t)(idle->payload_len + overhead);
		for (unsigned lane = 0; lane < GROUP; lane++)
			g->padded[lane] = lane < count ? ops[lane] : idle;
		g->op = g->padded;
	}
	for (unsigned lane = 0; lane < GROUP; lane++)
		g->data[lane] = g->op[lane]->fragment + EXPLICIT;
}

/* Takes the next GROUP records, or what is left of them: all that is to be done before key expansion. */
INLINE struct taken group_take(struct group *g, struct record_op *const *ops, unsigned count,
			       struct record_op *idle, struct params params)
{
	const unsigned at_len = (params.seal ? OP_PAYLOAD_LEN : OP_FRAGMENT_LEN) / 2;
	const vec limits_mask = vec_broadcast(length_and_cid[params.seal]);
	struct taken taken;
	union lanes low;
	union lanes high;

	group_point(g, ops, count, idle, params);
	for (unsigned v = 0; v < VECS; v++) {
		vec op = load_ops(g, v, params);
		vec limits = vec_and(op, limits_mask);

		low.v = v ? vec_min16(low.v, limits) : limits;
		high.v = v ? vec_max16(high.v, limits) : limits;
		group_set_vec(g, v, op, params);
	}
	taken = lanes_limits(&low, &high, at_len);
	taken.count = count < GROUP ? count : GROUP;
	always_assert(high.word[0][at_len] <= DATA_MAX); /* as the record layer sees to; none is too short */
	g->block = 0;
	g->whole_blocks = low.word[0][at_len] / BLOCK;
	g->blocks = (high.word[0][at_len] + BLOCK - 1U) / BLOCK;
	return taken;
}

/* ---- Keys ---- */

/* aesenclast's ShiftRows undone beforehand, so that it is SubWord; with FIPS 197's RotWord, and without. */
static const uint8_t sub_rot_word[BLOCK] = {1, 14, 11, 4, 5, 2, 15, 8, 9, 6, 3, 12, 13, 10, 7, 0};
static const uint8_t sub_word[BLOCK] = {0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3};

/* Four words of every key, transposed, and their sum a ^ b ^ c ^ d. */
struct words {
	struct quad q;
	vec sum;
};

/* FIPS 197 5.2: the next four words of every key, w[i] ^= w[i - 1], from `last` and the round constant. What
 * the round after waits for is the new d alone: the sum of the old ones, known before, and `last` made of its
 * predecessor. The new sum needs none of that: a' ^ b' = b, c' ^ d' = d.
 */
INLINE struct words expand_words(struct words old, vec last, const uint8_t *shuffle, unsigned constant)
{
	vec change = vec_aesenclast(vec_shuffle(last, vec_broadcast(shuffle)), vec_set32(constant));
	struct words new;

	new.q.d = vec_xor(old.sum, change);
	new.q.a = vec_xor(old.q.a, change);
	new.q.b = vec_xor(old.q.b, new.q.a);
	new.q.c = vec_xor(old.q.c, new.q.b);
	new.sum = vec_xor(old.q.b, old.q.d);
	return new;
}

/* The newest four words of every key; of 256-bit keys those before them too. */
struct expansion {
	struct words newest, older;
};

/* key[0] is there already. */
INLINE struct expansion expand_begin(struct group *g, struct params params)
{
	struct expansion e = {0};

	for (unsigned half = 0; half < params.rounds / 7; half++) { /* a key has 4 words, or 8 */
		for (unsigned v = 0; half > 0 && v < VECS; v++)
			g->key[half].v[v] = load_keys(g, v, (size_t)half * BLOCK);
		e.older = e.newest;
		e.newest.q = transpose(g->key[half].q);
		e.newest.sum =
			vec_xor(vec_xor(e.newest.q.a, e.newest.q.b), vec_xor(e.newest.q.c, e.newest.q.d));
	}
	return e;
}

/* Round key r, a constant: in their order, from 1 on or, of 256-bit keys, from 2 on. */
INLINE struct expansion expand_round(struct group *g, struct expansion e, unsigned r, struct params params)
{
	static const uint8_t constants[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
	struct words before = e.newest;

	if (params.rounds == 10)
		e.newest = expand_words(before, before.q.d, sub_rot_word, constants[r - 1]);
	else if (r % 2 == 0)
		e.newest = expand_words(e.older, before.q.d, sub_rot_word, constants[r / 2 - 1]);
	else
		e.newest = expand_words(e.older, before.q.d, sub_word, 0);
	e.older = before;
	g->key[r].q = transpose(e.newest.q);
	return e;
}

INLINE void expand_end(struct group *g, struct params params)
{
	g->key[params.rounds + 1].q = quad_xor(g->key[params.rounds].q, g->key[0].q);
}

/* Two groups at once, as one waits for its own results most of the time. */
INLINE void expand_two(struct group *g, struct group *h, struct params params)
{
	struct expansion e = expand_begin(g, params);
	struct expansion f = expand_begin(h, params);

#pragma GCC unroll 14
	for (unsigned r = params.rounds / 7; r <= params.rounds; r++) {
		e = expand_round(g, e, r, params);
		f = expand_round(h, f, r, params);
	}
	expand_end(g, params);
	expand_end(h, params);
}

INLINE void expand(struct group *g, struct params params)
{
	struct expansion e = expand_begin(g, params);

#pragma GCC unroll 14
	for (unsigned r = params.rounds / 7; r <= params.rounds; r++)
		e = expand_round(g, e, r, params);
	expand_end(g, params);
}

/* The round keys, and what makes some of them: the first of MAC and counter. */
INLINE void keys_wipe(struct group *g, unsigned rounds)
{
	struct quad zero = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};

	for (unsigned r = 0; r <= rounds + 1; r++)
		g->key[r].q = zero;
	__asm__ __volatile__("" : : "r"(g) : "memory");
}

/* ---- Steps ---- */

/* Keeps the compiler from loading the round keys before it branches to a step: they are more than the
 * registers. */
INLINE void keys_stay_in_memory(void)
{
	__asm__ __volatile__("" : : : "memory");
}

/* All rounds but the last, of both rows: each round key is loaded once. But on 256-bit registers there is
 * room for a few more loads, and the first register's key comes with each aesenc: one instruction less.
 */
INLINE void rounds_both(const struct group *g, struct quad *one, struct quad *other, unsigned rounds)
{
	keys_stay_in_memory();
#pragma GCC unroll 13
	for (unsigned r = 1; r < rounds; r++) {
		struct quad key = quad_held(g->key[r].q);

		if (LANES == 2)
			key.a = g->key[r].q.a;
		*one = quad_aesenc(*one, key);
		*other = quad_aesenc(*other, key);
	}
}

/* Partial blocks go through `tail`: both halves of one lie in the fragment, as a tag follows. A lane without
 * a partial block moves the first bytes of its tag to and fro.
 */
INLINE void group_load_tails(struct group *g, struct params params)
{
	for (unsigned v = 0; v < VECS; v++)
		g->len16.v[v] =
			vec_shuffle(load_ops(g, v, params), vec_broadcast(shuffle_len16[params.seal]));
	for (unsigned lane = 0; lane < GROUP; lane++) {
		unsigned len = lane_len(g, lane, params);
		const uint8_t *partial = g->data[lane] + (len & ~15U);

		g->tail.half[lane][0] = load64(partial);
		g->tail.half[lane][1] = load64(partial + (len & 8));
	}
}

INLINE void group_store_tails(struct group *g, struct params params)
{
	for (unsigned lane = 0; lane < GROUP; lane++) {
		unsigned len = lane_len(g, lane, params);
		uint8_t *partial = g->data[lane] + (len & ~15U);

		store64(partial, g->tail.half[lane][0]);
		store64(partial + (len & 8), g->tail.half[lane][len >> 3 & 1]);
	}
}

/* Ones in the bytes of block g->block that register v's records have. */
INLINE vec masked_bytes(const struct group *g, unsigned v)
{
	static const uint8_t bytes[BLOCK] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	vec left16 = vec_clamp16(vec_sub16(g->len16.v[v], vec_set16(g->block * BLOCK)), BLOCK);

	return vec_greater8(vec_shuffle(left16, vec_zero()), vec_broadcast(bytes)); /* its low byte in all */
}

/* Where block g->block of every record is to be read and written: in place when it is whole, else in tail. */
INLINE void group_places(struct group *g, uint8_t *at[GROUP], struct params params)
{
	size_t offset = (size_t)g->block * BLOCK;

	for (unsigned lane = 0; lane < GROUP; lane++) {
		uintptr_t whole = (uintptr_t)(g->data[lane] + offset);
		uintptr_t tail = (uintptr_t)g->tail.byte[lane];
		uintptr_t choose = 0 - (uintptr_t)(lane_len(g, lane, params) >=
						   offset + BLOCK); /* not a branch: hard to foresee */

		at[lane] = (uint8_t *)(tail ^ ((whole ^ tail) & choose));
	}
}

/* The group's last act of its own. */
INLINE void group_end(struct group *g, struct params params)
{
	if (g->blocks > g->whole_blocks)
		group_store_tails(g, params);
}

/* ---- Verdicts ---- */

INLINE void lane_finish_seal(struct record_op *op, const uint64_t tag[2], struct params params)
{
	uint8_t *at = op->fragment + EXPLICIT + op->payload_len;

	store64(at, tag[0]);
	if (params.tag_len == BLOCK)
		store64(at + 8, tag[1]);
	op->fragment_len = (uint16_t)(EXPLICIT + op->payload_len + params.tag_len);
	op->ok = true;
}

/* A record that fails keeps its plaintext for the moment: the record layer wipes it. */
INLINE void lane_finish_open(struct record_op *op, uint8_t good, struct params params)
{
	const uint32_t less = EXPLICIT + params.tag_len;
	uint32_t offset_and_len = (op->fragment_len - less) << 16 | EXPLICIT;

	memcpy((uint8_t *)op + offsetof(struct record_op, payload_offset), &offset_and_len,
	       sizeof offset_and_len);
	__asm__("" : "+r"(good)); /* or GCC makes it a bit in memory, after it has been stored */
	op->ok = good;
}

INLINE void lane_finish(struct record_op *op, const uint64_t tag[2], unsigned good, struct params params)
{
	if (params.seal)
		lane_finish_seal(op, tag, params);
	else
		lane_finish_open(op, (uint8_t)good, params);
}

/* Two bits of each lane, the first lane's lowest, set where eight bytes of the tag are as they should be. */
INLINE unsigned row_zeros(const union row *tag)
{
	unsigned zeros = 0;

	for (unsigned v = 0; v < VECS; v++)
		zeros |= vec_zeros64(tag->v[v]) << 2 * LANES * v;
	return zeros;
}

/* What the tags of a group say of its records: those from `first` on. */
INLINE void tags_judge(const union row *tags, unsigned first, struct record_op *const *ops, unsigned count,
		       struct params params)
{
	const union row *tag = &tags[first / GROUP];
	unsigned good = params.seal ? 0 : row_zeros(tag);

	if (params.tag_len == BLOCK)
		good &= good >> 1;
	ops += first;
	if (count - first >= GROUP) {
#pragma GCC unroll 16
		for (unsigned lane = 0; lane < GROUP; lane++)
			lane_finish(ops[lane], tag->half[lane], good >> 2 * lane & 1, params);
		return;
	}
	for (unsigned lane = 0; lane < count - first; lane++)
		lane_finish(ops[lane], tag->half[lane], good >> 2 * lane & 1, params);
}
