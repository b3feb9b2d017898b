/* Any bytes as CoAP of a session under each check: what passes is well-formed, what is answered is answered
 * with a message that is, for this request. */
#include <stdlib.h>
#include <string.h>

#include "ring/coap.h"
#include "ring/edge.h"

static struct {
	struct sluice_session_up up;
	uint8_t fields[12];
} who = {.up = {.identity = SLUICE_IDENTITY_CREDENTIAL, .fields_len = 12},
	 .fields = {1, 0, 6, 0, 'm', 'e', 't', 'e', 'r', '1'}};

static void must(bool condition)
{
	if (!condition)
		abort();
}

/* Counts the options, and that they lie inside and rise. */
static void walk(const struct coap_message *m)
{
	const uint8_t *end = m->options + m->options_len;
	struct coap_option at = {0};
	uint32_t before = 0;

	while (coap_option_next(m, &at)) {
		must(at.number >= before && at.value >= m->options && at.value + at.len <= end);
		before = at.number;
	}
	must(m->options_len == 0 || at.value + at.len == end);
}

static void judge(enum edge_check check, const uint8_t *data, size_t size)
{
	struct coap_message asked, told;
	struct edge_answer answer;
	enum coap_shape shape = coap_read(&asked, data, size);
	enum edge_verdict verdict = edge_judge(check, &who.up, data, size, 1, &answer);

	must(shape != COAP_GOOD || verdict != EDGE_MALFORMED);
	must(shape == COAP_GOOD || verdict == EDGE_MALFORMED || verdict == EDGE_FOREIGN);
	if (shape == COAP_GOOD)
		walk(&asked);
	if (answer.len == 0) {
		must(verdict == EDGE_PASS || verdict == EDGE_FOREIGN || asked.type != COAP_CONFIRMABLE ||
		     !coap_is_request(&asked));
		return;
	}
	must(verdict != EDGE_PASS && coap_read(&told, answer.bytes, answer.len) == COAP_GOOD);
	if (verdict == EDGE_MALFORMED) {
		must(told.type == COAP_RESET && told.id == asked.id);
		return;
	}
	walk(&told);
	must(!coap_is_request(&told) && told.token_len == asked.token_len &&
	     memcmp(told.token, asked.token, told.token_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	judge(EDGE_ONEM2M, data, size);
	judge(EDGE_LWM2M, data, size);
	return 0;
}
