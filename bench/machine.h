/* The machine under a bench: its clocks, what its AES units can do, and how it is called. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdint.h>
#include <x86intrin.h>

struct machine {
	char name[64];      /* of the CPU, as the kernel has it */
	char features[160]; /* see cpu_features_print() */
	double tsc_hz;
	double core_per_tsc; /* core cycles in one TSC cycle, under load */
	double aes_rate; /* AES rounds of one block that the units finish per TSC cycle, all registers busy */
	unsigned aes_register; /* bits of the registers that this took */
};

/* Measures for about 0.2 s. */
void machine_measure(struct machine *machine);

/* Measures the AES units once more, for about 0.2 ms, and keeps the higher rate: a neighbour on the same core
 * takes half of them away.
 */
void machine_measure_aes(struct machine *machine);

/* Prints it, with the command line, as lines that begin with "# ". */
void machine_print(const struct machine *machine, int argc, char **argv);

/* Reads the time stamp counter when everything before is done and nothing behind has begun. */
static inline uint64_t tsc_now(void)
{
	uint64_t now;

	_mm_lfence();
	now = __rdtsc();
	_mm_lfence();
	return now;
}

/* Four figures of many samples, which are sorted by it. */
struct spread {
	double least;
	double low;    /* a quarter is below */
	double median; /* a half */
	double high;   /* three quarters */
};

struct spread spread_of(float *samples, unsigned count);

#endif
