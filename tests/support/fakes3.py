"""An S3 server of the tests' own, for what no real server does on demand: keys
with few rights, another region, a clock that is off, any provider's host name.

It is written against the AWS documentation, not against lib/store: it computes
every signature by itself from the bytes that came, and refuses what the strict
ones of the real servers refuse (no Content-Length, a wrong body hash or MD5, a
query that is not sorted).

    s3 = FakeS3().start(); s3.port; s3.objects; s3.log
    s3.deny = {"s3:ListBucket"}          what the key may not do
    s3.skew = 7200                       its clock is two hours ahead
    s3.region = "eu-west-1"              others are sent there
    s3.expired = {"TOKEN"}               session tokens that are over
    s3.answer = lambda r: (503, {}, b"") or None: before all else
As a proxy (HTTPS_PROXY=http://127.0.0.1:PORT) it answers for every host, with a
certificate that nobody knows (skip-verify). `tls=True` speaks TLS by itself.
"""
import base64
import datetime
import email.utils
import hashlib
import hmac
import http.server
import re
import ssl
import subprocess
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path
from xml.sax.saxutils import escape

_cert, _making = None, threading.Lock()


def certificate():
    """A self-signed one, made once a process."""
    with _making:
        return _certificate()


def _certificate():
    global _cert
    if _cert is None:
        d = tempfile.TemporaryDirectory(prefix="ls-cert-")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
             "/CN=test", "-keyout", f"{d.name}/key", "-out",
             f"{d.name}/cert"], check=True, capture_output=True)
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(f"{d.name}/cert", f"{d.name}/key")
        _cert = ctx, Path(d.name) / "cert", d
    return _cert


class Refused(Exception):
    def __init__(self, status, code, message="", **more):
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        self.more = more


class Request:
    """As it came. headers: [(name as sent, value)]; get() by lower case."""

    def __init__(self, method, target, headers, body, tls):
        self.method, self.target, self.body = method, target, body
        self.headers, self.tls = headers, tls
        self.path, _, self.raw_query = target.partition("?")
        self.query = urllib.parse.parse_qs(self.raw_query, True)
        self.host = self.get("host")
        self.bucket = self.key = self.region = self.action = None
        self.status = None

    def get(self, name, default=""):
        return dict((k.lower(), v) for k, v in self.headers).get(name,
                                                                 default)

    def names(self):
        return {k.lower() for k, _ in self.headers}

    def q(self, name, default=None):
        return self.query.get(name, [default])[0]

    def __repr__(self):
        return f"{self.method} {self.host}{self.target} -> {self.status}"


def signature(r, secret, credential, signed):
    """AWS Signature Version 4 of a request, from what was sent."""
    _, day, region, service, end = credential.split("/")
    head = "".join(f"{n}:{' '.join(r.get(n).split())}\n" for n in signed)
    canon = "\n".join([r.method, r.path, r.raw_query, head,
                       ";".join(signed), r.get("x-amz-content-sha256")])
    scope = f"{day}/{region}/{service}/{end}"
    text = "\n".join(["AWS4-HMAC-SHA256", r.get("x-amz-date"), scope,
                      hashlib.sha256(canon.encode()).hexdigest()])
    k = b"AWS4" + secret.encode()
    for part in (day, region, service, end, text):
        k = hmac.new(k, part.encode(), hashlib.sha256).digest()
    return k.hex()


class FakeS3:
    def __init__(self, keys=None, buckets=("bkt",), tls=False):
        self.keys = keys or {"AK": "SK"}
        self.buckets = set(buckets)
        self.tls = tls
        self.region, self.deny, self.expired = None, set(), set()
        self.skew, self.answer = 0, None
        self.conditional = True
        self.objects, self.uploads, self.log = {}, {}, []
        self.lock = threading.Lock()

    # ---- running -----------------------------------------------------------

    def start(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            rbufsize = 0  # nothing may be read ahead of a TLS handshake
            disable_nagle_algorithm = True

            def log_message(self, *args):
                pass

            def do_CONNECT(self):
                self.wfile.write(b"HTTP/1.1 200 go on\r\n\r\n")
                self.connection = certificate()[0].wrap_socket(
                    self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb", 0)
                self.wfile = self.connection.makefile("wb", 0)
                self.close_connection = False

            def any(self):
                n = self.headers.get("content-length")
                body = b""
                while n and len(body) < int(n):
                    more = self.rfile.read(int(n) - len(body))
                    if not more:
                        return
                    body += more
                tls = isinstance(self.connection, ssl.SSLSocket)
                # A proxy is told the whole URL.
                path = re.sub("^http://[^/]*", "", self.path)
                r = Request(self.command, path,
                            list(self.headers.items()), body, tls)
                status, head, out = fake.handle(r)
                r.status = status
                with fake.lock:
                    fake.log.append(r)
                lines = [f"HTTP/1.1 {status} x"]
                head = {"Date": fake.date(), "Content-Length": len(out),
                        **head}
                lines += [f"{k}: {v}" for k, v in head.items()]
                if r.method == "HEAD":
                    out = b""
                self.wfile.write("\r\n".join([*lines, "", ""]).encode() + out)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = any

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, request, client):
                pass  # clients hang up; a refused certificate does, too

        self.server = Server(("127.0.0.1", 0), Handler)
        if self.tls:
            self.server.socket = certificate()[0].wrap_socket(
                self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,),
                         daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def env(self, key=None):
        key = key or next(iter(self.keys))
        return {"AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": self.keys[key]}

    def url(self, path="p", bucket="bkt", more=""):
        scheme = "https" if self.tls else "http"
        return (f"s3://{bucket}/{path}?endpoint={scheme}://127.0.0.1:"
                f"{self.port}{more}")

    def now(self):
        return time.time() + self.skew

    def date(self):
        return email.utils.formatdate(self.now(), usegmt=True)

    # ---- one request -------------------------------------------------------

    def handle(self, r):
        try:
            early = self.answer and self.answer(r)
            if early:
                return early
            self.route(r)
            self.authenticate(r)
            if r.bucket not in self.buckets:
                raise Refused(404, "NoSuchBucket", "no such bucket")
            if r.action in self.deny:
                raise Refused(403, "AccessDenied",
                              f"not authorized to perform: {r.action}")
            with self.lock:
                return self.operate(r)
        except Refused as no:
            head = {k.replace("_", "-"): v for k, v in no.more.items()
                    if k.startswith("x_")}
            tags = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in
                           no.more.items() if not k.startswith("x_"))
            body = (f'<?xml version="1.0"?><Error><Code>{no.code}</Code>'
                    f"<Message>{escape(no.message)}</Message>{tags}</Error>")
            return no.status, head, b"" if r.method == "HEAD" else \
                body.encode()

    def route(self, r):
        """Bucket, key and the permission that it takes."""
        path = urllib.parse.unquote(r.path)
        host = r.host.split(":")[0]
        for b in sorted(self.buckets, key=len, reverse=True):
            if host.startswith(b + "."):
                r.bucket, r.key = b, path.lstrip("/")
                break
        else:
            path = re.sub(r"^/storage/v1/s3", "", path)  # Supabase
            r.bucket, _, r.key = path.lstrip("/").partition("/")
        kind = (r.method, bool(r.key))
        if "uploads" in r.query and r.method == "GET":
            r.action = "s3:ListBucketMultipartUploads"
        elif r.method == "DELETE" and "uploadId" in r.query:
            r.action = "s3:AbortMultipartUpload"
        elif kind in (("GET", False), ("HEAD", False)):
            r.action = "s3:ListBucket"
        elif r.method in ("GET", "HEAD"):
            r.action = "s3:GetObject"
        elif r.method == "DELETE" or "delete" in r.query:
            r.action = "s3:DeleteObject"
        else:
            r.action = "s3:PutObject"

    def authenticate(self, r):
        m = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\S+), "
                         r"SignedHeaders=(\S+), Signature=([0-9a-f]{64})",
                         r.get("authorization"))
        if not m:
            raise Refused(403, "AccessDenied", "anonymous")
        credential, signed, got = m[1], m[2].split(";"), m[3]
        key, day, r.region, service, _ = credential.split("/")
        if key not in self.keys:
            raise Refused(403, "InvalidAccessKeyId", "the key is unknown")
        if r.get("x-amz-security-token") in self.expired:
            raise Refused(400, "ExpiredToken", "the token has expired")
        if self.region and r.region != self.region:
            raise Refused(301, "PermanentRedirect", "another endpoint",
                          x_amz_bucket_region=self.region)
        at = datetime.datetime.strptime(
            r.get("x-amz-date") + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
        if abs(at - self.now()) > 900:
            raise Refused(403, "RequestTimeTooSkewed", "too far apart",
                          ServerTime=datetime.datetime.utcfromtimestamp(
                              self.now()).strftime("%Y-%m-%dT%H:%M:%SZ"))
        if "host" not in signed or any(
                n.startswith("x-amz-") and n not in signed
                for n in r.names()):
            raise Refused(403, "AccessDenied", "headers are not signed")
        if r.raw_query != "&".join(sorted(r.raw_query.split("&"))) or \
                got != signature(r, self.keys[key], credential, signed):
            raise Refused(403, "SignatureDoesNotMatch", "it does not match")
        digest = r.get("x-amz-content-sha256")
        if digest not in ("UNSIGNED-PAYLOAD",
                          hashlib.sha256(r.body).hexdigest()):
            raise Refused(400, "XAmzContentSHA256Mismatch", "other bytes")
        if r.method in ("PUT", "POST") and "content-length" not in r.names():
            raise Refused(411, "MissingContentLength", "how long?")
        md5 = base64.b64encode(hashlib.md5(r.body).digest()).decode()
        if r.get("content-md5", md5) != md5:
            raise Refused(400, "BadDigest", "other bytes")

    # ---- operations --------------------------------------------------------

    def operate(self, r):
        if not r.key:
            if "delete" in r.query:
                return self.delete_many(r)
            if "uploads" in r.query:
                return 200, {}, b"<ListMultipartUploadsResult/>"
            return self.list(r)
        at = (r.bucket, r.key)
        if r.method == "PUT" and "partNumber" in r.query:
            return self.part(r)
        if r.method == "PUT":
            return self.put(r, at)
        if r.method == "POST" and "uploads" in r.query:
            uid = f"u{len(self.log)}-{len(self.uploads)}"
            self.uploads[uid] = {"head": r.headers, "parts": {}}
            return 200, {}, (f"<InitiateMultipartUploadResult><UploadId>{uid}"
                             "</UploadId></InitiateMultipartUploadResult>"
                             ).encode()
        if r.method == "POST":
            return self.complete(r, at)
        if r.method == "DELETE":
            if "uploadId" in r.query:
                self.uploads.pop(r.q("uploadId"), None)
            else:
                self.objects.pop(at, None)
            return 204, {}, b""
        return self.get(r, at)

    def store(self, at, body, headers):
        self.objects[at] = {
            "body": body, "time": self.now(),
            "etag": f'"{hashlib.md5(body).hexdigest()}"',
            "meta": {k: v for k, v in headers
                     if k.lower().startswith("x-amz-meta-")}}
        return self.objects[at]["etag"]

    def must_be_absent(self, r, at):
        if self.conditional and r.get("if-none-match") == "*" and \
                at in self.objects:
            raise Refused(412, "PreconditionFailed", "it exists")

    def put(self, r, at):
        self.must_be_absent(r, at)
        source = r.get("x-amz-copy-source")
        if source:
            bucket, _, key = urllib.parse.unquote(
                source).lstrip("/").partition("/")
            if (bucket, key) not in self.objects:
                raise Refused(404, "NoSuchKey", "no source")
            o = self.objects[(bucket, key)]
            etag = self.store(at, o["body"], o["meta"].items())
            return 200, {}, (f"<CopyObjectResult><ETag>{escape(etag)}</ETag>"
                             "</CopyObjectResult>").encode()
        return 200, {"ETag": self.store(at, r.body, r.headers)}, b""

    def part(self, r):
        u = self.uploads.get(r.q("uploadId"))
        if u is None:
            raise Refused(404, "NoSuchUpload", "no such upload")
        u["parts"][int(r.q("partNumber"))] = r.body
        return 200, {"ETag": f'"{hashlib.md5(r.body).hexdigest()}"'}, b""

    def complete(self, r, at):
        self.must_be_absent(r, at)
        u = self.uploads.pop(r.q("uploadId"), None)
        if u is None:
            raise Refused(404, "NoSuchUpload", "no such upload")
        body = b"".join(v for _, v in sorted(u["parts"].items()))
        etag = self.store(at, body, u["head"])
        return 200, {}, ("<CompleteMultipartUploadResult><ETag>"
                         f"{escape(etag)}</ETag>"
                         "</CompleteMultipartUploadResult>").encode()

    def delete_many(self, r):
        for key in re.findall(r"<Key>([^<]*)</Key>", r.body.decode()):
            self.objects.pop((r.bucket, key), None)
        return 200, {}, b"<DeleteResult/>"

    def list(self, r):
        prefix, cut = r.q("prefix", ""), r.q("delimiter")
        after = r.q("continuation-token") or r.q("start-after") or ""
        most = int(r.q("max-keys", "1000"))
        out, dirs, n, last = [], set(), 0, ""
        for (b, k), o in sorted(self.objects.items()):
            if b != r.bucket or not k.startswith(prefix) or k <= after:
                continue
            if n == most:
                break
            n, last = n + 1, k
            rest = k[len(prefix):]
            if cut and cut in rest:
                dirs.add(prefix + rest.split(cut)[0] + cut)
                continue
            t = datetime.datetime.utcfromtimestamp(o["time"])
            out.append(f"<Contents><Key>{escape(k)}</Key><LastModified>"
                       f"{t:%Y-%m-%dT%H:%M:%S.000Z}</LastModified><ETag>"
                       f"{escape(o['etag'])}</ETag><Size>{len(o['body'])}"
                       "</Size></Contents>")
        out += [f"<CommonPrefixes><Prefix>{escape(d)}</Prefix>"
                "</CommonPrefixes>" for d in sorted(dirs)]
        more = n == most and any(b == r.bucket and k.startswith(prefix)
                                 and k > last for b, k in self.objects)
        out.append(f"<IsTruncated>{str(more).lower()}</IsTruncated>")
        if more:
            out.append(f"<NextContinuationToken>{escape(last)}"
                       "</NextContinuationToken>")
        return 200, {}, ("<ListBucketResult>" + "".join(out) +
                         "</ListBucketResult>").encode()

    def get(self, r, at):
        o = self.objects.get(at)
        if o is None:
            # As AWS: who may not list is not told whether there is one.
            if "s3:ListBucket" in self.deny:
                raise Refused(403, "AccessDenied", "not authorized")
            raise Refused(404, "NoSuchKey", "no such key")
        if r.get("if-match", o["etag"]) != o["etag"]:
            raise Refused(412, "PreconditionFailed", "another one")
        head = {"ETag": o["etag"], **o["meta"],
                "Last-Modified": email.utils.formatdate(o["time"],
                                                        usegmt=True)}
        body, size = o["body"], len(o["body"])
        m = re.fullmatch(r"bytes=(\d*)-(\d*)", r.get("range"))
        if not m:
            return 200, head, body
        first = int(m[1]) if m[1] else max(0, size - int(m[2]))
        last = min(size - 1, int(m[2])) if m[1] and m[2] else size - 1
        if first >= size:
            raise Refused(416, "InvalidRange", "past the end")
        head["Content-Range"] = f"bytes {first}-{last}/{size}"
        return 206, head, body[first:last + 1]
