/* Any bytes as the fragment of an epoch-0 handshake record: judged, and what is answered is let in when it
 * comes again with the cookie of the answer, and with no other.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "dataplane/cookie.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static const struct peer_address peer = {.ip = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}, .port = 0x3316};

/* From a copy of exact size, which the caller frees. */
static enum hello_verdict check(const struct cookie_secrets *secrets, const uint8_t *fragment, size_t len,
				uint8_t **copy, struct client_hello *hello, uint8_t answer[HELLO_VERIFY_LEN])
{
	const struct cookie_secret *matched;
	enum record_verdict verdict;
	enum hello_verdict result;
	struct record r;

	*copy = malloc(RECORD_HEADER_LEN + len);
	record_write(*copy, CONTENT_HANDSHAKE, 42, NULL, 0, (uint16_t)len);
	memcpy(*copy + RECORD_HEADER_LEN, fragment, len);
	require(record_read(*copy, RECORD_HEADER_LEN + len, &r, &verdict) == RECORD_HEADER_LEN + len);
	require(verdict == RECORD_APP);
	result = cookie_check(secrets, &peer, &r, hello, answer, &matched);
	require((result == HELLO_VALID) == (matched != NULL));
	require(result != HELLO_ANSWER || RECORD_HEADER_LEN + len >= HELLO_VERIFY_LEN);
	return result;
}

static void add24(uint8_t *at, uint32_t amount)
{
	uint32_t value = ((uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2]) + amount;

	at[0] = (uint8_t)(value >> 16);
	at[1] = (uint8_t)(value >> 8);
	at[2] = (uint8_t)value;
}

/* The hello again, with its cookie replaced by the answer's. */
static void come_again(const struct cookie_secrets *secrets, const uint8_t *fragment, size_t len,
		       const struct client_hello *hello, const uint8_t *start, const uint8_t *cookie)
{
	size_t at = (size_t)(hello->cookie - start) - RECORD_HEADER_LEN;
	size_t behind = len - at - hello->cookie_len;
	size_t new_len = len - hello->cookie_len + COOKIE_LEN;
	uint8_t *again = malloc(new_len);
	uint8_t answer[HELLO_VERIFY_LEN];
	struct client_hello unused;
	uint8_t *copy;

	memcpy(again, fragment, at);
	memcpy(again + at, cookie, COOKIE_LEN);
	again[at - 1] = COOKIE_LEN;
	memcpy(again + at + COOKIE_LEN, fragment + at + hello->cookie_len, behind);
	add24(again + 1, (uint32_t)COOKIE_LEN - hello->cookie_len);
	add24(again + 9, (uint32_t)COOKIE_LEN - hello->cookie_len);
	require(check(secrets, again, new_len, &copy, &unused, answer) == HELLO_VALID);
	free(copy);
	again[at + (fragment[0] + len) % COOKIE_LEN] ^= 0x10;
	require(check(secrets, again, new_len, &copy, &unused, answer) == HELLO_ANSWER);
	free(copy);
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t secret[COOKIE_SECRET_LEN] = {1, 2, 3};
	struct cookie_secrets secrets;
	uint8_t answer[HELLO_VERIFY_LEN];
	struct client_hello hello;
	uint8_t *copy;

	if (size == 0 || size > 16000)
		return 0;
	cookie_secrets_init(&secrets, secret);
	if (check(&secrets, data, size, &copy, &hello, answer) == HELLO_ANSWER) {
		const uint8_t *end = copy + RECORD_HEADER_LEN + size;

		require(hello.suites >= copy && hello.suites + hello.suites_len <= end);
		require(!hello.extensions || hello.extensions + hello.extensions_len <= end);
		come_again(&secrets, data, size, &hello, copy, answer + HELLO_VERIFY_LEN - COOKIE_LEN);
	}
	free(copy);
	return 0;
}
