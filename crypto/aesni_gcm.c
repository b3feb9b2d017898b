/* Engine "aesni-gcm": AES-128-GCM for CPUs with AES-NI, PCLMULQDQ and AVX2 but without VAES, one record per
 * register. The kernel is crypto/gcm_lanes.h. Compiled with -mavx2, -maes and -mpclmul: nothing of this file
 * may run before aesni_gcm_usable() said yes.
 */
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/vec128.h"

#include "crypto/gcm_lanes.h"

static bool aesni_gcm_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return cpu->avx2 && cpu->aesni && cpu->pclmulqdq && protection == PROTECTION_AES_128_GCM;
}

const struct record_engine engine_aesni_gcm = {
	.name = "aesni-gcm",
	.usable = aesni_gcm_usable,
	.worker_new = gcm_worker_new,
	.worker_free = gcm_worker_free,
	.open_burst = gcm_open_burst,
	.seal_burst = gcm_seal_burst,
};
