/* A session in Mbed TLS. */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>

#include <stdlib.h>
#include <string.h>

#include "bench/sockets/sockets.h"

struct session {
	mbedtls_ssl_context ssl;
	bool timer_runs;
};

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_bytes;
static mbedtls_ssl_config config;

static int send_one(void *context, const unsigned char *bytes, size_t len)
{
	(void)context;
	peer_queue_add(&wire.out, bytes, len);
	return (int)len;
}

static int receive_one(void *context, unsigned char *room, size_t len)
{
	size_t n = wire.in_len < len ? wire.in_len : len;

	(void)context;
	if (!wire.in)
		return MBEDTLS_ERR_SSL_WANT_READ;
	memcpy(room, wire.in, n);
	wire.in = NULL;
	return (int)n;
}

/* The way loses nothing: a timer may be set, and never fires. */
static void timer_set(void *context, uint32_t middle_ms, uint32_t end_ms)
{
	struct session *s = context;

	(void)middle_ms;
	s->timer_runs = end_ms != 0;
}

static int timer_get(void *context)
{
	const struct session *s = context;

	return s->timer_runs ? 0 : -1;
}

static bool mbedtls_init(void)
{
	static const int suites[] = {MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8, 0};

	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random_bytes);
	mbedtls_ssl_config_init(&config);
	if (mbedtls_ctr_drbg_seed(&random_bytes, mbedtls_entropy_func, &entropy, NULL, 0) != 0 ||
	    mbedtls_ssl_config_defaults(&config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
					MBEDTLS_SSL_PRESET_DEFAULT) != 0)
		return false;
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random_bytes);
	mbedtls_ssl_conf_ciphersuites(&config, suites);
	mbedtls_ssl_conf_dtls_cookies(&config, NULL, NULL, NULL);
	return mbedtls_ssl_conf_psk(&config, socket_psk, PSK_LEN, (const unsigned char *)PSK_IDENTITY,
				    strlen(PSK_IDENTITY)) == 0;
}

static void mbedtls_fini(void)
{
	mbedtls_ssl_config_free(&config);
	mbedtls_ctr_drbg_free(&random_bytes);
	mbedtls_entropy_free(&entropy);
}

static void mbedtls_session_free(void *session)
{
	struct session *s = session;

	mbedtls_ssl_free(&s->ssl);
	free(s);
}

static void *mbedtls_session_new(void)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	mbedtls_ssl_init(&s->ssl);
	if (mbedtls_ssl_setup(&s->ssl, &config) != 0) {
		mbedtls_session_free(s);
		return NULL;
	}
	mbedtls_ssl_set_bio(&s->ssl, s, send_one, receive_one, NULL);
	mbedtls_ssl_set_timer_cb(&s->ssl, s, timer_set, timer_get);
	return s;
}

static enum shake_state mbedtls_shake(void *session)
{
	struct session *s = session;
	int ret = mbedtls_ssl_handshake(&s->ssl);

	if (ret == 0)
		return SHAKE_DONE;
	return ret == MBEDTLS_ERR_SSL_WANT_READ ? SHAKE_GOES_ON : SHAKE_FAILED;
}

static size_t mbedtls_open(void *session, uint8_t *room, size_t len)
{
	struct session *s = session;
	int n = mbedtls_ssl_read(&s->ssl, room, len);

	return n > 0 ? (size_t)n : 0;
}

static const char *mbedtls_version(void)
{
	return MBEDTLS_VERSION_STRING;
}

const struct socket_library library_mbedtls = {
	.name = "Mbed TLS",
	.version = mbedtls_version,
	.init = mbedtls_init,
	.fini = mbedtls_fini,
	.session_new = mbedtls_session_new,
	.session_free = mbedtls_session_free,
	.shake = mbedtls_shake,
	.open = mbedtls_open,
};
