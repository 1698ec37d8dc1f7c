"""An engine's endpoint, as small as it can be: checks the signature, and gives access through the connector.

    python3 engine.py COMMAND [ARGUMENT...]

Listens on 127.0.0.1:8900 and asks for MEMBERSPOT_FORWARD_SECRET. For each event it runs the command, with the input of
`grant-access` as the last argument.
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
        access = json.dumps({"email": event.get("email"), "offerId": event.get("offerId")})
        return 204 if subprocess.run([*sys.argv[1:], access]).returncode == 0 else 502


http.server.HTTPServer(("127.0.0.1", 8900), Endpoint).serve_forever()
