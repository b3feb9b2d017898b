/* The DTLS 1.2 record header, read and written: RFC 6347 4.1, and with a connection ID RFC 9146 4. Runs on
 * the worker; keeps nothing.
 *
 *   | type 1 | version 2 | epoch 2 | sequence number 6 | [CID] | length 2 | fragment |
 */
#include "dataplane/record.h"

#include <string.h>

enum {
	FRAGMENT_MAX = 16384 + 2048, /* RFC 5246 6.2.3 */
	/* 001xxxxx is DTLS 1.3's unified header, of another form: RFC 9147 4.1. */
	UNIFIED_FIRST = 0x20,
	UNIFIED_LAST = 0x3f,
};

static uint16_t read_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint64_t read_be64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return __builtin_bswap64(value);
}

/* A ClientHello comes before any version is agreed on and may say DTLS 1.0: RFC 6347 4.1. */
static bool version_ok(const struct record *r)
{
	return r->version == DTLS_1_2 ||
	       (r->version == DTLS_1_0 && r->type == CONTENT_HANDSHAKE && r->epoch_seq >> 48 == 0);
}

static enum record_verdict judge(const struct record *r)
{
	switch (r->type) {
	case CONTENT_CHANGE_CIPHER_SPEC:
	case CONTENT_ALERT:
	case CONTENT_HANDSHAKE:
	case CONTENT_APPLICATION_DATA:
	case CONTENT_TLS12_CID:
		break;
	default:
		return RECORD_DROP_TYPE;
	}
	if (!version_ok(r))
		return RECORD_DROP_VERSION;
	if (r->type == CONTENT_TLS12_CID && r->epoch_seq >> 48 == 0) /* RFC 9146 3: never before the keys */
		return RECORD_DROP_EPOCH;
	if (r->fragment_len == 0) /* nothing of ours or the peer's is empty, protected records least */
		return RECORD_DROP_TRUNCATED;
	return RECORD_APP;
}

size_t record_read(const uint8_t *bytes, size_t len, struct record *out, enum record_verdict *verdict)
{
	size_t header_len = RECORD_HEADER_LEN;

	*verdict = RECORD_DROP_TRUNCATED;
	*out = (struct record){.header = bytes};
	if (len < RECORD_HEADER_LEN)
		return 0;
	out->type = bytes[0];
	out->version = read_be16(bytes + 1);
	out->epoch_seq = read_be64(bytes + 3);
	if (out->type >= UNIFIED_FIRST && out->type <= UNIFIED_LAST) {
		*verdict = RECORD_DROP_TYPE;
		return 0;
	}
	if (out->type == CONTENT_TLS12_CID) {
		header_len += CID_LEN;
		if (len < header_len)
			return 0;
		out->cid = bytes + RECORD_HEADER_LEN - 2;
	}
	out->fragment_offset = (uint16_t)header_len;
	out->fragment_len = read_be16(bytes + header_len - 2);
	if (out->fragment_len > FRAGMENT_MAX)
		*verdict = RECORD_DROP_TOO_LONG;
	if (out->fragment_len > len - header_len)
		return 0;
	if (*verdict != RECORD_DROP_TOO_LONG)
		*verdict = judge(out);
	return header_len + out->fragment_len;
}

size_t record_write(uint8_t *out, uint8_t type, uint64_t epoch_seq, const uint8_t *cid, uint8_t cid_len,
		    uint16_t fragment_len)
{
	uint64_t epoch_seq_be = __builtin_bswap64(epoch_seq);
	size_t at = 11;

	out[0] = cid_len > 0 ? CONTENT_TLS12_CID : type;
	out[1] = DTLS_1_2 >> 8;
	out[2] = DTLS_1_2 & 0xff;
	memcpy(out + 3, &epoch_seq_be, sizeof(epoch_seq_be));
	if (cid_len > 0) {
		memcpy(out + at, cid, cid_len);
		at += cid_len;
	}
	out[at] = (uint8_t)(fragment_len >> 8);
	out[at + 1] = (uint8_t)fragment_len;
	return at + 2;
}
