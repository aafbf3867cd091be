#!/usr/bin/env python3
"""The destination is away for long: the spool stays bounded in files and bytes,
also across kill -9, and afterwards everything is there, one TXID a file."""
import shutil
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import Case, connect, main, wait_until  # noqa: E402

MANY = {"db": {"monitor-interval": "10ms"},
        "replica": {"sync-interval": "10ms"}}
# 64 pending ones, those of one turn, and what geometric sizes leave of merged.
MOST_FILES = 64 + 64 + 32


class Watcher(threading.Thread):
    """The largest number of files and bytes that the spool ever had."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.files, self.bytes = folder, 0, 0
        self.newest, self.over = 0, threading.Event()

    def run(self):
        while not self.over.wait(0.02):
            try:
                sizes = [(p.name, p.stat().st_size)
                         for p in self.folder.glob("*.ltx")]
            except OSError:
                continue  # one went away in between
            self.files = max(self.files, len(sizes))
            self.bytes = max(self.bytes, sum(n for _, n in sizes))


class Spool(Case):
    def setUp(self):
        super().setUp()
        self.db, self.place = self.tmp / "app.db", self.tmp / "place"
        self.url = f"file://{self.place}/r"
        self.place.mkdir()
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        self.meta = self.tmp / ".app.db-litestream"
        self.n = 0

    def go_away(self):
        """A mount that is not there: its folder is a file."""
        shutil.move(self.place, self.tmp / "moved")
        self.place.write_text("not a folder")

    def come_back(self):
        self.place.unlink()
        shutil.move(self.tmp / "moved", self.place)

    def commits(self, n):
        """At the pace of an application; each is a file of its own, mostly."""
        for _ in range(n):
            self.n += 1
            self.c.execute("INSERT OR REPLACE INTO t VALUES(?,"
                           "randomblob(3000))", (self.n % 500,))
            time.sleep(0.004)

    def watch(self):
        w = Watcher(self.meta / "ltx/0")
        w.start()
        self.addCleanup(w.over.set)
        return w

    def bounded(self, w):
        w.over.set()
        w.join()
        self.assertGreater(w.files, 30, "the test has not filled the spool")
        self.assertLessEqual(w.files, MOST_FILES)
        size = self.db.stat().st_size + Path(f"{self.db}-wal").stat().st_size
        self.assertLess(w.bytes, 2 * size + (64 << 20))

    def finish(self, d):
        d.sync(timeout=60)
        want = self.checkpointed(self.db)
        self.assertEqual(d.stop(), 0)
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_same(out, want, "restored")
        self.assert_whole(out)
        files = ltx.list_dir(self.place / "r")
        self.assertEqual(ltx.gaps(files), [])
        self.assertEqual([f for f in files if f[0] != f[1]], [])
        return files

    def test_outage_keeps_the_spool_bounded(self):
        d = self.daemon({self.db: self.url}, **MANY).start()
        self.commits(5)
        d.sync()
        self.go_away()
        w, mark = self.watch(), len(d.text())
        self.commits(2000)
        d.wait_log("pending files merged", 10, mark)
        self.bounded(w)
        self.come_back()
        self.commits(5)
        files = self.finish(d)
        self.assertLess(files[-1][1], 1000, "they were not merged")
        self.assertNotIn("fenced", d.text())
        self.assertEqual(d.text().count("kind=copy"), 1)

    def test_killed_again_and_again_during_an_outage(self):
        d = self.daemon({self.db: self.url}, **MANY).start()
        self.commits(5)
        d.sync()
        self.go_away()
        for i in range(6):
            mark = len(d.text())
            self.commits(400)
            if i % 2:
                d.wait_log("pending files merged", 20, mark)
            d.kill()
            self.commits(3)
            d.start()
        self.come_back()
        self.commits(5)
        self.finish(d)
        self.assertNotIn("fenced", d.text())
        self.assertEqual(d.text().count("kind=copy"), 1)

    def test_snapshot_waits_through_an_outage(self):
        """A state that was pinned before is not relabelled by a merge."""
        d = self.daemon({self.db: self.url}, **MANY, top={
            "snapshot": {"interval": "3s", "retention": "1h"}}).start()
        self.commits(5)
        d.sync()
        self.go_away()
        w, mark = self.watch(), len(d.text())
        self.commits(1200)
        d.wait_log("pending files merged", 10, mark)
        self.bounded(w)
        self.come_back()
        mark = len(d.text())
        self.commits(50)
        d.sync(timeout=60)
        d.wait_log("snapshot complete", 30, mark)
        self.commits(20)
        self.finish(d)
        for a, b, p in ltx.list_dir(self.place / "r", 9):
            out = self.restore(self.url, self.tmp / f"at{b}.db", txid=b)
            self.assert_whole(out)

    def test_upstream_resumes_from_a_merged_spool(self):
        up = self.need_upstream()
        d = self.daemon({self.db: self.url}, **MANY).start()
        self.commits(5)
        d.sync()
        self.go_away()
        mark = len(d.text())
        self.commits(400)
        d.wait_log("pending files merged", 10, mark)
        d.stop()  # says that it could not send all
        self.come_back()
        u = self.daemon({self.db: self.url}, binary=up).start()
        self.commits(20)
        u.sync(timeout=60)
        want = self.checkpointed(self.db)
        u.stop()
        self.assertNotRegex(u.text(), "level=ERROR")
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_same(out, want, "after upstream took over")


if __name__ == "__main__":
    main()
