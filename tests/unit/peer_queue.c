/* Datagrams in order: what both kinds of peers send into. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/peer.h"

void peer_queue_add(struct peer_queue *q, const void *bytes, size_t len)
{
	struct peer_datagram *d = malloc(sizeof *d + len);

	assert(d);
	d->next = NULL;
	d->len = len;
	memcpy(d->bytes, bytes, len);
	if (!q->first)
		q->last = &q->first;
	*q->last = d;
	q->last = &d->next;
}

size_t peer_queue_take(struct peer_queue *q, void *out, size_t room)
{
	struct peer_datagram *d = q->first;
	size_t len;

	if (!d)
		return 0;
	len = d->len;
	assert(len <= room);
	memcpy(out, d->bytes, len);
	q->first = d->next;
	free(d);
	return len;
}

void peer_queue_clear(struct peer_queue *q)
{
	while (q->first) {
		struct peer_datagram *d = q->first;

		q->first = d->next;
		free(d);
	}
}
