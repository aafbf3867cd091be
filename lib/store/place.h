/* place.h -- what the files of this folder share about places. The public
 * part is in store.h. */
#ifndef LS_PLACE_H
#define LS_PLACE_H

#include "store/store.h"

/* Replace a heap string field by a copy of value. */
enum ls_rc ls_place_set(
    char **field, const char *value, struct ls_err *e) LS_MUST_CHECK;
/* LS_EUNSUPPORTED for a type whose store comes later, else LS_EINVALID. */
enum ls_rc ls_place_unknown_type(const char *type, struct ls_err *e);
/* localhost, private addresses, *.local: http is assumed, TLS not asked for. */
bool ls_endpoint_is_local(const char *endpoint);
/* Field i (from 0) of an ARN, "" when there is none or it does not fit. */
void ls_arn_field(const char *arn, unsigned i, char *out, size_t size);
/* "amazonaws.com", or the domain of China's regions. */
const char *ls_aws_domain(const char *region);

#endif
