#!/usr/bin/env python3
"""One process of readers for test_long.py: it asks until its stdin ends, and
prints what it saw as JSON. argv: kind, and for each thread a URI.

Reasons: an error counts as one with a reason when SQLite's log got a line of
the extension in the same thread before it. The log is set through the C
library before the first connection is made."""
import ctypes
import ctypes.util
import json
import os
import random
import resource
import sqlite3
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import load  # noqa: E402

SQLITE_CONFIG_LOG = 16
said = threading.local()


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)
def on_log(_, code, text):
    if text.startswith(b"litestream: "):
        said.text = text.decode(errors="replace")


def set_log():
    lib = ctypes.CDLL(ctypes.util.find_library("sqlite3"))
    lib.sqlite3_shutdown()
    lib.sqlite3_config(SQLITE_CONFIG_LOG, on_log, None)
    lib.sqlite3_initialize()


class Reader:
    def __init__(self, uri, seed):
        self.uri, self.r = uri, random.Random(seed)
        self.asked = self.right = 0
        self.wrong, self.errors, self.silent = [], {}, []
        self.reasons = []
        self.seen = []  # (time, newest row) of each transaction
        self.slowest = 0.0
        self.done = False

    def run(self, ask, stop):
        c = None
        while not stop.is_set():
            said.text, began = "", time.monotonic()
            try:
                if c is None:
                    c = sqlite3.connect(self.uri, uri=True,
                                        isolation_level=None)
                self.asked += 1
                wrong = ask(self, c)
                if wrong:
                    self.wrong.append(wrong)
                    break
                self.right += 1
            except sqlite3.Error as e:
                name = getattr(e, "sqlite_errorname", str(e))
                name = "_".join(name.split("_")[:2])
                self.errors[name] = self.errors.get(name, 0) + 1
                if name != "SQLITE_BUSY" and len(self.reasons) < 3:
                    self.reasons.append(
                        f"{time.monotonic() - began:.1f} s: {said.text}")
                if not said.text and name != "SQLITE_BUSY":
                    self.silent.append(f"{name}: {e}")
                if c is not None and c.in_transaction:
                    c.execute("ROLLBACK")
            except Exception as e:  # must reach the test
                self.wrong.append(repr(e))
                break
            self.slowest = max(self.slowest, time.monotonic() - began)
            if self.r.random() < 0.003 and c is not None:
                c.close()  # another open, now and then
                c = None
        if c is not None:
            c.close()
        self.done = True


def ask_churn(x, c):
    c.execute("BEGIN")
    at = time.monotonic()
    a, b, again = [c.execute(
        f"SELECT sum(v), max(id), count(*), sum(length(p)) FROM {t}"
    ).fetchone() for t in ("a", "b", "a")]
    check = c.execute("PRAGMA integrity_check").fetchall() \
        if x.r.random() < 0.01 else [("ok",)]
    c.execute("COMMIT")
    if a != b or a != again or check != [("ok",)]:
        return [a, b, again, check]
    if x.seen and a[1] < x.seen[-1][1]:
        return ["backwards", x.seen[-1], a]
    x.seen.append((at, a[1]))
    time.sleep(x.r.random() * 0.05)  # a reader has other things to do
    return None


def ask_faults(x, c):
    """Row i of each state has v == f(i, w), w the same in all rows asked."""
    c.execute("BEGIN")
    ids = [x.r.randrange(3000) for _ in range(6)]
    rows = [c.execute("SELECT id, w, length(p), p FROM t WHERE id=?",
                      (i,)).fetchone() for i in ids]
    c.execute("COMMIT")
    for i, row in zip(ids, rows):
        if row is None or row[0] != i or row[2] != 700 or \
                row[3] != bytes([(i * 7 + row[1]) % 251]) * 700 or \
                row[1] != rows[0][1]:
            return [i, repr(row)[:80], rows[0][1]]
    return None


def count(path):
    return len(os.listdir(path))


def main():
    kind, uris = sys.argv[1], sys.argv[2:]
    set_log()
    load()
    # Once open and closed: what stays is there for every later one.
    sqlite3.connect(uris[0], uri=True).close()
    before = count("/proc/self/task"), count("/proc/self/fd")
    stop = threading.Event()
    xs = [Reader(u, i) for i, u in enumerate(uris)]
    ts = [threading.Thread(target=x.run, daemon=True,
                           args=(globals()["ask_" + kind], stop)) for x in xs]
    [t.start() for t in ts]
    print("started", flush=True)
    sys.stdin.read()
    stop.set()
    [t.join(150) for t in ts]
    # A joined thread of Python may still be on its way out.
    end = time.monotonic() + 10
    while count("/proc/self/task") > before[0] and time.monotonic() < end:
        time.sleep(0.01)
    print(json.dumps({
        "hung": sum(not x.done for x in xs),
        "left": [count("/proc/self/task") - before[0],
                 count("/proc/self/fd") - before[1]],
        "rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "asked": sum(x.asked for x in xs),
        "right": sum(x.right for x in xs),
        "wrong": [w for x in xs for w in x.wrong],
        "silent": [s for x in xs for s in x.silent][:5],
        "reasons": [s for x in xs for s in x.reasons],
        "errors": [x.errors for x in xs],
        "slowest": max(x.slowest for x in xs),
        "seen": [x.seen for x in xs]}))
    sys.stdout.flush()
    os._exit(0)  # hung threads are counted, not waited for


if __name__ == "__main__":
    main()
