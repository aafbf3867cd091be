/* curl_lazy.h -- libcurl, mapped when the first network store is used.
 *
 * libcurl and what it brings (two TLS libraries, Kerberos, LDAP, SSH, ...) cost
 * a process about 4 MB that a daemon which replicates to folders never uses
 * (measured: 13.4 -> 9.9 MB). So it is loaded by name on first use, with all
 * functions that http.c calls behind the names that they always have. */
#ifndef LS_CURL_LAZY_H
#define LS_CURL_LAZY_H

#include "base/err.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>

/* curl.h wraps these in macros of the same name. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
#undef curl_share_setopt

/* clang-format off */
#define LS_CURL_CALLS(X)                                                  \
	X(global_init)                                                    \
	X(version) X(getdate) X(easy_init) X(easy_cleanup) X(easy_reset)  \
	    X(easy_setopt) X(easy_getinfo) X(easy_strerror) X(multi_init) \
		X(multi_cleanup) X(multi_setopt) X(multi_add_handle)      \
		    X(multi_remove_handle) X(multi_perform) X(multi_poll) \
			X(multi_info_read) X(share_init) X(share_cleanup) \
			    X(share_setopt) X(slist_append) X(slist_free_all)
/* clang-format on */

struct ls_curl {
#define X(name) __typeof__(&curl_##name) name;
	LS_CURL_CALLS(X)
#undef X
};
extern struct ls_curl ls_curl;

/* Load and initialise, once; thread-safe. LS_EUNSUPPORTED: not installed. */
enum ls_rc ls_curl_load(struct ls_err *e) LS_MUST_CHECK;

#ifndef LS_CURL_LAZY_C
#define curl_version		 ls_curl.version
#define curl_getdate		 ls_curl.getdate
#define curl_easy_init		 ls_curl.easy_init
#define curl_easy_cleanup	 ls_curl.easy_cleanup
#define curl_easy_reset		 ls_curl.easy_reset
#define curl_easy_setopt	 ls_curl.easy_setopt
#define curl_easy_getinfo	 ls_curl.easy_getinfo
#define curl_easy_strerror	 ls_curl.easy_strerror
#define curl_multi_init		 ls_curl.multi_init
#define curl_multi_cleanup	 ls_curl.multi_cleanup
#define curl_multi_setopt	 ls_curl.multi_setopt
#define curl_multi_add_handle	 ls_curl.multi_add_handle
#define curl_multi_remove_handle ls_curl.multi_remove_handle
#define curl_multi_perform	 ls_curl.multi_perform
#define curl_multi_poll		 ls_curl.multi_poll
#define curl_multi_info_read	 ls_curl.multi_info_read
#define curl_share_init		 ls_curl.share_init
#define curl_share_cleanup	 ls_curl.share_cleanup
#define curl_share_setopt	 ls_curl.share_setopt
#define curl_slist_append	 ls_curl.slist_append
#define curl_slist_free_all	 ls_curl.slist_free_all
#endif

#endif
