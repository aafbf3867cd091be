/* notify.h -- sd_notify without a library: one datagram to $NOTIFY_SOCKET. */
#ifndef LS_NOTIFY_H
#define LS_NOTIFY_H

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1", "STATUS=..."; nothing happens when
 * systemd did not ask for it. */
void ls_notify(const char *state);
/* Half of $WATCHDOG_USEC in ns, 0 when there is none for this process. */
uint64_t ls_notify_watchdog_ns(void);

#endif
