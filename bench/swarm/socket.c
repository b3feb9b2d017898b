/* Plain UDP: one socket for each of the source ports, whose datagrams leave from any device's address
 * (IP_PKTINFO). The addresses must be local: all of 127/8 is, others become so by `ip route add local NET dev
 * lo`.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/swarm/transport.h"

enum { CONTROL_LEN = CMSG_SPACE(sizeof(struct in_pktinfo)), SOCKET_BUFFER = 1 << 23 };

struct queue {
	unsigned count;
	struct mmsghdr messages[TRANSPORT_BURST];
	struct iovec iov[TRANSPORT_BURST];
	_Alignas(struct cmsghdr) uint8_t control[TRANSPORT_BURST][CONTROL_LEN];
	uint8_t bytes[TRANSPORT_BURST][SWARM_DATAGRAM_MAX];
};

struct socket_transport {
	struct transport base;
	int fds[SWARM_PORTS];
	unsigned next;  /* socket that receive() asks first */
	uint32_t first; /* address of device 0, host byte order */
	uint32_t devices;
	struct sockaddr_in server;
	struct queue out[SWARM_PORTS];
	struct queue in;
};

static void queue_init(struct queue *q, struct sockaddr_in *to)
{
	memset(q, 0, sizeof(*q));
	for (unsigned i = 0; i < TRANSPORT_BURST; i++) {
		q->iov[i] = (struct iovec){q->bytes[i], SWARM_DATAGRAM_MAX};
		q->messages[i].msg_hdr = (struct msghdr){.msg_iov = &q->iov[i],
							 .msg_iovlen = 1,
							 .msg_control = q->control[i],
							 .msg_controllen = CONTROL_LEN,
							 .msg_name = to,
							 .msg_namelen = to ? sizeof(*to) : 0};
	}
}

static void flush_port(struct socket_transport *t, unsigned port)
{
	struct queue *q = &t->out[port];
	unsigned sent = 0;

	while (sent < q->count) {
		int n = sendmmsg(t->fds[port], &q->messages[sent], q->count - sent, 0);

		if (n < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
			n = 1; /* this one cannot leave: as if it were lost */
		if (n > 0)
			sent += (unsigned)n;
	}
	q->count = 0;
}

static void socket_send(struct transport *base, uint32_t device, uint8_t port, const void *bytes, size_t len)
{
	struct socket_transport *t = (struct socket_transport *)base;
	struct queue *q = &t->out[port];
	unsigned i = q->count++;
	struct cmsghdr *c = (struct cmsghdr *)q->control[i];
	struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(t->first + device)};

	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	memcpy(q->bytes[i], bytes, len);
	q->iov[i].iov_len = len;
	if (q->count == TRANSPORT_BURST)
		flush_port(t, port);
}

static void socket_flush(struct transport *base)
{
	struct socket_transport *t = (struct socket_transport *)base;

	for (unsigned port = 0; port < SWARM_PORTS; port++)
		flush_port(t, port);
}

static unsigned read_port(struct socket_transport *t, unsigned port, struct transport_datagram *out)
{
	struct queue *q = &t->in;
	unsigned n = 0;
	int got;

	for (unsigned i = 0; i < TRANSPORT_BURST; i++)
		q->messages[i].msg_hdr.msg_controllen = CONTROL_LEN;
	got = recvmmsg(t->fds[port], q->messages, TRANSPORT_BURST, MSG_DONTWAIT, NULL);
	for (int i = 0; i < got; i++) {
		struct cmsghdr *c = CMSG_FIRSTHDR(&q->messages[i].msg_hdr);
		struct in_pktinfo info;

		if (!c || c->cmsg_type != IP_PKTINFO)
			continue;
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		out[n].device = ntohl(info.ipi_addr.s_addr) - t->first;
		if (out[n].device >= t->devices)
			continue;
		out[n].port = (uint8_t)port;
		out[n].len = (uint16_t)q->messages[i].msg_len;
		memcpy(out[n].bytes, q->bytes[i], out[n].len);
		n++;
	}
	return n;
}

static unsigned socket_receive(struct transport *base, struct transport_datagram *out)
{
	struct socket_transport *t = (struct socket_transport *)base;

	for (unsigned i = 0; i < SWARM_PORTS; i++) {
		unsigned n = read_port(t, t->next, out);

		t->next = (t->next + 1) % SWARM_PORTS;
		if (n)
			return n;
	}
	return 0;
}

static void socket_close(struct transport *base)
{
	struct socket_transport *t = (struct socket_transport *)base;

	for (unsigned i = 0; i < SWARM_PORTS; i++)
		if (t->fds[i] >= 0)
			close(t->fds[i]);
	free(t);
}

static int open_port(unsigned port)
{
	struct sockaddr_in any = {.sin_family = AF_INET,
				  .sin_port = htons((uint16_t)(SWARM_PORT_FIRST + port))};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1, size = SOCKET_BUFFER;

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0 &&
	    bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0)
		return fd;
	close(fd);
	return -1;
}

struct transport *transport_socket(const struct swarm_options *o, char *error, size_t error_len)
{
	struct socket_transport *t = calloc(1, sizeof(*t));
	struct in_addr first;

	if (!t || inet_pton(AF_INET, o->devices_net, &first) != 1 ||
	    inet_pton(AF_INET, o->server, &t->server.sin_addr) != 1) {
		snprintf(error, error_len, "--server %s --devices-net %s: IPv4 addresses are needed",
			 o->server, o->devices_net);
		free(t);
		return NULL;
	}
	t->base = (struct transport){socket_send, socket_flush, socket_receive, socket_close};
	t->first = ntohl(first.s_addr);
	t->devices = o->devices;
	t->server.sin_family = AF_INET;
	t->server.sin_port = htons(o->server_port);
	queue_init(&t->in, NULL);
	for (unsigned i = 0; i < SWARM_PORTS; i++) {
		queue_init(&t->out[i], &t->server);
		t->fds[i] = open_port(i);
		if (t->fds[i] < 0) {
			snprintf(error, error_len, "UDP port %u cannot be used: %s", SWARM_PORT_FIRST + i,
				 strerror(errno));
			socket_close(&t->base);
			return NULL;
		}
	}
	return &t->base;
}
