/* See certificate.h. */
#include "controlplane/certificate.h"

#include <stdio.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "controlplane/chain_private.h"

static int64_t unix_time(const ASN1_TIME *time)
{
	struct tm utc;

	return ASN1_TIME_to_tm(time, &utc) ? (int64_t)timegm(&utc) : 0;
}

/* The signature of one that signs itself means nothing to anybody. */
static bool signature_fits(X509 *one)
{
	const X509_ALGOR *algorithm;

	X509_get0_signature(NULL, &algorithm, one);
	return X509_NAME_cmp(X509_get_subject_name(one), X509_get_issuer_name(one)) == 0 ||
	       chain_signature_fits(algorithm);
}

static bool take_own(X509 *own, struct certificate *out, char *why, size_t why_len)
{
	out->curve = chain_key_curve(X509_get0_pubkey(own));
	out->not_before_s = unix_time(X509_get0_notBefore(own));
	out->not_after_s = unix_time(X509_get0_notAfter(own));
	if (out->curve)
		return true;
	snprintf(why, why_len, "its key is not on one of the curves secp256r1, secp384r1 and secp521r1");
	return false;
}

bool certificate_read(const void *pem, size_t len, struct certificate *out, char *why, size_t why_len)
{
	BIO *in = BIO_new_mem_buf(pem, (int)len);
	bool good = true;
	unsigned count = 0;
	X509 *one;

	while (good && in && (one = PEM_read_bio_X509(in, NULL, NULL, NULL))) {
		char name[CHAIN_SUBJECT_MAX];

		good = count++ > 0 || take_own(one, out, why, why_len);
		if (good && !signature_fits(one)) {
			snprintf(why, why_len,
				 "the certificate of %s is signed with a hash that is not enabled",
				 chain_subject(name, X509_get_subject_name(one)));
			good = false;
		}
		X509_free(one);
	}
	/* The end of the text reads as a missing first line; everything else is a broken certificate. */
	if (good && (count == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)) {
		snprintf(why, why_len, "it cannot be read as a certificate chain in PEM");
		good = false;
	}
	BIO_free(in);
	ERR_clear_error();
	return good;
}
