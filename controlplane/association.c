/* See association.h. */
#include "controlplane/association.h"

#include <stdlib.h>
#include <string.h>

#include "controlplane/proof.h"
#include "crypto/secret.h"

TAILQ_HEAD(association_list, association);

struct slots {
	struct association **of;
	uint32_t count;
};

struct associations {
	struct slots *workers;
	unsigned workers_count;
	uint32_t count, flights_count;
	struct association_list flights, retries;
	struct association **by_address; /* chains, newest first */
	uint32_t address_mask;
};

static int make_chains(struct associations *as)
{
	uint64_t slots = 0;
	uint32_t size = 16;

	for (unsigned i = 0; i < as->workers_count; i++)
		slots += as->workers[i].count;
	while (size < slots && size < UINT32_C(1) << 31)
		size *= 2;
	as->by_address = calloc(size, sizeof as->by_address[0]); /* touched as it fills */
	as->address_mask = size - 1;
	return as->by_address ? 0 : -1;
}

struct associations *associations_new(unsigned workers, const uint32_t *slots)
{
	struct associations *as = calloc(1, sizeof *as);

	if (!as)
		return NULL;
	TAILQ_INIT(&as->flights);
	TAILQ_INIT(&as->retries);
	as->workers = calloc(workers, sizeof *as->workers);
	if (!as->workers)
		goto err;
	as->workers_count = workers;
	for (unsigned i = 0; i < workers; i++) {
		as->workers[i].of = calloc(slots[i], sizeof as->workers[i].of[0]);
		if (!as->workers[i].of)
			goto err;
		as->workers[i].count = slots[i];
	}
	if (make_chains(as))
		goto err;
	return as;
err:
	associations_free(as);
	return NULL;
}

void associations_free(struct associations *as)
{
	if (!as)
		return;
	for (unsigned w = 0; w < as->workers_count; w++) {
		for (uint32_t i = 0; as->count > 0 && i < as->workers[w].count; i++) {
			if (as->workers[w].of[i])
				association_remove(as, as->workers[w].of[i]);
		}
		free(as->workers[w].of);
	}
	free(as->workers);
	free(as->by_address);
	free(as);
}

/* ---- by address */

/* Only peers that have completed a handshake are in here: nobody can fill one chain without as many
 * addresses. */
static struct association **chain_of(struct associations *as, const struct peer_address *peer)
{
	uint64_t halves[2], hash;

	memcpy(halves, peer->ip, sizeof halves);
	hash = (halves[0] * 0x9e3779b97f4a7c15ULL) ^ halves[1];
	hash = (hash ^ hash >> 32 ^ peer->port) * 0x9e3779b97f4a7c15ULL;
	return &as->by_address[hash >> 32 & as->address_mask];
}

static void enter_chain(struct associations *as, struct association *a)
{
	struct association **chain = chain_of(as, &a->path.peer);

	a->address_next = *chain;
	*chain = a;
}

static void leave_chain(struct associations *as, struct association *a)
{
	struct association **at = chain_of(as, &a->path.peer);

	while (*at != a)
		at = &(*at)->address_next;
	*at = a->address_next;
}

void association_move(struct associations *as, struct association *a, const struct path *path)
{
	leave_chain(as, a);
	a->path = *path;
	enter_chain(as, a);
}

struct association *association_at(struct associations *as, const struct peer_address *peer)
{
	struct association *a = *chain_of(as, peer);

	while (a && memcmp(&a->path.peer, peer, sizeof *peer) != 0)
		a = a->address_next;
	return a;
}

const struct sluice_session_up *association_up(const struct association *a)
{
	return (const struct sluice_session_up *)a->up;
}

static struct association **place_of(struct associations *as, struct sluice_ref ref)
{
	if (ref.worker >= as->workers_count || ref.index >= as->workers[ref.worker].count)
		return NULL;
	return &as->workers[ref.worker].of[ref.index];
}

struct association *association_find(struct associations *as, struct sluice_ref ref)
{
	struct association **place = place_of(as, ref);

	return place && *place && association_up(*place)->ref.generation == ref.generation ? *place : NULL;
}

static void forget_exported(struct association *a)
{
	if (a->exported)
		secret_wipe(a->exported, a->exported_len);
	free(a->exported);
	a->exported = NULL;
	a->exported_len = 0;
}

static void drop_flight(struct associations *as, struct association *a)
{
	if (!a->has_flight)
		return;
	forget_exported(a);
	TAILQ_REMOVE(&as->flights, a, flights);
	flight_fini(&a->last_flight);
	a->has_flight = false;
	as->flights_count--;
}

static void end_retry(struct associations *as, struct association *a)
{
	if (a->retrying)
		TAILQ_REMOVE(&as->retries, a, retries);
	a->retrying = false;
}

void association_remove(struct associations *as, struct association *a)
{
	*place_of(as, association_up(a)->ref) = NULL;
	leave_chain(as, a);
	drop_flight(as, a);
	end_retry(as, a);
	standing_remove(a->standing);
	as->count--;
	free(a);
}

static void keep_flight(struct associations *as, struct association *a, struct flight *last_flight,
			uint64_t now_ns)
{
	if (as->flights_count == LAST_FLIGHTS_MAX)
		drop_flight(as, TAILQ_FIRST(&as->flights));
	a->last_flight = *last_flight;
	*last_flight = (struct flight){.mtu = last_flight->mtu};
	flight_fit(&a->last_flight);
	a->has_flight = true;
	a->flight_until_ns = now_ns + LAST_FLIGHT_NS;
	a->flight_sent_ns = now_ns;
	TAILQ_INSERT_TAIL(&as->flights, a, flights);
	as->flights_count++;
}

/* The bytes of a SESSION_UP up to the first exporter field: these stand behind all others. */
static size_t public_len(const void *up, size_t up_len)
{
	const uint8_t *start = up, *end = start + up_len, *at = start + sizeof(struct sluice_session_up);
	uint16_t field[2];

	while (end - at >= (ptrdiff_t)sizeof field) {
		memcpy(field, at, sizeof field);
		if (field[0] == SLUICE_FIELD_EXPORTER_LABEL)
			break;
		at += sizeof field + field[1] + (-field[1] & 3);
	}
	return (size_t)(at - start);
}

/* Without memory for them the exporter values are announced once. */
static void keep_up(struct association *a, const uint8_t *up, size_t len, size_t exported_len)
{
	memcpy(a->up, up, len);
	a->up_len = (uint16_t)len;
	((struct sluice_session_up *)a->up)->fields_len -= (uint16_t)exported_len;
	a->exported = exported_len ? malloc(exported_len) : NULL;
	if (!a->exported)
		return;
	memcpy(a->exported, up + len, exported_len);
	a->exported_len = (uint16_t)exported_len;
}

size_t association_announcement(const struct association *a, void *out)
{
	memcpy(out, a->up, a->up_len);
	if (a->exported)
		memcpy((uint8_t *)out + a->up_len, a->exported, a->exported_len);
	((struct sluice_session_up *)out)->fields_len += a->exported_len;
	return (size_t)a->up_len + a->exported_len;
}

struct association *association_add(struct associations *as, const struct path *path, const void *up,
				    size_t up_len, struct flight *last_flight, uint64_t now_ns)
{
	struct association **place = place_of(as, ((const struct sluice_session_up *)up)->ref);
	size_t len = public_len(up, up_len);
	struct association *a;

	if (!place)
		return NULL;
	a = calloc(1, sizeof *a + len);
	if (!a)
		return NULL;
	if (*place)
		association_remove(as, *place);
	a->path = *path;
	keep_up(a, up, len, up_len - len);
	keep_flight(as, a, last_flight, now_ns);
	*place = a;
	a->since_ns = now_ns;
	enter_chain(as, a);
	as->count++;
	return a;
}

uint64_t associations_expire_flights(struct associations *as, uint64_t now_ns)
{
	struct association *a;

	while ((a = TAILQ_FIRST(&as->flights)) && a->flight_until_ns <= now_ns)
		drop_flight(as, a);
	return a ? a->flight_until_ns : UINT64_MAX;
}

void association_retry_later(struct associations *as, struct association *a, uint64_t now_ns,
			     uint64_t delay_ns)
{
	end_retry(as, a);
	a->retrying = true;
	a->retry_ns = now_ns + delay_ns;
	TAILQ_INSERT_TAIL(&as->retries, a, retries);
}

struct association *associations_retry(struct associations *as, uint64_t now_ns)
{
	struct association *a = TAILQ_FIRST(&as->retries);

	if (!a || a->retry_ns > now_ns)
		return NULL;
	end_retry(as, a);
	return a;
}

uint64_t associations_retry_deadline(const struct associations *as)
{
	const struct association *a = TAILQ_FIRST(&as->retries);

	return a ? a->retry_ns : UINT64_MAX;
}

uint32_t associations_count(const struct associations *as)
{
	return as->count;
}

struct association *associations_walk(struct associations *as, unsigned worker, uint32_t *slot, uint32_t most)
{
	struct slots *s = &as->workers[worker];

	for (uint32_t looked = 0; *slot < s->count && looked < most; looked++) {
		struct association *a = s->of[(*slot)++];

		if (a)
			return a;
	}
	if (*slot >= s->count)
		*slot = UINT32_MAX;
	return NULL;
}
