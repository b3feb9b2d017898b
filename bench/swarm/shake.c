/* Handshakes in flight: a wolfSSL client each, fed with datagrams from memory. When it is done its keys move
 * into the device and the object is freed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/ssl.h>

#include "bench/swarm/transport.h"

enum { FIRST_TIMEOUT_MS = 1000, LAST_TIMEOUT_MS = 16000 };

struct shake {
	WOLFSSL *ssl;
	uint32_t device;
	uint64_t started_ns, resend_ns;
	uint32_t timeout_ms;
	uint64_t tx_next;  /* of epoch 1, read from what wolfSSL sends */
	const uint8_t *in; /* the datagram that wolfSSL may read now */
	size_t in_len;
	struct swarm *swarm;
};

struct shakes {
	WOLFSSL_CTX *ctx;
	struct shake *all; /* [0, in_flight) are in use */
	uint32_t in_flight;
	uint32_t *of_device; /* index in all, UINT32_MAX: none */
};

static int take_datagram(WOLFSSL *ssl, char *buffer, int room, void *ctx)
{
	struct shake *h = ctx;
	int len = (int)h->in_len;

	(void)ssl;
	if (!h->in || len > room)
		return WOLFSSL_CBIO_ERR_WANT_READ;
	memcpy(buffer, h->in, h->in_len);
	h->in = NULL;
	return len;
}

/* Also learns the sequence numbers of epoch 1, which wolfSSL does not tell. */
static int give_datagram(WOLFSSL *ssl, char *bytes, int len, void *ctx)
{
	struct shake *h = ctx;
	enum record_verdict verdict;
	struct record r;
	size_t used, at = 0;

	(void)ssl;
	while (at < (size_t)len &&
	       (used = record_read((const uint8_t *)bytes + at, (size_t)len - at, &r, &verdict)) != 0) {
		if (r.epoch_seq >> 48 == 1 && r.epoch_seq >= h->tx_next)
			h->tx_next = r.epoch_seq + 1;
		at += used;
	}
	swarm_send(h->swarm, h->device, bytes, (size_t)len);
	return len;
}

static unsigned int psk_client(WOLFSSL *ssl, const char *hint, char *identity, unsigned int identity_room,
			       unsigned char *key, unsigned int key_room)
{
	const struct shake *h = wolfSSL_get_psk_callback_ctx(ssl);

	(void)hint;
	if (key_room < 16)
		return 0;
	device_identity(h->swarm, h->device, identity, identity_room);
	device_key(h->swarm, h->device, key);
	return 16;
}

static bool load_files(WOLFSSL_CTX *ctx, const struct swarm_options *o, char *error, size_t error_len)
{
	const char *failed = NULL;

	wolfSSL_CTX_set_verify(ctx, o->ca ? WOLFSSL_VERIFY_PEER : WOLFSSL_VERIFY_NONE, NULL);
	if (o->ca && wolfSSL_CTX_load_verify_locations(ctx, o->ca, NULL) != WOLFSSL_SUCCESS)
		failed = o->ca;
	if (o->certificate && wolfSSL_CTX_use_certificate_chain_file(ctx, o->certificate) != WOLFSSL_SUCCESS)
		failed = o->certificate;
	if (o->key && wolfSSL_CTX_use_PrivateKey_file(ctx, o->key, WOLFSSL_FILETYPE_PEM) != WOLFSSL_SUCCESS)
		failed = o->key;
	if (failed)
		snprintf(error, error_len, "%s: not readable as PEM", failed);
	return !failed;
}

struct shakes *shakes_new(struct swarm *s, char *error, size_t error_len)
{
	const struct suite *suite = suite_by_name(s->options.suite);
	struct shakes *k = calloc(1, sizeof(*k));

	if (!k || !suite || suite->protection != PROTECTION_AES_128_CCM_8) {
		snprintf(error, error_len,
			 "--suite %s: TLS_PSK_WITH_AES_128_CCM_8 or TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8",
			 s->options.suite);
		free(k);
		return NULL;
	}
	k->all = calloc(s->options.handshake_flight, sizeof(*k->all));
	k->of_device = malloc(sizeof(*k->of_device) * s->options.devices);
	k->ctx = wolfSSL_CTX_new(wolfDTLSv1_2_client_method());
	if (!k->all || !k->of_device || !k->ctx ||
	    wolfSSL_CTX_set_cipher_list(k->ctx, suite->wolfssl_name) != WOLFSSL_SUCCESS) {
		snprintf(error, error_len, "no memory for %u handshakes at a time",
			 s->options.handshake_flight);
		shakes_free(k);
		return NULL;
	}
	memset(k->of_device, 0xff, sizeof(*k->of_device) * s->options.devices);
	if (!load_files(k->ctx, &s->options, error, error_len)) {
		shakes_free(k);
		return NULL;
	}
	if (suite->credential == SUITE_PSK)
		wolfSSL_CTX_set_psk_client_callback(k->ctx, psk_client);
	wolfSSL_CTX_set_group_messages(k->ctx);
	wolfSSL_CTX_SetIORecv(k->ctx, take_datagram);
	wolfSSL_CTX_SetIOSend(k->ctx, give_datagram);
	return k;
}

void shakes_free(struct shakes *k)
{
	if (!k)
		return;
	for (uint32_t i = 0; i < k->in_flight; i++)
		wolfSSL_free(k->all[i].ssl);
	wolfSSL_CTX_free(k->ctx);
	free(k->all);
	free(k->of_device);
	free(k);
}

uint32_t shakes_in_flight(const struct shakes *k)
{
	return k->in_flight;
}

static void end(struct shakes *k, uint32_t i)
{
	k->of_device[k->all[i].device] = UINT32_MAX;
	wolfSSL_free(k->all[i].ssl);
	if (i != --k->in_flight) {
		k->all[i] = k->all[k->in_flight];
		k->of_device[k->all[i].device] = i;
		wolfSSL_SetIOReadCtx(k->all[i].ssl, &k->all[i]);
		wolfSSL_SetIOWriteCtx(k->all[i].ssl, &k->all[i]);
		wolfSSL_set_psk_callback_ctx(k->all[i].ssl, &k->all[i]);
	}
}

static void take_keys(struct swarm *s, const struct shake *h)
{
	struct device *d = &s->devices[h->device];
	unsigned int cid_len = 0;

	memcpy(d->tx.key, wolfSSL_GetClientWriteKey(h->ssl), sizeof(d->tx.key));
	memcpy(d->tx.salt, wolfSSL_GetClientWriteIV(h->ssl), sizeof(d->tx.salt));
	memcpy(d->rx.key, wolfSSL_GetServerWriteKey(h->ssl), sizeof(d->rx.key));
	memcpy(d->rx.salt, wolfSSL_GetServerWriteIV(h->ssl), sizeof(d->rx.salt));
	d->tx_next = h->tx_next;
	d->window = (struct replay_window){.highest = 1, .seen = 1}; /* its Finished */
	d->cid_len = 0;
	if (wolfSSL_dtls_cid_is_enabled(h->ssl) &&
	    wolfSSL_dtls_cid_get_tx_size(h->ssl, &cid_len) == WOLFSSL_SUCCESS && cid_len > 0 &&
	    cid_len <= sizeof(d->cid) &&
	    wolfSSL_dtls_cid_get_tx(h->ssl, d->cid, sizeof(d->cid)) == WOLFSSL_SUCCESS)
		d->cid_len = (uint8_t)cid_len;
}

/* Lets wolfSSL go as far as it can. */
static void go_on(struct swarm *s, uint32_t i, uint64_t now_ns)
{
	struct shakes *k = s->shakes;
	struct shake *h = &k->all[i];
	uint32_t device = h->device;
	int err;

	if (wolfSSL_connect(h->ssl) == WOLFSSL_SUCCESS) {
		take_keys(s, h);
		histogram_add(&s->handshake_ns, now_ns - h->started_ns);
		s->counts.handshakes_done++;
		end(k, i);
		device_ready(s, device, now_ns);
		return;
	}
	err = wolfSSL_get_error(h->ssl, 0);
	if (err == WOLFSSL_ERROR_WANT_READ || err == WOLFSSL_ERROR_WANT_WRITE)
		return;
	s->counts.handshakes_failed++;
	end(k, i);
	device_failed(s, device);
}

bool shake_start(struct swarm *s, uint32_t device, uint64_t now_ns)
{
	struct shakes *k = s->shakes;
	struct shake *h = &k->all[k->in_flight];

	if (k->in_flight == s->options.handshake_flight)
		return false;
	*h = (struct shake){.device = device,
			    .started_ns = now_ns,
			    .timeout_ms = FIRST_TIMEOUT_MS,
			    .resend_ns = now_ns + FIRST_TIMEOUT_MS * 1000000ULL,
			    .swarm = s};
	h->ssl = wolfSSL_new(k->ctx);
	if (!h->ssl)
		return false;
	wolfSSL_SetIOReadCtx(h->ssl, h);
	wolfSSL_SetIOWriteCtx(h->ssl, h);
	wolfSSL_set_psk_callback_ctx(h->ssl, h);
	wolfSSL_dtls_set_using_nonblock(h->ssl, 1);
	if (s->options.sni)
		wolfSSL_UseSNI(h->ssl, WOLFSSL_SNI_HOST_NAME, s->options.sni,
			       (unsigned short)strlen(s->options.sni));
	if (s->options.cid && (wolfSSL_dtls_cid_use(h->ssl) != WOLFSSL_SUCCESS ||
			       wolfSSL_dtls_cid_set(h->ssl, NULL, 0) != WOLFSSL_SUCCESS)) {
		wolfSSL_free(h->ssl);
		return false;
	}
	k->of_device[device] = k->in_flight++;
	s->devices[device].state = DEVICE_SHAKING;
	s->counts.handshakes_started++;
	go_on(s, k->in_flight - 1, now_ns);
	return true;
}

void shake_receive(struct swarm *s, uint32_t device, const uint8_t *bytes, size_t len, uint64_t now_ns)
{
	uint32_t i = s->shakes->of_device[device];

	if (i == UINT32_MAX)
		return;
	s->shakes->all[i].in = bytes;
	s->shakes->all[i].in_len = len;
	go_on(s, i, now_ns);
	i = s->shakes->of_device[device];
	if (i != UINT32_MAX)
		s->shakes->all[i].in = NULL;
}

void shakes_tick(struct swarm *s, uint64_t now_ns)
{
	struct shakes *k = s->shakes;

	for (uint32_t i = 0; i < k->in_flight; i++) {
		struct shake *h = &k->all[i];
		uint32_t device = h->device;

		if (now_ns - h->started_ns > s->options.handshake_timeout_s * 1000000000ULL) {
			s->counts.handshakes_given_up++;
			end(k, i--);
			device_failed(s, device);
		} else if (now_ns >= h->resend_ns) { /* RFC 6347 4.2.4.1 */
			h->timeout_ms = h->timeout_ms < LAST_TIMEOUT_MS ? 2 * h->timeout_ms : h->timeout_ms;
			h->resend_ns = now_ns + h->timeout_ms * 1000000ULL;
			(void)wolfSSL_dtls_got_timeout(h->ssl);
		}
	}
}
