/* The burst contract of the record layer: what the workers, the benches and the fuzzers call, and what an
 * engine provides. No DPDK and no wolfSSL here. One record_crypto per worker; nothing is shared between two
 * of them.
 *
 * A record on the wire (DTLS 1.2, RFC 6347 4.1; with a CID, RFC 9146 4):
 *
 *   | type 1 | version 2 | epoch 2 | seq 6 | [cid] | length 2 | explicit 8/16 | ciphertext | tag |
 *                                                             ^ op.fragment ............... op.fragment_len
 *
 * The fragment is opened and sealed in place. The 13 (or 13 + cid) header bytes stand directly before it in
 * memory and an engine may read, never write, them and up to 16 bytes before op.fragment. It never reads or
 * writes behind fragment + fragment_len (open) or behind the sealed length (seal).
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/suite.h"

enum {
	RECORD_BURST_MAX = 64,
	RECORD_PLAINTEXT_MAX = 16384,                      /* RFC 5246 6.2.1 */
	RECORD_FRAGMENT_MAX = RECORD_PLAINTEXT_MAX + 2048, /* RFC 5246 6.2.3 */
	RECORD_CID_MAX = 20,                               /* of ours and of the peer's, in bytes */
	RECORD_OVERHEAD_MAX =
		16 + 1 + 16 + 32 + 15, /* explicit + inner type + CBC padding + MAC, rounded up */
	RECORD_TYPE_CID = 25,          /* tls12_cid */
};

/* Raw key material of one direction, as the session tables keep it. CCM_8, CCM and GCM with a 128-bit key. */
struct aead_key {
	uint8_t key[16];
	uint8_t salt[4];
};

/* AES-256-CCM_8. */
struct aead256_key {
	uint8_t key[32];
	uint8_t salt[4];
};

/* CBC with HMAC-SHA256: the HMAC key is kept as its two SHA-256 midstates (after the ipad and the opad
 * block). */
struct cbc_key {
	uint8_t key[16];
	uint32_t inner[8];
	uint32_t outer[8];
};

/* Large enough for any of the three; what a session's key slot is by protection. */
union record_key {
	struct aead_key aead;
	struct aead256_key aead256;
	struct cbc_key cbc;
};

/* Fills *out for the protection from what a handshake yields: key (key_len), salt (salt_len), mac_key
 * (mac_key_len). Bytes that the protection does not use are zeroed. Any thread.
 */
void record_key_set(union record_key *out, enum protection_id protection, const uint8_t *key,
		    const uint8_t *salt, const uint8_t *mac_key);

/* One record. Everything pointed to is borrowed for the call. */
struct record_op {
	uint8_t *fragment;     /* see above */
	const void *key;       /* struct aead_key, aead256_key or cbc_key, as the protection says */
	const uint8_t *cid;    /* of this direction; NULL when cid_len is 0 */
	uint64_t epoch_seq;    /* epoch << 48 | sequence number: as in the header (open), to be used (seal) */
	uint16_t fragment_len; /* open: in. seal: out */
	uint16_t payload_offset; /* open: out, from fragment. seal: in, must be explicit_len of the protection
				  */
	uint16_t payload_len;    /* open: out. seal: in; at most RECORD_PLAINTEXT_MAX */
	uint8_t cid_len;         /* 0: plain form. Otherwise type on the wire is tls12_cid */
	uint8_t type;            /* content type. open without CID: in, from the header. open with CID: out */
	uint8_t protection;      /* enum protection_id */
	bool ok;                 /* out */
};

struct record_crypto;
struct cpu_features;

/* What an engine provides; see crypto/engines.h for the list. The record layer does what is common to all of
 * them before and after, so that an engine is nothing but the protection itself:
 * - Ops of impossible length (shorter than explicit part and tag, CBC not in whole blocks) never arrive.
 * - Seal: the explicit nonce or IV stands already in the fragment. With a CID the inner content type has been
 *   appended: payload_len counts it. The engine writes ciphertext, padding and tag, fragment_len and ok.
 * - Open: the engine writes payload_offset, payload_len and ok; with a CID these span the whole inner
 * plaintext (RFC 9146 4), which the record layer takes apart. On !ok it may leave anything in the fragment:
 * the record layer wipes it. The ops of a burst may share keys but never overlap in memory.
 */
struct record_engine {
	const char *name; /* "vaes", "ipsec-mb", "reference" */
	bool (*usable)(const struct cpu_features *cpu, enum protection_id protection);
	void *(*worker_new)(void); /* scratch of one worker; NULL when out of memory */
	void (*worker_free)(void *worker);
	/* 1 <= count <= RECORD_BURST_MAX, all of one protection, in ascending order of the AES blocks of
	 * their ciphertext without explicit part and tag (open) or of payload_len (seal). No allocation, no
	 * system call. No expanded key is left behind in the worker's scratch.
	 */
	void (*open_burst)(void *worker, struct record_op **ops, unsigned count);
	void (*seal_burst)(void *worker, struct record_op **ops, unsigned count);
};

/* The engine choice per protection, made once per process: known answers first (an engine that fails them is
 * not used and said so), then `want` (a name, or NULL for the fastest by features or a measurement of about
 * 10 ms). Read-only afterwards, shared by all workers.
 */
struct record_choice {
	const struct record_engine *engine[PROTECTIONS];
};

/* 0; -ENOENT when `want` names no engine, -ENOTSUP when it cannot run here; -EBADMSG when no engine passes
 * the known answers of a protection. `why` (may be NULL) gets one readable line, also on success.
 */
int record_choice_make(struct record_choice *choice, const char *want, char *why, size_t why_len);

/* Per worker. NULL when out of memory. `choice` is borrowed for the lifetime. */
struct record_crypto *record_crypto_new(const struct record_choice *choice);
void record_crypto_free(struct record_crypto *crypto);

/* Opens count records (any mix of protections and lengths, count <= RECORD_BURST_MAX). On !ok the plaintext
 * has been zeroed and payload_len is 0; the cause is not told apart (RFC 6347 4.1.2.7; RFC 9146 4: an
 * all-zero inner plaintext counts as a bad MAC). No allocation, no system call, no log.
 */
void record_open_burst(struct record_crypto *crypto, struct record_op *ops, unsigned count);

/* Seals count records: payload stands at fragment + payload_offset with record_seal_overhead() bytes of room
 * in all. Writes the explicit nonce (AEAD: epoch_seq, so that it cannot repeat while epoch_seq does not) or a
 * random IV (CBC). The caller writes the header, with fragment_len as length and tls12_cid as type when there
 * is a CID. !ok only for a payload that is too long.
 */
void record_seal_burst(struct record_crypto *crypto, struct record_op *ops, unsigned count);

/* Bytes that a sealed fragment has beyond its payload: the most for that protection and payload length. */
unsigned record_seal_overhead(enum protection_id protection, unsigned payload_len, bool cid);

#endif
