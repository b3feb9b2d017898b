/* Any bytes as what a client shows of itself: a list of certificates, or a raw public key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "controlplane/chain.h"
#include "controlplane/raw_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The root of the chain in the corpus, valid for a hundred years; nobody has its key. */
static const char root[] = "-----BEGIN CERTIFICATE-----\n"
			   "MIIBjjCCATWgAwIBAgIUQtGKlwlO0b6vc2U3TxE+V/3iE2kwCgYIKoZIzj0EAwIw\n"
			   "FDESMBAGA1UEAwwJRnV6eiByb290MCAXDTI2MTEyMjA1MzQ0NloYDzIxMjYxMDI5\n"
			   "MDUzNDQ2WjAUMRIwEAYDVQQDDAlGdXp6IHJvb3QwWTATBgcqhkjOPQIBBggqhkjO\n"
			   "PQMBBwNCAAQ+3VfttEk4MFEEYYUrhTcculWOdI6kgw/6+5zZj9jBiBhphHEJmCDH\n"
			   "C4RxbItfPNxMzb4FKKSIR4n4o7rGtUHjo2MwYTAdBgNVHQ4EFgQU2kil0CCxf7Ts\n"
			   "7A/TH5PNPHSltcowHwYDVR0jBBgwFoAU2kil0CCxf7Ts7A/TH5PNPHSltcowDwYD\n"
			   "VR0TAQH/BAUwAwEB/zAOBgNVHQ8BAf8EBAMCAQYwCgYIKoZIzj0EAwIDRwAwRAIg\n"
			   "SXthD5TbsyreRgtdm5SinIJQ7reMqV5AqPYkrpn5RGsCICqHFYJ4xq47RFCMeGiM\n"
			   "wSRA8/WuXdsOjs+Ocam1Y5Jn\n"
			   "-----END CERTIFICATE-----\n";

static struct trust *trust;

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void start(void)
{
	char path[] = "/tmp/sluice-fuzz-XXXXXX", error[256];
	int fd = mkstemp(path);

	chain_global_init();
	require(fd >= 0 && write(fd, root, strlen(root)) == (ssize_t)strlen(root) && close(fd) == 0);
	trust = trust_new(path, error, sizeof error);
	require(trust && unlink(path) == 0);
}

static void try_chain(const uint8_t *list, size_t len)
{
	struct refusal refusal = {0};
	struct chain *c = chain_verify(trust, list, len, &refusal);
	const struct chain_name *names;

	require(c || (refusal.text[0] && memchr(refusal.text, 0, sizeof refusal.text)));
	if (!c)
		return;
	for (unsigned i = chain_names(c, &names); i-- > 0;)
		require(names[i].len > 0 && !memchr(names[i].text, 0, names[i].len));
	chain_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct refusal refusal = {0};
	struct raw_key key;

	if (!trust)
		start();
	if (size == 0)
		return 0;
	if (data[0] == 0)
		try_chain(data + 1, size - 1);
	else if (raw_key_read(data + 1, size - 1, &key, &refusal))
		require(key.info_len == size - 1 && memcmp(key.info, data + 1, size - 1) == 0 && key.curve);
	else
		require(refusal.text[0]);
	return 0;
}
