/* The messages between a worker and the control thread (pure): the only thing that both sides include. Two
 * SPSC rings per worker; each message is one of the structs below, with bytes behind it where it says so.
 * Keys in a message are wiped by its reader before the space goes back.
 */
#ifndef DATAPLANE_MAILBOX_H
#define DATAPLANE_MAILBOX_H

#include "crypto/aead.h"
#include "dataplane/address.h"
#include "dataplane/cookie.h"
#include "dataplane/session.h"
#include "ring/sluice.h"
#include "ring/spsc.h"

enum mail_type {
	/* worker -> control */
	MAIL_HELLO = 1,       /* mail_hello, the record: a ClientHello with a valid cookie, new handshake */
	MAIL_RECORD,          /* mail_record, the record: of a handshake in flight */
	MAIL_FINISHED_AGAIN,  /* mail_session: authentic duplicate Finished, send the last flight again */
	MAIL_RENEGOTIATION,   /* mail_session: an authentic ClientHello inside it, refused with a warning */
	MAIL_SESSION_ENDED,   /* mail_ended */
	MAIL_NOT_INSTALLED,   /* mail_ended: INSTALL failed (no room) */
	MAIL_NOT_ANNOUNCED,   /* mail_session: no room in the uplink for SESSION_UP, announce again later */
	MAIL_UPLINK_RETURNED, /* mail_uplink: the worker uses it no more */
	MAIL_UPLINK_BROKEN,   /* mail_uplink: its application wrote what cannot be; nothing more is taken from
				 it */
	MAIL_HANDSHAKE_DROPPED, /* mail_session: the pending table gave this handshake up (replaced by a newer
				   hello) */
	MAIL_PEER_MOVED,        /* mail_moved: for listings */

	/* control -> worker */
	MAIL_TRANSMIT = 32,  /* mail_transmit, the datagram: a flight */
	MAIL_INSTALL,        /* mail_install, a complete sluice_session_up with its fields */
	MAIL_REMOVE,         /* mail_ended: end a session; a close_notify goes to the peer */
	MAIL_HANDSHAKE_OVER, /* mail_session: the handshake ended without a session */
	MAIL_REINJECT,       /* mail_record, the record: it overtook the installation of its session */
	MAIL_ANNOUNCE,       /* a complete sluice_session_up with its fields: publish unless published to this
				uplink */
	MAIL_UPLINK,         /* mail_uplink: use this uplink from now on (NULL: none) */
	MAIL_COOKIE_SECRET,  /* mail_cookie_secret */
	MAIL_STOP,           /* no body: end every session with close_notify, then leave the loop */
};

struct mail_session {
	struct sluice_ref ref;
};

struct mail_ended {
	struct sluice_ref ref;
	uint16_t reason; /* enum sluice_reason */
};

struct mail_hello {
	struct sluice_ref ref; /* slot reserved for the session; names the handshake from now on */
	struct path path;
	uint8_t cookie_secret[COOKIE_SECRET_LEN]; /* that its cookie was made with */
	uint8_t cid[CID_LEN];                     /* ours, if a CID is negotiated */
	uint16_t record_len;
};

struct mail_record {
	struct sluice_ref ref;
	struct path path; /* where it came from */
	uint16_t record_len;
};

struct mail_transmit {
	struct path path;
	uint16_t datagram_len;
};

struct mail_install {
	struct session_install session; /* keys inside */
	uint16_t up_len;                /* of the sluice_session_up with its fields */
};

struct mail_uplink {
	void *uplink;    /* struct uplink */
	uint32_t attach; /* counts attachments from 1 */
};

struct mail_cookie_secret {
	uint8_t secret[COOKIE_SECRET_LEN];
};

struct mail_moved {
	struct sluice_ref ref;
	struct path path;
};

enum {
	MAIL_BODY_MAX = 16384 + 2048 + 512,
	MAILBOX_MIN = 128 * 1024, /* bytes: one message of that length is at most a quarter of the ring */
};

/* What the two threads write lies two lines (what a core fetches at once) from anything of the other's, in
 * this mailbox and in those before and behind it. */
enum { MAILBOX_APART = 128 };

struct mailbox {
	struct spsc_control *control;
	void *data;
	uint64_t size;
	int event_fd; /* readable when a receiver that sleeps was woken */
	uint8_t apart_constant[MAILBOX_APART];
	struct spsc_producer producer; /* the sending thread's */
	uint8_t apart_producer[MAILBOX_APART];
	struct spsc_consumer consumer; /* the receiving thread's */
	uint8_t apart_consumer[MAILBOX_APART];
};

/* Start and stop, any thread. bytes: a power of two, at least MAILBOX_MIN. 0 or -errno, with nothing taken
 * then. fini wipes what is left inside; a mailbox that was zeroed or failed to start is fine. */
int mailbox_init(struct mailbox *m, uint64_t bytes) __attribute__((warn_unused_result));
void mailbox_fini(struct mailbox *m);

/* Sender. Copies body and extra (together at most MAIL_BODY_MAX bytes) into one message; false when full.
 * Visible after mailbox_publish(), which also wakes a receiver that announced by spsc_sleep(&m->consumer)
 * that it blocks on event_fd: a system call then, none otherwise. The body is aligned to 8 bytes. */
bool mailbox_post(struct mailbox *m, enum mail_type type, const void *body, uint32_t body_len,
		  const void *extra, uint32_t extra_len);
void mailbox_publish(struct mailbox *m);

/* Receiver. The next message; its bytes may be written (wiped) until mailbox_release(), which gives back the
 * space of all messages taken so far. The receiver itself empties event_fd when it wakes. */
bool mailbox_next(struct mailbox *m, struct spsc_message *out);
void mailbox_release(struct mailbox *m);

#endif
