"""Files, devices and memory: outside ComfyUI, and inside it with small fakes of the parts that are used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from comfyui_trajectory.nodes import host as host_module
from comfyui_trajectory.nodes.comfy_host import ComfyHost
from comfyui_trajectory.nodes.host import PlainHost, find
from comfyui_trajectory.nodes.inputs import InputError

from ..tiny import FILES


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """A folder of embedded files with one of each kind."""
    folder = tmp_path / "pack" / "files"
    folder.mkdir(parents=True)
    for part in ("transformer", "vae", "text_encoder", "image_encoder"):
        (folder / f"ati_{part}.safetensors").touch()
    monkeypatch.setattr(host_module, "EMBEDDED_FOLDER", folder)
    return folder


def test_each_list_holds_the_users_files_and_then_the_embedded_file_of_its_kind(plain_host, embedded):
    assert plain_host.model_files("diffusion_models") == [
        FILES["diffusion_models"],
        "embedded/ati_transformer.safetensors",
    ]
    assert plain_host.model_files("vae") == [FILES["vae"], "embedded/ati_vae.safetensors"]
    assert plain_host.model_files("text_encoders")[1:] == ["embedded/ati_text_encoder.safetensors"]
    assert plain_host.model_files("clip_vision")[1:] == ["embedded/ati_image_encoder.safetensors"]


def test_an_embedded_file_is_found_by_its_one_name_and_only_as_its_own_kind(plain_host, embedded):
    for name in ("embedded/ati_vae.safetensors", "embedded\\ati_vae.safetensors"):
        assert plain_host.model_path("vae", name, "vae_name") == embedded / "ati_vae.safetensors"
    with pytest.raises(InputError, match="^model_name: "):
        plain_host.model_path("diffusion_models", "embedded/ati_vae.safetensors", "model_name")


def test_names_written_on_another_system_are_found():
    assert find(["sub\\ati.safetensors"], "sub/ati.safetensors") == "sub\\ati.safetensors"
    assert find(["sub/ati.safetensors"], "sub\\ati.safetensors") == "sub/ati.safetensors"
    assert find(["ati.safetensors"], "ati") is None


def test_saved_files_are_numbered_and_never_overwritten(tmp_path):
    host = PlainHost()
    host.output_folder = tmp_path
    first = host.output_path("video/ati", ".mp4")
    assert first == tmp_path / "video" / "ati_00001_.mp4"
    first.touch()
    (tmp_path / "video" / "ati_00041_.png").touch()
    assert host.output_path("video/ati", ".mp4").name == "ati_00042_.mp4"


class FakeProgressBar:
    def __init__(self, total):
        self.total, self.calls = total, []

    def update_absolute(self, value, total=None, preview=None):
        self.calls.append((value, total, preview))


class FakePatcher:
    """The attributes of comfy.model_patcher.ModelPatcher that are used."""

    def __init__(self, model, load_device, offload_device):
        self.model, self.load_device, self.offload_device, self.patches_uuid = model, load_device, offload_device, "id"
        model.device = offload_device

    def model_size(self):
        return sum(value.nbytes for value in self.model.state_dict().values())

    def loaded_size(self):
        return self.model.model_loaded_weight_memory


@pytest.fixture
def comfy(tmp_path, monkeypatch):
    """A ComfyHost over fakes: `files` by kind, what was `loaded`, whether it is `cancelled`."""
    state = SimpleNamespace(files={}, loaded=[], cancelled=False, freed=0)
    cpu = torch.device("cpu")

    class Interrupted(Exception):
        pass

    def check():
        if state.cancelled:
            raise Interrupted

    def module(name, **members):
        fake = ModuleType(name)
        vars(fake).update(members)
        monkeypatch.setitem(sys.modules, name, fake)
        return fake

    for folder in ("input", "output", "temp"):
        (tmp_path / folder).mkdir()
    module(
        "folder_paths",
        get_filename_list=lambda kind: state.files.get(kind, []),
        get_full_path=lambda kind, name: str(tmp_path / "models" / kind / name),
        get_folder_paths=lambda kind: [f"/ComfyUI/models/{kind}"],
        get_input_directory=lambda: str(tmp_path / "input"),
        get_output_directory=lambda: str(tmp_path / "output"),
        get_temp_directory=lambda: str(tmp_path / "temp"),
        get_annotated_filepath=lambda name: os.path.join(tmp_path / "input", name),
    )
    management = module(
        "comfy.model_management",
        vae_device=lambda: cpu, vae_offload_device=lambda: cpu, text_encoder_device=lambda: cpu,
        text_encoder_offload_device=lambda: cpu, get_torch_device=lambda: cpu, unet_offload_device=lambda: cpu,
        load_models_gpu=lambda models, **options: state.loaded.append((models, options)),
        free_memory=lambda size, device: setattr(state, "freed", size), minimum_inference_memory=lambda: 0,
        soft_empty_cache=lambda: None, OOM_EXCEPTION=MemoryError, throw_exception_if_processing_interrupted=check,
    )  # fmt: skip
    patcher = module("comfy.model_patcher", ModelPatcher=FakePatcher)
    utils = module("comfy.utils", ProgressBar=FakeProgressBar)
    module("comfy", model_management=management, model_patcher=patcher, utils=utils)
    state.host, state.Interrupted = ComfyHost(), Interrupted
    return state


def test_comfyui_is_recognised_by_what_it_has_loaded(comfy, monkeypatch):
    assert host_module.running_in_comfyui()
    monkeypatch.delitem(sys.modules, "folder_paths")
    assert not host_module.running_in_comfyui()


def test_comfyuis_lists_are_extended_and_its_paths_used(comfy, embedded, tmp_path):
    comfy.files["vae"] = ["sub\\wan_2.1_vae.safetensors"]
    assert comfy.host.model_files("vae") == ["sub\\wan_2.1_vae.safetensors", "embedded/ati_vae.safetensors"]
    path = comfy.host.model_path("vae", "sub/wan_2.1_vae.safetensors", "vae_name")
    assert path == Path(tmp_path / "models" / "vae" / "sub\\wan_2.1_vae.safetensors")
    with pytest.raises(InputError, match=r"^vae_name: 'gone'.*/ComfyUI/models/vae"):
        comfy.host.model_path("vae", "gone", "vae_name")


def test_only_comfyuis_own_folders_are_read(comfy, tmp_path):
    (tmp_path / "secret.json").touch()
    (tmp_path / "input" / "tracks.json").touch()
    assert comfy.host.input_path("tracks.json", "file") == tmp_path / "input" / "tracks.json"
    for name in ("../secret.json", str(tmp_path / "secret.json"), "..\\secret.json", "example/../../secret.json"):
        with pytest.raises(InputError, match="^file: "):
            comfy.host.input_path(name, "file")


def test_a_comfyui_that_lends_no_weights_has_models_whole_under_its_memory_manager_from_loading_on(comfy, caplog):
    caplog.set_level("INFO")
    model = SimpleNamespace(module=torch.nn.Linear(4, 4), path=Path("ati.safetensors"), moved=[])
    model.to = lambda device: model.moved.append(device)
    comfy.host.make_room(1000, "vae")
    assert comfy.freed >= 1000
    comfy.host.manage(model, "vae")
    ((patchers, _),) = comfy.loaded
    container = patchers[0].model
    assert container.diffusion_model is model.module
    assert container.model_loaded_weight_memory == 4 * (16 + 4)  # it is where it was loaded: not to be counted twice
    comfy.host.ready(model, 77 * 2**20, "sampling")
    patchers, options = comfy.loaded[1]
    assert patchers == [model.host_patcher] and options == {"memory_required": 77 * 2**20, "force_full_load": True}
    assert model.moved == [torch.device("cpu")]
    (line,) = caplog.messages
    assert line == "sampling: ati.safetensors, 0.0 of 0.0 MiB on cpu; 77.0 MiB more are expected to be needed."


def test_progress_and_preview_reach_comfyuis_bar_and_cancel_its_exception(comfy):
    with comfy.host.progress(3, "sampling") as progress:
        progress.update(1)
        progress.update(2, torch.ones(4, 6, 3))
    (first, second) = progress.bar.calls
    assert first == (1, 3, None)
    value, total, (format, picture, side) = second
    assert (value, total, format, picture.size, side) == (2, 3, "JPEG", (6, 4), 512)
    comfy.host.check_cancelled()
    comfy.cancelled = True
    with pytest.raises(comfy.Interrupted):
        comfy.host.check_cancelled()
