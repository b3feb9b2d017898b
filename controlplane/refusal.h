/* Why a handshake ends without a session (pure): one cause out of a table for the counters, an alert for the
 * peer, a sentence for the operator. The causes that stand for what is refused on purpose tell an operator
 * which legacy devices are still out there.
 */
#ifndef CONTROLPLANE_REFUSAL_H
#define CONTROLPLANE_REFUSAL_H

#include <stdbool.h>
#include <stdint.h>

/* REFUSED_<first>; its name in metrics; what it means. */
#define REFUSAL_CAUSES(X)                                                                                    \
	X(INTERNAL, "internal", "the gateway's own fault, such as no memory")                                \
	X(MALFORMED, "malformed", "a handshake message that breaks the protocol's form or order")            \
	X(SSL_OR_TLS, "ssl_or_tls", "a ClientHello of SSL 3.0 or TLS in a DTLS record")                      \
	X(DTLS_1_0, "dtls_1_0", "DTLS 1.0 only")                                                             \
	X(VERSION, "version", "no version of DTLS that is spoken here")                                      \
	X(COMPRESSION, "compression", "compression only")                                                    \
	X(RENEGOTIATION, "renegotiation", "a renegotiation, inside a session or as a first handshake")       \
	X(NO_EMS, "no_extended_master_secret", "no extended master secret (RFC 7627)")                       \
	X(SUITE_NULL, "suite_null", "no better cipher suite than one without encryption")                    \
	X(SUITE_ANONYMOUS, "suite_anonymous", "no better cipher suite than one without authentication")      \
	X(SUITE_DES_EXPORT, "suite_des_export", "no better cipher suite than DES, RC2, IDEA or export keys") \
	X(SUITE_RC4, "suite_rc4", "no better cipher suite than RC4 (RFC 7465)")                              \
	X(SUITE_3DES, "suite_3des", "no better cipher suite than 3DES")                                      \
	X(SUITE_STATIC_RSA, "suite_static_rsa", "no better cipher suite than one with RSA key transport")    \
	X(SUITE_NOT_ENABLED, "suite_not_enabled", "no cipher suite in common")                               \
	X(SIGNATURE_SHA1, "signature_sha1", "signatures with SHA-1 or MD5 only (RFC 9155)")                  \
	X(SIGNATURE, "signature", "no signature algorithm in common")                                        \
	X(CURVE_SHORT, "curve_short", "elliptic curves below 256 bits only")                                 \
	X(CURVE, "curve", "no elliptic curve in common")                                                     \
	X(SERVER_NAME, "unknown_server_name", "a server name (SNI) that no tenant has")                      \
	X(PSK_UNKNOWN, "psk_unknown", "a PSK identity that is not in the store")                             \
	X(PSK_IDENTITY, "psk_identity", "a PSK identity that is too long or none")                           \
	X(WRONG_KEY, "wrong_key", "a Finished that does not open or fit: another key")                       \
	X(CERTIFICATE_TYPE, "certificate_type", "no kind of certificate (X.509, raw public key) in common")  \
	X(NO_CERTIFICATE, "no_certificate", "no certificate where one is required")                          \
	X(UNKNOWN_ROOT, "unknown_root", "a certificate chain that ends at no trust anchor")                  \
	X(EXPIRED, "certificate_expired", "a certificate that has expired")                                  \
	X(NOT_YET_VALID, "certificate_not_yet_valid", "a certificate that is not valid yet")                 \
	X(REVOKED, "certificate_revoked", "a certificate that was revoked")                                  \
	X(REVOCATION_UNKNOWN, "revocation_unknown", "a certificate whose revocation could not be checked")   \
	X(CERTIFICATE_USE, "certificate_use", "a certificate that is not meant for clients")                 \
	X(CERTIFICATE_KEY, "certificate_key", "a certificate's key that is too short or of another kind")    \
	X(CERTIFICATE_NAME, "certificate_name", "a certificate without a usable name")                       \
	X(CERTIFICATE_BAD, "certificate_bad", "a certificate that is wrong otherwise")                       \
	X(NOT_REGISTERED, "not_registered", "a good certificate or raw public key of no registree")          \
	X(NO_PROOF, "no_proof", "no proof that the client has its certificate's key")                        \
	X(STORE, "store_unreachable", "the credential store did not answer")                                 \
	X(TENANT_RATE, "tenant_rate", "more handshakes or sessions than its tenant may have")                \
	X(RATE_TOTAL, "rate", "more handshakes per second than handshakes.rate")                             \
	X(RATE_PREFIX, "rate_prefix", "more handshakes per second from one network than its limit")          \
	X(TOO_MANY, "too_many", "the oldest of too many handshakes in flight")                               \
	X(SUPERSEDED, "superseded", "given up for a newer handshake from the same address")                  \
	X(TIMEOUT, "timeout", "the client did not finish in time")                                           \
	X(CLIENT_ALERT, "client_alert", "the client itself ended it with an alert")                          \
	X(NO_ROOM, "no_room", "no room for the session that the handshake came to")                          \
	X(STOPPING, "stopping", "the gateway is about to stop")

enum refusal_cause {
#define X(cause, name, help) REFUSED_##cause,
	REFUSAL_CAUSES(X)
#undef X
		REFUSAL_CAUSES_COUNT,
};

struct refusal {
	uint8_t alert; /* enum alert_description, for the peer */
	uint8_t cause; /* enum refusal_cause */
	char text[200];
};

/* Fills it in. Returns false, for callers whose answer that is. */
__attribute__((format(printf, 4, 5))) bool refusal_write(struct refusal *r, enum refusal_cause cause,
							 uint8_t alert, const char *format, ...);

/* How often, by cause. Control thread. */
struct refusal_counts {
	uint64_t of[REFUSAL_CAUSES_COUNT];
};

/* Any thread. Never NULL: a cause out of bounds is "internal". */
const char *refusal_name(unsigned cause);
const char *refusal_help(unsigned cause);

/* What a client that offers only these cipher suites is to be counted under: its best one decides. suites:
 * pairs of bytes as they stand in the ClientHello. */
enum refusal_cause refusal_of_suites(const uint8_t *suites, unsigned len);

#endif
