/* open.c -- opening, saving, parking, closing, rebasing.
 *
 *  (1) ORDER (design 6): meta lock, spool, guard with its first read and the
 *      CKPT lock, then the position. Nothing is checkpointed before that.
 *  (2) WHAT IS DURABLE: spool file, then page map, then position. Each may be
 *      older than the one before, never newer. (test: killed_after_the_file)
 *  (3) CLOSING never checkpoints: the frames stay for the application, and the
 *      record proves them next time.
 *  (4) THE LOCAL STATE CAN BE DELETED under us, too, or another be put in its
 *      place: what is written there then is in nobody's folder. It is noticed
 *      by the lock file, and all is opened anew. (test: meta_folder_is_deleted)
 * Not here: proofs (position.c). */
#include "capture/internal.h"

#include "base/sys.h"
#include "format/crc64.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

enum ls_rc
ls_capture_init(struct ls_err *e)
{
	return ls_shim_register(e);
}

/* ---- the meta folder -------------------------------------------------------- */

static enum ls_rc
make_meta(const char *meta, struct ls_err *e)
{
	char *parent = NULL;
	struct stat st;
	enum ls_rc rc = LS_OK;

	if (ls_sys->stat(meta, &st) == 0)
		return S_ISDIR(st.st_mode)
			   ? LS_OK
			   : ls_err_set(e, LS_EINVALID,
				 "local state: %s is not a folder", meta);
	if ((parent = ls_dirname(meta)) == NULL)
		return ls_err_nomem(e);
	if (ls_sys->stat(parent, &st) != 0) {
		rc = ls_mkdirs(meta, 0700, e);
	} else if ((rc = ls_mkdirs(meta, st.st_mode & 0777, e)) == LS_OK &&
		   (st.st_uid != geteuid() || st.st_gid != getegid())) {
		if (chown(meta, st.st_uid, st.st_gid) != 0)
			errno = 0; /* best effort, as upstream */
	}
	ls_free(parent);
	return rc;
}

static enum ls_rc
locked_by(const char *path, int fd, struct ls_err *e)
{
	char text[32] = "";
	ssize_t n = ls_sys->pread(fd, text, sizeof text - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return ls_err_hint(e,
	    ls_err_set(e, LS_ELOCKED, "%s: held by process %s", path,
		*text ? text : "(unknown)"),
	    "one daemon replicates a database; stop the other one");
}

static enum ls_rc
lock_meta(struct ls_capture *c, struct ls_err *e)
{
	char *path = ls_asprintf("%s/lock", c->meta_path), text[32];
	enum ls_rc rc;
	int n;

	if (path == NULL)
		return ls_err_nomem(e);
	rc = ls_open(path, O_RDWR | O_CREAT, 0600, &c->lock_fd, e);
	if (rc != LS_OK)
		goto out;
	if (flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		rc = errno == EWOULDBLOCK
			 ? locked_by(path, c->lock_fd, e)
			 : ls_err_sys(e, errno, "lock %s", path);
		goto out;
	}
	n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	rc = ls_pwrite_all(c->lock_fd, text, (size_t)n, 0, e);
	if (rc == LS_OK && ls_sys->ftruncate(c->lock_fd, n) != 0)
		rc = ls_err_sys(e, errno, "truncate %s", path);
out:
	ls_free(path);
	return rc;
}

/* ---- inodes ----------------------------------------------------------------- */

static struct ls_inode
inode_of(const char *path)
{
	struct stat st;

	if (ls_sys->stat(path, &st) != 0)
		return (struct ls_inode){ .there = false };
	return (struct ls_inode){ st.st_dev, st.st_ino, true };
}

static bool
same_inode(struct ls_inode a, struct ls_inode b)
{
	return a.there == b.there && a.dev == b.dev && a.ino == b.ino;
}

/* -1: not to be had. Exact from Linux 6.13 on; before, two changes within a
 * tick of the clock (4 ms) look like one. */
int64_t
ls_mtime_ns(const char *path)
{
	struct stat st;

	if (ls_sys->stat(path, &st) != 0)
		return -1;
	return (int64_t)st.st_mtim.tv_sec * (int64_t)LS_SEC +
	       st.st_mtim.tv_nsec;
}

enum ls_rc
ls_capture_rival(const char *db_path, struct ls_err *e)
{
	char *shm = ls_asprintf("%s-shm", db_path);
	struct ls_inode id;
	int pid;

	if (shm == NULL)
		return ls_err_nomem(e);
	id = inode_of(shm);
	ls_free(shm);
	if (!id.there || (pid = ls_shm_rival(&id)) == 0)
		return LS_OK;
	return ls_err_hint(e,
	    ls_err_set(e, LS_ELOCKED,
		"litestream (process %d) replicates this database already",
		pid),
	    "one daemon replicates a database; stop the other one");
}

/* (4) Is the lock that we hold not the folder's any more? */
static bool
meta_replaced(struct ls_capture *c)
{
	char *path = ls_asprintf("%s/lock", c->meta_path);
	char *files = ls_asprintf("%s/ltx/0", c->meta_path);
	struct stat ours, there;
	bool yes = false;

	if (path == NULL || files == NULL)
		goto out;
	if (ls_sys->fstat(c->lock_fd, &ours) == 0)
		yes = ls_sys->stat(path, &there) != 0
			  ? errno == ENOENT
			  : ours.st_dev != there.st_dev ||
				ours.st_ino != there.st_ino;
	yes = yes || (ls_sys->stat(files, &there) != 0 && errno == ENOENT);
out:
	ls_free(path);
	ls_free(files);
	return yes;
}

bool
ls_capture_replaced(struct ls_capture *c)
{
	return meta_replaced(c) ||
	       !same_inode(c->db_id, inode_of(c->db_path)) ||
	       !same_inode(c->wal_id, inode_of(c->wal_path)) ||
	       !same_inode(c->shm_id, inode_of(c->shm_path));
}

/* ---- open and close --------------------------------------------------------- */

static void
release(struct ls_capture *c)
{
	if (c->wal_fd >= 0)
		(void)ls_sys->close(c->wal_fd);
	ls_guard_fini(&c->guard);
	ls_pagemap_free(c->map);
	ls_spool_free(c->spool);
	if (c->lock_fd >= 0)
		(void)ls_sys->close(c->lock_fd); /* gives the lock back */
	ls_free(c->db_path);
	ls_free(c->wal_path);
	ls_free(c->shm_path);
	ls_free(c->meta_path);
	ls_free(c);
}

static enum ls_rc
names(
    struct ls_capture *c, const struct ls_capture_conf *conf, struct ls_err *e)
{
	c->db_path = ls_strdup(conf->db_path);
	c->meta_path = ls_strdup(conf->meta_path);
	c->wal_path = ls_asprintf("%s-wal", conf->db_path);
	c->shm_path = ls_asprintf("%s-shm", conf->db_path);
	if (!c->db_path || !c->meta_path || !c->wal_path || !c->shm_path)
		return ls_err_nomem(e);
	c->conf = *conf;
	c->conf.db_path = c->db_path;
	c->conf.meta_path = c->meta_path;
	return LS_OK;
}

static enum ls_rc
take_guard(struct ls_capture *c, struct ls_err *e)
{
	struct ls_inode before = inode_of(c->db_path), wal;
	struct stat st;
	enum ls_rc rc;

	rc = ls_guard_init(&c->guard, c->db_path,
	    (uint64_t)LS_MAX(c->conf.busy_timeout_ns, 0), e);
	if (rc != LS_OK)
		return rc;
	/* The guard's read has made it; opened once, it carries no locks. */
	rc = ls_open(c->wal_path, O_RDONLY, 0, &c->wal_fd, e);
	if (rc != LS_OK)
		return rc;
	c->db_id = inode_of(c->db_path);
	c->shm_id = inode_of(c->shm_path);
	if (ls_sys->fstat(c->wal_fd, &st) != 0)
		return ls_err_sys(e, errno, "%s", c->wal_path);
	c->wal_id = (struct ls_inode){ st.st_dev, st.st_ino, true };
	wal = inode_of(c->wal_path);
	if (!same_inode(before, c->db_id) || !same_inode(wal, c->wal_id))
		return ls_err_set(
		    e, LS_EBUSY, "%s: is being replaced", c->db_path);
	return LS_OK;
}

static void
own_like_the_database(struct ls_capture *c)
{
	struct stat st;

	if (ls_sys->stat(c->db_path, &st) == 0)
		ls_spool_owner(
		    c->spool, st.st_mode & 0777, st.st_uid, st.st_gid);
}

enum ls_rc
ls_capture_open(const struct ls_capture_conf *conf, struct ls_capture **out,
    struct ls_err *e)
{
	struct ls_capture *c = ls_zalloc(sizeof *c);
	struct stat st;
	enum ls_rc rc;

	if (c == NULL)
		return ls_err_nomem(e);
	c->lock_fd = c->wal_fd = -1;
	c->reason = "";
	if (ls_sys->stat(conf->db_path, &st) != 0) {
		rc = ls_err_sys(e, errno, "%s", conf->db_path);
		goto out;
	}
	if ((rc = names(c, conf, e)) != LS_OK ||
	    (rc = make_meta(c->meta_path, e)) != LS_OK ||
	    (rc = lock_meta(c, e)) != LS_OK ||
	    (rc = ls_capture_rival(c->db_path, e)) != LS_OK ||
	    (rc = ls_spool_open(c->meta_path, &c->spool, e)) != LS_OK ||
	    (rc = ls_pagemap_open(c->meta_path, &c->map, e)) != LS_OK ||
	    (rc = take_guard(c, e)) != LS_OK)
		goto out;
	own_like_the_database(c);
	c->db_mtime_ns = ls_mtime_ns(c->db_path);
	if ((rc = ls_settle(c, e)) != LS_OK)
		goto out;
	c->last_ckpt_ns = ls_sys->mono_ns();
	c->captured_since = true;
	c->dirty = true;
	*out = c;
	return LS_OK;
out:
	release(c);
	return rc;
}

/* An empty new generation becomes the position itself, so that the record
 * says what lies in the file. */
static void
normalise(struct ls_capture *c)
{
	struct ls_wal_header wal;
	struct ls_wal_index h;
	uint32_t salt[2];

	if (!ls_guard_header(&c->guard, 10, &h) || h.max_frame != 0 ||
	    !ls_at_position(c, &h))
		return;
	ls_wal_index_salts(&h, salt);
	c->pos.filed = ls_wal_read_header(c->wal_fd, &wal, NULL) == LS_OK &&
		       wal.salt[0] == salt[0] && wal.salt[1] == salt[1];
	memcpy(c->pos.salt, salt, sizeof salt);
	c->pos.frame = 0;
	c->pos.sum[0] = c->pos.filed ? wal.sum[0] : 0;
	c->pos.sum[1] = c->pos.filed ? wal.sum[1] : 0;
}

/* Are all captured frames in the database file, and no others in the WAL? */
static bool
all_backfilled(struct ls_capture *c)
{
	struct ls_wal_index h;

	return ls_guard_header(&c->guard, 10, &h) && ls_at_position(c, &h) &&
	       ls_guard_backfilled(&c->guard) == h.max_frame;
}

enum ls_rc
ls_capture_save(struct ls_capture *c, uint64_t *safe, struct ls_err *e)
{
	struct stat st;
	enum ls_rc rc;

	if (safe != NULL)
		*safe = c->relabelled ? 0 : ls_pagemap_txid(c->map);
	if (!c->dirty || c->due != LS_DUE_NONE || c->pos.txid == 0)
		return LS_OK; /* nothing that may be relied upon */
	if ((rc = ls_capture_flush(c, e)) != LS_OK)
		return rc;
	if (ls_pagemap_valid(c->map) &&
	    (rc = ls_pagemap_save(c->map, c->pos.txid, c->pos.lineage, e)) !=
		LS_OK)
		return rc;
	normalise(c);
	c->pos.clean = all_backfilled(c);
	if (ls_sys->fstat(c->wal_fd, &st) != 0)
		return ls_err_sys(e, errno, "%s", c->wal_path);
	c->pos.wal_bytes = (uint64_t)st.st_size;
	c->pos.db_mtime_ns = c->db_mtime_ns;
	c->pos.db_dev = (uint64_t)c->db_id.dev;
	c->pos.db_ino = (uint64_t)c->db_id.ino;
	if ((rc = ls_posrec_store(c->meta_path, &c->pos, e)) != LS_OK)
		return rc;
	c->dirty = false;
	if (ls_pagemap_txid(c->map) == c->pos.txid)
		c->relabelled = false;
	if (safe != NULL)
		*safe = c->relabelled ? 0 : ls_pagemap_txid(c->map);
	return LS_OK;
}

enum ls_rc
ls_capture_close(struct ls_capture *c, struct ls_err *e)
{
	enum ls_rc rc;

	if (c == NULL)
		return LS_OK;
	c->dirty = true; /* the size of the WAL file belongs to the record */
	rc = meta_replaced(c) ? LS_OK /* it is not ours to write to */
			      : ls_capture_save(c, NULL, e);
	release(c);
	return rc;
}

/* All is captured, backfilled, and the index says the same. */
static bool
is_clean(struct ls_capture *c, const struct ls_checkpointed *k)
{
	return k->log == k->done && all_backfilled(c);
}

enum ls_rc
ls_capture_park(struct ls_capture *c, struct ls_err *e)
{
	struct ls_checkpointed k;
	enum ls_rc rc;

	if (atomic_load(&c->views) > 0 || c->due != LS_DUE_NONE || c->map_due)
		return ls_err_set(e, LS_EBUSY, "%s: is in use", c->db_path);
	rc = ls_capture_checkpoint(c, LS_CKPT_RESTART, &k, e);
	if (rc != LS_OK && !ls_rc_retry(rc))
		return rc;
	if (rc != LS_OK || !is_clean(c, &k))
		return ls_err_set(
		    e, LS_EBUSY, "%s: cannot be parked clean", c->db_path);
	c->dirty = true;
	if ((rc = ls_capture_save(c, NULL, e)) != LS_OK)
		return rc;
	release(c);
	return LS_OK;
}

/* ---- state and rebase ------------------------------------------------------- */

void
ls_capture_position(struct ls_capture *c, struct ls_capture_pos *out)
{
	uint32_t salt[2], max = 0;
	struct stat st;

	(void)ls_guard_peek(&c->guard, &max, salt);
	*out = (struct ls_capture_pos){
		.txid = c->pos.txid,
		.lineage = c->pos.lineage,
		.page_size = c->pos.page_size,
		.commit = c->pos.commit,
		.salt = { c->pos.salt[0], c->pos.salt[1] },
		.frame = c->pos.frame,
		.max_frame = max,
		.resync_due = c->due != LS_DUE_NONE,
		.wants_base = c->wants_base,
	};
	if (ls_sys->fstat(c->wal_fd, &st) == 0)
		out->wal_file_bytes = (uint64_t)st.st_size;
}

struct ls_spool *
ls_capture_spool(struct ls_capture *c)
{
	return c->spool;
}

struct rebase {
	struct ls_capture *c;
	uint32_t page_size, commit;
};

static enum ls_rc
base_page(void *arg, uint32_t pgno, const uint8_t *data, struct ls_err *e)
{
	struct rebase *b = arg;

	if (pgno == 0 || pgno > b->commit)
		return ls_err_set(e, LS_ECORRUPT,
		    "page %u of a base with %u pages", pgno, b->commit);
	ls_pagemap_set(b->c->map, pgno,
	    ls_page_checksum(pgno, LS_SPAN(data, b->page_size)));
	return LS_OK;
}

static enum ls_rc
map_of_base(struct ls_capture *c, const struct ls_base *base, struct ls_err *e)
{
	struct rebase b = { c, base->page_size, base->commit };
	enum ls_rc rc;

	ls_pagemap_reset(c->map, base->page_size);
	rc = ls_pagemap_resize(c->map, base->commit, e);
	if (rc == LS_OK)
		rc = base->pages(base->arg, base_page, &b, e);
	if (rc != LS_OK)
		ls_pagemap_invalidate(c->map);
	return rc;
}

enum ls_rc
ls_capture_rebase(
    struct ls_capture *c, const struct ls_base *base, struct ls_err *e)
{
	bool diff = base->txid != 0 && base->pages != NULL &&
		    base->page_size == c->guard.page_size;
	enum ls_rc rc;

	ls_pagemap_invalidate(c->map);
	if (diff && (rc = map_of_base(c, base, e)) != LS_OK)
		goto out;
	if ((rc = ls_posrec_wipe(c->meta_path, e)) != LS_OK ||
	    (rc = ls_spool_clear(c->spool, e)) != LS_OK)
		goto out;
	c->unsynced = false;
	c->relabelled = true; /* the saved map is of what was given up */
	c->pos.txid = base->txid;
	c->pos.lineage = base->lineage;
	c->pos.page_size = c->guard.page_size;
	c->pos.commit = base->commit;
	c->pos.timestamp_ms = LS_MAX(c->pos.timestamp_ms, base->timestamp_ms);
out:
	/* Whatever failed: the map is not that of the local files any more. */
	c->due = diff && rc == LS_OK ? LS_DUE_DIFF : LS_DUE_COPY;
	c->wants_base = rc != LS_OK;
	c->map_due = false;
	c->reason = base->txid == 0 ? "" : "the replica is ahead";
	return rc;
}
