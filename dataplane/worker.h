/* A worker: one core, one receive and one transmit queue, one session table, everything it owns. Only its own
 * thread touches it after worker_new(), but for the counters and the mailboxes, which are made for two.
 */
#ifndef DATAPLANE_WORKER_H
#define DATAPLANE_WORKER_H

#include <assert.h>
#include <rte_cycles.h>
#include <rte_mbuf.h>

#include "config/config.h"
#include "controlplane/control.h"
#include "crypto/aead.h"
#include "crypto/always.h"
#include "crypto/secret.h"
#include "dataplane/counters.h"
#include "dataplane/mailbox.h"
#include "dataplane/parse.h"
#include "dataplane/pending.h"
#include "dataplane/port.h"
#include "dataplane/session.h"
#include "ring/uplink.h"

enum {
	BURST_RECEIVE = 64, /* frames asked of the port, and of the other workers, at a time */
	BURST_FRAMES = 3 * BURST_RECEIVE,
	BURST_RECORDS = RECORD_BURST_MAX,
	BURST_SEND = 32,  /* messages taken from the application at a time */
	TX_PENDING = 256, /* frames waiting for the port */
	WORKERS_MAX = 64,
};

/* One record on its way in. */
struct inbound {
	struct record record;
	struct session_query *lead; /* its look-up, when it is the first record of its datagram */
	uint32_t slot;              /* its session, or SESSION_NONE */
	uint8_t frame;              /* index in struct burst */
	uint8_t verdict;            /* enum record_verdict; RECORD_APP as long as nothing speaks against it */
};

/* What one turn of the loop works on. Filled from the left, never allocated. */
struct burst {
	unsigned frames;
	unsigned parsed; /* frames [0, parsed) came from other workers or from control: already ours */
	struct rte_mbuf *mbufs[BURST_FRAMES];
	struct datagram datagrams[BURST_FRAMES];
	uint8_t verdicts[BURST_FRAMES]; /* enum frame_verdict */

	unsigned frame_at;                       /* the next record is in this frame, */
	uint32_t offset_at;                      /* that far into its payload */
	unsigned leads;                          /* first records lined up so far */
	struct session_query lead[BURST_FRAMES]; /* their look-ups, which began with the burst */
	unsigned records;
	struct inbound in[BURST_RECORDS];
	struct record_op ops[BURST_RECORDS];
	uint8_t op_in[BURST_RECORDS]; /* op -> index in in[] */
};

/* RFC 5246 7.2: those that a worker itself sends or acts upon. */
enum alert_level { ALERT_WARNING = 1, ALERT_FATAL = 2 };
enum alert_description { ALERT_CLOSE_NOTIFY = 0, ALERT_NO_RENEGOTIATION = 100 };

enum stage {
	STAGE_MAIL,
	STAGE_RECEIVE,
	STAGE_PARSE,
	STAGE_FIND,
	STAGE_CRYPTO,
	STAGE_DELIVER,
	STAGE_DISPOSE,
	STAGE_SEND,
	STAGES
};

/* Whose message a waiting frame carries: who hears of it when it is dropped. */
struct sent_for {
	struct sluice_ref ref;
	uint32_t attach; /* of the application that sent it; 0: not an application's */
	uint64_t cookie;
};

struct worker {
	uint16_t index;
	uint16_t workers;
	bool stopping, stopped;
	bool poll; /* never sleep */
	uint32_t idle_us;
	unsigned idle_turns;

	struct port_queue port;
	struct local local;
	struct session_table *sessions;
	struct pending_table *pending;
	struct cookie_secrets cookies;
	struct record_crypto *crypto;
	struct uplink *uplink;  /* NULL: no application attached */
	uint32_t attach;        /* of that uplink */
	uint32_t broken_attach; /* the last one that was reported as broken */
	bool uplink_dirty;
	bool has_cookies;
	uint32_t stop_cursor;
	uint64_t stop_left, stop_since_ns; /* what is still to be ended, and since when it is as many */

	struct worker_link *link;
	struct worker_counters *counters;
	struct steer *steer; /* queues between workers; NULL with one worker */
	uint32_t failed_tags_max;
	uint16_t mtu;
	bool mailed;         /* something posted to control in this turn */
	uint8_t steer_first; /* whose queue is looked at first, in turns */

	uint64_t *stage_cycles; /* STAGES counters for the benchmark; NULL in production */
	uint64_t stage_start;

	uint16_t ip_ids[256]; /* the next IPv4 identification, by the last byte of the peer's address */
	unsigned spare_count; /* empty mbufs for the application's messages */
	struct rte_mbuf *spare[BURST_SEND];
	uint64_t now_ns;      /* of this turn */
	uint64_t tx_stuck_ns; /* since when the port has taken nothing; 0: it takes */
	unsigned tx_count;
	struct rte_mbuf *tx[TX_PENDING];
	struct sent_for tx_for[TX_PENDING];
	struct burst burst;
};

/* Main thread, after EAL and port are up. Everything named in the arguments is borrowed. NULL with a sentence
 * in error. */
struct worker_setup {
	const struct config *config;
	uint16_t index;
	struct worker_link *link;
	const struct record_choice *crypto;
	const uint8_t *cid_key;
	struct steer *steer;
	struct port *port;
	struct local local;
};
struct worker *worker_new(const struct worker_setup *setup, char *error, size_t error_len);
void worker_free(struct worker *w);

/* The worker's thread: announces our addresses (the first worker), then turns until MAIL_STOP has been
 * carried out. Returns 0. */
int worker_run(void *worker);

/* One turn. Returns how many frames, mails and messages it moved: 0 means idle. */
unsigned worker_poll(struct worker *w, uint64_t now_ns);

/* The stages of worker_poll() that have files of their own. hello.c: what the records lined up in the burst
 * are, and whose. */
void receive_classify_burst(struct worker *w, struct burst *b);
/* receive.c: opens and delivers those of sessions. */
void receive_open_burst(struct worker *w, struct burst *b, uint64_t now_ns);

/* send.c */
unsigned send_burst(struct worker *w);
/* To a live session's peer; lost when there is no mbuf (counted) or no sequence number left. */
void send_alert(struct worker *w, uint32_t slot, enum alert_level level, enum alert_description description);
/* A datagram that is complete but for its headers: a flight, a HelloVerifyRequest. False, and counted, when
 * there is no mbuf, no address of ours of the peer's family, or it is above the MTU. */
bool send_datagram(struct worker *w, const struct path *path, const void *payload, size_t payload_len);
/* Queues a complete frame; takes the mbuf. */
void send_frame(struct worker *w, struct rte_mbuf *mbuf);
void send_flush(struct worker *w);

/* mail.c */
unsigned worker_read_mail(struct worker *w, uint64_t now_ns);
/* False when the mailbox is full: counted, and the mail's loss or the caller's to repeat. */
bool mail_to_control(struct worker *w, enum mail_type type, const void *body, uint32_t body_len,
		     const void *extra, uint32_t extra_len);
/* Ends a live session: keys wiped, the application and control will be told. */
void worker_end_session(struct worker *w, uint32_t slot, enum sluice_reason reason);
void worker_flush_ended(struct worker *w);

/* Books the cycles since the last call to the stage that ends here; nothing in production. */
static inline void stage_end(struct worker *w, enum stage stage)
{
	uint64_t now;

	if (!w->stage_cycles)
		return;
	now = rte_rdtsc();
	w->stage_cycles[stage] += now - w->stage_start;
	w->stage_start = now;
}

#endif
