/* sluice-forward's socket (backend.h). The source of each datagram travels in a control message (IP_PKTINFO,
 * IPV6_PKTINFO), both ways; everything that does not change from one datagram to the next is set up once.
 */
#include "ring/backend.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SOCKET_BUFFER_BYTES = 4 << 20 };

union control {
	struct cmsghdr header;
	uint8_t bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

struct backend {
	int fd;
	int family;
	uint16_t own_port;
	struct backend_address address;
	struct backend_counters counters;

	unsigned queued;
	struct mmsghdr out[BACKEND_BATCH];
	struct iovec out_parts[BACKEND_BATCH];
	union control out_control[BACKEND_BATCH];

	struct mmsghdr in[BACKEND_BATCH];
	struct iovec in_parts[BACKEND_BATCH];
	union control in_control[BACKEND_BATCH];
	struct sockaddr_storage in_from[BACKEND_BATCH];
	uint8_t in_payload[BACKEND_BATCH][BACKEND_PAYLOAD_MAX];
};

static bool has_port(const struct backend_address *address)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->ip;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->ip;

	return (address->ip.ss_family == AF_INET ? v4->sin_port : v6->sin6_port) != 0;
}

const char *backend_resolve(struct backend_address *address, int family, const char *host_port)
{
	struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV};
	struct addrinfo *found;
	const char *colon = strrchr(host_port, ':');
	char host[256];
	size_t len;
	int ret;

	if (colon == NULL || colon == host_port || colon[1] == '\0')
		return "not HOST:PORT";
	len = (size_t)(colon - host_port);
	if (host_port[0] == '[' && host_port[len - 1] == ']') {
		host_port++;
		len -= 2;
	} else if (memchr(host_port, ':', len) != NULL) {
		return "an IPv6 address goes in brackets: [ADDRESS]:PORT";
	}
	if (len == 0 || len >= sizeof(host))
		return "not HOST:PORT";
	memcpy(host, host_port, len);
	host[len] = '\0';
	ret = getaddrinfo(host, colon + 1, &hints, &found);
	if (ret != 0)
		return gai_strerror(ret);
	*address = (struct backend_address){.len = found->ai_addrlen};
	memcpy(&address->ip, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return has_port(address) ? NULL : "port 0 is no port";
}

bool backend_is_loopback(const struct backend_address *address)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->ip;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->ip;

	if (address->ip.ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static bool set_option(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

/* Larger buffers if the system grants them: a burst for the backend is sent faster than it reads. */
static void enlarge_buffers(int fd)
{
	if (!set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, SOCKET_BUFFER_BYTES))
		(void)set_option(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER_BYTES);
	if (!set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_BUFFER_BYTES))
		(void)set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER_BYTES);
}

static bool set_family_options(int fd, int family)
{
	if (family == AF_INET)
		return set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
	/* The addresses of the prefix are on no interface: FREEBIND lets us send from them, and the "local"
	 * route of --help lets the answers in. */
	return set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) &&
	       set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) &&
	       set_option(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
}

/* Bound to every address. Returns the fd or -1 with errno. */
static int open_socket(int family, uint16_t own_port, bool loopback)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(own_port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(own_port)};
	const struct sockaddr *any = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	socklen_t any_len = family == AF_INET ? sizeof(v4) : sizeof(v6);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error;

	if (fd < 0)
		return -1;
	enlarge_buffers(fd);
	/* A wildcard socket hears other hosts too: with a local backend nothing but lo concerns us. */
	if (loopback)
		(void)setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof("lo"));
	if (set_family_options(fd, family) && bind(fd, any, any_len) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

static size_t pktinfo_len(const struct backend *b)
{
	return b->family == AF_INET ? sizeof(struct in_pktinfo) : sizeof(struct in6_pktinfo);
}

static void prepare_out(struct backend *b)
{
	for (unsigned i = 0; i < BACKEND_BATCH; i++) {
		b->out_control[i].header = (struct cmsghdr){
			.cmsg_level = b->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
			.cmsg_type = b->family == AF_INET ? IP_PKTINFO : IPV6_PKTINFO,
			.cmsg_len = CMSG_LEN(pktinfo_len(b)),
		};
		b->out[i].msg_hdr = (struct msghdr){
			.msg_name = &b->address.ip,
			.msg_namelen = b->address.len,
			.msg_iov = &b->out_parts[i],
			.msg_iovlen = 1,
			.msg_control = &b->out_control[i],
			.msg_controllen = CMSG_SPACE(pktinfo_len(b)),
		};
	}
}

static void prepare_in(struct backend *b)
{
	for (unsigned i = 0; i < BACKEND_BATCH; i++) {
		b->in_parts[i] = (struct iovec){b->in_payload[i], sizeof(b->in_payload[i])};
		b->in[i].msg_hdr = (struct msghdr){
			.msg_name = &b->in_from[i],
			.msg_iov = &b->in_parts[i],
			.msg_iovlen = 1,
			.msg_control = &b->in_control[i],
		};
	}
}

struct backend *backend_open(const struct backend_address *address, const struct source_net *net,
			     uint16_t own_port)
{
	struct sockaddr_in6 own = {0}; /* the port is at the same place in both families */
	socklen_t own_len = sizeof(own);
	struct backend *b;

	if (address->ip.ss_family != net->family) {
		errno = EAFNOSUPPORT;
		return NULL;
	}
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		return NULL;
	b->family = net->family;
	b->address = *address;
	b->fd = open_socket(b->family, own_port, backend_is_loopback(address));
	if (b->fd < 0 || getsockname(b->fd, (struct sockaddr *)&own, &own_len) != 0) {
		backend_close(b);
		return NULL;
	}
	b->own_port = ntohs(own.sin6_port);
	prepare_out(b);
	prepare_in(b);
	return b;
}

void backend_close(struct backend *b)
{
	int error = errno;

	if (b == NULL)
		return;
	if (b->fd >= 0)
		close(b->fd);
	free(b);
	errno = error;
}

int backend_fd(const struct backend *b)
{
	return b->fd;
}

uint16_t backend_own_port(const struct backend *b)
{
	return b->own_port;
}

const struct backend_counters *backend_counters(const struct backend *b)
{
	return &b->counters;
}

void backend_send(struct backend *b, const uint8_t *from, const void *payload, uint32_t len)
{
	void *info;

	if (b->queued == BACKEND_BATCH)
		backend_flush(b);
	info = CMSG_DATA(&b->out_control[b->queued].header);
	if (b->family == AF_INET) {
		struct in_pktinfo v4 = {0};

		memcpy(&v4.ipi_spec_dst, from, sizeof(v4.ipi_spec_dst));
		memcpy(info, &v4, sizeof(v4));
	} else {
		struct in6_pktinfo v6 = {0};

		memcpy(&v6.ipi6_addr, from, sizeof(v6.ipi6_addr));
		memcpy(info, &v6, sizeof(v6));
	}
	/* sendmsg() only reads it. */
	b->out_parts[b->queued] = (struct iovec){(void *)(uintptr_t)payload, len};
	b->queued++;
}

void backend_flush(struct backend *b)
{
	unsigned done = 0;
	int n;

	while (done < b->queued) {
		n = sendmmsg(b->fd, b->out + done, b->queued - done, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) { /* the first of them is refused, the others may pass */
			b->counters.send_failed++;
			done++;
			continue;
		}
		for (unsigned end = done + (unsigned)n; done < end; done++) {
			b->counters.sent++;
			b->counters.sent_bytes += b->out_parts[done].iov_len;
		}
	}
	b->queued = 0;
}

static bool from_backend(const struct backend *b, const struct sockaddr_storage *from)
{
	const struct sockaddr_in *a4 = (const struct sockaddr_in *)from;
	const struct sockaddr_in *b4 = (const struct sockaddr_in *)&b->address.ip;
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)&b->address.ip;

	if (b->family == AF_INET)
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	return a6->sin6_port == b6->sin6_port && IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
}

/* Where a datagram was sent to, inside its control message; NULL when the kernel did not tell. */
static const uint8_t *destination(const struct backend *b, const struct msghdr *message)
{
	const struct cmsghdr *part = CMSG_FIRSTHDR(message);

	if (part == NULL || part->cmsg_len < CMSG_LEN(pktinfo_len(b)))
		return NULL;
	if (b->family == AF_INET)
		return CMSG_DATA(part) + offsetof(struct in_pktinfo, ipi_addr);
	return CMSG_DATA(part) + offsetof(struct in6_pktinfo, ipi6_addr);
}

unsigned backend_receive(struct backend *b, struct backend_answer answers[BACKEND_BATCH], bool *more)
{
	unsigned count = 0;
	int n;

	for (unsigned i = 0; i < BACKEND_BATCH; i++) { /* the kernel overwrites these */
		b->in[i].msg_hdr.msg_namelen = sizeof(b->in_from[i]);
		b->in[i].msg_hdr.msg_controllen = sizeof(b->in_control[i]);
	}
	n = recvmmsg(b->fd, b->in, BACKEND_BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
	*more = n == BACKEND_BATCH;
	for (int i = 0; i < n; i++) {
		const uint8_t *to = destination(b, &b->in[i].msg_hdr);

		if (to == NULL || !from_backend(b, &b->in_from[i])) {
			b->counters.strangers++;
			continue;
		}
		b->counters.received++;
		b->counters.received_bytes += b->in[i].msg_len;
		answers[count++] = (struct backend_answer){to, b->in_payload[i], b->in[i].msg_len};
	}
	return count;
}
