/* search.c -- every interleaving of the small world of world.h, depth first.
 *
 *   capture_model                     all worlds; 0 = no violation
 *   capture_model --without=RULE ...  without these rules; 0 = one was FOUND
 *   capture_model --rules             their names
 *
 * A state that was seen is known by 64 bits of hash (hash compaction: with n
 * states a wrong match has odds of n^2 / 2^65, 1e-6 for ten million). */
#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 400, TABLE = 1 << 25 };

struct rules rules;
const struct bounds *bounds;

static uint64_t *seen;
static size_t states, total;
static const char *path[DEPTH], *found;
static unsigned depth, deepest, found_depth;
static const char *found_path[DEPTH];

static const struct bounds worlds[] = {
	{ .name = "checkpoints",
	    .commits = 3,
	    .crashes = 1,
	    .ckpts = 1,
	    .slots = 3,
	    .pages = 2,
	    .reader = true,
	    .pairs = true },
	{ .name = "power",
	    .commits = 4,
	    .kills = 1,
	    .powers = 1,
	    .slots = 3,
	    .pages = 3 },
	{ .name = "power and checkpoints",
	    .commits = 4,
	    .ckpts = 1,
	    .kills = 1,
	    .powers = 1,
	    .app_ckpts = 1,
	    .slots = 3,
	    .pages = 2,
	    .atomic = true },
	{ .name = "sizes",
	    .commits = 4,
	    .ckpts = 1,
	    .kills = 1,
	    .slots = 5,
	    .pages = 3,
	    .resize = true,
	    .atomic = true },
	{ .name = "frames without checksums",
	    .commits = 4,
	    .crashes = 1,
	    .ckpts = 1,
	    .bugs = 1,
	    .slots = 4,
	    .pages = 2 },
	{ .name = "park and wake",
	    .commits = 4,
	    .ckpts = 1,
	    .closes = 1,
	    .app_ckpts = 2,
	    .limits = 1,
	    .slots = 3,
	    .pages = 2,
	    .redraw = true },
	{ .name = "restarted twice",
	    .commits = 5,
	    .closes = 1,
	    .app_ckpts = 2,
	    .ckpts = 1,
	    .slots = 3,
	    .pages = 2,
	    .pairs = true,
	    .atomic = true },
};

void
violation(const char *what)
{
	if (found == NULL)
		found = what;
}

static uint64_t
hash(const struct world *w)
{
	const uint32_t *p = (const void *)w;
	uint64_t h = 0xcbf29ce484222325u;

	_Static_assert(sizeof *w % 4 == 0, "whole words");
	for (size_t i = 0; i < sizeof *w / 4; i++) {
		h = (h ^ p[i]) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	return h | 1;
}

/* true: not seen before. */
static bool
enter(const struct world *w)
{
	uint64_t h = hash(w);
	size_t i = (size_t)(h >> 20) % TABLE;

	while (seen[i] != 0 && seen[i] != h)
		i = (i + 1) % TABLE;
	if (seen[i] == h)
		return false;
	seen[i] = h;
	if (++states > TABLE / 4 * 3) {
		fprintf(stderr, "too many states\n");
		exit(2);
	}
	return true;
}

void
emit(const struct world *next, const char *step)
{
	bool fresh;

	if (found_depth != 0)
		return;
	if (depth == DEPTH) {
		fprintf(stderr, "too deep\n");
		exit(2);
	}
	path[depth++] = step;
	deepest = depth > deepest ? depth : deepest;
	fresh = enter(next);
	if (fresh && found == NULL)
		check(next);
	if (found != NULL) {
		found_depth = depth;
		memcpy(found_path, path, sizeof path);
	} else if (fresh) {
		application(next);
		if (!bounds->atomic || next->w == W_IDLE)
			daemon_steps(next);
	}
	depth--;
}

static struct world
start(const struct bounds *b)
{
	struct world w;

	memset(&w, 0, sizeof w);
	for (unsigned p = 0; p < b->pages; p++)
		w.db.val[p] = 1;
	w.db.size = b->pages;
	w.live.img = w.synced.img = w.db;
	w.reader = w.pin = NOBODY;
	w.guard = w.may_restart = 1;
	w.d = D_HOT;
	w.commits = b->commits;
	w.crashes = b->crashes;
	w.powers = b->powers;
	w.kills = b->kills;
	w.app_ckpts = b->app_ckpts;
	w.ckpts = b->ckpts;
	w.closes = b->closes;
	w.limits = b->limits;
	w.bugs = b->bugs;
	return w;
}

static void
explore(const struct bounds *b)
{
	struct world w = start(b);

	bounds = b;
	states = depth = deepest = 0;
	if ((seen = calloc(TABLE, sizeof *seen)) == NULL) {
		fprintf(stderr, "no memory\n");
		exit(2);
	}
	emit(&w, "start");
	free(seen);
	printf("%s: %zu states, %u steps at most%s%s\n", b->name, states,
	    deepest, found ? ": " : "", found ? found : "");
	for (unsigned i = 0; i < found_depth; i++)
		printf("  %2u %s\n", i, found_path[i]);
	fflush(stdout);
	total += states;
}

static bool
without(const char *name)
{
#define X(id, text)                    \
	if (strcmp(name, text) == 0) { \
		rules.id = false;      \
		return true;           \
	}
	RULES(X)
#undef X
	return false;
}

int
main(int argc, char **argv)
{
	static const char flag[] = "--without=";
	bool mutated = false;

	memset(&rules, 1, sizeof rules);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--rules") == 0) {
#define X(id, text) puts(text);
			RULES(X)
#undef X
			return 0;
		}
		mutated = true;
		if (strncmp(argv[i], flag, sizeof flag - 1) != 0 ||
		    !without(argv[i] + sizeof flag - 1)) {
			fprintf(stderr, "no such rule: %s\n", argv[i]);
			return 2;
		}
	}
	for (size_t i = 0; i < sizeof worlds / sizeof *worlds && !found; i++)
		explore(&worlds[i]);
	printf("%zu states\n", total);
	if (mutated && found == NULL)
		printf("the mutation survives\n");
	return mutated ? found == NULL : found != NULL;
}
