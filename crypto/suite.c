/* The suites and the protections that records can have. */
#include "crypto/suite.h"

#include <stddef.h>
#include <string.h>

static const struct protection protections[PROTECTIONS] = {
	[PROTECTION_NONE] = {.name = "none"},
	[PROTECTION_AES_128_CCM_8] = {.name = "aes-128-ccm-8",
				      .key_len = 16,
				      .salt_len = 4,
				      .explicit_len = 8,
				      .tag_len = 8,
				      .aead = true},
	[PROTECTION_AES_128_CCM] = {.name = "aes-128-ccm",
				    .key_len = 16,
				    .salt_len = 4,
				    .explicit_len = 8,
				    .tag_len = 16,
				    .aead = true},
	[PROTECTION_AES_256_CCM_8] = {.name = "aes-256-ccm-8",
				      .key_len = 32,
				      .salt_len = 4,
				      .explicit_len = 8,
				      .tag_len = 8,
				      .aead = true},
	[PROTECTION_AES_128_GCM] = {.name = "aes-128-gcm",
				    .key_len = 16,
				    .salt_len = 4,
				    .explicit_len = 8,
				    .tag_len = 16,
				    .aead = true},
	[PROTECTION_AES_128_CBC_MTE] = {.name = "aes-128-cbc-sha256-mte",
					.key_len = 16,
					.mac_key_len = 32,
					.explicit_len = 16,
					.tag_len = 32},
	[PROTECTION_AES_128_CBC_ETM] = {.name = "aes-128-cbc-sha256-etm",
					.key_len = 16,
					.mac_key_len = 32,
					.explicit_len = 16,
					.tag_len = 32},
};

#define AEAD(id) .protection = (id), .protection_etm = (id)
#define CBC      .protection = PROTECTION_AES_128_CBC_MTE, .protection_etm = PROTECTION_AES_128_CBC_ETM

/* In the order of preference. The ones by default are those that oneM2M (TS-0003) and LwM2M ask for, and GCM.
 * Code points: RFC 6655 (PSK, CCM), RFC 7251 (ECDHE_ECDSA, CCM), RFC 5487 (PSK and DHE_PSK, GCM and
 * CBC_SHA256), RFC 5289 (ECDHE_ECDSA, GCM and CBC_SHA256), RFC 5489 (ECDHE_PSK).
 */
static const struct suite suites[] = {
	{0xc0ae, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", "ECDHE-ECDSA-AES128-CCM-8", SUITE_CERTIFICATE,
	 AEAD(PROTECTION_AES_128_CCM_8), .by_default = true},
	{0xc0a8, "TLS_PSK_WITH_AES_128_CCM_8", "PSK-AES128-CCM-8", SUITE_PSK, AEAD(PROTECTION_AES_128_CCM_8),
	 .by_default = true},
	{0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256",
	 SUITE_CERTIFICATE, AEAD(PROTECTION_AES_128_GCM), .by_default = true},
	{0x00a8, "TLS_PSK_WITH_AES_128_GCM_SHA256", "PSK-AES128-GCM-SHA256", SUITE_PSK,
	 AEAD(PROTECTION_AES_128_GCM), .by_default = true},
	{0xc023, "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256", SUITE_CERTIFICATE,
	 CBC, .by_default = true},
	{0x00ae, "TLS_PSK_WITH_AES_128_CBC_SHA256", "PSK-AES128-CBC-SHA256", SUITE_PSK, CBC,
	 .by_default = true},
	{0x00aa, "TLS_DHE_PSK_WITH_AES_128_GCM_SHA256", "DHE-PSK-AES128-GCM-SHA256", SUITE_PSK,
	 AEAD(PROTECTION_AES_128_GCM)},
	{0xc037, "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256", "ECDHE-PSK-AES128-CBC-SHA256", SUITE_PSK, CBC},
	{0x00b2, "TLS_DHE_PSK_WITH_AES_128_CBC_SHA256", "DHE-PSK-AES128-CBC-SHA256", SUITE_PSK, CBC},
	{0xc0ac, "TLS_ECDHE_ECDSA_WITH_AES_128_CCM", "ECDHE-ECDSA-AES128-CCM", SUITE_CERTIFICATE,
	 AEAD(PROTECTION_AES_128_CCM)},
	{0xc0a4, "TLS_PSK_WITH_AES_128_CCM", "PSK-AES128-CCM", SUITE_PSK, AEAD(PROTECTION_AES_128_CCM)},
	{0xc0a6, "TLS_DHE_PSK_WITH_AES_128_CCM", "DHE-PSK-AES128-CCM", SUITE_PSK,
	 AEAD(PROTECTION_AES_128_CCM)},
	{0xc0af, "TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8", "ECDHE-ECDSA-AES256-CCM-8", SUITE_CERTIFICATE,
	 AEAD(PROTECTION_AES_256_CCM_8)},
	{0xc0a9, "TLS_PSK_WITH_AES_256_CCM_8", "PSK-AES256-CCM-8", SUITE_PSK, AEAD(PROTECTION_AES_256_CCM_8)},
};

enum { SUITE_COUNT = sizeof suites / sizeof suites[0] };

const struct protection *protection_get(enum protection_id id)
{
	return (unsigned)id < PROTECTIONS ? &protections[id] : &protections[PROTECTION_NONE];
}

const struct suite *suite_by_id(uint16_t id)
{
	for (unsigned i = 0; i < SUITE_COUNT; i++) {
		if (suites[i].id == id)
			return &suites[i];
	}
	return NULL;
}

const struct suite *suite_by_name(const char *iana_name)
{
	for (unsigned i = 0; i < SUITE_COUNT; i++) {
		if (strcmp(suites[i].name, iana_name) == 0)
			return &suites[i];
	}
	return NULL;
}

const struct suite *suite_all(unsigned *count)
{
	*count = SUITE_COUNT;
	return suites;
}
