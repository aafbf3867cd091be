/* registry.c -- what this process has open. See registry.h.
 *
 * (1) A FORK BEGINS ANEW. The child has none of our threads, its copies of our
 *     mutexes may be held for ever, and its copies of sockets belong to
 *     streams of the parent. So nothing of the parent's is freed or unlocked
 *     there: the registry is emptied (the memory stays behind; the copy of the
 *     temporary file is closed, or its room would stay taken) and the
 *     generation raised. The child may open its own.
 * (2) The credentials of the environment belong to the key: two connections
 *     share a state only when they would ask the same server as the same user.
 */
#include "vfs/registry.h"

#include "base/sys.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct ls_vdb_link *list;
static struct ls_net *net;
static struct disk_link {
	struct disk_link *next;
	struct ls_disk *disk;
	char *dir; /* as asked for */
} * disks;
static struct ls_scratch *scratch;
static _Atomic unsigned generation = 1;
static pthread_cond_t gone = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
in_child(void)
{
	(void)pthread_mutex_init(&mu, NULL);
	(void)pthread_cond_init(&gone, NULL);
	list = NULL;
	net = NULL;
	disks = NULL;
	if (scratch != NULL)
		ls_scratch_forked(scratch);
	scratch = NULL;
	(void)atomic_fetch_add(&generation, 1);
}

static void
watch_forks(void)
{
	(void)pthread_atfork(NULL, NULL, in_child);
}

unsigned
ls_registry_generation(void)
{
	return atomic_load(&generation);
}

void
ls_registry_lock(void)
{
	(void)pthread_once(&once, watch_forks);
	(void)pthread_mutex_lock(&mu);
}

void
ls_registry_unlock(void)
{
	(void)pthread_mutex_unlock(&mu);
}

static const char *
var(const char *name)
{
	const char *v = getenv(name);

	return v ? v : "";
}

char *
ls_registry_key(const struct ls_vfs_opts *o)
{
	return ls_asprintf("%s\n%s\n%s\n%s\n%s\n%s", o->url,
	    var("LITESTREAM_ACCESS_KEY_ID"), var("LITESTREAM_S3_ENDPOINT"),
	    var("AWS_ACCESS_KEY_ID"), var("AWS_SESSION_TOKEN"),
	    var("AWS_PROFILE"));
}

static struct ls_vdb_link *
find(const char *key)
{
	struct ls_vdb_link *l = list;

	while (l != NULL && strcmp(l->key, key) != 0)
		l = l->next;
	return l;
}

struct ls_vdb_link *
ls_registry_find(const char *key)
{
	struct ls_vdb_link *l;

	while ((l = find(key)) != NULL && l->closing)
		(void)pthread_cond_wait(&gone, &mu);
	return l;
}

void
ls_registry_add(struct ls_vdb_link *l)
{
	l->next = list;
	list = l;
}

void
ls_registry_remove(struct ls_vdb_link *l)
{
	struct ls_vdb_link **p = &list;

	while (*p != l)
		p = &(*p)->next;
	*p = l->next;
	(void)pthread_cond_broadcast(&gone);
}

enum ls_rc
ls_registry_net(struct ls_net **out, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (net == NULL)
		rc = ls_net_new(&net, e);
	if (rc == LS_OK)
		*out = net;
	return rc;
}

static enum ls_rc
disk_link_new(
    const char *dir, uint64_t most, struct disk_link **out, struct ls_err *e)
{
	struct disk_link *l = ls_zalloc(sizeof *l);

	if (l == NULL || (l->dir = ls_strdup(dir)) == NULL ||
	    ls_disk_new(dir, most, &l->disk, NULL) != LS_OK) {
		if (l != NULL)
			ls_free(l->dir);
		ls_free(l);
		return ls_err_nomem(e);
	}
	*out = l;
	return LS_OK;
}

enum ls_rc
ls_registry_disk(
    const char *dir, uint64_t most, struct ls_disk **out, struct ls_err *e)
{
	struct disk_link *l = disks;
	enum ls_rc rc = LS_OK;

	while (l != NULL && strcmp(l->dir, dir) != 0)
		l = l->next;
	if (l == NULL && (rc = disk_link_new(dir, most, &l, e)) == LS_OK) {
		l->next = disks;
		disks = l;
	}
	if (rc == LS_OK)
		*out = l->disk;
	return rc;
}

enum ls_rc
ls_registry_scratch(uint64_t most, struct ls_scratch **out, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	if (scratch == NULL)
		rc = ls_scratch_new(NULL, most, &scratch, e);
	if (rc != LS_OK)
		return rc;
	ls_scratch_allow(scratch, most);
	*out = scratch;
	return LS_OK;
}

void
ls_registry_trim(void)
{
	(void)pthread_mutex_lock(&mu);
	if (list == NULL && net != NULL)
		ls_net_trim(net, 0);
	(void)pthread_mutex_unlock(&mu);
}
