/* What a session ticket carries, and when it is worth nothing any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../controlplane/resume.c"

#define NOW_S      UINT64_C(1800000000)
#define LIFETIME_S 3600

enum { SUITE = 0xc0a8, INNER_LEN = 108, ROOM = INNER_LEN + 512 };

/* A store of one row. */
static struct {
	int answer; /* 0, or an error, in the place of the row */
	char tenant[TENANT_MAX + 1];
	uint8_t name[PSK_IDENTITY_MAX];
	size_t name_len;
	uint8_t key[PSK_KEY_MAX];
	uint8_t key_len;
	uint64_t version;
	const char *endpoint; /* of a raw public key; NULL: it stands for itself */
	unsigned asked;
} row;

static int find_psk_row(void *store, const char *tenant, const uint8_t *identity, size_t len,
			struct psk_credential *out)
{
	row.asked++;
	if (row.answer <= 0)
		return row.answer;
	if (strcmp(tenant, row.tenant) != 0 || len != row.name_len || memcmp(identity, row.name, len) != 0)
		return 0;
	memcpy(out->key, row.key, sizeof row.key);
	out->key_len = row.key_len;
	registree_by_credential(&out->registree, identity, len);
	out->registree.version = row.version;
	return 1;
}

static int find_row(void *store, const struct credential_id *id, struct registree *out)
{
	row.asked++;
	if (row.answer <= 0)
		return row.answer;
	assert_int_equal(id->kind, SLUICE_CREDENTIAL_RPK);
	assert_int_equal(id->name_len, 0);
	if (strcmp(id->tenant, row.tenant) != 0 || memcmp(id->digest, row.key, 32) != 0)
		return 0;
	memset(out, 0, sizeof *out);
	out->version = row.version;
	out->kind = SLUICE_IDENTITY_CREDENTIAL;
	if (row.endpoint) {
		out->kind = SLUICE_IDENTITY_LWM2M_ENDPOINT;
		out->identities_count = 1;
		strcpy(out->identities[0], row.endpoint);
	}
	return 1;
}

static const struct credential_store ops = {.name = "test", .find_psk = find_psk_row, .find = find_row};

static struct tls tls;
static struct proof proof;
static struct resume_state state_of;
static uint8_t ticket[TICKET_LEN_MAX];
static size_t ticket_len;

static int setup(void **state)
{
	char error[100];

	memset(&tls, 0, sizeof tls);
	tls.credentials.ops = &ops;
	tls.tickets = ticket_keys_new(NULL, LIFETIME_S, error, sizeof error);
	memset(&row, 0, sizeof row);
	row.answer = 1;
	row.name_len = sizeof row.name;
	memset(row.name, 'n', sizeof row.name);
	memset(row.key, 'k', sizeof row.key);
	row.key_len = sizeof row.key;
	row.version = 77;
	memset(&proof, 0, sizeof proof);
	proof.credential = proof.registered.kind = SLUICE_CREDENTIAL_PSK;
	proof.id_len = proof.registered.name_len = (uint8_t)row.name_len;
	memcpy(proof.id, row.name, row.name_len);
	memcpy(proof.registered.name, row.name, row.name_len);
	proof.registree.version = row.version;
	state_of = (struct resume_state){
		.tls = &tls, .proof = &proof, .psk = row.key, .psk_len = row.key_len, .suite = SUITE};
	return tls.tickets ? 0 : -1;
}

static int teardown(void **state)
{
	ticket_keys_free(tls.tickets);
	return 0;
}

/* As wolfSSL writes the extension around what the callback gives it. */
static void issue(size_t room)
{
	uint8_t mac[TICKET_MAC_LEN], *bytes = ticket + TICKET_HEAD_LEN;
	size_t len = 0;

	memset(bytes, 0x5a, INNER_LEN);
	assert_int_equal(resume_write(&state_of, NOW_S, ticket, ticket + TICKET_NAME_LEN, mac, bytes,
				      INNER_LEN, room, &len),
			 0);
	assert_true(len >= INNER_LEN && len <= room);
	put_number(ticket + TICKET_HEAD_LEN - LENGTH_LEN, len, LENGTH_LEN);
	memcpy(bytes + len, mac, sizeof mac);
	ticket_len = TICKET_HEAD_LEN + len + TICKET_MAC_LEN;
}

static int judge(uint64_t now_s, struct proof **out)
{
	int ret = resume_judge(&tls, ticket, ticket_len, SUITE, now_s, out);

	assert_true(ret == 1 || *out == NULL);
	return ret;
}

static int verdict(uint64_t now_s)
{
	struct proof *out;
	int ret = judge(now_s, &out);

	free(out);
	return ret;
}

static void a_ticket_carries_the_proof(void **state)
{
	uint8_t opened[ROOM];
	struct proof *out;
	size_t len = 0;

	issue(ROOM);
	assert_int_equal(judge(NOW_S, &out), 1);
	assert_int_equal(out->credential, SLUICE_CREDENTIAL_PSK);
	assert_int_equal(out->id_len, row.name_len);
	assert_memory_equal(out->id, row.name, row.name_len);
	assert_memory_equal(&out->registered, &proof.registered, sizeof proof.registered);
	assert_int_equal(out->registree.version, 77);
	free(out);
	/* and wolfSSL gets back what it gave */
	memcpy(opened, ticket + TICKET_HEAD_LEN, ticket_len - TICKET_HEAD_LEN - TICKET_MAC_LEN);
	assert_int_equal(resume_open(tls.tickets, NOW_S, ticket, ticket + TICKET_NAME_LEN,
				     ticket + ticket_len - TICKET_MAC_LEN, opened,
				     ticket_len - TICKET_HEAD_LEN - TICKET_MAC_LEN, &len),
			 0);
	assert_int_equal(len, INNER_LEN);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(opened[i], 0x5a);
}

static void it_expires(void **state)
{
	issue(ROOM);
	assert_int_equal(verdict(NOW_S + LIFETIME_S), 1);
	assert_int_equal(verdict(NOW_S + LIFETIME_S + 1), 0);
	assert_int_equal(verdict(NOW_S - SKEW_S), 1);
	assert_int_equal(verdict(NOW_S - SKEW_S - 1), 0);
}

static void the_credential_must_be_the_same(void **state)
{
	issue(ROOM);
	assert_int_equal(verdict(NOW_S), 1);
	row.answer = 0; /* gone */
	assert_int_equal(verdict(NOW_S), 0);
	row.answer = -EAGAIN;
	assert_int_equal(verdict(NOW_S), -EAGAIN);
	row.answer = -ECONNREFUSED;
	assert_int_equal(verdict(NOW_S), 0);
	row.answer = 1;
	row.key[63] ^= 1;
	assert_int_equal(verdict(NOW_S), 0);
	row.key[63] ^= 1;
	row.key_len--;
	assert_int_equal(verdict(NOW_S), 0);
	row.key_len++;
	row.version++; /* another registree */
	assert_int_equal(verdict(NOW_S), 0);
	row.version--;
	row.name[5]++; /* another name */
	assert_int_equal(verdict(NOW_S), 0);
	row.name[5]--;
	assert_int_equal(verdict(NOW_S), 1);
}

static void it_is_of_one_tenant_and_one_suite(void **state)
{
	struct proof *out;

	strcpy(tls.tenant, "water");
	strcpy(row.tenant, "water");
	issue(ROOM);
	assert_int_equal(verdict(NOW_S), 1);
	assert_int_equal(resume_judge(&tls, ticket, ticket_len, SUITE + 1, NOW_S, &out), 0);
	assert_null(out);
	tls.tenant[0] = row.tenant[0] = 'l'; /* who has the same credential */
	row.asked = 0;
	assert_int_equal(verdict(NOW_S), 0);
	assert_int_equal(row.asked, 0);
}

static void is_one_identity(const struct registree *r, enum sluice_identity_kind kind, const char *text)
{
	assert_int_equal(r->kind, kind);
	assert_int_equal(r->identities_count, 1);
	assert_string_equal(r->identities[0], text);
	assert_int_equal(r->version, 77);
}

static void a_raw_public_key(void **state)
{
	struct proof *out;

	memset(&proof.registered, 0, sizeof proof.registered);
	proof.credential = proof.registered.kind = SLUICE_CREDENTIAL_RPK;
	proof.registered.digest_len = 32;
	memcpy(proof.registered.digest, row.key, 32);
	proof.id_len = 10;
	memcpy(proof.id, "ni:///key1", 10);
	issue(ROOM);
	assert_int_equal(judge(NOW_S, &out), 1);
	assert_int_equal(out->credential, SLUICE_CREDENTIAL_RPK);
	assert_int_equal(out->id_len, 10);
	assert_memory_equal(out->id, "ni:///key1", 10);
	assert_memory_equal(&out->registered, &proof.registered, sizeof proof.registered);
	is_one_identity(&out->registree, SLUICE_IDENTITY_CREDENTIAL, "ni:///key1"); /* as in the handshake */
	free(out);
	row.endpoint = "urn:dev:1";
	assert_int_equal(judge(NOW_S, &out), 1);
	is_one_identity(&out->registree, SLUICE_IDENTITY_LWM2M_ENDPOINT, "urn:dev:1");
	free(out);
	row.version++;
	assert_int_equal(verdict(NOW_S), 0);
}

/* A session in which the client proved nothing is resumed where that is still enough. */
static void a_client_without_a_credential(void **state)
{
	struct proof *out;

	state_of.proof = NULL;
	issue(ROOM);
	assert_int_equal(judge(NOW_S, &out), 1);
	assert_null(out);
	tls.client_certificate = CONFIG_CLIENT_CERTIFICATE_REQUIRED;
	assert_int_equal(verdict(NOW_S), 0);
	assert_int_equal(row.asked, 0);
}

/* What must not be resumed, or does not fit, gets a ticket that looks like any other. */
static void tickets_that_nobody_can_open(void **state)
{
	issue(INNER_LEN + 32);
	assert_int_equal(ticket_len, TICKET_HEAD_LEN + INNER_LEN + TICKET_MAC_LEN);
	assert_int_equal(verdict(NOW_S), 0);
	proof.credential = proof.registered.kind = SLUICE_CREDENTIAL_X509;
	issue(ROOM);
	assert_int_equal(verdict(NOW_S), 0);
	proof.credential = SLUICE_CREDENTIAL_RPK; /* without a row */
	proof.registered.kind = SLUICE_CREDENTIAL_NONE;
	issue(ROOM);
	assert_int_equal(verdict(NOW_S), 0);
	assert_int_equal(row.asked, 0);
}

static void cut_and_stretched_tickets(void **state)
{
	size_t len;

	issue(ROOM);
	len = ticket_len;
	for (ticket_len = 0; ticket_len < sizeof ticket; ticket_len++)
		assert_int_equal(verdict(NOW_S), ticket_len == len);
	for (size_t i = 0; i < len; i++) {
		ticket_len = len;
		if (i >= TICKET_NAME_LEN + 12 && i < TICKET_NAME_LEN + TICKET_IV_LEN)
			continue; /* not used */
		if (i >= len - TICKET_MAC_LEN + 16)
			continue;
		ticket[i] ^= 0x10;
		assert_int_equal(verdict(NOW_S), 0);
		ticket[i] ^= 0x10;
	}
	assert_int_equal(verdict(NOW_S), 1);
}

static void encodings_come_back(void **state)
{
	uint8_t bytes[ISSUED_MAX + 1] = {0};
	struct issued in = {.at_s = NOW_S,
			    .suite = 0xc0ae,
			    .version = UINT64_MAX,
			    .kind = SLUICE_CREDENTIAL_RPK},
		      out;
	size_t len;

	in.id.kind = SLUICE_CREDENTIAL_RPK;
	memset(in.id.tenant, 't', TENANT_MAX);
	memset(in.id.name, 0xff, sizeof in.id.name);
	in.id.name_len = CREDENTIAL_NAME_MAX;
	memset(in.id.digest, 0xee, sizeof in.id.digest);
	in.id.digest_len = CREDENTIAL_DIGEST_MAX;
	len = issued_encode(&in, bytes);
	assert_int_equal(len, ISSUED_MAX);
	assert_true(issued_decode(&out, bytes, len));
	assert_memory_equal(&in, &out, sizeof in);
	for (size_t cut = 0; cut <= ISSUED_MAX + 1; cut++)
		assert_int_equal(issued_decode(&out, bytes, cut), cut == len);
	bytes[0]++;
	assert_false(issued_decode(&out, bytes, len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_ticket_carries_the_proof, setup, teardown),
		cmocka_unit_test_setup_teardown(it_expires, setup, teardown),
		cmocka_unit_test_setup_teardown(the_credential_must_be_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_of_one_tenant_and_one_suite, setup, teardown),
		cmocka_unit_test_setup_teardown(a_raw_public_key, setup, teardown),
		cmocka_unit_test_setup_teardown(a_client_without_a_credential, setup, teardown),
		cmocka_unit_test_setup_teardown(tickets_that_nobody_can_open, setup, teardown),
		cmocka_unit_test_setup_teardown(cut_and_stretched_tickets, setup, teardown),
		cmocka_unit_test_setup_teardown(encodings_come_back, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
