#include "controlplane/row.h"

#include <errno.h>
#include <string.h>

#include "crypto/secret.h"

enum { FLAG_SEALED = 1, AT_FLAGS = 1, AT_KIND = 2, AT_COUNT = 3, AT_CRC = 4, AT_VERSION = 8 };

static void put_le(uint8_t *out, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)in[i] << (8 * i);
	return value;
}

/* RFC 3720 B.4, four bits at a time: rows are short and rare. */
static uint32_t crc32c(uint32_t crc, const uint8_t *bytes, size_t len)
{
	static const uint32_t table[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};

	crc = ~crc;
	for (size_t i = 0; i < len; i++) {
		crc ^= bytes[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc;
}

static uint32_t row_crc(const uint8_t *key, size_t key_len, const uint8_t *row, size_t row_len)
{
	static const uint8_t zero[4];
	uint32_t crc = crc32c(0, key, key_len);

	crc = crc32c(crc, row, AT_CRC);
	crc = crc32c(crc, zero, sizeof(zero));
	return crc32c(crc, row + AT_VERSION, row_len - AT_VERSION);
}

bool text_is_clean(const void *text, size_t len)
{
	const uint8_t *at = text, *end = at + len;

	while (at < end) {
		unsigned follow = *at < 0x80   ? 0
				  : *at < 0xc2 ? 4
				  : *at < 0xe0 ? 1
				  : *at < 0xf0 ? 2
				  : *at < 0xf5 ? 3
					       : 4;
		uint32_t code = follow == 0 ? *at : *at & (0x3fU >> follow);

		if (follow == 4 || (size_t)(end - at) <= follow)
			return false;
		for (unsigned i = 1; i <= follow; i++) {
			if ((at[i] & 0xc0) != 0x80)
				return false;
			code = code << 6 | (at[i] & 0x3fU);
		}
		/* control characters, overlong forms, surrogates, beyond Unicode */
		if (code < 0x20 || (code >= 0x7f && code < 0xa0) || (follow == 2 && code < 0x800) ||
		    (follow == 3 && (code < 0x10000 || code > 0x10ffff)) || (code >= 0xd800 && code < 0xe000))
			return false;
		at += follow + 1;
	}
	return true;
}

bool credential_id_psk(struct credential_id *id, const char *tenant, const uint8_t *identity,
		       size_t identity_len)
{
	if (identity_len == 0 || identity_len > PSK_IDENTITY_MAX || strlen(tenant) > TENANT_MAX)
		return false;
	*id = (struct credential_id){.kind = SLUICE_CREDENTIAL_PSK, .name_len = (uint8_t)identity_len};
	memcpy(id->tenant, tenant, strlen(tenant) + 1);
	memcpy(id->name, identity, identity_len);
	return true;
}

size_t row_key_encode(const struct credential_id *id, uint8_t *key)
{
	size_t tenant_len = strlen(id->tenant);
	uint8_t *at = key;

	*at++ = (uint8_t)id->kind;
	*at++ = (uint8_t)tenant_len;
	memcpy(at, id->tenant, tenant_len);
	at += tenant_len;
	*at++ = id->digest_len;
	memcpy(at, id->digest, id->digest_len);
	at += id->digest_len;
	memcpy(at, id->name, id->name_len);
	return (size_t)(at - key) + id->name_len;
}

/* Whether name and digest are as long as the kind has them. */
static const char *id_fault(const struct credential_id *id)
{
	switch (id->kind) {
	case SLUICE_CREDENTIAL_PSK:
		if (id->name_len == 0)
			return "the PSK identity is empty";
		if (id->name_len > PSK_IDENTITY_MAX)
			return "the PSK identity is longer than 128 bytes";
		return id->digest_len == 0 ? NULL : "a pre-shared key has no digest";
	case SLUICE_CREDENTIAL_X509:
		if (id->name_len == 0 || !text_is_clean(id->name, id->name_len))
			return "the name in the certificate must be UTF-8 without control characters";
		return id->digest_len == 32 ? NULL : "the root must be named by the 32 bytes of its SHA-256";
	case SLUICE_CREDENTIAL_RPK:
		if (id->digest_len != 32 && id->digest_len != 16 && id->digest_len != 15)
			return "the public key must be named by sha-256, sha-256-128 or sha-256-120";
		return id->name_len == 0 ? NULL : "a raw public key has no name";
	default:
		return "the kind of the credential is unknown";
	}
}

int row_key_decode(const uint8_t *key, size_t key_len, struct credential_id *id)
{
	const uint8_t *end = key + key_len;

	memset(id, 0, sizeof(*id));
	if (key_len < 3 || key[1] > TENANT_MAX || key_len < 3U + key[1])
		return -EBADMSG;
	id->kind = key[0];
	memcpy(id->tenant, key + 2, key[1]);
	if (memchr(id->tenant, 0, key[1]) != NULL)
		return -EBADMSG;
	key += 2 + key[1];
	id->digest_len = *key++;
	if (id->digest_len > CREDENTIAL_DIGEST_MAX || (size_t)(end - key) < id->digest_len)
		return -EBADMSG;
	memcpy(id->digest, key, id->digest_len);
	key += id->digest_len;
	if (end - key > CREDENTIAL_NAME_MAX)
		return -EBADMSG;
	id->name_len = (uint8_t)(end - key);
	memcpy(id->name, key, id->name_len);
	return id_fault(id) == NULL ? 0 : -EBADMSG;
}

static const char *registree_fault(const struct registree *r)
{
	if (r->kind < SLUICE_IDENTITY_CREDENTIAL || r->kind > SLUICE_IDENTITY_LWM2M_ENDPOINT)
		return "the kind of the identity is unknown";
	if (r->kind == SLUICE_IDENTITY_CREDENTIAL && r->identities_count > 0)
		return "a credential that stands for itself has no other identity";
	if (r->kind != SLUICE_IDENTITY_CREDENTIAL && r->identities_count == 0)
		return "the identity is missing";
	if (r->identities_count > IDENTITIES_MAX)
		return "there are more than 16 identities";
	if (r->kind != SLUICE_IDENTITY_AE_ID && r->identities_count > 1)
		return "only AE-IDs may be more than one";
	for (unsigned i = 0; i < r->identities_count; i++) {
		size_t len = strnlen(r->identities[i], IDENTITY_MAX + 1);

		if (len == 0 || len > IDENTITY_MAX || !text_is_clean(r->identities[i], len))
			return "an identity must be 1 to 255 bytes of UTF-8 without control characters";
	}
	return NULL;
}

const char *credential_fault(const struct credential *c)
{
	const char *fault = id_fault(&c->id);

	if (fault != NULL)
		return fault;
	if (!text_is_clean(c->id.tenant, strlen(c->id.tenant)))
		return "the tenant must be UTF-8 without control characters";
	if (c->id.kind == SLUICE_CREDENTIAL_PSK && c->psk.key_len == 0)
		return "the key is missing";
	if (c->id.kind != SLUICE_CREDENTIAL_PSK && c->psk.key_len != 0)
		return "only a pre-shared key has a key";
	if (c->psk.key_len > PSK_KEY_MAX)
		return "the key is longer than 64 bytes";
	return registree_fault(&c->psk.registree);
}

/* What a sealed secret is bound to: the key, and the row before it, with the CRC as zero. */
static size_t bound_bytes(const uint8_t *key, size_t key_len, const uint8_t *row, size_t row_len,
			  uint8_t out[ROW_KEY_MAX + ROW_MAX])
{
	memcpy(out, key, key_len);
	memcpy(out + key_len, row, row_len);
	memset(out + key_len + AT_CRC, 0, 4);
	return key_len + row_len;
}

static int put_secret(const struct credential *c, struct wrap *wrap, const uint8_t *key, size_t key_len,
		      uint8_t *row, size_t used)
{
	uint8_t bound[ROW_KEY_MAX + ROW_MAX];
	size_t bound_len;

	row[used++] = c->psk.key_len;
	if (wrap == NULL) {
		memcpy(row + used, c->psk.key, c->psk.key_len);
		return (int)used + c->psk.key_len;
	}
	bound_len = bound_bytes(key, key_len, row, used, bound);
	if (wrap_seal(wrap, bound, bound_len, c->psk.key, c->psk.key_len, row + used) < 0)
		return -EIO;
	return (int)used + c->psk.key_len + WRAP_OVERHEAD;
}

int row_encode(const struct credential *c, struct wrap *wrap, uint8_t *row)
{
	const struct registree *r = &c->psk.registree;
	uint8_t key[ROW_KEY_MAX];
	size_t key_len = row_key_encode(&c->id, key), used = ROW_HEADER;
	int len;

	memset(row, 0, ROW_HEADER);
	row[0] = ROW_FORMAT;
	row[AT_FLAGS] = wrap != NULL ? FLAG_SEALED : 0;
	row[AT_KIND] = r->kind;
	row[AT_COUNT] = r->identities_count;
	put_le(row + AT_VERSION, r->version, 8);
	for (unsigned i = 0; i < r->identities_count; i++) {
		size_t text_len = strlen(r->identities[i]);

		row[used++] = (uint8_t)text_len;
		memcpy(row + used, r->identities[i], text_len);
		used += text_len;
	}
	len = put_secret(c, wrap, key, key_len, row, used);
	if (len > 0)
		put_le(row + AT_CRC, row_crc(key, key_len, row, (size_t)len), 4);
	return len;
}

/* Where the secret's length stands; 0 when the identities do not fit. */
static size_t take_identities(const uint8_t *row, size_t row_len, struct registree *r)
{
	size_t at = ROW_HEADER;

	for (unsigned i = 0; i < r->identities_count; i++) {
		size_t len = at < row_len ? row[at] : 0;

		at++;
		if (len == 0 || at + len > row_len || memchr(row + at, 0, len) != NULL)
			return 0;
		memcpy(r->identities[i], row + at, len);
		r->identities[i][len] = 0;
		at += len;
	}
	return at < row_len ? at : 0;
}

static int take_secret(const uint8_t *key, size_t key_len, const uint8_t *row, size_t row_len, size_t at,
		       struct wrap *wrap, struct psk_credential *out)
{
	bool sealed = (row[AT_FLAGS] & FLAG_SEALED) != 0;
	uint8_t bound[ROW_KEY_MAX + ROW_MAX];
	size_t bound_len, len = row[at++];

	if (len > PSK_KEY_MAX || row_len - at != len + (sealed ? WRAP_OVERHEAD : 0))
		return -EBADMSG;
	if (sealed != (wrap != NULL))
		return sealed ? -ENOKEY : -EKEYREJECTED;
	out->key_len = (uint8_t)len;
	if (!sealed) {
		memcpy(out->key, row + at, len);
		return 0;
	}
	bound_len = bound_bytes(key, key_len, row, at, bound);
	return wrap_open(wrap, bound, bound_len, row + at, row_len - at, out->key);
}

int row_decode(const uint8_t *key, size_t key_len, const uint8_t *row, size_t row_len, struct wrap *wrap,
	       struct psk_credential *out)
{
	struct registree *r = &out->registree;
	size_t at;
	int err;

	out->key_len = 0;
	r->identities_count = 0;
	if (key_len < 3 || key_len > ROW_KEY_MAX || key[1] > TENANT_MAX || key_len < 3U + key[1] ||
	    row_len <= ROW_HEADER || row_len > ROW_MAX)
		return -EBADMSG;
	if (row[0] != ROW_FORMAT)
		return -EPROTO;
	if (get_le(row + AT_CRC, 4) != row_crc(key, key_len, row, row_len) || row[AT_COUNT] > IDENTITIES_MAX)
		return -EBADMSG;
	if ((row[AT_FLAGS] & ~FLAG_SEALED) != 0) /* sound, and of a later version */
		return -EPROTO;
	r->kind = row[AT_KIND];
	r->identities_count = row[AT_COUNT];
	r->version = get_le(row + AT_VERSION, 8);
	at = take_identities(row, row_len, r);
	if (at == 0 || registree_fault(r) != NULL)
		return -EBADMSG;
	memcpy(r->tenant, key + 2, key[1]);
	r->tenant[key[1]] = 0;
	err = take_secret(key, key_len, row, row_len, at, wrap, out);
	if (err != 0) {
		secret_wipe(out->key, sizeof(out->key));
		out->key_len = 0;
	}
	return err;
}

void row_name_identity(const struct credential_id *id, struct registree *r)
{
	if (r->kind != SLUICE_IDENTITY_CREDENTIAL || id->name_len == 0 ||
	    !text_is_clean(id->name, id->name_len))
		return;
	r->identities_count = 1;
	memcpy(r->identities[0], id->name, id->name_len);
	r->identities[0][id->name_len] = 0;
}

bool credential_same(const struct psk_credential *a, const struct psk_credential *b)
{
	const struct registree *x = &a->registree, *y = &b->registree;

	if (a->key_len != b->key_len || !secret_equal(a->key, b->key, a->key_len) || x->kind != y->kind ||
	    x->identities_count != y->identities_count)
		return false;
	for (unsigned i = 0; i < x->identities_count; i++)
		if (strcmp(x->identities[i], y->identities[i]) != 0)
			return false;
	return true;
}
