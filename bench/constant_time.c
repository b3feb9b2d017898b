/* Whether the time to open a CBC record with MAC-then-encrypt tells anything about what is inside (Lucky 13).
 *
 * Welch's t test over bursts of two classes that differ in nothing but the plaintext: same key, same length,
 * same addresses. The class of each burst is drawn at random; both classes' records are read whichever is
 * drawn. The slowest tenth is cut off, where the machine's own noise is. Above 4.5 in either direction the
 * classes can be told apart. IPsec-MB's way, which does not try to hide it, is the positive control: if it
 * passes, the test proves nothing and fails as well.
 *
 * usage: bench_constant_time [SAMPLES]      1000000 per pair of classes unless said otherwise
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/machine.h"
#include "crypto/always.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "tests/unit/record_oracle.h"

enum {
	BATCH = 8,
	SLOT = 1024,
	BEFORE = 16,
	CIPHERTEXT_LEN = 304,
	MAC_LEN = 32,
	SAMPLES = 1000000,
	ENGINES_MAX = 16
};

static const double THRESHOLD = 4.5;

/* What a record is made of. */
struct class
{
	const char *name;
	unsigned padding; /* bytes, its length byte not counted; 15 modulo 16 */
	bool mac_wrong;
	int spoil_padding; /* see struct oracle_record */
};

static const struct class short_good = {"valid, 15 bytes of padding", 15, false, -1};
static const struct class long_good = {"valid, 255 bytes of padding", 255, false, -1};
static const struct class short_mac = {"wrong MAC, 15 bytes of padding", 15, true, -1};
static const struct class long_mac = {"wrong MAC, 255 bytes of padding", 255, true, -1};
static const struct class bad_padding = {"wrong padding", 15, false, 7};
static const struct class bad_length = {"wrong padding length", 255, false, 0};

static const struct class *const pairs[][2] = {
	{&short_good, &long_good},  {&short_good, &short_mac}, {&short_mac, &long_mac},
	{&short_mac, &bad_padding}, {&short_mac, &bad_length},
};

struct trial {
	const struct record_engine *engine;
	void *worker;
	union record_key key;
	uint8_t records[2][BATCH][SLOT];
	uint8_t at_work[BATCH][SLOT];
	unsigned fragment_len;
	struct record_op op[BATCH];
	struct record_op *ops[BATCH];
};

static struct oracle_key secrets;

static uint64_t random_next(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1d;
}

/* Seals BATCH records of the class with contents of their own. A wrong MAC comes from another MAC key. */
static unsigned class_make(const struct class *class, uint8_t (*out)[SLOT])
{
	struct oracle_key key = secrets;
	uint8_t payload[SLOT];
	unsigned len = 0;

	key.mac_key[0] ^= class->mac_wrong ? 1 : 0;
	for (unsigned i = 0; i < BATCH; i++) {
		for (unsigned j = 0; j < SLOT; j++)
			payload[j] = (uint8_t)random_next();

		struct oracle_record record = {
			.protection = PROTECTION_AES_128_CBC_MTE,
			.key = &key,
			.epoch_seq = 1ULL << 48 | i,
			.type = 23,
			.explicit_part = payload + SLOT - 16,
			.payload = payload,
			.payload_len = CIPHERTEXT_LEN - MAC_LEN - 1 - class->padding,
			.extra_padding = class->padding - 15,
			.spoil_padding = class->spoil_padding,
		};

		len = oracle_seal(&record, out[i] + BEFORE);
	}
	return len;
}

/* Copies the records of class 0 or 1 to where they are opened, reading both alike. */
static void lay_out(struct trial *t, unsigned class)
{
	uint64_t mask = 0 - (uint64_t) class;

	for (unsigned i = 0; i < BATCH; i++) {
		for (unsigned j = 0; j < SLOT; j += 8) {
			uint64_t a;
			uint64_t b;

			memcpy(&a, &t->records[0][i][j], 8);
			memcpy(&b, &t->records[1][i][j], 8);
			a ^= mask & (a ^ b);
			memcpy(&t->at_work[i][j], &a, 8);
		}
		t->op[i] = (struct record_op){
			.fragment = t->at_work[i] + BEFORE,
			.key = &t->key,
			.epoch_seq = 1ULL << 48 | i,
			.fragment_len = (uint16_t)t->fragment_len,
			.type = 23,
			.protection = PROTECTION_AES_128_CBC_MTE,
		};
		t->ops[i] = &t->op[i];
	}
}

/* The engine itself, not the record layer: that one wipes what failed, and a verdict is public. */
static float sample(struct trial *t, unsigned class)
{
	uint64_t begin;

	lay_out(t, class);
	begin = tsc_now();
	t->engine->open_burst(t->worker, t->ops, BATCH);
	return (float)(tsc_now() - begin);
}

struct moments {
	double count, mean, m2;
};

static void moments_add(struct moments *m, double value)
{
	double delta = value - m->mean;

	m->count++;
	m->mean += delta / m->count;
	m->m2 += delta * (value - m->mean);
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a;
	float y = *(const float *)b;

	return (x > y) - (x < y);
}

/* TSC cycles below which nine tenths of a series lie that has both classes in it. */
static float cut_off(struct trial *t)
{
	enum { SERIES = 10000 };
	static float series[SERIES];

	for (unsigned i = 0; i < SERIES; i++)
		series[i] = sample(t, i & 1);
	qsort(series, SERIES, sizeof *series, compare);
	return series[SERIES * 9 / 10];
}

/* |t| of the pair, after Welch; prints a line of the table. */
static double pair_test(struct trial *t, const struct class *const pair[2], unsigned samples)
{
	struct moments m[2];
	double t_value;
	float limit;

	memset(m, 0, sizeof m);
	t->fragment_len = class_make(pair[0], t->records[0]);
	always_assert(class_make(pair[1], t->records[1]) == t->fragment_len);
	limit = cut_off(t);
	for (unsigned i = 0; i < samples; i++) {
		unsigned class = (unsigned)(random_next() >> 40) & 1;
		float time = sample(t, class);

		if (time <= limit)
			moments_add(&m[class], time / BATCH);
	}
	t_value = (m[0].mean - m[1].mean) /
		  sqrt(m[0].m2 / (m[0].count - 1) / m[0].count + m[1].m2 / (m[1].count - 1) / m[1].count);
	printf("| %s | %s | %s | %.2f | %.2f | %.2f |\n", t->engine->name, pair[0]->name, pair[1]->name,
	       m[0].mean, m[1].mean, t_value);
	(void)fflush(stdout);
	return fabs(t_value);
}

/* The largest |t| over all pairs; negative when out of memory. */
static double engine_test(const struct record_engine *engine, unsigned samples)
{
	struct trial *t = aligned_alloc(4096, (sizeof *t + 4095) / 4096 * 4096);
	double worst = 0;

	if (!t)
		return -1;
	memset(t, 0, sizeof *t);
	t->engine = engine;
	t->worker = engine->worker_new();
	if (!t->worker) {
		free(t);
		return -1;
	}
	record_key_set(&t->key, PROTECTION_AES_128_CBC_MTE, secrets.key, secrets.salt, secrets.mac_key);
	for (unsigned i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
		worst = fmax(worst, pair_test(t, pairs[i], samples));
	engine->worker_free(t->worker);
	free(t);
	return worst;
}

static bool verdict(const struct record_engine *engine, double worst, bool control)
{
	bool leaks = worst >= THRESHOLD;

	printf("%s: largest |t| %.2f: ", engine->name, worst);
	if (control)
		printf("the control %s\n",
		       leaks ? "leaks, as it should" : "does not show, THE TEST IS BLIND");
	else
		printf("%s\n", worst < 0 ? "OUT OF MEMORY" : leaks ? "LEAKS" : "nothing to be seen");
	return control ? leaks : worst >= 0 && !leaks;
}

int main(int argc, char **argv)
{
	struct cpu_features cpu = cpu_features_get();
	unsigned samples = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : SAMPLES;
	struct machine machine;
	unsigned count;
	const struct record_engine *const *engines = record_engines(&count);
	double worst[ENGINES_MAX] = {0};
	double control;
	bool good = true;

	if (samples < 1000 || count > ENGINES_MAX) {
		(void)fprintf(stderr, "usage: %s [SAMPLES, 1000 or more]\n", argv[0]);
		return 2;
	}
	memset(&secrets, 0x77, sizeof secrets);
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	printf("# %u samples per pair, bursts of %u records with %u bytes of ciphertext\n\n", samples, BATCH,
	       CIPHERTEXT_LEN);
	printf("| engine | class | class | TSC cycles | TSC cycles | t |\n|---|---|---|---|---|---|\n");
	for (unsigned i = 0; i < count; i++) {
		if (engines[i]->usable(&cpu, PROTECTION_AES_128_CBC_MTE))
			worst[i] = engine_test(engines[i], samples);
	}
	control = engine_test(&engine_ipsecmb_naive, samples / 10);
	printf("\n");
	for (unsigned i = 0; i < count; i++) {
		if (engines[i]->usable(&cpu, PROTECTION_AES_128_CBC_MTE))
			good &= verdict(engines[i], worst[i], false);
	}
	good &= verdict(&engine_ipsecmb_naive, control, true);
	return good ? 0 : 1;
}
