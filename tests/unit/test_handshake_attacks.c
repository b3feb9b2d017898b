/* What a client must not be able to do, and what must not keep a good client from its session: messages left
 * out, repeated, disordered, forged. Each record of a real client's last flight is caught on its way and
 * played back at will. Positive control: the same catch, played back as it was, completes.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/assembly.h"
#include "dataplane/record.h"
#include "tests/unit/meeting.h"
#include "tests/unit/pki.h"

enum {
	CATCH_MAX = 8,
	THE_CERTIFICATE = 0,
	THE_KEY_EXCHANGE = 1,
	THE_VERIFY = 2,
	THE_CHANGE = 3,
	THE_FINISHED = 4
};

static const uint8_t psk[16] = "sixteen bytes ok";
static struct pki pki;
static struct tls *tls_certificates, *tls_psk;
static struct peer_options with_certificate, with_psk;

struct caught {
	uint8_t bytes[3000];
	size_t len;
};
static struct caught catch[CATCH_MAX];
static unsigned catches;

static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t len,
		    struct psk_credential *out)
{
	if (len != 8 || memcmp(identity, "device-1", 8) != 0)
		return 0;
	memset(out, 0, sizeof *out);
	memcpy(out->key, psk, sizeof psk);
	out->key_len = sizeof psk;
	registree_by_credential(&out->registree, identity, len);
	return 1;
}

static const struct credential_store store = {.name = "test", .find_psk = find_psk};

/* ---- the catch */

static bool is_last_flight(const uint8_t *record)
{
	return record[3] || record[4] || record[0] != CONTENT_HANDSHAKE ||
	       record[13] != HANDSHAKE_CLIENT_HELLO;
}

static enum fault catch_flight(struct meeting *m, bool from_client, unsigned nth, const uint8_t *record,
			       size_t len)
{
	if (!from_client || !is_last_flight(record))
		return FAULT_NONE;
	if (catches > 0 && catch[catches - 1].bytes[4] == 1) /* its timer fired: the same again */
		return FAULT_DROP;
	assert_true(catches < CATCH_MAX && len <= sizeof catch[0].bytes);
	memcpy(catch[catches].bytes, record, len);
	catch[catches++].len = len;
	return FAULT_DROP;
}

/* Up to our ServerHelloDone; the client's answer is in `catch`. */
static void begin(struct meeting *m, const struct tls *tls, const struct peer_options *options)
{
	catches = 0;
	meeting_new(m, tls, &peer_openssl, options);
	m->split = true;
	m->fault = catch_flight;
	m->client = m->kind->run(m->peer, NULL, 0);
	meeting_client_speaks(m);
	m->fault = NULL;
	assert_non_null(m->handshake);
}

static void begin_certificates(struct meeting *m)
{
	begin(m, tls_certificates, &with_certificate);
	assert_int_equal(catches, 5);
	assert_int_equal(catch[THE_CERTIFICATE].bytes[13], HANDSHAKE_CERTIFICATE);
	assert_int_equal(catch[THE_KEY_EXCHANGE].bytes[13], HANDSHAKE_CLIENT_KEY_EXCHANGE);
	assert_int_equal(catch[THE_VERIFY].bytes[13], HANDSHAKE_CERTIFICATE_VERIFY);
	assert_int_equal(catch[THE_CHANGE].bytes[0], CONTENT_CHANGE_CIPHER_SPEC);
	assert_int_equal(catch[THE_FINISHED].bytes[4], 1);
}

static void play(struct meeting *m, unsigned which)
{
	uint8_t *copy = malloc(catch[which].len); /* exact, for ASan */

	assert_non_null(copy);
	memcpy(copy, catch[which].bytes, catch[which].len);
	meeting_inject(m, copy, catch[which].len);
	free(copy);
}

static void play_all(struct meeting *m)
{
	for (unsigned i = 0; i < catches; i++)
		play(m, i);
}

static void expect_done(struct meeting *m)
{
	if (m->server != HANDSHAKE_DONE || m->client != PEER_CONNECTED || !meeting_echo(m, "hello"))
		fail_msg("client %d, server %d, %s", m->client, m->server, m->refusal.text);
	meeting_free(m);
}

static void good_client(void)
{
	struct meeting m;

	begin_certificates(&m);
	play_all(&m);
	expect_done(&m);
}

/* A record in the clear, as anybody could make it. */
static void inject(struct meeting *m, uint8_t type, uint16_t epoch, const void *body, size_t len)
{
	uint8_t *record = malloc(RECORD_HEADER_LEN + len);
	static uint64_t seq = 1000;

	assert_non_null(record);
	record_write(record, type, (uint64_t)epoch << 48 | seq++, NULL, 0, (uint16_t)len);
	if (len > 0)
		memcpy(record + RECORD_HEADER_LEN, body, len);
	meeting_inject(m, record, RECORD_HEADER_LEN + len);
	free(record);
}

static size_t heap_used(void)
{
	return mallinfo2().uordblks;
}

/* ---- order */

static void permute(unsigned *order, unsigned at, unsigned n, void (*each)(const unsigned *order, unsigned n))
{
	if (at == n) {
		each(order, n);
		return;
	}
	for (unsigned i = at; i < n; i++) {
		unsigned swap = order[at];

		order[at] = order[i];
		order[i] = swap;
		permute(order, at + 1, n, each);
		order[i] = order[at];
		order[at] = swap;
	}
}

static void order_completes(const unsigned *order, unsigned n)
{
	struct meeting m;

	if (n == 5)
		begin_certificates(&m);
	else
		begin(&m, tls_psk, &with_psk);
	assert_int_equal(catches, n);
	for (unsigned i = 0; i < n; i++)
		play(&m, order[i]);
	expect_done(&m);
}

/* All 120 orders of the five records, and all six of a PSK client's three, without any timer: what comes
 * early waits. An early ChangeCipherSpec blocks nothing. */
static void test_any_order(void **state)
{
	unsigned five[] = {0, 1, 2, 3, 4}, three[] = {0, 1, 2};

	permute(five, 0, 5, order_completes);
	permute(three, 0, 3, order_completes);
}

/* ---- messages left out: never finished, however often the others come; then the missing one completes it */

static void test_omissions(void **state)
{
	for (unsigned missing = 0; missing < 5; missing++) {
		struct meeting m;

		begin_certificates(&m);
		for (unsigned i = 0; i < 15; i++) {
			if (i % 5 != missing)
				play(&m, i % 5);
			assert_int_equal(m.server, HANDSHAKE_GOES_ON);
		}
		play(&m, missing);
		expect_done(&m);
	}
}

/* Without Certificate and CertificateVerify, renumbered, as a client that wants to get around them would. */
static void test_certificate_skipped(void **state)
{
	struct meeting m;

	begin_certificates(&m);
	catch[THE_KEY_EXCHANGE].bytes[13 + 5]--; /* message_seq */
	play(&m, THE_KEY_EXCHANGE);
	play(&m, THE_CHANGE);
	play(&m, THE_FINISHED);
	assert_int_not_equal(m.server, HANDSHAKE_DONE);
	meeting_free(&m);
	good_client();
}

static void test_empty_certificate(void **state)
{
	struct meeting m;
	static const uint8_t empty[] = {11, 0, 0, 3, 0, 2, 0, 0, 0, 0, 0, 3, 0, 0, 0};

	begin_certificates(&m);
	inject(&m, CONTENT_HANDSHAKE, 0, empty, sizeof empty);
	play_all(&m);
	assert_int_equal(m.server, HANDSHAKE_FAILED);
	assert_non_null(strstr(m.refusal.text, "sent no certificate"));
	meeting_free(&m);
	good_client();
}

/* A client with a PSK is asked for no certificate. It shows another device's good chain, which anybody can
 * have overheard, with and without a CertificateVerify: no session comes of it. */
static void test_unasked_certificate(void **state)
{
	for (unsigned with_verify = 0; with_verify < 2; with_verify++) {
		struct caught certificate, verify;
		struct meeting m;

		begin_certificates(&m);
		certificate = catch[THE_CERTIFICATE];
		verify = catch[THE_VERIFY];
		meeting_free(&m);
		begin(&m, tls_certificates, &with_psk);
		assert_int_equal(catches, 3);
		assert_int_equal(catch[0].bytes[13 + 5], certificate.bytes[13 + 5]);
		catch[0].bytes[13 + 5]++; /* message_seq */
		inject(&m, CONTENT_HANDSHAKE, 0, certificate.bytes + 13, certificate.len - 13);
		play(&m, 0);
		if (with_verify)
			inject(&m, CONTENT_HANDSHAKE, 0, verify.bytes + 13, verify.len - 13);
		play(&m, 1);
		play(&m, 2);
		assert_int_equal(m.server, HANDSHAKE_FAILED);
		meeting_free(&m);
		begin(&m, tls_certificates, &with_psk);
		play_all(&m);
		expect_done(&m);
	}
}

/* The certificate of one device, and a signature with the key of another. */
static void test_another_key(void **state)
{
	static const char *const devices[] = {"device", "below-ca"};

	for (unsigned i = 0; i < 2; i++) {
		struct peer_options o = with_certificate;
		char certificate[160];
		struct meeting m;

		snprintf(certificate, sizeof certificate, "%s", pki_path(&pki, devices[i], "pem"));
		o.certificate = certificate;
		o.key = pki_path(&pki, devices[1 - i], "key");
		meeting_new(&m, tls_certificates, &peer_wolfssl, &o);
		assert_false(meeting_run(&m, 3));
		assert_int_equal(m.server, HANDSHAKE_FAILED);
		assert_int_equal(m.refusal.cause, REFUSED_NO_PROOF);
		meeting_free(&m);
	}
	good_client();
}

/* ---- things in the clear that have no business there */

static void test_plaintext_finished(void **state)
{
	uint8_t finished[24] = {HANDSHAKE_FINISHED, 0, 0, 12, 0, 5, 0, 0, 0, 0, 0, 12};
	struct meeting m;

	begin_certificates(&m);
	for (unsigned i = 0; i <= THE_CHANGE; i++)
		play(&m, i);
	for (uint8_t seq = 0; seq < 8; seq++) {
		finished[5] = seq;
		inject(&m, CONTENT_HANDSHAKE, 0, finished, sizeof finished);
		inject(&m, CONTENT_HANDSHAKE, 1, finished, sizeof finished);
		assert_int_equal(m.server, HANDSHAKE_GOES_ON);
	}
	play(&m, THE_FINISHED);
	expect_done(&m);
}

static void inject_noise(struct meeting *m)
{
	static const uint8_t types[] = {0, 20, 21, 22, 23, 24, 25, 26, 64, 255};
	uint8_t bytes[128];

	for (size_t i = 0; i < sizeof types; i++) {
		for (uint16_t epoch = 0; epoch < 4; epoch++) {
			memset(bytes, (int)i + 2, sizeof bytes);
			for (size_t len = 0; len < sizeof bytes; len++) {
				if (len != 2 || types[i] != CONTENT_ALERT || epoch > 0)
					inject(m, types[i], epoch, bytes, len);
			}
		}
	}
	inject(m, CONTENT_APPLICATION_DATA, 0, "GET /secret", 11);
	inject(m, CONTENT_ALERT, 0, "\x01\x5a", 2); /* warning: user_canceled */
	inject(m, CONTENT_ALERT, 0, "\x02", 1);
	inject(m, CONTENT_CHANGE_CIPHER_SPEC, 0, "\x02", 1);
	inject(m, CONTENT_CHANGE_CIPHER_SPEC, 0, "\x01\x01", 2);
}

/* In every state of the handshake, without effect; after its ChangeCipherSpec wolfSSL sees some of it. */
static void test_noise_in_every_state(void **state)
{
	static const char *const ciphers[4] = {"ECDHE-ECDSA-AES128-CCM-8", "ECDHE-ECDSA-AES128-GCM-SHA256",
					       "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA256"};

	for (unsigned kind = 0; kind < 4; kind++) {
		struct peer_options o = with_certificate;
		struct meeting m;

		o.ciphers = ciphers[kind];
		o.without_etm = kind == 2;
		begin(&m, tls_certificates, &o);
		for (unsigned i = 0; i < 5; i++) {
			inject_noise(&m);
			if (m.server != HANDSHAKE_GOES_ON)
				fail_msg("%s, before record %u: %s", o.ciphers, i, m.refusal.text);
			play(&m, i);
		}
		expect_done(&m);
	}
}

static void test_fatal_alert(void **state)
{
	for (unsigned before = 0; before < 5; before++) {
		struct meeting m;

		begin_certificates(&m);
		for (unsigned i = 0; i < before; i++)
			play(&m, i);
		inject(&m, CONTENT_ALERT, 0, before % 2 ? "\x02\x2a" : "\x01\x00", 2); /* or close_notify */
		assert_int_equal(m.server, HANDSHAKE_FAILED);
		assert_non_null(strstr(m.refusal.text, before % 2 ? "bad_certificate" : "close_notify"));
		play_all(&m);
		assert_int_equal(m.server, HANDSHAKE_FAILED);
		meeting_free(&m);
	}
	good_client();
}

/* ---- repetition */

/* However often everything comes, the traffic dies out: one answer to each repeated ClientHello, none to the
 * rest. */
static void test_repetition(void **state)
{
	struct meeting m;
	unsigned before;

	begin_certificates(&m);
	before = m.from_server;
	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 4; i++)
			play(&m, i);
	}
	assert_int_equal(m.from_server, before);
	play(&m, THE_FINISHED);
	assert_int_equal(m.from_server, before + 2);
	for (unsigned round = 0; round < 10; round++)
		play_all(&m);
	assert_int_equal(m.from_server, before + 2);
	expect_done(&m);
}

static void test_wrong_message_seq(void **state)
{
	static const int wrong[] = {-3, -2, -1, 1, 2, 100, 255};

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct meeting m;
		uint8_t right;

		begin(&m, tls_psk, &with_psk);
		right = catch[0].bytes[13 + 5];
		catch[0].bytes[13 + 5] = (uint8_t)(right + wrong[i]);
		play_all(&m);
		assert_int_equal(m.server, HANDSHAKE_GOES_ON);
		catch[0].bytes[13 + 5] = right;
		play(&m, 0);
		expect_done(&m);
	}
}

/* ---- forgeries */

static void forge_verify(void)
{
	struct meeting m;
	struct caught other;

	/* a signature that is off by a bit */
	begin_certificates(&m);
	catch[THE_VERIFY].bytes[catch[THE_VERIFY].len - 3] ^= 1;
	play_all(&m);
	assert_int_equal(m.server, HANDSHAKE_FAILED);
	meeting_free(&m);
	/* one with SHA-1 */
	begin_certificates(&m);
	other = catch[THE_VERIFY];
	catch[THE_VERIFY].bytes[25] = 2;
	play_all(&m);
	assert_int_equal(m.server, HANDSHAKE_FAILED);
	assert_non_null(strstr(m.refusal.text, "hash that is not enabled"));
	meeting_free(&m);
	/* a good one, of another handshake */
	begin_certificates(&m);
	catch[THE_VERIFY] = other;
	play_all(&m);
	assert_int_equal(m.server, HANDSHAKE_FAILED);
	meeting_free(&m);
	good_client();
}

/* Directly below the root, and below another CA. */
static void test_forged_verify(void **state)
{
	const struct peer_options usual = with_certificate;

	forge_verify();
	with_certificate.certificate = pki_path(&pki, "below-ca", "pem");
	with_certificate.key = pki_path(&pki, "below-ca", "key");
	forge_verify();
	with_certificate = usual;
}

/* Nothing is kept of the CAs that clients show: they are no anchors, and there is no end of them. */
static void test_nothing_kept_of_authorities(void **state)
{
	enum { WARM = 40, CLIENTS = 120 };
	const struct peer_options usual = with_certificate;
	size_t before = 0, after;

	for (unsigned i = 0; i < CLIENTS; i++) {
		pki_client(&pki, "one-of-many", "device", "urn:dev:ops:3", NULL, PKI_BELOW_CA);
		with_certificate.certificate = pki_path(&pki, "one-of-many", "pem");
		with_certificate.key = pki_path(&pki, "one-of-many", "key");
		good_client();
		if (i == WARM)
			before = heap_used();
	}
	after = heap_used();
	/* A CA takes over a kilobyte. With sanitizers the heap is another. */
	if (before > 0)
		assert_in_range(after, 0, before + (CLIENTS - WARM) * 1024 / 2);
	with_certificate = usual;
}

/* A record that does not open is dropped, and the genuine one still counts (RFC 6347 4.1.2.7). */
static void test_forged_finished(void **state)
{
	struct meeting m;

	begin_certificates(&m);
	for (unsigned i = 0; i < 4; i++)
		play(&m, i);
	for (size_t at = 13; at < catch[THE_FINISHED].len; at++) {
		catch[THE_FINISHED].bytes[at] ^= 1;
		play(&m, THE_FINISHED);
		catch[THE_FINISHED].bytes[at] ^= 1;
		assert_int_equal(m.server, HANDSHAKE_GOES_ON);
	}
	play(&m, THE_FINISHED);
	expect_done(&m);
}

/* RFC 8422 5.11: points that are none, or in a form that was not agreed on. */
static void test_invalid_points(void **state)
{
	for (unsigned kind = 0; kind < 6; kind++) {
		struct meeting m;
		uint8_t *message, *point;

		begin_certificates(&m);
		message = catch[THE_KEY_EXCHANGE].bytes + 13;
		point = message + 13; /* behind its length */
		if (point[-1] != 65)
			fail_msg("a point of %u bytes: the client has other curves than expected", point[-1]);
		switch (kind) {
		case 0: /* not on the curve */
			point[64] ^= 1;
			break;
		case 1:
			memset(point + 1, 0, 64);
			break;
		case 2:
			memset(point + 1, 0xff, 64);
			break;
		case 3: /* compressed, at full length */
			point[0] = 2;
			break;
		case 4: /* hybrid */
			point[0] = 6 | (point[64] & 1);
			break;
		case 5: /* its length is a lie */
			point[-1] = 255;
			break;
		}
		play_all(&m);
		if (m.server == HANDSHAKE_DONE)
			fail_msg("point %u was taken", kind);
		meeting_free(&m);
	}
	good_client();
}

static void test_malformed_psk_identity(void **state)
{
	static const uint8_t lens[][2] = {{0, 0}, {0, 9}, {0xff, 0xff}, {1, 0}, {0, 7}};

	for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
		struct meeting m;

		begin(&m, tls_psk, &with_psk);
		memcpy(catch[0].bytes + 25, lens[i], 2);
		play_all(&m);
		assert_int_not_equal(m.server, HANDSHAKE_DONE);
		meeting_free(&m);
	}
	/* with a NUL in it: not the identity that ends there */
	struct meeting m;

	begin(&m, tls_psk, &with_psk);
	memcpy(catch[0].bytes + catch[0].len, "\0x", 2);
	catch[0].len += 2;
	catch[0].bytes[12] += 2; /* record */
	catch[0].bytes[16] += 2; /* message */
	catch[0].bytes[24] += 2; /* fragment */
	catch[0].bytes[26] += 2; /* identity */
	play_all(&m);
	assert_int_equal(m.server, HANDSHAKE_GOES_ON); /* as with a wrong key */
	meeting_free(&m);
	good_client();
}

/* ---- fragments of the ClientHello */

static enum fault catch_hello(struct meeting *m, bool from_client, unsigned nth, const uint8_t *record,
			      size_t len)
{
	if (!from_client || nth != 1)
		return FAULT_NONE;
	memcpy(catch[0].bytes, record, len);
	catch[0].len = len;
	return FAULT_DROP;
}

static void inject_fragment(struct meeting *m, uint64_t seq, uint32_t from, uint32_t len)
{
	const uint8_t *message = catch[0].bytes + 13;
	uint8_t record[2000];

	record_write(record, CONTENT_HANDSHAKE, seq, NULL, 0, (uint16_t)(12 + len));
	memcpy(record + 13, message, 12);
	record[13 + 7] = (uint8_t)(from >> 8);
	record[13 + 8] = (uint8_t)from;
	record[13 + 10] = (uint8_t)(len >> 8);
	record[13 + 11] = (uint8_t)len;
	memcpy(record + 25, message + 12 + from, len);
	meeting_inject(m, record, 25 + len);
}

static void test_fragmented_hello(void **state)
{
	struct meeting m;
	uint32_t len;

	meeting_new(&m, tls_psk, &peer_openssl, &with_psk);
	m.fault = catch_hello;
	m.client = m.kind->run(m.peer, NULL, 0);
	meeting_client_speaks(&m);
	m.fault = NULL;
	assert_null(m.handshake);
	len = (uint32_t) catch[0].len - 25;
	inject_fragment(&m, 2, 100, len - 100); /* before its peer is known: dropped */
	assert_null(m.handshake);
	inject_fragment(&m, 3, 0, 110);
	assert_non_null(m.handshake);
	inject_fragment(&m, 4, 120, len - 120);
	assert_int_equal(m.from_server, 1);
	inject_fragment(&m, 5, 105, 20);
	assert_in_range(m.from_server, 2, 3);
	assert_true(meeting_run(&m, 3));
	expect_done(&m);
}

/* ---- memory */

/* Finished ones leave nothing behind, half-open ones cost what they may. */
static void test_memory(void **state)
{
	enum { HALF_OPEN = 100, ROUNDS = 1500 };
	static struct meeting m[HALF_OPEN];
	size_t before, after;

	for (unsigned i = 0; i < 50; i++) /* whatever is taken once */
		good_client();
	before = heap_used();
	for (unsigned i = 0; i < ROUNDS; i++) {
		begin(&m[0], tls_psk, &with_psk);
		play_all(&m[0]);
		assert_int_equal(m[0].server, HANDSHAKE_DONE);
		meeting_free(&m[0]);
	}
	after = heap_used();
	if (before > 0) /* with sanitizers the heap is another */
		assert_in_range(after, 0, before + 4096);

	for (unsigned i = 0; i < HALF_OPEN; i++) {
		begin_certificates(&m[i]);
		/* the client's share goes, ours stays */
		m[i].kind->free(m[i].peer);
		m[i].peer = NULL;
	}
	after = heap_used();
	if (before > 0)
		assert_in_range((after - before) / HALF_OPEN, 1000, 40000);
	for (unsigned i = 0; i < HALF_OPEN; i++) {
		m[i].peer = m[i].kind->new (&with_psk);
		meeting_free(&m[i]);
	}
	after = heap_used();
	if (before > 0)
		assert_in_range(after, 0, before + 65536); /* the allocator keeps some for itself */
}

/* Random changes of a whole last flight: nothing crashes (with ASan), and nothing completes but the genuine
 * one. */
static void test_mutations(void **state)
{
	unsigned done = 0, failed = 0;

	srand(5);
	for (unsigned round = 0; round < 200; round++) {
		struct meeting m;
		unsigned which = (unsigned)rand() % 5;
		size_t at;

		begin_certificates(&m);
		/* the header of a record is not protected in epoch 0: no change there counts */
		at = 13 + (size_t)rand() % (catch[which].len - 13);
		catch[which].bytes[at] ^= (uint8_t)(1 + rand() % 255);
		play_all(&m);
		done += m.server == HANDSHAKE_DONE;
		failed += m.server == HANDSHAKE_FAILED;
		meeting_free(&m);
	}
	assert_int_equal(done, 0);
	assert_in_range(failed, 1, 199);
	good_client();
}

/* ---- */

static struct tls *make_tls(enum config_client_certificate client_certificate)
{
	struct config config = {.sessions.cid = true, .handshakes.mtu = 1400, .tls.require_ems = true};
	struct credentials credentials = {.ops = &store};
	char error[256] = "";

	config.tls.certificate = pki.certificate;
	config.tls.key = pki.key;
	config.tls.trust_anchors = pki.ca;
	config.tls.client_certificate = client_certificate;
	return tls_new(&config, &config.tls, "", credentials, error, sizeof error);
}

static int set_up(void **state)
{
	static char certificate[160], key[160];

	pki_new(&pki);
	pki_client(&pki, "device", "device 1", NULL, NULL, PKI_GOOD);
	pki_client(&pki, "below-ca", "device 2", NULL, NULL, PKI_BELOW_CA);
	snprintf(certificate, sizeof certificate, "%s", pki_path(&pki, "device", "pem"));
	snprintf(key, sizeof key, "%s", pki_path(&pki, "device", "key"));
	with_certificate = (struct peer_options){
		.ciphers = "ECDHE-ECDSA-AES128-CCM-8", .ca = pki.ca, .certificate = certificate, .key = key};
	with_certificate.groups = "P-256"; /* not X25519 */
	with_psk = (struct peer_options){
		.ciphers = "PSK-AES128-CCM-8", .psk_identity = "device-1", .psk = psk, .psk_len = sizeof psk};
	if (tls_global_init())
		return -1;
	tls_certificates = make_tls(CONFIG_CLIENT_CERTIFICATE_REQUIRED);
	tls_psk = make_tls(CONFIG_CLIENT_CERTIFICATE_NONE);
	return tls_certificates && tls_psk ? 0 : -1;
}

static int tear_down(void **state)
{
	tls_free(tls_certificates);
	tls_free(tls_psk);
	tls_global_fini();
	pki_free(&pki);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_omissions),
		cmocka_unit_test(test_certificate_skipped),
		cmocka_unit_test(test_empty_certificate),
		cmocka_unit_test(test_unasked_certificate),
		cmocka_unit_test(test_another_key),
		cmocka_unit_test(test_plaintext_finished),
		cmocka_unit_test(test_noise_in_every_state),
		cmocka_unit_test(test_fatal_alert),
		cmocka_unit_test(test_repetition),
		cmocka_unit_test(test_wrong_message_seq),
		cmocka_unit_test(test_forged_verify),
		cmocka_unit_test(test_nothing_kept_of_authorities),
		cmocka_unit_test(test_forged_finished),
		cmocka_unit_test(test_invalid_points),
		cmocka_unit_test(test_malformed_psk_identity),
		cmocka_unit_test(test_fragmented_hello),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
