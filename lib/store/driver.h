/* driver.h -- what a kind of store implements. store.c checks arguments, counts
 * and names the operation in errors; a driver does the work.
 *
 * Paths given to a driver are whole: the key behind the place's path. */
#ifndef LS_DRIVER_H
#define LS_DRIVER_H

#include "base/sys.h"
#include "store/stats.h"
#include "store/store.h"

#include <stdatomic.h>

/* The bytes of a put: memory, or size bytes of fd from off. */
struct ls_body {
	struct ls_span mem; /* when fd < 0 */
	int fd;
	uint64_t off, size;
};

struct ls_upload {
	struct ls_store *st;
	char *path;
	struct ls_put o;
	struct ls_call call;
	uint64_t total;
	uint64_t began_ns; /* mono */
	void *self;	   /* the driver's */
};

struct ls_driver {
	const char *type;
	enum ls_layout layout;
	bool counts; /* its requests, itself: ls_req_count */
	/* Set st->self; nothing else to undo on error. */
	enum ls_rc (*open)(struct ls_store *st, struct ls_err *e);
	void (*close)(struct ls_store *st);
	enum ls_rc (*caps)(struct ls_store *st, unsigned *caps,
	    const struct ls_call *c, struct ls_err *e);
	enum ls_rc (*caps_multi)(struct ls_store *st, bool *yes,
	    const struct ls_call *c, struct ls_err *e);
	enum ls_rc (*put)(struct ls_store *st, const char *path,
	    const struct ls_body *b, const struct ls_put *o,
	    const struct ls_call *c, struct ls_err *e);
	enum ls_rc (*get)(struct ls_store *st, const char *path,
	    const struct ls_get *o, struct ls_buf *out, struct ls_got *got,
	    const struct ls_call *c, struct ls_err *e);
	enum ls_rc (*head)(struct ls_store *st, const char *path,
	    struct ls_got *got, const struct ls_call *c, struct ls_err *e);
	/* prefix and after are whole; the driver hands out relative keys. */
	enum ls_rc (*list)(struct ls_store *st, const char *prefix,
	    const char *after, bool dirs, ls_list_fn *fn, void *arg,
	    const struct ls_call *c, struct ls_err *e);
	enum ls_rc (*del)(struct ls_store *st, char *const *paths, size_t n,
	    const struct ls_call *c, struct ls_err *e);
	enum ls_rc (*del_if)(struct ls_store *st, const char *path,
	    const char *etag, const struct ls_call *c, struct ls_err *e);
	enum ls_rc (*copy)(struct ls_store *st, const char *from,
	    const char *to, const struct ls_put *o, const struct ls_call *c,
	    struct ls_err *e);
	enum ls_rc (*sweep)(struct ls_store *st, int64_t age_ms,
	    const struct ls_call *c, struct ls_err *e);
	/* Set u->self; on error nothing is left. */
	enum ls_rc (*begin)(struct ls_upload *u, struct ls_err *e);
	enum ls_rc (*write)(
	    struct ls_upload *u, struct ls_span bytes, struct ls_err *e);
	/* Free u->self, also on error. */
	enum ls_rc (*commit)(struct ls_upload *u, struct ls_err *e);
	void (*abort)(struct ls_upload *u);
};

extern const struct ls_driver ls_driver_file, ls_driver_s3;

enum ls_counter {
	LS_N_PUT,
	LS_N_PUT_BYTES,
	LS_N_GET,
	LS_N_GET_BYTES,
	LS_N_LIST,
	LS_N_DELETE,
	LS_N_COPY,
	LS_N_HEAD,
	LS_N_ERRORS,
	LS_N_COUNTERS
};

struct ls_store {
	const struct ls_driver *drv;
	size_t kind; /* of ls_store_types */
	struct ls_place place;
	char *text;
	struct ls_net *net;
	void *self;
	_Atomic uint64_t n[LS_N_COUNTERS];
	struct ls_req_stats *requests; /* or NULL: nobody's */
	_Atomic uint64_t said_ns; /* mono time of the last "trying again" */
};

/* The key of a whole path of this place: borrowed, inside path. */
const char *ls_store_key(const struct ls_store *st, const char *path);

#endif
