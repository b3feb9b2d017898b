/* A good ClientHello, then any bytes as records of its client, each behind its length in two bytes: no crash,
 * and no session, for nobody who does not know the key can finish a handshake.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controlplane/handshake.h"
#include "dataplane/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
	if (!condition)
		abort();
}

static int find_psk(void *store, const char *tenant, const uint8_t *identity, size_t len,
		    struct psk_credential *out)
{
	memset(out, 0, sizeof *out);
	memcpy(out->key, "not in any corpus", 17);
	out->key_len = 17;
	registree_by_credential(&out->registree, identity, len);
	return len > 0 && identity[0] == 'd';
}

static const struct credential_store store = {.name = "fuzz", .find_psk = find_psk};
static struct tls *tls;

static void make_tls(void)
{
	struct config config = {.sessions.cid = true, .handshakes.mtu = 1400, .tls.require_ems = true};
	char error[256];

	if (tls)
		return;
	require(tls_global_init() == 0);
	tls = tls_new(&config, &config.tls, "", (struct credentials){.ops = &store}, error, sizeof error);
	require(tls);
}

/* version, random, no session_id, cookie, TLS_PSK_WITH_AES_128_CCM_8, null, extended_master_secret, a CID */
static size_t write_hello(uint8_t *record, const uint8_t cookie[COOKIE_LEN], bool with_cid)
{
	static const uint8_t end[] = {0, 2, 0xc0, 0xa8, 1, 0, 0, 4, 0, 23, 0, 0, 0, 54, 0, 2, 1, 'c'};
	size_t end_len = with_cid ? sizeof end : sizeof end - 6;
	size_t len = 2 + 32 + 1 + 1 + COOKIE_LEN + end_len;
	uint8_t *at = record + record_write(record, CONTENT_HANDSHAKE, 1, NULL, 0, (uint16_t)(12 + len));

	memset(at, 0, 12 + len);
	at[0] = 1;
	at[3] = at[11] = (uint8_t)len;
	at[5] = 1; /* message_seq */
	at[12] = 0xfe;
	at[13] = 0xfd;
	at[12 + 35] = COOKIE_LEN;
	memcpy(at + 12 + 36, cookie, COOKIE_LEN);
	memcpy(at + 12 + 36 + COOKIE_LEN, end, end_len);
	at[12 + 36 + COOKIE_LEN + 7] = with_cid ? 10 : 4;
	return RECORD_HEADER_LEN + 12 + len;
}

static struct handshake *begin(bool with_cid)
{
	static const uint8_t none[COOKIE_LEN];
	struct handshake_start start = {.cid = "1234567", .cookie_secret = {1}};
	uint8_t record[512], answer[HELLO_VERIFY_LEN];
	const struct cookie_secret *matched;
	enum record_verdict verdict;
	struct cookie_secrets secrets;
	struct client_hello hello;
	struct handshake *h;
	struct record r;
	size_t len = write_hello(record, none, with_cid);

	cookie_secrets_init(&secrets, start.cookie_secret);
	require(record_read(record, len, &r, &verdict) == len);
	require(cookie_check(&secrets, &start.path.peer, &r, &hello, answer, &matched) == HELLO_ANSWER);
	(void)write_hello(record, answer + sizeof answer - COOKIE_LEN, with_cid);
	h = handshake_new(tls, &start);
	require(h && handshake_record(h, record, len, 1) == HANDSHAKE_GOES_ON);
	require(handshake_suite(h) && handshake_flight(h)->len > 0);
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum handshake_state state = HANDSHAKE_GOES_ON;
	struct handshake *h;
	uint64_t now_ns = 1;

	if (size < 1)
		return 0;
	make_tls();
	h = begin(data[0] & 1);
	data++;
	size--;
	while (size > 2 && state == HANDSHAKE_GOES_ON) {
		size_t len = (size_t)(data[0] << 8 | data[1]);
		uint8_t *record;

		data += 2;
		size -= 2;
		len = len < size ? len : size;
		record = malloc(len + 1);
		require(record);
		memcpy(record, data, len);
		now_ns += 700000000;
		state = handshake_record(h, record, len, now_ns);
		free(record);
		if (state == HANDSHAKE_GOES_ON && handshake_wants_resend(h))
			state = handshake_resend(h);
		require(handshake_flight(h)->len <= FLIGHT_MAX);
		flight_clear(handshake_flight(h));
		data += len;
		size -= len;
	}
	require(state != HANDSHAKE_DONE);
	require(state != HANDSHAKE_FAILED || handshake_refusal(h)->text[0]);
	handshake_free(h);
	return 0;
}
