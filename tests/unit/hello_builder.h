/* Builds records with ClientHellos, right and wrong ones, for the tests of the cookie. */
#ifndef TESTS_UNIT_HELLO_BUILDER_H
#define TESTS_UNIT_HELLO_BUILDER_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/record.h"

enum { HELLO_BODY_AT = RECORD_HEADER_LEN + 12, HELLO_RECORD_MAX = 2048 };

struct hello_parts {
	uint16_t record_version, version, message_seq;
	uint64_t seq; /* of the record */
	uint8_t random[32];
	uint8_t session_id[255], session_id_len;
	uint8_t cookie[255], cookie_len;
	uint8_t suites[512], compression[255], compression_len;
	uint16_t suites_len;
	uint8_t extensions[256];
	int extensions_len; /* -1: none at all */
};

/* SplitMix64 from a fixed seed: the same hellos in every run. */
static inline unsigned hello_random(void)
{
	static uint64_t state = 6347;
	uint64_t z = state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (unsigned)(z >> 33);
}

static inline void hello_random_bytes(uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(hello_random() >> 7);
}

static inline void hello_put(uint8_t **at, const void *bytes, size_t len)
{
	memcpy(*at, bytes, len);
	*at += len;
}

static inline void hello_put_number(uint8_t **at, uint32_t value, unsigned bytes)
{
	while (bytes-- > 0)
		*(*at)++ = (uint8_t)(value >> 8 * bytes);
}

/* The extensions of a well-formed list: random types and lengths. */
static inline void hello_random_extensions(struct hello_parts *h)
{
	uint8_t *at = h->extensions;

	for (unsigned n = hello_random() % 5 + 1; n > 0; n--) {
		uint16_t len = (uint16_t)(hello_random() % 30);

		hello_put_number(&at, 0x5000 + hello_random() % 1000, 2);
		hello_put_number(&at, len, 2);
		hello_random_bytes(at, len);
		at += len;
	}
	h->extensions_len = (int)(at - h->extensions);
}

/* What a client could send, without a cookie. */
static inline struct hello_parts hello_random_parts(void)
{
	struct hello_parts h = {
		.record_version = hello_random() & 1 ? DTLS_1_2 : DTLS_1_0,
		.version = DTLS_1_2,
		.seq = (uint64_t)hello_random() << 16 ^ (uint64_t)hello_random(),
		.session_id_len = hello_random() & 1 ? 0 : (uint8_t)(hello_random() % 33),
		.suites_len = (uint16_t)(2 + hello_random() % 100 * 2),
		.compression_len = hello_random() % 4 ? 1 : (uint8_t)(1 + hello_random() % 255),
		.extensions_len = -1,
	};

	h.seq &= (1ULL << 48) - 1;
	hello_random_bytes(h.random, sizeof(h.random));
	hello_random_bytes(h.session_id, sizeof(h.session_id));
	hello_random_bytes(h.suites, sizeof(h.suites));
	hello_random_bytes(h.compression, sizeof(h.compression));
	h.compression[0] = 0; /* null, without which nobody may ask */
	if (hello_random() & 1)
		hello_random_extensions(&h);
	return h;
}

/* Writes the message's body; returns its length. */
static inline size_t hello_body(const struct hello_parts *h, uint8_t *out)
{
	uint8_t *at = out;

	hello_put_number(&at, h->version, 2);
	hello_put(&at, h->random, 32);
	hello_put_number(&at, h->session_id_len, 1);
	hello_put(&at, h->session_id, h->session_id_len);
	hello_put_number(&at, h->cookie_len, 1);
	hello_put(&at, h->cookie, h->cookie_len);
	hello_put_number(&at, h->suites_len, 2);
	hello_put(&at, h->suites, h->suites_len);
	hello_put_number(&at, h->compression_len, 1);
	hello_put(&at, h->compression, h->compression_len);
	if (h->extensions_len >= 0) {
		hello_put_number(&at, (uint32_t)h->extensions_len, 2);
		hello_put(&at, h->extensions, (size_t)h->extensions_len);
	}
	assert(at - out <= HELLO_RECORD_MAX - HELLO_BODY_AT);
	return (size_t)(at - out);
}

/* Writes a handshake record with one fragment of a message of `length` bytes whose body is `body`. Returns
 * its length. */
static inline size_t hello_record(const struct hello_parts *h, uint8_t type, const uint8_t *body,
				  uint32_t length, uint32_t offset, uint32_t fragment_len, uint8_t *out)
{
	uint8_t *at =
		out + record_write(out, CONTENT_HANDSHAKE, h->seq, NULL, 0, (uint16_t)(12 + fragment_len));

	out[2] = (uint8_t)h->record_version;
	hello_put_number(&at, type, 1);
	hello_put_number(&at, length, 3);
	hello_put_number(&at, h->message_seq, 2);
	hello_put_number(&at, offset, 3);
	hello_put_number(&at, fragment_len, 3);
	hello_put(&at, body + offset, fragment_len);
	return (size_t)(at - out);
}

/* The whole hello in one record. */
static inline size_t hello_whole(const struct hello_parts *h, uint8_t out[HELLO_RECORD_MAX])
{
	uint8_t body[HELLO_RECORD_MAX];
	uint32_t len = (uint32_t)hello_body(h, body);

	return hello_record(h, 1, body, len, 0, len, out);
}

#endif
