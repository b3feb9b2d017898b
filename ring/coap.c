/* See coap.h. */
#include "ring/coap.h"

#include <string.h>

enum {
	VERSION = 1,
	PAYLOAD_MARKER = 0xff,
	/* of a nibble that tells a length or a difference: RFC 7252 3.1 */
	NIBBLE_BYTE = 13,
	NIBBLE_WORD = 14,
	NIBBLE_RESERVED = 15,
	BYTE_BASE = 13,
	WORD_BASE = 269,
	OPTION_NUMBER_MAX = UINT16_MAX,
};

/* The value of a nibble and of the bytes that extend it; moves *at behind these. False: reserved or cut. */
static bool read_extended(unsigned nibble, const uint8_t **at, const uint8_t *end, uint32_t *value)
{
	size_t left = (size_t)(end - *at);

	switch (nibble) {
	case NIBBLE_RESERVED:
		return false;
	case NIBBLE_WORD:
		if (left < 2)
			return false;
		*value = WORD_BASE + ((uint32_t)(*at)[0] << 8 | (*at)[1]);
		*at += 2;
		return true;
	case NIBBLE_BYTE:
		if (left < 1)
			return false;
		*value = BYTE_BASE + (uint32_t)(*at)[0];
		*at += 1;
		return true;
	default:
		*value = nibble;
		return true;
	}
}

/* The option at `from`, behind one of number `before`. False when it is malformed. */
static bool read_option(const uint8_t *from, const uint8_t *end, uint32_t before, struct coap_option *option)
{
	const uint8_t *at = from + 1;
	uint32_t delta, len;

	if (!read_extended(*from >> 4, &at, end, &delta) || !read_extended(*from & 15, &at, end, &len) ||
	    len > (size_t)(end - at) || before + delta > OPTION_NUMBER_MAX)
		return false;
	*option = (struct coap_option){before + delta, at, len};
	return true;
}

/* Finds where the options end. False when one is malformed, or nothing follows the payload's marker. */
static bool read_options(struct coap_message *m, const uint8_t *at, const uint8_t *end)
{
	struct coap_option option = {0};

	m->options = at;
	while (at < end && *at != PAYLOAD_MARKER) {
		if (!read_option(at, end, option.number, &option))
			return false;
		at = option.value + option.len;
	}
	m->options_len = (size_t)(at - m->options);
	return at == end || end - at > 1;
}

/* RFC 7252 4.2, 4.3: which codes a type can carry. An acknowledgement never carries a request, a Reset
 * nothing; the classes 1, 6 and 7 are reserved. */
static bool code_fits(const struct coap_message *m)
{
	unsigned class = m->code >> 5;

	if (class == 1 || class >= 6)
		return false;
	switch ((enum coap_type)m->type) {
	case COAP_CONFIRMABLE:
		return true;
	case COAP_NON_CONFIRMABLE:
		return m->code != COAP_EMPTY;
	case COAP_ACKNOWLEDGEMENT:
		return m->code == COAP_EMPTY || class != 0;
	case COAP_RESET:
		return m->code == COAP_EMPTY;
	}
	return false;
}

enum coap_shape coap_read(struct coap_message *m, const uint8_t *datagram, size_t len)
{
	memset(m, 0, sizeof(*m));
	if (len < COAP_HEADER_LEN || datagram[0] >> 6 != VERSION)
		return COAP_FOREIGN;
	m->type = datagram[0] >> 4 & 3;
	m->token_len = datagram[0] & 15;
	m->code = datagram[1];
	m->id = (uint16_t)(datagram[2] << 8 | datagram[3]);
	m->token = datagram + COAP_HEADER_LEN;
	if (m->token_len > COAP_TOKEN_MAX || m->token_len > len - COAP_HEADER_LEN || !code_fits(m))
		return COAP_MALFORMED;
	if (m->code == COAP_EMPTY && len > COAP_HEADER_LEN) /* RFC 7252 4.1 */
		return COAP_MALFORMED;
	return read_options(m, m->token + m->token_len, datagram + len) ? COAP_GOOD : COAP_MALFORMED;
}

bool coap_is_request(const struct coap_message *m)
{
	return m->code >> 5 == 0 && m->code != COAP_EMPTY;
}

bool coap_option_next(const struct coap_message *m, struct coap_option *at)
{
	const uint8_t *from = at->value != NULL ? at->value + at->len : m->options;
	const uint8_t *end = m->options + m->options_len;

	return from < end && read_option(from, end, at->number, at);
}

static void write_header(uint8_t *out, enum coap_type type, unsigned token_len, uint8_t code, uint16_t id)
{
	out[0] = (uint8_t)(VERSION << 6 | (unsigned)type << 4 | token_len);
	out[1] = code;
	out[2] = (uint8_t)(id >> 8);
	out[3] = (uint8_t)id;
}

void coap_reset(uint8_t *out, const struct coap_message *m)
{
	write_header(out, COAP_RESET, 0, COAP_EMPTY, m->id);
}

size_t coap_answer(uint8_t *out, size_t room, const struct coap_message *request, uint8_t code,
		   uint16_t own_id)
{
	bool confirmable = request->type == COAP_CONFIRMABLE;

	if (room < COAP_HEADER_LEN + (size_t)request->token_len)
		return 0;
	write_header(out, confirmable ? COAP_ACKNOWLEDGEMENT : COAP_NON_CONFIRMABLE, request->token_len, code,
		     confirmable ? request->id : own_id);
	memcpy(out + COAP_HEADER_LEN, request->token, request->token_len);
	return COAP_HEADER_LEN + (size_t)request->token_len;
}

/* The nibble for a value; its extension goes to *at. */
static unsigned write_extended(uint8_t **at, uint32_t value)
{
	if (value < BYTE_BASE)
		return value;
	if (value < WORD_BASE) {
		*(*at)++ = (uint8_t)(value - BYTE_BASE);
		return NIBBLE_BYTE;
	}
	value -= WORD_BASE;
	*(*at)++ = (uint8_t)(value >> 8);
	*(*at)++ = (uint8_t)value;
	return NIBBLE_WORD;
}

size_t coap_add_option(uint8_t *out, size_t room, size_t len, uint32_t before,
		       const struct coap_option *option)
{
	uint8_t head[5], *at = head + 1;
	unsigned delta = write_extended(&at, option->number - before);
	size_t head_len;

	head[0] = (uint8_t)(delta << 4 | write_extended(&at, (uint32_t)option->len));
	head_len = (size_t)(at - head);
	if (len == 0 || len + head_len + option->len > room)
		return 0;
	memcpy(out + len, head, head_len);
	if (option->len > 0)
		memcpy(out + len + head_len, option->value, option->len);
	return len + head_len + option->len;
}

size_t coap_add_payload(uint8_t *out, size_t room, size_t len, const char *text)
{
	size_t text_len = strlen(text);

	if (len == 0 || text_len == 0 || len + 1 + text_len > room)
		return 0;
	out[len] = PAYLOAD_MARKER;
	memcpy(out + len + 1, text, text_len);
	return len + 1 + text_len;
}
