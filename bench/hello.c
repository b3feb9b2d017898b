/* What a flood of ClientHellos costs a worker, without its port: frame parsed and its checksum verified,
 * record read, cookie made, HelloVerifyRequest written into a frame of its own. Every hello is another
 * device's. A sample is 64 frames of 4096, which the caches hold; the time is that of one hello.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/machine.h"
#include "bench/shim.h"
#include "dataplane/cookie.h"
#include "dataplane/parse.h"
#include "tests/unit/frame_builder.h"
#include "tests/unit/hello_builder.h"

enum { FRAMES = 4096, SLOT = 256, BURST = 64, SAMPLES = 20000 };

struct hello_case {
	const char *name;
	enum hello_verdict expected;
	bool cookie, previous; /* comes with a valid cookie; made with the secret before */
};

static struct cookie_secrets secrets;
static struct local local;
static uint8_t frames[FRAMES][SLOT];
static uint16_t lengths[FRAMES];
static uint8_t answer_frame[FRAME_HEADERS_MAX + HELLO_VERIFY_LEN];
static struct machine machine;

/* All of a worker's way from a hello to its answer. */
static enum hello_verdict handle(unsigned i)
{
	struct datagram d;
	struct record record;
	enum record_verdict verdict;
	struct client_hello hello;
	const struct cookie_secret *matched;
	enum hello_verdict result;
	uint8_t *answer = answer_frame + FRAME_HEADERS_MAX;

	if (parse_frame(&local, frames[i], lengths[i], CHECKSUM_VERIFY, &d) != FRAME_RECORDS ||
	    record_read(d.payload, d.payload_len, &record, &verdict) == 0 || verdict != RECORD_APP)
		return HELLO_NOT;
	result = cookie_check(&secrets, &d.path.peer, &record, &hello, answer, &matched);
	if (result == HELLO_ANSWER)
		(void)frame_write_headers(&local, &d.path, answer, HELLO_VERIFY_LEN, 0, false);
	return result;
}

/* What a device with one suite, the usual extensions and a connection ID sends. */
static void make_frame(unsigned i, const uint8_t *cookie)
{
	struct hello_parts h = {
		.record_version = DTLS_1_0, .version = DTLS_1_2, .suites_len = 4, .compression_len = 1};
	struct frame f;
	uint8_t bytes[HELLO_RECORD_MAX];

	for (unsigned k = 0; k < sizeof h.random; k++)
		h.random[k] = (uint8_t)(i * 31 + k * 7);
	h.extensions_len = 40;
	h.extensions[3] = 36; /* one of that length */
	if (cookie) {
		h.cookie_len = COOKIE_LEN;
		memcpy(h.cookie, cookie, COOKIE_LEN);
	}
	size_t len = hello_whole(&h, bytes);

	frame_build(&f,
		    &(struct frame_parts){.payload_len = (unsigned)len, .source_port = (uint16_t)(1024 + i)});
	memcpy(f.payload, bytes, len);
	frame_fix_transport(&f, 6);
	memcpy(frames[i], f.bytes, f.len);
	lengths[i] = (uint16_t)f.len;
}

static void make_frames(const struct hello_case *c)
{
	static const uint8_t first[COOKIE_SECRET_LEN] = {1};
	static const uint8_t second[COOKIE_SECRET_LEN] = {2};

	cookie_secrets_init(&secrets, first);
	for (unsigned i = 0; i < FRAMES; i++) {
		make_frame(i, NULL);
		if (c->cookie && handle(i) == HELLO_ANSWER)
			make_frame(i, answer_frame + sizeof answer_frame - COOKIE_LEN);
	}
	if (c->previous)
		cookie_secrets_rotate(&secrets, second);
}

static void case_run(struct bench *bench, void *context)
{
	const struct hello_case *c = context;
	static float samples[SAMPLES];
	struct spread cycles;
	unsigned wrong = 0;

	make_frames(c);
	while (bench_next(bench)) {
		for (unsigned s = 0; s < SAMPLES; s++) {
			unsigned at = s * BURST % FRAMES;
			uint64_t start = tsc_now();

			for (unsigned i = 0; i < BURST; i++)
				wrong += handle(at + i) != c->expected;
			samples[s] = (float)(tsc_now() - start) / BURST;
		}
		cycles = spread_of(samples, SAMPLES);
		bench_took(bench, cycles.median / machine.tsc_hz);
		bench_counter(bench, "ns_min", cycles.least / machine.tsc_hz * 1e9);
		bench_counter(bench, "cycles_median", cycles.median);
		bench_counter(bench, "hellos_per_s", machine.tsc_hz / cycles.median);
	}
	if (wrong > 0)
		bench_fail(bench, "wrong verdict");
}

int main(int argc, char **argv)
{
	static struct hello_case cases[] = {
		{"hello/no_cookie", HELLO_ANSWER, false, false},
		{"hello/valid_cookie", HELLO_VALID, true, false},
		{"hello/cookie_of_the_secret_before", HELLO_VALID, true, true},
	};

	local = frame_local();
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
		bench_register(cases[i].name, case_run, &cases[i]);
	return bench_run(&argc, argv) ? 1 : 0;
}
