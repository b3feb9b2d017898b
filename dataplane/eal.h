/* Starts the DPDK EAL with the arguments of the configuration, and places the workers on cores. Main thread,
 * once. */
#ifndef DATAPLANE_EAL_H
#define DATAPLANE_EAL_H

#include "config/config.h"

/* 0; -errno and a sentence in error. The main lcore floats over all CPUs that we may use; each worker has one
 * of its own, counted from the last one down, unless port.eal or workers.cores say otherwise. */
int eal_start(const struct config *config, const char *program, char *error, size_t error_len);
void eal_stop(void);

#endif
