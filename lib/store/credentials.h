/* credentials.h -- whose keys sign a request.
 *
 * Order, as upstream's chain: the replica's own two keys; environment (AWS_*,
 * then the LITESTREAM_* aliases); the profile in the shared credentials and
 * config files. Nothing found is an error: there are no anonymous requests. */
#ifndef LS_CREDENTIALS_H
#define LS_CREDENTIALS_H

#include "store/driver.h"
#include "store/sigv4.h"

/* Heap strings. */
struct ls_creds {
	char *key_id, *secret, *token;
	char *region;	    /* of the profile or environment, or NULL */
	const char *source; /* for messages; static text */
};
void ls_creds_fini(struct ls_creds *c);

/* The chain's answer, kept for the process; thread-safe. */
struct ls_creds_cache;
enum ls_rc ls_creds_cache_new(
    struct ls_creds_cache **out, struct ls_err *e) LS_MUST_CHECK;
void ls_creds_cache_free(struct ls_creds_cache *k);
/* Gives a copy in *out. LS_EDENIED when there are none. */
enum ls_rc ls_creds_get(struct ls_creds_cache *k, const struct ls_place *p,
    struct ls_creds *out, struct ls_err *e) LS_MUST_CHECK;
/* The server said that they expired: ask the chain again next time. */
void ls_creds_forget(struct ls_creds_cache *k);
/* Region of environment or profile: a heap string, or NULL. */
char *ls_creds_region(void);

/* ---- the files (credentials_file.c) ---------------------------------------*/

/* Keys and region of AWS_PROFILE (or "default"). LS_ENOTFOUND when no file
 * names keys for it; LS_EUNSUPPORTED names a setting that needs a provider
 * that is not built in. *region is set even then, if there is one. */
enum ls_rc ls_creds_from_files(
    struct ls_creds *out, struct ls_err *e) LS_MUST_CHECK;

#endif
