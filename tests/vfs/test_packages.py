#!/usr/bin/env python3
"""The wheel and the npm packages: built by the target `vfs_packages`, installed
without a network, and loaded from where they were installed to."""
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from vfskit import EXTENSION, VfsCase, uri  # noqa: E402
from harness import connect, main  # noqa: E402

ASK = ("c = sqlite3.connect(sys.argv[1], uri=True)\n"
       "print(c.execute('SELECT x, litestream_txid() FROM t').fetchone())\n")


class Packages(VfsCase):
    def setUp(self):
        super().setUp()
        build = Path(EXTENSION).parent
        subprocess.run(["cmake", "--build", build, "--target",
                        "vfs_packages"], check=True, capture_output=True)
        self.made = {p.name: p for p in (build / "packages").iterdir()}
        c = connect(self.db)
        c.execute("CREATE TABLE t(x)")
        c.execute("INSERT INTO t VALUES(42)")
        d = self.daemon({self.db: self.url}).start()
        self.want = f"(42, '{d.sync():016x}')\n"
        d.stop()
        c.close()

    def one(self, start, end):
        names = [n for n in self.made if n.startswith(start) and
                 n.endswith(end)]
        self.assertEqual(len(names), 1, self.made)
        return self.made[names[0]]

    def python(self, text, *args, **env):
        r = subprocess.run([sys.executable, "-c", text, *args], text=True,
                           capture_output=True, env={**os.environ, **env})
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        return r.stdout

    def test_wheel(self):
        whl = self.one("litestream_vfs-", ".whl")
        to = self.tmp / "site"
        pip = subprocess.run([sys.executable, "-m", "pip", "--version"],
                             capture_output=True)
        if pip.returncode == 0:
            subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet",
                 "--no-index", "--no-deps", "--disable-pip-version-check",
                 "--root-user-action=ignore", "--target", to, whl],
                check=True, env={**os.environ, "PIP_NO_INPUT": "1"})
        else:  # what pip does with a wheel
            zipfile.ZipFile(whl).extractall(to)
        got = self.python(
            "import sqlite3, sys, litestream_vfs\n"
            "m = sqlite3.connect(':memory:')\nlitestream_vfs.load(m)\n"
            "assert litestream_vfs.loadable_path().startswith(sys.argv[2])\n"
            + ASK, uri(self.url), str(to), PYTHONPATH=str(to))
        self.assertEqual(got, self.want)
        names = zipfile.ZipFile(whl).namelist()
        self.assertIn("litestream_vfs/litestream-vfs.so", names)

    def test_the_same_input_gives_the_same_bytes(self):
        pack = Path(__file__).parents[2] / "etc/package/vfs/pack.py"
        for out in ("a", "b"):
            subprocess.run([sys.executable, pack, EXTENSION, "1.2.3",
                            "/dev/null", self.tmp / out], check=True,
                           stdout=subprocess.DEVNULL)
        names = sorted(p.name for p in (self.tmp / "a").iterdir())
        self.assertEqual(len(names), 3)
        for n in names:
            self.assertEqual((self.tmp / "a" / n).read_bytes(),
                             (self.tmp / "b" / n).read_bytes(), n)

    def test_npm(self):
        if shutil.which("node") is None:
            self.skipTest("node is not installed")
        modules = self.tmp / "app/node_modules"
        for p in (self.one("litestream-vfs-linux-", ".tgz"),
                  self.one("litestream-vfs-0", ".tgz")):
            with tarfile.open(p) as t:
                doc = json.load(t.extractfile("package/package.json"))
                t.extractall(self.tmp / "x")
            modules.mkdir(parents=True, exist_ok=True)
            (self.tmp / "x/package").rename(modules / doc["name"])
        r = subprocess.run(
            ["node", "-p", "require('litestream-vfs').getLoadablePath()"],
            cwd=self.tmp / "app", capture_output=True, text=True)
        self.assertEqual((r.returncode, r.stderr), (0, ""))
        path = r.stdout.strip()
        self.assertTrue(path.startswith(str(modules)), path)
        got = self.python(
            "import sqlite3, sys\nm = sqlite3.connect(':memory:')\n"
            "m.enable_load_extension(True)\n"
            "m.execute(\"SELECT load_extension(?, "
            "'sqlite3_litestreamvfs_init')\", sys.argv[2:])\n" + ASK,
            uri(self.url), path)
        self.assertEqual(got, self.want)
        shutil.rmtree(modules / "litestream-vfs-linux-amd64",
                      ignore_errors=True)
        shutil.rmtree(modules / "litestream-vfs-linux-arm64",
                      ignore_errors=True)
        r = subprocess.run(
            ["node", "-p", "require('litestream-vfs').getLoadablePath()"],
            cwd=self.tmp / "app", capture_output=True, text=True)
        self.assertNotEqual(r.returncode, 0)
        self.assertIn("npm install litestream-vfs-linux-", r.stderr)


if __name__ == "__main__":
    main()
