#!/usr/bin/env python3
"""What is installed: files, manual pages, completions, units; the Debian
package installed, upgraded, downgraded, removed and purged in a throw-away copy
of this machine; the tarball in a folder with nothing else in it; the image.

Completions and pages are compared with what `-h` says, command by command."""
import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import sandbox  # noqa: E402
import tls  # noqa: E402
from harness import Case, connect, main  # noqa: E402
from proc import ROOT  # noqa: E402

BUILD = Path(Case.bin).resolve().parent
# One line a check in the scripts that run inside.
PRELUDE = """set -eu
trap 'echo "line $LINENO failed: $BASH_COMMAND"' ERR
have() { for f; do [ -e "$f" ] || { echo "no $f"; return 1; }; done; }
gone() { for f; do [ ! -e "$f" ] && [ ! -L "$f" ] ||
    { echo "there is $f"; return 1; }; done; }
"""


def call(*cmd, **kw):
    r = subprocess.run([str(c) for c in cmd], text=True, errors="replace",
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       stdin=subprocess.DEVNULL, **kw)
    assert r.returncode == 0, f"{cmd}: {r.returncode}\n{r.stdout}"
    return r.stdout


def commands():
    """{command: [flags]} as the program itself says."""
    text = call(Case.bin, "help")
    names = re.findall(r"^\t([a-z]+)  +", text, re.M)
    return {n: re.findall(r"^\t(-[a-z-]+)", call(Case.bin, n, "-h"), re.M)
            for n in names}


class Installed(Case):
    """cmake --install into a folder."""

    @classmethod
    def setUpClass(cls):
        cls.top = Path(call("mktemp", "-d").strip())
        cls.addClassCleanup(shutil.rmtree, cls.top)
        call("cmake", "--install", BUILD, "--prefix", cls.top)
        cls.all = commands()
        cls.share = cls.top / "share"

    def need_program(self, name):
        if not shutil.which(name):
            self.skipTest(f"{name} is not installed")

    def test_program_and_extension(self):
        out = call(self.top / "bin/litestreamd", "version")
        self.assertRegex(out, r"^\d+\.\d+\.\d+\n$")
        found = list(self.top.glob("lib/**/litestream-vfs.so"))
        self.assertEqual(len(found), 1)

    def test_a_page_for_every_command_and_flag(self):
        self.assertGreater(len(self.all), 12)
        for name, flags in self.all.items():
            page = self.share / f"man/man1/litestreamd-{name}.1"
            text = page.read_text().replace("\\-", "-")
            for f in flags:
                self.assertIn(f'.BI "{f}', text, page)
        one = (self.share / "man/man1/litestreamd.1").read_text()
        for name in self.all:
            self.assertIn(f"litestreamd\\-{name} (1)", one)

    def test_pages_are_clean_roff(self):
        self.need_program("groff")
        pages = list(self.share.glob("man/man*/*"))
        self.assertEqual(len(pages), len(self.all) + 2)
        for p in pages:
            self.assertEqual(call("groff", "-man", "-ww", "-z", "-Tutf8", p),
                             "", p)

    def test_the_configuration_page_has_every_key(self):
        page = (self.share / "man/man5/litestream.yml.5").read_text()
        table = (ROOT / "README.md").read_text()
        keys = re.findall(r"^\| `([a-z0-9\[\].-]+)`(?: \*)? \| \w+ \|", table,
                          re.M)
        self.assertGreater(len(keys), 50)
        for k in keys:
            self.assertIn(f'.B "{k}'.replace("-", "\\-"), page)

    def offered(self, line, last):
        f = self.share / "bash-completion/completions/litestreamd"
        return call("bash", "-c", f"""source {f}
            COMP_WORDS=({line} "$1"); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _litestreamd; printf '%s\\n' "${{COMPREPLY[@]}}" """, "-", last,
                    cwd=self.top).split()

    def test_bash_offers_commands_flags_words_and_files(self):
        self.assertEqual(set(self.offered("litestreamd", "")),
                         {"help", *self.all})
        for name, flags in self.all.items():
            self.assertEqual(set(self.offered(f"litestreamd {name}", "-")),
                             {"-h", *flags})
        self.assertEqual(self.offered(
            "litestreamd restore -integrity-check", "q"), ["quick"])
        self.assertEqual(self.offered("litestreamd restore -o", "sh"),
                         ["share"])
        self.assertEqual(self.offered("litestreamd status", "bi"), ["bin"])

    def test_fish_offers_the_same(self):
        self.need_program("fish")
        f = self.share / "fish/vendor_completions.d/litestreamd.fish"

        def offered(line):
            out = call("fish", "--no-config", "-c", f"source {f}; "
                       f"complete -C '{line}'", cwd=self.top,
                       env={**os.environ, "HOME": str(self.tmp)})
            return {o.split("\t")[0] for o in out.splitlines()}
        self.assertLessEqual(set(self.all), offered("litestreamd "))
        for name, flags in self.all.items():
            self.assertEqual(set(flags), offered(f"litestreamd {name} -"))
        self.assertEqual(offered("litestreamd restore -integrity-check q"),
                         {"quick"})

    def test_zsh_reads_its_own(self):
        self.need_program("zsh")
        f = self.share / "zsh/vendor-completions/_litestreamd"
        call("zsh", "-n", f)
        out = call("zsh", "-f", "-c", f"""
            _describe() {{ print -rl -- "${{(@P)2}}"; }}
            eval "f() {{ $(<{f}) }}"
            CURRENT=2; words=(litestreamd ''); f""")
        self.assertEqual({o.split(":")[0] for o in out.splitlines()},
                         set(self.all))
        # _arguments and _describe are given what they would be called with.
        for name, flags in self.all.items():
            out = call("zsh", "-f", "-c", f"""
                _arguments() {{ print -rl -- "$@"; }}
                eval "f() {{ $(<{f}) }}"
                CURRENT=3; words=(litestreamd {name} ''); f""")
            got = set(re.findall(r"^(-[a-z-]+)\[", out, re.M))
            self.assertEqual(got, set(flags), name)

    def test_units_are_hardened_and_valid(self):
        self.need_program("systemd-analyze")
        for unit in ("litestreamd.service", "litestreamd@.service"):
            p = self.top / "lib/systemd/system" / unit
            self.assertIn(f"ExecStart={self.top}/bin/litestreamd replicate",
                          p.read_text())
            named = self.tmp / unit.replace("@", "@x")
            named.write_text(p.read_text())
            out = call("systemd-analyze", "security", "--offline=true",
                       "--no-pager", "--threshold=20", named)  # 2.0
            self.assertRegex(out, r"Overall exposure level .*: [01]\.\d")
            self.assertEqual(call("systemd-analyze", "verify", "--man=no",
                                  named), "")
            for line in ("Type=notify", "WatchdogSec=15s",
                         "User=litestreamd", "CapabilityBoundingSet=\n"):
                self.assertIn(line, p.read_text())

    def test_sysusers_and_tmpfiles_are_valid(self):
        self.need_program("systemd-sysusers")
        (self.tmp / "etc").mkdir()
        (self.tmp / "run").mkdir()
        call("systemd-sysusers", f"--root={self.tmp}",
             self.top / "lib/sysusers.d/litestreamd.conf")
        self.assertIn("litestreamd:", (self.tmp / "etc/passwd").read_text())
        call("systemd-tmpfiles", f"--root={self.tmp}", "--create",
             self.top / "lib/tmpfiles.d/litestreamd.conf")
        self.assertEqual(os.readlink(self.tmp / "run/litestream.sock"),
                         "litestreamd/litestream.sock")

    def test_the_example_is_loaded(self):
        call(self.bin, "databases", "-config",
             self.share / "doc/litestreamd/examples/litestream.yml")


class Debian(Case):
    """The package, in two versions, in a copy of this machine."""

    @classmethod
    def setUpClass(cls):
        cls.top = Path(call("mktemp", "-d").strip())
        cls.addClassCleanup(shutil.rmtree, cls.top)
        if not shutil.which("dpkg-shlibdeps") or not shutil.which("cpack"):
            raise unittest.SkipTest("dpkg-dev or cpack is not installed")
        for v in ("0.0.1", "9.9.9"):
            call("cpack", "--config", BUILD / "CPackConfig.cmake", "-G",
                 "DEB", "-B", cls.top, "-D",
                 f"CPACK_DEBIAN_PACKAGE_VERSION={v}", cwd=cls.top)
        cls.old, cls.new = sorted(cls.top.glob("*.deb"))

    def inside(self, text, lower="/"):
        sandbox.need(self)
        r = sandbox.run(lower, f"{PRELUDE}\nold={self.old} new={self.new}\n"
                        "dpkg() { command dpkg --no-triggers \"$@\" "
                        f">/dev/null; }}\n{text}\necho all is well\n",
                        [self.top])
        self.assertEqual((r.status, r.out.splitlines()[-1:]),
                         (0, ["all is well"]), r.out)

    def test_it_owns_no_file_of_another_package(self):
        out = call("dpkg-deb", "-c", self.new)
        files = [line.split()[5].lstrip(".") for line in out.splitlines()
                 if not line.split()[5].endswith("/")]
        self.assertGreater(len(files), 25)
        self.assertNotIn("/etc/litestream.yml", files)
        self.assertNotIn("/usr/bin/litestream", files)
        for f in files:
            self.assertRegex(f, r"^/(usr|etc/default)/.*litestream")
        control = call("dpkg-deb", "-f", self.new)
        self.assertNotRegex(control, r"Conflicts|Replaces|Breaks|Provides")
        for lib in ("libsqlite3-0", "libcurl", "libssl", "libmicrohttpd",
                    "libisal2", "liblz4-1", "libzstd1"):
            self.assertIn(lib, control)

    def test_install_upgrade_downgrade_remove_purge(self):
        self.inside("""
            mkdir -p /srv/app
            sqlite3 /srv/app/app.db 'PRAGMA journal_mode=WAL;
                CREATE TABLE t(a); INSERT INTO t VALUES(1)' >/dev/null
            echo 'dbs: [{path: /srv/app/app.db, replica: {path: /srv/r}}]' \\
                > /etc/litestream.yml
            store() {
                litestreamd replicate -once 2>&1 >/tmp/log | cat
                rm -f /tmp/o.db; litestream restore -o /tmp/o.db \\
                    file:///srv/r >/dev/null
                cmp <(sqlite3 /srv/app/app.db .dump) \\
                    <(sqlite3 /tmp/o.db .dump)
                sqlite3 /srv/app/app.db 'INSERT INTO t VALUES(2)'
            }
            copies() { [ "$(grep -c kind=copy /tmp/log)" = "$1" ]; }

            dpkg -i $old
            have /usr/bin/litestreamd /usr/lib/systemd/system/litestreamd.service
            id litestreamd >/dev/null
            [ "$(readlink -f /usr/bin/litestream)" = /usr/bin/litestreamd ]
            [ "$(stat -c %a /etc/default/litestreamd)" = 600 ]
            gone /etc/systemd/system/multi-user.target.wants/litestreamd.service
            store; copies 1
            echo LOG_LEVEL=debug >> /etc/default/litestreamd
            systemctl enable litestreamd 2>/dev/null
            have /etc/systemd/system/multi-user.target.wants/litestreamd.service

            dpkg -i $new # upgrade: the edited conffile stays, no whole copy
            grep -q LOG_LEVEL=debug /etc/default/litestreamd
            [ "$(dpkg-query -W -f='${Version}' litestreamd)" = 9.9.9 ]
            store; copies 0
            command dpkg --no-triggers -i $old >/dev/null 2>&1 # downgrade
            [ "$(dpkg-query -W -f='${Version}' litestreamd)" = 0.0.1 ]
            grep -q LOG_LEVEL=debug /etc/default/litestreamd
            store; copies 0

            dpkg-query -L litestreamd > /tmp/files
            dpkg -r litestreamd
            grep -q LOG_LEVEL=debug /etc/default/litestreamd
            gone /usr/bin/litestreamd /usr/bin/litestream
            while read -r f; do
                [ -d "$f" ] || [ $f = /etc/default/litestreamd ] || gone "$f"
            done < /tmp/files
            gone /usr/share/doc/litestreamd
            dpkg -i $new # and back again, as it was set up
            grep -q LOG_LEVEL=debug /etc/default/litestreamd
            store; copies 0

            mkdir -p /var/lib/litestreamd
            dpkg -P litestreamd
            gone /etc/default/litestreamd /var/lib/litestreamd \\
                /etc/systemd/system/multi-user.target.wants/litestreamd.service
            ! command dpkg -s litestreamd >/dev/null 2>&1
            have /etc/litestream.yml /srv/r/ltx /srv/app/.app.db-litestream
            sqlite3 /srv/app/app.db 'PRAGMA integrity_check' | grep -qx ok
            """)

    def test_beside_a_litestream_of_somebody_else(self):
        self.inside("""
            printf '#!/bin/sh\\necho theirs\\n' > /usr/bin/litestream
            chmod 755 /usr/bin/litestream
            dpkg -i $new 2>/dev/null
            [ "$(litestream)" = theirs ]
            dpkg -P litestreamd 2>/dev/null
            [ "$(litestream)" = theirs ]
            """)

    def test_on_a_bare_debian(self):
        """With apt, which must find every dependency."""
        self.inside("""
            export DEBIAN_FRONTEND=noninteractive
            apt-get update -qq
            apt-get install -y -qq $new >/tmp/apt 2>&1 || { cat /tmp/apt; exit 1; }
            apt-get install -y -qq sqlite3 >/dev/null 2>&1
            sqlite3 /srv/app.db 'CREATE TABLE t(a); INSERT INTO t VALUES(1)'
            litestreamd replicate -once /srv/app.db file:///srv/r >/dev/null
            litestream restore -o /srv/o.db file:///srv/r >/dev/null
            [ "$(sqlite3 /srv/o.db 'SELECT * FROM t')" = 1 ]
            apt-get purge -y -qq litestreamd >/dev/null 2>&1
            gone /usr/bin/litestreamd /usr/bin/litestream
            """, sandbox.bare(self))


class Tarball(Case):
    @classmethod
    def setUpClass(cls):
        call("cmake", "--build", BUILD, "--target", "bundle")
        cls.tarball = max(BUILD.glob("litestreamd-*-linux-*.tar.gz"),
                          key=lambda p: p.stat().st_mtime)

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("chroot needs root")
        self.root = self.tmp / "root"
        (self.root / "usr/local").mkdir(parents=True)
        call("tar", "-C", self.root / "usr/local", "--strip-components=1",
             "-xzf", self.tarball)

    def chroot(self, *args, program="/usr/local/bin/litestreamd", user="",
               **env):
        return call("/usr/sbin/chroot", *([f"--userspec={user}"] if user else []),
                    self.root, program, *args, env=env)

    def data(self):
        (self.root / "data").mkdir()
        os.chmod(self.root / "data", 0o777)
        c = connect(self.root / "data/app.db")
        c.execute("CREATE TABLE t(a)")
        c.execute("INSERT INTO t VALUES('in an empty root')")
        c.close()
        os.chmod(self.root / "data/app.db", 0o666)

    def round_trip(self, **kw):
        self.chroot("replicate", "-once", "/data/app.db", "file:///data/r",
                    **kw)
        self.chroot("restore", "-integrity-check", "full", "-o",
                    "/data/o.db", "file:///data/r", **kw)
        c = connect(self.root / "data/o.db")
        self.assertEqual(c.execute("SELECT a FROM t").fetchall(),
                         [("in an empty root",)])
        c.close()

    def test_it_runs_where_nothing_else_is(self):
        self.assertEqual({p.name for p in self.root.iterdir()}, {"usr"})
        self.data()
        self.round_trip()

    def test_a_link_is_called_by_its_own_name(self):
        (self.root / "bin").mkdir()
        (self.root / "bin/litestream").symlink_to(
            "/usr/local/bin/litestreamd")
        self.assertIn("\tlitestream <command>",
                      self.chroot("help", program="/bin/litestream"))

    def test_names_and_certificates(self):
        """Through libcurl, TLS and the resolver of the tarball."""
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        server = tls.Server(self.tmp, "DNS:store.test")
        self.addCleanup(server.stop)
        (self.root / "etc").mkdir()
        (self.root / "etc/hosts").write_text("127.0.0.1 store.test\n")
        shutil.copy(server.cert, self.root / "etc/ca.pem")
        self.chroot("ltx", server.url("store.test"), **tls.KEYS,
                    SSL_CERT_FILE="/etc/ca.pem")
        with self.assertRaisesRegex(AssertionError, "certificate"):
            self.chroot("ltx", server.url("store.test"), **tls.KEYS,
                        SSL_CERT_FILE="/usr/local/share/litestreamd/"
                        "ca-certificates.crt")

    def test_the_control_socket(self):
        """libmicrohttpd comes along as well."""
        self.data()
        (self.root / "data/l.yml").write_text(
            "socket: {enabled: true, path: /data/s}\n"
            "dbs: [{path: /data/app.db, replica: {path: /data/r}}]\n"
            "exec: /usr/local/bin/litestreamd sync -socket /data/s -wait "
            "/data/app.db\n")
        self.assertIn("app.db", self.chroot("replicate", "-config",
                                            "/data/l.yml"))

    def recipe(self):
        """The Containerfile's lines, as {instruction: [rest]}."""
        out = {}
        text = (ROOT / "etc/Containerfile").read_text()
        for line in text.splitlines():
            if line and not line.startswith("#"):
                word, rest = line.split(" ", 1)
                out.setdefault(word, []).append(rest)
        return out

    def test_the_image_by_hand(self):
        """What the recipe says, done with chroot: the tree of the tarball,
        its user, its environment, a volume."""
        recipe = self.recipe()
        self.assertEqual(recipe["FROM"], ["scratch"])
        self.assertEqual(recipe["COPY"], ["bundle/litestreamd-*/ /usr/local/"])
        trees = list(BUILD.glob("bundle/litestreamd-*/"))
        self.assertEqual(len(trees), 1)
        shutil.rmtree(self.root / "usr")
        shutil.copytree(trees[0], self.root / "usr/local", symlinks=True)
        self.assertEqual(recipe["USER"], ["65532:65532"])
        env = dict(e.split("=", 1) for e in recipe["ENV"])
        self.assertTrue((self.root / env["SSL_CERT_FILE"].lstrip("/")).stat()
                        .st_size > 100000)
        self.assertEqual(recipe["ENTRYPOINT"],
                         ['["/usr/local/bin/litestreamd"]'])
        self.data()
        self.round_trip(user="65532:65532", **env)
        self.assertEqual((self.root / "data/o.db").stat().st_uid, 65532)


if __name__ == "__main__":
    main()
