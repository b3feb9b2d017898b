/* See certificate.h. */
#include "controlplane/certificate.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <wolfssl/options.h>

#include <wolfssl/wolfcrypt/asn.h>

enum { FILE_LEN_MAX = 1 << 20 };

/* Releases with wc_FreeDecodedCert() whatever this returns. */
static bool decode(DecodedCert *cert, const uint8_t *der, size_t der_len)
{
	wc_InitDecodedCert(cert, der, (word32)der_len, NULL);
	return wc_ParseCert(cert, CERT_TYPE, NO_VERIFY, NULL) == 0;
}

static int curve_of(const uint8_t *der, size_t der_len)
{
	static const struct {
		word32 oid;
		int number;
	} curves[] = {{ECC_SECP256R1_OID, 23}, {ECC_SECP384R1_OID, 24}, {ECC_SECP521R1_OID, 25}};
	DecodedCert cert;
	int number = 0;

	if (decode(&cert, der, der_len) && cert.keyOID == ECDSAk) {
		for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
			number = cert.pkCurveOID == curves[i].oid ? curves[i].number : number;
	}
	wc_FreeDecodedCert(&cert);
	return number;
}

int certificate_file_curve(const char *path)
{
	FILE *f = fopen(path, "re");
	uint8_t *pem, *der;
	int len, ret = -ENOMEM;

	if (!f)
		return -errno;
	pem = malloc(FILE_LEN_MAX);
	der = malloc(FILE_LEN_MAX);
	if (pem && der) {
		len = (int)fread(pem, 1, FILE_LEN_MAX, f);
		len = wc_CertPemToDer(pem, len, der, FILE_LEN_MAX, CERT_TYPE);
		ret = len > 0 ? curve_of(der, (size_t)len) : -EINVAL;
	}
	free(pem);
	free(der);
	fclose(f);
	return ret;
}
