/* The engines of our own, without the record layer around them: buffers with a guard page right behind the
 * fragment or 16 bytes before it, bursts of every size, and bursts in which lengths and CIDs differ. What
 * OpenSSL seals is the measure.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "crypto/aead.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "tests/unit/record_oracle.h"

enum { PAGE = 4096, ROOM = 5 * PAGE, READABLE_BEFORE = 16, EXPLICIT_MAX = 16 };
enum side { BEGIN, END };

static const struct record_engine *const engines[] = {
	&engine_vaes,        &engine_vaes512,   &engine_aesni, &engine_vaes_gcm,
	&engine_vaes512_gcm, &engine_aesni_gcm, &engine_cbc_ct};

/* A record and its place between two guard pages. */
struct slot {
	uint8_t *room;
	uint8_t *fragment;
	uint8_t payload[RECORD_PLAINTEXT_MAX];
	uint8_t expected[RECORD_FRAGMENT_MAX];
	uint8_t explicit_part[EXPLICIT_MAX];
	unsigned explicit_len;
	uint8_t cid[RECORD_CID_MAX];
	struct oracle_key raw;
	union record_key key;
	struct oracle_record record;
	unsigned expected_len;
	struct record_op op;
};

static struct slot slots[RECORD_BURST_MAX];
static uint64_t random_state = 0xc0ffee;

static unsigned random_below(unsigned n)
{
	random_state = random_state * 6364136223846793005U + 1442695040888963407U;
	return (unsigned)(random_state >> 33) % n;
}

static void random_fill(void *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)out)[i] = (uint8_t)random_below(256);
}

static int set_up(void **state)
{
	for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
		uint8_t *map = mmap(NULL, ROOM + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (map == MAP_FAILED || mprotect(map + PAGE, ROOM, PROT_READ | PROT_WRITE))
			return -1;
		slots[i].room = map + PAGE;
		random_fill(slots[i].payload, sizeof slots[i].payload);
	}
	return 0;
}

static int tear_down(void **state)
{
	for (unsigned i = 0; i < RECORD_BURST_MAX; i++)
		(void)munmap(slots[i].room - PAGE, ROOM + 2 * PAGE);
	return 0;
}

static void slot_make(struct slot *s, enum protection_id protection, unsigned len, unsigned cid_len,
		      enum side side)
{
	random_fill(&s->raw, sizeof s->raw);
	random_fill(s->explicit_part, sizeof s->explicit_part);
	random_fill(s->cid, sizeof s->cid);
	s->explicit_len = protection_get(protection)->explicit_len;
	record_key_set(&s->key, protection, s->raw.key, s->raw.salt, s->raw.mac_key);
	s->record = (struct oracle_record){
		.protection = protection,
		.key = &s->raw,
		.epoch_seq = (uint64_t)random_below(1 << 30) << 34 | random_below(1 << 30),
		.type = (uint8_t)(20 + random_below(5)),
		.cid = s->cid,
		.cid_len = cid_len,
		.explicit_part = s->explicit_part,
		.payload = s->payload,
		.payload_len = len,
		.spoil_padding = -1,
	};
	s->expected_len = oracle_seal(&s->record, s->expected);
	s->fragment = side == BEGIN ? s->room + READABLE_BEFORE : s->room + ROOM - s->expected_len;
	s->op = (struct record_op){
		.fragment = s->fragment,
		.key = &s->key,
		.cid = cid_len ? s->cid : NULL,
		.cid_len = (uint8_t)cid_len,
		.epoch_seq = s->record.epoch_seq,
		.type = cid_len ? RECORD_TYPE_CID : s->record.type,
		.protection = (uint8_t)protection,
	};
}

/* The engine seals what the record layer gives it: nonce and inner type are in place. */
static void slot_offer(struct slot *s)
{
	memset(s->fragment - READABLE_BEFORE, 0xaa, READABLE_BEFORE);
	memcpy(s->fragment, s->explicit_part, s->explicit_len);
	memcpy(s->fragment + s->explicit_len, s->payload, s->record.payload_len);
	s->op.payload_offset = (uint16_t)s->explicit_len;
	s->op.payload_len = (uint16_t)s->record.payload_len;
	s->op.fragment_len = 0;
	s->op.ok = false;
	if (s->op.cid_len)
		s->fragment[s->explicit_len + s->op.payload_len++] = s->record.type;
}

static void slot_check_sealed(const struct slot *s)
{
	assert_true(s->op.ok);
	assert_int_equal(s->op.fragment_len, s->expected_len);
	assert_memory_equal(s->fragment, s->expected, s->expected_len);
	for (const uint8_t *at = s->fragment - READABLE_BEFORE; at < s->fragment; at++)
		assert_int_equal(*at, 0xaa);
}

/* CBC: with as much padding as a sender likes. */
static void slot_present(struct slot *s, enum side side)
{
	s->record.extra_padding = protection_get(s->record.protection)->aead ? 0 : 16 * random_below(15);
	s->expected_len = oracle_seal(&s->record, s->expected);
	s->fragment = side == BEGIN ? s->room + READABLE_BEFORE : s->room + ROOM - s->expected_len;
	s->op.fragment = s->fragment;
	memcpy(s->fragment, s->expected, s->expected_len);
	s->op.fragment_len = (uint16_t)s->expected_len;
	s->op.payload_len = 0xffff;
	s->op.payload_offset = 0xffff;
	s->op.ok = false;
}

static unsigned inner_len(const struct slot *s)
{
	return s->record.payload_len + (s->record.cid_len ? 1 : 0);
}

static void slot_check_opened(const struct slot *s)
{
	assert_true(s->op.ok);
	assert_int_equal(s->op.payload_offset, s->explicit_len);
	assert_int_equal(s->op.payload_len, inner_len(s));
	assert_memory_equal(s->fragment + s->explicit_len, s->payload, s->record.payload_len);
	if (s->record.cid_len)
		assert_int_equal(s->fragment[s->explicit_len + s->record.payload_len], s->record.type);
}

/* Seals and opens slots[0, count), those marked in `damaged` with one bit turned over. */
static void burst(const struct record_engine *engine, void *worker, unsigned count, uint64_t damaged)
{
	struct record_op *ops[RECORD_BURST_MAX];

	for (unsigned i = 0; i < count; i++) {
		slot_offer(&slots[i]);
		ops[i] = &slots[i].op;
	}
	engine->seal_burst(worker, ops, count);
	for (unsigned i = 0; i < count; i++) {
		slot_check_sealed(&slots[i]);
		slot_present(&slots[i], i & 1 ? BEGIN : END);
		if (damaged >> i & 1)
			slots[i].fragment[random_below(slots[i].expected_len)] ^=
				(uint8_t)(1U << random_below(8));
	}
	engine->open_burst(worker, ops, count);
	for (unsigned i = 0; i < count; i++) {
		if (damaged >> i & 1)
			assert_false(slots[i].op.ok);
		else
			slot_check_opened(&slots[i]);
	}
}

typedef void (*engine_test)(const struct record_engine *engine, void *worker, enum protection_id protection);

static void with_each(engine_test test)
{
	struct cpu_features cpu = cpu_features_get();

	for (unsigned i = 0; i < sizeof engines / sizeof engines[0]; i++) {
		for (unsigned p = PROTECTION_NONE + 1; p < PROTECTIONS; p++) {
			void *worker;

			if (!engines[i]->usable(&cpu, p))
				continue;
			print_message("engine %s, %s\n", engines[i]->name, protection_get(p)->name);
			worker = engines[i]->worker_new();
			assert_non_null(worker);
			test(engines[i], worker, p);
			engines[i]->worker_free(worker);
		}
	}
}

/* Every length up to some blocks, every CID length, alone between the guard pages. */
static void single_records(const struct record_engine *engine, void *worker, enum protection_id protection)
{
	for (unsigned len = 0; len <= 100; len++) {
		for (unsigned cid_len = 0; cid_len <= RECORD_CID_MAX; cid_len += 1 + len % 3) {
			slot_make(&slots[0], protection, len, cid_len, (len + cid_len) % 2 ? BEGIN : END);
			burst(engine, worker, 1, 0);
		}
		slot_make(&slots[0], protection, len, 0, END);
		burst(engine, worker, 1, 1);
	}
}

/* Equal lengths: whole groups, and groups with idle lanes. */
static void even_bursts(const struct record_engine *engine, void *worker, enum protection_id protection)
{
	for (unsigned count = 1; count <= RECORD_BURST_MAX; count++) {
		unsigned len = random_below(200);
		unsigned cid_len = count % 3 ? 0 : 7;

		for (unsigned i = 0; i < count; i++)
			slot_make(&slots[i], protection, len, cid_len, i & 1 ? BEGIN : END);
		burst(engine, worker, count, random_state);
	}
}

/* Lengths that differ by a little or by much, in no order, with CIDs of one length or of all. */
static void uneven_bursts(const struct record_engine *engine, void *worker, enum protection_id protection)
{
	for (unsigned round = 0; round < 100; round++) {
		unsigned count = 1 + random_below(RECORD_BURST_MAX);
		unsigned range = 1 + random_below(round % 10 ? 90 : 3000);
		unsigned base = random_below(3) ? 0 : random_below(1400);

		for (unsigned i = 0; i < count; i++) {
			unsigned cid_len = round % 4 == 0   ? 0
					   : round % 4 == 1 ? 7
							    : random_below(RECORD_CID_MAX + 1);

			slot_make(&slots[i], protection, base + random_below(range), cid_len,
				  i & 1 ? BEGIN : END);
		}
		burst(engine, worker, count, random_state & (random_state >> 5));
	}
}

/* The longest plaintext, beside the shortest. */
static void extreme_lengths(const struct record_engine *engine, void *worker, enum protection_id protection)
{
	for (unsigned i = 0; i < 20; i++)
		slot_make(&slots[i], protection, i % 3 ? i % 2 : RECORD_PLAINTEXT_MAX - i, 0, END);
	burst(engine, worker, 20, 1U << 3 | 1U << 7);
}

/* FIPS 197 A.1: a key, and the round keys that it makes after the first (which is itself). */
static const uint8_t fips_key[16] = {0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
				     0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c};
static const uint8_t fips_round_keys[][16] = {
	{0xa0, 0xfa, 0xfe, 0x17, 0x88, 0x54, 0x2c, 0xb1, 0x23, 0xa3, 0x39, 0x39, 0x2a, 0x6c, 0x76, 0x05},
	{0xd0, 0x14, 0xf9, 0xa8, 0xc9, 0xee, 0x25, 0x89, 0xe1, 0x3f, 0x0c, 0xc8, 0xb6, 0x63, 0x0c, 0xa6},
};

/* After a burst no round key, and not the key itself, is left in the engine's memory. The CBC engine keeps
 * its own on the stack.
 */
static void keys_are_wiped(const struct record_engine *engine, void *worker, enum protection_id protection)
{
	if (protection_get(protection)->key_len != sizeof fips_key)
		return;
	for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
		slot_make(&slots[i], protection, 64, 0, END);
		memcpy(slots[i].raw.key, fips_key, sizeof fips_key);
		record_key_set(&slots[i].key, protection, fips_key, slots[i].raw.salt, slots[i].raw.mac_key);
		slots[i].expected_len = oracle_seal(&slots[i].record, slots[i].expected);
	}
	burst(engine, worker, RECORD_BURST_MAX - 1, 0);

	size_t size = malloc_usable_size(worker);

	assert_null(memmem(worker, size, fips_key, sizeof fips_key));
	for (unsigned i = 0; i < 2; i++)
		assert_null(memmem(worker, size, fips_round_keys[i], sizeof fips_round_keys[i]));
}

#define EACH(test)                                                                                           \
	static void each_##test(void **state)                                                                \
	{                                                                                                    \
		with_each(test);                                                                             \
	}

EACH(single_records)
EACH(even_bursts)
EACH(uneven_bursts)
EACH(extreme_lengths)
EACH(keys_are_wiped)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_single_records), cmocka_unit_test(each_even_bursts),
		cmocka_unit_test(each_uneven_bursts),  cmocka_unit_test(each_extreme_lengths),
		cmocka_unit_test(each_keys_are_wiped),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
