"""A small server for ComfyUI's frontend where there is no ComfyUI: the pack's nodes and a few stand-ins for core nodes,
run by the pack's own graph runner. It answers what the frontend asks at its start, keeps settings, takes uploads, runs
prompts one after another. It knows no model folders and nothing of what is tested.

Routes and messages: comfyanonymous/ComfyUI server.py and execution.py.
"""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from pathlib import Path
from types import SimpleNamespace

from aiohttp import WSMsgType, web
from comfyui.host import FOLDERS, PACK, ROOT, Client
from PIL import Image

from comfyui_trajectory.commands.graph import GraphError, Link, Step
from comfyui_trajectory.commands.run import CLASSES, in_order, run_step
from comfyui_trajectory.nodes import NODE_DISPLAY_NAME_MAPPINGS
from comfyui_trajectory.nodes.editor import convert_tracks
from comfyui_trajectory.nodes.host import host as pack_host

SYSTEM = {
    "os": "posix", "ram_total": 8e9, "ram_free": 4e9, "comfyui_version": "0.3.64", "python_version": "3",
    "pytorch_version": "2", "embedded_python": False, "argv": [],
}  # fmt: skip


class SmallHost(Client):
    """`with SmallHost(static folder of a frontend, base) as host`. base: gets an input and an output folder."""

    def __init__(self, frontend: Path, base: Path):
        self.frontend, self.base = frontend, base
        for name in FOLDERS:
            (base / name).mkdir(parents=True, exist_ok=True)
        self.settings, self.history, self.sockets = {}, {}, {}
        self.running: SimpleNamespace | None = None

    # Start and end

    def __enter__(self) -> SmallHost:
        self.before = {name: getattr(pack_host, name) for name in ("output_folder", "input_folder", "show_background")}
        pack_host.output_folder = self.base / "output"
        pack_host.input_folder = lambda: self.base / "input"
        pack_host.show_background = self.show_background
        self.loop, started = asyncio.new_event_loop(), threading.Event()
        self.thread = threading.Thread(target=self.serve, args=(started,), daemon=True)
        self.thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        for name, value in self.before.items():
            setattr(pack_host, name, value)

    def serve(self, started: threading.Event):
        asyncio.set_event_loop(self.loop)
        self.runner = web.AppRunner(self.app(), shutdown_timeout=1)
        self.loop.run_until_complete(self.runner.setup())
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        self.loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        started.set()
        self.loop.run_forever()

    def app(self) -> web.Application:
        fixed = {
            "/users": {"storage": "server", "migrated": True}, "/i18n": {}, "/features": {}, "/embeddings": [],
            "/experiment/models": [], "/system_stats": {"system": SYSTEM, "devices": []}, "/history": {},
            "/queue": {"queue_running": [], "queue_pending": []}, "/prompt": {"exec_info": {"queue_remaining": 0}},
            "/workflow_templates": {},
        }  # fmt: skip
        told = {**{path: lambda value=value: value for path, value in fixed.items()}, "/object_info": object_info,
                "/settings": lambda: self.settings, "/extensions": self.scripts}
        routes = [web.get(path, answering(make)) for path, make in told.items()] + [
            web.get("/ws", self.socket), web.post("/settings", self.set_all),
            web.post("/settings/{name}", self.set_one),
            web.post("/prompt", self.prompt), web.get("/history/{id}", self.entry), web.get("/view", self.view),
            web.post("/upload/image", self.upload), web.post("/trajectory/tracks", self.convert),
        ]  # fmt: skip
        app = web.Application(client_max_size=2**26, middlewares=[fresh])
        app.add_routes(routes)
        app.add_routes(
            [type(route)(route.method, "/api" + route.path, route.handler, route.kwargs) for route in routes]
        )
        app.add_routes([
            web.get("/", self.index), web.static(f"/extensions/{PACK}", ROOT / "web"), web.static("/", self.frontend),
        ])  # fmt: skip
        return app

    # What the frontend asks

    async def index(self, request):
        return web.FileResponse(self.frontend / "index.html")

    def scripts(self) -> list[str]:
        core = (
            "/" + file.relative_to(self.frontend).as_posix() for file in (self.frontend / "extensions").rglob("*.js")
        )
        ours = (file.relative_to(ROOT / "web").as_posix() for file in (ROOT / "web").rglob("*.js"))
        return sorted([*core, *(f"/extensions/{PACK}/{name}" for name in ours)])

    async def set_all(self, request):
        self.settings.update(await request.json())
        return web.Response()

    async def set_one(self, request):
        self.settings[request.match_info["name"]] = await request.json()
        return web.Response()

    async def entry(self, request):
        name = request.match_info["id"]
        return web.json_response({name: self.history[name]} if name in self.history else {})

    async def view(self, request):
        asked = request.query
        folder = (self.base / asked.get("type", "output")).resolve()
        path = (folder / asked.get("subfolder", "") / asked["filename"]).resolve()
        if not path.is_relative_to(folder) or not path.is_file():
            return web.Response(status=404)
        return web.FileResponse(path)

    async def upload(self, request):
        form = await request.post()
        file, subfolder = form["image"], form.get("subfolder", "")
        path = self.base / "input" / subfolder / Path(file.filename).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.file.read())
        return web.json_response({"name": path.name, "subfolder": subfolder, "type": "input"})

    async def convert(self, request):
        try:
            return web.json_response(convert_tracks(await request.read(), dict(request.query)))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)

    async def socket(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[client] = socket
        await socket.send_json(
            {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 0}}, "sid": client}}
        )
        async for message in socket:
            if message.type == WSMsgType.ERROR:
                break
        self.sockets.pop(client, None)
        return socket

    def tell(self, client: str, kind: str, **data):
        if socket := self.sockets.get(client):
            asyncio.run_coroutine_threadsafe(socket.send_json({"type": kind, "data": data}), self.loop).result(30)

    # Prompts

    async def prompt(self, request):
        asked = await request.json()
        name = uuid.uuid4().hex
        self.loop.run_in_executor(None, self.execute, name, asked["prompt"], asked.get("client_id", ""))
        return web.json_response({"prompt_id": name, "number": 0, "node_errors": {}})

    def execute(self, name: str, prompt: dict, client: str):
        steps = {
            id: Step(id, node["class_type"], {
                key: Link(*value) if isinstance(value, list) else value for key, value in node["inputs"].items()
            }) for id, node in prompt.items()
        }  # fmt: skip
        outputs, results, status = {}, {}, {"status_str": "success", "completed": True, "messages": []}
        self.tell(client, "execution_start", prompt_id=name)
        try:
            for step in in_order(
                steps, [step for step in steps.values() if getattr(CLASSES[step.type], "OUTPUT_NODE", False)]
            ):
                self.running = SimpleNamespace(id=step.id, client=client)
                self.tell(client, "executing", node=step.id, display_node=step.id, prompt_id=name)
                results[step.id], shown = run_step(step, results)
                if shown:
                    outputs[step.id] = shown
                    self.tell(client, "executed", node=step.id, display_node=step.id, output=shown, prompt_id=name)
            self.tell(client, "execution_success", prompt_id=name)
        except GraphError as error:
            failure = {"prompt_id": name, "node_id": step.id, "node_type": step.type, "exception_message": str(error),
                       "exception_type": "GraphError", "traceback": [], "executed": list(results)}  # fmt: skip
            status = {"status_str": "error", "completed": False, "messages": [("execution_error", failure)]}
            self.tell(client, "execution_error", **failure)
        self.tell(client, "executing", node=None, prompt_id=name)
        self.history[name] = {"outputs": outputs, "status": status}

    def show_background(self, frames) -> list[dict]:
        """As nodes/host.py's ComfyHost does."""
        shown = []
        for frame in frames:
            file = f"background_{uuid.uuid4().hex}.png"
            Image.fromarray((frame * 255).byte().numpy()).save(self.base / "temp" / file)
            shown.append({"filename": file, "subfolder": "", "type": "temp"})
        _, height, width, _ = frames.shape
        self.tell(
            self.running.client, "trajectory.background", node=self.running.id, images=shown, width=width, height=height
        )
        return shown


def answering(make):
    async def handler(request):
        return web.json_response(make())

    return handler


@web.middleware
async def fresh(request, handler):
    """Scripts are asked for anew with every page, as ComfyUI wants it; everything else may be kept."""
    answer = await handler(request)
    if request.path.startswith("/extensions/"):
        answer.headers["Cache-Control"] = "no-cache"
    return answer


def object_info() -> dict:
    """The node classes as ComfyUI describes them (server.py: node_info)."""
    found = {}
    for name, cls in CLASSES.items():
        inputs = cls.INPUT_TYPES()
        types = list(cls.RETURN_TYPES)
        found[name] = {
            "name": name, "display_name": NODE_DISPLAY_NAME_MAPPINGS.get(name, name), "input": inputs,
            "input_order": {kind: list(entries) for kind, entries in inputs.items()}, "output": types,
            "output_name": list(getattr(cls, "RETURN_NAMES", types)), "output_is_list": [False] * len(types),
            "output_tooltips": list(getattr(cls, "OUTPUT_TOOLTIPS", [])), "is_input_list": False,
            "description": getattr(cls, "DESCRIPTION", ""),
            "category": getattr(cls, "CATEGORY", "image"), "output_node": getattr(cls, "OUTPUT_NODE", False),
            "python_module": f"custom_nodes.{PACK}" if name in NODE_DISPLAY_NAME_MAPPINGS else "nodes",
        }  # fmt: skip
    return found

