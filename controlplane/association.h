/* The cold record of each live session: what the application is told about it (again, when it attaches
 * later), and our last flight, kept for a while to answer a client that did not get it (RFC 6347 4.2.4).
 * About 150 bytes, and 300 more in the first minute. Control thread.
 */
#ifndef CONTROLPLANE_ASSOCIATION_H
#define CONTROLPLANE_ASSOCIATION_H

#include <sys/queue.h>

#include "controlplane/flight.h"
#include "controlplane/standing.h"
#include "dataplane/address.h"
#include "ring/sluice.h"

/* RFC 6347 4.2.4 names twice the maximum segment lifetime. Here 60 s, and less when many handshakes follow
 * each other, so that the memory stays bounded. */
#define LAST_FLIGHT_NS 60000000000ULL
enum { LAST_FLIGHTS_MAX = 1 << 18 };

struct association {
	TAILQ_ENTRY(association) flights; /* while it has its last flight: oldest first */
	TAILQ_ENTRY(association) retries; /* while its SESSION_UP waits to be announced again */
	struct association *address_next; /* in the chain of its address */
	struct standing *standing;        /* goes with it */
	struct flight last_flight;
	uint64_t flight_until_ns, flight_sent_ns;
	uint64_t retry_ns;
	uint64_t since_ns;
	struct path path;
	bool has_flight, retrying;
	bool renegotiated; /* it has been told that its device tried to */
	uint16_t up_len;
	uint16_t exported_len;
	uint8_t *exported; /* fields with exporter values, to be announced behind those of up; goes with the
			      last flight */
	/* struct sluice_session_up and its fields, exporter values excepted */
	_Alignas(8) uint8_t up[];
};

struct associations;

/* slots[w]: how many the session table of worker w has. NULL when out of memory. */
struct associations *associations_new(unsigned workers, const uint32_t *slots);
void associations_free(struct associations *as);

/* Keeps a copy of `up`; of the exporter values in it only as long as of the last flight, wiped then: an
 * application that attaches later is announced the session without them.
 * Takes *last_flight (it is empty afterwards). What was left in the slot goes. NULL when out of memory or ref
 * names no slot, *last_flight then stays the caller's. */
struct association *association_add(struct associations *as, const struct path *path, const void *up,
				    size_t up_len, struct flight *last_flight, uint64_t now_ns);
/* NULL for a stale ref. */
struct association *association_find(struct associations *as, struct sluice_ref ref);
void association_remove(struct associations *as, struct association *a);
/* Its peer has another address from now on. */
void association_move(struct associations *as, struct association *a, const struct path *path);
/* The newest one whose peer has this address and port, or NULL. */
struct association *association_at(struct associations *as, const struct peer_address *peer);
/* Writes the announcement, up and the exporter values that there still are, to out, which has SESSION_UP_MAX
 * bytes and is aligned for the struct; the caller wipes it. Returns the length. */
size_t association_announcement(const struct association *a, void *out);
const struct sluice_session_up *association_up(const struct association *a);

/* Frees last flights that are old enough. Returns when the next one is, UINT64_MAX: none is kept. */
uint64_t associations_expire_flights(struct associations *as, uint64_t now_ns);

/* The SESSION_UP of this one found no room: it comes back from associations_retry() after delay_ns. */
void association_retry_later(struct associations *as, struct association *a, uint64_t now_ns,
			     uint64_t delay_ns);
struct association *associations_retry(struct associations *as, uint64_t now_ns);
uint64_t associations_retry_deadline(const struct associations *as);

uint32_t associations_count(const struct associations *as);

/* The next association of the worker at or behind *slot, which moves behind it; NULL at the end. Looks at no
 * more than `most` slots per call and then returns NULL with *slot < UINT32_MAX. */
struct association *associations_walk(struct associations *as, unsigned worker, uint32_t *slot,
				      uint32_t most);

#endif
