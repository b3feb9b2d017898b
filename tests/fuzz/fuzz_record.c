/* Any bytes as a datagram of records: the walk ends, stays inside, and what is well-formed is written back as
 * it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void check_record(const struct record *r, const uint8_t *bytes, size_t used)
{
	uint8_t header[RECORD_HEADER_LEN + CID_LEN];
	size_t len =
		record_write(header, r->type, r->epoch_seq, r->cid, r->cid ? CID_LEN : 0, r->fragment_len);

	require(r->header == bytes && used == (size_t)r->fragment_offset + r->fragment_len &&
		r->fragment_len > 0);
	require(len == r->fragment_offset && r->version >> 8 == 0xfe);
	header[2] = (uint8_t)r->version;
	require(memcmp(header, bytes, len) == 0);
	require((r->cid != NULL) == (r->type == CONTENT_TLS12_CID));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size ? size : 1); /* of exact size */
	size_t at = 0;

	if (size > 0)
		memcpy(bytes, data, size);
	while (at < size) {
		struct record r;
		enum record_verdict verdict;
		size_t used = record_read(bytes + at, size - at, &r, &verdict);

		require(used <= size - at && (used == 0 || used >= RECORD_HEADER_LEN));
		require(used > 0 || verdict != RECORD_APP);
		if (verdict == RECORD_APP)
			check_record(&r, bytes + at, used);
		if (used == 0)
			break;
		at += used;
	}
	free(bytes);
	return 0;
}
