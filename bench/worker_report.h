/* What bench/worker.c has measured, for people (a table) and for programs (JSON, which bench/plot.py reads).
 */
#ifndef BENCH_WORKER_REPORT_H
#define BENCH_WORKER_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bench/machine.h"
#include "dataplane/worker.h"

/* One case: TSC cycles per record. */
struct worker_result {
	bool by_cid; /* else by address */
	bool echo;   /* else uplink alone */
	uint32_t sessions, payload, samples;
	uint32_t disturbed; /* samples during which the kernel took the CPU away, again and again */
	const char *engine; /* of AES-128-CCM_8 */
	const char *pages;  /* of the session table */
	size_t resident_bytes;
	double least, median, p90;
	double stage_least[STAGES], stage_median[STAGES];
};

/* The table's head and one line of it. */
void worker_report_head(void);
void worker_report_line(const struct worker_result *r, double tsc_hz);

/* One JSON object, complete, with a version that changes when the meaning of a member does:
 *
 *   { "bench": "worker", "version": 1, "command", "unit": "TSC cycles per record",
 *     "machine": { "cpu", "features", "system", "tsc_hz", "core_per_tsc" },
 *     "stages": [ names, in the order of a record's way ],
 *     "results": [ { "by": "cid" or "address", "job": "uplink" or "echo", "sessions", "payload", "samples",
 *                    "disturbed", "engine", "pages", "resident_bytes", "records_per_s" (at the median),
 *                    "cycles": { "min", "median", "p90" },
 *                    "stages": { name: { "min", "median" } } } ] }
 */
void worker_report_json(FILE *out, const struct machine *machine, int argc, char **argv,
			const struct worker_result *results, unsigned count);

#endif
