/* See pki.h. */
#include "tests/unit/pki.h"

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { DAY = 86400, LARGE_COMMENT = 3000 };

struct request {
	const char *common_name;
	const char *usage; /* extended key usage; NULL: a root */
	char names[256];
	enum pki_flaw flaw;
};

const char *pki_path(const struct pki *p, const char *name, const char *ending)
{
	static char paths[4][160];
	static unsigned turn;
	char *path = paths[turn++ % 4];

	snprintf(path, sizeof paths[0], "%s/%s.%s", p->directory, name, ending);
	return path;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;

	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert(extension);
	assert(X509_add_ext(cert, extension, -1));
	X509_EXTENSION_free(extension);
}

static void add_comment(X509 *cert)
{
	char comment[LARGE_COMMENT + 1];

	memset(comment, 'x', LARGE_COMMENT);
	comment[LARGE_COMMENT] = 0;
	add_extension(cert, cert, NID_netscape_comment, comment);
}

static void set_times(X509 *cert, enum pki_flaw flaw)
{
	X509_gmtime_adj(X509_getm_notBefore(cert), flaw == PKI_EXPIRED ? -10 * DAY : -DAY);
	X509_gmtime_adj(X509_getm_notAfter(cert), flaw == PKI_EXPIRED ? -5 * DAY : 30 * DAY);
}

static X509 *make(const struct request *r, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key)
{
	static long serial = 1;
	X509 *cert = X509_new();
	X509_NAME *name;

	assert(cert);
	assert(X509_set_version(cert, 2));
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	set_times(cert, r->flaw);
	name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Sluice tests", -1, -1, 0);
	if (r->common_name && r->flaw == PKI_NUL_IN_NAME)
		assert(X509_NAME_add_entry_by_txt(name, "CN", V_ASN1_UTF8STRING,
						  (const unsigned char *)r->common_name,
						  (int)strlen(r->common_name) + 5, -1, 0));
	else if (r->common_name)
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)r->common_name,
					   -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer ? issuer : cert));
	X509_set_pubkey(cert, key);
	add_extension(cert, issuer ? issuer : cert, NID_basic_constraints,
		      r->usage ? "critical,CA:FALSE" : "critical,CA:TRUE");
	add_extension(cert, issuer ? issuer : cert, NID_key_usage,
		      r->usage ? "critical,digitalSignature" : "critical,keyCertSign,cRLSign");
	if (r->usage)
		add_extension(cert, issuer, NID_ext_key_usage, r->usage);
	if (r->names[0])
		add_extension(cert, issuer, NID_subject_alt_name, r->names);
	if (r->flaw == PKI_LARGE)
		add_comment(cert);
	assert(X509_sign(cert, issuer_key ? issuer_key : key,
			 r->flaw == PKI_SHA1 ? EVP_sha1() : EVP_sha256()));
	return cert;
}

static void write_pem(const char *path, X509 *cert, EVP_PKEY *key)
{
	FILE *f = fopen(path, "w");

	assert(f);
	assert(!key || fchmod(fileno(f), 0600) == 0);
	if (cert)
		assert(PEM_write_X509(f, cert));
	if (key)
		assert(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL));
	assert(fclose(f) == 0);
}

static void make_root(const struct pki *p, const char *name)
{
	struct request r = {.common_name = name};
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = make(&r, key, NULL, NULL);

	write_pem(pki_path(p, name, "pem"), cert, NULL);
	write_pem(pki_path(p, name, "key"), NULL, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static X509 *read_certificate(const char *path)
{
	FILE *f = fopen(path, "r");
	X509 *cert = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;

	assert(cert && fclose(f) == 0);
	return cert;
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *f = fopen(path, "r");
	EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;

	assert(key && fclose(f) == 0);
	return key;
}

static void make_below(const struct pki *p, const char *name, const struct request *r, const char *above)
{
	X509 *issuer = read_certificate(pki_path(p, above, "pem")), *cert;
	EVP_PKEY *issuer_key = read_key(pki_path(p, above, "key"));
	EVP_PKEY *key = EVP_EC_gen(r->flaw == PKI_SMALL_CURVE ? "P-224" : "P-256");

	assert(key);
	cert = make(r, key, issuer, issuer_key);
	write_pem(pki_path(p, name, "pem"), cert, NULL);
	write_pem(pki_path(p, name, "key"), NULL, key);
	X509_free(cert);
	X509_free(issuer);
	EVP_PKEY_free(key);
	EVP_PKEY_free(issuer_key);
}

/* The one behind the other, as a client has to send them. */
static void append(const struct pki *p, const char *name, const char *issuer)
{
	FILE *from = fopen(pki_path(p, issuer, "pem"), "r"), *to = fopen(pki_path(p, name, "pem"), "a");
	int c;

	assert(from && to);
	while ((c = getc(from)) != EOF)
		putc(c, to);
	assert(fclose(from) == 0 && fclose(to) == 0);
}

static void make_leaf(const struct pki *p, const char *name, const struct request *r)
{
	struct request ca = {.common_name = name};
	char issuer[64];

	if (r->flaw != PKI_BELOW_CA) {
		make_below(p, name, r, r->flaw == PKI_OTHER_ROOT ? "other-root" : "root");
		return;
	}
	snprintf(issuer, sizeof issuer, "%s-ca", name);
	make_below(p, issuer, &ca, "root");
	make_below(p, name, r, issuer);
	append(p, name, issuer);
}

void pki_new(struct pki *p)
{
	struct request gateway = {
		.common_name = "gateway.example", .usage = "serverAuth", .names = "DNS:gateway.example"};

	strcpy(p->directory, "/tmp/sluice-pki-XXXXXX");
	assert(mkdtemp(p->directory));
	make_root(p, "root");
	make_root(p, "other-root");
	make_leaf(p, "gateway", &gateway);
	snprintf(p->ca, sizeof p->ca, "%s/root.pem", p->directory);
	snprintf(p->certificate, sizeof p->certificate, "%s/gateway.pem", p->directory);
	snprintf(p->key, sizeof p->key, "%s/gateway.key", p->directory);
}

void pki_client(const struct pki *p, const char *name, const char *common_name, const char *uri,
		const char *dns, enum pki_flaw flaw)
{
	struct request r = {.common_name = common_name,
			    .flaw = flaw,
			    .usage = flaw == PKI_FOR_SERVERS ? "serverAuth" : "clientAuth"};

	if (uri)
		snprintf(r.names, sizeof r.names, "URI:%s", uri);
	if (dns)
		snprintf(r.names + strlen(r.names), sizeof r.names - strlen(r.names), "%sDNS:%s",
			 r.names[0] ? "," : "", dns);
	make_leaf(p, name, &r);
}

static void add_revoked(X509_CRL *list, long serial, ASN1_TIME *since)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_INTEGER *number = ASN1_INTEGER_new();

	assert(ASN1_INTEGER_set(number, serial) && X509_REVOKED_set_serialNumber(entry, number));
	assert(X509_REVOKED_set_revocationDate(entry, since) && X509_CRL_add0_revoked(list, entry));
	ASN1_INTEGER_free(number);
}

void pki_list(const struct pki *p, const char *name, unsigned count)
{
	X509 *issuer = read_certificate(pki_path(p, "root", "pem"));
	EVP_PKEY *key = read_key(pki_path(p, "root", "key"));
	ASN1_TIME *from = X509_gmtime_adj(NULL, -DAY), *until = X509_gmtime_adj(NULL, 30 * DAY);
	X509_CRL *list = X509_CRL_new();
	FILE *f = fopen(pki_path(p, name, "crl"), "w");

	assert(list && f && X509_CRL_set_version(list, 1));
	assert(X509_CRL_set_issuer_name(list, X509_get_subject_name(issuer)));
	assert(X509_CRL_set1_lastUpdate(list, from) && X509_CRL_set1_nextUpdate(list, until));
	for (unsigned i = 0; i < count; i++)
		add_revoked(list, 0x40000000 + (long)i, from);
	assert(X509_CRL_sign(list, key, EVP_sha256()) && PEM_write_X509_CRL(f, list));
	assert(fclose(f) == 0);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	X509_CRL_free(list);
	X509_free(issuer);
	EVP_PKEY_free(key);
}

void pki_free(struct pki *p)
{
	DIR *d = opendir(p->directory);
	struct dirent *e;
	char path[512];

	assert(d);
	while ((e = readdir(d))) {
		snprintf(path, sizeof path, "%s/%s", p->directory, e->d_name);
		if (e->d_name[0] != '.')
			unlink(path);
	}
	closedir(d);
	rmdir(p->directory);
}
