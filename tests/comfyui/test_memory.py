"""Memory and failures in a real ComfyUI: weights lent in part, out of memory, cancels, models that come and go.

A pack of the tests' own (probe/) sits beside ours in that ComfyUI and brings these about at one exact call.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from comfyui.graphs import tracks_to_video, without
from comfyui.headless import result
from comfyui.host import ROOT
from comfyui.test_easyanimate import graph as easyanimate
from comfyui.test_queue import failure
from comfyui.test_tora import tora
from comfyui_trajectory.commands.graph import Link, read_graph
from comfyui_trajectory.commands.run import CLASSES
from safetensors.torch import load_file
from tiny_tora import I2V

HERE = Path(__file__).parent
GRAPHS = {
    "ati": tracks_to_video(),
    "tora": without(tora(model__model_name=I2V), "shown"),
    "easyanimate": easyanimate("control"),
}
NETWORKS = {"ati": "WanTransformer", "tora": "CogVideoXTransformer", "easyanimate": "EasyAnimateTransformer"}


pytestmark = pytest.mark.usefixtures("files_of_probed")


@pytest.fixture
def host(probed):
    return probed


@pytest.fixture
def headless(cache={}):
    """{system: (latents, frames)} as the same graphs give without ComfyUI."""
    for name, graph in GRAPHS.items():
        if name not in cache:
            cache[name] = result(graph, "sampler")[0]["samples"], result(graph, "decode")[0]
    return cache


def free(host, wanted: dict, done, seconds: float = 20):
    """Asks ComfyUI to free until done(): it does so between two prompts, and misses a request that comes just then."""
    start = asked = time.monotonic()
    host.post("/free", wanted)
    while not done():
        assert time.monotonic() < start + seconds, (host.get("/probe/memory"), host.get("/probe/alive"))
        if time.monotonic() > asked + 3:
            asked = time.monotonic()
            host.post("/free", wanted)
        time.sleep(0.05)


def fresh(host):
    """Frees every cached result and every model, which ComfyUI does between two prompts, and waits until it has: no
    model is loaded then, and nothing holds a network."""
    wanted = {"unload_models": True, "free_memory": True}
    free(host, wanted, lambda: not host.get("/probe/memory")["loaded"] and not host.get("/probe/alive")["containers"])


def with_latents(graph: dict, **changes) -> dict:
    """The graph with nothing but its latents saved."""
    made = {**without(graph, "decode", "frames", "video", "saved", "shown")}
    made["saved_latent"] = {
        "class_type": "SaveLatent", "inputs": {"samples": ["sampler", 0], "filename_prefix": "latents"},
    }  # fmt: skip
    for key, value in changes.items():
        node, _, name = key.partition("__")
        made[node] = {**made[node], "inputs": {**made[node]["inputs"], name: value}}
    return made


def latents(host, graph: dict, **changes) -> torch.Tensor:
    """Runs the graph anew."""
    fresh(host)
    entry = host.run(with_latents(graph, **changes))
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    (file,) = host.saved(entry)
    return load_file(file)["latent_tensor"]


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-5)


ROOM = pytest.mark.parametrize("room", [None, 1, 20_000], ids=["whole", "all lent", "in part"])


def latents_with_room(host, room: int | None, graph: dict) -> torch.Tensor:
    """Of a run of `graph` on a device with room for so many bytes of each model's weights."""
    logged = len(host.log())
    host.post("/probe/lend", {"bytes": room})
    try:
        found = latents(host, graph)
    finally:
        host.post("/probe/lend", {"bytes": None})
    (line,) = [line for line in host.log()[logged:].splitlines() if line.startswith("sampling ")]
    assert ("the rest is lent to it for each use" in line) == (room is not None), line
    return found


@ROOM
@pytest.mark.parametrize("name", GRAPHS)
def test_the_same_seed_gives_the_same_latents_headless_and_in_comfyui_however_much_of_the_model_is_loaded(
    host, headless, name, room
):
    assert close(latents_with_room(host, room, GRAPHS[name]), headless[name][0])


def patch_for(*shape: int) -> torch.Tensor:
    """What the probe adds."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)) / 3


PATCHED = {
    "an ordinary weight": ("blocks.0.ffn.0.weight", 0),
    "an ordinary weight, low rank": ("blocks.0.ffn.0.weight", 2),
    "a norm's weight": ("blocks.0.norm3.weight", 0),
    "a parameter between layers": ("blocks.1.modulation", 0),
}


@ROOM
@pytest.mark.parametrize(("key", "rank"), PATCHED.values(), ids=PATCHED)
def test_patches_are_comfyuis_own_and_the_model_without_them_stays_as_it_is(host, headless, key, rank, room):
    graph = json.loads(json.dumps(GRAPHS["ati"]))
    inputs = {"model": ["model", 0], "key": key, "strength": 0.5, "rank": rank}
    graph["patch"] = {"class_type": "ProbePatch", "inputs": inputs}
    graph["sampler"]["inputs"]["model"] = ["patch", 0]
    patched = latents_with_room(host, room, graph)

    done = {}
    (model,) = result(GRAPHS["ati"], "model", done)  # what was done is kept, and the sampler runs with this model
    weight = model.module.get_parameter(key)
    rows, *columns = weight.shape
    added = 0.7 * patch_for(rows, rank) @ patch_for(rank, *columns) if rank else patch_for(rows, *columns)
    weight.data = weight.data + 0.5 * added
    assert close(patched, result(GRAPHS["ati"], "sampler", done)[0]["samples"])
    assert not close(patched, headless["ati"][0])
    assert close(latents_with_room(host, room, GRAPHS["ati"]), headless["ati"][0])


def test_a_patched_model_and_its_original_alternate_in_one_graph(host, headless):
    graph = with_latents(GRAPHS["ati"])
    graph["patch"] = {
        "class_type": "ProbePatch",
        "inputs": {"model": ["model", 0], "key": "blocks.0.ffn.0.weight", "strength": 0.5, "rank": 0},
    }  # fmt: skip
    graph["other"] = {**graph["sampler"], "inputs": {**graph["sampler"]["inputs"], "model": ["patch", 0]}}
    graph["saved_other"] = {**graph["saved_latent"], "inputs": {"samples": ["other", 0], "filename_prefix": "other"}}
    fresh(host)
    entry = host.run(graph)
    one, other = (load_file(file)["latent_tensor"] for file in sorted(host.saved(entry)))
    assert close(one, headless["ati"][0]) and not close(other, one)
    assert host.get("/probe/memory")["loaded"].count("WanTransformer") == 1


@ROOM
def test_fp8_with_a_scale_gives_the_same_latents_in_comfyui(host, room):
    graph = json.loads(json.dumps(GRAPHS["ati"]))
    graph["model"]["inputs"]["weight_dtype"] = "fp8_e4m3fn"
    assert close(latents_with_room(host, room, graph), result(graph, "sampler")[0]["samples"])


def test_no_weight_that_comfyui_lends_is_touched_where_it_lies(host, headless, tmp_path):
    graphs, results = tmp_path / "graphs.json", tmp_path / "results.safetensors"
    graphs.write_text(json.dumps(GRAPHS))
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    command = [python, HERE / "lent_weights.py", os.environ["COMFYUI_PATH"], host.base / "models", graphs, results]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert ran.returncode == 0, ran.stderr[-3000:]
    lent = json.loads(ran.stdout.splitlines()[-1])
    assert set(NETWORKS.values()) < set(lent) and min(lent.values()) > 5, lent
    found = load_file(results)
    for name, (samples, frames) in headless.items():
        assert close(found[name], samples) and close(found[name + " pixels"], frames), name


@pytest.mark.parametrize("name", GRAPHS)
def test_out_of_memory_inside_a_block_is_the_hosts_own_and_the_next_run_succeeds(host, headless, name):
    fresh(host)
    block = "Linear"  # of ComfyUI's layers below ours; the 30th call is inside the first steps' blocks
    host.post("/probe/trap", {"what": "oom", "module": block, "call": 30})
    error = failure(host.run(with_latents(GRAPHS[name])))
    assert error["exception_type"].endswith("OutOfMemoryError") and "TIPS" in error["exception_message"]
    assert host.get("/probe/memory")["loaded"] == []
    entry = host.run(with_latents(GRAPHS[name]))  # what was encoded before is still there
    assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
    assert close(load_file(host.saved(entry)[0])["latent_tensor"], headless[name][0])


@pytest.mark.parametrize("name", GRAPHS)
def test_a_cancel_in_any_of_ten_steps_leaves_nothing_behind(host, headless, name):
    done = {}
    result(GRAPHS[name], "encode", done), result(GRAPHS[name], "text", done)
    for step in range(1, 11):  # each with a seed of its own, so that nothing of it is cached
        graph = with_latents(GRAPHS[name], sampler__steps=10, sampler__cfg=1.0, sampler__seed=100 + step)
        host.post("/probe/trap", {"what": "cancel", "module": NETWORKS[name], "call": step})
        kinds = [kind for kind, _ in host.run(graph)["status"]["messages"]]
        assert kinds[-1] == "execution_interrupted", (step, kinds)
        again = host.run(graph)
        assert again["status"]["status_str"] == "success", again["status"]["messages"]
        found = load_file(host.saved(again)[0])["latent_tensor"]
        done.pop("sampler", None)
        assert close(found, result(graph, "sampler", done)[0]["samples"]), step


def test_the_log_says_what_was_loaded_where_and_what_is_expected(host):
    latents(host, GRAPHS["ati"], sampler__seed=31)
    lines = [line for line in host.log().splitlines() if "sampling 5 frames of 32x32" in line]
    told = r": tiny_transformer.safetensors, 0.2 of 0.2 MiB on cpu; 0.\d MiB more are expected to be needed\.$"
    assert re.search(told, lines[-1]), lines[-1]


def test_unload_leaves_no_model_and_free_no_weights(host):
    host.run(with_latents(GRAPHS["ati"], sampler__seed=32))
    parts = {NETWORKS["ati"], "WanVAE", "UMT5EncoderModel", "CLIPVisionModel"}
    assert parts == {*host.get("/probe/memory")["loaded"]}
    free(host, {"unload_models": True}, lambda: not host.get("/probe/memory")["loaded"])
    assert parts == {*host.get("/probe/alive")["containers"]}  # results are cached, models among them
    fresh(host)  # fails where anything stays


def embedded_graphs() -> list[dict]:
    """The workflows of the embedded models, in API format, with one step and saving nothing but the video."""
    found = []
    for file in sorted((ROOT / "workflows").glob("*_embedded.json")):
        steps = read_graph(file, CLASSES)
        graph = {id: {"class_type": step.type, "inputs": dict(step.inputs)} for id, step in steps.items()}
        for node in graph.values():
            for name, value in node["inputs"].items():
                if isinstance(value, Link):
                    node["inputs"][name] = [value.source, value.slot]
            if node["class_type"] == "TrajectorySampler":
                node["inputs"]["steps"] = 1
        found.append(graph)
    return found


@pytest.mark.slow
def test_a_hundred_generations_of_alternating_systems_do_not_grow(host):
    """Measured when the allocator has given back what it keeps for later, and after the same system each time: what a
    ComfyUI holds of the last graph, its models among it, differs by 100 MiB from one to another."""
    graphs = [*embedded_graphs(), *map(with_latents, GRAPHS.values())]
    resident = {}
    for run in range(1, 101):
        graph = json.loads(json.dumps(graphs[run % 10 % len(graphs)]))
        for node in graph.values():
            if node["class_type"] == "TrajectorySampler":
                node["inputs"]["seed"] = 1000 + run
        entry = host.run(graph, seconds=600)
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"]
        if run % 10 == 0:
            resident[run] = host.get("/probe/resident")["bytes"]
    grown = resident[100] / resident[10] - 1
    told = " ".join(f"{run}: {rss / 2**20:.0f}" for run, rss in resident.items())
    print(f"resident MiB after run {told}; {grown:+.1%} from run 10 to run 100")
    assert grown <= 0.03, told
    fresh(host)
