#!/usr/bin/env python3
"""The meta folder's disk is full, or runs full while the replica is away: the
application on another disk is never blocked, the daemon says it within five
seconds, heals when there is room, and nothing is lost. Needs root, for a small
tmpfs of its own."""
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, connect, main, wait_until  # noqa: E402

SIZE = 24 << 20


class Disk(Case):
    def setUp(self):
        super().setUp()
        self.disk = self.tmp / "disk"
        self.disk.mkdir()
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}",
                            "litestreamd-test", self.disk],
                           capture_output=True, text=True)
        if r.returncode:
            self.skipTest(f"no tmpfs of its own: {r.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", self.disk])
        self.db, self.place = self.tmp / "app.db", self.tmp / "place"
        self.place.mkdir()
        self.url = f"file://{self.place}/r"
        self.c = connect(self.db, timeout=1)
        self.addCleanup(self.c.close)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        self.slowest = 0

    def start(self):
        d = self.daemon({self.db: self.url}, db={
            "meta-path": str(self.disk / "meta")}).start()
        self.insert(3)
        d.sync()
        return d

    def insert(self, n, size=4000):
        """The application's life. An error of it ends the test."""
        for _ in range(n):
            self.c.execute(f"INSERT INTO t(b) VALUES(randomblob({size}))")

    def fill(self):
        """Every byte of the disk; gives the file that holds them."""
        ballast = self.disk / "ballast"
        fd = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        for size in (1 << 16, 1):
            try:
                while True:
                    os.write(fd, bytes(size))
            except OSError:
                pass
        os.close(fd)
        return ballast

    def free(self):
        v = os.statvfs(self.disk)
        return v.f_bavail * v.f_frsize

    def finish(self, d):
        d.sync(timeout=60)
        want = self.checkpointed(self.db)
        self.assertEqual(d.stop(), 0)
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_same(out, want, "restored")
        self.assert_whole(out)

    def test_full_and_free_again(self):
        d = self.start()
        mark = len(d.text())
        ballast = self.fill()
        self.insert(20)
        d.wait_log("level=ERROR.*(No space|no space|free on this disk)", 5,
                   mark)
        self.insert(200)
        ballast.unlink()
        self.insert(5)
        self.finish(d)

    def test_killed_while_it_is_full(self):
        d = self.start()
        mark = len(d.text())
        ballast = self.fill()
        self.insert(50)
        d.wait_log("level=ERROR", 5, mark)
        d.kill()
        self.insert(5)
        mark = len(d.text())
        d.start(ready=False)
        self.insert(5)
        d.wait_log("level=ERROR", 5, mark)
        ballast.unlink()
        d.ready()
        self.insert(5)
        self.finish(d)

    def test_reserve_is_kept(self):
        """The replica is away, and the spool would fill the disk."""
        d = self.start()
        mark = len(d.text())
        self.place.rename(self.tmp / "away")
        limit = time.monotonic() + 60
        while "stay in reserve" not in d.text()[mark:]:
            self.assertLess(time.monotonic(), limit, "it never paused")
            self.insert(5, 7000)
            time.sleep(0.05)  # its rate
        wait_until(lambda: self.free() > SIZE // 50, 20, "a reserve")
        self.insert(300, 7000)
        self.assertGreater(self.free(), SIZE // 50)
        (self.tmp / "away").rename(self.place)
        self.insert(5)
        self.finish(d)


if __name__ == "__main__":
    main()
