/* Our HelloVerifyRequest against wolfSSL's own, byte for byte, for hellos of every form and for those of a
 * real client; and a real wolfSSL server that has seen nothing of the first exchange goes on with the second
 * hello.
 */
#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "dataplane/cookie.h"
#include "tests/unit/hello_builder.h"

/* One side's socket: what it may read next, and what it wrote last. */
struct wire {
	uint8_t in[HELLO_RECORD_MAX], out[HELLO_RECORD_MAX];
	size_t in_len, out_len;
	unsigned written;
};

static int wire_receive(WOLFSSL *ssl, char *buffer, int size, void *arg)
{
	struct wire *w = arg;
	int len = (int)w->in_len;

	(void)ssl;
	if (len == 0)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	assert_true(len <= size);
	memcpy(buffer, w->in, (size_t)len);
	w->in_len = 0;
	return len;
}

static int wire_send(WOLFSSL *ssl, char *buffer, int size, void *arg)
{
	struct wire *w = arg;

	(void)ssl;
	if (w->written++ == 0) { /* the first is what is asked about */
		assert_true(size > 0 && (size_t)size <= sizeof(w->out));
		memcpy(w->out, buffer, (size_t)size);
		w->out_len = (size_t)size;
	}
	return size;
}

static void feed(struct wire *w, const uint8_t *bytes, size_t len)
{
	assert_true(len <= sizeof(w->in));
	memcpy(w->in, bytes, len);
	w->in_len = len;
	w->out_len = 0;
	w->written = 0;
}

static unsigned server_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned max)
{
	(void)ssl, (void)identity, (void)max;
	memset(key, 1, 16);
	return 16;
}

static unsigned client_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned id_max,
			   unsigned char *key, unsigned max)
{
	(void)ssl, (void)hint, (void)max;
	strncpy(identity, "device", id_max);
	memset(key, 1, 16);
	return 16;
}

static WOLFSSL_CTX *server_ctx, *client_ctx, *client13_ctx;

static WOLFSSL_CTX *context(WOLFSSL_METHOD *method)
{
	WOLFSSL_CTX *ctx = wolfSSL_CTX_new(method);

	assert_non_null(ctx);
	wolfSSL_CTX_SetIORecv(ctx, wire_receive);
	wolfSSL_CTX_SetIOSend(ctx, wire_send);
	return ctx;
}

static int group_setup(void **state)
{
	(void)state;
	wolfSSL_Init();
	server_ctx = context(wolfDTLSv1_2_server_method());
	wolfSSL_CTX_set_psk_server_callback(server_ctx, server_psk);
	assert_int_equal(wolfSSL_CTX_set_cipher_list(server_ctx, "PSK-AES128-CCM-8"), WOLFSSL_SUCCESS);
	client_ctx = context(wolfDTLSv1_2_client_method());
	client13_ctx = context(wolfDTLS_client_method());
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	wolfSSL_CTX_free(server_ctx);
	wolfSSL_CTX_free(client_ctx);
	wolfSSL_CTX_free(client13_ctx);
	wolfSSL_Cleanup();
	return 0;
}

static bool hello_good;

static int note_good_hello(WOLFSSL *ssl, void *arg)
{
	(void)ssl, (void)arg;
	hello_good = true;
	return 0;
}

static WOLFSSL *object(WOLFSSL_CTX *ctx, struct wire *w)
{
	WOLFSSL *ssl = wolfSSL_new(ctx);

	assert_non_null(ssl);
	wolfSSL_SetIOReadCtx(ssl, w);
	wolfSSL_SetIOWriteCtx(ssl, w);
	wolfSSL_dtls_set_using_nonblock(ssl, 1);
	return ssl;
}

/* A server that is given the record as its first; what it sends first stands in w->out. */
static void serve(struct wire *w, const struct cookie_secret *secret, const struct peer_address *peer,
		  const uint8_t *bytes, size_t len)
{
	WOLFSSL *ssl = object(server_ctx, w);
	struct peer_address copy = *peer;

	assert_int_equal(wolfSSL_DTLS_SetCookieSecret(ssl, secret->secret, COOKIE_SECRET_LEN), 0);
	assert_int_equal(wolfSSL_dtls_set_peer(ssl, &copy, sizeof(copy)), WOLFSSL_SUCCESS);
	hello_good = false;
	assert_int_equal(wolfDTLS_SetChGoodCb(ssl, note_good_hello, NULL), WOLFSSL_SUCCESS);
	feed(w, bytes, len);
	assert_int_not_equal(wolfSSL_accept(ssl), WOLFSSL_SUCCESS);
	wolfSSL_free(ssl);
}

static enum hello_verdict check(const struct cookie_secrets *secrets, const struct peer_address *peer,
				const uint8_t *bytes, size_t len, uint8_t answer[HELLO_VERIFY_LEN])
{
	struct client_hello hello;
	const struct cookie_secret *matched;
	struct record r;
	enum record_verdict verdict;

	assert_int_equal(record_read(bytes, len, &r, &verdict), len);
	assert_int_equal(verdict, RECORD_APP);
	return cookie_check(secrets, peer, &r, &hello, answer, &matched);
}

static void random_secrets_and_peer(struct cookie_secrets *secrets, struct peer_address *peer)
{
	uint8_t secret[COOKIE_SECRET_LEN];

	hello_random_bytes(secret, sizeof(secret));
	hello_random_bytes((uint8_t *)peer, sizeof(*peer));
	cookie_secrets_init(secrets, secret);
}

/* [C05] Any fields, without and with a wrong cookie. */
static void same_answer_to_any_hello(void **state)
{
	for (unsigned i = 0; i < 600; i++) {
		struct hello_parts h = hello_random_parts();
		struct cookie_secrets secrets;
		struct peer_address peer;
		uint8_t bytes[HELLO_RECORD_MAX];
		uint8_t answer[HELLO_VERIFY_LEN];
		struct wire w = {.in_len = 0};
		size_t len;

		h.record_version = DTLS_1_2;
		h.seq &= UINT32_MAX; /* a fresh wolfSSL object takes none above */
		h.message_seq = (uint16_t)(rand() % 4);
		if (i % 3 == 0) {
			h.cookie_len = i % 2 ? COOKIE_LEN : (uint8_t)(rand() % 256);
			hello_random_bytes(h.cookie, sizeof(h.cookie));
		}
		len = hello_whole(&h, bytes);
		random_secrets_and_peer(&secrets, &peer);
		assert_int_equal(check(&secrets, &peer, bytes, len, answer), HELLO_ANSWER);
		serve(&w, &secrets.current, &peer, bytes, len);
		assert_false(hello_good);
		assert_int_equal(w.out_len, HELLO_VERIFY_LEN);
		assert_memory_equal(w.out, answer, HELLO_VERIFY_LEN);
	}
	(void)state;
}

/* A cookie of ours is good for wolfSSL with the secret that matched, and with no other. */
static void our_cookie_is_taken(void **state)
{
	for (unsigned i = 0; i < 200; i++) {
		struct hello_parts h = hello_random_parts();
		struct cookie_secrets secrets, others;
		struct peer_address peer, unused;
		uint8_t bytes[HELLO_RECORD_MAX];
		uint8_t answer[HELLO_VERIFY_LEN];
		struct wire w = {.in_len = 0};
		size_t len;

		random_secrets_and_peer(&secrets, &peer);
		random_secrets_and_peer(&others, &unused);
		h.seq &= UINT32_MAX;
		assert_int_equal(check(&secrets, &peer, bytes, hello_whole(&h, bytes), answer), HELLO_ANSWER);
		memcpy(h.cookie, answer + HELLO_VERIFY_LEN - COOKIE_LEN, COOKIE_LEN);
		h.cookie_len = COOKIE_LEN;
		len = hello_whole(&h, bytes);
		assert_int_equal(check(&secrets, &peer, bytes, len, answer), HELLO_VALID);
		serve(&w, &secrets.current, &peer, bytes, len);
		assert_true(hello_good);
		serve(&w, &others.current, &peer, bytes, len);
		assert_false(hello_good);
	}
	(void)state;
}

static const char *const cipher_lists[] = {
	"PSK-AES128-CCM-8",
	"PSK-AES128-CCM-8:ECDHE-ECDSA-AES128-CCM-8",
	"ECDHE-ECDSA-AES128-GCM-SHA256:PSK-AES128-CCM-8:ECDHE-PSK-AES128-CBC-SHA256",
};

/* A real client, of 1.2 alone or able to do 1.3: its first hello gets the same answer from both; given ours,
 * its second is valid, and a server object that saw only that goes on to its ServerHello with the second
 * hello's sequence numbers [C05]. */
static void real_clients(void **state)
{
	for (unsigned i = 0; i < 120; i++) {
		WOLFSSL_CTX *ctx = i % 4 == 3 ? client13_ctx : client_ctx;
		struct wire client_wire = {.in_len = 0};
		struct wire server_wire = {.in_len = 0};
		WOLFSSL *client;
		struct cookie_secrets secrets;
		struct peer_address peer;
		uint8_t answer[HELLO_VERIFY_LEN];

		wolfSSL_CTX_set_psk_client_callback(ctx, client_psk);
		client = object(ctx, &client_wire);
		if (ctx == client_ctx)
			assert_int_equal(wolfSSL_set_cipher_list(client, cipher_lists[i % 3]),
					 WOLFSSL_SUCCESS);
		random_secrets_and_peer(&secrets, &peer);
		assert_int_not_equal(wolfSSL_connect(client), WOLFSSL_SUCCESS);
		assert_int_equal(check(&secrets, &peer, client_wire.out, client_wire.out_len, answer),
				 HELLO_ANSWER);
		serve(&server_wire, &secrets.current, &peer, client_wire.out, client_wire.out_len);
		assert_int_equal(server_wire.out_len, HELLO_VERIFY_LEN);
		assert_memory_equal(server_wire.out, answer, HELLO_VERIFY_LEN);

		feed(&client_wire, answer, sizeof(answer));
		assert_int_not_equal(wolfSSL_connect(client), WOLFSSL_SUCCESS);
		assert_int_equal(check(&secrets, &peer, client_wire.out, client_wire.out_len, answer),
				 HELLO_VALID);
		serve(&server_wire, &secrets.current, &peer, client_wire.out, client_wire.out_len);
		assert_true(hello_good);
		assert_true(server_wire.out_len > 25);
		assert_int_equal(server_wire.out[13], 2); /* ServerHello */
		assert_memory_equal(server_wire.out + 3, client_wire.out + 3, 8);
		assert_int_equal(server_wire.out[18], 1); /* message_seq */
		wolfSSL_free(client);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_answer_to_any_hello),
		cmocka_unit_test(our_cookie_is_taken),
		cmocka_unit_test(real_clients),
	};

	srand(25);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
