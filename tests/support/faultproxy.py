"""A proxy in front of a real S3 server that misbehaves on demand.

    p = FaultProxy(port).start(); p.port
    p.rules.append(Rule("PUT", r"/0000/", fail=503, times=3))
A rule acts on requests whose method and path match, `times` times (None: for
ever); the first that fits wins. What it can do:
    delay      seconds before the request goes on (once per request)
    fail       answer this status at once; retry_after adds the header, code
               names the error in the body
    reset      close the client's connection with RST before answering
    lose       pass the request on, then reset instead of answering
    cut        pass on only this many bytes of the answer's body, then reset
    stall      pass on `cut` bytes (default 0) of the body, then nothing more
    short      say and pass on only this many bytes of the answer's body
    hang       read the request's head and no more of it, and never answer
`latency` is the round trip of a far server: it is waited once per request on
a kept-alive connection, and once more per new connection. `refuse(True)`
closes the port as a dead server does. `log` keeps one Record per request.
HTTP/1.1 with Content-Length or chunked answers only: what S3 speaks here.
"""
import re
import socket
import struct
import threading
import time

CHUNK = 65536


class Rule:
    def __init__(self, method=".*", path="", times=None, delay=0, fail=0,
                 retry_after=None, reset=False, lose=False, cut=None,
                 stall=False, code=None, short=None, hang=False):
        self.code, self.short, self.hang = code, short, hang
        self.method, self.path = re.compile(method), re.compile(path)
        self.times, self.hits = times, 0
        self.delay, self.fail, self.retry_after = delay, fail, retry_after
        self.reset, self.lose = reset, lose
        self.cut, self.stall = (0 if stall and cut is None else cut), stall


class Record:
    def __init__(self, method, path):
        self.method, self.path = method, path
        self.start = time.monotonic()
        self.end = self.status = None
        self.sent = self.received = 0  # body bytes to and from the server


class _Stop(Exception):
    """End this connection; the text says how."""


class FaultProxy:
    def __init__(self, backend, latency=0.0):
        self.backend, self.latency = backend, latency
        self.rules, self.log = [], []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.open = set()
        self.listener, self.port = None, None

    def start(self):
        self._listen(0)
        return self

    def _listen(self, port):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", port))
        s.listen(128)
        self.listener, self.port = s, s.getsockname()[1]
        threading.Thread(target=self._accept, args=(s,), daemon=True).start()

    def _accept(self, s):
        while True:
            try:
                c, _ = s.accept()
            except OSError:
                return
            c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open.add(c)
            threading.Thread(target=self._serve, args=(c,),
                             daemon=True).start()

    def refuse(self, on):
        """Be a dead server (or live again, on the same port)."""
        if on and self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
            with self.lock:
                for c in self.open:
                    _shut(c)
        elif not on:
            self._listen(self.port)

    def stop(self):
        self.closing.set()
        self.refuse(True)

    def _rule(self, method, path):
        with self.lock:
            for r in self.rules:
                if r.times is not None and r.hits >= r.times:
                    continue
                if r.method.fullmatch(method) and r.path.search(path):
                    r.hits += 1
                    return r
        return None

    def _serve(self, client):
        server = None
        try:
            self.closing.wait(self.latency)
            server = socket.create_connection(("127.0.0.1", self.backend))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            a, b = _Reader(client), _Reader(server)
            while self._one(client, server, a, b):
                pass
        except (_Stop, OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.open.discard(client)
            for s in (client, server):
                if s:
                    s.close()

    def _one(self, client, server, a, b):
        """One request and its answer; false when the connection is over."""
        head = a.head()
        if not head:
            return False
        method, path = head[0].split(" ")[:2]
        rec = Record(method, path)
        with self.lock:
            self.log.append(rec)
        rule = self._rule(method, path)
        self.closing.wait(self.latency + (rule.delay if rule else 0))
        if rule and rule.reset:
            _reset(client)
            return False
        if rule and rule.hang:
            while rule in self.rules and client in self.open and \
                    not self.closing.wait(0.05):
                pass
            _reset(client)
            return False
        fields = _fields(head)
        if fields.get("expect", "").lower() == "100-continue":
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = [h for h in head if not h.lower().startswith("expect:")]
        size = int(fields.get("content-length", 0))
        if "transfer-encoding" in fields:
            raise ValueError("chunked request")
        if rule and rule.fail:
            return self._refuse_one(client, a, size, rule, rec)
        server.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        for piece in a.body(size):
            rec.sent += len(piece)
            server.sendall(piece)
        return self._answer(client, b, method, rule, rec)

    def _refuse_one(self, client, a, size, rule, rec):
        for piece in a.body(size):
            rec.sent += len(piece)
        code = rule.code or ("SlowDown" if rule.fail in (429, 503)
                             else "InternalError")
        body = (f"<Error><Code>{code}</Code><Message>injected</Message>"
                "</Error>").encode()
        head = f"HTTP/1.1 {rule.fail} Injected\r\nContent-Length: " \
            f"{len(body)}\r\nContent-Type: application/xml\r\n"
        if rule.retry_after is not None:
            head += f"Retry-After: {rule.retry_after}\r\n"
        client.sendall(head.encode() + b"\r\n" + body)
        rec.status, rec.end = rule.fail, time.monotonic()
        return True

    def _answer(self, client, b, method, rule, rec):
        head = b.head()
        while head and head[0].split(" ")[1] == "100":
            head = b.head()
        if not head:
            return False
        rec.status = int(head[0].split(" ")[1])
        if rule and rule.lose:
            rec.end = time.monotonic()
            _reset(client)
            return False
        fields = _fields(head)
        size = int(fields.get("content-length", 0))
        if rule and rule.short is not None and size > rule.short:
            head = [f"Content-Length: {rule.short}" if h.lower().startswith(
                "content-length:") else h for h in head]
            client.sendall(("\r\n".join(head) + "\r\n\r\n").encode(
                "latin-1"))
            client.sendall(b"".join(b.body(size))[:rule.short])
            return False
        client.sendall(("\r\n".join(head) + "\r\n\r\n").encode("latin-1"))
        if method == "HEAD" or rec.status in (204, 304):
            pieces = ()
        elif fields.get("transfer-encoding", "").lower() == "chunked":
            pieces = b.chunked()
        else:
            pieces = b.body(int(fields["content-length"]))
        for piece in pieces:
            self._pass(client, piece, rule, rec)
        rec.end = time.monotonic()
        return fields.get("connection", "").lower() != "close"

    def _pass(self, client, piece, rule, rec):
        if rule and rule.cut is not None and \
                rec.received + len(piece) > rule.cut:
            client.sendall(piece[:rule.cut - rec.received])
            rec.received = rule.cut
            if rule.stall:
                while not self.closing.wait(0.2) and client in self.open:
                    if client.recv(1, socket.MSG_PEEK) == b"":
                        break
            _reset(client)
            raise _Stop("cut")
        rec.received += len(piece)
        client.sendall(piece)

    def requests(self, method=".*", path=""):
        with self.lock:
            return [r for r in self.log if re.fullmatch(method, r.method)
                    and re.search(path, r.path)]


class _Reader:
    def __init__(self, sock):
        self.sock, self.buf = sock, b""

    def _more(self):
        got = self.sock.recv(CHUNK)
        self.buf += got
        return got

    def head(self):
        """The lines of a head; [] at a clean end."""
        while b"\r\n\r\n" not in self.buf:
            if not self._more():
                return []
        raw, self.buf = self.buf.split(b"\r\n\r\n", 1)
        return raw.decode("latin-1").split("\r\n")

    def body(self, size):
        while size:
            if not self.buf and not self._more():
                raise _Stop("short body")
            piece, self.buf = self.buf[:size], self.buf[size:]
            size -= len(piece)
            yield piece

    def chunked(self):
        """The pieces as they came, framing included."""
        while True:
            while b"\r\n" not in self.buf:
                if not self._more():
                    raise _Stop("short chunk")
            size = int(self.buf.split(b"\r\n", 1)[0].split(b";")[0], 16)
            line = len(self.buf.split(b"\r\n", 1)[0]) + 2
            yield from self.body(line + size + 2)
            if not size:
                return


def _fields(head):
    return {k.strip().lower(): v.strip() for k, v in
            (line.split(":", 1) for line in head[1:])}


def _shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _reset(sock):
    """Close with RST, not FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                    struct.pack("ii", 1, 0))
    sock.close()
