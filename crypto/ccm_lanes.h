/* AES-CCM (RFC 3610, RFC 6655) over a burst of DTLS records, one record per 128-bit lane. A template: the
 * file that includes it has chosen the register width by one of the crypto/vec*.h; see crypto/vaes.c. One
 * worker's thread calls it; it allocates nothing.
 *
 * Register picture (LANES 2, a group of 8 records A..H); one load of key[r] feeds an aesenc of each row:
 *
 *   counter  [ctr A|ctr B] [ctr C|ctr D] [ctr E|ctr F] [ctr G|ctr H]   CTR: encrypts A_j, j = 0, 1, 2 ...
 *   mac      [mac A|mac B] [mac C|mac D] [mac E|mac F] [mac G|mac H]   CBC-MAC: B_0, AAD, plaintext
 *   key[r]   [ k A | k B ] [ k C | k D ] [ k E | k F ] [ k G | k H ]
 *
 * One step of a group is one pass over the rounds: the counter row makes keystream block j, the mac row
 * encrypts the MAC input before it. Both end together, so the mac row takes plaintext block j in without
 * waiting. With a AAD blocks and m payload blocks that is 2m + a + 2 block encryptions, none of them wasted:
 *
 *   step   counter row      mac row
 *   0      A_0              B_0
 *   ...    -                AAD 1 .. a-1
 *   j      A_j  -> P_j      what stands before P_j, then ^= P_j      j = 1 .. m
 *   last   -                P_m
 *
 * No xor stands in the chain of the mac row: aesenclast(x, k) ends in an xor with k, so the last round takes
 * k_last ^ k_0 ^ P_j as its key and leaves the state as the next first round needs it. In the same way the
 * last round of A_j takes k_last ^ C_j and yields P_j, and the tag T ^ received = S(mac) ^ S(ctr 0) ^
 * received needs no k_last because it would come in twice: a good record leaves zero.
 *
 * A step of 8 chains of 10 rounds keeps two AES units of latency 4 just busy. Two groups are stepped in turn,
 * so that one fills the gap where the other hands over to its next step; a third is made ready meanwhile, its
 * keys round by round within the last step of the one before, which has one row only. At the end of the burst
 * they are wiped.
 *
 * Lengths: blocks that every record of a group has whole are stepped as above. The others take the masked
 * step: a partial block comes from and goes to `tail`, a record that has no block left keeps its MAC state.
 *
 * Constant time: no branch and no address depends on keys, plaintext or tags.
 */
#include <stdlib.h>

#include "crypto/lanes.h"
#include "crypto/secret.h"

enum {
	GROUPS = 3,   /* two are stepped, one is made ready */
	RUN = 4,      /* blocks of a long record between two changes of the group */
	HEAD_MAX = 4, /* B_0 and at most 3 AAD blocks (23 + 20 bytes and their length) */
	CID_AAD = 23, /* AAD with a CID, without the CID itself: RFC 9146 5.3 */
	NONCE_AT = 5, /* where nonce_explicit stands in A_i and B_0 */
};

struct own {
	union row head[HEAD_MAX]; /* B_0 and AAD blocks, ending at the last index */
	union row mac;
	uint8_t aad_blocks[GROUP]; /* only where they differ */
	unsigned head_first;       /* index into head of the first block of the record with the longest AAD */
	unsigned head_next; /* HEAD_MAX: all of them are under way; 0: the first step is still to come */
	bool head_even;     /* all records have equally many AAD blocks */
};

#include "crypto/lanes_group.h"

/* Shuffles of an op as load_ops() gives it, with the payload's length at byte at_len: byte i comes from [i],
 * or is zero. */
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
	for (unsigned i = 0; i < g->own.aad_blocks[lane]; i++)
		memcpy(g->own.head[HEAD_MAX - g->own.aad_blocks[lane] + i].byte[lane],
		       aad + (size_t)BLOCK * i, BLOCK);
}

/* The AAD of records of which some have a CID that is not 7 bytes long and some have not. Rare, so lane by
 * lane: the plain AAD stands in the last block, B_0 before it.
 */
INLINE void group_set_aad_uneven(struct group *g, struct params params)
{
	unsigned least = HEAD_MAX;
	unsigned most = 0;

	for (unsigned lane = 0; lane < GROUP; lane++) {
		unsigned cid_len = g->op[lane]->cid_len;
		unsigned blocks = cid_len ? (2 + CID_AAD + cid_len + BLOCK - 1) / BLOCK : 1;

		g->own.aad_blocks[lane] = (uint8_t)blocks;
		least = blocks < least ? blocks : least;
		most = blocks > most ? blocks : most;
		memcpy(g->own.head[HEAD_MAX - 1 - blocks].byte[lane], g->own.head[0].byte[lane], BLOCK);
		if (cid_len)
			lane_aad_cid(g, lane, lane_len(g, lane, params));
	}
	g->own.head_even = least == most;
	g->own.head_first = HEAD_MAX - 1 - most;
}

/* A CID of 7 bytes, which is ours, fills two blocks to the byte. */
INLINE void group_set_aad_cid7(struct group *g, unsigned v, vec op, bool seal)
{
	uint64_t cid[LANES];

	for (unsigned i = 0; i < LANES; i++) {
		const uint8_t *at = g->op[v * LANES + i]->cid;

		cid[i] = load32(at) | (uint64_t)load32(at + 3) << 24;
	}
	g->own.head[HEAD_MAX - 2].v[v] =
		vec_or(vec_broadcast(fixed_cid7), vec_shuffle(op, vec_broadcast(shuffle_cid7_first)));
	g->own.head[HEAD_MAX - 1].v[v] = vec_or(vec_shuffle(op, vec_broadcast(shuffle_cid7[seal])),
						vec_shuffle(vec_set64(cid), vec_broadcast(shuffle_cid7_cid)));
}

/* What is common to register v's records: key[0], A_0, B_0, the plain AAD, the tag. */
INLINE void group_set_vec(struct group *g, unsigned v, vec op, struct params params)
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
	g->own.mac.v[v] = vec_xor(vec_or(nonce, len), key);
	g->own.head[HEAD_MAX - 1].v[v] = vec_or(vec_shuffle(op, vec_broadcast(shuffle_plain[params.seal])),
						vec_broadcast(fixed_plain));
	g->tag.v[v] = load_tags(g, v, params);
}

/* Heads with a CID: all of them with one of ours, or any mix. */
INLINE void group_set_heads_cid(struct group *g, struct params params)
{
	if (g->own.head_first == 1) {
		for (unsigned v = 0; v < VECS; v++)
			group_set_aad_cid7(g, v, load_ops(g, v, params), params.seal);
		return;
	}
	for (unsigned v = 0; v < VECS; v++)
		g->own.head[0].v[v] = vec_xor(g->own.mac.v[v], g->key[0].v[v]);
	group_set_aad_uneven(g, params);
	g->own.mac.q = quad_xor(g->own.head[g->own.head_first].q, g->key[0].q);
}

struct ccm_worker {
	struct group groups[GROUPS];
	union row tags[RECORD_BURST_MAX / GROUP];
	uint8_t counters[DATA_MAX / BLOCK + 1]
			[BLOCK]; /* the counter of A_1, A_2 ... at its place in the block */
	struct record_op idle;   /* on the sink */
	uint8_t sink[DATA_MAX + 4 * BLOCK];
};

/* Takes the records from `taken` on, as many as a group has or there are left. Returns how many are taken
 * then.
 */
INLINE unsigned ccm_take(struct ccm_worker *w, struct group *g, struct record_op **ops, unsigned taken,
			 unsigned count, struct params params)
{
	struct taken here = group_take(g, ops + taken, count - taken, &w->idle, params);

	g->tag_end = &w->tags[taken / GROUP];
	g->own.head_next = 0;
	g->own.head_even = true;
	g->own.head_first = 2;
	if (here.cid_most != 0) {
		g->own.head_first = here.cid_least == 7 && here.cid_most == 7;
		group_set_heads_cid(g, params);
	}
	return taken + here.count;
}

/* ---- Steps ---- */

INLINE struct quad rounds_mac(const struct group *g, unsigned rounds)
{
	struct quad mac = g->own.mac.q;

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
	g->own.mac.q = quad_aesenclast(mac, quad_xor(g->own.head[index].q, g->key[rounds + 1].q));
	if (g->own.head_even)
		return;
	for (unsigned lane = 0; lane < GROUP; lane++) {
		if (index + 1 + g->own.aad_blocks[lane] != HEAD_MAX)
			continue;
		for (unsigned half = 0; half < 2; half++)
			g->own.mac.half[lane][half] =
				g->own.head[index].half[lane][half] ^ g->key[0].half[lane][half];
	}
}

INLINE void step_first(struct group *g, struct params params)
{
	struct quad counter = g->counter.q;
	struct quad mac = g->own.mac.q;

	rounds_both(g, &counter, &mac, params.rounds);
	g->tag.q = quad_aesenclast(counter, g->tag.q);
	mac_take_head(g, mac, g->own.head_first + 1, params.rounds);
}

INLINE void step_head(struct group *g, unsigned index, unsigned rounds)
{
	mac_take_head(g, rounds_mac(g, rounds), index, rounds);
}

INLINE void step_last(struct group *g, unsigned rounds)
{
	g->tag_end->q = quad_aesenclast(rounds_mac(g, rounds), g->tag.q);
}

/* step_last(), and in its gaps the keys of the group that comes next: round by round, as either waits for its
 * own results most of the time.
 */
INLINE void step_last_expand(struct group *g, struct group *next, struct params params)
{
	struct quad mac = g->own.mac.q;
	struct expansion e = expand_begin(next, params);
	unsigned first = params.rounds / 7;

	keys_stay_in_memory();
#pragma GCC unroll 13
	for (unsigned r = 1; r < params.rounds; r++) {
		mac = quad_aesenc(mac, g->key[r].q);
		e = expand_round(next, e, first + r - 1, params);
	}
	g->tag_end->q = quad_aesenclast(mac, g->tag.q);
	for (unsigned r = first + params.rounds - 1; r <= params.rounds; r++)
		e = expand_round(next, e, r, params);
	expand_end(next, params);
}

/* The last round of register v of a whole block; returns its MAC state. */
INLINE vec whole_end(const struct group *g, unsigned v, vec counter, vec mac, size_t offset,
		     struct params params)
{
	uint8_t *data[LANES];
	vec in;
	vec out;
	vec plain;

	memcpy(data, g->data + v * LANES, sizeof data);
	in = vec_load_lanes((const uint8_t *const *)data, offset);
	out = vec_aesenclast(counter, vec_xor(in, g->key[params.rounds].v[v]));
	plain = params.seal ? in : out;
	vec_store_lanes(data, offset, out);
	return vec_aesenclast(mac, vec_xor(plain, g->key[params.rounds + 1].v[v]));
}

/* `blocks` (a constant) payload blocks from g->block on, whole in all records. counters: theirs, big endian.
 */
INLINE void step_whole(struct group *g, const uint8_t (*counters)[BLOCK], unsigned blocks,
		       struct params params)
{
	size_t offset = (size_t)g->block * BLOCK;
	struct quad mac = g->own.mac.q;

	for (unsigned i = 0; i < blocks; i++, offset += BLOCK) {
		vec count = vec_broadcast(counters[i]);
		struct quad counter = quad_xor(g->counter.q, (struct quad){count, count, count, count});

		rounds_both(g, &counter, &mac, params.rounds);
		mac.a = whole_end(g, 0, counter.a, mac.a, offset, params);
		mac.b = whole_end(g, 1, counter.b, mac.b, offset, params);
		mac.c = whole_end(g, 2, counter.c, mac.c, offset, params);
		mac.d = whole_end(g, 3, counter.d, mac.d, offset, params);
	}
	g->own.mac.q = mac;
	g->block += blocks;
}

/* The last round of register v of a block that not all records have whole. Bytes behind a record's end keep
 * what they hold, and the MAC state of a record that has nothing in this block stays.
 */
INLINE void masked_end(struct group *g, unsigned v, uint8_t *const *at, vec counter, vec mac,
		       struct params params)
{
	vec mask = masked_bytes(g, v);
	vec in = vec_load_lanes((const uint8_t *const *)at, 0);
	vec out = vec_aesenclast(counter, vec_xor(in, g->key[params.rounds].v[v]));
	vec plain = vec_and(params.seal ? in : out, mask);

	vec_store_lanes(at, 0, vec_select(mask, out, in));
	mac = vec_aesenclast(mac, vec_xor(plain, g->key[params.rounds + 1].v[v]));
	g->own.mac.v[v] = vec_select(vec_shuffle(mask, vec_zero()), mac, g->own.mac.v[v]);
}

/* One block where some record has only a part of it, or nothing. */
INLINE void step_masked(struct group *g, const uint8_t *counter_be, struct params params)
{
	vec count = vec_broadcast(counter_be);
	struct quad counter = quad_xor(g->counter.q, (struct quad){count, count, count, count});
	struct quad mac = g->own.mac.q;
	uint8_t *at[GROUP];

	group_places(g, at, params);
	rounds_both(g, &counter, &mac, params.rounds);
	masked_end(g, 0, at + 0 * LANES, counter.a, mac.a, params);
	masked_end(g, 1, at + 1 * LANES, counter.b, mac.b, params);
	masked_end(g, 2, at + 2 * LANES, counter.c, mac.c, params);
	masked_end(g, 3, at + 3 * LANES, counter.d, mac.d, params);
	g->block++;
}

/* The next step of a group but its last. Of long records RUN blocks at a time, which saves loads; of short
 * ones one, so that two groups are well mixed.
 */
INLINE void group_step(const struct ccm_worker *w, struct group *g, struct params params)
{
	if (g->own.head_next == 0) {
		step_first(g, params);
		g->own.head_next = g->own.head_first + 2; /* step_first() takes the one before */
	} else if (g->own.head_next < HEAD_MAX) {
		step_head(g, g->own.head_next, params.rounds);
		g->own.head_next++;
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
	return g->own.head_next == HEAD_MAX && g->block == g->blocks;
}

INLINE bool group_is_at_whole(const struct group *g)
{
	return g->own.head_next == HEAD_MAX && g->block < g->whole_blocks;
}

/* The rest of the whole blocks that both groups have, a step of each in turn. */
INLINE void groups_step_whole(const struct ccm_worker *w, struct group *one, struct group *other,
			      struct params params)
{
	unsigned left = one->whole_blocks - one->block;
	unsigned left_other = other->whole_blocks - other->block;
	struct group *turns[2] = {one, other};

	left = left_other < left ? left_other : left;
	for (; left >= 2 * RUN; left -= RUN) {
#pragma GCC unroll 1
		for (unsigned turn = 0; turn < 2; turn++)
			step_whole(turns[turn], w->counters + turns[turn]->block, RUN, params);
	}
	for (; left > 0; left--) {
#pragma GCC unroll 1
		for (unsigned turn = 0; turn < 2; turn++)
			step_whole(turns[turn], w->counters + turns[turn]->block, 1, params);
	}
}

/* Two groups are stepped in turn. When one comes to its last step, its successor's keys are expanded in it.
 * Its tags are looked at when the next one ends: by then they are there.
 */
INLINE void ccm_burst(struct ccm_worker *w, struct record_op **ops, unsigned count, struct params params)
{
	struct group *running[2] = {&w->groups[0], NULL};
	struct group *spare = &w->groups[2];
	unsigned taken = ccm_take(w, running[0], ops, 0, count, params);
	unsigned ended = count; /* the first record of the group that came to its end last */

	if (taken < count) {
		running[1] = &w->groups[1];
		taken = ccm_take(w, running[1], ops, taken, count, params);
		expand_two(running[0], running[1], params);
	} else {
		expand(running[0], params);
	}
	for (unsigned turn = 0; running[0] || running[1]; turn ^= 1) {
		struct group *g = running[turn];
		unsigned first;

		if (!g)
			continue;
		if (!group_is_at_last(g)) {
			if (group_is_at_whole(g) && running[turn ^ 1] && group_is_at_whole(running[turn ^ 1]))
				groups_step_whole(w, g, running[turn ^ 1], params);
			else
				group_step(w, g, params);
			continue;
		}
		first = (unsigned)(g->tag_end - w->tags) * GROUP;
		if (taken < count) {
			taken = ccm_take(w, spare, ops, taken, count, params);
			step_last_expand(g, spare, params);
			running[turn] = spare;
			spare = g;
		} else {
			step_last(g, params.rounds);
			running[turn] = NULL;
		}
		group_end(g, params);
		if (ended < count)
			tags_judge(w->tags, ended, ops, count, params);
		ended = first;
	}
	tags_judge(w->tags, ended, ops, count, params);
	for (unsigned i = 0; i < GROUPS && i * GROUP < count; i++)
		keys_wipe(&w->groups[i], params.rounds);
}

/* Protections to parameters: one instance of the template each. */
static void ccm_open_burst(void *worker, struct record_op **ops, unsigned count)
{
	switch (count ? ops[0]->protection : PROTECTION_NONE) {
	case PROTECTION_AES_128_CCM_8:
		ccm_burst(worker, ops, count, (struct params){.rounds = 10, .tag_len = 8, .seal = false});
		break;
	case PROTECTION_AES_128_CCM:
		ccm_burst(worker, ops, count, (struct params){.rounds = 10, .tag_len = 16, .seal = false});
		break;
	case PROTECTION_AES_256_CCM_8:
		ccm_burst(worker, ops, count, (struct params){.rounds = 14, .tag_len = 8, .seal = false});
		break;
	default:
		assert(count == 0);
	}
}

static void ccm_seal_burst(void *worker, struct record_op **ops, unsigned count)
{
	switch (count ? ops[0]->protection : PROTECTION_NONE) {
	case PROTECTION_AES_128_CCM_8:
		ccm_burst(worker, ops, count, (struct params){.rounds = 10, .tag_len = 8, .seal = true});
		break;
	case PROTECTION_AES_128_CCM:
		ccm_burst(worker, ops, count, (struct params){.rounds = 10, .tag_len = 16, .seal = true});
		break;
	case PROTECTION_AES_256_CCM_8:
		ccm_burst(worker, ops, count, (struct params){.rounds = 14, .tag_len = 8, .seal = true});
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
