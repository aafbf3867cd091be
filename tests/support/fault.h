/* fault.h -- the countdown fault: fail the nth fallible call of the seam.
 *
 *   for (int n = 1;; n++) {
 *           fault_arm(n, EIO);
 *           rc = the_thing(&e);
 *           fault_disarm();
 *           ... invariants that hold whatever failed ...
 *           if (!fault_fired()) { CHECK(rc == LS_OK); break; }
 *   }
 * Counts open (for writing), write, pwrite, fsync, rename, link, mkdir,
 * ftruncate, fallocate, and realloc; read and pread with fault_reads(1). */
#ifndef LS_FAULT_H
#define LS_FAULT_H

#include "test.h"

void fault_arm(int n, int err);	     /* the nth call from now fails with err */
void fault_arm_from(int n, int err); /* and all after it */
void fault_reads(int on);	     /* count reads too */
void fault_memory(int on);	     /* count allocations too (default on) */
void fault_calm(void);	 /* no more faults, while threads use the seam */
void fault_disarm(void); /* the seam is the real one again */
int fault_fired(void);
/* Shift the clocks of the seam by ns (a virtual clock); sleeps advance it. */
void fault_clock(int64_t ns);

#endif
