"""A real ComfyUI in a process of its own, spoken to over HTTP and its websocket: start, queue, listen, stop.

It installs the pack as a user would, from the files git knows. It does not know what the nodes do.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACK = "ComfyUI-Trajectory"
FOLDERS = ("custom_nodes", "input", "output", "temp", "user", "models")


class Refused(Exception):
    """The host did not take a prompt. `answer`: its JSON, {"error": …, "node_errors": …}."""

    def __init__(self, answer: dict):
        super().__init__(json.dumps(answer, indent=1)[:4000])
        self.answer = answer


def install_pack(custom_nodes: Path) -> Path:
    """Copies what the registry's archive holds: the files that git tracks, so that what a clone would lack is lacking
    here too, without those of .comfyignore."""
    target = custom_nodes / PACK
    lines = (ROOT / ".comfyignore").read_text("utf-8").splitlines()
    ignored = tuple(line for line in lines if line and not line.startswith("#"))
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file() and not name.startswith(ignored):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


class Client:
    """Speaks to the server at `url`, whose folders are below `base`."""

    url: str
    base: Path

    def check(self):
        """Raises RuntimeError where the server is gone."""

    def log(self) -> str:
        return ""

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if answer.headers.get_content_type() == "application/json" else body

    def post(self, path: str, data: dict | None = None):
        request = urllib.request.Request(
            self.url + path, json.dumps(data or {}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def queue(self, prompt: dict, client: str = "") -> str:
        """Queues a graph in API format; gives the prompt's id. Raises Refused where validation fails."""
        try:
            return self.post("/prompt", {"prompt": prompt, "client_id": client})["prompt_id"]
        except urllib.error.HTTPError as error:
            raise Refused(json.loads(error.read())) from error

    def wait(self, prompt_id: str, seconds: float = 300) -> dict:
        """The finished prompt's history entry: {"outputs": …, "status": {"status_str": …, "messages": …}}."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            entry = self.get(f"/history/{prompt_id}").get(prompt_id)
            if entry:
                return entry
            self.check()
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt_id} did not finish within {seconds} s\n{self.log()[-4000:]}")

    def run(self, prompt: dict, seconds: float = 300) -> dict:
        return self.wait(self.queue(prompt), seconds)

    def saved(self, entry: dict) -> list[Path]:
        """The files that a finished prompt wrote into the output folder."""
        found = [
            item
            for output in entry["outputs"].values()
            for items in output.values()
            for item in items
            if isinstance(item, dict) and item.get("type") == "output"
        ]
        return [self.base / "output" / item["subfolder"] / item["filename"] for item in found]


class Host(Client):
    """`with Host(comfyui, python, base) as host`: ready for prompts inside the block, gone after it."""

    def __init__(self, comfyui: Path, python: str, base: Path, frontend: str | None = None, packs: Sequence[Path] = ()):
        self.base = base
        for name in FOLDERS:
            (base / name).mkdir(parents=True, exist_ok=True)
        self.pack = install_pack(base / "custom_nodes")
        for folder in packs:  # beside ours
            shutil.copytree(folder, base / "custom_nodes" / folder.name, dirs_exist_ok=True)
        self.log_path, self.warnings_path = base / "log.txt", base / "warnings.txt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        launch = Path(__file__).with_name("launch.py")
        self.command = [
            python, str(launch), str(comfyui), "--cpu", "--listen", "127.0.0.1", "--port", str(self.port),
            "--base-directory", str(base), "--disable-api-nodes", "--disable-auto-launch", "--preview-method", "auto",
        ]  # fmt: skip
        if frontend:
            self.command += ["--front-end-root", frontend]

    def __enter__(self) -> Host:
        self._log = self.log_path.open("wb")
        env = {**os.environ, "COMFYUI_WARNINGS": str(self.warnings_path), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(self.command, stdout=self._log, stderr=subprocess.STDOUT, env=env)
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                self.get("/object_info/KSampler")
                self.warnings_at_start = self.warnings()
                return self
            except OSError:
                time.sleep(0.3)
        self.__exit__()
        raise RuntimeError(f"ComfyUI did not start: {' '.join(self.command)}\n{self.log()[-4000:]}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()

    def check(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"ComfyUI ended with {self.process.returncode}\n{self.log()[-4000:]}")

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def warnings(self) -> list[str]:
        """What was logged at WARNING or above while a frame of a custom node was on the stack."""
        return self.warnings_path.read_text(encoding="utf-8").splitlines() if self.warnings_path.exists() else []

    def listen(self) -> Listener:
        return Listener(self.port)


class Listener:
    """A websocket client as the frontend is one: `events` are (type, data), `previews` (node id, image bytes)."""

    def __init__(self, port: int):
        self.client = uuid.uuid4().hex
        self.events: list[tuple[str, dict]] = []
        self.previews: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws?clientId={self.client} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self._file = self._socket.makefile("rb")
        assert b"101" in self._file.readline()
        while self._file.readline().strip():
            pass
        self._socket.settimeout(None)
        self._send({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def until(self, condition, seconds: float = 120):
        """Waits until condition(self) holds."""
        with self._changed:
            if not self._changed.wait_for(lambda: condition(self), seconds):
                raise TimeoutError(f"not within {seconds} s; the last events were {self.events[-5:]}")

    def of(self, kind: str) -> list[dict]:
        return [data for name, data in self.events if name == kind]

    def ended(self, prompt_id: str) -> bool:
        ends = ("execution_success", "execution_error", "execution_interrupted")
        return any(name in ends and data.get("prompt_id") == prompt_id for name, data in self.events)

    def _send(self, message: dict):
        payload, mask = json.dumps(message).encode(), os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        assert len(payload) < 126
        self._socket.sendall(bytes([0x81, 0x80 | len(payload)]) + mask + masked)

    def _read(self):
        try:
            while True:
                opcode, payload = self._frame()
                with self._changed:
                    if opcode == 1:
                        message = json.loads(payload)
                        self.events.append((message["type"], message["data"]))
                    elif opcode == 2:
                        self._preview(payload)
                    self._changed.notify_all()
        except (OSError, ValueError, struct.error):
            return  # closed

    def _frame(self) -> tuple[int, bytes]:
        """One unfragmented frame of the server's (RFC 6455, 5.2)."""
        first, second = struct.unpack("!BB", self._file.read(2))
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._file.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._file.read(8))
        return first & 0x0F, self._file.read(size)

    def _preview(self, payload: bytes):
        """comfyanonymous/ComfyUI protocol.py:BinaryEventTypes: 4 is an image behind its JSON description."""
        kind, size = struct.unpack(">II", payload[:8])
        if kind == 4:
            self.previews.append((json.loads(payload[8 : 8 + size])["node_id"], payload[8 + size :]))
