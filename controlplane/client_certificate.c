/* See client_certificate.h. */
#include "controlplane/client_certificate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/chain.h"
#include "controlplane/log.h"

struct client_certificate {
	struct chain *chain;
};

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
		return refusal_write(refusal, REFUSED_STORE, ALERT_INTERNAL_ERROR,
				     "the credential store \"%s\" cannot be reached",
				     tls->credentials.ops->name);
	if (ret == 0 && tls->registrees == CONFIG_REGISTREES_REQUIRED)
		return refuse_stranger(chain, refusal);
	if (ret == 0)
		stand_for_itself(chain, proof);
	return 1;
}

int client_certificate_check(struct client_certificate **kept, const struct tls *tls, const uint8_t *body,
			     size_t len, struct proof *proof, struct refusal *refusal)
{
	struct client_certificate *c = *kept;

	if (!c)
		c = *kept = calloc(1, sizeof *c);
	if (!c)
		return refusal_write(refusal, REFUSED_INTERNAL, ALERT_INTERNAL_ERROR,
				     "internal: out of memory");
	if (len < 3 || (size_t)(body[0] << 16 | body[1] << 8 | body[2]) != len - 3)
		return refusal_write(refusal, REFUSED_MALFORMED, ALERT_DECODE_ERROR,
				     "a malformed Certificate");
	if (!c->chain)
		c->chain = chain_verify(tls->trust, body + 3, len - 3, refusal);
	if (!c->chain)
		return 0;
	proof->credential = SLUICE_CREDENTIAL_X509;
	return find_registree(tls, c->chain, proof, refusal);
}

void client_certificate_free(struct client_certificate *c)
{
	if (!c)
		return;
	chain_free(c->chain);
	free(c);
}
