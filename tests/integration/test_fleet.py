#!/usr/bin/env python3
"""Many databases in one daemon: folders whose databases come and go, reload of
the configuration, more databases than descriptors, a store that is a black
hole beside others that are well."""
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import ltx  # noqa: E402
from faultproxy import FaultProxy, Rule  # noqa: E402
from harness import (LONG, SLOW, WRAP, Case, Daemon,  # noqa: E402
                     clean_env, connect, main, wait_until)


class Fleet(Case):
    def database(self, path, rows=1):
        """A database that no application has open."""
        path.parent.mkdir(parents=True, exist_ok=True)
        c = connect(path)
        c.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, b)")
        self.insert(c, rows)
        c.close()
        return path

    @staticmethod
    def insert(c, n=1):
        for _ in range(n):
            c.execute("INSERT INTO t(b) VALUES(randomblob(300))")

    def fleet(self, entries, top=None, **kw):
        """A daemon of a configuration whose `dbs` is given whole."""
        d = Daemon(self, {}, top=top, **kw)
        self.entries(d, entries)
        return d

    @staticmethod
    def entries(d, entries, **top):
        doc = json.loads(d.config.read_text())
        doc.update(top)
        doc["dbs"] = entries
        d.config.write_text(json.dumps(doc))

    def tree(self, **more):
        (self.tmp / "d").mkdir(exist_ok=True)
        return {"dir": str(self.tmp / "d"), "pattern": "*.db",
                "replica": {"url": f"file://{self.tmp}/r"}, **more}

    @staticmethod
    def listed(d):
        rows = json.loads(d.call("GET", "/list")[1])["databases"]
        return {r["path"]: r for r in rows}

    def stored(self, rel):
        return ltx.list_dir(self.tmp / "r" / rel)

    @staticmethod
    def remove(folder):
        """As rm -rf; the daemon may be writing its state below it."""
        def gone():
            shutil.rmtree(folder, ignore_errors=True)
            return not folder.exists()
        wait_until(gone, 20, f"end of {folder}")

    def assert_replica(self, path, url=None):
        rel = path.relative_to(self.tmp / "d") if not url else None
        want = self.checkpointed(path)
        out = self.tmp / "restored.db"
        out.unlink(missing_ok=True)
        self.restore(url or f"file://{self.tmp}/r/{rel}", out)
        self.assert_same(out, want, str(path))


class Trees(Fleet):
    def test_members_are_found(self):
        """By pattern, recursively, and nothing that is no database; each below
        the replica's path, as upstream has it."""
        d = self.tmp / "d"
        self.database(d / "a.db")
        self.database(d / "x" / "y" / "b.db")
        self.database(d / "other.sqlite")
        (d / "no.db").write_text("text")
        (d / "empty.db").touch()
        for recursive, want in ((False, {"a.db"}),
                                (True, {"a.db", "x/y/b.db"})):
            got = self.fleet([self.tree(recursive=recursive)]).start()
            self.assertEqual({str(Path(p).relative_to(d))
                              for p in self.listed(got)}, want)
            for rel in want:
                got.sync(d / rel)
                self.assert_replica(d / rel)
            self.assertEqual(got.stop(), 0)
        out = self.run_cli("databases", "-config", got.config).stdout
        self.assertIn("x/y/b.db", out)
        self.assertNotIn("no.db", out)
        self.run_cli("restore", "-config", got.config, "-o",
                     self.tmp / "byname.db", d / "x" / "y" / "b.db")

    def test_none_found_is_an_error(self):
        d = self.fleet([self.tree()])
        d.start(ready=False)
        self.assertEqual(d.proc.wait(20), 1)
        self.assertIn("no SQLite databases found in directory", d.text())

    def test_shared_places_are_refused(self):
        """The second database of one replica path is not begun."""
        for side in "pq":
            self.database(self.tmp / "d" / side / "a.db")
        entry = {"pattern": "*.db",
                 "replica": {"url": f"file://{self.tmp}/r"}}
        d = self.fleet([{**entry, "dir": str(self.tmp / "d" / s)}
                        for s in "pq"]).start(ready=False)
        self.assertEqual(d.proc.wait(20), 1)
        self.assertIn("replica collision", d.text())

    def test_come_and_go(self):
        """Created, copied in, made in a new folder, renamed with its folder,
        removed: each is seen, and what is gone is not listed."""
        root = self.tmp / "d"
        root.mkdir()
        d = self.fleet([self.tree(watch=True, recursive=True)]).start()
        self.assertEqual(self.listed(d), {})

        def there(*want):
            want = {str(root / w) for w in want}
            wait_until(lambda: set(self.listed(d)) == want, 20,
                       f"list of {sorted(want)}")
            for w in want:
                wait_until(lambda: self.stored(Path(w).relative_to(root)),
                           20, f"replica of {w}")
        c = connect(root / "a.db")
        c.execute("CREATE TABLE t(b)")
        there("a.db")
        self.database(self.tmp / "copy.db")
        shutil.copy(self.tmp / "copy.db", root / "b.db")
        there("a.db", "b.db")
        os.rename(self.tmp / "copy.db", root / "c.db")
        (root / "x").mkdir()
        self.database(root / "x" / "y" / "e.db")
        there("a.db", "b.db", "c.db", "x/y/e.db")
        os.rename(root / "x", root / "z")
        there("a.db", "b.db", "c.db", "z/y/e.db")
        self.database(root / "z" / "y" / "e.db", 3)
        d.sync(root / "z" / "y" / "e.db")
        self.assert_replica(root / "z" / "y" / "e.db")
        self.remove(root / "z")
        (root / "b.db").unlink()
        there("a.db", "c.db")
        c.close()
        self.remove(root)
        there()
        root.mkdir()
        self.database(root / "again.db")
        there("again.db")
        self.assertEqual(d.stop(), 0)

    def test_churn(self):
        """Databases in folders of their own, created, renamed, deleted and made
        again while others are written: in the end each is stored as it is."""
        root, rng = self.tmp / "d", random.Random(6)
        root.mkdir()
        d = self.fleet([self.tree(watch=True, recursive=True)], top={
            "park-after": "500ms", "logging": {"level": "info"}}).start()
        busy = [connect(self.database(root / f"busy{i}" / "app.db"))
                for i in range(8)]
        alive, n = [], 0
        for turn in range(1500 if LONG else 300):
            for c in busy:
                self.insert(c)
            what = rng.random()
            if len(alive) < 20 or what < 0.5:
                n += 1
                alive.append(root / f"t{n}")
                self.database(alive[-1] / "app.db", rng.randint(1, 5))
            elif what < 0.65:
                i = rng.randrange(len(alive))
                n += 1
                os.rename(alive[i], root / f"t{n}")
                alive[i] = root / f"t{n}"
            elif what < 0.8:
                self.remove(alive.pop(rng.randrange(len(alive))))
            elif what < 0.9:
                again = rng.choice(alive)
                self.remove(again)
                self.database(again / "app.db")
            else:
                self.database(rng.choice(alive) / "app.db", 2)
        for c in busy:
            c.close()
        want = {str(a / "app.db") for a in alive} | {
            str(root / f"busy{i}" / "app.db") for i in range(8)}
        wait_until(lambda: set(self.listed(d)) == want, 30, "all of them")
        for path in want:
            d.sync(path)
        for path in rng.sample(sorted(want), 25) + [
                str(root / "busy0" / "app.db")]:
            self.assert_replica(Path(path))
        self.assertEqual(d.stop(), 0)

    def test_new_ones_are_stored_soon(self):
        """200 databases in a watched tree, of which 120 are created, renamed with
        their folder, or removed and made again while 40 are written: each is
        stored within two seconds, by the times of its files (a busy machine
        may be late for one in ten), and none is lost."""
        root, rng = self.tmp / "d", random.Random(7)
        paths = [self.database(root / f"t{i}" / "app.db") for i in range(160)]
        d = self.fleet([self.tree(watch=True, recursive=True)], top={
            "logging": {"level": "info"}}).start()
        for p in paths:
            d.sync(p)
        busy = [connect(p) for p in paths[:40]]
        alive, since = paths[40:], {}

        def commit(path):
            """Its only commit from here on: when, and when it had ended."""
            began = time.time()
            self.database(path, 0)
            c = connect(path)
            self.insert(c)
            since[path] = (began, time.time())
            c.close()
        for i in range(120):
            for c in rng.sample(busy, 10):
                self.insert(c)
            new = root / f"n{i}" / "app.db"
            if i % 3 == 1:
                old = alive.pop(rng.randrange(len(alive)))
                since.pop(old, None)
                os.rename(old.parent, new.parent)
            elif i % 3 == 2:
                new = rng.choice(alive)
                self.remove(new.parent)
                since.pop(new, None)
            commit(new)
            if new not in alive:
                alive.append(new)
        for c in busy:
            c.close()
        self.assertEqual(len(alive), 160)

        def lag(path):
            began, ended = since[path]
            level0 = self.tmp / "r" / path.relative_to(root) / "ltx" / "0"
            times = [f.stat().st_mtime for f in level0.glob("*.ltx")]
            return min((t - ended for t in times if t >= began), default=None)
        wait_until(lambda: all(lag(p) is not None for p in since), 30,
                   "every one of them")
        lags = sorted(lag(p) for p in since)
        print(f"stored after {lags[len(lags) // 2]:.2f} s, "
              f"all after {lags[-1]:.2f} s", file=sys.stderr)
        self.assertLess(lags[len(lags) * 9 // 10], 2 * SLOW)
        self.assertLess(lags[-1], 10 * SLOW)
        want = {str(p) for p in alive + paths[:40]}
        wait_until(lambda: set(self.listed(d)) == want, 30, "all 200")
        for path in want:
            d.sync(path)
        for path in rng.sample(sorted(want), 20):
            self.assert_replica(Path(path))
        self.assertEqual(d.stop(), 0)


class Reload(Fleet):
    def entry(self, name, **more):
        return {"path": str(self.database(self.tmp / "d" / name)),
                "replica": {"url": f"file://{self.tmp}/r/{name}", **more}}

    def reload(self, d, want):
        mark = len(d.text())
        d.proc.send_signal(signal.SIGHUP)
        return d.wait_log(want, 20, mark)

    def test_reload(self):
        """Added, removed, changed; what is the same does not notice; what was
        registered stays."""
        d = self.fleet([self.entry("same.db"), self.entry("gone.db"),
                        self.entry("changed.db")]).start()
        root = self.tmp / "d"
        extra = self.database(root / "extra.db")
        self.assertEqual(d.call("POST", "/register", {
            "path": str(extra),
            "replica_url": f"file://{self.tmp}/r/extra.db"})[0], 200)
        for name in ("same", "gone", "changed", "extra"):
            d.sync(root / f"{name}.db")
        apps = {n: connect(root / f"{n}.db") for n in ("same", "gone")}
        for c in apps.values():
            self.insert(c)
        self.entries(d, [self.entry("same.db"), self.entry("new.db"),
                         self.entry("changed.db", **{"sync-interval": "2s"})])
        mark = len(d.text())
        self.reload(d, "configuration reloaded.* added=1 removed=1 changed=1 "
                    "kept=1")
        want = {str(root / f"{n}.db") for n in
                ("same", "new", "changed", "extra")}
        wait_until(lambda: set(self.listed(d)) == want, 20, "new list")
        for path in want:
            d.sync(path)
            self.assert_replica(Path(path))
        self.assert_replica(root / "gone.db")  # its last commit too
        text = d.text()[mark:]
        self.assertNotIn('msg="database opened" system=store db=same.db', text)
        wait_until(lambda: 'msg="database opened" system=store db=changed.db'
                   in d.text()[mark:], 20, "changed database")
        for c in apps.values():
            c.close()
        self.assertEqual(d.stop(), 0)

    def test_invalid_file_changes_nothing(self):
        d = self.fleet([self.entry("a.db")]).start()
        d.sync(self.tmp / "d" / "a.db")
        good = d.config.read_text()
        for bad in ("dbs: [", "dbs:\n- path: /x\n  replicaa: {}\n"):
            d.config.write_text(bad)
            self.reload(d, rf'level=ERROR msg="configuration not reloaded, '
                        rf'nothing changed" error="{d.config}:\d')
            self.assertEqual(list(self.listed(d)),
                             [str(self.tmp / "d" / "a.db")])
        d.config.write_text(good)
        self.reload(d, "configuration reloaded.* kept=1")
        self.entries(d, [self.entry("a.db")], **{"park-after": "7s"})
        self.reload(d, "take effect at a restart.*keys=park-after")
        self.assertEqual(d.stop(), 0)

    def test_trees_and_paths_change_places(self):
        """A dir entry takes over databases that were named, and gives them
        back; each goes on at its replica."""
        root = self.tmp / "d"
        entries = [self.entry("a.db"), self.entry("b.db")]
        d = self.fleet(entries).start()
        for turn in range(4):
            self.entries(d, [self.tree(watch=True)] if turn % 2 == 0
                         else entries)
            self.reload(d, "configuration reloaded")
            for name in ("a.db", "b.db"):
                self.database(root / name)
                d.sync(root / name)
                self.assert_replica(root / name)
            self.assertEqual(set(self.listed(d)),
                             {str(root / "a.db"), str(root / "b.db")})
        self.assertEqual(d.stop(), 0)

    def test_hangup_without_a_file_stops(self):
        db = self.database(self.tmp / "d" / "a.db")
        d = self.fleet([])
        d.proc = self.spawn([*WRAP, d.binary, "replicate", db,
                             f"file://{self.tmp}/r/a.db"],
                            stdout=open(d.log, "wb"), env=clean_env())
        wait_until(lambda: self.stored("a.db"), 20, "replica")
        self.assertEqual(d.stop(signal.SIGHUP), 0)


class Limits(Fleet):
    def test_more_than_descriptors(self):
        """Far more databases than there may be descriptors: all are stored, at
        the start and when all are written at once."""
        paths = [self.database(self.tmp / "d" / f"{i}.db") for i in range(80)]
        d = self.fleet([self.tree()], top={"park-after": "1h"})
        script = 'ulimit -n 128 && exec "$@"'
        d.proc = self.spawn([*WRAP, "sh", "-c", script, "sh", self.bin,
                             "replicate", "-config", d.config],
                            stdout=open(d.log, "wb"), stderr=2,
                            env=clean_env())
        d.ready()
        apps = [connect(p) for p in paths]
        for c in apps:
            self.insert(c)
        for p in paths:
            d.sync(p)
        for c in apps:
            c.close()
        for p in paths[::50]:
            self.assert_replica(p)
        self.assertEqual(d.stop(), 0)

    def test_watches_are_used_up(self):
        """Without inotify watches to be had the log says so, and databases are
        seen all the same: parked ones that are written, and new ones."""
        own = subprocess.run(
            ["unshare", "-Ur", "sh", "-c",
             "echo 9 > /proc/sys/user/max_inotify_watches"],
            capture_output=True, text=True)
        if own.returncode:  # in a chroot, or forbidden here
            self.skipTest(f"no user namespace: {own.stderr.strip()}")
        root = self.tmp / "d"
        paths = [self.database(root / f"{i}" / "a.db") for i in range(12)]
        for most in (1, 8, 20):  # none, some folders, folders and some files
            shutil.rmtree(self.tmp / "r", ignore_errors=True)
            d = self.fleet([self.tree(watch=True, recursive=True)],
                           top={"park-after": "300ms"})
            d.proc = self.spawn(
                ["unshare", "-Ur", *WRAP, "sh", "-c",
                 f"echo {most} > /proc/sys/user/max_inotify_watches && "
                 'exec "$@"', "sh", self.bin, "replicate", "-config",
                 d.config], stdout=open(d.log, "wb"), stderr=2,
                env=clean_env())
            d.ready()
            d.wait_log("fs.inotify.max_user_watches is used up")
            wait_until(lambda: sum(bool(r.get("parked")) for r in
                                   self.listed(d).values()) >= 12, 20,
                       "parked")
            newest = {p: self.stored(p.relative_to(root))[-1][1]
                      for p in paths}
            for p in paths:
                c = connect(p)
                self.insert(c)
                c.close()
            for p in paths:
                wait_until(lambda: self.stored(p.relative_to(root))[-1][1] >
                           newest[p], 20, f"{p} with {most} watches")
            paths.append(self.database(root / f"new{most}" / "a.db"))
            wait_until(lambda: str(paths[-1]) in self.listed(d), 20,
                       "new database")
            d.sync(paths[-1])
            self.assertEqual(d.stop(), 0)


class Chaos(Fleet):
    SECONDS = float(os.environ.get("LS_SECONDS", 600 if LONG else 10))

    def test_requests_and_reloads_at_random(self):
        """64 databases are written while they are stopped, started, synced,
        registered, unregistered and configured otherwise: for a sanitizer to
        watch; in the end everything that is named is stored as it is."""
        root, stop = self.tmp / "d", threading.Event()
        paths = [self.database(root / f"{i}.db") for i in range(64)]
        url = f"file://{self.tmp}/r/"

        def entries(rng):
            return [{"path": str(p), "replica": {"url": url + p.name, **(
                {"sync-interval": "2s"} if rng.random() < 0.1 else {})}}
                for p in paths[:48] if rng.random() < 0.9]
        d = self.fleet(entries(random.Random(1)), top={
            "park-after": "200ms", "logging": {"level": "info"}}).start()
        strange = []

        def write(seed):
            rng = random.Random(seed)
            while not stop.is_set():
                c = connect(rng.choice(paths))
                self.insert(c, rng.randint(1, 3))
                c.close()

        def ask(seed):
            rng = random.Random(seed)
            while not stop.is_set():
                p = rng.choice(paths)
                what, body = rng.choice((
                    ("/sync", {"wait": rng.random() < 0.5}), ("/stop", {}),
                    ("/start", {}), ("/unregister", {}),
                    ("/register", {"replica_url": url + p.name}),
                    ("/list", None)))
                if body is None:
                    code = d.call("GET", what)[0]
                else:
                    code = d.call("POST", what, {
                        "path": str(p), "timeout": 5, **body})[0]
                if code not in (200, 400, 404, 409, 500):
                    strange.append((what, code))
        threads = [threading.Thread(target=f, args=(i,)) for i, f in
                   enumerate([write] * 2 + [ask] * 4)]
        for t in threads:
            t.start()
        rng, end = random.Random(2), time.monotonic() + self.SECONDS
        while time.monotonic() < end:
            self.entries(d, entries(rng))
            mark = len(d.text())
            d.proc.send_signal(signal.SIGHUP)
            d.wait_log("configuration (not )?reloaded", 30, mark)
        stop.set()
        for t in threads:
            t.join()
        self.assertEqual(strange, [])
        last = [{"path": str(p), "replica": {"url": url + p.name}}
                for p in paths]
        self.entries(d, last)
        for p in paths:  # registered ones stay; stopped ones are begun
            d.call("POST", "/unregister", {"path": str(p)})
        d.proc.send_signal(signal.SIGHUP)
        wait_until(lambda: len(self.listed(d)) == 64, 30, "all")
        for p in paths:
            d.sync(p)
        for p in paths[::16]:
            self.assert_replica(p)
        self.assertEqual(d.stop(), 0)


class Rest(Fleet):
    def test_a_rest_is_no_restart(self):
        """What the daemon holds of the replicas of parked databases is freed by
        the sweep of a minute. A commit afterwards costs no listing before or
        after its PUT, and upkeep looks at level 9 anew."""
        s3, bucket = self.need_s3()
        proxy = FaultProxy(s3.port).start()
        self.addCleanup(proxy.stop)
        paths = [self.database(self.tmp / "d" / f"{i}.db") for i in range(8)]
        d = self.fleet([{"path": str(p), "replica": {
            "url": s3.url(bucket, p.stem, proxy.port)}} for p in paths],
            top={"park-after": "300ms", "levels": []}, env=s3.env()).start()
        for _ in range(2):  # the first PUT of a life is listed after
            for p in paths:
                self.database(p)
                d.sync(p)
        wait_until(lambda: all(r.get("parked") for r in
                               self.listed(d).values()), 20, "parked")
        time.sleep(62)  # nothing tells of it
        asked = len(proxy.log)
        for p in paths:
            self.database(p)
        wait_until(lambda: len([r for r in proxy.log[asked:]
                                if "0009" in r.path]) >= 8, 20, "upkeep")
        for p in paths:
            mine = [r for r in proxy.log[asked:]
                    if re.search(rf"(/|prefix=){p.stem}(/|%2F)", r.path)]
            self.assertRegex(mine[0].path, "/0000/")
            self.assertEqual(mine[0].method, "PUT")
            self.assertFalse([r for r in mine if "list-type" in r.path and
                              "0000" in r.path])
            want = self.checkpointed(p)
            self.assert_same(self.restore(
                s3.url(bucket, p.stem), self.tmp / f"o{p.stem}",
                env=s3.env()), want, str(p))
        self.assertEqual(d.stop(), 0)


class BlackHole(Fleet):
    def test_black_hole(self):
        """One server of three swallows every request: databases of the other
        two are stored as ever, its own are captured locally, and all catch up
        when it is back."""
        s3, bucket = self.need_s3()
        proxies = [FaultProxy(s3.port).start() for _ in range(3)]
        for p in proxies:
            self.addCleanup(p.stop)
        entries, apps = [], {}
        for i in range(24):
            path = self.database(self.tmp / "d" / f"{i}.db")
            entries.append({"path": str(path), "replica": {
                "url": s3.url(bucket, f"p{i}", proxies[i % 3].port)}})
            apps[i] = connect(path)
        d = self.fleet(entries, env=s3.env()).start()
        for i, c in apps.items():
            d.sync(self.tmp / "d" / f"{i}.db")
        proxies[0].rules.append(Rule(hang=True))
        first, rest = ([i for i in apps if (i % 3 == 0) == dead]
                       for dead in (True, False))

        def local(i):
            return ltx.list_dir(self.tmp / "d" / f".{i}.db-litestream")[-1][1]
        for turn in range(3):
            before = {i: local(i) for i in first}
            for c in apps.values():
                self.insert(c)
            for i in rest:
                d.sync(self.tmp / "d" / f"{i}.db", timeout=10)
            wait_until(lambda: all(local(i) > before[i] for i in first), 20,
                       "local capture")
        self.assertTrue(all(ltx.list_s3(s3, bucket, f"p{i}")[-1][1] < local(i)
                            for i in first))
        proxies[0].rules.clear()
        for i, c in apps.items():
            d.sync(self.tmp / "d" / f"{i}.db", timeout=90)
            c.close()
        for i in (0, 1, 3):
            path = self.tmp / "d" / f"{i}.db"
            want = self.checkpointed(path)
            self.assert_same(self.restore(
                s3.url(bucket, f"p{i}"), self.tmp / f"o{i}", env=s3.env()),
                want, str(path))
        self.assertEqual(d.stop(), 0)

    def test_refused_server_is_asked_by_one(self):
        """A server that refuses connections is asked by one step at a time,
        and status says error while it is away."""
        s3, bucket = self.need_s3()
        proxy = FaultProxy(s3.port).start()
        self.addCleanup(proxy.stop)
        entries = [{"path": str(self.database(self.tmp / "d" / f"{i}.db")),
                    "replica": {"url": s3.url(bucket, f"p{i}", proxy.port)}}
                   for i in range(12)]
        d = self.fleet(entries, env=s3.env()).start()
        for e in entries:
            d.sync(e["path"])
        proxy.rules.append(Rule(fail=503))
        for e in entries:
            c = connect(e["path"])
            self.insert(c)
            c.close()
        d.wait_log("store does not answer, its databases wait", 60)
        wait_until(lambda: all(r["status"] == "error"
                               for r in self.listed(d).values()), 20,
                   "error of all")
        proxy.rules.clear()
        d.wait_log("store answers again", 60)
        for e in entries:
            d.sync(e["path"])
        self.assertEqual(d.stop(), 0)


if __name__ == "__main__":
    main()
