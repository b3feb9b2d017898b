/* What a request on the admin socket asks for (pure): method and target as they stand in the request line,
 * read strictly, so that a misspelt filter never shows everything. Any thread; nothing is allocated.
 */
#ifndef CONTROLPLANE_ADMIN_REQUEST_H
#define CONTROLPLANE_ADMIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "controlplane/credential.h"
#include "dataplane/address.h"
#include "ring/sluice.h"

enum {
	ADMIN_TARGET_MAX = 2048, /* bytes of path and query */
	ADMIN_LIMIT_DEFAULT = 100,
	ADMIN_LIMIT_MAX = 1000,
};

enum admin_route {
	ADMIN_HEALTH,
	ADMIN_READY,
	ADMIN_METRICS,
	ADMIN_STATUS,
	ADMIN_COUNTERS,
	ADMIN_SESSIONS,
	ADMIN_SESSION,
	ADMIN_WHY,
	ADMIN_IDENTITY,
	ADMIN_ROUTES_COUNT,
};

struct admin_request {
	enum admin_route route;
	bool close;            /* DELETE */
	struct sluice_ref ref; /* of /sessions/{worker}.{index}.{generation} */
	bool has_identity, has_address, has_port, has_tenant, has_worker;
	uint8_t identity[CREDENTIAL_NAME_MAX]; /* an identity, or a credential's name: any bytes */
	uint8_t identity_len;
	char tenant[TENANT_MAX + 1];
	struct peer_address address; /* port 0 unless has_port */
	uint16_t worker;
	uint16_t cursor_worker; /* where the listing goes on */
	uint32_t cursor_slot;
	uint32_t limit;
};

/* Why a request is refused. */
struct admin_fault {
	unsigned status;   /* of HTTP: 400, 404, 405, 414 */
	const char *allow; /* the methods that the path takes, with 405; otherwise NULL */
	char why[400];     /* a sentence that names what is wrong and what is allowed */
};

/* True with *out filled, or false with *fault filled. method and target are strings. */
bool admin_request_read(const char *method, const char *target, struct admin_request *out,
			struct admin_fault *fault);

/* "192.0.2.1", "192.0.2.1:5684", "2001:db8::1" or "[2001:db8::1]:5684". False when it is none of these. */
bool admin_address_read(const char *text, struct peer_address *out, bool *has_port);

#endif
