/* A client made of OpenSSL. Its timers run on the real clock: they are set to 20 ms. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/peer.h"

enum { TIMER_US = 20000, MTU_DEFAULT = 1400 };

struct peer {
	SSL_CTX *ctx;
	SSL *ssl;
	const struct peer_options *options;
	struct peer_queue in, out;
	bool connected;
};

/* ---- a BIO that keeps datagrams apart */

static int bio_write(BIO *bio, const char *bytes, int len)
{
	struct peer *p = BIO_get_data(bio);

	peer_queue_add(&p->out, bytes, (size_t)len);
	return len;
}

static int bio_read(BIO *bio, char *room, int len)
{
	struct peer *p = BIO_get_data(bio);
	size_t n;

	BIO_clear_retry_flags(bio);
	if (p->in.first && p->in.first->len > (size_t)len)
		p->in.first->len = (size_t)len;
	n = peer_queue_take(&p->in, room, (size_t)len);
	if (n == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	const struct peer *p = BIO_get_data(bio);

	switch (command) {
	case BIO_CTRL_FLUSH:
	case BIO_CTRL_DUP:
		return 1;
	case BIO_CTRL_DGRAM_QUERY_MTU:
	case BIO_CTRL_DGRAM_GET_FALLBACK_MTU:
		return p->options->mtu ? p->options->mtu : MTU_DEFAULT;
	case BIO_CTRL_DGRAM_GET_MTU_OVERHEAD:
		return 0;
	default:
		return 0;
	}
}

static BIO *bio_new(struct peer *p)
{
	static BIO_METHOD *method;
	BIO *bio;

	if (!method) {
		method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "datagrams");
		BIO_meth_set_write(method, bio_write);
		BIO_meth_set_read(method, bio_read);
		BIO_meth_set_ctrl(method, bio_ctrl);
	}
	bio = BIO_new(method);
	assert(bio);
	BIO_set_data(bio, p);
	BIO_set_init(bio, 1);
	return bio;
}

/* ---- the client */

static unsigned int timer(SSL *ssl, unsigned int before_us)
{
	return TIMER_US;
}

static unsigned int give_psk(SSL *ssl, const char *hint, char *identity, unsigned int identity_room,
			     unsigned char *key, unsigned int key_room)
{
	const struct peer *p = SSL_get_app_data(ssl);

	assert(strlen(p->options->psk_identity) < identity_room && p->options->psk_len <= key_room);
	strcpy(identity, p->options->psk_identity);
	memcpy(key, p->options->psk, p->options->psk_len);
	return (unsigned int)p->options->psk_len;
}

/* wolfSSL's names, but for one hyphen. */
static void set_ciphers(SSL_CTX *ctx, const char *ciphers)
{
	char names[512];
	char *at;

	assert(strlen(ciphers) < sizeof names);
	strcpy(names, ciphers);
	while ((at = strstr(names, "CCM-8")))
		memmove(at + 3, at + 4, strlen(at + 4) + 1);
	assert(SSL_CTX_set_cipher_list(ctx, names));
}

static void set_credentials(SSL_CTX *ctx, const struct peer_options *o)
{
	SSL_CTX_set_security_level(ctx, 0);
	assert(SSL_CTX_set_min_proto_version(ctx, o->dtls_1_0 ? DTLS1_VERSION : DTLS1_2_VERSION));
	assert(SSL_CTX_set_max_proto_version(ctx, o->dtls_1_0 ? DTLS1_VERSION : DTLS1_2_VERSION));
	set_ciphers(ctx, o->ciphers);
	if (o->psk_identity)
		SSL_CTX_set_psk_client_callback(ctx, give_psk);
	if (o->ca) {
		assert(SSL_CTX_load_verify_locations(ctx, o->ca, NULL));
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	}
	if (o->certificate) {
		assert(SSL_CTX_use_certificate_chain_file(ctx, o->certificate));
		assert(SSL_CTX_use_PrivateKey_file(ctx, o->key, SSL_FILETYPE_PEM));
	}
	if (o->signature_algorithms)
		assert(SSL_CTX_set1_sigalgs_list(ctx, o->signature_algorithms));
	if (o->groups)
		assert(SSL_CTX_set1_groups_list(ctx, o->groups));
	if (o->without_ems)
		SSL_CTX_set_options(ctx, SSL_OP_NO_EXTENDED_MASTER_SECRET);
	if (o->without_etm)
		SSL_CTX_set_options(ctx, SSL_OP_NO_ENCRYPT_THEN_MAC);
}

static struct peer *openssl_new(const struct peer_options *options)
{
	struct peer *p = calloc(1, sizeof *p);
	BIO *bio;

	assert(p);
	p->options = options;
	p->ctx = SSL_CTX_new(DTLS_client_method());
	assert(p->ctx);
	set_credentials(p->ctx, options);
	p->ssl = SSL_new(p->ctx);
	assert(p->ssl);
	SSL_set_app_data(p->ssl, p);
	bio = bio_new(p);
	SSL_set_bio(p->ssl, bio, bio);
	DTLS_set_timer_cb(p->ssl, timer);
	SSL_set_options(p->ssl, SSL_OP_NO_QUERY_MTU);
	SSL_set_mtu(p->ssl, options->mtu ? options->mtu : MTU_DEFAULT);
	if (options->server_name)
		assert(SSL_set_tlsext_host_name(p->ssl, options->server_name));
	SSL_set_connect_state(p->ssl);
	return p;
}

static void openssl_free(struct peer *p)
{
	SSL_free(p->ssl);
	SSL_CTX_free(p->ctx);
	peer_queue_clear(&p->in);
	peer_queue_clear(&p->out);
	free(p);
}

static enum peer_state openssl_run(struct peer *p, const uint8_t *datagram, size_t len)
{
	int ret;

	if (datagram)
		peer_queue_add(&p->in, datagram, len);
	if (p->connected)
		return PEER_CONNECTED;
	ERR_clear_error();
	ret = SSL_do_handshake(p->ssl);
	if (ret == 1) {
		p->connected = true;
		return PEER_CONNECTED;
	}
	if (SSL_get_error(p->ssl, ret) == SSL_ERROR_WANT_READ)
		return PEER_GOES_ON;
	if (getenv("PEER_ERRORS"))
		ERR_print_errors_fp(stderr);
	return PEER_FAILED;
}

static void openssl_timeout(struct peer *p)
{
	usleep(TIMER_US + 1000);
	(void)DTLSv1_handle_timeout(p->ssl);
}

static bool openssl_write(struct peer *p, const void *data, size_t len)
{
	return SSL_write(p->ssl, data, (int)len) == (int)len;
}

static size_t openssl_read(struct peer *p, void *room, size_t len)
{
	int n = SSL_read(p->ssl, room, (int)len);

	return n > 0 ? (size_t)n : 0;
}

static size_t openssl_take(struct peer *p, uint8_t *out)
{
	return peer_queue_take(&p->out, out, PEER_DATAGRAM_MAX);
}

static void openssl_close(struct peer *p)
{
	(void)SSL_shutdown(p->ssl);
}

static bool openssl_export(struct peer *p, const char *label, uint8_t *out, size_t len)
{
	return SSL_export_keying_material(p->ssl, out, len, label, strlen(label), NULL, 0, 0) == 1;
}

const struct peer_kind peer_openssl = {.name = "OpenSSL",
				       .new = openssl_new,
				       .free = openssl_free,
				       .run = openssl_run,
				       .timeout = openssl_timeout,
				       .write = openssl_write,
				       .read = openssl_read,
				       .take = openssl_take,
				       .close = openssl_close,
				       .export = openssl_export};
