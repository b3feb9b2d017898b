/* AES-128 as a keyed function of 64 bits, in bursts (pure): hides worker and slot in a CID, and makes
 * generations that outsiders cannot foresee.
 */
#ifndef DATAPLANE_SESSION_PRF_H
#define DATAPLANE_SESSION_PRF_H

#include <stdint.h>

struct session_prf {
	_Alignas(16) uint8_t round_keys[11][16];
};

void session_prf_init(struct session_prf *prf, const uint8_t key[16]);

/* out[i] = first 8 bytes of AES(key, in[i] || 0), little-endian. out may be in. Any thread; prf is only read.
 */
void session_prf_burst(const struct session_prf *prf, const uint64_t *in, uint64_t *out, unsigned n);

#endif
