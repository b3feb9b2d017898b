/* The table and the JSON of bench/worker.c: see worker_report.h. */
#include "bench/worker_report.h"

#include <sys/utsname.h>

/* In the order of a record's way in, then what is behind it. */
static const struct {
	enum stage stage;
	const char *name;
} stages[] = {
	{STAGE_RECEIVE, "rx"},   {STAGE_PARSE, "parse"},  {STAGE_FIND, "lookup"}, {STAGE_CRYPTO, "crypto"},
	{STAGE_DELIVER, "ring"}, {STAGE_DISPOSE, "free"}, {STAGE_SEND, "send"},   {STAGE_MAIL, "mail"},
};
_Static_assert(sizeof(stages) / sizeof(stages[0]) == STAGES, "every stage has a name");

static const char *by_name(const struct worker_result *r)
{
	return r->by_cid ? "cid" : "address";
}

static const char *job_name(const struct worker_result *r)
{
	return r->echo ? "echo" : "uplink";
}

void worker_report_head(void)
{
	printf("\n# TSC cycles per record, and the median of each stage of it (lookup includes the replay "
	       "check,\n"
	       "# ring the window's commit; with echo, send is the whole way out)\n");
	printf("%-8s %-7s %9s %7s %7s %7s %7s %7s", "# by", "job", "sessions", "payload", "min", "median",
	       "p90", "Mrec/s");
	for (unsigned i = 0; i < STAGES; i++)
		printf(" %6s", stages[i].name);
	printf("  resident, session table\n");
}

void worker_report_line(const struct worker_result *r, double tsc_hz)
{
	printf("%-8s %-7s %9u %7u %7.1f %7.1f %7.1f %7.2f", by_name(r), job_name(r), r->sessions, r->payload,
	       r->least, r->median, r->p90, tsc_hz / r->median / 1e6);
	for (unsigned i = 0; i < STAGES; i++)
		printf(" %6.1f", r->stage_median[stages[i].stage]);
	printf("  %.0f MiB, %s", (double)r->resident_bytes / 1048576, r->pages);
	if (r->disturbed > 0)
		printf("; %u of %u samples disturbed", r->disturbed, r->samples);
	printf("\n");
	(void)fflush(stdout);
}

/* A string as JSON wants it. What is not ASCII becomes a question mark. */
static void write_string(FILE *out, const char *text)
{
	(void)fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			(void)fputc('\\', out);
		(void)fputc(*text >= ' ' && *text < 127 ? *text : '?', out);
	}
	(void)fputc('"', out);
}

static void write_member(FILE *out, const char *name, const char *text)
{
	(void)fprintf(out, "\"%s\": ", name);
	write_string(out, text);
	(void)fputs(", ", out);
}

static void write_machine(FILE *out, const struct machine *machine)
{
	struct utsname system;
	char release[2 * sizeof(system.release)];

	(void)uname(&system);
	(void)snprintf(release, sizeof(release), "%s %s", system.sysname, system.release);
	(void)fputs("  \"machine\": {", out);
	write_member(out, "cpu", machine->name);
	write_member(out, "features", machine->features);
	write_member(out, "system", release);
	(void)fprintf(out, "\"tsc_hz\": %.0f, \"core_per_tsc\": %.3f},\n", machine->tsc_hz,
		      machine->core_per_tsc);
}

static void write_result(FILE *out, const struct worker_result *r, double tsc_hz)
{
	(void)fputs("    {", out);
	write_member(out, "by", by_name(r));
	write_member(out, "job", job_name(r));
	(void)fprintf(out, "\"sessions\": %u, \"payload\": %u, \"samples\": %u, \"disturbed\": %u, ",
		      r->sessions, r->payload, r->samples, r->disturbed);
	write_member(out, "engine", r->engine);
	write_member(out, "pages", r->pages);
	(void)fprintf(out, "\"resident_bytes\": %zu, \"records_per_s\": %.0f,\n", r->resident_bytes,
		      tsc_hz / r->median);
	(void)fprintf(out, "     \"cycles\": {\"min\": %.1f, \"median\": %.1f, \"p90\": %.1f},\n", r->least,
		      r->median, r->p90);
	(void)fputs("     \"stages\": {", out);
	for (unsigned i = 0; i < STAGES; i++)
		(void)fprintf(out, "%s\"%s\": {\"min\": %.1f, \"median\": %.1f}", i ? ", " : "",
			      stages[i].name, r->stage_least[stages[i].stage],
			      r->stage_median[stages[i].stage]);
	(void)fputs("}}", out);
}

void worker_report_json(FILE *out, const struct machine *machine, int argc, char **argv,
			const struct worker_result *results, unsigned count)
{
	(void)fputs("{\n  \"bench\": \"worker\", \"version\": 1, \"unit\": \"TSC cycles per record\",\n"
		    "  \"command\": [",
		    out);
	for (int i = 0; i < argc; i++) {
		(void)fputs(i ? ", " : "", out);
		write_string(out, argv[i]);
	}
	(void)fputs("],\n", out);
	write_machine(out, machine);
	(void)fputs("  \"stages\": [", out);
	for (unsigned i = 0; i < STAGES; i++) {
		(void)fputs(i ? ", " : "", out);
		write_string(out, stages[i].name);
	}
	(void)fputs("],\n  \"results\": [\n", out);
	for (unsigned i = 0; i < count; i++) {
		write_result(out, &results[i], machine->tsc_hz);
		(void)fputs(i + 1 < count ? ",\n" : "\n", out);
	}
	(void)fputs("  ]\n}\n", out);
}
