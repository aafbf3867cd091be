/* crashsim.h -- a process, or a machine, that stops at the nth change.
 *
 *   for (int n = 1;; n++) {
 *           ... a state ...
 *           crash_arm(n, power);
 *           the_thing();
 *           hit = crash_disarm();
 *           ... open again and look ...
 *           if (!hit) break;
 *   }
 * From the nth changing call of the seam on nothing has an effect any more (a
 * write that is the nth is torn half way), cleaning up included, as if the
 * process had been killed. With power, what was written to a file since its
 * last fsync is garbage besides, at crash_disarm at the latest. */
#ifndef LS_CRASHSIM_H
#define LS_CRASHSIM_H

#include "test.h"

void crash_arm(int n, bool power);
bool crash_disarm(void); /* was there an nth call? */

#endif
