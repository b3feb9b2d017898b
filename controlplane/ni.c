#include "controlplane/ni.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The suites of RFC 6920 9.4 that a raw public key may be stored under. */
static const struct {
	const char *prefix;
	size_t digest_len;
} suites[] = {
	{"ni:///sha-256;", 32},
	{"ni:///sha-256-128;", 16},
	{"ni:///sha-256-120;", 15},
};

/* base64url without padding (RFC 4648 5); the bits behind the last byte must be zero. */
static bool decode(const char *text, uint8_t *out, size_t len)
{
	uint32_t bits = 0;
	unsigned held = 0;
	size_t done = 0;

	if (strlen(text) != (len * 8 + 5) / 6)
		return false;
	for (; *text != 0; text++) {
		const char *at = strchr(alphabet, *text);

		if (at == NULL)
			return false;
		bits = bits << 6 | (uint32_t)(at - alphabet);
		held += 6;
		if (held >= 8) {
			held -= 8;
			out[done++] = (uint8_t)(bits >> held);
		}
		bits &= (1U << held) - 1;
	}
	return done == len && bits == 0;
}

static void encode(const uint8_t *bytes, size_t len, char *out)
{
	uint32_t bits = 0;
	unsigned held = 0;

	for (size_t i = 0; i < len; i++) {
		bits = bits << 8 | bytes[i];
		for (held += 8; held >= 6; held -= 6)
			*out++ = alphabet[bits >> (held - 6) & 63];
		bits &= (1U << held) - 1;
	}
	if (held > 0)
		*out++ = alphabet[bits << (6 - held) & 63];
	*out = 0;
}

int ni_parse(const char *text, uint8_t digest[NI_DIGEST_MAX])
{
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		size_t prefix_len = strlen(suites[i].prefix);

		if (strncmp(text, suites[i].prefix, prefix_len) == 0)
			return decode(text + prefix_len, digest, suites[i].digest_len)
				       ? (int)suites[i].digest_len
				       : -EINVAL;
	}
	return -EINVAL;
}

const char *ni_text(const uint8_t *digest, size_t digest_len, char out[NI_TEXT_MAX])
{
	out[0] = 0;
	for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++) {
		if (suites[i].digest_len != digest_len)
			continue;
		snprintf(out, NI_TEXT_MAX, "%s", suites[i].prefix);
		encode(digest, digest_len, out + strlen(out));
	}
	return out;
}
