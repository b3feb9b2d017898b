/* See flight.h. */
#include "controlplane/flight.h"

#include <stdlib.h>
#include <string.h>

#include "dataplane/record.h"

enum { LEN_BYTES = sizeof(uint16_t), ROOM_FIRST = 1024, ALERT_FATAL = 2 };

void flight_fini(struct flight *f)
{
	free(f->bytes);
	f->bytes = NULL;
	f->len = f->room = f->open = 0;
}

void flight_clear(struct flight *f)
{
	f->len = f->open = 0;
}

void flight_fit(struct flight *f)
{
	uint8_t *bytes = f->len ? realloc(f->bytes, f->len) : NULL;

	if (bytes) {
		f->bytes = bytes;
		f->room = f->len;
	}
}

static bool make_room(struct flight *f, size_t more)
{
	size_t room = f->room ? f->room : ROOM_FIRST;
	uint8_t *bytes;

	if (f->len + more > FLIGHT_MAX)
		return false;
	while (room < f->len + more)
		room *= 2;
	if (room == f->room)
		return true;
	bytes = realloc(f->bytes, room);
	if (!bytes)
		return false;
	f->bytes = bytes;
	f->room = (uint32_t)room;
	return true;
}

bool flight_add(struct flight *f, const uint8_t *record, size_t len)
{
	uint16_t datagram_len = 0;

	if (len > UINT16_MAX || !make_room(f, LEN_BYTES + len))
		return false;
	if (f->len > f->open)
		memcpy(&datagram_len, f->bytes + f->open, LEN_BYTES);
	if (datagram_len + len > f->mtu) {
		f->open = f->len;
		datagram_len = 0;
	}
	if (datagram_len == 0)
		f->len += LEN_BYTES;
	memcpy(f->bytes + f->len, record, len);
	f->len += (uint32_t)len;
	datagram_len += (uint16_t)len;
	memcpy(f->bytes + f->open, &datagram_len, LEN_BYTES);
	return true;
}

bool flight_add_alert(struct flight *f, uint16_t version, uint64_t record_seq, uint8_t description)
{
	uint8_t record[RECORD_HEADER_LEN + 2] = {CONTENT_ALERT, (uint8_t)(version >> 8), (uint8_t)version};

	for (unsigned i = 0; i < 6; i++) /* bytes 3 and 4 are the epoch: 0 */
		record[5 + i] = (uint8_t)(record_seq >> (40 - 8 * i));
	record[12] = 2;
	record[13] = ALERT_FATAL;
	record[14] = description;
	return flight_add(f, record, sizeof record);
}

const uint8_t *flight_next(const struct flight *f, uint32_t *at, uint16_t *len)
{
	const uint8_t *datagram;

	if (*at >= f->len)
		return NULL;
	memcpy(len, f->bytes + *at, LEN_BYTES);
	datagram = f->bytes + *at + LEN_BYTES;
	*at += LEN_BYTES + *len;
	return datagram;
}
