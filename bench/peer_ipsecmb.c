/* IPsec-MB as its own examples use it: the expanded key kept with each session, so that a burst does nothing
 * but AES. AES-128-CCM_8 by the asynchronous burst of version 1, or the AEAD burst of version 2, on the
 * manager that its init_mb_mgr_auto() takes.
 */
#define NO_COMPAT_IMB_API_053
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <intel-ipsec-mb.h>

#include "bench/subject.h"
#include "crypto/aad.h"
#include "crypto/always.h"
#include "crypto/secret.h"

enum { TAG_LEN = 8, EXPLICIT_LEN = 8 };

struct session {
	_Alignas(64) uint8_t keys[11 * 16];
	uint8_t salt[4];
};

struct lane {
	_Alignas(64) uint8_t aad[64];
	uint8_t nonce[16];
	uint8_t tag[16];
};

struct worker {
	IMB_MGR *manager;
	struct lane lane[RECORD_BURST_MAX];
	IMB_JOB jobs[RECORD_BURST_MAX];
};

static size_t session_size(enum protection_id protection)
{
	(void)protection;
	return sizeof(struct session);
}

static int session_init(void *session, enum protection_id protection, const struct secrets *secrets)
{
	struct session *s = session;
	_Alignas(16) uint8_t unused[11 * 16];
	static IMB_MGR *m;
	IMB_ARCH arch;

	(void)protection;
	if (!m) {
		m = alloc_mb_mgr(0);
		if (!m)
			return -ENOMEM;
		init_mb_mgr_auto(m, &arch);
	}
	IMB_AES_KEYEXP_128(m, secrets->key, s->keys, unused);
	memcpy(s->salt, secrets->salt, sizeof s->salt);
	return 0;
}

static void session_fini(void *session, enum protection_id protection)
{
	(void)protection;
	secret_wipe(session, sizeof(struct session));
}

static void job_fill(IMB_JOB *job, struct lane *lane, const struct record_op *op, bool open)
{
	const struct session *s = op->key;
	unsigned len = open ? op->fragment_len - EXPLICIT_LEN - TAG_LEN : op->payload_len;

	nonce_write(lane->nonce, s->salt, op->fragment);
	job->u.CCM.aad_len_in_bytes = aad_write(lane->aad, op, len);
	job->u.CCM.aad = lane->aad;
	job->cipher_mode = IMB_CIPHER_CCM;
	job->hash_alg = IMB_AUTH_AES_CCM;
	job->cipher_direction = open ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;
	job->chain_order = open ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->key_len_in_bytes = 16;
	job->enc_keys = s->keys;
	job->dec_keys = s->keys;
	job->src = op->fragment + EXPLICIT_LEN;
	job->dst = op->fragment + EXPLICIT_LEN;
	job->cipher_start_src_offset_in_bytes = 0;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = len;
	job->msg_len_to_hash_in_bytes = len;
	job->iv = lane->nonce;
	job->iv_len_in_bytes = NONCE_LEN;
	job->auth_tag_output = lane->tag;
	job->auth_tag_output_len_in_bytes = TAG_LEN;
}

#if IMB_VERSION_NUM >= IMB_VERSION(2, 0, 0)

static void run(struct worker *w, struct record_op **ops, unsigned count, bool open)
{
	for (unsigned i = 0; i < count; i++)
		job_fill(&w->jobs[i], &w->lane[i], ops[i], open);
	always_assert(IMB_SUBMIT_AEAD_BURST_NOCHECK(w->manager, w->jobs, count, IMB_CIPHER_CCM,
						    open ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT,
						    IMB_KEY_128_BYTES) == count);
}

#else

static void run(struct worker *w, struct record_op **ops, unsigned count, bool open)
{
	IMB_JOB *jobs[RECORD_BURST_MAX];
	unsigned got = IMB_GET_NEXT_BURST(w->manager, count, jobs);
	unsigned finished;

	always_assert(got == count);
	for (unsigned i = 0; i < count; i++)
		job_fill(jobs[i], &w->lane[i], ops[i], open);
	finished = IMB_SUBMIT_BURST_NOCHECK(w->manager, count, jobs);
	while (finished < count)
		finished += IMB_FLUSH_BURST(w->manager, count - finished, jobs);
}

#endif

static void open_burst(void *worker, struct record_op **ops, unsigned count)
{
	struct worker *w = worker;

	run(w, ops, count, true);
	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = ops[i];

		op->payload_offset = EXPLICIT_LEN;
		op->payload_len = (uint16_t)(op->fragment_len - EXPLICIT_LEN - TAG_LEN);
		op->ok = secret_equal(w->lane[i].tag, op->fragment + op->fragment_len - TAG_LEN, TAG_LEN);
	}
}

static void seal_burst(void *worker, struct record_op **ops, unsigned count)
{
	struct worker *w = worker;

	run(w, ops, count, false);
	for (unsigned i = 0; i < count; i++) {
		memcpy(ops[i]->fragment + EXPLICIT_LEN + ops[i]->payload_len, w->lane[i].tag, TAG_LEN);
		ops[i]->fragment_len = (uint16_t)(EXPLICIT_LEN + ops[i]->payload_len + TAG_LEN);
		ops[i]->ok = true;
	}
}

static bool usable(const struct cpu_features *cpu, enum protection_id protection)
{
	(void)cpu;
	return protection == PROTECTION_AES_128_CCM_8;
}

static void worker_free(void *worker)
{
	struct worker *w = worker;

	if (w && w->manager)
		free_mb_mgr(w->manager);
	free(w);
}

static void *worker_new(void)
{
	struct worker *w = aligned_alloc(64, (sizeof *w + 63) / 64 * 64);
	IMB_ARCH arch;

	if (!w)
		return NULL;
	memset(w, 0, sizeof *w);
	w->manager = alloc_mb_mgr(0);
	if (!w->manager) {
		worker_free(w);
		return NULL;
	}
	init_mb_mgr_auto(w->manager, &arch);
	return w;
}

static const struct record_engine engine = {
	.name = "ipsec-mb-stored-keys",
	.usable = usable,
	.worker_new = worker_new,
	.worker_free = worker_free,
	.open_burst = open_burst,
	.seal_burst = seal_burst,
};

const struct subject subject_ipsecmb_stored = {
	.engine = &engine,
	.sessions_max = 4000000,
	.sessions_are_bytes = true,
	.session_size = session_size,
	.session_init = session_init,
	.session_fini = session_fini,
};
