"""A machine to throw away, for tests that install, remove and configure: see
sandbox.sh. Two kinds: a copy of this machine (at once, with all that it has),
and a bare Debian of the same release, made once by debootstrap from the mirror
that this machine's apt uses (a minute; only with LS_LONG=1)."""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from proc import CI, LONG, ROOT, SLOW, cache_dir, clean_env  # noqa: E402

SCRIPT = ROOT / "tests/support/sandbox.sh"


class Result:
    def __init__(self, p):
        self.status, self.out = p.returncode, p.stdout


def why_not():
    """Why there can be no sandbox here; None when there can."""
    if os.geteuid() != 0:
        return "a sandbox needs root"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "a sandbox needs overlayfs"
    return None


def need(case):
    """Skip the test, visibly, where no sandbox can be."""
    why = why_not()
    if not why and run("/", "true").status != 0:
        why = "nothing can be mounted here (in a chroot, / must be a mount)"
    if why:
        case.skipTest(why)


def run(lower, text, folders=(), timeout=300, env=None):
    """Run a bash script; gives its status, and stdout and stderr as one."""
    script = subprocess.run(["mktemp"], capture_output=True, text=True,
                            check=True).stdout.strip()
    try:
        Path(script).write_text(text)
        return Result(subprocess.run(
            [SCRIPT, lower, script, *map(str, folders)], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, errors="replace",
            timeout=timeout * SLOW, env=clean_env(**(env or {}))))
    finally:
        os.unlink(script)


def apt_source():
    """(mirror, suite) of this machine's own apt, or None."""
    suite = re.search(r"^VERSION_CODENAME=(\S+)", Path(
        "/etc/os-release").read_text(), re.M)
    texts = [p.read_text() for p in
             [Path("/etc/apt/sources.list"),
              *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
             if p.is_file()]
    for text in texts:
        uri = re.search(r"^URIs:\s*(\S+/debian/?)\s*$", text, re.M) or \
            re.search(r"^deb\s+(?:\[.*?\]\s+)?(\S+/debian/?)\s", text, re.M)
        if uri and suite:
            return uri[1], suite[1]
    return None


def bare(case):
    """A bare Debian with this machine's apt configuration and certificates;
    only ever used as a lower layer, so it stays bare."""
    if not LONG:
        case.skipTest("a bare Debian takes LS_LONG=1")
    source = apt_source()
    if not shutil.which("debootstrap") or not source:
        if CI:
            case.fail("debootstrap is not installed, or apt has no mirror")
        case.skipTest("debootstrap is not installed, or apt has no mirror")
    mirror, suite = source
    tree = cache_dir() / f"bare-{suite}"
    if tree.exists():
        return tree
    new = cache_dir() / f"bare-{suite}.{os.getpid()}"
    new.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["debootstrap", "--variant=minbase",
                        "--include=ca-certificates", suite, new, mirror],
                       check=True, stdout=subprocess.DEVNULL)
        borrow(new)
        os.rename(new, tree)
    finally:
        shutil.rmtree(new, True)
    return tree


def borrow(tree):
    """What reaching the network takes here: apt's mirrors and settings, its
    keys, the resolver, certificates."""
    (tree / "etc/apt/sources.list").unlink(missing_ok=True)
    for part in ("etc/apt/sources.list", "etc/apt/sources.list.d",
                 "usr/share/keyrings", "usr/local/share/ca-certificates",
                 "etc/resolv.conf", "etc/hosts", "etc/ssl/certs",
                 "etc/pip.conf"):
        src = Path("/") / part
        if src.is_dir():
            shutil.rmtree(tree / part, True)
            shutil.copytree(src, tree / part, symlinks=True)
        elif src.exists():
            shutil.copy(src, tree / part)
    for p in Path("/etc/apt/apt.conf.d").glob("*"):
        if "Acquire::" in p.read_text():
            shutil.copy(p, tree / "etc/apt/apt.conf.d")
