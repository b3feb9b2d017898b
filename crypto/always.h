/* An assertion that stays on in every build: where going on could reuse a nonce or leak a plaintext. */
#ifndef CRYPTO_ALWAYS_H
#define CRYPTO_ALWAYS_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define always_assert(condition)                                                                             \
	do {                                                                                                 \
		if (__builtin_expect(!(condition), 0)) {                                                     \
			(void)fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);  \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

#endif
