/* doctor_store.c -- one place: whose keys, and each kind of request tried on an
 * object of our own. See doctor.h.
 *
 * (1) NOTHING STAYS: the object is removed whatever fails in between, and one
 *     that cannot be removed is named. (test: broken set-ups, "no delete")
 * (2) A DEAD STORE COSTS SECONDS: when the first request gets no answer, the
 *     others are not tried.
 * (3) A FOLDER THAT DOES NOT EXIST IS NOT MADE by looking at it.
 */
#include "daemon/doctor_impl.h"
#include "store/net.h"

#include "base/bytes.h"
#include "base/file.h"
#include "base/sys.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

/* As long as a first answer and a whole request may take. */
#define FIRST (10 * LS_SEC)
#define EACH  (60 * LS_SEC)
/* Requests are refused at 15 minutes; fencing wants less (design 4). */
#define SKEW_WARN ((int64_t)(30 * LS_SEC))
#define SKEW_FAIL ((int64_t)(300 * LS_SEC))

static const char text[] = "litestreamd doctor was here\n";

struct probe {
	struct ls_doctor *d;
	struct ls_store *st;
	const char *name; /* of the place */
	char *key;
	bool put; /* the object may be there */
};

static struct ls_call
within(const struct probe *p, uint64_t ns)
{
	struct ls_call c = p->d->call ? *p->d->call : (struct ls_call){ 0 };
	uint64_t until = ls_sys->mono_ns() + ns;

	if (c.deadline_ns == 0 || until < c.deadline_ns)
		c.deadline_ns = until;
	return c;
}

static const char *
cure_of(enum ls_rc rc)
{
	switch (rc) {
	case LS_ENET:
	case LS_ETIMEOUT:
		return "check the endpoint, the network, proxy settings and "
		       "firewalls";
	case LS_ESERVER:
	case LS_ETHROTTLED:
		return "it is the server's own trouble: see its status or log";
	case LS_EDENIED: return "give the daemon's user or key that right";
	case LS_ENOSPC: return "free space there";
	case LS_EUNSUPPORTED:
		return "this store cannot do it: use one that can";
	default:
		return "see the message; the README has this provider by "
		       "example";
	}
}

/* false: it failed, and that was said. */
static bool
passed(struct probe *p, const char *check, enum ls_rc rc,
    const struct ls_err *e, const char *fine)
{
	if (rc != LS_OK)
		ls_doctor_err(
		    p->d, LS_GRADE_FAIL, check, p->name, cure_of(rc), e);
	else if (fine != NULL)
		ls_doctor_say(
		    p->d, LS_GRADE_OK, check, p->name, NULL, "%s", fine);
	return rc == LS_OK;
}

/* ---- keys ------------------------------------------------------------------*/

static bool
check_keys(struct probe *p, const struct ls_place *place, struct ls_net *net)
{
	struct ls_call c = within(p, FIRST);
	struct ls_creds k = { 0 };
	struct ls_err e = { 0 };
	char end[LS_TIME_MAX];
	enum ls_rc rc = ls_creds_get(ls_net_creds(net), place, &c, &k, &e);

	if (!passed(p, "credentials", rc, &e, NULL))
		return false;
	if (k.expires_ns != 0)
		ls_doctor_say(p->d, LS_GRADE_OK, "credentials", p->name, NULL,
		    "from %s, renewed before %s", k.source,
		    ls_time_sec(k.expires_ns, end));
	else
		ls_doctor_say(p->d, LS_GRADE_OK, "credentials", p->name, NULL,
		    "from %s", k.source);
	ls_creds_fini(&k);
	return true;
}

/* ---- requests --------------------------------------------------------------*/

static bool
first_only(void *arg, const struct ls_object *o)
{
	(void)o;
	*(bool *)arg = true;
	return false;
}

/* The first request: is anybody there at all? (2) */
static bool
check_list(struct probe *p)
{
	struct ls_call c = within(p, FIRST);
	struct ls_err e = { 0 };
	bool any = false;
	enum ls_rc rc;

	rc = ls_store_list(p->st, "", NULL, first_only, &any, &c, &e);
	(void)passed(p, "list", rc, &e,
	    any ? "works; something is stored "
		  "there"
		: "works; nothing is stored yet");
	return rc == LS_OK || rc == LS_EDENIED || rc == LS_EUNSUPPORTED;
}

static bool
check_put(struct probe *p)
{
	const struct ls_put o = { .timestamp_ms = ls_now_ms() };
	struct ls_call c = within(p, EACH);
	struct ls_err e = { 0 };
	enum ls_rc rc =
	    ls_store_put(p->st, p->key, LS_SPAN_STR(text), &o, &c, &e);

	p->put = rc == LS_OK || ls_rc_retry(rc);
	return passed(p, "put", rc, &e, "works");
}

static void
check_get(struct probe *p)
{
	static const struct ls_get part = { .off = 12, .len = 6 };
	struct ls_buf b = LS_BUF_INIT(64);
	struct ls_call c = within(p, EACH);
	struct ls_err e = { 0 };
	struct ls_got got;
	enum ls_rc rc = ls_store_get(p->st, p->key, &part, &b, &got, &c, &e);

	if (rc == LS_OK && (b.n != part.len || memcmp(b.p, "doctor", 6) != 0))
		rc = ls_err_set(
		    &e, LS_ESERVER, "%s: other bytes came back", p->name);
	(void)passed(p, "get", rc, &e, "ranges work");
	ls_buf_free(&b);
}

static void
no_fence(struct probe *p, const char *check, const char *reach)
{
	bool wanted = ls_store_fencing(p->st) == LS_FENCING_REQUIRE;

	ls_doctor_say(p->d, wanted ? LS_GRADE_FAIL : LS_GRADE_WARN, check,
	    p->name,
	    wanted ? "set fencing: auto, or use a store that has them"
		   : "make sure that one daemon writes here, or use a store "
		     "that has them",
	    "conditional writes are ignored: %s", reach);
}

static void
check_conditional(struct probe *p)
{
	struct ls_call c = within(p, EACH);
	struct ls_err e = { 0 };
	unsigned caps = 0;
	enum ls_rc rc = ls_store_caps(p->st, &caps, &c, &e);

	if (rc == LS_OK && (caps & LS_CAP_IF_ABSENT) == 0)
		no_fence(p, "conditional", "a second writer is not kept out");
	else
		(void)passed(p, "conditional", rc, &e,
		    "If-None-Match works: a second writer is kept out");
}

static void
check_multipart(struct probe *p)
{
	struct ls_call c = within(p, EACH);
	struct ls_err e = { 0 };
	bool yes = false;
	enum ls_rc rc = ls_store_caps_multi(p->st, &yes, &c, &e);

	(void)passed(p, "multipart", rc, &e,
	    yes ? "works, conditional completion too"
		: "works; completion is not conditional, large files are "
		  "checked before they are written");
}

static void
check_delete(struct probe *p)
{
	const char *keys[] = { p->key };
	struct ls_call c = { .deadline_ns = ls_sys->mono_ns() + EACH };
	struct ls_err e = { 0 };
	struct ls_got got;
	enum ls_rc rc = ls_store_delete(p->st, keys, 1, &c, &e);

	if (rc == LS_OK &&
	    ls_store_head(p->st, p->key, &got, &c, NULL) == LS_OK)
		ls_doctor_say(p->d, LS_GRADE_WARN, "delete", p->name,
		    "look for versioning, object lock or a retention rule of "
		    "the bucket",
		    "said to be done, but %s is still there", p->key);
	else
		(void)passed(p, "delete", rc, &e, "works");
	if (rc != LS_OK)
		ls_doctor_say(p->d, LS_GRADE_WARN, "delete", p->name,
		    "remove it, and .litestream-probe-*, by hand",
		    "%s was left there", p->key);
}

static void
check_clock(struct probe *p)
{
	int64_t ahead, off;
	char text_of[LS_DUR_MAX];

	if (!ls_store_clock(p->st, &ahead))
		return;
	off = ahead < 0 ? -ahead : ahead;
	(void)ls_dur_format(off / (int64_t)LS_SEC * (int64_t)LS_SEC, text_of);
	if (off < SKEW_WARN)
		ls_doctor_say(p->d, LS_GRADE_OK, "clock", p->name, NULL,
		    "agrees with the server's within %s", text_of);
	else
		ls_doctor_say(p->d,
		    off < SKEW_FAIL ? LS_GRADE_WARN : LS_GRADE_FAIL, "clock",
		    p->name, "set the clock of this machine (NTP)",
		    "the server's clock is %s %s ours; requests are refused "
		    "from 15m0s on",
		    text_of, ahead > 0 ? "ahead of" : "behind");
}

/* ---- folders ---------------------------------------------------------------*/

/* false: it is not there, which was said. (3) */
static bool
check_folder(struct probe *p, const struct ls_place *place)
{
	char *there = ls_doctor_existing(place->path);
	struct stat st;
	bool exists = there != NULL && strcmp(there, place->path) == 0;

	if (there == NULL) {
		p->d->nomem = true;
		return false;
	}
	if (exists && ls_sys->stat(there, &st) == 0 && !S_ISDIR(st.st_mode)) {
		ls_doctor_say(p->d, LS_GRADE_FAIL, "put", p->name,
		    "name a folder", "is not a folder");
		exists = false;
	} else if (!exists && ls_doctor_may(p->d, there, W_OK | X_OK, there)) {
		ls_doctor_say(p->d, LS_GRADE_WARN, "put", p->name,
		    "make it, owned by the daemon's user; a file system that "
		    "is not mounted looks like this, too",
		    "the folder is not there: the daemon makes it");
	}
	ls_doctor_file_system(p->d, there, false);
	ls_doctor_space(p->d, there, 0);
	ls_free(there);
	return exists;
}

/* The database and its replica should not be lost together. */
static void
check_same_disk(struct probe *p, const struct ls_place *place)
{
	struct stat a, b;

	for (size_t i = 0; i < p->d->cfg.n_dbs; i++) {
		const struct ls_db_config *db = &p->d->cfg.dbs[i];

		if (&db->place != place || ls_sys->stat(db->path, &a) != 0 ||
		    ls_sys->stat(place->path, &b) != 0 || a.st_dev != b.st_dev)
			continue;
		ls_doctor_say(p->d, LS_GRADE_WARN, "file-system", p->name,
		    "replicate to another disk, another machine, or S3",
		    "is on the same file system as %s: they are lost together",
		    db->path);
	}
}

/* ---- all -------------------------------------------------------------------*/

static void
try_requests(struct probe *p)
{
	if (!check_list(p))
		return;
	if (check_put(p)) {
		check_get(p);
		check_conditional(p);
		check_multipart(p);
	}
	if (p->put)
		check_delete(p);
}

void
ls_doctor_place(
    struct ls_doctor *d, const struct ls_place *place, struct ls_net *net)
{
	struct probe p = { .d = d };
	bool folder = strcmp(place->type, "file") == 0;
	char *name = ls_place_text(place);
	struct ls_err e = { 0 };

	p.name = name;
	p.key =
	    ls_asprintf(".litestream-doctor-%016" PRIx64, ls_net_random(net));
	if (name == NULL || p.key == NULL) {
		d->nomem = true;
	} else if (ls_store_open(place, net, &p.st, &e) != LS_OK) {
		ls_doctor_err(
		    d, LS_GRADE_FAIL, "store", name, cure_of(e.rc), &e);
	} else if (folder) {
		check_same_disk(&p, place);
		if (check_folder(&p, place))
			try_requests(&p);
	} else if (check_keys(&p, place, net)) {
		try_requests(&p);
		check_clock(&p);
	}
	ls_store_free(p.st);
	ls_free(p.key);
	ls_free(name);
}
