"""An S3 server with an empty bucket behind TLS, with a certificate of its own
authority: who may be trusted is all that is asked of it."""
import http.server
import ssl
import subprocess
import threading

EMPTY = (b'<?xml version="1.0"?><ListBucketResult><Name>b</Name><IsTruncated>'
         b"false</IsTruncated></ListBucketResult>")
KEYS = {"AWS_ACCESS_KEY_ID": "an-access-key",
        "AWS_SECRET_ACCESS_KEY": "a-secret-that-no-answer-has"}
CA_VARIABLES = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE")


class Lists(http.server.BaseHTTPRequestHandler):
    """An S3 server with an empty bucket."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(EMPTY)))
        self.end_headers()
        self.wfile.write(EMPTY)

    def log_message(self, *_):
        pass


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        pass  # handshakes that the client breaks off, as it should


class Server:
    """Runs until stop(); cert is what to trust."""

    def __init__(self, folder, names="DNS:localhost,IP:127.0.0.1"):
        self.cert, key = folder / "ca.pem", folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec",
                        "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", key, "-out", self.cert, "-days", "2",
                        "-subj", "/CN=store", "-addext",
                        f"subjectAltName={names}"],
                       check=True, capture_output=True)
        self.http = Quiet(("127.0.0.1", 0), Lists)
        ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ctx.load_cert_chain(self.cert, key)
        self.http.socket = ctx.wrap_socket(self.http.socket, server_side=True,
                                           do_handshake_on_connect=False)
        threading.Thread(target=self.http.serve_forever).start()

    def url(self, host="127.0.0.1"):
        return (f"s3://b/x?endpoint=https://{host}:"
                f"{self.http.server_address[1]}&region=r")

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
