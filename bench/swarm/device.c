/* The devices. A request is a CoAP POST whose token names the request; whoever answers repeats the token, a
 * CoAP server as much as a plain echo. Each device has at most one request without an answer.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/swarm/preset.h"
#include "bench/swarm/transport.h"

enum {
	COAP_HEADER = 4,
	COAP_TOKEN = 8,
	COAP_MIN = COAP_HEADER + COAP_TOKEN + 6 + 1, /* Uri-Path "swarm", payload marker */
	ALERT_CLOSE_NOTIFY_LEN = 2,
	EXPIRE_LEAST = 4096, /* devices looked at in one call, and a share of all: a second for millions */
	EXPIRE_TURNS = 50,
};

double swarm_share(struct swarm *s)
{
	return (double)(preset_mix(s->random++) >> 11) / 9007199254740992.0;
}

uint32_t swarm_below(struct swarm *s, uint32_t n)
{
	return (uint32_t)(((preset_mix(s->random++) >> 32) * n) >> 32);
}

/* Test credentials: whoever knows the seed knows every key. */
void device_key(const struct swarm *s, uint32_t device, uint8_t key[16])
{
	uint64_t h = preset_hash(s->options.psk_seed), words[2];

	words[0] = htobe64(preset_mix(h ^ device));
	words[1] = htobe64(preset_mix(~h ^ device));
	memcpy(key, words, 16);
}

void device_identity(const struct swarm *s, uint32_t device, char *out, size_t out_len)
{
	snprintf(out, out_len, "%s%u", s->options.psk_prefix, device);
}

/* As if its handshake were over: the gateway has the same keys (bench/gateway.c). */
static bool preinstall(struct swarm *s, uint32_t device, FILE *cids)
{
	struct device *d = &s->devices[device];

	preset_keys(s->options.preinstalled, device, &d->tx, &d->rx);
	d->tx_next = 1ULL << 48 | PRESET_SEQ_NEXT;
	d->window = (struct replay_window){.highest = 1, .seen = 1};
	d->cid_len = cids ? CID_LEN : 0;
	if (cids && fread(d->cid, CID_LEN, 1, cids) != 1)
		return false;
	device_ready(s, device, s->start_ns);
	return true;
}

static int preinstall_all(struct swarm *s)
{
	FILE *cids = s->options.cid_file ? fopen(s->options.cid_file, "rb") : NULL;
	bool good = cids || !s->options.cid_file;

	for (; good && s->started < s->options.devices; s->started++)
		good = preinstall(s, s->started, cids);
	if (cids)
		(void)fclose(cids);
	if (!good)
		fprintf(stderr, "sluice-swarm: %s: a CID for each device is needed\n", s->options.cid_file);
	return good ? 0 : -1;
}

int devices_init(struct swarm *s)
{
	s->devices = calloc(s->options.devices, sizeof(*s->devices));
	if (!s->devices)
		return -1;
	for (uint32_t i = 0; i < s->options.devices; i++)
		s->devices[i].left = s->options.records;
	return s->options.preinstalled ? preinstall_all(s) : 0;
}

static void finish(struct swarm *s, struct device *d, enum device_state state)
{
	d->state = (uint8_t)state;
	s->finished++;
}

void device_ready(struct swarm *s, uint32_t device, uint64_t now_ns)
{
	struct device *d = &s->devices[device];

	if (s->records_from_ns == 0 && !s->options.handshakes_first)
		s->records_from_ns = now_ns;
	d->state = DEVICE_READY;
	d->records = 0;
	d->sent_ns = 0;
	s->ready++;
	if (d->left == 0) {
		s->ready--;
		finish(s, d, DEVICE_DONE);
	}
}

void device_failed(struct swarm *s, uint32_t device)
{
	finish(s, &s->devices[device], DEVICE_REFUSED);
}

/* CoAP (RFC 7252 3): POST, our token, Uri-Path "swarm", filler up to the wanted length. */
static uint16_t write_request(const struct swarm *s, uint32_t device, uint32_t token, uint8_t *out)
{
	uint32_t words[2] = {htonl(device), htonl(token)};
	uint16_t len = (uint16_t)(s->options.payload > COAP_MIN ? s->options.payload : COAP_MIN);

	out[0] = (uint8_t)(0x40 | (s->options.coap_con ? 0 : 0x10) | COAP_TOKEN);
	out[1] = 2;
	out[2] = (uint8_t)(token >> 8);
	out[3] = (uint8_t)token;
	memcpy(out + COAP_HEADER, words, COAP_TOKEN);
	memcpy(out + COAP_HEADER + COAP_TOKEN, "\xb5swarm\xff", 7);
	memset(out + COAP_MIN, 's', (size_t)len - COAP_MIN);
	return len;
}

/* Malice: what an attacker on the path could add. The good record goes out as well. */
static void attack(struct swarm *s, uint32_t device, const uint8_t *record, size_t len)
{
	uint8_t copy[SWARM_DATAGRAM_MAX];

	if (s->options.replay > 0 && swarm_share(s) < s->options.replay) {
		swarm_send(s, device, record, len);
		s->counts.replays_sent++;
	}
	if (s->options.forge > 0 && swarm_share(s) < s->options.forge) {
		memcpy(copy, record, len);
		copy[len - 1 - swarm_below(s, 8)] ^= (uint8_t)(1 + swarm_below(s, 255));
		swarm_send(s, device, copy, len);
		s->counts.forgeries_sent++;
	}
}

struct outgoing {
	uint32_t device;
	uint8_t type;
	uint8_t bytes[SWARM_DATAGRAM_MAX];
};

/* Where the payload of an outgoing record starts: behind the largest header and the nonce. */
enum { PAYLOAD_AT = RECORD_HEADER_LEN + SWARM_CID_MAX + 8 };

static void seal_and_send(struct swarm *s, struct outgoing *out, const uint16_t *lens, unsigned n)
{
	struct record_op ops[RECORD_BURST_MAX];

	for (unsigned i = 0; i < n; i++) {
		struct device *d = &s->devices[out[i].device];

		ops[i] = (struct record_op){
			.fragment = out[i].bytes + PAYLOAD_AT - 8,
			.key = &d->tx,
			.cid = d->cid_len ? d->cid : NULL,
			.cid_len = d->cid_len,
			.epoch_seq = d->tx_next++,
			.payload_offset = 8,
			.payload_len = lens[i],
			.type = out[i].type,
			.protection = PROTECTION_AES_128_CCM_8,
		};
	}
	record_seal_burst(s->crypto, ops, n);
	for (unsigned i = 0; i < n; i++) {
		size_t header = RECORD_HEADER_LEN + (size_t)ops[i].cid_len;
		uint8_t *record = ops[i].fragment - header;

		record_write(record, ops[i].cid_len ? CONTENT_TLS12_CID : out[i].type, ops[i].epoch_seq,
			     ops[i].cid, ops[i].cid_len, ops[i].fragment_len);
		swarm_send(s, out[i].device, record, header + ops[i].fragment_len);
		if (out[i].type == CONTENT_APPLICATION_DATA)
			attack(s, out[i].device, record, header + ops[i].fragment_len);
	}
}

/* A NAT gave it another port; or it lost its power, and with it its session. True when it can send now. */
static bool live_on(struct swarm *s, uint32_t device, struct device *d, uint64_t now_ns)
{
	const struct swarm_options *o = &s->options;

	if (d->records && o->reboot_every && d->records % o->reboot_every == 0) {
		if (!shake_start(s, device, now_ns))
			return false;
		s->counts.reboots++;
		s->ready--;
		return false;
	}
	if (d->records && d->cid_len && o->rebind_every && d->records % o->rebind_every == 0) {
		d->port = (uint8_t)((d->port + 1) % SWARM_PORTS);
		s->counts.rebinds++;
	}
	return true;
}

static bool may_send(const struct swarm *s, const struct device *d, uint64_t now_ns)
{
	return d->state == DEVICE_READY && d->left > 0 && d->token != UINT32_MAX &&
	       (d->sent_ns == 0 || s->options.no_answers) &&
	       (s->options.think_ms == 0 || d->records == 0 ||
		(uint32_t)(now_ns / 1000000) - d->last_ms >= s->options.think_ms);
}

unsigned devices_send(struct swarm *s, uint64_t now_ns)
{
	static struct outgoing out[RECORD_BURST_MAX];
	uint16_t lens[RECORD_BURST_MAX];
	unsigned n = 0;

	if (s->ready == 0)
		return 0;
	for (unsigned looked = 0; looked < 4 * RECORD_BURST_MAX && n < RECORD_BURST_MAX / 2; looked++) {
		uint32_t device = s->cursor;
		struct device *d = &s->devices[device];

		if (!s->options.no_answers && s->waiting >= s->options.outstanding)
			break;
		s->cursor = s->cursor + 1 == s->options.devices ? 0 : s->cursor + 1;
		__builtin_prefetch(&s->devices[s->cursor]);
		if (!may_send(s, d, now_ns) || !live_on(s, device, d, now_ns))
			continue;
		d->token++;
		d->records++;
		d->left--;
		d->sent_ns = now_ns;
		d->last_ms = (uint32_t)(now_ns / 1000000);
		s->waiting += !s->options.no_answers;
		s->counts.requests++;
		out[n].device = device;
		out[n].type = CONTENT_APPLICATION_DATA;
		lens[n] = write_request(s, device, d->token, out[n].bytes + PAYLOAD_AT);
		n++;
		if (d->left == 0 && s->options.no_answers) {
			s->ready--;
			finish(s, d, DEVICE_DONE);
		}
	}
	seal_and_send(s, out, lens, n);
	return n;
}

static void answered(struct swarm *s, struct device *d, uint64_t now_ns, bool came)
{
	if (came) {
		histogram_add(&s->answer_ns, now_ns - d->sent_ns);
		s->counts.answers++;
	} else {
		s->counts.lost++;
	}
	d->sent_ns = 0;
	s->waiting--;
	if (d->left == 0) {
		s->ready--;
		finish(s, d, DEVICE_DONE);
	}
}

static void take_answer(struct swarm *s, uint32_t device, const uint8_t *payload, size_t len, uint64_t now_ns)
{
	struct device *d = &s->devices[device];
	uint32_t words[2];

	if (len < COAP_HEADER + COAP_TOKEN || (payload[0] & 0x0f) != COAP_TOKEN) {
		s->counts.unexpected += len != COAP_HEADER; /* an empty ACK says nothing yet */
		return;
	}
	memcpy(words, payload + COAP_HEADER, sizeof(words));
	if (ntohl(words[0]) == device && ntohl(words[1]) == d->token && d->sent_ns != 0)
		answered(s, d, now_ns, true);
	else if (ntohl(words[0]) == device && ntohl(words[1]) == d->token)
		s->counts.duplicated_answers++;
	else
		s->counts.unexpected++; /* somebody else's, or overdue */
}

void device_receive(struct swarm *s, uint32_t device, uint8_t *bytes, size_t len, uint64_t now_ns)
{
	struct device *d = &s->devices[device];
	enum record_verdict verdict = RECORD_APP;
	struct record r;
	struct record_op op;
	size_t used;
	bool newest;

	for (; len > 0 && (used = record_read(bytes, len, &r, &verdict)) != 0; bytes += used, len -= used) {
		uint64_t seq = r.epoch_seq & 0xffffffffffffULL;

		if (verdict != RECORD_APP || r.epoch_seq >> 48 != 1 || !replay_check(&d->window, seq))
			continue; /* of the handshake, or seen before: RFC 6347 4.1.2.6 */
		op = (struct record_op){
			.fragment = bytes + r.fragment_offset,
			.key = &d->rx,
			.epoch_seq = r.epoch_seq,
			.fragment_len = r.fragment_len,
			.type = r.type,
			.protection = PROTECTION_AES_128_CCM_8,
		};
		record_open_burst(s->crypto, &op, 1);
		if (!op.ok) {
			s->counts.bad_answers++;
			continue;
		}
		replay_commit(&d->window, seq, &newest);
		if (op.type == CONTENT_APPLICATION_DATA)
			take_answer(s, device, op.fragment + op.payload_offset, op.payload_len, now_ns);
		else
			s->counts.alerts += op.type == CONTENT_ALERT;
	}
}

void devices_expire(struct swarm *s, uint64_t now_ns)
{
	uint64_t timeout = s->options.answer_timeout_ms * 1000000ULL;
	uint32_t some = EXPIRE_LEAST + s->options.devices / EXPIRE_TURNS;

	if (some > s->options.devices)
		some = s->options.devices;
	for (uint32_t i = 0; i < some && !s->options.no_answers; i++) {
		struct device *d = &s->devices[s->expired_to];

		s->expired_to = s->expired_to + 1 == s->options.devices ? 0 : s->expired_to + 1;
		if (d->state == DEVICE_READY && d->sent_ns != 0 && now_ns - d->sent_ns > timeout)
			answered(s, d, now_ns, false);
	}
}

/* Says goodbye for every session. */
void devices_close(struct swarm *s)
{
	static struct outgoing out;
	uint16_t len = ALERT_CLOSE_NOTIFY_LEN;

	for (uint32_t i = 0; i < s->options.devices; i++) {
		struct device *d = &s->devices[i];

		if (d->tx_next == 0 || (d->state != DEVICE_DONE && d->state != DEVICE_READY))
			continue;
		out.device = i;
		out.type = CONTENT_ALERT;
		memcpy(out.bytes + PAYLOAD_AT, "\1\0", 2);
		seal_and_send(s, &out, &len, 1);
		if (i % TRANSPORT_BURST == 0)
			s->transport->flush(s->transport);
	}
	s->transport->flush(s->transport);
}
