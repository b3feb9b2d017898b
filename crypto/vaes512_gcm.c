/* Engine "vaes512-gcm": AES-128-GCM for CPUs with AVX-512, VAES and VPCLMULQDQ, four records per register.
 * The kernel is crypto/gcm_lanes.h. Compiled with -mavx512bw and the like: nothing of this file may run
 * before vaes512_gcm_usable() said yes.
 */
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/vec512.h"

#include "crypto/gcm_lanes.h"

static bool vaes512_gcm_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return cpu->avx512 && cpu->vaes && cpu->vpclmulqdq && protection == PROTECTION_AES_128_GCM;
}

const struct record_engine engine_vaes512_gcm = {
	.name = "vaes512-gcm",
	.usable = vaes512_gcm_usable,
	.worker_new = gcm_worker_new,
	.worker_free = gcm_worker_free,
	.open_burst = gcm_open_burst,
	.seal_burst = gcm_seal_burst,
};
