/* ClientHellos, well-formed and not, and what we take of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/offer.h"

struct hello {
	uint8_t bytes[70000];
	size_t len, extensions; /* where their length stands */
};

static void put(struct hello *h, unsigned value, unsigned octets)
{
	for (unsigned i = octets; i-- > 0;)
		h->bytes[h->len++] = (uint8_t)(value >> (8 * i));
}

static void put_list(struct hello *h, const uint16_t *values, size_t count)
{
	put(h, (unsigned)(2 * count), 2);
	for (size_t i = 0; i < count; i++)
		put(h, values[i], 2);
}

static void hello_begin(struct hello *h, unsigned version, const uint16_t *suites, size_t count)
{
	h->len = 0;
	put(h, version, 2);
	memset(h->bytes + h->len, 0xaa, 32);
	h->len += 32;
	put(h, 0, 1);  /* session_id */
	put(h, 32, 1); /* cookie */
	memset(h->bytes + h->len, 0xcc, 32);
	h->len += 32;
	put_list(h, suites, count);
	put(h, 0x0100, 2); /* compression: null */
	h->extensions = h->len;
	put(h, 0, 2);
}

static void hello_end(struct hello *h)
{
	size_t len = h->len - h->extensions - 2;

	h->bytes[h->extensions] = (uint8_t)(len >> 8);
	h->bytes[h->extensions + 1] = (uint8_t)len;
}

static void add(struct hello *h, unsigned type, const void *body, size_t len)
{
	put(h, type, 2);
	put(h, (unsigned)len, 2);
	if (len > 0)
		memcpy(h->bytes + h->len, body, len);
	h->len += len;
	hello_end(h);
}

static const uint16_t psk_ccm8[] = {0xc0a8};
static const uint16_t both[] = {0xc0ae, 0xc0a8, 0x00ff};

static struct hello h;

static void expect_cause(enum refusal_cause cause, uint8_t alert, const char *text)
{
	struct refusal refusal = {0};
	struct offer offer;

	assert_false(offer_read(h.bytes, h.len, &offer, &refusal));
	assert_int_equal(refusal.alert, alert);
	if (!strstr(refusal.text, text) || refusal.cause != cause)
		fail_msg("%s: %s", refusal_name(refusal.cause), refusal.text);
}

static void expect_bad(uint8_t alert, const char *text)
{
	expect_cause(REFUSED_MALFORMED, alert, text);
}

static struct offer expect_read(void)
{
	struct refusal refusal = {0};
	struct offer offer;

	if (!offer_read(h.bytes, h.len, &offer, &refusal))
		fail_msg("%s", refusal.text);
	return offer;
}

static void test_reads_everything(void **state)
{
	static const uint8_t groups[] = {0, 4, 0, 23, 0, 29}, signatures[] = {0, 2, 4, 3}, formats[] = {1, 0},
			     sni[] = {0, 6, 0, 0, 3, 'c', 's', 'e'}, cid[] = {2, 7, 8},
			     versions[] = {2, 0xfe, 0xfd}, renegotiation[] = {0};
	struct offer offer;

	hello_begin(&h, 0xfefd, both, 3);
	add(&h, 0x0a0a, "grease", 6);
	add(&h, 0, sni, sizeof sni);
	add(&h, 10, groups, sizeof groups);
	add(&h, 11, formats, sizeof formats);
	add(&h, 13, signatures, sizeof signatures);
	add(&h, 22, NULL, 0);
	add(&h, 23, NULL, 0);
	add(&h, 43, versions, sizeof versions);
	add(&h, 54, cid, sizeof cid);
	add(&h, 0xff01, renegotiation, 1);
	offer = expect_read();
	assert_true(offer.encrypt_then_mac && offer.extended_master_secret);
	assert_int_equal(offer.server_name.len, 3);
	assert_memory_equal(offer.server_name.at, "cse", 3);
	assert_int_equal(offer.groups.len, 4);
	assert_int_equal(offer.signature_algorithms.len, 2);
	assert_int_equal(offer.suites.len, 6);
	assert_int_equal(offer.cid.len, 2);
	assert_int_equal(offer.random[31], 0xaa);
	/* no byte less will do, and none more */
	for (size_t len = h.len; len-- > 0;) {
		struct refusal refusal;
		struct offer other;

		if (len != h.extensions) /* a ClientHello without extensions is one, too */
			assert_false(offer_read(h.bytes, len, &other, &refusal));
	}
	h.bytes[h.len++] = 0;
	expect_bad(ALERT_DECODE_ERROR, "malformed ClientHello");
}

static void test_versions(void **state)
{
	static const uint8_t only_1_3[] = {2, 0xfe, 0xfc};
	static const struct {
		unsigned version;
		enum refusal_cause cause;
	} refused[] = {
		{0xfeff, REFUSED_DTLS_1_0},   {0xfefe, REFUSED_VERSION}, {0x0300, REFUSED_SSL_OR_TLS},
		{0x0303, REFUSED_SSL_OR_TLS}, {0xffff, REFUSED_VERSION}, {0x0000, REFUSED_VERSION},
		{0x0100, REFUSED_VERSION},    {0xfefc, REFUSED_VERSION}, /* RFC 9147 5.3: it is to say 1.2
									    here */
	};

	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		hello_begin(&h, refused[i].version, psk_ccm8, 1);
		expect_cause(refused[i].cause, ALERT_PROTOCOL_VERSION, "DTLS");
	}
	hello_begin(&h, 0xfefd, psk_ccm8, 1);
	add(&h, 43, only_1_3, sizeof only_1_3);
	expect_cause(REFUSED_VERSION, ALERT_PROTOCOL_VERSION, "does not offer DTLS 1.2");
}

static void bad_extension(unsigned type, const char *body, size_t len, uint8_t alert)
{
	enum refusal_cause cause = type == 0xff01 ? REFUSED_RENEGOTIATION
				   : type == 11   ? REFUSED_CURVE
				   : type == 43   ? REFUSED_VERSION
						  : REFUSED_MALFORMED;

	hello_begin(&h, 0xfefd, psk_ccm8, 1);
	add(&h, type, body, len);
	expect_cause(cause, alert, "");
}

static void test_rules(void **state)
{
	hello_begin(&h, 0xfefd, psk_ccm8, 1);
	add(&h, 23, NULL, 0);
	add(&h, 0x1234, "x", 1);
	add(&h, 23, NULL, 0);
	expect_bad(ALERT_ILLEGAL_PARAMETER, "twice");

	hello_begin(&h, 0xfefd, psk_ccm8, 1);
	for (unsigned i = 0; i < 65; i++)
		add(&h, 0x2000 + i, NULL, 0);
	expect_bad(ALERT_DECODE_ERROR, "too many extensions");

	hello_begin(&h, 0xfefd, psk_ccm8, 1);
	h.bytes[h.extensions - 1] = 1; /* compression: deflate alone */
	expect_cause(REFUSED_COMPRESSION, ALERT_ILLEGAL_PARAMETER, "compression");

	bad_extension(0xff01,
		      "\x0c"
		      "verify_data_",
		      13, ALERT_HANDSHAKE_FAILURE);
	bad_extension(0xff01, "", 0, ALERT_HANDSHAKE_FAILURE);
	bad_extension(11, "\x01\x01", 2, ALERT_ILLEGAL_PARAMETER); /* compressed points only */
	bad_extension(22, "x", 1, ALERT_DECODE_ERROR);
	bad_extension(23, "x", 1, ALERT_DECODE_ERROR);
	bad_extension(10, "\x00\x03\x00\x17\x00", 5, ALERT_DECODE_ERROR);
	bad_extension(10, "\x00\x00", 2, ALERT_DECODE_ERROR);
	bad_extension(13, "\x00\x04\x04\x03", 4, ALERT_DECODE_ERROR);
	bad_extension(0, "\x00\x03\x00\x00\x00", 5, ALERT_DECODE_ERROR); /* empty name */
	bad_extension(0, "", 0, ALERT_DECODE_ERROR);
	bad_extension(54, "\x02x", 2, ALERT_DECODE_ERROR);
	bad_extension(54, "", 0, ALERT_DECODE_ERROR);
	bad_extension(43, "\x01\xfe", 2, ALERT_PROTOCOL_VERSION);
}

/* ---- choosing */

static const struct suite *chosen(const uint16_t *suites, size_t count, const char *signatures,
				  const char *groups, bool ems, struct refusal *refusal,
				  struct offer_choice *choice)
{
	const struct suite *ours[3] = {suite_by_id(0xc0ae), suite_by_id(0x00ae), suite_by_id(0xc0a8)};
	struct offer_policy policy = {.suites = ours,
				      .suites_count = 3,
				      .certificate_curve = 23,
				      .require_ems = true,
				      .cid_len_max = 10};
	struct offer offer;

	hello_begin(&h, 0xfefd, suites, count);
	if (ems)
		add(&h, 23, NULL, 0);
	if (signatures)
		add(&h, 13, signatures, 4);
	if (groups)
		add(&h, 10, groups, 4);
	offer = expect_read();
	return offer_choose(&offer, &policy, choice, refusal) ? choice->suite : NULL;
}

static void test_choice(void **state)
{
	static const uint16_t reversed[] = {0xc0a8, 0xc0ae};
	static const char sha256[] = "\x00\x02\x04\x03", sha1[] = "\x00\x02\x02\x03",
			  rsa[] = "\x00\x02\x04\x01", p256[] = "\x00\x02\x00\x17",
			  p384[] = "\x00\x02\x00\x18", p224[] = "\x00\x02\x00\x15";
	struct refusal refusal;
	struct offer_choice c;

	/* ours decides */
	assert_int_equal(chosen(reversed, 2, sha256, p256, true, &refusal, &c)->id, 0xc0ae);
	assert_true(c.first_common);
	assert_int_equal(chosen(reversed, 2, sha256, NULL, true, &refusal, &c)->id, 0xc0ae);
	/* without what the certificate needs: the next */
	assert_int_equal(chosen(reversed, 2, sha1, p256, true, &refusal, &c)->id, 0xc0a8);
	assert_false(c.first_common);
	assert_int_equal(chosen(reversed, 2, NULL, p256, true, &refusal, &c)->id, 0xc0a8);
	assert_int_equal(chosen(reversed, 2, sha256, p224, true, &refusal, &c)->id, 0xc0a8);
	assert_int_equal(chosen(reversed, 2, sha256, p384, true, &refusal, &c)->id, 0xc0a8);
	/* nothing left */
	assert_null(chosen(reversed + 1, 1, sha1, p256, true, &refusal, &c));
	assert_non_null(strstr(refusal.text, "signature algorithm"));
	assert_int_equal(refusal.cause, REFUSED_SIGNATURE_SHA1);
	assert_null(chosen(reversed + 1, 1, NULL, p256, true, &refusal, &c));
	assert_int_equal(refusal.cause, REFUSED_SIGNATURE_SHA1);
	assert_null(chosen(reversed + 1, 1, rsa, p256, true, &refusal, &c));
	assert_int_equal(refusal.cause, REFUSED_SIGNATURE);
	assert_null(chosen(reversed + 1, 1, sha256, p224, true, &refusal, &c));
	assert_non_null(strstr(refusal.text, "elliptic curve"));
	assert_int_equal(refusal.cause, REFUSED_CURVE_SHORT);
	assert_null(chosen(reversed + 1, 1, sha256, "\x00\x02\x00\x16", true, &refusal, &c));
	assert_int_equal(refusal.cause, REFUSED_CURVE); /* secp256k1 is long enough, but not ours */
	assert_null(chosen(reversed + 1, 1, sha256, p384, true, &refusal, &c));
	assert_int_equal(refusal.cause, REFUSED_CURVE);
	assert_null(chosen(reversed, 2, sha256, p256, false, &refusal, &c));
	assert_int_equal(refusal.alert, ALERT_HANDSHAKE_FAILURE);
	assert_non_null(strstr(refusal.text, "extended master secret"));
	assert_int_equal(refusal.cause, REFUSED_NO_EMS);
}

/* RFC 7250: each direction on its own. Lists as they stand in the extensions; NULL: not there. */
static void test_certificate_types(void **state)
{
	enum { BOTH = 3, X509 = 1, RAW = 2, NOBODY = 0 };
	static const struct {
		const char *client, *server; /* with their lengths; 'x' stands for X.509, 'r' for raw keys */
		uint8_t ours, theirs;        /* what there is to show and what is taken */
		bool required;
		char shown, taken; /* 0: refused; '-': nobody is asked */
	} cases[] = {
		{NULL, NULL, BOTH, BOTH, true, 'x', 'x'},    {NULL, "r", BOTH, BOTH, true, 'r', 'x'},
		{"r", NULL, BOTH, BOTH, true, 'x', 'r'},     {"r", "r", BOTH, BOTH, true, 'r', 'r'},
		{"x", "rx", BOTH, BOTH, true, 'r', 'x'},     {"x", "xr", BOTH, BOTH, true, 'x', 'x'},
		{"x", "xr", RAW, BOTH, true, 'r', 'x'},      {"x", "rx", X509, BOTH, true, 'x', 'x'},
		{"x", "?rx", X509, BOTH, true, 'x', 'x'},    {"x", "r", X509, BOTH, true, 0, 0},
		{"x", NULL, RAW, BOTH, true, 0, 0},          {"x", "?", BOTH, BOTH, true, 0, 0},
		{"rx", NULL, X509, BOTH, true, 'x', 'x'},    {"rx", NULL, X509, X509, true, 'x', 'x'},
		{"rx", NULL, X509, RAW, true, 0, 0},         {"rx", NULL, X509, RAW, false, 0, 0},
		{"r", NULL, X509, X509, true, 0, 0},         {"r", NULL, X509, X509, false, 0, 0},
		{NULL, NULL, X509, RAW, true, 0, 0},         {NULL, NULL, X509, RAW, false, 'x', '-'},
		{"?", NULL, X509, BOTH, true, 0, 0},         {"r", NULL, X509, NOBODY, false, 'x', '-'},
		{NULL, NULL, X509, NOBODY, false, 'x', '-'},
	};
	static const uint16_t suites[] = {0xc0ae};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const struct suite *ours[] = {suite_by_id(suites[0])};
		const char *const lists[2] = {cases[i].client, cases[i].server};
		struct offer_policy policy = {.suites = ours,
					      .suites_count = 1,
					      .certificate_curve = cases[i].ours & X509 ? 23 : 0,
					      .raw_key_curve = cases[i].ours & RAW ? 23 : 0,
					      .ask_client = cases[i].theirs != NOBODY,
					      .client_x509 = cases[i].theirs & X509,
					      .client_raw_key = cases[i].theirs & RAW,
					      .client_required = cases[i].required};
		struct refusal refusal = {0};
		struct offer_choice c;
		struct offer offer;

		hello_begin(&h, 0xfefd, suites, 1);
		add(&h, 13, "\x00\x02\x04\x03", 4);
		for (int side = 0; side < 2; side++) {
			char list[8];
			int len = lists[side] ? (int)strlen(lists[side]) : 0;

			list[0] = (char)len;
			for (int at = 0; at < len; at++)
				list[at + 1] = lists[side][at] == 'x' ? 0 : lists[side][at] == 'r' ? 2 : 77;
			if (len > 0)
				add(&h, side == 0 ? 19 : 20, list, (size_t)len + 1);
		}
		offer = expect_read();
		if (!cases[i].shown) {
			assert_false(offer_choose(&offer, &policy, &c, &refusal));
			assert_int_equal(refusal.alert, ALERT_UNSUPPORTED_CERTIFICATE);
			assert_int_equal(refusal.cause, REFUSED_CERTIFICATE_TYPE);
			continue;
		}
		assert_true(offer_choose(&offer, &policy, &c, &refusal));
		assert_int_equal(c.server_type,
				 cases[i].shown == 'r' ? CERTIFICATE_RAW_KEY : CERTIFICATE_X509);
		assert_int_equal(c.ask_client, cases[i].taken != '-');
		if (c.ask_client)
			assert_int_equal(c.client_type,
					 cases[i].taken == 'r' ? CERTIFICATE_RAW_KEY : CERTIFICATE_X509);
	}
	bad_extension(19, "", 0, ALERT_DECODE_ERROR);
	bad_extension(19, "\x00", 1, ALERT_DECODE_ERROR);
	bad_extension(20, "\x02\x00", 2, ALERT_DECODE_ERROR);
	bad_extension(20, "\x01\x00\x02", 3, ALERT_DECODE_ERROR);
}

static void test_suites_in_words(void **state)
{
	static const uint16_t legacy[] = {0x00ff, 0x0004, 0x00a8, 0x000a}, many[60] = {0x1301};
	struct refusal refusal;
	struct offer_choice c;

	assert_null(chosen(legacy, 4, NULL, NULL, true, &refusal, &c));
	assert_string_equal(refusal.text, "offers only cipher suites that are not enabled: 0x0004 "
					  "TLS_PSK_WITH_AES_128_GCM_SHA256 0x000a");
	assert_int_equal(refusal.cause, REFUSED_SUITE_NOT_ENABLED);
	assert_null(chosen(legacy + 3, 1, NULL, NULL, true, &refusal, &c));
	assert_int_equal(refusal.cause, REFUSED_SUITE_3DES);
	assert_null(chosen(many, 60, NULL, NULL, true, &refusal, &c));
	assert_true(strlen(refusal.text) < sizeof refusal.text);
	assert_non_null(strstr(refusal.text, " ..."));
}

static bool cid_taken(uint16_t suite, size_t cid_len, bool etm)
{
	const struct suite *ours[] = {suite_by_id(suite)};
	struct offer_policy policy = {.suites = ours, .suites_count = 1, .cid_len_max = 10};
	uint8_t cid[32] = {(uint8_t)cid_len};
	struct offer_choice c;
	struct refusal refusal;
	struct offer offer;

	hello_begin(&h, 0xfefd, &suite, 1);
	add(&h, 54, cid, 1 + cid_len);
	if (etm)
		add(&h, 22, NULL, 0);
	offer = expect_read();
	assert_true(offer_choose(&offer, &policy, &c, &refusal));
	return c.take_cid;
}

static void test_cid(void **state)
{
	assert_true(cid_taken(0xc0a8, 0, false));
	assert_true(cid_taken(0xc0a8, 10, false));
	assert_false(cid_taken(0xc0a8, 11, false));
	assert_true(cid_taken(0x00ae, 4, true));
	assert_false(cid_taken(0x00ae, 4, false));
}

/* Random bytes and random changes: nothing is read that is not there (with ASan), nothing loops. */
static void test_noise(void **state)
{
	struct refusal refusal;
	struct offer offer;
	unsigned good = 0;

	srand(1);
	for (int i = 0; i < 200000; i++) {
		uint8_t *copy;
		size_t len;

		hello_begin(&h, 0xfefd, both, 3);
		add(&h, 0,
		    "\x00\x06\x00\x00\x03"
		    "cse",
		    8);
		add(&h, 10, "\x00\x02\x00\x17", 4);
		add(&h, 54, "\x02xx", 3);
		for (int n = rand() % 4; n > 0; n--)
			h.bytes[rand() % (int)h.len] = (uint8_t)rand();
		len = rand() % 8 ? h.len : (size_t)rand() % h.len;
		copy = malloc(len + 1);
		assert_non_null(copy);
		memcpy(copy, h.bytes, len);
		good += offer_read(copy, len, &offer, &refusal);
		free(copy);
	}
	assert_in_range(good, 1000, 199000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_everything),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_choice),
		cmocka_unit_test(test_certificate_types),
		cmocka_unit_test(test_suites_in_words),
		cmocka_unit_test(test_cid),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
