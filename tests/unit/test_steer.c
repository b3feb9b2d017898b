/* Two workers turned by hand at a port with one queue: what the first one receives and the second one owns
 * reaches it, once, whatever the frames say of themselves.
 */
#include <pthread.h>
#include <rte_malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dataplane/steer.h"
#include "tests/rig/rig.h"
#include "tests/unit/eal_start.h"

#define EPOCH_1 (1ULL << 48)

struct fixture {
	struct rig rig; /* with the first worker; only that one has a receive queue */
	struct worker_link link;
	struct worker *second;
	struct steer *steer;
};

static void open_second(struct fixture *f)
{
	static const uint8_t cid_key[16] = {1, 2, 3}; /* the rig's: all workers have the same */
	struct worker_setup setup = {.config = &f->rig.config,
				     .index = 1,
				     .link = &f->link,
				     .crypto = &f->rig.choice,
				     .cid_key = cid_key,
				     .steer = f->steer,
				     .port = &f->rig.port,
				     .local = f->rig.local};
	char error[512];

	f->link.counters = rte_zmalloc(NULL, sizeof(*f->link.counters), 64);
	assert_non_null(f->link.counters);
	assert_int_equal(mailbox_init(&f->link.to_control, MAILBOX_MIN), 0);
	assert_int_equal(mailbox_init(&f->link.to_worker, MAILBOX_MIN), 0);
	f->second = worker_new(&setup, error, sizeof(error));
	assert_non_null(f->second);
}

static struct fixture *fixture_new(unsigned workers, bool by_hash)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	rig_defaults(&f->rig);
	f->rig.config.workers.count = workers;
	f->rig.config.port.mbufs = 4095;
	rig_open(&f->rig);
	f->steer = steer_new(workers, by_hash, 12345);
	assert_non_null(f->steer);
	f->rig.worker->steer = f->steer;
	open_second(f);
	return f;
}

static int by_hash(void **state)
{
	*state = fixture_new(2, true);
	return 0;
}

static int by_cid_alone(void **state)
{
	*state = fixture_new(2, false);
	return 0;
}

/* The third one is turned in the place of the first. */
static int of_three(void **state)
{
	*state = fixture_new(3, false);
	return 0;
}

static uint64_t frames(const struct worker *w, enum frame_verdict v)
{
	return counter_get(&w->counters->frames[v]);
}

static uint64_t records(const struct worker *w, enum record_verdict v)
{
	return counter_get(&w->counters->records[v]);
}

/* O13: every frame at either worker has had one verdict. */
static void assert_counters_close(const struct worker *w)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < FRAME_VERDICTS_COUNT; i++)
		sum += frames(w, i);
	assert_int_equal(sum, counter_get(&w->counters->frames_in));
}

/* No buffer is lost, on any way. */
static int tear_down(void **state)
{
	struct fixture *f = *state;

	assert_counters_close(f->rig.worker);
	assert_counters_close(f->second);
	worker_free(f->second);
	steer_free(f->steer);
	assert_int_equal(rte_mempool_in_use_count(f->rig.port.pools[0]), 0);
	mailbox_fini(&f->link.to_control);
	mailbox_fini(&f->link.to_worker);
	rte_free(f->link.counters);
	rig_close(&f->rig);
	free(f);
	return 0;
}

static void turn_first(struct fixture *f)
{
	while (worker_poll(f->rig.worker, f->rig.now_ns))
		;
}

static void turn(struct fixture *f)
{
	turn_first(f);
	while (worker_poll(f->second, f->rig.now_ns))
		;
}

static struct rig_record data_record(uint32_t device, const uint8_t *cid)
{
	return (struct rig_record){.device = device,
				   .cid = cid,
				   .epoch_seq = EPOCH_1 | 1,
				   .payload = "coap",
				   .payload_len = 4,
				   .type = CONTENT_APPLICATION_DATA};
}

/* The worker, 0 or 1, that looks for the session of this record. */
static unsigned owner_of_record(struct fixture *f, struct rig_record r)
{
	uint64_t first = frames(f->rig.worker, FRAME_RECORDS), second = frames(f->second, FRAME_RECORDS);

	rig_send(&f->rig, &r, 1);
	turn(f);
	first = frames(f->rig.worker, FRAME_RECORDS) - first;
	second = frames(f->second, FRAME_RECORDS) - second;
	assert_int_equal(first + second, 1);
	return second != 0;
}

/* A live session of the device at the second worker; with no application there, its data end as
 * DROP_NO_CONSUMER. */
static void install_at_second(struct fixture *f, uint32_t device, uint8_t cid[CID_LEN])
{
	struct session_table *t = f->second->sessions;
	uint32_t slot = session_reserve(t), replaced, evicted;
	struct session_install in = {.protection = PROTECTION_AES_128_CCM_8,
				     .has_cid = true,
				     .epoch = 1,
				     .rx_highest = 1,
				     .tx_seq_next = 1};

	in.ref = session_ref(t, slot);
	rig_path(device, &in.path);
	rig_key(device, &in.rx_key.aead);
	rig_key(device, &in.tx_key.aead);
	assert_int_equal(session_install(t, &in, f->rig.now_ns, &replaced, &evicted), 0);
	session_cid(t, slot, cid);
}

static void an_address_has_one_owner(void **state)
{
	struct fixture *f = *state;
	unsigned owned_by_second = 0;

	for (uint32_t device = 0; device < 200; device++) {
		unsigned owner = owner_of_record(f, data_record(device, NULL));

		assert_int_equal(owner_of_record(f, data_record(device, NULL)), owner);
		owned_by_second += owner;
	}
	assert_in_range(owned_by_second, 60, 140);
	assert_int_equal(frames(f->rig.worker, FRAME_STEERED), 2 * owned_by_second);
	assert_int_equal(counter_get(&f->second->counters->frames_in), 2 * owned_by_second);
}

/* Where the port spreads by address itself, a frame without a CID is where its session is. */
static void without_a_hash_an_address_stays(void **state)
{
	struct fixture *f = *state;

	for (uint32_t device = 0; device < 50; device++)
		assert_int_equal(owner_of_record(f, data_record(device, NULL)), 0);
}

/* I07: wherever the peer is now, its CID names the owner. */
static void i07_a_cid_leads_to_its_owner_from_anywhere(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, NULL);
	uint8_t cid[CID_LEN];

	install_at_second(f, 3, cid);
	r.cid = cid;
	for (uint32_t place = 0; place < 50; place++) {
		struct path from;

		rig_path(100 + place, &from);
		r.from = &from;
		r.epoch_seq = EPOCH_1 | (1 + place);
		assert_int_equal(owner_of_record(f, r), 1);
	}
	assert_int_equal(records(f->second, RECORD_DROP_NO_CONSUMER), 50);
	assert_int_equal(counter_get(&f->second->counters->sessions_moved), 50);
	assert_int_equal(frames(f->rig.worker, FRAME_STEERED), 50);
}

/* CIDs that nobody handed out name any worker, most of them one that is not there. */
static void wild_cids_go_round_nowhere(void **state)
{
	struct fixture *f = *state;
	uint8_t cid[CID_LEN];

	for (uint32_t i = 0; i < 2000; i++) {
		uint64_t random = rig_mix(i);

		memcpy(cid, &random, sizeof(cid));
		(void)owner_of_record(f, data_record(3, cid));
	}
	assert_int_equal(records(f->rig.worker, RECORD_DROP_NO_SESSION) +
				 records(f->second, RECORD_DROP_NO_SESSION),
			 2000);
	assert_in_range(frames(f->rig.worker, FRAME_STEERED), 1, 40); /* one in 256 names the second worker */
}

/* What control gives back to a worker belongs there, whatever the hash of its address says. */
static void what_is_reinjected_stays(void **state)
{
	struct fixture *f = *state;
	uint64_t steered;
	uint32_t device = 0;

	while (owner_of_record(f, data_record(device, NULL)) == 0)
		device++;
	steered = frames(f->rig.worker, FRAME_STEERED);
	for (unsigned i = 0; i < 3; i++) {
		static const uint8_t record[] = {23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 1, 0};
		struct mail_record mail = {.record_len = sizeof(record)};

		rig_path(device, &mail.path);
		assert_true(mailbox_post(&f->rig.link.to_worker, MAIL_REINJECT, &mail, sizeof(mail), record,
					 sizeof(record)));
	}
	mailbox_publish(&f->rig.link.to_worker);
	turn(f);
	assert_int_equal(frames(f->rig.worker, FRAME_STEERED), steered);
	assert_int_equal(records(f->rig.worker, RECORD_DROP_NO_SESSION), device + 3);
}

/* An owner that does not keep up costs its own frames, each one counted; those that it has room for come. */
static void a_full_queue_drops_and_counts(void **state)
{
	struct fixture *f = *state;
	struct rig_record r = data_record(3, NULL);
	uint64_t steered, full;
	uint8_t cid[CID_LEN];

	install_at_second(f, 3, cid);
	r.cid = cid;
	for (unsigned i = 0; i < 1500; i++) {
		r.epoch_seq = EPOCH_1 | (1 + i);
		rig_send(&f->rig, &r, 1);
	}
	turn_first(f);
	steered = frames(f->rig.worker, FRAME_STEERED);
	full = frames(f->rig.worker, FRAME_DROP_STEER_FULL);
	assert_int_equal(steered + full, 1500);
	assert_in_range(full, 1, 500);
	turn(f);
	assert_int_equal(records(f->second, RECORD_DROP_NO_CONSUMER), steered);
}

/* A flood that comes by one worker does not keep waiting what comes by another. */
static void workers_that_steer_take_turns(void **state)
{
	enum { FLOOD = 600, OTHERS = 20 };
	struct fixture *f = *state;
	uint8_t cid[2][CID_LEN];
	struct rig_record r;

	install_at_second(f, 3, cid[0]);
	install_at_second(f, 4, cid[1]);
	r = data_record(3, cid[0]);
	r.epoch_seq |= 1 << 20;
	for (unsigned i = 0; i < FLOOD; i++)
		rig_send(&f->rig, &r, 1); /* the first one is new, the others are replays */
	turn_first(f);
	f->rig.worker->index = 2;
	r = data_record(4, cid[1]);
	for (unsigned i = 0; i < OTHERS; i++, r.epoch_seq++)
		rig_send(&f->rig, &r, 1);
	turn_first(f);
	f->rig.worker->index = 0;
	for (unsigned i = 0; i < 3; i++) /* once each has been the first to be asked */
		worker_poll(f->second, f->rig.now_ns);
	assert_int_equal(records(f->second, RECORD_DROP_NO_CONSUMER), 1 + OTHERS);
	assert_in_range(records(f->second, RECORD_DROP_REPLAY), 1, FLOOD - 2);
	turn(f);
	assert_int_equal(records(f->second, RECORD_DROP_REPLAY), FLOOD - 1);
}

/* At the stop an owner may be gone before those who send to it: tear_down() counts the buffers. */
static void what_waits_at_the_stop_is_freed(void **state)
{
	struct fixture *f = *state;
	uint8_t cid[CID_LEN];
	struct rig_record r;

	install_at_second(f, 3, cid);
	r = data_record(3, cid);
	for (unsigned i = 0; i < 100; i++)
		rig_send(&f->rig, &r, 1);
	turn_first(f);
	assert_int_equal(frames(f->rig.worker, FRAME_STEERED), 100);
	assert_int_equal(counter_get(&f->second->counters->frames_in), 0);
}

#define T(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(an_address_has_one_owner, by_hash),
		T(without_a_hash_an_address_stays, by_cid_alone),
		T(i07_a_cid_leads_to_its_owner_from_anywhere, by_hash),
		T(i07_a_cid_leads_to_its_owner_from_anywhere, by_cid_alone),
		T(wild_cids_go_round_nowhere, by_hash),
		T(what_is_reinjected_stays, by_hash),
		T(a_full_queue_drops_and_counts, by_cid_alone),
		T(workers_that_steer_take_turns, of_three),
		T(what_waits_at_the_stop_is_freed, by_hash),
	};

	if (!eal_start(128))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
