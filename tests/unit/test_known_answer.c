/* The known answers of crypto/ are what OpenSSL computes, and they do find a broken engine.
 * With the argument `print` it writes crypto/known_answer_data.h instead.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "crypto/cpu.h"
#include "crypto/engines.h"
#include "crypto/known_answer.h"
#include "tests/unit/record_oracle.h"

static struct known_answer_input input;
static struct oracle_key key;

static unsigned expected_make(const struct known_answer *a, uint8_t *out)
{
	struct oracle_record record = {
		.protection = a->protection,
		.key = &key,
		.epoch_seq = input.epoch_seq,
		.type = input.type,
		.cid = input.cid,
		.cid_len = a->cid_len,
		.explicit_part = input.explicit_part,
		.payload = input.payload,
		.payload_len = a->payload_len,
		.spoil_padding = -1,
	};

	if (a->cid_len) { /* the pattern's last byte serves as the inner content type */
		record.payload_len--;
		record.type = input.payload[record.payload_len];
	}
	return oracle_seal(&record, out);
}

static void input_make(void)
{
	known_answer_input(&input);
	memcpy(key.key, input.key, sizeof key.key);
	memcpy(key.salt, input.salt, sizeof key.salt);
	memcpy(key.mac_key, input.mac_key, sizeof key.mac_key);
}

static void answers_are_openssls(void **state)
{
	unsigned count;
	const struct known_answer *answers = known_answers(&count);
	uint8_t fragment[1024];

	assert_true(count >= 6 * (PROTECTIONS - 1));
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(expected_make(&answers[i], fragment), answers[i].fragment_len);
		assert_memory_equal(fragment, answers[i].fragment, answers[i].fragment_len);
	}
}

static void every_engine_passes(void **state)
{
	struct cpu_features cpu = cpu_features_get();
	unsigned count;
	const struct record_engine *const *engines = record_engines_all(&count);

	for (unsigned i = 0; i < count; i++) {
		for (unsigned p = 1; p < PROTECTIONS; p++) {
			if (!engines[i]->usable(&cpu, p))
				continue;

			void *worker = engines[i]->worker_new();

			assert_non_null(worker);
			assert_true(known_answers_pass(engines[i], worker, p));
			engines[i]->worker_free(worker);
		}
	}
}

/* Engines with one fault each. */
static void accept_all(void *worker, struct record_op **ops, unsigned count)
{
	engine_reference.open_burst(worker, ops, count);
	for (unsigned i = 0; i < count; i++)
		ops[i]->ok = true;
}

static void open_first_only(void *worker, struct record_op **ops, unsigned count)
{
	engine_reference.open_burst(worker, ops, 1);
}

static void seal_with_zero_tag(void *worker, struct record_op **ops, unsigned count)
{
	engine_reference.seal_burst(worker, ops, count);
	for (unsigned i = 0; i < count; i++)
		ops[i]->fragment[ops[i]->fragment_len - 1] = 0;
}

static void broken_engines_fail(void **state)
{
	struct record_engine broken[3] = {engine_reference, engine_reference, engine_reference};

	broken[0].open_burst = accept_all;
	broken[1].open_burst = open_first_only;
	broken[2].seal_burst = seal_with_zero_tag;
	for (unsigned p = 1; p < PROTECTIONS; p++) {
		void *worker = engine_reference.worker_new();

		assert_non_null(worker);
		for (unsigned i = 0; i < 3; i++)
			assert_false(known_answers_pass(&broken[i], worker, p));
		engine_reference.worker_free(worker);
	}
}

static const char *const protection_symbol[PROTECTIONS] = {
	[PROTECTION_AES_128_CCM_8] = "PROTECTION_AES_128_CCM_8",
	[PROTECTION_AES_128_CCM] = "PROTECTION_AES_128_CCM",
	[PROTECTION_AES_256_CCM_8] = "PROTECTION_AES_256_CCM_8",
	[PROTECTION_AES_128_GCM] = "PROTECTION_AES_128_GCM",
	[PROTECTION_AES_128_CBC_MTE] = "PROTECTION_AES_128_CBC_MTE",
	[PROTECTION_AES_128_CBC_ETM] = "PROTECTION_AES_128_CBC_ETM",
};

static int print(void)
{
	static const struct {
		uint8_t cid_len;
		uint16_t payload_len;
	} forms[] = {{0, 1}, {8, 16}, {0, 31}, {20, 33}, {0, 64}, {1, 77}, {0, 113}};

	printf("/* Written by `test_known_answer print`. */\n#include <stdint.h>\n\n");
	for (int table = 0; table < 2; table++) {
		if (table)
			printf("static const struct known_answer answers[] = {\n");
		for (unsigned p = 1; p < PROTECTIONS; p++) {
			for (unsigned i = 0; i < sizeof forms / sizeof forms[0]; i++) {
				struct known_answer a = {.protection = (uint8_t)p,
							 .cid_len = forms[i].cid_len,
							 .payload_len = forms[i].payload_len};
				uint8_t fragment[1024];
				unsigned len = expected_make(&a, fragment);

				if (table) {
					printf("\t{%s, %u, %u, sizeof answer_%u_%u, answer_%u_%u},\n",
					       protection_symbol[p], a.cid_len, a.payload_len, p, i, p, i);
					continue;
				}
				printf("static const uint8_t answer_%u_%u[] = {", p, i);
				for (unsigned j = 0; j < len; j++)
					printf("%s0x%02x,", j % 16 ? " " : "\n\t", fragment[j]);
				printf("\n};\n");
			}
		}
	}
	printf("};\n");
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_openssls),
		cmocka_unit_test(every_engine_passes),
		cmocka_unit_test(broken_engines_fail),
	};

	input_make();
	if (argc == 2 && strcmp(argv[1], "print") == 0)
		return print();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
