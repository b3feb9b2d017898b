/* What opening and sealing a record costs: every engine, and OpenSSL, wolfCrypt and IPsec-MB as others would
 * use them, side by side in one run; then the bars that the project holds itself to.
 *
 * A sample is one burst through record_open_burst() or record_seal_burst(), in TSC cycles per record. Before
 * each burst, and not counted, the records are put back as they were. Each record of a burst belongs to
 * another session, drawn at random from the table; while a burst is worked on, the sessions of the next are
 * prefetched, as the worker does. All sessions hold the same secrets, each in a cache line of its own: the
 * records then fit whichever session is drawn, and the memory has the same work.
 *
 * Names: open/aes-128-ccm-8/engine/payload/batch/sessions. Choose some by --benchmark_filter=REGEX.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench/machine.h"
#include "bench/shim.h"
#include "bench/subject.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"

enum {
	VISIT_SAMPLES_MIN =
		7, /* a case is visited several times in the run, so that all meet the same noise */
	SAMPLES_MAX = 2000,
	VISIT_US = 1500,
	WARM_UP = 5,
	SLOT = 2432, /* from one record to the next: as in a pool of mbufs with 2 KB of room */
	BEFORE = 16,
	DRAWS = 1 << 16,
	SUBJECTS_MAX = 24,
	CASES_MAX = 8192,
	HUGE_PAGE = 2 << 20,
};

static const unsigned payloads[] = {16, 64, 256, 1024, 1400};
static const unsigned batches[] = {8, 16, 32, 64};
/* FEW: one batch, each record under a key of its own, all of it in the nearest cache: the engine alone. */
enum { FEW = 64, THOUSAND = 1000 };
static const unsigned session_counts[] = {FEW, THOUSAND, 100000, 1000000, 4000000};

enum { PAYLOADS = 5, BATCHES = 4, SESSION_COUNTS = 5 };

struct bench_case {
	const struct subject *subject;
	enum protection_id protection;
	bool open;
	unsigned payload;
	unsigned batch;
	unsigned sessions;
	bool done;
	float *samples; /* of all visits: TSC cycles per record */
	unsigned sample_count;
	struct spread cycles; /* of these */
	char name[128];
};

static struct subject subjects[SUBJECTS_MAX];
static unsigned subject_count;
static struct bench_case cases[CASES_MAX];
static unsigned case_count;
static struct machine machine;

/* ---- Our engines as subjects: a session is the raw key, at the start of its own cache lines ---- */

static size_t key_line(enum protection_id protection)
{
	return protection_get(protection)->aead ? 64 : 128;
}

static int key_init(void *session, enum protection_id protection, const struct secrets *secrets)
{
	union record_key key;

	record_key_set(&key, protection, secrets->key, secrets->salt, secrets->mac_key);
	memcpy(session, &key, protection_get(protection)->aead ? sizeof key.aead256 : sizeof key.cbc);
	return 0;
}

static void key_fini(void *session, enum protection_id protection)
{
	memset(session, 0, key_line(protection));
}

static void subjects_gather(void)
{
	unsigned count;
	const struct record_engine *const *engines = record_engines_all(&count);

	for (unsigned i = 0; i < count && subject_count < SUBJECTS_MAX - 3; i++) {
		subjects[subject_count++] = (struct subject){
			.engine = engines[i],
			.sessions_max = UINT32_MAX,
			.sessions_are_bytes = true,
			.session_size = key_line,
			.session_init = key_init,
			.session_fini = key_fini,
		};
	}
	subjects[subject_count++] = subject_ipsecmb_stored;
	subjects[subject_count++] = subject_openssl;
	subjects[subject_count++] = subject_wolfcrypt;
}

/* ---- One measurement ---- */

struct setting {
	const struct bench_case *c;
	struct record_choice choice;
	struct record_crypto *crypto;
	uint8_t *table;   /* of sessions */
	size_t table_len; /* 0: shared */
	size_t line;      /* bytes of a session in it */
	uint32_t *draws;
	unsigned drawn;
	uint8_t *records;  /* batch slots, worked on in place */
	uint8_t *pristine; /* what they are put back to */
	unsigned fragment_len;
	struct record_op ops[RECORD_BURST_MAX];
};

static uint64_t random_next(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static void setting_fini(struct setting *s)
{
	for (unsigned i = 0; s->table_len > 0 && i < s->c->sessions; i++)
		s->c->subject->session_fini(s->table + i * s->line, s->c->protection);
	if (s->table_len > 0)
		(void)munmap(s->table, s->table_len);
	record_crypto_free(s->crypto);
	free(s->draws);
	free(s->records);
	free(s->pristine);
}

static void *pages_get(size_t len)
{
	void *memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	(void)madvise(memory, len, MADV_HUGEPAGE);
	return memory;
}

static const struct secrets secrets = {
	.key = {[0 ... 31] = 0x5a},
	.salt = {[0 ... 3] = 0x5a},
	.mac_key = {[0 ... 31] = 0x5a},
};

/* A table of sessions that are bytes, for as many as there ever are: made once and used by all who agree on
 * what a session is. That is all the AEADs (whose keys and salts are the same byte over and over), and both
 * kinds of CBC. NULL when out of memory.
 */
static uint8_t *table_shared(const struct bench_case *c)
{
	static struct {
		int (*session_init)(void *, enum protection_id, const struct secrets *);
		size_t line;
		uint8_t *table;
	} tables[4];
	const struct subject *subject = c->subject;
	size_t line = subject->session_size(c->protection);
	unsigned at = 0;

	while (at < 4 && tables[at].table &&
	       (tables[at].line != line || tables[at].session_init != subject->session_init))
		at++;
	if (at == 4)
		return NULL;
	if (tables[at].table)
		return tables[at].table;
	tables[at].table = pages_get(line * session_counts[SESSION_COUNTS - 1]);
	tables[at].line = line;
	tables[at].session_init = subject->session_init;
	if (!tables[at].table || subject->session_init(tables[at].table, c->protection, &secrets))
		return NULL;
	if (protection_get(c->protection)->aead && subject->session_init == key_init)
		memset(tables[at].table, 0x5a, line);
	for (size_t i = 1; i < session_counts[SESSION_COUNTS - 1]; i++)
		memcpy(tables[at].table + i * line, tables[at].table, line);
	return tables[at].table;
}

static int table_make(struct setting *s)
{
	const struct subject *subject = s->c->subject;

	s->line = subject->session_size(s->c->protection);
	if (subject->sessions_are_bytes) {
		s->table = table_shared(s->c);
		return s->table ? 0 : -ENOMEM;
	}
	s->table_len = (s->line * s->c->sessions + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	s->table = pages_get(s->table_len);
	if (!s->table)
		return -ENOMEM;
	for (unsigned i = 0; i < s->c->sessions; i++) {
		if (subject->session_init(s->table + i * s->line, s->c->protection, &secrets))
			return -ENOMEM;
	}
	return 0;
}

static struct record_op op_of(const struct setting *s, unsigned slot, const void *session)
{
	const struct bench_case *c = s->c;

	return (struct record_op){
		.fragment = s->records + (size_t)slot * SLOT + BEFORE,
		.key = session,
		.epoch_seq = 1ULL << 48 | slot,
		.fragment_len = (uint16_t)s->fragment_len,
		.payload_offset = protection_get(c->protection)->explicit_len,
		.payload_len = (uint16_t)c->payload,
		.type = 23,
		.protection = (uint8_t)c->protection,
	};
}

/* Seals the records that are to be opened, once. */
static int records_make(struct setting *s)
{
	unsigned batch = s->c->batch;

	for (unsigned i = 0; i < batch; i++) {
		memset(s->records + (size_t)i * SLOT, (int)i, SLOT);
		s->ops[i] = op_of(s, i, s->table);
	}
	if (!s->c->open) {
		memcpy(s->pristine, s->records, (size_t)batch * SLOT);
		return 0;
	}
	record_seal_burst(s->crypto, s->ops, batch);
	for (unsigned i = 0; i < batch; i++) {
		if (!s->ops[i].ok)
			return -EINVAL;
		s->fragment_len = s->ops[i].fragment_len;
	}
	memcpy(s->pristine, s->records, (size_t)batch * SLOT);
	return 0;
}

static int setting_init(struct setting *s, const struct bench_case *c)
{
	memset(s, 0, sizeof *s);
	s->c = c;
	s->choice.engine[c->protection] = c->subject->engine;
	s->crypto = record_crypto_new(&s->choice);
	s->draws = malloc(DRAWS * sizeof *s->draws);
	s->records = aligned_alloc(4096, (size_t)RECORD_BURST_MAX * SLOT);
	s->pristine = aligned_alloc(4096, (size_t)RECORD_BURST_MAX * SLOT);
	if (!s->crypto || !s->draws || !s->records || !s->pristine || table_make(s) || records_make(s)) {
		setting_fini(s);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < DRAWS; i++)
		s->draws[i] = (uint32_t)(random_next() % c->sessions);
	return 0;
}

static const uint8_t *session_drawn(const struct setting *s, unsigned ahead)
{
	return s->table + s->draws[(s->drawn + ahead) % DRAWS] * s->line;
}

/* One burst, timed: prefetch the sessions of the next one, then open or seal. */
static uint64_t burst(struct setting *s)
{
	unsigned batch = s->c->batch;
	uint64_t begin;
	uint64_t end;

	memcpy(s->records, s->pristine, (size_t)batch * SLOT);
	for (unsigned i = 0; i < batch; i++)
		s->ops[i] = op_of(s, i, session_drawn(s, i));
	begin = tsc_now();
	for (unsigned i = 0; i < batch; i++) {
		const uint8_t *next = session_drawn(s, batch + i);

		__builtin_prefetch(next);
		if (s->line > 64)
			__builtin_prefetch(next + 64);
	}
	if (s->c->open)
		record_open_burst(s->crypto, s->ops, batch);
	else
		record_seal_burst(s->crypto, s->ops, batch);
	end = tsc_now();
	s->drawn += batch;
	return end - begin;
}

/* A fast wrong answer counts for nothing. */
static bool burst_was_right(const struct setting *s)
{
	for (unsigned i = 0; i < s->c->batch; i++) {
		const struct record_op *op = &s->ops[i];
		const uint8_t *payload = op->fragment + op->payload_offset;

		if (!op->ok || op->payload_len != s->c->payload)
			return false;
		for (unsigned j = 0; s->c->open && j < s->c->payload; j++) {
			if (payload[j] != (uint8_t)i)
				return false;
		}
	}
	return true;
}

static double now_us(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

static void case_visit(struct bench_case *c, struct setting *s)
{
	double end = now_us() + VISIT_US;
	unsigned enough = c->sample_count + VISIT_SAMPLES_MIN;

	for (unsigned i = 0; i < WARM_UP; i++)
		(void)burst(s);
	while (c->sample_count < SAMPLES_MAX && (c->sample_count < enough || now_us() < end))
		c->samples[c->sample_count++] = (float)burst(s) / (float)c->batch;
	c->cycles = spread_of(c->samples, c->sample_count);
}

static void case_run(struct bench *bench, void *context)
{
	struct bench_case *c = context;
	struct setting *s = aligned_alloc(64, (sizeof *s + 63) / 64 * 64);

	if (!c->samples)
		c->samples = malloc(SAMPLES_MAX * sizeof *c->samples);
	if (!s || !c->samples || setting_init(s, c)) {
		bench_fail(bench, "out of memory, or the engine does not seal");
		free(s);
		return;
	}
	machine_measure_aes(&machine);
	while (bench_next(bench)) {
		case_visit(c, s);
		bench_took(bench, c->cycles.median / machine.tsc_hz);
	}
	if (!burst_was_right(s)) {
		bench_fail(bench, "wrong result");
	} else {
		c->done = true;
		bench_counter(bench, "cycles_min", c->cycles.least);
		bench_counter(bench, "cycles_median", c->cycles.median);
		bench_counter(bench, "cycles_quartiles", c->cycles.high - c->cycles.low);
		bench_counter(bench, "records_per_s", machine.tsc_hz / c->cycles.median);
	}
	setting_fini(s);
	free(s);
}

/* ---- Which ---- */

static void case_add(const struct subject *subject, enum protection_id protection, bool open,
		     unsigned payload, unsigned batch, unsigned sessions)
{
	struct cpu_features cpu = cpu_features_get();
	struct bench_case *c = &cases[case_count];

	if (!subject->engine->usable(&cpu, protection) || sessions > subject->sessions_max ||
	    case_count == CASES_MAX)
		return;
	*c = (struct bench_case){
		.subject = subject,
		.protection = protection,
		.open = open,
		.payload = payload,
		.batch = batch,
		.sessions = sessions,
	};
	(void)snprintf(c->name, sizeof c->name, "%s/%s/%s/%u/%u/%u", open ? "open" : "seal",
		       protection_get(protection)->name, subject->engine->name, payload, batch, sessions);
	bench_register(c->name, case_run, c);
	case_count++;
}

static void cases_gather(void)
{
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		for (unsigned i = 0; i < subject_count; i++) {
			for (unsigned open = 0; open < 2; open++) {
				for (unsigned j = 0; j < PAYLOADS * BATCHES; j++)
					case_add(&subjects[i], p, open, payloads[j / BATCHES],
						 batches[j % BATCHES], session_counts[0]);
				for (unsigned j = 1; j < SESSION_COUNTS; j++)
					case_add(&subjects[i], p, open, 64, 64, session_counts[j]);
			}
		}
	}
}

/* ---- What came out ---- */

static const struct bench_case *case_find(const char *engine, enum protection_id protection, bool open,
					  unsigned payload, unsigned batch, unsigned sessions)
{
	for (unsigned i = 0; i < case_count; i++) {
		const struct bench_case *c = &cases[i];

		if (c->done && c->protection == protection && c->open == open && c->payload == payload &&
		    c->batch == batch && c->sessions == sessions &&
		    strcmp(c->subject->engine->name, engine) == 0)
			return c;
	}
	return NULL;
}

/* TSC cycles that the AES units alone need for a record of CCM with a 128-bit key: 2m + 3 blocks of ten
 * rounds, for m blocks of text; the three are B0, the additional data and the tag's mask.
 */
static double ccm_bound(unsigned payload)
{
	unsigned blocks = 2 * ((payload + 15) / 16) + 3;

	return machine.aes_rate > 0 ? blocks * 10 / machine.aes_rate : NAN;
}

static void table_by_payload(enum protection_id protection, bool open)
{
	printf("\n### %s, %s: TSC cycles per record, median (least) in bursts of 64, 64 sessions\n\n| |",
	       protection_get(protection)->name, open ? "open" : "seal");
	for (unsigned i = 0; i < PAYLOADS; i++)
		printf(" %u B |", payloads[i]);
	printf("\n|---|---|---|---|---|---|\n");
	for (unsigned i = 0; i < subject_count; i++) {
		const char *name = subjects[i].engine->name;

		if (!case_find(name, protection, open, 64, 64, FEW))
			continue;
		printf("| %s |", name);
		for (unsigned j = 0; j < PAYLOADS; j++) {
			const struct bench_case *c = case_find(name, protection, open, payloads[j], 64, FEW);

			if (c)
				printf(" %.0f (%.0f) |", c->cycles.median, c->cycles.least);
			else
				printf(" |");
		}
		printf("\n");
	}
	if (protection != PROTECTION_AES_128_CCM_8)
		return;
	printf("| bound of the AES units |");
	for (unsigned i = 0; i < PAYLOADS; i++)
		printf(" %.1f |", ccm_bound(payloads[i]));
	printf("\n");
}

static void table_by_batch(enum protection_id protection, bool open)
{
	printf("\n### %s, %s: TSC cycles per record of 64 bytes, median (least), by batch and by "
	       "sessions\n\n| |",
	       protection_get(protection)->name, open ? "open" : "seal");
	for (unsigned i = 0; i < BATCHES; i++)
		printf(" x%u |", batches[i]);
	for (unsigned i = 1; i < SESSION_COUNTS; i++)
		printf(" x64, %u sessions |", session_counts[i]);
	printf("\n|---|---|---|---|---|---|---|---|---|\n");
	for (unsigned i = 0; i < subject_count; i++) {
		const char *name = subjects[i].engine->name;

		if (!case_find(name, protection, open, 64, 64, FEW))
			continue;
		printf("| %s |", name);
		for (unsigned j = 0; j < BATCHES + SESSION_COUNTS - 1; j++) {
			unsigned batch = j < BATCHES ? batches[j] : 64;
			unsigned sessions = session_counts[j < BATCHES ? 0 : j - BATCHES + 1];
			const struct bench_case *c = case_find(name, protection, open, 64, batch, sessions);

			if (c)
				printf(" %.0f (%.0f) |", c->cycles.median, c->cycles.least);
			else
				printf(" |");
		}
		printf("\n");
	}
}

/* The fastest of the engines that may be chosen. */
static const struct bench_case *best_of_ours(enum protection_id protection, unsigned payload,
					     unsigned sessions)
{
	unsigned count;
	const struct record_engine *const *engines = record_engines(&count);
	const struct bench_case *best = NULL;

	for (unsigned i = 0; i < count; i++) {
		const struct bench_case *c =
			case_find(engines[i]->name, protection, true, payload, 64, sessions);

		if (c && (!best || c->cycles.median < best->cycles.median))
			best = c;
	}
	return best;
}

/* The fastest way to use IPsec-MB, whichever that is here. */
static const struct bench_case *best_of_ipsecmb(enum protection_id protection, unsigned payload)
{
	const struct bench_case *best = NULL;

	for (unsigned i = 0; i < case_count; i++) {
		const struct bench_case *c = &cases[i];

		if (c->done && c->protection == protection && c->open && c->payload == payload &&
		    c->batch == 64 && c->sessions == FEW &&
		    strncmp(c->subject->engine->name, "ipsec-mb", 8) == 0 &&
		    (!best || c->cycles.median < best->cycles.median))
			best = c;
	}
	return best;
}

/* One bar: a ratio that must not be below (or above) a limit, of the medians and of the least times. */
static void bar(const char *what, double median, double least, double limit, bool at_least)
{
	bool met = at_least ? median >= limit : median <= limit;

	printf("| %s | %s %.2f | %.2f | %.2f | %s |\n", what, at_least ? ">=" : "<=", limit, median, least,
	       met ? "met" : "**missed**");
}

static void bars_of_payload(unsigned payload, double openssl, double ipsecmb, double bound)
{
	const struct bench_case *ours = best_of_ours(PROTECTION_AES_128_CCM_8, payload, FEW);
	const struct bench_case *evp =
		case_find("openssl-evp", PROTECTION_AES_128_CCM_8, true, payload, 64, FEW);
	const struct bench_case *imb = best_of_ipsecmb(PROTECTION_AES_128_CCM_8, payload);
	char what[128];

	if (!ours || !evp || !imb)
		return;
	(void)snprintf(what, sizeof what, "CCM_8 open, %u B: OpenSSL EVP / %s", payload,
		       ours->subject->engine->name);
	bar(what, evp->cycles.median / ours->cycles.median, evp->cycles.least / ours->cycles.least, openssl,
	    true);
	(void)snprintf(what, sizeof what, "CCM_8 open, %u B: %s / %s", payload, imb->subject->engine->name,
		       ours->subject->engine->name);
	bar(what, imb->cycles.median / ours->cycles.median, imb->cycles.least / ours->cycles.least, ipsecmb,
	    true);
	(void)snprintf(what, sizeof what, "CCM_8 open, %u B: %s / bound of the AES units", payload,
		       ours->subject->engine->name);
	bar(what, ours->cycles.median / ccm_bound(payload), ours->cycles.least / ccm_bound(payload), bound,
	    false);
}

static void bars_print(void)
{
	const struct bench_case *few = best_of_ours(PROTECTION_AES_128_CCM_8, 64, THOUSAND);
	const struct bench_case *many = best_of_ours(PROTECTION_AES_128_CCM_8, 64, 4000000);

	printf("\n### Bars, as ratios within this run\n\n| | limit | by median | by least | "
	       "|\n|---|---|---|---|---|\n");
	bars_of_payload(64, 15, 3, 2.4);
	bars_of_payload(1400, 7, 1.9, 1.5);
	if (few && many)
		bar("CCM_8 open, 64 B: 4 million sessions / 1 thousand",
		    many->cycles.median / few->cycles.median, many->cycles.least / few->cycles.least, 4,
		    false);
	for (unsigned i = 0; i < PAYLOADS; i++) {
		const struct bench_case *ours = best_of_ours(PROTECTION_AES_128_CBC_MTE, payloads[i], FEW);
		const struct bench_case *imb = best_of_ipsecmb(PROTECTION_AES_128_CBC_MTE, payloads[i]);
		char what[128];

		if (!ours || !imb)
			continue;
		(void)snprintf(what, sizeof what, "CBC MAC-then-encrypt open, %u B: %s / %s", payloads[i],
			       ours->subject->engine->name, imb->subject->engine->name);
		bar(what, ours->cycles.median / imb->cycles.median, ours->cycles.least / imb->cycles.least,
		    1.15, false);
	}
}

int main(int argc, char **argv)
{
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	subjects_gather();
	cases_gather();
	if (bench_run(&argc, argv))
		return 1;
	printf("\n# AES units: %.2f rounds per TSC cycle, the most that was seen, with %u-bit registers\n",
	       machine.aes_rate, machine.aes_register);
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		for (unsigned open = 0; open < 2; open++) {
			if (case_find("reference", p, open == 0, 64, 64, FEW)) {
				table_by_payload(p, open == 0);
				table_by_batch(p, open == 0);
			}
		}
	}
	bars_print();
	for (unsigned i = 0; i < case_count; i++)
		free(cases[i].samples);
	return 0;
}
