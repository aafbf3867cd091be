/* model_gen.c -- statements by chance. See model.h.
 *
 * A template's $-words: t a table with k, v, b; i a small and j a wide number;
 * n a count; r a seed of rnd(); s, m, l a size of bytes: small, a page or so,
 * many pages; w a word; x one of the temporary tables; y the name of a table
 * that comes and goes; p a savepoint. */
#include "model.h"

#include <stdio.h>
#include <string.h>

const char *const gen_schema[] = {
	"CREATE TABLE t0(id INTEGER PRIMARY KEY,k INT,v TEXT,b BLOB)",
	"CREATE TABLE t1(id INTEGER PRIMARY KEY AUTOINCREMENT,k INT,"
	"v TEXT COLLATE NOCASE,b BLOB)",
	"CREATE TABLE t2(v TEXT,k INT,b BLOB,id INT,PRIMARY KEY(v,k))"
	" WITHOUT ROWID",
	"CREATE TABLE t3(id INTEGER PRIMARY KEY,k INT UNIQUE,"
	"v TEXT CHECK(v<>'no'),b BLOB,g INT AS (k*2) STORED)",
	"CREATE TABLE par(id INTEGER PRIMARY KEY,v TEXT)",
	"CREATE TABLE chi(id INTEGER PRIMARY KEY,p INT REFERENCES par(id)"
	" ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED,v TEXT)",
	"CREATE TABLE log(n INTEGER PRIMARY KEY,what TEXT,k INT)",
	"CREATE INDEX t0k ON t0(k,v)",
	"CREATE INDEX t1v ON t1(v) WHERE k>10",
	"CREATE INDEX t1e ON t1(length(b))",
	"CREATE TRIGGER lg AFTER DELETE ON t0 BEGIN"
	" INSERT INTO log(what,k) VALUES('del',old.k); END",
	"CREATE TRIGGER lu AFTER UPDATE OF k ON t1 BEGIN"
	" INSERT INTO log(what,k) VALUES('upd',new.k); END",
	"CREATE VIEW vw AS SELECT t0.k,t1.v,length(t0.b) AS n FROM t0"
	" JOIN t1 USING(k)",
	"CREATE VIRTUAL TABLE f USING fts5(v,w,prefix='2')",
	NULL,
};

struct kind {
	int weight;
	const char *sql;
};

static const struct kind common[] = {
	{ 30, "INSERT INTO $t(k,v,b) VALUES($j,'$w',rnd($r,$s))" },
	{ 6, "INSERT INTO $t(k,v,b) VALUES($j,'$w',rnd($r,$m))" },
	{ 3, "INSERT INTO $t(k,v,b) VALUES($j,'$w',rnd($r,$l))" },
	{ 3, "INSERT INTO $t(k,v,b) VALUES($j,'$w',zeroblob($l))" },
	{ 8, "INSERT OR IGNORE INTO $t(k,v,b) WITH RECURSIVE c(x) AS "
	     "(VALUES(1) UNION ALL SELECT x+1 FROM c WHERE x<$n) SELECT "
	     "x*$i%997+$j,'$w'||x,rnd($r+x,$s) FROM c" },
	{ 8, "INSERT OR REPLACE INTO $t(k,v,b) VALUES($i,'$w',rnd($r,$s))" },
	{ 3, "INSERT OR ROLLBACK INTO t3(k,v) VALUES($i,'$w')" },
	{ 3, "INSERT OR FAIL INTO t3(k,v) SELECT k,v FROM t0 LIMIT $i" },
	{ 3, "INSERT INTO t3(k,v) SELECT k+$i,'no' FROM t0 LIMIT $i" },
	{ 4, "INSERT INTO t3(k,v) VALUES($i,'$w') ON CONFLICT(k) DO UPDATE "
	     "SET v=excluded.v||$i, b=rnd($r,$m) RETURNING id,k,v" },
	{ 10, "UPDATE $t SET b=rnd($r,$s) WHERE k%$n=$i" },
	{ 8, "UPDATE $t SET k=k+$i WHERE k BETWEEN $j AND $j+40" },
	{ 4, "UPDATE $t SET v=v||'$w' WHERE k%17=$i%17" },
	{ 4, "UPDATE OR IGNORE t3 SET k=$i WHERE id%5=$i%5" },
	{ 2, "UPDATE $t SET b=rnd($r,$l) WHERE k=(SELECT max(k) FROM $t)" },
	{ 2, "UPDATE $t SET b=NULL" },
	{ 12, "DELETE FROM $t WHERE k%$n=$i" },
	{ 4, "DELETE FROM $t WHERE k>$j RETURNING k" },
	{ 1, "DELETE FROM $t" },
	{ 4, "INSERT INTO par(v) VALUES('$w')" },
	{ 4, "INSERT INTO chi(p,v) SELECT id,'$w' FROM par LIMIT $i" },
	{ 1, "INSERT INTO chi(p,v) VALUES(-$i,'$w')" },
	{ 3, "DELETE FROM par WHERE id%7=$i%7" },
	{ 1, "DELETE FROM log WHERE n%3<>$i%3" },
	{ 6, "SELECT count(*),sum(k),max(length(b)),min(v) FROM $t" },
	{ 4, "SELECT k,v FROM $t WHERE k BETWEEN $j AND $j+30 ORDER BY v" },
	{ 4, "SELECT v,count(*),sum(length(b)) FROM $t GROUP BY v ORDER BY 2,1"
	     " LIMIT 40" },
	{ 3, "SELECT * FROM vw ORDER BY 1,2,3 LIMIT $n" },
	{ 2, "SELECT a.k,b.v FROM $t a LEFT JOIN $t b ON a.k=b.k+1 "
	     "ORDER BY 1,2 LIMIT $n" },
	{ 2, "WITH w AS (SELECT k,row_number() OVER (ORDER BY k,v) r FROM $t)"
	     " SELECT * FROM w WHERE r%$n=0" },
	{ 2, "SELECT id,b FROM t0 WHERE id IN (SELECT p FROM chi) LIMIT 20" },
	{ 6, "INSERT INTO f(v,w) VALUES('$w $w $w','$w $w')" },
	{ 2, "INSERT INTO f(v,w) SELECT v||' '||k,'$w' FROM $t LIMIT $n" },
	{ 3, "DELETE FROM f WHERE rowid%7=$i%7" },
	{ 2, "UPDATE f SET w='$w $w' WHERE rowid%9=$i%9" },
	{ 5, "SELECT rowid,highlight(f,0,'[',']') FROM f WHERE f MATCH '$w*' "
	     "ORDER BY rowid LIMIT 50" },
	{ 1, "INSERT INTO f(f) VALUES('optimize')" },
	{ 1, "INSERT INTO f(f) VALUES('integrity-check')" },
	{ 1, "INSERT INTO f(f,rank) VALUES('merge',$n)" },
	{ 1, "CREATE TABLE IF NOT EXISTS $y(id INTEGER PRIMARY KEY,k INT,"
	     "v TEXT,b BLOB)" },
	{ 1, "CREATE TABLE $y AS SELECT * FROM $t LIMIT $n" },
	{ 3, "INSERT INTO $y(k,v,b) VALUES($i,'$w',rnd($r,$m))" },
	{ 2, "SELECT count(*),sum(length(b)) FROM $y" },
	{ 1, "ALTER TABLE $y ADD COLUMN c$i DEFAULT '$w'" },
	{ 1, "ALTER TABLE $y RENAME COLUMN v TO v$i" },
	{ 1, "ALTER TABLE $y RENAME TO $y" },
	{ 1, "DROP TABLE IF EXISTS $y" },
	{ 1, "CREATE INDEX IF NOT EXISTS ix$i ON t$i(v)" },
	{ 1, "CREATE UNIQUE INDEX IF NOT EXISTS ux ON t0(id,k,v)" },
	{ 1, "DROP INDEX IF EXISTS ix$i" },
	{ 1, "REINDEX" },
	{ 1, "ANALYZE" },
	{ 2, "CREATE TEMP TABLE IF NOT EXISTS $x(a,b)" },
	{ 3, "INSERT INTO $x SELECT k,b FROM $t LIMIT $n" },
	{ 2, "INSERT INTO $t(k,v,b) SELECT a,'$w',b FROM $x LIMIT 9" },
	{ 1, "DELETE FROM $x" },
	{ 1, "DROP TABLE IF EXISTS $x" },
	{ 1, "PRAGMA user_version=$j" },
	{ 1, "PRAGMA user_version" },
	{ 1, "PRAGMA application_id=$j" },
	{ 1, "PRAGMA cache_size=$n" },
	{ 1, "PRAGMA cache_spill=$i" },
	{ 1, "PRAGMA shrink_memory" },
	{ 1, "PRAGMA foreign_key_check" },
	{ 1, "PRAGMA table_info($y)" },
	{ 1, "EXPLAIN QUERY PLAN SELECT * FROM $t WHERE k=$i" },
	{ 0, NULL },
};

static const struct kind outside[] = {
	{ 7, "BEGIN" },
	{ 7, "BEGIN IMMEDIATE" },
	{ 2, "BEGIN EXCLUSIVE" },
	{ 2, "SAVEPOINT $p" },
	{ 1, "VACUUM" },
	{ 2, "PRAGMA incremental_vacuum($n)" },
	{ 1, "PRAGMA incremental_vacuum" },
	{ 1, "PRAGMA foreign_keys=$o" },
	{ 1, "PRAGMA synchronous=$o" },
	{ 1, "PRAGMA temp_store=$o" },
	{ 1, "COMMIT" },
	{ 0, NULL },
};

static const struct kind inside[] = {
	{ 10, "COMMIT" },
	{ 5, "ROLLBACK" },
	{ 8, "SAVEPOINT $p" },
	{ 3, "RELEASE $p" },
	{ 6, "ROLLBACK TO $p" },
	{ 1, "PRAGMA incremental_vacuum($n)" },
	{ 1, "BEGIN" },
	{ 1, "VACUUM" },
	{ 0, NULL },
};

static const struct kind shrink[] = {
	{ 4, "DELETE FROM $t WHERE k%3<>$i%3" },
	{ 2, "DELETE FROM $t" },
	{ 2, "DELETE FROM f" },
	{ 2, "DROP TABLE IF EXISTS $y" },
	{ 2, "DROP TABLE IF EXISTS $x" },
	{ 2, "COMMIT" },
	{ 2, "VACUUM" },
	{ 2, "PRAGMA incremental_vacuum" },
	{ 0, NULL },
};

static const char *
choose(struct chance *c, const struct kind *k)
{
	int sum = 0, at;

	for (int i = 0; k[i].sql != NULL; i++)
		sum += k[i].weight;
	at = (int)pick(c, (unsigned)sum);
	while ((at -= k->weight) >= 0)
		k++;
	return k->sql;
}

static const char *const words[] = { "oak", "ash", "elm", "fir", "Yew", "box",
	"alder", "birch", "cedar", "hazel", "maple", "rowan", "willow", "no" };

static int
word(struct chance *c, char kind, char *to, size_t size)
{
	switch (kind) {
	case 't': return snprintf(to, size, "t%u", pick(c, 4));
	case 'i': return snprintf(to, size, "%u", pick(c, 12));
	case 'j': return snprintf(to, size, "%u", pick(c, 3000));
	case 'n': return snprintf(to, size, "%u", 2 + pick(c, 60));
	case 'o': return snprintf(to, size, "%u", pick(c, 3));
	case 'r': return snprintf(to, size, "%u", pick(c, 1u << 30));
	case 's': return snprintf(to, size, "%u", pick(c, 300));
	case 'm': return snprintf(to, size, "%u", pick(c, 6000));
	case 'l': return snprintf(to, size, "%u", pick(c, 150000));
	case 'w':
		return snprintf(to, size, "%s",
		    words[pick(c, sizeof words / sizeof words[0])]);
	case 'x': return snprintf(to, size, "temp.x%u", pick(c, 2));
	case 'y': return snprintf(to, size, "y%u", pick(c, 3));
	default: return snprintf(to, size, "p%u", pick(c, 3));
	}
}

void
gen_sql(struct chance *c, const struct gen_state *s, char sql[static SQL_MAX])
{
	const struct kind *k = common;
	const char *t;
	size_t n = 0;

	if (s->big && pick(c, 3) == 0)
		k = shrink;
	else if (pick(c, 100) < (s->in_tx ? 30u : 12u))
		k = s->in_tx ? inside : outside;
	for (t = choose(c, k); *t != '\0' && n + 20 < SQL_MAX; t++)
		if (*t == '$')
			n += (size_t)word(c, *++t, sql + n, SQL_MAX - n);
		else
			sql[n++] = *t;
	sql[n] = '\0';
}
