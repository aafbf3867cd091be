#!/usr/bin/python3
"""A second, independent reader of LTX files, in plain Python.

usage: ltx_ref.py FILE.ltx [PAGES]     check everything; with PAGES: the pages'
                                       plain bytes must be that file, in order
       ltx_ref.py --crc64 FILE         print the CRC-64 of a file

It shares no code with lib/format and follows the format's own description
(LTX README, LZ4 block format), byte by byte.
"""
import struct
import sys

POLY = 0xD800000000000000
FLAG = 1 << 63
TABLE = []
for byte in range(256):
    c = byte
    for _ in range(8):
        c = (c >> 1) ^ (POLY if c & 1 else 0)
    TABLE.append(c)


class Crc:
    def __init__(self):
        self.state = (1 << 64) - 1

    def add(self, data):
        s = self.state
        for b in data:
            s = TABLE[(s ^ b) & 0xFF] ^ (s >> 8)
        self.state = s

    def value(self):
        return self.state ^ ((1 << 64) - 1)


def lz4_block(src):
    out, i = bytearray(), 0

    def length(n):
        nonlocal i
        if n == 15:
            while True:
                n += src[i]
                i += 1
                if src[i - 1] != 255:
                    break
        return n

    while True:
        token = src[i]
        i += 1
        n = length(token >> 4)
        out += src[i:i + n]
        i += n
        if i == len(src):
            return bytes(out)
        back = src[i] | src[i + 1] << 8
        i += 2
        n = length(token & 15) + 4
        assert 0 < back <= len(out)
        for _ in range(n):
            out.append(out[-back])


def lz4_frame(src):
    """Returns (plain bytes, bytes used)."""
    magic, flg = struct.unpack_from("<IB", src)
    assert magic == 0x184D2204 and flg >> 6 == 1
    i = 7 + (8 if flg & 8 else 0)
    out = b""
    while True:
        size, = struct.unpack_from("<I", src, i)
        i += 4
        if size == 0:
            return out, i + (4 if flg & 4 else 0)
        block = src[i:i + (size & 0x7FFFFFFF)]
        out += block if size >> 31 else lz4_block(block)
        i += len(block) + (4 if flg & 16 else 0)


def uvarint(src, i):
    v = shift = 0
    while True:
        v |= (src[i] & 0x7F) << shift
        shift += 7
        i += 1
        if src[i - 1] < 0x80:
            return v, i


def check(raw):
    """Checks a file; returns its pages as [(pgno, bytes)]."""
    magic, flags, page_size, commit = struct.unpack_from(">4sIII", raw)
    assert magic == b"LTX1" and flags in (0, 2)
    crc, pages, index, i, post = Crc(), [], [], 100, 0
    crc.add(raw[:100])
    while raw[i:i + 6] != bytes(6):
        start = i
        pgno, pflags = struct.unpack_from(">IH", raw, i)
        if pflags == 1:
            size, = struct.unpack_from(">I", raw, i + 6)
            crc.add(raw[i:i + 10])
            data = lz4_block(raw[i + 10:i + 10 + size])
            i += 10 + size
        else:
            assert pflags == 0
            crc.add(raw[i:i + 6])
            data, used = lz4_frame(raw[i + 6:])
            i += 6 + used
        assert len(data) == page_size and 0 < pgno <= commit
        assert not pages or pgno > pages[-1][0]
        crc.add(data)
        one = Crc()
        one.add(struct.pack(">I", pgno) + data)
        post ^= one.value() | FLAG
        pages.append((pgno, data))
        index.append((pgno, start, i - start))
    crc.add(raw[i:i + 6])
    i += 6
    begin, got = i, []
    while raw[i] != 0:
        entry = []
        for _ in range(3):
            v, i = uvarint(raw, i)
            entry.append(v)
        got.append(tuple(entry))
    i += 1
    assert got == index, (got, index)
    assert struct.unpack_from(">Q", raw, i)[0] == i - begin
    i += 8
    crc.add(raw[begin:i + 8])
    stored_post, stored = struct.unpack_from(">QQ", raw, i)
    assert i + 16 == len(raw)
    assert stored == crc.value() | FLAG, "file checksum"
    min_txid, = struct.unpack_from(">Q", raw, 16)
    if flags == 2:
        assert stored_post == 0
    elif min_txid == 1:
        assert stored_post == post | FLAG, "post-apply checksum"
    if raw[80:84] == b"LSD1" and min_txid == 1:
        assert struct.unpack_from(">Q", raw, 84)[0] | FLAG == post | FLAG
    return pages


def main(args):
    if args[0] == "--crc64":
        crc = Crc()
        crc.add(open(args[1], "rb").read())
        print("%016x" % crc.value())
        return
    pages = check(open(args[0], "rb").read())
    if len(args) > 1:
        plain = open(args[1], "rb").read()
        assert b"".join(p for _, p in pages) == plain, "pages differ"


check_value = Crc()
check_value.add(b"123456789")
assert check_value.value() == 0xB90956C775A41001
main(sys.argv[1:])
