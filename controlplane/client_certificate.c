/* See client_certificate.h. */
#include "controlplane/client_certificate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/chain.h"
#include "controlplane/log.h"
#include "controlplane/ni.h"
#include "controlplane/ocsp.h"
#include "controlplane/raw_key.h"

struct client_certificate {
	struct chain *chain;
	bool status_good;  /* as far as OCSP is concerned */
	uint64_t question; /* to the responder, whose answer has not come yet; 0: none */
};

/* ---- X.509 */

/* 1: found; 0: none of its names has a registree; -EAGAIN or another -errno. */
static int find_by_names(const struct tls *tls, const struct chain *chain, struct proof *proof)
{
	const struct credentials *c = &tls->credentials;
	struct credential_id id = {.kind = SLUICE_CREDENTIAL_X509, .digest_len = CHAIN_ROOT_LEN};
	const struct chain_name *names;
	unsigned count = chain_names(chain, &names);
	int ret = 0;

	if (!c->ops || !c->ops->find)
		return 0;
	memcpy(id.tenant, tls->tenant, sizeof id.tenant);
	memcpy(id.digest, chain_root(chain), CHAIN_ROOT_LEN);
	for (unsigned i = 0; ret == 0 && i < count; i++) {
		id.name_len = names[i].len;
		memcpy(id.name, names[i].text, names[i].len);
		ret = c->ops->find(c->store, &id, &proof->registree);
		if (ret == 1) {
			proof->id_len = names[i].len;
			memcpy(proof->id, names[i].text, names[i].len);
			proof->registered = id;
		}
	}
	return ret;
}

/* Without a record of its own it stands for itself, under the first of its names. */
static void stand_for_itself(const struct chain *chain, struct proof *proof)
{
	const struct chain_name *names;

	if (chain_names(chain, &names) > 0) {
		proof->id_len = names[0].len;
		memcpy(proof->id, names[0].text, names[0].len);
	}
	registree_by_credential(&proof->registree, proof->id, proof->id_len);
}

static int refuse_store(const struct tls *tls, int err, struct refusal *refusal)
{
	return refusal_write(refusal, REFUSED_STORE, ALERT_INTERNAL_ERROR, "the credential store \"%s\" %s",
			     tls->credentials.ops->name, credential_store_fault(err));
}

/* TS-0003 8.2.2.2: the name of one registree under the root of another is nobody's. */
static int refuse_stranger(const struct chain *chain, struct refusal *refusal)
{
	const struct chain_name *names;
	char text[CHAIN_NAME_MAX];
	unsigned count = chain_names(chain, &names);

	if (count == 0)
		return refusal_write(refusal, REFUSED_CERTIFICATE_NAME, ALERT_BAD_CERTIFICATE,
				     "the client's certificate has no name that a registree could have");
	return refusal_write(
		refusal, REFUSED_NOT_REGISTERED, ALERT_ACCESS_DENIED,
		"no registree has the name \"%s\"%s under the root that the certificate leads to",
		log_text(text, sizeof text, (const uint8_t *)names[0].text, names[0].len),
		count > 1 ? " or another of its names" : "");
}

static int find_registree(const struct tls *tls, const struct chain *chain, struct proof *proof,
			  struct refusal *refusal)
{
	int ret = find_by_names(tls, chain, proof);

	if (ret == -EAGAIN)
		return ret;
	if (ret < 0)
		return refuse_store(tls, ret, refusal);
	if (ret == 0 && tls->registrees == CONFIG_REGISTREES_REQUIRED)
		return refuse_stranger(chain, refusal);
	if (ret == 0)
		stand_for_itself(chain, proof);
	return 1;
}

/* ---- raw public keys */

static int refuse_unknown_key(const struct raw_key *key, struct refusal *refusal)
{
	char name[NI_TEXT_MAX];

	return refusal_write(refusal, REFUSED_NOT_REGISTERED, ALERT_BAD_CERTIFICATE,
			     "no registree has the raw public key %s",
			     ni_text(key->digest, sizeof key->digest, name));
}

/* Named by its whole identifier, whichever the store has it under. */
static int find_by_key(const struct tls *tls, const struct raw_key *key, struct proof *proof,
		       struct refusal *refusal)
{
	const struct credentials *c = &tls->credentials;
	struct credential_id id = {.kind = SLUICE_CREDENTIAL_RPK, .digest_len = sizeof key->digest};
	char name[NI_TEXT_MAX];
	int ret;

	(void)ni_text(key->digest, sizeof key->digest, name);
	proof->credential = SLUICE_CREDENTIAL_RPK; /* so far it claims to be that */
	proof->id_len = (uint8_t)strlen(name);
	memcpy(proof->id, name, proof->id_len);
	memcpy(id.tenant, tls->tenant, sizeof id.tenant);
	memcpy(id.digest, key->digest, sizeof key->digest);
	ret = c->ops->find(c->store, &id, &proof->registree);
	if (ret == -EAGAIN)
		return ret;
	if (ret < 0)
		return refuse_store(tls, ret, refusal);
	if (ret == 0)
		return refuse_unknown_key(key, refusal);
	proof->registered = id;
	proof_name_key(proof);
	return 1;
}

/* ---- revocation */

static int refuse_status(enum ocsp_verdict verdict, struct refusal *refusal)
{
	const char *why = "the OCSP responder did not answer";

	if (verdict == OCSP_VERDICT_REVOKED)
		return refusal_write(refusal, REFUSED_REVOKED, ALERT_CERTIFICATE_REVOKED,
				     "the client's certificate has been revoked, says its OCSP responder");
	if (verdict == OCSP_VERDICT_UNKNOWN)
		why = "the OCSP responder does not know it";
	else if (verdict == OCSP_VERDICT_NO_RESPONDER)
		why = "it names no OCSP responder";
	return refusal_write(refusal, REFUSED_REVOCATION_UNKNOWN, ALERT_CERTIFICATE_UNKNOWN,
			     "whether the client's certificate has been revoked is not known: %s", why);
}

/* 1: good enough; 0: *refusal filled; -EAGAIN. An anchor has no issuer that could revoke it. */
static int check_status(struct client_certificate *c, const struct tls *tls, struct refusal *refusal)
{
	enum ocsp_verdict verdict;

	if (c->status_good || !tls->ocsp || !chain_issuer(c->chain))
		return 1;
	verdict = ocsp_ask(tls->ocsp, c->chain, &c->question);
	if (verdict == OCSP_VERDICT_LATER)
		return -EAGAIN;
	c->question = 0;
	c->status_good = verdict == OCSP_VERDICT_GOOD || (tls->ocsp_clients == CONFIG_OCSP_CLIENTS_OPTIONAL &&
							  verdict != OCSP_VERDICT_REVOKED);
	return c->status_good ? 1 : refuse_status(verdict, refusal);
}

uint64_t client_certificate_question(const struct client_certificate *c)
{
	return c->question;
}

/* ---- the message */

/* Whom it claims to be: what the operator will look for when it is refused. */
static void claim_name(const uint8_t *list, size_t len, struct proof *proof)
{
	char name[CHAIN_NAME_MAX];

	proof->credential = SLUICE_CREDENTIAL_X509;
	proof->id_len = chain_claim(list, len, name);
	memcpy(proof->id, name, proof->id_len);
}

static int check_chain(struct client_certificate *c, const struct tls *tls, const uint8_t *list, size_t len,
		       struct proof *proof, struct refusal *refusal)
{
	int ret;

	if (!c->chain)
		c->chain = chain_verify(tls->trust, list, len, refusal);
	if (!c->chain)
		return 0;
	ret = check_status(c, tls, refusal);
	if (ret != 1)
		return ret;
	proof->credential = SLUICE_CREDENTIAL_X509;
	return find_registree(tls, c->chain, proof, refusal);
}

int client_certificate_check(struct client_certificate **kept, const struct tls *tls,
			     enum certificate_type type, const uint8_t *body, size_t len, struct proof *proof,
			     struct refusal *refusal)
{
	struct client_certificate *c = *kept;
	struct raw_key key;
	int ret;

	if (!c)
		c = *kept = calloc(1, sizeof *c);
	if (!c)
		return refusal_write(refusal, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR,
				     "internal: out of memory");
	/* RFC 5246 7.4.2: a list of certificates; RFC 7250 3: a key. Both have their length before them. */
	if (len < 3 || (size_t)(body[0] << 16 | body[1] << 8 | body[2]) != len - 3)
		return refusal_write(refusal, REFUSED_MALFORMED, ALERT_DECODE_ERROR,
				     "a malformed Certificate");
	if (type == CERTIFICATE_X509) {
		ret = check_chain(c, tls, body + 3, len - 3, proof, refusal);
		if (ret == 0)
			claim_name(body + 3, len - 3, proof);
		return ret;
	}
	return raw_key_read(body + 3, len - 3, &key, refusal) ? find_by_key(tls, &key, proof, refusal) : 0;
}

const struct chain *client_certificate_chain(const struct client_certificate *c)
{
	return c->chain;
}

void client_certificate_free(struct client_certificate *c)
{
	if (!c)
		return;
	chain_free(c->chain);
	free(c);
}
