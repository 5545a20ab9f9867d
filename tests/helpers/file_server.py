"""A local HTTP server of one file, with ETag and ranges as download servers have, that breaks off where required."""

import contextlib
import http.server
import threading
from collections.abc import Iterator


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `content` at any path.

    `breaks`: for each of the next requests the number of bytes after which the connection is closed. `status`: sent
    instead of the file. `ranges`: whether parts are served. `requests` lists the Range header of each request.
    """

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.etag, self.breaks, self.status, self.ranges = content, '"first"', [], 200, True
        self.requests: list[str | None] = []
        self.release = threading.Event()  # bodies are sent once it is set
        self.release.set()

    def address(self, name: str = "net.pth") -> str:
        """An address on this server. Example: `server.address("a.pth")`."""
        return f"http://127.0.0.1:{self.server_address[1]}/models/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers["Range"]
        server.requests.append(wanted)
        if server.status != 200:
            return self.send_error(server.status)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        partial = bool(wanted) and server.ranges and self.headers["If-Range"] == server.etag
        if partial and start >= len(server.content):
            return self.send_error(416)
        body = server.content[start if partial else 0 :]
        self.send_response(206 if partial else 200)
        self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        server.release.wait(60)
        self.wfile.write(body[: server.breaks.pop(0)] if server.breaks else body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """A running server. Example: `with serving(b"weights") as server: ...`."""
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
