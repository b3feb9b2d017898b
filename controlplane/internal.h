/* What the files of the control thread share: one struct, and who handles what. Everything here runs on the
 * control thread, except where control.h says main thread.
 */
#ifndef CONTROLPLANE_INTERNAL_H
#define CONTROLPLANE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "controlplane/admin.h"
#include "controlplane/admit.h"
#include "controlplane/association.h"
#include "controlplane/attempt.h"
#include "controlplane/control.h"
#include "controlplane/history.h"
#include "controlplane/log.h"
#include "controlplane/outbox.h"
#include "controlplane/refusal.h"
#include "controlplane/stores.h"
#include "ring/uplink.h"

/* The application at the other end of the ring: application.c. */
struct application {
	int listen_fd;
	int connection_fd;       /* -1: nobody is attached */
	uint32_t attach;         /* counts attachments */
	struct uplink **uplinks; /* all that exist, given back or not; NULL: a free place */
	unsigned uplinks_room;
	unsigned announce_worker; /* whose sessions are announced now; = workers: all are */
	uint32_t announce_slot;
};

enum { OUTCOME_BUCKETS = 12 };
extern const uint32_t outcome_bucket_ms[OUTCOME_BUCKETS - 1];

/* What came of the handshakes of one tenant. */
struct outcomes {
	uint64_t established;
	uint64_t took_ms;               /* all of these together */
	uint64_t took[OUTCOME_BUCKETS]; /* how many, by outcome_bucket_ms */
	struct refusal_counts refused;
};

enum { REVOKE_UNSURE_MAX = 64 };

/* A round through all sessions, to hold their certificates against lists and anchors. */
struct judging {
	uint64_t seen;       /* see issuers_version() */
	uint64_t slots_left; /* of all workers, from here on: */
	unsigned worker;
	uint32_t slot;
	unsigned found; /* sessions that are to end, or would be */
};

/* How far the changes of the credential store have been carried out: revoke.c. */
struct revoke {
	bool wanted;                 /* something can change */
	uint64_t number;             /* the last change that was read */
	uint64_t changed_ns;         /* when there was one */
	uint64_t next_ns, polled_ns; /* when store and lists are, and were, asked */
	uint64_t room_ns;            /* when a session that has to end is tried again; UINT64_MAX: none */
	bool checking;               /* all sessions are looked at, from here on: */
	bool paused;                 /* but not before the store is asked or answers */
	bool again;                  /* and then all of them once more */
	unsigned worker;
	uint32_t slot;
	unsigned unsure_count; /* sessions of which the store has not said yet what became of their credential
				*/
	struct sluice_ref unsure[REVOKE_UNSURE_MAX];
	struct judging judging;
};

struct worker_watch {
	uint64_t polls, since_ns; /* so many turns of its loop since then */
};

struct control {
	const struct config *config;
	struct worker_link *links;
	unsigned workers;
	struct outbox *outboxes; /* one per worker */

	struct stores *stores;
	struct credentials credentials; /* where all handshakes look */
	bool store_ready;               /* its descriptor said so */
	struct tenants *tenants;
	struct admit *admit;
	struct attempts *attempts;
	struct associations *associations;
	struct standings *standings;
	struct revoke revoke;
	struct application application;

	struct outcomes *outcomes; /* one per tenant, by its place */
	struct history *history;
	struct admin *admin;          /* NULL: no socket is wanted */
	struct worker_watch *watches; /* one per worker */
	bool (*port_is_up)(void *port);
	void *port;
	uint64_t started_s; /* CLOCK_REALTIME */

	uint64_t now_ns; /* CLOCK_MONOTONIC, read once per turn */
	uint64_t rotate_ns, watch_ns;
	struct log_limit log_up, log_down, log_refused;

	int epoll_fd, stop_fd;
	int store_fd; /* the store's own; -1: it has none */
	pthread_t thread;
	bool started;
	_Atomic bool stop; /* set by control_stop(), read by the thread */
	bool stopping;
	uint64_t stop_by_ns;
	uint32_t stop_left; /* associations when stop_by_ns was set */
};

/* "192.0.2.1:5684" or "[2001:db8::1]:5684". */
enum { PEER_TEXT_MAX = 64 };
const char *peer_text(char out[PEER_TEXT_MAX], const struct peer_address *peer);

/* "PSK "meter-1"", for the log. Returns out. */
const char *credential_text(char *out, size_t room, uint8_t credential, const uint8_t *id, size_t id_len);

/* outcome.c: what came of a handshake. a NULL: there was none yet. */
int outcomes_open(struct control *c);
void outcomes_close(struct control *c);
void outcome_refused(struct control *c, const struct path *path, const struct attempt *a,
		     enum refusal_cause cause, const char *why);
void outcome_established(struct control *c, const struct path *path, const struct attempt *a);
/* The worker had no room for the session that a handshake came to. */
void outcome_no_room(struct control *c, const struct association *a);
/* A device wanted to renegotiate its session, which goes on. Only the first time is kept in the history: a
 * device that does it again and again does not drive out what else is known of it. */
void outcome_renegotiation(struct control *c, struct association *a);

/* negotiate.c: mail about handshakes and the sessions that come of them. */
void negotiate_hello(struct control *c, const struct mail_hello *mail);
void negotiate_record(struct control *c, const struct mail_record *mail);
/* An answer has come, of the credential store or of others: whoever waits for it asks again. */
void negotiate_answered(struct control *c, uint64_t question);
void negotiate_dropped(struct control *c, struct sluice_ref ref);
void negotiate_renegotiation(struct control *c, struct sluice_ref ref);
void negotiate_finished_again(struct control *c, struct sluice_ref ref);
void negotiate_timers(struct control *c);
void negotiate_ended(struct control *c, const struct mail_ended *mail);
void negotiate_not_installed(struct control *c, const struct mail_ended *mail);
void negotiate_moved(struct control *c, const struct mail_moved *mail);

/* revoke.c: the sessions whose credential is removed, replaced or revoked. True when there is more to do at
 * once. */
void revoke_open(struct control *c);
bool revoke_turn(struct control *c);
/* Answers have come from a store that answers later; they are told in this turn alone. */
void revoke_answered(struct control *c);
uint64_t revoke_deadline(const struct control *c);
/* A session is about to come of this handshake: notes what it stands on, which goes with the association. 0
 * or -ENOMEM. */
int revoke_note(struct control *c, struct association *a, const struct attempt *attempt)
	__attribute__((warn_unused_result));
/* It has come, and its worker knows of it. */
void revoke_established(struct control *c, struct association *a, const struct attempt *attempt);
/* A handshake was refused. When it was because a responder said that the certificate has been revoked, the
 * other sessions of the certificate have to end. */
void revoke_refused(struct control *c, const struct handshake *h);
/* Ends a session that is up: close_notify to the device, SESSION_DOWN to the application. Nothing when that
 * has been asked for already. False when the mailbox is full: it ends with one of the next turns. */
bool revoke_end(struct control *c, struct standing *s, enum sluice_reason reason);

/* application.c: who attaches to the ring, and what it is told. */
int application_open(struct control *c, char *error, size_t error_len);
void application_close(struct control *c);
void application_connect(struct control *c);      /* somebody knocks */
void application_disconnected(struct control *c); /* the one that was attached is gone */
/* A worker found what cannot be in the ring of attachment number `attach`: that application is cut off. */
void application_broken(struct control *c, uint32_t attach);
void application_returned(struct control *c, struct uplink *uplink);
void application_not_announced(struct control *c, struct sluice_ref ref);
/* Announces some more of the sessions that it does not know yet. True when there are more to come at once. */
bool application_announce(struct control *c);

#endif
