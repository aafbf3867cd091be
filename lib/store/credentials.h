/* credentials.h -- whose keys sign a request.
 *
 * Order, as upstream's chain: the replica's own two keys; environment (AWS_*,
 * then the LITESTREAM_* aliases); a web identity of the environment; the
 * profile in the shared credentials and config files; the container's endpoint
 * (ECS, EKS); the instance's role (EC2, IMDSv2). Nothing found is an error:
 * there are no anonymous requests. */
#ifndef LS_CREDENTIALS_H
#define LS_CREDENTIALS_H

#include "store/driver.h"
#include "store/http.h"
#include "store/sigv4.h"

/* Heap strings. */
struct ls_creds {
	char *key_id, *secret, *token;
	const char *source; /* for messages; static text */
	int64_t expires_ns; /* wall clock; 0 = never */
	bool in_file;	    /* whoever rotates them writes the file anew */
	uint64_t gen;	    /* of the cache's answer; 0 = configuration */
};
void ls_creds_fini(struct ls_creds *c);

/* The chain's answer, kept for the process and asked again before it expires;
 * thread-safe. */
struct ls_creds_cache;
/* Keeps http until freed. */
enum ls_rc ls_creds_cache_new(struct ls_http *http, struct ls_creds_cache **out,
    struct ls_err *e) LS_MUST_CHECK;
void ls_creds_cache_free(struct ls_creds_cache *k);
/* Gives a copy in *out. May ask the network, within c. LS_EDENIED when there
 * are none; the error names the source. */
enum ls_rc ls_creds_get(struct ls_creds_cache *k, const struct ls_place *p,
    const struct ls_call *c, struct ls_creds *out,
    struct ls_err *e) LS_MUST_CHECK;
/* The server refused those of generation gen: ask the chain again next time.
 * false when that cannot help: they stand in the configuration. */
bool ls_creds_forget(struct ls_creds_cache *k, uint64_t gen);
/* Region of environment or profile: a heap string, or NULL. */
char *ls_creds_region(void);

#endif
