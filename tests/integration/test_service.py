#!/usr/bin/env python3
"""As a service: what systemd is told and when, over a notification socket of
our own; and the control socket's place when a dead link is there."""
import json
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, UnixHTTP, connect, main  # noqa: E402
from proc import SLOW, wait_until  # noqa: E402

INTERVAL = 400_000  # microseconds


class Service(Case):
    def setUp(self):
        super().setUp()
        self.db = self.tmp / "app.db"
        self.c = connect(self.db)
        self.c.execute("CREATE TABLE t(a)")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(self.tmp / "notify"))
        self.sock.settimeout(30 * SLOW)
        self.addCleanup(self.sock.close)
        self.addCleanup(self.c.close)

    def service(self, url=None, top=None, ready=False, **env):
        return self.daemon(
            {self.db: url or f"file://{self.tmp}/r"}, top=top,
            env={"NOTIFY_SOCKET": self.tmp / "notify", **env}).start(ready)

    def read(self):
        return self.sock.recv(1000).decode()

    def rest(self):
        """What came until its end."""
        out = []
        self.sock.setblocking(False)
        try:
            while True:
                out.append(self.read())
        except BlockingIOError:
            return out

    def test_ready_then_watchdog_then_stopping(self):
        d = self.service(WATCHDOG_USEC=INTERVAL)
        while (said := self.read()) != "READY=1":
            self.assertEqual(said, "WATCHDOG=1")  # which systemd ignores yet
        self.assertEqual([self.read() for _ in range(4)], ["WATCHDOG=1"] * 4)
        self.assertEqual(d.stop(), 0)
        self.assertIn("STOPPING=1", self.rest())

    def test_an_idle_daemon_still_says_that_it_lives(self):
        self.c.close()
        d = self.service(top={"park-after": "100ms"}, ready=True,
                         WATCHDOG_USEC=INTERVAL)

        def parked():
            doc = json.loads(d.call("GET", "/list")[1])
            return doc["databases"][0].get("parked")
        wait_until(parked, 20, "parked database")
        self.rest()
        self.sock.settimeout(30 * SLOW)
        self.assertEqual([self.read() for _ in range(3)], ["WATCHDOG=1"] * 3)

    def test_a_dead_store_is_no_dead_daemon(self):
        """Uploads hang; the watchdog must not kill what captures. (Nor does a
        supervisor that reads nothing for a while, as we do here.)"""
        held = socket.socket()
        self.addCleanup(held.close)
        held.bind(("127.0.0.1", 0))
        held.listen(50)  # accepts, and never answers
        d = self.service(
            f"s3://b/x?endpoint=http://127.0.0.1:{held.getsockname()[1]}"
            "&region=r", top={"shutdown-sync-timeout": "0s"},
            WATCHDOG_USEC=INTERVAL, AWS_ACCESS_KEY_ID="an-access-key",
            AWS_SECRET_ACCESS_KEY="a-secret-key")
        d.wait_log("replica (has not answered yet|sync error)", 20)
        self.rest()
        self.sock.settimeout(30 * SLOW)
        self.assertEqual([self.read() for _ in range(3)], ["WATCHDOG=1"] * 3)

    def test_nobody_asked_for_a_watchdog(self):
        for env in ({}, {"WATCHDOG_USEC": INTERVAL, "WATCHDOG_PID": 1}):
            with self.subTest(env):
                self.sock.settimeout(30 * SLOW)
                d = self.service(ready=True, **env)
                self.assertEqual(self.read(), "READY=1")
                d.sync()
                self.assertEqual(d.stop(), 0)
                self.assertEqual(self.rest(), ["STOPPING=1"])

    def test_a_dead_link_gives_way_to_the_control_socket(self):
        """The service's link in /run, when a daemon is run by hand."""
        d = self.daemon({self.db: f"file://{self.tmp}/r"})
        os.symlink(self.tmp / "nowhere", d.sock)
        d.start()
        self.assertFalse(d.sock.is_symlink())

    def test_a_live_link_leads_to_the_control_socket(self):
        """The commands look under the link's name."""
        d = self.daemon({self.db: f"file://{self.tmp}/r"}).start()
        os.symlink(d.sock, self.tmp / "link")
        c = UnixHTTP(self.tmp / "link", 20)
        c.request("GET", "/info")
        self.assertEqual(c.getresponse().status, 200)
        c.close()


if __name__ == "__main__":
    main()
