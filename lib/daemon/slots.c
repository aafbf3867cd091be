/* slots.c -- how many databases are open at once.
 *
 *  (1) BOUNDED, whatever the number of databases: an open one is up to eight
 *      descriptors and some 60 KiB, a parked one a record. A local step that may
 *      open begins only with a slot; it keeps the slot while the database is
 *      open. At the start there are fewer, so that ten thousand databases do not
 *      leave a heap of their peak behind. (test: more_than_descriptors)
 *  (2) NOBODY WAITS FOR EVER: who waits is served in the order of asking, and the
 *      database that was quiet longest is parked for it: one whose commits are
 *      all stored, else one that was captured a second ago or longer; what is
 *      pending goes out without it being open.
 *  (3) PARKED FOR OTHERS IS PARKED AS EVER (design 6); a write around the moment
 *      when the watch is armed is seen by comparing the -wal with what it was
 *      (ls_db_woke).
 */
#include "daemon/db.h"

#include "base/bytes.h"

enum {
	START_SLOTS = 64,
	MOST_SLOTS = 512,
	LEAST_SLOTS = 4,
	SLOT_FILES = 8,
	OTHER_FILES = 512 /* connections, transfers, ourselves */
};

void
ls_slots_init(struct ls_daemon *d, size_t files)
{
	files = files ? files : 1024;
	files -= LS_MIN(files / 3, (size_t)OTHER_FILES);
	d->slots_max = LS_MIN(files / SLOT_FILES, (size_t)MOST_SLOTS);
	d->slots_max = LS_MAX(d->slots_max, (size_t)LEAST_SLOTS);
	d->crowd_tail = &d->crowd;
}

static size_t
limit(const struct ls_daemon *d)
{
	return d->was_ready ? d->slots_max
			    : LS_MIN(d->slots_max, (size_t)START_SLOTS);
}

static void
wait_turn(struct ls_db *db)
{
	struct ls_daemon *d = db->d;

	if (db->crowded)
		return;
	db->crowded = true;
	db->next_crowd = NULL;
	*d->crowd_tail = db;
	d->crowd_tail = &db->next_crowd;
	d->crowd_n++;
}

bool
ls_slot_take(struct ls_db *db)
{
	struct ls_daemon *d = db->d;
	bool last =
	    db->goal == LS_GOAL_STOP && db->local_done && db->remote_done;

	if (db->slot || last || ls_db_sleeps(db))
		return true;
	if (d->slots >= limit(d) || (d->crowd != NULL && !db->crowded)) {
		wait_turn(db);
		return false;
	}
	db->slot = true;
	d->slots++;
	return true;
}

void
ls_slot_settle(struct ls_db *db)
{
	struct ls_daemon *d = db->d;

	if (db->evict) {
		db->evict = false;
		d->evicting--;
		db->evict_after_ns = ls_sys->mono_ns() + LS_SEC;
	}
	if (db->slot && db->cap == NULL) {
		db->slot = false;
		d->slots--;
	}
}

void
ls_slot_cold(struct ls_db *db)
{
	struct ls_daemon *d = db->d;

	if (!db->hot)
		return;
	db->hot = false;
	d->hot_n--;
	*(db->hotter ? &db->hotter->colder : &d->hottest) = db->colder;
	*(db->colder ? &db->colder->hotter : &d->coldest) = db->hotter;
	db->hotter = db->colder = NULL;
}

void
ls_slot_hot(struct ls_db *db)
{
	struct ls_daemon *d = db->d;

	ls_slot_cold(db);
	db->hot = true;
	d->hot_n++;
	db->colder = d->hottest;
	*(d->hottest ? &d->hottest->hotter : &d->coldest) = db;
	d->hottest = db;
}

void
ls_slot_forget(struct ls_db *db)
{
	struct ls_daemon *d = db->d;
	struct ls_db **p = &d->crowd;

	ls_slot_cold(db);
	ls_slot_settle(db);
	if (!db->crowded)
		return;
	while (*p != db)
		p = &(*p)->next_crowd;
	*p = db->next_crowd;
	if (*p == NULL)
		d->crowd_tail = p;
	d->crowd_n--;
	db->crowded = false;
}

/* (2) */
static bool
can_go(struct ls_db *db, uint64_t now, bool pressed)
{
	if (db->evict || db->local_lent || db->snap_lent || db->rebase ||
	    db->snapshot || db->waiters > 0 || db->goal == LS_GOAL_STOP ||
	    now < db->evict_after_ns)
		return false;
	return ls_db_is_stored(db) ||
	       (pressed && db->local_known && now - db->quiet_ns >= LS_SEC);
}

static struct ls_db *
coldest(struct ls_daemon *d, uint64_t now)
{
	for (int pressed = 0; pressed < 2; pressed++)
		for (struct ls_db *db = d->coldest; db; db = db->hotter)
			if (can_go(db, now, pressed))
				return db;
	return NULL;
}

void
ls_slots_turn(struct ls_daemon *d, uint64_t now)
{
	struct ls_db *db;

	while ((db = d->crowd) != NULL && d->slots < limit(d)) {
		if (!db->local_lent && !db->closed && !db->slot) {
			db->slot = true;
			d->slots++;
		}
		d->crowd = db->next_crowd;
		if (d->crowd == NULL)
			d->crowd_tail = &d->crowd;
		d->crowd_n--;
		db->crowded = false;
		db->local_again |= db->local_lent;
		ls_daemon_start_local(d, db);
	}
	if (d->suspending)
		return;
	while (d->evicting < d->crowd_n && (db = coldest(d, now)) != NULL) {
		db->evict = true;
		d->evicting++;
		ls_daemon_start_local(d, db);
	}
}
