/* dirs.c -- `dir` entries: which files are theirs, and what their settings are.
 * See config.h; upstream's rules are in compatibility 10.
 *
 * (1) ONE PLACE EACH: the replica and the local state of a database are those of
 *     the entry and the path below it, so that two never meet.
 *     (test: members_get_places_of_their_own)
 * (2) OUR OWN FOLDERS ARE NO DATABASES: what ends in "-litestream" is left out.
 * Not here: finding them while the daemon runs (daemon/tree.c).
 */
#include "config/schema.h"

#include "base/bytes.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>

static bool
ends(const char *s, const char *with)
{
	size_t n = strlen(s), m = strlen(with);

	return n >= m && strcmp(s + n - m, with) == 0;
}

bool
ls_dir_own(const char *name)
{
	return ends(name, "-litestream");
}

/* The part of path below dir, or NULL. */
static const char *
below(const char *dir, const char *path)
{
	size_t n = strlen(dir);

	if (strcmp(dir, "/") == 0)
		n = 0;
	if (strncmp(dir, path, n) != 0 || path[n] != '/' || path[n + 1] == '\0')
		return NULL;
	return path + n + 1;
}

bool
ls_dir_fits(const struct ls_dir_config *d, const char *path)
{
	static const char *const others[] = { "-wal", "-shm", "-journal" };
	const char *rel = below(d->dir, path);

	if (rel == NULL || (!d->recursive && strchr(rel, '/') != NULL))
		return false;
	for (size_t i = 0; i < LS_COUNT(others); i++)
		if (ends(rel, others[i]))
			return false;
	return fnmatch(d->pattern, ls_basename(rel), 0) == 0;
}

/* As Go's filepath.Match, which knows no other mistakes. */
bool
ls_pattern_ok(const char *p)
{
	for (; *p != '\0'; p++) {
		if (*p == '\\') {
			if (*++p == '\0')
				return false;
			continue;
		}
		if (*p != '[')
			continue;
		p += p[1] == '^' || p[1] == '!';
		if (p[1] == '\0' || p[1] == ']')
			return false;
		while (*++p != ']')
			if (*p == '\0' || (*p == '\\' && *++p == '\0'))
				return false;
	}
	return true;
}

static char *
meta_of(const struct ls_dir_config *d, const char *rel)
{
	const char *name = ls_basename(rel);
	int dir = (int)(name - rel); /* with its slash */

	if (d->meta_dir != NULL)
		return ls_asprintf("%s/%s-litestream", d->meta_dir, rel);
	return ls_asprintf("%s/%.*s.%s-litestream",
	    d->meta_path ? d->meta_path
	    : d->dir[1]	 ? d->dir
			 : "",
	    dir, rel, name);
}

enum ls_rc
ls_dir_member(const struct ls_dir_config *d, const char *path,
    struct ls_db_config *out, struct ls_err *e)
{
	const char *rel = below(d->dir, path), *base = d->db.place.path;
	size_t n = strlen(base);
	char *place;
	enum ls_rc rc;

	*out = d->db;
	out->path = out->meta_path = NULL;
	if ((rc = ls_place_copy(&out->place, &d->db.place, e)) != LS_OK) {
		*out = (struct ls_db_config){ 0 };
		return rc;
	}
	place = ls_asprintf(
	    "%s%s%s", base, n > 0 && base[n - 1] != '/' ? "/" : "", rel);
	if (place != NULL) {
		ls_free(out->place.path);
		out->place.path = place;
	}
	out->path = ls_strdup(path);
	out->meta_path = meta_of(d, rel);
	if (place == NULL || out->path == NULL || out->meta_path == NULL) {
		ls_db_config_fini(out);
		return ls_err_nomem(e);
	}
	return LS_OK;
}

enum ls_rc
ls_dir_list(const char *dir, ls_dir_fn *fn, void *arg, struct ls_err *e)
{
	DIR *dp = opendir(dir);
	struct dirent *de;
	enum ls_rc rc = LS_OK;
	struct stat st;

	if (dp == NULL)
		return ls_err_sys(e, errno, "%s", dir);
	while (rc == LS_OK && (de = readdir(dp)) != NULL) {
		char *path;
		bool is_dir = de->d_type == DT_DIR;

		if (strcmp(de->d_name, ".") == 0 ||
		    strcmp(de->d_name, "..") == 0)
			continue;
		path = ls_asprintf("%s/%s", dir[1] ? dir : "", de->d_name);
		if (path == NULL) {
			rc = ls_err_nomem(e);
			break;
		}
		if (de->d_type == DT_UNKNOWN)
			is_dir = lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
		if (!is_dir || !ls_dir_own(de->d_name))
			rc = fn(arg, path, is_dir, e);
		ls_free(path);
	}
	(void)closedir(dp);
	return rc;
}

/* ---- for commands, which hold no lock on a database --------------------------*/

static bool
has_header(const char *path)
{
	struct stat st;
	char head[16];
	bool yes;
	int fd;

	if (ls_sys->stat(path, &st) != 0 || !S_ISREG(st.st_mode) ||
	    ls_open(path, O_RDONLY, 0, &fd, NULL) != LS_OK)
		return false;
	yes = ls_pread_all(fd, head, sizeof head, 0, NULL) == LS_OK &&
	      memcmp(head, "SQLite format 3", sizeof head) == 0;
	(void)ls_sys->close(fd);
	return yes;
}

struct walk {
	struct ls_config *cfg;
	const struct ls_dir_config *d;
};

static enum ls_rc
one(void *arg, const char *path, bool is_dir, struct ls_err *e)
{
	struct walk *w = arg;

	if (is_dir)
		return w->d->recursive ? ls_dir_list(path, one, w, e) : LS_OK;
	if (!ls_dir_fits(w->d, path) || ls_config_find_db(w->cfg, path) ||
	    !has_header(path))
		return LS_OK;
	return ls_config_add_member(w->cfg, w->d, path, e);
}

enum ls_rc
ls_config_add_member(struct ls_config *cfg, const struct ls_dir_config *d,
    const char *path, struct ls_err *e)
{
	struct ls_db_config *v;
	enum ls_rc rc;

	v = ls_realloc(cfg->dbs, (cfg->n_dbs + 1) * sizeof *v);
	if (v == NULL)
		return ls_err_nomem(e);
	cfg->dbs = v;
	if ((rc = ls_dir_member(d, path, &v[cfg->n_dbs], e)) == LS_OK)
		cfg->n_dbs++;
	return rc;
}

enum ls_rc
ls_config_add_members(struct ls_config *cfg, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;

	for (size_t i = 0; rc == LS_OK && i < cfg->n_dirs; i++) {
		struct walk w = { cfg, &cfg->dirs[i] };

		rc = ls_dir_list(w.d->dir, one, &w, e);
		if (rc == LS_ENOTFOUND && w.d->watch)
			rc = LS_OK; /* it may come */
	}
	return rc;
}

const struct ls_db_config *
ls_config_resolve(struct ls_config *cfg, const char *path)
{
	const struct ls_db_config *db = ls_config_find_db(cfg, path);
	char *abs = db == NULL ? ls_config_expand_path(path) : NULL;

	for (size_t i = 0; db == NULL && abs != NULL && i < cfg->n_dirs; i++)
		if (ls_dir_fits(&cfg->dirs[i], abs) &&
		    ls_config_add_member(cfg, &cfg->dirs[i], abs, NULL) ==
			LS_OK)
			db = &cfg->dbs[cfg->n_dbs - 1];
	ls_free(abs);
	return db;
}
