/* See authority.h. */
#include "tests/unit/authority.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

static void add_extension(X509 *cert, X509 *issuer, const char *name, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf(NULL, &context, name, value);
	assert(extension);
	assert(X509_add_ext(cert, extension, -1));
	X509_EXTENSION_free(extension);
}

static void add_extensions(X509 *cert, X509 *issuer, const struct wanted *w, int ca)
{
	int basic = 1, usage = 1;

	for (int i = 0; i < WANTED_EXTENSIONS && w->extensions[i].name; i++) {
		const char *name = w->extensions[i].name;

		basic &= *name && strcmp(name, "basicConstraints") != 0;
		usage &= *name && strcmp(name, "keyUsage") != 0;
		if (*name && *w->extensions[i].value)
			add_extension(cert, issuer, name, w->extensions[i].value);
	}
	if (basic)
		add_extension(cert, issuer, "basicConstraints",
			      ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (usage)
		add_extension(cert, issuer, "keyUsage",
			      ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
}

static EVP_PKEY *new_key(const char *group)
{
	if (group && strncmp(group, "RSA:", 4) == 0)
		return EVP_RSA_gen((unsigned)atoi(group + 4));
	if (group && strcmp(group, "ED25519") == 0)
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	return EVP_EC_gen(group ? group : "P-256");
}

struct subject subject_new(const struct wanted *w, int ca)
{
	static long next = 1000;
	struct subject s = {.certificate = X509_new(), .key = new_key(w->group)};
	X509 *issuer = w->issuer ? w->issuer->certificate : s.certificate;
	const EVP_PKEY *signer = w->signed_by ? w->signed_by : w->issuer ? w->issuer->key : s.key;
	int kind = EVP_PKEY_get_base_id(signer);
	int dated = w->from_s || w->until_s;

	assert(s.certificate && s.key);
	assert(X509_set_version(s.certificate, w->version ? w->version - 1 : X509_VERSION_3));
	ASN1_INTEGER_set(X509_get_serialNumber(s.certificate), w->serial ? w->serial : next++);
	X509_gmtime_adj(X509_getm_notBefore(s.certificate), dated ? w->from_s : -DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(s.certificate), dated ? w->until_s : 30 * DAY_S);
	if (w->common_name)
		X509_NAME_add_entry_by_txt(X509_get_subject_name(s.certificate), "CN", MBSTRING_UTF8,
					   (const unsigned char *)w->common_name, -1, -1, 0);
	X509_set_issuer_name(s.certificate, X509_get_subject_name(issuer));
	X509_set_pubkey(s.certificate, s.key);
	if (w->version == 0 || w->version == 3)
		add_extensions(s.certificate, issuer, w, ca);
	assert(X509_sign(s.certificate, (EVP_PKEY *)(uintptr_t)signer,
			 kind == EVP_PKEY_ED25519 ? NULL
						  : EVP_get_digestbyname(w->hash ? w->hash : "SHA256")));
	return s;
}

void subject_free(struct subject *s)
{
	X509_free(s->certificate);
	EVP_PKEY_free(s->key);
}

void subject_digest(const struct subject *s, uint8_t digest[32])
{
	unsigned len = 32;

	assert(X509_digest(s->certificate, EVP_sha256(), digest, &len));
}

X509_CRL *crl_new(const struct subject *issuer, const long *serials, size_t count, long until_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *at = ASN1_TIME_new();

	assert(crl && at && X509_CRL_set_version(crl, 1));
	X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->certificate));
	X509_gmtime_adj(at, -DAY_S);
	X509_CRL_set1_lastUpdate(crl, at);
	for (size_t i = 0; i < count; i++) {
		X509_REVOKED *revoked = X509_REVOKED_new();
		ASN1_INTEGER *serial = ASN1_INTEGER_new();

		ASN1_INTEGER_set(serial, serials[i]);
		X509_REVOKED_set_serialNumber(revoked, serial);
		X509_REVOKED_set_revocationDate(revoked, at);
		assert(X509_CRL_add0_revoked(crl, revoked));
		ASN1_INTEGER_free(serial);
	}
	X509_gmtime_adj(at, until_s);
	X509_CRL_set1_nextUpdate(crl, at);
	ASN1_TIME_free(at);
	assert(X509_CRL_sort(crl) && X509_CRL_sign(crl, issuer->key, EVP_sha256()));
	return crl;
}

size_t list_of(uint8_t *out, size_t room, const struct subject *const *subjects, size_t count)
{
	uint8_t *at = out;

	for (size_t i = 0; i < count; i++) {
		int len = i2d_X509(subjects[i]->certificate, NULL);

		assert(len > 0 && at + 3 + len <= out + room);
		*at++ = (uint8_t)(len >> 16);
		*at++ = (uint8_t)(len >> 8);
		*at++ = (uint8_t)len;
		assert(i2d_X509(subjects[i]->certificate, &at) == len);
	}
	return (size_t)(at - out);
}

void subject_write(const char *path, const struct subject *const *subjects, size_t count)
{
	FILE *f = fopen(path, "w");

	assert(f);
	for (size_t i = 0; i < count; i++)
		assert(PEM_write_X509(f, subjects[i]->certificate));
	assert(fclose(f) == 0);
}

void crl_write(const char *path, X509_CRL *crl, int der)
{
	FILE *f = fopen(path, "w");

	assert(f);
	assert(der ? i2d_X509_CRL_fp(f, crl) : PEM_write_X509_CRL(f, crl));
	assert(fclose(f) == 0);
}
