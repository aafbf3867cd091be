"""A small S3 client for the tests: SigV4 over http.client, nothing else.

It is written against the AWS documentation, not against lib/store, so that an
error in one is seen by the other. Path style, loopback, one region.
"""
import datetime
import hashlib
import hmac
import http.client
import urllib.parse
import xml.etree.ElementTree as ET

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def _hmac(key, msg):
    return hmac.new(key, msg.encode(), hashlib.sha256).digest()


def _quote(s, safe="-_.~"):
    return urllib.parse.quote(s, safe=safe)


class S3Error(Exception):
    pass


class S3:
    def __init__(self, port, key, secret, region="us-east-1"):
        self.host = f"127.0.0.1:{port}"
        self.port, self.key, self.secret = port, key, secret
        self.region = region
        self.conn = None

    def env(self):
        return {"LITESTREAM_ACCESS_KEY_ID": self.key,
                "LITESTREAM_SECRET_ACCESS_KEY": self.secret}

    def url(self, bucket, path, port=None):
        return (f"s3://{bucket}/{path}?endpoint=http://127.0.0.1:"
                f"{port or self.port}&forcePathStyle=true"
                f"&region={self.region}")

    def _sign(self, method, path, query, body):
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(body).hexdigest()
        head = {"host": self.host, "x-amz-content-sha256": digest,
                "x-amz-date": stamp}
        names = ";".join(head)
        canon = "\n".join([method, path, query,
                           "".join(f"{k}:{v}\n" for k, v in head.items()),
                           names, digest])
        scope = f"{day}/{self.region}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope,
                          hashlib.sha256(canon.encode()).hexdigest()])
        k = ("AWS4" + self.secret).encode()
        for part in (day, self.region, "s3", "aws4_request"):
            k = _hmac(k, part)
        head["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, "
            f"SignedHeaders={names}, Signature={_hmac(k, text).hex()}")
        return head

    def request(self, method, bucket, key="", query=None, body=b""):
        path = "/" + _quote(bucket) + ("/" + _quote(key, "-_.~/")
                                       if key else "")
        q = "&".join(f"{_quote(k)}={_quote(str(v))}"
                     for k, v in sorted((query or {}).items()))
        head = self._sign(method, path, q, body)
        for attempt in (0, 1):  # a kept-alive connection may have been closed
            if self.conn is None:
                self.conn = http.client.HTTPConnection(self.host, timeout=60)
            try:
                self.conn.request(method, path + ("?" + q if q else ""),
                                  body, head)
                r = self.conn.getresponse()
                return r.status, r.headers, r.read()
            except (http.client.HTTPException, OSError):
                self.conn.close()
                self.conn = None
                if attempt:
                    raise
        raise AssertionError("unreachable")

    def _ok(self, what, answer):
        if answer[0] // 100 != 2:
            raise S3Error(f"{what}: {answer[0]} {answer[2][:300]!r}")
        return answer[2]

    def make_bucket(self, bucket):
        self._ok(f"make bucket {bucket}", self.request("PUT", bucket))

    def get(self, bucket, key):
        return self._ok(f"get {key}", self.request("GET", bucket, key))

    def put(self, bucket, key, body):
        self._ok(f"put {key}", self.request("PUT", bucket, key, body=body))

    def delete(self, bucket, key):
        self._ok(f"delete {key}", self.request("DELETE", bucket, key))

    def list(self, bucket, prefix="", after=""):
        """[(key, size)] in key order, all pages."""
        return [(c.find(NS + "Key").text, int(c.find(NS + "Size").text))
                for c in self._contents(bucket, prefix, after)]

    def times(self, bucket, prefix=""):
        """(key, the server's time of its PUT as seconds since 1970)."""
        for c in self._contents(bucket, prefix, ""):
            at = datetime.datetime.fromisoformat(
                c.find(NS + "LastModified").text.replace("Z", "+00:00"))
            yield c.find(NS + "Key").text, at.timestamp()

    def _contents(self, bucket, prefix, after):
        token = None
        while True:
            q = {"list-type": 2, "prefix": prefix}
            if after:
                q["start-after"] = after
            if token:
                q["continuation-token"] = token
            doc = ET.fromstring(self._ok("list", self.request(
                "GET", bucket, query=q)))
            yield from doc.iter(NS + "Contents")
            token = doc.findtext(NS + "NextContinuationToken")
            if not token:
                return
