#!/usr/bin/env python3
"""A writer killed between the two header copies of the wal-index leaves it
torn; whoever reads next must recover it, under the lock that the daemon's
guard holds. The application's next statement succeeds within a second, and no
acknowledged row is lost, neither in the database nor in the replica.

The tear is made as it happens: commit, then put the first header copy (bytes
0-47 of -shm; SQLite writes the second copy first) back to what it was before
the commit. A child does it, by mmap: our process must not open the file."""
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import LONG, SLOW, Case, connect, main  # noqa

TEAR = """
import mmap, sys
f = open(sys.argv[1], "r+b")
m = mmap.mmap(f.fileno(), 136)
old = m[0:48]
print("ready", flush=True)
for line in sys.stdin:
    if line == "note\\n":
        old = m[0:48]
    else:
        m[0:48] = old
    print(int(m[0:48] != m[48:96]), flush=True)
"""


class Torn(Case):
    def setUp(self):
        super().setUp()
        self.db, self.url = self.tmp / "app.db", f"file://{self.tmp}/r"
        self.c = connect(self.db)
        self.c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
        self.acked = 0

    def insert(self, c):
        c.execute("INSERT INTO t(b) VALUES(randomblob(300))")
        self.acked += 1

    def ask(self, word):
        self.child.stdin.write(word + "\n")
        self.child.stdin.flush()
        return self.child.stdout.readline().strip()

    def timed(self, fn):
        """Run a statement in a thread of its own; (seconds, error)."""
        got = []

        def body():
            t = time.monotonic()
            try:
                fn()
                got.append((time.monotonic() - t, None))
            except Exception as e:
                got.append((time.monotonic() - t, e))
        th = threading.Thread(target=body)
        th.start()
        th.join()
        return got[0]

    def next_statement(self):
        c = connect(self.db, timeout=10)
        self.insert(c)
        c.close()

    def test_next_statement_succeeds(self):
        d = self.daemon({self.db: self.url}).start()
        self.insert(self.c)
        d.sync()
        self.child = self.spawn(
            [sys.executable, "-c", TEAR, f"{self.db}-shm"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.assertEqual(self.child.stdout.readline().strip(), "ready")
        torn = 0
        for i in range(60 if LONG else 20):
            self.insert(self.c)  # the guard is awake and hot
            if i % 3 == 0:
                d.sync()
            self.ask("note")
            self.insert(self.c)
            torn += int(self.ask("tear"))
            took, error = self.timed(self.next_statement)
            self.assertIsNone(error, f"tear {i}, after {took:.3f} s")
            self.assertLess(took, 1 * SLOW, f"tear {i}")
        self.assertGreater(torn, 5, "nothing was torn")
        self.finish(d)

    def finish(self, d):
        d.sync()
        want = self.checkpointed(self.db)
        self.assert_whole(want)
        out = self.restore(self.url, self.tmp / "o.db")
        self.assert_same(out, want)
        n = connect(out)
        self.assertEqual(n.execute("SELECT count(*) FROM t").fetchone()[0],
                         self.acked)
        n.close()
        self.assertEqual(d.stop(), 0)
        self.child.stdin.close()
        self.child.stdout.close()
        self.c.close()


if __name__ == "__main__":
    main()
