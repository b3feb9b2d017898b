/* A client made of wolfSSL, with connection IDs. */
#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/peer.h"

struct peer {
	WOLFSSL_CTX *ctx;
	WOLFSSL *ssl;
	const struct peer_options *options;
	struct peer_queue in, out;
	bool connected;
};

static int receive_one(WOLFSSL *ssl, char *room, int len, void *context)
{
	struct peer *p = context;
	size_t n;

	if (p->in.first && p->in.first->len > (size_t)len) /* as a socket would: cut */
		p->in.first->len = (size_t)len;
	n = peer_queue_take(&p->in, room, (size_t)len);
	return n ? (int)n : WOLFSSL_CBIO_ERR_WANT_READ;
}

static int send_one(WOLFSSL *ssl, char *bytes, int len, void *context)
{
	struct peer *p = context;

	peer_queue_add(&p->out, bytes, (size_t)len);
	return len;
}

static unsigned int give_psk(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_room,
			     unsigned char *key, unsigned int key_room)
{
	const struct peer *p = wolfSSL_GetIOReadCtx(ssl);

	assert(strlen(p->options->psk_identity) < identity_room && p->options->psk_len <= key_room);
	strcpy(identity, p->options->psk_identity);
	memcpy(key, p->options->psk, p->options->psk_len);
	return (unsigned int)p->options->psk_len;
}

static int take_any(int verified, WOLFSSL_X509_STORE_CTX *store)
{
	return 1;
}

static void set_raw_key(WOLFSSL_CTX *ctx, const struct peer_options *o)
{
	const char raw = WOLFSSL_CERT_TYPE_RPK;

	assert(wolfSSL_CTX_use_certificate_buffer(ctx, o->raw_info, (long)o->raw_info_len,
						  WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS);
	assert(wolfSSL_CTX_use_PrivateKey_file(ctx, o->raw_key, WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS);
	assert(wolfSSL_CTX_set_client_cert_type(ctx, &raw, 1) == WOLFSSL_SUCCESS);
}

static void set_server_types(WOLFSSL_CTX *ctx, const char *types)
{
	char numbers[2];
	int count = (int)strlen(types);

	for (int i = 0; i < count && i < 2; i++)
		numbers[i] = types[i] == 'r' ? WOLFSSL_CERT_TYPE_RPK : WOLFSSL_CERT_TYPE_X509;
	assert(wolfSSL_CTX_set_server_cert_type(ctx, numbers, count) == WOLFSSL_SUCCESS);
	wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_PEER, take_any);
}

static void set_credentials(WOLFSSL_CTX *ctx, const struct peer_options *o)
{
	if (o->psk_identity)
		wolfSSL_CTX_set_psk_client_callback(ctx, give_psk);
	if (o->ca)
		assert(wolfSSL_CTX_load_verify_locations(ctx, o->ca, NULL) == WOLFSSL_SUCCESS);
	if (o->certificate) {
		assert(wolfSSL_CTX_use_certificate_chain_file(ctx, o->certificate) == WOLFSSL_SUCCESS);
		assert(wolfSSL_CTX_use_PrivateKey_file(ctx, o->key, WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS);
	}
	if (o->raw_key)
		set_raw_key(ctx, o);
	if (o->server_types)
		set_server_types(ctx, o->server_types);
	assert(wolfSSL_CTX_set_cipher_list(ctx, o->ciphers) == WOLFSSL_SUCCESS);
	if (o->without_ems)
		assert(wolfSSL_CTX_DisableExtendedMasterSecret(ctx) == WOLFSSL_SUCCESS);
}

static void set_up(WOLFSSL *ssl, struct peer *p)
{
	const struct peer_options *o = p->options;
	unsigned char address[18] = {1};

	wolfSSL_SSLSetIORecv(ssl, receive_one);
	wolfSSL_SSLSetIOSend(ssl, send_one);
	wolfSSL_SetIOReadCtx(ssl, p);
	wolfSSL_SetIOWriteCtx(ssl, p);
	wolfSSL_dtls_set_using_nonblock(ssl, 1);
	wolfSSL_dtls_set_peer(ssl, address, sizeof address);
	if (o->mtu)
		assert(wolfSSL_dtls_set_mtu(ssl, (unsigned short)o->mtu) == WOLFSSL_SUCCESS);
	if (o->without_etm)
		wolfSSL_AllowEncryptThenMac(ssl, 0);
	if (o->server_name)
		assert(wolfSSL_UseSNI(ssl, WOLFSSL_SNI_HOST_NAME, o->server_name,
				      (unsigned short)strlen(o->server_name)) == WOLFSSL_SUCCESS);
	if (o->use_cid) {
		assert(wolfSSL_dtls_cid_use(ssl) == WOLFSSL_SUCCESS);
		assert(wolfSSL_dtls_cid_set(ssl, (unsigned char *)o->cid, (unsigned)o->cid_len) ==
		       WOLFSSL_SUCCESS);
	}
}

static struct peer *wolfssl_new(const struct peer_options *options)
{
	struct peer *p = calloc(1, sizeof *p);

	assert(p);
	p->options = options;
	p->ctx = wolfSSL_CTX_new(wolfDTLSv1_2_client_method());
	assert(p->ctx);
	set_credentials(p->ctx, options);
	p->ssl = wolfSSL_new(p->ctx);
	assert(p->ssl);
	set_up(p->ssl, p);
	return p;
}

static void wolfssl_free(struct peer *p)
{
	wolfSSL_free(p->ssl);
	wolfSSL_CTX_free(p->ctx);
	peer_queue_clear(&p->in);
	peer_queue_clear(&p->out);
	free(p);
}

static enum peer_state wolfssl_run(struct peer *p, const uint8_t *datagram, size_t len)
{
	int ret;

	if (datagram)
		peer_queue_add(&p->in, datagram, len);
	if (p->connected)
		return PEER_CONNECTED;
	ret = wolfSSL_connect(p->ssl);
	if (ret == WOLFSSL_SUCCESS) {
		p->connected = true;
		return PEER_CONNECTED;
	}
	ret = wolfSSL_get_error(p->ssl, ret);
	return ret == WOLFSSL_ERROR_WANT_READ ? PEER_GOES_ON : PEER_FAILED;
}

static void wolfssl_timeout(struct peer *p)
{
	(void)wolfSSL_dtls_got_timeout(p->ssl);
}

static bool wolfssl_write(struct peer *p, const void *data, size_t len)
{
	return wolfSSL_write(p->ssl, data, (int)len) == (int)len;
}

static size_t wolfssl_read(struct peer *p, void *room, size_t len)
{
	int n = wolfSSL_read(p->ssl, room, (int)len);

	return n > 0 ? (size_t)n : 0;
}

static size_t wolfssl_take(struct peer *p, uint8_t *out)
{
	return peer_queue_take(&p->out, out, PEER_DATAGRAM_MAX);
}

static void wolfssl_close(struct peer *p)
{
	(void)wolfSSL_shutdown(p->ssl);
}

const struct peer_kind peer_wolfssl = {.name = "wolfSSL",
				       .new = wolfssl_new,
				       .free = wolfssl_free,
				       .run = wolfssl_run,
				       .timeout = wolfssl_timeout,
				       .write = wolfssl_write,
				       .read = wolfssl_read,
				       .take = wolfssl_take,
				       .close = wolfssl_close};
