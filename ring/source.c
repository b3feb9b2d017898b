/* The table of source addresses (source.h).
 *
 *   slots:    one per address: fresh -> live -> held -> live ...; the held ones form a queue by age
 *   indices:  per worker, session index -> slot
 *
 * Both lie in memory that is only touched where it is used.
 */
#include "ring/source.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	SLOT_FIRST = 2,   /* not the net's own address, nor its first host: 127.0.0.1 */
	NET_BITS_MIN = 3, /* 8 addresses */
	INDEX_GROW_MIN = 1024,
};

enum slot_state { SLOT_FRESH, SLOT_LIVE, SLOT_HELD };

struct slot {
	uint32_t index, generation; /* of the session, or of the last one */
	uint16_t worker;
	uint16_t state;
	uint32_t fingerprint;
	uint32_t released_s;   /* while held; on the caller's clock */
	uint32_t older, newer; /* while held: neighbours in the queue */
};

struct source_pool {
	struct source_net net;
	uint32_t hold_s;
	uint32_t slots_end;      /* slots are SLOT_FIRST .. slots_end - 1 */
	uint32_t fresh_end;      /* no slot from here on is fresh */
	uint32_t oldest, newest; /* of the held ones */
	uint32_t live;
	struct slot *slots;
	uint32_t *slot_of[SOURCE_WORKERS_MAX]; /* by session index */
	uint32_t slot_of_count[SOURCE_WORKERS_MAX];
};

static unsigned address_bits(int family)
{
	return family == AF_INET ? 32 : 128;
}

/* Are all bits behind the prefix zero? */
static bool host_bits_zero(const struct source_net *net)
{
	for (unsigned bit = net->prefix_len; bit < address_bits(net->family); bit++) {
		if ((net->ip[bit / 8] & (0x80u >> bit % 8)) != 0)
			return false;
	}
	return true;
}

bool source_net_parse(struct source_net *net, int family, const char *text)
{
	char ip[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	char *end;
	unsigned long prefix_len;

	if (slash == NULL || (size_t)(slash - text) >= sizeof(ip) || slash[1] < '0' || slash[1] > '9')
		return false;
	memcpy(ip, text, (size_t)(slash - text));
	ip[slash - text] = '\0';
	prefix_len = strtoul(slash + 1, &end, 10);
	if (*end != '\0' || prefix_len > address_bits(family) - NET_BITS_MIN)
		return false;
	*net = (struct source_net){.family = family, .prefix_len = (unsigned)prefix_len};
	return inet_pton(family, ip, net->ip) == 1 && host_bits_zero(net);
}

struct source_pool *source_new(const struct source_net *net, uint64_t hold_ns)
{
	unsigned host_bits = address_bits(net->family) - net->prefix_len;
	struct source_pool *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	p->net = *net;
	p->hold_s = (uint32_t)(hold_ns / 1000000000);
	p->slots_end = host_bits >= 24 ? SOURCE_SLOTS_MAX - 1
				       : (1u << host_bits) - 1; /* not the broadcast address */
	p->fresh_end = p->slots_end;
	p->slots = mmap(NULL, p->slots_end * sizeof(struct slot), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->slots == MAP_FAILED) {
		free(p);
		return NULL;
	}
	return p;
}

void source_free(struct source_pool *p)
{
	if (p == NULL)
		return;
	munmap(p->slots, p->slots_end * sizeof(struct slot));
	for (unsigned i = 0; i < SOURCE_WORKERS_MAX; i++)
		free(p->slot_of[i]);
	free(p);
}

/* FNV-1a; spread by mix() before use. */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = (hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
	return hash;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

uint64_t source_fingerprint(const struct sluice_session_up *up)
{
	uint64_t hash = hash_bytes(UINT64_C(0xcbf29ce484222325), &up->credential, sizeof(up->credential));
	struct sluice_field field = {0};

	while (sluice_field_next(up, &field)) {
		if (field.type != SLUICE_FIELD_IDENTITY && field.type != SLUICE_FIELD_CREDENTIAL_ID &&
		    field.type != SLUICE_FIELD_TENANT)
			continue;
		hash = hash_bytes(hash, &field.type, sizeof(field.type));
		hash = hash_bytes(hash, &field.len, sizeof(field.len));
		hash = hash_bytes(hash, field.bytes, field.len);
	}
	return mix(hash);
}

/* Makes slot_of[worker][index] exist. */
static bool index_grow(struct source_pool *p, struct sluice_ref ref)
{
	uint32_t count = p->slot_of_count[ref.worker];
	uint32_t *grown;

	if (ref.index < count)
		return true;
	count = count == 0 ? INDEX_GROW_MIN : count;
	while (count <= ref.index)
		count *= 2;
	grown = realloc(p->slot_of[ref.worker], count * sizeof(*grown));
	if (grown == NULL)
		return false;
	memset(grown + p->slot_of_count[ref.worker], 0,
	       (count - p->slot_of_count[ref.worker]) * sizeof(*grown));
	p->slot_of[ref.worker] = grown;
	p->slot_of_count[ref.worker] = count;
	return true;
}

static void queue_append(struct source_pool *p, uint32_t slot)
{
	p->slots[slot].older = p->newest;
	p->slots[slot].newer = SOURCE_NONE;
	if (p->newest != SOURCE_NONE)
		p->slots[p->newest].newer = slot;
	else
		p->oldest = slot;
	p->newest = slot;
}

static void queue_remove(struct source_pool *p, uint32_t slot)
{
	const struct slot *s = &p->slots[slot];

	if (s->older != SOURCE_NONE)
		p->slots[s->older].newer = s->newer;
	else
		p->oldest = s->newer;
	if (s->newer != SOURCE_NONE)
		p->slots[s->newer].older = s->older;
	else
		p->newest = s->older;
}

static bool hold_is_over(const struct source_pool *p, uint32_t slot, uint32_t now_s)
{
	return now_s - p->slots[slot].released_s > p->hold_s;
}

/* Was it this very session that gave the slot back? */
static bool same_session(const struct slot *s, struct sluice_ref ref, uint64_t fingerprint)
{
	return s->index == ref.index && s->generation == ref.generation && s->worker == ref.worker &&
	       s->fingerprint == (uint32_t)fingerprint;
}

/* The session's own slot if it is free, else the one that has been free for longest, else a fresh one. */
static uint32_t choose(struct source_pool *p, struct sluice_ref ref, uint64_t fingerprint, uint32_t now_s)
{
	uint64_t key = mix(fingerprint ^ ((uint64_t)ref.index << 32 | ref.generation)) + ref.worker;
	uint32_t own = SLOT_FIRST + (uint32_t)(mix(key) % (p->slots_end - SLOT_FIRST));
	const struct slot *s = &p->slots[own];

	if (s->state == SLOT_FRESH ||
	    (s->state == SLOT_HELD && (hold_is_over(p, own, now_s) || same_session(s, ref, fingerprint))))
		return own;
	if (p->oldest != SOURCE_NONE && hold_is_over(p, p->oldest, now_s))
		return p->oldest;
	while (p->fresh_end > SLOT_FIRST && p->slots[p->fresh_end - 1].state != SLOT_FRESH)
		p->fresh_end--; /* each slot is passed once in the pool's life */
	return p->fresh_end > SLOT_FIRST ? p->fresh_end - 1 : SOURCE_NONE;
}

static void release_slot(struct source_pool *p, uint32_t slot, uint32_t now_s)
{
	struct slot *s = &p->slots[slot];

	assert(s->state == SLOT_LIVE);
	p->slot_of[s->worker][s->index] = SOURCE_NONE;
	s->state = SLOT_HELD;
	s->released_s = now_s;
	queue_append(p, slot);
	p->live--;
}

uint32_t source_take(struct source_pool *p, struct sluice_ref ref, uint64_t fingerprint, uint64_t now_ns)
{
	uint32_t now_s = (uint32_t)(now_ns / 1000000000);
	uint32_t slot;
	struct slot *s;

	if (ref.worker >= SOURCE_WORKERS_MAX || ref.index >= SOURCE_INDEX_MAX || !index_grow(p, ref))
		return SOURCE_NONE;
	slot = p->slot_of[ref.worker][ref.index];
	if (slot != SOURCE_NONE) {
		if (same_session(&p->slots[slot], ref, fingerprint))
			return slot;
		release_slot(p, slot, now_s);
	}
	slot = choose(p, ref, fingerprint, now_s);
	if (slot == SOURCE_NONE)
		return SOURCE_NONE;
	s = &p->slots[slot];
	if (s->state == SLOT_HELD)
		queue_remove(p, slot);
	*s = (struct slot){.index = ref.index,
			   .generation = ref.generation,
			   .worker = ref.worker,
			   .state = SLOT_LIVE,
			   .fingerprint = (uint32_t)fingerprint};
	p->slot_of[ref.worker][ref.index] = slot;
	p->live++;
	return slot;
}

uint32_t source_find(const struct source_pool *p, struct sluice_ref ref)
{
	uint32_t slot;

	if (ref.worker >= SOURCE_WORKERS_MAX || ref.index >= p->slot_of_count[ref.worker])
		return SOURCE_NONE;
	slot = p->slot_of[ref.worker][ref.index];
	return slot != SOURCE_NONE && p->slots[slot].generation == ref.generation ? slot : SOURCE_NONE;
}

void source_release(struct source_pool *p, struct sluice_ref ref, uint64_t now_ns)
{
	uint32_t slot = source_find(p, ref);

	if (slot != SOURCE_NONE)
		release_slot(p, slot, (uint32_t)(now_ns / 1000000000));
}

void source_release_all(struct source_pool *p, uint64_t now_ns)
{
	for (unsigned worker = 0; worker < SOURCE_WORKERS_MAX; worker++) {
		for (uint32_t i = 0; i < p->slot_of_count[worker]; i++) {
			if (p->slot_of[worker][i] != SOURCE_NONE)
				release_slot(p, p->slot_of[worker][i], (uint32_t)(now_ns / 1000000000));
		}
	}
}

bool source_session(const struct source_pool *p, uint32_t slot, struct sluice_ref *ref)
{
	const struct slot *s = &p->slots[slot];

	if (slot < SLOT_FIRST || slot >= p->slots_end || s->state != SLOT_LIVE)
		return false;
	*ref = (struct sluice_ref){.index = s->index, .generation = s->generation, .worker = s->worker};
	return true;
}

/* The last four bytes hold every host bit in use, since there are at most 2^24 slots. */
static size_t tail_offset(const struct source_pool *p)
{
	return p->net.family == AF_INET ? 0 : 12;
}

void source_address(const struct source_pool *p, uint32_t slot, uint8_t *ip)
{
	uint32_t tail;

	memcpy(ip, p->net.ip, address_bits(p->net.family) / 8);
	memcpy(&tail, ip + tail_offset(p), sizeof(tail));
	tail |= htonl(slot);
	memcpy(ip + tail_offset(p), &tail, sizeof(tail));
}

uint32_t source_slot(const struct source_pool *p, const uint8_t *ip)
{
	uint32_t tail, net_tail;

	memcpy(&tail, ip + tail_offset(p), sizeof(tail));
	memcpy(&net_tail, p->net.ip + tail_offset(p), sizeof(net_tail));
	tail = ntohl(tail) - ntohl(net_tail);
	if (memcmp(ip, p->net.ip, tail_offset(p)) != 0 || tail < SLOT_FIRST || tail >= p->slots_end)
		return SOURCE_NONE;
	return tail;
}

uint32_t source_live(const struct source_pool *p)
{
	return p->live;
}

uint32_t source_capacity(const struct source_pool *p)
{
	return p->slots_end - SLOT_FIRST;
}
