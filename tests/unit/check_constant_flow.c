/* Whether a branch or an address depends on a secret, by Memcheck (the idea is Adam Langley's ctgrind): keys,
 * plaintext and what becomes of them are marked as undefined, and Memcheck complains where undefined data
 * decides anything. What the code gives away on purpose it declares by secret_publish(): verdicts.
 *
 * Run under valgrind by the build (suite "constant-flow"). The engines are those that the CPU has which
 * valgrind shows: no VAES, no AVX-512 and no SHA-NI up to 3.19, so those kernels are not covered here.
 *
 * usage: check_constant_flow [control]
 *   control: opens MAC-then-encrypt in IPsec-MB's naive way, which must be found.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <valgrind/memcheck.h>

#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "dataplane/record.h"
#include "tests/unit/record_oracle.h"

enum { BURST = 9, SLOT = 1024, BEFORE = 16 };

struct check {
	struct oracle_key raw;
	union record_key key;
	bool own_cids; /* every record has a CID as long as ours; else one in three has a longer one */
	uint8_t cid[8];
	uint8_t explicit_part[16];
	uint8_t payload[BURST][SLOT];
	uint8_t buffer[BURST][BEFORE + SLOT];
	struct record_op op[BURST];
	struct record_op *ops[BURST];
};

/* Lengths that meet every tail of a block, in ascending order. */
static unsigned length_of(unsigned i)
{
	return 7 + i * 37;
}

static unsigned cid_len_of(const struct check *c, unsigned i)
{
	if (c->own_cids)
		return CID_LEN;
	return i % 3 ? 0 : sizeof c->cid;
}

static void op_set(struct check *c, unsigned i, enum protection_id protection)
{
	c->ops[i] = &c->op[i];
	c->op[i] = (struct record_op){
		.fragment = c->buffer[i] + BEFORE,
		.key = &c->key,
		.cid = cid_len_of(c, i) ? c->cid : NULL,
		.cid_len = (uint8_t)cid_len_of(c, i),
		.epoch_seq = 1ULL << 48 | i,
		.payload_offset = protection_get(protection)->explicit_len,
		.payload_len = (uint16_t)length_of(i),
		.type = 23,
		.protection = (uint8_t)protection,
	};
}

static void secrets_hide(struct check *c)
{
	(void)VALGRIND_MAKE_MEM_UNDEFINED(&c->key, sizeof c->key);
}

static void secrets_show(struct check *c)
{
	(void)VALGRIND_MAKE_MEM_DEFINED(&c->key, sizeof c->key);
	(void)VALGRIND_MAKE_MEM_DEFINED(c->buffer, sizeof c->buffer);
	(void)VALGRIND_MAKE_MEM_DEFINED(c->op, sizeof c->op);
}

/* Seals a secret payload under a secret key. */
static void seal(struct check *c, const struct record_engine *engine, void *worker,
		 enum protection_id protection)
{
	unsigned explicit_len = protection_get(protection)->explicit_len;

	for (unsigned i = 0; i < BURST; i++) {
		op_set(c, i, protection);
		memcpy(c->op[i].fragment, c->explicit_part, explicit_len);
		memcpy(c->op[i].fragment + explicit_len, c->payload[i], length_of(i));
		(void)VALGRIND_MAKE_MEM_UNDEFINED(c->op[i].fragment + explicit_len, length_of(i));
	}
	secrets_hide(c);
	engine->seal_burst(worker, c->ops, BURST);
	secrets_show(c);
}

/* Opens what the oracle sealed, under a secret key; bad: every second one is forged. */
static void open_sealed(struct check *c, const struct record_engine *engine, void *worker,
			enum protection_id protection, bool bad)
{
	for (unsigned i = 0; i < BURST; i++) {
		struct oracle_record record = {
			.protection = protection,
			.key = &c->raw,
			.epoch_seq = 1ULL << 48 | i,
			.type = 23,
			.cid = c->cid,
			.cid_len = cid_len_of(c, i),
			.explicit_part = c->explicit_part,
			.payload = c->payload[i],
			.payload_len = length_of(i),
			.spoil_padding = -1,
		};

		op_set(c, i, protection);
		c->op[i].fragment_len = (uint16_t)oracle_seal(&record, c->op[i].fragment);
		c->op[i].payload_len = 0;
		if (bad && i % 2)
			c->op[i].fragment[c->op[i].fragment_len - 1 - i] ^= 1;
	}
	secrets_hide(c);
	engine->open_burst(worker, c->ops, BURST);
	secrets_show(c);
	for (unsigned i = 0; i < BURST; i++) {
		if (c->op[i].ok != !(bad && i % 2)) {
			(void)fprintf(stderr, "%s: record %u of %s: wrong verdict\n", engine->name, i,
				      protection_get(protection)->name);
			exit(2);
		}
	}
}

static void engine_check(struct check *c, const struct record_engine *engine, enum protection_id protection)
{
	void *worker = engine->worker_new();
	unsigned before = (unsigned)VALGRIND_COUNT_ERRORS;

	if (!worker)
		exit(2);
	record_key_set(&c->key, protection, c->raw.key, c->raw.salt, c->raw.mac_key);
	seal(c, engine, worker, protection);
	open_sealed(c, engine, worker, protection, false);
	open_sealed(c, engine, worker, protection, true);
	engine->worker_free(worker);
	printf("%-24s %-24s %-16s %u findings\n", engine->name, protection_get(protection)->name,
	       c->own_cids ? "our CIDs" : "other CIDs, none", (unsigned)VALGRIND_COUNT_ERRORS - before);
}

/* With CIDs of our length alone an engine makes the AAD in another way than for any mix. */
static void engine_check_both(struct check *c, const struct record_engine *engine,
			      enum protection_id protection)
{
	c->own_cids = false;
	engine_check(c, engine, protection);
	c->own_cids = true;
	engine_check(c, engine, protection);
}

int main(int argc, char **argv)
{
	struct cpu_features cpu = cpu_features_get();
	static struct check check;
	char features[128];
	unsigned count;
	const struct record_engine *const *engines = record_engines(&count);

	if (!RUNNING_ON_VALGRIND) {
		(void)fprintf(stderr, "%s says nothing unless valgrind runs it\n", argv[0]);
		return 2;
	}
	memset(&check, 0x35, sizeof check);
	if (argc > 1 && strcmp(argv[1], "control") == 0) {
		engine_check_both(&check, &engine_ipsecmb_naive, PROTECTION_AES_128_CBC_MTE);
		return 0;
	}
	cpu_features_print(&cpu, features, sizeof features);
	printf("a CPU with %s\n", features);
	for (unsigned i = 0; i < count; i++) {
		for (unsigned p = 1; p < PROTECTIONS; p++) {
			if (engines[i]->usable(&cpu, p))
				engine_check_both(&check, engines[i], p);
			else
				printf("%-24s %-24s cannot run here\n", engines[i]->name,
				       protection_get(p)->name);
		}
	}
	return 0;
}
