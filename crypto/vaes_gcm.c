/* Engine "vaes-gcm": AES-128-GCM for CPUs with VAES and VPCLMULQDQ on 256-bit registers, two records per
 * register. The kernel is crypto/gcm_lanes.h. Compiled with -mavx2, -mvaes and -mvpclmulqdq: nothing of this
 * file may run before vaes_gcm_usable() said yes.
 */
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/vec256.h"

#include "crypto/gcm_lanes.h"

static bool vaes_gcm_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return cpu->avx2 && cpu->vaes && cpu->vpclmulqdq && protection == PROTECTION_AES_128_GCM;
}

const struct record_engine engine_vaes_gcm = {
	.name = "vaes-gcm",
	.usable = vaes_gcm_usable,
	.worker_new = gcm_worker_new,
	.worker_free = gcm_worker_free,
	.open_burst = gcm_open_burst,
	.seal_burst = gcm_seal_burst,
};
