/* Engine "ct": AES-128-CBC with HMAC-SHA256, both orders, for CPUs with AES-NI; SHA-256 with the SHA
 * instructions where there are any. Its point is opening MAC-then-encrypt without the Lucky 13 channel: what
 * it does to a record is a function of the ciphertext's length alone.
 *
 *   fragment  | IV 16 | content | MAC 32 | padding, its length byte included 1..256 |     L = all behind the
 * IV, public
 *                     |<------- where the content may end ------->|
 *
 *   1  The whole burst is decrypted.
 *   2  The padding is checked over the last min(L, 256) bytes whatever its length byte says. A bad one counts
 * as one byte, so that a MAC is computed and fails. 3  The inner hash runs over as many blocks as the longest
 * content for this L needs. In the blocks where the content may end (five of them, or all) each byte is
 * masked by its place, SHA-256's 0x80 and bit length are put in by mask, and the state is kept by mask after
 * the block that was the last. Two records at a time, if they have equally many blocks; that is public too.
 *   4  The received MAC is taken from the last 288 bytes by a barrel shifter: every 16-byte chunk is moved by
 * 8, 4, 2 and 1 chunks, or not, by mask; the rest of the shift is a pshufb whose control is computed, not
 * looked up. 5  Padding and MAC make one verdict.
 *
 * A secret is never in a branch, an address or a shift count. The record layer wipes what did not verify.
 * This file needs SSE4.1 (x86-64-v2); what needs more is in aes_cbc.c and sha256_pair.c.
 */
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/aad.h"
#include "crypto/aead.h"
#include "crypto/aes_cbc.h"
#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/secret.h"
#include "crypto/sha256_pair.h"

enum {
	BLOCK = 16,
	SHA_BLOCK = 64,
	SHA_TAIL = 8, /* the bit length */
	MAC_LEN = 32,
	PADDING_MAX = 256,
	WINDOW_MAX = MAC_LEN + PADDING_MAX, /* where the MAC may stand, from the end */
	CHUNKS = WINDOW_MAX / BLOCK,
};

/* One record's HMAC: message = header | body[0, end - header_len). */
struct lane {
	_Alignas(16) uint8_t first[SHA_BLOCK];  /* the header and the beginning of the body */
	_Alignas(16) uint8_t last[SHA_BLOCK];   /* the end of the body, as a block may reach behind it */
	_Alignas(16) uint8_t masked[SHA_BLOCK]; /* a block with SHA-256's padding */
	_Alignas(16) uint32_t state[8];
	_Alignas(16) uint32_t digest[8];
	_Alignas(16) uint8_t mac[MAC_LEN];
	const struct cbc_key *key;
	const uint8_t *body;
	uint32_t body_len;
	uint32_t header_len;
	uint32_t whole;  /* blocks before any place where the message may end */
	uint32_t blocks; /* that the longest message would have */
	uint32_t end;    /* of the message; in mte_open() a secret */
	uint32_t good;   /* mask, secret: the padding is right */
};

struct ct {
	struct lane lane[RECORD_BURST_MAX];
	struct lane idle; /* pairs with an odd one */
	struct cbc_span span[RECORD_BURST_MAX];
	sha256_pair pair;
};

/* ---- Masks: all ones for true. Values are far below 2^31. ---- */

static inline uint32_t mask_less(uint32_t a, uint32_t b)
{
	uint32_t mask = 0 - ((a - b) >> 31);

	__asm__ __volatile__("" : "+r"(mask)); /* the compiler may not make a branch of it */
	return mask;
}

static inline uint32_t mask_equal(uint32_t a, uint32_t b)
{
	return mask_less(a ^ b, 1);
}

static inline __m128i load(const void *from)
{
	return _mm_loadu_si128(from);
}

static inline void store(void *to, __m128i value)
{
	_mm_storeu_si128(to, value);
}

static inline __m128i choose(__m128i mask, __m128i yes, __m128i no)
{
	return _mm_blendv_epi8(no, yes, mask);
}

/* 0, 1 .. 15, from `first` on. */
static inline __m128i count_from(unsigned first)
{
	return _mm_add_epi8(_mm_set_epi64x(0x0f0e0d0c0b0a0908, 0x0706050403020100),
			    _mm_set1_epi8((char)first));
}

/* ---- HMAC over a burst ---- */

/* The pieces of the message that do not stand in one piece. */
static void lane_stage(struct lane *l)
{
	uint32_t room = SHA_BLOCK - l->header_len;
	uint32_t direct = (l->header_len + l->body_len) / SHA_BLOCK; /* blocks that end in the body */

	memcpy(l->first + l->header_len, l->body, l->body_len < room ? l->body_len : room);
	if (direct > 0) {
		uint32_t done = direct * SHA_BLOCK - l->header_len;

		memcpy(l->last, l->body + done, l->body_len - done);
	}
}

/* Behind the end of the body: anything, it will be masked. */
static const uint8_t *lane_block(const struct lane *l, uint32_t index)
{
	if (index == 0)
		return l->first;
	if ((index + 1) * SHA_BLOCK - l->header_len <= l->body_len)
		return l->body + ((size_t)index * SHA_BLOCK - l->header_len);
	return l->last;
}

/* Block `index` as it is hashed: cut at the end, with SHA-256's padding. `is_last` is a mask. */
static void lane_mask_block(struct lane *l, uint32_t index, uint32_t is_last)
{
	const uint8_t *from = lane_block(l, index);
	__m128i left = _mm_set1_epi16((short)(l->end - index * SHA_BLOCK));
	uint32_t bits =
		__builtin_bswap32((SHA_BLOCK + l->end) * 8) & is_last; /* with the block of HMAC's key */

	left = _mm_max_epi16(_mm_min_epi16(left, _mm_set1_epi16(SHA_BLOCK)), _mm_set1_epi16(-1));
	left = _mm_shuffle_epi8(left, _mm_setzero_si128()); /* -1: the end was before this block */
	for (unsigned i = 0; i < SHA_BLOCK; i += BLOCK) {
		__m128i place = count_from(i);
		__m128i bytes = _mm_and_si128(load(from + i), _mm_cmpgt_epi8(left, place));
		__m128i stop = _mm_and_si128(_mm_cmpeq_epi8(left, place), _mm_set1_epi8((char)0x80));

		bytes = _mm_or_si128(bytes, stop);
		if (i == SHA_BLOCK - BLOCK)
			bytes = _mm_or_si128(bytes, _mm_set_epi32((int)bits, 0, 0, 0));
		store(l->masked + i, bytes);
	}
}

static void lane_keep_state(struct lane *l, uint32_t is_last)
{
	__m128i mask = _mm_set1_epi32((int)is_last);

	for (unsigned i = 0; i < 8; i += 4)
		store(l->digest + i, choose(mask, load(l->state + i), load(l->digest + i)));
}

static uint32_t lane_is_last(const struct lane *l, uint32_t index)
{
	return mask_equal(index, (l->end + SHA_TAIL) / SHA_BLOCK);
}

static void pair_inner(sha256_pair hash, struct lane *x, struct lane *y)
{
	uint32_t whole = x->whole < y->whole ? x->whole : y->whole;

	memcpy(x->state, x->key->inner, sizeof x->state);
	memcpy(y->state, y->key->inner, sizeof y->state);
	if (whole > 0)
		hash(x->state, y->state, x->first, y->first, 1);
	if (whole > 1)
		hash(x->state, y->state, lane_block(x, 1), lane_block(y, 1), whole - 1);
	for (uint32_t i = whole; i < x->blocks; i++) {
		uint32_t x_is_last = lane_is_last(x, i);
		uint32_t y_is_last = lane_is_last(y, i);

		lane_mask_block(x, i, x_is_last);
		lane_mask_block(y, i, y_is_last);
		hash(x->state, y->state, x->masked, y->masked, 1);
		lane_keep_state(x, x_is_last);
		lane_keep_state(y, y_is_last);
	}
}

/* The outer hash's only block of data: the inner digest, 0x80, the bit length. */
static void lane_outer_block(struct lane *l)
{
	const __m128i swap_words = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

	for (unsigned i = 0; i < 2; i++)
		store(l->masked + (size_t)i * BLOCK,
		      _mm_shuffle_epi8(load(l->digest + (size_t)i * 4), swap_words));
	store(l->masked + 32, _mm_set_epi32(0, 0, 0, 0x80));
	store(l->masked + 48, _mm_set_epi32((int)__builtin_bswap32((SHA_BLOCK + MAC_LEN) * 8), 0, 0, 0));
	memcpy(l->state, l->key->outer, sizeof l->state);
}

static void lane_mac(struct lane *l)
{
	const __m128i swap_words = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);

	for (unsigned i = 0; i < 2; i++)
		store(l->mac + (size_t)i * BLOCK,
		      _mm_shuffle_epi8(load(l->state + (size_t)i * 4), swap_words));
}

static void pair_hmac(sha256_pair hash, struct lane *x, struct lane *y)
{
	pair_inner(hash, x, y);
	lane_outer_block(x);
	lane_outer_block(y);
	hash(x->state, y->state, x->masked, y->masked, 1);
	lane_mac(x);
	lane_mac(y);
}

/* The MAC of every lane. Neighbours of equally many blocks go together. */
static void hmac_burst(struct ct *w, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		lane_stage(&w->lane[i]);
	for (unsigned i = 0; i < count; i++) {
		struct lane *l = &w->lane[i];

		if (i + 1 < count && l[1].blocks == l->blocks) {
			pair_hmac(w->pair, l, l + 1);
			i++;
		} else {
			w->idle = *l;
			pair_hmac(w->pair, l, &w->idle);
		}
	}
}

/* The message ends somewhere in [least, most] body bytes; `len` is what the header says, `end` where it
 * really ends. */
static void lane_set(struct lane *l, const struct record_op *op, const uint8_t *body, uint32_t body_len,
		     uint32_t least, uint32_t most)
{
	l->key = op->key;
	l->body = body;
	l->body_len = body_len;
	l->header_len = aad_len(op);
	l->whole = (l->header_len + least) / SHA_BLOCK;
	l->blocks = (l->header_len + most + SHA_TAIL) / SHA_BLOCK + 1;
}

static void lane_set_len(struct lane *l, const struct record_op *op, uint32_t len)
{
	(void)aad_write(l->first, op, len);
	l->end = l->header_len + len;
}

/* A message of which nothing is secret but the bytes. */
static void lane_set_public(struct lane *l, const struct record_op *op, const uint8_t *body, uint32_t len)
{
	lane_set(l, op, body, len, len, len);
	lane_set_len(l, op, len);
}

/* ---- Padding ---- */

/* RFC 5246 6.2.3.2. */
static uint32_t padding_put(uint8_t *text, uint32_t len)
{
	uint32_t padding_length = BLOCK - 1 - len % BLOCK;

	memset(text + len, (int)padding_length, padding_length + 1);
	return len + padding_length + 1;
}

/* Length of the padding with its length byte; 1 when it is bad or leaves no room for `mac_len`. *good is a
 * mask. Looks at the last 256 bytes whatever they hold. len: a multiple of 16.
 */
static uint32_t padding_check(const uint8_t *text, uint32_t len, uint32_t mac_len, uint32_t *good)
{
	const __m128i backwards = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
	uint32_t padding_length = text[len - 1];
	uint32_t range = len < PADDING_MAX ? len : PADDING_MAX;
	__m128i expected = _mm_set1_epi8((char)padding_length);
	__m128i difference = _mm_setzero_si128();

	for (uint32_t i = 0; i < range; i += BLOCK) {
		__m128i distance = _mm_add_epi8(backwards, _mm_set1_epi8((char)i)); /* from the length byte */
		__m128i inside = _mm_cmpeq_epi8(_mm_min_epu8(distance, expected), distance);
		__m128i bytes = load(text + len - BLOCK - i);

		difference = _mm_or_si128(difference, _mm_and_si128(inside, _mm_xor_si128(bytes, expected)));
	}
	*good = mask_equal((uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(difference, _mm_setzero_si128())),
			   0xffff) &
		mask_less(padding_length + mac_len, len);
	return (padding_length & *good) + 1;
}

/* ---- The received MAC of MAC-then-encrypt ---- */

/* Copies text[at, at + MAC_LEN) without showing `at`, a secret in the last WINDOW_MAX bytes. */
static void mac_take(uint8_t mac[MAC_LEN], const uint8_t *text, uint32_t len, uint32_t at)
{
	uint32_t begin = len > WINDOW_MAX ? len - WINDOW_MAX : 0;
	uint32_t chunk = (at - begin) / BLOCK;
	__m128i place = count_from((at - begin) % BLOCK); /* of the MAC's bytes in two chunks */
	__m128i window[CHUNKS + 8];

	for (uint32_t i = 0; i < CHUNKS + 8; i++)
		window[i] = i < (len - begin) / BLOCK ? load(text + begin + (size_t)i * BLOCK)
						      : _mm_setzero_si128();
#pragma GCC unroll 4
	for (uint32_t step = 8; step > 0; step /= 2) {
		__m128i move = _mm_set1_epi32((int)~mask_equal(chunk & step, 0));

		for (uint32_t i = 0; i < step + 2; i++)
			window[i] = choose(move, window[i + step], window[i]);
	}
	for (uint32_t i = 0; i < 2; i++) {
		/* pshufb gives zero where the top bit is set: each byte comes from one of the two. */
		__m128i low = _mm_shuffle_epi8(window[i], _mm_add_epi8(place, _mm_set1_epi8(0x70)));
		__m128i high = _mm_shuffle_epi8(window[i + 1], _mm_sub_epi8(place, _mm_set1_epi8(BLOCK)));

		store(mac + (size_t)i * BLOCK, _mm_or_si128(low, high));
	}
}

static uint32_t mac_equal(const uint8_t a[MAC_LEN], const uint8_t b[MAC_LEN])
{
	__m128i same =
		_mm_and_si128(_mm_cmpeq_epi8(load(a), load(b)), _mm_cmpeq_epi8(load(a + 16), load(b + 16)));

	return mask_equal((uint32_t)_mm_movemask_epi8(same), 0xffff);
}

/* ---- MAC-then-encrypt: RFC 5246 6.2.3.2 ---- */

static void mte_open(struct ct *w, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct cbc_key *key = ops[i]->key;

		w->span[i] = (struct cbc_span){key->key, ops[i]->fragment + BLOCK,
					       (ops[i]->fragment_len - BLOCK) / BLOCK};
	}
	aes_cbc_decrypt(w->span, count);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *text = w->span[i].text;
		uint32_t len = w->span[i].blocks * BLOCK;
		struct lane *l = &w->lane[i];
		uint32_t padding = padding_check(text, len, MAC_LEN, &l->good);

		lane_set(l, ops[i], text, len, len > WINDOW_MAX ? len - WINDOW_MAX : 0, len - MAC_LEN - 1);
		lane_set_len(l, ops[i], len - MAC_LEN - padding);
	}
	hmac_burst(w, count);
	for (unsigned i = 0; i < count; i++) {
		struct lane *l = &w->lane[i];
		uint32_t content_len = l->end - l->header_len;
		uint8_t received[MAC_LEN];

		mac_take(received, l->body, l->body_len, content_len);
		l->good &= mac_equal(l->mac, received);
		ops[i]->ok = l->good & 1;
		ops[i]->payload_offset = BLOCK;
		ops[i]->payload_len = (uint16_t)(content_len & l->good);
	}
}

static void mte_seal(struct ct *w, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		lane_set_public(&w->lane[i], ops[i], ops[i]->fragment + BLOCK, ops[i]->payload_len);
	hmac_burst(w, count);
	for (unsigned i = 0; i < count; i++) {
		const struct cbc_key *key = ops[i]->key;
		uint8_t *text = ops[i]->fragment + BLOCK;
		uint32_t len;

		memcpy(text + ops[i]->payload_len, w->lane[i].mac, MAC_LEN);
		len = padding_put(text, ops[i]->payload_len + MAC_LEN);
		w->span[i] = (struct cbc_span){key->key, text, len / BLOCK};
		ops[i]->fragment_len = (uint16_t)(BLOCK + len);
		ops[i]->ok = true;
	}
	aes_cbc_encrypt(w->span, count);
}

/* ---- Encrypt-then-MAC: RFC 7366 3 ---- */

static void etm_seal(struct ct *w, struct record_op **ops, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct cbc_key *key = ops[i]->key;
		uint8_t *text = ops[i]->fragment + BLOCK;

		w->span[i] =
			(struct cbc_span){key->key, text, padding_put(text, ops[i]->payload_len) / BLOCK};
	}
	aes_cbc_encrypt(w->span, count);
	for (unsigned i = 0; i < count; i++)
		lane_set_public(&w->lane[i], ops[i], ops[i]->fragment, BLOCK + w->span[i].blocks * BLOCK);
	hmac_burst(w, count);
	for (unsigned i = 0; i < count; i++) {
		uint32_t len = w->lane[i].body_len;

		memcpy(ops[i]->fragment + len, w->lane[i].mac, MAC_LEN);
		ops[i]->fragment_len = (uint16_t)(len + MAC_LEN);
		ops[i]->ok = true;
	}
}

/* The MAC comes first; what fails it is never decrypted. The padding of what passes is no secret to its
 * sender. */
static void etm_open(struct ct *w, struct record_op **ops, unsigned count)
{
	struct record_op *authentic[RECORD_BURST_MAX];
	unsigned good = 0;

	for (unsigned i = 0; i < count; i++)
		lane_set_public(&w->lane[i], ops[i], ops[i]->fragment, ops[i]->fragment_len - MAC_LEN);
	hmac_burst(w, count);
	for (unsigned i = 0; i < count; i++) {
		const struct cbc_key *key = ops[i]->key;
		uint32_t len = w->lane[i].body_len;

		ops[i]->payload_offset = BLOCK;
		ops[i]->payload_len = 0;
		ops[i]->ok = mac_equal(w->lane[i].mac, ops[i]->fragment + len) & 1;
		secret_publish(&ops[i]->ok, sizeof ops[i]->ok);
		if (!ops[i]->ok)
			continue;
		w->span[good] = (struct cbc_span){key->key, ops[i]->fragment + BLOCK, (len - BLOCK) / BLOCK};
		authentic[good++] = ops[i];
	}
	aes_cbc_decrypt(w->span, good);
	for (unsigned i = 0; i < good; i++) {
		uint32_t len = w->span[i].blocks * BLOCK;
		uint32_t right;
		uint32_t padding = padding_check(w->span[i].text, len, 0, &right);

		authentic[i]->ok = right & 1;
		authentic[i]->payload_len = (uint16_t)((len - padding) & right);
	}
}

/* ---- The engine ---- */

static bool ct_usable(const struct cpu_features *cpu, enum protection_id protection)
{
	return cpu->aesni && cpu->sse41 && cpu->ssse3 &&
	       (protection == PROTECTION_AES_128_CBC_MTE || protection == PROTECTION_AES_128_CBC_ETM);
}

static void *ct_worker_new(void)
{
	size_t size = (sizeof(struct ct) + 63) & ~(size_t)63;
	struct ct *w = aligned_alloc(64, size);

	if (!w)
		return NULL;
	memset(w, 0, size);
	w->pair = cpu_features_get().sha_ni ? sha256_pair_ni : sha256_pair_portable;
	return w;
}

static void ct_worker_free(void *worker)
{
	if (worker)
		secret_wipe(worker, sizeof(struct ct));
	free(worker);
}

static void ct_open_burst(void *worker, struct record_op **ops, unsigned count)
{
	if (count > 0)
		(ops[0]->protection == PROTECTION_AES_128_CBC_MTE ? mte_open : etm_open)(worker, ops, count);
}

static void ct_seal_burst(void *worker, struct record_op **ops, unsigned count)
{
	if (count > 0)
		(ops[0]->protection == PROTECTION_AES_128_CBC_MTE ? mte_seal : etm_seal)(worker, ops, count);
}

const struct record_engine engine_cbc_ct = {
	.name = "ct",
	.usable = ct_usable,
	.worker_new = ct_worker_new,
	.worker_free = ct_worker_free,
	.open_burst = ct_open_burst,
	.seal_burst = ct_seal_burst,
};
