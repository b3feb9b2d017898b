#include "controlplane/wrap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>

#include "controlplane/secret_file.h"
#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

struct wrap {
	Aes aes;
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool hex_decode(const char *text, size_t text_len, uint8_t *out, size_t len)
{
	if (text_len != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

void hex_encode(const uint8_t *bytes, size_t len, char *out)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = 0;
}

/* Fills key; false with the reason in error. */
static bool read_key(const char *path, uint8_t key[WRAP_KEY_LEN], char *error, size_t error_len)
{
	char text[2 * WRAP_KEY_LEN + 2], why[160] = "";
	ssize_t got = secret_file_read(path, text, sizeof(text), NULL, why, sizeof(why));
	bool good;

	if (got >= 0 || got == -EFBIG)
		snprintf(why, sizeof(why), "must hold %d hexadecimal digits", 2 * WRAP_KEY_LEN);
	while (got > 0 && (text[got - 1] == '\n' || text[got - 1] == '\r'))
		got--;
	good = got > 0 && hex_decode(text, (size_t)got, key, WRAP_KEY_LEN);
	if (!good)
		snprintf(error, error_len, "The key file %s %s.", path, why);
	secret_wipe(text, sizeof(text));
	return good;
}

struct wrap *wrap_new(const char *path, char *error, size_t error_len)
{
	uint8_t key[WRAP_KEY_LEN] = {0};
	struct wrap *w = NULL;

	if (!read_key(path, key, error, error_len))
		return NULL;
	w = calloc(1, sizeof(*w));
	if (w == NULL || wc_AesInit(&w->aes, NULL, INVALID_DEVID) != 0 ||
	    wc_AesGcmSetKey(&w->aes, key, sizeof(key)) != 0) {
		snprintf(error, error_len, "AES-256-GCM cannot be set up.");
		free(w);
		w = NULL;
	}
	secret_wipe(key, sizeof(key));
	return w;
}

void wrap_free(struct wrap *w)
{
	if (w == NULL)
		return;
	wc_AesFree(&w->aes);
	secret_wipe(w, sizeof(*w));
	free(w);
}

int wrap_create_key(const char *path)
{
	uint8_t key[WRAP_KEY_LEN];
	char text[2 * WRAP_KEY_LEN + 2];
	int fd, err = 0;

	if (random_block(key, sizeof(key)) != 0)
		return -EIO;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	hex_encode(key, sizeof(key), text);
	text[2 * WRAP_KEY_LEN] = '\n';
	if (write(fd, text, 2 * WRAP_KEY_LEN + 1) != 2 * WRAP_KEY_LEN + 1 || fsync(fd) < 0)
		err = errno != 0 ? -errno : -EIO;
	close(fd);
	if (err != 0)
		unlink(path);
	secret_wipe(key, sizeof(key));
	secret_wipe(text, sizeof(text));
	return err;
}

int wrap_seal(struct wrap *w, const uint8_t *name, size_t name_len, const uint8_t *secret, size_t secret_len,
	      uint8_t *out)
{
	if (random_block(out, WRAP_NONCE_LEN) != 0)
		return -EIO;
	return wc_AesGcmEncrypt(&w->aes, out + WRAP_NONCE_LEN, secret, (word32)secret_len, out,
				WRAP_NONCE_LEN, out + WRAP_NONCE_LEN + secret_len, WRAP_TAG_LEN, name,
				(word32)name_len) == 0
		       ? 0
		       : -EIO;
}

int wrap_open(struct wrap *w, const uint8_t *name, size_t name_len, const uint8_t *sealed, size_t sealed_len,
	      uint8_t *secret)
{
	size_t len = sealed_len - WRAP_OVERHEAD;

	if (sealed_len < WRAP_OVERHEAD)
		return -EBADMSG;
	if (wc_AesGcmDecrypt(&w->aes, secret, sealed + WRAP_NONCE_LEN, (word32)len, sealed, WRAP_NONCE_LEN,
			     sealed + WRAP_NONCE_LEN + len, WRAP_TAG_LEN, name, (word32)name_len) == 0)
		return 0;
	if (len > 0)
		secret_wipe(secret, len);
	return -EBADMSG;
}
