#!/usr/bin/env python3
"""Pack the extension as a Python wheel and as npm packages, in the names and
the layout of upstream's, with the standard library alone. The same input gives
the same bytes.

    pack.py EXTENSION VERSION LICENSE OUTDIR

The wheel is for this machine's architecture and says "linux", not "manylinux":
the extension needs libcurl, liblz4, libisal, libexpat and libjansson of the
system.
"""
import base64
import gzip
import hashlib
import io
import json
import platform
import sys
import tarfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
SUMMARY = "SQLite extension that opens Litestream replicas in object storage"
NPM_ARCH = {"x86_64": ("amd64", "x64"), "aarch64": ("arm64", "arm64")}
AT = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold


def wheel(so, version, licence, out):
    name = f"litestream_vfs-{version}"
    tag = f"py3-none-linux_{platform.machine()}"
    info = f"{name}.dist-info"
    files = {
        "litestream_vfs/__init__.py": (HERE / "__init__.py").read_bytes(),
        "litestream_vfs/litestream-vfs.so": so,
        f"{info}/licenses/LICENSE": licence,
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: litestream-vfs\n"
            f"Version: {version}\nSummary: {SUMMARY}\n"
            f"License: Apache-2.0\nRequires-Python: >=3.8\n").encode(),
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: pack.py\n"
            f"Root-Is-Purelib: false\nTag: {tag}\n").encode(),
    }
    record = "".join(
        f"{k},sha256="
        f"{base64.urlsafe_b64encode(hashlib.sha256(v).digest()).decode()}"
        .rstrip("=") + f",{len(v)}\n" for k, v in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    path = out / f"{name}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for k, v in files.items():
            x = zipfile.ZipInfo(k, AT)
            x.compress_type = zipfile.ZIP_DEFLATED
            x.external_attr = 0o100644 << 16
            z.writestr(x, v)
    return path


def npm(name, version, licence, out, meta, files):
    doc = {"name": name, "version": version, "description": SUMMARY,
           "license": "Apache-2.0", **meta}
    files = {"package.json": (json.dumps(doc, indent=2) + "\n").encode(),
             "LICENSE": licence, **files}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as t:
        for k, v in files.items():
            x = tarfile.TarInfo(f"package/{k}")
            x.size, x.mode = len(v), 0o644
            t.addfile(x, io.BytesIO(v))
    path = out / f"{name}-{version}.tgz"
    path.write_bytes(gzip.compress(raw.getvalue(), mtime=0))
    return path


def main():
    so, version, licence, out = sys.argv[1:]
    so, licence = Path(so).read_bytes(), Path(licence).read_bytes()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    made = [wheel(so, version, licence, out)]
    arch = NPM_ARCH.get(platform.machine())
    if arch:
        made.append(npm(
            f"litestream-vfs-linux-{arch[0]}", version, licence, out,
            {"os": ["linux"], "cpu": [arch[1]],
             "files": ["litestream-vfs.so"]}, {"litestream-vfs.so": so}))
    made.append(npm(
        "litestream-vfs", version, licence, out,
        {"main": "index.js", "files": ["index.js"], "optionalDependencies": {
            f"litestream-vfs-linux-{a}": version for a, _ in
            sorted(NPM_ARCH.values())}},
        {"index.js": (HERE / "index.js").read_bytes()}))
    for p in made:
        print(p)


if __name__ == "__main__":
    main()
