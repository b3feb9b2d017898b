/* The memory of a session table (pure): how much, laid out how, and from where.
 *
 * Large tables want 2 MiB pages: with 4 KiB ones most look-ups would miss the TLB too. None of these needs an
 * operator, the first that works is taken:
 *   1. a memfd of reserved huge pages;
 *   2. a memfd in transparent huge pages, where the system allows them to shared memory (shmem_enabled);
 *   3. the same made huge with MADV_COLLAPSE (Linux 6.1), whatever the system's setting;
 *   4. anonymous transparent huge pages: as fast, but another process cannot attach them;
 *   5. a memfd of 4 KiB pages.
 * What every session needs is taken at start, page by page: it cannot run out later, and no page fault, which
 * takes up to a millisecond for a huge page, comes between two bursts. Only the pool of large keys comes into
 * memory as it is used: it is the last area, and mostly empty. All of it is kept out of core dumps.
 */
#include "dataplane/session_table.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

static const size_t small_page = 4096;
static const size_t huge_page = 2U << 20;

static size_t round_up(size_t value, size_t to)
{
	return (value + to - 1) / to * to;
}

static void area_place(struct session_layout *l, enum session_area area, uint64_t count, size_t entry_size)
{
	l->area[area].at = l->size;
	l->area[area].count = count;
	l->area[area].entry_size = entry_size;
	l->size = round_up(l->size + count * entry_size, 64);
}

int session_layout_make(const struct session_limits *limits, struct session_layout *out)
{
	uint64_t slots = (uint64_t)limits->max + limits->reserved_max;
	uint64_t ticks = (uint64_t)limits->idle_timeout_s + 2;
	size_t page;

	memset(out, 0, sizeof(*out));
	if (limits->max == 0 || slots > SESSION_SLOTS_MAX || limits->worker >= SESSION_WORKERS_MAX ||
	    limits->big_max > limits->max)
		return -EINVAL;
	out->slots = (uint32_t)slots;
	out->buckets = (uint32_t)(slots / INDEX_FILL + 1);
	/* However the addresses fall: n of them in one bucket need fewer than n / INDEX_WAYS more. */
	out->overflow = (uint32_t)(slots / INDEX_WAYS + 1);
	/* One to spare: who replaces a session takes its keys before the old ones are given back. */
	out->bigs = limits->big_max ? limits->big_max + 1 : 0;
	out->wheel_width = (uint32_t)((ticks + WHEEL_MAX - 1) / WHEEL_MAX);
	out->wheel_size = (uint32_t)(ticks / out->wheel_width + 2);
	out->size = round_up(sizeof(struct session_head), 64);
	area_place(out, AREA_WHEEL, out->wheel_size, sizeof(uint32_t));
	area_place(out, AREA_INDEX, (uint64_t)out->buckets + out->overflow, sizeof(struct index_bucket));
	area_place(out, AREA_RX, slots, sizeof(struct session_rx));
	area_place(out, AREA_TX, slots, sizeof(struct session_tx));
	page = out->size < huge_page ? small_page : huge_page;
	out->size = out->at_start = round_up(out->size, page);
	area_place(out, AREA_BIG, out->bigs, sizeof(struct session_big));
	out->size = round_up(out->size, page);
	return 0;
}

void session_memory_plan(const struct session_limits *limits, struct session_memory *out)
{
	struct session_layout l;

	memset(out, 0, sizeof(*out));
	if (session_layout_make(limits, &l))
		return;
	out->rx = l.area[AREA_RX].count * l.area[AREA_RX].entry_size;
	out->tx = l.area[AREA_TX].count * l.area[AREA_TX].entry_size;
	out->big = l.size - l.at_start;
	out->index = l.area[AREA_INDEX].count * l.area[AREA_INDEX].entry_size;
	out->total = l.size;
	out->other = out->total - out->rx - out->tx - out->big - out->index;
	out->per_session = (double)l.at_start / limits->max;
}

/* Whether madvise() gets transparent huge pages, for "enabled" (private memory) or "shmem_enabled". */
static bool transparent_allowed(const char *setting)
{
	char path[80];
	char line[128] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "/sys/kernel/mm/transparent_hugepage/%s", setting);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, line, sizeof(line) - 1) < 0)
		line[0] = 0;
	(void)close(fd);
	return line[0] && !strstr(line, "[never]") && !strstr(line, "[deny]");
}

/* Address space aligned for huge pages. */
static uint8_t *address_space(size_t size)
{
	size_t room = size + huge_page;
	uint8_t *all = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *base;

	if (all == MAP_FAILED)
		return NULL;
	base = (uint8_t *)round_up((uintptr_t)all, huge_page);
	if (base > all)
		(void)munmap(all, (size_t)(base - all));
	if (base + size < all + room)
		(void)munmap(base + size, (size_t)(all + room - base - size));
	return base;
}

static bool map_over(struct session_memory_map *m, int fd, int flags)
{
	return mmap(m->base, m->size, PROT_READ | PROT_WRITE, MAP_FIXED | flags, fd, 0) != MAP_FAILED;
}

/* -1 when there is none of that kind. */
static int memfd_map(struct session_memory_map *m, unsigned flags)
{
	int fd = memfd_create("sluice-sessions", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)m->size) == 0 && map_over(m, fd, MAP_SHARED)) {
		(void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
		return fd;
	}
	(void)close(fd);
	return -1;
}

static void touch(uint8_t *page)
{
	*(volatile uint8_t *)page = *page;
}

/* Each huge page needs a small one to start from. All of them in one call: each call waits for all CPUs. */
static bool collapse(uint8_t *start, size_t size)
{
	for (size_t at = 0; at < size; at += huge_page)
		touch(start + at);
	return madvise(start, size, MADV_COLLAPSE) == 0;
}

bool session_memory_populate(const struct session_memory_map *m, size_t size)
{
	if (madvise(m->base, size, MADV_POPULATE_WRITE) == 0)
		return true;
	if (errno != EINVAL)
		return false;
	for (size_t at = 0; at < size; at += small_page) /* Linux before 5.14 */
		touch(m->base + at);
	return true;
}

static bool map_shared(struct session_memory_map *m, size_t at_start)
{
	bool large = at_start >= huge_page;

	if (large && (m->fd = memfd_map(m, MFD_HUGETLB)) >= 0) {
		m->pages = SESSION_PAGES_RESERVED;
		return true;
	}
	m->fd = memfd_map(m, 0);
	if (m->fd < 0)
		return false;
	if (large && transparent_allowed("shmem_enabled") && madvise(m->base, m->size, MADV_HUGEPAGE) == 0)
		m->pages = SESSION_PAGES_ADVISED;
	else if (large && collapse(m->base, huge_page))
		m->pages = collapse(m->base, at_start) ? SESSION_PAGES_COLLAPSED : SESSION_PAGES_MIXED;
	else
		m->pages = SESSION_PAGES_SMALL;
	return true;
}

static bool map_anonymous(struct session_memory_map *m)
{
	if (!transparent_allowed("enabled") || !map_over(m, -1, MAP_PRIVATE | MAP_ANONYMOUS))
		return false;
	if (madvise(m->base, m->size, MADV_HUGEPAGE)) {
		if (m->fd >= 0 && !map_over(m, m->fd, MAP_SHARED))
			m->fd = -1; /* gone: the caller gives up */
		return false;
	}
	if (m->fd >= 0)
		(void)close(m->fd);
	m->fd = -1;
	m->pages = SESSION_PAGES_ANONYMOUS;
	return true;
}

int session_memory_map(struct session_memory_map *m, size_t size, size_t at_start)
{
	*m = (struct session_memory_map){.size = size, .fd = -1, .pages = SESSION_PAGES_SMALL};
	m->base = address_space(size);
	if (!m->base)
		return -ENOMEM;
	if ((!map_shared(m, at_start) || (m->pages == SESSION_PAGES_SMALL && at_start >= huge_page)) &&
	    !map_anonymous(m) && m->fd < 0)
		goto err_map;
	if (madvise(m->base, size, MADV_DONTDUMP) /* keys */ || !session_memory_populate(m, at_start))
		goto err_map;
	return 0;

err_map:
	session_memory_unmap(m);
	return -ENOMEM;
}

int session_memory_attach(struct session_memory_map *m, int fd)
{
	struct stat status;

	*m = (struct session_memory_map){.fd = -1};
	if (fstat(fd, &status) || status.st_size < (off_t)small_page)
		return -EPROTO;
	m->size = (size_t)status.st_size;
	m->base = address_space(m->size);
	if (!m->base || !map_over(m, fd, MAP_SHARED) || madvise(m->base, m->size, MADV_DONTDUMP)) {
		session_memory_unmap(m);
		return -ENOMEM;
	}
	m->fd = fd;
	return 0;
}

void session_memory_unmap(struct session_memory_map *m)
{
	if (m->base)
		(void)munmap(m->base, m->size);
	if (m->fd >= 0)
		(void)close(m->fd);
	*m = (struct session_memory_map){.fd = -1};
}
