/* DPDK's environment for a unit test: no hugepages, no devices, one core. Once per process, from main(). */
#ifndef TESTS_UNIT_EAL_START_H
#define TESTS_UNIT_EAL_START_H

#include <rte_common.h>
#include <rte_eal.h>
#include <stdbool.h>
#include <stdio.h>

/* megabytes: of memory for DPDK's pools. False when it does not start; DPDK has said why. */
static inline bool eal_start(unsigned megabytes)
{
	char memory[16];
	char *eal[] = {(char[]){"test"},
		       (char[]){"--no-huge"},
		       (char[]){"-m"},
		       memory,
		       (char[]){"--no-pci"},
		       (char[]){"--no-shconf"},
		       (char[]){"--no-telemetry"},
		       (char[]){"-l"},
		       (char[]){"0"},
		       (char[]){"--log-level=error"}};

	snprintf(memory, sizeof memory, "%u", megabytes);
	return rte_eal_init(RTE_DIM(eal), eal) >= 0;
}

#endif
