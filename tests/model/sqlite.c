/* sqlite.c -- SQLite's side of the model: a writer in its steps, a reader,
 * checkpoints, recovery, the end of processes and of the power. See world.h.
 *
 * Sources in wal.c 3.40.1: walRestartLog and walRestartHdr (salt-1 + 1, salt-2
 * random), sqlite3WalFrames (a connection whose nCkpt is 0 draws both salts
 * anew with frame 1; journal_size_limit cuts at the first commit of a
 * generation), walIndexWriteHdr (aHdr[1], then aHdr[0]), walIndexRecover,
 * walCheckpoint, sqlite3WalClose. */
#include "world.h"

#include <string.h>

bool
torn(const struct world *w)
{
	return memcmp(&w->idx[0], &w->idx[1], sizeof w->idx[0]) != 0;
}

static uint32_t
mix(uint32_t h, uint32_t v)
{
	h = (h ^ v) * 0x9e3779b1u;
	return h ^ h >> 15;
}

uint32_t
first_sum(uint16_t salt)
{
	return mix(0x5bd1e995u, salt) | 1;
}

uint32_t
chain(uint32_t sum, const struct frame *f, uint16_t salt)
{
	sum = mix(mix(mix(sum, salt), f->page), f->size);
	return mix(sum, f->val) | 1;
}

/* ---- what a database is ------------------------------------------------------ */

/* s with frames from + 1 .. to of the file on top. */
struct state
overlay(struct state s, const struct wal *wal, unsigned from, unsigned to)
{
	for (unsigned n = from; n < to; n++) {
		s.val[wal->f[n].page] = wal->f[n].val;
		if (wal->f[n].size == 0)
			continue;
		s.size = wal->f[n].size;
		for (unsigned p = s.size; p < PAGES; p++)
			s.val[p] = 0;
	}
	return s;
}

struct state
logical(const struct world *w, const struct header *h)
{
	return overlay(w->db, &w->wal, 0, h->mx);
}

void
recover(struct world *w)
{
	struct header h = { .salt = w->wal.salt };
	uint32_t sum = first_sum(h.salt);

	if (h.salt != 0)
		h.sum = sum;
	for (unsigned n = 0; h.salt != 0 && n < w->wal.n; n++) {
		const struct frame *f = &w->wal.f[n];

		sum = chain(sum, f, h.salt);
		if (f->salt != h.salt || f->sum != sum)
			break;
		if (f->size != 0) {
			h.mx = (uint8_t)(n + 1);
			h.sum = sum;
		}
	}
	w->idx[0] = w->idx[1] = h;
	w->backfilled = 0;
}

bool
pinned_mark(const struct world *w)
{
	return (w->reader != NOBODY && w->reader > 0) ||
	       (w->pin != NOBODY && w->pin > 0);
}

void
backfill(struct world *w)
{
	uint8_t to = w->idx[0].mx;

	if (w->reader == 0 || w->pin == 0 || w->wal.salt != w->idx[0].salt)
		return; /* WAL_READ_LOCK(0) is taken, or there is nothing */
	if (w->reader != NOBODY && w->reader < to)
		to = w->reader;
	if (w->pin != NOBODY && w->pin < to)
		to = w->pin;
	if (to <= w->backfilled)
		return;
	w->disk = w->wal;
	w->db = overlay(w->db, &w->wal, w->backfilled, to);
	w->backfilled = to;
	w->db_written = 1;
}

uint16_t
next_salt(struct world *w, uint16_t salt)
{
	return (uint16_t)(((salt >> 8) + 1) << 8 | ++w->salts_drawn);
}

/* TRUNCATE, after all is backfilled. */
void
empty_wal(struct world *w)
{
	struct header h = { .salt = next_salt(w, w->idx[0].salt) };

	w->idx[0] = w->idx[1] = h;
	w->backfilled = 0;
	memset(&w->wal, 0, sizeof w->wal);
	w->disk = w->wal;
}

/* ---- the writer ---------------------------------------------------------------- */

enum { ONE_A, ONE_B, ONE_C, PAIR, SHRINK, GROW, UNSUMMED, KINDS };

static unsigned
frames_of(unsigned kind)
{
	return kind == PAIR || kind == GROW ? 2 : 1;
}

static bool
possible(const struct world *w, unsigned kind, const struct state *s)
{
	switch (kind) {
	case ONE_B: return !bounds->atomic;
	case ONE_C: return s->size > 2 && bounds->pages > 2;
	case PAIR: return bounds->pairs;
	case SHRINK: return bounds->resize && s->size == 3;
	case GROW: return bounds->resize && s->size == 2;
	case UNSUMMED: return w->bugs > 0;
	default: return true;
	}
}

/* Take the write lock; the WAL begins anew when all of it is backfilled and
 * nobody reads it. */
static void
begin(const struct world *w)
{
	struct state s = logical(w, &w->idx[0]);
	bool again = w->backfilled == w->idx[0].mx && w->backfilled > 0 &&
		     !pinned_mark(w);
	unsigned at = again ? 0 : w->idx[0].mx;

	for (unsigned k = 0; k < KINDS; k++) {
		struct world n = *w;

		if (!possible(w, k, &s) || at + frames_of(k) > bounds->slots)
			continue;
		n.commits--;
		n.quiet = 0;
		n.lock = APP;
		n.w = W_BEGUN;
		n.w_kind = (uint8_t)k;
		n.w_left = (uint8_t)frames_of(k);
		n.bugs = (uint8_t)(w->bugs - (k == UNSUMMED));
		n.w_mine = again;
		if (again) {
			struct header h = { .salt =
						next_salt(&n, w->idx[0].salt) };
			n.idx[0] = n.idx[1] = h;
			n.backfilled = 0;
		}
		n.w_mx = n.idx[0].mx;
		n.w_salt = n.idx[0].salt;
		n.w_sum = n.idx[0].sum;
		emit(&n, again ? "writer: begins, the WAL restarts"
			       : "writer: begins");
		if (again && w->crashes > 0 && k == 0) {
			n = *w; /* dies between the copies of that header */
			n.crashes--;
			n.idx[1] = (struct header){ .salt = next_salt(
							&n, w->idx[0].salt) };
			n.backfilled = 0;
			n.quiet = 0;
			emit(&n, "writer: dies restarting the WAL");
		}
	}
}

/* Frame 1 comes behind a new file header, which is synced. */
static void
file_header(struct world *n)
{
	n->w_sum = first_sum(n->w_salt);
	n->wal.salt = n->w_salt;
	n->disk = n->wal;
}

static uint8_t
new_value(const struct state *s)
{
	uint8_t v = 0;

	for (unsigned p = 0; p < PAGES; p++)
		v = s->val[p] > v ? s->val[p] : v;
	return (uint8_t)(v + 1); /* what is lost is done again alike */
}

static void
put_frame(struct world *n, struct state s)
{
	static const uint8_t page[KINDS] = { 0, 1, 2, 1, 0, 0, 0 };
	struct frame *f = &n->wal.f[n->w_mx];

	memset(f, 0, sizeof *f);
	f->page = page[n->w_kind];
	f->val = new_value(&s);
	f->salt = n->w_salt;
	if (--n->w_left > 0) /* the first of two */
		f->page = n->w_kind == GROW ? 2 : 0;
	else
		f->size = n->w_kind == SHRINK ? 2
			  : n->w_kind == GROW ? 3
					      : s.size;
	n->w_sum = f->sum = chain(n->w_sum, f, n->w_salt);
	if (n->w_kind == UNSUMMED)
		f->salt = 0, f->sum = 0;
	n->w_mx++;
	if (n->wal.n < n->w_mx)
		n->wal.n = n->w_mx;
	n->w = n->w_left > 0 ? W_BEGUN : W_WRITTEN;
}

static void
write_frame(const struct world *w)
{
	struct state s = logical(w, &w->idx[0]);
	struct world n = *w;

	if (w->w_mx == 0)
		file_header(&n);
	put_frame(&n, s);
	if (w->w_mx > 0 || w->w_salt != 0)
		emit(&n, "writer: writes a frame");
	if (w->w_mx > 0 || (w->w_salt != 0 && (w->w_mine || !bounds->redraw)))
		return;
	n = *w; /* a connection that saw no restart draws both salts */
	n.w_salt = (uint16_t)(((200 - 10 * n.salts_drawn) & 0xff) << 8);
	n.w_salt = (uint16_t)(n.w_salt | ++n.salts_drawn);
	file_header(&n);
	put_frame(&n, s);
	emit(&n, "writer: draws both salts, writes a frame");
}

static void
first_copy(const struct world *w)
{
	struct header h = { w->w_sum, w->w_salt, w->w_mx, 0 };
	struct world n = *w;

	n.idx[1] = h;
	n.w = W_HALF;
	emit(&n, "writer: writes the second copy of the header");
	if (!w->w_mine || w->limits == 0)
		return;
	for (unsigned k = w->w_mx; k < w->wal.n; k++) {
		struct world cut = n;

		cut.limits--;
		cut.wal.n = (uint8_t)k;
		memset(&cut.wal.f[k], 0, (SLOTS - k) * sizeof cut.wal.f[0]);
		emit(&cut, "writer: cuts the file to its limit, second copy");
	}
}

static void
writer(const struct world *w)
{
	struct world n = *w;

	if (w->w == W_IDLE) {
		if (w->commits > 0 && w->lock == FREE && !torn(w))
			begin(w);
		return;
	}
	if (w->w == W_BEGUN)
		write_frame(w);
	if (w->w == W_WRITTEN)
		first_copy(w);
	n.w = W_IDLE;
	n.lock = FREE;
	n.w_left = n.w_mx = n.w_kind = n.w_mine = 0;
	n.w_sum = 0, n.w_salt = 0;
	if (w->w == W_BEGUN && w->w_mx > w->idx[0].mx)
		emit(&n, "writer: rolls back what it spilled");
	if (w->crashes > 0 && w->w != W_BEGUN) {
		n.crashes--;
		emit(&n, "writer: is killed");
		n.crashes++;
	}
	if (w->w == W_HALF) {
		n.idx[0] = n.idx[1];
		emit(&n, "writer: writes the first copy: committed");
	}
}

/* ---- the rest of the application ------------------------------------------------ */

static void
app_checkpoint(const struct world *w)
{
	struct world n = *w;

	n.app_ckpts--;
	n.quiet = 0;
	backfill(&n);
	emit(&n, "application: checkpoint");
	if (w->lock == FREE && n.backfilled == n.idx[0].mx && !pinned_mark(w)) {
		empty_wal(&n);
		emit(&n, "application: checkpoint TRUNCATE");
	}
	if (w->w != W_IDLE || w->reader != NOBODY || w->guard)
		return;
	memset(&n.wal, 0, sizeof n.wal); /* all is backfilled */
	memset(n.idx, 0, sizeof n.idx);
	n.disk = n.wal;
	n.backfilled = 0;
	emit(&n, "application: the last connection closes, no WAL is left");
}

/* The unsynced frames up to k survive; or all but that one. */
static void
power_failure(const struct world *w, unsigned k, bool one, bool survives)
{
	struct world n = *w;
	unsigned size = k < w->wal.n ? k : w->wal.n;

	n.powers--;
	n.quiet = 0;
	if (one)
		size = w->wal.n;
	else if (k < SLOTS && w->disk.n > size)
		size = w->disk.n;
	n.wal.n = (uint8_t)size;
	for (unsigned i = 0; i < SLOTS; i++)
		if (i >= size)
			memset(&n.wal.f[i], 0, sizeof n.wal.f[i]);
		else if (one ? i == k : i >= k)
			n.wal.f[i] = w->disk.f[i];
	n.disk = n.wal;
	n.w = W_IDLE;
	n.w_left = n.w_mx = n.w_kind = n.w_mine = 0;
	n.w_sum = 0, n.w_salt = 0;
	n.reader = n.pin = NOBODY;
	n.lock = FREE;
	daemon_power(&n, survives);
	recover(&n);
	emit(&n, "power failure");
}

void
application(const struct world *w)
{
	struct world n = *w;

	writer(w);
	if (bounds->atomic && w->w != W_IDLE)
		return;
	if (bounds->reader && w->reader == NOBODY && !torn(w)) {
		n.reader = w->backfilled == w->idx[0].mx ? 0 : w->idx[0].mx;
		emit(&n, "reader: begins");
	} else if (w->reader != NOBODY) {
		n.reader = NOBODY;
		emit(&n, "reader: ends");
	}
	if (w->app_ckpts > 0 && !torn(w) && (!w->guard || !rules.ckpt_lock))
		app_checkpoint(w);
	if (torn(w) && !w->guard && w->lock == FREE) {
		n = *w;
		recover(&n);
		emit(&n, "application: recovers the wal-index");
	}
	for (unsigned k = 0; w->powers > 0 && k <= SLOTS; k++)
		if (k == SLOTS || (k < w->wal.n && k <= bounds->slots))
			for (unsigned how = 0; how < 4; how++)
				power_failure(w, k, how & 1, how & 2);
}
