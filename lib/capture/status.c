/* status.c -- local state without opening the database or its spool (a daemon
 * may be at work on both). */
#include "capture/internal.h"

#include "base/sys.h"

#include <dirent.h>
#include <errno.h>

static enum ls_rc
newest_file(const char *dir, uint64_t *txid, struct ls_err *e)
{
	DIR *d = opendir(dir);
	struct dirent *ent;
	uint64_t min, max;

	*txid = 0;
	if (d == NULL)
		return errno == ENOENT || errno == ENOTDIR
			   ? LS_OK
			   : ls_err_sys(e, errno, "open %s", dir);
	while ((ent = readdir(d)) != NULL)
		if (ls_ltx_name_parse(ent->d_name, &min, &max))
			*txid = LS_MAX(*txid, max);
	(void)closedir(d);
	return LS_OK;
}

enum ls_rc
ls_capture_status(const char *db_path, const char *meta_path,
    struct ls_capture_status *out, struct ls_err *e)
{
	char *dir = ls_asprintf("%s/ltx/0", meta_path);
	char *wal = ls_asprintf("%s-wal", db_path);
	struct ls_capture_status s = { .db_exists = ls_exists(db_path) };
	enum ls_rc rc;

	if (dir == NULL || wal == NULL)
		rc = ls_err_nomem(e);
	else
		rc = newest_file(dir, &s.txid, e);
	if (rc == LS_OK) {
		s.wal_bytes = ls_file_size(wal);
		*out = s;
	}
	ls_free(dir);
	ls_free(wal);
	return rc;
}

char *
ls_meta_path(const char *db_path)
{
	const char *file = ls_basename(db_path);

	return ls_asprintf(
	    "%.*s.%s-litestream", (int)(file - db_path), db_path, file);
}
