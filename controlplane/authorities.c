/* See authorities.h. */
#include "controlplane/authorities.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509.h>

struct authority {
	X509 *certificate; /* NULL: none yet */
	uint8_t *der;
	size_t len;
};

struct authorities {
	pthread_mutex_t lock;
	/* behind the lock */
	struct authority all[AUTHORITIES_MAX];
	unsigned next;
};

struct authorities *authorities_new(void)
{
	struct authorities *a = calloc(1, sizeof *a);

	if (a)
		pthread_mutex_init(&a->lock, NULL);
	return a;
}

static void drop(struct authority *one)
{
	X509_free(one->certificate);
	OPENSSL_free(one->der);
	*one = (struct authority){0};
}

void authorities_free(struct authorities *a)
{
	if (!a)
		return;
	for (unsigned i = 0; i < AUTHORITIES_MAX; i++)
		drop(&a->all[i]);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

/* With the lock. NULL: it is not there. */
static X509 *find(const struct authorities *a, const uint8_t *der, size_t len)
{
	for (unsigned i = 0; i < AUTHORITIES_MAX; i++) {
		const struct authority *one = &a->all[i];

		if (one->certificate && one->len == len && memcmp(one->der, der, len) == 0)
			return one->certificate;
	}
	return NULL;
}

X509 *authorities_find(struct authorities *a, const uint8_t *der, size_t len)
{
	X509 *found;

	pthread_mutex_lock(&a->lock);
	found = find(a, der, len);
	if (found)
		X509_up_ref(found);
	pthread_mutex_unlock(&a->lock);
	return found;
}

unsigned authorities_named(struct authorities *a, const X509_NAME *name, X509 **out, unsigned count)
{
	unsigned found = 0;

	pthread_mutex_lock(&a->lock);
	for (unsigned i = 0; i < AUTHORITIES_MAX && found < count; i++) {
		X509 *one = a->all[i].certificate;

		if (one && X509_NAME_cmp(X509_get_subject_name(one), name) == 0) {
			X509_up_ref(one);
			out[found++] = one;
		}
	}
	pthread_mutex_unlock(&a->lock);
	return found;
}

static bool has(const struct authorities *a, const X509 *one)
{
	for (unsigned i = 0; i < AUTHORITIES_MAX; i++) {
		if (a->all[i].certificate == one)
			return true;
	}
	return false;
}

/* A client may show the same CA in other bytes each time (BER), which are never found: it must not fill up
 * the room. */
static void put(struct authorities *a, X509 *one)
{
	struct authority fresh = {.certificate = one};
	int len = i2d_X509(one, &fresh.der);

	if (len <= 0 || len > AUTHORITY_LEN_MAX || find(a, fresh.der, (size_t)len)) {
		OPENSSL_free(fresh.der);
		return;
	}
	fresh.len = (size_t)len;
	X509_up_ref(one);
	drop(&a->all[a->next]);
	a->all[a->next] = fresh;
	a->next = (a->next + 1) % AUTHORITIES_MAX;
}

void authorities_keep(struct authorities *a, X509 *one)
{
	pthread_mutex_lock(&a->lock);
	if (!has(a, one))
		put(a, one);
	pthread_mutex_unlock(&a->lock);
}
