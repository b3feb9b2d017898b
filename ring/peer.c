/* See peer.h. The table of pointers is memory that is only touched where it is used. */
#include "ring/peer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { FIELD_HEADER = 4, FIELD_ALIGN = 4 };

LIST_HEAD(peer_list, peer);

struct peers {
	struct peer **of; /* by slot */
	uint32_t slots_end;
	struct peer_list all;
};

struct peers *peers_new(uint32_t slots_end)
{
	struct peers *ps = calloc(1, sizeof(*ps));

	if (ps == NULL)
		return NULL;
	ps->slots_end = slots_end;
	ps->of = mmap(NULL, slots_end * sizeof(struct peer *), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ps->of == MAP_FAILED) {
		free(ps);
		return NULL;
	}
	LIST_INIT(&ps->all);
	return ps;
}

void peers_free(struct peers *ps)
{
	if (ps == NULL)
		return;
	peers_clear(ps);
	munmap(ps->of, ps->slots_end * sizeof(struct peer *));
	free(ps);
}

static bool is_kept(const struct sluice_field *field)
{
	return field->type != SLUICE_FIELD_EXPORTER_LABEL && field->type != SLUICE_FIELD_EXPORTER_VALUE;
}

static size_t padded_len(const struct sluice_field *field)
{
	return (FIELD_HEADER + (size_t)field->len + FIELD_ALIGN - 1) & ~(size_t)(FIELD_ALIGN - 1);
}

/* Copies the fields that are kept, as sluice_field_next() walks them. Returns their bytes. */
static size_t copy_fields(uint8_t *out, const struct sluice_session_up *up)
{
	struct sluice_field field = {0};
	size_t len = 0;

	while (sluice_field_next(up, &field)) {
		if (!is_kept(&field))
			continue;
		memset(out + len, 0, padded_len(&field));
		memcpy(out + len, (const uint8_t *)field.bytes - FIELD_HEADER,
		       FIELD_HEADER + (size_t)field.len);
		len += padded_len(&field);
	}
	return len;
}

static size_t fields_len(const struct sluice_session_up *up)
{
	struct sluice_field field = {0};
	size_t len = 0;

	while (sluice_field_next(up, &field))
		len += is_kept(&field) ? padded_len(&field) : 0;
	return len;
}

bool peer_set(struct peers *ps, uint32_t slot, enum edge_check check, const struct sluice_session_up *up)
{
	size_t len = fields_len(up);
	struct sluice_session_up *kept;
	struct peer *p;

	assert(slot < ps->slots_end);
	peer_drop(ps, slot);
	/* The last field of a message may lack its padding, ours has it. */
	p = len <= UINT16_MAX ? malloc(sizeof(*p) + sizeof(*up) + len) : NULL;
	if (p == NULL)
		return false;
	p->slot = slot;
	p->check = check;
	kept = (struct sluice_session_up *)p->up;
	*kept = *up;
	kept->fields_len = (uint16_t)copy_fields(p->up + sizeof(*up), up);
	LIST_INSERT_HEAD(&ps->all, p, all);
	ps->of[slot] = p;
	return true;
}

const struct peer *peer_get(const struct peers *ps, uint32_t slot)
{
	return slot < ps->slots_end ? ps->of[slot] : NULL;
}

void peer_moved(struct peers *ps, uint32_t slot, const struct sluice_address *to)
{
	struct peer *p = slot < ps->slots_end ? ps->of[slot] : NULL;

	if (p != NULL)
		((struct sluice_session_up *)p->up)->peer = *to;
}

void peer_drop(struct peers *ps, uint32_t slot)
{
	struct peer *p = slot < ps->slots_end ? ps->of[slot] : NULL;

	if (p == NULL)
		return;
	ps->of[slot] = NULL;
	LIST_REMOVE(p, all);
	free(p);
}

void peers_clear(struct peers *ps)
{
	struct peer *p;

	while ((p = LIST_FIRST(&ps->all)) != NULL)
		peer_drop(ps, p->slot);
}

const struct sluice_session_up *peer_up(const struct peer *p)
{
	return (const struct sluice_session_up *)p->up;
}
