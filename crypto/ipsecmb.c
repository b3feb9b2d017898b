/* Intel's multi-buffer library behind the burst contract: its asynchronous burst for CCM (1.3; from 2.0 on
 * its AEAD burst), its synchronous cipher and hash bursts for CBC and HMAC, its direct calls for GCM. No
 * argument is checked by it a second time (nocheck).
 *
 * The library comes with a manager per instruction set, and none is the best for all: where there is no
 * AVX-512, only the SSE manager has SHA-NI for HMAC, which makes it twice as fast there. So a worker has all
 * the managers that the CPU can run and measures, once, which does what best.
 *
 * Keys are expanded here for each burst and wiped after it.
 */
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define NO_COMPAT_IMB_API_053 /* its short names of old would clash with ours */
#include <intel-ipsec-mb.h>

#include "crypto/aad.h"
#include "crypto/aead.h"
#include "crypto/always.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/secret.h"

enum {
	BLOCK = 16,
	MAC_LEN = 32,
	ROUND_KEYS_MAX = 15,
	ARENA_LEN = 192 * 1024, /* messages to be hashed that do not stand in one piece; any record fits */
};

enum manager { MANAGER_SSE, MANAGER_AVX2, MANAGER_AVX512, MANAGERS };

/* What managers differ in. */
enum algorithm { CCM, GCM, CBC_ENCRYPT, CBC_DECRYPT, HMAC, ALGORITHMS };

/* One record's share of a burst. */
struct lane {
	_Alignas(64) uint8_t encrypt_keys[ROUND_KEYS_MAX * BLOCK];
	_Alignas(16) uint8_t decrypt_keys[ROUND_KEYS_MAX * BLOCK];
	_Alignas(16) uint8_t aad[AAD_ROOM];
	uint8_t nonce[16]; /* or the IV of CBC */
	uint8_t tag[MAC_LEN];
	uint8_t *message; /* what is hashed */
	unsigned message_len;
	unsigned len; /* of what is enciphered or authenticated at the moment */
	bool padding_ok;
};

struct ipsecmb {
	struct lane lane[RECORD_BURST_MAX];
	struct gcm_key_data gcm_key;
	struct gcm_context_data gcm_context;
	IMB_JOB jobs[RECORD_BURST_MAX]; /* each use sets what it needs; the rest stays zero or is not looked
					   at */
	IMB_MGR *managers[MANAGERS];    /* NULL: cannot run here, or not asked for */
	IMB_MGR *best[ALGORITHMS];      /* one of these */
	_Alignas(64) uint8_t arena[ARENA_LEN];
};

static bool manager_usable(const struct cpu_features *cpu, enum manager manager)
{
	bool sse = cpu->sse41 && cpu->aesni && cpu->pclmulqdq;

	switch (manager) {
	case MANAGER_SSE:
		return sse;
	case MANAGER_AVX2:
		return sse && cpu->avx2 && cpu->bmi2;
	case MANAGER_AVX512:
		return sse && cpu->avx2 && cpu->bmi2 && cpu->avx512;
	default:
		return false;
	}
}

/* ---- CCM ---- */

static unsigned tag_len_of(const struct record_op *op)
{
	return protection_get(op->protection)->tag_len;
}

static void ccm_lane_fill(IMB_MGR *m, struct lane *lane, const struct record_op *op, unsigned len)
{
	const uint8_t *key = op->key;

	if (op->protection == PROTECTION_AES_256_CCM_8)
		IMB_AES_KEYEXP_256(m, key, lane->encrypt_keys, lane->decrypt_keys);
	else
		IMB_AES_KEYEXP_128(m, key, lane->encrypt_keys, lane->decrypt_keys);
	nonce_write(lane->nonce, key + protection_get(op->protection)->key_len, op->fragment);
	(void)aad_write(lane->aad, op, len);
}

static void ccm_job_fill(IMB_JOB *job, struct lane *lane, const struct record_op *op, unsigned len, bool open)
{
	const struct protection *p = protection_get(op->protection);

	job->cipher_mode = IMB_CIPHER_CCM;
	job->hash_alg = IMB_AUTH_AES_CCM;
	job->cipher_direction = open ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;
	job->chain_order = open ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->key_len_in_bytes = p->key_len;
	job->enc_keys = lane->encrypt_keys;
	job->dec_keys = lane->encrypt_keys;
	job->src = op->fragment + p->explicit_len;
	job->dst = op->fragment + p->explicit_len;
	job->cipher_start_src_offset_in_bytes = 0;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = len;
	job->msg_len_to_hash_in_bytes = len;
	job->iv = lane->nonce;
	job->iv_len_in_bytes = NONCE_LEN;
	job->auth_tag_output = lane->tag;
	job->auth_tag_output_len_in_bytes = p->tag_len;
	job->u.CCM.aad = lane->aad;
	job->u.CCM.aad_len_in_bytes = aad_len(op);
}

static unsigned text_len(const struct record_op *op, bool open)
{
	const struct protection *p = protection_get(op->protection);

	return open ? op->fragment_len - p->explicit_len - p->tag_len : op->payload_len;
}

#if IMB_VERSION_NUM >= IMB_VERSION(2, 0, 0)

static void ccm_run(struct ipsecmb *w, struct record_op **ops, unsigned count, bool open)
{
	const struct protection *p = protection_get(ops[0]->protection);
	IMB_MGR *m = w->best[CCM];

	for (unsigned i = 0; i < count; i++) {
		unsigned len = text_len(ops[i], open);

		ccm_lane_fill(m, &w->lane[i], ops[i], len);
		ccm_job_fill(&w->jobs[i], &w->lane[i], ops[i], len, open);
	}
	always_assert(IMB_SUBMIT_AEAD_BURST_NOCHECK(m, w->jobs, count, IMB_CIPHER_CCM,
						    open ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT,
						    (IMB_KEY_SIZE_BYTES)p->key_len) == count);
}

#else

/* From 1.4 on a job of the asynchronous burst must be told what it is, when all else has been filled in. */
#if IMB_VERSION_NUM >= IMB_VERSION(1, 4, 0)
static void job_prepare(IMB_MGR *m, IMB_JOB *job)
{
	(void)imb_set_session(m, job);
}
#else
static void job_prepare(IMB_MGR *m, IMB_JOB *job)
{
}
#endif

static void ccm_run(struct ipsecmb *w, struct record_op **ops, unsigned count, bool open)
{
	IMB_MGR *m = w->best[CCM];
	IMB_JOB *jobs[RECORD_BURST_MAX];
	unsigned finished = 0;

	for (unsigned i = 0; i < count;) {
		unsigned got = IMB_GET_NEXT_BURST(m, count - i, jobs);

		always_assert(got > 0); /* its queue has room for four of our bursts */
		for (unsigned j = 0; j < got; j++, i++) {
			unsigned len = text_len(ops[i], open);

			ccm_lane_fill(m, &w->lane[i], ops[i], len);
			ccm_job_fill(jobs[j], &w->lane[i], ops[i], len, open);
			job_prepare(m, jobs[j]);
		}
		finished += IMB_SUBMIT_BURST_NOCHECK(m, got, jobs);
	}
	while (finished < count) {
		unsigned got = IMB_FLUSH_BURST(m, count - finished, jobs);

		always_assert(got > 0);
		finished += got;
	}
}

#endif

/* ---- GCM ---- */

static void gcm_run(struct ipsecmb *w, struct record_op **ops, unsigned count, bool open)
{
	IMB_MGR *m = w->best[GCM];

	for (unsigned i = 0; i < count; i++) {
		const struct aead_key *key = ops[i]->key;
		struct lane *lane = &w->lane[i];
		unsigned len = text_len(ops[i], open);
		unsigned aad_length = aad_write(lane->aad, ops[i], len);
		uint8_t *text = ops[i]->fragment + 8;

		nonce_write(lane->nonce, key->salt, ops[i]->fragment);
		IMB_AES128_GCM_PRE(m, key->key, &w->gcm_key);
		if (open)
			IMB_AES128_GCM_DEC(m, &w->gcm_key, &w->gcm_context, text, text, len, lane->nonce,
					   lane->aad, aad_length, lane->tag, 16);
		else
			IMB_AES128_GCM_ENC(m, &w->gcm_key, &w->gcm_context, text, text, len, lane->nonce,
					   lane->aad, aad_length, lane->tag, 16);
	}
	secret_wipe(&w->gcm_key, sizeof w->gcm_key);
	secret_wipe(&w->gcm_context, sizeof w->gcm_context);
}

/* ---- AEAD, both kinds ---- */

static void aead_run(struct ipsecmb *w, struct record_op **ops, unsigned count, bool open)
{
	if (ops[0]->protection == PROTECTION_AES_128_GCM)
		gcm_run(w, ops, count, open);
	else
		ccm_run(w, ops, count, open);
}

static void aead_open(struct ipsecmb *w, struct record_op **ops, unsigned count)
{
	aead_run(w, ops, count, true);
	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = ops[i];
		unsigned tag_len = tag_len_of(op);

		op->ok = secret_equal(w->lane[i].tag, op->fragment + op->fragment_len - tag_len, tag_len);
		op->payload_offset = 8;
		op->payload_len = (uint16_t)text_len(op, true);
	}
}

static void aead_seal(struct ipsecmb *w, struct record_op **ops, unsigned count)
{
	aead_run(w, ops, count, false);
	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = ops[i];
		unsigned tag_len = tag_len_of(op);

		memcpy(op->fragment + 8 + op->payload_len, w->lane[i].tag, tag_len);
		op->fragment_len = (uint16_t)(8 + op->payload_len + tag_len);
		op->ok = true;
	}
}

/* ---- CBC ---- */

/* lane->len bytes behind the IV. */
static void cbc_run(struct ipsecmb *w, struct record_op **ops, unsigned count, bool decrypt)
{
	IMB_MGR *m = w->best[decrypt ? CBC_DECRYPT : CBC_ENCRYPT];
	IMB_CIPHER_DIRECTION direction = decrypt ? IMB_DIR_DECRYPT : IMB_DIR_ENCRYPT;

	for (unsigned i = 0; i < count; i++) {
		const struct cbc_key *key = ops[i]->key;
		struct lane *lane = &w->lane[i];
		IMB_JOB *job = &w->jobs[i];

		IMB_AES_KEYEXP_128(m, key->key, lane->encrypt_keys, lane->decrypt_keys);
		memcpy(lane->nonce, ops[i]->fragment, BLOCK);
		job->cipher_mode = IMB_CIPHER_CBC;
		job->hash_alg = IMB_AUTH_NULL;
		job->cipher_direction = direction;
		job->chain_order = IMB_ORDER_CIPHER_HASH;
		job->key_len_in_bytes = 16;
		job->enc_keys = lane->encrypt_keys;
		job->dec_keys = lane->decrypt_keys;
		job->src = ops[i]->fragment + BLOCK;
		job->dst = ops[i]->fragment + BLOCK;
		job->msg_len_to_cipher_in_bytes = w->lane[i].len;
		job->iv = lane->nonce;
		job->iv_len_in_bytes = BLOCK;
	}
	always_assert(IMB_SUBMIT_CIPHER_BURST_NOCHECK(m, w->jobs, count, IMB_CIPHER_CBC, direction,
						      IMB_KEY_128_BYTES) == count);
}

/* HMAC-SHA256 of every lane's message into its tag. */
static void hmac_run(struct ipsecmb *w, struct record_op **ops, unsigned first, unsigned end)
{
	IMB_MGR *m = w->best[HMAC];

	for (unsigned i = first; i < end; i++) {
		const struct cbc_key *key = ops[i]->key;
		struct lane *lane = &w->lane[i];
		IMB_JOB *job = &w->jobs[i];

		job->cipher_mode = IMB_CIPHER_NULL;
		job->hash_alg = IMB_AUTH_HMAC_SHA_256;
		job->cipher_direction = IMB_DIR_ENCRYPT;
		job->chain_order = IMB_ORDER_HASH_CIPHER;
		job->src = lane->message;
		job->msg_len_to_hash_in_bytes = lane->message_len;
		job->auth_tag_output = lane->tag;
		job->auth_tag_output_len_in_bytes = MAC_LEN;
		job->u.HMAC._hashed_auth_key_xor_ipad = (const uint8_t *)key->inner;
		job->u.HMAC._hashed_auth_key_xor_opad = (const uint8_t *)key->outer;
	}
	always_assert(IMB_SUBMIT_HASH_BURST_NOCHECK(m, w->jobs + first, end - first, IMB_AUTH_HMAC_SHA_256) ==
		      end - first);
}

/* HMAC of `pseudo-header | data[0, lane->len)`. The plain pseudo-header of MAC-then-encrypt is laid over the
 * tail of the IV, which the caller has in lane->nonce, so that the message stands in one piece; otherwise the
 * pieces are put together in the arena, as many records at a time as it holds.
 */
static void mac_run(struct ipsecmb *w, struct record_op **ops, unsigned count, bool encrypt_then_mac)
{
	unsigned first = 0;
	unsigned used = 0;

	for (unsigned i = 0; i < count; i++) {
		struct lane *lane = &w->lane[i];
		uint8_t *data = ops[i]->fragment + (encrypt_then_mac ? 0 : BLOCK);
		unsigned header_len = aad_write(lane->aad, ops[i], w->lane[i].len);

		lane->message_len = header_len + w->lane[i].len;
		if (header_len <= BLOCK && !encrypt_then_mac) {
			lane->message = data - header_len;
			memcpy(lane->message, lane->aad, header_len);
			continue;
		}
		if (lane->message_len > ARENA_LEN - used) {
			hmac_run(w, ops, first, i);
			first = i;
			used = 0;
		}
		lane->message = w->arena + used;
		memcpy(lane->message, lane->aad, header_len);
		memcpy(lane->message + header_len, data, w->lane[i].len);
		used += (lane->message_len + 63) / 64 * 64;
	}
	hmac_run(w, ops, first, count);
}

/* RFC 5246 6.2.3.2. */
static unsigned cbc_pad(uint8_t *text, unsigned len)
{
	unsigned padding_length = BLOCK - 1 - len % BLOCK;

	memset(text + len, (int)padding_length, padding_length + 1);
	return len + padding_length + 1;
}

static void etm_seal(struct ipsecmb *w, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		w->lane[i].len = cbc_pad(ops[i]->fragment + BLOCK, ops[i]->payload_len);
	cbc_run(w, ops, count, false);
	for (unsigned i = 0; i < count; i++)
		w->lane[i].len += BLOCK;
	mac_run(w, ops, count, true);
	for (unsigned i = 0; i < count; i++) {
		memcpy(ops[i]->fragment + w->lane[i].len, w->lane[i].tag, MAC_LEN);
		ops[i]->fragment_len = (uint16_t)(w->lane[i].len + MAC_LEN);
		ops[i]->ok = true;
	}
}

/* Whether the padding of an authentic text is what RFC 5246 demands, and the length of what is before it. */
static bool padding_take_off(const uint8_t *text, unsigned len, unsigned *rest)
{
	unsigned padding_length = text[len - 1];
	uint8_t difference = 0;

	if (padding_length >= len)
		return false;
	for (unsigned i = 0; i < padding_length; i++)
		difference |= text[len - 2 - i] ^ (uint8_t)padding_length;
	*rest = len - 1 - padding_length;
	return difference == 0;
}

/* RFC 7366 3: the MAC comes first; what fails it is never decrypted. */
static void etm_open(struct ipsecmb *w, struct record_op **ops, unsigned count)
{
	struct record_op *authentic[RECORD_BURST_MAX];
	unsigned good = 0;

	for (unsigned i = 0; i < count; i++)
		w->lane[i].len = ops[i]->fragment_len - MAC_LEN;
	mac_run(w, ops, count, true);
	for (unsigned i = 0; i < count; i++) {
		ops[i]->ok = secret_equal(w->lane[i].tag, ops[i]->fragment + w->lane[i].len, MAC_LEN);
		secret_publish(&ops[i]->ok, sizeof ops[i]->ok);
		if (ops[i]->ok)
			authentic[good++] = ops[i];
	}
	if (good == 0)
		return;
	for (unsigned i = 0; i < good; i++)
		w->lane[i].len = authentic[i]->fragment_len - MAC_LEN - BLOCK;
	cbc_run(w, authentic, good, true);
	for (unsigned i = 0; i < good; i++) {
		struct record_op *op = authentic[i];
		unsigned rest = 0;

		secret_publish(op->fragment, op->fragment_len);
		op->ok = padding_take_off(op->fragment + BLOCK, w->lane[i].len, &rest);
		op->payload_offset = BLOCK;
		op->payload_len = (uint16_t)rest;
	}
}

static void mte_seal(struct ipsecmb *w, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		memcpy(w->lane[i].nonce, ops[i]->fragment, BLOCK);
		w->lane[i].len = ops[i]->payload_len;
	}
	mac_run(w, ops, count, false);
	for (unsigned i = 0; i < count; i++) {
		memcpy(ops[i]->fragment, w->lane[i].nonce, BLOCK);
		memcpy(ops[i]->fragment + BLOCK + w->lane[i].len, w->lane[i].tag, MAC_LEN);
		w->lane[i].len = cbc_pad(ops[i]->fragment + BLOCK, w->lane[i].len + MAC_LEN);
	}
	cbc_run(w, ops, count, false);
	for (unsigned i = 0; i < count; i++) {
		ops[i]->fragment_len = (uint16_t)(BLOCK + w->lane[i].len);
		ops[i]->ok = true;
	}
}

/* The yardstick: as fast as it goes when nobody minds that the time tells the length of the padding. */
static void mte_open_naive(struct ipsecmb *w, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		w->lane[i].len = ops[i]->fragment_len - BLOCK;
	cbc_run(w, ops, count, true);
	for (unsigned i = 0; i < count; i++) {
		unsigned rest = 0;
		bool good = padding_take_off(ops[i]->fragment + BLOCK, w->lane[i].len, &rest);

		w->lane[i].padding_ok = good && rest >= MAC_LEN;
		w->lane[i].len = w->lane[i].padding_ok ? rest - MAC_LEN : w->lane[i].len - MAC_LEN - 1;
	}
	mac_run(w, ops, count, false);
	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = ops[i];

		op->ok = secret_equal(w->lane[i].tag, op->fragment + BLOCK + w->lane[i].len, MAC_LEN) &&
			 w->lane[i].padding_ok;
		op->payload_offset = BLOCK;
		op->payload_len = (uint16_t)w->lane[i].len;
	}
}

/* ---- The engine ---- */

static void keys_wipe(struct ipsecmb *w, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		memset(w->lane[i].encrypt_keys, 0, sizeof w->lane[i].encrypt_keys);
		memset(w->lane[i].decrypt_keys, 0, sizeof w->lane[i].decrypt_keys);
	}
	__asm__ __volatile__("" : : "r"(w) : "memory");
}

static void ipsecmb_open(void *worker, struct record_op **ops, unsigned count)
{
	struct ipsecmb *w = worker;

	if (ops[0]->protection == PROTECTION_AES_128_CBC_MTE)
		mte_open_naive(w, ops, count);
	else if (ops[0]->protection == PROTECTION_AES_128_CBC_ETM)
		etm_open(w, ops, count);
	else
		aead_open(w, ops, count);
	keys_wipe(w, count);
}

static void ipsecmb_seal(void *worker, struct record_op **ops, unsigned count)
{
	struct ipsecmb *w = worker;

	if (ops[0]->protection == PROTECTION_AES_128_CBC_MTE)
		mte_seal(w, ops, count);
	else if (ops[0]->protection == PROTECTION_AES_128_CBC_ETM)
		etm_seal(w, ops, count);
	else
		aead_seal(w, ops, count);
	keys_wipe(w, count);
}

/* ---- Managers ---- */

static IMB_MGR *manager_new(enum manager manager)
{
	IMB_MGR *m = alloc_mb_mgr(0);

	if (!m)
		return NULL;
	if (manager == MANAGER_SSE)
		init_mb_mgr_sse(m);
	else if (manager == MANAGER_AVX2)
		init_mb_mgr_avx2(m);
	else
		init_mb_mgr_avx512(m);
	if (imb_get_errno(m) != 0) {
		free_mb_mgr(m);
		return NULL;
	}
	return m;
}

enum { TRIAL_COUNT = 32, TRIAL_LEN = 64, TRIALS = 4 };

/* Runs the algorithm over dummy records; the result is not looked at. */
static void trial_run(struct ipsecmb *w, struct record_op **ops, enum algorithm algorithm)
{
	for (unsigned i = 0; i < TRIAL_COUNT; i++)
		w->lane[i].len = TRIAL_LEN;
	switch (algorithm) {
	case CCM:
		ccm_run(w, ops, TRIAL_COUNT, false);
		break;
	case GCM:
		gcm_run(w, ops, TRIAL_COUNT, false);
		break;
	case CBC_ENCRYPT:
	case CBC_DECRYPT:
		cbc_run(w, ops, TRIAL_COUNT, algorithm == CBC_DECRYPT);
		break;
	default:
		mac_run(w, ops, TRIAL_COUNT, true);
		break;
	}
}

/* Picks the manager for one algorithm by the least time of a few bursts: some 0.1 ms in all. */
static IMB_MGR *manager_best(struct ipsecmb *w, struct record_op **ops, enum algorithm algorithm)
{
	uint64_t best_time = UINT64_MAX;
	IMB_MGR *best = NULL;

	for (unsigned m = 0; m < MANAGERS; m++) {
		if (!w->managers[m])
			continue;
		w->best[algorithm] = w->managers[m];
		for (unsigned trial = 0; trial < TRIALS; trial++) {
			uint64_t begin = __rdtsc();

			trial_run(w, ops, algorithm);

			uint64_t time = __rdtsc() - begin;

			if (time < best_time) {
				best_time = time;
				best = w->managers[m];
			}
		}
	}
	return best;
}

static void managers_choose(struct ipsecmb *w)
{
	static const uint8_t protection[ALGORITHMS] = {
		[CCM] = PROTECTION_AES_128_CCM_8,           [GCM] = PROTECTION_AES_128_GCM,
		[CBC_ENCRYPT] = PROTECTION_AES_128_CBC_MTE, [CBC_DECRYPT] = PROTECTION_AES_128_CBC_MTE,
		[HMAC] = PROTECTION_AES_128_CBC_ETM,
	};
	union record_key key = {0};
	uint8_t *records = w->arena + ARENA_LEN / 2; /* mac_run() needs the first half */
	struct record_op op[TRIAL_COUNT];
	struct record_op *ops[TRIAL_COUNT];

	for (unsigned a = 0; a < ALGORITHMS; a++) {
		for (unsigned i = 0; i < TRIAL_COUNT; i++) {
			op[i] = (struct record_op){
				.fragment = records + (size_t)i * 256,
				.key = &key,
				.payload_offset = protection_get(protection[a])->explicit_len,
				.payload_len = TRIAL_LEN,
				.protection = protection[a],
			};
			ops[i] = &op[i];
		}
		w->best[a] = manager_best(w, ops, (enum algorithm)a);
	}
	keys_wipe(w, TRIAL_COUNT);
}

static void ipsecmb_free(void *worker)
{
	struct ipsecmb *w = worker;

	if (!w)
		return;
	for (unsigned i = 0; i < MANAGERS; i++) {
		if (w->managers[i])
			free_mb_mgr(w->managers[i]);
	}
	secret_wipe(w, sizeof *w);
	free(w);
}

/* wanted: a bit for each manager that may be used. */
static void *worker_new(unsigned wanted)
{
	struct cpu_features cpu = cpu_features_get();
	struct ipsecmb *w = aligned_alloc(64, sizeof *w);

	if (!w)
		return NULL;
	memset(w, 0, sizeof *w);
	for (unsigned i = 0; i < MANAGERS; i++) {
		if (!(wanted >> i & 1) || !manager_usable(&cpu, (enum manager)i))
			continue;
		w->managers[i] = manager_new((enum manager)i);
		if (!w->managers[i]) {
			ipsecmb_free(w);
			return NULL;
		}
	}
	managers_choose(w);
	return w;
}

static void *ipsecmb_new(void)
{
	return worker_new(~0U);
}

static void *ipsecmb_new_sse(void)
{
	return worker_new(1U << MANAGER_SSE);
}

static void *ipsecmb_new_avx2(void)
{
	return worker_new(1U << MANAGER_AVX2);
}

static void *ipsecmb_new_avx512(void)
{
	return worker_new(1U << MANAGER_AVX512);
}

static bool usable_sse(const struct cpu_features *cpu, enum protection_id protection)
{
	return protection != PROTECTION_NONE && protection < PROTECTIONS && manager_usable(cpu, MANAGER_SSE);
}

static bool usable_avx2(const struct cpu_features *cpu, enum protection_id protection)
{
	return usable_sse(cpu, protection) && manager_usable(cpu, MANAGER_AVX2);
}

static bool usable_avx512(const struct cpu_features *cpu, enum protection_id protection)
{
	return usable_sse(cpu, protection) && manager_usable(cpu, MANAGER_AVX512);
}

/* The library cannot open MAC-then-encrypt without telling the length of the padding by its time. */
static bool ipsecmb_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return protection != PROTECTION_AES_128_CBC_MTE && usable_sse(cpu, protection);
}

#define ENGINE(symbol, label, use, make)                                                                     \
	const struct record_engine symbol = {                                                                \
		.name = (label),                                                                             \
		.usable = (use),                                                                             \
		.worker_new = (make),                                                                        \
		.worker_free = ipsecmb_free,                                                                 \
		.open_burst = ipsecmb_open,                                                                  \
		.seal_burst = ipsecmb_seal,                                                                  \
	}

ENGINE(engine_ipsecmb, "ipsec-mb", ipsecmb_usable, ipsecmb_new);
ENGINE(engine_ipsecmb_naive, "ipsec-mb-naive", usable_sse, ipsecmb_new);
ENGINE(engine_ipsecmb_sse, "ipsec-mb-sse", usable_sse, ipsecmb_new_sse);
ENGINE(engine_ipsecmb_avx2, "ipsec-mb-avx2", usable_avx2, ipsecmb_new_avx2);
ENGINE(engine_ipsecmb_avx512, "ipsec-mb-avx512", usable_avx512, ipsecmb_new_avx512);
