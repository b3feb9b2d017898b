/* What an engine may touch, held by the page tables: of a fragment all, of the 16 bytes before it nothing but
 * to read them, of everything else nothing. The same for the key and the CID, which may only be read.
 *
 *   | none | pages of the record | none |       the record at either end
 *   | read | pages of the record |              the record at the start: the bytes before it are not written
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/mman.h>

#include "tests/unit/sample.h"

enum { PAGE = 4096, ROOM = 5 * PAGE, BEFORE = 16 };

/* Usable memory between two pages that are not. */
struct fenced {
	uint8_t *begin;
	uint8_t *end;
};

enum edge { AT_BEGIN, AT_END, AFTER_READ_ONLY, EDGES };

static struct sample samples[RECORD_BURST_MAX];
static struct fenced records[RECORD_BURST_MAX];
static struct fenced keys[RECORD_BURST_MAX];
static struct fenced cids[RECORD_BURST_MAX];

static struct fenced fenced_make(size_t len)
{
	uint8_t *all = mmap(NULL, len + 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(all, MAP_FAILED);
	assert_int_equal(mprotect(all, PAGE, PROT_NONE), 0);
	assert_int_equal(mprotect(all + PAGE + len, PAGE, PROT_NONE), 0);
	return (struct fenced){all + PAGE, all + PAGE + len};
}

static int set_up(void **state)
{
	for (unsigned i = 0; i < RECORD_BURST_MAX; i++) {
		records[i] = fenced_make(ROOM);
		keys[i] = fenced_make(PAGE);
		cids[i] = fenced_make(PAGE);
	}
	return 0;
}

static void before_allow(unsigned i, int access)
{
	assert_int_equal(mprotect(records[i].begin - PAGE, PAGE, access), 0);
}

/* Where a fragment of so many bytes stands. */
static uint8_t *place(unsigned i, enum edge edge, unsigned len)
{
	switch (edge) {
	case AT_BEGIN:
		return records[i].begin + BEFORE;
	case AT_END:
		return records[i].end - len;
	default:
		return records[i].begin;
	}
}

static size_t key_size(enum protection_id protection)
{
	if (!protection_get(protection)->aead)
		return sizeof(struct cbc_key);
	return protection == PROTECTION_AES_256_CCM_8 ? sizeof(struct aead256_key) : sizeof(struct aead_key);
}

/* Moves the op's key and CID to the end of their pages, write-protected. */
static void fence_rest(unsigned i)
{
	struct record_op *op = &samples[i].op;
	size_t size = key_size(op->protection);
	uint8_t *key = keys[i].end - size;
	uint8_t *cid = cids[i].end - op->cid_len;

	assert_int_equal(mprotect(keys[i].begin, PAGE, PROT_READ | PROT_WRITE), 0);
	assert_int_equal(mprotect(cids[i].begin, PAGE, PROT_READ | PROT_WRITE), 0);
	memcpy(key, &samples[i].key, size);
	memcpy(cid, samples[i].cid, op->cid_len);
	assert_int_equal(mprotect(keys[i].begin, PAGE, PROT_READ), 0);
	assert_int_equal(mprotect(cids[i].begin, PAGE, PROT_READ), 0);
	op->key = key;
	op->cid = op->cid_len ? cid : NULL;
}

static void burst_fenced(struct record_crypto *crypto, unsigned protection, unsigned count, unsigned longest,
			 enum edge edge)
{
	static struct record_op ops[RECORD_BURST_MAX];

	for (unsigned i = 0; i < count; i++) {
		struct sample *s = &samples[i];
		unsigned cid_len = random_below(3) ? 0 : 1 + random_below(RECORD_CID_MAX);

		before_allow(i, edge == AFTER_READ_ONLY ? PROT_READ : PROT_NONE);
		sample_make(s, protection, random_below(longest + 1), cid_len);
		sample_expect(s);
		sample_present(s, place(i, edge, s->expected_len));
		fence_rest(i);
		ops[i] = s->op;
	}
	record_open_burst(crypto, ops, count);
	for (unsigned i = 0; i < count; i++)
		sample_check_opened(&samples[i], &ops[i]);
	for (unsigned i = 0; i < count; i++) {
		struct sample *s = &samples[i];

		sample_offer(s, place(i, edge, s->expected_len));
		fence_rest(i);
		ops[i] = s->op;
	}
	record_seal_burst(crypto, ops, count);
	for (unsigned i = 0; i < count; i++)
		sample_check_sealed(&samples[i], &ops[i]);
}

static void stays_inside(struct record_crypto *crypto)
{
	static const unsigned counts[] = {1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 33, 64};

	for (unsigned p = 1; p < PROTECTIONS; p++) {
		for (enum edge edge = 0; edge < EDGES; edge++) {
			for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
				burst_fenced(crypto, p, counts[i], 70, edge);
				burst_fenced(crypto, p, counts[i], i % 4 ? 1400 : RECORD_PLAINTEXT_MAX, edge);
			}
		}
	}
}

EACH_ENGINE(stays_inside)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_stays_inside),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
