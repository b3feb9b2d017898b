/* Randomness for wolfSSL and for our own keys: a pool per thread, filled by getrandom(2) a page at a time, so
 * that a handshake does not pay a system call for each of its many small requests. A byte leaves the pool
 * once and is overwritten there; a forked child throws away what it inherited.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

enum { POOL_LEN = 4096 };

struct pool {
	uint8_t bytes[POOL_LEN]; /* the last `left` of them are unused, the others are zero */
	unsigned left;
	unsigned generation;
};

static _Thread_local struct pool pool;

/* Counts the forks between this process and the first of its line: written by the one thread that a child
 * begins with, read by all.
 */
static _Atomic unsigned fork_generation;

static void fork_in_child(void)
{
	atomic_fetch_add_explicit(&fork_generation, 1, memory_order_relaxed);
}

static void watch_forks(void)
{
	(void)pthread_atfork(NULL, NULL, fork_in_child);
}

static int fill(uint8_t *out, size_t len)
{
	while (len > 0) {
		ssize_t n = getrandom(out, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		out += n;
		len -= (size_t)n;
	}
	return 0;
}

static int pool_refill(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, watch_forks);
	pool.left = 0;
	pool.generation = atomic_load_explicit(&fork_generation, memory_order_relaxed);
	if (fill(pool.bytes, POOL_LEN)) {
		secret_wipe(pool.bytes, POOL_LEN);
		return -1;
	}
	pool.left = POOL_LEN;
	return 0;
}

int random_block(unsigned char *output, unsigned int size)
{
	if (size > POOL_LEN)
		return fill(output, size);
	if (pool.generation != atomic_load_explicit(&fork_generation, memory_order_relaxed)) {
		secret_wipe(pool.bytes, POOL_LEN);
		pool.left = 0;
	}
	while (size > 0) {
		if (pool.left == 0 && pool_refill())
			return -1;

		unsigned n = size < pool.left ? size : pool.left;
		uint8_t *from = pool.bytes + POOL_LEN - pool.left;

		memcpy(output, from, n);
		secret_wipe(from, n);
		pool.left -= n;
		output += n;
		size -= n;
	}
	return 0;
}
