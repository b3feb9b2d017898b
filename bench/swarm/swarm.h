/* sluice-swarm: simulates many registrees against a gateway: real handshakes, then records, with the faults
 * and the malice of a real network mixed in. One thread; everything here is its own.
 *
 *   main.c       options, the loop, progress
 *   device.c     the devices: what they send, what they expect, when they move or reboot
 *   shake.c      handshakes in flight: a wolfSSL client each, freed when its keys have been taken out
 *   transport.h  how datagrams leave and come: from UDP sockets (socket.c) or from a DPDK port (dpdk.c)
 *   faults.c     loss, duplication and reordering in front of the transport
 *   report.c     what came of it, for people and as JSON
 */
#ifndef BENCH_SWARM_SWARM_H
#define BENCH_SWARM_SWARM_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/swarm/histogram.h"
#include "crypto/aead.h"
#include "dataplane/record.h"
#include "dataplane/replay.h"

enum {
	SWARM_PORT_FIRST = 20000, /* source ports; a device that moves takes the next one */
	SWARM_PORTS = 8,
	SWARM_DATAGRAM_MAX = 2048,
	SWARM_CID_MAX = 10,
};

enum device_state { DEVICE_NEW, DEVICE_SHAKING, DEVICE_READY, DEVICE_DONE, DEVICE_REFUSED };

struct device {
	struct aead_key tx, rx;
	uint64_t tx_next; /* epoch << 48 | sequence number */
	struct replay_window window;
	uint64_t sent_ns;           /* of the request that waits for its answer; 0: none */
	uint32_t token;             /* of that request */
	uint32_t last_ms;           /* when the last request left */
	uint32_t records;           /* requests made since the handshake */
	uint32_t left;              /* requests still to be made */
	uint8_t cid[SWARM_CID_MAX]; /* that the gateway chose */
	uint8_t cid_len;
	uint8_t state; /* enum device_state */
	uint8_t port;  /* 0..SWARM_PORTS - 1 */
	uint8_t attempts;
};

struct swarm_options {
	const char *server; /* IPv4 address */
	uint16_t server_port;
	const char *devices_net; /* first address of the devices */
	uint32_t devices;
	uint32_t records;          /* per device */
	double handshake_rate;     /* per second; 0: as fast as it goes */
	uint32_t handshake_flight; /* at a time */
	double record_rate;        /* per second; 0: as fast as it goes */
	uint32_t outstanding;      /* requests without an answer at a time */
	uint32_t think_ms;
	uint32_t answer_timeout_ms;
	uint32_t handshake_timeout_s;
	uint32_t seconds; /* 0: until every device is done */
	uint32_t payload;
	const char *suite;
	const char *psk_seed; /* identities are PREFIX + number, keys come from the seed */
	const char *psk_prefix;
	const char *certificate, *key, *ca, *sni;
	const char *preinstalled; /* seed of sessions that are there without a handshake; NULL: none */
	const char *cid_file;     /* of those: what the gateway wrote; NULL: none has a CID */
	const char *json;
	bool cid, coap_con, no_answers;
	bool no_close;         /* say no goodbye at the end */
	bool handshakes_first; /* no request before the last device is done with its handshake */
	double loss, duplicate, reorder, replay, forge; /* shares, 0..1 */
	uint32_t rebind_every, reboot_every;            /* requests; 0: never */
	uint32_t seed;
};

struct swarm_counts {
	uint64_t handshakes_started, handshakes_done, handshakes_failed, handshakes_given_up;
	uint64_t requests, answers, lost, duplicated_answers, unexpected, bad_answers, alerts;
	uint64_t replays_sent, forgeries_sent, rebinds, reboots;
	uint64_t datagrams_out, datagrams_in, bytes_out, bytes_in;
};

struct transport;
struct faults;
struct shakes;

struct swarm {
	struct swarm_options options;
	struct swarm_counts counts;
	struct histogram handshake_ns, answer_ns;
	struct device *devices;
	struct transport *transport;
	struct faults *faults;
	struct shakes *shakes;
	struct record_choice choice;
	struct record_crypto *crypto;
	uint32_t started;    /* devices [0, started) have begun their first handshake */
	uint32_t cursor;     /* device that sends next */
	uint32_t expired_to; /* device that devices_expire() looks at next */
	uint32_t waiting;    /* requests without an answer */
	uint32_t finished;   /* devices done or refused */
	uint32_t ready;      /* devices with a session */
	uint64_t random;
	uint64_t start_ns, end_ns;
	uint64_t records_from_ns; /* 0: requests have not begun */
	volatile bool stop;
};

/* Uniform in [0, 1) and in [0, n). */
double swarm_share(struct swarm *s);
uint32_t swarm_below(struct swarm *s, uint32_t n);
uint64_t swarm_now_ns(void);

/* Sends one datagram of a device, through the faults. */
void swarm_send(struct swarm *s, uint32_t device, const void *bytes, size_t len);

/* device.c */
void device_key(const struct swarm *s, uint32_t device, uint8_t key[16]);
void device_identity(const struct swarm *s, uint32_t device, char *out, size_t out_len);
int devices_init(struct swarm *s);
/* The handshake is over: with a session or without. */
void device_ready(struct swarm *s, uint32_t device, uint64_t now_ns);
void device_failed(struct swarm *s, uint32_t device);
/* Requests of up to RECORD_BURST_MAX devices whose turn it is; returns how many. */
unsigned devices_send(struct swarm *s, uint64_t now_ns);
/* A datagram for a device that has a session. */
void device_receive(struct swarm *s, uint32_t device, uint8_t *bytes, size_t len, uint64_t now_ns);
/* Requests whose answer is overdue are counted as lost; called every 20 ms, looks at some devices each time.
 */
void devices_expire(struct swarm *s, uint64_t now_ns);
void devices_close(struct swarm *s);

/* shake.c */
struct shakes *shakes_new(struct swarm *s, char *error, size_t error_len);
void shakes_free(struct shakes *shakes);
bool shake_start(struct swarm *s, uint32_t device, uint64_t now_ns); /* false: too many in flight */
void shake_receive(struct swarm *s, uint32_t device, const uint8_t *bytes, size_t len, uint64_t now_ns);
void shakes_tick(struct swarm *s, uint64_t now_ns);
uint32_t shakes_in_flight(const struct shakes *shakes);

/* faults.c */
struct faults *faults_new(void);
void faults_free(struct faults *f);
/* Lets go what waits for its successor, for there may be none. */
void faults_release(struct swarm *s);

/* report.c */
void report_progress(const struct swarm *s, uint64_t now_ns);
void report_final(const struct swarm *s);
int report_json(const struct swarm *s);

#endif
