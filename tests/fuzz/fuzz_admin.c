/* Any request line on the admin socket: what is taken keeps to its bounds, what is not says why; and any
 * bytes become well-formed JSON.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/admin_request.h"
#include "controlplane/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool taken, const struct admin_request *r, const struct admin_fault *f)
{
	if (!taken && (f->status < 400 || f->status > 499 || strlen(f->why) < 10))
		abort();
	if (taken && (r->route >= ADMIN_ROUTES_COUNT || r->limit < 1 || r->limit > ADMIN_LIMIT_MAX ||
		      strlen(r->tenant) > TENANT_MAX || (r->has_identity && r->identity_len == 0) ||
		      (r->close && r->route != ADMIN_SESSION)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const methods[] = {"GET", "DELETE", "POST"};
	char *target = malloc(size + 1);
	struct admin_request request;
	struct admin_fault fault = {0};
	struct text t = {0};

	if (!target)
		abort();
	memcpy(target, data, size);
	target[size] = 0;
	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
		check(admin_request_read(methods[i], target, &request, &fault), &request, &fault);
	text_json(&t, data, size);
	if (t.failed || !text_is_plain(t.at, t.len))
		abort();
	text_fini(&t);
	free(target);
	return 0;
}
