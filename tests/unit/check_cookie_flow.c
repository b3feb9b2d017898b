/* Whether a branch or an address depends on the cookie's secret, by Memcheck: the secrets and their midstates
 * are undefined memory to it, and it complains where undefined data decides anything but the published
 * verdict [C09]. The hellos' cookies are right, or wrong in one byte each, so that a comparison that stops
 * early is met in every place.
 *
 * usage: check_cookie_flow [control]
 *   control: compares a cookie with memcmp(), which must be found.
 */
#include <stdio.h>

#include <valgrind/memcheck.h>

#include "dataplane/cookie.h"
#include "tests/unit/hello_builder.h"

static struct cookie_secrets secrets;
static const struct peer_address peer = {.ip = {[10] = 0xff, [11] = 0xff, 192, 0, 2, 1}, .port = 0x3316};
static uint8_t answer[HELLO_VERIFY_LEN];

static void expect(const struct hello_parts *h, enum hello_verdict expected)
{
	uint8_t bytes[HELLO_RECORD_MAX];
	struct record r;
	enum record_verdict verdict;
	struct client_hello hello;
	const struct cookie_secret *matched;

	(void)record_read(bytes, hello_whole(h, bytes), &r, &verdict);
	if (cookie_check(&secrets, &peer, &r, &hello, answer, &matched) != expected) {
		(void)fprintf(stderr, "wrong verdict\n");
		exit(2);
	}
}

static void hide(void *secret, size_t len)
{
	(void)VALGRIND_MAKE_MEM_UNDEFINED(secret, len);
}

int main(int argc, char **argv)
{
	uint8_t secret[COOKIE_SECRET_LEN] = {7};
	struct hello_parts h = hello_random_parts();
	unsigned wrong = 0;

	if (!RUNNING_ON_VALGRIND) {
		(void)fprintf(stderr, "%s says nothing unless valgrind runs it\n", argv[0]);
		return 2;
	}
	hide(secret, sizeof(secret));
	cookie_secrets_init(&secrets, secret);
	cookie_secrets_rotate(&secrets, secret);
	secret[0] ^= 1;
	cookie_secrets_rotate(&secrets, secret);

	expect(&h, HELLO_ANSWER);
	if (argc > 1 && strcmp(argv[1], "control") == 0)
		return memcmp(answer + HELLO_VERIFY_LEN - COOKIE_LEN, h.cookie, COOKIE_LEN) == 0;
	(void)VALGRIND_MAKE_MEM_DEFINED(answer, sizeof(answer)); /* it goes over the network */
	h.cookie_len = COOKIE_LEN;
	memcpy(h.cookie, answer + HELLO_VERIFY_LEN - COOKIE_LEN, COOKIE_LEN);
	expect(&h, HELLO_VALID);
	for (; wrong < COOKIE_LEN; wrong++) {
		h.cookie[wrong] ^= 0x40;
		expect(&h, HELLO_ANSWER);
		h.cookie[wrong] ^= 0x40;
	}
	printf("cookies: 1 right, %u wrong\n", wrong);
	return 0;
}
