#include "bench/shim.h"

#include <cerrno>
#include <vector>

#include <benchmark/benchmark.h>

struct bench {
	benchmark::State *state;
};

static bool failed; /* one of them did: Google Benchmark itself ends well all the same */

void bench_register(const char *name, bench_function function, void *context)
{
	benchmark::RegisterBenchmark(name,
				     [function, context](benchmark::State &state) {
					     bench bench = {&state};

					     function(&bench, context);
				     })
		->Iterations(1)
		->UseManualTime()
		->Unit(benchmark::kNanosecond);
}

bool bench_next(struct bench *bench)
{
	return bench->state->KeepRunning();
}

void bench_took(struct bench *bench, double seconds)
{
	bench->state->SetIterationTime(seconds);
}

void bench_counter(struct bench *bench, const char *name, double value)
{
	bench->state->counters[name] = value;
}

void bench_fail(struct bench *bench, const char *why)
{
	failed = true;
	bench->state->SkipWithError(why);
}

int bench_run(int *argc, char **argv)
{
	/* Our defaults come first, so that the command line can say otherwise. */
	static char name[] = "bench", repeat[] = "--benchmark_repetitions=5",
		    interleave[] = "--benchmark_enable_random_interleaving=true",
		    aggregate[] = "--benchmark_display_aggregates_only=true";
	std::vector<char *> arguments = {name, repeat, interleave, aggregate};
	arguments.insert(arguments.end(), argv + 1, argv + *argc);
	arguments.push_back(nullptr);
	int count = static_cast<int>(arguments.size()) - 1;
	benchmark::Initialize(&count, arguments.data());
	if (benchmark::ReportUnrecognizedArguments(count, arguments.data()))
		return -EINVAL;
	benchmark::RunSpecifiedBenchmarks();
	benchmark::Shutdown();
	return failed ? -EIO : 0;
}
