/* See tls.h. */
#include "controlplane/tls.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/dh.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include "controlplane/chain.h"
#include "controlplane/errand.h"
#include "controlplane/handshake.h"
#include "controlplane/lists.h"
#include "controlplane/log.h"
#include "controlplane/ni.h"
#include "controlplane/ocsp.h"
#include "controlplane/own.h"
#include "controlplane/question.h"

enum { ECC_BITS_MIN = 256, RSA_BITS_MIN = 2048, CIPHER_LIST_MAX = 1024, ERROR_MAX = 512 };

#define SECOND_NS 1000000000ULL

/* Nothing about a chain: client_certificate.c has judged it before wolfSSL sees it, and overrules what
 * wolfSSL finds in it. */
static const struct {
	int error;
	enum refusal_cause cause;
	const char *text;
} error_texts[] = {
	{NO_PEER_CERT, REFUSED_NO_CERTIFICATE, "the client sent no certificate, and one is required"},
	{NO_PEER_VERIFY, REFUSED_NO_PROOF, "the client did not prove that it has its certificate's key"},
	{SIG_VERIFY_E, REFUSED_NO_PROOF,
	 "the client's signature is wrong: it does not have its certificate's key"},
	{VERIFY_FINISHED_ERROR, REFUSED_WRONG_KEY, "the client's Finished does not match the handshake"},
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
static struct questions *questions;
static unsigned users;

static int global_init(unsigned files_threads, unsigned network_threads)
{
	if (users++ > 0)
		return 0;
	chain_global_init();
	files = errands_new(files_threads);
	network = errands_new(network_threads);
	questions = questions_new();
	return files && network && questions && wolfSSL_Init() == WOLFSSL_SUCCESS ? 0 : -ENOMEM;
}

int tls_global_init(void)
{
	return global_init(1, NETWORK_THREADS);
}

int tls_global_init_idle(void)
{
	return global_init(0, 0);
}

void tls_global_fini(void)
{
	if (users == 0 || --users > 0)
		return;
	errands_free(files);
	errands_free(network);
	questions_free(questions);
	files = network = NULL;
	questions = NULL;
	wolfSSL_Cleanup();
}

struct questions *tls_questions(void)
{
	return questions;
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

static int choose_suites(struct tls *t, const struct config_tls *c, char *error, size_t error_len)
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
	if (n > 0)
		return 0;
	snprintf(error, error_len,
		 "%ssuites: none of them can be used; those with pre-shared keys need a credential "
		 "store, those with certificates need %scertificate or %sraw_key",
		 place_of(t).text, place_of(t).text, place_of(t).text);
	return -EINVAL;
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

/* ---- whom clients are held against */

/* One for all struct tls that have the same anchors. */
struct tls_clients {
	struct trust *trust;
	struct lists *lists;
	struct ocsp *ocsp;
	unsigned users; /* of who makes and frees struct tls */
};

/* A raw public key is taken only when the store knows it. */
static bool can_know_raw_keys(const struct tls *t)
{
	return t->credentials.ops && t->credentials.ops->find &&
	       (!t->tenant[0] || !t->credentials.default_only);
}

static bool wants_client_certificates(const struct config_tls *c)
{
	return c->client_certificate != CONFIG_CLIENT_CERTIFICATE_NONE && (c->certificate || c->raw_key);
}

static void clients_free(struct tls_clients *clients)
{
	if (!clients)
		return;
	ocsp_free(clients->ocsp);
	lists_free(clients->lists);
	trust_free(clients->trust);
	free(clients);
}

/* seen: the CAs that live sessions came under while other anchors were in place; NULL: none. */
static int fill_clients(struct tls_clients *clients, const struct config_tls *c, struct issuers *seen,
			const char *place, char *error, size_t error_len)
{
	char why[512];

	clients->trust = trust_new(c->trust_anchors, why, sizeof why);
	if (!clients->trust) {
		snprintf(error, error_len, "%strust_anchors: %s", place, why);
		return -EINVAL;
	}
	if (!trust_watch(clients->trust, seen))
		return -ENOMEM;
	if (c->ocsp_clients != CONFIG_OCSP_CLIENTS_NONE) {
		clients->ocsp = ocsp_new(network, c->ocsp_responder, questions, place);
		if (!clients->ocsp)
			return -ENOMEM;
	}
	if (c->crls_count == 0)
		return 0;
	clients->lists = lists_new(clients->trust, files, c->crls, c->crls_count,
				   c->expired_crl == CONFIG_EXPIRED_CRL_USE, place, why, sizeof why);
	if (clients->lists)
		return 0;
	snprintf(error, error_len, "%scrls: %s", place, why);
	return -EINVAL;
}

/* Nothing without anchors: raw public keys may be all that is taken. */
static int load_clients(struct tls *t, char *error, size_t error_len)
{
	const struct config_tls *c = t->options;
	struct issuers *seen = t->trust ? trust_issuers(t->trust) : NULL;

	t->clients = NULL;
	if (!wants_client_certificates(c) || (!c->trust_anchors && can_know_raw_keys(t)))
		return 0;
	if (!c->trust_anchors) {
		snprintf(
			error, error_len,
			"%strust_anchors is missing: client certificates need it, or a credential store that "
			"holds raw public keys",
			place_of(t).text);
		return -EINVAL;
	}
	t->clients = calloc(1, sizeof *t->clients);
	if (!t->clients)
		return -ENOMEM;
	t->clients->users = 1;
	return fill_clients(t->clients, c, seen, place_of(t).text, error, error_len);
}

static void take_clients(struct tls *t)
{
	t->trust = t->clients ? t->clients->trust : NULL;
	t->lists = t->clients ? t->clients->lists : NULL;
	t->ocsp = t->clients ? t->clients->ocsp : NULL;
	t->policy.client_x509 = t->trust != NULL;
}

/* FAIL_EXCEPT_PSK: a client that uses a PSK suite has no certificate, and needs none. */
int tls_client_mode(const struct tls *t)
{
	bool required = t->client_certificate == CONFIG_CLIENT_CERTIFICATE_REQUIRED;

	return WOLFSSL_VERIFY_PEER | (required ? WOLFSSL_VERIFY_FAIL_EXCEPT_PSK : 0);
}

static void ask_clients(const struct tls *t, WOLFSSL_CTX *ctx)
{
	if (wants_client_certificates(t->options))
		wolfSSL_CTX_set_verify(ctx, tls_client_mode(t), handshake_verify_certificate);
	else
		wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
}

/* ---- our own */

/* The time when our certificate may be used again, or never: the devices that look at it refuse it. */
static bool is_valid_now(const struct tls *t, char *error, size_t error_len)
{
	time_t now = time(NULL);
	const char *what = NULL;

	if (t->own->not_after_s && now > t->own->not_after_s)
		what = "has expired";
	else if (now < t->own->not_before_s)
		what = "is not valid yet";
	if (what)
		snprintf(error, error_len, "%scertificate: the one in %s %s", place_of(t).text,
			 t->options->certificate, what);
	return !what;
}

static int load_own(struct tls *t, char *error, size_t error_len)
{
	t->own = own_new(t->options, network, place_of(t).text, error, error_len);
	if (!t->own)
		return -EINVAL;
	t->own->users = 1;
	return 0;
}

static void take_own(struct tls *t)
{
	t->ctx = t->own->ctx;
	t->raw_ctx = t->own->raw_ctx;
	t->policy.certificate_curve = t->own->certificate_curve;
	t->policy.raw_key_curve = t->own->raw_key_curve;
}

static void log_raw_key(const struct tls *t)
{
	char name[NI_TEXT_MAX];

	if (t->raw_ctx) /* devices pin it */
		log_write(LOG_LEVEL_INFO, "%sraw_key: its public key is %s", place_of(t).text,
			  ni_text(t->own->raw_key_digest, sizeof t->own->raw_key_digest, name));
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

/* Everything about a WOLFSSL_CTX that does not come from files. */
static int set_up(const struct tls *t, WOLFSSL_CTX *ctx, char *error, size_t error_len)
{
	int ret;

	if (!ctx)
		return 0;
	ask_clients(t, ctx);
	ret = take_suites(t, ctx, error, error_len);
	if (ret)
		return ret;
	ret = set_common(t, ctx);
	if (ret)
		snprintf(error, error_len, "this build of wolfSSL lacks what Sluice needs");
	return ret;
}

static void take_options(struct tls *t, const struct config *config, const struct config_tls *options)
{
	t->options = options;
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
	t->client_certificate = options->client_certificate;
	t->registrees = options->registrees;
	t->ocsp_clients = options->ocsp_clients;
	t->policy.cid_len_max = (unsigned)wolfSSL_dtls_cid_max_size();
	if (!wants_client_certificates(options))
		return;
	t->policy.ask_client = true;
	t->policy.client_required = options->client_certificate == CONFIG_CLIENT_CERTIFICATE_REQUIRED;
	t->policy.client_raw_key = can_know_raw_keys(t);
}

struct tls *tls_new(const struct config *config, const struct config_tls *options, const char *tenant,
		    struct credentials credentials, char *error, size_t error_len)
{
	struct tls *t = calloc(1, sizeof *t);
	char why[ERROR_MAX];

	snprintf(error, error_len, "out of memory");
	if (!t)
		return NULL;
	t->use = calloc(1, sizeof *t->use);
	if (!t->use)
		goto err;
	snprintf(t->tenant, sizeof t->tenant, "%s", tenant);
	t->credentials = credentials;
	take_options(t, config, options);
	if (load_own(t, error, error_len) || load_clients(t, error, error_len) ||
	    choose_suites(t, options, error, error_len))
		goto err;
	take_own(t);
	take_clients(t);
	if (set_up(t, t->ctx, error, error_len) || set_up(t, t->raw_ctx, error, error_len))
		goto err;
	log_raw_key(t);
	if (!is_valid_now(t, why, sizeof why))
		log_write(LOG_LEVEL_ERROR, "%s; devices that look at it will refuse it", why);
	return t;
err:
	tls_free(t);
	return NULL;
}

uint64_t tls_not_after_s(const struct tls *t)
{
	return t->own->not_after_s > 0 ? (uint64_t)t->own->not_after_s : 0;
}

static int load_own_again(struct tls *t, char *error, size_t error_len)
{
	int ret = load_own(t, error, error_len);

	if (ret)
		return ret;
	take_own(t);
	if (!is_valid_now(t, error, error_len))
		return -EINVAL;
	if (set_up(t, t->ctx, error, error_len) || set_up(t, t->raw_ctx, error, error_len))
		return -EINVAL;
	return t->tickets ? tls_use_tickets(t, t->tickets) : 0;
}

struct tls *tls_renew(const struct tls *old, bool own_changed, bool anchors_changed, char *error,
		      size_t error_len)
{
	struct tls *t = malloc(sizeof *t);
	int ret = 0;

	snprintf(error, error_len, "%scertificate: out of memory", place_of(old).text);
	if (!t)
		return NULL;
	*t = *old;
	t->policy.suites = t->suites;
	t->use = calloc(1, sizeof *t->use);
	if (own_changed)
		t->own = NULL;
	else
		t->own->users++;
	if (anchors_changed)
		t->clients = NULL;
	else if (t->clients)
		t->clients->users++;
	if (!t->use)
		ret = -ENOMEM;
	if (ret == 0 && own_changed)
		ret = load_own_again(t, error, error_len);
	if (ret == 0 && anchors_changed)
		ret = load_clients(t, error, error_len);
	if (ret) {
		tls_free(t);
		return NULL;
	}
	take_clients(t);
	if (own_changed)
		log_raw_key(t);
	return t;
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
	assert(!t->use || !tls_is_held(t));
	free(t->use);
	if (t->own && --t->own->users == 0)
		own_free(t->own);
	if (t->clients && --t->clients->users == 0)
		clients_free(t->clients);
	free(t);
}

/* ---- what changes */

const struct tls *tls_hold(const struct tls *t)
{
	atomic_fetch_add_explicit(&t->use->handshakes, 1, memory_order_relaxed);
	return t;
}

void tls_let_go(const struct tls *t)
{
	atomic_fetch_sub_explicit(&t->use->handshakes, 1,
				  memory_order_release); /* pairs with tls_is_held() */
}

bool tls_is_held(const struct tls *t)
{
	return atomic_load_explicit(&t->use->handshakes, memory_order_acquire) > 0;
}

bool tls_admit(const struct tls *t, uint64_t now_ns)
{
	if (!bucket_has(&t->use->hellos, t->hello_interval_ns, now_ns))
		return false;
	bucket_take(&t->use->hellos, t->hello_interval_ns, now_ns);
	return true;
}
