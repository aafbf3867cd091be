/* follow_lock.c -- SQLite's locks, taken from outside. See follow_lock.h.
 *
 * (1) NEVER A DEADLOCK: no lock is ever waited for in the kernel. Each is
 *     tried, and tried again after a pause; whoever waits holds nothing that
 *     the other needs, but for PENDING, see (2). (test:
 *     follow_waits_for_a_reader)
 * (2) PENDING IS SHORT. It keeps new readers out until the ones inside are
 *     gone, so it is held for at most half a second at a time and given back
 *     for four times as long: one reader that stays for hours does not shut
 *     out the others. (test: follow_lets_others_read)
 */
#include "replica/follow_lock.h"

#include "base/bytes.h"
#include "base/sys.h"

#include <errno.h>

enum {
	PENDING_BYTE = 0x40000000,
	RESERVED_BYTE = PENDING_BYTE + 1,
	SHARED_FIRST = PENDING_BYTE + 2,
	SHARED_SIZE = 510,
};

static const uint64_t give_up_ns = 10 * LS_SEC;
static const uint64_t try_ns = 2 * LS_MS;

static enum ls_rc
set(int fd, short type, off_t from, off_t len, struct ls_err *e)
{
	struct flock l = { .l_type = type,
		.l_whence = SEEK_SET,
		.l_start = from,
		.l_len = len };

	if (ls_sys->lock_range(fd, &l) == 0)
		return LS_OK;
	if (errno == EAGAIN || errno == EACCES)
		return ls_err_set(
		    e, LS_EBUSY, "the copy is locked by a reader");
	return ls_err_sys(e, errno, "lock");
}

/* Try until it is there, for at most ns. */
static enum ls_rc
wait_for(int fd, short type, off_t from, off_t len, uint64_t ns,
    const struct ls_call *c, struct ls_err *e)
{
	uint64_t end = ls_sys->mono_ns() + ns;
	enum ls_rc rc, rc2;

	for (;;) {
		rc = set(fd, type, from, len, e);
		if (rc != LS_EBUSY || ls_sys->mono_ns() >= end)
			return rc;
		if ((rc2 = ls_call_sleep(c, try_ns, e)) != LS_OK)
			return rc2;
	}
}

enum ls_rc
ls_lock_reserve(int fd, const struct ls_call *c, struct ls_err *e)
{
	enum ls_rc rc, rc2;

	rc = wait_for(fd, F_RDLCK, PENDING_BYTE, 1, give_up_ns, c, e);
	if (rc != LS_OK)
		return rc;
	rc = wait_for(fd, F_RDLCK, SHARED_FIRST, SHARED_SIZE, LS_SEC / 2, c, e);
	rc2 = set(fd, F_UNLCK, PENDING_BYTE, 1, rc == LS_OK ? e : NULL);
	if (rc != LS_OK || (rc = rc2) != LS_OK)
		return rc;
	/* Somebody who writes holds it while waiting for us to leave: let go
	 * of everything after a while. */
	rc = wait_for(fd, F_WRLCK, RESERVED_BYTE, 1, LS_SEC / 2, c, e);
	if (rc == LS_EBUSY)
		(void)ls_err_set(e, rc, "somebody else writes to the copy");
	return rc;
}

enum ls_rc
ls_lock_exclusive(int fd, const struct ls_call *c, struct ls_err *e)
{
	uint64_t end = ls_sys->mono_ns() + give_up_ns, hold = 20 * LS_MS;
	enum ls_rc rc, rc2;

	for (;;) {
		rc = set(fd, F_WRLCK, PENDING_BYTE, 1, e);
		if (rc == LS_OK)
			rc = wait_for(
			    fd, F_WRLCK, SHARED_FIRST, SHARED_SIZE, hold, c, e);
		if (rc == LS_OK)
			return LS_OK;
		(void)set(fd, F_UNLCK, PENDING_BYTE, 1, NULL);
		if (rc != LS_EBUSY || ls_sys->mono_ns() >= end)
			return rc;
		if ((rc2 = ls_call_sleep(c, 4 * hold, e)) != LS_OK)
			return rc2;
		hold = LS_MIN(2 * hold, LS_SEC / 2);
	}
}
