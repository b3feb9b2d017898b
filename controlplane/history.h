/* The last handshakes, each with what came of it: what `sluicectl why` tells. A fixed number in all, and a
 * few of each device, so that no device that fails again and again drives the others out. Control thread.
 *
 *   by age:  newest ... oldest        one list, its end makes room
 *   chains:  credential's name | identity | IP address, newest first in each
 */
#ifndef CONTROLPLANE_HISTORY_H
#define CONTROLPLANE_HISTORY_H

#include <stdbool.h>
#include <sys/queue.h>

#include "controlplane/credential.h"
#include "controlplane/refusal.h"
#include "dataplane/address.h"

enum {
	HISTORY_PER_DEVICE = 16, /* attempts kept of one credential name, or of one address without any */
	HISTORY_TEXT_MAX = 256,
};

/* What history_add() is given; it is copied. */
struct history_attempt {
	uint64_t ended_ms; /* CLOCK_REALTIME */
	uint32_t took_ms;
	bool established;
	uint8_t cause, alert;  /* of a refusal: enum refusal_cause, enum alert_description */
	uint16_t suite;        /* IANA number; 0: none was chosen */
	struct sluice_ref ref; /* of the session that it came to, or would have */
	struct peer_address peer;
	uint8_t credential; /* enum sluice_credential: what the client claimed or proved */
	uint8_t name_len;   /* of the credential */
	uint8_t name[CREDENTIAL_NAME_MAX];
	uint8_t server_name_len;
	uint8_t server_name[255];
	char tenant[TENANT_MAX + 1];
	char identity[IDENTITY_MAX + 1]; /* the first of its registree; "": unknown */
	char why[HISTORY_TEXT_MAX];      /* a sentence; "" when it was established */
};

struct history;

/* max: attempts kept, at least 1. seed: of the hash. NULL when out of memory. */
struct history *history_new(uint32_t max, uint64_t seed);
void history_free(struct history *h);

void history_add(struct history *h, const struct history_attempt *attempt);

/* Which attempts are asked for: those of a credential's name or identity (name_len > 0), or else of an
 * address, with its port if that is not 0. tenant NULL: of any. */
struct history_query {
	const uint8_t *name;
	size_t name_len;
	struct peer_address peer;
	const char *tenant;
};

/* At most `most` attempts into out, newest first; they are valid until history_add(). Returns how many. Looks
 * at no more than a bounded number of entries of the same hash. */
unsigned history_find(const struct history *h, const struct history_query *q,
		      const struct history_attempt **out, unsigned most);

uint32_t history_count(const struct history *h);

#endif
