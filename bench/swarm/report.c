/* What came of it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/swarm/swarm.h"

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

static double rate(uint64_t count, double time)
{
	return time > 0 ? (double)count / time : 0;
}

void report_progress(const struct swarm *s, uint64_t now_ns)
{
	const struct swarm_counts *c = &s->counts;

	fprintf(stderr,
		"%6.1f s  handshakes %llu done, %llu failed, %u in flight | sessions %u | requests %llu, "
		"answers %llu, "
		"lost %llu\n",
		seconds(s->start_ns, now_ns), (unsigned long long)c->handshakes_done,
		(unsigned long long)c->handshakes_failed + (unsigned long long)c->handshakes_given_up,
		shakes_in_flight(s->shakes), s->ready, (unsigned long long)c->requests,
		(unsigned long long)c->answers, (unsigned long long)c->lost);
}

static void print_times(const char *name, const struct histogram *h)
{
	printf("  %-22s p50 %9.3f ms   p99 %9.3f ms   p99.9 %9.3f ms   max %9.3f ms\n", name,
	       (double)histogram_percentile(h, 0.50) / 1e6, (double)histogram_percentile(h, 0.99) / 1e6,
	       (double)histogram_percentile(h, 0.999) / 1e6, (double)h->max / 1e6);
}

/* Every counter by its name, once, for both reports. */
#define COUNTS(X)                                                                                            \
	X(handshakes_started, "handshakes started")                                                          \
	X(handshakes_done, "handshakes done")                                                                \
	X(handshakes_failed, "handshakes refused")                                                           \
	X(handshakes_given_up, "handshakes timed out")                                                       \
	X(requests, "requests")                                                                              \
	X(answers, "answers")                                                                                \
	X(lost, "lost")                                                                                      \
	X(duplicated_answers, "answered twice")                                                              \
	X(unexpected, "unexpected answers")                                                                  \
	X(bad_answers, "answers that do not open")                                                           \
	X(alerts, "alerts")                                                                                  \
	X(rebinds, "changes of address")                                                                     \
	X(reboots, "reboots")                                                                                \
	X(replays_sent, "replays sent")                                                                      \
	X(forgeries_sent, "forgeries sent")                                                                  \
	X(datagrams_out, "datagrams sent")                                                                   \
	X(datagrams_in, "datagrams received")                                                                \
	X(bytes_out, "bytes sent")                                                                           \
	X(bytes_in, "bytes received")

void report_final(const struct swarm *s)
{
	double all = seconds(s->start_ns, s->end_ns), records = seconds(s->records_from_ns, s->end_ns);

	printf("%u devices, %s, %.1f s\n", s->options.devices, s->options.suite, all);
#define X(name, text)                                                                                        \
	if (s->counts.name)                                                                                  \
		printf("  %-22s %12llu\n", text, (unsigned long long)s->counts.name);
	COUNTS(X)
#undef X
	printf("  %-22s %12.0f /s\n", "handshake rate", rate(s->counts.handshakes_done, all));
	printf("  %-22s %12.0f /s\n", "request rate", rate(s->counts.requests, records));
	print_times("handshake", &s->handshake_ns);
	print_times("answer", &s->answer_ns);
}

static void json_times(FILE *f, const char *name, const struct histogram *h)
{
	fprintf(f, ",\n  \"%s_ms\": {\"p50\": %.4f, \"p99\": %.4f, \"p99.9\": %.4f, \"max\": %.4f}", name,
		(double)histogram_percentile(h, 0.50) / 1e6, (double)histogram_percentile(h, 0.99) / 1e6,
		(double)histogram_percentile(h, 0.999) / 1e6, (double)h->max / 1e6);
}

int report_json(const struct swarm *s)
{
	FILE *f = fopen(s->options.json, "w");
	double all = seconds(s->start_ns, s->end_ns);

	if (!f) {
		fprintf(stderr, "sluice-swarm: %s: %s\n", s->options.json, strerror(errno));
		return -1;
	}
	fprintf(f, "{\n  \"devices\": %u,\n  \"suite\": \"%s\",\n  \"seconds\": %.3f", s->options.devices,
		s->options.suite, all);
#define X(name, text) fprintf(f, ",\n  \"%s\": %llu", #name, (unsigned long long)s->counts.name);
	COUNTS(X)
#undef X
	fprintf(f, ",\n  \"handshakes_per_second\": %.1f,\n  \"requests_per_second\": %.1f",
		rate(s->counts.handshakes_done, all),
		rate(s->counts.requests, seconds(s->records_from_ns, s->end_ns)));
	json_times(f, "handshake", &s->handshake_ns);
	json_times(f, "answer", &s->answer_ns);
	fprintf(f, "\n}\n");
	return fclose(f);
}
