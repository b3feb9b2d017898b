/* See held.h. */
#include "controlplane/held.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/record.h"

void held_drop(struct held_records *h, struct held **at)
{
	struct held *one = *at;

	*at = one->next;
	h->count--;
	h->len -= one->len;
	free(one);
}

static bool is_full(const struct held_records *h, size_t len)
{
	return h->count == HELD_MAX || h->len + len > HELD_LEN_MAX;
}

/* What cannot be Finished makes room for what can, so that nobody keeps it out by filling the places with
 * early data; then the oldest: what the client repeats is worth more than what anybody may have sent before.
 */
static void make_room(struct held_records *h, size_t len)
{
	struct held **at = &h->first;

	while (*at && is_full(h, len)) {
		if ((*at)->fed)
			held_drop(h, at);
		else
			at = &(*at)->next;
	}
	while (h->first && is_full(h, len))
		held_drop(h, &h->first);
}

void held_add(struct held_records *h, const uint8_t *record, size_t len)
{
	struct held **last = &h->first;
	struct held *one;

	if (len > HELD_LEN_MAX || (record[0] == CONTENT_APPLICATION_DATA && is_full(h, len)))
		return;
	make_room(h, len);
	one = malloc(sizeof *one + len);
	if (!one)
		return;
	one->next = NULL;
	one->len = (uint16_t)len;
	/* Data and alerts cannot be Finished: they overtook it, and are the session's. */
	one->fed = record[0] == CONTENT_APPLICATION_DATA || record[0] == CONTENT_ALERT;
	memcpy(one->bytes, record, len);
	while (*last)
		last = &(*last)->next;
	*last = one;
	h->count++;
	h->len += (uint32_t)len;
}

void held_fini(struct held_records *h)
{
	while (h->first)
		held_drop(h, &h->first);
}
