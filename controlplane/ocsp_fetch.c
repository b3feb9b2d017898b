/* See ocsp_fetch.h. */
#include "controlplane/ocsp_fetch.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/http.h>
#include <openssl/x509v3.h>

#include "controlplane/chain_private.h"

/* Of OpenSSL: 112 bits of security, so no SHA-1 in a signer's certificate and no RSA key below 2048 bits. */
enum { AUTH_LEVEL = 2 };

char *ocsp_url_of(X509 *certificate)
{
	STACK_OF(OPENSSL_STRING) *urls = X509_get1_ocsp(certificate);
	char *url = sk_OPENSSL_STRING_num(urls) > 0 ? OPENSSL_strdup(sk_OPENSSL_STRING_value(urls, 0)) : NULL;

	X509_email_free(urls);
	return url;
}

OCSP_CERTID *ocsp_id_of(X509 *certificate, X509 *issuer)
{
	return OCSP_cert_to_id(EVP_sha1(), certificate, issuer);
}

static void fail(struct ocsp_answer *a, bool unreachable, const char *why)
{
	a->status = OCSP_UNANSWERED;
	a->unreachable = unreachable;
	snprintf(a->why, sizeof a->why, "%s", why);
}

/* ---- HTTP */

static BIO *encode(const struct ocsp_question *q)
{
	OCSP_REQUEST *request = OCSP_REQUEST_new();
	OCSP_CERTID *id = OCSP_CERTID_dup(q->id);
	BIO *out = BIO_new(BIO_s_mem());
	bool added = request && id && OCSP_request_add0_id(request, id);

	if (!added)
		OCSP_CERTID_free(id);
	if (!added || !out || !ASN1_i2d_bio_of(OCSP_REQUEST, i2d_OCSP_REQUEST, out, request)) {
		BIO_free(out);
		out = NULL;
	}
	OCSP_REQUEST_free(request);
	return out;
}

/* Without a proxy, whatever the environment says; TLS would need a certificate that needs a responder. */
static BIO *post(const char *url, BIO *request, struct ocsp_answer *a)
{
	char *host = NULL, *port = NULL, *path = NULL;
	BIO *response = NULL;
	int use_ssl = 0;

	if (!OSSL_HTTP_parse_url(url, &use_ssl, NULL, &host, &port, NULL, &path, NULL, NULL) || use_ssl)
		fail(a, true, "its address is not one of HTTP");
	else
		response = OSSL_HTTP_transfer(NULL, host, port, path, 0, "", NULL, NULL, NULL, NULL, NULL, 0,
					      NULL, "application/ocsp-request", request,
					      "application/ocsp-response", 1, OCSP_RESPONSE_MAX,
					      OCSP_TIMEOUT_S, 0);
	if (!response && !a->why[0])
		fail(a, true,
		     ERR_reason_error_string(ERR_peek_last_error())
			     ? ERR_reason_error_string(ERR_peek_last_error())
			     : "it does not answer");
	OPENSSL_free(host);
	OPENSSL_free(port);
	OPENSSL_free(path);
	return response;
}

/* ---- the answer */

static X509_STORE *store_of(X509 *issuer)
{
	X509_STORE *store = X509_STORE_new();

	if (store && X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) &&
	    X509_STORE_add_cert(store, issuer)) {
		X509_VERIFY_PARAM_set_auth_level(X509_STORE_get0_param(store), AUTH_LEVEL);
		return store;
	}
	X509_STORE_free(store);
	return NULL;
}

/* RFC 6960 4.2.2.2: by the issuer, or by whom it has certified for that. What is above it does not matter. */
static bool is_signed(const struct ocsp_question *q, OCSP_BASICRESP *basic)
{
	X509_STORE *trust = store_of(q->issuer);
	STACK_OF(X509) *signers = sk_X509_new_null();
	bool good = trust && signers && sk_X509_push(signers, q->issuer) &&
		    OCSP_basic_verify(basic, signers, trust, 0) == 1;

	sk_X509_free(signers);
	X509_STORE_free(trust);
	return good;
}

static uint32_t seconds_until(const ASN1_GENERALIZEDTIME *until)
{
	int days = 0, seconds = 0;
	int64_t left;

	if (!until)
		return OCSP_WITHOUT_NEXT_S;
	if (!ASN1_TIME_diff(&days, &seconds, NULL, until))
		return 0;
	left = (int64_t)days * 86400 + seconds;
	return left <= 0 ? 0 : left < INT32_MAX ? (uint32_t)left : INT32_MAX;
}

static void read_status(const struct ocsp_question *q, OCSP_BASICRESP *basic, struct ocsp_answer *a)
{
	ASN1_GENERALIZEDTIME *revoked, *from, *until;
	int status, reason;

	if (!chain_signature_fits(OCSP_resp_get0_tbs_sigalg(basic)))
		fail(a, false, "its answer is signed with a hash that is not enabled");
	else if (!is_signed(q, basic))
		fail(a, false, "its answer is not signed by the certificate's issuer, nor on its behalf");
	else if (!OCSP_resp_find_status(basic, q->id, &status, &reason, &revoked, &from, &until))
		fail(a, false, "its answer is about another certificate");
	else if (!OCSP_check_validity(from, until, OCSP_SKEW_S, -1))
		fail(a, false, "its answer is out of date");
	else {
		a->status = status == V_OCSP_CERTSTATUS_GOOD      ? OCSP_GOOD
			    : status == V_OCSP_CERTSTATUS_REVOKED ? OCSP_REVOKED
								  : OCSP_UNKNOWN;
		a->valid_s = seconds_until(until);
	}
}

/* RFC 6960 4.2.1. tryLater and internalError are the responder's own trouble, and everybody's. The others are
 * about this question alone: a responder without a record of one certificate says `unauthorized` (RFC 5019
 * 2.2.3) and speaks of all others. */
static void read_refusal(int status, struct ocsp_answer *a)
{
	char why[OCSP_WHY_MAX];

	snprintf(why, sizeof why, "it refuses to answer: %s", OCSP_response_status_str(status));
	fail(a, status == OCSP_RESPONSE_STATUS_TRYLATER || status == OCSP_RESPONSE_STATUS_INTERNALERROR, why);
}

static void read_response(const struct ocsp_question *q, BIO *in, struct ocsp_answer *a)
{
	OCSP_RESPONSE *response = ASN1_d2i_bio_of(OCSP_RESPONSE, NULL, d2i_OCSP_RESPONSE, in, NULL);
	int status = response ? OCSP_response_status(response) : -1;
	OCSP_BASICRESP *basic =
		status == OCSP_RESPONSE_STATUS_SUCCESSFUL ? OCSP_response_get1_basic(response) : NULL;

	if (response && status != OCSP_RESPONSE_STATUS_SUCCESSFUL)
		read_refusal(status, a);
	else if (!basic)
		fail(a, true, "its answer cannot be read");
	else
		read_status(q, basic, a);
	if (a->status != OCSP_UNANSWERED)
		a->der_len = i2d_OCSP_RESPONSE(response, &a->der);
	OCSP_BASICRESP_free(basic);
	OCSP_RESPONSE_free(response);
}

void ocsp_fetch(const struct ocsp_question *q, struct ocsp_answer *a)
{
	BIO *request = encode(q), *response = NULL;

	memset(a, 0, sizeof *a);
	ERR_clear_error();
	if (request)
		response = post(q->url, request, a);
	else
		fail(a, false, "out of memory");
	if (response)
		read_response(q, response, a);
	BIO_free(request);
	BIO_free(response);
	ERR_clear_error();
}
