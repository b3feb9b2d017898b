/* See tls.h. */
#include "controlplane/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/dh.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "controlplane/certificate.h"
#include "controlplane/chain.h"
#include "controlplane/errand.h"
#include "controlplane/handshake.h"
#include "controlplane/lists.h"
#include "controlplane/log.h"
#include "controlplane/ni.h"
#include "controlplane/ocsp.h"
#include "controlplane/raw_key.h"
#include "controlplane/staple.h"

enum { ECC_BITS_MIN = 256, RSA_BITS_MIN = 2048, CIPHER_LIST_MAX = 1024 };

#define SECOND_NS 1000000000ULL

static const struct {
	int error;
	enum refusal_cause cause;
	const char *text;
} error_texts[] = {
	{ASN_NO_SIGNER_E, REFUSED_UNKNOWN_ROOT, "the client's certificate chain ends at an unknown root"},
	{ASN_SELF_SIGNED_E, REFUSED_UNKNOWN_ROOT, "the client's certificate is self-signed and not trusted"},
	{ASN_AFTER_DATE_E, REFUSED_EXPIRED, "the client's certificate has expired"},
	{ASN_BEFORE_DATE_E, REFUSED_NOT_YET_VALID, "the client's certificate is not valid yet"},
	{ASN_SIG_CONFIRM_E, REFUSED_CERTIFICATE_BAD,
	 "a signature in the client's certificate chain is wrong"},
	{ASN_SIG_HASH_E, REFUSED_SIGNATURE_SHA1,
	 "the client's certificate is signed with a hash that is not enabled"},
	{ASN_SIG_KEY_E, REFUSED_CERTIFICATE_KEY,
	 "the client's certificate has a key of a kind that is not enabled"},
	{EXTKEYUSE_AUTH_E, REFUSED_CERTIFICATE_USE,
	 "the client's certificate is not meant for clients (extended key usage)"},
	{EXTKEYUSAGE_E, REFUSED_CERTIFICATE_USE,
	 "the client's certificate is not meant for clients (extended key usage)"},
	{NO_PEER_CERT, REFUSED_NO_CERTIFICATE, "the client sent no certificate, and one is required"},
	{NO_PEER_VERIFY, REFUSED_NO_PROOF, "the client did not prove that it has its certificate's key"},
	{SIG_VERIFY_E, REFUSED_NO_PROOF,
	 "the client's signature is wrong: it does not have its certificate's key"},
	{VERIFY_CERT_ERROR, REFUSED_CERTIFICATE_BAD, "the client's certificate was refused"},
	{VERIFY_FINISHED_ERROR, REFUSED_WRONG_KEY, "the client's Finished does not match the handshake"},
	{ECC_KEY_SIZE_E, REFUSED_CERTIFICATE_KEY, "the client's key is shorter than 256 bits"},
	{RSA_KEY_SIZE_E, REFUSED_CERTIFICATE_KEY, "the client's RSA key is shorter than 2048 bits"},
	{MATCH_SUITE_ERROR, REFUSED_SUITE_NOT_ENABLED, "no cipher suite in common"},
	{ECC_PEERKEY_ERROR, REFUSED_MALFORMED, "the client's public value is not a point on the curve"},
	{CLIENT_ID_ERROR, REFUSED_PSK_IDENTITY, "the PSK identity is longer than 128 bytes"},
	{PSK_KEY_ERROR, REFUSED_PSK_UNKNOWN, "no usable key for the PSK identity"},
	{OUT_OF_ORDER_E, REFUSED_MALFORMED, "handshake messages in a wrong order"},
	{DUPLICATE_MSG_E, REFUSED_MALFORMED, "a handshake message came twice"},
	{BUFFER_ERROR, REFUSED_MALFORMED, "a malformed handshake message"},
	{HANDSHAKE_SIZE_ERROR, REFUSED_MALFORMED, "a handshake message is too long"},
};

enum refusal_cause tls_error_cause(int wolfssl_error)
{
	for (size_t i = 0; i < sizeof error_texts / sizeof error_texts[0]; i++) {
		if (error_texts[i].error == wolfssl_error)
			return error_texts[i].cause;
	}
	return REFUSED_MALFORMED;
}

const char *tls_error_text(int wolfssl_error)
{
	for (size_t i = 0; i < sizeof error_texts / sizeof error_texts[0]; i++) {
		if (error_texts[i].error == wolfssl_error)
			return error_texts[i].text;
	}
	return wolfSSL_ERR_reason_error_string((unsigned long)wolfssl_error);
}

/* Threads for files and for responders; they start when somebody needs them. */
enum { NETWORK_THREADS = 8 };
static struct errands *files, *network;
static int answers_fd = -1;
static unsigned users;

int tls_global_init(void)
{
	if (users++ > 0)
		return 0;
	chain_global_init();
	files = errands_new(1);
	network = errands_new(NETWORK_THREADS);
	answers_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return files && network && answers_fd >= 0 && wolfSSL_Init() == WOLFSSL_SUCCESS ? 0 : -ENOMEM;
}

void tls_global_fini(void)
{
	if (users == 0 || --users > 0)
		return;
	errands_free(files);
	errands_free(network);
	if (answers_fd >= 0)
		close(answers_fd);
	files = network = NULL;
	answers_fd = -1;
	wolfSSL_Cleanup();
}

int tls_answers_fd(void)
{
	return answers_fd;
}

/* ---- suites */

static bool suite_wanted(const struct config_tls *c, const struct suite *s, unsigned *place)
{
	if (c->suites_count == 0)
		return s->by_default;
	for (unsigned i = 0; i < c->suites_count; i++) {
		if (strcmp(c->suites[i], s->name) == 0) {
			*place = i;
			return true;
		}
	}
	return false;
}

static bool has_psk(const struct tls *t)
{
	return t->credentials.ops && (!t->tenant[0] || !t->credentials.default_only);
}

/* Suites without the credential that they need are left out: a listener without certificate never falls into
 * certificate mode, and one without keys never into PSK mode. */
static bool suite_possible(const struct tls *t, const struct config_tls *c, const struct suite *s)
{
	return s->credential == SUITE_PSK ? has_psk(t) : c->certificate || c->raw_key;
}

static void choose_suites(struct tls *t, const struct config_tls *c)
{
	const struct suite *by_place[TLS_SUITES_MAX] = {0};
	unsigned count, n = 0;
	const struct suite *all = suite_all(&count);

	for (unsigned i = 0; i < count && i < TLS_SUITES_MAX; i++) {
		unsigned place = i;

		if (suite_wanted(c, &all[i], &place) && suite_possible(t, c, &all[i]) &&
		    place < TLS_SUITES_MAX)
			by_place[place] = &all[i];
	}
	for (unsigned i = 0; i < TLS_SUITES_MAX; i++) {
		if (by_place[i])
			t->suites[n++] = by_place[i];
	}
	t->policy.suites = t->suites;
	t->policy.suites_count = n;
}

/* "tls.", "tenants.utility.": where the tenant's options stand in the configuration. */
struct place_text {
	char text[TENANT_MAX + 16];
};

static struct place_text place_of(const struct tls *t)
{
	struct place_text p;

	snprintf(p.text, sizeof p.text, "%s%s%s.", t->tenant[0] ? "tenants" : "tls", t->tenant[0] ? "." : "",
		 t->tenant);
	return p;
}

static int take_suites(const struct tls *t, WOLFSSL_CTX *ctx, char *error, size_t error_len)
{
	char list[CIPHER_LIST_MAX] = "";
	size_t used = 0;

	for (unsigned i = 0; i < t->policy.suites_count; i++) {
		const struct suite *s = t->suites[i];

		/* Each alone first: in a list wolfSSL passes over what it does not know. */
		if (wolfSSL_CTX_set_cipher_list(ctx, s->wolfssl_name) != WOLFSSL_SUCCESS) {
			snprintf(error, error_len, "%ssuites: this build of wolfSSL does not have %s",
				 place_of(t).text, s->name);
			return -ENOTSUP;
		}
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ":" : "",
					 s->wolfssl_name);
		if (used >= sizeof list) {
			snprintf(error, error_len, "%ssuites: too many", place_of(t).text);
			return -E2BIG;
		}
	}
	if (wolfSSL_CTX_set_cipher_list(ctx, list) != WOLFSSL_SUCCESS) {
		snprintf(error, error_len, "%ssuites: wolfSSL does not take %s", place_of(t).text, list);
		return -ENOTSUP;
	}
	return 0;
}

static int set_suites(struct tls *t, const struct config_tls *c, char *error, size_t error_len)
{
	int ret;

	choose_suites(t, c);
	if (t->policy.suites_count == 0) {
		snprintf(error, error_len,
			 "%ssuites: none of them can be used; those with pre-shared keys need a credential "
			 "store, those with certificates need %scertificate or %sraw_key",
			 place_of(t).text, place_of(t).text, place_of(t).text);
		return -EINVAL;
	}
	ret = take_suites(t, t->ctx, error, error_len);
	return ret == 0 && t->raw_ctx ? take_suites(t, t->raw_ctx, error, error_len) : ret;
}

/* ---- certificates */

static int load_certificate(struct tls *t, const struct config_tls *c, char *error, size_t error_len)
{
	int ret;

	if (!c->certificate)
		return 0;
	if (!c->key) {
		snprintf(error, error_len, "%skey is missing: the certificate needs it", place_of(t).text);
		return -EINVAL;
	}
	ret = wolfSSL_CTX_use_certificate_chain_file(t->ctx, c->certificate);
	if (ret != WOLFSSL_SUCCESS) {
		snprintf(error, error_len,
			 "%scertificate: %s cannot be used as a certificate chain in PEM: %s",
			 place_of(t).text, c->certificate,
			 wolfSSL_ERR_reason_error_string((unsigned long)ret));
		return -EINVAL;
	}
	ret = wolfSSL_CTX_use_PrivateKey_file(t->ctx, c->key, WOLFSSL_FILETYPE_PEM);
	if (ret != WOLFSSL_SUCCESS) {
		snprintf(error, error_len, "%skey: %s cannot be used as a private key in PEM: %s",
			 place_of(t).text, c->key, wolfSSL_ERR_reason_error_string((unsigned long)ret));
		return -EINVAL;
	}
	ret = certificate_file_curve(c->certificate);
	if (ret <= 0) {
		snprintf(error, error_len,
			 "%scertificate: the key in %s is not on one of the curves secp256r1, secp384r1 "
			 "and secp521r1",
			 place_of(t).text, c->certificate);
		return -EINVAL;
	}
	t->policy.certificate_curve = (uint16_t)ret;
	if (wolfSSL_CTX_check_private_key(t->ctx) != WOLFSSL_SUCCESS) {
		snprintf(error, error_len, "%skey: %s does not belong to the certificate in %s",
			 place_of(t).text, c->key, c->certificate);
		return -EINVAL;
	}
	return 0;
}

static int load_raw_key(struct tls *t, const struct config_tls *c, char *error, size_t error_len)
{
	struct raw_key key;
	char why[256] = "", name[NI_TEXT_MAX];

	if (!c->raw_key)
		return 0;
	t->raw_ctx = wolfSSL_CTX_new(wolfDTLSv1_2_server_method());
	if (!t->raw_ctx)
		return -ENOMEM;
	if (!raw_key_of_file(c->raw_key, &key, why, sizeof why)) {
		snprintf(error, error_len, "%sraw_key: %s", place_of(t).text, why);
		return -EINVAL;
	}
	if (wolfSSL_CTX_use_certificate_buffer(t->raw_ctx, key.info, key.info_len, WOLFSSL_FILETYPE_ASN1) !=
		    WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_use_PrivateKey_file(t->raw_ctx, c->raw_key, WOLFSSL_FILETYPE_PEM) !=
		    WOLFSSL_SUCCESS) {
		snprintf(error, error_len, "%sraw_key: wolfSSL cannot use the key in %s", place_of(t).text,
			 c->raw_key);
		return -EINVAL;
	}
	t->policy.raw_key_curve = key.curve;
	/* Devices pin it. */
	log_write(LOG_LEVEL_INFO, "%sraw_key: its public key is %s", place_of(t).text,
		  ni_text(key.digest, sizeof key.digest, name));
	return 0;
}

/* A raw public key is taken only when the store knows it. */
static bool can_know_raw_keys(const struct tls *t)
{
	return t->credentials.ops && t->credentials.ops->find &&
	       (!t->tenant[0] || !t->credentials.default_only);
}

static int load_trust(struct tls *t, const struct config_tls *c, char *error, size_t error_len)
{
	char why[512];

	if (!c->trust_anchors && can_know_raw_keys(t))
		return 0;
	if (!c->trust_anchors) {
		snprintf(
			error, error_len,
			"%strust_anchors is missing: client certificates need it, or a credential store that "
			"holds raw public keys",
			place_of(t).text);
		return -EINVAL;
	}
	t->trust = trust_new(c->trust_anchors, why, sizeof why);
	if (!t->trust) {
		snprintf(error, error_len, "%strust_anchors: %s", place_of(t).text, why);
		return -EINVAL;
	}
	t->ocsp_clients = c->ocsp_clients;
	if (c->ocsp_clients != CONFIG_OCSP_CLIENTS_NONE) {
		t->ocsp = ocsp_new(network, c->ocsp_responder, answers_fd, place_of(t).text);
		if (!t->ocsp)
			return -ENOMEM;
	}
	if (c->crls_count == 0)
		return 0;
	t->lists = lists_new(t->trust, files, c->crls, c->crls_count,
			     c->expired_crl == CONFIG_EXPIRED_CRL_USE, place_of(t).text, why, sizeof why);
	if (t->lists)
		return 0;
	snprintf(error, error_len, "%scrls: %s", place_of(t).text, why);
	return -EINVAL;
}

/* FAIL_EXCEPT_PSK: a client that uses a PSK suite has no certificate, and needs none. */
static int set_client_certificates(struct tls *t, const struct config_tls *c, char *error, size_t error_len)
{
	bool required = c->client_certificate == CONFIG_CLIENT_CERTIFICATE_REQUIRED;
	int mode = WOLFSSL_VERIFY_PEER | (required ? WOLFSSL_VERIFY_FAIL_EXCEPT_PSK : 0), ret;

	t->client_certificate = c->client_certificate;
	t->registrees = c->registrees;
	if (c->client_certificate == CONFIG_CLIENT_CERTIFICATE_NONE || (!c->certificate && !c->raw_key)) {
		wolfSSL_CTX_set_verify(t->ctx, WOLFSSL_VERIFY_NONE, NULL);
		if (t->raw_ctx)
			wolfSSL_CTX_set_verify(t->raw_ctx, WOLFSSL_VERIFY_NONE, NULL);
		return 0;
	}
	ret = load_trust(t, c, error, error_len);
	if (ret)
		return ret;
	t->policy.ask_client = true;
	t->policy.client_required = required;
	t->policy.client_x509 = t->trust != NULL;
	t->policy.client_raw_key = can_know_raw_keys(t);
	wolfSSL_CTX_set_verify(t->ctx, mode, handshake_verify_certificate);
	if (t->raw_ctx)
		wolfSSL_CTX_set_verify(t->raw_ctx, mode, handshake_verify_certificate);
	return 0;
}

/* ---- the status of our own */

static void *allocate(size_t len)
{
	return wolfSSL_Malloc(len); /* wolfSSL frees it */
}

/* RFC 6066 8: a server that has no status to show may leave the message out. */
static int give_status(WOLFSSL *ssl, void *context)
{
	size_t len = 0;
	uint8_t *response = staple_copy(context, allocate, &len);

	if (!response)
		return WOLFSSL_OCSP_STATUS_CB_NOACK;
	if (wolfSSL_set_tlsext_status_ocsp_resp(ssl, response, (int)len) == WOLFSSL_SUCCESS)
		return WOLFSSL_OCSP_STATUS_CB_OK;
	wolfSSL_Free(response);
	return WOLFSSL_OCSP_STATUS_CB_NOACK;
}

static int set_stapling(struct tls *t, const struct config_tls *c, char *error, size_t error_len)
{
	char why[256];

	if (!c->ocsp_stapling)
		return 0;
	t->staple = staple_new(c->certificate, c->ocsp_responder, network, place_of(t).text, why, sizeof why);
	if (!t->staple) {
		snprintf(error, error_len, "%socsp_stapling: %s", place_of(t).text, why);
		return -EINVAL;
	}
	if (wolfSSL_CTX_EnableOCSPStapling(t->ctx) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_tlsext_status_cb(t->ctx, give_status) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_tlsext_status_arg(t->ctx, t->staple) != WOLFSSL_SUCCESS) {
		snprintf(error, error_len, "%socsp_stapling: this build of wolfSSL cannot do it",
			 place_of(t).text);
		return -ENOTSUP;
	}
	return 0;
}

/* ---- the rest */

static int set_groups(WOLFSSL_CTX *ctx)
{
	static const word16 groups[] = {WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1, WOLFSSL_ECC_SECP521R1,
					WOLFSSL_ECC_X25519};
	const DhParams *dh = wc_Dh_ffdhe2048_Get();

	for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
		if (wolfSSL_CTX_UseSupportedCurve(ctx, groups[i]) != WOLFSSL_SUCCESS)
			return -ENOTSUP;
	}
	if (wolfSSL_CTX_SetMinEccKey_Sz(ctx, ECC_BITS_MIN) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetMinRsaKey_Sz(ctx, RSA_BITS_MIN) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetMinDhKey_Sz(ctx, RSA_BITS_MIN) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetTmpDH(ctx, dh->p, (int)dh->p_len, dh->g, (int)dh->g_len) != WOLFSSL_SUCCESS)
		return -ENOTSUP;
	return 0;
}

/* Resumption is off until tls_use_tickets(). Even so wolfSSL looks at tickets of other servers while it has a
 * callback, and breaks the handshake off over one that is longer than its own. */
static int set_common(const struct tls *t, WOLFSSL_CTX *ctx)
{
	if (wolfSSL_CTX_set_group_messages(ctx) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_OFF) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_TicketEncCb(ctx, NULL) != WOLFSSL_SUCCESS)
		return -ENOTSUP;
	if (has_psk(t))
		wolfSSL_CTX_set_psk_server_callback(ctx, handshake_psk_key);
	return set_groups(ctx);
}

struct tls *tls_new(const struct config *config, const struct config_tls *options, const char *tenant,
		    struct credentials credentials, char *error, size_t error_len)
{
	struct tls *t = calloc(1, sizeof *t);

	snprintf(error, error_len, "out of memory");
	if (!t)
		return NULL;
	t->use = calloc(1, sizeof *t->use);
	if (!t->use)
		goto err;
	snprintf(t->tenant, sizeof t->tenant, "%s", tenant);
	t->credentials = credentials;
	t->take_cid = config->sessions.cid;
	t->packet_mtu = config->handshakes.mtu;
	t->policy.require_ems = options->require_ems;
	t->exporters = options->exporters;
	t->exporters_count = options->exporters_count;
	t->reveal_unknown_psk = options->reveal_unknown_psk;
	t->credential_removed = options->credential_removed;
	t->rehandshake_s = options->rehandshake_s;
	t->sessions_max = options->sessions_max;
	t->hello_interval_ns = options->handshake_rate ? SECOND_NS / options->handshake_rate : 0;
	t->policy.cid_len_max = (unsigned)wolfSSL_dtls_cid_max_size();
	t->ctx = wolfSSL_CTX_new(wolfDTLSv1_2_server_method());
	if (!t->ctx)
		goto err;
	if (load_certificate(t, options, error, error_len) || load_raw_key(t, options, error, error_len) ||
	    set_stapling(t, options, error, error_len) ||
	    set_client_certificates(t, options, error, error_len) || set_suites(t, options, error, error_len))
		goto err;
	if (set_common(t, t->ctx) || (t->raw_ctx && set_common(t, t->raw_ctx))) {
		snprintf(error, error_len, "this build of wolfSSL lacks what Sluice needs");
		goto err;
	}
	return t;
err:
	tls_free(t);
	return NULL;
}

/* wolfSSL has its own idea of how long a ticket lives: ours is looked at first, and is the shorter. */
int tls_use_tickets(struct tls *t, struct ticket_keys *keys)
{
	WOLFSSL_CTX *const all[] = {t->ctx, t->raw_ctx};
	uint32_t lifetime_s = ticket_lifetime_s(keys);

	for (int i = 0; i < 2; i++) {
		if (all[i] && (wolfSSL_CTX_set_TicketEncCb(all[i], handshake_ticket) != WOLFSSL_SUCCESS ||
			       wolfSSL_CTX_set_timeout(all[i], lifetime_s + 1) != WOLFSSL_SUCCESS ||
			       wolfSSL_CTX_set_TicketHint(all[i], (int)lifetime_s) != WOLFSSL_SUCCESS))
			return -ENOTSUP;
	}
	t->tickets = keys;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	free(t->use);
	wolfSSL_CTX_free(t->ctx);
	wolfSSL_CTX_free(t->raw_ctx);
	staple_free(t->staple);
	ocsp_free(t->ocsp);
	lists_free(t->lists);
	trust_free(t->trust);
	free(t);
}

/* A bucket of tokens kept as the time at which it is full: see admit.c. */
bool tls_admit(const struct tls *t, uint64_t now_ns)
{
	uint64_t full_ns = t->use->full_ns > now_ns ? t->use->full_ns : now_ns;

	if (full_ns + t->hello_interval_ns > now_ns + SECOND_NS)
		return false;
	t->use->full_ns = full_ns + t->hello_interval_ns;
	return true;
}
