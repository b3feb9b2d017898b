/* Known answers: what every engine must get right at every start before it touches a real record. */
#ifndef CRYPTO_KNOWN_ANSWER_H
#define CRYPTO_KNOWN_ANSWER_H

#include <stdbool.h>

#include "crypto/aead.h"

/* Seals and opens the protection's known records with the engine, alone and in bursts, and makes sure that
 * damaged ones are refused. Takes well under a millisecond. Allocates. The worker is the engine's own, of the
 * calling thread.
 */
bool known_answers_pass(const struct record_engine *engine, void *worker, enum protection_id protection);

/* One of them, all of its input made by known_answer_input() (below). */
struct known_answer {
	uint8_t protection;
	uint8_t cid_len;
	uint16_t payload_len; /* of the inner plaintext when there is a CID: its last byte is the type */
	uint16_t fragment_len;
	const uint8_t *fragment;
};

const struct known_answer *known_answers(unsigned *count);

/* The input common to all: fixed patterns. */
struct known_answer_input {
	uint8_t key[32];
	uint8_t salt[4];
	uint8_t mac_key[32];
	uint8_t cid[RECORD_CID_MAX];
	uint8_t explicit_part[16];
	uint8_t payload[512];
	uint64_t epoch_seq;
	uint8_t type;
};

void known_answer_input(struct known_answer_input *input);

#endif
