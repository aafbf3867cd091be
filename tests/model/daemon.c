/* daemon.c -- our side of the model: the rules of lib/capture, one function
 * for one there (named in its comment). Each rule can be taken out: rules.x. */
#include "world.h"

#include <string.h>

static bool
same_state(const struct state *a, const struct state *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

/* ---- position, publishing ---------------------------------------------------- */

/* As many frames are not the same frames: frame N is known by its checksum. */
static bool
sums_count(void)
{
	return rules.below && rules.frame_n;
}

/* ls_at_position. */
static bool
at_position(const struct world *w, const struct header *h)
{
	if (h->salt == w->pos.salt)
		return h->mx == w->pos.n &&
		       (h->mx == 0 || !sums_count() || h->sum == w->pos.sum);
	return h->mx == 0 && (w->may_restart || w->pos.n == 0);
}

static void
publish(struct world *w, const struct spool *file, const struct state *want)
{
	if (!same_state(&file->img, want))
		violation("what was published is no committed state");
	w->live = *file;
	w->live.fits = w->rec_ahead; /* the same TXID, the same time */
	w->rec_ahead = 0;
	w->live.sums = rules.file_sum;
}

static void
flush(struct world *w)
{
	if (rules.sync_first)
		w->synced = w->live;
}

static struct spool
file_of(const struct world *w, uint8_t from, uint8_t to, uint16_t salt)
{
	struct spool f = { .img = w->live.img, .salt = salt };

	f.from = from;
	f.to = to;
	for (unsigned n = from; n < to; n++) {
		const struct frame *x = &w->wal.f[n];

		f.win[x->page] = x->val;
		f.img.val[x->page] = x->val;
		if (x->size == 0)
			continue;
		f.img.size = x->size;
		for (unsigned p = x->size; p < PAGES && rules.shrink; p++)
			f.win[p] = f.img.val[p] = 0;
	}
	return f;
}

/* ls_frames_scan: checks from + 1 .. to, gives the checksum there. */
static bool
scan(const struct world *w, uint16_t salt, uint8_t from, uint8_t to,
    uint32_t *sum)
{
	bool sure = true, ended = true;

	for (unsigned n = from; n < to; n++) {
		const struct frame *f = &w->wal.f[n];
		bool zero = f->salt == 0 && f->size != 0;

		if (n >= w->wal.n || (!zero && f->salt != salt))
			return false;
		*sum = chain(*sum, f, salt);
		if (!zero && sure && f->sum != *sum)
			return false;
		if (!zero)
			*sum = f->sum;
		sure = !zero;
		ended = f->size != 0;
	}
	return ended;
}

/* The mutation: the last commit frame that the checksums lead to. */
static uint8_t
scanned_end(const struct world *w, const struct pos *at, uint16_t salt)
{
	uint32_t sum = at->sum;
	uint8_t end = at->n;

	for (uint8_t n = at->n; n < w->wal.n; n++)
		if (!scan(w, salt, n, n, &sum) || w->wal.f[n].salt != salt ||
		    (sum = chain(sum, &w->wal.f[n], salt)) != w->wal.f[n].sum)
			break;
		else if (w->wal.f[n].size != 0)
			end = (uint8_t)(n + 1);
	return end;
}

/* ---- a capture step ------------------------------------------------------------ */

enum got { GOT, AGAIN, GAP };

/* generation() of capture.c. */
static enum got
generation(
    const struct world *w, const struct header *h, bool locked, struct pos *at)
{
	uint16_t file = w->wal.salt;

	if (file == 0 || file != h->salt)
		return locked ? GAP : AGAIN;
	*at = w->pos;
	if (h->salt != at->salt) {
		if (at->n > 0 && !w->may_restart)
			return GAP;
		at->n = 0;
		at->salt = h->salt;
	}
	if (at->n == 0)
		at->sum = first_sum(file);
	at->filed = 1;
	return h->mx < at->n && rules.below ? GAP : GOT;
}

/* ls_step_frames; want: what a reader at h sees. */
static enum got
step_frames(struct world *w, const struct header *h, bool locked,
    const struct state *want)
{
	struct spool f;
	struct pos at;
	enum got got;
	uint8_t to = h->mx;
	uint32_t sum;

	if (h->mx == 0)
		return rules.below && w->pos.n > 0 &&
			       (h->salt == w->pos.salt || !w->may_restart)
			   ? GAP
			   : GOT;
	if ((got = generation(w, h, locked, &at)) != GOT)
		return got;
	if (!rules.mxframe)
		to = scanned_end(w, &at, h->salt);
	for (uint8_t n = at.n; n < to && !rules.zero_salts; n++)
		if (w->wal.f[n].salt == 0)
			to = n; /* taken for the end */
	if (to <= at.n)
		return sums_count() && h->mx == at.n && h->sum != at.sum ? GAP
									 : GOT;
	sum = at.sum;
	if (!scan(w, w->wal.salt, at.n, to, &sum))
		return GAP;
	if (rules.mxframe && w->wal.f[to - 1].salt != 0 && sum != h->sum)
		return GAP;
	f = file_of(w, at.n, to, h->salt);
	f.sum = rules.mxframe ? h->sum : sum;
	at.n = to;
	at.sum = f.sum;
	publish(w, &f, want);
	w->pos = at;
	w->may_restart = 0;
	return GOT;
}

/* ls_resync: a difference, from a view. */
static void
resync(struct world *w)
{
	const struct header *h = &w->idx[0];
	struct state now = logical(w, h);
	struct spool f = { .img = now, .salt = h->salt, .sum = h->sum };

	f.to = h->mx;
	f.from = (uint8_t)(h->mx ? h->mx - 1 : 0);
	if (h->mx > 0 && w->wal.salt == h->salt && h->mx <= w->wal.n) {
		uint8_t page = w->wal.f[h->mx - 1].page;

		f.win[page] = now.val[page];
	}
	if (!same_state(&now, &w->live.img))
		publish(w, &f, &now);
	flush(w);
	w->pos = (struct pos){ h->sum, h->salt, h->mx, h->mx > 0 };
	if (h->mx == 0 && h->salt != 0 && w->wal.salt == h->salt) {
		w->pos.filed = 1;
		w->pos.sum = first_sum(h->salt);
	}
	w->may_restart = 1;
	w->due = 0;
}

/* ls_capture_save with normalise(). */
static void
save(struct world *w)
{
	const struct header *h = &w->idx[0];

	flush(w);
	if (!torn(w) && h->mx == 0 && at_position(w, h)) {
		bool filed = h->salt != 0 && w->wal.salt == h->salt;

		w->pos = (struct pos){ filed ? first_sum(h->salt) : 0, h->salt,
			0, filed };
	}
	w->rec = w->pos;
	w->rec_size = w->wal.n;
	w->rec_ahead = 0;
	w->has_rec = 1;
	w->db_written = 0;
	w->synced.fits = rules.sync_first;
	w->live.fits = true;
}

/* ---- proofs ----------------------------------------------------------------------- */

enum proof { UNPROVEN, SAME, NEXT };

/* prove_record() of position.c. */
static enum proof
prove_record(const struct world *w, const struct header *h)
{
	const struct pos *r = &w->rec;
	const struct frame *f = &w->wal.f[r->n > 0 ? r->n - 1 : 0];

	if (r->n == 0)
		return h->salt == r->salt &&
			       (!rules.filed ||
				   (r->filed && w->wal.salt == h->salt))
			   ? SAME
			   : UNPROVEN;
	if (rules.frame_n &&
	    (r->n > w->wal.n || f->salt != r->salt || f->sum != r->sum))
		return UNPROVEN;
	if (h->salt == r->salt)
		return h->mx >= r->n ? SAME : UNPROVEN;
	if (rules.next_salt && h->salt >> 8 != (r->salt >> 8) + 1)
		return UNPROVEN;
	if (w->wal.n != w->rec_size)
		return UNPROVEN;
	if (r->n == w->wal.n) /* what came behind N may have been cut off */
		return w->db_written && rules.unwritten ? UNPROVEN : NEXT;
	if (rules.next_frame && (f[1].salt == r->salt || f[1].salt == 0))
		return UNPROVEN;
	if (rules.next_older && f[1].salt == h->salt)
		return UNPROVEN; /* N + 1 written anew, N not: lost on the way */
	return NEXT;
}

/* prove_file(): the newest file speaks. */
static enum proof
prove_file(const struct world *w, const struct header *h, struct pos *r)
{
	const struct spool *f = &w->live;
	uint32_t sum = first_sum(f->salt);
	struct spool win;

	if (f->salt == 0 || h->salt != f->salt || h->mx < f->to || f->to == 0 ||
	    !scan(w, f->salt, 0, f->to, &sum))
		return UNPROVEN;
	win = file_of(w, f->from, f->to, f->salt);
	if (memcmp(win.win, f->win, sizeof win.win) != 0 ||
	    (f->sums && f->sum != sum))
		return UNPROVEN;
	*r = (struct pos){ sum, f->salt, f->to, 1 };
	return SAME;
}

/* prove() and the end of settle_position(). */
static void
settle(struct world *w, bool locked)
{
	struct header h = locked ? w->idx[0] : w->h;
	struct state want = logical(w, &w->idx[0]);
	bool by_record = w->has_rec && (w->live.fits || !rules.record_names);
	struct pos r = w->rec;
	enum proof how = UNPROVEN;

	if (w->wal.salt != 0 && w->wal.salt == h.salt)
		how = by_record ? prove_record(w, &h) : prove_file(w, &h, &r);
	else if (!rules.filed && by_record && r.n == 0)
		how = prove_record(w, &h);
	if (how == NEXT)
		r = (struct pos){ first_sum(h.salt), h.salt, 0, 1 };
	if (how != UNPROVEN) {
		w->pos = r;
		w->may_restart = locked;
		if (locked && step_frames(w, &h, true, &want) != GOT)
			how = UNPROVEN;
		w->may_restart = locked;
	}
	flush(w);
	w->due = how == UNPROVEN;
	if (w->due && w->quiet)
		violation("nothing was done to a parked database, and still "
			  "its position is not proven");
	w->quiet = 0;
	w->d = D_HOT;
}

/* ---- checkpoints ------------------------------------------------------------------ */

static void
close_guard(struct world *w)
{
	w->guard = 0;
	w->d = D_OFF;
	w->pin = NOBODY;
	w->park = w->may_restart = w->due = 0;
	memset(&w->h, 0, sizeof w->h);
	memset(&w->seen, 0, sizeof w->seen);
	memset(&w->pos, 0, sizeof w->pos);
}

static void
back_to_work(struct world *w)
{
	w->pin = NOBODY;
	w->d = D_HOT;
	w->park = w->quiet = 0;
	memset(&w->h, 0, sizeof w->h);
	memset(&w->seen, 0, sizeof w->seen);
}

/* The hook under the write lock, then SQLite. */
static void
phase_two(const struct world *w)
{
	struct world n = *w;
	struct state want = logical(w, &w->idx[0]);
	enum got got = GOT;

	if (w->lock != FREE && !rules.locked_not_busy) {
		backfill(&n); /* SQLite falls back to PASSIVE */
		n.may_restart = 1;
		back_to_work(&n);
		emit(&n, "daemon: RESTART falls back to PASSIVE");
		return;
	}
	if (w->lock != FREE || (torn(w) && rules.header_in_hook)) {
		back_to_work(&n);
		emit(&n, "daemon: RESTART not now");
		return;
	}
	if (rules.tail_in_hook)
		got = step_frames(&n, &w->idx[0], true, &want);
	if (got != GOT) {
		n.due = 1;
		back_to_work(&n);
		emit(&n, "daemon: the hook finds a gap");
		return;
	}
	if (torn(&n))
		recover(&n);
	n.may_restart = 1;
	backfill(&n);
	n.d = D_FLUSH;
	if (rules.no_truncate || !w->park)
		emit(&n, "daemon: tail captured, RESTART");
	if (n.backfilled != n.idx[0].mx || pinned_mark(&n) ||
	    (w->park && rules.no_truncate))
		return;
	empty_wal(&n);
	emit(&n, "daemon: tail captured, TRUNCATE");
}

static void
after_restart(const struct world *w)
{
	struct world n = *w;
	bool clean = w->park && !torn(w) && at_position(w, &w->idx[0]) &&
		     w->backfilled == w->idx[0].mx;

	flush(&n);
	if (clean) {
		save(&n);
		close_guard(&n);
		emit(&n, "daemon: parks");
		return;
	}
	back_to_work(&n);
	emit(&n, "daemon: syncs what the hook wrote");
}

static void
labelled(const struct world *w)
{
	struct world n = *w;
	enum got got = GOT;

	if (!at_position(w, &w->h))
		got =
		    w->pin == 0 ? GAP : step_frames(&n, &w->h, false, &w->seen);
	if (got != GOT || !at_position(&n, &w->h)) {
		n.due = got == GAP;
		back_to_work(&n);
		emit(&n, "daemon: no label for the view");
		return;
	}
	flush(&n);
	n.d = D_PASSIVE;
	emit(&n, "daemon: captures up to the view, syncs");
}

static void
passive(const struct world *w)
{
	struct world n = *w;
	bool whole;

	if (!rules.pin)
		n.pin = NOBODY;
	if (w->h.mx > 0) {
		backfill(&n);
		n.may_restart = 1;
	}
	n.pin = NOBODY;
	whole = w->h.mx == 0 || n.idx[0].salt != w->h.salt ||
		n.backfilled >= w->h.mx;
	memset(&n.h, 0, sizeof n.h);
	memset(&n.seen, 0, sizeof n.seen);
	n.d = D_RESTART;
	if (!whole)
		back_to_work(&n);
	emit(&n, "daemon: PASSIVE, the view ends");
}

/* ---- what the daemon may do ------------------------------------------------------- */

static void
hot(const struct world *w)
{
	struct world n = *w;

	if (torn(w)) {
		if (w->lock == FREE) {
			recover(&n);
			emit(&n, "daemon: recovers the wal-index");
		}
		return;
	}
	if (w->due) {
		resync(&n);
		emit(&n, "daemon: publishes the difference");
		return;
	}
	n.h = w->idx[0];
	n.seen = logical(w, &n.h);
	n.d = D_CAPTURE;
	if (!at_position(w, &n.h) || n.h.mx == 0)
		emit(&n, "daemon: reads the header");
	for (uint8_t park = 0; w->ckpts > 0 && park < 2; park++) {
		n.d = D_LABEL;
		n.ckpts = (uint8_t)(w->ckpts - 1);
		n.pin = w->backfilled == n.h.mx ? 0 : n.h.mx;
		n.park = park;
		n.quiet = park && w->pos.n > 0 && w->pos.salt == n.h.salt &&
			  bounds->bugs == 0;
		emit(&n, park ? "daemon: begins to park"
			      : "daemon: begins a checkpoint");
	}
	n = *w;
	save(&n);
	if (memcmp(&n, w, sizeof n) != 0)
		emit(&n, "daemon: saves its position");
	if (w->closes > 0) {
		n.closes--;
		close_guard(&n);
		emit(&n, "daemon: stops");
	}
}

static void
firm(const struct world *w)
{
	struct world n = *w;

	if (torn(w)) {
		if (w->lock == FREE) {
			recover(&n);
			emit(&n, "daemon: recovers the wal-index");
		}
	} else if (w->backfilled < w->idx[0].mx) {
		n.h = w->idx[0];
		n.d = D_PROVE;
		emit(&n, "daemon: frames are pinned");
	} else if (w->lock == FREE && rules.wake_lock) {
		settle(&n, true);
		emit(&n, "daemon: settles under the write lock");
	} else if (!rules.wake_lock) {
		n.h = w->idx[0];
		n.d = D_PROVE;
		n.may_restart = 1;
		emit(&n, "daemon: takes frames for pinned");
	}
}

void
daemon_steps(const struct world *w)
{
	struct world n = *w;
	enum got got;

	switch ((enum daemon)w->d) {
	case D_OFF:
		n.guard = 1;
		n.d = D_FIRM;
		emit(&n, "daemon: opens, takes the guard");
		break;
	case D_FIRM: firm(w); break;
	case D_PROVE:
		settle(&n, false);
		n.may_restart = w->may_restart; /* only by a mutation */
		memset(&n.h, 0, sizeof n.h);
		emit(&n, "daemon: settles");
		break;
	case D_HOT: hot(w); break;
	case D_CAPTURE:
		got = step_frames(&n, &w->h, false, &w->seen);
		n.due = got == GAP;
		back_to_work(&n);
		flush(&n);
		emit(&n, "daemon: captures");
		break;
	case D_LABEL: labelled(w); break;
	case D_PASSIVE: passive(w); break;
	case D_RESTART: phase_two(w); break;
	case D_FLUSH: after_restart(w); break;
	}
	if (w->d != D_OFF && w->kills > 0) {
		n = *w;
		n.kills--;
		n.quiet = 0;
		close_guard(&n);
		emit(&n, "daemon: is killed");
	}
}

void
daemon_power(struct world *w, bool survives)
{
	close_guard(w);
	if (survives) {
		w->synced = w->live;
		return;
	}
	w->rec_ahead = w->live.fits && !w->synced.fits;
	w->live = w->synced;
}

/* What must hold whenever the daemon believes that there is nothing to do. */
void
check(const struct world *w)
{
	struct state now;

	if (w->d != D_HOT || w->due || torn(w) || !at_position(w, &w->idx[0]))
		return;
	now = logical(w, &w->idx[0]);
	if (!same_state(&now, &w->live.img))
		violation("a committed state is not captured, and nobody "
			  "knows");
}
