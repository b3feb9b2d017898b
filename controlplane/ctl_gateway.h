/* sluicectl's side of the admin socket: one request, its answer as JSON, and what to do when nobody answers.
 */
#ifndef CONTROLPLANE_CTL_GATEWAY_H
#define CONTROLPLANE_CTL_GATEWAY_H

#include <jansson.h>

#include "controlplane/ctl.h"

/* The path of the socket: --socket, SLUICE_SOCKET or /run/sluice/admin.sock. */
const char *gateway_socket(const struct ctl_arguments *a);

/* Sends the request and reads the whole answer. *body, which the caller frees, is terminated. Returns the
 * status of HTTP, or 0 when it was said why there is none. */
unsigned gateway_request(const char *socket_path, const char *method, const char *target, char **body);

/* The same, with the answer parsed; the caller takes json_decref() to it. NULL when it was said why not: a
 * status of 400 or above is, too, unless *status is `accepted`. */
json_t *gateway_json(const struct ctl_arguments *a, const char *method, const char *target, unsigned accepted,
		     unsigned *status);

/* Asks sluice-forward's door (sluice-forward(8)) who is behind a source address; the caller takes
 * json_decref() to the answer. NULL when it was said why there is none. */
json_t *gateway_ask_door(const char *path, const char *question);

/* A target in the making: path and parameters, percent-encoded. Too long a one is cut, and refused by the
 * gateway. */
struct gateway_target {
	char text[2048];
	bool has_parameter;
};
void gateway_target_begin(struct gateway_target *t, const char *path);
void gateway_target_add(struct gateway_target *t, const char *name, const char *value);

#endif
