/* What a responder says of one certificate is about that one; only a responder in trouble is left alone by
 * all (RFC 6960 4.2.1, RFC 5019 2.2.3). Over HTTP, with a responder on a thread of its own. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include <openssl/ocsp.h>

#include "controlplane/ocsp.h"
#include "controlplane/question.h"
#include "tests/unit/authority.h"

enum { GOOD = 11, REVOKED = 12, ODD = 13, WAIT_MS = 60000, MESSAGE_MAX = 4096 };
enum { HTTP_ERROR = -1, RUBBISH = -2, HOLLOW = -3 }; /* beside the statuses of RFC 6960 4.2.1 */

static struct subject root, good, revoked, odd;
/* two CAs below the root, and who speaks of what the lower one has issued */
static struct subject upper, lower, good_below, revoked_below, delegate, not_a_delegate, delegate_of_upper;
static struct subject delegate_by_sha1, delegate_short;
static struct trust *trust;
static struct errands *errands;
static struct questions *questions;
static char anchors[] = "/tmp/sluice-ocsp-XXXXXX";

static struct {
	pthread_t thread;
	int listener;
	char url[64];
	const struct subject *_Atomic signer;
	const EVP_MD *_Atomic hash;
	_Atomic int says_of_odd;
	_Atomic unsigned asked;
} responder;

/* ---- the responder */

/* Returns where the body begins, NULL when there is none. */
static const uint8_t *read_request(int fd, char *in, long *body_len)
{
	size_t len = 0;

	for (;;) {
		ssize_t got = read(fd, in + len, MESSAGE_MAX - 1 - len);
		const char *end, *field;

		if (got <= 0)
			return NULL;
		len += (size_t)got;
		in[len] = 0;
		end = strstr(in, "\r\n\r\n");
		field = strcasestr(in, "Content-Length:");
		if (!end || !field)
			continue;
		*body_len = strtol(field + strlen("Content-Length:"), NULL, 10);
		if (len >= (size_t)(end + 4 - in) + (size_t)*body_len)
			return (const uint8_t *)end + 4;
	}
}

static OCSP_BASICRESP *sign_status(OCSP_CERTID *id, long serial)
{
	const struct subject *signer = responder.signer;
	OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
	ASN1_TIME *from = X509_gmtime_adj(NULL, -60), *until = X509_gmtime_adj(NULL, DAY_S);

	OCSP_basic_add1_status(basic, id,
			       serial == REVOKED ? V_OCSP_CERTSTATUS_REVOKED : V_OCSP_CERTSTATUS_GOOD,
			       OCSP_REVOKED_STATUS_NOSTATUS, from, from, until);
	OCSP_basic_sign(basic, signer->certificate, signer->key, responder.hash, NULL, 0);
	ASN1_TIME_free(from);
	ASN1_TIME_free(until);
	return basic;
}

/* Returns the length of the response. */
static int respond(const uint8_t *request_der, long len, uint8_t *out)
{
	OCSP_REQUEST *request = d2i_OCSP_REQUEST(NULL, &request_der, len);
	OCSP_CERTID *id = OCSP_onereq_get0_id(OCSP_request_onereq_get0(request, 0));
	ASN1_INTEGER *number;
	OCSP_BASICRESP *basic = NULL;
	OCSP_RESPONSE *response;
	long serial;
	int status, out_len;

	OCSP_id_get0_info(NULL, NULL, NULL, &number, id);
	serial = ASN1_INTEGER_get(number);
	status = serial == ODD ? responder.says_of_odd : OCSP_RESPONSE_STATUS_SUCCESSFUL;
	if (status == OCSP_RESPONSE_STATUS_SUCCESSFUL)
		basic = sign_status(id, serial);
	response = OCSP_response_create(status == HOLLOW ? OCSP_RESPONSE_STATUS_SUCCESSFUL : status, basic);
	out_len = i2d_OCSP_RESPONSE(response, &out);
	OCSP_RESPONSE_free(response);
	OCSP_BASICRESP_free(basic);
	OCSP_REQUEST_free(request);
	return out_len;
}

static void serve(int fd)
{
	char in[MESSAGE_MAX], head[160];
	uint8_t out[MESSAGE_MAX] = "rubbish";
	long body_len;
	const uint8_t *body = read_request(fd, in, &body_len);
	int len = (int)strlen((char *)out), head_len;

	if (!body)
		return;
	responder.asked++;
	if (responder.says_of_odd != HTTP_ERROR && responder.says_of_odd != RUBBISH)
		len = respond(body, body_len, out);
	head_len = snprintf(head, sizeof head,
			    "HTTP/1.0 %s\r\nContent-Type: application/ocsp-response\r\n"
			    "Content-Length: %d\r\n\r\n",
			    responder.says_of_odd == HTTP_ERROR ? "503 Service Unavailable" : "200 OK", len);
	send(fd, head, (size_t)head_len, MSG_NOSIGNAL);
	send(fd, out, (size_t)len, MSG_NOSIGNAL);
}

static void *run_responder(void *unused)
{
	int fd;

	while ((fd = accept(responder.listener, NULL, NULL)) >= 0) {
		serve(fd);
		close(fd);
	}
	return unused;
}

static int start_responder(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;

	responder.listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(responder.listener, (struct sockaddr *)&at, len) || listen(responder.listener, 8) ||
	    getsockname(responder.listener, (struct sockaddr *)&at, &len))
		return -errno;
	snprintf(responder.url, sizeof responder.url, "http://127.0.0.1:%u/", ntohs(at.sin_port));
	return -pthread_create(&responder.thread, NULL, run_responder, NULL);
}

/* ---- */

static struct chain *chain_of(const struct subject *s)
{
	const struct subject *all[] = {s, &lower, &upper};
	size_t all_count = s == &good_below || s == &revoked_below ? 3 : 1;
	struct refusal refusal = {0};
	uint8_t list[4096];
	struct chain *c = chain_verify(trust, list, list_of(list, sizeof list, all, all_count), &refusal);

	assert_non_null(c);
	return c;
}

/* The number of the next answer. */
static uint64_t wait_for_answer(void)
{
	struct pollfd fd = {.fd = questions_fd(questions), .events = POLLIN};
	uint64_t number = questions_next_answered(questions), count;

	while (!number) {
		assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
		assert_int_equal(read(fd.fd, &count, sizeof count), sizeof count);
		number = questions_next_answered(questions);
	}
	return number;
}

/* Waits for the answer, as a handshake does. *at_once: there was none to wait for. */
static enum ocsp_verdict verdict_on(struct ocsp *o, const struct subject *s, bool *at_once)
{
	struct chain *c = chain_of(s);
	uint64_t question = 0;
	enum ocsp_verdict verdict = ocsp_ask(o, c, &question);

	*at_once = verdict != OCSP_VERDICT_LATER;
	if (!*at_once) {
		assert_true(question == wait_for_answer());
		verdict = ocsp_ask(o, c, &question);
	}
	chain_free(c);
	return verdict;
}

static struct ocsp *new_ocsp(int says_of_odd)
{
	struct ocsp *o = ocsp_new(errands, responder.url, questions, "tls.");

	assert_non_null(o);
	responder.says_of_odd = says_of_odd;
	responder.signer = &root;
	responder.hash = EVP_sha256();
	responder.asked = 0;
	return o;
}

static void test_verdicts(void **state)
{
	struct ocsp *o = new_ocsp(OCSP_RESPONSE_STATUS_SUCCESSFUL);
	bool at_once;

	assert_int_equal(verdict_on(o, &good, &at_once), OCSP_VERDICT_GOOD);
	assert_false(at_once);
	assert_int_equal(verdict_on(o, &revoked, &at_once), OCSP_VERDICT_REVOKED);
	assert_int_equal(responder.asked, 2);
	assert_int_equal(verdict_on(o, &revoked, &at_once), OCSP_VERDICT_REVOKED);
	assert_true(at_once);
	assert_int_equal(responder.asked, 2);
	ocsp_free(o);
}

static void test_a_refusal_is_about_one_certificate(void **state)
{
	static const int statuses[] = {OCSP_RESPONSE_STATUS_UNAUTHORIZED,
				       OCSP_RESPONSE_STATUS_MALFORMEDREQUEST,
				       OCSP_RESPONSE_STATUS_SIGREQUIRED};

	for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++) {
		struct ocsp *o = new_ocsp(statuses[i]);
		bool at_once;

		assert_int_equal(verdict_on(o, &odd, &at_once), OCSP_VERDICT_UNANSWERED);
		assert_int_equal(verdict_on(o, &revoked, &at_once), OCSP_VERDICT_REVOKED);
		assert_int_equal(verdict_on(o, &good, &at_once), OCSP_VERDICT_GOOD);
		assert_int_equal(responder.asked, 3);
		/* kept for a while: it is not asked again with every handshake */
		assert_int_equal(verdict_on(o, &odd, &at_once), OCSP_VERDICT_UNANSWERED);
		assert_true(at_once);
		assert_int_equal(responder.asked, 3);
		ocsp_free(o);
	}
}

static void test_a_responder_in_trouble_is_left_alone(void **state)
{
	static const int troubles[] = {OCSP_RESPONSE_STATUS_TRYLATER, OCSP_RESPONSE_STATUS_INTERNALERROR,
				       HTTP_ERROR, RUBBISH, HOLLOW};

	for (size_t i = 0; i < sizeof troubles / sizeof troubles[0]; i++) {
		struct ocsp *o = new_ocsp(troubles[i]);
		bool at_once;

		assert_int_equal(verdict_on(o, &odd, &at_once), OCSP_VERDICT_UNANSWERED);
		assert_false(at_once);
		assert_int_equal(verdict_on(o, &good, &at_once), OCSP_VERDICT_UNANSWERED);
		assert_true(at_once);
		assert_int_equal(responder.asked, 1);
		ocsp_free(o);
	}
}

/* Whoever signs for the issuer is believed, however far the issuer is below the anchor; nobody else is. */
static void test_below_the_anchor(void **state)
{
	static const struct {
		const struct subject *signer;
		bool believed;
	} cases[] = {{&lower, true},
		     {&delegate, true},
		     {&not_a_delegate, false},
		     {&delegate_of_upper, false},
		     {&delegate_by_sha1, false},
		     {&delegate_short, false},
		     {&upper, false},
		     {&root, false}};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct ocsp *o = new_ocsp(OCSP_RESPONSE_STATUS_SUCCESSFUL);
		bool at_once;

		responder.signer = cases[i].signer;
		assert_int_equal(verdict_on(o, &good_below, &at_once),
				 cases[i].believed ? OCSP_VERDICT_GOOD : OCSP_VERDICT_UNANSWERED);
		assert_int_equal(verdict_on(o, &revoked_below, &at_once),
				 cases[i].believed ? OCSP_VERDICT_REVOKED : OCSP_VERDICT_UNANSWERED);
		assert_int_equal(responder.asked, 2);
		ocsp_free(o);
	}
}

/* RFC 9155 */
static void test_sha1_is_not_believed(void **state)
{
	struct ocsp *o = new_ocsp(OCSP_RESPONSE_STATUS_SUCCESSFUL);
	bool at_once;

	responder.hash = EVP_sha1();
	assert_int_equal(verdict_on(o, &good, &at_once), OCSP_VERDICT_UNANSWERED);
	responder.hash = EVP_sha384();
	assert_int_equal(verdict_on(o, &revoked, &at_once), OCSP_VERDICT_REVOKED);
	assert_int_equal(responder.asked, 2);
	ocsp_free(o);
}

/* Whoever asks about a certificate while it is being asked about waits for the same answer, and for no other.
 */
static void test_questions_have_numbers(void **state)
{
	struct ocsp *o = new_ocsp(OCSP_RESPONSE_STATUS_SUCCESSFUL);
	struct chain *one = chain_of(&good), *other = chain_of(&revoked);
	uint64_t of_one = 0, of_other = 0, again = 0;

	assert_int_equal(ocsp_ask(o, one, &of_one), OCSP_VERDICT_LATER);
	assert_int_equal(ocsp_ask(o, other, &of_other), OCSP_VERDICT_LATER);
	assert_true(of_one != of_other && of_one >> 63 && of_other >> 63); /* not the store's */
	if (ocsp_ask(o, one, &again) == OCSP_VERDICT_LATER)                /* unless it has come meanwhile */
		assert_true(again == of_one);
	assert_true(wait_for_answer() == of_one); /* one thread asks */
	assert_int_equal(ocsp_ask(o, one, &again), OCSP_VERDICT_GOOD);
	assert_true(wait_for_answer() == of_other);
	assert_int_equal(ocsp_ask(o, other, &again), OCSP_VERDICT_REVOKED);
	assert_true(questions_next_answered(questions) == 0);
	assert_int_equal(responder.asked, 2);
	chain_free(one);
	chain_free(other);
	ocsp_free(o);
}

/* Freed while answers are on their way: those are of no use to anybody, and do no harm. */
static void test_answers_for_nobody(void **state)
{
	struct ocsp *o = new_ocsp(OCSP_RESPONSE_STATUS_SUCCESSFUL);
	struct chain *c = chain_of(&good);
	uint64_t question = 0;

	assert_int_equal(ocsp_ask(o, c, &question), OCSP_VERDICT_LATER);
	ocsp_free(o);
	assert_true(questions_next_answered(questions) == question);
	assert_true(questions_next_answered(questions) == 0);
	chain_free(c);
}

static struct subject responder_of(const struct subject *issuer, const char *usage, const char *hash,
				   const char *group)
{
	return subject_new(&(struct wanted){.common_name = "responder",
					    .issuer = issuer,
					    .hash = hash,
					    .group = group,
					    .extensions = {{"extendedKeyUsage", usage}}},
			   0);
}

static void set_up_below(void)
{
	upper = subject_new(&(struct wanted){.common_name = "Upper", .issuer = &root}, 1);
	lower = subject_new(&(struct wanted){.common_name = "Lower", .issuer = &upper}, 1);
	good_below =
		subject_new(&(struct wanted){.common_name = "good", .issuer = &lower, .serial = GOOD}, 0);
	revoked_below = subject_new(
		&(struct wanted){.common_name = "revoked", .issuer = &lower, .serial = REVOKED}, 0);
	delegate = responder_of(&lower, "OCSPSigning", NULL, NULL);
	not_a_delegate = responder_of(&lower, "clientAuth", NULL, NULL);
	delegate_by_sha1 = responder_of(&lower, "OCSPSigning", "SHA1", NULL);
	delegate_short = responder_of(&lower, "OCSPSigning", NULL, "RSA:1024");
	delegate_of_upper = responder_of(&upper, "OCSPSigning", NULL, NULL);
}

static int set_up(void **state)
{
	root = subject_new(&(struct wanted){.common_name = "Root"}, 1);
	good = subject_new(&(struct wanted){.common_name = "good", .issuer = &root, .serial = GOOD}, 0);
	revoked = subject_new(&(struct wanted){.common_name = "revoked", .issuer = &root, .serial = REVOKED},
			      0);
	odd = subject_new(&(struct wanted){.common_name = "odd", .issuer = &root, .serial = ODD}, 0);
	set_up_below();
	close(mkstemp(anchors));
	subject_write(anchors, (const struct subject *[]){&root}, 1);
	trust = trust_new(anchors, (char[256]){0}, 256);
	errands = errands_new(1);
	questions = questions_new();
	return trust && errands && questions ? start_responder() : -1;
}

static int tear_down(void **state)
{
	struct subject *const all[] = {&root,          &good,           &revoked,           &odd,
				       &upper,         &lower,          &good_below,        &revoked_below,
				       &delegate,      &not_a_delegate, &delegate_of_upper, &delegate_by_sha1,
				       &delegate_short};

	shutdown(responder.listener, SHUT_RDWR);
	pthread_join(responder.thread, NULL);
	close(responder.listener);
	errands_free(errands);
	questions_free(questions);
	trust_free(trust);
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		subject_free(all[i]);
	return unlink(anchors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verdicts),
		cmocka_unit_test(test_a_refusal_is_about_one_certificate),
		cmocka_unit_test(test_a_responder_in_trouble_is_left_alone),
		cmocka_unit_test(test_below_the_anchor),
		cmocka_unit_test(test_sha1_is_not_believed),
		cmocka_unit_test(test_questions_have_numbers),
		cmocka_unit_test(test_answers_for_nobody),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
