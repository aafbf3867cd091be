/* procstat.h -- what the kernel says of this process. */
#ifndef LS_PROCSTAT_H
#define LS_PROCSTAT_H

#include <stdbool.h>

enum ls_procstat {
	LS_PROC_CPU,   /* seconds */
	LS_PROC_START, /* Unix seconds */
	LS_PROC_RSS,   /* bytes */
	LS_PROC_VSIZE, /* bytes */
	LS_PROC_VMAX,  /* bytes */
	LS_PROC_FDS,   /* open */
	LS_PROC_MAX_FDS,
};
/* False: it does not say. */
bool ls_procstat(enum ls_procstat what, double *v);

#endif
