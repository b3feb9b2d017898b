/* Loss, duplication and reordering of what the swarm sends: a datagram that is reordered waits for the next
 * one, or for faults_release() when there is none. */
#include <stdlib.h>
#include <string.h>

#include "bench/swarm/transport.h"

struct faults {
	struct transport_datagram held;
	bool holding;
};

struct faults *faults_new(void)
{
	return calloc(1, sizeof(struct faults));
}

void faults_free(struct faults *f)
{
	free(f);
}

static void put(struct swarm *s, uint32_t device, uint8_t port, const void *bytes, size_t len)
{
	s->counts.datagrams_out++;
	s->counts.bytes_out += len;
	s->transport->send(s->transport, device, port, bytes, len);
}

void faults_release(struct swarm *s)
{
	struct faults *f = s->faults;

	if (!f->holding)
		return;
	f->holding = false;
	put(s, f->held.device, f->held.port, f->held.bytes, f->held.len);
}

void swarm_send(struct swarm *s, uint32_t device, const void *bytes, size_t len)
{
	const struct swarm_options *o = &s->options;
	struct faults *f = s->faults;
	uint8_t port = s->devices[device].port;

	if (o->loss > 0 && swarm_share(s) < o->loss)
		return;
	if (o->reorder > 0 && !f->holding && swarm_share(s) < o->reorder) {
		f->held = (struct transport_datagram){.device = device, .port = port, .len = (uint16_t)len};
		memcpy(f->held.bytes, bytes, len);
		f->holding = true;
		return;
	}
	put(s, device, port, bytes, len);
	if (o->duplicate > 0 && swarm_share(s) < o->duplicate)
		put(s, device, port, bytes, len);
	faults_release(s);
}
