/* What a ClientHello offers, and whether that is enough for us (pure): RFC 5246 7.4.1.2, RFC 6347 4.2.1.
 * Judged before any WOLFSSL object exists, so that a refusal costs little, carries the right alert, and can
 * be told to the operator in words. Any thread; nothing is allocated; the pointers lie inside the
 * ClientHello.
 */
#ifndef CONTROLPLANE_OFFER_H
#define CONTROLPLANE_OFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/refusal.h"
#include "crypto/suite.h"

/* RFC 5246 7.2, RFC 4279, RFC 6066. */
enum alert_description {
	ALERT_CLOSE_NOTIFY = 0,
	ALERT_UNEXPECTED_MESSAGE = 10,
	ALERT_HANDSHAKE_FAILURE = 40,
	ALERT_BAD_CERTIFICATE = 42,
	ALERT_UNSUPPORTED_CERTIFICATE = 43,
	ALERT_CERTIFICATE_REVOKED = 44,
	ALERT_CERTIFICATE_EXPIRED = 45,
	ALERT_CERTIFICATE_UNKNOWN = 46,
	ALERT_ILLEGAL_PARAMETER = 47,
	ALERT_UNKNOWN_CA = 48,
	ALERT_ACCESS_DENIED = 49,
	ALERT_DECODE_ERROR = 50,
	ALERT_DECRYPT_ERROR = 51,
	ALERT_PROTOCOL_VERSION = 70,
	ALERT_INTERNAL_ERROR = 80,
	ALERT_NO_RENEGOTIATION = 100,
	ALERT_UNRECOGNIZED_NAME = 112,
	ALERT_UNKNOWN_PSK_IDENTITY = 115,
};

const char *alert_name(uint8_t description); /* never NULL */

struct bytes {
	const uint8_t *at; /* NULL: the extension is absent */
	uint16_t len;
};

struct offer {
	const uint8_t *random; /* 32 bytes */
	struct bytes suites;
	struct bytes server_name; /* host_name, without its length */
	struct bytes groups;
	struct bytes signature_algorithms;
	struct bytes client_types; /* of certificates that it can show: RFC 7250 */
	struct bytes server_types; /* that it takes from us */
	struct bytes cid; /* the CID that the client wants in what we send; zero length is an offer too */
	struct bytes session_ticket; /* RFC 5077; without length: the client would like one */
	uint16_t version;
	bool encrypt_then_mac, extended_master_secret;
};

/* RFC 7250 and the registry of TLS certificate types. */
enum certificate_type { CERTIFICATE_X509 = 0, CERTIFICATE_RAW_KEY = 2 };

/* What we can do and insist on. */
struct offer_policy {
	const struct suite *const *suites; /* in order of preference */
	unsigned suites_count;
	uint16_t certificate_curve; /* that our certificate's key is on; 0: no certificate */
	uint16_t raw_key_curve;     /* the same for our raw public key */
	bool ask_client;            /* for its certificate; then at least one of these: */
	bool client_x509, client_raw_key;
	bool client_required; /* it must be able to show one */
	bool require_ems;     /* RFC 7627 */
	unsigned cid_len_max; /* longest CID of a peer that can be taken up */
};

/* What a handshake with this offer will come to. */
struct offer_choice {
	const struct suite *suite;
	bool first_common; /* it is also the first of our list that the client names */
	bool take_cid;     /* RFC 9146 may be negotiated */
	/* Of a suite with certificates: what we show, whether the client is asked, and for what. */
	enum certificate_type server_type, client_type;
	bool ask_client;
};

/* Reads the body of a ClientHello. False with *refusal filled when it is malformed (decode_error), of a
 * version that we do not speak (protocol_version) or breaks a rule (illegal_parameter); of *offer then the
 * server name counts, where there is one. */
bool offer_read(const uint8_t *body, size_t len, struct offer *offer, struct refusal *refusal);

/* Chooses by our preference. False with *refusal filled when nothing fits. */
bool offer_choose(const struct offer *offer, const struct offer_policy *policy, struct offer_choice *choice,
		  struct refusal *refusal);

#endif
