"""An engine's endpoint, as small as it can be: checks the signature, and gives new members access through the connector.

    python3 engine.py COMMAND [ARGUMENT...]

Listens on 127.0.0.1, port PORT or 8900, says where, and asks for MEMBERSPOT_FORWARD_SECRET. For each `user_added` it runs the command, with the input of
`grant-access` as the last argument: for the offer that the event names, else for one of the simulated Memberspot's.
"""

import base64
import hashlib
import hmac
import http.server
import json
import os
import subprocess
import sys
import time

# Taken out, since the command has no use for it.
SECRET = base64.b64decode(os.environ.pop("MEMBERSPOT_FORWARD_SECRET").removeprefix("whsec_"))
FIVE_MINUTES = 300


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.deal_with(body) if self.is_signed(body) else 401
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def is_signed(self, body):
        webhook_id, timestamp = self.headers.get("webhook-id", ""), self.headers.get("webhook-timestamp", "")
        if not timestamp.isdecimal() or abs(time.time() - int(timestamp)) > FIVE_MINUTES:
            return False
        signed = f"{webhook_id}.{timestamp}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
        return hmac.compare_digest(expected, self.headers.get("webhook-signature", ""))

    def deal_with(self, body):
        event = json.loads(body)
        # To grant something may be an event itself, and one thing leads to another.
        if event["name"] != "user_added":
            return 204
        access = json.dumps({"email": event.get("email"), "offerId": event.get("offerId", "offer-breath")})
        return 204 if subprocess.run([*sys.argv[1:], access]).returncode == 0 else 502


server = http.server.HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8900"))), Endpoint)
print(f"http://127.0.0.1:{server.server_port}/", flush=True)
server.serve_forever()
