/* Every key, tag and cookie is compared and wiped through these two (STYLE: no memcmp on secrets).
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

/* True when both hold the same len bytes; the time depends on len alone. */
static inline bool secret_equal(const void *a, const void *b, size_t len)
{
	const volatile uint8_t *x = a;
	const volatile uint8_t *y = b;
	uint8_t difference = 0;

	for (size_t i = 0; i < len; i++)
		difference |= x[i] ^ y[i];
	return difference == 0;
}

#endif
