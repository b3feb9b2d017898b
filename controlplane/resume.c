/* See resume.h. */
#include "controlplane/resume.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/secret.h"
#include "crypto/sha256.h"
#include "crypto/wolfssl_random.h"

enum {
	FORMAT = 1,
	SALT_LEN = 8,
	CHECK_LEN = 16,
	LENGTH_LEN = 2,
	TICKET_HEAD_LEN = TICKET_NAME_LEN + TICKET_IV_LEN + LENGTH_LEN, /* before what is sealed */
	TICKET_LEN_MAX = 2048,
	SKEW_S = 300, /* by which the clock of the gateway that issued it may be ahead */
};

/* In the order of the fields, integers in network byte order. */
struct issued {
	uint64_t at_s;
	uint16_t suite;
	uint64_t version; /* of the registree */
	uint8_t salt[SALT_LEN];
	uint8_t check[CHECK_LEN]; /* of a PSK: SHA-256(salt || key), so that another key is noticed */
	uint8_t kind;             /* enum sluice_credential */
	struct credential_id id;
};

enum {
	ISSUED_MAX = 1 + 8 + 2 + 8 + SALT_LEN + CHECK_LEN + 1 + (1 + TENANT_MAX) + (1 + CREDENTIAL_NAME_MAX) +
		     (1 + CREDENTIAL_DIGEST_MAX),
};

/* ---- to bytes and back */

static uint8_t *put_number(uint8_t *at, uint64_t value, unsigned octets)
{
	for (unsigned i = 0; i < octets; i++)
		*at++ = (uint8_t)(value >> 8 * (octets - 1 - i));
	return at;
}

static uint8_t *put_bytes(uint8_t *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

static uint8_t *put_text(uint8_t *at, const void *bytes, uint8_t len)
{
	return put_bytes(put_number(at, len, 1), bytes, len);
}

static size_t issued_encode(const struct issued *i, uint8_t out[ISSUED_MAX])
{
	uint8_t *at = put_number(out, FORMAT, 1);

	at = put_number(at, i->at_s, 8);
	at = put_number(at, i->suite, 2);
	at = put_number(at, i->version, 8);
	at = put_bytes(at, i->salt, SALT_LEN);
	at = put_bytes(at, i->check, CHECK_LEN);
	at = put_number(at, i->kind, 1);
	at = put_text(at, i->id.tenant, (uint8_t)strlen(i->id.tenant));
	at = put_text(at, i->id.name, i->id.name_len);
	at = put_text(at, i->id.digest, i->id.digest_len);
	return (size_t)(at - out);
}

struct reader {
	const uint8_t *at, *end;
	bool short_of;
};

static uint64_t get_number(struct reader *r, unsigned octets)
{
	uint64_t value = 0;

	if ((size_t)(r->end - r->at) < octets)
		r->short_of = true;
	for (unsigned i = 0; i < octets && !r->short_of; i++)
		value = value << 8 | *r->at++;
	return value;
}

static void get_bytes(struct reader *r, void *out, size_t len)
{
	if ((size_t)(r->end - r->at) < len)
		r->short_of = true;
	if (r->short_of)
		return;
	memcpy(out, r->at, len);
	r->at += len;
}

static uint8_t get_text(struct reader *r, void *out, size_t max)
{
	uint8_t len = (uint8_t)get_number(r, 1);

	if (len > max)
		r->short_of = true;
	get_bytes(r, out, r->short_of ? 0 : len);
	return len;
}

/* What was sealed by us; yet another version of this program may have had another format. */
static bool issued_decode(struct issued *i, const uint8_t *bytes, size_t len)
{
	struct reader r = {.at = bytes, .end = bytes + len};

	memset(i, 0, sizeof *i);
	if (get_number(&r, 1) != FORMAT)
		return false;
	i->at_s = get_number(&r, 8);
	i->suite = (uint16_t)get_number(&r, 2);
	i->version = get_number(&r, 8);
	get_bytes(&r, i->salt, SALT_LEN);
	get_bytes(&r, i->check, CHECK_LEN);
	i->kind = (uint8_t)get_number(&r, 1);
	(void)get_text(&r, i->id.tenant, TENANT_MAX);
	i->id.name_len = get_text(&r, i->id.name, CREDENTIAL_NAME_MAX);
	i->id.digest_len = get_text(&r, i->id.digest, CREDENTIAL_DIGEST_MAX);
	i->id.kind = (enum sluice_credential)i->kind;
	return !r.short_of && r.at == r.end;
}

/* ---- a ticket is written */

static void check_of(const uint8_t salt[SALT_LEN], const uint8_t *psk, size_t psk_len,
		     uint8_t check[CHECK_LEN])
{
	uint8_t digest[SHA256_LEN];
	struct sha256 hash;

	sha256_start(&hash, sha256_initial, 0);
	sha256_update(&hash, salt, SALT_LEN);
	sha256_update(&hash, psk, psk_len);
	sha256_finish(&hash, digest);
	memcpy(check, digest, CHECK_LEN);
	secret_wipe(digest, sizeof digest);
	secret_wipe(&hash, sizeof hash);
}

/* False when the session is not to be resumed. */
static bool describe(const struct resume_state *s, uint64_t now_s, struct issued *i)
{
	memset(i, 0, sizeof *i);
	i->at_s = now_s;
	i->suite = s->suite;
	memcpy(i->id.tenant, s->tls->tenant, sizeof i->id.tenant);
	if (!s->proof)
		return true;
	i->kind = s->proof->credential;
	if (i->kind == SLUICE_CREDENTIAL_X509 || s->proof->registered.kind != i->kind)
		return false;
	i->id = s->proof->registered;
	memcpy(i->id.tenant, s->tls->tenant, sizeof i->id.tenant);
	i->id.name_len = s->proof->id_len; /* of a raw public key: its identifier as text */
	memcpy(i->id.name, s->proof->id, s->proof->id_len);
	i->version = s->proof->registree.version;
	if (i->kind != SLUICE_CREDENTIAL_PSK)
		return true;
	if (random_block(i->salt, SALT_LEN) != 0)
		return false;
	check_of(i->salt, s->psk, s->psk_len, i->check);
	return true;
}

/* One that nobody can open, us included: wolfSSL wants every part to look filled. */
static int write_void(uint8_t *name, uint8_t *iv, uint8_t *mac, uint8_t *bytes, size_t len,
		      size_t *sealed_len)
{
	*sealed_len = len;
	return random_block(name, TICKET_NAME_LEN) == 0 && random_block(iv, TICKET_IV_LEN) == 0 &&
			       random_block(mac, TICKET_MAC_LEN) == 0 &&
			       random_block(bytes, (unsigned)len) == 0
		       ? 0
		       : -EIO;
}

int resume_write(const struct resume_state *s, uint64_t now_s, uint8_t *name, uint8_t *iv, uint8_t *mac,
		 uint8_t *bytes, size_t len, size_t room, size_t *sealed_len)
{
	uint8_t encoded[ISSUED_MAX];
	struct issued issued;
	size_t more;
	int ret;

	if (!describe(s, now_s, &issued))
		return write_void(name, iv, mac, bytes, len, sealed_len);
	more = issued_encode(&issued, encoded);
	if (len + more + LENGTH_LEN > room) {
		ret = write_void(name, iv, mac, bytes, len, sealed_len);
	} else {
		memcpy(bytes + len, encoded, more);
		put_number(bytes + len + more, more, LENGTH_LEN);
		*sealed_len = len + more + LENGTH_LEN;
		ret = ticket_seal(s->tls->tickets, now_s, name, iv, mac, bytes, *sealed_len);
	}
	secret_wipe(&issued, sizeof issued);
	secret_wipe(encoded, sizeof encoded);
	return ret;
}

/* ---- a ticket is shown */

int resume_open(struct ticket_keys *keys, uint64_t now_s, const uint8_t *name, const uint8_t *iv,
		const uint8_t *mac, uint8_t *bytes, size_t sealed_len, size_t *len)
{
	int ret = ticket_open(keys, now_s, name, iv, mac, bytes, sealed_len);
	size_t more;

	if (ret)
		return ret;
	more = sealed_len >= LENGTH_LEN
		       ? (size_t)(bytes[sealed_len - 2] << 8 | bytes[sealed_len - 1]) + LENGTH_LEN
		       : 0;
	if (more == 0 || more > sealed_len)
		return -EBADMSG;
	*len = sealed_len - more;
	return 0;
}

/* The extension's body: name, iv, length, what is sealed, mac. False when it is not of our making. */
static bool read_ticket(struct ticket_keys *keys, uint64_t now_s, const uint8_t *ticket, size_t len,
			struct issued *issued)
{
	uint8_t bytes[TICKET_LEN_MAX];
	size_t sealed_len, inner_len;
	bool good;

	if (len > sizeof bytes || len < TICKET_HEAD_LEN + TICKET_MAC_LEN)
		return false;
	sealed_len = (size_t)(ticket[TICKET_HEAD_LEN - 2] << 8 | ticket[TICKET_HEAD_LEN - 1]);
	if (sealed_len != len - TICKET_HEAD_LEN - TICKET_MAC_LEN)
		return false;
	memcpy(bytes, ticket + TICKET_HEAD_LEN, sealed_len);
	good = resume_open(keys, now_s, ticket, ticket + TICKET_NAME_LEN,
			   ticket + TICKET_HEAD_LEN + sealed_len, bytes, sealed_len, &inner_len) == 0 &&
	       issued_decode(issued, bytes + inner_len, sealed_len - LENGTH_LEN - inner_len);
	secret_wipe(bytes, sealed_len);
	return good;
}

static int find_psk(const struct tls *tls, const struct issued *issued, struct registree *out)
{
	const struct credentials *c = &tls->credentials;
	struct psk_credential found = {0};
	uint8_t check[CHECK_LEN];
	int ret;

	if (!c->ops)
		return 0;
	ret = c->ops->find_psk(c->store, tls->tenant, issued->id.name, issued->id.name_len, &found);
	if (ret == 1) {
		check_of(issued->salt, found.key, found.key_len, check);
		ret = secret_equal(check, issued->check, CHECK_LEN);
		*out = found.registree;
	}
	secret_wipe(&found, sizeof found);
	return ret;
}

/* A raw public key is found by its digest alone. */
static void drop_name(struct credential_id *id)
{
	memset(id->name, 0, sizeof id->name);
	id->name_len = 0;
}

/* 1: the credential is there, and it is the same. */
static int find_again(const struct tls *tls, const struct issued *issued, struct registree *out)
{
	const struct credentials *c = &tls->credentials;
	struct credential_id id = issued->id;
	int ret = 0;

	drop_name(&id);
	if (issued->kind == SLUICE_CREDENTIAL_PSK)
		ret = find_psk(tls, issued, out);
	else if (issued->kind == SLUICE_CREDENTIAL_RPK && c->ops && c->ops->find)
		ret = c->ops->find(c->store, &id, out);
	return ret == 1 ? out->version == issued->version : ret;
}

static int prove(const struct tls *tls, const struct issued *issued, struct proof **proof)
{
	struct proof *p = calloc(1, sizeof *p);
	int ret;

	if (!p)
		return 0;
	ret = find_again(tls, issued, &p->registree);
	if (ret != 1) {
		free(p);
		return ret == -EAGAIN ? ret : 0;
	}
	p->credential = issued->kind;
	p->registered = issued->id;
	p->id_len = issued->id.name_len;
	memcpy(p->id, issued->id.name, issued->id.name_len);
	if (issued->kind == SLUICE_CREDENTIAL_RPK) {
		drop_name(&p->registered);
		proof_name_key(p);
	}
	*proof = p;
	return 1;
}

int resume_judge(const struct tls *tls, const uint8_t *ticket, size_t len, uint16_t suite, uint64_t now_s,
		 struct proof **proof)
{
	struct issued issued;

	*proof = NULL;
	if (!read_ticket(tls->tickets, now_s, ticket, len, &issued))
		return 0;
	if (issued.suite != suite || strcmp(issued.id.tenant, tls->tenant) != 0 ||
	    issued.at_s > now_s + SKEW_S || now_s > issued.at_s + ticket_lifetime_s(tls->tickets))
		return 0;
	if (issued.kind == SLUICE_CREDENTIAL_NONE)
		return tls->client_certificate != CONFIG_CLIENT_CERTIFICATE_REQUIRED;
	return prove(tls, &issued, proof);
}

uint64_t resume_clock_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec;
}
