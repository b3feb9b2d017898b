/* Hostile shared memory: the input is a program of small steps which write anything anywhere into the memory
 * of one uplink, between honest work of the gateway and of libsluice on it. Neither side may crash, read
 * outside of the rings or loop; a payload that comes out is as long as it says.
 *
 *   step: u8 kind, then its operands, little endian
 *   0 index   u8 which (6 fields of the controls), u64 value
 *   1 header  u8 ring, u16 line, u32 length, u16 type
 *   2 bytes   u8 ring, u32 offset, u8 count, count bytes
 *   3 work of the gateway   4 work of the application   5 both ends anew
 */
#include "ring/attach.h"
#include "ring/consumer.c" /* libsluice with its insides: no socket is needed */

enum { STEPS_MAX = 512, UP = UPLINK_BYTES_MIN, DOWN = UPLINK_BYTES_MIN };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct uplink *gateway;
static struct sluice *application;
static uint8_t *buffer; /* exactly one payload: the sanitizer guards its end */
static volatile uint8_t sink;

struct input {
	const uint8_t *at, *end;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes && in->at < in->end; i++)
		value |= (uint64_t)*in->at++ << (8 * i);
	return value;
}

static void ends_anew(void)
{
	struct worker_ring *r = &application->rings[0];
	uint8_t *memory = gateway->memory;

	memset(memory, 0, gateway->memory_len);
	spsc_producer_init(&gateway->up, attach_up_control(memory), attach_up_data(memory), UP);
	spsc_consumer_init(&gateway->down, attach_down_control(memory), attach_down_data(memory, UP), DOWN);
	spsc_consumer_init(&r->up, attach_up_control(memory), attach_up_data(memory), UP);
	spsc_producer_init(&r->down, attach_down_control(memory), attach_down_data(memory, UP), DOWN);
	application->gone = false;
}

static void init(void)
{
	gateway = uplink_new(UP, DOWN);
	application = calloc(1, sizeof(*application) + sizeof(application->rings[0]));
	buffer = malloc(UPLINK_PAYLOAD_MAX);
	if (gateway == NULL || application == NULL || buffer == NULL)
		abort();
	application->workers = 1;
	application->rings[0].wake_fd = gateway->app_wake_fd;
	application->connection_fd = -1; /* awake() takes that for a gateway that is gone */
}

static void write_index(struct input *in)
{
	struct spsc_control *up = attach_up_control(gateway->memory);
	struct spsc_control *down = attach_down_control(gateway->memory);
	uint64_t which = take(in, 1), value = take(in, 8);

	switch (which % 6) {
	case 0:
		atomic_store(&up->head, value);
		break;
	case 1:
		atomic_store(&up->tail, value);
		break;
	case 2:
		atomic_store(&up->sleeping, (uint32_t)value);
		break;
	case 3:
		atomic_store(&down->head, value);
		break;
	case 4:
		atomic_store(&down->tail, value);
		break;
	default:
		atomic_store(&down->sleeping, (uint32_t)value);
	}
}

static uint8_t *ring_of(struct input *in)
{
	return take(in, 1) % 2 == 0 ? attach_up_data(gateway->memory) : attach_down_data(gateway->memory, UP);
}

static void write_header(struct input *in)
{
	uint8_t *ring = ring_of(in);
	uint64_t line = take(in, 2) % (UP / SPSC_ALIGN);
	struct spsc_header header = {.length = (uint32_t)take(in, 4), .type = (uint16_t)take(in, 2)};

	memcpy(ring + line * SPSC_ALIGN, &header, sizeof(header));
}

static void write_bytes(struct input *in)
{
	uint8_t *ring = ring_of(in);
	uint64_t offset = take(in, 4) % UP, count = take(in, 1);

	for (uint64_t i = 0; i < count && in->at < in->end; i++)
		ring[(offset + i) % UP] = (uint8_t)take(in, 1);
}

static void touch(const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink ^= ((const uint8_t *)bytes)[i];
}

static void work_of_the_gateway(struct input *in)
{
	struct sluice_data data = {.payload_len = (uint16_t)(take(in, 2) % (UPLINK_PAYLOAD_MAX + 1))};
	struct sluice_session_down down = {.reason = SLUICE_REASON_IDLE};
	uint32_t room = (uint32_t)(take(in, 2) % (UPLINK_PAYLOAD_MAX + 1));
	uint64_t malformed = 0;
	int type;

	for (unsigned i = take(in, 1) % 64; i > 0; i--)
		(void)uplink_data(gateway, &data, buffer);
	(void)uplink_event(gateway, SLUICE_SESSION_DOWN, &down, sizeof(down));
	uplink_publish(gateway);
	for (unsigned i = 0; i < 64; i++) {
		type = uplink_take(gateway, &data, buffer, room, &malformed);
		if (type == SLUICE_DATA && data.payload_len > UPLINK_PAYLOAD_MAX)
			abort();
		if (type == 0)
			break;
	}
	spsc_release(&gateway->down);
	(void)uplink_sleep(gateway);
	uplink_awake(gateway);
}

static void touch_message(const struct sluice_message *m)
{
	const uint8_t *start = attach_up_data(gateway->memory);
	struct sluice_field field = {0};
	const uint8_t *body = (const uint8_t *)m->up;

	if (body < start || body >= start + UP)
		abort();
	if (m->type == SLUICE_DATA) {
		if ((const uint8_t *)(m->data + 1) + m->data->payload_len > start + UP)
			abort();
		touch(m->data + 1, m->data->payload_len);
		(void)sluice_send(application, m->data->ref, m->data + 1, m->data->payload_len, 1);
	} else if (m->type == SLUICE_SESSION_UP) {
		while (sluice_field_next(m->up, &field)) {
			if ((const uint8_t *)field.bytes + field.len > start + UP)
				abort();
			touch(field.bytes, field.len);
		}
		(void)sluice_close_session(application, m->up->ref);
	}
}

static void work_of_the_application(void)
{
	struct sluice_message messages[32];
	int count = sluice_receive(application, messages, 32);

	for (int i = 0; i < count; i++)
		touch_message(&messages[i]);
	sluice_flush(application);
	(void)sluice_sleep(application);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};

	if (gateway == NULL)
		init();
	ends_anew();
	for (unsigned step = 0; step < STEPS_MAX && in.at < in.end; step++) {
		switch (take(&in, 1) % 6) {
		case 0:
			write_index(&in);
			break;
		case 1:
			write_header(&in);
			break;
		case 2:
			write_bytes(&in);
			break;
		case 3:
			work_of_the_gateway(&in);
			break;
		case 4:
			work_of_the_application();
			break;
		default:
			ends_anew();
		}
	}
	return 0;
}
