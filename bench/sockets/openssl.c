/* A session in OpenSSL: an SSL object over a BIO of our own, which is cheaper than its memory and datagram
 * BIOs. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <string.h>

#include "bench/sockets/sockets.h"

static SSL_CTX *ctx;
static BIO_METHOD *method;

static int bio_write(BIO *bio, const char *bytes, int len)
{
	(void)bio;
	peer_queue_add(&wire.out, bytes, (size_t)len);
	return len;
}

static int bio_read(BIO *bio, char *room, int len)
{
	int n = wire.in_len < (size_t)len ? (int)wire.in_len : len;

	BIO_clear_retry_flags(bio);
	if (!wire.in) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(room, wire.in, (size_t)n);
	wire.in = NULL;
	return n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)bio, (void)number, (void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_DGRAM_QUERY_MTU:
	case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
		return 1400;
	default:
		return 0;
	}
}

static unsigned int find_psk(SSL *ssl, const char *identity, unsigned char *key, unsigned int room)
{
	(void)ssl;
	if (strcmp(identity, PSK_IDENTITY) != 0 || room < PSK_LEN)
		return 0;
	memcpy(key, socket_psk, PSK_LEN);
	return PSK_LEN;
}

static bool openssl_init(void)
{
	ctx = SSL_CTX_new(DTLS_server_method());
	method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "datagrams");
	if (!ctx || !method)
		return false;
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_ctrl(method, bio_ctrl);
	SSL_CTX_set_security_level(ctx, 0); /* it counts CCM_8 as 64 bits */
	SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU | SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_psk_server_callback(ctx, find_psk);
	return SSL_CTX_set_min_proto_version(ctx, DTLS1_2_VERSION) &&
	       SSL_CTX_set_cipher_list(ctx, "PSK-AES128-CCM8");
}

static void openssl_fini(void)
{
	SSL_CTX_free(ctx);
	BIO_meth_free(method);
}

static void *openssl_session_new(void)
{
	SSL *ssl = SSL_new(ctx);
	BIO *bio = ssl ? BIO_new(method) : NULL;

	if (!bio) {
		SSL_free(ssl);
		return NULL;
	}
	BIO_set_init(bio, 1);
	SSL_set_bio(ssl, bio, bio);
	SSL_set_mtu(ssl, 1400);
	SSL_set_accept_state(ssl);
	return ssl;
}

static void openssl_session_free(void *session)
{
	SSL_free(session);
}

static enum shake_state openssl_shake(void *session)
{
	int ret;

	ERR_clear_error();
	ret = SSL_do_handshake(session);
	if (ret == 1)
		return SHAKE_DONE;
	return SSL_get_error(session, ret) == SSL_ERROR_WANT_READ ? SHAKE_GOES_ON : SHAKE_FAILED;
}

static size_t openssl_open(void *session, uint8_t *room, size_t len)
{
	int n = SSL_read(session, room, (int)len);

	return n > 0 ? (size_t)n : 0;
}

static const char *openssl_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION_STRING);
}

const struct socket_library library_openssl = {
	.name = "OpenSSL",
	.version = openssl_version,
	.init = openssl_init,
	.fini = openssl_fini,
	.session_new = openssl_session_new,
	.session_free = openssl_session_free,
	.shake = openssl_shake,
	.open = openssl_open,
};
