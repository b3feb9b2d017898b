#include "bench/swarm/preset.h"

#include <string.h>

uint64_t preset_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

uint64_t preset_hash(const char *text)
{
	uint64_t h = 0;

	for (; *text; text++)
		h = preset_mix(h ^ (uint8_t)*text);
	return h;
}

static void fill(uint64_t h, struct aead_key *key)
{
	uint64_t words[3] = {preset_mix(h), preset_mix(h + 1), preset_mix(h + 2)};

	_Static_assert(sizeof(*key) <= sizeof(words), "a key and its salt");
	memcpy(key, words, sizeof(*key));
}

void preset_keys(const char *seed, uint32_t device, struct aead_key *from_device,
		 struct aead_key *from_gateway)
{
	uint64_t h = preset_hash(seed);

	fill(preset_mix(h ^ device), from_device);
	fill(preset_mix(~h ^ device), from_gateway);
}
