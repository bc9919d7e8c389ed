"""A custom handler of Python's standard library: a queue function and an HTTP function.

functions_host shared/functions_host/examples/python/app
"""

import base64
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def greet(envelope):
    # "dataType": "binary" in function.json: the message is base64.
    name = base64.b64decode(envelope["Data"]["message"]).decode()
    greeting = os.environ.get("GREETING", "hello")
    return {"Outputs": {"greetings": [f"{greeting}, {name}"]}, "Logs": [f"greeted {name}"]}


def hello(envelope):
    name = envelope["Data"]["req"]["Params"]["name"]
    return {"Outputs": {"res": {"statusCode": 200, "body": f"hello, {name}"}}}


FUNCTIONS = {"/greet": greet, "/hello": hello}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # the host's probe
        self.answer(200, {})

    def do_POST(self):
        envelope = json.loads(self.body())
        function = FUNCTIONS.get(self.path)
        if function is None:
            self.answer(404, {"error": "no such function"})
        else:
            self.answer(200, function(envelope))

    def body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        body = b""  # the host sends envelopes in chunks
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["FUNCTIONS_CUSTOMHANDLER_PORT"])), Handler).serve_forever()
