#!/usr/bin/env python3
"""Upkeep comes when it is due, also where the next snapshot or the next file to
expire is hours away: every commit of a quiet database reaches level 2, however
long nothing happened before it."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from harness import Case, connect, main, wait_until  # noqa: E402


class Upkeep(Case):
    def setUp(self):
        super().setUp()
        self.db = self.tmp / "a.db"
        self.c = connect(self.db)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(b)")
        self.d = self.daemon({self.db: f"file://{self.tmp}/r"}, top={
            "levels": [{"interval": "1s"}, {"interval": "2s"}],
            "snapshot": {"interval": "480h", "retention": "480h"}}).start()
        self.d.sync()

    def end(self, level):
        files = ltx.list_dir(self.tmp / "r", level)
        return files[-1][1] if files else 0

    def test_each_commit_is_compacted(self):
        for _ in range(3):
            self.c.execute("INSERT INTO t VALUES(randomblob(500))")
            txid = self.d.sync()
            wait_until(lambda: self.end(2) >= txid, 20, "level 2")


if __name__ == "__main__":
    main()
