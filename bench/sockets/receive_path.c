/* What a datagram costs before a server's recvmmsg(): the kernel's receive path, which runs on whatever CPU
 * the network card interrupts, and which the servers' figures leave out. Frames are written to a TAP of our
 * own in a network namespace of our own; the kernel takes each up to the socket within that write(). The same
 * frames for another station's MAC are thrown away where IP begins: the difference is the receive path above
 * the driver, without the buffer that a driver has to make, so that it is less than what a server pays.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/sockets/sockets.h"

enum { CHUNK = 4096, SAMPLES = 20, FRAME_MAX = 1600, SOCKET_BUFFER = 1 << 25, PORT = 5684 };

struct path_bench {
	int tap, udp;
	uint8_t mac[6];
	size_t payload;
};

static bool tap_open(struct path_bench *b)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI};
	struct sockaddr_in address = {.sin_family = AF_INET};
	int control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool good;

	strcpy(request.ifr_name, "path0");
	b->tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	good = control >= 0 && b->tap >= 0 && ioctl(b->tap, TUNSETIFF, &request) == 0 &&
	       ioctl(control, SIOCGIFHWADDR, &request) == 0;
	memcpy(b->mac, request.ifr_hwaddr.sa_data, sizeof(b->mac));
	inet_pton(AF_INET, "10.9.0.1", &address.sin_addr);
	memcpy(&request.ifr_addr, &address, sizeof(address));
	good = good && ioctl(control, SIOCSIFADDR, &request) == 0;
	inet_pton(AF_INET, "255.255.0.0", &address.sin_addr);
	memcpy(&request.ifr_netmask, &address, sizeof(address));
	good = good && ioctl(control, SIOCSIFNETMASK, &request) == 0;
	request.ifr_flags = IFF_UP | IFF_RUNNING;
	good = good && ioctl(control, SIOCSIFFLAGS, &request) == 0;
	if (control >= 0)
		close(control);
	return good;
}

static bool udp_open(struct path_bench *b)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	int size = SOCKET_BUFFER;

	b->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return b->udp >= 0 && setsockopt(b->udp, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) == 0 &&
	       bind(b->udp, (struct sockaddr *)&address, sizeof(address)) == 0;
}

static uint16_t checksum(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)at[i] << 8 | at[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* A frame of one of a thousand devices; without a UDP checksum, which a card would have checked. */
static size_t write_frame(const struct path_bench *b, uint32_t device, bool ours, uint8_t *frame)
{
	size_t udp_len = sizeof(struct udphdr) + b->payload;
	struct iphdr ip = {.version = 4,
			   .ihl = 5,
			   .ttl = 64,
			   .protocol = IPPROTO_UDP,
			   .tot_len = htons((uint16_t)(sizeof(ip) + udp_len)),
			   .saddr = htonl(0x0a090100 + device),
			   .daddr = htonl(0x0a090001)};
	struct udphdr udp = {.source = htons(20000), .dest = htons(PORT), .len = htons((uint16_t)udp_len)};

	ip.check = checksum(&ip, sizeof(ip));
	memset(frame, 0, 14 + sizeof(ip) + udp_len);
	memcpy(frame, b->mac, 6);
	frame[5] ^= ours ? 0 : 1;
	memcpy(frame + 6, "\2\0\0\0\0\11\10\0", 8);
	memcpy(frame + 14, &ip, sizeof(ip));
	memcpy(frame + 14 + sizeof(ip), &udp, sizeof(udp));
	return 14 + sizeof(ip) + udp_len;
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Nanoseconds per frame of one chunk; negative when one could not be written, or not all came. */
static double run_chunk(const struct path_bench *b, bool ours)
{
	static uint8_t frames[1000][FRAME_MAX];
	uint8_t datagram[FRAME_MAX];
	unsigned came = 0;
	size_t len = 0;
	uint64_t start;

	for (uint32_t i = 0; i < 1000; i++)
		len = write_frame(b, i, ours, frames[i]);
	start = cpu_ns();
	for (unsigned i = 0; i < CHUNK; i++)
		if (write(b->tap, frames[i % 1000], len) != (ssize_t)len)
			return -1;
	start = cpu_ns() - start;
	while (recv(b->udp, datagram, sizeof(datagram), MSG_DONTWAIT) > 0)
		came++;
	return came == (ours ? CHUNK : 0) ? (double)start / CHUNK : -1;
}

static bool measure(struct path_bench *b, struct receive_path *out)
{
	for (unsigned i = 0; i < SAMPLES; i++) {
		double ours = run_chunk(b, true), foreign = run_chunk(b, false);

		if (ours < 0 || foreign < 0)
			return false;
		out->whole_ns = i == 0 || ours < out->whole_ns ? ours : out->whole_ns;
		out->foreign_ns = i == 0 || foreign < out->foreign_ns ? foreign : out->foreign_ns;
	}
	return true;
}

bool receive_path_measure(size_t payload, struct receive_path *out)
{
	struct receive_path *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct path_bench b = {.tap = -1, .udp = -1, .payload = payload};
	int status = 1;
	pid_t child;

	if (shared == MAP_FAILED)
		return false;
	fflush(NULL);
	child = fork();
	if (child == 0)
		_exit(unshare(CLONE_NEWNET) == 0 && tap_open(&b) && udp_open(&b) && measure(&b, shared) ? 0
													: 1);
	if (child > 0)
		(void)waitpid(child, &status, 0);
	*out = *shared;
	munmap(shared, sizeof(*shared));
	return child > 0 && status == 0;
}
