"""The gateway's admin socket: HTTP over a Unix socket."""

import http.client
import json
import socket
import struct
import urllib.parse


def connect(path, timeout):
    """Blocks while the socket's queue is full, which a socket of Python's with a time-out does not."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    seconds = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
    try:
        s.connect(path)
    except BaseException:
        s.close()
        raise
    s.settimeout(timeout)
    return s


class Connection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("gateway", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = connect(self.path, self.timeout)


class Admin:
    """Each request is a connection of its own."""

    def __init__(self, path):
        self.path = path

    def request(self, method, target, body=None, headers=None):
        """(status, headers, body as text)"""
        connection = Connection(self.path)
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()
        finally:
            connection.close()

    def get(self, path, **parameters):
        """(status, JSON)"""
        query = "?" + urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote) if parameters else ""
        status, _, body = self.request("GET", path + query)
        return status, json.loads(body)

    def delete(self, path):
        status, _, body = self.request("DELETE", path)
        return status, json.loads(body)

    def metrics(self):
        """{(name, ((label, value), ...)): value}, labels sorted by name."""
        found = {}
        for line in self.request("GET", "/metrics")[2].splitlines():
            if line.startswith("#"):
                continue
            name, _, value = line.rpartition(" ")
            name, _, labels = name.partition("{")
            pairs = [tuple(pair.split("=", 1)) for pair in labels.rstrip("}").split(",")] if labels else []
            found[name, tuple(sorted((key, text.strip('"')) for key, text in pairs))] = float(value)
        return found

    def total(self, name, **labels):
        """The sum of all samples of that name which have these labels."""
        wanted = set(labels.items())
        return sum(value for (found, pairs), value in self.metrics().items() if found == name and wanted <= set(pairs))

    def refusals(self, cause, tenant=""):
        return self.total("sluice_refusals_total", cause=cause, tenant=tenant)
