/* Records as a network could make them of ours: sealed by the reference, then changed as the input says,
 * opened by every engine in a burst. All engines must agree, what was not changed must open, what was must
 * not, and nothing may be touched outside of the fragment (exact allocations, AddressSanitizer).
 *
 *   input: protection 1 | CID length 1 | payload length 2 | inner zeros 1 | copies 1 | changes...
 *   change: copy 1 | what 1 | where 2 | value 1
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aad.h"
#include "crypto/always.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER_LEN = 6, CHANGE_LEN = 5, ENGINES_MAX = 16, BEFORE = 16, PAYLOAD_MAX = 2000, CUT = 7 };

static struct record_choice choices[ENGINES_MAX];
static struct record_crypto *cryptos[ENGINES_MAX];
static unsigned crypto_count;
static struct record_choice reference_choice;
static struct record_crypto *reference;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct cpu_features cpu = cpu_features_get();
	unsigned count;
	const struct record_engine *const *engines = record_engines_all(&count);

	for (unsigned p = 1; p < PROTECTIONS; p++)
		reference_choice.engine[p] = &engine_reference;
	reference = record_crypto_new(&reference_choice);
	always_assert(reference && count <= ENGINES_MAX);
	for (unsigned i = 0; i < count; i++) {
		struct record_choice *choice = &choices[crypto_count];
		bool any = false;

		for (unsigned p = 1; p < PROTECTIONS; p++) {
			bool usable = engines[i]->usable(&cpu, p);

			choice->engine[p] = usable ? engines[i] : &engine_reference;
			any |= usable;
		}
		if (!any)
			continue;
		cryptos[crypto_count] = record_crypto_new(choice);
		always_assert(cryptos[crypto_count++]);
	}
	return 0;
}

/* A genuine record, and copies of it with their changes. */
struct burst {
	union record_key key;
	uint8_t cid[RECORD_CID_MAX];
	struct record_op sealed;
	uint8_t payload[PAYLOAD_MAX];
	unsigned count;
	struct record_op ops[RECORD_BURST_MAX];
	uint8_t *fragments[RECORD_BURST_MAX]; /* after the changes; op.fragment points behind BEFORE bytes */
	uint8_t cids[RECORD_BURST_MAX][RECORD_CID_MAX];
};

static void burst_seal(struct burst *b, const uint8_t *header)
{
	static const uint8_t key[32] = {1, 2, 3};
	static const uint8_t mac_key[32] = {4, 5, 6};
	static const uint8_t salt[4] = {7, 8, 9, 10};
	enum protection_id protection = 1 + header[0] % (PROTECTIONS - 1);
	unsigned explicit_len = protection_get(protection)->explicit_len;
	unsigned len = (header[2] | (unsigned)header[3] << 8) % (PAYLOAD_MAX + 1);
	uint8_t cid_len = header[1] % (RECORD_CID_MAX + 1);
	unsigned zeros = cid_len ? header[4] : 0; /* sealed as the end of a payload: RFC 9146's padding */
	uint8_t *fragment = malloc(BEFORE + len + zeros + 1 + RECORD_OVERHEAD_MAX + 16);

	always_assert(fragment);
	memset(fragment, 0, BEFORE + len + zeros + 1 + RECORD_OVERHEAD_MAX + 16);
	memset(b->cid, 0xc1, sizeof b->cid);
	record_key_set(&b->key, protection, key, salt, mac_key);
	for (unsigned i = 0; i < len; i++)
		b->payload[i] = fragment[BEFORE + explicit_len + i] = (uint8_t)(i * 31 + len);
	b->sealed = (struct record_op){
		.fragment = fragment + BEFORE,
		.key = &b->key,
		.cid = cid_len ? b->cid : NULL,
		.cid_len = cid_len,
		.epoch_seq = 0x0001000000000007,
		.payload_offset = (uint16_t)explicit_len,
		.payload_len = (uint16_t)len,
		.type = 23,
		.protection = (uint8_t)protection,
	};
	if (zeros) { /* content, its type, zeros; the record layer appends one zero more */
		fragment[BEFORE + explicit_len + len] = 23;
		b->sealed.payload_len = (uint16_t)(len + zeros);
		b->sealed.type = 0;
	}
	record_seal_burst(reference, &b->sealed, 1);
	always_assert(b->sealed.ok);
	b->sealed.payload_len = (uint16_t)len;
	b->sealed.type = 23;
}

static void burst_copy(struct burst *b, unsigned copies)
{
	b->count = 1 + copies % RECORD_BURST_MAX;
	for (unsigned i = 0; i < b->count; i++) {
		b->fragments[i] = malloc(BEFORE + b->sealed.fragment_len);
		always_assert(b->fragments[i]);
		memset(b->fragments[i], 0, BEFORE);
		memcpy(b->fragments[i] + BEFORE, b->sealed.fragment, b->sealed.fragment_len);
		memcpy(b->cids[i], b->cid, sizeof b->cid);
		b->ops[i] = b->sealed;
		b->ops[i].cid = b->sealed.cid_len ? b->cids[i] : NULL;
		if (b->sealed.cid_len)
			b->ops[i].type = RECORD_TYPE_CID;
	}
}

static void change(struct burst *b, const uint8_t *change)
{
	unsigned i = change[0] % b->count;
	struct record_op *op = &b->ops[i];
	unsigned where = change[2] | (unsigned)change[3] << 8;
	uint8_t value = change[4];

	switch (change[1] % 8) {
	case 0:
		op->epoch_seq ^= (uint64_t)value << where % 57;
		break;
	case 1:
		if (op->cid_len)
			b->cids[i][where % op->cid_len] ^= value;
		else
			op->type ^= value;
		break;
	case CUT:
		op->fragment_len = (uint16_t)(where % (b->sealed.fragment_len + 1U));
		break;
	default:
		if (op->fragment_len > 0)
			b->fragments[i][BEFORE + where % op->fragment_len] ^= value;
		break;
	}
}

/* Whether the copy is, by now, what was sealed. */
static bool is_genuine(const struct burst *b, unsigned i)
{
	const struct record_op *op = &b->ops[i];

	return op->epoch_seq == b->sealed.epoch_seq && op->fragment_len == b->sealed.fragment_len &&
	       memcmp(b->fragments[i] + BEFORE, b->sealed.fragment, op->fragment_len) == 0 &&
	       (op->cid_len ? memcmp(b->cids[i], b->cid, op->cid_len) == 0 : op->type == b->sealed.type);
}

static void burst_open(const struct burst *b, struct record_crypto *crypto)
{
	struct record_op ops[RECORD_BURST_MAX];
	uint8_t *memory[RECORD_BURST_MAX];

	memcpy(ops, b->ops, sizeof ops);
	for (unsigned i = 0; i < b->count; i++) {
		memory[i] = malloc(BEFORE + (size_t)ops[i].fragment_len);
		always_assert(memory[i]);
		memcpy(memory[i], b->fragments[i], BEFORE + (size_t)ops[i].fragment_len);
		ops[i].fragment = memory[i] + BEFORE;
	}
	record_open_burst(crypto, ops, b->count);
	for (unsigned i = 0; i < b->count; i++) {
		always_assert(ops[i].ok == is_genuine(b, i));
		if (ops[i].ok) {
			always_assert(ops[i].payload_len == b->sealed.payload_len);
			always_assert(ops[i].type == b->sealed.type);
			always_assert(memcmp(ops[i].fragment + ops[i].payload_offset, b->payload,
					     ops[i].payload_len) == 0);
		} else {
			always_assert(ops[i].payload_len == 0);
			for (unsigned j = 0; j < ops[i].fragment_len; j++)
				always_assert(ops[i].fragment[j] == 0);
		}
		free(memory[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct burst b;

	if (size < HEADER_LEN)
		return 0;
	burst_seal(&b, data);
	burst_copy(&b, data[5]);
	for (size_t at = HEADER_LEN; at + CHANGE_LEN <= size; at += CHANGE_LEN)
		change(&b, data + at);
	for (unsigned i = 0; i < crypto_count; i++)
		burst_open(&b, cryptos[i]);
	for (unsigned i = 0; i < b.count; i++)
		free(b.fragments[i]);
	free(b.sealed.fragment - BEFORE);
	return 0;
}
