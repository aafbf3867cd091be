/* kit.c -- see kit.h. */
#include "kit.h"

#include "base/bytes.h"
#include "fault.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* Not over the seam: these must not fail when a test arms a fault. */
static struct ls_vfs_opts
opts(const char *txid, uint64_t cache_bytes)
{
	struct ls_vfs_opts o = { .cache_bytes = cache_bytes };

	CHECK(asprintf(&o.url, "file://%s", T("rep")) > 0);
	o.txid = txid ? strdup(txid) : NULL;
	return o;
}

struct ls_reader *
kit_open(const char *txid, uint64_t cache_bytes)
{
	struct ls_vfs_opts o = opts(txid, cache_bytes);
	struct ls_reader *r = NULL;
	struct ls_err e = { 0 };

	CHECK_OK(ls_reader_open(&o, &r, &e));
	ls_vfs_opts_fini(&o);
	return r;
}

struct ls_reader *
kit_hydrated(const char *path)
{
	struct ls_vfs_opts o = opts(NULL, 1 << 20);
	struct ls_reader *r = NULL;
	struct ls_err e = { 0 };

	o.hydrate = true;
	o.hydrate_path = path ? ls_strdup(path) : NULL;
	CHECK_OK(ls_reader_open(&o, &r, &e));
	ls_vfs_opts_fini(&o);
	return r;
}

struct ls_reader *
kit_cached(const char *dir, uint64_t cache_bytes)
{
	struct ls_vfs_opts o = opts(NULL, cache_bytes);
	struct ls_reader *r = NULL;
	struct ls_err e = { 0 };

	o.disk_path = ls_strdup(T(dir));
	o.disk_bytes = 64 << 20;
	CHECK_OK(ls_reader_open(&o, &r, &e));
	ls_vfs_opts_fini(&o);
	return r;
}

enum ls_rc
kit_try(const char *txid, struct ls_reader **r, struct ls_err *e)
{
	struct ls_vfs_opts o = opts(txid, 1 << 20);
	enum ls_rc rc = ls_reader_open(&o, r, e);

	ls_vfs_opts_fini(&o);
	return rc;
}

void
kit_later(void)
{
	uint64_t ahead = ls_sys->mono_ns() - ls_sys_real.mono_ns();

	fault_clock((int64_t)(ahead + 2 * LS_SEC));
}

static void
check_page(struct ls_reader *r, const uint8_t *want, uint32_t ps, uint32_t p)
{
	struct ls_err e = { 0 };
	struct ls_ver *v = NULL;
	uint8_t *got = malloc(ps), *model = malloc(ps);

	CHECK(got != NULL && model != NULL);
	CHECK_OK(ls_reader_read(r, got, ps, (uint64_t)(p - 1) * ps, &e));
	memcpy(model, want, ps);
	if (p == 1) {
		CHECK_OK(ls_reader_state(r, &v, &e));
		model[18] = model[19] = 1;
		ls_put_be32(model + 24, ls_reader_counter(r));
		ls_put_be32(model + 28, v->commit);
		ls_put_be32(
		    model + 40, ls_be32(model + 40) + ls_reader_raised(r));
		ls_put_be32(model + 92, ls_reader_counter(r));
		ls_ver_unref(v);
	}
	if (memcmp(got, model, ps) != 0)
		test_fail(__FILE__, __LINE__, "page %u differs", p);
	free(got), free(model);
}

void
kit_check(struct ls_reader *r, const struct fx *x, uint64_t txid)
{
	const struct fx_state *s = &x->s[txid];
	struct ls_err e = { 0 };
	uint64_t size = 0;
	uint8_t past[16];

	CHECK_EQ(kit_txid(r), txid);
	CHECK_OK(ls_reader_size(r, &size, &e));
	CHECK_EQ(size, (uint64_t)s->commit * x->page_size);
	for (uint32_t p = 1; p <= s->commit; p++)
		check_page(r, s->pages + (size_t)(p - 1) * x->page_size,
		    x->page_size, p);
	CHECK_RC(ls_reader_read(r, past, 16, size, &e), LS_ESHORT);
}

void
kit_see(struct ls_reader *r, const struct fx *x, uint64_t txid)
{
	struct ls_err e = { 0 };

	CHECK_OK(ls_reader_begin(r, &e));
	kit_check(r, x, txid);
	ls_reader_end(r);
}

uint64_t
kit_txid(struct ls_reader *r)
{
	struct ls_err e = { 0 };
	uint64_t txid = 0;

	CHECK_OK(ls_reader_txid(r, &txid, &e));
	return txid;
}

void
kit_prune(int level, uint64_t min, uint64_t max)
{
	CHECK(unlink(fx_path(level, min, max)) == 0);
}

static struct ls_store_stats
stats(struct ls_reader *r)
{
	struct ls_store_stats s;

	ls_store_stats(ls_replica_store(ls_vdb_replica(ls_reader_db(r))), &s);
	return s;
}

uint64_t
kit_gets(struct ls_reader *r)
{
	return stats(r).get_n;
}

uint64_t
kit_lists(struct ls_reader *r)
{
	return stats(r).list_n;
}

static bool
lives(const pid_t *tid)
{
	char path[64];

	(void)snprintf(path, sizeof path, "/proc/self/task/%d", (int)*tid);
	return access(path, F_OK) == 0;
}

static void *
tell_tid(void *tid)
{
	*(pid_t *)tid = gettid();
	return NULL;
}

/* ThreadSanitizer begins a thread of its own with the first one: it is not
 * the product's. */
static void
first_thread(void)
{
	static pid_t tid;
	pthread_t t;

	if (tid != 0)
		return;
	CHECK(pthread_create(&t, NULL, tell_tid, &tid) == 0);
	CHECK(pthread_join(t, NULL) == 0);
	while (lives(&tid))
		(void)usleep(100);
}

int
kit_threads(void)
{
	DIR *d;
	int n = -2; /* . and .. */

	first_thread();
	CHECK((d = opendir("/proc/self/task")) != NULL);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

void
kit_threads_end(int most)
{
	for (int i = 0; kit_threads() > most; i++) {
		if (i == 20000)
			test_fail(__FILE__, __LINE__, "%d threads, not %d",
			    kit_threads(), most);
		(void)usleep(1000);
	}
}
