/* A gateway without packets, for tests of the ring's users: one listening socket in a fresh folder, workers'
 * rings, and the test's thread as all of its workers.
 */
#ifndef TESTS_FAKE_GATEWAY_H
#define TESTS_FAKE_GATEWAY_H

#include "ring/uplink.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAKE_WORKERS = 2, FAKE_UP_BYTES = 1 << 20, FAKE_DOWN_BYTES = 1 << 19, FAKE_ACCEPT_MS = 20000 };

struct fake_gateway {
	char folder[32], path[48];
	int listen_fd;
	int connection_fd; /* -1: nobody attached */
	struct uplink *uplinks[FAKE_WORKERS];
};

/* False with a line on stderr. The folder may be there already (a restart). */
static inline bool fake_gateway_listen(struct fake_gateway *g)
{
	g->connection_fd = -1;
	g->listen_fd = uplink_listen(g->path, 0600, NULL);
	if (g->listen_fd < 0)
		fprintf(stderr, "uplink_listen %s: %s\n", g->path, strerror(-g->listen_fd));
	return g->listen_fd >= 0;
}

static inline bool fake_gateway_start(struct fake_gateway *g)
{
	memset(g, 0, sizeof(*g));
	snprintf(g->folder, sizeof(g->folder), "/tmp/sluice-test-XXXXXX");
	if (mkdtemp(g->folder) == NULL)
		return false;
	snprintf(g->path, sizeof(g->path), "%s/ring.sock", g->folder);
	return fake_gateway_listen(g);
}

/* What a gateway does when its application is gone. */
static inline void fake_gateway_drop(struct fake_gateway *g)
{
	if (g->connection_fd >= 0)
		close(g->connection_fd);
	g->connection_fd = -1;
	for (unsigned i = 0; i < FAKE_WORKERS; i++) {
		uplink_free(g->uplinks[i]);
		g->uplinks[i] = NULL;
	}
}

static inline void fake_gateway_close(struct fake_gateway *g)
{
	fake_gateway_drop(g);
	close(g->listen_fd);
}

static inline void fake_gateway_stop(struct fake_gateway *g)
{
	fake_gateway_close(g);
	unlink(g->path);
	rmdir(g->folder);
}

/* Waits for one application and hands fresh rings over. 0 or -errno. */
static inline int fake_gateway_attach(struct fake_gateway *g)
{
	struct pollfd waited = {.fd = g->listen_fd, .events = POLLIN};
	unsigned uid;
	int pid;

	if (poll(&waited, 1, FAKE_ACCEPT_MS) != 1)
		return -ETIMEDOUT;
	g->connection_fd = uplink_accept(g->listen_fd, &uid, &pid);
	if (g->connection_fd < 0)
		return g->connection_fd;
	for (unsigned i = 0; i < FAKE_WORKERS; i++) {
		g->uplinks[i] = uplink_new(FAKE_UP_BYTES, FAKE_DOWN_BYTES);
		if (g->uplinks[i] == NULL)
			return -errno;
	}
	return uplink_hand_over(g->connection_fd, g->uplinks, FAKE_WORKERS);
}

static inline struct sluice_ref fake_ref(unsigned worker, uint32_t index)
{
	return (struct sluice_ref){.index = index, .generation = 1, .worker = (uint16_t)worker};
}

static inline size_t fake_field(uint8_t *at, uint16_t type, const char *text)
{
	uint16_t len = (uint16_t)strlen(text);

	memcpy(at, &type, sizeof(type));
	memcpy(at + 2, &len, sizeof(len));
	memset(at + 4, 0, (len + 3u) & ~3u);
	memcpy(at + 4, text, len);
	return 4 + ((len + 3u) & ~3u);
}

static inline bool fake_session_up(struct fake_gateway *g, struct sluice_ref ref, const char *identity,
				   bool again)
{
	uint8_t message[512];
	struct sluice_session_up up = {
		.ref = ref,
		.suite = 0xc0a8,
		.credential = SLUICE_CREDENTIAL_PSK,
		.identity = SLUICE_IDENTITY_AE_ID,
		.peer = {.ip = {[10] = 0xff, 0xff, 192, 0, 2, 7}, .port = 0x3316},
		.again = again,
	};

	up.fields_len = (uint16_t)fake_field(message + sizeof(up), SLUICE_FIELD_IDENTITY, identity);
	memcpy(message, &up, sizeof(up));
	return uplink_event(g->uplinks[ref.worker], SLUICE_SESSION_UP, message,
			    (uint32_t)sizeof(up) + up.fields_len);
}

/* A session whose credential has no registree record. */
static inline bool fake_session_up_by_name(struct fake_gateway *g, struct sluice_ref ref, const char *name)
{
	uint8_t message[512];
	struct sluice_session_up up = {
		.ref = ref, .credential = SLUICE_CREDENTIAL_PSK, .identity = SLUICE_IDENTITY_CREDENTIAL};

	up.fields_len = (uint16_t)fake_field(message + sizeof(up), SLUICE_FIELD_CREDENTIAL_ID, name);
	memcpy(message, &up, sizeof(up));
	return uplink_event(g->uplinks[ref.worker], SLUICE_SESSION_UP, message,
			    (uint32_t)sizeof(up) + up.fields_len);
}

static inline bool fake_session_down(struct fake_gateway *g, struct sluice_ref ref)
{
	struct sluice_session_down down = {.ref = ref, .reason = SLUICE_REASON_CLOSE_NOTIFY};

	return uplink_event(g->uplinks[ref.worker], SLUICE_SESSION_DOWN, &down, sizeof(down));
}

static inline bool fake_data(struct fake_gateway *g, struct sluice_ref ref, const void *payload, size_t len)
{
	struct sluice_data data = {.ref = ref, .epoch = 1, .payload_len = (uint16_t)len};

	return uplink_data(g->uplinks[ref.worker], &data, payload);
}

static inline void fake_publish(struct fake_gateway *g)
{
	for (unsigned i = 0; i < FAKE_WORKERS; i++)
		uplink_publish(g->uplinks[i]);
}

#endif
