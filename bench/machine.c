#include "bench/machine.h"

#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <wolfssl/version.h>

#include "crypto/cpu.h"

enum { ROUNDS = 1000, REPEATS = 10, STATES = 12 };

static double now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double tsc_hz(void)
{
	double begin = now_s();
	uint64_t tsc = tsc_now();
	double end = begin;

	while (end < begin + 0.1)
		end = now_s();
	return (double)(tsc_now() - tsc) / (end - begin);
}

/* A chain of multiplications takes three core cycles each on every x86 of the last ten years. */
static uint64_t chain_of_multiplications(void)
{
	uint64_t begin = tsc_now();
	uint64_t x = begin;

	for (unsigned i = 0; i < ROUNDS; i++)
		__asm__ volatile("imul %0, %0" : "+r"(x));
	return tsc_now() - begin;
}

/* Twelve independent states hide the latency. Each round is an instruction of its own in one asm, so that the
 * compiler can neither merge nor drop nor spill any.
 */
#define ROUND_OF(instruction, n) instruction " %12, %" #n ", %" #n "\n\t"
#define AES_ROUNDS(type, set, instruction)                                                                   \
	type key = set(3);                                                                                   \
	type s[STATES] = {key, key, key, key, key, key, key, key, key, key, key, key};                       \
	uint64_t begin = tsc_now();                                                                          \
	for (unsigned i = 0; i < ROUNDS; i++)                                                                \
		__asm__ volatile(                                                                            \
			ROUND_OF(instruction, 0) ROUND_OF(instruction, 1) ROUND_OF(instruction, 2)           \
				ROUND_OF(instruction, 3) ROUND_OF(instruction, 4) ROUND_OF(instruction, 5)   \
					ROUND_OF(instruction, 6) ROUND_OF(instruction, 7)                    \
						ROUND_OF(instruction, 8) ROUND_OF(instruction, 9)            \
							ROUND_OF(instruction, 10) ROUND_OF(instruction, 11)  \
			: "+x"(s[0]), "+x"(s[1]), "+x"(s[2]), "+x"(s[3]), "+x"(s[4]), "+x"(s[5]),            \
			  "+x"(s[6]), "+x"(s[7]), "+x"(s[8]), "+x"(s[9]), "+x"(s[10]), "+x"(s[11])           \
			: "x"(key));                                                                         \
	return tsc_now() - begin;

__attribute__((target("avx,aes"))) static uint64_t aes_128(void)
{
	AES_ROUNDS(__m128i, _mm_set1_epi32, "vaesenc")
}

__attribute__((target("avx2,vaes"))) static uint64_t aes_256(void)
{
	AES_ROUNDS(__m256i, _mm256_set1_epi32, "vaesenc")
}

__attribute__((target("avx512f,vaes"))) static uint64_t aes_512(void)
{
	AES_ROUNDS(__m512i, _mm512_set1_epi32, "vaesenc")
}

static double least_of(uint64_t (*run)(void))
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < REPEATS; i++) {
		uint64_t time = run();

		least = time < least ? time : least;
	}
	return (double)least;
}

static void rate_try(struct machine *machine, uint64_t (*run)(void), unsigned bits)
{
	double rate = (double)ROUNDS * STATES * bits / 128 / least_of(run);

	if (rate > machine->aes_rate * 1.02) {
		machine->aes_rate = rate;
		machine->aes_register = bits;
	}
}

static void name_read(char *name, size_t len)
{
	FILE *file = fopen("/proc/cpuinfo", "r");
	char line[256];

	(void)snprintf(name, len, "unknown CPU");
	while (file && fgets(line, sizeof line, file)) {
		char *value = strchr(line, ':');

		if (!value || strncmp(line, "model name", 10) != 0)
			continue;
		value[strcspn(value, "\n")] = 0;
		(void)snprintf(name, len, "%s", value + 2);
		break;
	}
	if (file)
		(void)fclose(file);
}

void machine_measure_aes(struct machine *machine)
{
	struct cpu_features cpu = cpu_features_get();

	if (cpu.aesni && cpu.avx2)
		rate_try(machine, aes_128, 128);
	if (cpu.vaes)
		rate_try(machine, aes_256, 256);
	if (cpu.vaes && cpu.avx512)
		rate_try(machine, aes_512, 512);
}

void machine_measure(struct machine *machine)
{
	struct cpu_features cpu = cpu_features_get();

	memset(machine, 0, sizeof *machine);
	name_read(machine->name, sizeof machine->name);
	cpu_features_print(&cpu, machine->features, sizeof machine->features);
	machine->tsc_hz = tsc_hz();
	machine->core_per_tsc = 3.0 * ROUNDS / least_of(chain_of_multiplications);
	machine_measure_aes(machine);
}

void machine_print(const struct machine *machine, int argc, char **argv)
{
	struct utsname system;

	printf("# command:");
	for (int i = 0; i < argc; i++)
		printf(" %s", argv[i]);
	(void)uname(&system);
	printf("\n# machine: %s, %s\n", machine->name, machine->features);
	printf("# TSC %.3f GHz, core %.2f times that under load; %s %s\n", machine->tsc_hz / 1e9,
	       machine->core_per_tsc, system.sysname, system.release);
	printf("# compared: IPsec-MB %s, %s, wolfSSL %s\n", imb_get_version_str(),
	       OpenSSL_version(OPENSSL_VERSION), LIBWOLFSSL_VERSION_STRING);
	(void)fflush(stdout);
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a;
	float y = *(const float *)b;

	return (x > y) - (x < y);
}

struct spread spread_of(float *samples, unsigned count)
{
	qsort(samples, count, sizeof *samples, compare);
	return (struct spread){
		.least = samples[0],
		.low = samples[count / 4],
		.median = samples[count / 2],
		.high = samples[count - 1 - count / 4],
	};
}
