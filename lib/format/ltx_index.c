/* ltx_index.c -- the page index at the end of an LTX file. See ltx.h.
 *
 *  (1) AN INDEX IS BELIEVED ONLY WHEN IT FITS THE FILE: frames back to back
 *      from the header to the terminator, page numbers rising, nothing left
 *      over. Then every range that it names lies inside the file and holds at
 *      most one frame. (test: index_damage)
 *  (2) MEMORY IS BOUNDED BY THE INPUT. Each entry ends three varints, so their
 *      number is known before anything is allocated.
 * What it cannot see: an index that is consistent and still wrong (sizes that
 * add up); ls_ltx_frame_decode notices, since a frame names its page. */
#include "base/bytes.h"
#include "base/sys.h"
#include "format/frame.h"

enum {
	COUNT = 8, /* bytes of the count behind the entries */
	ENTRY_MIN = 3,
	FRAME_MIN = LS_FRAME_SIZED + 1,
};

enum ls_rc
ls_ltx_index_extent(
    struct ls_span tail, uint64_t file_size, uint64_t *bytes, struct ls_err *e)
{
	uint64_t n, most;
	enum { END = COUNT + LS_LTX_TRAILER };

	if (tail.n < END ||
	    file_size < LS_LTX_HEADER + LS_LTX_PAGE_HEADER + END)
		return ls_err_set(e, LS_ECORRUPT,
		    "ltx file too short to contain a page index: %llu bytes",
		    (unsigned long long)LS_MIN(file_size, tail.n));
	n = ls_be64(tail.p + tail.n - END);
	most = file_size - LS_LTX_HEADER - LS_LTX_PAGE_HEADER - END;
	if (n == 0 || n > most)
		return ls_err_set(e, LS_ECORRUPT,
		    "page index of %llu bytes in an LTX file of %llu",
		    (unsigned long long)n, (unsigned long long)file_size);
	*bytes = n + END;
	return LS_OK;
}

static size_t
count_varints(const uint8_t *p, const uint8_t *end)
{
	size_t n = 0;

	for (; p < end; p++)
		n += *p < 0x80;
	return n;
}

/* One entry at *p; at: where its frame must start. */
static bool
take_entry(const uint8_t **p, const uint8_t *end, uint64_t at,
    struct ls_ltx_entry *out)
{
	uint64_t v[3];

	for (int i = 0; i < 3; i++) {
		size_t n = ls_uvarint_get(*p, end, &v[i]);

		if (n == 0)
			return false;
		*p += n;
	}
	if (v[0] == 0 || v[0] > UINT32_MAX || v[1] != at || v[2] < FRAME_MIN ||
	    v[2] > LS_LTX_FRAME_MAX)
		return false;
	*out = (struct ls_ltx_entry){ at, (uint32_t)v[2], (uint32_t)v[0] };
	return true;
}

/* Entries of in into v, which has room for n; their frames fill [at, pages_end).
 * False: damaged. */
static bool
take_entries(struct ls_span in, uint64_t at, uint64_t pages_end,
    uint32_t commit, struct ls_ltx_entry *v, size_t n)
{
	const uint8_t *p = in.p, *end = in.p + in.n;
	uint32_t last = 0;

	for (size_t i = 0; i < n; i++) {
		if (!take_entry(&p, end, at, &v[i]))
			return false;
		if (v[i].pgno <= last || (commit != 0 && v[i].pgno > commit))
			return false;
		last = v[i].pgno;
		at += v[i].size; /* cannot wrap: at <= pages_end */
		if (at > pages_end)
			return false;
	}
	return at == pages_end && p == end;
}

enum ls_rc
ls_ltx_index_decode(struct ls_span tail, uint64_t file_size, uint32_t commit,
    const struct ls_zdict *z, struct ls_ltx_index *idx, struct ls_err *e)
{
	struct ls_ltx_entry *v = NULL;
	const uint8_t *p, *end;
	uint64_t bytes;
	size_t varints;
	enum ls_rc rc;

	if ((rc = ls_ltx_index_extent(tail, file_size, &bytes, e)) != LS_OK)
		return rc;
	if (bytes > tail.n)
		return ls_err_set(e, LS_EINVALID,
		    "page index: %zu bytes given, %llu needed", tail.n,
		    (unsigned long long)bytes);
	p = tail.p + (tail.n - bytes);
	end = tail.p + tail.n - LS_LTX_TRAILER - COUNT - 1;
	varints = count_varints(p, end);
	if (*end != 0 || varints % ENTRY_MIN != 0)
		goto damaged;
	v = ls_alloc((varints / ENTRY_MIN + 1) * sizeof *v);
	if (v == NULL)
		return ls_err_nomem(e);
	if (!take_entries(LS_SPAN(p, (size_t)(end - p)), ls_frame_first(z),
		file_size - bytes - LS_LTX_PAGE_HEADER, commit, v,
		varints / ENTRY_MIN))
		goto damaged;
	idx->v = v;
	idx->n = varints / ENTRY_MIN;
	return LS_OK;
damaged:
	ls_free(v);
	return ls_err_set(e, LS_ECORRUPT, "page index is damaged");
}

const struct ls_ltx_entry *
ls_ltx_index_find(const struct ls_ltx_index *idx, uint32_t pgno)
{
	size_t low = 0, high = idx->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (idx->v[mid].pgno < pgno)
			low = mid + 1;
		else
			high = mid;
	}
	return low < idx->n && idx->v[low].pgno == pgno ? &idx->v[low] : NULL;
}

void
ls_ltx_index_fini(struct ls_ltx_index *idx)
{
	ls_free(idx->v);
	idx->v = NULL;
	idx->n = 0;
}
