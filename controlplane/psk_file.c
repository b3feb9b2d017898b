/* See psk_file.h. One block of memory for all entries, and a hash table of indices into it. */
#include "controlplane/psk_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controlplane/proof.h"
#include "controlplane/secret_file.h"
#include "crypto/secret.h"
#include "crypto/sha256.h"

enum {
	FILE_LEN_MAX = 256 << 20,
	ENTRIES_MAX = 1 << 21,
	WHY_MAX = 256,
};

struct entry {
	uint8_t identity[PSK_IDENTITY_MAX];
	uint8_t key[PSK_KEY_MAX];
	uint8_t identity_len, key_len;
	uint64_t version;
};

struct psk_file {
	struct entry *entries;
	uint32_t *table; /* index + 1; 0: empty */
	uint32_t count, room, mask;
	uint32_t weak; /* of the count */
};

/* ---- the table */

/* FNV-1a: the identities are the operator's, not a stranger's. */
static uint32_t hash_identity(const uint8_t *identity, size_t len)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ identity[i]) * 16777619u;
	return hash;
}

/* The place of an identity, or the empty place where it belongs. */
static uint32_t *find_place(const struct psk_file *f, const uint8_t *identity, size_t len)
{
	uint32_t at = hash_identity(identity, len) & f->mask;

	while (f->table[at]) {
		const struct entry *e = &f->entries[f->table[at] - 1];

		if (e->identity_len == len && memcmp(e->identity, identity, len) == 0)
			break;
		at = (at + 1) & f->mask;
	}
	return &f->table[at];
}

int psk_file_find(const struct psk_file *f, const char *tenant, const uint8_t *identity, size_t identity_len,
		  struct psk_credential *out)
{
	uint32_t place = *find_place(f, identity, identity_len);
	const struct entry *e;

	if (!place || tenant[0])
		return 0;
	e = &f->entries[place - 1];
	memset(out, 0, sizeof *out);
	memcpy(out->key, e->key, e->key_len);
	out->key_len = e->key_len;
	registree_by_credential(&out->registree, identity, identity_len);
	out->registree.version = e->version;
	return 1;
}

/* Of the row alone, so that it is the same after the next start, and in every gateway that has the file: a
 * session ticket may come from there. No number of a change of another store is as high. */
static uint64_t version_of(const struct entry *e)
{
	uint8_t digest[SHA256_LEN];
	uint64_t version = 0;
	struct sha256 h;

	sha256_start(&h, sha256_initial, 0);
	sha256_update(&h, &e->identity_len, 1);
	sha256_update(&h, e->identity, e->identity_len);
	sha256_update(&h, e->key, e->key_len);
	sha256_finish(&h, digest);
	for (unsigned i = 0; i < sizeof version; i++)
		version = version << 8 | digest[i];
	secret_wipe(&h, sizeof h);
	secret_wipe(digest, sizeof digest);
	return version | 1ULL << 63;
}

/* ---- reading */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static const char *read_key(struct entry *e, const char *hex, size_t len)
{
	if (len == 0)
		return "there is no key behind the colon";
	if (len % 2 != 0)
		return "the key has an odd number of hexadecimal digits";
	if (len > (size_t)2 * PSK_KEY_MAX)
		return "the key is longer than 64 bytes (128 hexadecimal digits)";
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_digit(hex[i]), low = hex_digit(hex[i + 1]);

		if (high < 0 || low < 0)
			return "the key holds something else than hexadecimal digits";
		e->key[i / 2] = (uint8_t)(high << 4 | low);
	}
	e->key_len = (uint8_t)(len / 2);
	return NULL;
}

/* NULL, or what is wrong with the line. */
static const char *read_entry(struct entry *e, const char *line, size_t len)
{
	const char *colon = memrchr(line, ':', len);
	size_t identity_len = colon ? (size_t)(colon - line) : 0;

	if (!colon)
		return "there is no colon between identity and key";
	if (identity_len == 0)
		return "the identity is empty";
	if (identity_len > PSK_IDENTITY_MAX)
		return "the identity is longer than 128 bytes";
	if (memchr(line, 0, len))
		return "it holds a NUL byte";
	memcpy(e->identity, line, identity_len);
	e->identity_len = (uint8_t)identity_len;
	return read_key(e, colon + 1, len - identity_len - 1);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* One line without its newline. 0; 1 when there is nothing in it; -EINVAL with *why. */
static int read_line(struct psk_file *f, const char *line, size_t len, const char **why)
{
	struct entry *e = &f->entries[f->count];
	uint32_t *place;

	while (len > 0 && is_blank(line[len - 1]))
		len--;
	while (len > 0 && is_blank(*line)) {
		line++;
		len--;
	}
	if (len == 0 || *line == '#')
		return 1;
	*why = f->count == f->room ? "there are too many keys" : read_entry(e, line, len);
	if (*why)
		return -EINVAL;
	place = find_place(f, e->identity, e->identity_len);
	if (*place) {
		*why = "the same identity stands in an earlier line";
		return -EINVAL;
	}
	e->version = version_of(e);
	*place = ++f->count;
	f->weak += e->key_len < PSK_KEY_STRONG;
	return 0;
}

static uint32_t count_lines(const char *text, size_t len)
{
	uint32_t lines = 1;

	for (const char *at = text; (at = memchr(at, '\n', len - (size_t)(at - text))); at++)
		lines++;
	return lines;
}

static int take_memory(struct psk_file *f, uint32_t lines)
{
	uint32_t size = 16;

	f->room = lines < ENTRIES_MAX ? lines : ENTRIES_MAX;
	while (size < 2 * f->room)
		size *= 2;
	f->mask = size - 1;
	f->entries = calloc((size_t)f->room + 1, sizeof *f->entries);
	f->table = calloc(size, sizeof *f->table);
	return f->entries && f->table ? 0 : -ENOMEM;
}

static int read_text(struct psk_file *f, const char *path, const char *text, size_t len, char *error,
		     size_t error_len)
{
	const char *end = text + len;
	uint32_t number = 0;

	for (const char *line = text; line < end;) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline ? newline : end;
		const char *why;

		number++;
		if (read_line(f, line, (size_t)(stop - line), &why) < 0) {
			snprintf(error, error_len, "%s, line %u: %s (expected \"identity:hexkey\")", path,
				 number, why);
			return -EINVAL;
		}
		line = stop + 1;
	}
	return 0;
}

/* ---- the file */

static int open_checked(const char *path, size_t *len, char *error, size_t error_len)
{
	char why[WHY_MAX];
	struct stat status;
	int fd = secret_file_open(path, &status, why, sizeof why);

	if (fd < 0) {
		snprintf(error, error_len, "%s %s", path, why);
		return fd;
	}
	if (status.st_size <= FILE_LEN_MAX) {
		*len = (size_t)status.st_size;
		return fd;
	}
	snprintf(error, error_len, "%s is larger than 256 MiB", path);
	close(fd);
	return -EFBIG;
}

static int read_whole(int fd, char *text, size_t len)
{
	size_t have = 0;

	while (have < len) {
		ssize_t n = read(fd, text + have, len - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		have += (size_t)n;
	}
	return 0;
}

struct psk_file *psk_file_open(const char *path, char *error, size_t error_len)
{
	struct psk_file *f = calloc(1, sizeof *f);
	char *text = NULL;
	size_t len = 0;
	int fd = open_checked(path, &len, error, error_len);
	int ret = -ENOMEM;

	if (fd < 0)
		goto err;
	text = malloc(len + 1);
	if (f && text)
		ret = read_whole(fd, text, len);
	close(fd);
	if (ret == 0)
		ret = take_memory(f, count_lines(text, len));
	if (ret) {
		snprintf(error, error_len, "%s cannot be read: %s", path, strerror(-ret));
		goto err;
	}
	if (read_text(f, path, text, len, error, error_len))
		goto err;
	secret_wipe(text, len);
	free(text);
	return f;
err:
	if (text)
		secret_wipe(text, len);
	free(text);
	psk_file_close(f);
	return NULL;
}

void psk_file_close(struct psk_file *f)
{
	if (!f)
		return;
	if (f->entries)
		secret_wipe(f->entries, ((size_t)f->room + 1) * sizeof *f->entries);
	free(f->entries);
	free(f->table);
	free(f);
}

uint32_t psk_file_weak(const struct psk_file *f)
{
	return f->weak;
}

uint32_t psk_file_count(const struct psk_file *f)
{
	return f->count;
}
