"""A receiver of alerts that believes the signature as config/docs/alerts.md tells it to."""

import hmac
import http.server
import json
import sys
import time

SECRET = open(sys.argv[1], "rb").read().rstrip()


def is_ours(secret: bytes, header: str, body: bytes) -> bool:
    parts = dict(part.split("=", 1) for part in header.split(","))
    wanted = hmac.new(secret, parts["t"].encode() + b"." + body, "sha256").hexdigest()
    return hmac.compare_digest(wanted, parts["v1"]) and abs(time.time() - int(parts["t"])) < 300


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ours = is_ours(SECRET, self.headers["Sallyport-Signature"], body)
        told = {"ours": ours, "id": self.headers["Sallyport-Id"], "alert": json.loads(body)}
        print(json.dumps(told), flush=True)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
