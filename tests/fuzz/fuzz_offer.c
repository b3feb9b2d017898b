/* Any bytes as the body of a ClientHello: read, and what we would make of it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/offer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void require_inside(struct bytes b, const uint8_t *start, size_t size)
{
	require(!b.at || (b.at >= start && (size_t)(b.at - start) + b.len <= size));
}

static bool names(const struct offer *offer, uint16_t id)
{
	for (unsigned i = 0; i + 1 < offer->suites.len; i += 2) {
		if ((offer->suites.at[i] << 8 | offer->suites.at[i + 1]) == id)
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct suite *ours[32];
	struct offer_policy policy = {
		.suites = ours, .certificate_curve = 23, .require_ems = size % 2, .cid_len_max = 10};
	unsigned count;
	const struct suite *all = suite_all(&count);
	struct refusal refusal = {0};
	struct offer_choice choice;
	struct offer offer;

	for (policy.suites_count = 0; policy.suites_count < count; policy.suites_count++)
		ours[policy.suites_count] = &all[policy.suites_count];
	if (!offer_read(data, size, &offer, &refusal)) {
		require(refusal.text[0] && memchr(refusal.text, 0, sizeof refusal.text));
		return 0;
	}
	require_inside(offer.suites, data, size);
	require_inside(offer.server_name, data, size);
	require_inside(offer.groups, data, size);
	require_inside(offer.signature_algorithms, data, size);
	require_inside(offer.cid, data, size);
	refusal.text[0] = 0;
	if (!offer_choose(&offer, &policy, &choice, &refusal)) {
		require(refusal.text[0] && memchr(refusal.text, 0, sizeof refusal.text));
		return 0;
	}
	require(names(&offer, choice.suite->id));
	require(!policy.require_ems || offer.extended_master_secret);
	require(!choice.take_cid || (offer.cid.at && offer.cid.len <= 10));
	return 0;
}
