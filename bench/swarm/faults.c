/* Loss, duplication and reordering of what the swarm sends: a datagram that is reordered waits for the next
 * one. */
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
	if (f->holding) {
		f->holding = false;
		put(s, f->held.device, f->held.port, f->held.bytes, f->held.len);
	}
}
