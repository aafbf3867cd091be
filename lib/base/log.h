/* log.h -- one call, key=value pairs, as upstream prints them.
 *
 * Libraries never print: they hand records to the one sink that the program
 * installs (cmd/litestreamd: text, json or pretty on stdout or stderr; the
 * extension: sqlite3_log). Without a sink nothing is printed.
 * info = a state change an operator acts on; nothing per idle tick. Secrets
 * never reach a record.
 */
#ifndef LS_LOG_H
#define LS_LOG_H

#include "base/err.h"

enum ls_level { LS_TRACE, LS_DEBUG, LS_INFO, LS_WARN, LS_ERROR };

enum ls_attr_kind {
	LS_A_END = 0,
	LS_A_STR,
	LS_A_INT,
	LS_A_UINT,
	LS_A_BOOL,
	LS_A_DUR,  /* ns: 1.5s in text, integer ns in JSON */
	LS_A_TXID, /* 16 hex digits */
	LS_A_SIG,  /* of the process: a word in text, the number in JSON */
	LS_A_ERR,  /* the message of a struct ls_err, and its hint */
};

struct ls_attr {
	const char *key; /* "a.b" is a group in JSON */
	enum ls_attr_kind kind;
	union {
		const char *s;
		int64_t i;
		uint64_t u;
		const struct ls_err *e;
	} v;
};

#define LS_S(k, val) ((struct ls_attr){ (k), LS_A_STR, { .s = (val) } })
#define LS_I(k, val) \
	((struct ls_attr){ (k), LS_A_INT, { .i = (int64_t)(val) } })
#define LS_U(k, val) \
	((struct ls_attr){ (k), LS_A_UINT, { .u = (uint64_t)(val) } })
#define LS_B(k, val) ((struct ls_attr){ (k), LS_A_BOOL, { .i = (val) } })
#define LS_D(k, ns)  ((struct ls_attr){ (k), LS_A_DUR, { .i = (int64_t)(ns) } })
#define LS_T(k, val) ((struct ls_attr){ (k), LS_A_TXID, { .u = (val) } })
#define LS_SIG(k, n) ((struct ls_attr){ (k), LS_A_SIG, { .i = (n) } })
#define LS_E(err)    ((struct ls_attr){ "error", LS_A_ERR, { .e = (err) } })
#define LS_NONE	     ((struct ls_attr){ NULL, LS_A_END, { .u = 0 } })
#define LS_ATTRS(...)              \
	((const struct ls_attr[]){ \
	    __VA_ARGS__, { NULL, LS_A_END, { .u = 0 } } })

/* attrs ends with LS_A_END, or is NULL. Thread-safe. */
#define ls_log(level, msg, attrs)                                         \
	do {                                                              \
		if ((level) >= ls_log_min)                                \
			ls_log_emit(                                      \
			    (level), __FILE__, __LINE__, (msg), (attrs)); \
	} while (0)
#define ls_trace(msg, attrs) ls_log(LS_TRACE, msg, attrs)
#define ls_debug(msg, attrs) ls_log(LS_DEBUG, msg, attrs)
#define ls_info(msg, attrs)  ls_log(LS_INFO, msg, attrs)
#define ls_warn(msg, attrs)  ls_log(LS_WARN, msg, attrs)
#define ls_error(msg, attrs) ls_log(LS_ERROR, msg, attrs)

struct ls_log_record {
	enum ls_level level;
	const char *file;
	int line;
	const char *msg;
	const struct ls_attr *attrs; /* may be NULL */
};

typedef void ls_log_sink(const struct ls_log_record *r, void *arg);

extern enum ls_level ls_log_min;
/* Install the sink (NULL: none). Before threads start. */
void ls_log_set(ls_log_sink *sink, void *arg, enum ls_level min);
void ls_log_emit(enum ls_level level, const char *file, int line,
    const char *msg, const struct ls_attr *attrs);

/* Once per interval for one event of one thing: true when it is due. Keep the
 * struct (zeroed) next to the thing. */
struct ls_log_limit {
	uint64_t last_ns;
	uint64_t muted;
};
bool ls_log_due(struct ls_log_limit *l, uint64_t every_ns);

#endif
