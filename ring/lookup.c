/* See lookup.h. */
#include "ring/lookup.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Text that grows; what does not fit is left out, which LOOKUP_ANSWER_MAX makes impossible. */
struct text {
	char *at;
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is not */
	n = vsnprintf(t->at + t->len, LOOKUP_ANSWER_MAX - t->len, format, arguments);
	va_end(arguments);
	if (n > 0 && (size_t)n < LOOKUP_ANSWER_MAX - t->len)
		t->len += (size_t)n;
}

/* The bytes of the UTF-8 character at `at`, 0 when it is none: RFC 3629 4. */
static size_t character_len(const uint8_t *at, size_t left)
{
	size_t len = at[0] < 0x80 ? 1 : at[0] >= 0xc2 && at[0] < 0xe0 ? 2 : at[0] >> 4 == 14 ? 3 : 4;

	if (len == 1)
		return 1;
	if (len > left || at[0] < 0xc2 || at[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if (at[i] >> 6 != 2)
			return 0;
	}
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || /* a surrogate */
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return len;
}

static bool is_utf8(const uint8_t *bytes, size_t len)
{
	size_t step;

	for (size_t i = 0; i < len; i += step) {
		step = character_len(bytes + i, len - i);
		if (step == 0)
			return false;
	}
	return true;
}

/* RFC 8259 7. Bytes that are no text are null: a backend must never take something made up for a name. */
static void add_string(struct text *t, const void *text, size_t len)
{
	const uint8_t *bytes = text;

	if (!is_utf8(bytes, len)) {
		add(t, "null");
		return;
	}
	add(t, "\"");
	for (size_t i = 0; i < len; i++) {
		if (bytes[i] < 0x20 || bytes[i] == 0x7f || bytes[i] == '"' || bytes[i] == '\\')
			add(t, "\\u%04x", bytes[i]);
		else
			add(t, "%c", bytes[i]);
	}
	add(t, "\"");
}

static const char *name_of(const char *const *names, size_t count, unsigned number)
{
	return number < count ? names[number] : "unknown";
}

static void add_field(struct text *t, const struct sluice_session_up *up, uint16_t type, const char *name)
{
	struct sluice_field field = {0};

	while (sluice_field_next(up, &field)) {
		if (field.type != type)
			continue;
		add(t, ",\"%s\":", name);
		add_string(t, field.bytes, field.len);
		return;
	}
	add(t, ",\"%s\":\"\"", name);
}

/* A credential's name may be any bytes: those as well. */
static void add_credential_bytes(struct text *t, const struct sluice_session_up *up)
{
	struct sluice_field field = {0};

	add(t, ",\"credential_id_hex\":\"");
	while (sluice_field_next(up, &field)) {
		for (size_t i = 0; field.type == SLUICE_FIELD_CREDENTIAL_ID && i < field.len; i++)
			add(t, "%02x", ((const uint8_t *)field.bytes)[i]);
	}
	add(t, "\"");
}

static void add_identities(struct text *t, const struct sluice_session_up *up)
{
	static const char *const kinds[] = {
		[SLUICE_IDENTITY_NONE] = "none",
		[SLUICE_IDENTITY_CREDENTIAL] = "credential",
		[SLUICE_IDENTITY_CSE_ID] = "cse-id",
		[SLUICE_IDENTITY_AE_ID] = "ae-id",
		[SLUICE_IDENTITY_LWM2M_ENDPOINT] = "lwm2m-endpoint",
	};
	struct sluice_field field = {0};
	bool first = true;

	add(t, ",\"identity_kind\":\"%s\",\"identities\":[",
	    name_of(kinds, sizeof(kinds) / sizeof(kinds[0]), up->identity));
	while (sluice_field_next(up, &field)) {
		if (field.type != SLUICE_FIELD_IDENTITY)
			continue;
		add(t, "%s", first ? "" : ",");
		add_string(t, field.bytes, field.len);
		first = false;
	}
	add(t, "]");
}

static void add_peer(struct text *t, const struct sluice_address *peer)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char ip[INET6_ADDRSTRLEN];

	if (memcmp(peer->ip, mapped, sizeof(mapped)) == 0) {
		inet_ntop(AF_INET, peer->ip + sizeof(mapped), ip, sizeof(ip));
		add(t, ",\"peer\":\"%s:%u\"", ip, (unsigned)ntohs(peer->port));
	} else {
		inet_ntop(AF_INET6, peer->ip, ip, sizeof(ip));
		add(t, ",\"peer\":\"[%s]:%u\"", ip, (unsigned)ntohs(peer->port));
	}
}

static void add_session(struct text *t, const struct sluice_session_up *up)
{
	static const char *const credentials[] = {
		[SLUICE_CREDENTIAL_NONE] = "none",
		[SLUICE_CREDENTIAL_PSK] = "psk",
		[SLUICE_CREDENTIAL_X509] = "x509",
		[SLUICE_CREDENTIAL_RPK] = "rpk",
	};

	add(t, "{\"found\":true,\"session\":{\"worker\":%u,\"index\":%u,\"generation\":%u}", up->ref.worker,
	    up->ref.index, up->ref.generation);
	add_field(t, up, SLUICE_FIELD_TENANT, "tenant");
	add_identities(t, up);
	add(t, ",\"credential\":\"%s\"",
	    name_of(credentials, sizeof(credentials) / sizeof(credentials[0]), up->credential));
	add_field(t, up, SLUICE_FIELD_CREDENTIAL_ID, "credential_id");
	add_credential_bytes(t, up);
	add_field(t, up, SLUICE_FIELD_SNI, "server_name");
	add(t, ",\"suite\":%u,\"cid\":%s", up->suite, up->has_cid ? "true" : "false");
	add_peer(t, &up->peer);
	add(t, "}\n");
}

/* Takes the address out of the question, without brackets and port. False when it is none. */
static bool read_address(int family, const char *question, uint8_t *ip)
{
	char text[INET6_ADDRSTRLEN];
	size_t len = strlen(question);
	const char *end;

	if (question[0] == '[') {
		question++;
		end = strchr(question, ']');
		len = end != NULL ? (size_t)(end - question) : 0;
	} else if (family == AF_INET && (end = strchr(question, ':')) != NULL) {
		len = (size_t)(end - question);
	}
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, question, len);
	text[len] = '\0';
	return inet_pton(family, text, ip) == 1;
}

size_t lookup_answer(const struct lookup *l, const char *question, char *out)
{
	struct text t = {.at = out};
	const struct peer *p;
	struct sluice_ref ref;
	uint8_t ip[16];
	uint32_t slot;

	if (!read_address(l->family, question, ip)) {
		add(&t, "{\"found\":false,\"why\":\"not an IPv%c address\"}\n",
		    l->family == AF_INET ? '4' : '6');
		return t.len;
	}
	slot = source_slot(l->sources, ip);
	p = source_session(l->sources, slot, &ref) ? peer_get(l->peers, slot) : NULL;
	if (p == NULL)
		add(&t, "{\"found\":false,\"why\":\"no session has this address\"}\n");
	else
		add_session(&t, peer_up(p));
	return t.len;
}
