"""LoRA, memory and speed options as a user types them."""

from __future__ import annotations

import pytest
import torch
from comfyui_trajectory.commands.files import read_video
from safetensors.torch import save_file


@pytest.fixture
def generate(run, tmp_path):
    """generate(*arguments) -> the frames that came out."""

    def call(*arguments) -> torch.Tensor:
        code, _, err = run("generate", "-q", *arguments)
        assert code == 0, err
        return read_video(tmp_path / "output" / "video.mp4")[0]

    return call


def test_loras_are_added_with_their_strengths(run, generate, tmp_path):
    torch.manual_seed(5)
    key = "diffusion_model.blocks.1.ffn.2.lora_{}.weight"
    save_file({key.format("A"): torch.randn(2, 48), key.format("B"): torch.randn(32, 2)}, tmp_path / "a.safetensors")
    plain, none, once = generate(), generate("--lora", "a.safetensors", 0), generate("--lora", "a.safetensors")
    taken_back = generate("--lora", "a.safetensors", 0.5, "--lora", "a.safetensors", -0.5)
    difference = (plain - once).abs().mean()
    assert difference > 0.01
    assert max((plain - same).abs().mean() for same in (none, taken_back)) < 0.1 * difference
    code, _, err = run("generate", "-q", "--lora", "a.safetensors", "strong")
    assert code == 2 and "--lora a.safetensors strong" in err
