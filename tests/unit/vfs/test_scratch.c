/* test_scratch.c -- the temporary file: never a wrong byte, never an error, and
 * a guest's manners on the host's disk. */
#include "kit.h"

#include "fault.h"
#include "vfs/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = (3 << 20) + 1234, MANY = 64 << 20, CHUNK = 64 << 10 };

static struct ls_vfile
object(uint32_t serial, uint64_t size)
{
	return (struct ls_vfile){ .serial = serial, .size = size };
}

static struct ls_scratch *
scratch_in(const char *dir, uint64_t most)
{
	struct ls_scratch *s = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_scratch_new(dir, most, &s, &e));
	return s;
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
put(struct ls_scratch *s, uint32_t who, const struct ls_vfile *f,
    const uint8_t *all, uint64_t off, size_t n)
{
	ls_scratch_put(s, who, f, off, LS_SPAN(all + off, n));
}

/* Is it here? If so it is right. */
static bool
get(struct ls_scratch *s, uint32_t who, const struct ls_vfile *f,
    const uint8_t *all, uint64_t off, size_t n)
{
	uint8_t *out = malloc(n);
	bool ok;

	CHECK(out != NULL);
	ok = ls_scratch_get(s, who, f, off, n, out);
	if (ok)
		CHECK(memcmp(out, all + off, n) == 0);
	free(out);
	return ok;
}

/* The descriptor of a file without a name in dir; -1: there is none. */
static int
nameless(const char *dir)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *x;
	int fd = -1;

	CHECK(d != NULL);
	while ((x = readdir(d)) != NULL) {
		char to[1024];
		ssize_t n = readlinkat(dirfd(d), x->d_name, to, sizeof to - 1);

		to[n < 0 ? 0 : n] = '\0';
		if (strncmp(to, dir, strlen(dir)) == 0 &&
		    strstr(to, "(deleted)") != NULL)
			fd = (int)strtol(x->d_name, NULL, 10);
	}
	(void)closedir(d);
	return fd;
}

/* Bytes of disk that it takes; and its length. */
static uint64_t
taken(int fd, uint64_t *length)
{
	struct stat st;

	CHECK(fstat(fd, &st) == 0);
	if (length != NULL)
		*length = (uint64_t)st.st_size;
	return (uint64_t)st.st_blocks * 512;
}

static bool
in_model(const bool *have, uint64_t off, size_t n)
{
	for (uint64_t u = off / LS_DISK_UNIT; u * LS_DISK_UNIT < off + n; u++)
		if (!have[u])
			return false;
	return true;
}

TEST(scratch_gives_back_what_was_put)
{
	static bool have[2][SIZE / LS_DISK_UNIT + 1];
	struct ls_vfile f = object(7, SIZE);
	struct ls_scratch *s = scratch_in(T("."), MANY);
	uint32_t who[2] = { ls_scratch_join(s), ls_scratch_join(s) };
	uint8_t *all[2];
	unsigned hits = 0;

	test_seed(51);
	all[0] = content(SIZE), all[1] = content(SIZE);
	CHECK(!get(s, who[0], &f, all[0], 0, 1));
	CHECK_EQ(nameless(T("")), -1);
	for (int i = 0; i < 600; i++) {
		uint64_t off = test_rand() % SIZE;
		size_t n =
		    1 + test_rand() % (test_rand() % 4 ? 20000 : 1 << 20);
		int w = (int)(test_rand() % 2); /* replicas share serials */

		n = off + n > SIZE ? (size_t)(SIZE - off) : n;
		if (i % 10 == 3) {
			put(s, who[w], &f, all[w], off, n);
			for (uint64_t u = 0; u <= SIZE / LS_DISK_UNIT; u++)
				if (u * LS_DISK_UNIT >= off &&
				    ((u + 1) * LS_DISK_UNIT <= off + n ||
					off + n == SIZE) &&
				    u * LS_DISK_UNIT < off + n)
					have[w][u] = true;
		} else {
			CHECK_EQ(get(s, who[w], &f, all[w], off, n),
			    in_model(have[w], off, n));
			hits += in_model(have[w], off, n);
		}
	}
	CHECK(hits > 50 && hits < 500);
	ls_scratch_leave(s, who[0]);
	CHECK(!get(s, who[0], &f, all[0], 0, 1));
	ls_scratch_leave(s, who[1]);
	ls_scratch_free(s);
	free(all[0]), free(all[1]);
}

TEST(damaged_scratch_is_a_miss)
{
	struct ls_vfile f = object(1, SIZE);
	struct ls_scratch *s = scratch_in(T("."), MANY);
	uint32_t who = ls_scratch_join(s);
	struct ls_disk_stats st;
	uint8_t *all;

	test_seed(52);
	all = content(SIZE);
	for (int i = 0; i < 60; i++) {
		int fd;
		uint8_t b;
		off_t at = (off_t)(test_rand() % SIZE);
		unsigned gone = 0;

		put(s, who, &f, all, 0, SIZE);
		CHECK((fd = nameless(T(""))) >= 0);
		if (i % 3 == 2) { /* somebody else's descriptor was ours */
			CHECK(ftruncate(fd, at) == 0);
		} else {
			CHECK(pread(fd, &b, 1, at) == 1);
			b ^= (uint8_t)(1 << test_rand() % 8);
			CHECK(pwrite(fd, &b, 1, at) == 1);
		}
		for (uint64_t o = 0; o < SIZE; o += LS_DISK_UNIT)
			gone += !get(s, who, &f, all, o,
			    (size_t)(SIZE - o < LS_DISK_UNIT ? SIZE - o
							     : LS_DISK_UNIT));
		CHECK(gone >= 1 && (i % 3 == 2 || gone == 1));
	}
	ls_scratch_stats(s, &st);
	CHECK(st.dropped >= 60 && st.failures == 0);
	ls_scratch_leave(s, who);
	ls_scratch_free(s);
	free(all);
}

TEST(scratch_is_bounded)
{
	enum { MOST = 1 << 20, PIECE = 200 << 10 };
	struct ls_scratch *s = scratch_in(T("."), MOST);
	uint32_t who = ls_scratch_join(s);
	struct ls_vfile used = object(1000, 4096);
	uint64_t length;
	uint8_t *all;

	test_seed(53);
	all = content(PIECE);
	put(s, who, &used, all, 0, 4096);
	for (uint32_t i = 1; i < 60; i++) {
		struct ls_vfile f = object(i, PIECE);

		put(s, who, &f, all, 0, PIECE);
		CHECK(get(s, who, &f, all, 0, PIECE)); /* the newest */
		CHECK(get(s, who, &used, all, 0, 4096));
		CHECK(taken(nameless(T("")), &length) <= MOST + 4096);
		CHECK(length <= MOST);
	}
	CHECK(length > MOST / 2);
	ls_scratch_allow(s, 2 * MOST); /* another connection wants more */
	for (uint32_t i = 100; i < 140; i++) {
		struct ls_vfile f = object(i, PIECE);

		put(s, who, &f, all, 0, PIECE);
	}
	(void)taken(nameless(T("")), &length);
	CHECK(length > MOST && length <= 2 * MOST);
	ls_scratch_leave(s, who);
	ls_scratch_free(s);
	free(all);
}

/* ---- the host's disk ------------------------------------------------------*/

static struct ls_sys table;
static uint64_t free_bytes;
static const char *in_memory;

static int
little_free(const char *path, struct statvfs *st)
{
	int rc = ls_sys_real.statvfs(path, st);

	st->f_bavail = free_bytes / st->f_frsize;
	return rc;
}

static int
tmpfs(const char *path, struct statfs *st)
{
	int rc = ls_sys_real.statfs(path, st);

	st->f_type =
	    in_memory != NULL && strcmp(path, in_memory) == 0 ? 0x01021994 : 1;
	return rc;
}

static void
seam(void)
{
	table = ls_sys_real;
	table.statvfs = little_free;
	table.statfs = tmpfs;
	free_bytes = 1 << 30;
	in_memory = NULL;
	ls_sys = &table;
}

TEST(scratch_leaves_the_disk_free)
{
	struct ls_vfile f = object(1, SIZE);
	struct ls_scratch *s = scratch_in(T("."), MANY);
	uint32_t who = ls_scratch_join(s);
	struct rlimit was, low;
	uint64_t length;
	uint8_t *all;

	test_seed(54);
	all = content(SIZE);
	seam();
	free_bytes = 4 * CHUNK - 1;
	put(s, who, &f, all, 0, SIZE);
	CHECK(!get(s, who, &f, all, 0, 1) && !ls_scratch_works(s));
	CHECK_EQ(taken(nameless(T("")), &length), 0);
	ls_scratch_leave(s, who);
	ls_scratch_free(s);
	s = scratch_in(T("."), MANY);
	who = ls_scratch_join(s);
	free_bytes = 4 << 20;
	put(s, who, &f, all, 0, SIZE);
	(void)taken(nameless(T("")), &length);
	CHECK(length > 0 && length <= 1 << 20);
	CHECK(ls_scratch_works(s));
	ls_scratch_leave(s, who);
	/* Past RLIMIT_FSIZE a signal would end the host. */
	CHECK(getrlimit(RLIMIT_FSIZE, &was) == 0);
	low = (struct rlimit){ 5 * CHUNK + 100, was.rlim_max };
	CHECK(setrlimit(RLIMIT_FSIZE, &low) == 0);
	free_bytes = 1 << 30;
	who = ls_scratch_join(s);
	put(s, who, &f, all, 0, SIZE);
	(void)taken(nameless(T("")), &length);
	CHECK(setrlimit(RLIMIT_FSIZE, &was) == 0);
	CHECK(length > 4 * CHUNK && length <= 5 * CHUNK);
	ls_sys = &ls_sys_real;
	ls_scratch_leave(s, who);
	ls_scratch_free(s);
	free(all);
}

static bool
works_there(const char *where)
{
	struct ls_vfile f = object(1, SIZE);
	struct ls_scratch *s = scratch_in(NULL, MANY);
	uint32_t who = ls_scratch_join(s);
	uint8_t *all = content(SIZE);
	bool ok;

	put(s, who, &f, all, 0, SIZE);
	ok = get(s, who, &f, all, 0, SIZE);
	CHECK_EQ(ls_scratch_works(s), ok);
	CHECK_EQ(nameless(where) >= 0, ok);
	ls_scratch_leave(s, who);
	ls_scratch_free(s);
	free(all);
	return ok;
}

TEST(scratch_needs_a_disk)
{
	char a[512], b[512];
	char *was = getenv("TMPDIR");
	struct ls_err e = { 0 };

	test_seed(55);
	was = was ? strdup(was) : NULL;
	(void)snprintf(a, sizeof a, "%s", T("a"));
	(void)snprintf(b, sizeof b, "%s", T("b"));
	CHECK_OK(ls_mkdirs(a, 0700, &e));
	CHECK_OK(ls_mkdirs(b, 0700, &e));
	CHECK(setenv("SQLITE_TMPDIR", a, 1) == 0);
	CHECK(setenv("TMPDIR", b, 1) == 0);
	seam();
	CHECK(works_there(a));
	in_memory = a; /* what was chosen is memory: none, not the next */
	CHECK(!works_there(a) && !works_there(b));
	in_memory = NULL;
	CHECK(setenv("SQLITE_TMPDIR", T("none"), 1) == 0);
	CHECK(works_there(b));
	ls_sys = &ls_sys_real;
	CHECK(unsetenv("SQLITE_TMPDIR") == 0);
	CHECK((was ? setenv("TMPDIR", was, 1) : unsetenv("TMPDIR")) == 0);
	free(was);
}

TEST(scratch_is_gone_with_the_last)
{
	struct ls_vfile f = object(1, SIZE);
	int fds = test_open_fds(), held, status;
	struct ls_scratch *s = scratch_in(T("."), MANY);
	uint32_t a = ls_scratch_join(s), b = ls_scratch_join(s);
	uint64_t length;
	uint8_t *all;
	pid_t pid;

	test_seed(56);
	all = content(SIZE);
	put(s, a, &f, all, 0, SIZE);
	CHECK_EQ(test_open_fds(), fds + 1);
	if ((pid = fork()) == 0) {
		ls_scratch_forked(s);
		_exit(test_open_fds() == fds ? 0 : 1);
	}
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(get(s, a, &f, all, 0, SIZE)); /* nothing of that is seen here */
	ls_scratch_leave(s, a);
	CHECK_EQ(test_open_fds(), fds + 1);
	put(s, b, &f, all, 0, SIZE);
	(void)taken(nameless(T("")), &length);
	CHECK(length <= SIZE + CHUNK); /* in the places that were free */
	CHECK((held = dup(nameless(T("")))) >= 0);
	ls_scratch_leave(s, b);
	CHECK_EQ(taken(held, &length), 0);
	CHECK_EQ(length, 0);
	(void)close(held);
	CHECK_EQ(test_open_fds(), fds);
	/* And begins anew. */
	a = ls_scratch_join(s);
	put(s, a, &f, all, 0, SIZE);
	CHECK(get(s, a, &f, all, 0, SIZE));
	ls_scratch_leave(s, a);
	ls_scratch_free(s);
	free(all);
}

TEST(any_fault_of_the_scratch_is_a_miss)
{
	struct ls_vfile f = object(1, SIZE);
	uint8_t *all;
	int fds = test_open_fds();

	test_seed(57);
	all = content(SIZE);
	fault_reads(1);
	for (int n = 1;; n++) {
		struct ls_scratch *s = scratch_in(T("."), MANY);
		uint32_t who = ls_scratch_join(s);
		bool fired, ok;

		fault_arm(n, n % 2 ? EIO : ENOSPC);
		put(s, who, &f, all, 5000, 1 << 20);
		put(s, who, &f, all, 0, 9000);
		ok = get(s, who, &f, all, 0, 1 << 20);
		fault_disarm();
		fired = fault_fired();
		fault_clock(31 * (int64_t)LS_SEC);
		put(s, who, &f, all, 0, SIZE);
		CHECK(get(s, who, &f, all, 0, SIZE));
		fault_clock(0);
		ls_scratch_leave(s, who);
		ls_scratch_free(s);
		CHECK_EQ(test_open_fds(), fds);
		if (!fired) {
			CHECK(ok);
			break;
		}
	}
	fault_reads(0);
	free(all);
}

TEST(full_disk_gets_the_scratch_back)
{
	struct ls_vfile f = object(1, SIZE);
	struct ls_scratch *s = scratch_in(T("."), MANY);
	uint32_t who = ls_scratch_join(s);
	struct ls_disk_stats st;
	uint8_t *all;

	test_seed(58);
	all = content(SIZE);
	put(s, who, &f, all, 0, 1 << 20);
	fault_memory(0);
	fault_arm(1, ENOSPC);
	for (int i = 0; i < 10; i++)
		put(s, who, &f, all, 1 << 20, 1 << 20);
	fault_disarm();
	fault_memory(1);
	ls_scratch_stats(s, &st);
	CHECK_EQ(st.failures, 1);
	CHECK_EQ(taken(nameless(T("")), NULL), 0);
	CHECK(!ls_scratch_works(s) && !get(s, who, &f, all, 0, 1));
	fault_clock(31 * (int64_t)LS_SEC);
	CHECK(ls_scratch_works(s));
	put(s, who, &f, all, 0, 1 << 20);
	CHECK(get(s, who, &f, all, 0, 1 << 20));
	fault_clock(0);
	ls_scratch_leave(s, who);
	ls_scratch_free(s);
	free(all);
}

/* ---- behind a reader ------------------------------------------------------*/

/* A database of 90 pages of 64 KiB. */
static struct ls_reader *
reader_with(struct ls_scratch *s, struct fx *x, uint64_t cache_bytes)
{
	struct ls_reader *r;

	fx_open(x, 65536);
	fx_commit_to(x, 90);
	fx_put(x, 0, 1, 1);
	r = kit_open(NULL, cache_bytes);
	ls_fetch_set_scratch(ls_vdb_fetch(ls_reader_db(r)), s);
	return r;
}

TEST(scratch_spares_requests)
{
	struct fx x;
	struct ls_scratch *s = scratch_in(T("."), MANY);
	struct ls_reader *r;
	uint64_t gets;

	test_seed(59);
	r = reader_with(s, &x, 1 << 20);
	kit_see(r, &x, 1);
	kit_see(r, &x, 1); /* the first blocks were not kept */
	gets = kit_gets(r);
	kit_see(r, &x, 1);
	kit_see(r, &x, 1);
	CHECK_EQ(kit_gets(r), gets);
	CHECK(nameless(T("")) >= 0);
	ls_reader_close(r);
	CHECK_EQ(nameless(T("")), -1);
	ls_scratch_free(s);
	fx_close(&x);
}

TEST(scratch_that_fails_changes_no_answer)
{
	struct fx x;
	struct ls_scratch *s = scratch_in("/nowhere", MANY);
	struct ls_reader *r;
	struct ls_disk_stats st;

	test_seed(60);
	r = reader_with(s, &x, 1 << 20);
	for (int i = 0; i < 3; i++)
		kit_see(r, &x, 1);
	ls_fetch_disk_stats(ls_vdb_fetch(ls_reader_db(r)), &st);
	CHECK(st.failures == 1 && st.written == 0);
	ls_reader_close(r);
	ls_scratch_free(s);
	fx_close(&x);
}

TEST(scratch_is_for_what_does_not_fit)
{
	struct fx x;
	struct ls_scratch *s = scratch_in(T("."), MANY);
	struct ls_reader *r;
	struct ls_err e = { 0 };
	uint8_t page[100];

	test_seed(61);
	r = reader_with(s, &x, 16 << 20); /* all of it fits in memory */
	for (int i = 0; i < 3; i++)
		kit_see(r, &x, 1);
	CHECK_EQ(nameless(T("")), -1);
	ls_reader_close(r);
	r = kit_open(NULL, 1 << 20);
	ls_fetch_set_scratch(ls_vdb_fetch(ls_reader_db(r)), s);
	for (uint64_t p = 90; p > 0; p -= 9) { /* a few queries, no scan */
		CHECK_OK(ls_reader_begin(r, &e));
		CHECK_OK(
		    ls_reader_read(r, page, sizeof page, (p - 1) * 65536, &e));
		ls_reader_end(r);
	}
	CHECK_EQ(nameless(T("")), -1);
	ls_reader_close(r);
	ls_scratch_free(s);
	fx_close(&x);
}
