"""The editor without the graph: a small web server on the loopback address that shows web/editor over a picture or a
video and saves what is drawn. It serves the pack's own page and that one picture, and writes one set of files; nothing
else can be asked of it. Knows no curve: trajectory/spline.py evaluates what is saved."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from PIL import Image, ImageOps

from ..nodes.editor import convert_tracks
from ..trajectory import Tracks, write_tracks
from ..trajectory.document import MAX_FRAMES, MAX_TEXT, parse
from ..trajectory.files import write_files
from ..trajectory.formats import FORMAT, VERSION, to_document

PAGE = Path(__file__).resolve().parents[1] / "web" / "editor"
# What browsers show themselves; other pictures are handed over as PNG.
PICTURES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "BMP": "image/bmp"}
VIDEOS = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime",
    ".webm": "video/webm", ".mkv": "video/x-matroska",
}  # fmt: skip
KINDS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
MAX_BODY = 64 * 1024 * 1024  # bytes of a track file that is dropped onto the page
PIECE = 1024 * 1024  # bytes that are sent at once
# The page is all there is: nothing is loaded from elsewhere, and it cannot be framed by another site.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self' blob: data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
log = logging.getLogger(__name__)


class Refused(Exception):
    """A request that is not answered; the status says why."""

    def __init__(self, status: HTTPStatus, reason: str = ""):
        super().__init__(reason or status.phrase)
        self.status = status


@dataclass(frozen=True)
class Session:
    """What is drawn on, and where it is saved. picture: its content as (kind, bytes), or None for a video, which is
    sent from its file. output: a track file; the drawing is kept in the .json of that name, to go on with later."""

    file: Path
    size: tuple[int, int]
    frames: int
    fps: float
    picture: tuple[str, bytes] | None
    output: Path

    @property
    def drawing(self) -> Path:
        return self.output.with_suffix(".json")

    def describe(self) -> dict:
        width, height = self.size
        return {
            "name": self.file.name, "kind": "image" if self.picture else "video", "width": width, "height": height,
            "frames": self.frames, "fps": self.fps, "saves_to": str(self.output),
        }  # fmt: skip

    def save(self, state: str) -> dict:
        """Writes the tracks of a drawing. TracksError where it is not one; the files are then as they were. A drawing
        without tracks is kept, too: a track file that has none."""
        drawn, tracks = parse(state), None
        content = {"format": FORMAT, "version": VERSION, "canvas": drawn.canvas, "fps": drawn.fps, "tracks": []}
        if not all(track.hidden for track in drawn.tracks):
            tracks = Tracks.from_editor(state)
            content = to_document(tracks)
        content["editor"] = state
        write_files({self.drawing: json.dumps(content).encode()})
        if tracks is not None and self.output != self.drawing:
            write_tracks(self.output, tracks)
        return {"saved": str(self.output), "tracks": tracks.count if tracks else 0, "frames": drawn.frames}


def saved_drawing(path: Path) -> str:
    """The drawing in a track file of ours; empty where there is no file."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} exists, but is no track file ({error}). Choose another --output.") from error
    state = content.get("editor") if isinstance(content, dict) else None
    if not isinstance(state, str):
        raise ValueError(f"{path} exists, but holds no drawing; it is not written over. Choose another --output.")
    return state


def open_session(file: Path, output: Path | None = None, frames: int = 0, fps: float = 0.0) -> Session:
    """Looks at the picture or video to draw on. frames, fps: of the clip (default: the video's; 81 at 16 for a
    picture)."""
    if not file.is_file():
        raise ValueError(f"{file}: there is no such picture or video.")
    found = read_picture(file) if file.suffix.lower() not in VIDEOS else None
    size, length, rate = (found[0], 81, 16.0) if found else probe_video(file)
    if not 0 <= frames <= MAX_FRAMES or not frames and length > MAX_FRAMES:
        raise ValueError(f"{file}: {frames or length} frames; a drawing has 1 to {MAX_FRAMES}. Give --frames.")
    output = output or Path(f"{file.stem}.tracks.json")
    session = Session(file, size, frames or length, fps or rate, found and found[1], output)
    saved_drawing(session.drawing)  # a file that would not be written over is told now
    return session


def read_picture(file: Path) -> tuple[tuple[int, int], tuple[str, bytes]]:
    """-> (width, height) as it is shown, upright, and what to send to the browser: (kind, bytes)."""
    try:
        with Image.open(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            if picture.format in PICTURES:
                return upright.size, (PICTURES[picture.format], file.read_bytes())
            packed = io.BytesIO()
            upright.convert("RGB").save(packed, "PNG")
            return upright.size, ("image/png", packed.getvalue())
    except (OSError, SyntaxError, ValueError) as error:
        known = ", ".join(VIDEOS)
        raise ValueError(f"{file} is not a picture that can be read ({error}); videos end in {known}.") from error


def probe_video(file: Path) -> tuple[tuple[int, int], int, float]:
    """-> (width, height), frames, frames per second."""
    import av

    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            size, rate = (stream.width, stream.height), float(stream.average_rate or 16)
            frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
    except (av.error.FFmpegError, IndexError) as error:
        raise ValueError(f"{file} is not a video that can be read ({error}).") from error
    if not frames:
        raise ValueError(f"{file} holds no frames.")
    return size, frames, rate


def page_files() -> dict[str, Path]:
    """What may be asked for: the files of the page that are there now, by their names below web/editor."""
    found = (path for path in PAGE.rglob("*") if path.suffix in KINDS and path.is_file())
    return {path.relative_to(PAGE).as_posix(): path for path in found}


def make_server(session: Session, port: int = 0) -> ThreadingHTTPServer:
    """A server that answers on 127.0.0.1 only; port 0: a free one."""
    handler = type("Handler", (Handler,), {"session": session, "files": page_files()})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    return server


class Handler(BaseHTTPRequestHandler):
    session: Session
    files: dict[str, Path]
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        self.respond(self.get)

    def do_POST(self) -> None:
        self.respond(self.post)

    def respond(self, answer) -> None:
        try:
            self.check_origin()
            answer(urlsplit(self.path))
        except Refused as refused:
            self.close_connection = True  # a body may be left unread
            self.send_json({"error": str(refused)}, refused.status)
        except ValueError as error:
            self.send_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the browser has seen enough of a video

    def check_origin(self) -> None:
        """Turns away other sites' pages: one that reaches this address under a name of its own (DNS rebinding), and one
        that sends something here. Browsers name the page's site with every POST."""
        here = [f"{name}:{self.server.server_address[1]}" for name in ("127.0.0.1", "localhost")]
        host, origin = self.headers.get("Host"), self.headers.get("Origin")
        if host not in here or origin is not None and origin.removeprefix("http://") not in here:
            raise Refused(HTTPStatus.FORBIDDEN)

    def get(self, url) -> None:
        name = url.path.removeprefix("/") or "standalone.html"
        if name == "info":
            self.send_json(self.session.describe())
        elif name == "tracks":
            self.send("application/json", saved_drawing(self.session.drawing).encode())
        elif name == "background" and self.session.picture:
            self.send(*self.session.picture)
        elif name == "background":
            self.send_file(self.session.file, VIDEOS[self.session.file.suffix.lower()])
        elif name in self.files:
            self.send(KINDS[self.files[name].suffix] + "; charset=utf-8", self.files[name].read_bytes())
        else:
            raise Refused(HTTPStatus.NOT_FOUND)

    def post(self, url) -> None:
        if url.path == "/tracks":
            self.send_json(self.session.save(self.body(4 * MAX_TEXT).decode("utf-8")))
        elif url.path == "/trajectory/tracks":  # as the node's own page asks ComfyUI
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            self.send_json(convert_tracks(self.body(MAX_BODY), query))
        else:
            raise Refused(HTTPStatus.NOT_FOUND)

    def body(self, most: int) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,15}", length):
            raise Refused(HTTPStatus.LENGTH_REQUIRED)
        if int(length) > most:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{int(length):,} bytes; at most {most:,} are read.")
        return self.rfile.read(int(length))

    def send_json(self, value: dict, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send("application/json", json.dumps(value).encode(), status)

    def send(self, kind: str, content: bytes, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_head(status, {"Content-Type": kind, "Content-Length": str(len(content))})
        self.wfile.write(content)

    def send_file(self, path: Path, kind: str) -> None:
        """A file, or the part that is asked for (RFC 9110, 14): players jump in a video."""
        size = os.path.getsize(path)
        first, last, status = 0, size - 1, HTTPStatus.OK
        asked = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", self.headers.get("Range", ""))
        if asked and any(asked.groups()):
            begin, end = asked.groups()
            first, last = (int(begin), min(int(end or last), last)) if begin else (max(size - int(end), 0), last)
            if first > last:
                raise Refused(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            status = HTTPStatus.PARTIAL_CONTENT
        head = {"Content-Type": kind, "Content-Length": str(last - first + 1), "Accept-Ranges": "bytes"}
        if status is HTTPStatus.PARTIAL_CONTENT:
            head["Content-Range"] = f"bytes {first}-{last}/{size}"
        self.send_head(status, head)
        with path.open("rb") as file:
            file.seek(first)
            left = last - first + 1
            while left and (piece := file.read(min(PIECE, left))):
                self.wfile.write(piece)
                left -= len(piece)

    def send_head(self, status: HTTPStatus, head: dict[str, str]) -> None:
        self.send_response(status)
        always = {"Cache-Control": "no-store", "Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff"}
        for name, value in {**head, **always, "Referrer-Policy": "no-referrer"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *values) -> None:
        log.info(format, *values)


def serve(session: Session, port: int, tell, open_browser: bool) -> None:
    """Runs until Ctrl-C. tell: called with lines for the user."""
    with make_server(session, port) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        tell([f"draw at {url}", f"tracks are saved to {session.output}; Ctrl-C ends"])
        if open_browser:
            import webbrowser

            webbrowser.open(url)
        server.serve_forever()
