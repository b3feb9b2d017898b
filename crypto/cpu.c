/* CPU features by CPUID, with what the operating system saves across a context switch by XGETBV: a CPU with
 * AVX under a kernel that does not know it would lose our registers.
 */
#include "crypto/cpu.h"

#include <stdint.h>
#include <stdio.h>

#if defined(__x86_64__)
#include <cpuid.h>

enum {
	XCR0_AVX = 0x6,     /* XMM and YMM */
	XCR0_AVX512 = 0xe6, /* and opmask, the upper halves, the upper sixteen */
};

static uint64_t xgetbv0(void)
{
	uint32_t low;
	uint32_t high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static bool bit(uint32_t word, unsigned n)
{
	return word >> n & 1;
}

struct cpu_features cpu_features_get(void)
{
	struct cpu_features cpu = {0};
	uint32_t a;
	uint32_t b;
	uint32_t c;
	uint32_t d;
	uint64_t saved = 0;

	if (!__get_cpuid(1, &a, &b, &c, &d))
		return cpu;
	cpu.ssse3 = bit(c, 9);
	cpu.sse41 = bit(c, 19);
	cpu.aesni = bit(c, 25);
	cpu.pclmulqdq = bit(c, 1);
	if (bit(c, 27)) /* OSXSAVE */
		saved = xgetbv0();
	bool ymm = bit(c, 28) && (saved & XCR0_AVX) == XCR0_AVX;
	bool zmm = ymm && (saved & XCR0_AVX512) == XCR0_AVX512;

	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
		return cpu;
	cpu.sha_ni = bit(b, 29);
	cpu.bmi2 = bit(b, 8);
	cpu.gfni = bit(c, 8);
	cpu.avx2 = ymm && bit(b, 5);
	cpu.vaes = cpu.avx2 && bit(c, 9);
	cpu.vpclmulqdq = cpu.avx2 && bit(c, 10);
	cpu.avx512 = zmm && bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
	cpu.avx512_ifma = cpu.avx512 && bit(b, 21);
	return cpu;
}

#else

struct cpu_features cpu_features_get(void)
{
	return (struct cpu_features){0};
}

#endif

void cpu_features_print(const struct cpu_features *cpu, char *out, size_t out_len)
{
	const struct {
		bool have;
		const char *name;
	} names[] = {
		{cpu->aesni, "aesni"}, {cpu->pclmulqdq, "pclmulqdq"}, {cpu->sha_ni, "sha_ni"},
		{cpu->avx2, "avx2"},   {cpu->vaes, "vaes"},           {cpu->vpclmulqdq, "vpclmulqdq"},
		{cpu->gfni, "gfni"},   {cpu->avx512, "avx512"},       {cpu->avx512_ifma, "avx512_ifma"},
	};
	size_t used = 0;

	if (out_len == 0)
		return;
	out[0] = 0;
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (!names[i].have || used >= out_len)
			continue;
		int n = snprintf(out + used, out_len - used, "%s%s", used ? " " : "", names[i].name);

		used += n > 0 ? (size_t)n : 0;
	}
}
