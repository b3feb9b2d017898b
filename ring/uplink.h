/* The gateway's side of the application ring: the shared memory of one worker (memfd, sealed, with its
 * eventfds), and the socket where an application attaches. Memory and socket belong to the control thread;
 * the two ring ends inside struct uplink belong to the worker from attach until the worker gave them back.
 */
#ifndef RING_UPLINK_H
#define RING_UPLINK_H

#include "ring/sluice.h"
#include "ring/spsc.h"

/* One worker's pair of rings for one attached application. */
struct uplink {
	struct spsc_producer up;   /* worker: gateway -> application */
	struct spsc_consumer down; /* worker: application -> gateway */
	int memory_fd;
	int up_event_fd;   /* the worker kicks a sleeping application */
	int down_event_fd; /* the application kicks a sleeping worker */
	void *memory;
	size_t memory_len;
};

/* Control thread. Fresh memory and rings; sizes are powers of two. NULL with errno on failure. */
struct uplink *uplink_new(uint64_t up_bytes, uint64_t down_bytes);
void uplink_free(struct uplink *u);

/* The listening socket. path is unlinked first when it is a socket that nobody listens on; mode and group as
 * configured (group NULL: unchanged). Returns the fd or -errno. */
int uplink_listen(const char *path, unsigned mode, const char *group);

/* Accepts one application on the listening socket: hello and version are exchanged, SO_PEERCRED is reported
 * in *uid and *pid. Returns the connected fd, or -errno (-EPROTO: another version; the peer has been told).
 */
int uplink_accept(int listen_fd, unsigned *uid, int *pid);

/* Hands the memory of all workers over. 0 or -errno. The connection stays open: its end is the application's
 * end. */
int uplink_hand_over(int connection_fd, struct uplink *const *uplinks, unsigned count);
/* Refuses with an errno value that the application's sluice_attach() reports (EBUSY). */
void uplink_refuse(int connection_fd, int error);

/* Worker. These write one message each into the uplink ring, not yet published; false when there is no room.
 * DATA leaves UPLINK_EVENT_RESERVE bytes free for session events. */
enum { UPLINK_EVENT_RESERVE = 65536 };
bool uplink_data(struct uplink *u, const struct sluice_data *data, const void *payload);
bool uplink_event(struct uplink *u, enum sluice_type type, const void *body, uint32_t len);
/* Publishes, and kicks the application when it sleeps. */
void uplink_publish(struct uplink *u);

/* Worker. The next valid downlink message, copied out of shared memory: header fields into *data (ref,
 * payload_len, seq) and the payload into buffer; or a CLOSE. Malformed messages are counted in *malformed and
 * skipped. Returns the sluice_type, 0 when there is none. A payload larger than room is reported as
 * SLUICE_DATA with payload_len set and nothing copied. Space goes back to the application with
 * spsc_release(&u->down). */
int uplink_take(struct uplink *u, struct sluice_data *data, void *buffer, uint32_t room, uint64_t *malformed);

#endif
