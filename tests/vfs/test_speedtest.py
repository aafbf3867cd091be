#!/usr/bin/env python3
"""SQLite's own speedtest1 through the extension's write mode: it completes,
its queries answer as on a plain file, and what is stored in the end has the
same content. How long it takes is for tests/bench/speedtest.py."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from writekit import APP, WriteCase  # noqa: E402
from vfskit import EXTENSION  # noqa: E402
import speedkit  # noqa: E402
from harness import CI, LONG, main  # noqa: E402


class Speedtest(WriteCase):
    def setUp(self):
        super().setUp()
        source = speedkit.source()
        if not source:
            if CI:
                self.fail("SQLite's speedtest1 is not installed")
            self.skipTest("SQLite's speedtest1 is not installed")
        self.program = speedkit.build(source, self.tmp)
        self.size = 100 if LONG else 5

    def hash(self, path):
        r = self.run_cli("hash", f"file:{path}", binary=APP)
        return r.stdout.split()[1]

    def same(self, testset, **env):
        plain = self.tmp / "plain.db"
        plain.unlink(missing_ok=True)
        want, _ = speedkit.run(self.program, None, plain, testset, self.size)
        self.url = f"file://{self.tmp}/{testset}"
        got, _ = speedkit.run(
            self.program, EXTENSION, "app.db", testset, self.size,
            LITESTREAM_REPLICA_URL=self.url, LITESTREAM_WRITE_ENABLED="true",
            LITESTREAM_BUFFER_PATH=self.tmp / f"buffer-{testset}",
            **env)
        self.assertEqual(got, want, "its own verification of all results")
        for binary in (None, self.need_upstream()):
            out = self.tmp / "out.db"
            out.unlink(missing_ok=True)
            self.restore(self.url, out, binary=binary)
            self.assert_whole(out)
            self.assertEqual(self.hash(out), self.hash(plain), binary)

    def test_main(self):
        self.same("main")

    def test_main_with_a_tiny_cache(self):
        self.size = min(self.size, 5)
        self.same("main", LITESTREAM_CACHE_SIZE="1",
                  LITESTREAM_SYNC_INTERVAL="20ms")

    def test_orm_hydrated(self):
        self.same("orm", LITESTREAM_HYDRATION_ENABLED="true")


if __name__ == "__main__":
    main()
