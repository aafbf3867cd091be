"""What the tests of the extension share: loading it, opening replicas by URI,
reading whole databases through SQLite."""
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, our_binary, wait_until  # noqa: E402

EXTENSION = os.environ.get("LITESTREAM_VFS") or str(
    Path(our_binary()).parent / "litestream-vfs.so")
_loader = None


def _preload():
    """An extension built with a sanitizer needs its runtime first in the
    program that loads it: begin anew with it. Leaks of the interpreter are
    not ours (the unit tests look for ours)."""
    out = subprocess.run(["readelf", "-d", EXTENSION], capture_output=True,
                         text=True).stdout
    lib = re.search(r"\[(lib([at])san\.so\.\d+)\]", out)
    if not lib or lib[1] in os.environ.get("LD_PRELOAD", ""):
        return bool(lib)
    path = subprocess.run(["gcc", f"-print-file-name={lib[1]}"], check=True,
                          capture_output=True, text=True).stdout.strip()
    env = {**os.environ, "LD_PRELOAD": path}
    more = {"ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1",
            "TSAN_OPTIONS": "die_after_fork=0"}
    for k, v in more.items():
        env[k] = ":".join(filter(None, (env.get(k), v)))
    cmd = [sys.executable, *sys.orig_argv[1:]]
    if lib[2] == "t":
        cmd = ["setarch", "-R", *cmd]
    os.execvpe(cmd[0], cmd, env)


SANITIZED = _preload()


def load():
    """Once a process: the extension stays."""
    global _loader
    if _loader is None:
        _loader = sqlite3.connect(":memory:")
        _loader.enable_load_extension(True)
        _loader.execute("SELECT load_extension(?, "
                        "'sqlite3_litestreamvfs_init')", (EXTENSION,))


def uri(url, **params):
    text = f"file:app.db?vfs=litestream&replica={quote(str(url), safe='')}"
    return text + "".join(f"&{k}={quote(str(v), safe='')}"
                          for k, v in params.items())


def open_vfs(url, **params):
    load()
    return sqlite3.connect(uri(url, **params), uri=True, isolation_level=None,
                           check_same_thread=False)


def pragma(c, name, value=None):
    set_to = "" if value is None else f"='{value}'"
    return c.execute(f"PRAGMA litestream_{name}{set_to}").fetchone()[0]


def stats(c):
    return dict(line.split("\t") for line in
                pragma(c, "stats").splitlines())


def txid(c):
    return int(pragma(c, "txid"), 16)


def follow(c, at, timeout=20):
    """Wait until c shows TXID `at` (an integer) or a later one."""
    return wait_until(lambda: txid(c) >= at, timeout, f"TXID {at:x}")


def dump(c):
    return list(c.iterdump())


class VfsCase(Case):
    def setUp(self):
        super().setUp()
        self.db = self.tmp / "app.db"
        self.url = f"file://{self.tmp}/r"
        self.open = []
        self.addCleanup(lambda: [c.close() for c in self.open])

    def vfs(self, url=None, **params):
        self.open.append(open_vfs(url or self.url, **params))
        return self.open[-1]

    def assert_shows(self, c, path, what=""):
        """c shows the very database of the file at path."""
        other = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            for p in ("page_size", "page_count", "schema_version",
                      "freelist_count", "user_version"):
                self.assertEqual(
                    c.execute(f"PRAGMA {p}").fetchone(),
                    other.execute(f"PRAGMA {p}").fetchone(), (what, p))
            self.assertEqual(dump(c), dump(other), what)
        finally:
            other.close()
        self.assertEqual(c.execute("PRAGMA integrity_check").fetchall(),
                         [("ok",)], what)
