/* Google Benchmark for C: just as much of it as the benches here need. It brings what nobody should write
 * again: choosing benchmarks by a pattern, repetitions, output as a table, JSON or CSV (--help tells).
 */
#ifndef BENCH_SHIM_H
#define BENCH_SHIM_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench;

typedef void (*bench_function)(struct bench *bench, void *context);

/* Registers a benchmark under a name; context is borrowed until bench_run() returns. The function times
 * itself: it calls bench_next() until that is false, and bench_took() once in between.
 */
void bench_register(const char *name, bench_function function, void *context);

/* Whether there is another iteration to do. One sampling of many bursts counts as one iteration. */
bool bench_next(struct bench *bench);

/* What the iteration took, in seconds. */
void bench_took(struct bench *bench, double seconds);

/* A number to be shown beside the time. */
void bench_counter(struct bench *bench, const char *name, double value);

/* Ends the benchmark with a remark in place of a result: what went wrong. bench_run() tells. */
void bench_fail(struct bench *bench, const char *why);

/* Takes Google Benchmark's own options out of the arguments and runs what they choose. 0, or -EINVAL for an
 * option that is none, or -EIO when a benchmark failed.
 */
int bench_run(int *argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif
