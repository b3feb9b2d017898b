/* sluice-bench-gateway: the gateway as it is, with sessions in its table before it starts whose keys anybody
 * can compute (bench/swarm/preset.h). Never installed; the gateway itself has no such door, none of this is
 * linked into it. The linker puts the functions below between its parts (--wrap):
 *
 *   main              takes --test-sessions off the command line
 *   worker_run        installs them, in the worker's own thread, before its first turn
 *   worker_read_mail  announces them to an application that attaches, as the control thread, which does not
 *                     know them, does for others
 *   worker_flush_ended  forgets them at the stop, when the control thread, which knows of no session, is gone
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/swarm/preset.h"
#include "bench/swarm/swarm.h"
#include "dataplane/worker.h"

enum { ANNOUNCED_PER_TURN = 64, IDENTITY_ROOM = 64 };

/* Owner: the worker's thread, after main. */
static struct preset {
	uint32_t count;
	const char *seed, *cid_file;
	uint32_t first; /* address of device 0, host byte order */
	struct sluice_ref *refs;
	uint32_t attach, announced; /* [0, announced) are, to that attachment */
} preset;

int __real_main(int argc, char **argv);
int __wrap_main(int argc, char **argv);
int __real_worker_run(void *worker);
int __wrap_worker_run(void *worker);
unsigned __real_worker_read_mail(struct worker *w, uint64_t now_ns);
unsigned __wrap_worker_read_mail(struct worker *w, uint64_t now_ns);
void __real_worker_flush_ended(struct worker *w);
void __wrap_worker_flush_ended(struct worker *w);

static void die(const char *what)
{
	fprintf(stderr, "sluice-bench-gateway: %s\n", what);
	exit(1);
}

static void device_path(uint32_t device, struct path *path)
{
	uint32_t address = htonl(preset.first + device);

	memset(path, 0, sizeof(*path)); /* the router's MAC comes with the first record */
	path->peer.ip[10] = path->peer.ip[11] = 0xff;
	memcpy(path->peer.ip + 12, &address, 4);
	path->peer.port = htons(SWARM_PORT_FIRST);
}

static void install_one(struct worker *w, uint32_t device, uint64_t now_ns)
{
	uint32_t slot = session_reserve(w->sessions), replaced, evicted;
	struct session_install in = {
		.suite = PRESET_SUITE,
		.protection = PROTECTION_AES_128_CCM_8,
		.has_cid = preset.cid_file,
		.epoch = 1,
		.rx_highest = PRESET_SEQ_NEXT,
		.tx_seq_next = PRESET_SEQ_NEXT,
	};

	if (slot != device)
		die("no room for the test sessions: sessions.max");
	in.ref = preset.refs[device] = session_ref(w->sessions, slot);
	device_path(device, &in.path);
	preset_keys(preset.seed, device, &in.rx_key.aead, &in.tx_key.aead);
	if (session_install(w->sessions, &in, now_ns, &replaced, &evicted) != 0 || replaced != SESSION_NONE ||
	    evicted != SESSION_NONE)
		die("the test sessions do not fit: sessions.max");
	counter_add(&w->counters->sessions_installed, 1);
}

/* The devices cannot learn them in a handshake. */
static void write_cids(const struct worker *w)
{
	FILE *f = fopen(preset.cid_file, "wb");
	uint8_t cid[CID_LEN];

	for (uint32_t i = 0; f && i < preset.count; i++) {
		session_cid(w->sessions, preset.refs[i].index, cid);
		if (fwrite(cid, sizeof(cid), 1, f) != 1)
			die("the file of CIDs cannot be written");
	}
	if (!f || fclose(f) != 0)
		die("the file of CIDs cannot be written");
}

int __wrap_worker_run(void *worker)
{
	struct worker *w = worker;
	struct timespec now;

	if (w->workers != 1)
		die("test sessions are for one worker");
	clock_gettime(CLOCK_MONOTONIC, &now);
	preset.refs = calloc(preset.count, sizeof(*preset.refs));
	if (!preset.refs)
		die("no memory for the test sessions");
	for (uint32_t i = 0; i < preset.count; i++)
		install_one(w, i, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	if (preset.cid_file)
		write_cids(w);
	fprintf(stderr, "sluice-bench-gateway: %u test sessions are there\n", preset.count);
	return __real_worker_run(worker);
}

/* False when the ring is full: later. */
static bool announce(struct worker *w, uint32_t device)
{
	_Alignas(8) uint8_t room[sizeof(struct sluice_session_up) + 4 + IDENTITY_ROOM] = {0};
	struct sluice_session_up *up = (struct sluice_session_up *)room;
	uint8_t *field = room + sizeof(*up);
	uint32_t slot = session_by_ref(w->sessions, preset.refs[device]);
	uint16_t head[2] = {SLUICE_FIELD_CREDENTIAL_ID};

	if (slot == SESSION_NONE)
		return true; /* it has ended */
	head[1] = (uint16_t)snprintf((char *)field + 4, IDENTITY_ROOM, "urn:swarm:%u", device);
	memcpy(field, head, sizeof(head));
	*up = (struct sluice_session_up){
		.ref = preset.refs[device],
		.suite = PRESET_SUITE,
		.credential = SLUICE_CREDENTIAL_PSK,
		.identity = SLUICE_IDENTITY_CREDENTIAL,
		.has_cid = preset.cid_file != NULL,
		.fields_len = (uint16_t)(4 + ((head[1] + 3) & ~3)),
	};
	memcpy(up->peer.ip, session_tx(w->sessions, slot)->path.peer.ip, sizeof(up->peer.ip));
	up->peer.port = session_tx(w->sessions, slot)->path.peer.port;
	if (!uplink_event(w->uplink, SLUICE_SESSION_UP, up, (uint32_t)(sizeof(*up) + up->fields_len)))
		return false;
	session_tx(w->sessions, slot)->announced = w->attach;
	w->uplink_dirty = true;
	return true;
}

unsigned __wrap_worker_read_mail(struct worker *w, uint64_t now_ns)
{
	unsigned work = __real_worker_read_mail(w, now_ns);

	if (!w->uplink)
		return work;
	if (preset.attach != w->attach) {
		preset.attach = w->attach;
		preset.announced = 0;
	}
	for (unsigned i = 0; i < ANNOUNCED_PER_TURN && preset.announced < preset.count; i++, work++) {
		if (!announce(w, preset.announced))
			break;
		preset.announced++;
	}
	return work;
}

/* The slot still is, or was last, a test session's: they were the first, so that device and slot are the
 * same. */
static bool is_preset(const struct worker *w, uint32_t slot)
{
	return slot < preset.count &&
	       session_ref(w->sessions, slot).generation == preset.refs[slot].generation;
}

void __wrap_worker_flush_ended(struct worker *w)
{
	uint32_t slot;

	while (w->stopping && (slot = session_down_pending(w->sessions)) != SESSION_NONE &&
	       is_preset(w, slot))
		session_release(w->sessions, slot);
	__real_worker_flush_ended(w);
}

/* "COUNT,SEED,ADDRESS" or "COUNT,SEED,ADDRESS,CID-FILE". */
static bool read_preset(char *text)
{
	char *count = strsep(&text, ","), *address;
	struct in_addr first;

	preset.count = (uint32_t)strtoul(count, NULL, 10);
	preset.seed = strsep(&text, ",");
	address = strsep(&text, ",");
	preset.cid_file = text;
	if (!address || preset.count == 0 || inet_pton(AF_INET, address, &first) != 1)
		return false;
	preset.first = ntohl(first.s_addr);
	return true;
}

int __wrap_main(int argc, char **argv)
{
	if (argc < 3 || strcmp(argv[1], "--test-sessions") != 0 || !read_preset(argv[2])) {
		fputs("Usage: sluice-bench-gateway --test-sessions COUNT,SEED,ADDRESS[,CID-FILE] "
		      "OPTIONS-OF-SLUICE\n"
		      "For benchmarks: COUNT sessions of devices from ADDRESS on are there at the start, "
		      "with keys "
		      "that\n"
		      "anybody can compute from SEED. With CID-FILE they have connection IDs, which are "
		      "written "
		      "there.\n",
		      stderr);
		return 2;
	}
	fputs("sluice-bench-gateway: TEST SESSIONS, WHOSE KEYS ARE NO SECRET: NEVER ON A NETWORK\n", stderr);
	argv[2] = argv[0];
	return __real_main(argc - 2, argv + 2);
}
