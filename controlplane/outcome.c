/* What came of each handshake: counted by tenant and cause, told to the operator in one line, and kept for
 * `sluicectl why`.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "controlplane/internal.h"
#include "crypto/wolfssl_random.h"

/* Upper bounds of the buckets of handshake durations, in milliseconds; the last one has none. */
const uint32_t outcome_bucket_ms[OUTCOME_BUCKETS - 1] = {5,   10,   25,   50,   100,  250,
							 500, 1000, 2500, 5000, 10000};

int outcomes_open(struct control *c)
{
	uint64_t seed;

	if (random_block((unsigned char *)&seed, sizeof seed))
		return -1;
	c->outcomes = calloc(tenants_count(c->tenants), sizeof c->outcomes[0]);
	c->history = history_new(c->config->admin.history ? c->config->admin.history : 1, seed);
	return c->outcomes && c->history ? 0 : -1;
}

void outcomes_close(struct control *c)
{
	free(c->outcomes);
	history_free(c->history);
}

static struct outcomes *outcomes_of(struct control *c, const struct handshake *h)
{
	return &c->outcomes[h ? handshake_tls(h)->place : 0];
}

static uint64_t wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void describe_peer(struct history_attempt *out, const struct handshake *h)
{
	const struct proof *proof = handshake_proof(h);
	const struct suite *suite = handshake_suite(h);
	const uint8_t *name = handshake_claim(h, &out->credential, &out->name_len);
	const uint8_t *server_name = handshake_server_name(h, &out->server_name_len);

	memcpy(out->name, name, out->name_len);
	memcpy(out->server_name, server_name, out->server_name_len);
	out->suite = suite ? suite->id : 0;
	snprintf(out->tenant, sizeof out->tenant, "%s", handshake_tls(h)->tenant);
	if (proof && proof->registree.identities_count > 0)
		memcpy(out->identity, proof->registree.identities[0], sizeof out->identity);
}

static void keep(struct control *c, const struct path *path, const struct handshake *h, uint64_t started_ns,
		 struct history_attempt *attempt)
{
	attempt->ended_ms = wall_ms();
	attempt->took_ms = (uint32_t)((c->now_ns - started_ns) / 1000000);
	attempt->peer = path->peer;
	if (h) {
		attempt->ref = handshake_start(h)->ref;
		describe_peer(attempt, h);
	}
	history_add(c->history, attempt);
}

void outcome_refused(struct control *c, const struct path *path, const struct attempt *a,
		     enum refusal_cause cause, const char *why)
{
	const struct handshake *h = a ? a->handshake : NULL;
	struct history_attempt attempt = {.cause = cause};
	char peer[PEER_TEXT_MAX], who[256];

	outcomes_of(c, h)->refused.of[cause]++;
	if (h)
		attempt.alert = handshake_refusal(h)->alert;
	snprintf(attempt.why, sizeof attempt.why, "%s", why);
	keep(c, path, h, a ? a->started_ns : c->now_ns, &attempt);
	log_limited(&c->log_refused, c->now_ns, LOG_LEVEL_WARNING, "%s: refused: %s%s%s",
		    peer_text(peer, &path->peer),
		    attempt.name_len > 0 ? credential_text(who, sizeof who, attempt.credential, attempt.name,
							   attempt.name_len)
					 : "",
		    attempt.name_len > 0 ? ", " : "", why);
}

/* A field as text that ends, where it fits; the first of its kind. */
static void keep_text(char *text, size_t room, const struct sluice_field *f)
{
	if (text[0] || f->len >= room)
		return;
	memcpy(text, f->bytes, f->len);
	text[f->len] = 0;
}

/* What proved the device is in its SESSION_UP only: it was counted as established before. Counts the refusal
 * under the session's tenant. */
static void describe_session(struct control *c, const struct association *a, enum refusal_cause cause,
			     struct history_attempt *out)
{
	const struct sluice_session_up *up = association_up(a);
	struct sluice_field f = {0};
	const struct tls *tenant;

	out->cause = cause;
	out->credential = up->credential;
	out->suite = up->suite;
	out->ref = up->ref;
	while (sluice_field_next(up, &f)) {
		if (f.type == SLUICE_FIELD_CREDENTIAL_ID && f.len <= sizeof out->name) {
			memcpy(out->name, f.bytes, f.len);
			out->name_len = (uint8_t)f.len;
		}
		if (f.type == SLUICE_FIELD_SNI && f.len <= sizeof out->server_name) {
			memcpy(out->server_name, f.bytes, f.len);
			out->server_name_len = (uint8_t)f.len;
		}
		if (f.type == SLUICE_FIELD_IDENTITY)
			keep_text(out->identity, sizeof out->identity, &f);
		if (f.type == SLUICE_FIELD_TENANT)
			keep_text(out->tenant, sizeof out->tenant, &f);
	}
	tenant = tenants_find(c->tenants, out->tenant);
	c->outcomes[tenant ? tenant->place : 0].refused.of[cause]++;
}

void outcome_no_room(struct control *c, const struct association *a)
{
	struct history_attempt attempt = {0};

	describe_session(c, a, REFUSED_NO_ROOM, &attempt);
	snprintf(attempt.why, sizeof attempt.why, "there was no room for the session at its worker");
	keep(c, &a->path, NULL, c->now_ns, &attempt);
}

void outcome_renegotiation(struct control *c, struct association *a)
{
	struct history_attempt attempt = {.alert = ALERT_NO_RENEGOTIATION};
	char peer[PEER_TEXT_MAX];

	describe_session(c, a, REFUSED_RENEGOTIATION, &attempt);
	if (a->renegotiated)
		return;
	a->renegotiated = true;
	snprintf(attempt.why, sizeof attempt.why,
		 "asks for a renegotiation inside its session, which goes on");
	keep(c, &a->path, NULL, c->now_ns, &attempt);
	log_limited(&c->log_refused, c->now_ns, LOG_LEVEL_WARNING, "%s: refused: %s",
		    peer_text(peer, &a->path.peer), attempt.why);
}

void outcome_established(struct control *c, const struct path *path, const struct attempt *a)
{
	struct outcomes *o = outcomes_of(c, a->handshake);
	struct history_attempt attempt = {.established = true};
	uint64_t took_ms = (c->now_ns - a->started_ns) / 1000000;
	unsigned bucket = 0;

	while (bucket < OUTCOME_BUCKETS - 1 && took_ms > outcome_bucket_ms[bucket])
		bucket++;
	o->established++;
	o->took_ms += took_ms;
	o->took[bucket]++;
	keep(c, path, a->handshake, a->started_ns, &attempt);
}
