#!/usr/bin/env python3
"""A writer through the extension, killed at any moment. What was synced is
stored for good; what was committed is in the buffer while its disk survives;
every state that is seen is one that the application was in, whole."""
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from writekit import WriteCase, write_uri  # noqa: E402
from harness import LONG, main  # noqa: E402

ROUNDS = 500 if LONG else 25
MACHINES = 20


class Crash(WriteCase):
    def setUp(self):
        super().setUp()
        self.rand = random.Random(8)
        self.print_seed = f"seed 8, folder {self.tmp}"

    def options(self):
        return {"sync_interval": self.rand.choice(["0", "10ms", "200ms",
                                                   "1h"]),
                "cache_size": self.rand.choice(["1", "10MB"]),
                "hydrate": self.rand.choice([0, 0, 1])}

    def a_life(self, buffer, **params):
        """Run the application and kill it; gives it."""
        app = self.app("run", write_uri(self.url, buffer, **params),
                       sync=self.rand.choice([0, 1, 7, 20]))
        app.wait_lines(self.rand.choice([1, 2, 5, 20, 80]))
        if app.error is None:
            time.sleep(self.rand.random() * 0.01)  # any moment
        app.kill()
        self.assertIsNone(app.error)
        return app

    def check_stored(self, app, least, peer=None):
        n, got = self.stored(peer)
        most = max(app.committed[-1:] + [least]) + 1
        self.assertTrue(least <= n <= most, (least, n, most))
        self.assertEqual(got, self.model(n), f"stored at {n}")
        return n

    def first_life(self):
        app = self.app("run", write_uri(self.url, self.buffer), "5")
        self.assertEqual(app.finish(), 0, app.error)
        self.assertEqual(self.stored(), (5, self.model(5)))

    def test_killed_at_any_moment(self):
        peer = self.need_upstream()
        self.first_life()
        safe = 5  # the newest that must survive
        for i in range(ROUNDS):
            app = self.a_life(self.buffer, **self.options())
            least = max([safe] + app.synced)
            safe = self.check_stored(app, least, peer if i % 5 == 4 else None)
            lost = self.rand.random() < 0.3
            if lost:
                for p in self.buffer.parent.iterdir():
                    p.unlink()
            want = safe if lost else max([safe] + app.committed)
            n, got = self.show(write_uri(self.url, self.buffer))
            self.assertTrue(want <= n <= want + (0 if lost else 1),
                            (i, lost, want, n))
            self.assertEqual(got, self.model(n), (i, lost))
            safe = n  # it was closed in peace: all is stored
            self.assertEqual(self.stored(), (n, got), i)
            self.assertEqual(self.kept_aside(), [])

    def test_another_machine_takes_over(self):
        self.first_life()
        safe = 5
        for i in range(MACHINES):
            disk = self.tmp / f"machine{i}"
            disk.mkdir()
            app = self.a_life(disk / "buffer", **self.options())
            safe = self.check_stored(app, max([safe] + app.synced))
        n, got = self.show(write_uri(self.url, self.tmp / "last"))
        self.assertEqual((n, got), (safe, self.model(safe)))

    def test_a_machine_that_comes_back_is_told(self):
        self.first_life()
        app = self.app("run", write_uri(self.url, self.buffer,
                                        sync_interval="1h"))
        app.wait_lines(20)
        app.kill()
        n, _ = self.stored()
        self.assertLess(n, app.committed[-1])
        other = self.app("run", write_uri(self.url, self.tmp / "other"),
                         str(n + 3))
        self.assertEqual(other.finish(), 0, other.error)
        # Its commits are kept aside; what is shown is the store's history.
        got = self.show(write_uri(self.url, self.buffer))
        self.assertEqual(got, (n + 3, self.model(n + 3)))
        self.assertNotEqual(self.kept_aside(), [])


if __name__ == "__main__":
    main()
