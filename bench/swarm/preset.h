/* Sessions without a handshake, for load with more of them than a bench has time to shake hands for: gateway
 * (bench/gateway.c) and swarm compute the same keys from a seed. Whoever knows the seed has every key.
 */
#ifndef BENCH_SWARM_PRESET_H
#define BENCH_SWARM_PRESET_H

#include <stdint.h>

#include "crypto/aead.h"

enum { PRESET_SUITE = 0xc0a8 /* TLS_PSK_WITH_AES_128_CCM_8 */, PRESET_SEQ_NEXT = 1 /* 0 was Finished */ };

/* What the device's side writes with, and what the gateway writes with. */
void preset_keys(const char *seed, uint32_t device, struct aead_key *from_device,
		 struct aead_key *from_gateway);

/* Well mixed, not secret. */
uint64_t preset_mix(uint64_t x);
uint64_t preset_hash(const char *text);

#endif
