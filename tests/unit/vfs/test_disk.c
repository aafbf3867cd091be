/* test_disk.c -- the disk cache: never a wrong byte, never an error. */
#include "kit.h"

#include "fault.h"
#include "vfs/disk.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { SIZE = (3 << 20) + 1234, MANY = 64 << 20 };

static struct ls_vfile
object(uint64_t size)
{
	return (struct ls_vfile){ .key = "0009/0000000000000001-01.ltx",
		.etag = "\"d41d8cd98f00b204e9800998ecf8427e\"",
		.size = size,
		.checksum = 0x8123456789abcdefu,
		.h = { .page_size = 4096, .commit = 9, .node_id = 7 } };
}

static struct ls_disk *
disk_at(const char *name, uint64_t most)
{
	struct ls_disk *d = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_disk_new(T(name), most, &d, &e));
	return d;
}

static uint8_t *
content(size_t n)
{
	uint8_t *p = malloc(n);

	CHECK(p != NULL);
	test_rand_bytes(p, n);
	return p;
}

static void
put(struct ls_disk *d, const struct ls_vfile *f, const uint8_t *all,
    uint64_t off, size_t n)
{
	ls_disk_put(d, f, off, LS_SPAN(all + off, n));
}

/* Is it here? If so it is right. */
static bool
get(struct ls_disk *d, const struct ls_vfile *f, const uint8_t *all,
    uint64_t off, size_t n)
{
	uint8_t *out = malloc(n);
	bool ok;

	CHECK(out != NULL);
	ok = ls_disk_get(d, f, off, n, out);
	if (ok)
		CHECK(memcmp(out, all + off, n) == 0);
	free(out);
	return ok;
}

static bool
in_model(const bool *have, uint64_t off, size_t n)
{
	for (uint64_t u = off / LS_DISK_UNIT; u * LS_DISK_UNIT < off + n; u++)
		if (!have[u])
			return false;
	return true;
}

TEST(disk_cache_gives_back_what_was_put)
{
	bool have[SIZE / LS_DISK_UNIT + 1] = { false };
	struct ls_vfile f = object(SIZE);
	struct ls_disk *d = disk_at("cache", MANY);
	uint8_t *all;
	unsigned hits = 0;

	test_seed(41);
	all = content(SIZE);
	CHECK(!get(d, &f, all, 0, 1));
	for (int i = 0; i < 400; i++) {
		uint64_t off = test_rand() % SIZE;
		size_t n =
		    1 + test_rand() % (test_rand() % 4 ? 20000 : 1 << 20);

		n = off + n > SIZE ? (size_t)(SIZE - off) : n;
		if (i % 10 == 3) {
			put(d, &f, all, off, n);
			for (uint64_t u = 0; u <= SIZE / LS_DISK_UNIT; u++)
				if (u * LS_DISK_UNIT >= off &&
				    ((u + 1) * LS_DISK_UNIT <= off + n ||
					off + n == SIZE) &&
				    u * LS_DISK_UNIT < off + n)
					have[u] = true;
		} else {
			CHECK_EQ(
			    get(d, &f, all, off, n), in_model(have, off, n));
			hits += in_model(have, off, n);
		}
		if (i % 50 == 49) { /* another process, or a later one */
			ls_disk_free(d);
			d = disk_at("cache", MANY);
		}
	}
	CHECK(hits > 50 && hits < 350);
	ls_disk_free(d);
	free(all);
}

TEST(another_object_is_a_miss)
{
	struct ls_vfile f = object(SIZE), g;
	struct ls_disk *d = disk_at("cache", MANY);
	uint8_t *all;

	test_seed(42);
	all = content(SIZE);
	put(d, &f, all, 0, SIZE);
	CHECK(get(d, &f, all, 0, SIZE));
	g = f, g.key[3] = '1';
	CHECK(!get(d, &g, all, 0, 1));
	g = f, g.size++;
	CHECK(!get(d, &g, all, 0, 1));
	g = f, g.etag[5] = 'x';
	CHECK(!get(d, &g, all, 0, 1));
	g = f, g.checksum ^= 1;
	CHECK(!get(d, &g, all, 0, 1));
	g = f, g.h.timestamp_ms++;
	CHECK(!get(d, &g, all, 0, 1));
	g = f, g.h.node_id++;
	CHECK(!get(d, &g, all, 0, 1));
	ls_disk_free(d);
	free(all);
}

/* The names of the segments, and what they take. */
static size_t
segments(const char *dir, char name[][64], size_t most, uint64_t *bytes)
{
	DIR *p = opendir(T(dir));
	struct dirent *x;
	struct stat st;
	char path[1024];
	size_t n = 0;

	*bytes = 0;
	CHECK(p != NULL);
	while ((x = readdir(p)) != NULL) {
		if (strstr(x->d_name, ".seg") == NULL)
			continue;
		CHECK(n < most);
		(void)snprintf(name[n++], 64, "%.63s", x->d_name);
		(void)snprintf(path, sizeof path, "%s/%s", T(dir), x->d_name);
		CHECK(stat(path, &st) == 0);
		*bytes += (uint64_t)st.st_blocks * 512;
	}
	(void)closedir(p);
	return n;
}

static void
damage(const char *dir, const char *name, int how)
{
	char path[1024];
	uint8_t b;
	off_t at;
	int fd;

	(void)snprintf(path, sizeof path, "%s/%s", T(dir), name);
	fd = open(path, O_RDWR);
	CHECK(fd >= 0);
	at = (off_t)(test_rand() % (uint64_t)lseek(fd, 0, SEEK_END));
	if (how == 0) { /* one bit, mostly of the bytes */
		CHECK(pread(fd, &b, 1, at) == 1);
		b ^= (uint8_t)(1 << test_rand() % 8);
		CHECK(pwrite(fd, &b, 1, at) == 1);
	} else if (how == 1) { /* a bit of the head */
		at %= LS_DISK_UNIT;
		CHECK(pread(fd, &b, 1, at) == 1);
		b ^= (uint8_t)(1 << test_rand() % 8);
		CHECK(pwrite(fd, &b, 1, at) == 1);
	} else { /* a length that was not written back, then zeros */
		CHECK(ftruncate(fd, at) == 0);
		if (how == 3)
			CHECK(ftruncate(fd, (1 << 20) + LS_DISK_UNIT) == 0);
	}
	(void)close(fd);
}

TEST(damaged_disk_cache_is_a_miss)
{
	struct ls_vfile f = object(SIZE);
	struct ls_disk *d = disk_at("cache", MANY);
	struct ls_disk_stats st;
	char name[8][64];
	uint64_t bytes;
	struct ls_err e = { 0 };
	uint8_t *all;

	test_seed(43);
	all = content(SIZE);
	for (int i = 0; i < 60; i++) {
		uint64_t gone = 0;

		put(d, &f, all, 0, SIZE);
		CHECK_EQ(segments("cache", name, 8, &bytes), 4);
		damage("cache", name[test_rand() % 4], i % 4);
		for (uint64_t o = 0; o < SIZE; o += LS_DISK_UNIT)
			gone += !get(d, &f, all, o,
			    (size_t)(SIZE - o < LS_DISK_UNIT ? SIZE - o
							     : LS_DISK_UNIT));
		CHECK(gone <= 256); /* the segment at most */
		/* What was lost can be kept again. */
		put(d, &f, all, 0, SIZE);
		CHECK(get(d, &f, all, 0, SIZE));
		CHECK_OK(ls_remove_tree(T("cache"), &e));
	}
	ls_disk_stats(d, &st);
	CHECK(st.dropped > 0 && st.failures == 0);
	ls_disk_free(d);
	free(all);
}

TEST(disk_cache_is_bounded)
{
	enum { MOST = 8 << 20, PIECE = 512 << 10 };
	struct ls_disk *d = disk_at("cache", MOST);
	struct ls_vfile last = object(PIECE);
	char name[64][64];
	uint64_t bytes, top = 0;
	struct ls_err e = { 0 };
	uint8_t *all;

	test_seed(44);
	all = content(PIECE);
	CHECK_OK(ls_mkdirs(T("cache"), 0700, &e));
	test_write_file(T("cache/not-ours.seg"), "x", 1);
	for (uint32_t i = 0; i < 80; i++) {
		struct ls_vfile f = object(PIECE);

		f.checksum = i;
		put(d, &f, all, 0, PIECE);
		CHECK(get(d, &f, all, 0, PIECE)); /* the newest is there */
		(void)segments("cache", name, 64, &bytes);
		top = bytes > top ? bytes : top;
	}
	CHECK(top <= MOST + MOST / 32 && top > MOST / 2);
	CHECK(ls_exists(T("cache/not-ours.seg")));
	ls_disk_free(d);
	/* A later process with a smaller limit makes room before it writes. */
	d = disk_at("cache", MOST / 4);
	put(d, &last, all, 0, PIECE);
	(void)segments("cache", name, 64, &bytes);
	CHECK(bytes <= MOST / 4);
	CHECK(get(d, &last, all, 0, PIECE));
	ls_disk_free(d);
	free(all);
}

TEST(disk_cache_spares_what_is_used)
{
	enum { MOST = 4 << 20, PIECE = 512 << 10 };
	struct ls_disk *d = disk_at("cache", MOST);
	struct ls_vfile kept = object(PIECE);
	uint8_t *all;

	test_seed(45);
	all = content(PIECE);
	put(d, &kept, all, 0, PIECE);
	for (uint32_t i = 0; i < 30; i++) {
		struct ls_vfile f = object(PIECE);
		struct timespec old[2] = { { 0, UTIME_OMIT }, { 1000 + i, 0 } };
		char name[64][64], path[1024];
		uint64_t bytes;
		size_t n = segments("cache", name, 64, &bytes);

		/* All of it was last used long ago, ... */
		for (size_t k = 0; k < n; k++) {
			(void)snprintf(
			    path, sizeof path, "%s/%s", T("cache"), name[k]);
			CHECK(utimensat(AT_FDCWD, path, old, 0) == 0);
		}
		CHECK(get(d, &kept, all, 0, 100)); /* ... and this now. */
		f.checksum = i;
		put(d, &f, all, 0, PIECE);
	}
	CHECK(get(d, &kept, all, 0, PIECE));
	ls_disk_free(d);
	free(all);
}

TEST(any_fault_of_the_disk_cache_is_a_miss)
{
	struct ls_vfile f = object(SIZE);
	uint8_t *all;
	struct ls_err e = { 0 };
	int fds = test_open_fds();

	test_seed(46);
	all = content(SIZE);
	fault_reads(1);
	for (int n = 1;; n++) {
		struct ls_disk *d = disk_at("cache", MANY);
		bool fired, ok;

		fault_arm(n, n % 2 ? EIO : ENOSPC);
		put(d, &f, all, 5000, 2 << 20);
		put(d, &f, all, 0, 9000);
		ok = get(d, &f, all, 0, 2 << 20);
		fault_disarm();
		fired = fault_fired();
		CHECK_EQ(test_open_fds(), fds);
		ls_disk_free(d);
		d = disk_at("cache", MANY); /* not resting */
		(void)get(d, &f, all, 0, 2 << 20);
		put(d, &f, all, 0, SIZE);
		CHECK(get(d, &f, all, 0, SIZE));
		ls_disk_free(d);
		CHECK_OK(ls_remove_tree(T("cache"), &e));
		if (!fired) {
			CHECK(ok);
			break;
		}
	}
	fault_reads(0);
	free(all);
}

TEST(full_disk_is_left_alone_for_a_while)
{
	struct ls_vfile f = object(SIZE);
	struct ls_disk *d = disk_at("cache", MANY);
	struct ls_disk_stats st;
	uint8_t *all;

	test_seed(47);
	all = content(SIZE);
	fault_memory(0);
	fault_arm_from(1, ENOSPC);
	for (int i = 0; i < 10; i++)
		put(d, &f, all, 0, 1 << 20);
	fault_disarm();
	fault_memory(1);
	ls_disk_stats(d, &st);
	CHECK_EQ(st.failures, 1);
	put(d, &f, all, 0, 1 << 20);
	CHECK(!get(d, &f, all, 0, 1 << 20));
	fault_clock(31 * (int64_t)LS_SEC);
	put(d, &f, all, 0, 1 << 20);
	CHECK(get(d, &f, all, 0, 1 << 20));
	fault_clock(0);
	ls_disk_free(d);
	free(all);
}

/* ---- behind a reader ------------------------------------------------------*/

static void
model(struct fx *x)
{
	fx_open(x, 32768);
	fx_commit_to(x, 90);
	fx_put(x, 0, 1, 1);
	for (int i = 0; i < 3; i++) {
		fx_commit(x);
		fx_put(x, 0, x->txid, x->txid);
	}
}

TEST(disk_cache_serves_without_requests)
{
	struct fx x;
	struct ls_reader *r;
	uint64_t gets;

	test_seed(48);
	model(&x);
	r = kit_cached("served", 1 << 20);
	kit_see(r, &x, x.txid);
	gets = kit_gets(r);
	ls_reader_close(r);
	r = kit_cached("served", 1 << 20);
	CHECK(gets > kit_gets(r)); /* the first one had to fetch */
	gets = kit_gets(r);
	kit_see(r, &x, x.txid);
	kit_see(r, &x, x.txid);
	CHECK_EQ(kit_gets(r), gets);
	ls_reader_close(r);
	fx_close(&x);
}

static pthread_t follower;
static _Atomic int by_follower, by_others;

static ssize_t
noted_pwrite(int fd, const void *p, size_t n, off_t off)
{
	(void)atomic_fetch_add(
	    pthread_equal(pthread_self(), follower) ? &by_follower : &by_others,
	    1);
	return ls_sys_real.pwrite(fd, p, n, off);
}

TEST(poll_does_not_wait_for_the_disk)
{
	static struct ls_sys table;
	struct fx x;
	struct ls_reader *r;
	struct ls_disk_stats was, is;

	test_seed(50);
	model(&x);
	r = kit_cached("followed", 1 << 20);
	kit_see(r, &x, x.txid);
	fx_commit(&x);
	fx_put(&x, 0, x.txid, x.txid);
	ls_fetch_disk_stats(ls_vdb_fetch(ls_reader_db(r)), &was);
	table = ls_sys_real;
	table.pwrite = noted_pwrite;
	follower = pthread_self();
	ls_sys = &table;
	ls_vdb_look_now(ls_reader_db(r));
	CHECK_EQ(kit_txid(r), x.txid);
	CHECK_EQ(by_follower, 0);
	for (int i = 0; i < 20000 && by_others == 0; i++)
		(void)usleep(1000);
	CHECK(by_others > 0);
	ls_reader_close(r); /* what was not yet written is now */
	ls_sys = &ls_sys_real;
	r = kit_cached("followed", 1 << 20);
	ls_fetch_disk_stats(ls_vdb_fetch(ls_reader_db(r)), &is);
	CHECK(is.written > was.written);
	kit_see(r, &x, x.txid);
	ls_reader_close(r);
	fx_close(&x);
}

TEST(disk_cache_that_fails_changes_no_answer)
{
	struct fx x;

	test_seed(49);
	model(&x);
	fault_memory(0);
	for (int n = 1;; n++) {
		struct ls_reader *r;
		char dir[32];

		(void)snprintf(dir, sizeof dir, "fails%d", n);
		fault_arm(n, n % 2 ? ENOSPC : EIO);
		r = kit_cached(dir, 1 << 20);
		kit_see(r, &x, x.txid);
		ls_reader_close(r); /* its threads use the seam */
		fault_disarm();
		if (!fault_fired())
			break;
	}
	fault_memory(1);
	fx_close(&x);
}
