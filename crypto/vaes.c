/* Engine "vaes": AES-CCM for CPUs with VAES on 256-bit registers (no AVX-512 needed), two records per
 * register. The kernel is crypto/ccm_lanes.h. Compiled with -mavx2 and -mvaes: nothing of this file may run
 * before vaes_usable() said yes.
 */
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/vec256.h"

#include "crypto/ccm_lanes.h"

static bool vaes_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return cpu->avx2 && cpu->vaes && ccm_protection(protection);
}

const struct record_engine engine_vaes = {
	.name = "vaes",
	.usable = vaes_usable,
	.worker_new = ccm_worker_new,
	.worker_free = ccm_worker_free,
	.open_burst = ccm_open_burst,
	.seal_burst = ccm_seal_burst,
};
