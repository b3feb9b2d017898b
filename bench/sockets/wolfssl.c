/* A session in wolfSSL. */
#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include <string.h>

#include "bench/sockets/sockets.h"

static WOLFSSL_CTX *ctx;

static int receive_one(WOLFSSL *ssl, char *room, int len, void *context)
{
	int n = wire.in_len < (size_t)len ? (int)wire.in_len : len;

	(void)ssl, (void)context;
	if (!wire.in)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(room, wire.in, (size_t)n);
	wire.in = NULL;
	return n;
}

static int send_one(WOLFSSL *ssl, char *bytes, int len, void *context)
{
	(void)ssl, (void)context;
	peer_queue_add(&wire.out, bytes, (size_t)len);
	return len;
}

static unsigned int find_psk(WOLFSSL *ssl, const char *identity, unsigned char *key, unsigned int room)
{
	(void)ssl;
	if (strcmp(identity, PSK_IDENTITY) != 0 || room < PSK_LEN)
		return 0;
	memcpy(key, socket_psk, PSK_LEN);
	return PSK_LEN;
}

static bool wolfssl_init(void)
{
	if (wolfSSL_Init() != WOLFSSL_SUCCESS)
		return false;
	ctx = wolfSSL_CTX_new(wolfDTLSv1_2_server_method());
	if (!ctx || wolfSSL_CTX_set_cipher_list(ctx, "PSK-AES128-CCM-8") != WOLFSSL_SUCCESS)
		return false;
	wolfSSL_CTX_set_psk_server_callback(ctx, find_psk);
	wolfSSL_CTX_SetIORecv(ctx, receive_one);
	wolfSSL_CTX_SetIOSend(ctx, send_one);
	return true;
}

static void wolfssl_fini(void)
{
	wolfSSL_CTX_free(ctx);
}

static void *wolfssl_session_new(void)
{
	unsigned char address[16] = {1};
	WOLFSSL *ssl = wolfSSL_new(ctx);

	if (!ssl)
		return NULL;
	wolfSSL_dtls_set_using_nonblock(ssl, 1);
	wolfSSL_dtls_set_peer(ssl, address, sizeof address);
	return ssl;
}

static void wolfssl_session_free(void *session)
{
	wolfSSL_free(session);
}

static enum shake_state wolfssl_shake(void *session)
{
	if (wolfSSL_accept(session) == WOLFSSL_SUCCESS)
		return SHAKE_DONE;
	return wolfSSL_get_error(session, 0) == WOLFSSL_ERROR_WANT_READ ? SHAKE_GOES_ON : SHAKE_FAILED;
}

static size_t wolfssl_open(void *session, uint8_t *room, size_t len)
{
	int n = wolfSSL_read(session, room, (int)len);

	return n > 0 ? (size_t)n : 0;
}

static const char *wolfssl_version(void)
{
	return LIBWOLFSSL_VERSION_STRING;
}

const struct socket_library library_wolfssl = {
	.name = "wolfSSL",
	.version = wolfssl_version,
	.init = wolfssl_init,
	.fini = wolfssl_fini,
	.session_new = wolfssl_session_new,
	.session_free = wolfssl_session_free,
	.shake = wolfssl_shake,
	.open = wolfssl_open,
};
