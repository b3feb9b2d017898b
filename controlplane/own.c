/* See own.h. Each file is read once, so that what is checked is what is used. */
#include "controlplane/own.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/certificate.h"
#include "controlplane/secret_file.h"
#include "controlplane/staple.h"
#include "crypto/secret.h"

enum { CHAIN_FILE_MAX = 1 << 20, KEY_FILE_MAX = 1 << 16, WHY_MAX = 256 };

/* What all steps share: who is read for, and where the complaint goes. */
struct reading {
	const struct config_tls *options;
	const char *place;
	char *error;
	size_t error_len;
};

static int complain(const struct reading *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int complain(const struct reading *r, const char *format, ...)
{
	va_list arguments;
	size_t used = (size_t)snprintf(r->error, r->error_len, "%s", r->place);

	va_start(arguments, format);
	if (used < r->error_len)
		vsnprintf(r->error + used, r->error_len - used, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* ---- files */

/* -errno; -EFBIG when it is longer than room. */
static ssize_t read_public_file(const char *path, uint8_t *out, size_t room)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t got = 1;
	size_t len = 0;

	if (fd < 0)
		return -errno;
	while (got > 0 && len < room) {
		got = read(fd, out + len, room - len);
		len += got > 0 ? (size_t)got : 0;
	}
	got = got < 0 ? -errno : len == room ? -EFBIG : (ssize_t)len;
	close(fd);
	return got;
}

/* ---- the certificate */

/* The words of wolfSSL ("Buffer error", "Input/output error on file") lead nobody to the cause. */
static int complain_about_key(const struct reading *r, const uint8_t *pem, size_t len)
{
	static const char encrypted[] = "ENCRYPTED";
	const char *path = r->options->key;

	if (memmem(pem, len, encrypted, strlen(encrypted)))
		return complain(
			r,
			"key: %s cannot be used as a private key in PEM: it is encrypted, and nobody is "
			"asked for its password; 'openssl pkey -in %s -out FILE' takes it off",
			path, path);
	return complain(
		r,
		"key: %s cannot be used as a private key in PEM: it is damaged, or of an unknown kind; "
		"'openssl pkey -in %s -noout' has details",
		path, path);
}

static int use_key(const struct reading *r, WOLFSSL_CTX *ctx)
{
	uint8_t pem[KEY_FILE_MAX];
	char why[WHY_MAX];
	const char *path = r->options->key;
	ssize_t len = secret_file_read(path, pem, sizeof pem, NULL, why, sizeof why);
	int ret = 0;

	if (len < 0) {
		ret = complain(r, "key: %s %s", path, why);
	} else {
		ret = wolfSSL_CTX_use_PrivateKey_buffer(ctx, pem, (long)len, WOLFSSL_FILETYPE_PEM);
		ret = ret == WOLFSSL_SUCCESS ? 0 : complain_about_key(r, pem, (size_t)len);
	}
	secret_wipe(pem, sizeof pem);
	if (ret == 0 && wolfSSL_CTX_check_private_key(ctx) != WOLFSSL_SUCCESS)
		ret = complain(r, "key: %s does not belong to the certificate in %s", path,
			       r->options->certificate);
	return ret;
}

/* RFC 6066 8: a server that has no status to show may leave the message out. */
static void *allocate(size_t len)
{
	return wolfSSL_Malloc(len); /* wolfSSL frees it */
}

static int give_status(WOLFSSL *ssl, void *context)
{
	size_t len = 0;
	uint8_t *response = staple_copy(context, allocate, &len);

	if (!response)
		return WOLFSSL_OCSP_STATUS_CB_NOACK;
	if (wolfSSL_set_tlsext_status_ocsp_resp(ssl, response, (int)len) == WOLFSSL_SUCCESS)
		return WOLFSSL_OCSP_STATUS_CB_OK;
	wolfSSL_Free(response);
	return WOLFSSL_OCSP_STATUS_CB_NOACK;
}

static int set_stapling(struct own *o, const struct reading *r, const uint8_t *chain, size_t chain_len,
			struct errands *errands)
{
	char why[WHY_MAX];

	if (!r->options->ocsp_stapling)
		return 0;
	o->staple =
		staple_new(chain, chain_len, r->options->ocsp_responder, errands, r->place, why, sizeof why);
	if (!o->staple)
		return complain(r, "ocsp_stapling: %s", why);
	if (wolfSSL_CTX_EnableOCSPStapling(o->ctx) == WOLFSSL_SUCCESS &&
	    wolfSSL_CTX_set_tlsext_status_cb(o->ctx, give_status) == WOLFSSL_SUCCESS &&
	    wolfSSL_CTX_set_tlsext_status_arg(o->ctx, o->staple) == WOLFSSL_SUCCESS)
		return 0;
	return complain(r, "ocsp_stapling: this build of wolfSSL cannot do it");
}

static int use_chain(struct own *o, const struct reading *r, const uint8_t *pem, ssize_t len,
		     struct errands *errands)
{
	const char *path = r->options->certificate;
	struct certificate found;
	char why[WHY_MAX];
	int ret;

	if (len < 0)
		return complain(r, "certificate: %s cannot be used as a certificate chain in PEM: %s", path,
				strerror((int)-len));
	ret = wolfSSL_CTX_use_certificate_chain_buffer(o->ctx, pem, (long)len);
	if (ret != WOLFSSL_SUCCESS)
		return complain(
			r,
			"certificate: %s cannot be used as a certificate chain in PEM: it is damaged, or "
			"of an unknown kind; 'openssl x509 -in %s -noout -text' has details",
			path, path);
	if (!certificate_read(pem, (size_t)len, &found, why, sizeof why))
		return complain(r, "certificate: %s cannot be used: %s", path, why);
	o->certificate_curve = found.curve;
	o->not_before_s = found.not_before_s;
	o->not_after_s = found.not_after_s;
	ret = use_key(r, o->ctx);
	return ret == 0 ? set_stapling(o, r, pem, (size_t)len, errands) : ret;
}

static int load_certificate(struct own *o, const struct reading *r, struct errands *errands)
{
	uint8_t *pem;
	int ret;

	if (!r->options->certificate)
		return 0;
	if (!r->options->key)
		return complain(r, "key is missing: the certificate needs it");
	pem = malloc(CHAIN_FILE_MAX);
	if (!pem)
		return -ENOMEM;
	ret = use_chain(o, r, pem, read_public_file(r->options->certificate, pem, CHAIN_FILE_MAX), errands);
	free(pem);
	return ret;
}

/* ---- the raw public key */

static int use_raw_key(struct own *o, const struct reading *r, const uint8_t *pem, size_t len)
{
	const char *path = r->options->raw_key;
	struct raw_key key;
	char why[WHY_MAX];

	if (!raw_key_of_pem(pem, len, &key, why, sizeof why))
		return complain(r, "raw_key: %s %s", path, why);
	if (wolfSSL_CTX_use_certificate_buffer(o->raw_ctx, key.info, key.info_len, WOLFSSL_FILETYPE_ASN1) !=
		    WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_use_PrivateKey_buffer(o->raw_ctx, pem, (long)len, WOLFSSL_FILETYPE_PEM) !=
		    WOLFSSL_SUCCESS)
		return complain(r, "raw_key: wolfSSL cannot use the key in %s", path);
	o->raw_key_curve = key.curve;
	memcpy(o->raw_key_digest, key.digest, sizeof o->raw_key_digest);
	return 0;
}

static int load_raw_key(struct own *o, const struct reading *r)
{
	uint8_t pem[KEY_FILE_MAX];
	char why[WHY_MAX];
	ssize_t len;
	int ret;

	if (!r->options->raw_key)
		return 0;
	o->raw_ctx = wolfSSL_CTX_new(wolfDTLSv1_2_server_method());
	if (!o->raw_ctx)
		return -ENOMEM;
	len = secret_file_read(r->options->raw_key, pem, sizeof pem, NULL, why, sizeof why);
	ret = len < 0 ? complain(r, "raw_key: %s %s", r->options->raw_key, why)
		      : use_raw_key(o, r, pem, (size_t)len);
	secret_wipe(pem, sizeof pem);
	return ret;
}

/* ---- both */

struct own *own_new(const struct config_tls *options, struct errands *errands, const char *place, char *error,
		    size_t error_len)
{
	const struct reading r = {options, place, error, error_len};
	struct own *o = calloc(1, sizeof *o);

	snprintf(error, error_len, "out of memory");
	if (!o)
		return NULL;
	o->ctx = wolfSSL_CTX_new(wolfDTLSv1_2_server_method());
	if (o->ctx && load_certificate(o, &r, errands) == 0 && load_raw_key(o, &r) == 0)
		return o;
	own_free(o);
	return NULL;
}

/* wolfSSL wipes private keys when the last user of a CTX is gone. */
void own_free(struct own *o)
{
	if (!o)
		return;
	wolfSSL_CTX_free(o->ctx);
	wolfSSL_CTX_free(o->raw_ctx);
	staple_free(o->staple);
	free(o);
}
