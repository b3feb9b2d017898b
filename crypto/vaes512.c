/* Engine "vaes512": AES-CCM for CPUs with AVX-512 and VAES, four records per register. The kernel is
 * crypto/ccm_lanes.h. Compiled with -mavx512bw and the like: nothing of this file may run before
 * vaes512_usable() said yes.
 */
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/vec512.h"

#include "crypto/ccm_lanes.h"

static bool vaes512_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return cpu->avx512 && cpu->vaes && ccm_protection(protection);
}

const struct record_engine engine_vaes512 = {
	.name = "vaes512",
	.usable = vaes512_usable,
	.worker_new = ccm_worker_new,
	.worker_free = ccm_worker_free,
	.open_burst = ccm_open_burst,
	.seal_burst = ccm_seal_burst,
};
