/* See chain.h. */
#include "controlplane/chain.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "controlplane/algorithms.h"
#include "controlplane/authorities.h"
#include "controlplane/chain_private.h"
#include "controlplane/list_method.h"
#include "controlplane/log.h"

enum {
	SIGNATURE_BITS_MIN = 128, /* SHA-256 */
	ECC_BITS_MIN = 256,
	RSA_BITS_MIN = 2048,
};

struct chain {
	X509 *leaf, *issuer;
	struct issuer *under;
	uint8_t root[CHAIN_ROOT_LEN];
	unsigned names_count;
	struct chain_name names[CHAIN_NAMES_MAX];
};

/* ---- trust anchors */

static int add_anchors(X509_STORE *store, BIO *in)
{
	X509 *one;
	int count = 0;

	while ((one = PEM_read_bio_X509_AUX(in, NULL, NULL, NULL))) {
		int added = X509_STORE_add_cert(store, one);

		X509_free(one);
		if (!added)
			return -EINVAL;
		count++;
	}
	/* The end of the file reads as a missing first line; everything else is a broken certificate. */
	if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		return -EINVAL;
	ERR_clear_error();
	return count;
}

static int ex_data_index = -1;
static X509_STORE_CTX_verify_fn verify_signatures;          /* and dates: libcrypto's own */
static X509_STORE_CTX_check_revocation_fn check_revocation; /* the same */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void set_up(void)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	if (store && ctx && list_method_install() && X509_STORE_CTX_init(ctx, store, NULL, NULL)) {
		verify_signatures = X509_STORE_CTX_get_verify(ctx);
		check_revocation = X509_STORE_CTX_get_check_revocation(ctx);
		ex_data_index = X509_STORE_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
}

static int check_revocation_later(X509_STORE_CTX *ctx)
{
	(void)ctx;
	return 1;
}

/* As RFC 5280 6.1.3 a has it. libcrypto would ask the lists first, whose signatures then would be verified
 * with keys that anybody can make up. */
static int verify_and_check_revocation(X509_STORE_CTX *ctx)
{
	int good = verify_signatures(ctx);

	return good > 0 ? check_revocation(ctx) : good;
}

/* An anchor is trusted as it is, whoever signed it. */
X509_STORE *chain_store_new(void)
{
	X509_STORE *store;

	pthread_once(&once, set_up);
	store = ex_data_index >= 0 ? X509_STORE_new() : NULL;
	if (!store || !X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN)) {
		X509_STORE_free(store);
		return NULL;
	}
	X509_STORE_set_check_revocation(store, check_revocation_later);
	X509_STORE_set_verify(store, verify_and_check_revocation);
	return store;
}

static X509_STORE *read_anchors(const char *file, char *error, size_t error_len)
{
	X509_STORE *store = chain_store_new();
	BIO *in = BIO_new_file(file, "r");
	int count = store && in ? add_anchors(store, in) : -ENOMEM;

	BIO_free(in);
	ERR_clear_error();
	if (count > 0)
		return store;
	snprintf(error, error_len, "%s holds no usable certificates in PEM", file);
	X509_STORE_free(store);
	return NULL;
}

void chain_global_init(void)
{
	(void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
}

struct trust *trust_new(const char *anchors_file, char *error, size_t error_len)
{
	struct trust *t = calloc(1, sizeof *t);

	snprintf(error, error_len, "out of memory");
	if (!t)
		return NULL;
	t->authorities = authorities_new();
	t->anchors = t->authorities ? read_anchors(anchors_file, error, error_len) : NULL;
	if (!t->anchors) {
		authorities_free(t->authorities);
		free(t);
		return NULL;
	}
	pthread_mutex_init(&t->lock, NULL);
	X509_STORE_up_ref(t->anchors);
	t->current = t->anchors;
	return t;
}

void trust_free(struct trust *t)
{
	if (!t)
		return;
	X509_STORE_free(t->current);
	X509_STORE_free(t->anchors);
	issuers_free(t->issuers);
	authorities_free(t->authorities);
	pthread_mutex_destroy(&t->lock);
	free(t);
}

bool trust_watch(struct trust *t, struct issuers *with)
{
	if (!t->issuers)
		t->issuers = with ? issuers_share(with) : issuers_new();
	return t->issuers != NULL;
}

struct issuers *trust_issuers(const struct trust *t)
{
	return t->issuers;
}

void trust_in_force(const struct trust *t)
{
	if (t->issuers)
		issuers_set_anchors(t->issuers, t->anchors);
}

void trust_replace(struct trust *t, X509_STORE *with_lists, bool expired_lists)
{
	X509_STORE *old;

	pthread_mutex_lock(&t->lock);
	old = t->current;
	t->current = with_lists;
	t->has_lists = with_lists != t->anchors;
	t->expired_lists = expired_lists;
	pthread_mutex_unlock(&t->lock);
	X509_STORE_free(old);
}

/* Whoever verifies keeps what it began with. */
static X509_STORE *take_store(struct trust *t, bool *has_lists, bool *expired_lists)
{
	X509_STORE *store;

	pthread_mutex_lock(&t->lock);
	store = t->current;
	X509_STORE_up_ref(store);
	*has_lists = t->has_lists;
	*expired_lists = t->expired_lists;
	pthread_mutex_unlock(&t->lock);
	return store;
}

/* ---- refusals */

const char *chain_subject(char out[CHAIN_SUBJECT_MAX], const X509_NAME *name)
{
	char line[2 * CHAIN_SUBJECT_MAX] = "";
	BIO *memory = BIO_new(BIO_s_mem());

	if (memory && X509_NAME_print_ex(memory, name, 0, XN_FLAG_RFC2253) >= 0) {
		int len = BIO_read(memory, line, sizeof line);

		(void)log_text(out, CHAIN_SUBJECT_MAX, (const uint8_t *)line, len > 0 ? (size_t)len : 0);
	} else {
		out[0] = 0;
	}
	BIO_free(memory);
	return out;
}

/* What can be wrong with a path. Depth 0 is the client's own certificate. */
static const struct {
	int error;
	enum refusal_cause cause;
	uint8_t alert;
	const char *own, *above; /* above NULL: the same */
} faults[] = {
	{X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, REFUSED_UNKNOWN_ROOT, ALERT_UNKNOWN_CA,
	 "the client's certificate is self-signed and not trusted", NULL},
	{X509_V_ERR_CERT_HAS_EXPIRED, REFUSED_EXPIRED, ALERT_CERTIFICATE_EXPIRED,
	 "the client's certificate has expired", "a CA in the client's certificate chain has expired"},
	{X509_V_ERR_CERT_NOT_YET_VALID, REFUSED_NOT_YET_VALID, ALERT_CERTIFICATE_EXPIRED,
	 "the client's certificate is not valid yet",
	 "a CA in the client's certificate chain is not valid yet"},
	{X509_V_ERR_CERT_REVOKED, REFUSED_REVOKED, ALERT_CERTIFICATE_REVOKED,
	 "the client's certificate has been revoked",
	 "a CA in the client's certificate chain has been revoked"},
	{X509_V_ERR_CERT_SIGNATURE_FAILURE, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "a signature in the client's certificate chain is wrong", NULL},
	{X509_V_ERR_INVALID_PURPOSE, REFUSED_CERTIFICATE_USE, ALERT_UNSUPPORTED_CERTIFICATE,
	 "the client's certificate is not meant for clients (extended key usage)",
	 "a CA in the client's certificate chain may not issue for clients (key usage)"},
	{X509_V_ERR_INVALID_CA, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "the client's certificate was signed with one that is not a CA's", NULL},
	{X509_V_ERR_PATH_LENGTH_EXCEEDED, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "a CA in the client's certificate chain may not issue for other CAs (path length)", NULL},
	{X509_V_ERR_KEYUSAGE_NO_CERTSIGN, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "a CA in the client's certificate chain may not sign certificates (key usage)", NULL},
	{X509_V_ERR_PERMITTED_VIOLATION, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "a CA in the client's certificate chain may not issue for its names (name constraints)", NULL},
	{X509_V_ERR_EXCLUDED_VIOLATION, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "a CA in the client's certificate chain may not issue for its names (name constraints)", NULL},
	{X509_V_ERR_UNSUPPORTED_NAME_SYNTAX, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "a name of the client cannot be held against the name constraints of its CA", NULL},
	{X509_V_ERR_UNSUPPORTED_CONSTRAINT_TYPE, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "a CA in the client's certificate chain has name constraints that are not understood", NULL},
	{X509_V_ERR_UNHANDLED_CRITICAL_EXTENSION, REFUSED_CERTIFICATE_BAD, ALERT_UNSUPPORTED_CERTIFICATE,
	 "the client's certificate has a critical extension that is not understood",
	 "a CA in the client's certificate chain has a critical extension that is not understood"},
	{X509_V_ERR_CERT_CHAIN_TOO_LONG, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
	 "the client's certificate chain is too long", NULL},
	{X509_V_ERR_CRL_HAS_EXPIRED, REFUSED_REVOCATION_UNKNOWN, ALERT_CERTIFICATE_UNKNOWN,
	 "the revocation list about the client's certificate has expired",
	 "the revocation list about a CA in the client's certificate chain has expired"},
	{X509_V_ERR_CRL_NOT_YET_VALID, REFUSED_REVOCATION_UNKNOWN, ALERT_CERTIFICATE_UNKNOWN,
	 "the revocation list about the client's certificate is not valid yet", NULL},
	{X509_V_ERR_CRL_SIGNATURE_FAILURE, REFUSED_REVOCATION_UNKNOWN, ALERT_CERTIFICATE_UNKNOWN,
	 "the revocation list about the client's certificate has a wrong signature", NULL},
};

static bool check_own(X509 *own, struct refusal *refusal)
{
	if (X509_check_ca(own) > 0)
		return refusal_write(refusal, REFUSED_CERTIFICATE_USE, ALERT_BAD_CERTIFICATE,
				     "the client shows the certificate of a CA as its own");
	if (!(X509_get_key_usage(own) & KU_DIGITAL_SIGNATURE))
		return refusal_write(refusal, REFUSED_CERTIFICATE_USE, ALERT_UNSUPPORTED_CERTIFICATE,
				     "the client's certificate is not meant for signatures (key usage)");
	return true;
}

static void describe_unknown_root(X509_STORE_CTX *ctx, struct refusal *refusal)
{
	X509 *last = X509_STORE_CTX_get_current_cert(ctx);
	char name[CHAIN_SUBJECT_MAX] = "";

	if (last)
		(void)chain_subject(name, X509_get_issuer_name(last));
	(void)refusal_write(refusal, REFUSED_UNKNOWN_ROOT, ALERT_UNKNOWN_CA,
			    "the client's certificate chain ends at an unknown root: %s", name);
}

static void describe(X509_STORE_CTX *ctx, struct refusal *refusal)
{
	int error = X509_STORE_CTX_get_error(ctx), depth = X509_STORE_CTX_get_error_depth(ctx);

	switch (error) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
		describe_unknown_root(ctx, refusal);
		return;
	case X509_V_ERR_INVALID_PURPOSE: /* is what a CA's certificate shows as, too */
		if (depth == 0 && !check_own(X509_STORE_CTX_get_current_cert(ctx), refusal))
			return;
		break;
	default:
		break;
	}
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		if (faults[i].error != error)
			continue;
		(void)refusal_write(refusal, faults[i].cause, faults[i].alert, "%s",
				    depth > 0 && faults[i].above ? faults[i].above : faults[i].own);
		return;
	}
	(void)refusal_write(refusal, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
			    "the client's certificate chain: %s", X509_verify_cert_error_string(error));
}

/* ---- the message */

static X509 *read_der(const uint8_t *der, size_t len)
{
	const uint8_t *end = der + len;
	X509 *one = X509_new_ex(algorithms_context(), NULL);

	/* Over extensions that cannot be right it fails as well, but keeps the certificate: whether they
	 * matter is for X509_verify_cert() to say. */
	(void)d2i_X509(&one, &der, (long)len);
	if (one && der != end) { /* more in it than the certificate */
		X509_free(one);
		one = NULL;
	}
	return one;
}

static X509 *read_certificate(struct authorities *known, bool own, const uint8_t **at, const uint8_t *end)
{
	const uint8_t *der = *at + 3;
	size_t len;
	X509 *one;

	if (end - *at < 3)
		return NULL;
	len = (size_t)(*at)[0] << 16 | (size_t)(*at)[1] << 8 | (*at)[2];
	if (len > (size_t)(end - der))
		return NULL;
	*at = der + len;
	one = own ? NULL : authorities_find(known, der, len);
	return one ? one : read_der(der, len);
}

static STACK_OF(X509) *
	read_list(struct authorities *known, const uint8_t *list, size_t len, struct refusal *refusal)
{
	STACK_OF(X509) *all = sk_X509_new_null();
	const uint8_t *at = list, *end = list + len;

	while (all && at < end) {
		int count = sk_X509_num(all);
		X509 *one =
			count < CHAIN_CERTIFICATES_MAX ? read_certificate(known, count == 0, &at, end) : NULL;

		if (!one || !sk_X509_push(all, one)) {
			(void)refusal_write(refusal, REFUSED_MALFORMED, ALERT_BAD_CERTIFICATE, "%s",
					    count < CHAIN_CERTIFICATES_MAX
						    ? "the client's certificate cannot be read"
						    : "the client's certificate chain is too long");
			X509_free(one);
			sk_X509_pop_free(all, X509_free);
			return NULL;
		}
	}
	if (!all)
		(void)refusal_write(refusal, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR,
				    "internal: out of memory");
	return all;
}

/* ---- what libcrypto does not look at */

uint16_t chain_key_curve(EVP_PKEY *key)
{
	char name[32];

	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
	    !EVP_PKEY_get_group_name(key, name, sizeof name, NULL))
		return 0;
	switch (OBJ_txt2nid(name)) {
	case NID_X9_62_prime256v1:
		return 23;
	case NID_secp384r1:
		return 24;
	case NID_secp521r1:
		return 25;
	default:
		return 0;
	}
}

static bool ca_key_fits(EVP_PKEY *key)
{
	switch (key ? EVP_PKEY_get_base_id(key) : NID_undef) {
	case EVP_PKEY_EC:
		return EVP_PKEY_get_bits(key) >= ECC_BITS_MIN;
	case EVP_PKEY_RSA:
	case EVP_PKEY_RSA_PSS:
		return EVP_PKEY_get_bits(key) >= RSA_BITS_MIN;
	case EVP_PKEY_ED25519:
	case EVP_PKEY_ED448:
		return true;
	default:
		return false;
	}
}

static bool check_key(X509 *one, bool own, struct refusal *refusal)
{
	EVP_PKEY *key = X509_get0_pubkey(one);

	if (own && key && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC)
		return refusal_write(refusal, REFUSED_CERTIFICATE_KEY, ALERT_UNSUPPORTED_CERTIFICATE,
				     "the client's certificate has a key of a kind that is not enabled");
	if (own && key && EVP_PKEY_get_bits(key) < ECC_BITS_MIN)
		return refusal_write(refusal, REFUSED_CERTIFICATE_KEY, ALERT_UNSUPPORTED_CERTIFICATE,
				     "the client's key is shorter than 256 bits");
	if (own ? key && chain_key_curve(key) : ca_key_fits(key))
		return true;
	return refusal_write(
		refusal, REFUSED_CERTIFICATE_KEY, ALERT_UNSUPPORTED_CERTIFICATE,
		own ? "the client's key is on a curve that is not enabled"
		    : "a CA in the client's certificate chain has a key that is too short or not enabled");
}

/* RFC 9155: no MD5, no SHA-1; nor anything else below 128 bits. */
static bool check_signature(X509 *one, struct refusal *refusal)
{
	int bits = 0;

	if (X509_get_signature_info(one, NULL, NULL, &bits, NULL) && bits >= SIGNATURE_BITS_MIN)
		return true;
	return refusal_write(refusal, REFUSED_SIGNATURE_SHA1, ALERT_UNSUPPORTED_CERTIFICATE,
			     "the client's certificate chain is signed with a hash that is not enabled");
}

static int pss_hash(const X509_ALGOR *algorithm)
{
	RSA_PSS_PARAMS *params =
		ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_PSS_PARAMS), algorithm->parameter);
	int hash = NID_undef;

	if (params)
		hash = params->hashAlgorithm ? OBJ_obj2nid(params->hashAlgorithm->algorithm) : NID_sha1;
	RSA_PSS_PARAMS_free(params);
	return hash;
}

bool chain_signature_fits(const X509_ALGOR *algorithm)
{
	int signature = OBJ_obj2nid(algorithm->algorithm), hash = NID_undef;

	if (signature == NID_ED25519 || signature == NID_ED448)
		return true;
	if (signature == NID_rsassaPss)
		hash = pss_hash(algorithm);
	else
		(void)OBJ_find_sigid_algs(signature, &hash, NULL);
	switch (hash) {
	case NID_sha256:
	case NID_sha384:
	case NID_sha512:
	case NID_sha3_256:
	case NID_sha3_384:
	case NID_sha3_512:
		return true;
	default:
		return false;
	}
}

/* Of all but the anchor, whose own signature, age of form and extensions mean nothing. */
static bool check_form(X509 *one, bool own, struct refusal *refusal)
{
	if (X509_get_version(one) != X509_VERSION_3)
		return refusal_write(
			refusal, REFUSED_CERTIFICATE_BAD, ALERT_UNSUPPORTED_CERTIFICATE,
			"the client's certificate chain has a certificate that is not of version 3");
	/* 1: by its basicConstraints. Anything else is a guess. */
	if (!own && X509_check_ca(one) != 1)
		return refusal_write(refusal, REFUSED_CERTIFICATE_BAD, ALERT_BAD_CERTIFICATE,
				     "the client's certificate was signed with one that is not a CA's");
	return check_signature(one, refusal);
}

static bool check_beyond(const STACK_OF(X509) * path, struct refusal *refusal)
{
	int anchor = sk_X509_num(path) - 1;

	for (int i = 0; i <= anchor; i++) {
		X509 *one = sk_X509_value(path, i);

		if ((i < anchor || i == 0) && !check_form(one, i == 0, refusal))
			return false;
		if (!check_key(one, i == 0, refusal))
			return false;
	}
	return check_own(sk_X509_value(path, 0), refusal);
}

/* ---- names */

static bool add_name(struct chain *c, const void *text, size_t len)
{
	struct chain_name *name = &c->names[c->names_count];

	/* Part of a name, or what is before a NUL, may be another device's name. */
	if (c->names_count == CHAIN_NAMES_MAX || len == 0 || len > CHAIN_NAME_MAX || memchr(text, 0, len))
		return false;
	name->len = (uint8_t)len;
	memcpy(name->text, text, len);
	c->names_count++;
	return true;
}

/* RFC 4108 5: SEQUENCE { hwType OBJECT IDENTIFIER, hwSerialNum OCTET STRING }. */
static bool add_hardware_module(struct chain *c, const ASN1_TYPE *value)
{
	const unsigned char *at;
	char text[CHAIN_NAME_MAX + 1];
	STACK_OF(ASN1_TYPE) * parts;
	const ASN1_OCTET_STRING *serial = NULL;
	int len = 0;
	bool good;

	if (value->type != V_ASN1_SEQUENCE)
		return false;
	at = ASN1_STRING_get0_data(value->value.sequence);
	parts = d2i_ASN1_SEQUENCE_ANY(NULL, &at, ASN1_STRING_length(value->value.sequence));
	if (parts && sk_ASN1_TYPE_num(parts) == 2 && sk_ASN1_TYPE_value(parts, 0)->type == V_ASN1_OBJECT &&
	    sk_ASN1_TYPE_value(parts, 1)->type == V_ASN1_OCTET_STRING) {
		serial = sk_ASN1_TYPE_value(parts, 1)->value.octet_string;
		len = OBJ_obj2txt(text, sizeof text, sk_ASN1_TYPE_value(parts, 0)->value.object, 1);
	}
	good = serial && len > 0 && len + 1 + 2 * ASN1_STRING_length(serial) < (int)sizeof text;
	if (good) {
		text[len++] = ':';
		for (int i = 0; i < ASN1_STRING_length(serial); i++)
			len += snprintf(text + len, sizeof text - (size_t)len, "%02x",
					ASN1_STRING_get0_data(serial)[i]);
		good = add_name(c, text, (size_t)len);
	}
	sk_ASN1_TYPE_pop_free(parts, ASN1_TYPE_free);
	return good;
}

static bool is_hardware_module(const OTHERNAME *name)
{
	char oid[32];

	return OBJ_obj2txt(oid, sizeof oid, name->type_id, 1) > 0 && strcmp(oid, "1.3.6.1.5.5.7.8.4") == 0;
}

static bool add_object(struct chain *c, const ASN1_OBJECT *object)
{
	char text[CHAIN_NAME_MAX + 1];
	int len = OBJ_obj2txt(text, sizeof text, object, 1);

	return len > 0 && len < (int)sizeof text && add_name(c, text, (size_t)len);
}

static bool add_general_name(struct chain *c, const GENERAL_NAME *name)
{
	const ASN1_STRING *text;

	switch (name->type) {
	case GEN_URI:
	case GEN_DNS:
		text = name->d.ia5;
		return add_name(c, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
	case GEN_OTHERNAME:
		return !is_hardware_module(name->d.otherName) ||
		       add_hardware_module(c, name->d.otherName->value);
	case GEN_RID:
		return add_object(c, name->d.rid);
	default:
		return true;
	}
}

static bool add_common_name(struct chain *c)
{
	const X509_NAME *subject = X509_get_subject_name(c->leaf);
	int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	unsigned char *text = NULL;
	int len;
	bool good;

	if (at < 0)
		return true;
	len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
	good = len > 0 && add_name(c, text, (size_t)len);
	OPENSSL_free(text);
	return good;
}

static bool names_are_limited(const STACK_OF(X509) * path)
{
	for (int i = 1; i < sk_X509_num(path); i++) {
		if (X509_get_ext_by_NID(sk_X509_value(path, i), NID_name_constraints, -1) >= 0)
			return true;
	}
	return false;
}

static bool add_alternative_names(struct chain *c)
{
	static const int order[] = {GEN_URI, GEN_DNS, GEN_OTHERNAME, GEN_RID};
	GENERAL_NAMES *names = X509_get_ext_d2i(c->leaf, NID_subject_alt_name, NULL, NULL);
	bool good = true;

	for (size_t kind = 0; kind < sizeof order / sizeof order[0]; kind++) {
		for (int i = 0; good && i < sk_GENERAL_NAME_num(names); i++) {
			const GENERAL_NAME *one = sk_GENERAL_NAME_value(names, i);

			good = one->type != order[kind] || add_general_name(c, one);
		}
	}
	GENERAL_NAMES_free(names);
	return good;
}

static bool read_names(struct chain *c, const STACK_OF(X509) * path, struct refusal *refusal)
{
	bool good = add_alternative_names(c);

	if (good && c->names_count == 0 && !names_are_limited(path))
		good = add_common_name(c);
	return good ||
	       refusal_write(
		       refusal, REFUSED_CERTIFICATE_NAME, ALERT_BAD_CERTIFICATE,
		       "a name in the client's certificate is none, is too long, or is one of too many");
}

/* ---- verification */

struct verification {
	bool expired_lists; /* are used all the same */
};

/* A CA without a list is not asked about: the operator names the lists. */
static int look_at_error(int good, X509_STORE_CTX *ctx)
{
	const struct verification *v = X509_STORE_CTX_get_ex_data(ctx, ex_data_index);

	if (good)
		return 1;
	switch (X509_STORE_CTX_get_error(ctx)) {
	case X509_V_ERR_UNABLE_TO_GET_CRL:
		return 1;
	case X509_V_ERR_CRL_HAS_EXPIRED:
		return v->expired_lists;
	default:
		return 0;
	}
}

static bool prepare(X509_STORE_CTX *ctx, X509_STORE *store, STACK_OF(X509) * list, bool has_lists,
		    struct verification *v)
{
	X509_VERIFY_PARAM *param;

	if (!ctx || !X509_STORE_CTX_init(ctx, store, sk_X509_value(list, 0), list) ||
	    !X509_STORE_CTX_set_ex_data(ctx, ex_data_index, v) ||
	    !X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT))
		return false;
	param = X509_STORE_CTX_get0_param(ctx);
	X509_VERIFY_PARAM_set_depth(param, CHAIN_CERTIFICATES_MAX);
	X509_VERIFY_PARAM_set_auth_level(param, 0); /* check_beyond() knows better and says more */
	X509_STORE_CTX_set_verify_cb(ctx, look_at_error);
	return !has_lists ||
	       X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
}

/* A session that no later list would find is better refused. */
static bool take_issuer(struct chain *c, struct trust *t, const STACK_OF(X509) * path,
			struct refusal *refusal)
{
	bool full = false;

	if (t->issuers)
		c->under = issuers_take(t->issuers, path, &full);
	return !full || refusal_write(refusal, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR,
				      "internal: no room for one more CA that sessions came under");
}

static struct chain *keep(struct trust *t, const STACK_OF(X509) * path, struct refusal *refusal)
{
	struct chain *c = calloc(1, sizeof *c);
	unsigned len = CHAIN_ROOT_LEN;

	if (!c || !X509_digest(sk_X509_value(path, sk_X509_num(path) - 1), EVP_sha256(), c->root, &len)) {
		(void)refusal_write(refusal, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR,
				    "internal: out of memory");
		free(c);
		return NULL;
	}
	c->leaf = sk_X509_value(path, 0);
	X509_up_ref(c->leaf);
	if (sk_X509_num(path) > 1) {
		c->issuer = sk_X509_value(path, 1);
		X509_up_ref(c->issuer);
	}
	if (read_names(c, path, refusal) && take_issuer(c, t, path, refusal))
		return c;
	chain_free(c);
	return NULL;
}

static void keep_authorities(struct authorities *known, const STACK_OF(X509) * path)
{
	for (int i = 1; i < sk_X509_num(path) - 1; i++)
		authorities_keep(known, sk_X509_value(path, i));
}

static struct chain *verify(struct trust *t, STACK_OF(X509) * list, struct refusal *refusal)
{
	struct verification v;
	bool has_lists;
	X509_STORE *store = take_store(t, &has_lists, &v.expired_lists);
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	struct chain *c = NULL;

	if (!prepare(ctx, store, list, has_lists, &v)) {
		(void)refusal_write(refusal, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR,
				    "internal: out of memory");
	} else if (X509_verify_cert(ctx) != 1) {
		/* What it cannot do may hide behind what it will not: SHA-1 shows as a wrong signature. */
		describe(ctx, refusal);
	} else if (check_beyond(X509_STORE_CTX_get0_chain(ctx), refusal)) {
		keep_authorities(t->authorities, X509_STORE_CTX_get0_chain(ctx));
		c = keep(t, X509_STORE_CTX_get0_chain(ctx), refusal);
	}
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return c;
}

struct chain *chain_verify(struct trust *t, const uint8_t *list, size_t len, struct refusal *refusal)
{
	STACK_OF(X509) *all = read_list(t->authorities, list, len, refusal);
	struct chain *c = NULL;

	if (all && sk_X509_num(all) == 0)
		(void)refusal_write(refusal, REFUSED_NO_CERTIFICATE, ALERT_BAD_CERTIFICATE,
				    "the client's certificate chain is empty");
	else if (all)
		c = verify(t, all, refusal);
	sk_X509_pop_free(all, X509_free);
	ERR_clear_error();
	return c;
}

uint8_t chain_claim(const uint8_t *list, size_t len, char out[CHAIN_NAME_MAX])
{
	struct chain *c = calloc(1, sizeof *c);
	const uint8_t *at = list;
	uint8_t name_len = 0;

	if (c)
		c->leaf = read_certificate(NULL, true, &at, list + len);
	if (c && c->leaf) {
		(void)add_alternative_names(c);
		if (c->names_count == 0)
			(void)add_common_name(c);
	}
	if (c && c->names_count > 0) {
		name_len = c->names[0].len;
		memcpy(out, c->names[0].text, name_len);
	}
	chain_free(c);
	ERR_clear_error();
	return name_len;
}

void chain_free(struct chain *c)
{
	if (!c)
		return;
	X509_free(c->leaf);
	X509_free(c->issuer);
	issuer_release(c->under);
	free(c);
}

const uint8_t *chain_root(const struct chain *c)
{
	return c->root;
}

unsigned chain_names(const struct chain *c, const struct chain_name **names)
{
	*names = c->names;
	return c->names_count;
}

struct x509_st *chain_leaf(const struct chain *c)
{
	return c->leaf;
}

struct x509_st *chain_issuer(const struct chain *c)
{
	return c->issuer;
}

struct issuer *chain_under(const struct chain *c, uint64_t *serial)
{
	*serial = issuer_serial(X509_get0_serialNumber(c->leaf));
	return c->under;
}
