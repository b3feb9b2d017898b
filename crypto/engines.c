#include "crypto/engines.h"

static const struct record_engine *const engines[] = {
	&engine_vaes,
	&engine_vaes512,
	&engine_aesni,
	&engine_vaes_gcm,
	&engine_vaes512_gcm,
	&engine_aesni_gcm,
	&engine_cbc_ct,
	&engine_ipsecmb,
	&engine_reference,
	/* From here on yardsticks only. */
	&engine_ipsecmb_naive,
	&engine_ipsecmb_sse,
	&engine_ipsecmb_avx2,
	&engine_ipsecmb_avx512,
};

enum { ENGINES_ALL = sizeof engines / sizeof engines[0], YARDSTICKS = 4 };

const struct record_engine *const *record_engines(unsigned *count)
{
	*count = ENGINES_ALL - YARDSTICKS;
	return engines;
}

const struct record_engine *const *record_engines_all(unsigned *count)
{
	*count = ENGINES_ALL;
	return engines;
}
