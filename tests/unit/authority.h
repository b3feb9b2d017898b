/* Certificates of every kind for tests, right and wrong, made on the spot and kept in memory. */
#ifndef TESTS_UNIT_AUTHORITY_H
#define TESTS_UNIT_AUTHORITY_H

#include <stddef.h>
#include <stdint.h>

/* OpenSSL's, whose headers do not go together with wolfSSL's. */
struct x509_st;
struct evp_pkey_st;
struct X509_crl_st;

struct subject {
	struct x509_st *certificate;
	struct evp_pkey_st *key;
};

enum { WANTED_EXTENSIONS = 6, DAY_S = 86400 };

/* What is left out is as a good device's certificate has it. */
struct wanted {
	const char *common_name;             /* NULL: none */
	const char *group;                   /* NULL: P-256; "RSA:bits": an RSA key */
	const struct subject *issuer;        /* NULL: signs itself */
	const char *hash;                    /* NULL: SHA256 */
	const struct evp_pkey_st *signed_by; /* NULL: the issuer's key */
	long from_s, until_s;                /* from now; both 0: from a day ago for a month */
	unsigned version;                    /* as X.509 counts: 0: 3 */
	long serial;                         /* 0: the next */
	struct {
		const char *name, *value; /* as openssl's configuration has them; name "": none but these */
	} extensions[WANTED_EXTENSIONS];
};

/* Extensions: "basicConstraints" and "keyUsage" of a device or, with ca, of a CA, unless wanted has them. */
struct subject subject_new(const struct wanted *w, int ca);
void subject_free(struct subject *s);

/* SHA-256 of the certificate. */
void subject_digest(const struct subject *s, uint8_t digest[32]);

/* A CRL of the issuer with these serial numbers, from a day ago until until_s from now. */
struct X509_crl_st *crl_new(const struct subject *issuer, const long *serials, size_t count, long until_s);

/* A certificate_list of these, without its own length. Returns its length. */
size_t list_of(uint8_t *out, size_t room, const struct subject *const *subjects, size_t count);

/* Files in PEM. */
void subject_write(const char *path, const struct subject *const *subjects, size_t count);
void crl_write(const char *path, struct X509_crl_st *crl, int der);

#endif
