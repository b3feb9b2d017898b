#include "dataplane/eal.h"

#include <errno.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { ARGUMENTS_MAX = 64, CORES_LEN = 1024 };

/* "0@(0,1),1@1,2@0": lcore 0 is the main thread's, on every CPU; lcore i is worker i - 1's. */
static int choose_cores(const struct config *c, char *out, size_t out_len)
{
	int cpus[CPU_SETSIZE];
	unsigned count = 0;
	size_t at;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		return -errno;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[count++] = cpu;
	if (count == 0)
		return -EINVAL;
	at = (size_t)snprintf(out, out_len, "0@(");
	for (unsigned i = 0; i < count && at < out_len; i++)
		at += (size_t)snprintf(out + at, out_len - at, "%s%d", i ? "," : "", cpus[i]);
	if (at < out_len)
		at += (size_t)snprintf(out + at, out_len - at, ")");
	for (unsigned i = 0; i < c->workers.count && at < out_len; i++)
		at += (size_t)snprintf(out + at, out_len - at, ",%u@%d", i + 1, cpus[count - 1 - i % count]);
	return at < out_len ? 0 : -ENAMETOOLONG;
}

int eal_start(const struct config *config, const char *program, char *error, size_t error_len)
{
	char *arguments[ARGUMENTS_MAX];
	char cores[CORES_LEN];
	int n = 0, err;

	if (config->port.eal_count > ARGUMENTS_MAX - 8) {
		snprintf(error, error_len, "port.eal has %u entries, at most %d are allowed",
			 config->port.eal_count, ARGUMENTS_MAX - 8);
		return -E2BIG;
	}
	arguments[n++] = (char *)(uintptr_t)program;
	arguments[n++] =
		(char *)(uintptr_t) "--log-level=pmd.net.tap:critical"; /* its multiqueue complaints */
	if (config->workers.cores) {
		arguments[n++] = (char *)(uintptr_t) "--lcores";
		arguments[n++] = config->workers.cores;
	} else {
		err = choose_cores(config, cores, sizeof(cores));
		if (err) {
			snprintf(error, error_len, "no CPU to place %u workers on: %s", config->workers.count,
				 strerror(-err));
			return err;
		}
		arguments[n++] = (char *)(uintptr_t) "--lcores";
		arguments[n++] = cores;
	}
	for (unsigned i = 0; i < config->port.eal_count; i++)
		arguments[n++] = config->port.eal[i];
	if (rte_eal_init(n, arguments) < 0) {
		snprintf(
			error, error_len,
			"the DPDK EAL does not start%s%s: see its messages above; without hugepages port.eal "
			"needs \"--no-huge\" and \"-m\" with MiB, a TAP port needs root or CAP_NET_ADMIN and "
			"/dev/net/tun, and beside another program with DPDK (a second gateway, too) each "
			"needs "
			"a \"--file-prefix\" of its own",
			rte_errno ? ": " : "", rte_errno ? rte_strerror(rte_errno) : "");
		return -EINVAL;
	}
	if (rte_lcore_count() < config->workers.count + 1) {
		snprintf(error, error_len,
			 "%u workers need %u lcores (one is the main thread's), and workers.cores has %u: "
			 "lower workers.count, or leave workers.cores out",
			 config->workers.count, config->workers.count + 1, rte_lcore_count());
		return -EINVAL;
	}
	return 0;
}

void eal_stop(void)
{
	(void)rte_eal_cleanup();
}
