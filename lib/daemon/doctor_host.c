/* doctor_host.c -- the machine around the databases: file systems, space,
 * rights, limits; and the lines for systemd that follow from them. See doctor.h.
 *
 * (1) SPACE IS JUDGED AS THE DAEMON JUDGES IT: its reserve (db_spool.c), and
 *     room for one compressed copy, which the spool holds until it is sent.
 *     (test: doctor_space)
 */
#include "daemon/doctor_impl.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/units.h"

#include <errno.h>
#include <grp.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { FILES_EACH = 4, FILES_MORE = 64, WATCHES_EACH = 3, NAME_MAX_LEN = 64 };
#define RESERVE (64ull << 20)

/* ---- file systems ----------------------------------------------------------*/

char *
ls_doctor_existing(const char *path)
{
	char *s = ls_strdup(path);

	while (s != NULL && !ls_exists(s) && strcmp(s, "/") != 0) {
		char *up = ls_dirname(s);

		ls_free(s);
		s = up;
	}
	return s;
}

enum fs_kind { FS_NETWORK, FS_FUSE, FS_MEMORY, FS_LAYERS };
static const struct fs {
	long magic;
	enum fs_kind kind;
	const char *name;
} systems[] = {
	{ NFS_SUPER_MAGIC, FS_NETWORK, "NFS" },
	{ 0xff534d42, FS_NETWORK, "CIFS (SMB)" },
	{ 0xfe534d42, FS_NETWORK, "SMB" },
	{ SMB_SUPER_MAGIC, FS_NETWORK, "SMB" },
	{ 0x00c36400, FS_NETWORK, "Ceph" },
	{ 0x01021997, FS_NETWORK, "9p (a shared folder of the host)" },
	{ 0x786f4256, FS_NETWORK, "vboxsf (a shared folder of the host)" },
	{ AFS_SUPER_MAGIC, FS_NETWORK, "AFS" },
	{ CODA_SUPER_MAGIC, FS_NETWORK, "Coda" },
	{ 0x47504653, FS_NETWORK, "GPFS" },
	{ 0x0bd00bd0, FS_NETWORK, "Lustre" },
	{ 0x01161970, FS_NETWORK, "GFS2" },
	{ 0x7461636f, FS_NETWORK, "OCFS2" },
	{ 0x65735546, FS_FUSE, "FUSE (sshfs, s3fs and others)" },
	{ TMPFS_MAGIC, FS_MEMORY, "tmpfs" },
	{ RAMFS_MAGIC, FS_MEMORY, "ramfs" },
	{ OVERLAYFS_SUPER_MAGIC, FS_LAYERS, "overlay" },
};

static const struct fs *
system_of(const char *path)
{
	struct statfs s;

	if (ls_sys->statfs(path, &s) != 0)
		return NULL;
	for (size_t i = 0; i < LS_COUNT(systems); i++)
		if (((long)s.f_type & 0xffffffff) == systems[i].magic)
			return &systems[i];
	return NULL;
}

/* A database: shared memory and locks must work, and it should last. */
static void
live_on(struct ls_doctor *d, const char *path, const struct fs *f)
{
	switch (f->kind) {
	case FS_NETWORK:
		ls_doctor_say(d, LS_GRADE_FAIL, "file-system", path,
		    "move the database to a disk of this machine; SQLite's WAL "
		    "mode needs shared memory and locks that work",
		    "is on %s, a network file system", f->name);
		return;
	case FS_FUSE:
		ls_doctor_say(d, LS_GRADE_WARN, "file-system", path,
		    "move the database to a disk of this machine, unless this "
		    "one is known to be local",
		    "is on %s, which may lack shared memory, locks or change "
		    "notices",
		    f->name);
		return;
	case FS_MEMORY:
		ls_doctor_say(d, LS_GRADE_WARN, "file-system", path,
		    "keep it on a disk, or set restore-if-db-not-exists: true",
		    "is on %s: gone after a reboot", f->name);
		return;
	case FS_LAYERS:
		ls_doctor_say(d, LS_GRADE_WARN, "file-system", path,
		    "mount a volume for the database and its folder",
		    "is in a container's own layer: gone with the container");
		return;
	}
}

void
ls_doctor_file_system(struct ls_doctor *d, const char *path, bool live)
{
	const struct fs *f = system_of(path);

	if (f != NULL && live)
		live_on(d, path, f);
	else if (f != NULL && f->kind != FS_LAYERS)
		ls_doctor_say(d, LS_GRADE_WARN, "file-system", path,
		    f->kind == FS_MEMORY
			? "replicate to a disk or to S3"
			: "make sure that only one machine replicates into it",
		    f->kind == FS_MEMORY
			? "is on %s: gone after a reboot"
			: "is on %s: its locks may not keep a second writer "
			  "out",
		    f->name);
	else
		ls_doctor_say(d, LS_GRADE_OK, "file-system", path, NULL,
		    "is on a local file system");
}

void
ls_doctor_space(struct ls_doctor *d, const char *path, uint64_t want)
{
	char *there = ls_doctor_existing(path);
	char have[LS_DUR_MAX], need[LS_DUR_MAX];
	struct statvfs v;
	uint64_t total, left, least;

	if (there == NULL || ls_sys->statvfs(there, &v) != 0) {
		ls_free(there);
		return;
	}
	total = (uint64_t)v.f_blocks * v.f_frsize;
	left = (uint64_t)v.f_bavail * v.f_frsize;
	least = LS_MIN(LS_MAX(total / 100, RESERVE), total / 10);
	(void)ls_size_format(left, have);
	if (left < least || (v.f_files > 0 && v.f_favail < 64))
		ls_doctor_say(d, LS_GRADE_FAIL, "space", there,
		    "free space there, or set meta-path to another disk",
		    left < least ? "%s are free: capture pauses below %s"
				 : "%s, but no file can be made (inodes): "
				   "capture needs some (%s)",
		    have, ls_size_format(least, need));
	else if (left < least + want)
		ls_doctor_say(d, LS_GRADE_WARN, "space", there,
		    "free space there, or set meta-path to another disk",
		    "%s are free; the first copy may need %s while it waits "
		    "for the replica",
		    have, ls_size_format(want, need));
	else
		ls_doctor_say(d, LS_GRADE_OK, "space", there, NULL,
		    "%s are free for local state", have);
	ls_free(there);
}

/* ---- rights ----------------------------------------------------------------*/

char *
ls_doctor_user(uid_t uid)
{
	struct passwd pw, *got = NULL;
	char buf[4096];

	if (getpwuid_r(uid, &pw, buf, sizeof buf, &got) == 0 && got != NULL)
		return ls_strdup(pw.pw_name);
	return ls_asprintf("%u", (unsigned)uid);
}

bool
ls_doctor_may(
    struct ls_doctor *d, const char *path, int mode, const char *owner_of)
{
	struct stat st = { .st_uid = 0 };
	struct ls_err e = { 0 };
	char *us, *owner, cure[192];

	if (ls_sys->access(path, mode) == 0)
		return true;
	(void)ls_err_sys(&e, errno, "%s", path);
	if (errno == EROFS) {
		ls_doctor_say(d, LS_GRADE_FAIL, "permissions", path,
		    "mount it read-write, or name it in ReadWritePaths= of the "
		    "unit",
		    "is on a read-only mount");
		return false;
	}
	(void)ls_sys->stat(owner_of, &st);
	us = ls_doctor_user(geteuid());
	owner = ls_doctor_user(st.st_uid);
	(void)snprintf(cure, sizeof cure,
	    "run the daemon as %s (User= of the unit), or give %s the right",
	    owner ? owner : "its owner", us ? us : "this user");
	ls_doctor_say(d, LS_GRADE_FAIL, "permissions", path, cure,
	    "cannot be %s by user %s", mode & W_OK ? "written" : "read",
	    us ? us : "?");
	ls_free(us);
	ls_free(owner);
	return false;
}

void
ls_doctor_process(int pid, char *out, size_t size)
{
	char name[64], comm[64];
	struct ls_buf b = LS_BUF_INIT(128);

	(void)snprintf(name, sizeof name, "/proc/%d/comm", pid);
	comm[0] = '\0';
	if (pid > 0 && ls_read_file(name, 100, &b, NULL) == LS_OK)
		(void)snprintf(comm, sizeof comm, "%.*s",
		    (int)strcspn(ls_buf_str(&b), "\n"), ls_buf_str(&b));
	ls_buf_free(&b);
	if (pid <= 0)
		(void)snprintf(out, size, "another process");
	else if (comm[0] == '\0')
		(void)snprintf(out, size, "process %d", pid);
	else
		(void)snprintf(out, size, "process %d (%s)", pid, comm);
}

/* ---- limits ----------------------------------------------------------------*/

static long
number_in(const char *path)
{
	struct ls_buf b = LS_BUF_INIT(64);
	long n = -1;

	if (ls_read_file(path, 60, &b, NULL) == LS_OK)
		n = strtol(ls_buf_str(&b), NULL, 10);
	ls_buf_free(&b);
	return n;
}

void
ls_doctor_limits(struct ls_doctor *d)
{
	struct rlimit files;
	size_t n = d->cfg.n_dbs;
	long watches = number_in("/proc/sys/fs/inotify/max_user_watches");
	bool ok = true;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
	    files.rlim_max < n * FILES_EACH + FILES_MORE) {
		ok = false;
		ls_doctor_say(d, LS_GRADE_WARN, "limits", "open files",
		    "raise LimitNOFILE= of the unit, or ulimit -n",
		    "%llu for %zu databases: too few when all are busy",
		    (unsigned long long)files.rlim_max, n);
	}
	if (watches >= 0 && (size_t)watches < n * WATCHES_EACH) {
		ok = false;
		ls_doctor_say(d, LS_GRADE_WARN, "limits", "inotify watches",
		    "raise fs.inotify.max_user_watches by sysctl",
		    "%ld for %zu databases: quiet ones are looked at less "
		    "often",
		    watches, n);
	}
	if (ok)
		ls_doctor_say(d, LS_GRADE_OK, "limits", "", NULL,
		    "open files and inotify watches suffice");
}

/* ---- systemd ---------------------------------------------------------------*/

struct unit {
	struct ls_buf b;
	char **dirs;
	size_t n, cap;
	bool tmp, nomem;
	uid_t uid;
	gid_t gid;
	bool one_owner, any_owner;
};

static bool
below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* systemd does not start a unit that names a folder which is not there: name
 * the one that it will be made in, unless that is all there is. Takes dir. */
static char *
existing(char *dir)
{
	char *at = dir ? ls_strdup(dir) : NULL;

	while (at != NULL && !ls_exists(at)) {
		char *up = ls_dirname(at);

		ls_free(at);
		at = up;
	}
	if (at == NULL || strcmp(at, "/") == 0 || strcmp(at, ".") == 0) {
		ls_free(at);
		return dir;
	}
	ls_free(dir);
	return at;
}

/* Takes dir. One that lies in another is not named. */
static void
add_dir(struct unit *u, char *dir)
{
	dir = existing(dir);
	if (dir != NULL)
		u->tmp |= below(dir, "/tmp") || below(dir, "/var/tmp");
	for (size_t i = 0; dir != NULL && i < u->n; i++)
		if (below(dir, u->dirs[i])) {
			ls_free(dir);
			return;
		}
	if (dir == NULL || u->n == u->cap) {
		u->nomem = true;
		ls_free(dir);
		return;
	}
	for (size_t i = 0; i < u->n;) /* those inside the new one */
		if (below(u->dirs[i], dir)) {
			ls_free(u->dirs[i]);
			u->dirs[i] = u->dirs[--u->n];
		} else {
			i++;
		}
	u->dirs[u->n++] = dir;
}

static void
add_owner(struct unit *u, const char *path)
{
	struct stat st;

	if (ls_sys->stat(path, &st) != 0)
		return;
	if (u->any_owner && u->uid != st.st_uid)
		u->one_owner = false;
	u->any_owner = true;
	u->uid = st.st_uid;
	u->gid = st.st_gid;
}

/* May the user of the unit read the configuration? */
static void
check_readable(struct ls_doctor *d, const struct unit *u)
{
	const char *path = d->cfg.file;
	struct stat st;
	char *user;

	if (!u->any_owner || !u->one_owner || u->uid == 0 || path == NULL ||
	    ls_sys->stat(path, &st) != 0 || (st.st_mode & S_IROTH) != 0 ||
	    (st.st_uid == u->uid && (st.st_mode & S_IRUSR) != 0) ||
	    (st.st_gid == u->gid && (st.st_mode & S_IRGRP) != 0))
		return;
	user = ls_doctor_user(u->uid);
	ls_doctor_say(d, LS_GRADE_WARN, "permissions", path,
	    "chgrp it to the group of that user, and chmod 640",
	    "cannot be read by %s, who owns the databases", user ? user : "?");
	ls_free(user);
}

/* A socket that this user cannot make where it is to be. */
static void
check_socket(struct ls_doctor *d, const struct unit *u)
{
	char *dir =
	    d->cfg.socket.enabled ? ls_dirname(d->cfg.socket.path) : NULL;

	if (dir != NULL && u->any_owner && u->one_owner && u->uid != 0 &&
	    (strcmp(dir, "/run") == 0 || strcmp(dir, "/var/run") == 0))
		ls_doctor_say(d, LS_GRADE_WARN, "permissions",
		    d->cfg.socket.path,
		    "socket.path: /run/litestreamd/litestream.sock, in the "
		    "folder that the unit makes",
		    "only root can make the socket there");
	ls_free(dir);
}

static const char *
group_name(gid_t gid, char *out, size_t size)
{
	struct group gr, *got = NULL;
	char buf[4096];

	if (getgrgid_r(gid, &gr, buf, sizeof buf, &got) == 0 && got != NULL)
		(void)snprintf(out, size, "%s", gr.gr_name);
	else
		(void)snprintf(out, size, "%u", (unsigned)gid);
	return out;
}

static enum ls_rc
write_unit(struct unit *u, struct ls_err *e)
{
	char *user = u->any_owner && u->one_owner && u->uid != 0
			 ? ls_doctor_user(u->uid)
			 : NULL;
	char gid[64];
	enum ls_rc rc = ls_buf_adds(&u->b, "[Service]\n", e);

	if (rc == LS_OK && user != NULL)
		rc = ls_buf_addf(&u->b, e, "User=%s\nGroup=%s\n", user,
		    group_name(u->gid, gid, sizeof gid));
	else if (rc == LS_OK && !u->one_owner)
		rc = ls_buf_adds(&u->b,
		    "# the databases have several owners: no User=\n", e);
	if (rc == LS_OK && u->tmp)
		rc = ls_buf_adds(&u->b, "PrivateTmp=no\n", e);
	if (rc == LS_OK && u->n > 0)
		rc = ls_buf_adds(&u->b, "ReadWritePaths=", e);
	for (size_t i = 0; rc == LS_OK && i < u->n; i++)
		rc =
		    ls_buf_addf(&u->b, e, "%s%s", i > 0 ? " " : "", u->dirs[i]);
	if (rc == LS_OK && u->n > 0)
		rc = ls_buf_adds(&u->b, "\n", e);
	ls_free(user);
	return rc;
}

void
ls_doctor_drop_in(struct ls_doctor *d)
{
	struct unit u = { .b = LS_BUF_INIT(1 << 20), .one_owner = true };

	if (d->cfg.n_dbs + d->cfg.n_dirs == 0)
		return;
	u.cap = 3 * d->cfg.n_dbs + d->cfg.n_dirs;
	u.dirs = ls_zalloc(u.cap * sizeof u.dirs[0]);
	u.nomem = u.dirs == NULL;
	for (size_t i = 0; !u.nomem && i < d->cfg.n_dbs; i++) {
		const struct ls_db_config *db = &d->cfg.dbs[i];

		add_owner(&u, db->path);
		add_dir(&u, ls_dirname(db->path));
		add_dir(&u, ls_dirname(db->meta_path));
		if (strcmp(db->place.type, "file") == 0)
			add_dir(&u, ls_strdup(db->place.path));
	}
	for (size_t i = 0; !u.nomem && i < d->cfg.n_dirs; i++)
		add_dir(&u, ls_strdup(d->cfg.dirs[i].dir));
	if (u.nomem || write_unit(&u, NULL) != LS_OK)
		d->nomem = true;
	else
		d->drop_in = ls_strdup(ls_buf_str(&u.b));
	check_readable(d, &u);
	check_socket(d, &u);
	for (size_t i = 0; u.dirs != NULL && i < u.n; i++)
		ls_free(u.dirs[i]);
	ls_free(u.dirs);
	ls_buf_free(&u.b);
}
