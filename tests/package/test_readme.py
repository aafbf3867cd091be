#!/usr/bin/env python3
"""Every command of the README is run. A block of them is ```sh, and the line
before it says where:

    <!-- run -->           one after the other in a throw-away copy of this
    <!-- run: user app --> machine with the Debian package of this build; a name
                           is a step of ours before it (class Before)
    <!-- run: bare -->     on a bare Debian, with this folder; then all of the
                           above, as a new user would (LS_LONG=1)
    <!-- run: image -->    in such a copy, with podman installed (LS_LONG=1)
    <!-- run: gate -->     the gate itself; here only that it is there

Where no systemd runs, tests/package/systemctl stands in for it."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import sandbox  # noqa: E402
from harness import Case, main  # noqa: E402
from proc import LONG, ROOT, upstream_binary  # noqa: E402

BUILD = Path(Case.bin).resolve().parent
HERE = Path(__file__).resolve().parent
README = (ROOT / "README.md").read_text()


def blocks():
    """[(marker or None, commands)] of every sh block, in order."""
    return [(m[1], m[2]) for m in re.finditer(
        r"^(?:<!-- (run(?:: [^>]*?)?) -->\n)?```(?:sh|bash|shell|console)\n"
        r"(.*?)^```$", README, re.M | re.S)]


class Before:
    """What a block takes for granted."""
    STEPS = {
        "run": "",
        "run: user app": "",
        # Back in time: as it was before litestreamd came.
        "run: from 0.5": """
            systemctl stop litestreamd
            cat > /etc/systemd/system/litestream.service <<'EOF'
[Service]
User=app
ExecStart=UPSTREAM replicate
EOF
            systemctl start litestream
            sqlite3 /var/lib/app/app.db 'INSERT INTO t VALUES(3)'
            until sqlite3 /var/lib/app/app.db .schema | grep -q _litestream
            do sleep 0.1; done
            """,
        "run: back": "",
    }
    AFTER = {
        # What the text says of this set-up, beside the blocks.
        "run: user app": """
            runuser -u app -- litestreamd doctor
            litestreamd doctor /var/lib/app/app.db
            systemctl reload litestreamd
            until grep -q 'configuration reloaded' /var/log/litestreamd*.log
            do sleep 0.1; done
            litestreamd verify file:///backup/app
            litestreamd points file:///backup/app
            litestreamd restore -o /tmp/full.db -integrity-check full \\
                file:///backup/app
            """,
        "run: from 0.5": """
            litestreamd restore -o /tmp/moved.db /var/lib/app/app.db
            [ "$(sqlite3 /tmp/moved.db 'SELECT max(a) FROM t')" = 3 ]
            """,
        "run: back": """
            sqlite3 /var/lib/app/app.db 'INSERT INTO t VALUES(4)'
            until rm -f /tmp/back.db && UPSTREAM restore -o /tmp/back.db \\
                /var/lib/app/app.db 2>/dev/null &&
                [ "$(sqlite3 /tmp/back.db 'SELECT max(a) FROM t')" = 4 ]
            do sleep 0.1; done
            systemctl stop litestream
            systemctl start litestreamd
            """,
    }


def script(which):
    """The blocks that `which` admits as one script, each in the open."""
    out = ["set -eu -o pipefail", "export DEBIAN_FRONTEND=noninteractive",
           "PS4='[$SECONDS s] + '", "trap 'echo \"FAILED: $BASH_COMMAND\"' ERR"]
    for marker, text in blocks():
        if marker and which(marker):
            out += [Before.STEPS.get(marker, ""), "set -x", text.rstrip(),
                    "{ set +x; } 2>/dev/null", Before.AFTER.get(marker, "")]
    return "\n".join(out + ["echo the README is right"])


# Commands in the text, outside of blocks: where each is run. Those of our own
# program only have to be ones that it knows.
INLINE = {
    "cmake --build build --target bundle":
        ("test_package.py", '"--target", "bundle"'),
    "cmake --install build": ("test_package.py", '"cmake", "--install"'),
    "tar -C /usr/local --strip-components=1 -xzf FILE":
        ("test_package.py", "--strip-components=1"),
    "ninja -C build vfs_packages": ("../vfs/test_packages.py", "vfs_packages"),
    "man litestreamd": ("test_package.py", "man/man1/litestreamd.1"),
    "man litestream.yml": ("test_package.py", "man/man5/litestream.yml.5"),
    "systemctl reload": ("test_readme.py", "systemctl reload litestreamd"),
    "sudo -u app litestreamd doctor":
        ("test_readme.py", "runuser -u app -- litestreamd doctor"),
    "cp app.db": None,  # what not to do
    "mc admin policy create": None,  # of MinIO's own client
    "build/tests/bench_restart_lock DIR": None,  # a measurement
}


def inline():
    """The commands in the text, each once; with a space in them."""
    text = re.sub(r"^```.*?^```$", "", README, flags=re.S | re.M)
    found = (" ".join(m.split()) for m in re.findall(
        r"`([^`\n]+(?:\n[^`\n]+)?)`", text))
    return sorted({m for m in found if " " in m and re.match(
        r"(litestreamd|cmake|tar|ninja|openssl|sudo|mc|systemctl|build|tests|"
        r"podman|man|cp|kill|apt|dpkg)\b(?!: )", m)})


class Readme(Case):
    maxDiff = None

    def test_commands_in_the_text(self):
        found = inline()
        self.assertGreater(len(found), 25)
        for text in found:
            with self.subTest(text):
                program, *words = text.split()
                if program == "litestreamd":
                    if words[0] == "COMMAND":
                        words[0] = "list"
                    usage = self.run_cli(words[0], "-h").stdout
                    for flag in set(words) - {"-h"}:
                        if flag.startswith("-"):
                            self.assertRegex(usage, rf"(?m)^\t{flag}( |$)")
                elif INLINE[text]:
                    file, proof = INLINE[text]
                    self.assertIn(proof, (HERE / file).read_text())
        self.assertEqual(set(INLINE) - set(found), set())

    def run_in(self, lower, text, folders, timeout):
        # Where every user may run it.
        text = (f"install -D {upstream_binary() or '/bin/false'} "
                "/opt/peer/litestream\n" + text)
        r = sandbox.run(lower, text.replace("UPSTREAM",
                                            "/opt/peer/litestream"),
                        folders, timeout=timeout)
        self.assertEqual((r.status, r.out.splitlines()[-1:]),
                         (0, ["the README is right"]), r.out[-6000:])
        return r.out

    def test_every_block_says_where_it_runs(self):
        known = {*Before.STEPS, "run: bare", "run: image", "run: gate"}
        found = blocks()
        self.assertGreater(len(found), 9)
        for marker, text in found:
            self.assertIn(marker, known, text)
        self.assertEqual(known, {m for m, _ in found})
        self.assertEqual(README.count("\n```sh\n"), len(found))

    def test_the_commands_in_order(self):
        sandbox.need(self)
        self.need_upstream()
        if not shutil.which("dpkg-shlibdeps") or not shutil.which("cpack"):
            self.skipTest("dpkg-dev or cpack is not installed")
        subprocess.run(["cpack", "--config", BUILD / "CPackConfig.cmake",
                        "-G", "DEB", "-B", self.tmp], check=True,
                       stdout=subprocess.DEVNULL, cwd=self.tmp)
        deb, = self.tmp.glob("*.deb")
        out = self.run_in("/", f"""
            cp {HERE}/systemctl /usr/local/sbin/
            dpkg --no-triggers -i {deb} >/dev/null
            cd {ROOT}
            """ + script(lambda m: m in Before.STEPS),
            [self.tmp, HERE, Path(self.need_upstream()).parent], 300)
        self.assertIn("+ litestreamd verify -deep /var/lib/app/app.db", out)

    def test_as_a_new_user_on_a_bare_debian(self):
        lower = sandbox.bare(self)
        sandbox.need(self)
        tree = self.tmp / "litestreamd"
        subprocess.run(["git", "clone", "-q", ROOT, tree], check=True)
        shutil.copy(ROOT / "README.md", tree)
        peer = Path(self.need_upstream())
        # A machine has systemd; what stands in for it here is in Python.
        out = self.run_in(lower, f"""
            export DEBIAN_FRONTEND=noninteractive
            apt-get update -qq
            apt-get install -y -qq systemd python3-minimal >/dev/null 2>&1
            cp {HERE}/systemctl /usr/local/sbin/
            cp -r {tree} /root/litestreamd; cd /root/litestreamd; SECONDS=0
            """ + script(lambda m: m == "run: bare" or m in Before.STEPS),
            [self.tmp, HERE, peer.parent], 1500)
        first = re.search(r"\[(\d+) s\] \+ litestreamd restore", out)
        print(f"first restore after {first[1]} s")

    def test_the_image(self):
        """With podman: what it takes beside the README are its settings for
        a machine without systemd, and a volume with a database."""
        if not LONG:
            self.skipTest("podman is installed with LS_LONG=1 only")
        sandbox.need(self)
        out = self.run_in("/", f"""set -e
            export DEBIAN_FRONTEND=noninteractive
            apt-get update -qq
            apt-get install -y -qq --no-install-recommends podman crun \
                >/tmp/apt 2>&1 || {{ cat /tmp/apt; exit 1; }}
            umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
            cat > /etc/containers/storage.conf <<'EOF'
[storage]
driver = "vfs"
runroot = "/run/containers"
graphroot = "/var/lib/containers"
EOF
            cat > /etc/containers/containers.conf <<'EOF'
[containers]
cgroups = "disabled"
netns = "host"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
EOF
            export BUILDAH_ISOLATION=chroot
            podman volume create app-data
            data=$(podman volume inspect -f '{{{{.Mountpoint}}}}' app-data)
            sqlite3 "$data/app.db" 'CREATE TABLE t(a)'
            chown -R 65532:65532 "$data"
            mkdir /x; cd /x; ln -s {ROOT}/etc etc; ln -s {BUILD} build
            """ + script(lambda m: m == "run: image").replace(
                "echo the README", 'ls "$data/backup/ltx/0"\necho the README'),
            [], 600)
        self.assertIn("0000000000000001-0000000000000001.ltx", out)

    def test_the_gate_is_there(self):
        (text,) = [t for m, t in blocks() if m == "run: gate"]
        for line in text.splitlines():
            program = line.split("#")[0].split()[0]
            self.assertTrue(shutil.which(program) or program.startswith(
                "build/") or os.access(ROOT / program, os.X_OK), line)
        out = subprocess.run([ROOT / "tests/run", "--help"], check=True,
                             capture_output=True, text=True).stdout
        for option in re.findall(r"tests/run (--\w+)", text):
            self.assertIn(option, out)


if __name__ == "__main__":
    main()
