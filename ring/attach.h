/* What the gateway (producer.c) and libsluice (consumer.c) say to each other on the Unix socket before the
 * ring takes over, and the layout of the shared memory. Not installed.
 *
 * The application binds its end to an abstract name, "\0sluice-ring/VERSION/...", then connects: the gateway
 * knows the version from accept() and never waits for a first message. The gateway answers with one message:
 * struct attach_welcome, an attach_worker for each worker, and as SCM_RIGHTS two descriptors for each worker,
 * its memory and its wake-up. Or with error set and nothing else.
 *
 *   memory:  | control of the uplink | control of the downlink | uplink data      | downlink data |
 *            0                       2048                      4096               4096 + up_bytes
 */
#ifndef RING_ATTACH_H
#define RING_ATTACH_H

#include "ring/sluice.h"
#include "ring/spsc.h"
#include "ring/uplink.h"

#define ATTACH_NAME  "sluice-ring/"
#define ATTACH_MAGIC UINT32_C(0x52434c53) /* "SLCR" */

enum {
	ATTACH_DOWN_CONTROL = 2048,
	ATTACH_DATA = 4096,
	ATTACH_FDS_PER_WORKER = 2,
	ATTACH_FDS_MAX = ATTACH_FDS_PER_WORKER * UPLINK_WORKERS_MAX, /* the kernel's bound is 253 */
};

struct attach_welcome {
	uint32_t magic;
	uint32_t version;
	int32_t error; /* an errno value: refused */
	uint32_t workers;
};

struct attach_worker {
	uint64_t up_bytes;
	uint64_t down_bytes;
};

static inline bool attach_size_ok(uint64_t bytes)
{
	return bytes >= UPLINK_BYTES_MIN && bytes <= UPLINK_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

static inline size_t attach_memory_len(uint64_t up_bytes, uint64_t down_bytes)
{
	return ATTACH_DATA + up_bytes + down_bytes;
}

static inline struct spsc_control *attach_up_control(void *memory)
{
	return memory;
}

static inline struct spsc_control *attach_down_control(void *memory)
{
	return (struct spsc_control *)((uint8_t *)memory + ATTACH_DOWN_CONTROL);
}

static inline uint8_t *attach_up_data(void *memory)
{
	return (uint8_t *)memory + ATTACH_DATA;
}

static inline uint8_t *attach_down_data(void *memory, uint64_t up_bytes)
{
	return (uint8_t *)memory + ATTACH_DATA + up_bytes;
}

#endif
