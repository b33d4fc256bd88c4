# SPDX-License-Identifier: Apache-2.0
"""A server that behaves as a test says, and keeps all that a client sent it."""

import contextlib
import socket
import ssl
import threading

CHUNK = 1 << 16


class Peer:
    """Listens on 127.0.0.1. `context`: speaks TLS by it; `greeting`: is sent first, in clear or
    inside of TLS; `answer(data)`: what is sent back for what came, or None; `flood`: is sent again
    and again behind the first answer.

    raw: bytes that came in clear, a connection each; inside: bytes that came by TLS after a
    handshake that the client completed; failures: of handshakes, as the library names them.
    """

    def __init__(self, context=None, greeting=b"", answer=None, flood=b"", kept=4096):
        self.raw, self.inside, self.failures = [], [], []
        self.connections = 0
        self._context, self._greeting, self._answer = context, greeting, answer
        self._flood = flood
        self._kept = kept
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def end(self):
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    @property
    def everything(self):
        return b"\n".join(self.raw + self.inside)

    def _accept(self):
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        client.settimeout(20)
        with contextlib.closing(client), contextlib.suppress(OSError):
            if self._context is None:
                self._talk(client, self.raw)
                return
            try:
                client = self._context.wrap_socket(client, server_side=True)
            except (ssl.SSLError, OSError) as error:
                self.failures.append(str(error))
                return
            self._talk(client, self.inside)

    def _talk(self, client, kept):
        kept.append(b"")
        mine = len(kept) - 1
        if self._greeting:
            client.sendall(self._greeting)
        while data := client.recv(CHUNK):
            kept[mine] = (kept[mine] + data)[:self._kept]
            reply = self._answer(data) if self._answer else None
            if reply:
                client.sendall(reply)
            while self._flood:
                client.sendall(self._flood)


def tls_context(certificate, key, old=False):
    """Of a server. old: it speaks TLS 1.0 and 1.1 and nothing later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if old:
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(certificate, key)
    return context
