/* Every key, tag and cookie is compared and wiped through these two (never memcmp()).
 * Any thread. No allocation.
 */
#ifndef CRYPTO_SECRET_H
#define CRYPTO_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Overwrites len bytes with zeros in a way that the compiler may not remove. */
static inline void secret_wipe(void *secret, size_t len)
{
	memset(secret, 0, len);
	__asm__ __volatile__("" : : "r"(secret) : "memory");
}

/* True when both hold the same len bytes; the time depends on len alone. The empty asm keeps the compiler
 * from seeing what the difference is made of, and so from leaving early.
 */
static inline bool secret_equal(const void *a, const void *b, size_t len)
{
	const uint8_t *x = a;
	const uint8_t *y = b;
	uint64_t difference = 0;

	for (; len >= 8; len -= 8, x += 8, y += 8) {
		uint64_t word_x;
		uint64_t word_y;

		memcpy(&word_x, x, 8);
		memcpy(&word_y, y, 8);
		difference |= word_x ^ word_y;
		__asm__ __volatile__("" : "+r"(difference));
	}
	for (; len > 0; len--, x++, y++) {
		difference |= (uint64_t)(*x ^ *y);
		__asm__ __volatile__("" : "+r"(difference));
	}
	return difference == 0;
}

/* Declares that what depends on a secret is given away on purpose from here on: a verdict. Code only for the
 * check by Memcheck (tests/unit/check_constant_flow.c), nothing in every other build.
 */
#ifdef SECRET_CHECK
#include <valgrind/memcheck.h>
#define secret_publish(what, len) ((void)VALGRIND_MAKE_MEM_DEFINED(what, len))
#else
#define secret_publish(what, len) ((void)0)
#endif

#endif
