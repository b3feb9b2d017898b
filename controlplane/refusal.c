/* See refusal.h. */
#include "controlplane/refusal.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static const struct {
	const char *name, *help;
} causes[REFUSAL_CAUSES_COUNT] = {
#define X(cause, name, help) {name, help},
	REFUSAL_CAUSES(X)
#undef X
};

const char *refusal_name(unsigned cause)
{
	return causes[cause < REFUSAL_CAUSES_COUNT ? cause : REFUSED_INTERNAL].name;
}

const char *refusal_help(unsigned cause)
{
	return causes[cause < REFUSAL_CAUSES_COUNT ? cause : REFUSED_INTERNAL].help;
}

bool refusal_write(struct refusal *r, enum refusal_cause cause, uint8_t alert, const char *format, ...)
{
	va_list arguments;

	r->alert = alert;
	r->cause = (uint8_t)cause;
	va_start(arguments, format);
	vsnprintf(r->text, sizeof r->text, format, arguments);
	va_end(arguments);
	return false;
}

/* ---- cipher suites of the past, by their IANA numbers; whoever fits several lists is in the first */

static const uint16_t suites_null[] = {
	0x0000, 0x0001, 0x0002, 0x002c, 0x002d, 0x002e, 0x003b, 0x00b0, 0x00b1, 0x00b4, 0x00b5, 0x00b8,
	0x00b9, 0xc001, 0xc006, 0xc00b, 0xc010, 0xc015, 0xc039, 0xc03a, 0xc03b, 0xc0b4, 0xc0b5,
};

static const uint16_t suites_anonymous[] = {
	0x0017, 0x0018, 0x0019, 0x001a, 0x001b, 0x0034, 0x003a, 0x0046, 0x006c,
	0x006d, 0x0089, 0x009b, 0x00a6, 0x00a7, 0x00bf, 0x00c5, 0xc016, 0xc017,
	0xc018, 0xc019, 0xc046, 0xc047, 0xc05a, 0xc05b, 0xc084, 0xc085,
};

/* RFC 5469 and the export suites of RFC 2246. */
static const uint16_t suites_des_export[] = {
	0x0003, 0x0006, 0x0007, 0x0008, 0x0009, 0x000b, 0x000c, 0x000e, 0x000f, 0x0011,
	0x0012, 0x0014, 0x0015, 0x001e, 0x0021, 0x0022, 0x0025, 0x0026, 0x0027, 0x0028,
	0x0029, 0x002a, 0x002b, 0x0060, 0x0061, 0x0062, 0x0063, 0x0064, 0x0065,
};

static const uint16_t suites_rc4[] = {
	0x0004, 0x0005, 0x0020, 0x0024, 0x0066, 0x008a, 0x008e,
	0x0092, 0xc002, 0xc007, 0xc00c, 0xc011, 0xc033,
};

static const uint16_t suites_3des[] = {
	0x000a, 0x000d, 0x0010, 0x0013, 0x0016, 0x001f, 0x0023, 0x008b, 0x008f,
	0x0093, 0xc003, 0xc008, 0xc00d, 0xc012, 0xc01a, 0xc01b, 0xc01c, 0xc034,
};

/* RSA_PSK transports its secret the same way. */
static const uint16_t suites_static_rsa[] = {
	0x002f, 0x0035, 0x003c, 0x003d, 0x0041, 0x0084, 0x0094, 0x0095, 0x0096, 0x009c, 0x009d, 0x00ac,
	0x00ad, 0x00b6, 0x00b7, 0x00ba, 0x00c0, 0xc03c, 0xc03d, 0xc050, 0xc051, 0xc068, 0xc069, 0xc06e,
	0xc06f, 0xc07a, 0xc07b, 0xc092, 0xc093, 0xc098, 0xc099, 0xc09c, 0xc09d, 0xc0a0, 0xc0a1, 0xccae,
};

#define LIST(list) list, sizeof(list) / sizeof((list)[0])

/* From the worst to the best, as the causes stand in their table. */
static const struct {
	enum refusal_cause cause;
	const uint16_t *suites;
	size_t count;
} pasts[] = {
	{REFUSED_SUITE_NULL, LIST(suites_null)},
	{REFUSED_SUITE_ANONYMOUS, LIST(suites_anonymous)},
	{REFUSED_SUITE_DES_EXPORT, LIST(suites_des_export)},
	{REFUSED_SUITE_RC4, LIST(suites_rc4)},
	{REFUSED_SUITE_3DES, LIST(suites_3des)},
	{REFUSED_SUITE_STATIC_RSA, LIST(suites_static_rsa)},
};

static enum refusal_cause past_of(uint16_t suite)
{
	for (size_t i = 0; i < sizeof pasts / sizeof pasts[0]; i++) {
		for (size_t j = 0; j < pasts[i].count; j++) {
			if (pasts[i].suites[j] == suite)
				return pasts[i].cause;
		}
	}
	return REFUSED_SUITE_NOT_ENABLED;
}

/* RFC 5746 3.3 and RFC 7507: numbers that are signals; and GREASE (RFC 8701). */
static bool is_signal(uint16_t suite)
{
	return suite == 0x00ff || suite == 0x5600 ||
	       ((suite & 0x0f0f) == 0x0a0a && suite >> 8 == (suite & 0xff));
}

enum refusal_cause refusal_of_suites(const uint8_t *suites, unsigned len)
{
	enum refusal_cause best = REFUSED_SUITE_NOT_ENABLED;
	bool any = false;

	for (unsigned i = 0; i + 1 < len && !(any && best == REFUSED_SUITE_NOT_ENABLED); i += 2) {
		uint16_t suite = (uint16_t)(suites[i] << 8 | suites[i + 1]);
		enum refusal_cause past;

		if (is_signal(suite))
			continue;
		past = past_of(suite);
		if (!any || past > best)
			best = past;
		any = true;
	}
	return best;
}
