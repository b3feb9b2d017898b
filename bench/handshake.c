/* What a handshake costs the gateway: the CPU time of the control thread from the ClientHello with a valid
 * cookie to keys that are ready to be installed, the client's share left out. The client is wolfSSL, in
 * memory, over an ideal way. The time is that of one handshake.
 *
 * The case with a store has devices at random out of a thousand rows of LMDB and out of a million, in turns,
 * so that both are measured on the same machine in the same state; lookup_ns is the look-up alone. The case
 * with a list has the one of the client's CA, which names a hundred thousand others.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/machine.h"
#include "bench/shim.h"
#include "controlplane/handshake.h"
#include "controlplane/store_live.h"
#include "controlplane/store_lmdb.h"
#include "crypto/secret.h"
#include "dataplane/record.h"
#include "tests/unit/peer.h"
#include "tests/unit/pki.h"

enum { SAMPLES_MAX = 2000, REVOKED = 100000 };

struct handshake_case {
	const char *name;
	struct peer_options options;
	struct tls *tls;
	unsigned samples;
};

/* One handshake under way. */
struct run {
	const struct handshake_case *c;
	struct peer *peer;
	struct handshake *handshake;
	struct cookie_secrets secrets;
	struct handshake_start start;
	uint64_t cycles; /* ours */
	bool done;
};

static const uint8_t psk[16] = "sixteen bytes ok";
static struct machine machine;

static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t len,
		    struct psk_credential *out)
{
	memset(out, 0, sizeof *out);
	memcpy(out->key, psk, sizeof psk);
	out->key_len = sizeof psk;
	registree_by_credential(&out->registree, identity, len);
	return 1;
}

static const struct credential_store store = {.name = "bench", .find_psk = find_psk};

static void finish(struct run *r)
{
	_Alignas(8) uint8_t up[SESSION_UP_MAX];
	struct session_install install;

	r->done =
		handshake_install(r->handshake, &install) == 0 && handshake_session_up(r->handshake, up) > 0;
	secret_wipe(&install, sizeof install);
}

static enum handshake_state take_record(struct run *r, const uint8_t *record, size_t len)
{
	enum handshake_state state;
	uint64_t start = tsc_now();

	if (!r->handshake)
		r->handshake = handshake_new(r->c->tls, &r->start);
	state = handshake_record(r->handshake, record, len, start);
	if (state == HANDSHAKE_DONE)
		finish(r);
	r->cycles += tsc_now() - start;
	return state;
}

static void answer(struct run *r)
{
	struct flight *flight = handshake_flight(r->handshake);
	const uint8_t *datagram;
	uint32_t at = 0;
	uint16_t len;

	while ((datagram = flight_next(flight, &at, &len)))
		(void)peer_wolfssl.run(r->peer, datagram, len);
	flight_clear(flight);
}

/* The cookie's exchange is the worker's: bench/hello.c. */
static void hello(struct run *r, const struct record *record, size_t len)
{
	uint8_t verify[HELLO_VERIFY_LEN];
	const struct cookie_secret *matched;
	struct client_hello hello;

	switch (cookie_check(&r->secrets, &r->start.path.peer, record, &hello, verify, &matched)) {
	case HELLO_ANSWER:
		(void)peer_wolfssl.run(r->peer, verify, sizeof verify);
		break;
	case HELLO_VALID:
		memcpy(r->start.cookie_secret, matched->secret, COOKIE_SECRET_LEN);
		(void)take_record(r, record->header, len);
		answer(r);
		break;
	default:
		break;
	}
}

static void take_datagram(struct run *r, const uint8_t *datagram, size_t len)
{
	enum record_verdict verdict;
	struct record record;
	size_t n;

	for (; len > 0 && (n = record_read(datagram, len, &record, &verdict)) > 0; datagram += n, len -= n) {
		if (!r->handshake)
			hello(r, &record, n);
		else if (take_record(r, datagram, n) != HANDSHAKE_GOES_ON ||
			 handshake_flight(r->handshake)->len > 0)
			answer(r);
	}
}

/* Cycles of ours for one handshake; 0 when it failed. */
static uint64_t run_one(const struct handshake_case *c)
{
	static const uint8_t secret[COOKIE_SECRET_LEN] = {1};
	static uint8_t datagram[PEER_DATAGRAM_MAX];
	struct run r = {.c = c,
			.start.path.peer = {.ip = {[10] = 0xff, [11] = 0xff, 10, 0, 0, 1}, .port = 1}};
	uint64_t start;
	size_t len;

	cookie_secrets_init(&r.secrets, secret);
	r.peer = peer_wolfssl.new(&c->options);
	(void)peer_wolfssl.run(r.peer, NULL, 0);
	while (!r.done && (len = peer_wolfssl.take(r.peer, datagram)) > 0)
		take_datagram(&r, datagram, len);
	start = tsc_now();
	handshake_free(r.handshake);
	r.cycles += tsc_now() - start;
	r.done &= peer_wolfssl.run(r.peer, NULL, 0) == PEER_CONNECTED;
	peer_wolfssl.free(r.peer);
	return r.done ? r.cycles : 0;
}

static void case_run(struct bench *bench, void *context)
{
	const struct handshake_case *c = context;
	static float samples[SAMPLES_MAX];
	struct spread cycles;
	unsigned failed = 0;

	while (bench_next(bench)) {
		for (unsigned i = 0; i < c->samples; i++) {
			samples[i] = (float)run_one(c);
			failed += samples[i] == 0;
		}
		cycles = spread_of(samples, c->samples);
		bench_took(bench, cycles.median / machine.tsc_hz);
		bench_counter(bench, "us_min", cycles.least / machine.tsc_hz * 1e6);
		bench_counter(bench, "handshakes_per_s", machine.tsc_hz / cycles.median);
		bench_counter(bench, "best_per_s", machine.tsc_hz / cycles.least);
	}
	if (failed > 0)
		bench_fail(bench, "a handshake failed");
}

/* ---- with a store */

enum { STORES = 2, LOOKUPS = 20000 };

struct rows {
	const char *name;
	uint32_t count;
	char path[64];
	struct store_live *live;
	struct handshake_case handshake;
	float samples[SAMPLES_MAX], lookups[LOOKUPS];
};

static struct rows stores[STORES] = {{.name = "1k", .count = 1000}, {.name = "1m", .count = 1000000}};
static char identity[32];

static uint64_t random_number(void)
{
	static uint64_t state = 1;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static size_t name_device(uint32_t number)
{
	return (size_t)snprintf(identity, sizeof identity, "urn:dev:ops:32473-%07u", number);
}

static int write_rows(struct store_writer *w, bool again, void *context)
{
	const struct rows *r = context;
	struct credential *c = calloc(1, sizeof *c);
	int ret = c ? 0 : -1;

	for (uint32_t i = 0; ret >= 0 && i < r->count; i++) {
		memset(&c->id, 0, sizeof c->id);
		c->id.kind = SLUICE_CREDENTIAL_PSK;
		c->id.name_len = (uint8_t)name_device(i);
		memcpy(c->id.name, identity, c->id.name_len);
		c->psk.key_len = sizeof psk;
		memcpy(c->psk.key, psk, sizeof psk);
		c->psk.registree.kind = SLUICE_IDENTITY_CREDENTIAL;
		ret = store_put(w, c, true, NULL);
	}
	free(c);
	return ret < 0 ? ret : 0;
}

/* As soon as they are open: some hundred megabytes, which would stay when the benchmark is interrupted. */
static void remove_files(const struct rows *r)
{
	static const char *const files[] = {"data.mdb", "lock.mdb"};
	char file[80];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(file, sizeof file, "%s/%s", r->path, files[i]);
		unlink(file);
	}
	rmdir(r->path);
}

/* False with a line on standard error. */
static bool fill_store(struct rows *r, const char *folder)
{
	char error[512] = "it cannot be written";
	struct store_options o = {.path = r->path, .create = true, .write = true};
	struct store *s;
	int ret;

	snprintf(r->path, sizeof r->path, "%s/%s", folder, r->name);
	s = store_open(&o, error, sizeof error);
	ret = s ? store_reserve(s, (uint64_t)r->count * 200) : -1;
	if (ret == 0)
		ret = store_write(s, write_rows, r);
	store_close(s);
	r->live = ret == 0 ? store_live_open(r->path, NULL, error, sizeof error) : NULL;
	if (!r->live)
		fprintf(stderr, "%s: %s\n", r->path, error);
	remove_files(r);
	return r->live != NULL;
}

static bool open_tls(struct rows *r)
{
	struct config config = {.sessions.cid = true, .handshakes.mtu = 1400, .tls.require_ems = true};
	char error[256];

	r->handshake.tls =
		tls_new(&config, &config.tls, "",
			(struct credentials){.ops = &store_live_ops, .store = r->live}, error, sizeof error);
	r->handshake.options = (struct peer_options){
		.ciphers = "PSK-AES128-CCM-8", .psk_identity = identity, .psk = psk, .psk_len = sizeof psk};
	return r->handshake.tls != NULL;
}

static void close_store(struct rows *r)
{
	tls_free(r->handshake.tls);
	store_live_close(r->live);
	r->handshake.tls = NULL;
	r->live = NULL;
}

static float lookup_one(const struct rows *r)
{
	struct psk_credential out;
	size_t len = name_device((uint32_t)(random_number() % r->count));
	uint64_t start = tsc_now();
	int ret = store_live_ops.find_psk(r->live, "", (const uint8_t *)identity, len, &out);
	uint64_t end = tsc_now();

	secret_wipe(&out.key, sizeof out.key);
	return ret == 1 ? (float)(end - start) : 0;
}

/* In turns; how many failed. */
static unsigned measure_stores(unsigned samples)
{
	unsigned failed = 0;

	for (unsigned i = 0; i < STORES * LOOKUPS; i++) {
		struct rows *r = &stores[i % STORES];

		r->lookups[i / STORES] = lookup_one(r);
		failed += r->lookups[i / STORES] == 0;
	}
	for (unsigned i = 0; i < STORES * samples; i++) {
		struct rows *r = &stores[i % STORES];

		(void)name_device((uint32_t)(random_number() % r->count));
		r->samples[i / STORES] = (float)run_one(&r->handshake);
		failed += r->samples[i / STORES] == 0;
	}
	return failed;
}

static void report_stores(struct bench *bench, unsigned samples)
{
	double median[STORES];
	char name[48];

	for (unsigned i = 0; i < STORES; i++) {
		struct spread cycles = spread_of(stores[i].samples, samples);
		struct spread lookup = spread_of(stores[i].lookups, LOOKUPS);

		median[i] = cycles.median;
		snprintf(name, sizeof name, "handshakes_per_s_%s", stores[i].name);
		bench_counter(bench, name, machine.tsc_hz / cycles.median);
		snprintf(name, sizeof name, "best_per_s_%s", stores[i].name);
		bench_counter(bench, name, machine.tsc_hz / cycles.least);
		snprintf(name, sizeof name, "lookup_ns_%s", stores[i].name);
		bench_counter(bench, name, lookup.median / machine.tsc_hz * 1e9);
	}
	bench_counter(bench, "rate_1m_of_1k", median[0] / median[1]);
	bench_took(bench, median[1] / machine.tsc_hz);
}

static void stores_run(struct bench *bench, void *context)
{
	const struct handshake_case *c = context;
	char folder[] = "/tmp/sluice-bench-store-XXXXXX";
	bool ready = mkdtemp(folder) != NULL;
	unsigned failed = 0;

	for (unsigned i = 0; ready && i < STORES; i++)
		ready = fill_store(&stores[i], folder) && open_tls(&stores[i]);
	while (bench_next(bench)) {
		failed += ready ? measure_stores(c->samples) : 1;
		if (failed == 0)
			report_stores(bench, c->samples);
	}
	for (unsigned i = 0; i < STORES; i++)
		close_store(&stores[i]);
	rmdir(folder);
	if (failed > 0)
		bench_fail(bench, "a store cannot be used, or a handshake failed");
}

/* ---- */

/* list: of revoked certificates; NULL: none. */
static struct tls *make_tls(const struct pki *pki, enum config_client_certificate client_certificate,
			    char *list)
{
	struct config config = {.sessions.cid = true, .handshakes.mtu = 1400, .tls.require_ems = true};
	struct credentials credentials = {.ops = &store};
	char error[256] = "";
	struct tls *t;

	config.tls.certificate = (char *)pki->certificate;
	config.tls.key = (char *)pki->key;
	config.tls.trust_anchors = (char *)pki->ca;
	config.tls.client_certificate = client_certificate;
	config.tls.crls = &list;
	config.tls.crls_count = list != NULL;
	t = tls_new(&config, &config.tls, "", credentials, error, sizeof error);
	if (!t)
		fprintf(stderr, "%s\n", error);
	return t;
}

int main(int argc, char **argv)
{
	static struct handshake_case cases[] = {
		{.name = "handshake/psk_ccm_8", .samples = 2000, .options.ciphers = "PSK-AES128-CCM-8"},
		{.name = "handshake/psk_ccm_8_cid", .samples = 2000, .options.ciphers = "PSK-AES128-CCM-8"},
		{.name = "handshake/ecdhe_ecdsa_ccm_8",
		 .samples = 500,
		 .options.ciphers = "ECDHE-ECDSA-AES128-CCM-8"},
		{.name = "handshake/ecdhe_ecdsa_ccm_8_client_certificate",
		 .samples = 300,
		 .options.ciphers = "ECDHE-ECDSA-AES128-CCM-8"},
		{.name = "handshake/ecdhe_ecdsa_ccm_8_client_certificate_below_ca",
		 .samples = 300,
		 .options.ciphers = "ECDHE-ECDSA-AES128-CCM-8"},
		{.name = "handshake/ecdhe_ecdsa_ccm_8_client_certificate_list_of_100k",
		 .samples = 300,
		 .options.ciphers = "ECDHE-ECDSA-AES128-CCM-8"},
	};
	static const char *const devices[] = {NULL, NULL, NULL, "device", "device-below", "device"};
	static char list[160];
	static struct handshake_case with_store = {.samples = 2000};
	struct tls *plain, *mutual, *listed;
	struct pki pki;
	int ret = 1;

	pki_new(&pki);
	pki_client(&pki, "device", "device 1", "urn:dev:ops:1", NULL, PKI_GOOD);
	pki_client(&pki, "device-below", "device 2", "urn:dev:ops:2", NULL, PKI_BELOW_CA);
	pki_list(&pki, "root", REVOKED);
	snprintf(list, sizeof list, "%s", pki_path(&pki, "root", "crl"));
	if (tls_global_init())
		return 1;
	plain = make_tls(&pki, CONFIG_CLIENT_CERTIFICATE_NONE, NULL);
	mutual = make_tls(&pki, CONFIG_CLIENT_CERTIFICATE_REQUIRED, NULL);
	listed = make_tls(&pki, CONFIG_CLIENT_CERTIFICATE_REQUIRED, list);
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct peer_options *o = &cases[i].options;

		cases[i].tls = i == 5 ? listed : devices[i] ? mutual : plain;
		o->psk_identity = "urn:dev:ops:32473-1";
		o->psk = psk;
		o->psk_len = sizeof psk;
		o->ca = i >= 2 ? pki.ca : NULL;
		o->use_cid = i == 1;
		o->cid = (const uint8_t *)"cid";
		o->cid_len = 3;
		o->certificate = devices[i] ? pki_path(&pki, devices[i], "pem") : NULL;
		o->key = devices[i] ? pki_path(&pki, devices[i], "key") : NULL;
		bench_register(cases[i].name, case_run, &cases[i]);
	}
	bench_register("handshake/psk_ccm_8_store_of_1k_and_1m", stores_run, &with_store);
	if (plain && mutual && listed)
		ret = bench_run(&argc, argv) ? 1 : 0;
	tls_free(plain);
	tls_free(mutual);
	tls_free(listed);
	tls_global_fini();
	pki_free(&pki);
	return ret;
}
