/* See assembly.h. */
#include "controlplane/assembly.h"

#include <stdlib.h>
#include <string.h>

struct fragment {
	uint32_t message_len, from, len;
	uint16_t seq;
	uint8_t type;
	const uint8_t *body;
};

static uint32_t read_24(const uint8_t *at)
{
	return (uint32_t)at[0] << 16 | (uint32_t)at[1] << 8 | at[2];
}

/* The longest body that we take: a hello with all extensions there are; a chain that fits one record; the
 * public value of a 4096-bit group and a PSK identity; a signature of a 4096-bit key. */
static uint32_t longest(uint8_t type)
{
	switch (type) {
	case HANDSHAKE_CLIENT_HELLO:
		return 8192;
	case HANDSHAKE_CERTIFICATE:
		return 16384 - HANDSHAKE_HEADER_LEN;
	case HANDSHAKE_CLIENT_KEY_EXCHANGE:
	case HANDSHAKE_CERTIFICATE_VERIFY:
		return 1024;
	default:
		return 0;
	}
}

/* Which messages a client's flight can have at which place. */
static bool fits_place(unsigned place, uint8_t type)
{
	static const uint8_t at[ASSEMBLY_MESSAGES][2] = {
		{HANDSHAKE_CLIENT_HELLO, HANDSHAKE_CLIENT_HELLO},
		{HANDSHAKE_CERTIFICATE, HANDSHAKE_CLIENT_KEY_EXCHANGE},
		{HANDSHAKE_CLIENT_KEY_EXCHANGE, HANDSHAKE_CERTIFICATE_VERIFY},
		{HANDSHAKE_CERTIFICATE_VERIFY, HANDSHAKE_CERTIFICATE_VERIFY},
	};

	return at[place][0] == type || at[place][1] == type;
}

void assembly_drop(struct assembly_message *m)
{
	free(m->bytes);
	m->bytes = NULL;
}

void assembly_fini(struct assembly *a)
{
	for (unsigned i = 0; i < ASSEMBLY_MESSAGES; i++)
		assembly_drop(&a->messages[i]);
}

static void forget(struct assembly_message *m)
{
	assembly_drop(m);
	memset(m, 0, sizeof *m);
}

static bool start_message(struct assembly_message *m, const struct fragment *f)
{
	uint8_t *header;

	m->bytes = malloc(ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN + f->message_len);
	if (!m->bytes)
		return false;
	header = m->bytes + ASSEMBLY_ROOM;
	header[0] = f->type;
	header[1] = header[9] = (uint8_t)(f->message_len >> 16);
	header[2] = header[10] = (uint8_t)(f->message_len >> 8);
	header[3] = header[11] = (uint8_t)f->message_len;
	header[4] = (uint8_t)(f->seq >> 8);
	header[5] = (uint8_t)f->seq;
	header[6] = header[7] = header[8] = 0; /* fragment_offset */
	m->type = f->type;
	m->body_len = f->message_len;
	return true;
}

/* Notes that [from, to) is here now. False when the pieces are too many. */
static bool add_span(struct assembly_message *m, uint16_t from, uint16_t to)
{
	struct assembly_span merged = {.from = from, .to = to};
	struct assembly_span out[ASSEMBLY_SPANS + 1];
	unsigned count = 0;
	bool placed = false;

	for (unsigned i = 0; i < m->spans_count; i++) {
		struct assembly_span s = m->spans[i];

		if (s.to < merged.from) {
			out[count++] = s;
		} else if (s.from > merged.to) {
			if (!placed)
				out[count++] = merged;
			placed = true;
			out[count++] = s;
		} else {
			merged.from = s.from < merged.from ? s.from : merged.from;
			merged.to = s.to > merged.to ? s.to : merged.to;
		}
	}
	if (!placed)
		out[count++] = merged;
	if (count > ASSEMBLY_SPANS)
		return false;
	memcpy(m->spans, out, count * sizeof out[0]);
	m->spans_count = (uint8_t)count;
	return true;
}

static bool is_whole(const struct assembly_message *m)
{
	return m->bytes && m->spans_count == 1 && m->spans[0].from == 0 && m->spans[0].to == m->body_len;
}

static void add_fragment(struct assembly *a, const struct fragment *f)
{
	unsigned place = (uint16_t)(f->seq - a->first_seq);
	struct assembly_message *m;

	if (place >= ASSEMBLY_MESSAGES || !fits_place(place, f->type))
		return;
	m = &a->messages[place];
	if (m->taken || is_whole(m))
		return;
	if (m->bytes && (m->type != f->type || m->body_len != f->message_len))
		return;
	if (!m->bytes && !start_message(m, f))
		return;
	if (add_span(m, (uint16_t)f->from, (uint16_t)(f->from + f->len)))
		memcpy(m->bytes + ASSEMBLY_ROOM + HANDSHAKE_HEADER_LEN + f->from, f->body, f->len);
}

static bool read_fragment(const uint8_t *at, size_t len, struct fragment *f)
{
	if (len < HANDSHAKE_HEADER_LEN)
		return false;
	f->type = at[0];
	f->message_len = read_24(at + 1);
	f->seq = (uint16_t)(at[4] << 8 | at[5]);
	f->from = read_24(at + 6);
	f->len = read_24(at + 9);
	f->body = at + HANDSHAKE_HEADER_LEN;
	/* A fragment without bytes belongs to a message without bytes, or is pointless. */
	return f->len <= len - HANDSHAKE_HEADER_LEN && f->message_len <= longest(f->type) &&
	       f->message_len > 0 && f->len > 0 && f->from + f->len <= f->message_len;
}

bool assembly_add(struct assembly *a, const uint8_t *fragment, size_t len)
{
	bool hello_again = false;
	struct fragment f;

	while (read_fragment(fragment, len, &f)) {
		if (!a->has_first && f.type == HANDSHAKE_CLIENT_HELLO) {
			a->first_seq = f.seq;
			a->has_first = true;
		}
		if (a->has_first && a->messages[0].taken && f.type == HANDSHAKE_CLIENT_HELLO &&
		    f.seq == a->first_seq && f.from == 0)
			hello_again = true;
		if (a->has_first)
			add_fragment(a, &f);
		fragment += HANDSHAKE_HEADER_LEN + f.len;
		len -= HANDSHAKE_HEADER_LEN + f.len;
	}
	return hello_again;
}

/* RFC 5246 7.3: CertificateVerify follows a ClientKeyExchange and a Certificate with something in it, and
 * nothing else follows a ClientKeyExchange. */
static bool fits_order(const struct assembly *a, uint8_t type)
{
	uint8_t before = a->next > 0 ? a->messages[a->next - 1].type : 0;

	switch (type) {
	case HANDSHAKE_CLIENT_HELLO:
		return a->next == 0;
	case HANDSHAKE_CERTIFICATE:
		return before == HANDSHAKE_CLIENT_HELLO;
	case HANDSHAKE_CLIENT_KEY_EXCHANGE:
		return before == HANDSHAKE_CLIENT_HELLO || before == HANDSHAKE_CERTIFICATE;
	default:
		return before == HANDSHAKE_CLIENT_KEY_EXCHANGE && a->certificate_sent;
	}
}

static void note_progress(struct assembly *a, const struct assembly_message *m)
{
	if (m->type == HANDSHAKE_CERTIFICATE)
		a->certificate_sent = m->body_len > 3;
	a->flight_complete = m->type == HANDSHAKE_CERTIFICATE_VERIFY ||
			     (m->type == HANDSHAKE_CLIENT_KEY_EXCHANGE && !a->certificate_sent);
}

struct assembly_message *assembly_take(struct assembly *a)
{
	struct assembly_message *m = &a->messages[a->next];

	if (a->next >= ASSEMBLY_MESSAGES || !is_whole(m))
		return NULL;
	if (!fits_order(a, m->type)) {
		forget(m); /* the client's own message can still take the place */
		return NULL;
	}
	m->taken = true;
	note_progress(a, m);
	a->next++;
	return m;
}
