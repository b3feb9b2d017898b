/* What all handshakes of one tenant share: a WOLFSSL_CTX with certificate, key and trust anchors, the suites
 * in order of preference, and where keys are looked up. tenant.h chooses among them. Made by the main thread
 * at start, then read-only; used by the control thread. When its files change another one takes its place
 * (renewal.h); handshakes end with the one that they began with.
 */
#ifndef CONTROLPLANE_TLS_H
#define CONTROLPLANE_TLS_H

#include <stdatomic.h>
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include "config/config.h"
#include "controlplane/bucket.h"
#include "controlplane/credential.h"
#include "controlplane/offer.h"
#include "controlplane/ticket.h"

enum { TLS_SUITES_MAX = 32 };

/* A store of credentials with its functions; ops NULL: none. */
struct credentials {
	const struct credential_store *ops;
	void *store;
	bool default_only; /* it knows of no tenant but the default one */
};

struct trust;
struct lists;
struct ocsp;
struct own;
struct tls_clients;

struct tls_use {
	struct bucket hellos;        /* control thread */
	_Atomic unsigned handshakes; /* that have it: control thread; read by renewal.c */
	struct tls *next;            /* among those that are replaced: renewal.c */
};

struct tls {
	char tenant[TENANT_MAX + 1]; /* "": the default one */
	unsigned place;              /* among the tenants */
	const struct config_tls *options;
	struct own *own;
	WOLFSSL_CTX *ctx;     /* of own: with the X.509 certificate, if there is one */
	WOLFSSL_CTX *raw_ctx; /* with the raw public key (RFC 7250); NULL: there is none */
	const struct suite *suites[TLS_SUITES_MAX];
	struct offer_policy policy; /* its suites are those above */
	struct credentials credentials;
	enum config_client_certificate client_certificate;
	enum config_registrees registrees;
	enum config_ocsp_clients ocsp_clients;
	struct tls_clients *clients;
	struct ocsp *ocsp;   /* of clients. NULL: nobody is asked */
	struct lists *lists; /* its revocation lists; NULL: none */
	struct trust *trust; /* for client certificates; NULL: no X.509 certificate is taken */
	enum config_credential_removed credential_removed;
	uint32_t rehandshake_s;
	uint32_t sessions_max;       /* 0: no limit */
	uint64_t hello_interval_ns;  /* between two handshakes; 0: no limit */
	struct tls_use *use;         /* the only part that changes */
	bool reveal_unknown_psk;     /* RFC 4279 2: with unknown_psk_identity */
	bool take_cid;               /* RFC 9146 when the client offers it */
	struct ticket_keys *tickets; /* NULL: no resumption. Borrowed */
	char *const *exporters;      /* labels whose values go with SESSION_UP: exporter.h */
	unsigned exporters_count;
	uint32_t packet_mtu; /* of a handshake datagram, IP header included */
};

/* Before any struct tls, and the reverse; by whoever needs one, as often as that. Main thread. */
int tls_global_init(void);
/* The same for who only looks whether a configuration can be used: nothing runs beside, nobody is asked. */
int tls_global_init_idle(void);
void tls_global_fini(void);

struct questions;

/* What handshakes wait for that others than the credential store answer (OCSP). */
struct questions *tls_questions(void);

/* options: of the tenant, whose suites with pre-shared keys are left out when credentials hold none for it.
 * NULL on failure with a readable sentence in error: which option of which tenant, and what is wrong with it.
 * credentials and options are borrowed until tls_free(). */
struct tls *tls_new(const struct config *config, const struct config_tls *options, const char *tenant,
		    struct credentials credentials, char *error, size_t error_len);
/* From now on clients are given session tickets that are sealed with these keys, borrowed until tls_free().
 */
int tls_use_tickets(struct tls *t, struct ticket_keys *keys) __attribute__((warn_unused_result));
/* No handshake may be left. May wait some seconds for a responder that is being asked. NULL is fine. */
void tls_free(struct tls *t);

/* One that can take the place of `old`, which may be in use: with what is in the files of the tenant now, as
 * far as they are said to have changed; the rest they share. A certificate that is not valid now is a fault
 * here, while tls_new() only logs it: there is a better one. NULL like tls_new(). It belongs to the caller;
 * this and tls_free() of those that are related are one thread's, and not the control thread's. */
struct tls *tls_renew(const struct tls *old, bool own_changed, bool anchors_changed, char *error,
		      size_t error_len);

/* Control thread: a handshake has it from now on, and does not any more. Returns t. Any thread: does any? */
const struct tls *tls_hold(const struct tls *t);
void tls_let_go(const struct tls *t);
bool tls_is_held(const struct tls *t);

/* Unix time when its certificate ends; 0: it has none. */
uint64_t tls_not_after_s(const struct tls *t);

/* For wolfSSL_set_verify(): what clients have to show that are asked for a certificate. Any thread. */
int tls_client_mode(const struct tls *t);

/* Control thread. Whether the tenant may have one more handshake now: its rate allows it, in bursts of a
 * second's worth. True counts it. */
bool tls_admit(const struct tls *t, uint64_t now_ns);

/* Why wolfSSL gave up, in the operator's words (never NULL), and under which cause it is counted. */
const char *tls_error_text(int wolfssl_error);
enum refusal_cause tls_error_cause(int wolfssl_error);

#endif
