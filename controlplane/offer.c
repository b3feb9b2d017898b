/* See offer.h. */
#include "controlplane/offer.h"

#include <stdio.h>
#include <string.h>

enum {
	VERSION_TLS = 0x0300, /* SSL 3.0, and TLS above it */
	VERSION_DTLS_1_0 = 0xfeff,
	VERSION_DTLS_1_2 = 0xfefd,
	EXTENSIONS_MAX = 64, /* in one ClientHello; real ones have up to twenty */
	RENEGOTIATION_SCSV = 0x00ff,
};

enum extension_type {
	EXTENSION_SERVER_NAME = 0,
	EXTENSION_GROUPS = 10,
	EXTENSION_POINT_FORMATS = 11,
	EXTENSION_SIGNATURE_ALGORITHMS = 13,
	EXTENSION_CLIENT_CERTIFICATE_TYPE = 19,
	EXTENSION_SERVER_CERTIFICATE_TYPE = 20,
	EXTENSION_ENCRYPT_THEN_MAC = 22,
	EXTENSION_EXTENDED_MASTER_SECRET = 23,
	EXTENSION_SESSION_TICKET = 35,
	EXTENSION_SUPPORTED_VERSIONS = 43,
	EXTENSION_CONNECTION_ID = 54,
	EXTENSION_RENEGOTIATION_INFO = 0xff01,
};

/* secp256r1, secp384r1, secp521r1, x25519: nothing below 256 bits. */
static const uint16_t groups[] = {23, 24, 25, 29};
/* ecdsa with SHA-256, SHA-384, SHA-512. */
static const uint16_t signatures[] = {0x0403, 0x0503, 0x0603};

const char *alert_name(uint8_t description)
{
	static const struct {
		uint8_t description;
		const char *name;
	} names[] = {
		{0, "close_notify"},         {10, "unexpected_message"},
		{20, "bad_record_mac"},      {21, "decryption_failed"},
		{22, "record_overflow"},     {40, "handshake_failure"},
		{42, "bad_certificate"},     {43, "unsupported_certificate"},
		{44, "certificate_revoked"}, {45, "certificate_expired"},
		{46, "certificate_unknown"}, {47, "illegal_parameter"},
		{48, "unknown_ca"},          {49, "access_denied"},
		{50, "decode_error"},        {51, "decrypt_error"},
		{70, "protocol_version"},    {71, "insufficient_security"},
		{80, "internal_error"},      {90, "user_canceled"},
		{100, "no_renegotiation"},   {110, "unsupported_extension"},
		{112, "unrecognized_name"},  {115, "unknown_psk_identity"},
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (names[i].description == description)
			return names[i].name;
	}
	return "unknown alert";
}

/* ---- reading */

struct reader {
	const uint8_t *at, *end;
	bool short_of; /* something did not fit: everything read since is empty */
};

static const uint8_t *read_bytes(struct reader *r, size_t len)
{
	const uint8_t *at = r->at;

	if (r->short_of || (size_t)(r->end - r->at) < len) {
		r->short_of = true;
		return r->end;
	}
	r->at += len;
	return at;
}

static unsigned read_number(struct reader *r, unsigned octets)
{
	const uint8_t *at = read_bytes(r, octets);
	unsigned value = 0;

	for (unsigned i = 0; i < octets && !r->short_of; i++)
		value = value << 8 | at[i];
	return value;
}

/* A vector whose length stands before it in `octets` bytes. */
static struct bytes read_vector(struct reader *r, unsigned octets)
{
	unsigned len = read_number(r, octets);
	const uint8_t *at = read_bytes(r, len);

	return (struct bytes){.at = at, .len = r->short_of ? 0 : (uint16_t)len};
}

static bool malformed(struct refusal *refusal, const char *text)
{
	return refusal_write(refusal, REFUSED_MALFORMED, ALERT_DECODE_ERROR, "%s", text);
}

static bool list_has(struct bytes list, uint16_t value)
{
	for (unsigned i = 0; i + 1 < list.len; i += 2) {
		if ((list.at[i] << 8 | list.at[i + 1]) == value)
			return true;
	}
	return false;
}

static bool lists_meet(struct bytes list, const uint16_t *ours, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (list_has(list, ours[i]))
			return true;
	}
	return false;
}

/* The vector of two-byte values that fills a whole extension. */
static bool read_list(struct bytes body, unsigned octets, struct bytes *out)
{
	struct reader r = {.at = body.at, .end = body.at + body.len};

	*out = read_vector(&r, octets);
	return !r.short_of && r.at == r.end && out->len >= 2 && out->len % 2 == 0;
}

/* RFC 6066 3: at most one host_name. Other kinds of names do not exist. */
static bool read_server_name(struct bytes body, struct bytes *name)
{
	struct reader outer = {.at = body.at, .end = body.at + body.len};
	struct bytes list = read_vector(&outer, 2);
	struct reader r = {.at = list.at, .end = list.at + list.len};
	unsigned kind = read_number(&r, 1);

	*name = read_vector(&r, 2);
	return !outer.short_of && outer.at == outer.end && !r.short_of && r.at == r.end && kind == 0 &&
	       name->len > 0 && name->len <= 255;
}

/* RFC 7250 3: a list of at least one type, of one byte each. */
static bool read_types(struct bytes body, struct bytes *types)
{
	struct reader r = {.at = body.at, .end = body.at + body.len};

	*types = read_vector(&r, 1);
	return !r.short_of && r.at == r.end && types->len > 0;
}

static bool read_cid(struct bytes body, struct bytes *cid)
{
	struct reader r = {.at = body.at, .end = body.at + body.len};

	*cid = read_vector(&r, 1);
	return !r.short_of && r.at == r.end;
}

/* RFC 8422 5.1.2: whoever sends the list must be able to do uncompressed points. */
static bool point_formats_fit(struct bytes body)
{
	struct reader r = {.at = body.at, .end = body.at + body.len};
	struct bytes list = read_vector(&r, 1);

	return !r.short_of && r.at == r.end && list.len > 0 && memchr(list.at, 0, list.len);
}

static bool versions_fit(struct bytes body)
{
	struct bytes list;

	return read_list(body, 1, &list) && list_has(list, VERSION_DTLS_1_2);
}

static bool read_extension(unsigned type, struct bytes body, struct offer *offer, struct refusal *refusal)
{
	bool fits = true;

	switch (type) {
	case EXTENSION_SERVER_NAME:
		fits = read_server_name(body, &offer->server_name);
		break;
	case EXTENSION_GROUPS:
		fits = read_list(body, 2, &offer->groups);
		break;
	case EXTENSION_SIGNATURE_ALGORITHMS:
		fits = read_list(body, 2, &offer->signature_algorithms);
		break;
	case EXTENSION_CLIENT_CERTIFICATE_TYPE:
		fits = read_types(body, &offer->client_types);
		break;
	case EXTENSION_SERVER_CERTIFICATE_TYPE:
		fits = read_types(body, &offer->server_types);
		break;
	case EXTENSION_CONNECTION_ID:
		fits = read_cid(body, &offer->cid);
		break;
	case EXTENSION_SESSION_TICKET:
		offer->session_ticket = body;
		break;
	case EXTENSION_ENCRYPT_THEN_MAC:
		fits = body.len == 0;
		offer->encrypt_then_mac = true;
		break;
	case EXTENSION_EXTENDED_MASTER_SECRET:
		fits = body.len == 0;
		offer->extended_master_secret = true;
		break;
	case EXTENSION_POINT_FORMATS:
		if (!point_formats_fit(body))
			return refusal_write(refusal, REFUSED_CURVE, ALERT_ILLEGAL_PARAMETER,
					     "offers no uncompressed elliptic curve points");
		break;
	case EXTENSION_SUPPORTED_VERSIONS:
		if (!versions_fit(body))
			return refusal_write(refusal, REFUSED_VERSION, ALERT_PROTOCOL_VERSION,
					     "does not offer DTLS 1.2");
		break;
	case EXTENSION_RENEGOTIATION_INFO:
		/* RFC 5746 3.6: empty in the first handshake of an association, and there is no other. */
		if (body.len != 1 || body.at[0] != 0)
			return refusal_write(refusal, REFUSED_RENEGOTIATION, ALERT_HANDSHAKE_FAILURE,
					     "asks for a renegotiation");
		break;
	default: /* RFC 5246 7.4.1.4: unknown extensions are ignored. */
		break;
	}
	return fits || malformed(refusal, "malformed extension in the ClientHello");
}

static bool read_extensions(struct bytes all, struct offer *offer, struct refusal *refusal)
{
	struct reader r = {.at = all.at, .end = all.at + all.len};
	uint16_t seen[EXTENSIONS_MAX];
	unsigned count = 0;

	while (r.at < r.end) {
		unsigned type = read_number(&r, 2);
		struct bytes body = read_vector(&r, 2);

		if (r.short_of)
			return malformed(refusal, "malformed extensions in the ClientHello");
		if (count == EXTENSIONS_MAX)
			return malformed(refusal, "too many extensions in the ClientHello");
		/* RFC 5246 7.4.1.4: no type twice. */
		for (unsigned i = 0; i < count; i++) {
			if (seen[i] == type)
				return refusal_write(refusal, REFUSED_MALFORMED, ALERT_ILLEGAL_PARAMETER,
						     "the same extension twice in the ClientHello");
		}
		seen[count++] = (uint16_t)type;
		if (!read_extension(type, body, offer, refusal))
			return false;
	}
	return true;
}

/* Of a ClientHello that is refused anyway: as far as it can be read. */
static void find_server_name(struct bytes extensions, struct offer *offer)
{
	struct reader r = {.at = extensions.at, .end = extensions.at + extensions.len};

	offer->server_name = (struct bytes){0};
	while (r.at < r.end && !r.short_of) {
		unsigned type = read_number(&r, 2);
		struct bytes body = read_vector(&r, 2);

		if (r.short_of || type != EXTENSION_SERVER_NAME)
			continue;
		if (!read_server_name(body, &offer->server_name))
			offer->server_name = (struct bytes){0};
		return;
	}
}

static bool refuse_version(uint16_t version, struct refusal *refusal)
{
	if (version == VERSION_DTLS_1_0)
		return refusal_write(refusal, REFUSED_DTLS_1_0, ALERT_PROTOCOL_VERSION,
				     "speaks DTLS 1.0 only");
	if (version >> 8 == VERSION_TLS >> 8)
		return refusal_write(refusal, REFUSED_SSL_OR_TLS, ALERT_PROTOCOL_VERSION,
				     "speaks SSL or TLS instead of a version of DTLS");
	return refusal_write(refusal, REFUSED_VERSION, ALERT_PROTOCOL_VERSION,
			     "speaks an unknown version of DTLS");
}

bool offer_read(const uint8_t *body, size_t len, struct offer *offer, struct refusal *refusal)
{
	struct reader r = {.at = body, .end = body + len};
	struct bytes session_id, compression, extensions = {0};
	bool good;

	memset(offer, 0, sizeof *offer);
	offer->version = (uint16_t)read_number(&r, 2);
	offer->random = read_bytes(&r, 32);
	session_id = read_vector(&r, 1);
	(void)read_vector(&r, 1); /* the cookie: verified by the worker */
	offer->suites = read_vector(&r, 2);
	compression = read_vector(&r, 1);
	if (r.at < r.end)
		extensions = read_vector(&r, 2);
	if (r.short_of || r.at != r.end || session_id.len > 32 || offer->suites.len < 2 ||
	    offer->suites.len % 2 != 0 || compression.len < 1)
		return malformed(refusal, "malformed ClientHello");
	/* A newer client names 1.2 here (RFC 9147 5.3). */
	if (offer->version != VERSION_DTLS_1_2)
		good = refuse_version(offer->version, refusal);
	else if (!memchr(compression.at, 0, compression.len))
		good = refusal_write(refusal, REFUSED_COMPRESSION, ALERT_ILLEGAL_PARAMETER,
				     "offers compression only");
	else
		good = read_extensions(extensions, offer, refusal);
	if (!good)
		find_server_name(extensions, offer);
	return good;
}

/* ---- choosing */

static bool needs_curve(const struct suite *s)
{
	return strncmp(s->name, "TLS_ECDHE_", 10) == 0;
}

/* Why a suite cannot be negotiated; text NULL: it can. */
struct obstacle {
	enum refusal_cause cause;
	enum alert_description alert;
	const char *text;
};

/* RFC 8422 5.1.1: 15 to 21 and the first 8 are below 256 bits. */
static bool curves_are_short(struct bytes list)
{
	for (unsigned i = 0; i + 1 < list.len; i += 2) {
		unsigned curve = (unsigned)list.at[i] << 8 | list.at[i + 1];

		if (curve == 0 || (curve > 8 && curve < 15) || curve > 21)
			return false;
	}
	return true;
}

/* RFC 5246 7.4.1.4.1: the hash is the first byte, 1 is MD5, 2 SHA-1. No list at all means SHA-1. */
static bool signatures_are_sha1(struct bytes list)
{
	for (unsigned i = 0; i + 1 < list.len; i += 2) {
		if (list.at[i] > 2)
			return false;
	}
	return true;
}

/* RFC 7250 4.1: without the extension it is X.509. */
static struct bytes types_of(struct bytes offered)
{
	static const uint8_t x509[] = {CERTIFICATE_X509};

	return offered.at ? offered : (struct bytes){.at = x509, .len = sizeof x509};
}

/* Ours, in the order of the client. */
static struct obstacle choose_server_type(const struct offer *offer, const struct offer_policy *policy,
					  struct offer_choice *choice)
{
	struct bytes types = types_of(offer->server_types);
	bool have_one = false;

	for (unsigned i = 0; i < types.len; i++) {
		uint16_t curve = types.at[i] == CERTIFICATE_X509      ? policy->certificate_curve
				 : types.at[i] == CERTIFICATE_RAW_KEY ? policy->raw_key_curve
								      : 0;

		if (!curve)
			continue;
		have_one = true;
		if (offer->groups.at && !list_has(offer->groups, curve))
			continue;
		choice->server_type = types.at[i];
		return (struct obstacle){0};
	}
	if (have_one)
		return (struct obstacle){REFUSED_CURVE, ALERT_HANDSHAKE_FAILURE,
					 "offers curves, but not the curve of our certificate"};
	return (struct obstacle){REFUSED_CERTIFICATE_TYPE, ALERT_UNSUPPORTED_CERTIFICATE,
				 memchr(types.at, CERTIFICATE_RAW_KEY, types.len)
					 ? "takes a raw public key from us only, and there is none"
					 : "takes an X.509 certificate from us only, and there is none"};
}

/* The client's. wolfSSL reads a raw public key only from a client that offers nothing else. */
static struct obstacle choose_client_type(const struct offer *offer, const struct offer_policy *policy,
					  struct offer_choice *choice)
{
	struct bytes types = types_of(offer->client_types);
	bool raw = memchr(types.at, CERTIFICATE_RAW_KEY, types.len);

	choice->client_type = CERTIFICATE_X509;
	choice->ask_client = policy->ask_client;
	if (!policy->ask_client || (policy->client_x509 && memchr(types.at, CERTIFICATE_X509, types.len)))
		return (struct obstacle){0};
	choice->client_type = CERTIFICATE_RAW_KEY;
	if (policy->client_raw_key && raw && types.len == 1)
		return (struct obstacle){0};
	/* Whoever says nothing of types may have no certificate at all. */
	choice->ask_client = false;
	if (!offer->client_types.at && !policy->client_required)
		return (struct obstacle){0};
	if (policy->client_raw_key && raw)
		return (struct obstacle){REFUSED_CERTIFICATE_TYPE, ALERT_UNSUPPORTED_CERTIFICATE,
					 "offers a raw public key among other certificates, and only the raw "
					 "public key could be taken: it must offer nothing else"};
	return (struct obstacle){
		REFUSED_CERTIFICATE_TYPE, ALERT_UNSUPPORTED_CERTIFICATE,
		raw ? "offers to show a raw public key, and none is taken"
		    : "offers to show an X.509 certificate, and only raw public keys are taken"};
}

static struct obstacle suite_obstacle(const struct offer *offer, const struct offer_policy *policy,
				      const struct suite *s, struct offer_choice *choice)
{
	struct obstacle obstacle;

	/* RFC 8422 5.1: without the extension the choice is ours; with it, it binds certificates too. */
	if (needs_curve(s) && offer->groups.at &&
	    !lists_meet(offer->groups, groups, sizeof groups / sizeof groups[0]))
		return (struct obstacle){curves_are_short(offer->groups) ? REFUSED_CURVE_SHORT
									 : REFUSED_CURVE,
					 ALERT_HANDSHAKE_FAILURE,
					 "offers no elliptic curve of 256 bits or more that is enabled"};
	if (s->credential != SUITE_CERTIFICATE)
		return (struct obstacle){0};
	/* RFC 5246 7.4.1.4.1: without the extension it can do SHA-1 only, which is never used (RFC 9155). */
	if (!lists_meet(offer->signature_algorithms, signatures, sizeof signatures / sizeof signatures[0]))
		return (struct obstacle){
			signatures_are_sha1(offer->signature_algorithms) ? REFUSED_SIGNATURE_SHA1
									 : REFUSED_SIGNATURE,
			ALERT_HANDSHAKE_FAILURE,
			"offers no signature algorithm that is enabled (ECDSA with SHA-256 or better)"};
	obstacle = choose_server_type(offer, policy, choice);
	return obstacle.text ? obstacle : choose_client_type(offer, policy, choice);
}

/* What stands against every suite alike. It is asked about suites in common only: a device of the past that
 * has none is told of by these. */
static struct obstacle offer_obstacle(const struct offer *offer, const struct offer_policy *policy)
{
	if (policy->require_ems && !offer->extended_master_secret)
		return (struct obstacle){REFUSED_NO_EMS, ALERT_HANDSHAKE_FAILURE,
					 "does not offer the extended master secret (RFC 7627)"};
	return (struct obstacle){0};
}

static void describe_suites(const struct offer *offer, struct refusal *refusal)
{
	size_t used;

	refusal->cause = refusal_of_suites(offer->suites.at, offer->suites.len);
	snprintf(refusal->text, sizeof refusal->text, "offers only cipher suites that are not enabled:");
	used = strlen(refusal->text);
	for (unsigned i = 0; i + 1 < offer->suites.len; i += 2) {
		uint16_t id = (uint16_t)(offer->suites.at[i] << 8 | offer->suites.at[i + 1]);
		const struct suite *s = suite_by_id(id);
		size_t left = sizeof refusal->text - used;
		int n;

		if (id == RENEGOTIATION_SCSV)
			continue;
		n = s ? snprintf(refusal->text + used, left, " %s", s->name)
		      : snprintf(refusal->text + used, left, " 0x%04x", id);
		if (n < 0 || (size_t)n + 5 > left) {
			snprintf(refusal->text + used, left, " ...");
			return;
		}
		used += (size_t)n;
	}
}

/* RFC 9146: MAC-then-encrypt with a CID does not interoperate, and encrypt-then-MAC is there for all who can
 * do CIDs. */
static bool cid_fits(const struct offer *offer, const struct offer_policy *policy, const struct suite *s)
{
	if (!offer->cid.at || offer->cid.len > policy->cid_len_max)
		return false;
	return protection_get(s->protection)->aead || offer->encrypt_then_mac;
}

bool offer_choose(const struct offer *offer, const struct offer_policy *policy, struct offer_choice *choice,
		  struct refusal *refusal)
{
	struct obstacle obstacle = {0};
	bool common = false;

	for (unsigned i = 0; i < policy->suites_count; i++) {
		const struct suite *s = policy->suites[i];

		if (!list_has(offer->suites, s->id))
			continue;
		*choice = (struct offer_choice){
			.suite = s, .first_common = !common, .take_cid = cid_fits(offer, policy, s)};
		obstacle = offer_obstacle(offer, policy);
		if (!obstacle.text)
			obstacle = suite_obstacle(offer, policy, s, choice);
		if (!obstacle.text)
			return true;
		common = true;
	}
	if (common)
		return refusal_write(refusal, obstacle.cause, obstacle.alert, "%s", obstacle.text);
	refusal->alert = ALERT_HANDSHAKE_FAILURE;
	describe_suites(offer, refusal);
	return false;
}
