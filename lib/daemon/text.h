/* text.h -- names of others made fit for where they are shown. A path may hold
 * any byte; what is no UTF-8 is shown as \xNN, so that two stay two. */
#ifndef LS_TEXT_H
#define LS_TEXT_H

#include "base/buf.h"

/* Inside the quotes of a Prometheus label. */
enum ls_rc ls_text_label(
    struct ls_buf *b, const char *s, struct ls_err *e) LS_MUST_CHECK;
/* As it is. */
enum ls_rc ls_text_plain(
    struct ls_buf *b, const char *s, struct ls_err *e) LS_MUST_CHECK;
/* HTML text or a quoted attribute. */
enum ls_rc ls_text_html(
    struct ls_buf *b, const char *s, struct ls_err *e) LS_MUST_CHECK;
/* Inside the quotes of a JSON string. */
enum ls_rc ls_text_json(
    struct ls_buf *b, const char *s, struct ls_err *e) LS_MUST_CHECK;

#endif
