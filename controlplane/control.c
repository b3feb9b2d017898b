/* The control thread: mail in, timers, announcements, mail out, sleep. What the mail means is in negotiate.c
 * and application.c.
 */
#include "controlplane/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "controlplane/internal.h"
#include "controlplane/question.h"
#include "crypto/secret.h"
#include "crypto/wolfssl_random.h"

enum {
	MAIL_PER_TURN = 64, /* of one worker, before timers and the others get their turn */
	EVENTS_MAX = 16,
	ANSWERS_PER_TURN = 8, /* times that a store is asked whether there are more */
	LOG_LINES_PER_SECOND = 20,
	SLEEP_MS_MAX = 1000,
	SLEEP_MS_FULL = 1, /* while a mailbox is full */
};
#define SECOND_NS 1000000000ULL
#define STOP_NS   (2 * SECOND_NS)

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- mail in */

static void take_mail(struct control *c, const struct spsc_message *m)
{
	const struct mail_session *session = m->body;

	switch ((enum mail_type)m->type) {
	case MAIL_HELLO:
		negotiate_hello(c, m->body);
		secret_wipe((void *)(uintptr_t)m->body, sizeof(struct mail_hello));
		break;
	case MAIL_RECORD:
		negotiate_record(c, m->body);
		break;
	case MAIL_FINISHED_AGAIN:
		negotiate_finished_again(c, session->ref);
		break;
	case MAIL_RENEGOTIATION:
		negotiate_renegotiation(c, session->ref);
		break;
	case MAIL_HANDSHAKE_DROPPED:
		negotiate_dropped(c, session->ref);
		break;
	case MAIL_SESSION_ENDED:
		negotiate_ended(c, m->body);
		break;
	case MAIL_NOT_INSTALLED:
		negotiate_not_installed(c, m->body);
		break;
	case MAIL_PEER_MOVED:
		negotiate_moved(c, m->body);
		break;
	case MAIL_NOT_ANNOUNCED:
		application_not_announced(c, session->ref);
		break;
	case MAIL_UPLINK_BROKEN:
		application_broken(c, ((const struct mail_uplink *)m->body)->attach);
		break;
	case MAIL_UPLINK_RETURNED:
		application_returned(c, ((const struct mail_uplink *)m->body)->uplink);
		break;
	default:
		log_write(LOG_LEVEL_ERROR, "a worker sent mail of the unknown type %u", m->type);
		break;
	}
}

/* True when there may be more. */
static bool read_mail(struct control *c)
{
	bool more = false;

	for (unsigned i = 0; i < c->workers; i++) {
		struct mailbox *from = &c->links[i].to_control;
		struct spsc_message m;
		unsigned n = 0;

		while (n < MAIL_PER_TURN && mailbox_next(from, &m)) {
			take_mail(c, &m);
			n++;
		}
		if (n > 0)
			mailbox_release(from);
		more |= n == MAIL_PER_TURN;
	}
	return more;
}

/* ---- timers */

/* RFC 6347 4.2.1: a new secret now and then; the workers accept the one before for as long again. */
static int rotate_cookie_secret(struct control *c)
{
	struct mail_cookie_secret mail;
	int ret = random_block(mail.secret, sizeof mail.secret) ? -EIO : 0;

	for (unsigned i = 0; ret == 0 && i < c->workers; i++)
		ret = outbox_send(&c->outboxes[i], MAIL_COOKIE_SECRET, &mail, sizeof mail, NULL, 0);
	secret_wipe(&mail, sizeof mail);
	c->rotate_ns = c->now_ns + c->config->handshakes.cookie_rotation_s * SECOND_NS;
	return ret;
}

/* A store that answers later sends what was asked in this turn, and gives what came to those who wait. */
static void process_store(struct control *c)
{
	const struct credentials *credentials = &c->credentials;
	uint64_t question;

	if (!credentials->ops || !credentials->ops->process)
		return;
	if (!c->store_ready && c->now_ns < credentials->ops->deadline(credentials->store))
		return;
	c->store_ready = false;
	/* Again at once: what is told now is for those who wait now, not for who comes next. */
	for (unsigned i = 0; i < ANSWERS_PER_TURN; i++) {
		if (credentials->ops->process(credentials->store, c->now_ns) == 0)
			return;
		while ((question = credentials->ops->next_answer(credentials->store)))
			negotiate_answered(c, question);
		revoke_answered(c);
	}
}

static void run_timers(struct control *c)
{
	process_store(c);
	negotiate_timers(c);
	if (c->now_ns >= c->watch_ns) {
		admin_watch_workers(c);
		c->watch_ns = c->now_ns + SECOND_NS;
	}
	if (c->now_ns >= c->rotate_ns && rotate_cookie_secret(c))
		log_write(LOG_LEVEL_ERROR, "the cookie secret could not be changed");
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int sleep_ms(struct control *c)
{
	uint64_t until = earlier(attempts_deadline(c->attempts), c->rotate_ns);

	if (c->credentials.ops && c->credentials.ops->deadline)
		until = earlier(until, c->credentials.ops->deadline(c->credentials.store));
	until = earlier(until, revoke_deadline(c));
	until = earlier(until, admin_deadline(c->admin, c->now_ns));
	until = earlier(until, associations_retry_deadline(c->associations));
	until = earlier(until, associations_expire_flights(c->associations, c->now_ns));
	if (c->stopping)
		until = earlier(until, c->stop_by_ns);
	if (until <= c->now_ns)
		return 0;
	until = (until - c->now_ns) / 1000000 + 1;
	return until < SLEEP_MS_MAX ? (int)until : SLEEP_MS_MAX;
}

/* ---- the loop */

static void drain(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof count) > 0)
		;
}

/* From outside, and not of the store. */
static void take_answers(struct control *c, int fd)
{
	uint64_t question;

	drain(fd);
	while ((question = questions_next_answered(tls_questions())))
		negotiate_answered(c, question);
}

static void take_event(struct control *c, int fd)
{
	if (fd == c->application.listen_fd)
		application_connect(c);
	else if (fd == c->application.connection_fd)
		application_disconnected(c);
	else if (fd == c->stop_fd)
		drain(fd);
	else if (fd == questions_fd(tls_questions()))
		take_answers(c, fd);
	else if (fd == tenants_fd(c->tenants))
		tenants_renew(c->tenants);
	else if (fd == c->store_fd)
		c->store_ready = true;
	for (unsigned i = 0; i < c->workers; i++) {
		if (fd == c->links[i].to_control.event_fd)
			drain(fd);
	}
}

static void wait_for_events(struct control *c, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int n;

	/* Whoever sends mail after this wakes us; what came before is seen here. */
	for (unsigned i = 0; i < c->workers; i++) {
		if (!spsc_sleep(&c->links[i].to_control.consumer))
			timeout_ms = 0;
	}
	n = epoll_wait(c->epoll_fd, events, EVENTS_MAX, timeout_ms);
	for (unsigned i = 0; i < c->workers; i++)
		spsc_awake(&c->links[i].to_control.consumer);
	c->now_ns = monotonic_ns();
	for (int i = 0; i < n; i++)
		take_event(c, events[i].data.fd);
}

static void begin_to_stop(struct control *c)
{
	c->stopping = true;
	c->stop_by_ns = c->now_ns + STOP_NS;
	for (unsigned i = 0; i < c->workers; i++) {
		if (outbox_send(&c->outboxes[i], MAIL_STOP, NULL, 0, NULL, 0))
			log_write(LOG_LEVEL_ERROR, "out of memory: worker %u cannot be stopped", i);
	}
}

/* As long as sessions end, a stop goes on: the workers wait for us to hear of each. */
static void watch_stop(struct control *c)
{
	if (c->stopping && associations_count(c->associations) != c->stop_left) {
		c->stop_left = associations_count(c->associations);
		c->stop_by_ns = c->now_ns + STOP_NS;
	}
}

static bool may_end(const struct control *c, bool waiting)
{
	return c->stopping &&
	       ((associations_count(c->associations) == 0 && !waiting) || c->now_ns >= c->stop_by_ns);
}

static void *control_run(void *argument)
{
	struct control *c = argument;
	bool busy, waiting;

	do {
		c->now_ns = monotonic_ns();
		if (atomic_load_explicit(&c->stop, memory_order_acquire) && !c->stopping)
			begin_to_stop(c);
		busy = read_mail(c);
		watch_stop(c);
		run_timers(c);
		busy |= application_announce(c);
		busy |= revoke_turn(c);
		busy |= admin_turn(c->admin);
		waiting = false;
		for (unsigned i = 0; i < c->workers; i++)
			waiting |= outbox_flush(&c->outboxes[i]);
		/* Announcements wait for room in a mailbox, too. */
		waiting |= c->application.announce_worker < c->workers;
		if (!may_end(c, waiting))
			wait_for_events(c, busy ? 0 : waiting ? SLEEP_MS_FULL : sleep_ms(c));
	} while (!may_end(c, waiting));
	return NULL;
}

/* ---- start and end: main thread */

static int watch(struct control *c, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

	return fd < 0 || epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int watch_store(struct control *c)
{
	const struct credentials *credentials = &c->credentials;

	if (!credentials->ops || !credentials->ops->fd)
		return 0;
	c->store_fd = credentials->ops->fd(credentials->store);
	return watch(c, c->store_fd);
}

static int open_descriptors(struct control *c)
{
	int ret;

	c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	c->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->epoll_fd < 0)
		return -errno;
	ret = watch(c, c->stop_fd);
	for (unsigned i = 0; ret == 0 && i < c->workers; i++)
		ret = watch(c, c->links[i].to_control.event_fd);
	return ret;
}

static int make_tables(struct control *c)
{
	const struct config_handshakes *h = &c->config->handshakes;
	uint32_t slots[UPLINK_WORKERS_MAX];
	uint64_t seed;

	if (c->workers > UPLINK_WORKERS_MAX || random_block((unsigned char *)&seed, sizeof seed))
		return -EINVAL;
	c->outboxes = calloc(c->workers, sizeof *c->outboxes);
	if (!c->outboxes)
		return -ENOMEM;
	for (unsigned i = 0; i < c->workers; i++) {
		slots[i] = c->links[i].slots;
		outbox_init(&c->outboxes[i], &c->links[i].to_worker);
	}
	c->admit = admit_new(h->rate, h->rate_prefix, seed, c->now_ns);
	c->attempts = attempts_new(h->max, h->retransmit_ms * (SECOND_NS / 1000), h->timeout_s * SECOND_NS);
	c->associations = associations_new(c->workers, slots);
	return c->admit && c->attempts && c->associations ? 0 : -ENOMEM;
}

static int load_credentials(struct control *c, char *error, size_t error_len)
{
	int ret = tls_global_init();
	uint64_t slots = 0;

	if (ret) {
		snprintf(error, error_len, "wolfSSL does not start");
		return ret;
	}
	ret = stores_open(&c->config->credentials, &c->stores, error, error_len);
	if (ret)
		return ret;
	c->credentials = stores_credentials(c->stores);
	ret = watch_store(c);
	if (ret == 0)
		ret = watch(c, questions_fd(tls_questions()));
	if (ret) {
		snprintf(error, error_len, "the credential store cannot be watched: %s", strerror(-ret));
		return ret;
	}
	c->tenants = tenants_new(c->config, c->credentials, error, error_len);
	if (!c->tenants)
		return -EINVAL;
	ret = watch(c, tenants_fd(c->tenants));
	if (ret) {
		snprintf(error, error_len, "the tenants' files cannot be watched: %s", strerror(-ret));
		return ret;
	}
	for (unsigned i = 0; i < c->workers; i++)
		slots += c->links[i].slots;
	c->standings = standings_new(slots, tenants_count(c->tenants));
	revoke_open(c);
	if (c->standings)
		return 0;
	snprintf(error, error_len, "out of memory for the sessions");
	return -ENOMEM;
}

int control_check(const struct config *config, char *error, size_t error_len)
{
	struct stores *stores = NULL;
	struct tenants *tenants = NULL;
	int ret = tls_global_init_idle();

	snprintf(error, error_len, "wolfSSL does not start");
	log_set_level(LOG_LEVEL_WARNING);
	if (ret == 0)
		ret = stores_open(&config->credentials, &stores, error, error_len);
	if (ret == 0) {
		tenants = tenants_new(config, stores_credentials(stores), error, error_len);
		ret = tenants ? 0 : -EINVAL;
	}
	tenants_free(tenants);
	stores_close(stores);
	tls_global_fini();
	return ret;
}

static int open_admin(struct control *c, char *error, size_t error_len)
{
	int ret;

	c->started_s = (uint64_t)time(NULL);
	c->watches = calloc(c->workers, sizeof c->watches[0]);
	if (!c->watches || outcomes_open(c)) {
		snprintf(error, error_len, "out of memory for the history of handshakes");
		return -ENOMEM;
	}
	ret = admin_open(c, error, error_len);
	if (ret || admin_fd(c->admin) < 0)
		return ret;
	ret = watch(c, admin_fd(c->admin));
	if (ret)
		snprintf(error, error_len, "admin.socket: %s", strerror(-ret));
	return ret;
}

void control_watch_port(struct control *c, bool (*is_up)(void *port), void *port)
{
	c->port_is_up = is_up;
	c->port = port;
}

struct control *control_new(const struct config *config, struct worker_link *links, unsigned workers,
			    char *error, size_t error_len)
{
	struct control *c = calloc(1, sizeof *c);
	int ret;

	snprintf(error, error_len, "out of memory");
	if (!c)
		return NULL;
	c->config = config;
	c->links = links;
	c->workers = workers;
	c->now_ns = monotonic_ns();
	c->epoll_fd = c->stop_fd = c->store_fd = c->application.listen_fd = c->application.connection_fd = -1;
	c->log_up.rate = c->log_down.rate = c->log_refused.rate = LOG_LINES_PER_SECOND;
	log_set_level(log_level_by_name(config->log_level));
	ret = open_descriptors(c);
	if (ret == 0)
		ret = make_tables(c);
	if (ret)
		snprintf(error, error_len, "the control thread cannot be set up: %s", strerror(-ret));
	if (ret || load_credentials(c, error, error_len) || application_open(c, error, error_len) ||
	    open_admin(c, error, error_len)) {
		control_free(c);
		return NULL;
	}
	return c;
}

void control_reload(struct control *c)
{
	tenants_look(c->tenants);
	stores_look(c->stores);
}

int control_start(struct control *c)
{
	int ret = rotate_cookie_secret(c);

	if (ret)
		return ret;
	for (unsigned i = 0; i < c->workers; i++)
		(void)outbox_flush(&c->outboxes[i]);
	ret = -pthread_create(&c->thread, NULL, control_run, c);
	c->started = ret == 0;
	return ret;
}

void control_stop(struct control *c)
{
	static const uint64_t one = 1;

	if (!c->started)
		return;
	atomic_store_explicit(&c->stop, true, memory_order_release); /* pairs with control_run() */
	(void)!write(c->stop_fd, &one, sizeof one);
	pthread_join(c->thread, NULL);
	c->started = false;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	admin_close(c->admin);
	outcomes_close(c);
	free(c->watches);
	attempts_free(c->attempts);
	associations_free(c->associations);
	standings_free(c->standings);
	admit_free(c->admit);
	for (unsigned i = 0; c->outboxes && i < c->workers; i++)
		outbox_fini(&c->outboxes[i]);
	free(c->outboxes);
	tenants_free(c->tenants);
	stores_close(c->stores);
	tls_global_fini();
	application_close(c);
	if (c->stop_fd >= 0)
		close(c->stop_fd);
	if (c->epoll_fd >= 0)
		close(c->epoll_fd);
	free(c);
}
