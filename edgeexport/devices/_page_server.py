"""Serves one job to one page, on this machine only, and takes its results.

Everything is under a path that nobody else can guess, so that another program's or site's request meets 404. What the
page sends is written in pieces to files whose names are numbers, below the job's folder.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

from edgeexport.job import RUNTIMES_FOLDER

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
}
_PIECE = 1 << 20
_LARGEST_TEXT = 64 << 20
_OUTPUT = re.compile(r"outputs/\d{1,4}\.bin")

Event = tuple[str, str]


class PageServer:
    """Serves a job until it is closed.

    Args:
        folder: the job's, with its inputs; outputs and the result are written there.
        models: what ``models/0``, ``models/1``, … are.
        packages: the folder of npm's packages.
        description: the job, for ``job.json``.
        events: gets ``("progress", count)``, ``("token", id)``, ``("result", "")`` and ``("failed", why)``.
    """

    def __init__(
        self,
        folder: Path,
        models: tuple[Path, ...],
        packages: Path,
        description: Mapping[str, Any],
        events: Queue[Event],
    ) -> None:
        self.folder = folder
        self.models = models
        self.packages = packages.resolve()
        self.description = json.dumps(description).encode()
        self.events = events
        self.token = secrets.token_urlsafe(16)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{self.host}/{self.token}/runner.html"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def file(self, name: str) -> Path | None:
        """The file that the page asks for by ``name``; None where there is none for it."""
        kind, _, rest = name.partition("/")
        if kind == "packages":
            return _below(self.packages, rest)
        if kind == "inputs":
            return _below(self.folder / "inputs", rest)
        if kind == "models":
            return self.models[int(rest)] if rest.isdecimal() and int(rest) < len(self.models) else None
        return _below(RUNTIMES_FOLDER, name) if name.endswith((".js", ".html")) else None


def _below(folder: Path, name: str) -> Path | None:
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None


def _handler(server: PageServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """One request; ``server`` says what is there."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            name = self._name()
            if name == "job.json":
                self._answer(200, server.description, ".json")
                return
            path = None if name is None else server.file(name)
            if path is None:
                self._answer(404)
                return
            with path.open("rb") as file:
                size = path.stat().st_size
                self._head(200, path.suffix, size)
                while piece := file.read(_PIECE):
                    self.wfile.write(piece)

        def do_POST(self) -> None:
            name = self._name()
            length = self.headers.get("Content-Length", "")
            if name is None or not length.isdecimal():
                self.close_connection = True
                self._answer(404)
                return
            try:
                done = self._take(name, int(length))
            except OSError as error:
                server.events.put(("failed", f"the page's outputs could not be written: {error.strerror}"))
                self.close_connection = True
                self._answer(507)
                return
            self.close_connection = not done
            self._answer(204 if done else 404)

        def _take(self, name: str, length: int) -> bool:
            """Take what the page sends; False where it is nothing that it may send."""
            if _OUTPUT.fullmatch(name):
                (server.folder / "outputs").mkdir(exist_ok=True)
                with (server.folder / name).open("ab") as file:
                    while length > 0:
                        piece = self.rfile.read(min(length, _PIECE))
                        if not piece:
                            raise OSError(None, "the connection broke")
                        file.write(piece)
                        length -= len(piece)
                return True
            if length > _LARGEST_TEXT:
                return False
            if name in ("progress", "token"):
                server.events.put((name, self.rfile.read(length).decode(errors="replace")))
            elif name == "outputs/index.json":
                (server.folder / "outputs").mkdir(exist_ok=True)
                (server.folder / name).write_bytes(self.rfile.read(length))
            elif name == "result.json":
                (server.folder / "page.json").write_bytes(self.rfile.read(length))
                server.events.put(("result", ""))
            else:
                return False
            return True

        def _name(self) -> str | None:
            """What is asked for below the secret path; None for everybody else."""
            _, token, *rest = [*self.path.partition("?")[0].split("/", 2), ""]
            known = secrets.compare_digest(token.encode(), server.token.encode())
            return rest[0] if known and self.headers.get("Host") == server.host else None

        def _answer(self, status: int, body: bytes = b"", suffix: str = "") -> None:
            self._head(status, suffix, len(body))
            self.wfile.write(body)

        def _head(self, status: int, suffix: str, length: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(length))
            self.send_header("Cache-Control", "no-store")
            # Threads and a clock of microseconds are for isolated pages only.
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Requests are no news."""

    return Handler
