/* watch.c -- inotify. See watch.h.
 *
 * Entries lie in one table, keyed by kernel watch and name: a database's file
 * name in its folder, "" for a one-shot on a -wal file, "/" for a folder of a
 * tree. Each is also in its owner's list, and each kernel watch is counted.
 *
 *  (1) A FOLDER THAT IS RENAMED KEEPS ITS KERNEL WATCH, so one watch may have
 *      entries of two paths for a moment; everybody is told, and the watch goes
 *      with the last. (test: watch_follows_a_folder_that_is_renamed)
 *  (2) WITHOUT A WATCH TO BE HAD for a -wal its folder's, which is there
 *      already, tells of writes; only who armed is told. (test:
 *      watch_falls_back_to_the_folder)
 */
#include "daemon/watch.h"

#include "base/bytes.h"
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FOLDER_EVENTS                                          \
	(IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | \
	    IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
/* A file that is copied into a tree is a database when it is whole. */
#define TREE_EVENTS (FOLDER_EVENTS | IN_CLOSE_WRITE)
#define NODE	    "/"
#define ONE_SHOT    ""

struct entry {
	struct entry *next;
	struct entry *sibling; /* of the same owner */
	void *owner;
	int wd;
	bool armed;  /* (2) */
	char name[]; /* file name of the database, NODE or ONE_SHOT */
};

struct owner {
	struct owner *next;
	void *owner;
	struct entry *entries;
};

struct kernel_watch {
	struct kernel_watch *next;
	int wd;
	unsigned n;
};

struct ls_watch {
	int fd;
	bool full, full_said;
	size_t slots, n;
	struct entry **slot;
	struct owner **owners;	     /* slots of them */
	struct kernel_watch **watch; /* slots of them */
};

enum ls_rc
ls_watch_new(struct ls_watch **out, struct ls_err *e)
{
	struct ls_watch *w = ls_zalloc(sizeof *w);

	if (w == NULL)
		return ls_err_nomem(e);
	w->slots = 64;
	w->slot = ls_zalloc(w->slots * sizeof(struct entry *));
	w->owners = ls_zalloc(w->slots * sizeof(struct owner *));
	w->watch = ls_zalloc(w->slots * sizeof(struct kernel_watch *));
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->slot == NULL || w->owners == NULL || w->watch == NULL ||
	    w->fd < 0) {
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
	for (size_t i = 0; i < w->slots; i++) {
		for (struct entry *en; w->slot && (en = w->slot[i]);)
			w->slot[i] = en->next, ls_free(en);
		for (struct owner *o; w->owners && (o = w->owners[i]);)
			w->owners[i] = o->next, ls_free(o);
		for (struct kernel_watch *k; w->watch && (k = w->watch[i]);)
			w->watch[i] = k->next, ls_free(k);
	}
	ls_free(w->slot);
	ls_free(w->owners);
	ls_free(w->watch);
	if (w->fd >= 0)
		(void)close(w->fd);
	ls_free(w);
}

int
ls_watch_fd(const struct ls_watch *w)
{
	return w->fd;
}

bool
ls_watch_full(struct ls_watch *w)
{
	bool first = w->full && !w->full_said;

	w->full_said = w->full;
	return first;
}

/* ---- tables ----------------------------------------------------------------*/

static size_t
mix(uint64_t h, size_t slots)
{
	return (size_t)((h * 0x9e3779b97f4a7c15ull) >> 20) & (slots - 1);
}

static size_t
hash(const struct ls_watch *w, int wd, const char *name)
{
	uint64_t h = (uint64_t)(unsigned)wd;

	for (; *name != '\0'; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
	return mix(h, w->slots);
}

static struct owner **
owner_at(const struct ls_watch *w, const void *owner)
{
	struct owner **p = &w->owners[mix((uintptr_t)owner, w->slots)];

	while (*p != NULL && (*p)->owner != owner)
		p = &(*p)->next;
	return p;
}

static struct kernel_watch **
watch_at(const struct ls_watch *w, int wd)
{
	struct kernel_watch **p = &w->watch[mix((unsigned)wd, w->slots)];

	while (*p != NULL && (*p)->wd != wd)
		p = &(*p)->next;
	return p;
}

/* Everything into tables of twice the size; without memory the chains get
 * longer, and all is still right. */
static void
grow(struct ls_watch *w)
{
	struct ls_watch old = *w;
	size_t n = 2 * w->slots;
	struct entry **slot = ls_zalloc(n * sizeof(struct entry *));
	struct owner **owners = ls_zalloc(n * sizeof(struct owner *));
	struct kernel_watch **watch =
	    ls_zalloc(n * sizeof(struct kernel_watch *));

	if (slot == NULL || owners == NULL || watch == NULL) {
		ls_free(slot);
		ls_free(owners);
		ls_free(watch);
		return;
	}
	w->slots = n;
	w->slot = slot, w->owners = owners, w->watch = watch;
	for (size_t i = 0; i < old.slots; i++) {
		for (struct entry *en; (en = old.slot[i]) != NULL;) {
			struct entry **p = &slot[hash(w, en->wd, en->name)];

			old.slot[i] = en->next;
			en->next = *p, *p = en;
		}
		for (struct owner *o; (o = old.owners[i]) != NULL;) {
			struct owner **p = &owners[mix((uintptr_t)o->owner, n)];

			old.owners[i] = o->next;
			o->next = *p, *p = o;
		}
		for (struct kernel_watch *k; (k = old.watch[i]) != NULL;) {
			struct kernel_watch **p =
			    &watch[mix((unsigned)k->wd, n)];

			old.watch[i] = k->next;
			k->next = *p, *p = k;
		}
	}
	ls_free(old.slot);
	ls_free(old.owners);
	ls_free(old.watch);
}

/* The next entry of this watch and name from *p on, of an owner or of any. */
static struct entry **
seek(struct entry **p, int wd, const char *name, const void *owner)
{
	while (*p != NULL && ((*p)->wd != wd || strcmp((*p)->name, name) != 0 ||
				 (owner != NULL && (*p)->owner != owner)))
		p = &(*p)->next;
	return p;
}

static struct entry **
find(struct ls_watch *w, int wd, const char *name, const void *owner)
{
	return seek(&w->slot[hash(w, wd, name)], wd, name, owner);
}

static void
take_off(struct owner *o, const struct entry *en)
{
	struct entry **p = &o->entries;

	while (*p != en)
		p = &(*p)->sibling;
	*p = en->sibling;
}

/* (1) dead: the kernel has removed the watch already. */
static void
drop(struct ls_watch *w, struct entry **p, bool dead)
{
	struct entry *en = *p;
	struct owner **o = owner_at(w, en->owner);
	struct kernel_watch **k = watch_at(w, en->wd);

	*p = en->next;
	take_off(*o, en);
	if ((*o)->entries == NULL) {
		struct owner *gone = *o;

		*o = gone->next;
		ls_free(gone);
	}
	if (--(*k)->n == 0) {
		struct kernel_watch *gone = *k;

		if (!dead)
			(void)inotify_rm_watch(w->fd, gone->wd);
		*k = gone->next;
		ls_free(gone);
	}
	w->n--;
	ls_free(en);
}

static struct entry *
add(struct ls_watch *w, int wd, const char *name, void *owner)
{
	struct entry *en = *find(w, wd, name, owner), **p;
	struct owner **o, *new_owner = NULL;
	struct kernel_watch **k, *new_watch = NULL;

	if (en != NULL)
		return en;
	if (w->n >= w->slots)
		grow(w);
	p = find(w, wd, name, owner);
	o = owner_at(w, owner);
	k = watch_at(w, wd);
	en = ls_zalloc(sizeof *en + strlen(name) + 1);
	if (*o == NULL)
		*o = new_owner = ls_zalloc(sizeof *new_owner);
	if (*k == NULL)
		*k = new_watch = ls_zalloc(sizeof *new_watch);
	if (en == NULL || *o == NULL || *k == NULL) {
		if (new_owner != NULL)
			*o = NULL, ls_free(new_owner);
		if (new_watch != NULL)
			*k = NULL, ls_free(new_watch);
		ls_free(en);
		return NULL;
	}
	(*o)->owner = owner;
	(*k)->wd = en->wd = wd;
	(*k)->n++;
	en->owner = owner;
	memcpy(en->name, name, strlen(name) + 1);
	en->sibling = (*o)->entries;
	(*o)->entries = en;
	*p = en;
	w->n++;
	return en;
}

/* ---- watching --------------------------------------------------------------*/

/* File systems whose files others write without this kernel hearing of it. */
static bool
is_remote(const char *dir)
{
	static const uint32_t types[] = { 0x6969 /* nfs */, 0x517b /* smb */,
		0xfe534d42 /* smb2 */, 0xff534d42 /* cifs */,
		0x01021997 /* 9p */, 0x65735546 /* fuse */,
		0x00c36400 /* ceph */, 0x0bd00bd0 /* lustre */,
		0x786f4256 /* vboxsf */, 0x5346414f /* afs */ };
	struct statfs st;

	if (statfs(dir, &st) != 0)
		return false;
	for (size_t i = 0; i < LS_COUNT(types); i++)
		if ((uint32_t)st.f_type == types[i])
			return true;
	return false;
}

static enum ls_rc
watch_folder(struct ls_watch *w, const char *dir, uint32_t events,
    const char *name, void *owner, struct ls_err *e)
{
	int wd = inotify_add_watch(w->fd, dir, events | IN_MASK_ADD);

	if (wd < 0) {
		w->full |= errno == ENOSPC;
		return ls_err_sys(e, errno, "watch folder %s", dir);
	}
	if (*find(w, wd, name, owner) != NULL)
		return LS_OK;
	if (is_remote(dir)) {
		if (*watch_at(w, wd) == NULL)
			(void)inotify_rm_watch(w->fd, wd);
		return ls_err_set(e, LS_EUNSUPPORTED,
		    "%s is on a file system that others write", dir);
	}
	return add(w, wd, name, owner) != NULL ? LS_OK : ls_err_nomem(e);
}

enum ls_rc
ls_watch_db(
    struct ls_watch *w, const char *db_path, void *owner, struct ls_err *e)
{
	char *dir = ls_dirname(db_path);
	enum ls_rc rc;

	if (dir == NULL)
		return ls_err_nomem(e);
	rc =
	    watch_folder(w, dir, FOLDER_EVENTS, ls_basename(db_path), owner, e);
	ls_free(dir);
	return rc;
}

enum ls_rc
ls_watch_dir(struct ls_watch *w, const char *dir, void *node, struct ls_err *e)
{
	return watch_folder(w, dir, TREE_EVENTS, NODE, node, e);
}

void
ls_watch_forget(struct ls_watch *w, void *owner)
{
	struct owner *o;

	while ((o = *owner_at(w, owner)) != NULL)
		drop(
		    w, find(w, o->entries->wd, o->entries->name, owner), false);
}

/* (2) */
static bool
arm_folder(struct ls_watch *w, const char *db_path, void *owner)
{
	const char *name = ls_basename(db_path);
	char *dir = ls_dirname(db_path);
	struct entry *en = NULL;
	int wd = -1;

	w->full = true;
	if (dir != NULL)
		wd = inotify_add_watch(
		    w->fd, dir, FOLDER_EVENTS | IN_MODIFY | IN_MASK_ADD);
	ls_free(dir);
	if (wd >= 0 && (en = *find(w, wd, name, owner)) != NULL)
		en->armed = true;
	return en != NULL;
}

bool
ls_watch_arm(struct ls_watch *w, const char *db_path, void *owner)
{
	char wal[4096];
	int wd;

	if (snprintf(wal, sizeof wal, "%s-wal", db_path) >= (int)sizeof wal)
		return false;
	wd = inotify_add_watch(w->fd, wal, IN_MODIFY | IN_ONESHOT);
	if (wd < 0)
		return errno == ENOSPC && arm_folder(w, db_path, owner);
	return add(w, wd, ONE_SHOT, owner) != NULL;
}

/* ---- events ----------------------------------------------------------------*/

/* "app.db", "app.db-wal", "app.db-shm" and "-journal" concern app.db. */
static void
folder_event(struct ls_watch *w, const struct inotify_event *ev,
    const struct ls_watch_fns *fns)
{
	static const char *const tails[] = { "", "-wal", "-shm", "-journal" };
	size_t n = strnlen(ev->name, ev->len);
	bool write = (ev->mask & IN_MODIFY) != 0;
	char name[300];

	if (n >= sizeof name || (ev->mask & IN_CLOSE_WRITE))
		return;
	for (size_t i = 0; i < LS_COUNT(tails); i++) {
		size_t t = strlen(tails[i]);
		struct entry *en;

		if (n <= t || memcmp(ev->name + n - t, tails[i], t) != 0)
			continue;
		memcpy(name, ev->name, n - t);
		name[n - t] = '\0';
		for (en = *find(w, ev->wd, name, NULL); en != NULL;
		     en = *seek(&en->next, ev->wd, name, NULL)) {
			if (write && !en->armed)
				continue;
			en->armed &= !write;
			fns->db(fns->arg, en->owner);
		}
	}
}

static void
tree_event(struct ls_watch *w, const struct inotify_event *ev,
    const struct ls_watch_fns *fns)
{
	struct entry *en;

	if ((ev->mask & (IN_MODIFY | IN_IGNORED)) == 0)
		for (en = *find(w, ev->wd, NODE, NULL); en != NULL;
		     en = *seek(&en->next, ev->wd, NODE, NULL))
			fns->dir(fns->arg, en->owner,
			    ev->len > 0 ? ev->name : NULL, ev->mask);
}

static void
tell(const struct entry *en, const struct ls_watch_fns *fns)
{
	if (strcmp(en->name, NODE) == 0)
		fns->dir(fns->arg, en->owner, NULL, IN_Q_OVERFLOW);
	else
		fns->db(fns->arg, en->owner);
}

/* A kernel watch is no more. Its owners look, and watch anew what is there. */
static void
gone(struct ls_watch *w, int wd, const struct ls_watch_fns *fns)
{
	if (*watch_at(w, wd) == NULL)
		return; /* a one-shot's, mostly */
	for (size_t i = 0; i < w->slots; i++)
		for (struct entry **p = &w->slot[i]; *p != NULL;) {
			if ((*p)->wd != wd) {
				p = &(*p)->next;
				continue;
			}
			tell(*p, fns);
			drop(w, p, true);
		}
}

/* The one-shot was spent, or its file is gone; is it one? */
static bool
one_shot(struct ls_watch *w, const struct inotify_event *ev,
    const struct ls_watch_fns *fns)
{
	struct entry **p = find(w, ev->wd, ONE_SHOT, NULL);

	if (*p == NULL)
		return false;
	if (ev->mask & (IN_MODIFY | IN_IGNORED))
		for (; *(p = find(w, ev->wd, ONE_SHOT, NULL)) != NULL;) {
			tell(*p, fns);
			drop(w, p, true);
		}
	return true;
}

static void
one_event(struct ls_watch *w, const struct inotify_event *ev,
    const struct ls_watch_fns *fns)
{
	if (ev->mask & IN_Q_OVERFLOW) { /* events were lost: everybody looks */
		for (size_t i = 0; i < w->slots; i++)
			for (struct entry *en = w->slot[i]; en; en = en->next)
				tell(en, fns);
		return;
	}
	if (one_shot(w, ev, fns))
		return;
	tree_event(w, ev, fns);
	if (ev->mask & IN_MOVE_SELF) /* the path leads elsewhere now */
		(void)inotify_rm_watch(w->fd, ev->wd);
	if (ev->len > 0)
		folder_event(w, ev, fns);
	else if (ev->mask & IN_IGNORED)
		gone(w, ev->wd, fns);
}

void
ls_watch_read(struct ls_watch *w, const struct ls_watch_fns *fns)
{
	_Alignas(struct inotify_event) char buf[16384];
	ssize_t n;

	while ((n = read(w->fd, buf, sizeof buf)) > 0)
		for (ssize_t i = 0; i < n;) {
			const struct inotify_event *ev = (void *)(buf + i);

			one_event(w, ev, fns);
			i += (ssize_t)(sizeof *ev + ev->len);
		}
}
