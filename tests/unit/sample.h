/* Records for the tests of the engines: random ones, sealed by the oracle or to be sealed. A test includes
 * this once; CMocka's headers come before it.
 */
#ifndef TESTS_UNIT_SAMPLE_H
#define TESTS_UNIT_SAMPLE_H

#include <stdlib.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "tests/unit/record_oracle.h"

enum { SLOT = RECORD_FRAGMENT_MAX + 64 };

static uint64_t random_state = 0x5eed;

static inline uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1d;
}

static inline unsigned random_below(unsigned n)
{
	return (unsigned)(random_next() >> 33) % n;
}

static inline void random_fill(void *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)random_next();
}

struct sample {
	struct oracle_key raw;
	union record_key key;
	uint8_t cid[RECORD_CID_MAX];
	uint8_t explicit_part[16];
	uint8_t payload[SLOT];
	uint8_t expected[SLOT]; /* the oracle's fragment */
	unsigned expected_len;
	struct oracle_record record;
	struct record_op op;
};

static inline void sample_make(struct sample *s, enum protection_id protection, unsigned payload_len,
			       unsigned cid_len)
{
	random_fill(&s->raw, sizeof s->raw);
	random_fill(s->cid, sizeof s->cid);
	random_fill(s->explicit_part, sizeof s->explicit_part);
	if (s->payload[0] == 0)
		random_fill(s->payload, sizeof s->payload);
	s->payload[0] = (uint8_t)(1 + random_below(255));
	record_key_set(&s->key, protection, s->raw.key, s->raw.salt, s->raw.mac_key);
	s->record = (struct oracle_record){
		.protection = protection,
		.key = &s->raw,
		.epoch_seq = random_next(),
		.type = (uint8_t)(1 + random_below(255)),
		.cid = s->cid,
		.cid_len = cid_len,
		.explicit_part = s->explicit_part,
		.payload = s->payload,
		.payload_len = payload_len,
		.spoil_padding = -1,
	};
}

/* Seals it with the oracle into s->expected. */
static inline void sample_expect(struct sample *s)
{
	s->expected_len = oracle_seal(&s->record, s->expected);
}

/* The op that opens what sample_expect() made, which it copies to `fragment`. */
static inline void sample_present(struct sample *s, uint8_t *fragment)
{
	memcpy(fragment, s->expected, s->expected_len);
	s->op = (struct record_op){
		.fragment = fragment,
		.key = &s->key,
		.cid = s->record.cid_len ? s->cid : NULL,
		.cid_len = (uint8_t)s->record.cid_len,
		.epoch_seq = s->record.epoch_seq,
		.fragment_len = (uint16_t)s->expected_len,
		.type = s->record.cid_len ? RECORD_TYPE_CID : s->record.type,
		.protection = (uint8_t)s->record.protection,
	};
}

/* The op that seals the sample's payload, which it copies to its place behind `fragment`. */
static inline void sample_offer(struct sample *s, uint8_t *fragment)
{
	unsigned explicit_len = protection_get(s->record.protection)->explicit_len;

	memset(fragment, 0xee, explicit_len);
	memcpy(fragment + explicit_len, s->payload, s->record.payload_len);
	s->op = (struct record_op){
		.fragment = fragment,
		.key = &s->key,
		.cid = s->record.cid_len ? s->cid : NULL,
		.cid_len = (uint8_t)s->record.cid_len,
		.epoch_seq = s->record.epoch_seq,
		.payload_offset = (uint16_t)explicit_len,
		.payload_len = (uint16_t)s->record.payload_len,
		.type = s->record.type,
		.protection = (uint8_t)s->record.protection,
	};
}

static inline void sample_check_opened(const struct sample *s, const struct record_op *op)
{
	assert_true(op->ok);
	assert_int_equal(op->payload_len, s->record.payload_len);
	assert_int_equal(op->type, s->record.type);
	assert_memory_equal(op->fragment + op->payload_offset, s->payload, s->record.payload_len);
}

static inline void sample_check_refused(const struct record_op *op)
{
	assert_false(op->ok);
	assert_int_equal(op->payload_len, 0);
	for (unsigned i = 0; i < op->fragment_len; i++)
		assert_int_equal(op->fragment[i], 0);
}

/* The explicit part is the record layer's to choose: the oracle takes it over, all else must be equal. */
static inline void sample_check_sealed(struct sample *s, const struct record_op *op)
{
	unsigned len = s->record.payload_len;

	assert_true(op->ok);
	assert_int_equal(op->payload_len, len);
	assert_int_equal(op->fragment_len,
			 len + record_seal_overhead(s->record.protection, len, s->record.cid_len > 0));
	s->record.explicit_part = op->fragment;
	sample_expect(s);
	assert_int_equal(op->fragment_len, s->expected_len);
	assert_memory_equal(op->fragment, s->expected, op->fragment_len);
	s->record.explicit_part = s->explicit_part;
	if (protection_get(s->record.protection)->aead) {
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(op->fragment[i], s->record.epoch_seq >> (56 - 8 * i) & 0xff);
	}
}

/* A record layer that uses the engine wherever it is usable, and the reference elsewhere. NULL: nowhere. */
static inline struct record_crypto *crypto_with(const struct record_engine *engine,
						struct record_choice *choice)
{
	struct cpu_features cpu = cpu_features_get();
	bool any = false;

	for (unsigned p = 0; p < PROTECTIONS; p++) {
		bool usable = engine->usable(&cpu, p);

		choice->engine[p] = usable ? engine : p ? &engine_reference : NULL;
		any |= usable;
	}
	return any ? record_crypto_new(choice) : NULL;
}

static inline void with_each_engine(void (*test)(struct record_crypto *crypto))
{
	unsigned count;
	const struct record_engine *const *engines = record_engines_all(&count);

	for (unsigned i = 0; i < count; i++) {
		struct record_choice choice;
		struct record_crypto *crypto = crypto_with(engines[i], &choice);

		if (!crypto) {
			print_message("engine %s cannot run on this CPU\n", engines[i]->name);
			continue;
		}
		print_message("engine %s\n", engines[i]->name);
		test(crypto);
		record_crypto_free(crypto);
	}
}

/* Defines each_NAME, the CMocka test that runs NAME with every engine. */
#define EACH_ENGINE(name)                                                                                    \
	static void each_##name(void **state)                                                                \
	{                                                                                                    \
		with_each_engine(name);                                                                      \
	}

#endif
