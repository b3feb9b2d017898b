/* See server_hello.h. */
#include "controlplane/server_hello.h"

static unsigned read_16(const uint8_t *at)
{
	return (unsigned)at[0] << 8 | at[1];
}

static void read_extensions(struct server_hello *s, const uint8_t *at, const uint8_t *end)
{
	while (end - at >= 4) {
		unsigned type = read_16(at), len = read_16(at + 2);

		s->encrypt_then_mac |= type == 0x0016;
		s->extended_master_secret |= type == 0x0017;
		s->cid |= type == 0x0036;
		at += 4;
		if (len > (size_t)(end - at))
			return;
		at += len;
	}
}

/* RFC 5246 7.4.1.3: version, random, session_id, suite, compression, extensions. */
void server_hello_read(struct server_hello *s, const uint8_t *body, size_t len)
{
	const uint8_t *end = body + len, *at;

	if (len < 35 || len < 35U + body[34] + 3)
		return;
	at = body + 35 + body[34];
	s->suite = (uint16_t)read_16(at);
	s->seen = true;
	at += 3;
	if (end - at >= 2)
		read_extensions(s, at + 2, end);
}
