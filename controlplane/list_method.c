/* See list_method.h. */
#include "controlplane/list_method.h"

#include <pthread.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

/* What came out for one key. */
struct outcome {
	EVP_PKEY *key; /* held; NULL: a free place */
	int verified;  /* as X509_CRL_verify() has it */
};

struct memory {
	pthread_mutex_t lock;
	/* behind the lock */
	unsigned next;
	struct outcome outcomes[LIST_KEYS_MAX];
};

/* ---- the signature */

/* The same key is mostly the same object: that of an anchor, or of a CA that is known already. */
static struct outcome *find(struct memory *m, EVP_PKEY *key)
{
	for (unsigned i = 0; i < LIST_KEYS_MAX; i++) {
		if (m->outcomes[i].key == key)
			return &m->outcomes[i];
	}
	for (unsigned i = 0; i < LIST_KEYS_MAX; i++) {
		if (m->outcomes[i].key && EVP_PKEY_eq(m->outcomes[i].key, key) == 1)
			return &m->outcomes[i];
	}
	return NULL;
}

static void put(struct outcome *o, EVP_PKEY *key, int verified)
{
	EVP_PKEY_up_ref(key);
	EVP_PKEY_free(o->key);
	*o = (struct outcome){.key = key, .verified = verified};
}

static bool recall(struct memory *m, EVP_PKEY *key, int *verified)
{
	struct outcome *o;

	pthread_mutex_lock(&m->lock);
	o = find(m, key);
	if (o) {
		*verified = o->verified;
		put(o, key, o->verified);
	}
	pthread_mutex_unlock(&m->lock);
	return o != NULL;
}

/* Another thread may have come to the same meanwhile. */
static void remember(struct memory *m, EVP_PKEY *key, int verified)
{
	pthread_mutex_lock(&m->lock);
	if (!find(m, key)) {
		put(&m->outcomes[m->next], key, verified);
		m->next = (m->next + 1) % LIST_KEYS_MAX;
	}
	pthread_mutex_unlock(&m->lock);
}

/* What is signed, as it came: the first part of the list. NULL when out of memory. */
static ASN1_TYPE *signed_part(const X509_CRL *list)
{
	uint8_t *der = NULL;
	int len = i2d_X509_CRL(list, &der), tag, class;
	const uint8_t *at = der;
	ASN1_TYPE *part = NULL;
	long inside;

	if (len > 0 && !(ASN1_get_object(&at, &inside, &tag, &class, len) & 0x80))
		part = d2i_ASN1_TYPE(NULL, &at, len - (long)(at - der));
	OPENSSL_free(der);
	return part;
}

/* 1, 0, or -1 when it cannot be told. */
static int verify_signature(const X509_CRL *list, EVP_PKEY *key)
{
	ASN1_TYPE *part = signed_part(list);
	const ASN1_BIT_STRING *signature;
	const X509_ALGOR *algorithm;
	int verified = -1;

	X509_CRL_get0_signature(list, &signature, &algorithm);
	if (part)
		verified = ASN1_item_verify(ASN1_ITEM_rptr(ASN1_ANY), algorithm, signature, part, key);
	ASN1_TYPE_free(part);
	return verified;
}

static int verify(X509_CRL *list, EVP_PKEY *key)
{
	struct memory *m = X509_CRL_get_meth_data(list);
	int verified;

	if (!key)
		return -1; /* of a kind that libcrypto does not know: an anchor's may be */
	if (m && recall(m, key, &verified))
		return verified;
	ERR_clear_error();
	verified = verify_signature(list, key);
	if (m && (verified >= 0 || ERR_GET_REASON(ERR_peek_last_error()) != ERR_R_MALLOC_FAILURE))
		remember(m, key, verified);
	return verified;
}

/* ---- the entries */

bool list_entry_is_back(const X509_REVOKED *entry)
{
	ASN1_ENUMERATED *reason;
	bool back;

	if (X509_REVOKED_get_ext_by_NID(entry, NID_crl_reason, -1) < 0)
		return false;
	reason = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
	back = reason && ASN1_ENUMERATED_get(reason) == CRL_REASON_REMOVE_FROM_CRL;
	ASN1_ENUMERATED_free(reason);
	return back;
}

static const ASN1_INTEGER *serial_of(const STACK_OF(X509_REVOKED) * entries, int at)
{
	return X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, at));
}

/* False: not in the order that first_of() counts on. */
static bool sort(STACK_OF(X509_REVOKED) * entries)
{
	sk_X509_REVOKED_sort(entries);
	for (int i = 1; i < sk_X509_REVOKED_num(entries); i++) {
		if (ASN1_STRING_cmp(serial_of(entries, i - 1), serial_of(entries, i)) > 0)
			return false;
	}
	return true;
}

/* The first that does not stand before this serial number. */
static int first_of(const STACK_OF(X509_REVOKED) * entries, const ASN1_INTEGER *serial)
{
	int low = 0, high = sk_X509_REVOKED_num(entries);

	while (low < high) {
		int middle = low + (high - low) / 2;

		if (ASN1_STRING_cmp(serial_of(entries, middle), serial) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Of all entries of a certificate one that revokes it counts. The issuer is the list's, as it is not an
 * indirect one. Not 0: *entry is about this certificate. */
static int look_up(X509_CRL *list, X509_REVOKED **entry, const ASN1_INTEGER *serial, const X509_NAME *issuer)
{
	STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(list);
	int count = sk_X509_REVOKED_num(entries);
	bool found = false;

	(void)issuer;
	if (count > 0 && !sk_X509_REVOKED_is_sorted(entries)) /* made here, not read */
		sk_X509_REVOKED_sort(entries);
	for (int i = count > 0 ? first_of(entries, serial) : 0;
	     i < count && ASN1_STRING_cmp(serial_of(entries, i), serial) == 0; i++) {
		found = true;
		*entry = sk_X509_REVOKED_value(entries, i);
		if (!list_entry_is_back(*entry))
			break;
	}
	return found;
}

/* ---- one list */

/* It has been read. 0: it cannot be used. */
static int begin(X509_CRL *list)
{
	struct memory *m = calloc(1, sizeof *m);

	if (!m || !sort(X509_CRL_get_REVOKED(list))) {
		free(m);
		return 0;
	}
	pthread_mutex_init(&m->lock, NULL);
	X509_CRL_set_meth_data(list, m);
	return 1;
}

static int end(X509_CRL *list)
{
	struct memory *m = X509_CRL_get_meth_data(list);

	if (!m)
		return 1;
	for (unsigned i = 0; i < LIST_KEYS_MAX; i++)
		EVP_PKEY_free(m->outcomes[i].key);
	pthread_mutex_destroy(&m->lock);
	free(m);
	X509_CRL_set_meth_data(list, NULL);
	return 1;
}

bool list_method_install(void)
{
	X509_CRL_METHOD *method = X509_CRL_METHOD_new(begin, end, look_up, verify);

	if (method)
		X509_CRL_set_default_method(method);
	return method != NULL;
}
