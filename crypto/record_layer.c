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

enum { BLOCK = 16, LENGTHS = 256 };

struct record_crypto {
	const struct record_choice *choice;
	void *worker[PROTECTIONS]; /* the engine's scratch; protections of one engine share it */
	struct iv_source iv;
	uint16_t blocks[RECORD_BURST_MAX]; /* of the ops of the burst at hand */
};

/* The records of one protection out of a burst. */
struct group {
	struct record_op *op[RECORD_BURST_MAX];
	uint16_t blocks[RECORD_BURST_MAX];
	unsigned count;
};

typedef void (*engine_burst)(void *worker, struct record_op **ops, unsigned count);

static void *worker_of(struct record_crypto *crypto, unsigned protection)
{
	const struct record_engine *engine = crypto->choice->engine[protection];

	for (unsigned i = 0; i < protection; i++) {
		if (crypto->choice->engine[i] == engine)
			return crypto->worker[i];
	}
	return engine->worker_new();
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
	bool in_order = true;

	for (unsigned i = 1; i < g->count; i++) {
		in_order &= g->blocks[i - 1] <= g->blocks[i];
		low = g->blocks[i] < low ? g->blocks[i] : low;
		high = g->blocks[i] > high ? g->blocks[i] : high;
	}
	if (in_order)
		return;
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

/* Hands the records marked in `ready` (a bit each) to the engines, one protection at a time. */
static void run(struct record_crypto *crypto, struct record_op *ops, uint64_t ready, bool open)
{
	while (ready) {
		unsigned protection = ops[__builtin_ctzll(ready)].protection;
		const struct record_engine *engine = crypto->choice->engine[protection];
		uint64_t others = 0;
		struct group g;

		g.count = 0;
		for (; ready; ready &= ready - 1) {
			unsigned i = (unsigned)__builtin_ctzll(ready);

			if (ops[i].protection != protection) {
				others |= 1ULL << i;
				continue;
			}
			g.op[g.count] = &ops[i];
			g.blocks[g.count++] = crypto->blocks[i];
		}
		sort_by_blocks(&g);
		(open ? engine->open_burst : engine->seal_burst)(crypto->worker[protection], g.op, g.count);
		ready = others;
	}
}

/* ---- Open ---- */

static bool known(const struct record_crypto *crypto, const struct record_op *op)
{
	return op->protection < PROTECTIONS && crypto->worker[op->protection] &&
	       op->cid_len <= RECORD_CID_MAX;
}

/* Whether the fragment can be a record of its protection; *blocks: of its ciphertext. All of it is public. */
static bool open_possible(const struct record_op *op, uint16_t *blocks)
{
	const struct protection *p = protection_get(op->protection);
	unsigned around = p->explicit_len;
	unsigned len;

	if (op->protection != PROTECTION_AES_128_CBC_MTE) /* whose tag is inside of the ciphertext */
		around += p->tag_len;
	if (op->fragment_len < around || op->fragment_len > RECORD_FRAGMENT_MAX)
		return false;
	len = op->fragment_len - around;
	*blocks = (uint16_t)((len + BLOCK - 1) / BLOCK);
	if (p->aead)
		return true;
	if (op->protection == PROTECTION_AES_128_CBC_MTE && len <= p->tag_len)
		return false;
	return len > 0 && len % BLOCK == 0;
}

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

static void open_finish(struct record_op *op)
{
	if (op->ok && op->cid_len)
		inner_take_off(op);
	if (op->payload_len > RECORD_PLAINTEXT_MAX) /* RFC 5246 6.2.1 */
		op->ok = false;
	if (op->ok)
		return;
	secret_wipe(op->fragment, op->fragment_len);
	op->payload_len = 0;
}

void record_open_burst(struct record_crypto *crypto, struct record_op *ops, unsigned count)
{
	uint64_t ready = 0;

	always_assert(count <= RECORD_BURST_MAX);
	for (unsigned i = 0; i < count; i++) {
		ops[i].ok = false;
		ops[i].payload_len = 0;
		ops[i].payload_offset = 0;
		if (known(crypto, &ops[i]) && open_possible(&ops[i], &crypto->blocks[i]))
			ready |= 1ULL << i;
	}
	run(crypto, ops, ready, true);
	for (unsigned i = 0; i < count; i++)
		open_finish(&ops[i]);
}

/* ---- Seal ---- */

static void explicit_put(struct record_crypto *crypto, struct record_op *op)
{
	if (protection_get(op->protection)->aead)
		put_be64(op->fragment, op->epoch_seq);
	else
		iv_source_take(&crypto->iv, op->fragment);
}

void record_seal_burst(struct record_crypto *crypto, struct record_op *ops, unsigned count)
{
	uint64_t ready = 0;

	always_assert(count <= RECORD_BURST_MAX);
	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = &ops[i];

		op->ok = false;
		op->fragment_len = 0;
		if (!known(crypto, op) || op->payload_len > RECORD_PLAINTEXT_MAX)
			continue;
		always_assert(op->payload_offset == protection_get(op->protection)->explicit_len);
		explicit_put(crypto, op);
		if (op->cid_len)
			op->fragment[op->payload_offset + op->payload_len++] = op->type;
		crypto->blocks[i] = (uint16_t)((op->payload_len + BLOCK - 1) / BLOCK);
		ready |= 1ULL << i;
	}
	run(crypto, ops, ready, false);
	for (; ready; ready &= ready - 1) {
		struct record_op *op = &ops[__builtin_ctzll(ready)];

		always_assert(op->ok);
		op->payload_len -= op->cid_len ? 1 : 0;
	}
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
