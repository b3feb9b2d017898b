/* AES-CCM (RFC 3610, RFC 6655) over a burst of DTLS records, one record per 128-bit lane. A template: the
 * file that includes it chooses the register width by defining `vec`, LANES and the vec_*() functions; see
 * crypto/vaes.c. One worker's thread calls it; it allocates nothing.
 *
 * Register picture (LANES 2, a group of 8 records A..H):
 *
 *   counter  [ctr A|ctr B] [ctr C|ctr D] [ctr E|ctr F] [ctr G|ctr H]     CTR: encrypts A_j, j = 0, 1, 2 ...
 *   mac      [mac A|mac B] [mac C|mac D] [mac E|mac F] [mac G|mac H]     CBC-MAC: B_0, AAD blocks, plaintext
 * blocks key[r]   [ k A | k B ] [ k C | k D ] [ k E | k F ] [ k G | k H ]     one load feeds an aesenc of
 * each row above
 *
 * One step of a group is one pass over the rounds: the counter row makes keystream block j, the mac row
 * encrypts the MAC input before it. Both end together, so the mac row takes plaintext block j in without
 * waiting:
 *
 *   step   counter row      mac row             (a AAD blocks, m payload blocks)
 *   0      A_0              B_0
 *   ...    -                AAD 1 .. a-1
 *   j      A_j  -> P_j      what stands before P_j, then ^= P_j      j = 1 .. m
 *   last   -                P_m                                      2m + a + 2 block encryptions, none is
 * wasted
 *
 * No xor stands in the chain of the mac row: aesenclast(x, k) ends in an xor with k, so the last round takes
 * k_last ^ k_0 ^ P_j as its key and leaves the state as the next first round needs it. In the same way the
 * last round of A_j takes k_last ^ C_j and yields P_j, and the tag T ^ received = S(mac) ^ S(ctr 0) ^
 * received needs no k_last because it would come in twice: a good record leaves zero.
 *
 * A step of 8 chains of 10 rounds keeps two AES units of latency 4 just busy. Two groups are stepped in turn,
 * so that one fills the gap where the other hands over to its next step; a third is made ready meanwhile.
 *
 * Keys are expanded for a whole group from the raw keys, transposed (register d holds word d of every key),
 * which needs one shuffle and one aesenclast (SubWord; the round constant is its key) for all of them, and a
 * 4 x 4 transpose back per round. It is done round by round within the last step of the group before, which
 * has one row only. At the end of the burst they are wiped.
 *
 * Lengths: blocks that every record of a group has whole are stepped as above. The others take the masked
 * step: a partial block comes from and goes to `tail`, a record that has no block left keeps its MAC state.
 * Nothing behind the fragment is touched: a partial block of r bytes is loaded and stored as its first 8 and,
 * when r >= 8, its second 8 bytes; as a tag of 8 or more bytes follows it, both lie inside the fragment.
 *
 * Constant time: no branch and no address depends on keys, plaintext or tags.
 * Lengths and the presence of a CID are public.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/always.h"
#include "crypto/secret.h"

enum {
	VECS = 4,             /* registers per row */
	GROUP = VECS * LANES, /* records per group */
	GROUPS = 3,           /* two are stepped, one is made ready */
	RUN = 4,              /* blocks of a long record between two changes of the group */
	HEAD_MAX = 4,         /* B_0 and at most 3 AAD blocks (23 + 20 bytes and their length) */
	ROUNDS_MAX = 14,
	BLOCK = 16,
	EXPLICIT = 8, /* nonce_explicit */
	DATA_MAX = RECORD_FRAGMENT_MAX,
	CID_AAD = 23, /* AAD with a CID, without the CID itself: RFC 9146 5.3 */
};

struct ccm_params {
	unsigned rounds;  /* 10 or 14 */
	unsigned tag_len; /* 8 or 16 */
	bool seal;
};

/* A row in registers. Not an array: nothing of it shall ever stand in memory. */
struct quad {
	vec a, b, c, d;
};

/* One block of each record of a group; as bytes, lane by lane, while it is put together. */
union row {
	struct quad q;
	vec v[VECS];
	uint64_t half[GROUP][2];
	uint8_t byte[GROUP][BLOCK];
};

struct group {
	union row key[ROUNDS_MAX + 2]; /* [rounds + 1] is key[rounds] ^ key[0] */
	union row head[HEAD_MAX];      /* B_0 and AAD blocks, ending at the last index */
	union row counter;             /* A_0 ^ key[0] */
	union row mac;
	union row tag;                   /* received tag; after step 0 ^ E(A_0); at the end T ^ that */
	union row tail;                  /* partial blocks */
	union row len16;                 /* payload length in every 16 bits of a lane */
	uint8_t *data[GROUP];            /* payload: ciphertext and plaintext in place */
	struct record_op *const *op;     /* GROUP of them; lanes without a record do what the others do */
	struct record_op *padded[GROUP]; /* where they stand when the idle one is among them */
	uint8_t aad_blocks[GROUP];       /* only where they differ */
	unsigned block;                  /* next payload block to be stepped */
	unsigned whole_blocks;           /* that every record has */
	unsigned blocks;                 /* of the longest, with its partial one */
	unsigned head_first; /* index into head of the first block of the record with the longest AAD */
	unsigned head_next;  /* HEAD_MAX: all of them are under way; 0: the first step is still to come */
	bool head_even;      /* all records have equally many AAD blocks */
};

/* A register by 16-bit words, lane by lane. */
union lanes {
	vec v;
	uint16_t word[LANES][BLOCK / 2];
};

/* The parameters are constants in each instance of the kernel: nothing of it may be compiled apart from them.
 */
#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t load64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

INLINE uint32_t load32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

INLINE void store64(uint8_t *to, uint64_t value)
{
	memcpy(to, &value, sizeof(value));
}

INLINE uint16_t min16(uint16_t a, uint16_t b)
{
	return a < b ? a : b;
}

INLINE uint16_t max16(uint16_t a, uint16_t b)
{
	return a > b ? a : b;
}

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

/* Shuffles of that load with the payload's length at byte at_len: byte i comes from [i], or is zero. */
#define SHUFFLE_B0(at_len)                                                                                   \
	{                                                                                                    \
		NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,          \
			(at_len) + 1, at_len                                                                 \
	}
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
#define SHUFFLE_PLAIN(at_len)                                                                                \
	{                                                                                                    \
		NONE, NONE, 7, 6, 5, 4, 3, 2, 1, 0, OP_TYPE, NONE, NONE, (at_len) + 1, at_len, NONE          \
	}
#define SHUFFLE_CID7(at_len)                                                                                 \
	{                                                                                                    \
		6, 5, 4, 3, 2, 1, 0, NONE, NONE, NONE, NONE, NONE, NONE, NONE, (at_len) + 1, at_len          \
	}

/* By direction: open takes the length from fragment_len, seal from payload_len. */
static const uint8_t shuffle_b0[2][BLOCK] = {SHUFFLE_B0(OP_FRAGMENT_LEN), SHUFFLE_B0(OP_PAYLOAD_LEN)};
static const uint8_t length_and_cid[2][BLOCK] = {LENGTH_AND_CID(OP_FRAGMENT_LEN),
						 LENGTH_AND_CID(OP_PAYLOAD_LEN)};
static const uint8_t shuffle_len16[2][BLOCK] = {SHUFFLE_LEN16(OP_FRAGMENT_LEN),
						SHUFFLE_LEN16(OP_PAYLOAD_LEN)};
static const uint8_t shuffle_plain[2][BLOCK] = {SHUFFLE_PLAIN(OP_FRAGMENT_LEN),
						SHUFFLE_PLAIN(OP_PAYLOAD_LEN)};
static const uint8_t shuffle_cid7[2][BLOCK] = {SHUFFLE_CID7(OP_FRAGMENT_LEN), SHUFFLE_CID7(OP_PAYLOAD_LEN)};

/* What is the same in every head: RFC 5246 6.2.3.3 and RFC 9146 5.3, with the two length bytes of RFC
 * 3610 2.2. */
static const uint8_t fixed_plain[BLOCK] = {0, 13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xfd};
static const uint8_t fixed_cid7[BLOCK] = {
	0, CID_AAD + 7,     0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, RECORD_TYPE_CID,
	7, RECORD_TYPE_CID, 0xfe, 0xfd};
static const uint8_t shuffle_cid7_first[BLOCK] = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,
						  NONE, NONE, NONE, NONE, NONE, NONE, NONE, 7};
static const uint8_t shuffle_cid7_cid[BLOCK] = {NONE, NONE, NONE, NONE, NONE, NONE, NONE, 0,
						1,    2,    3,    4,    5,    6,    NONE, NONE};
static const uint8_t shuffle_salt[BLOCK] = {NONE, 12,   13,   14,   15,   NONE, NONE, NONE,
					    NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};
/* nonce_explicit where it stands in a nonce, when NONCE_AT bytes before the fragment are loaded too. */
enum { NONCE_AT = 5 };
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
INLINE vec load_ops(const struct group *g, unsigned v, struct ccm_params params)
{
	const vec overhead = vec_pattern(0, EXPLICIT + params.tag_len); /* at OP_FRAGMENT_LEN */
	const uint8_t *at[LANES];

	for (unsigned i = 0; i < LANES; i++)
		at[i] = (const uint8_t *)g->op[v * LANES + i] + offsetof(struct record_op, epoch_seq);
	return params.seal ? vec_load_lanes(at, 0) : vec_sub16(vec_load_lanes(at, 0), overhead);
}

/* Payload bytes. */
INLINE unsigned lane_len(const struct group *g, unsigned lane, struct ccm_params params)
{
	const struct record_op *op = g->op[lane];

	return params.seal ? op->payload_len : (unsigned)op->fragment_len - EXPLICIT - params.tag_len;
}

/* RFC 9146 5.3, for a CID of any length. Blocks of the AAD with its two length bytes, the last one at
 * head[HEAD_MAX - 1]; B_0, which stands there, moves to before the first.
 */
static void lane_aad_cid(struct group *g, unsigned lane, unsigned len)
{
	const struct record_op *op = g->op[lane];
	uint8_t aad[3 * BLOCK] = {0, (uint8_t)(CID_AAD + op->cid_len)};
	uint8_t *at = aad + 2;

	memset(at, 0xff, 8);
	at += 8;
	*at++ = RECORD_TYPE_CID;
	*at++ = op->cid_len;
	*at++ = RECORD_TYPE_CID;
	*at++ = 0xfe;
	*at++ = 0xfd;
	store64(at, __builtin_bswap64(op->epoch_seq));
	at += 8;
	if (op->cid_len)
		memcpy(at, op->cid, op->cid_len);
	at += op->cid_len;
	*at++ = (uint8_t)(len >> 8);
	*at = (uint8_t)len;
	for (unsigned i = 0; i < g->aad_blocks[lane]; i++)
		memcpy(g->head[HEAD_MAX - g->aad_blocks[lane] + i].byte[lane], aad + (size_t)BLOCK * i,
		       BLOCK);
}

/* The AAD of records of which some have a CID that is not 7 bytes long and some have not. Rare, so lane by
 * lane: the plain AAD stands in the last block, B_0 before it.
 */
INLINE void group_set_aad_uneven(struct group *g, struct ccm_params params)
{
	unsigned least = HEAD_MAX;
	unsigned most = 0;

	for (unsigned lane = 0; lane < GROUP; lane++) {
		unsigned cid_len = g->op[lane]->cid_len;
		unsigned blocks = cid_len ? (2 + CID_AAD + cid_len + BLOCK - 1) / BLOCK : 1;

		g->aad_blocks[lane] = (uint8_t)blocks;
		least = blocks < least ? blocks : least;
		most = blocks > most ? blocks : most;
		memcpy(g->head[HEAD_MAX - 1 - blocks].byte[lane], g->head[0].byte[lane], BLOCK);
		if (cid_len)
			lane_aad_cid(g, lane, lane_len(g, lane, params));
	}
	g->head_even = least == most;
	g->head_first = HEAD_MAX - 1 - most;
}

/* A CID of 7 bytes, which is ours, fills two blocks to the byte. */
INLINE void group_set_aad_cid7(struct group *g, unsigned v, vec op, bool seal)
{
	uint64_t cid[LANES];

	for (unsigned i = 0; i < LANES; i++) {
		const uint8_t *at = g->op[v * LANES + i]->cid;

		cid[i] = load32(at) | (uint64_t)load32(at + 3) << 24;
	}
	g->head[HEAD_MAX - 2].v[v] =
		vec_or(vec_broadcast(fixed_cid7), vec_shuffle(op, vec_broadcast(shuffle_cid7_first)));
	g->head[HEAD_MAX - 1].v[v] = vec_or(vec_shuffle(op, vec_broadcast(shuffle_cid7[seal])),
					    vec_shuffle(vec_set64(cid), vec_broadcast(shuffle_cid7_cid)));
}

INLINE struct quad quad_xor(struct quad x, struct quad y)
{
	return (struct quad){vec_xor(x.a, y.a), vec_xor(x.b, y.b), vec_xor(x.c, y.c), vec_xor(x.d, y.d)};
}

/* The last 16 bytes of each fragment hold the tag, or its 8 bytes in their higher half. */
INLINE vec load_tags(const struct group *g, unsigned v, struct ccm_params params)
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

/* What is common to register v's records: key[0], A_0, B_0, the plain AAD, the tag. */
INLINE void group_set_vec(struct group *g, unsigned v, vec op, struct ccm_params params)
{
	const vec flags_b0 =
		vec_pattern(0x42 | (params.tag_len - 2) / 2 << 3, 0); /* AAD, tag length, L = 3 */
	const vec flags_counter = vec_pattern(2, 0);
	vec key = load_keys(g, v, 0);
	vec salt = load_keys(g, v, params.rounds == 14 ? 20 : 4); /* ends with the salt */
	vec nonce = vec_or(vec_shuffle(salt, vec_broadcast(shuffle_salt)),
			   vec_and(load_fragments(g, v), vec_broadcast(mask_explicit)));
	vec len = vec_or(vec_shuffle(op, vec_broadcast(shuffle_b0[params.seal])), flags_b0);

	g->key[0].v[v] = key;
	g->counter.v[v] = vec_xor(vec_or(nonce, flags_counter), key);
	g->mac.v[v] = vec_xor(vec_or(nonce, len), key);
	g->head[HEAD_MAX - 1].v[v] = vec_or(vec_shuffle(op, vec_broadcast(shuffle_plain[params.seal])),
					    vec_broadcast(fixed_plain));
	g->tag.v[v] = load_tags(g, v, params);
}

/* Heads with a CID: all of them with one of ours, or any mix. */
INLINE void group_set_heads_cid(struct group *g, struct ccm_params params)
{
	if (g->head_first == 1) {
		for (unsigned v = 0; v < VECS; v++)
			group_set_aad_cid7(g, v, load_ops(g, v, params), params.seal);
		return;
	}
	for (unsigned v = 0; v < VECS; v++)
		g->head[0].v[v] = vec_xor(g->mac.v[v], g->key[0].v[v]);
	group_set_aad_uneven(g, params);
	g->mac.q = quad_xor(g->head[g->head_first].q, g->key[0].q);
}

/* Takes the next GROUP records, or what is left of them: all that is to be done before key expansion. Returns
 * how many.
 */
INLINE unsigned group_take(struct group *g, struct record_op **ops, unsigned count, struct record_op *idle,
			   struct ccm_params params)
{
	const unsigned overhead = EXPLICIT + params.tag_len;
	const unsigned at_len = (params.seal ? OP_PAYLOAD_LEN : OP_FRAGMENT_LEN) / 2;
	const vec limits_mask = vec_broadcast(length_and_cid[params.seal]);
	union lanes low;
	union lanes high;

	g->op = ops;
	if (count < GROUP) {
		struct record_op *last = ops[count - 1]; /* no record is longer */

		idle->cid = last->cid;
		idle->cid_len = last->cid_len;
		idle->payload_len = params.seal ? last->payload_len : last->fragment_len - overhead;
		idle->fragment_len = idle->payload_len + overhead;
		for (unsigned lane = 0; lane < GROUP; lane++)
			g->padded[lane] = lane < count ? ops[lane] : idle;
		g->op = g->padded;
	}
	for (unsigned lane = 0; lane < GROUP; lane++)
		g->data[lane] = g->op[lane]->fragment + EXPLICIT;
	for (unsigned v = 0; v < VECS; v++) {
		vec op = load_ops(g, v, params);
		vec limits = vec_and(op, limits_mask);

		low.v = v ? vec_min16(low.v, limits) : limits;
		high.v = v ? vec_max16(high.v, limits) : limits;
		group_set_vec(g, v, op, params);
	}
	for (unsigned i = 1; i < LANES; i++) {
		low.word[0][at_len] = min16(low.word[0][at_len], low.word[i][at_len]);
		high.word[0][at_len] = max16(high.word[0][at_len], high.word[i][at_len]);
		low.word[0][OP_CID_LEN / 2] = min16(low.word[0][OP_CID_LEN / 2], low.word[i][OP_CID_LEN / 2]);
		high.word[0][OP_CID_LEN / 2] =
			max16(high.word[0][OP_CID_LEN / 2], high.word[i][OP_CID_LEN / 2]);
	}
	always_assert(high.word[0][at_len] <=
		      DATA_MAX); /* the record layer sees to it; also that none is too short */
	g->block = 0;
	g->whole_blocks = low.word[0][at_len] / BLOCK;
	g->blocks = (high.word[0][at_len] + BLOCK - 1U) / BLOCK;
	g->head_next = 0;
	g->head_even = true;
	g->head_first = 2;
	if (high.word[0][OP_CID_LEN / 2] != 0) {
		g->head_first = low.word[0][OP_CID_LEN / 2] == 7 && high.word[0][OP_CID_LEN / 2] == 7;
		group_set_heads_cid(g, params);
	}
	return count < GROUP ? count : GROUP;
}

/* Word i of every key in register i <-> one key per lane; its own inverse. */
INLINE struct quad transpose(struct quad in)
{
	vec ab = vec_unpacklo32(in.a, in.b);
	vec cd = vec_unpacklo32(in.c, in.d);
	vec ef = vec_unpackhi32(in.a, in.b);
	vec gh = vec_unpackhi32(in.c, in.d);

	return (struct quad){vec_unpacklo64(ab, cd), vec_unpackhi64(ab, cd), vec_unpacklo64(ef, gh),
			     vec_unpackhi64(ef, gh)};
}

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
INLINE struct expansion expand_begin(struct group *g, struct ccm_params params)
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
INLINE struct expansion expand_round(struct group *g, struct expansion e, unsigned r,
				     struct ccm_params params)
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

INLINE void expand_end(struct group *g, struct ccm_params params)
{
	g->key[params.rounds + 1].q = quad_xor(g->key[params.rounds].q, g->key[0].q);
}

/* Two groups at once, as one waits for its own results most of the time. */
INLINE void expand_two(struct group *g, struct group *h, struct ccm_params params)
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

INLINE void expand(struct group *g, struct ccm_params params)
{
	struct expansion e = expand_begin(g, params);

#pragma GCC unroll 14
	for (unsigned r = params.rounds / 7; r <= params.rounds; r++)
		e = expand_round(g, e, r, params);
	expand_end(g, params);
}

/* ---- Steps ---- */

INLINE struct quad quad_aesenc(struct quad state, struct quad key)
{
	return (struct quad){vec_aesenc(state.a, key.a), vec_aesenc(state.b, key.b),
			     vec_aesenc(state.c, key.c), vec_aesenc(state.d, key.d)};
}

INLINE struct quad quad_aesenclast(struct quad state, struct quad key)
{
	return (struct quad){vec_aesenclast(state.a, key.a), vec_aesenclast(state.b, key.b),
			     vec_aesenclast(state.c, key.c), vec_aesenclast(state.d, key.d)};
}

INLINE struct quad quad_held(struct quad x)
{
	return (struct quad){vec_held(x.a), vec_held(x.b), vec_held(x.c), vec_held(x.d)};
}

/* Keeps the compiler from loading the round keys before it branches to a step: they are more than the
 * registers. */
INLINE void keys_stay_in_memory(void)
{
	__asm__ __volatile__("" : : : "memory");
}

/* All rounds but the last, of both rows: each round key is loaded once. */
INLINE void rounds_both(const struct group *g, struct quad *counter, struct quad *mac, unsigned rounds)
{
	keys_stay_in_memory();
#pragma GCC unroll 13
	for (unsigned r = 1; r < rounds; r++) {
		struct quad key = quad_held(g->key[r].q);

		*counter = quad_aesenc(*counter, key);
		*mac = quad_aesenc(*mac, key);
	}
}

INLINE struct quad rounds_mac(const struct group *g, unsigned rounds)
{
	struct quad mac = g->mac.q;

	keys_stay_in_memory();
#pragma GCC unroll 13
	for (unsigned r = 1; r < rounds; r++)
		mac = quad_aesenc(mac, g->key[r].q);
	return mac;
}

/* mac, all rounds but the last done, takes in head[index]. Records whose first block this is start with it.
 */
INLINE void mac_take_head(struct group *g, struct quad mac, unsigned index, unsigned rounds)
{
	g->mac.q = quad_aesenclast(mac, quad_xor(g->head[index].q, g->key[rounds + 1].q));
	if (g->head_even)
		return;
	for (unsigned lane = 0; lane < GROUP; lane++) {
		if (index + 1 + g->aad_blocks[lane] != HEAD_MAX)
			continue;
		for (unsigned half = 0; half < 2; half++)
			g->mac.half[lane][half] =
				g->head[index].half[lane][half] ^ g->key[0].half[lane][half];
	}
}

INLINE void step_first(struct group *g, struct ccm_params params)
{
	struct quad counter = g->counter.q;
	struct quad mac = g->mac.q;

	rounds_both(g, &counter, &mac, params.rounds);
	g->tag.q = quad_aesenclast(counter, g->tag.q);
	mac_take_head(g, mac, g->head_first + 1, params.rounds);
}

INLINE void step_head(struct group *g, unsigned index, unsigned rounds)
{
	mac_take_head(g, rounds_mac(g, rounds), index, rounds);
}

INLINE void step_last(struct group *g, unsigned rounds)
{
	g->tag.q = quad_aesenclast(rounds_mac(g, rounds), g->tag.q);
}

/* step_last(), and in its gaps the keys of the group that comes next: round by round, as either waits for its
 * own results most of the time.
 */
INLINE void step_last_expand(struct group *g, struct group *next, struct ccm_params params)
{
	struct quad mac = g->mac.q;
	struct expansion e = expand_begin(next, params);
	unsigned first = params.rounds / 7;

	keys_stay_in_memory();
#pragma GCC unroll 13
	for (unsigned r = 1; r < params.rounds; r++) {
		mac = quad_aesenc(mac, g->key[r].q);
		e = expand_round(next, e, first + r - 1, params);
	}
	g->tag.q = quad_aesenclast(mac, g->tag.q);
	for (unsigned r = first + params.rounds - 1; r <= params.rounds; r++)
		e = expand_round(next, e, r, params);
	expand_end(next, params);
}

/* The last round of register v of a whole block; returns its MAC state. */
INLINE vec whole_end(const struct group *g, uint8_t *const *data, unsigned v, vec counter, vec mac,
		     size_t offset, struct ccm_params params)
{
	vec in = vec_load_lanes((const uint8_t *const *)data + v * LANES, offset);
	vec out = vec_aesenclast(counter, vec_xor(in, g->key[params.rounds].v[v]));
	vec plain = params.seal ? in : out;

	vec_store_lanes(data + v * LANES, offset, out);
	return vec_aesenclast(mac, vec_xor(plain, g->key[params.rounds + 1].v[v]));
}

/* `blocks` (a constant) payload blocks from g->block on, whole in all records. counters: theirs, big endian.
 */
INLINE void step_whole(struct group *g, const uint8_t (*counters)[BLOCK], unsigned blocks,
		       struct ccm_params params)
{
	size_t offset = (size_t)g->block * BLOCK;
	uint8_t *data[GROUP];
	struct quad mac = g->mac.q;

	memcpy(data, g->data, sizeof data);
	for (unsigned i = 0; i < blocks; i++, offset += BLOCK) {
		vec count = vec_broadcast(counters[i]);
		struct quad counter = quad_xor(g->counter.q, (struct quad){count, count, count, count});

		rounds_both(g, &counter, &mac, params.rounds);
		mac.a = whole_end(g, data, 0, counter.a, mac.a, offset, params);
		mac.b = whole_end(g, data, 1, counter.b, mac.b, offset, params);
		mac.c = whole_end(g, data, 2, counter.c, mac.c, offset, params);
		mac.d = whole_end(g, data, 3, counter.d, mac.d, offset, params);
	}
	g->mac.q = mac;
	g->block += blocks;
}

/* Partial blocks go through `tail`: both halves of one lie in the fragment, as a tag follows. A lane without
 * a partial block moves the first bytes of its tag to and fro.
 */
INLINE void group_load_tails(struct group *g, struct ccm_params params)
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

INLINE void group_store_tails(struct group *g, struct ccm_params params)
{
	for (unsigned lane = 0; lane < GROUP; lane++) {
		unsigned len = lane_len(g, lane, params);
		uint8_t *partial = g->data[lane] + (len & ~15U);

		store64(partial, g->tail.half[lane][0]);
		store64(partial + (len & 8), g->tail.half[lane][len >> 3 & 1]);
	}
}

/* The last round of register v of a block that not all records have whole. Bytes behind a record's end keep
 * what they hold, and the MAC state of a record that has nothing in this block stays.
 */
INLINE void masked_end(struct group *g, unsigned v, uint8_t *const *at, vec counter, vec mac, vec offset16,
		       struct ccm_params params)
{
	static const uint8_t bytes[BLOCK] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
	vec left16 = vec_clamp16(vec_sub16(g->len16.v[v], offset16), BLOCK);
	vec left = vec_shuffle(left16, vec_zero()); /* its low byte in all bytes */
	vec mask = vec_greater8(left, vec_broadcast(bytes));
	vec in = vec_load_lanes((const uint8_t *const *)at, 0);
	vec out = vec_aesenclast(counter, vec_xor(in, g->key[params.rounds].v[v]));
	vec plain = vec_and(params.seal ? in : out, mask);

	vec_store_lanes(at, 0, vec_select(mask, out, in));
	mac = vec_aesenclast(mac, vec_xor(plain, g->key[params.rounds + 1].v[v]));
	g->mac.v[v] = vec_select(vec_greater8(left, vec_zero()), mac, g->mac.v[v]);
}

/* One block where some record has only a part of it, or nothing. */
INLINE void step_masked(struct group *g, const uint8_t *counter_be, struct ccm_params params)
{
	size_t offset = (size_t)g->block * BLOCK;
	vec count = vec_broadcast(counter_be);
	vec offset16 = vec_set16((unsigned)offset);
	struct quad counter = quad_xor(g->counter.q, (struct quad){count, count, count, count});
	struct quad mac = g->mac.q;
	uint8_t *at[GROUP];

	for (unsigned lane = 0; lane < GROUP; lane++) {
		uintptr_t whole = (uintptr_t)(g->data[lane] + offset);
		uintptr_t tail = (uintptr_t)g->tail.byte[lane];
		uintptr_t choose = 0 - (uintptr_t)(lane_len(g, lane, params) >=
						   offset + BLOCK); /* not a branch: hard to foresee */

		at[lane] = (uint8_t *)(tail ^ ((whole ^ tail) & choose));
	}
	rounds_both(g, &counter, &mac, params.rounds);
	masked_end(g, 0, at + 0 * LANES, counter.a, mac.a, offset16, params);
	masked_end(g, 1, at + 1 * LANES, counter.b, mac.b, offset16, params);
	masked_end(g, 2, at + 2 * LANES, counter.c, mac.c, offset16, params);
	masked_end(g, 3, at + 3 * LANES, counter.d, mac.d, offset16, params);
	g->block++;
}

INLINE void lane_finish_seal(struct group *g, unsigned lane, struct ccm_params params)
{
	struct record_op *op = g->op[lane];
	uint8_t *tag = g->data[lane] + op->payload_len;

	store64(tag, g->tag.half[lane][0]);
	if (params.tag_len == BLOCK)
		store64(tag + 8, g->tag.half[lane][1]);
	op->fragment_len = (uint16_t)(EXPLICIT + op->payload_len + params.tag_len);
	op->ok = true;
}

/* A record that fails keeps its plaintext for the moment: the record layer wipes it. Good: two bits of each
 * lane, set where eight bytes of the tag are as they should be.
 */
INLINE void lane_finish_open(struct group *g, unsigned lane, unsigned good, struct ccm_params params)
{
	struct record_op *op = g->op[lane];

	op->payload_len = (uint16_t)lane_len(g, lane, params);
	op->payload_offset = EXPLICIT;
	if (params.tag_len == BLOCK)
		good &= good >> 1;
	op->ok = good >> 2 * lane % (2 * LANES) & 1;
}

INLINE void group_finish(struct group *g, struct ccm_params params)
{
	if (g->blocks > g->whole_blocks)
		group_store_tails(g, params);
	for (unsigned v = 0; v < VECS; v++) {
		unsigned good = vec_zeros64(g->tag.v[v]);

		for (unsigned lane = v * LANES; lane < (v + 1) * LANES; lane++) {
			if (params.seal)
				lane_finish_seal(g, lane, params);
			else
				lane_finish_open(g, lane, good, params);
		}
	}
}

struct ccm_worker {
	struct group groups[GROUPS];
	uint8_t counters[DATA_MAX / BLOCK + 1]
			[BLOCK]; /* the counter of A_1, A_2 ... at its place in the block */
	struct record_op idle;   /* on the sink */
	uint8_t sink[DATA_MAX + 4 * BLOCK];
};

/* The next step of a group but its last. Of long records RUN blocks at a time, which saves loads; of short
 * ones one, so that two groups are well mixed.
 */
INLINE void group_step(const struct ccm_worker *w, struct group *g, struct ccm_params params)
{
	if (g->head_next == 0) {
		step_first(g, params);
		g->head_next = g->head_first + 2; /* step_first() takes the one before */
	} else if (g->head_next < HEAD_MAX) {
		step_head(g, g->head_next, params.rounds);
		g->head_next++;
	} else if (g->block + 2 * RUN <= g->whole_blocks) {
		step_whole(g, w->counters + g->block, RUN, params);
	} else if (g->block < g->whole_blocks) {
		step_whole(g, w->counters + g->block, 1, params);
	} else {
		if (g->block == g->whole_blocks)
			group_load_tails(g, params);
		step_masked(g, w->counters[g->block], params);
	}
}

INLINE bool group_is_at_last(const struct group *g)
{
	return g->head_next == HEAD_MAX && g->block == g->blocks;
}

/* The round keys, and what makes some of them: the first of MAC and counter. */
INLINE void keys_wipe(struct group *g, unsigned rounds)
{
	struct quad zero = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};

	for (unsigned r = 0; r <= rounds + 1; r++)
		g->key[r].q = zero;
	__asm__ __volatile__("" : : "r"(g) : "memory");
}

/* Two groups are stepped in turn. When one comes to its last step, its successor's keys are expanded in it.
 */
INLINE void ccm_burst(struct ccm_worker *w, struct record_op **ops, unsigned count, struct ccm_params params)
{
	struct group *running[2] = {&w->groups[0], NULL};
	struct group *spare = &w->groups[2];
	unsigned taken = group_take(running[0], ops, count, &w->idle, params);

	if (taken < count) {
		running[1] = &w->groups[1];
		taken += group_take(running[1], ops + taken, count - taken, &w->idle, params);
		expand_two(running[0], running[1], params);
	} else {
		expand(running[0], params);
	}
	for (unsigned turn = 0; running[0] || running[1]; turn ^= 1) {
		struct group *g = running[turn];

		if (!g)
			continue;
		if (!group_is_at_last(g)) {
			group_step(w, g, params);
			continue;
		}
		if (taken < count) {
			taken += group_take(spare, ops + taken, count - taken, &w->idle, params);
			step_last_expand(g, spare, params);
			running[turn] = spare;
			spare = g;
		} else {
			step_last(g, params.rounds);
			running[turn] = NULL;
		}
		group_finish(g, params);
	}
	for (unsigned i = 0; i < GROUPS && i * GROUP < count; i++)
		keys_wipe(&w->groups[i], params.rounds);
}

/* Protections to parameters: one instance of the template each. */
static void ccm_open_burst(void *worker, struct record_op **ops, unsigned count)
{
	switch (count ? ops[0]->protection : PROTECTION_NONE) {
	case PROTECTION_AES_128_CCM_8:
		ccm_burst(worker, ops, count, (struct ccm_params){.rounds = 10, .tag_len = 8, .seal = false});
		break;
	case PROTECTION_AES_128_CCM:
		ccm_burst(worker, ops, count,
			  (struct ccm_params){.rounds = 10, .tag_len = 16, .seal = false});
		break;
	case PROTECTION_AES_256_CCM_8:
		ccm_burst(worker, ops, count, (struct ccm_params){.rounds = 14, .tag_len = 8, .seal = false});
		break;
	default:
		assert(count == 0);
	}
}

static void ccm_seal_burst(void *worker, struct record_op **ops, unsigned count)
{
	switch (count ? ops[0]->protection : PROTECTION_NONE) {
	case PROTECTION_AES_128_CCM_8:
		ccm_burst(worker, ops, count, (struct ccm_params){.rounds = 10, .tag_len = 8, .seal = true});
		break;
	case PROTECTION_AES_128_CCM:
		ccm_burst(worker, ops, count, (struct ccm_params){.rounds = 10, .tag_len = 16, .seal = true});
		break;
	case PROTECTION_AES_256_CCM_8:
		ccm_burst(worker, ops, count, (struct ccm_params){.rounds = 14, .tag_len = 8, .seal = true});
		break;
	default:
		assert(count == 0);
	}
}

static bool ccm_protection(enum protection_id protection)
{
	return protection == PROTECTION_AES_128_CCM_8 || protection == PROTECTION_AES_128_CCM ||
	       protection == PROTECTION_AES_256_CCM_8;
}

static void *ccm_worker_new(void)
{
	size_t size = (sizeof(struct ccm_worker) + 63) & ~(size_t)63;
	struct ccm_worker *w = aligned_alloc(64, size);

	if (!w)
		return NULL;
	memset(w, 0, size);
	for (unsigned i = 0; i <= DATA_MAX / BLOCK; i++) {
		w->counters[i][14] = (uint8_t)((i + 1) >> 8);
		w->counters[i][15] = (uint8_t)(i + 1);
	}
	w->idle.fragment = w->sink + BLOCK;
	w->idle.key = w->sink;
	return w;
}

static void ccm_worker_free(void *worker)
{
	if (worker)
		secret_wipe(worker, sizeof(struct ccm_worker));
	free(worker);
}
