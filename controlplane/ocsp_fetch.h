/* One question to an OCSP responder (RFC 6960) over HTTP, and what its answer is worth. It waits for the
 * network: never on the control thread.
 */
#ifndef CONTROLPLANE_OCSP_FETCH_H
#define CONTROLPLANE_OCSP_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/ocsp.h>

enum {
	OCSP_TIMEOUT_S = 3,
	OCSP_RESPONSE_MAX = 32 * 1024,
	OCSP_SKEW_S = 300, /* between its clock and ours */
	OCSP_WHY_MAX = 160,
	/* Without nextUpdate "newer information is always available" (4.2.2.1): soon asked again. */
	OCSP_WITHOUT_NEXT_S = 60,
};

enum ocsp_status {
	OCSP_GOOD,
	OCSP_REVOKED,
	OCSP_UNKNOWN,    /* to the responder */
	OCSP_UNANSWERED, /* no answer, or none that can be believed */
};

struct ocsp_question {
	const char *url;
	OCSP_CERTID *id;
	X509 *issuer; /* has signed the answer, or certified who has; the caller trusts it */
};

struct ocsp_answer {
	enum ocsp_status status;
	uint32_t valid_s; /* from now, until nextUpdate */
	uint8_t *der;     /* the response; the caller frees it with OPENSSL_free() */
	int der_len;
	bool unreachable;       /* the network or the responder, rather than what it said of this one */
	char why[OCSP_WHY_MAX]; /* with OCSP_UNANSWERED: the end of a sentence */
};

void ocsp_fetch(const struct ocsp_question *q, struct ocsp_answer *a);

/* Of the certificate, NULL: it names none; the caller frees it with OPENSSL_free(). */
char *ocsp_url_of(X509 *certificate);
/* Names the certificate to its issuer's responder. SHA-1 here protects nothing; it is the only hash that
 * every responder knows names by (RFC 5019 2.1.1). NULL when out of memory. */
OCSP_CERTID *ocsp_id_of(X509 *certificate, X509 *issuer);

#endif
