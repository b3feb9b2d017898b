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
 * A step of 8 chains of 10 rounds keeps two AES units of latency 4 just busy; the gap where a step hands over
 * to the next is filled by stepping TEAM groups in turn. The chains of different groups do not depend on each
 * other.
 *
 * Keys are expanded for a whole group at a time from the raw keys, transposed (register d holds word d of
 * every key), which needs one shuffle and one aesenclast (SubWord; the round constant is its key) for all of
 * them, and a 4 x 4 transpose back per round.
 *
 * Lengths: blocks that every record of a group has whole are stepped as above. The others take the masked
 * step: a partial block comes from and goes to `tail`, a record that has no block left keeps its MAC state.
 * Nothing behind the fragment is touched: a partial block of r bytes is loaded and stored as its first 8 and,
 * when r >= 8, its second 8 bytes; as a tag of 8 or more bytes follows it, both lie inside the fragment.
 *
 * Constant time: no branch and no address depends on keys, plaintext or tags, but for the verdict per record.
 * Lengths and the presence of a CID are public.
 */
#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/secret.h"

enum {
	VECS = 4,             /* registers per row */
	GROUP = VECS * LANES, /* records per group */
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

/* One block of each record of a group; as bytes, lane by lane, while it is put together. */
union row {
	vec v[VECS];
	uint64_t half[GROUP][2];
	uint8_t byte[GROUP][BLOCK];
};

struct group {
	union row key[ROUNDS_MAX + 2]; /* [rounds + 1] is key[rounds] ^ key[0] */
	union row head[HEAD_MAX];      /* B_0 and AAD blocks, ending at the last index */
	union row counter;             /* A_0 ^ key[0] */
	union row mac;
	union row tag; /* received tag; after step 0 ^ E(A_0); at the end T ^ that */
	union row tail;
	uint8_t *data[GROUP]; /* payload: ciphertext and plaintext in place */
	struct record_op *op[GROUP];
	uint32_t len[GROUP];       /* payload bytes */
	uint8_t aad_blocks[GROUP]; /* only where they differ */
	unsigned whole_blocks;     /* that every record has */
	unsigned blocks;           /* of the longest, with its partial one */
	unsigned head_first;       /* index into head of the first block of the record with the longest AAD */
	bool head_even;            /* all records have equally many AAD blocks */
};

/* n bytes of ones, then zeros: from mask_bytes + 16 - n. */
static const uint8_t mask_bytes[2 * BLOCK] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					      0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static inline uint64_t load64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

static inline uint32_t load32(const uint8_t *from)
{
	uint32_t value;

	memcpy(&value, from, sizeof(value));
	return value;
}

static inline void store64(uint8_t *to, uint64_t value)
{
	memcpy(to, &value, sizeof(value));
}

/* Bytes of a record_op from epoch_seq on, as one 16-byte load sees them. */
enum { OP_SEQ = 0, OP_FRAGMENT_LEN = 8, OP_PAYLOAD_LEN = 12, OP_TYPE = 15, NONE = 0x80 };
static_assert(offsetof(struct record_op, fragment_len) - offsetof(struct record_op, epoch_seq) ==
			      OP_FRAGMENT_LEN &&
		      offsetof(struct record_op, payload_len) - offsetof(struct record_op, epoch_seq) ==
			      OP_PAYLOAD_LEN &&
		      offsetof(struct record_op, type) - offsetof(struct record_op, epoch_seq) == OP_TYPE,
	      "the heads are shuffled together from these");

/* Shuffles of that load with the payload's length at byte at_len: byte i comes from [i], or is zero. */
#define SHUFFLE_B0(at_len)                                                                                   \
	{                                                                                                    \
		NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE,          \
			(at_len) + 1, at_len                                                                 \
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
static const uint8_t shuffle_explicit[BLOCK] = {NONE, NONE, NONE, NONE, NONE, 0,    1,    2,
						3,    4,    5,    6,    7,    NONE, NONE, NONE};
static const uint8_t shuffle_high_half[BLOCK] = {8,    9,    10,   11,   12,   13,   14,   15,
						 NONE, NONE, NONE, NONE, NONE, NONE, NONE, NONE};

/* 16 bytes of each lane's key structure, from `offset`. */
static inline vec load_keys(const struct group *g, unsigned v, size_t offset)
{
	const uint8_t *at[LANES];

	for (unsigned i = 0; i < LANES; i++)
		at[i] = g->op[v * LANES + i]->key;
	return vec_load_lanes(at, offset);
}

/* The first 16 bytes of each lane's fragment: as short as it may be, it has an explicit nonce and a tag. */
static inline vec load_fragments(const struct group *g, unsigned v)
{
	const uint8_t *at[LANES];

	for (unsigned i = 0; i < LANES; i++)
		at[i] = g->op[v * LANES + i]->fragment;
	return vec_load_lanes(at, 0);
}

/* The ops themselves from epoch_seq on, with the length of the payload in place of the fragment's (open). */
static inline vec load_ops(const struct group *g, unsigned v, struct ccm_params params)
{
	const vec overhead = vec_pattern(0, EXPLICIT + params.tag_len); /* at OP_FRAGMENT_LEN */
	const uint8_t *at[LANES];

	for (unsigned i = 0; i < LANES; i++)
		at[i] = (const uint8_t *)g->op[v * LANES + i] + offsetof(struct record_op, epoch_seq);
	return params.seal ? vec_load_lanes(at, 0) : vec_sub16(vec_load_lanes(at, 0), overhead);
}

/* RFC 9146 5.3, for a CID of any length. Blocks of the AAD with its two length bytes, the last one at
 * head[HEAD_MAX - 1]; B_0, which stands there, moves to before the first.
 */
static void lane_aad_cid(struct group *g, unsigned lane)
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
	*at++ = (uint8_t)(g->len[lane] >> 8);
	*at = (uint8_t)g->len[lane];
	for (unsigned i = 0; i < g->aad_blocks[lane]; i++)
		memcpy(g->head[HEAD_MAX - g->aad_blocks[lane] + i].byte[lane], aad + (size_t)BLOCK * i,
		       BLOCK);
}

/* The AAD of records of which some have a CID that is not 7 bytes long and some have not. Rare, so lane by
 * lane: the plain AAD stands in the last block, B_0 before it.
 */
static void group_set_aad_uneven(struct group *g)
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
			lane_aad_cid(g, lane);
	}
	g->head_even = least == most;
	g->head_first = HEAD_MAX - 1 - most;
}

/* A CID of 7 bytes, which is ours, fills two blocks to the byte. */
static inline void group_set_aad_cid7(struct group *g, unsigned v, vec op, bool seal)
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

/* B_0, AAD, A_0 and the received tag of every record. cid_any: all cid_len or-ed, cid_all: and-ed. */
static inline void group_set_heads(struct group *g, unsigned cid_any, unsigned cid_all,
				   struct ccm_params params)
{
	const vec flags_b0 =
		vec_pattern(0x42 | (params.tag_len - 2) / 2 << 3, 0); /* AAD, tag length, L = 3 */
	const vec flags_counter = vec_pattern(2, 0);
	bool cid7 = cid_any == 7 && cid_all == 7;
	unsigned index = cid7 ? 1 : cid_any == 0 ? 2 : 0; /* of B_0: before the AAD */

	g->head_first = index;
	g->head_even = true;
	for (unsigned v = 0; v < VECS; v++) {
		vec op = load_ops(g, v, params);
		vec salt = load_keys(g, v, params.rounds == 14 ? 20 : 4); /* ends with the salt */
		vec nonce = vec_or(vec_shuffle(salt, vec_broadcast(shuffle_salt)),
				   vec_shuffle(load_fragments(g, v), vec_broadcast(shuffle_explicit)));
		vec len = vec_or(vec_shuffle(op, vec_broadcast(shuffle_b0[params.seal])), flags_b0);

		g->counter.v[v] = vec_or(nonce, flags_counter);
		g->head[index].v[v] = vec_or(nonce, len);
		if (cid7)
			group_set_aad_cid7(g, v, op, params.seal);
		else
			g->head[HEAD_MAX - 1].v[v] =
				vec_or(vec_shuffle(op, vec_broadcast(shuffle_plain[params.seal])),
				       vec_broadcast(fixed_plain));
	}
	if (index == 0)
		group_set_aad_uneven(g);
}

/* The last 16 bytes of each fragment hold the tag, or its 8 bytes in their higher half. */
static inline void group_set_tags(struct group *g, struct ccm_params params)
{
	for (unsigned v = 0; v < VECS; v++) {
		const uint8_t *at[LANES];

		for (unsigned i = 0; i < LANES; i++) {
			unsigned lane = v * LANES + i;

			at[i] = g->data[lane] + g->len[lane] + params.tag_len - BLOCK;
		}
		if (params.seal)
			g->tag.v[v] = vec_zero();
		else if (params.tag_len == BLOCK)
			g->tag.v[v] = vec_load_lanes(at, 0);
		else
			g->tag.v[v] = vec_shuffle(vec_load_lanes(at, 0), vec_broadcast(shuffle_high_half));
	}
}

/* Takes up to GROUP records; returns how many ops it went past. *used is 0 when none of them can be a record.
 * Lanes without a record do what the others do, on `idle`.
 */
static inline unsigned group_set(struct group *g, struct record_op **ops, unsigned count, unsigned *used,
				 struct record_op *idle, struct ccm_params params)
{
	const unsigned overhead = EXPLICIT + params.tag_len;
	unsigned lane = 0;
	unsigned taken = 0;
	unsigned shortest = UINT32_MAX;
	unsigned longest = 0;
	unsigned cid_any = 0;
	unsigned cid_all = ~0U;

	for (; taken < count && lane < GROUP; taken++) {
		struct record_op *op = ops[taken];
		unsigned len = params.seal ? op->payload_len : (unsigned)op->fragment_len - overhead;

		if (__builtin_expect(len > DATA_MAX, 0)) { /* or wrapped: shorter than its overhead */
			op->ok = false;
			op->payload_len = 0;
			continue;
		}
		g->op[lane] = op;
		g->data[lane] = op->fragment + EXPLICIT;
		g->len[lane] = len;
		shortest = len < shortest ? len : shortest;
		longest = len > longest ? len : longest;
		cid_any |= op->cid_len;
		cid_all &= op->cid_len;
		lane++;
	}
	*used = lane;
	if (lane == 0)
		return taken;
	g->whole_blocks = shortest / BLOCK;
	g->blocks = (longest + BLOCK - 1) / BLOCK;
	idle->cid = g->op[0]->cid;
	idle->cid_len = g->op[0]->cid_len;
	for (; lane < GROUP; lane++) {
		g->op[lane] = idle;
		g->data[lane] = idle->fragment + EXPLICIT;
		g->len[lane] = g->blocks * BLOCK;
	}
	group_set_heads(g, cid_any, cid_all, params);
	group_set_tags(g, params);
	return taken;
}

/* Word d of every key in register d <-> one key per lane; its own inverse. */
static inline void transpose(const vec in[VECS], vec out[VECS])
{
	vec ab = vec_unpacklo32(in[0], in[1]);
	vec cd = vec_unpacklo32(in[2], in[3]);
	vec ef = vec_unpackhi32(in[0], in[1]);
	vec gh = vec_unpackhi32(in[2], in[3]);

	out[0] = vec_unpacklo64(ab, cd);
	out[1] = vec_unpackhi64(ab, cd);
	out[2] = vec_unpacklo64(ef, gh);
	out[3] = vec_unpackhi64(ef, gh);
}

/* aesenclast's ShiftRows undone beforehand, so that it is SubWord; with FIPS 197's RotWord, and without. */
static const uint8_t sub_rot_word[BLOCK] = {1, 14, 11, 4, 5, 2, 15, 8, 9, 6, 3, 12, 13, 10, 7, 0};
static const uint8_t sub_word[BLOCK] = {0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3};

/* FIPS 197 5.2: the next four words of every key: w[i] ^= w[i - 1], from `last` and the round constant. */
static inline void expand_words(vec words[VECS], vec last, const uint8_t *shuffle, unsigned constant)
{
	vec add = vec_aesenclast(vec_shuffle(last, vec_broadcast(shuffle)), vec_set32(constant));

	for (unsigned d = 0; d < VECS; d++) {
		words[d] = vec_xor(words[d], add);
		add = words[d];
	}
}

/* Expands the keys of `count` groups, in step so that the wait for one's SubWord is the other's time. */
static inline __attribute__((always_inline)) void team_expand(struct group *groups, unsigned count,
							      struct ccm_params params)
{
	static const uint8_t constants[] = {0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36};
	vec words[TEAM][2][VECS];

	for (unsigned i = 0; i < count; i++)
		for (unsigned half = 0; half < (params.rounds == 14 ? 2 : 1); half++) {
			for (unsigned v = 0; v < VECS; v++)
				groups[i].key[half].v[v] = load_keys(&groups[i], v, half * (size_t)BLOCK);
			transpose(groups[i].key[half].v, words[i][half]);
		}
	if (params.rounds == 10) {
#pragma GCC unroll 10
		for (unsigned r = 1; r <= 10; r++)
#pragma GCC unroll 4
			for (unsigned i = 0; i < count; i++) {
				expand_words(words[i][0], words[i][0][3], sub_rot_word, constants[r - 1]);
				transpose(words[i][0], groups[i].key[r].v);
			}
	} else {
#pragma GCC unroll 13
		for (unsigned r = 2; r <= 14; r++)
#pragma GCC unroll 4
			for (unsigned i = 0; i < count; i++) {
				expand_words(words[i][r & 1], words[i][~r & 1][3],
					     r & 1 ? sub_word : sub_rot_word,
					     r & 1 ? 0 : constants[r / 2 - 1]);
				transpose(words[i][r & 1], groups[i].key[r].v);
			}
	}
	for (unsigned i = 0; i < count; i++)
		for (unsigned v = 0; v < VECS; v++) {
			struct group *g = &groups[i];

			g->key[params.rounds + 1].v[v] = vec_xor(g->key[params.rounds].v[v], g->key[0].v[v]);
			g->counter.v[v] = vec_xor(g->counter.v[v], g->key[0].v[v]);
			g->mac.v[v] = vec_xor(g->head[g->head_first].v[v], g->key[0].v[v]);
		}
}

/* All rounds but the last, of both rows. */
static inline void rounds_both(const struct group *g, vec counter[VECS], vec mac[VECS], unsigned rounds)
{
#pragma GCC unroll 13
	for (unsigned r = 1; r < ROUNDS_MAX; r++)
#pragma GCC unroll 4
		for (unsigned v = 0; v < VECS && r < rounds; v++) {
			vec key = vec_held(g->key[r].v[v]);

			counter[v] = vec_aesenc(counter[v], key);
			mac[v] = vec_aesenc(mac[v], key);
		}
}

static inline void rounds_mac(const struct group *g, vec mac[VECS], unsigned rounds)
{
	for (unsigned v = 0; v < VECS; v++)
		mac[v] = g->mac.v[v];
#pragma GCC unroll 13
	for (unsigned r = 1; r < ROUNDS_MAX; r++)
#pragma GCC unroll 4
		for (unsigned v = 0; v < VECS && r < rounds; v++)
			mac[v] = vec_aesenc(mac[v], g->key[r].v[v]);
}

/* mac, all rounds but the last done, takes in head[index]. Records whose first block this is start with it.
 */
static inline void mac_take_head(struct group *g, vec mac[VECS], unsigned index, unsigned rounds)
{
	for (unsigned v = 0; v < VECS; v++)
		g->mac.v[v] = vec_aesenclast(mac[v], vec_xor(g->head[index].v[v], g->key[rounds + 1].v[v]));
	if (g->head_even)
		return;
	for (unsigned lane = 0; lane < GROUP; lane++)
		if (index + 1 + g->aad_blocks[lane] == HEAD_MAX)
			for (unsigned half = 0; half < 2; half++)
				g->mac.half[lane][half] =
					g->head[index].half[lane][half] ^ g->key[0].half[lane][half];
}

static inline void step_first(struct group *g, unsigned rounds)
{
	vec counter[VECS];
	vec mac[VECS];

	for (unsigned v = 0; v < VECS; v++) {
		counter[v] = g->counter.v[v];
		mac[v] = g->mac.v[v];
	}
	rounds_both(g, counter, mac, rounds);
	for (unsigned v = 0; v < VECS; v++)
		g->tag.v[v] = vec_aesenclast(counter[v], g->tag.v[v]);
	mac_take_head(g, mac, g->head_first + 1, rounds);
}

static inline void step_head(struct group *g, unsigned index, unsigned rounds)
{
	vec mac[VECS];

	rounds_mac(g, mac, rounds);
	mac_take_head(g, mac, index, rounds);
}

static inline void step_last(struct group *g, unsigned rounds)
{
	vec mac[VECS];

	rounds_mac(g, mac, rounds);
	for (unsigned v = 0; v < VECS; v++)
		g->tag.v[v] = vec_aesenclast(mac[v], g->tag.v[v]);
}

/* Payload block at `offset` of every record, whole in all of them. count is the block's counter, big endian.
 */
static inline void step_whole(struct group *g, vec count, size_t offset, struct ccm_params params)
{
	vec counter[VECS];
	vec mac[VECS];

	for (unsigned v = 0; v < VECS; v++) {
		counter[v] = vec_xor(g->counter.v[v], count);
		mac[v] = g->mac.v[v];
	}
	rounds_both(g, counter, mac, params.rounds);
	for (unsigned v = 0; v < VECS; v++) {
		vec in = vec_load_lanes((const uint8_t *const *)g->data + v * LANES, offset);
		vec out = vec_aesenclast(counter[v], vec_xor(in, g->key[params.rounds].v[v]));
		vec plain = params.seal ? in : out;

		vec_store_lanes(g->data + v * LANES, offset, out);
		g->mac.v[v] = vec_aesenclast(mac[v], vec_xor(plain, g->key[params.rounds + 1].v[v]));
	}
}

/* Both halves of a partial block lie in the fragment, as a tag follows; see the top. */
static inline void lane_load_tail(struct group *g, unsigned lane)
{
	const uint8_t *partial = g->data[lane] + (g->len[lane] & ~15U);

	g->tail.half[lane][0] = load64(partial);
	g->tail.half[lane][1] = load64(partial + (g->len[lane] & 8));
}

/* The same where some record has only a part of the block, or nothing. */
static void step_masked(struct group *g, vec count, size_t offset, struct ccm_params params)
{
	uint8_t idle[LANES][BLOCK];
	uint8_t *at[LANES];
	union row mask;
	union row live;
	vec counter[VECS];
	vec mac[VECS];

	for (unsigned lane = 0; lane < GROUP; lane++) {
		size_t left = g->len[lane] > offset ? g->len[lane] - offset : 0;

		memcpy(mask.byte[lane], mask_bytes + BLOCK - (left < BLOCK ? left : BLOCK), BLOCK);
		memcpy(live.byte[lane], mask_bytes + (left ? 0 : BLOCK), BLOCK);
	}
	for (unsigned v = 0; v < VECS; v++) {
		counter[v] = vec_xor(g->counter.v[v], count);
		mac[v] = g->mac.v[v];
	}
	rounds_both(g, counter, mac, params.rounds);
	for (unsigned v = 0; v < VECS; v++) {
		for (unsigned i = 0; i < LANES; i++) {
			unsigned lane = v * LANES + i;
			size_t left = g->len[lane] > offset ? g->len[lane] - offset : 0;

			if (left > 0 && left < BLOCK)
				lane_load_tail(g, lane);
			at[i] = left >= BLOCK ? g->data[lane] + offset : left ? g->tail.byte[lane] : idle[i];
			if (!left)
				memset(idle[i], 0, BLOCK);
		}
		vec in = vec_and(vec_load_lanes((const uint8_t *const *)at, 0), mask.v[v]);
		vec out = vec_aesenclast(counter[v], vec_xor(in, g->key[params.rounds].v[v]));

		out = vec_and(out, mask.v[v]);
		vec_store_lanes(at, 0, out);
		mac[v] = vec_aesenclast(mac[v],
					vec_xor(params.seal ? in : out, g->key[params.rounds + 1].v[v]));
		g->mac.v[v] = vec_select(live.v[v], mac[v], g->mac.v[v]);
	}
}

static inline void group_store_tails(struct group *g)
{
	for (unsigned lane = 0; lane < GROUP; lane++) {
		unsigned left = g->len[lane] % BLOCK;
		uint8_t *partial = g->data[lane] + g->len[lane] - left;

		if (left == 0)
			continue;
		store64(partial, g->tail.half[lane][0]);
		if (left >= 8)
			store64(partial + 8, g->tail.half[lane][1]);
	}
}

static inline void lane_finish_seal(struct group *g, unsigned lane, struct ccm_params params)
{
	struct record_op *op = g->op[lane];
	uint8_t *tag = g->data[lane] + g->len[lane];

	store64(tag, g->tag.half[lane][0]);
	if (params.tag_len == BLOCK)
		store64(tag + 8, g->tag.half[lane][1]);
	op->fragment_len = (uint16_t)(EXPLICIT + g->len[lane] + params.tag_len);
	op->ok = true;
}

static inline void lane_finish_open(struct group *g, unsigned lane, struct ccm_params params)
{
	struct record_op *op = g->op[lane];
	uint64_t difference = g->tag.half[lane][0];

	if (params.tag_len == BLOCK)
		difference |= g->tag.half[lane][1];
	op->payload_offset = EXPLICIT;
	op->payload_len = (uint16_t)g->len[lane];
	op->ok = difference == 0;
	if (__builtin_expect(!op->ok, 0)) {
		secret_wipe(g->data[lane], g->len[lane]);
		op->payload_len = 0;
	}
}

/* The groups in turn, step by step. */
static inline void team_run(struct group *groups, unsigned count, struct ccm_params params)
{
	static const uint8_t one[BLOCK] = {[12] = 1};
	static const uint8_t big_endian[BLOCK] = {[0 ... 12] = 0x80, [13] = 14, [14] = 13, [15] = 12};
	vec number = vec_broadcast(one);
	unsigned blocks = 0;

	for (unsigned i = 0; i < count; i++)
		step_first(&groups[i], params.rounds);
	for (unsigned index = 2; index < HEAD_MAX; index++)
		for (unsigned i = 0; i < count; i++)
			if (index > groups[i].head_first + 1)
				step_head(&groups[i], index, params.rounds);
	for (unsigned i = 0; i < count; i++)
		blocks = groups[i].blocks > blocks ? groups[i].blocks : blocks;
	for (unsigned block = 0; block < blocks; block++) {
		vec counter = vec_shuffle(number, vec_broadcast(big_endian));

		for (unsigned i = 0; i < count; i++) {
			if (block < groups[i].whole_blocks)
				step_whole(&groups[i], counter, (size_t)block * BLOCK, params);
			else if (block < groups[i].blocks)
				step_masked(&groups[i], counter, (size_t)block * BLOCK, params);
		}
		number = vec_add32(number, vec_broadcast(one));
	}
	for (unsigned i = 0; i < count; i++)
		step_last(&groups[i], params.rounds);
}

static inline void team_finish(struct group *g, unsigned used, struct ccm_params params)
{
	if (g->blocks > g->whole_blocks)
		group_store_tails(g);
	for (unsigned lane = 0; lane < used; lane++) {
		if (params.seal)
			lane_finish_seal(g, lane, params);
		else
			lane_finish_open(g, lane, params);
	}
}

struct ccm_worker {
	struct group groups[TEAM];
	struct record_op idle; /* on the sink */
	uint8_t sink[DATA_MAX + 4 * BLOCK];
};

static inline void ccm_burst(struct ccm_worker *w, struct record_op **ops, unsigned count,
			     struct ccm_params params)
{
	while (count > 0) {
		unsigned used[TEAM];
		unsigned n = 0;

		while (n < TEAM && count > 0) {
			unsigned taken = group_set(&w->groups[n], ops, count, &used[n], &w->idle, params);

			ops += taken;
			count -= taken;
			n += used[n] > 0;
		}
		if (n == TEAM)
			team_expand(w->groups, TEAM, params);
		else
			for (unsigned i = 0; i < n; i++)
				team_expand(w->groups + i, 1, params);
		if (n > 0)
			team_run(w->groups, n, params);
		for (unsigned i = 0; i < n; i++)
			team_finish(&w->groups[i], used[i], params);
	}
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
