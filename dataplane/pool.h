/* Packet buffers of one worker. */
#ifndef DATAPLANE_POOL_H
#define DATAPLANE_POOL_H

#include <rte_mbuf.h>
#include <stdbool.h>

/* Main thread, at start. `count` buffers with `room` bytes each, headroom included; NULL with rte_errno. Free
 * with rte_mempool_free(). own_memory: where the EAL has no huge pages the buffers may lie in memory of ours,
 * in transparent huge pages when there are any; only for ports whose driver touches buffers in this process
 * alone and by their virtual addresses: no DMA, no memory shared with another process. */
struct rte_mempool *pool_new(const char *name, uint32_t count, uint16_t room, bool own_memory);

#endif
