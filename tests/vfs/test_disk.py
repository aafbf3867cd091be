#!/usr/bin/env python3
"""The disk cache: what one process fetched, the next one need not; processes
that share it, that are killed while they fill it, and a cache that is damaged
or cannot be written."""
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import EXTENSION, stats, uri  # noqa: E402
from test_s3 import S3Case  # noqa: E402
from harness import connect, main, wait_until  # noqa: E402

CHILD = """
import json, sqlite3, sys
m = sqlite3.connect(":memory:")
m.enable_load_extension(True)
m.execute("SELECT load_extension(?, 'sqlite3_litestreamvfs_init')",
          (sys.argv[1],))
c = sqlite3.connect(sys.argv[2], uri=True, isolation_level=None)
print("open", flush=True)
a = c.execute("SELECT count(*), sum(v), sum(length(b)), "
              "group_concat(substr(hex(b), 1, 4), '') FROM t").fetchone()
s = dict(line.split("\\t") for line in
         c.execute("PRAGMA litestream_stats").fetchone()[0].splitlines())
print(json.dumps([a, s]))
"""


class DiskCase(S3Case):
    def setUp(self):
        super().setUp()
        self.far = self.place()
        self.cache = self.tmp / "cache"
        c = self.filled(rows=9000, tail=5)
        self.want = list(c.execute(
            "SELECT count(*), sum(v), sum(length(b)), "
            "group_concat(substr(hex(b), 1, 4), '') FROM t").fetchone())
        c.close()

    def child(self, **params):
        more = {"cache_path": self.cache, "cache_size": "2MB", "poll": "1h",
                **params}
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, EXTENSION, uri(self.far, **more)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def answer(self, p):
        out, err = p.communicate(timeout=120)
        self.assertEqual((p.returncode, err), (0, ""))
        got, stats = json.loads(out.splitlines()[-1])
        self.assertEqual(got, self.want)
        return {k: int(v) for k, v in stats.items() if v.isdigit()}

    def scan(self, **params):
        """Requests for pages, of a whole process that scans."""
        before = len(self.proxy.log)
        s = self.answer(self.child(**params))
        seen = [r for r in self.proxy.log[before:] if "list-type" not in
                r.path]
        return s, len(seen)

    def segments(self):
        return sorted(self.cache.glob("*.seg"))

    def test_a_second_process_scans_without_a_page_request(self):
        # Head and tail of the base, all of each later file: the open alone.
        opening = 2 + 5
        s, n = self.scan()
        self.assertGreater(n, opening + 3)
        self.assertGreater(s["disk_written"], 4 << 20)
        s, n = self.scan()
        self.assertEqual(n, opening)
        self.assertEqual(s["fetch_blocks"], 0)
        self.assertGreater(s["disk_hits"], 0)
        for p in self.segments():
            self.assertEqual(p.stat().st_mode & 0o777, 0o600)

    def test_processes_fill_it_together_and_some_are_killed(self):
        r = random.Random(7)
        for _ in range(4):
            ps = [self.child() for _ in range(4)]
            for p in ps[:2]:
                self.assertEqual(p.stdout.readline(), "open\n")
                at = len(self.proxy.log) + r.randrange(6)
                wait_until(lambda: len(self.proxy.log) >= at or
                           p.poll() is not None, 20, "requests")
                p.kill()
                p.communicate()
            for p in ps[2:]:
                self.answer(p)
            for path in r.sample(self.segments(), 3):
                path.unlink()
        self.answer(self.child())
        s, _ = self.scan()
        self.assertEqual(s["fetch_blocks"], 0)

    def test_damage_is_seen_and_mended(self):
        self.scan()
        r = random.Random(8)
        for path in self.segments()[:3]:
            raw = bytearray(path.read_bytes())
            raw[r.randrange(4096, len(raw))] ^= 4
            path.write_bytes(raw)
        self.segments()[-1].write_bytes(b"")
        s, n = self.scan()
        self.assertGreater(s["fetch_blocks"], 0)
        s, n = self.scan()
        self.assertEqual((s["fetch_blocks"], s["disk_dropped"]), (0, 0))

    def test_small_limit_and_no_folder(self):
        self.scan(cache_disk="3MB")
        used = sum(p.stat().st_blocks * 512 for p in self.segments())
        self.assertLessEqual(used, 3e6 * 33 / 32)
        self.assertGreater(used, 1e6)
        self.cache = self.tmp / "file"
        self.cache.write_text("in the way")
        s, _ = self.scan()
        self.assertGreater(s["disk_failures"], 0)
        self.assertEqual(self.cache.read_text(), "in the way")

    def test_many_threads_of_one_process(self):
        os.environ["LITESTREAM_CACHE_PATH"] = str(self.cache)
        self.addCleanup(os.environ.pop, "LITESTREAM_CACHE_PATH")
        wrong = []

        def work(i):
            v = self.vfs(self.far, cache_size="300KB", poll="1h")
            for k in range(200):
                at = (i * 2711 + k * 37) % 9000
                if v.execute("SELECT length(b) FROM t WHERE id=?",
                             (at,)).fetchone() != (900,):
                    wrong.append(at)
        ts = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        [t.start() for t in ts]
        [t.join() for t in ts]
        self.assertEqual(wrong, [])
        self.assertGreater(len(self.segments()), 3)


class Scratch(S3Case):
    """The temporary file, where no folder was given."""

    def setUp(self):
        super().setUp()
        self.far = self.place()
        self.filled(rows=9000, tail=0).close()
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.tmp],
                              capture_output=True, text=True).stdout.strip()
        if kind in ("tmpfs", "ramfs"):
            self.skipTest(f"{self.tmp} is in memory")
        os.environ["SQLITE_TMPDIR"] = str(self.tmp)
        self.addCleanup(os.environ.pop, "SQLITE_TMPDIR")

    def points(self, n=700, **params):
        """Requests for pages that n reads at random take."""
        v = self.vfs(self.far, cache_size="1MB", poll="1h", **params)
        v.execute("PRAGMA cache_size=-50")
        r, before = random.Random(3), len(self.proxy.log)
        for _ in range(n):
            self.assertEqual(v.execute(
                "SELECT length(b) FROM t WHERE id=?",
                (r.randrange(9000),)).fetchone(), (900,))
        return v, len(self.proxy.log) - before

    def nameless(self, pid="self"):
        """What the process has open in the folder without a name there."""
        fds = Path(f"/proc/{pid}/fd")
        return [fd for fd in fds.iterdir() if fd.is_symlink() and
                str(os.readlink(fd)).startswith(str(self.tmp)) and
                "(deleted)" in str(os.readlink(fd))]

    def test_points_take_few_requests(self):
        names = set(self.tmp.iterdir())
        v, many = self.points(cache_disk=0)
        self.assertEqual(self.nameless(), [])
        v.close()
        v, few = self.points()
        print(f"\n700 points: {many} requests without, {few} with it")
        self.assertGreater(many, 400)
        self.assertLess(few, 100)
        self.assertEqual(len(self.nameless()), 1)
        self.assertEqual(set(self.tmp.iterdir()), names)
        v.close()
        self.assertEqual(self.nameless(), [])

    def test_few_reads_write_nothing(self):
        v, _ = self.points(5)
        self.assertEqual(self.nameless(), [])
        self.assertEqual(stats(v)["disk_written"], "0")

    def test_bounded(self):
        v, _ = self.points(500, cache_disk="3MB")
        self.assertLessEqual(self.nameless()[0].stat().st_size, 3e6)

    def test_folder_where_nothing_can_be_made(self):
        os.environ["SQLITE_TMPDIR"] = "/proc"
        v, _ = self.points(60)
        self.assertEqual(stats(v)["disk_failures"], "1")
        self.assertEqual(stats(v)["disk_written"], "0")

    def test_child_of_a_fork_has_none(self):
        v, _ = self.points()
        self.assertEqual(len(self.nameless()), 1)
        pid = os.fork()
        if pid == 0:
            os._exit(len(self.nameless()))
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        self.assertEqual(v.execute("SELECT count(*) FROM t").fetchone(),
                         (9000,))


if __name__ == "__main__":
    main()
