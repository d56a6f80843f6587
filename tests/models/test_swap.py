"""Block swap, counted: its device is a second set of buffers in host memory, spoiled wherever nothing may be read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from comfyui_trajectory.models.cogvideox.transformer import CogVideoXTransformer
from comfyui_trajectory.models.common.lora import Lora, Patch, applied
from comfyui_trajectory.models.common.ops import store_fp8
from comfyui_trajectory.models.common.swap import Placement, Swap
from comfyui_trajectory.models.easyanimate.config import EasyAnimateConfig
from comfyui_trajectory.models.easyanimate.transformer import EasyAnimateTransformer
from comfyui_trajectory.models.wan.transformer import WanTransformer

from .. import tiny, tiny_easyanimate, tiny_tora

BLOCKS = 6


class Spoiling(Placement):
    """Copies arrive only when they are waited for, buffers that are not in use hold NaN, and everything is counted."""

    def __init__(self):
        self.buffers, self.copies, self.under_way = 0, 0, []

    def device_buffer(self, size):
        self.buffers += 1
        return torch.full((size,), 255, dtype=torch.uint8)  # NaN in every number format

    def copy(self, source, target, after):
        target.fill_(255)
        self.copies += 1
        self.under_way.append((source, target))
        return len(self.under_way) - 1

    def wait(self, mark):
        source, target = self.under_way[mark]
        target.copy_(source)


def wan():
    module = WanTransformer(replace(tiny.TRANSFORMER, num_layers=BLOCKS))
    x, y = torch.randn(1, 16, 2, 4, 4), torch.randn(1, 20, 2, 4, 4)
    return module, "blocks", (x, torch.tensor([500.0]), torch.randn(1, 3, 16), y, torch.randn(1, 5, 24))


def cogvideox():
    module = CogVideoXTransformer(replace(tiny_tora.TRANSFORMER, num_layers=BLOCKS))
    x = torch.randn(1, 16, 3, 4, 4)
    return module, "transformer_blocks", (x, torch.tensor([500.0]), torch.randn(1, 12, 16), None, torch.randn_like(x))


def easyanimate():
    module = EasyAnimateTransformer(EasyAnimateConfig(**{**vars(tiny_easyanimate.TRANSFORMER), "num_layers": BLOCKS,
                                                         "mmdit_layers": 4}))  # fmt: skip
    x = torch.randn(1, 16, 2, 4, 4)
    return module, "transformer_blocks", (x, torch.tensor([500.0]), torch.randn(1, 3, 24))


FAMILIES = {"wan": wan, "cogvideox": cogvideox, "easyanimate": easyanimate}


def made(family: str):
    torch.manual_seed(0)
    module, blocks, inputs = FAMILIES[family]()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    module.eval().requires_grad_(False)
    groups = list(zip(getattr(module, blocks), *([module.fuser] if family == "cogvideox" else [])))
    return module, groups, inputs


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("resident", "prefetch"), [(2, 1), (2, 3), (4, 1), (5, 2), (6, 1)])
def test_swapped_blocks_give_the_same_bits_with_the_expected_moves_and_room(family, resident, prefetch) -> None:
    module, groups, inputs = made(family)
    expected = module(*inputs)
    placement = Spoiling()
    swap = Swap(groups, resident, prefetch, placement)
    with swap.acting():
        results = [module(*inputs) for _ in range(3)]
    assert all(torch.equal(result, expected) for result in results)
    moving = BLOCKS - (resident - 1)
    assert sorted(swap.counts.moves.values()) == [3] * moving and placement.copies == 3 * moving
    assert swap.counts.most == min(resident + prefetch, BLOCKS) and placement.buffers == prefetch + 1
    assert torch.equal(module(*inputs), expected)  # and afterwards without it


def test_the_first_block_stays_since_step_caches_look_at_it() -> None:
    _, groups, _ = made("easyanimate")
    swap = Swap(groups, 2, 1, Placement())
    assert groups[0][0] in swap.kept and 0 not in swap.packed


def test_everything_else_is_moved_and_swapped_blocks_are_not() -> None:
    module, groups, _ = made("wan")
    swap = Swap(groups, 3, 1, Placement())
    swap.rest_to(module, torch.device("meta"))
    for name, value in module.named_parameters():
        index = int(name.split(".")[1]) if name.startswith("blocks.") else 0
        assert (value.device.type == "cpu") == (index in swap.packed), name


def test_an_error_in_the_middle_leaves_the_blocks_at_home_and_a_second_run_right() -> None:
    module, groups, inputs = made("wan")
    expected = module(*inputs)
    swap = Swap(groups, 2, 2, Spoiling())

    def fail(*_):
        raise KeyboardInterrupt

    hook = groups[3][0].register_forward_pre_hook(fail)
    with pytest.raises(KeyboardInterrupt), swap.acting():
        module(*inputs)
    hook.remove()
    assert torch.equal(module(*inputs), expected)
    with swap.acting():
        assert torch.equal(module(*inputs), expected)


def test_a_failed_pass_is_followed_by_a_whole_one_within_the_same_run() -> None:
    module, groups, inputs = made("wan")
    expected = module(*inputs)
    swap = Swap(groups, 2, 2, Spoiling())
    with swap.acting():
        hook = groups[3][0].register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            module(*inputs)
        hook.remove()
        assert torch.equal(module(*inputs), expected)


def test_loras_and_fp8_weights_are_swapped_alike() -> None:
    module, groups, inputs = made("wan")
    store_fp8(module)
    patches = {"blocks.3.self_attn.q.weight": Patch(torch.randn(2, 32), torch.randn(32, 2)),
               "blocks.4.norm3.weight": Patch(diff=torch.randn(32)), "blocks.2.ffn.0.bias": Patch(diff=torch.randn(48))}
    lora = Lora("some", 1.0, patches)
    with applied(module, [lora]):
        expected = module(*inputs)
    plain = module(*inputs)
    swap = Swap(groups, 2, 1, Spoiling())
    with applied(module, [lora]), swap.acting():
        assert torch.equal(module(*inputs), expected)
    assert torch.equal(module(*inputs), plain) and not torch.allclose(plain, expected, atol=1e-3)


class Noting(Spoiling):
    """Notes what each copy waits for, and which copies were waited for."""

    def __init__(self):
        super().__init__()
        self.after, self.waited, self.time = [], set(), 0

    def computed(self):
        self.time += 1
        return self.time

    def copy(self, source, target, after):
        self.after.append(after)
        return super().copy(source, target, after)

    def wait(self, mark):
        self.waited.add(mark)
        super().wait(mark)


def test_no_copy_begins_before_what_had_the_buffers_memory_is_done() -> None:
    module, groups, inputs = made("wan")
    placement = Noting()
    with Swap(groups, 2, 3, placement).acting():
        module(*inputs)
    assert placement.after and None not in placement.after


def test_no_copy_is_under_way_when_the_buffers_are_given_back() -> None:
    module, groups, inputs = made("wan")
    placement = Noting()
    hook = groups[2][0].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), Swap(groups, 2, 3, placement).acting():
        module(*inputs)
    hook.remove()
    assert placement.waited == set(range(placement.copies))
