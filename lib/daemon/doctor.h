/* doctor.h -- what is wrong with a set-up, found out by looking and trying,
 * each finding with what to do about it.
 *
 * Nothing is changed, but for objects that are put under each replica's prefix
 * and removed again (".litestream-doctor-RANDOM", ".litestream-probe-RANDOM").
 * The daemon may run meanwhile. No text holds a secret. */
#ifndef LS_DOCTOR_H
#define LS_DOCTOR_H

#include "config/config.h"

enum ls_grade { LS_GRADE_OK, LS_GRADE_WARN, LS_GRADE_FAIL };
const char *ls_grade_word(enum ls_grade g); /* "ok", "warn", "fail" */

struct ls_finding {
	enum ls_grade grade;
	const char *check; /* "put"; static */
	char *subject;	   /* of what: a path, a place; heap */
	char *found;	   /* heap, one line */
	char *cure;	   /* heap, one line, or NULL: nothing to do */
};

struct ls_doctor {
	/* ---- asked, borrowed -------------------------------------------*/
	const char *config; /* file, or NULL */
	bool expand_env;
	const char *what; /* DB or URL, or NULL: all of the configuration */
	const struct ls_call *call;

	/* ---- answered --------------------------------------------------*/
	struct ls_finding *v;
	size_t n, cap;
	struct ls_config cfg; /* as far as it could be read */
	char *drop_in;	      /* of systemd, or NULL; heap */
	bool nomem;	      /* findings are missing */
};

/* Look at everything. The asked fields are set, the rest is zero. LS_ECANCELED
 * and LS_ENOMEM only; ls_doctor_fini in any case. */
enum ls_rc ls_doctor_run(struct ls_doctor *d, struct ls_err *e) LS_MUST_CHECK;
void ls_doctor_fini(struct ls_doctor *d);
/* The worst grade found. */
enum ls_grade ls_doctor_worst(const struct ls_doctor *d);
/* "fail  put  s3://b/p: found; cure" of one finding. Gives a heap string, NULL
 * when memory is out. */
char *ls_finding_line(const struct ls_finding *f);

#endif
