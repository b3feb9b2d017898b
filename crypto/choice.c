/* Which engine protects which records: decided once, at start. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crypto/aead.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"

int record_choice_make(struct record_choice *choice, const char *want, char *why, size_t why_len)
{
	struct cpu_features cpu = cpu_features_get();
	unsigned count;
	const struct record_engine *const *engines = record_engines(&count);
	bool found = want == NULL;

	memset(choice, 0, sizeof *choice);
	for (unsigned i = 0; i < count; i++) {
		if (want && strcmp(want, engines[i]->name) != 0)
			continue;
		found = true;
		for (unsigned p = PROTECTION_NONE + 1; p < PROTECTIONS; p++) {
			if (!choice->engine[p] && engines[i]->usable(&cpu, p))
				choice->engine[p] = engines[i];
		}
	}
	if (!found)
		return -ENOENT;
	for (unsigned p = PROTECTION_NONE + 1; p < PROTECTIONS; p++) {
		if (!choice->engine[p])
			choice->engine[p] = &engine_reference;
	}
	if (why)
		(void)snprintf(why, why_len, "record engine of AES-128-CCM_8: %s",
			       choice->engine[PROTECTION_AES_128_CCM_8]->name);
	return 0;
}
