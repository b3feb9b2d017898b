/* How often a secret lies in this process's memory, wherever it was forgotten: on the heap, on stacks, in
 * data. */
#ifndef TESTS_UNIT_MEMORY_SEARCH_H
#define TESTS_UNIT_MEMORY_SEARCH_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REGION_MAX = 1 << 26 };

static uint8_t page[1 << 16]; /* of the memory that is searched; not itself searched */

static inline unsigned times_in_page(size_t page_len, const uint8_t *masked, size_t len, uintptr_t from)
{
	const uint8_t *at = page, *end = page + page_len;
	unsigned found = 0;

	while ((size_t)(end - at) >= len &&
	       (at = memchr(at, masked[0] ^ 0x5a, (size_t)(end - at) - len + 1))) {
		uintptr_t address = from + (uintptr_t)(at - page);
		size_t n = 1;

		while (n < len && at[n] == (masked[n] ^ 0x5a))
			n++;
		found += n == len && (address < (uintptr_t)page || address >= (uintptr_t)page + sizeof page);
		at++;
	}
	return found;
}

/* In all memory of ours that can be written. masked: the secret, each byte with 0x5a: the caller has it only
 * so. */
static inline unsigned times_in_memory(const uint8_t *masked, size_t len)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	unsigned found = 0;
	char line[512];

	if (!maps || memory < 0)
		abort();
	while (fgets(line, sizeof line, maps)) {
		unsigned long from, until;
		char mode[8] = "";
		ssize_t got;

		if (sscanf(line, "%lx-%lx %7s", &from, &until, mode) != 3 || strncmp(mode, "rw", 2) != 0 ||
		    until - from > REGION_MAX) /* a sanitizer's own, up to terabytes */
			continue;
		while (from < until) {
			size_t want = until - from < sizeof page ? until - from : sizeof page;

			got = pread(memory, page, want, (off_t)from);
			if (got < (ssize_t)len)
				break;
			found += times_in_page((size_t)got, masked, len, from);
			/* it may lie across two pages */
			from += from + (size_t)got < until ? (size_t)got - len + 1 : (size_t)got;
		}
	}
	fclose(maps);
	close(memory);
	return found;
}

#endif
