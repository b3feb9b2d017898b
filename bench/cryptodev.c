/* DPDK's own way to the same records: its crypto_aesni_mb device through cryptodev, a session per peer,
 * bursts of prepared operations in and out. Beside it, in the same run, what our record layer takes for the
 * same, so that the two can be compared. Needs neither hugepages nor a network device.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_crypto.h>
#include <rte_cryptodev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_version.h>

#include "bench/machine.h"
#include "crypto/aad.h"
#include "crypto/aead.h"

enum {
	BATCH = 64,
	SESSIONS = 1000,
	BURSTS = 2000,
	IV_OFFSET = sizeof(struct rte_crypto_op) + sizeof(struct rte_crypto_sym_op),
	AAD_BEFORE = 18, /* what CCM reserves before the additional data */
	MBUF_ROOM = RTE_PKTMBUF_HEADROOM + 2048,
};

static const unsigned payloads[] = {16, 64, 256, 1024, 1400};
static const enum protection_id protections[] = {PROTECTION_AES_128_CCM_8, PROTECTION_AES_128_GCM};

static const struct aead_key key = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
				    {17, 18, 19, 20}};

/* Our sessions: the same key in each, in a cache line of its own. */
static struct {
	_Alignas(64) struct aead_key key;
} keys[SESSIONS];

struct device {
	uint8_t id;
	struct rte_mempool *sessions;
	struct rte_mempool *ops;
	struct rte_mempool *mbufs;
};

/* One setting: the operations of a burst and their buffers. */
struct setting {
	enum protection_id protection;
	unsigned payload;
	void *open[SESSIONS];
	void *seal[SESSIONS];
	struct rte_crypto_op *ops[BATCH];
	struct rte_mbuf *mbufs[BATCH];
	uint8_t aad[BATCH][64];
	uint8_t pristine[BATCH][2048];
	unsigned fragment_len;
	unsigned drawn;
};

static uint64_t random_next(void)
{
	static uint64_t state = 88172645463325252;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static int device_start(struct device *d)
{
	struct rte_cryptodev_config config = {.nb_queue_pairs = 1, .ff_disable = 0};
	struct rte_cryptodev_qp_conf queue = {.nb_descriptors = 2048};
	unsigned session_size;

	if (rte_cryptodev_count() == 0)
		return -ENODEV;
	config.socket_id = rte_cryptodev_socket_id(d->id);
	session_size = rte_cryptodev_sym_get_private_session_size(d->id);
	d->sessions = rte_cryptodev_sym_session_pool_create("sessions", 4 * SESSIONS, session_size, 0, 0,
							    SOCKET_ID_ANY);
	d->ops = rte_crypto_op_pool_create("ops", RTE_CRYPTO_OP_TYPE_SYMMETRIC, 4 * BATCH, 0, 32,
					   SOCKET_ID_ANY);
	d->mbufs = rte_pktmbuf_pool_create("mbufs", 4 * BATCH, 0, 0, MBUF_ROOM, SOCKET_ID_ANY);
	if (!d->sessions || !d->ops || !d->mbufs)
		return -ENOMEM;
	queue.mp_session = d->sessions;
	if (rte_cryptodev_configure(d->id, &config) || rte_cryptodev_queue_pair_setup(d->id, 0, &queue, 0))
		return -EIO;
	return rte_cryptodev_start(d->id);
}

static void *session_make(const struct device *d, enum protection_id protection, bool open)
{
	bool ccm = protection == PROTECTION_AES_128_CCM_8;
	struct rte_crypto_sym_xform xform = {
		.type = RTE_CRYPTO_SYM_XFORM_AEAD,
		.aead =
			{
				.op = open ? RTE_CRYPTO_AEAD_OP_DECRYPT : RTE_CRYPTO_AEAD_OP_ENCRYPT,
				.algo = ccm ? RTE_CRYPTO_AEAD_AES_CCM : RTE_CRYPTO_AEAD_AES_GCM,
				.key = {.data = key.key, .length = sizeof key.key},
				.iv = {.offset = IV_OFFSET, .length = NONCE_LEN},
				.digest_length = protection_get(protection)->tag_len,
				.aad_length = AAD_PLAIN_LEN,
			},
	};

	return rte_cryptodev_sym_session_create(d->id, &xform, d->sessions);
}

static uint8_t *fragment_of(const struct setting *s, unsigned i)
{
	return rte_pktmbuf_mtod(s->mbufs[i], uint8_t *);
}

/* What a worker has to write for one record: nonce, additional data, where text and tag stand. */
static void op_fill(struct setting *s, unsigned i, void *session)
{
	struct rte_crypto_op *op = s->ops[i];
	bool ccm = s->protection == PROTECTION_AES_128_CCM_8;
	uint8_t *iv = rte_crypto_op_ctod_offset(op, uint8_t *, IV_OFFSET);
	struct record_op record = {.epoch_seq = 1ULL << 48 | i, .type = 23};

	nonce_write(iv + (ccm ? 1 : 0), key.salt, fragment_of(s, i));
	(void)aad_write(s->aad[i] + (ccm ? AAD_BEFORE : 0), &record, s->payload);
	op->status = RTE_CRYPTO_OP_STATUS_NOT_PROCESSED;
	(void)rte_crypto_op_attach_sym_session(op, session);
	op->sym->m_src = s->mbufs[i];
	op->sym->m_dst = NULL;
	op->sym->aead.data.offset = 8;
	op->sym->aead.data.length = s->payload;
	op->sym->aead.digest.data = fragment_of(s, i) + 8 + s->payload;
	op->sym->aead.aad.data = s->aad[i];
}

/* The session of record i of a burst, the same for both. */
static unsigned session_of(const struct setting *s, unsigned i)
{
	return (s->drawn + i * 17) % SESSIONS;
}

/* A burst through the device, with a session drawn for each record; TSC cycles. */
static uint64_t burst(const struct device *d, struct setting *s, void **sessions)
{
	struct rte_crypto_op *done[BATCH];
	unsigned in = 0;
	unsigned out = 0;
	uint64_t begin;

	for (unsigned i = 0; i < BATCH; i++)
		memcpy(fragment_of(s, i), s->pristine[i], s->fragment_len);
	begin = tsc_now();
	for (unsigned i = 0; i < BATCH; i++)
		op_fill(s, i, sessions[session_of(s, i)]);
	while (out < BATCH) {
		in += rte_cryptodev_enqueue_burst(d->id, 0, s->ops + in, (uint16_t)(BATCH - in));
		out += rte_cryptodev_dequeue_burst(d->id, 0, done + out, (uint16_t)(BATCH - out));
	}
	return tsc_now() - begin;
}

static bool burst_was_right(const struct setting *s, bool open)
{
	for (unsigned i = 0; i < BATCH; i++) {
		if (s->ops[i]->status != RTE_CRYPTO_OP_STATUS_SUCCESS)
			return false;
		for (unsigned j = 0; open && j < s->payload; j++) {
			if (fragment_of(s, i)[8 + j] != (uint8_t)i)
				return false;
		}
	}
	return true;
}

static int setting_init(const struct device *d, struct setting *s)
{
	memset(s->pristine, 0, sizeof s->pristine);
	s->fragment_len = 8 + s->payload + protection_get(s->protection)->tag_len;
	for (unsigned i = 0; i < SESSIONS; i++) {
		s->open[i] = session_make(d, s->protection, true);
		s->seal[i] = session_make(d, s->protection, false);
		if (!s->open[i] || !s->seal[i])
			return -ENOMEM;
	}
	if (rte_crypto_op_bulk_alloc(d->ops, RTE_CRYPTO_OP_TYPE_SYMMETRIC, s->ops, BATCH) != BATCH ||
	    rte_pktmbuf_alloc_bulk(d->mbufs, s->mbufs, BATCH))
		return -ENOMEM;
	for (unsigned i = 0; i < BATCH; i++) {
		(void)rte_pktmbuf_append(s->mbufs[i], (uint16_t)s->fragment_len);
		put_be64(s->pristine[i], 1ULL << 48 | i);
		memset(s->pristine[i] + 8, (int)i, s->payload);
	}
	return 0;
}

static void setting_fini(const struct device *d, struct setting *s)
{
	for (unsigned i = 0; i < SESSIONS; i++) {
		(void)rte_cryptodev_sym_session_free(d->id, s->open[i]);
		(void)rte_cryptodev_sym_session_free(d->id, s->seal[i]);
	}
	rte_mempool_put_bulk(d->ops, (void **)s->ops, BATCH);
	rte_pktmbuf_free_bulk(s->mbufs, BATCH);
}

/* The same burst through our record layer, over the same mbufs. */
static uint64_t burst_ours(struct record_crypto *crypto, struct setting *s, bool open)
{
	struct record_op ops[BATCH];
	uint64_t begin;

	for (unsigned i = 0; i < BATCH; i++)
		memcpy(fragment_of(s, i), s->pristine[i], s->fragment_len);
	begin = tsc_now();
	for (unsigned i = 0; i < BATCH; i++) {
		ops[i] = (struct record_op){
			.fragment = fragment_of(s, i),
			.key = &keys[session_of(s, i)].key,
			.epoch_seq = 1ULL << 48 | i,
			.fragment_len = (uint16_t)s->fragment_len,
			.payload_offset = 8,
			.payload_len = (uint16_t)s->payload,
			.type = 23,
			.protection = (uint8_t)s->protection,
		};
	}
	if (open)
		record_open_burst(crypto, ops, BATCH);
	else
		record_seal_burst(crypto, ops, BATCH);

	uint64_t time = tsc_now() - begin;

	for (unsigned i = 0; i < BATCH; i++)
		time = ops[i].ok ? time : UINT64_MAX;
	return time;
}

/* Prints a line of the table. False when something is wrong with the result. */
static bool compare(const struct device *d, struct record_crypto *crypto, struct setting *s, bool open)
{
	static float theirs[BURSTS];
	static float ours[BURSTS];
	struct spread a;
	struct spread b;

	for (unsigned i = 0; i < BURSTS; i++) { /* in turn, so that both meet the same noise */
		s->drawn = (unsigned)(random_next() % SESSIONS);
		ours[i] = (float)burst_ours(crypto, s, open) / BATCH;
		theirs[i] = (float)burst(d, s, open ? s->open : s->seal) / BATCH;
		if (!burst_was_right(s, open))
			return false;
	}
	for (unsigned i = 0; !open && i < BATCH; i++) /* what was sealed is opened next */
		memcpy(s->pristine[i], fragment_of(s, i), s->fragment_len);
	a = spread_of(theirs, BURSTS);
	b = spread_of(ours, BURSTS);
	printf("| %s, %s | %u | %.0f (%.0f) | %.0f (%.0f) | %.2f |\n", protection_get(s->protection)->name,
	       open ? "open" : "seal", s->payload, a.median, a.least, b.median, b.least, a.median / b.median);
	return true;
}

static int run(const struct device *d, struct record_crypto *crypto)
{
	struct setting *s = calloc(1, sizeof *s);
	int error = s ? 0 : -ENOMEM;

	printf("\n| TSC cycles per record, median (least), bursts of %u, %u sessions | bytes | "
	       "crypto_aesni_mb | ours | "
	       "ratio |\n|---|---|---|---|---|\n",
	       BATCH, SESSIONS);
	for (unsigned i = 0; !error && i < 2 * RTE_DIM(payloads); i++) {
		s->protection = protections[i / RTE_DIM(payloads)];
		s->payload = payloads[i % RTE_DIM(payloads)];
		error = setting_init(d, s);
		if (error)
			break;
		if (!compare(d, crypto, s, false) || !compare(d, crypto, s, true))
			error = -EBADMSG;
		setting_fini(d, s);
	}
	free(s);
	return error;
}

int main(int argc, char **argv)
{
	char core[16]; /* any of those that we may use */
	char *eal[] = {argv[0], "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry", "--log-level=4",
		       "-m",    "256",       "-l",       core,          "--vdev",         "crypto_aesni_mb"};
	struct device device = {0};
	struct record_choice choice;
	struct record_crypto *crypto;
	struct machine machine;
	char why[1024];
	int error;

	for (unsigned i = 0; i < SESSIONS; i++)
		keys[i].key = key;
	(void)snprintf(core, sizeof core, "%d", sched_getcpu());
	machine_measure(&machine);
	machine_print(&machine, argc, argv);
	if (rte_eal_init(RTE_DIM(eal), eal) < 0 || device_start(&device)) {
		(void)fprintf(stderr, "no crypto_aesni_mb device: %s\n", rte_strerror(rte_errno));
		return 1;
	}
	if (record_choice_make(&choice, NULL, why, sizeof why)) {
		(void)fprintf(stderr, "%s\n", why);
		return 1;
	}
	printf("# %s; %s\n", rte_version(), why);
	crypto = record_crypto_new(&choice);
	error = crypto ? run(&device, crypto) : -ENOMEM;
	record_crypto_free(crypto);
	rte_cryptodev_stop(device.id);
	(void)rte_eal_cleanup();
	if (error)
		(void)fprintf(stderr, "bench_cryptodev: %s\n", strerror(-error));
	return error ? 1 : 0;
}
