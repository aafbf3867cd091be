/* own_path.c -- where the write buffer is. */
#include "vfs/own_impl.h"

#include "base/file.h"
#include "base/sys.h"
#include "format/crc64.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* A folder of ours in the temporary one; nobody else may put names there. */
static enum ls_rc
private_dir(char **out, struct ls_err *e)
{
	const char *tmp = getenv("TMPDIR");
	char *dir = ls_asprintf("%s/litestream-vfs-%u",
	    tmp && tmp[0] ? tmp : "/tmp", (unsigned)getuid());
	struct stat st;
	int fd = -1;
	enum ls_rc rc;

	if (dir == NULL)
		return ls_err_nomem(e);
	if (ls_sys->mkdir(dir, 0700) != 0 && errno != EEXIST) {
		rc = ls_err_sys(e, errno, "make %s", dir);
	} else if ((rc = ls_open(dir,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0, &fd,
			e)) == LS_OK &&
		   (ls_sys->fstat(fd, &st) != 0 || st.st_uid != getuid() ||
		       (st.st_mode & 022) != 0)) {
		(void)ls_err_set(e, LS_EDENIED, "%s is not ours alone", dir);
		rc = ls_err_hint(
		    e, LS_EDENIED, "set LITESTREAM_BUFFER_PATH or buffer=");
	}
	if (fd >= 0)
		(void)ls_sys->close(fd);
	if (rc == LS_OK)
		*out = dir;
	else
		ls_free(dir);
	return rc;
}

char *
ls_own_replica_id(struct ls_vdb *d)
{
	char *id =
	    ls_strdup(ls_store_text(ls_replica_store(ls_vdb_replica(d))));
	char *at = id ? strstr(id, " at ") : NULL;

	if (at != NULL)
		*at = '\0';
	return id;
}

enum ls_rc
ls_own_buffer_path(
    struct ls_vdb *d, const struct ls_vfs_opts *o, char **out, struct ls_err *e)
{
	char *dir = NULL, *id;
	enum ls_rc rc;

	if (o->buffer != NULL) {
		*out = ls_abspath(o->buffer);
		return *out ? LS_OK : ls_err_nomem(e);
	}
	if ((rc = private_dir(&dir, e)) != LS_OK)
		return rc;
	if ((id = ls_own_replica_id(d)) == NULL) {
		ls_free(dir);
		return ls_err_nomem(e);
	}
	*out = ls_asprintf("%s/%016llx.buffer", dir,
	    (unsigned long long)ls_crc64(0, id, strlen(id)));
	ls_free(dir);
	ls_free(id);
	return *out ? LS_OK : ls_err_nomem(e);
}
