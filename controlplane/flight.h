/* The datagrams of one of our flights (pure): whole records, packed into datagrams of at most the MTU. Owner:
 * one handshake, later the association that keeps the last flight.
 */
#ifndef CONTROLPLANE_FLIGHT_H
#define CONTROLPLANE_FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FLIGHT_MAX = 65536 }; /* bytes of one flight: a chain of certificates and what surrounds it */

struct flight {
	uint8_t *bytes; /* per datagram: its length in two bytes (host order), its bytes */
	uint32_t len, room;
	uint32_t open; /* where the datagram begins that may still grow */
	uint16_t mtu;  /* of a datagram; a record that is longer goes alone */
};

/* Starts as {.mtu = n}. */
void flight_fini(struct flight *f);
/* Empties it and keeps the memory. */
void flight_clear(struct flight *f);
/* Gives back the memory that it does not need: for a flight that is kept. */
void flight_fit(struct flight *f);
/* False when out of memory or above FLIGHT_MAX. */
bool flight_add(struct flight *f, const uint8_t *record, size_t len);
/* An unprotected fatal alert: RFC 6347 4.1.2.7, RFC 5246 7.2. version: of the record, DTLS_1_2 or one that
 * its reader knows. record_seq: ours, of epoch 0. */
bool flight_add_alert(struct flight *f, uint16_t version, uint64_t record_seq, uint8_t description);
/* Walks the datagrams; *at starts as 0. NULL at the end. */
const uint8_t *flight_next(const struct flight *f, uint32_t *at, uint16_t *len);

#endif
