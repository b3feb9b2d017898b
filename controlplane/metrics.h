/* Every counter and gauge of the gateway, by family, in the text format of Prometheus or as JSON. Control
 * thread: one family at a time, so that an answer is made in bounded steps.
 */
#ifndef CONTROLPLANE_METRICS_H
#define CONTROLPLANE_METRICS_H

#include "controlplane/text.h"

struct control;

unsigned metrics_families(void);

/* Adds one family, HELP and TYPE first. */
void metrics_prometheus(const struct control *c, unsigned family, struct text *out);

/* Adds one family as an object: {"name", "type", "help", "samples": [{labels, "value", "help"}]}. */
void metrics_json(const struct control *c, unsigned family, struct text *out);

#endif
