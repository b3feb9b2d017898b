/* How many handshakes may begin (pure): a token bucket for all, and one per network of a peer (/24 of IPv4,
 * /56 of IPv6), so that one network cannot take everybody's share. A fixed number of buckets, found by a
 * keyed hash; two networks that fall into one bucket share it while both are active. Control thread.
 */
#ifndef CONTROLPLANE_ADMIT_H
#define CONTROLPLANE_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "dataplane/address.h"

struct admit;

enum admit_verdict { ADMITTED, ADMIT_TOTAL_EXCEEDED, ADMIT_PREFIX_EXCEEDED };

/* rate and rate_prefix: new handshakes per second; a second's worth may come at once. seed: random, secret.
 * NULL when out of memory. */
struct admit *admit_new(uint32_t rate, uint32_t rate_prefix, uint64_t seed, uint64_t now_ns);
void admit_free(struct admit *a);

/* Takes a token of both, or of neither. now_ns: CLOCK_MONOTONIC. */
enum admit_verdict admit_ask(struct admit *a, const struct peer_address *peer, uint64_t now_ns);

#endif
