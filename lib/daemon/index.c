/* index.c -- records by path, local state, place, and by open file.
 *
 *  (1) TWO DATABASES NEVER SHARE local state or a replica's place: one would
 *      destroy the other's backup. lib/config refuses what is written so;
 *      this is for what comes later (dir entries, register, reload).
 *      (test: fleet.shared_places_are_refused)
 *  (2) A FILE IS OPEN UNDER ONE NAME. SQLite keeps what it knows of a database's
 *      -shm by the inode of the database; opened under a new name while the old
 *      one is still open, it would read the old name's. So an open claims the
 *      inode, and waits until the other has let go. (test: fleet.churn)
 * All with d->mu held.
 */
#include "daemon/db.h"

#include "base/bytes.h"

enum { PATH, META, PLACE };

static uint32_t
hash(int kind, const char *s)
{
	uint64_t h = 0xcbf29ce484222325ull + (unsigned)kind;

	for (; *s != '\0'; s++)
		h = (h ^ (uint8_t)*s) * 0x100000001b3ull;
	return (uint32_t)(h >> 20);
}

/* Heap, or NULL without memory. */
static char *
text(int kind, const struct ls_db_config *c)
{
	return kind == PATH   ? ls_strdup(c->path)
	       : kind == META ? ls_strdup(c->meta_path)
			      : ls_place_text(&c->place);
}

static struct ls_key **
head(const struct ls_index *x, uint32_t h)
{
	return &x->head[h & (x->slots - 1)];
}

static bool
grow(struct ls_index *x)
{
	size_t n = x->slots ? 2 * x->slots : 64;
	struct ls_key **v = ls_zalloc(n * sizeof(struct ls_key *)), *k;

	if (v == NULL)
		return x->slots > 0; /* longer chains, still right */
	for (size_t i = 0; i < x->slots; i++)
		while ((k = x->head[i]) != NULL) {
			x->head[i] = k->next;
			k->next = v[k->hash & (n - 1)];
			v[k->hash & (n - 1)] = k;
		}
	ls_free(x->head);
	x->head = v;
	x->slots = n;
	return true;
}

void
ls_index_fini(struct ls_index *x)
{
	ls_free(x->head);
	*x = (struct ls_index){ 0 };
}

static struct ls_db *
db_of(struct ls_key *k)
{
	return (struct ls_db *)((char *)(k - k->kind) -
				offsetof(struct ls_db, key));
}

static struct ls_db *
find(const struct ls_index *x, int kind, const char *s)
{
	uint32_t h = hash(kind, s);

	for (struct ls_key *k = x->slots ? *head(x, h) : NULL; k != NULL;
	     k = k->next) {
		struct ls_db *db = db_of(k);
		char *mine;
		bool same;

		if (k->hash != h || k->kind != kind)
			continue;
		if (kind == PATH && strcmp(db->conf.path, s) == 0)
			return db;
		if (kind == PATH)
			continue;
		mine = text(kind, &db->conf);
		same = mine == NULL || strcmp(mine, s) == 0;
		ls_free(mine);
		if (same)
			return db;
	}
	return NULL;
}

struct ls_db *
ls_daemon_find(struct ls_daemon *d, const char *path)
{
	return find(&d->index, PATH, path);
}

struct ls_db *
ls_index_taken(struct ls_daemon *d, const struct ls_db_config *conf)
{
	struct ls_db *other = NULL;

	for (int i = 0; i < LS_KEYS && other == NULL; i++) {
		char *s = text(i, conf);

		other = s != NULL ? find(&d->index, i, s) : NULL;
		ls_free(s);
	}
	return other;
}

enum ls_rc
ls_index_add(struct ls_daemon *d, struct ls_db *db, struct ls_err *e)
{
	static const char *const what[] = { "listed twice",
		"meta-path collision", "replica collision" };
	struct ls_index *x = &d->index;
	enum ls_rc rc = LS_OK;

	if (x->n + LS_KEYS > x->slots && !grow(x))
		return ls_err_nomem(e);
	for (int i = 0; i < LS_KEYS && rc == LS_OK; i++) {
		char *s = text(i, &db->conf);
		struct ls_db *other;

		if (s == NULL)
			return ls_err_nomem(e);
		if ((other = find(x, i, s)) != NULL)
			rc = ls_err_set(e, LS_EEXISTS,
			    "%s: databases %s and %s would share %s", what[i],
			    other->conf.path, db->conf.path, s);
		db->key[i].kind = i;
		db->key[i].hash = hash(i, s);
		ls_free(s);
	}
	for (int i = 0; i < LS_KEYS && rc == LS_OK; i++) {
		struct ls_key **p = head(x, db->key[i].hash);

		db->key[i].next = *p;
		*p = &db->key[i];
		x->n++;
	}
	return rc;
}

void
ls_index_remove(struct ls_daemon *d, struct ls_db *db)
{
	for (int i = 0; i < LS_KEYS; i++) {
		struct ls_key **p = head(&d->index, db->key[i].hash);

		while (*p != &db->key[i])
			p = &(*p)->next;
		*p = db->key[i].next;
		d->index.n--;
	}
}

/* ---- (2) -------------------------------------------------------------------*/

struct ls_db *
ls_claim(struct ls_db *db, const struct stat *st)
{
	struct ls_db **p = &db->d->claim[(size_t)st->st_ino & (LS_CLAIMS - 1)];

	for (struct ls_db *o = *p; o != NULL; o = o->next_claim)
		if (o->ino == st->st_ino && o->dev == st->st_dev)
			return o == db ? NULL : o;
	db->dev = st->st_dev;
	db->ino = st->st_ino;
	db->claims = true;
	db->next_claim = *p;
	*p = db;
	return NULL;
}

void
ls_unclaim(struct ls_db *db)
{
	struct ls_db **p = &db->d->claim[(size_t)db->ino & (LS_CLAIMS - 1)];

	if (!db->claims)
		return;
	while (*p != db)
		p = &(*p)->next_claim;
	*p = db->next_claim;
	db->claims = false;
}
