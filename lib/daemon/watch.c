/* watch.c -- inotify. See watch.h.
 *
 * Two kinds of entries in one table: a folder's, keyed by its watch and the
 * database's file name, and a one-shot's, keyed by its watch alone. A kernel
 * watch is shared by all databases of a folder and counted. */
#include "daemon/watch.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

#define FOLDER_EVENTS                                          \
	(IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | \
	    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

struct entry {
	struct entry *next;
	void *owner;
	int wd;
	char name[]; /* file name of the database; "" = a one-shot */
};

struct ls_watch {
	int fd;
	struct entry **slot;
	size_t slots, n;
};

enum ls_rc
ls_watch_new(struct ls_watch **out, struct ls_err *e)
{
	struct ls_watch *w = ls_zalloc(sizeof *w);

	if (w == NULL)
		return ls_err_nomem(e);
	w->slots = 64;
	w->slot = ls_zalloc(w->slots * sizeof(struct entry *));
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->slot == NULL || w->fd < 0) {
		enum ls_rc rc = w->fd < 0 ? ls_err_sys(e, errno, "inotify")
					  : ls_err_nomem(e);
		ls_watch_free(w);
		return rc;
	}
	*out = w;
	return LS_OK;
}

void
ls_watch_free(struct ls_watch *w)
{
	if (w == NULL)
		return;
	for (size_t i = 0; w->slot != NULL && i < w->slots; i++)
		while (w->slot[i] != NULL) {
			struct entry *en = w->slot[i];
			w->slot[i] = en->next;
			ls_free(en);
		}
	ls_free(w->slot);
	if (w->fd >= 0)
		(void)close(w->fd);
	ls_free(w);
}

int
ls_watch_fd(const struct ls_watch *w)
{
	return w->fd;
}

static size_t
hash(const struct ls_watch *w, int wd, const char *name)
{
	uint64_t h = (uint64_t)(unsigned)wd * 0x9e3779b97f4a7c15ull;

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
	return (size_t)(h >> 7) & (w->slots - 1);
}

static void
grow(struct ls_watch *w)
{
	struct entry **old = w->slot;
	size_t n = w->slots;
	struct entry **v = ls_zalloc(2 * n * sizeof(struct entry *));

	if (v == NULL)
		return; /* longer chains, still right */
	w->slot = v;
	w->slots = 2 * n;
	for (size_t i = 0; i < n; i++)
		while (old[i] != NULL) {
			struct entry *en = old[i];
			size_t s = hash(w, en->wd, en->name);

			old[i] = en->next;
			en->next = w->slot[s];
			w->slot[s] = en;
		}
	ls_free(old);
}

static struct entry **
find(struct ls_watch *w, int wd, const char *name, const void *owner)
{
	struct entry **p = &w->slot[hash(w, wd, name)];

	while (*p != NULL && ((*p)->wd != wd || strcmp((*p)->name, name) != 0 ||
				 (owner != NULL && (*p)->owner != owner)))
		p = &(*p)->next;
	return p;
}

static bool
add(struct ls_watch *w, int wd, const char *name, void *owner)
{
	struct entry **p = find(w, wd, name, owner), *en;

	if (*p != NULL)
		return true;
	if (w->n >= w->slots)
		grow(w);
	p = find(w, wd, name, owner);
	if ((en = ls_zalloc(sizeof *en + strlen(name) + 1)) == NULL)
		return false;
	en->wd = wd;
	en->owner = owner;
	memcpy(en->name, name, strlen(name) + 1);
	*p = en;
	w->n++;
	return true;
}

static void
drop(struct ls_watch *w, struct entry **p)
{
	struct entry *en = *p;

	*p = en->next;
	w->n--;
	ls_free(en);
}

enum ls_rc
ls_watch_db(
    struct ls_watch *w, const char *db_path, void *owner, struct ls_err *e)
{
	char *dir = ls_dirname(db_path);
	enum ls_rc rc = LS_OK;
	int wd;

	if (dir == NULL)
		return ls_err_nomem(e);
	if ((wd = inotify_add_watch(w->fd, dir, FOLDER_EVENTS)) < 0)
		rc = ls_err_sys(e, errno, "watch folder %s", dir);
	else if (!add(w, wd, ls_basename(db_path), owner))
		rc = ls_err_nomem(e);
	ls_free(dir);
	return rc;
}

void
ls_watch_forget(struct ls_watch *w, const char *db_path, void *owner)
{
	(void)db_path;
	for (size_t i = 0; i < w->slots; i++)
		for (struct entry **p = &w->slot[i]; *p != NULL;) {
			if ((*p)->owner != owner) {
				p = &(*p)->next;
				continue;
			}
			if ((*p)->name[0] == '\0')
				(void)inotify_rm_watch(w->fd, (*p)->wd);
			drop(w, p);
		}
}

bool
ls_watch_arm(struct ls_watch *w, const char *db_path, void *owner)
{
	char wal[4096];
	int wd;

	if (snprintf(wal, sizeof wal, "%s-wal", db_path) >= (int)sizeof wal)
		return false;
	wd = inotify_add_watch(w->fd, wal, IN_MODIFY | IN_ONESHOT);
	return wd >= 0 && add(w, wd, "", owner);
}

/* "app.db", "app.db-wal", "app.db-shm" and "-journal" concern app.db. */
static void
folder_event(struct ls_watch *w, const struct inotify_event *ev,
    ls_watch_fn *fn, void *arg)
{
	static const char *const tails[] = { "", "-wal", "-shm", "-journal" };
	size_t n = strnlen(ev->name, ev->len);
	char name[300];

	for (size_t i = 0; i < LS_COUNT(tails); i++) {
		size_t t = strlen(tails[i]);
		struct entry *en;

		if (n <= t || n >= sizeof name ||
		    memcmp(ev->name + n - t, tails[i], t) != 0)
			continue;
		memcpy(name, ev->name, n - t);
		name[n - t] = '\0';
		en = *find(w, ev->wd, name, NULL);
		if (en != NULL)
			fn(arg, en->owner);
	}
}

/* Events were lost: everybody looks. */
static void
all(struct ls_watch *w, ls_watch_fn *fn, void *arg)
{
	for (size_t i = 0; i < w->slots; i++)
		for (struct entry *en = w->slot[i]; en != NULL; en = en->next)
			fn(arg, en->owner);
}

/* A kernel watch is no more. Its owners look, and watch anew what is there. */
static void
gone(struct ls_watch *w, int wd, ls_watch_fn *fn, void *arg)
{
	for (size_t i = 0; i < w->slots; i++)
		for (struct entry **p = &w->slot[i]; *p != NULL;) {
			void *owner = (*p)->owner;

			if ((*p)->wd != wd) {
				p = &(*p)->next;
				continue;
			}
			drop(w, p);
			fn(arg, owner);
		}
}

static void
one_event(struct ls_watch *w, const struct inotify_event *ev, ls_watch_fn *fn,
    void *arg)
{
	struct entry **p;

	if (ev->mask & IN_Q_OVERFLOW) {
		all(w, fn, arg);
		return;
	}
	if (ev->mask & IN_MOVE_SELF) /* the path leads elsewhere now */
		(void)inotify_rm_watch(w->fd, ev->wd);
	p = find(w, ev->wd, "", NULL);
	if (*p != NULL) {
		void *owner = (*p)->owner;
		if (ev->mask & (IN_MODIFY | IN_IGNORED)) {
			drop(w, p);
			fn(arg, owner);
		}
	} else if (ev->len > 0) {
		folder_event(w, ev, fn, arg);
	} else if (ev->mask & IN_IGNORED) {
		gone(w, ev->wd, fn, arg);
	}
}

void
ls_watch_read(struct ls_watch *w, ls_watch_fn *fn, void *arg)
{
	_Alignas(struct inotify_event) char buf[16384];
	ssize_t n;

	while ((n = read(w->fd, buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n;) {
			const struct inotify_event *ev = (void *)(buf + i);

			one_event(w, ev, fn, arg);
			i += (ssize_t)(sizeof *ev + ev->len);
		}
}
