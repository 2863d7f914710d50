"""A transmitter of security events that is polled (RFC 8936), by Python's own HTTP server: transmitter.py PORT SECRET

Each line in is a list of {"jti": "...", "token": "..."}: events to hold, from one moment on, until they are acknowledged. Each line out is one poll, as it came.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, secret = int(sys.argv[1]), sys.argv[2]
held, changed = {}, threading.Condition()


class Transmitter(BaseHTTPRequestHandler):
    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers["authorization"] != f"Bearer {secret}":
            return self.answer(401, {})
        with changed:
            for jti in request.get("ack", []) + list(request.get("setErrs", {})):
                held.pop(jti, None)
            print(json.dumps(request), flush=True)
            if not request.get("returnImmediately") and not held:
                changed.wait(2)
            first = dict(list(held.items())[: request["maxEvents"]])
            return self.answer(200, {"sets": first, "moreAvailable": len(held) > len(first)})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", port), Transmitter)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
for line in sys.stdin:
    events = json.loads(line)
    with changed:
        held.update({event["jti"]: event["token"] for event in events})
        changed.notify_all()
