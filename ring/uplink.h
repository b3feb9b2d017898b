/* The gateway's side of the application ring (pure): the shared memory of one worker (memfd, sealed, with the
 * socket pair that wakes either side), and the socket where an application attaches. Memory and socket belong
 * to the control thread; the two ring ends inside struct uplink belong to the worker from attach until the
 * worker gave them back.
 *
 * Nothing here blocks, whatever the application does. That is why the wake-up is a socket pair and not an
 * eventfd: O_NONBLOCK belongs to the open file, which both processes would share, so that an application
 * could clear it, fill the counter and hold the worker in write() for ever. The two ends of a socket pair are
 * two files, and send() has MSG_DONTWAIT.
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
	int wake_fd;     /* readable when the application kicked a sleeping worker: uplink_awake() */
	int app_wake_fd; /* the application's end, kept open so that its death is no end of wake_fd */
	void *memory;
	size_t memory_len;
};

/* Bounds of a ring. The largest message takes at most a quarter of it. */
#define UPLINK_BYTES_MIN (UINT64_C(1) << 18)
#define UPLINK_BYTES_MAX (UINT64_C(1) << 34)
enum { UPLINK_PAYLOAD_MAX = 16384, UPLINK_EVENT_MAX = 16384, UPLINK_WORKERS_MAX = 64 };

/* Control thread. Fresh memory, taken at once, and fresh rings; sizes are powers of two within the bounds
 * above. One struct serves one attachment: never hand the same memory to a second application. NULL with
 * errno on failure (EINVAL: a size). */
struct uplink *uplink_new(uint64_t up_bytes, uint64_t down_bytes);
void uplink_free(struct uplink *u);

/* The listening socket, not blocking. path is unlinked first when it is a socket that nobody listens on; mode
 * and group as configured (group NULL: unchanged). Returns the fd or -errno (-EADDRINUSE: another gateway
 * listens there; -EEXIST: path is not a socket; -EINVAL: unknown group; -ENAMETOOLONG). */
int uplink_listen(const char *path, unsigned mode, const char *group);

/* Accepts one application on the listening socket and checks its version, which is part of the name that it
 * bound its own socket to (ring/attach.h): so there is no hello to wait for. SO_PEERCRED is reported in *uid
 * and *pid. Returns the connected fd, or -errno (-EAGAIN: nobody there; -EPROTO: another version; the peer
 * has been told and is gone). */
int uplink_accept(int listen_fd, unsigned *uid, int *pid);

/* Hands the memory of all workers over, uplinks[i] being that of worker i. 0 or -errno. The connection stays
 * open and the application sends nothing on it: poll() reporting it readable or hung up is the application's
 * end. */
int uplink_hand_over(int connection_fd, struct uplink *const *uplinks, unsigned count);
/* Refuses with an errno value that the application's sluice_attach() reports (EBUSY), and closes the
 * connection. */
void uplink_refuse(int connection_fd, int error);

/* Worker. These write one message each into the uplink ring, not yet published; false when there is no room.
 * DATA (payload up to UPLINK_PAYLOAD_MAX) leaves UPLINK_EVENT_RESERVE bytes free for session events. An event
 * (up to UPLINK_EVENT_MAX) that finds no room is the worker's to repeat: it must not get lost. */
enum { UPLINK_EVENT_RESERVE = 65536 };
bool uplink_data(struct uplink *u, const struct sluice_data *data, const void *payload);
/* The same without a copy in between: where a DATA message with that much payload behind it will lie, or
 * NULL. The caller writes all of it, reserved fields as 0. */
static inline struct sluice_data *uplink_data_reserve(struct uplink *u, uint32_t payload_len)
{
	if (payload_len > UPLINK_PAYLOAD_MAX)
		return NULL;
	return spsc_reserve_leaving(&u->up, SLUICE_DATA, (uint32_t)sizeof(struct sluice_data) + payload_len,
				    UPLINK_EVENT_RESERVE);
}
bool uplink_event(struct uplink *u, enum sluice_type type, const void *body, uint32_t len);
/* Publishes, and kicks the application when it sleeps (the only system call here). */
void uplink_publish(struct uplink *u);

/* Worker, before it blocks in poll() on wake_fd: false when a downlink message is there already. Afterwards,
 * whatever ended the wait: uplink_awake(), which sets u->down.broken when the application has shut its
 * wake-up down, since nothing could sleep on that any more. */
bool uplink_sleep(struct uplink *u);
void uplink_awake(struct uplink *u);

/* Worker. The next valid downlink message, copied out of shared memory: header fields into *data (ref,
 * payload_len, seq) and the payload into buffer; or a CLOSE (ref alone). Malformed messages are counted in
 * *malformed and skipped, a bounded number per call. Returns the sluice_type, 0 when there is none. A payload
 * larger than room is reported as SLUICE_DATA with payload_len set and nothing copied. ref is the
 * application's word: ref.worker may be another worker's. Space goes back to the application with
 * spsc_release(&u->down). u->down.broken means that the application wrote an impossible index or length
 * (or see uplink_awake()): nothing more will come, and the control thread should close the connection. */
int uplink_take(struct uplink *u, struct sluice_data *data, void *buffer, uint32_t room, uint64_t *malformed);

#endif
