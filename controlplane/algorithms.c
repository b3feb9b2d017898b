/* See algorithms.h. A provider that stands before the default one and shows less of it. */
#include "controlplane/algorithms.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/core_dispatch.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>

enum { SHOWN_MAX = 16 };

static OSSL_PROVIDER *all;
/* Each ends with an empty one. */
static OSSL_ALGORITHM keys[SHOWN_MAX + 1], decoders[SHOWN_MAX + 1], encoders[SHOWN_MAX + 1];
static OSSL_LIB_CTX *context;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Names as "RSA:rsaEncryption:1.2.840.113549.1.1.1". */
static bool is_wanted(const OSSL_ALGORITHM *a, const char *property)
{
	static const char *const names[] = {"EC", "RSA", "RSA-PSS", "ED25519", "ED448"};
	size_t len = strcspn(a->algorithm_names, ":");

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (strlen(names[i]) == len && memcmp(a->algorithm_names, names[i], len) == 0)
			return strstr(a->property_definition, property) != NULL;
	}
	return false;
}

static bool choose(int operation, const char *property, OSSL_ALGORITHM out[SHOWN_MAX + 1])
{
	int not_kept = 0;
	const OSSL_ALGORITHM *a = OSSL_PROVIDER_query_operation(all, operation, &not_kept);
	size_t count = 0;

	for (; a && a->algorithm_names; a++) {
		if (!is_wanted(a, property))
			continue;
		if (count == SHOWN_MAX)
			return false;
		out[count++] = *a;
	}
	return count > 0 && !not_kept;
}

static const OSSL_ALGORITHM *query(void *provider, int operation, int *not_kept)
{
	*not_kept = 0;
	switch (operation) {
	case OSSL_OP_KEYMGMT:
		return keys;
	case OSSL_OP_DECODER:
		return decoders;
	case OSSL_OP_ENCODER:
		return encoders;
	case OSSL_OP_DIGEST:
	case OSSL_OP_SIGNATURE:
		return OSSL_PROVIDER_query_operation(all, operation, not_kept);
	default:
		return NULL;
	}
}

static int start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core, const OSSL_DISPATCH **functions,
		 void **provider)
{
	static const OSSL_DISPATCH shown[] = {{OSSL_FUNC_PROVIDER_QUERY_OPERATION, (void (*)(void))query},
					      {0, NULL}};

	*functions = shown;
	*provider = OSSL_PROVIDER_get0_provider_ctx(all); /* what its algorithms expect to be given */
	return 1;
}

static void make(void)
{
	OSSL_LIB_CTX *fresh;

	(void)OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	all = OSSL_PROVIDER_load(NULL, "default");
	if (!all || !choose(OSSL_OP_KEYMGMT, "", keys) ||
	    !choose(OSSL_OP_DECODER, "input=der,structure=SubjectPublicKeyInfo", decoders) ||
	    !choose(OSSL_OP_ENCODER, "output=der,structure=SubjectPublicKeyInfo", encoders))
		return;
	fresh = OSSL_LIB_CTX_new();
	if (fresh && OSSL_PROVIDER_add_builtin(fresh, "sluice", start) && OSSL_PROVIDER_load(fresh, "sluice"))
		context = fresh;
	else
		OSSL_LIB_CTX_free(fresh);
}

OSSL_LIB_CTX *algorithms_context(void)
{
	pthread_once(&once, make);
	return context;
}
