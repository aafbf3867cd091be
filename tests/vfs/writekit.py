"""What the tests of the writable extension share: the application of app.c in
a process of its own, and the model of its states."""
import os
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from harness import Case, our_binary, wait_until  # noqa: E402
from proc import SLOW, clean_env, end, spawn  # noqa: E402
from harness import WRAP  # noqa: E402

APP = str(Path(our_binary()).parent / "tests/vfs_app")
HEX = re.compile(r"\b[0-9a-f]{16}\b")


def write_uri(url, buffer, **params):
    params = {"write": 1, "buffer": buffer, **params}
    text = f"file:app.db?vfs=litestream&replica={quote(str(url), safe='')}"
    return text + "".join(f"&{k}={quote(str(v), safe='')}"
                          for k, v in params.items())


class App:
    """app.c running; its lines are read as they come."""

    def __init__(self, case, *args, sync=0, env=None):
        env = clean_env(LS_APP_SYNC=sync, **(env or {}))
        self.proc = case.spawn([*WRAP, APP, *args], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=env,
                               stdin=subprocess.DEVNULL)
        self.committed, self.synced, self.error = [], [], None
        self.lines, self.grown = 0, queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.proc.stdout:
            word = line.decode().rstrip("\n").split(" ", 2)
            if word[0] == "c":
                self.committed.append(int(word[1]))
            elif word[0] == "s":
                self.synced.append(int(word[1]))
            elif word[0] == "e":
                self.error = " ".join(word[1:])
            self.lines += 1
            self.grown.put(True)
        self.grown.put(False)

    def wait_lines(self, n, timeout=60):
        """Until n lines came or it ended."""
        while self.lines < n and self.grown.get(timeout=timeout * SLOW):
            pass

    def kill(self):
        self.proc.kill()
        return self.finish()

    def finish(self, timeout=120):
        """Wait for its end; gives the status. Sanitizers must not speak."""
        err = self.proc.stderr.read().decode(errors="replace")
        self.proc.wait(timeout * SLOW)
        self.reader.join()
        self.proc.stdout.close()
        self.proc.stderr.close()
        if "Sanitizer" in err or "runtime error" in err:
            raise AssertionError(err)
        self.stderr = err
        return self.proc.returncode

    def end(self):
        end(self.proc)
        return self.finish()


class WriteCase(Case):
    def setUp(self):
        super().setUp()
        self.url = f"file://{self.tmp}/r"
        self.buffer = self.tmp / "buf/buffer"
        self.buffer.parent.mkdir()

    def app(self, *args, **kw):
        return App(self, *args, **kw)

    def show(self, uri, env=None, timeout=60):
        """(number of the last transaction, hash of all content)."""
        r = subprocess.run([*WRAP, APP, "show", str(uri)], env=clean_env(
            **(env or {})), capture_output=True, text=True,
            timeout=timeout * SLOW)
        self.assertEqual(r.returncode, 0, f"{uri}\n{r.stdout}{r.stderr}")
        word = r.stdout.split()
        return int(word[1]), word[3]

    def model(self, n, name="model"):
        """The hash of the state after transaction n. Goes forward only."""
        uri = f"file:{self.tmp}/{name}.db"
        r = subprocess.run([*WRAP, APP, "run", uri, str(n)],
                           capture_output=True, text=True, timeout=300 * SLOW)
        self.assertEqual(r.returncode, 0, r.stdout[-300:] + r.stderr)
        at, got = self.show(uri)
        self.assertEqual(at, n, "the model went back")
        return got

    def stored(self, binary=None, env=None, url=None):
        """(n, hash) of what a binary restores."""
        out = self.tmp / "restored.db"
        for end_ in ("", "-wal", "-shm", "-journal"):
            Path(f"{out}{end_}").unlink(missing_ok=True)
        self.restore(url or self.url, out, binary=binary, env=env)
        return self.show(f"file:{out}")

    def kept_aside(self):
        """Files that were put aside beside the buffer."""
        return sorted(p.name for p in self.buffer.parent.iterdir()
                      if ".conflict-" in p.name)


__all__ = ["APP", "App", "HEX", "WriteCase", "write_uri", "wait_until", "os"]
