/* posfile.c -- the durable position record. See posfile.h.
 *
 * <meta>/litestreamd-position, REC_BYTES long, big-endian:
 *   0 "LSDPOSR1"   8 version u32   12 flags u32 (1 filed, 2 db checksum, 4 clean)
 *  16 txid        24 lineage      32 page_size u32   36 commit u32
 *  40 salt 2*u32  48 frame u32    52 sum 2*u32       60 zero u32
 *  64 wal_bytes   72 db_dev       80 db_ino          88 db_checksum
 *  96 timestamp  104 db mtime    112 saved          120 CRC-64 of 0..119
 *
 *  (1) OLD OR NEW, WHOLE. Published by rename; what is read is believed only
 *      with its length, version and CRC. (tests: posrec_fault_sweep,
 *      posrec_damage_is_no_record)
 *  (2) AN UNUSABLE RECORD STOPS NOBODY: unproven continuity has an answer
 *      (design 3.4), a daemon that refuses to start has none.
 * Not here: what the record proves (position.c). */
#include "capture/posfile.h"

#include "base/bytes.h"
#include "base/file.h"
#include "format/crc64.h"

#include <errno.h>

enum {
	REC_BYTES = 128,
	REC_CRC = 120,
	REC_VERSION = 2,
	REC_FILED = 1,
	REC_DB_CHECKSUM = 2,
	REC_CLEAN = 4,
	REC_FLAGS = REC_FILED | REC_DB_CHECKSUM | REC_CLEAN,
};

static const char magic[] = "LSDPOSR1";

static char *
rec_path(const char *meta)
{
	return ls_asprintf("%s/litestreamd-position", meta);
}

static void
encode(const struct ls_posrec *r, uint8_t p[static REC_BYTES])
{
	memset(p, 0, REC_BYTES);
	memcpy(p, magic, 8);
	ls_put_be32(p + 8, REC_VERSION);
	ls_put_be32(p + 12, (r->filed ? REC_FILED : 0u) |
				(r->has_db_checksum ? REC_DB_CHECKSUM : 0u) |
				(r->clean ? REC_CLEAN : 0u));
	ls_put_be64(p + 16, r->txid);
	ls_put_be64(p + 24, r->lineage);
	ls_put_be32(p + 32, r->page_size);
	ls_put_be32(p + 36, r->commit);
	ls_put_be32(p + 40, r->salt[0]);
	ls_put_be32(p + 44, r->salt[1]);
	ls_put_be32(p + 48, r->frame);
	ls_put_be32(p + 52, r->sum[0]);
	ls_put_be32(p + 56, r->sum[1]);
	ls_put_be64(p + 64, r->wal_bytes);
	ls_put_be64(p + 72, r->db_dev);
	ls_put_be64(p + 80, r->db_ino);
	ls_put_be64(p + 88, r->db_checksum);
	ls_put_be64(p + 96, (uint64_t)r->timestamp_ms);
	ls_put_be64(p + 104, (uint64_t)r->db_mtime_ns);
	ls_put_be64(p + 112, (uint64_t)ls_now_ms());
	ls_put_be64(p + REC_CRC, ls_crc64(0, p, REC_CRC));
}

static bool
decode(struct ls_span in, struct ls_posrec *r)
{
	const uint8_t *p = in.p;
	uint32_t flags;

	if (in.n != REC_BYTES || memcmp(p, magic, 8) != 0 ||
	    ls_be64(p + REC_CRC) != ls_crc64(0, p, REC_CRC) ||
	    ls_be32(p + 8) != REC_VERSION)
		return false;
	if (((flags = ls_be32(p + 12)) & ~(uint32_t)REC_FLAGS) != 0)
		return false;
	*r = (struct ls_posrec){
		.txid = ls_be64(p + 16),
		.lineage = ls_be64(p + 24),
		.page_size = ls_be32(p + 32),
		.commit = ls_be32(p + 36),
		.salt = { ls_be32(p + 40), ls_be32(p + 44) },
		.frame = ls_be32(p + 48),
		.sum = { ls_be32(p + 52), ls_be32(p + 56) },
		.filed = (flags & REC_FILED) != 0,
		.clean = (flags & REC_CLEAN) != 0,
		.wal_bytes = ls_be64(p + 64),
		.db_dev = ls_be64(p + 72),
		.db_ino = ls_be64(p + 80),
		.has_db_checksum = (flags & REC_DB_CHECKSUM) != 0,
		.db_checksum = ls_be64(p + 88),
		.timestamp_ms = (int64_t)ls_be64(p + 96),
		.db_mtime_ns = (int64_t)ls_be64(p + 104),
		.saved_ms = (int64_t)ls_be64(p + 112),
	};
	return true;
}

enum ls_rc
ls_posrec_load(
    const char *meta, struct ls_posrec *rec, bool *found, struct ls_err *e)
{
	struct ls_buf b = LS_BUF_INIT(REC_BYTES);
	enum ls_rc rc;
	char *path = rec_path(meta);

	if (path == NULL)
		return ls_err_nomem(e);
	rc = ls_read_file(path, REC_BYTES, &b, e);
	if (rc == LS_ENOTFOUND || rc == LS_ERANGE) {
		*found = false; /* none, or longer than ours */
		rc = LS_OK;
	} else if (rc == LS_OK) {
		*found = decode(ls_buf_span(&b), rec);
	}
	ls_buf_free(&b);
	ls_free(path);
	return ls_err_wrap(e, rc, "load position");
}

enum ls_rc
ls_posrec_store(const char *meta, const struct ls_posrec *rec, struct ls_err *e)
{
	uint8_t p[REC_BYTES];
	enum ls_rc rc;
	char *path = rec_path(meta);

	if (path == NULL)
		return ls_err_nomem(e);
	encode(rec, p);
	rc = ls_publish(path, LS_SPAN(p, sizeof p), 0600, e);
	ls_free(path);
	return rc;
}

enum ls_rc
ls_posrec_wipe(const char *meta, struct ls_err *e)
{
	enum ls_rc rc = LS_OK;
	char *path = rec_path(meta);

	if (path == NULL)
		return ls_err_nomem(e);
	if (ls_sys->unlink(path) == 0)
		rc = ls_fsync_dir(meta, e);
	else if (errno != ENOENT)
		rc = ls_err_sys(e, errno, "remove %s", path);
	ls_free(path);
	return rc;
}
