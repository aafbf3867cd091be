/* kit.h -- what the tests of lib/format share: sinks, sources, files. */
#ifndef KIT_H
#define KIT_H

#include "test.h"

#include "format/crc64.h"
#include "format/ltx.h"
#include "format/merge.h"

/* A sink into a buffer that fails with LS_EIO once more than `room` bytes came
 * (0: never). */
struct kit_sink {
	struct ls_buf b;
	size_t room;
	size_t largest; /* piece seen */
};
#define KIT_SINK                                   \
	{                                          \
		LS_BUF_INIT((size_t)1 << 32), 0, 0 \
	}
ls_sink kit_sink;

/* A source that gives at most `chunk` bytes a call (0: all). */
struct kit_source {
	struct ls_span s;
	size_t at, chunk;
};
ls_source kit_source;

/* A page that compresses to about half; another one for each pgno and v. */
void kit_page(uint8_t *out, uint32_t page_size, uint32_t pgno, uint64_t v);
struct ls_ltx_header kit_header(
    uint32_t page_size, uint32_t commit, uint64_t min, uint64_t max);
/* Write a file with the writer; pages are kit_page(.., v). Gives out. */
enum ls_rc kit_write(const struct ls_ltx_header *h, const uint32_t *pgnos,
    size_t n, uint64_t v, struct ls_buf *out, struct ls_err *e);
/* A page of text, half of it words that all pages share. */
void kit_text(uint8_t *out, uint32_t page_size, uint32_t pgno, uint64_t v);
/* A dictionary for such pages; another one for each v. Gives it. */
struct ls_zdict *kit_dict(uint64_t v);
/* Write a file of n such pages from `first` on; z NULL: LZ4. Appends to out. */
void kit_write_text(const struct ls_ltx_header *h, struct ls_zdict *z,
    uint32_t first, uint32_t n, uint64_t v, struct ls_buf *out);
enum ls_rc kit_verify(struct ls_span file, struct ls_err *e);
/* Compute the file checksum anew over a file whose frames are idx. */
void kit_sign(struct ls_span file, const struct ls_ltx_index *idx);
/* A file of tests/unit/format/data. */
struct ls_span kit_data(const char *name);
const char *kit_path(const char *name); /* beside the tests' sources */

#endif
