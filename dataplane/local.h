/* The gateway's own addresses: from the configuration, and from the port's MAC (pure). */
#ifndef DATAPLANE_LOCAL_H
#define DATAPLANE_LOCAL_H

#include "config/config.h"
#include "dataplane/parse.h"

/* 0; -EINVAL and a sentence in error. */
int local_from_config(struct local *local, const struct config *config, char *error, size_t error_len);
/* Once local->mac is known: the IPv6 link-local address that belongs to it (RFC 4291 2.5.1). */
void local_set_mac(struct local *local);

/* The address as text, or "" when there is none. Return out. */
const char *local_text4(const struct local *local, char *out, size_t out_len);
const char *local_text6(const struct local *local, char *out, size_t out_len);

#endif
