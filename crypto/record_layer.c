/* Between the workers and the engines: takes a burst of any mix, hands each protection's records to its
 * engine in the order of their length, and does what is common to all of them: refuses impossible lengths,
 * puts the explicit nonce or IV in, adds and takes off the inner content type of RFC 9146, wipes what did not
 * verify.
 */
#include <stdlib.h>
#include <string.h>

#include "crypto/aad.h"
#include "crypto/aead.h"
#include "crypto/always.h"
#include "crypto/iv.h"
#include "crypto/secret.h"

enum { BLOCK = 16, LENGTHS = 256, PROTECTION_VALUES = 256 };

/* What can be a record of one protection, by lengths alone. */
struct shape {
	uint32_t least;     /* bytes of a fragment; NO_ENGINE where there is none */
	uint32_t more;      /* that it may have beyond these */
	uint8_t least_text; /* bytes of ciphertext in the least one */
	uint8_t remainder;  /* that mask of the ciphertext's length must be zero: CBC comes in whole blocks */
	uint8_t explicit_len;
	bool aead;
};

enum { NO_ENGINE = INT32_MAX };

struct record_crypto {
	const struct record_choice *choice;
	void *worker[PROTECTIONS]; /* the engine's scratch; protections of one engine share it */
	struct iv_source iv;
	struct shape shape[PROTECTION_VALUES]; /* by record_op.protection, whatever stands there */
};

/* The records that go to an engine. */
struct group {
	struct record_op *op[RECORD_BURST_MAX];
	uint16_t blocks[RECORD_BURST_MAX];
	unsigned count;
	uint8_t mixed;    /* not zero: of more than one protection */
	int32_t disorder; /* negative: not in the order of length */
};

static void *worker_of(struct record_crypto *crypto, unsigned protection)
{
	const struct record_engine *engine = crypto->choice->engine[protection];

	for (unsigned i = 0; i < protection; i++) {
		if (crypto->choice->engine[i] == engine)
			return crypto->worker[i];
	}
	return engine->worker_new();
}

static void shape_set(struct shape *shape, enum protection_id id, bool has_engine)
{
	const struct protection *p = protection_get(id);
	bool mac_inside = id == PROTECTION_AES_128_CBC_MTE;

	shape->aead = p->aead;
	shape->explicit_len = p->explicit_len;
	shape->remainder = p->aead ? 0 : BLOCK - 1;
	shape->least_text = p->aead ? 0 : mac_inside ? p->tag_len + 1 : 1;
	shape->least = p->explicit_len + (mac_inside ? 0 : p->tag_len) + shape->least_text;
	shape->more = RECORD_FRAGMENT_MAX - shape->least;
	if (!has_engine)
		shape->least = NO_ENGINE;
}

struct record_crypto *record_crypto_new(const struct record_choice *choice)
{
	struct record_crypto *crypto = calloc(1, sizeof *crypto);

	if (!crypto)
		return NULL;
	crypto->choice = choice;
	if (iv_source_init(&crypto->iv))
		goto err;
	for (unsigned i = 0; i < PROTECTIONS; i++) {
		if (!choice->engine[i])
			continue;
		crypto->worker[i] = worker_of(crypto, i);
		if (!crypto->worker[i])
			goto err;
	}
	for (unsigned i = 0; i < PROTECTION_VALUES; i++)
		shape_set(&crypto->shape[i], (enum protection_id)i, i < PROTECTIONS && crypto->worker[i]);
	return crypto;
err:
	record_crypto_free(crypto);
	return NULL;
}

void record_crypto_free(struct record_crypto *crypto)
{
	if (!crypto)
		return;
	for (unsigned i = 0; i < PROTECTIONS; i++) {
		bool shared = false;

		for (unsigned j = 0; j < i; j++)
			shared |= crypto->worker[j] == crypto->worker[i];
		if (crypto->worker[i] && !shared)
			crypto->choice->engine[i]->worker_free(crypto->worker[i]);
	}
	secret_wipe(crypto, sizeof *crypto);
	free(crypto);
}

/* ---- In the order of length ---- */

static void sort_few(struct group *g)
{
	for (unsigned i = 1; i < g->count; i++) {
		struct record_op *op = g->op[i];
		uint16_t blocks = g->blocks[i];
		unsigned at = i;

		for (; at > 0 && g->blocks[at - 1] > blocks; at--) {
			g->op[at] = g->op[at - 1];
			g->blocks[at] = g->blocks[at - 1];
		}
		g->op[at] = op;
		g->blocks[at] = blocks;
	}
}

/* Counting sort over the lengths that occur: about ten cycles per record for what fits an Ethernet frame. */
static void sort_by_blocks(struct group *g)
{
	uint8_t start[LENGTHS] = {0};
	struct record_op *sorted[RECORD_BURST_MAX];
	unsigned low = g->blocks[0];
	unsigned high = g->blocks[0];

	for (unsigned i = 1; i < g->count; i++) {
		low = g->blocks[i] < low ? g->blocks[i] : low;
		high = g->blocks[i] > high ? g->blocks[i] : high;
	}
	if (high - low >= LENGTHS) {
		sort_few(g);
		return;
	}
	for (unsigned i = 0; i < g->count; i++)
		start[g->blocks[i] - low]++;
	for (unsigned i = 0, sum = 0; i <= high - low; i++) {
		unsigned here = start[i];

		start[i] = (uint8_t)sum;
		sum += here;
	}
	for (unsigned i = 0; i < g->count; i++)
		sorted[start[g->blocks[i] - low]++] = g->op[i];
	memcpy(g->op, sorted, g->count * sizeof sorted[0]);
}

/* A group as it grows. Kept apart from struct group so that all of it stays in registers: a chain of
 * additions in memory costs more than all the rest.
 */
struct growth {
	uint32_t count;
	int32_t last_blocks;
	int32_t disorder;
	uint8_t protection; /* of all of them, or they are mixed */
	uint8_t mixed;
};

static inline void group_add(struct group *g, struct growth *growth, struct record_op *op, unsigned blocks)
{
	growth->disorder |= (int32_t)blocks - growth->last_blocks;
	growth->last_blocks = (int32_t)blocks;
	g->op[growth->count] = op;
	g->blocks[growth->count++] = (uint16_t)blocks;
}

static inline void group_close(struct group *g, const struct growth *growth)
{
	g->count = growth->count;
	g->mixed = growth->mixed;
	g->disorder = growth->disorder;
}

static void run_one(struct record_crypto *crypto, struct group *g, bool open)
{
	unsigned protection = g->op[0]->protection;
	const struct record_engine *engine = crypto->choice->engine[protection];

	if (g->disorder < 0)
		sort_by_blocks(g);
	if (open) {
		engine->open_burst(crypto->worker[protection], g->op, g->count);
		return;
	}
	engine->seal_burst(crypto->worker[protection], g->op, g->count);
	for (unsigned i = 0; i < g->count; i++)
		always_assert(g->op[i]->ok); /* sealing has nothing to fail by */
}

/* Moves record i to where it stands among those that are left. */
static void group_add_later(struct group *g, struct growth *growth, unsigned i)
{
	uint8_t protection = g->op[i]->protection;

	if (growth->count == 0)
		growth->protection = protection;
	growth->mixed |= protection ^ growth->protection;
	group_add(g, growth, g->op[i], g->blocks[i]);
}

/* Hands the records to their engines, one protection at a time. */
static void run(struct record_crypto *crypto, struct group *g, bool open)
{
	while (g->mixed) {
		unsigned protection = g->op[0]->protection;
		struct growth here = {.protection = (uint8_t)protection};
		struct growth later = {0};
		struct group one;

		for (unsigned i = 0; i < g->count; i++) {
			if (g->op[i]->protection == protection)
				group_add(&one, &here, g->op[i], g->blocks[i]);
			else
				group_add_later(g, &later, i);
		}
		group_close(&one, &here);
		group_close(g, &later);
		run_one(crypto, &one, open);
	}
	if (g->count > 0)
		run_one(crypto, g, open);
}

/* ---- Open ---- */

/* RFC 9146 4: content, its type, any number of zeros. Nothing but zeros counts as a bad MAC. */
static void inner_take_off(struct record_op *op)
{
	const uint8_t *inner = op->fragment + op->payload_offset;
	unsigned len = op->payload_len;

	while (len > 0 && inner[len - 1] == 0)
		len--;
	op->ok = len > 0;
	if (!op->ok)
		return;
	op->type = inner[len - 1];
	op->payload_len = (uint16_t)(len - 1);
}

static void open_refuse(struct record_op *op)
{
	secret_wipe(op->fragment, op->fragment_len);
	op->ok = false;
	op->payload_len = 0;
}

/* Not a record of this shape, by its lengths. */
static inline bool misshapen(const struct record_op *op, uint32_t more, struct shape shape)
{
	return __builtin_expect(more > shape.more, 0) || __builtin_expect(op->cid_len > RECORD_CID_MAX, 0) ||
	       __builtin_expect(((more + shape.least_text) & shape.remainder) != 0, 0);
}

/* Takes in the ops from `at` on that are of one protection, but for those whose length is one that no record
 * of it has. Returns where it stops.
 */
static inline struct record_op *open_take(struct group *g, struct growth *growth, struct record_op *at,
					  const struct record_op *end, struct shape shape)
{
	struct growth now = *growth;
	uint8_t protection = at->protection;

	for (; at != end && at->protection == protection; at++) {
		uint32_t more = at->fragment_len - shape.least; /* wraps to what is too much */

		if (misshapen(at, more, shape)) {
			at->ok = false;
			at->payload_len = 0;
			at->payload_offset = 0;
			continue;
		}
		group_add(g, &now, at, (more + shape.least_text + BLOCK - 1) / BLOCK);
	}
	*growth = now;
	return at;
}

void record_open_burst(struct record_crypto *crypto, struct record_op *ops, unsigned count)
{
	struct growth growth = {.protection = count ? ops[0].protection : 0};
	struct record_op *end = ops + count;
	struct group g;

	always_assert(count <= RECORD_BURST_MAX);
	for (struct record_op *op = ops; op != end;) {
		growth.mixed |= op->protection ^ growth.protection; /* mostly that of all */
		op = open_take(&g, &growth, op, end, crypto->shape[op->protection]);
	}
	group_close(&g, &growth);
	run(crypto, &g, true);
	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = &ops[i];

		if (op->ok && op->cid_len)
			inner_take_off(op);
		if (!op->ok || op->payload_len > RECORD_PLAINTEXT_MAX) /* RFC 5246 6.2.1 */
			open_refuse(op);
	}
}

/* ---- Seal ---- */

void record_seal_burst(struct record_crypto *crypto, struct record_op *ops, unsigned count)
{
	struct growth growth = {.protection = count ? ops[0].protection : 0};
	struct group g;

	always_assert(count <= RECORD_BURST_MAX);
	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = &ops[i];
		const struct shape *shape = &crypto->shape[op->protection];

		op->ok = false;
		op->fragment_len = 0;
		if (op->payload_len > RECORD_PLAINTEXT_MAX || op->cid_len > RECORD_CID_MAX ||
		    shape->least == NO_ENGINE)
			continue;
		always_assert(op->payload_offset == shape->explicit_len);
		if (shape->aead)
			put_be64(op->fragment, op->epoch_seq);
		else
			iv_source_take(&crypto->iv, op->fragment);
		if (op->cid_len)
			op->fragment[op->payload_offset + op->payload_len++] = op->type;
		growth.mixed |= op->protection ^ growth.protection;
		group_add(&g, &growth, op, (op->payload_len + BLOCK - 1U) / BLOCK);
	}
	group_close(&g, &growth);
	run(crypto, &g, false);
	for (unsigned i = 0; i < count; i++)
		ops[i].payload_len -= ops[i].ok && ops[i].cid_len;
}

unsigned record_seal_overhead(enum protection_id protection, unsigned payload_len, bool cid)
{
	const struct protection *p = protection_get(protection);
	unsigned inner = payload_len + (cid ? 1 : 0);
	unsigned overhead = p->explicit_len + p->tag_len + (cid ? 1 : 0);

	if (protection == PROTECTION_AES_128_CBC_MTE)
		inner += p->tag_len;
	if (!p->aead && protection != PROTECTION_NONE)
		overhead += BLOCK - inner % BLOCK; /* one byte of padding at least */
	return overhead;
}
