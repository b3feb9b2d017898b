/* Every engine against OpenSSL, record by record, through the record layer: what is sealed is what OpenSSL
 * seals, what OpenSSL seals is opened, and nothing else is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/aead.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "tests/unit/record_oracle.h"

enum { SLOT = RECORD_FRAGMENT_MAX + 64, BEFORE = 32 };

static uint64_t random_state = 0x5eed;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1d;
}

static unsigned random_below(unsigned n)
{
	return (unsigned)(random_next() >> 33) % n;
}

static void random_fill(void *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)random_next();
}

/* A record, sealed by the oracle, in a buffer of its own. */
struct sample {
	struct oracle_key raw;
	union record_key key;
	uint8_t cid[RECORD_CID_MAX];
	uint8_t explicit_part[16];
	uint8_t *payload;  /* SLOT */
	uint8_t *expected; /* SLOT: the oracle's fragment */
	unsigned expected_len;
	uint8_t *buffer; /* BEFORE + SLOT */
	struct oracle_record record;
	struct record_op op;
};

static struct sample samples[RECORD_BURST_MAX];

static int set_up(void **state)
{
	for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
		samples[i].payload = malloc(SLOT);
		samples[i].expected = malloc(SLOT);
		samples[i].buffer = malloc(BEFORE + SLOT);
		random_fill(samples[i].payload, SLOT);
	}
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
		free(samples[i].payload);
		free(samples[i].expected);
		free(samples[i].buffer);
	}
	return 0;
}

static void sample_make(struct sample *s, enum protection_id protection, unsigned payload_len,
			unsigned cid_len)
{
	random_fill(&s->raw, sizeof s->raw);
	random_fill(s->cid, sizeof s->cid);
	random_fill(s->explicit_part, sizeof s->explicit_part);
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

/* Puts the oracle's fragment into the buffer, `shift` bytes off its alignment, and makes the op to open it.
 */
static void sample_present(struct sample *s, unsigned shift)
{
	s->expected_len = oracle_seal(&s->record, s->expected);
	memcpy(s->buffer + shift + 16, s->expected, s->expected_len);
	s->op = (struct record_op){
		.fragment = s->buffer + shift + 16,
		.key = &s->key,
		.cid = s->record.cid_len ? s->cid : NULL,
		.cid_len = (uint8_t)s->record.cid_len,
		.epoch_seq = s->record.epoch_seq,
		.fragment_len = (uint16_t)s->expected_len,
		.type = s->record.cid_len ? RECORD_TYPE_CID : s->record.type,
		.protection = (uint8_t)s->record.protection,
	};
}

static void sample_check_opened(const struct sample *s, const struct record_op *op)
{
	assert_true(op->ok);
	assert_int_equal(op->payload_len, s->record.payload_len);
	assert_int_equal(op->type, s->record.type);
	assert_memory_equal(op->fragment + op->payload_offset, s->payload, s->record.payload_len);
}

static void sample_check_refused(const struct sample *s, const struct record_op *op)
{
	assert_false(op->ok);
	assert_int_equal(op->payload_len, 0);
	for (unsigned i = 0; i < op->fragment_len; i++)
		assert_int_equal(op->fragment[i], 0);
}

/* Makes the op to seal the sample's payload. */
static void sample_offer(struct sample *s, unsigned shift)
{
	unsigned explicit_len = protection_get(s->record.protection)->explicit_len;
	uint8_t *fragment = s->buffer + shift + 16;

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

/* The explicit part is ours to choose: the oracle takes it over, all else must be equal. */
static void sample_check_sealed(struct sample *s, const struct record_op *op)
{
	unsigned len = s->record.payload_len;

	assert_true(op->ok);
	assert_int_equal(op->payload_len, len);
	assert_int_equal(op->fragment_len,
			 len + record_seal_overhead(s->record.protection, len, s->record.cid_len > 0));
	s->record.explicit_part = op->fragment;
	assert_int_equal(op->fragment_len, oracle_seal(&s->record, s->expected));
	assert_memory_equal(op->fragment, s->expected, op->fragment_len);
	s->record.explicit_part = s->explicit_part;
	if (protection_get(s->record.protection)->aead) {
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(op->fragment[i], s->record.epoch_seq >> (56 - 8 * i) & 0xff);
	}
}

/* A record layer that uses the engine wherever it is usable, and the reference elsewhere. NULL: nowhere. */
static struct record_crypto *crypto_with(const struct record_engine *engine, struct record_choice *choice)
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

typedef void (*engine_test)(struct record_crypto *crypto);

static void with_each_engine(engine_test test)
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

static const uint8_t cid_lens[] = {0, 1, 7, 8, 20};

static void both_ways(struct record_crypto *crypto, struct sample *s, unsigned shift)
{
	sample_present(s, shift);
	record_open_burst(crypto, &s->op, 1);
	sample_check_opened(s, &s->op);
	sample_offer(s, shift);
	record_seal_burst(crypto, &s->op, 1);
	sample_check_sealed(s, &s->op);
}

static void short_lengths(struct record_crypto *crypto)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		for (unsigned len = 0; len < 200; len++) {
			sample_make(&samples[0], p, len, cid_lens[len % sizeof cid_lens]);
			both_ways(crypto, &samples[0], len % 16);
			sample_make(&samples[0], p, len, 0);
			both_ways(crypto, &samples[0], len % 13);
		}
	}
}

static void long_lengths(struct record_crypto *crypto)
{
	static const unsigned lengths[] = {255,  256,  257,  1023,  1024,  1400, 1500,
					   4095, 4096, 9000, 16000, 16383, 16384};

	for (unsigned p = 1; p < PROTECTIONS; p++) {
		for (unsigned i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
			sample_make(&samples[0], p, lengths[i], cid_lens[i % sizeof cid_lens]);
			both_ways(crypto, &samples[0], i);
		}
	}
}

/* Lengths, protections, CIDs, alignments and burst sizes at random; one record in four is damaged. */
static void mixed_bursts(struct record_crypto *crypto)
{
	static struct record_op ops[RECORD_BURST_MAX];

	for (unsigned round = 0; round < 100; round++) {
		unsigned count = round < RECORD_BURST_MAX ? round + 1 : RECORD_BURST_MAX;
		unsigned longest = round % 20 == 0 ? RECORD_PLAINTEXT_MAX : round % 3 ? 300 : 1500;
		bool one_protection = round % 4 == 0;
		uint64_t damaged = 0;

		for (unsigned i = 0; i < count; i++) {
			struct sample *s = &samples[i];
			unsigned p = 1 + (one_protection ? round / 4 : random_below(64)) % (PROTECTIONS - 1);

			sample_make(s, p, random_below(longest + 1), cid_lens[random_below(sizeof cid_lens)]);
			sample_present(s, random_below(16));
			if (random_below(4) == 0) {
				damaged |= 1ULL << i;
				s->op.fragment[random_below(s->op.fragment_len)] ^=
					(uint8_t)(1U << random_below(8));
			}
			ops[i] = s->op;
		}
		record_open_burst(crypto, ops, count);
		for (unsigned i = 0; i < count; i++) {
			if (damaged >> i & 1)
				sample_check_refused(&samples[i], &ops[i]);
			else
				sample_check_opened(&samples[i], &ops[i]);
		}
		for (unsigned i = 0; i < count; i++) {
			sample_offer(&samples[i], random_below(16));
			ops[i] = samples[i].op;
		}
		record_seal_burst(crypto, ops, count);
		for (unsigned i = 0; i < count; i++)
			sample_check_sealed(&samples[i], &ops[i]);
	}
}

/* A flipped bit anywhere in the fragment, or another sequence number, type or CID, is refused and wiped. */
static void damage(struct record_crypto *crypto)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		struct sample *s = &samples[0];

		sample_make(s, p, 37, p % 2 ? 5 : 0);
		sample_present(s, 3);
		for (unsigned at = 0; at < s->expected_len; at++) {
			sample_present(s, 3);
			s->op.fragment[at] ^= (uint8_t)(1U << random_below(8));
			record_open_burst(crypto, &s->op, 1);
			sample_check_refused(s, &s->op);
		}
		sample_present(s, 3);
		s->op.epoch_seq ^= 1ULL << random_below(64);
		record_open_burst(crypto, &s->op, 1);
		sample_check_refused(s, &s->op);
		sample_present(s, 3);
		if (s->op.cid_len)
			s->cid[4] ^= 1;
		else
			s->op.type ^= 1;
		record_open_burst(crypto, &s->op, 1);
		sample_check_refused(s, &s->op);
	}
}

/* Every truncation is refused, down to nothing. */
static void truncation(struct record_crypto *crypto)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		struct sample *s = &samples[0];

		sample_make(s, p, 50, 0);
		sample_present(s, 0);
		for (unsigned len = 0; len < s->expected_len; len++) {
			sample_present(s, 0);
			s->op.fragment_len = (uint16_t)len;
			record_open_burst(crypto, &s->op, 1);
			sample_check_refused(s, &s->op);
		}
	}
}

/* CBC: any padding length is taken that RFC 5246 allows, and none with a wrong byte in it. */
static void cbc_padding(struct record_crypto *crypto)
{
	static const unsigned protections[] = {PROTECTION_AES_128_CBC_MTE, PROTECTION_AES_128_CBC_ETM};

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned len = 0; len < 100; len += 1 + len % 3) {
			struct sample *s = &samples[0];

			for (unsigned extra = 0; extra <= 240; extra += 16) {
				sample_make(s, protections[i], len, 0);
				s->record.extra_padding = extra;
				sample_present(s, len % 16);
				record_open_burst(crypto, &s->op, 1);
				sample_check_opened(s, &s->op);

				unsigned padding =
					s->expected[s->expected_len - 1]; /* ciphertext: any number */

				s->record.spoil_padding = (int)(padding % (extra + 1));
				sample_present(s, len % 16);
				record_open_burst(crypto, &s->op, 1);
				sample_check_refused(s, &s->op);
			}
		}
	}
}

/* RFC 9146 4: zeros behind the inner type go away; nothing but zeros is a bad record. */
static void inner_plaintext(struct record_crypto *crypto)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		struct sample *s = &samples[0];

		for (unsigned zeros = 0; zeros < 40; zeros++) {
			sample_make(s, p, zeros % 7, 6);
			s->record.inner_zeros = zeros;
			sample_present(s, 0);
			record_open_burst(crypto, &s->op, 1);
			sample_check_opened(s, &s->op);

			s->record.type = 0;
			s->record.payload_len = 0;
			sample_present(s, 0);
			record_open_burst(crypto, &s->op, 1);
			sample_check_refused(s, &s->op);
		}
	}
}

/* RFC 5246 6.2.1: a plaintext above 2^14 bytes is refused though its tag is right, and never sealed. */
static void too_long(struct record_crypto *crypto)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		struct sample *s = &samples[0];

		sample_make(s, p, RECORD_PLAINTEXT_MAX + 1, 0);
		sample_present(s, 0);
		record_open_burst(crypto, &s->op, 1);
		sample_check_refused(s, &s->op);
		sample_offer(s, 0);
		record_seal_burst(crypto, &s->op, 1);
		assert_false(s->op.ok);
	}
}

#define EACH_ENGINE(test)                                                                                    \
	static void each_##test(void **state)                                                                \
	{                                                                                                    \
		with_each_engine(test);                                                                      \
	}

EACH_ENGINE(short_lengths)
EACH_ENGINE(long_lengths)
EACH_ENGINE(mixed_bursts)
EACH_ENGINE(damage)
EACH_ENGINE(truncation)
EACH_ENGINE(cbc_padding)
EACH_ENGINE(inner_plaintext)
EACH_ENGINE(too_long)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_short_lengths),   cmocka_unit_test(each_long_lengths),
		cmocka_unit_test(each_mixed_bursts),    cmocka_unit_test(each_damage),
		cmocka_unit_test(each_truncation),      cmocka_unit_test(each_cbc_padding),
		cmocka_unit_test(each_inner_plaintext), cmocka_unit_test(each_too_long),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
