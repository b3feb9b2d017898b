/* What this CPU can do and the kernel lets us use (pure). Engines decide by it whether they can run. */
#ifndef CRYPTO_CPU_H
#define CRYPTO_CPU_H

#include <stdbool.h>
#include <stddef.h>

struct cpu_features {
	bool sse41, ssse3;
	bool aesni;
	bool pclmulqdq;
	bool sha_ni;
	bool avx2;
	bool bmi2;
	bool vaes;       /* on 256-bit registers at least: needs avx2 */
	bool vpclmulqdq; /* the same */
	bool gfni;
	bool avx512;      /* F, BW, VL and DQ together, and the kernel saves their registers */
	bool avx512_ifma; /* with avx512 */
};

/* Reads CPUID and XCR0. All false on other architectures. Any thread, no side effect. */
struct cpu_features cpu_features_get(void);

/* Writes the names of the features that are there, separated by blanks, and cuts what does not fit. */
void cpu_features_print(const struct cpu_features *cpu, char *out, size_t out_len);

#endif
