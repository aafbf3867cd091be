"""What tests/demo shows, once litestreamd is built: demo.py PROGRAM file|s3.

Four actors: an application that inserts rows all the time, the daemon, a
barrier (`sync -wait`), and a restore after kill -9. Every row that was
acknowledged to the application before the barrier must be in the copy."""
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import servers  # noqa: E402
from proc import clean_env, end, spawn, wait_until  # noqa: E402

SECONDS = 3


class Application(threading.Thread):
    """Commits one row after another; `acked` counts what it was promised."""

    def __init__(self, db):
        super().__init__()
        self.db, self.acked = db, 0
        self.stopping = threading.Event()

    def run(self):
        c = sqlite3.connect(self.db, isolation_level=None, timeout=10)
        c.execute("PRAGMA synchronous=NORMAL")
        while not self.stopping.is_set():
            c.execute("INSERT INTO orders(item, note) VALUES(?,"
                      "hex(randomblob(200)))", (f"item {self.acked + 1}",))
            self.acked += 1
            self.stopping.wait(0.002)
        c.close()


def make_database(path):
    c = sqlite3.connect(path)
    c.executescript(
        "PRAGMA journal_mode=WAL;"
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, item TEXT, note TEXT);"
        "CREATE TABLE archive(id INTEGER PRIMARY KEY, doc BLOB);"
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE "
        "x < 4000) INSERT INTO archive(doc) SELECT randomblob(2000) FROM n;")
    c.close()


def rows(path, upto):
    """The content that was promised, by value."""
    c = sqlite3.connect(path)
    try:
        check = c.execute("PRAGMA integrity_check").fetchone()[0]
        return (check, c.execute("SELECT * FROM orders WHERE id <= ? ORDER "
                                 "BY id", (upto,)).fetchall(),
                c.execute("SELECT * FROM archive ORDER BY id").fetchall())
    finally:
        c.close()


def show(program, tmp, url, env):
    db, sock, conf = tmp / "shop.db", tmp / "ctl.sock", tmp / "demo.yml"
    make_database(db)
    conf.write_text(json.dumps({
        "socket": {"enabled": True, "path": str(sock)},
        "dbs": [{"path": str(db), "replica": {"url": url}}]}))
    print(f"  database   {db}, {db.stat().st_size >> 20} MiB, WAL mode")
    print(f"  replica    {url.split('?')[0]}")
    with open(tmp / "log", "wb") as log:
        daemon = spawn([program, "replicate", "-config", conf], env=env,
                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    app = Application(db)
    app.start()
    try:
        wait_until(sock.exists, 20, "control socket")
        time.sleep(SECONDS)  # the application's life, not a wait for anything
        promised = app.acked
        print(f"  writing    {promised} rows committed so far; barrier: "
              "litestreamd sync -wait")
        t = time.monotonic()
        subprocess.run([program, "sync", "-socket", sock, "-wait", db],
                       env=env, check=True, stdout=subprocess.DEVNULL,
                       timeout=60)
        print(f"  barrier    reached after "
              f"{(time.monotonic() - t) * 1000:.0f} ms; kill -9 the daemon, "
              "while the application goes on")
        daemon.kill()
        daemon.wait()
    except BaseException:
        sys.stdout.write((tmp / "log").read_text(errors="replace")[-4000:])
        raise
    finally:
        app.stopping.set()
        app.join()
        end(daemon)
    copy = tmp / "elsewhere" / "shop.db"
    copy.parent.mkdir()
    t = time.monotonic()
    subprocess.run([program, "restore", "-o", copy, url], env=env, check=True,
                   stdout=subprocess.DEVNULL, timeout=60)
    print(f"  restored   {copy} in {(time.monotonic() - t) * 1000:.0f} ms")
    want, got = rows(db, promised), rows(copy, promised)
    print(f"  compared   {len(want[1])} rows of the application and "
          f"{len(want[2])} of the archive; integrity_check: {got[0]}")
    return want == got and len(got[1]) == promised and promised > 0


def main(program, store):
    print(f"litestreamd demo, replica on "
          f"{'Ceph RGW (S3)' if store == 's3' else 'a folder'}")
    server, env = None, clean_env()
    tmp = Path(tempfile.mkdtemp(prefix="ls-demo-"))
    try:
        url = f"file://{tmp}/replica"
        if store == "s3":
            print("  starting   Ceph RGW on loopback (12 to 20 s)")
            server = servers.Ceph().start()
            s3 = server.client()
            s3.make_bucket("demo")
            url, env = s3.url("demo", "shop"), clean_env(**s3.env())
        same = show(os.path.abspath(program), tmp, url, env)
    finally:
        if server:
            server.stop()
        shutil.rmtree(tmp, ignore_errors=True)
    print("OK: the copy holds every row that was promised" if same else
          "FAILED: the copy differs from the source")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
