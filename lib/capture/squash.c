/* squash.c -- bounding the spool: many unpublished files become one, and the
 * capture's TXID goes back to it. The merge itself: spool_merge.c.
 *
 *  (1) ONE NUMBERING AT A TIME. A merge that was decided and could not be
 *      carried out (a disk that fails) leaves the spool between two
 *      numberings. Nothing is captured, labelled or saved until it is settled,
 *      which every writer tries first. (test: merge_under_faults_goes_on)
 *  (2) WHAT IS SAVED BEFORE A MERGE IS OF THE OLD NUMBERING: the saved map's
 *      TXID says nothing of the new files, so none counts as safe until the
 *      next save; a start finds out by the file's header (position.c (3),
 *      (4)). (test: merged_spool_goes_back)
 * Not here: when, and what may have been sent (the daemon). */
#include "capture/internal.h"

static void
go_back(struct ls_capture *c)
{
	uint64_t oldest, newest;

	ls_spool_range(c->spool, &oldest, &newest);
	if (newest == 0 || newest == c->pos.txid)
		return;
	c->pos.txid = newest;
	c->dirty = true;
	c->relabelled = true; /* (2) */
}

enum ls_rc
ls_capture_settle_merge(struct ls_capture *c, struct ls_err *e)
{
	enum ls_rc rc;

	if (!ls_spool_merging(c->spool))
		return LS_OK;
	if ((rc = ls_spool_settle(c->spool, e)) == LS_OK)
		go_back(c);
	return rc;
}

bool
ls_capture_unsettled(struct ls_capture *c)
{
	return ls_spool_merging(c->spool);
}

enum ls_rc
ls_capture_merge(struct ls_capture *c, uint64_t frozen, struct ls_err *e)
{
	enum ls_rc rc;

	if (c->due != LS_DUE_NONE)
		return LS_OK;
	if ((rc = ls_capture_flush(c, e)) != LS_OK)
		return rc;
	rc = ls_spool_merge(c->spool, frozen, e);
	if (!ls_spool_merging(c->spool)) /* (1) */
		go_back(c);
	return rc;
}
