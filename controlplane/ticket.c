/* See ticket.h. The name of a key is { 8 bytes that identify master and hour, the hour }. */
#include "controlplane/ticket.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/aes.h>

#include "controlplane/file_same.h"
#include "controlplane/log.h"
#include "controlplane/secret_file.h"
#include "controlplane/wrap.h"
#include "crypto/secret.h"
#include "crypto/sha256.h"
#include "crypto/wolfssl_random.h"

enum {
	NONCE_LEN = 12,
	TAG_LEN = 16,
	NAME_ID_LEN = 8,
	FILE_LEN_MAX = 1024,
	LOOK_EVERY_S = 10, /* at the file */
	SKEW_PERIODS = 1,  /* by which another gateway's clock may be ahead */
};
#define SEALED_MAX (UINT64_C(1) << 32)

struct masters {
	uint8_t of[TICKET_MASTERS_MAX][TICKET_MASTER_LEN];
	unsigned count;
};

struct ticket_keys {
	char *path; /* NULL: random */
	uint32_t lifetime_s;
	struct masters masters;
	uint64_t born_s;                /* of the first master, when it is random; 0: not yet used */
	uint64_t looked_s;              /* at the file */
	struct stat seen;               /* of the file, when it was read or tried to be */
	uint64_t sealed_period, sealed; /* tickets under the present key */
};

/* ---- the file */

/* One line: 64 digits. An empty one or a comment is passed over. */
static bool take_line(struct masters *m, const char *line, size_t len)
{
	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (len == 0 || line[0] == '#')
		return true;
	if (m->count == TICKET_MASTERS_MAX || !hex_decode(line, len, m->of[m->count], TICKET_MASTER_LEN))
		return false;
	m->count++;
	return true;
}

static bool take_text(struct masters *m, const char *text, size_t len)
{
	memset(m, 0, sizeof *m);
	while (len > 0) {
		const char *newline = memchr(text, '\n', len);
		size_t line_len = newline ? (size_t)(newline - text) : len;

		if (!take_line(m, text, line_len))
			return false;
		line_len += newline != NULL;
		text += line_len;
		len -= line_len;
	}
	return m->count > 0;
}

/* False with what is wrong. *seen (may be NULL): of the file that was read. */
static bool read_file(const char *path, struct masters *m, struct stat *seen, char *error, size_t error_len)
{
	char text[FILE_LEN_MAX], why[160] = "";
	ssize_t got = secret_file_read(path, text, sizeof text, seen, why, sizeof why);
	bool good = got >= 0 && take_text(m, text, (size_t)got);

	if (!good && (got >= 0 || got == -EFBIG))
		snprintf(why, sizeof why, "must hold one to %d lines of %d hexadecimal digits",
			 TICKET_MASTERS_MAX, 2 * TICKET_MASTER_LEN);
	if (!good)
		snprintf(error, error_len, "%s %s", path, why);
	secret_wipe(text, sizeof text);
	return good;
}

/* What cannot be used leaves the keys as they are. */
static void look_at_file(struct ticket_keys *k, uint64_t now_s)
{
	struct masters fresh;
	char error[256];
	struct stat st;

	if (now_s < k->looked_s + LOOK_EVERY_S && now_s >= k->looked_s)
		return;
	k->looked_s = now_s;
	if (stat(k->path, &st) != 0 || file_same(&st, &k->seen))
		return;
	k->seen = st;
	if (read_file(k->path, &fresh, NULL, error, sizeof error)) {
		k->masters = fresh;
		log_write(LOG_LEVEL_INFO, "the ticket keys in %s have been read again", k->path);
	} else {
		log_write(LOG_LEVEL_ERROR, "the ticket keys stay as they are: %s", error);
	}
	secret_wipe(&fresh, sizeof fresh);
}

/* ---- the keys */

/* The one before opens what it has sealed, until all of that has expired. */
static int renew_random(struct ticket_keys *k, uint64_t now_s)
{
	struct masters *m = &k->masters;

	if (m->count > 0 && now_s < k->born_s + k->lifetime_s)
		return 0;
	memcpy(m->of[1], m->of[0], TICKET_MASTER_LEN);
	if (random_block(m->of[0], TICKET_MASTER_LEN) != 0)
		return -EIO;
	m->count = m->count > 0 && now_s < k->born_s + 2 * (uint64_t)k->lifetime_s ? 2 : 1;
	k->born_s = now_s;
	return 0;
}

static int refresh(struct ticket_keys *k, uint64_t now_s)
{
	if (!k->path)
		return renew_random(k, now_s);
	look_at_file(k, now_s);
	return 0;
}

static void write_64(uint8_t out[8], uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t read_64(const uint8_t *at)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < 8; i++)
		value = value << 8 | at[i];
	return value;
}

/* HMAC-SHA256(master, purpose || period): a different purpose for the key and for its name. */
static void derive(const uint8_t master[TICKET_MASTER_LEN], const char *purpose, uint64_t period,
		   uint8_t out[SHA256_LEN])
{
	uint32_t inner[8], outer[8];
	struct sha256 hash;
	uint8_t number[8];

	write_64(number, period);
	sha256_hmac_midstates(inner, outer, master, TICKET_MASTER_LEN);
	sha256_start(&hash, inner, SHA256_BLOCK_LEN);
	sha256_update(&hash, purpose, strlen(purpose));
	sha256_update(&hash, number, sizeof number);
	sha256_hmac_finish(&hash, outer, out);
	secret_wipe(inner, sizeof inner);
	secret_wipe(outer, sizeof outer);
	secret_wipe(&hash, sizeof hash);
}

static void name_of(const uint8_t master[TICKET_MASTER_LEN], uint64_t period, uint8_t name[TICKET_NAME_LEN])
{
	uint8_t whole[SHA256_LEN];

	derive(master, "sluice session ticket name", period, whole);
	memcpy(name, whole, NAME_ID_LEN);
	write_64(name + NAME_ID_LEN, period);
}

/* The caller ends it with wc_AesFree() and wipes it. */
static int start_aes(Aes *aes, const uint8_t master[TICKET_MASTER_LEN], uint64_t period)
{
	uint8_t key[SHA256_LEN];
	int ret;

	derive(master, "sluice session ticket key", period, key);
	ret = wc_AesInit(aes, NULL, INVALID_DEVID);
	if (ret == 0)
		ret = wc_AesGcmSetKey(aes, key, sizeof key);
	secret_wipe(key, sizeof key);
	return ret == 0 ? 0 : -EIO;
}

static void end_aes(Aes *aes)
{
	wc_AesFree(aes);
	secret_wipe(aes, sizeof *aes);
}

static bool may_seal(struct ticket_keys *k, uint64_t period)
{
	if (k->sealed_period != period)
		k->sealed = 0;
	k->sealed_period = period;
	return k->sealed++ < SEALED_MAX;
}

int ticket_seal(struct ticket_keys *k, uint64_t now_s, uint8_t name[TICKET_NAME_LEN],
		uint8_t iv[TICKET_IV_LEN], uint8_t mac[TICKET_MAC_LEN], uint8_t *bytes, size_t len)
{
	uint64_t period = now_s / TICKET_PERIOD_S;
	Aes aes;
	int ret;

	memset(iv, 0, TICKET_IV_LEN);
	memset(mac, 0, TICKET_MAC_LEN);
	if (refresh(k, now_s) || !may_seal(k, period) || random_block(iv, NONCE_LEN) != 0)
		return -EIO;
	name_of(k->masters.of[0], period, name);
	ret = start_aes(&aes, k->masters.of[0], period);
	if (ret == 0 && wc_AesGcmEncrypt(&aes, bytes, bytes, (word32)len, iv, NONCE_LEN, mac, TAG_LEN, name,
					 TICKET_NAME_LEN) != 0)
		ret = -EIO;
	end_aes(&aes);
	return ret;
}

/* NULL: none of ours. */
static const uint8_t *find_master(const struct ticket_keys *k, uint64_t now_s,
				  const uint8_t name[TICKET_NAME_LEN], uint64_t *period)
{
	uint64_t present = now_s / TICKET_PERIOD_S, oldest = k->lifetime_s / TICKET_PERIOD_S + 1;
	uint8_t ours[TICKET_NAME_LEN];

	*period = read_64(name + NAME_ID_LEN);
	if (*period > present + SKEW_PERIODS || *period + oldest < present)
		return NULL;
	for (unsigned i = 0; i < k->masters.count; i++) {
		name_of(k->masters.of[i], *period, ours);
		if (secret_equal(ours, name, sizeof ours))
			return k->masters.of[i];
	}
	return NULL;
}

int ticket_open(struct ticket_keys *k, uint64_t now_s, const uint8_t name[TICKET_NAME_LEN],
		const uint8_t iv[TICKET_IV_LEN], const uint8_t mac[TICKET_MAC_LEN], uint8_t *bytes,
		size_t len)
{
	const uint8_t *master;
	uint64_t period;
	Aes aes;
	int ret;

	if (refresh(k, now_s))
		return -ENOENT;
	master = find_master(k, now_s, name, &period);
	if (!master)
		return -ENOENT;
	ret = start_aes(&aes, master, period);
	if (ret == 0 && wc_AesGcmDecrypt(&aes, bytes, bytes, (word32)len, iv, NONCE_LEN, mac, TAG_LEN, name,
					 TICKET_NAME_LEN) != 0)
		ret = -EBADMSG;
	if (ret)
		secret_wipe(bytes, len);
	end_aes(&aes);
	return ret;
}

/* ---- start and end */

uint32_t ticket_lifetime_s(const struct ticket_keys *k)
{
	return k->lifetime_s;
}

struct ticket_keys *ticket_keys_new(const char *path, uint32_t lifetime_s, char *error, size_t error_len)
{
	struct ticket_keys *k = calloc(1, sizeof *k);

	snprintf(error, error_len, "out of memory");
	if (!k)
		return NULL;
	k->lifetime_s = lifetime_s;
	k->path = path ? strdup(path) : NULL;
	if ((path && !k->path) || (path && !read_file(path, &k->masters, &k->seen, error, error_len))) {
		ticket_keys_free(k);
		return NULL;
	}
	return k;
}

void ticket_keys_free(struct ticket_keys *k)
{
	if (!k)
		return;
	free(k->path);
	secret_wipe(k, sizeof *k);
	free(k);
}
