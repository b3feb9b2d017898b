/* The tenants: one struct tls each, chosen by the server name of the ClientHello (RFC 6066 3). The default
 * tenant, whose name is "", is the section tls of the configuration; it takes whoever names none. Made by the
 * main thread at start; used by the control thread, which replaces one whose certificate, key or trust
 * anchors have changed (renewal.h).
 */
#ifndef CONTROLPLANE_TENANT_H
#define CONTROLPLANE_TENANT_H

#include "controlplane/renewal.h"
#include "controlplane/tls.h"

struct tenants;

/* NULL on failure with a readable sentence in error: of which tenant, which file, and what is wrong with it.
 * credentials and config are borrowed until tenants_free(). */
struct tenants *tenants_new(const struct config *config, struct credentials credentials, char *error,
			    size_t error_len);
void tenants_free(struct tenants *ts); /* no handshake may be left. NULL is fine */

/* Control thread. When the descriptor becomes readable (-1: never) there are tenants to renew: those who were
 * asked for before stay valid as long as a handshake holds them. */
int tenants_fd(const struct tenants *ts);
void tenants_renew(struct tenants *ts);
/* How that has gone for one of them. */
void tenants_renewal(const struct tenants *ts, unsigned place, struct renewal_state *out);
/* Any thread: their files are looked at now. */
void tenants_look(const struct tenants *ts);

/* Whose a ClientHello with this server name is; any bytes, name NULL: none was given. An exact name goes
 * before a wildcard, a longer wildcard before a shorter one; case does not matter, as RFC 4343 has it. NULL:
 * it is nobody's, and the configuration wants that refused. */
const struct tls *tenants_choose(const struct tenants *ts, const uint8_t *name, size_t len);

const struct tls *tenants_default(const struct tenants *ts);

/* By the tenant's own name. NULL when there is none. */
const struct tls *tenants_find(const struct tenants *ts, const char *tenant);

/* The default one first, then in the order of the configuration: struct tls holds its place. */
unsigned tenants_count(const struct tenants *ts);
const struct tls *tenants_at(const struct tenants *ts, unsigned place);

#endif
