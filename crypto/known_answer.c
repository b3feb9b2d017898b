#include "crypto/known_answer.h"

#include <stdlib.h>
#include <string.h>

/* Made by `test_known_answer print` with OpenSSL, and held against it by that test. */
#include "crypto/known_answer_data.h"

enum { BURST = 13, SLOT = 512, BEFORE = 16 };

struct trial {
	struct known_answer_input input;
	union record_key key;
	struct record_op op[BURST];
	struct record_op *ops[BURST];
	const struct known_answer *answer[BURST];
	uint8_t buffer[BURST][BEFORE + SLOT];
};

const struct known_answer *known_answers(unsigned *count)
{
	*count = sizeof answers / sizeof answers[0];
	return answers;
}

void known_answer_input(struct known_answer_input *input)
{
	for (unsigned i = 0; i < sizeof input->key; i++) {
		input->key[i] = (uint8_t)(7 * i + 1);
		input->mac_key[i] = (uint8_t)(11 * i + 2);
	}
	for (unsigned i = 0; i < sizeof input->salt; i++)
		input->salt[i] = (uint8_t)(0xa0 + i);
	for (unsigned i = 0; i < sizeof input->cid; i++)
		input->cid[i] = (uint8_t)(0xc0 + i);
	for (unsigned i = 0; i < sizeof input->explicit_part; i++)
		input->explicit_part[i] = (uint8_t)(0x30 + 5 * i);
	for (unsigned i = 0; i < sizeof input->payload; i++)
		input->payload[i] = (uint8_t)(i * i + 3 * i + 1);
	input->epoch_seq = 0x0001000000a1b2c3;
	input->type = 23;
}

static void op_prepare(struct trial *t, unsigned slot, const struct known_answer *answer)
{
	t->answer[slot] = answer;
	t->ops[slot] = &t->op[slot];
	t->op[slot] = (struct record_op){
		.fragment = t->buffer[slot] + BEFORE,
		.key = &t->key,
		.cid = answer->cid_len ? t->input.cid : NULL,
		.cid_len = answer->cid_len,
		.epoch_seq = t->input.epoch_seq,
		.type = t->input.type,
		.protection = answer->protection,
	};
}

static bool seal_right(const struct record_engine *engine, void *worker, struct trial *t, unsigned count)
{
	unsigned explicit_len = protection_get(t->op[0].protection)->explicit_len;
	bool right = true;

	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = &t->op[i];

		op->payload_offset = (uint16_t)explicit_len;
		op->payload_len = t->answer[i]->payload_len;
		memcpy(op->fragment, t->input.explicit_part, explicit_len);
		memcpy(op->fragment + explicit_len, t->input.payload, op->payload_len);
	}
	engine->seal_burst(worker, t->ops, count);
	for (unsigned i = 0; i < count; i++) {
		right &= t->op[i].ok && t->op[i].fragment_len == t->answer[i]->fragment_len &&
			 memcmp(t->op[i].fragment, t->answer[i]->fragment, t->op[i].fragment_len) == 0;
	}
	return right;
}

/* Opens the known fragments, the one at `damaged` with a flipped bit somewhere (past the end: none). */
static bool open_right(const struct record_engine *engine, void *worker, struct trial *t, unsigned count,
		       unsigned damaged)
{
	bool right = true;

	for (unsigned i = 0; i < count; i++) {
		struct record_op *op = &t->op[i];

		op->fragment_len = t->answer[i]->fragment_len;
		memcpy(op->fragment, t->answer[i]->fragment, op->fragment_len);
		op->payload_len = 0;
	}
	if (damaged < count)
		t->op[damaged].fragment[damaged * 5 % t->op[damaged].fragment_len] ^= 0x10;
	engine->open_burst(worker, t->ops, count);
	for (unsigned i = 0; i < count; i++) {
		const struct record_op *op = &t->op[i];

		if (i == damaged)
			right &= !op->ok;
		else
			right &= op->ok && op->payload_len == t->answer[i]->payload_len &&
				 memcmp(op->fragment + op->payload_offset, t->input.payload,
					op->payload_len) == 0;
	}
	return right;
}

static bool burst_right(const struct record_engine *engine, void *worker, struct trial *t, unsigned count)
{
	bool right = seal_right(engine, worker, t, count);

	for (unsigned damaged = 0; damaged <= count; damaged++)
		right &= open_right(engine, worker, t, count, damaged);
	return right;
}

bool known_answers_pass(const struct record_engine *engine, void *worker, enum protection_id protection)
{
	struct trial *t = malloc(sizeof *t);
	unsigned mine = 0;
	unsigned all;
	const struct known_answer *answer = known_answers(&all);
	bool right = true;

	if (!t)
		return false;
	known_answer_input(&t->input);
	record_key_set(&t->key, protection, t->input.key, t->input.salt, t->input.mac_key);
	for (unsigned i = 0; i < all; i++) {
		if (answer[i].protection != protection)
			continue;
		op_prepare(t, 0, &answer[i]);
		right &= burst_right(engine, worker, t, 1);
		mine++;
	}
	/* The answers stand in the order of length; each so often that the burst is full. */
	unsigned slot = 0;

	for (unsigned i = 0, seen = 0; i < all; i++) {
		if (answer[i].protection != protection)
			continue;
		seen++;
		while (slot < BURST * seen / mine)
			op_prepare(t, slot++, &answer[i]);
	}
	right &= mine > 0 && slot == BURST && burst_right(engine, worker, t, BURST);
	free(t);
	return right;
}
