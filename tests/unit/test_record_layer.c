/* Every engine against OpenSSL, record by record, through the record layer: what is sealed is what OpenSSL
 * seals, what OpenSSL seals is opened, and nothing else is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/sample.h"

enum { BEFORE = 32 };

static struct sample samples[RECORD_BURST_MAX];
static uint8_t buffers[RECORD_BURST_MAX][BEFORE + SLOT];

/* Where a fragment stands, `shift` bytes off its alignment. */
static uint8_t *place(unsigned sample, unsigned shift)
{
	return buffers[sample] + 16 + shift;
}

static const uint8_t cid_lens[] = {0, 1, 7, 8, 20};

static void both_ways(struct record_crypto *crypto, struct sample *s, unsigned shift)
{
	sample_expect(s);
	sample_present(s, place(0, shift));
	record_open_burst(crypto, &s->op, 1);
	sample_check_opened(s, &s->op);
	sample_offer(s, place(0, shift));
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
			sample_expect(s);
			sample_present(s, place(i, random_below(16)));
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
				sample_check_refused(&ops[i]);
			else
				sample_check_opened(&samples[i], &ops[i]);
		}
		for (unsigned i = 0; i < count; i++) {
			sample_offer(&samples[i], place(i, random_below(16)));
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
		sample_expect(s);
		sample_present(s, place(0, 3));
		for (unsigned at = 0; at < s->expected_len; at++) {
			sample_present(s, place(0, 3));
			s->op.fragment[at] ^= (uint8_t)(1U << random_below(8));
			record_open_burst(crypto, &s->op, 1);
			sample_check_refused(&s->op);
		}
		sample_present(s, place(0, 3));
		s->op.epoch_seq ^= 1ULL << random_below(64);
		record_open_burst(crypto, &s->op, 1);
		sample_check_refused(&s->op);
		sample_present(s, place(0, 3));
		if (s->op.cid_len)
			s->cid[4] ^= 1;
		else
			s->op.type ^= 1;
		record_open_burst(crypto, &s->op, 1);
		sample_check_refused(&s->op);
	}
}

/* One bad record in a full burst, in each place in turn, takes no other down with it. */
static void bad_in_every_place(struct record_crypto *crypto)
{
	static struct record_op ops[RECORD_BURST_MAX];

	for (unsigned p = 1; p < PROTECTIONS; p++) {
		for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
			sample_make(&samples[i], p, random_below(150), cid_lens[p % sizeof cid_lens]);
			sample_expect(&samples[i]);
		}
		for (unsigned bad = 0; bad < RECORD_BURST_MAX; bad++) {
			for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
				sample_present(&samples[i], place(i, 0));
				ops[i] = samples[i].op;
			}
			ops[bad].fragment[random_below(ops[bad].fragment_len)] ^= 1;
			record_open_burst(crypto, ops, RECORD_BURST_MAX);
			for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
				if (i == bad)
					sample_check_refused(&ops[i]);
				else
					sample_check_opened(&samples[i], &ops[i]);
			}
		}
	}
}

/* Every truncation is refused, down to nothing. */
static void truncation(struct record_crypto *crypto)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		struct sample *s = &samples[0];

		sample_make(s, p, 50, 0);
		sample_expect(s);
		sample_present(s, place(0, 0));
		for (unsigned len = 0; len < s->expected_len; len++) {
			sample_present(s, place(0, 0));
			s->op.fragment_len = (uint16_t)len;
			record_open_burst(crypto, &s->op, 1);
			sample_check_refused(&s->op);
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
				sample_expect(s);
				sample_present(s, place(0, len % 16));
				record_open_burst(crypto, &s->op, 1);
				sample_check_opened(s, &s->op);

				unsigned padding =
					s->expected[s->expected_len - 1]; /* ciphertext: any number */

				s->record.spoil_padding = (int)(padding % (extra + 1));
				sample_expect(s);
				sample_present(s, place(0, len % 16));
				record_open_burst(crypto, &s->op, 1);
				sample_check_refused(&s->op);
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
			sample_expect(s);
			sample_present(s, place(0, 0));
			record_open_burst(crypto, &s->op, 1);
			sample_check_opened(s, &s->op);

			s->record.type = 0;
			s->record.payload_len = 0;
			sample_expect(s);
			sample_present(s, place(0, 0));
			record_open_burst(crypto, &s->op, 1);
			sample_check_refused(&s->op);
		}
	}
}

/* RFC 5246 6.2.1: a plaintext above 2^14 bytes is refused though its tag is right, and never sealed. */
static void too_long(struct record_crypto *crypto)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		struct sample *s = &samples[0];

		sample_make(s, p, RECORD_PLAINTEXT_MAX + 1, 0);
		sample_expect(s);
		sample_present(s, place(0, 0));
		record_open_burst(crypto, &s->op, 1);
		sample_check_refused(&s->op);
		sample_offer(s, place(0, 0));
		record_seal_burst(crypto, &s->op, 1);
		assert_false(s->op.ok);
	}
}

EACH_ENGINE(short_lengths)
EACH_ENGINE(long_lengths)
EACH_ENGINE(mixed_bursts)
EACH_ENGINE(damage)
EACH_ENGINE(bad_in_every_place)
EACH_ENGINE(truncation)
EACH_ENGINE(cbc_padding)
EACH_ENGINE(inner_plaintext)
EACH_ENGINE(too_long)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_short_lengths),      cmocka_unit_test(each_long_lengths),
		cmocka_unit_test(each_mixed_bursts),       cmocka_unit_test(each_damage),
		cmocka_unit_test(each_bad_in_every_place), cmocka_unit_test(each_truncation),
		cmocka_unit_test(each_cbc_padding),        cmocka_unit_test(each_inner_plaintext),
		cmocka_unit_test(each_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
