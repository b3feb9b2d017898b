/* Targets of the admin socket, good and bad. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controlplane/admin_request.h"

static struct admin_request good(const char *method, const char *target)
{
	struct admin_request r;
	struct admin_fault f = {0};

	if (!admin_request_read(method, target, &r, &f))
		fail_msg("%s %s: %u %s", method, target, f.status, f.why);
	return r;
}

static void bad(const char *method, const char *target, unsigned status, const char *why)
{
	struct admin_request r;
	struct admin_fault f = {0};

	if (admin_request_read(method, target, &r, &f))
		fail_msg("%s %s is taken", method, target);
	assert_int_equal(f.status, status);
	assert_true((f.allow != NULL) == (status == 405));
	if (!strstr(f.why, why))
		fail_msg("%s %s: %s", method, target, f.why);
}

static void routes(void **state)
{
	assert_int_equal(good("GET", "/health").route, ADMIN_HEALTH);
	assert_int_equal(good("HEAD", "/ready").route, ADMIN_READY);
	assert_int_equal(good("GET", "/metrics").route, ADMIN_METRICS);
	assert_int_equal(good("GET", "/status?").route, ADMIN_STATUS);
	assert_int_equal(good("GET", "/counters").route, ADMIN_COUNTERS);
	assert_int_equal(good("GET", "/sessions").route, ADMIN_SESSIONS);
	assert_int_equal(good("GET", "/sessions").limit, ADMIN_LIMIT_DEFAULT);
	for (const char *const *path =
		     (const char *const[]){"", "/", "health", "/healthy", "/health/", "//health", "/Health",
					   "/sessions/", "/%68ealth", "/../health", "*", NULL};
	     *path; path++)
		bad("GET", *path, 404, "/health, /ready");
	for (const char *const *method =
		     (const char *const[]){"POST", "PUT", "DELETE", "get", "OPTIONS", "", NULL};
	     *method; method++)
		bad(*method, "/sessions", 405, "GET");
	bad("POST", "/sessions/0.1.2", 405, "DELETE");
	(void)state;
}

static void session_names(void **state)
{
	struct admin_request r = good("DELETE", "/sessions/63.4294967295.4294967295");

	assert_true(r.close && r.route == ADMIN_SESSION);
	assert_true(r.ref.worker == 63 && r.ref.index == UINT32_MAX && r.ref.generation == UINT32_MAX);
	assert_false(good("GET", "/sessions/0.0.1").close);
	for (const char *const *name =
		     (const char *const[]){"1", "0.1", "0.1.2.3", "0.1.", ".1.2", "0.1.-2", "0.1.+2",
					   "0.1.2 ", "0.01.2", "65536.0.0", "0.4294967296.0",
					   "0.0.99999999999999999999", "a.b.c", "0.1.2/x", "%30.1.2", NULL};
	     *name; name++) {
		char target[128] = "/sessions/";

		strncat(target, *name, 100);
		bad("DELETE", target, 400, "{worker}.{index}.{generation}");
	}
	(void)state;
}

static void filters(void **state)
{
	struct admin_request r = good("GET", "/sessions?identity=urn%3Adev%3a1%00%ff+&tenant=water&worker=3&"
					     "limit=1000&cursor=3.77&address=192.0.2.1");

	assert_int_equal(r.identity_len, 12);
	assert_memory_equal(r.identity, "urn:dev:1\0\xff+", 12);
	assert_string_equal(r.tenant, "water");
	assert_true(r.has_worker && r.worker == 3 && r.limit == 1000 && r.cursor_worker == 3 &&
		    r.cursor_slot == 77);
	assert_true(r.has_address && !r.has_port && r.address.port == 0);
	r = good("GET", "/sessions?tenant=");
	assert_true(r.has_tenant && r.tenant[0] == 0);

	bad("GET", "/sessions?colour=red", 400, "identity, address, tenant, worker, cursor, limit");
	bad("GET", "/sessions?Identity=x", 400, "no parameter");
	bad("GET", "/sessions?=x", 400, "no parameter");
	bad("GET", "/sessions?&", 400, "no parameter");
	bad("GET", "/health?identity=x", 400, "none");
	bad("GET", "/sessions?limit=1&limit=1", 400, "twice");
	bad("GET", "/sessions?limit=0", 400, "1 to 1000");
	bad("GET", "/sessions?limit=1001", 400, "1 to 1000");
	bad("GET", "/sessions?limit", 400, "1 to 1000");
	bad("GET", "/sessions?limit=1%00", 400, "1 to 1000");
	bad("GET", "/sessions?worker=64", 400, "0 to 63");
	bad("GET", "/sessions?cursor=1", 400, "next");
	bad("GET", "/sessions?cursor=0.4294967295", 400, "next");
	bad("GET", "/sessions?identity=", 400, "1 to 255 bytes");
	bad("GET", "/sessions?identity=%4", 400, "percent");
	bad("GET", "/sessions?identity=%", 400, "percent");
	bad("GET", "/sessions?identity=%4g", 400, "percent");
	bad("GET", "/why", 400, "identity, address");
	bad("GET", "/why?tenant=x", 400, "identity, address");
	bad("GET", "/why?address=192.0.2.1&identity=x", 400, "only one of the parameters: identity, address");
	bad("GET", "/identity", 400, "address");
	bad("GET", "/identity?identity=x", 400, "takes: address");
	(void)state;
}

static void long_ones(void **state)
{
	char target[4096] = "/sessions?identity=";
	size_t start = strlen(target);

	memset(target + start, 'x', 255);
	target[start + 255] = 0;
	assert_int_equal(good("GET", target).identity_len, 255);
	target[start + 255] = 'x';
	target[start + 256] = 0;
	bad("GET", target, 400, "1 to 255 bytes");
	memset(target + start, 'x', 3000);
	bad("GET", target, 414, "2048");
	(void)state;
}

static void expect_address(const char *text, const char *ip6, unsigned port)
{
	struct peer_address peer;
	struct in6_addr wanted;
	bool has_port;

	if (!admin_address_read(text, &peer, &has_port))
		fail_msg("%s", text);
	assert_int_equal(inet_pton(AF_INET6, ip6, &wanted), 1);
	assert_memory_equal(peer.ip, &wanted, 16);
	assert_int_equal(has_port, port != 0);
	assert_int_equal(ntohs(peer.port), port);
}

static void addresses(void **state)
{
	struct peer_address peer;
	bool has_port;

	expect_address("192.0.2.1", "::ffff:192.0.2.1", 0);
	expect_address("192.0.2.1:5684", "::ffff:192.0.2.1", 5684);
	expect_address("2001:db8::1", "2001:db8::1", 0);
	expect_address("[2001:db8::1]", "2001:db8::1", 0);
	expect_address("[2001:db8::1]:65535", "2001:db8::1", 65535);
	expect_address("::", "::", 0);
	for (const char *const *text =
		     (const char *const[]){"", ":", "192.0.2", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536",
					   "192.0.2.1:05", "192.0.2.1 ", "[192.0.2.1", "[2001:db8::1]x",
					   "[2001:db8::1]:", "[2001:db8::1", "2001:db8::g", "[]", "host:5684",
					   "1111:2222:3333:4444:5555:6666:7777:8888:9999:1111:2222:3333",
					   NULL};
	     *text; text++) {
		if (admin_address_read(*text, &peer, &has_port))
			fail_msg("\"%s\" is taken", *text);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes),    cmocka_unit_test(session_names), cmocka_unit_test(filters),
		cmocka_unit_test(long_ones), cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests_name("admin_request", tests, NULL, NULL);
}
