#include "dataplane/local.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Takes the address out of "address/prefix". */
static int read_address(int family, const char *text, void *out)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");

	if (len >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, len);
	address[len] = '\0';
	return inet_pton(family, address, out) == 1 ? 0 : -EINVAL;
}

int local_from_config(struct local *local, const struct config *config, char *error, size_t error_len)
{
	const struct config_port *p = &config->port;

	memset(local, 0, sizeof(*local));
	local->udp_port = htons((uint16_t)p->udp_port);
	local->vlan_id = (uint16_t)p->vlan;
	local->has_ipv4 = p->ipv4 != NULL;
	local->has_ipv6 = p->ipv6 != NULL;
	if (p->ipv4 && read_address(AF_INET, p->ipv4, local->ipv4) != 0) {
		snprintf(error, error_len, "port.ipv4: \"%s\" is not an IPv4 address with its prefix",
			 p->ipv4);
		return -EINVAL;
	}
	if (p->ipv6 && read_address(AF_INET6, p->ipv6, local->ipv6) != 0) {
		snprintf(error, error_len, "port.ipv6: \"%s\" is not an IPv6 address with its prefix",
			 p->ipv6);
		return -EINVAL;
	}
	if (!p->ipv4 && !p->ipv6) {
		snprintf(error, error_len, "port: give ipv4 or ipv6, or both: the gateway has no address");
		return -EINVAL;
	}
	return 0;
}

void local_set_mac(struct local *local)
{
	const uint8_t *m = local->mac;
	uint8_t a[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};

	memcpy(local->ipv6_link_local, a, sizeof(a));
}

const char *local_text4(const struct local *local, char *out, size_t out_len)
{
	out[0] = '\0';
	if (local->has_ipv4)
		inet_ntop(AF_INET, local->ipv4, out, (socklen_t)out_len);
	return out;
}

const char *local_text6(const struct local *local, char *out, size_t out_len)
{
	out[0] = '\0';
	if (local->has_ipv6)
		inet_ntop(AF_INET6, local->ipv6, out, (socklen_t)out_len);
	return out;
}
