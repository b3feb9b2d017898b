/* See stores.h. */
#include "controlplane/stores.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "controlplane/log.h"
#include "crypto/secret.h"

struct stores {
	struct psk_live *file;
	struct store_live *live;
	struct redis_store *redis;
	struct credentials main; /* the other one */
};

/* ---- a file before the other store */

/* Found in the file or not, the other one is asked, so that both take equally long: what it says about those
 * that the file knows is thrown away, also that it cannot be reached. */
static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t identity_len,
		    struct psk_credential *out)
{
	const struct stores *s = store;
	const struct credentials *other = &s->main;
	struct psk_credential unused;
	int late, ret = psk_live_ops.find_psk(s->file, tenant, identity, identity_len, out);

	if (ret == 0)
		return other->ops->find_psk(other->store, tenant, identity, identity_len, out);
	late = other->ops->find_psk(other->store, tenant, identity, identity_len, &unused);
	secret_wipe(&unused, sizeof unused);
	if (late != -EAGAIN)
		return ret;
	secret_wipe(out, sizeof *out);
	return late;
}

static int find(void *store, const struct credential_id *id, struct registree *out)
{
	const struct credentials *other = &((const struct stores *)store)->main;

	return other->ops->find(other->store, id, out);
}

static int changes(void *store, uint64_t *number, struct credential_change *out, unsigned max)
{
	const struct stores *s = store;
	int ret = psk_live_ops.changes(s->file, number, out, max);

	/* The other one's are read with the next call: *number is its own, and stays. */
	return ret < 0 ? ret : s->main.ops->changes(s->main.store, number, out, max);
}

static int chain_fd(const void *store)
{
	const struct credentials *other = &((const struct stores *)store)->main;

	return other->ops->fd(other->store);
}

static unsigned process(void *store, uint64_t now_ns)
{
	const struct credentials *other = &((const struct stores *)store)->main;

	return other->ops->process(other->store, now_ns);
}

static uint64_t deadline(const void *store)
{
	const struct credentials *other = &((const struct stores *)store)->main;

	return other->ops->deadline(other->store);
}

static uint64_t question(const void *store)
{
	const struct credentials *other = &((const struct stores *)store)->main;

	return other->ops->question(other->store);
}

static uint64_t next_answer(void *store)
{
	const struct credentials *other = &((const struct stores *)store)->main;

	return other->ops->next_answer(other->store);
}

static bool reachable(const void *store)
{
	const struct credentials *other = &((const struct stores *)store)->main;

	return other->ops->reachable(other->store);
}

/* The main store is LMDB or Redis: both can be asked for certificates, changes and their state. Two of them,
 * as a store that answers at once has nothing to wait for. */
static const struct credential_store chain = {.name = "file and store",
					      .find_psk = find_psk,
					      .find = find,
					      .changes = changes,
					      .reachable = reachable};
static const struct credential_store waiting_chain = {.name = "file and store",
						      .find_psk = find_psk,
						      .find = find,
						      .changes = changes,
						      .fd = chain_fd,
						      .process = process,
						      .deadline = deadline,
						      .question = question,
						      .next_answer = next_answer,
						      .reachable = reachable};

/* ---- start and end */

static int open_file(struct stores *s, const char *path, char *error, size_t error_len)
{
	char why[512];

	s->file = psk_live_open(path, why, sizeof why);
	if (!s->file) {
		snprintf(error, error_len, "credentials.psk_file: %s", why);
		return -EINVAL;
	}
	log_write(LOG_LEVEL_INFO, "%u pre-shared key%s from %s", psk_live_rows(s->file),
		  psk_live_rows(s->file) == 1 ? "" : "s", path);
	return 0;
}

static int open_live(struct stores *s, const struct config_credentials *config, char *error, size_t error_len)
{
	char why[512];

	s->live = store_live_open(config->store, config->store_key, why, sizeof why);
	if (!s->live) {
		snprintf(error, error_len, "credentials.store: %s", why);
		return -EINVAL;
	}
	s->main = (struct credentials){.ops = &store_live_ops, .store = s->live};
	log_write(LOG_LEVEL_INFO, "%llu credential%s in the store %s",
		  (unsigned long long)store_live_rows(s->live), store_live_rows(s->live) == 1 ? "" : "s",
		  config->store);
	return 0;
}

static int open_redis(struct stores *s, const struct config_credentials *config, char *error,
		      size_t error_len)
{
	const struct redis_store_options o = {.address = config->redis,
					      .password_file = config->redis_password_file,
					      .key_file = config->store_key,
					      .timeout_ms = config->redis_timeout_ms,
					      .cache_s = config->redis_cache_s};
	char why[512];

	s->redis = redis_store_open(&o, why, sizeof why);
	if (!s->redis) {
		snprintf(error, error_len, "credentials.redis: %s", why);
		return -EINVAL;
	}
	s->main = (struct credentials){.ops = &store_redis, .store = s->redis};
	return 0;
}

int stores_open(const struct config_credentials *config, struct stores **out, char *error, size_t error_len)
{
	struct stores *s = calloc(1, sizeof *s);
	int ret = s ? 0 : -ENOMEM;

	snprintf(error, error_len, "out of memory");
	if (ret == 0 && config->psk_file)
		ret = open_file(s, config->psk_file, error, error_len);
	if (ret == 0 && config->store)
		ret = open_live(s, config, error, error_len);
	if (ret == 0 && config->redis)
		ret = open_redis(s, config, error, error_len);
	if (ret) {
		stores_close(s);
		return ret;
	}
	*out = s;
	return 0;
}

void stores_close(struct stores *s)
{
	if (!s)
		return;
	if (s->main.ops)
		s->main.ops->close(s->main.store);
	psk_live_close(s->file);
	free(s);
}

struct credentials stores_credentials(struct stores *s)
{
	if (!s->file)
		return s->main;
	if (!s->main.ops)
		return (struct credentials){.ops = &psk_live_ops, .store = s->file, .default_only = true};
	return (struct credentials){.ops = s->main.ops->fd ? &waiting_chain : &chain, .store = s};
}

void stores_look(struct stores *s)
{
	if (s->file)
		psk_live_look(s->file);
}

struct psk_live *stores_file(const struct stores *s)
{
	return s->file;
}

const struct store_live *stores_live(const struct stores *s)
{
	return s->live;
}

const struct redis_store *stores_redis(const struct stores *s)
{
	return s->redis;
}
