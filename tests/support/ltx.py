"""Reads LTX files for the tests, after the published format only: header,
page index, and the listing of a chain in a folder or a bucket."""
import re
import struct
from pathlib import Path

NAME = re.compile(r"^([0-9a-f]{16})-([0-9a-f]{16})\.ltx$")


class Ltx:
    """One file's header and the pages it holds."""

    def __init__(self, data, name="?"):
        if data[:4] != b"LTX1" or len(data) < 124:
            raise ValueError(f"{name}: not an LTX file ({len(data)} bytes)")
        (self.flags, self.page_size, self.commit, self.min, self.max,
         self.time_ms) = struct.unpack(">IIIQQQ", data[4:40])
        self.size = len(data)
        (n,) = struct.unpack(">Q", data[-24:-16])
        self.pages = self._index(data[-24 - n:-24])

    @staticmethod
    def _index(raw):
        pages, at = [], 0

        def uvarint():
            nonlocal at
            v = shift = 0
            while True:
                b = raw[at]
                at += 1
                v |= (b & 127) << shift
                if b < 128:
                    return v
                shift += 7
        while (pgno := uvarint()) != 0:
            pages.append(pgno)
            uvarint(), uvarint()
        return pages

    def whole(self):
        """Does it hold every page of the database?"""
        lock = 0x40000000 // self.page_size + 1
        return len(self.pages) >= self.commit - (self.commit >= lock)


def list_dir(replica, level=0):
    """[(min, max, path)] of a file replica or a meta folder, in order."""
    d = Path(replica) / "ltx" / str(level)
    found = []
    for p in d.iterdir() if d.is_dir() else []:
        m = NAME.match(p.name)
        if m:
            found.append((int(m[1], 16), int(m[2], 16), p))
    return sorted(found)


def list_s3(s3, bucket, path, level=0):
    """[(min, max, key)] of an S3 replica, in order."""
    found = []
    for key, _ in s3.list(bucket, f"{path}/{level:04x}/"):
        m = NAME.match(key.rsplit("/", 1)[1])
        if m:
            found.append((int(m[1], 16), int(m[2], 16), key))
    return sorted(found)


def gaps(files):
    """TXIDs missing between neighbours of a listing."""
    out = []
    for (_, a, _), (b, _, _) in zip(files, files[1:]):
        out.extend(range(a + 1, b))
    return out
