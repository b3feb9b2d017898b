/* Engine "aesni": AES-CCM for CPUs with AES-NI and AVX2 but without VAES, one record per register. The kernel
 * is crypto/ccm_lanes.h. Compiled with -mavx2 and -maes: nothing of this file may run before aesni_usable()
 * said yes.
 */
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/vec128.h"

#include "crypto/ccm_lanes.h"

static bool aesni_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return cpu->avx2 && cpu->aesni && ccm_protection(protection);
}

const struct record_engine engine_aesni = {
	.name = "aesni",
	.usable = aesni_usable,
	.worker_new = ccm_worker_new,
	.worker_free = ccm_worker_free,
	.open_burst = ccm_open_burst,
	.seal_burst = ccm_seal_burst,
};
