/* Counts the calls of DPDK's allocator with those of libc's: see quiet.h. */
#include <rte_malloc.h>

#include "tests/unit/quiet.h"

/* What the linker makes of a call of rte_free(), and what it calls rte_free() itself; and so on. */
void *__wrap_rte_malloc(const char *type, size_t size, unsigned align);
void *__wrap_rte_malloc_socket(const char *type, size_t size, unsigned align, int socket);
void *__wrap_rte_zmalloc(const char *type, size_t size, unsigned align);
void *__wrap_rte_zmalloc_socket(const char *type, size_t size, unsigned align, int socket);
void *__wrap_rte_calloc(const char *type, size_t count, size_t size, unsigned align);
void *__wrap_rte_calloc_socket(const char *type, size_t count, size_t size, unsigned align, int socket);
void *__wrap_rte_realloc(void *old, size_t size, unsigned align);
void *__wrap_rte_realloc_socket(void *old, size_t size, unsigned align, int socket);
void __wrap_rte_free(void *memory);
void *__real_rte_malloc_socket(const char *type, size_t size, unsigned align, int socket);
void *__real_rte_zmalloc_socket(const char *type, size_t size, unsigned align, int socket);
void *__real_rte_calloc_socket(const char *type, size_t count, size_t size, unsigned align, int socket);
void *__real_rte_realloc_socket(void *old, size_t size, unsigned align, int socket);
void __real_rte_free(void *memory);

void *__wrap_rte_malloc(const char *type, size_t size, unsigned align)
{
	return __wrap_rte_malloc_socket(type, size, align, SOCKET_ID_ANY);
}

void *__wrap_rte_malloc_socket(const char *type, size_t size, unsigned align, int socket)
{
	allocator_calls++;
	return __real_rte_malloc_socket(type, size, align, socket);
}

void *__wrap_rte_zmalloc(const char *type, size_t size, unsigned align)
{
	return __wrap_rte_zmalloc_socket(type, size, align, SOCKET_ID_ANY);
}

void *__wrap_rte_zmalloc_socket(const char *type, size_t size, unsigned align, int socket)
{
	allocator_calls++;
	return __real_rte_zmalloc_socket(type, size, align, socket);
}

void *__wrap_rte_calloc(const char *type, size_t count, size_t size, unsigned align)
{
	return __wrap_rte_calloc_socket(type, count, size, align, SOCKET_ID_ANY);
}

void *__wrap_rte_calloc_socket(const char *type, size_t count, size_t size, unsigned align, int socket)
{
	allocator_calls++;
	return __real_rte_calloc_socket(type, count, size, align, socket);
}

void *__wrap_rte_realloc(void *old, size_t size, unsigned align)
{
	return __wrap_rte_realloc_socket(old, size, align, SOCKET_ID_ANY);
}

void *__wrap_rte_realloc_socket(void *old, size_t size, unsigned align, int socket)
{
	allocator_calls++;
	return __real_rte_realloc_socket(old, size, align, socket);
}

void __wrap_rte_free(void *memory)
{
	allocator_calls++;
	__real_rte_free(memory);
}

size_t dpdk_blocks(void)
{
	size_t blocks = 0;

	for (unsigned i = 0; i < rte_socket_count(); i++) {
		struct rte_malloc_socket_stats stats;

		if (rte_malloc_get_socket_stats(rte_socket_id_by_idx(i), &stats) == 0)
			blocks += stats.alloc_count;
	}
	return blocks;
}
