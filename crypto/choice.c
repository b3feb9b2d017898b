/* Which engine protects which records: decided once, at start. Known answers first; among the engines that
 * pass, the one that opens and seals small records fastest on this very machine.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "crypto/aead.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/known_answer.h"

/* Each protection with each engine that has it, ROUNDS times BURST records each way: 3 to 6 ms on a CPU that
 * can run all of the engines. */
enum { ENGINES_MAX = 12, BURST = 32, PAYLOAD_LEN = 64, SLOT = 256, ROUNDS = 6, UNUSABLE = -1 };

struct candidate {
	const struct record_engine *engine;
	void *worker; /* NULL: usable for nothing here */
	bool failed;  /* known answers, of one protection at least */
};

struct bench {
	struct record_op op[BURST];
	struct record_op *ops[BURST];
	union record_key key;
	uint8_t cid[7]; /* as long as those that the gateway hands out */
	uint8_t buffer[BURST][SLOT];
};

static int64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nanoseconds to seal and open one small record, the least of some rounds. */
static int64_t measure(const struct candidate *c, struct bench *b, enum protection_id protection)
{
	unsigned explicit_len = protection_get(protection)->explicit_len;
	int64_t least = INT64_MAX;

	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < BURST; i++) {
			b->op[i] = (struct record_op){
				.fragment = b->buffer[i] + 16,
				.key = &b->key,
				.cid = b->cid,
				.cid_len = sizeof b->cid,
				.payload_offset = (uint16_t)explicit_len,
				.payload_len = PAYLOAD_LEN,
				.protection = (uint8_t)protection,
			};
			b->ops[i] = &b->op[i];
		}

		int64_t begin = now_ns();

		c->engine->seal_burst(c->worker, b->ops, BURST);
		c->engine->open_burst(c->worker, b->ops, BURST);

		int64_t time = now_ns() - begin;

		least = time < least ? time : least;
	}
	return least / BURST;
}

/* Nanoseconds by measure(), or UNUSABLE. */
static int64_t candidate_try(struct candidate *c, const struct cpu_features *cpu, struct bench *bench,
			     enum protection_id protection)
{
	if (!c->worker || !c->engine->usable(cpu, protection))
		return UNUSABLE;
	if (!known_answers_pass(c->engine, c->worker, protection)) {
		c->failed = true;
		return UNUSABLE;
	}
	return measure(c, bench, protection);
}

static bool usable_for_any(const struct record_engine *engine, const struct cpu_features *cpu)
{
	for (unsigned p = PROTECTION_NONE + 1; p < PROTECTIONS; p++) {
		if (engine->usable(cpu, p))
			return true;
	}
	return false;
}

/* Where the one line goes. */
struct line {
	char *text; /* a byte of its own when nobody wants the line */
	size_t len;
};

/* Adds to the line; what does not fit is cut. */
__attribute__((format(printf, 2, 3))) static void say(struct line line, const char *format, ...)
{
	size_t used = strnlen(line.text, line.len - 1);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line.text + used, line.len - used, format, args);
	va_end(args);
}

/* The fastest that passes for one protection; the wanted engine when it is among them. One that comes later
 * in the list must be faster by a fifth: a trial in warm caches tells no less apart, and what 512-bit
 * registers win in it they lose in the worker's loop (bench/worker: 143 cycles a record against 109). */
static const struct record_engine *pick(struct candidate *candidates, unsigned count,
					const struct cpu_features *cpu, enum protection_id protection,
					const char *want, struct line why)
{
	struct bench *bench = calloc(1, sizeof *bench);
	const struct record_engine *best = NULL;
	int64_t best_time = 0;
	bool wanted = false;

	for (unsigned i = 0; bench && i < count; i++) {
		int64_t time = candidate_try(&candidates[i], cpu, bench, protection);
		bool is_wanted = want && strcmp(want, candidates[i].engine->name) == 0;

		if (time == UNUSABLE)
			continue;
		if (best && !is_wanted && (wanted || time > best_time - best_time / 5))
			continue;
		best = candidates[i].engine;
		best_time = time;
		wanted = is_wanted;
	}
	free(bench);
	if (best)
		say(why, "%s %s %s (%lld ns)", protection == PROTECTION_NONE + 1 ? ":" : ",",
		    protection_get(protection)->name, best->name, (long long)best_time);
	return best;
}

static int choice_from(struct record_choice *choice, struct candidate *candidates, unsigned count,
		       const struct cpu_features *cpu, const char *want, struct line why)
{
	int error = 0;
	char features[128];

	cpu_features_print(cpu, features, sizeof features);
	say(why, "record engines, to seal and open 64 bytes on %s", features[0] ? features : "any CPU");
	for (unsigned p = PROTECTION_NONE + 1; p < PROTECTIONS; p++) {
		choice->engine[p] = pick(candidates, count, cpu, p, want, why);
		if (!choice->engine[p])
			error = -EBADMSG;
	}
	for (unsigned i = 0; i < count; i++) {
		if (candidates[i].failed)
			say(why, "; %s FAILED known answers", candidates[i].engine->name);
	}
	return error;
}

static int choice_among(struct record_choice *choice, const struct record_engine *const *engines,
			unsigned count, const char *want, char *why_text, size_t why_len)
{
	char nobody = 0;
	struct line why = {why_text && why_len ? why_text : &nobody, why_text && why_len ? why_len : 1};
	struct cpu_features cpu = cpu_features_get();
	struct candidate candidates[ENGINES_MAX] = {0};
	int error = want ? -ENOENT : 0;

	memset(choice, 0, sizeof *choice);
	why.text[0] = 0;
	if (count > ENGINES_MAX)
		return -E2BIG;
	for (unsigned i = 0; i < count; i++) {
		bool usable = usable_for_any(engines[i], &cpu);

		candidates[i].engine = engines[i];
		if (want && strcmp(want, engines[i]->name) == 0)
			error = usable ? 0 : -ENOTSUP;
		if (usable)
			candidates[i].worker = engines[i]->worker_new();
	}
	if (error == -ENOENT)
		say(why, "there is no record engine \"%s\"", want);
	else if (error == -ENOTSUP)
		say(why, "record engine \"%s\" cannot run on this CPU", want);
	else
		error = choice_from(choice, candidates, count, &cpu, want, why);
	for (unsigned i = 0; i < count; i++)
		candidates[i].engine->worker_free(candidates[i].worker);
	return error;
}

int record_choice_make(struct record_choice *choice, const char *want, char *why, size_t why_len)
{
	unsigned count;
	const struct record_engine *const *engines = record_engines(&count);

	return choice_among(choice, engines, count, want, why, why_len);
}
