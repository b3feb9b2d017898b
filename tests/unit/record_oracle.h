/* Seals records with OpenSSL and with its own reading of the RFCs: shares no line with crypto/, so that the
 * two can be held against each other.
 */
#ifndef TESTS_UNIT_RECORD_ORACLE_H
#define TESTS_UNIT_RECORD_ORACLE_H

#include <stdint.h>

#include "crypto/suite.h"

struct oracle_key {
	uint8_t key[32];
	uint8_t salt[4];
	uint8_t mac_key[32];
};

struct oracle_record {
	enum protection_id protection;
	const struct oracle_key *key;
	uint64_t epoch_seq;
	uint8_t type;
	const uint8_t *cid;
	unsigned cid_len;
	const uint8_t *explicit_part; /* nonce or IV */
	const uint8_t *payload;
	unsigned payload_len;
	unsigned inner_zeros;   /* RFC 9146 padding; only with a CID */
	unsigned extra_padding; /* CBC: so many bytes more than the least, a multiple of 16 */
	int spoil_padding; /* CBC: damage the padding byte so far from the end (0: the length byte); -1: none
			    */
};

/* Writes the whole fragment and returns its length. */
unsigned oracle_seal(const struct oracle_record *record, uint8_t *out);

#endif
