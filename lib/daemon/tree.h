/* tree.h -- a `dir` entry at work: its databases come and go.
 *
 * Events and requests only note what is to be looked at; one step at a time, on
 * the local lane, looks and adds or removes records. All but ls_tree_step with
 * d->mu held. */
#ifndef LS_TREE_H
#define LS_TREE_H

#include "daemon/pool.h"

#include "config/config.h"

struct ls_daemon;
struct ls_tree;

/* Takes *conf. With its watch, what is there is looked for by the next step. */
enum ls_rc ls_tree_add(struct ls_daemon *d, struct ls_dir_config *conf,
    struct ls_tree **out, struct ls_err *e) LS_MUST_CHECK;
/* Its databases leave; it is there until the daemon is freed. */
void ls_tree_end(struct ls_tree *t);
void ls_trees_free(struct ls_daemon *d);
const struct ls_dir_config *ls_tree_conf(const struct ls_tree *t);
bool ls_tree_ended(const struct ls_tree *t);
struct ls_tree *ls_tree_next(const struct ls_tree *t);

/* The file at path is to be looked at (again). */
void ls_tree_look(struct ls_tree *t, const char *path);
/* An event of a node: watch.h's dir. */
void ls_tree_event(void *arg, void *node, const char *name, uint32_t mask);
/* Before the daemon runs, without mu: find what is there now. LS_ENOTFOUND:
 * nothing, and nothing can come. */
enum ls_rc ls_tree_first(struct ls_tree *t, struct ls_err *e) LS_MUST_CHECK;
/* Start the step when there is something to look at. */
void ls_trees_turn(struct ls_daemon *d, uint64_t now);
/* ns until that is so by the clock. */
uint64_t ls_trees_due(const struct ls_daemon *d, uint64_t now);
void ls_tree_step(struct ls_work *w);

#endif
