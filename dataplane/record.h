/* The DTLS record header, RFC 6347 4.1, and its form with a CID, RFC 9146 4 (pure): read, write, walk a
 * datagram. */
#ifndef DATAPLANE_RECORD_H
#define DATAPLANE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dataplane/verdict.h"

enum content_type {
	CONTENT_CHANGE_CIPHER_SPEC = 20,
	CONTENT_ALERT = 21,
	CONTENT_HANDSHAKE = 22,
	CONTENT_APPLICATION_DATA = 23,
	CONTENT_TLS12_CID = 25,
};

enum {
	RECORD_HEADER_LEN = 13,
	CID_LEN = 7, /* of every CID that we hand out: with it the AAD of RFC 9146 5.3 fills two AES blocks
			exactly */
	DTLS_1_2 = 0xfefd,
	DTLS_1_0 = 0xfeff,
};

struct record {
	const uint8_t *header;
	const uint8_t *cid;       /* CID_LEN bytes inside the header; NULL: plain form */
	uint64_t epoch_seq;       /* epoch << 48 | sequence number */
	uint16_t fragment_offset; /* from header: 13, or 13 + CID_LEN */
	uint16_t fragment_len;
	uint8_t type;
	uint16_t version;
};

/* Reads the record at the start of bytes. Returns its whole length (header and fragment) and *verdict =
 * RECORD_APP for "well-formed so far", or RECORD_DROP_*, after which the walk goes on behind it (RFC
 * 6347 4.1.1, 4.1.2.7: a bad record does not harm those behind it). 0 when nothing behind it can be told
 * apart any more (longer than the datagram, or of DTLS 1.3's form): the rest of the datagram is dropped as
 * one record with *verdict. *out is filled as far as the header reaches; its pointers lie inside bytes. Any
 * thread. */
size_t record_read(const uint8_t *bytes, size_t len, struct record *out, enum record_verdict *verdict);

/* Writes a header into out, which has room for RECORD_HEADER_LEN + cid_len bytes, and returns its length. cid
 * NULL: plain form; otherwise the type written is tls12_cid, whatever `type` says (RFC 9146 4). fragment_len:
 * as sealed. Any thread. */
size_t record_write(uint8_t *out, uint8_t type, uint64_t epoch_seq, const uint8_t *cid, uint8_t cid_len,
		    uint16_t fragment_len);

#endif
