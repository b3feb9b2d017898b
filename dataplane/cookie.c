/* Reads a ClientHello and answers it without remembering it: RFC 6347 4.2.1. The cookie is an HMAC over the
 * peer's address and what the hello asks for, so that it proves that the peer receives at that address and
 * repeats itself. Runs on the worker; keeps nothing but the two secrets.
 *
 *   handshake header:  | type 1 | length 3 | message_seq 2 | fragment_offset 3 | fragment_length 3 |
 *   ClientHello:       | version 2 | random 32 | session_id <0..32> | cookie <0..255> | cipher_suites
 * <2..2^16-2> | | compression_methods <1..255> | [extensions <0..2^16-1>] |
 */
#include "dataplane/cookie.h"

#include <assert.h>
#include <string.h>

#include "crypto/secret.h"
#include "crypto/sha256.h"

enum {
	HANDSHAKE_HEADER_LEN = 12,
	HANDSHAKE_CLIENT_HELLO = 1,
	HANDSHAKE_HELLO_VERIFY_REQUEST = 3,
	HELLO_MAX = 8192, /* what the control plane puts together; real ones have some hundred bytes */
	RANDOM_LEN = 32,
	SESSION_ID_MAX = 32,
	TLS_MAJOR = 3, /* SSL 3.0 is 0x0300, TLS 1.0 0x0301, and so on */
};

/* Version, random, empty session_id and cookie, one suite, one compression method: no ClientHello is shorter,
 * so that the answer is never longer than what it answers (RFC 6347 4.2.1: no amplification). */
enum { HELLO_MIN = 2 + RANDOM_LEN + 1 + 1 + 2 + 2 + 1 + 1 };
static_assert(HELLO_VERIFY_LEN <= RECORD_HEADER_LEN + HANDSHAKE_HEADER_LEN + HELLO_MIN, "no amplification");
static_assert(sizeof(struct peer_address) == 18, "the bytes that both ends of the HMAC take");

/* ---- secrets ---- */

static void secret_set(struct cookie_secret *s, const uint8_t secret[COOKIE_SECRET_LEN])
{
	memcpy(s->secret, secret, COOKIE_SECRET_LEN);
	sha256_hmac_midstates(s->inner, s->outer, secret, COOKIE_SECRET_LEN);
}

void cookie_secrets_init(struct cookie_secrets *s, const uint8_t secret[COOKIE_SECRET_LEN])
{
	cookie_secrets_wipe(s);
	secret_set(&s->current, secret);
}

void cookie_secrets_rotate(struct cookie_secrets *s, const uint8_t secret[COOKIE_SECRET_LEN])
{
	s->previous = s->current;
	s->has_previous = true;
	secret_set(&s->current, secret);
}

void cookie_secrets_wipe(struct cookie_secrets *s)
{
	secret_wipe(s, sizeof(*s));
}

/* ---- reading ---- */

/* What is left of the bytes being read; NULL once something did not fit. */
struct reader {
	const uint8_t *at;
	size_t left;
};

static const uint8_t *take(struct reader *r, size_t len)
{
	const uint8_t *bytes = r->at;

	if (!bytes || len > r->left) {
		r->at = NULL;
		r->left = 0;
		return NULL;
	}
	r->at += len;
	r->left -= len;
	return bytes;
}

static uint32_t take_number(struct reader *r, unsigned bytes)
{
	const uint8_t *at = take(r, bytes);
	uint32_t value = 0;

	for (unsigned i = 0; at && i < bytes; i++)
		value = value << 8 | at[i];
	return value;
}

static const uint8_t *take_vector8(struct reader *r, uint8_t *len)
{
	*len = (uint8_t)take_number(r, 1);
	return take(r, *len);
}

static const uint8_t *take_vector16(struct reader *r, uint16_t *len)
{
	*len = (uint16_t)take_number(r, 2);
	return take(r, *len);
}

/* RFC 5246 7.4.1.4: the vectors of the list fill it exactly. */
static bool extensions_ok(const uint8_t *list, uint16_t len)
{
	struct reader r = {list, len};

	while (r.left > 0) {
		uint16_t body_len;

		take_number(&r, 2);
		if (!take_vector16(&r, &body_len))
			return false;
	}
	return true;
}

/* The fields through compression_methods; the rest of a whole message is extensions, exactly or none. A first
 * fragment may end inside them. */
static bool hello_read(struct client_hello *hello, struct reader *r)
{
	hello->version = (uint16_t)take_number(r, 2);
	hello->random = take(r, RANDOM_LEN);
	hello->session_id = take_vector8(r, &hello->session_id_len);
	hello->cookie = take_vector8(r, &hello->cookie_len);
	hello->suites = take_vector16(r, &hello->suites_len);
	hello->compression = take_vector8(r, &hello->compression_len);
	if (!hello->compression || hello->compression_len == 0 || hello->session_id_len > SESSION_ID_MAX)
		return false;
	if (hello->suites_len < 2 || hello->suites_len % 2 != 0)
		return false;
	if (hello->fragmented || r->left == 0)
		return true;
	hello->extensions = take_vector16(r, &hello->extensions_len);
	return hello->extensions && r->left == 0 && extensions_ok(hello->extensions, hello->extensions_len);
}

/* HELLO_VALID stands for "readable" here. */
static enum hello_verdict message_read(const struct record *record, struct client_hello *hello)
{
	struct reader r = {record->header + record->fragment_offset, record->fragment_len};
	uint32_t type, length, offset, fragment_len;

	memset(hello, 0, sizeof(*hello));
	if (record->type != CONTENT_HANDSHAKE)
		return HELLO_NOT;
	type = take_number(&r, 1);
	length = take_number(&r, 3);
	hello->message_seq = (uint16_t)take_number(&r, 2);
	offset = take_number(&r, 3);
	fragment_len = take_number(&r, 3);
	if (!r.at)
		return HELLO_MALFORMED;
	if (type != HANDSHAKE_CLIENT_HELLO || offset != 0)
		return HELLO_NOT;
	if (fragment_len > length || fragment_len != r.left)
		return HELLO_MALFORMED;
	hello->fragmented = fragment_len < length;
	if (!hello_read(hello, &r))
		return HELLO_MALFORMED;
	/* As long as it will be when it comes again with our cookie. */
	return length - hello->cookie_len + COOKIE_LEN <= HELLO_MAX ? HELLO_VALID : HELLO_MALFORMED;
}

/* ---- cookie ---- */

static void cookie_make(const struct cookie_secret *secret, const struct peer_address *peer,
			const struct client_hello *hello, uint8_t cookie[COOKIE_LEN])
{
	uint8_t version[2] = {(uint8_t)(hello->version >> 8), (uint8_t)hello->version};
	struct sha256 h;

	sha256_start(&h, secret->inner, SHA256_BLOCK_LEN);
	sha256_update(&h, peer, sizeof(*peer));
	sha256_update(&h, version, sizeof(version));
	sha256_update(&h, hello->random, RANDOM_LEN);
	sha256_update(&h, hello->session_id, hello->session_id_len);
	sha256_update(&h, hello->suites, hello->suites_len);
	sha256_update(&h, hello->compression, hello->compression_len);
	sha256_hmac_finish(&h, secret->outer, cookie);
}

/* RFC 6347 4.2.1: the version says DTLS 1.0 whatever will be agreed on, and the record repeats the hello's
 * sequence number. */
static void hello_verify_write(uint8_t out[HELLO_VERIFY_LEN], const struct record *record,
			       const struct client_hello *hello, const uint8_t cookie[COOKIE_LEN])
{
	enum { BODY_LEN = 2 + 1 + COOKIE_LEN, FRAGMENT_LEN = HANDSHAKE_HEADER_LEN + BODY_LEN };
	const uint8_t message[HANDSHAKE_HEADER_LEN + 3] = {
		[0] = HANDSHAKE_HELLO_VERIFY_REQUEST,
		[3] = BODY_LEN,
		[4] = (uint8_t)(hello->message_seq >> 8),
		[5] = (uint8_t)hello->message_seq,
		[11] = BODY_LEN,
		[12] = DTLS_1_0 >> 8,
		[13] = DTLS_1_0 & 0xff,
		[14] = COOKIE_LEN,
	};
	size_t at = record_write(out, CONTENT_HANDSHAKE, record->epoch_seq, NULL, 0, FRAGMENT_LEN);

	static_assert(RECORD_HEADER_LEN + FRAGMENT_LEN == HELLO_VERIFY_LEN, "layout");
	memcpy(out + at, message, sizeof(message));
	memcpy(out + at + sizeof(message), cookie, COOKIE_LEN);
}

/* The cookie of a hello under one secret; true when the hello carries it. Only this verdict depends on the
 * secret. */
static bool cookie_matches(const struct cookie_secret *secret, const struct peer_address *peer,
			   const struct client_hello *hello, uint8_t cookie[COOKIE_LEN])
{
	bool equal;

	cookie_make(secret, peer, hello, cookie);
	if (hello->cookie_len != COOKIE_LEN)
		return false;
	equal = secret_equal(hello->cookie, cookie, COOKIE_LEN);
	secret_publish(&equal, sizeof(equal));
	return equal;
}

enum hello_verdict cookie_check(const struct cookie_secrets *s, const struct peer_address *peer,
				const struct record *record, struct client_hello *hello,
				uint8_t out[HELLO_VERIFY_LEN], const struct cookie_secret **matched)
{
	enum hello_verdict verdict = message_read(record, hello);
	uint8_t current[COOKIE_LEN];
	uint8_t previous[COOKIE_LEN];

	*matched = NULL;
	if (verdict != HELLO_VALID)
		return verdict;
	/* RFC 9325 3.1.2: versions of the past are refused, but aloud, and by control: an alert to an address
	 * that nobody has proved could end somebody else's handshake, and would tell the operator nothing. */
	if (hello->version >> 8 != DTLS_1_2 >> 8 && hello->version >> 8 != TLS_MAJOR)
		return HELLO_MALFORMED;
	if (cookie_matches(&s->current, peer, hello, current)) {
		*matched = &s->current;
		return HELLO_VALID;
	}
	if (hello->cookie_len == COOKIE_LEN && s->has_previous &&
	    cookie_matches(&s->previous, peer, hello, previous)) {
		*matched = &s->previous;
		return HELLO_VALID;
	}
	hello_verify_write(out, record, hello, current);
	return HELLO_ANSWER;
}
