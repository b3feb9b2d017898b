/* The record header: read and written, every refusal, every truncation, several per datagram. Names in
 * brackets are those of the list of what a gateway must withstand. */
#include "dataplane/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t our_cid[CID_LEN] = {1, 2, 3, 4, 5, 6, 7};

/* A record with a fragment of len bytes of 0xaa; returns its length. */
static size_t build(uint8_t *out, uint8_t type, uint16_t version, uint64_t epoch_seq, bool cid, uint16_t len)
{
	size_t header = record_write(out, type, epoch_seq, our_cid, cid ? CID_LEN : 0, len);

	out[1] = (uint8_t)(version >> 8);
	out[2] = (uint8_t)version;
	memset(out + header, 0xaa, len);
	return header + len;
}

static enum record_verdict verdict_of(const uint8_t *bytes, size_t len, size_t *used)
{
	struct record r;
	enum record_verdict verdict;

	*used = record_read(bytes, len, &r, &verdict);
	return verdict;
}

static void header_bytes(void **state)
{
	static const uint8_t plain[] = {22,   0xfe, 0xfd, 0x12, 0x34, 0x56, 0x78,
					0x9a, 0xbc, 0xde, 0xf0, 0x01, 0x02};
	static const uint8_t with_cid[] = {25, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 0, 5};
	uint8_t out[64];

	assert_int_equal(record_write(out, 22, 0x123456789abcdef0, NULL, 0, 0x0102), sizeof(plain));
	assert_memory_equal(out, plain, sizeof(plain));
	assert_int_equal(record_write(out, 23, 1ULL << 48 | 9, our_cid, CID_LEN, 5), sizeof(with_cid));
	assert_memory_equal(out, with_cid, sizeof(with_cid));
	/* RFC 9146 3: a peer's CID of zero bytes means the plain form. */
	assert_int_equal(record_write(out, 23, 1, our_cid, 0, 5), RECORD_HEADER_LEN);
	assert_int_equal(out[0], 23);
	(void)state;
}

static void reads_what_it_writes(void **state)
{
	uint8_t bytes[256];

	for (unsigned i = 0; i < 20000; i++) {
		static const uint8_t types[] = {20, 21, 22, 23};
		bool cid = rand() & 1;
		uint16_t len = (uint16_t)(1 + rand() % 200);
		uint64_t epoch_seq = (uint64_t)(1 + rand() % 65535) << 48 | (uint64_t)rand() << 16 |
				     (uint64_t)rand() % 65536;
		size_t total = build(bytes, types[rand() % 4], DTLS_1_2, epoch_seq, cid, len);
		struct record r;
		enum record_verdict verdict;

		assert_int_equal(record_read(bytes, total + (size_t)rand() % 10, &r, &verdict), total);
		assert_int_equal(verdict, RECORD_APP);
		assert_ptr_equal(r.header, bytes);
		assert_int_equal(r.epoch_seq, epoch_seq);
		assert_int_equal(r.fragment_len, len);
		assert_int_equal(r.fragment_offset, total - len);
		assert_int_equal(r.type, cid ? CONTENT_TLS12_CID : bytes[0]);
		assert_int_equal(r.version, DTLS_1_2);
		if (cid)
			assert_memory_equal(r.cid, our_cid, CID_LEN);
		else
			assert_null(r.cid);
	}
	(void)state;
}

/* [R07] A record never spans datagrams: shorter by any number of bytes, it is dropped with all that follows.
 * The copy is of exact size, so that a read behind it is seen by the address sanitizer. */
static void truncated_at_every_length(void **state)
{
	uint8_t whole[128];

	for (int cid = 0; cid < 2; cid++) {
		size_t total = build(whole, 23, DTLS_1_2, 1ULL << 48, cid, 40);

		for (size_t len = 0; len < total; len++) {
			uint8_t *bytes = malloc(len ? len : 1);
			size_t used;

			memcpy(bytes, whole, len);
			assert_int_equal(verdict_of(bytes, len, &used), RECORD_DROP_TRUNCATED);
			assert_int_equal(used, 0);
			free(bytes);
		}
		size_t used;

		assert_int_equal(verdict_of(whole, total, &used), RECORD_APP);
		assert_int_equal(used, total);
	}
	(void)state;
}

/* [R10] Every content type there is: five are known. A DTLS 1.3 header has another form, so the walk ends
 * there. */
static void content_types(void **state)
{
	uint8_t bytes[64];

	for (unsigned type = 0; type < 256; type++) {
		size_t total =
			build(bytes, (uint8_t)type, DTLS_1_2, 1ULL << 48, type == CONTENT_TLS12_CID, 20);
		bool known = (type >= 20 && type <= 23) || type == CONTENT_TLS12_CID;
		bool unified = type >= 0x20 && type <= 0x3f;
		size_t used;

		assert_int_equal(verdict_of(bytes, total, &used), known ? RECORD_APP : RECORD_DROP_TYPE);
		assert_int_equal(used, unified ? 0 : total);
	}
	(void)state;
}

/* [R11] Only DTLS 1.2's version, but for what may be a ClientHello. */
static void versions(void **state)
{
	uint8_t bytes[64];
	size_t used;
	unsigned good = 0;

	for (unsigned version = 0; version < 65536; version++) {
		size_t total = build(bytes, 23, (uint16_t)version, 1ULL << 48, false, 20);

		good += verdict_of(bytes, total, &used) == RECORD_APP;
		assert_int_equal(used, total);
	}
	assert_int_equal(good, 1);
	build(bytes, CONTENT_HANDSHAKE, DTLS_1_0, 0, false, 20);
	assert_int_equal(verdict_of(bytes, 64, &used), RECORD_APP);
	build(bytes, CONTENT_HANDSHAKE, DTLS_1_0, 1ULL << 48, false, 20);
	assert_int_equal(verdict_of(bytes, 64, &used), RECORD_DROP_VERSION);
	build(bytes, CONTENT_ALERT, DTLS_1_0, 0, false, 20);
	assert_int_equal(verdict_of(bytes, 64, &used), RECORD_DROP_VERSION);
	build(bytes, CONTENT_HANDSHAKE, 0xfefc, 0, false, 20);
	assert_int_equal(verdict_of(bytes, 64, &used), RECORD_DROP_VERSION);
	build(bytes, CONTENT_HANDSHAKE, 0x0303, 0, false, 20);
	assert_int_equal(verdict_of(bytes, 64, &used), RECORD_DROP_VERSION);
	(void)state;
}

/* [R08] 2^14 + 2048 is the most; [R09] empty is nothing. */
static void lengths(void **state)
{
	static uint8_t bytes[RECORD_HEADER_LEN + 65536];
	enum { MOST = 16384 + 2048 };
	size_t used;

	build(bytes, 23, DTLS_1_2, 1ULL << 48, false, MOST);
	assert_int_equal(verdict_of(bytes, sizeof(bytes), &used), RECORD_APP);
	assert_int_equal(used, RECORD_HEADER_LEN + MOST);
	build(bytes, 23, DTLS_1_2, 1ULL << 48, false, MOST + 1);
	assert_int_equal(verdict_of(bytes, sizeof(bytes), &used), RECORD_DROP_TOO_LONG);
	assert_int_equal(used, RECORD_HEADER_LEN + MOST + 1);
	assert_int_equal(verdict_of(bytes, 100, &used), RECORD_DROP_TOO_LONG);
	assert_int_equal(used, 0);
	for (uint8_t type = 20; type <= 23; type++) {
		build(bytes, type, DTLS_1_2, 1ULL << 48, false, 0);
		assert_int_equal(verdict_of(bytes, 64, &used), RECORD_DROP_TRUNCATED);
		assert_int_equal(used, RECORD_HEADER_LEN);
	}
	(void)state;
}

/* [I02] RFC 9146 3: nothing of epoch 0 has a CID. */
static void no_cid_before_the_keys(void **state)
{
	uint8_t bytes[64];
	size_t total = build(bytes, 23, DTLS_1_2, 77, true, 20);
	size_t used;

	assert_int_equal(verdict_of(bytes, total, &used), RECORD_DROP_EPOCH);
	assert_int_equal(used, total);
	(void)state;
}

/* [R06] Several records in one datagram; what is wrong with one does not touch the others. */
static void several_per_datagram(void **state)
{
	static const struct {
		uint8_t type;
		uint16_t version;
		uint16_t len;
		bool cid;
		enum record_verdict verdict;
	} parts[] = {
		{23, DTLS_1_2, 30, false, RECORD_APP},
		{99, DTLS_1_2, 10, false, RECORD_DROP_TYPE},
		{25, DTLS_1_2, 30, true, RECORD_APP},
		{23, 0x0303, 7, false, RECORD_DROP_VERSION},
		{21, DTLS_1_2, 0, false, RECORD_DROP_TRUNCATED},
		{22, DTLS_1_2, 90, false, RECORD_APP},
	};
	uint8_t bytes[512];
	size_t total = 0;
	size_t at = 0;

	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		total += build(bytes + total, parts[i].type, parts[i].version, 1ULL << 48 | i, parts[i].cid,
			       parts[i].len);
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		struct record r;
		enum record_verdict verdict;
		size_t used = record_read(bytes + at, total - at, &r, &verdict);

		assert_true(used > 0);
		assert_int_equal(verdict, parts[i].verdict);
		assert_int_equal(r.epoch_seq, 1ULL << 48 | i);
		at += used;
	}
	assert_int_equal(at, total);
	(void)state;
}

/* [C08] A walk over random bytes ends, within the datagram, and finds next to nothing. */
static void random_bytes(void **state)
{
	unsigned good = 0;

	for (unsigned i = 0; i < 100000; i++) {
		uint8_t bytes[300];
		size_t len = (size_t)rand() % sizeof(bytes);
		size_t at = 0;
		unsigned turns = 0;

		for (size_t k = 0; k < len; k++)
			bytes[k] = (uint8_t)rand();
		while (at < len) {
			size_t used;

			good += verdict_of(bytes + at, len - at, &used) == RECORD_APP;
			assert_true(used <= len - at);
			if (used == 0)
				break;
			assert_true(used >= RECORD_HEADER_LEN);
			assert_true(++turns < 30);
			at += used;
		}
	}
	assert_true(good < 10);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_bytes),
		cmocka_unit_test(reads_what_it_writes),
		cmocka_unit_test(truncated_at_every_length),
		cmocka_unit_test(content_types),
		cmocka_unit_test(versions),
		cmocka_unit_test(lengths),
		cmocka_unit_test(no_cid_before_the_keys),
		cmocka_unit_test(several_per_datagram),
		cmocka_unit_test(random_bytes),
	};

	srand(21);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
