"""Block swap: some blocks of a transformer stay on the device, the others come from host memory when their turn is.

It acts from outside on finished modules. A block's tensors are packed into one buffer in host memory, and computed with
from one of a few buffers on the device, into which the next blocks are copied while one computes. Knows no family.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

ALIGN = 256  # bytes between the starts of tensors in a buffer


class Placement:
    """Where buffers lie and how they are copied. This one has both sides in host memory and copies at once: what it
    does can be counted anywhere. A copy or a computation is `done` as a mark, which others can wait for."""

    device = torch.device("cpu")

    def host_buffer(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8)

    def device_buffer(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8)

    def copy(self, source: Tensor, target: Tensor, after: object) -> object:
        """Starts to copy once `after` has happened; gives the mark of its end."""
        target.copy_(source)

    def wait(self, mark: object) -> None:
        """What is computed from now on sees the copy whose end the mark is."""

    def computed(self) -> object:
        """The mark of all that has been computed up to now."""


class CudaPlacement(Placement):
    """Pinned host memory, and copies in a stream of their own beside the computation."""

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def host_buffer(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def device_buffer(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, device=self.device)

    def copy(self, source: Tensor, target: Tensor, after: object) -> object:
        with torch.cuda.stream(self.stream):
            if after is not None:
                self.stream.wait_event(after)
            target.copy_(source, non_blocking=True)
            return self.stream.record_event()

    def wait(self, mark: object) -> None:
        torch.cuda.current_stream(self.device).wait_event(mark)

    def computed(self) -> object:
        return torch.cuda.current_stream(self.device).record_event()


@dataclass
class Slot:
    """A buffer on the device. free: mark of the last computation with it."""

    buffer: Tensor
    free: object = None


@dataclass
class Packed:
    """One block that is swapped: what it consists of and where that lies in its host buffer. parts: (module, name,
    tensor, first byte), the tensor being the parameter or buffer itself."""

    parts: list[tuple[nn.Module, str, Tensor, int]]
    size: int
    host: Tensor
    slot: Slot | None = None
    arrival: object = None

    def bind(self, buffer: Tensor) -> None:
        """The block's tensors are those in `buffer`. One that something else (a LoRA) has put another in place of,
        stays as it is."""
        for owner, name, tensor, start in self.parts:
            if owner._parameters.get(name, owner._buffers.get(name)) is tensor:
                piece = buffer[start : start + tensor.nbytes]
                tensor.data = piece.view(tensor.dtype).view(tensor.shape)


@dataclass
class Counts:
    """moves: copies to the device by block; most: blocks that it held at once, at most."""

    moves: dict[int, int] = field(default_factory=dict)
    most: int = 0


class Swap:
    """`resident` blocks on the device, and at most `prefetch` more on their way to it.

    groups: the modules that belong to a block, the block first; they must be in host memory. One block that is at work
    counts as resident, so that `resident` - 1 stay for good: the first, and others evenly between.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Module]], resident: int, prefetch: int, placement: Placement):
        self.placement, self.counts = placement, Counts()
        self.blocks = [group[0] for group in groups]
        count = len(groups)
        kept = {i * count // (resident - 1) for i in range(resident - 1)}
        self.kept = [module for i in sorted(kept) for module in groups[i]]
        self.packed = {i: pack(groups[i], placement) for i in range(count) if i not in kept}
        self.order, self.prefetch = list(self.packed), prefetch
        self.modules = {module for i in self.packed for module in groups[i]}
        self.slots: list[Slot] = []

    def rest_to(self, module: nn.Module, device: torch.device) -> None:
        """Moves everything of `module` that is not swapped."""
        if module in self.modules:
            return
        for child in module.children():
            self.rest_to(child, device)
        module._apply(lambda value: value.to(device), recurse=False)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Inside the block, the blocks come when they are called. Their order must be that of the list."""
        largest = max((packed.size for packed in self.packed.values()), default=0)
        buffers = [self.placement.device_buffer(largest) for _ in range(self.prefetch + 1)]
        free = self.placement.computed()  # what had the buffers' memory before may still be at work
        self.slots = [Slot(buffer, free) for buffer in buffers]
        hooks = [self.blocks[0].register_forward_pre_hook(lambda *_: self.start())]
        for place, index in enumerate(self.order):
            self.move_replaced(self.packed[index])
            block = self.blocks[index]
            hooks.append(block.register_forward_pre_hook(lambda *_, place=place: self.enter(place)))
            hooks.append(block.register_forward_hook(lambda *_, place=place: self.leave(place)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for packed in self.packed.values():
                if packed.slot is not None:  # a copy into memory that others get now
                    self.placement.wait(packed.arrival)
                packed.bind(packed.host)
                packed.slot = packed.arrival = None
            self.slots = []

    def move_replaced(self, packed: Packed) -> None:
        for owner, name, tensor, _ in packed.parts:
            now = owner._parameters.get(name)
            if now is not None and now is not tensor:
                now.data = now.data.to(self.placement.device)

    def start(self) -> None:
        """Of a pass; one before it may have ended in an error."""
        self.release_all()
        self.fetch(0)

    def fetch(self, place: int) -> None:
        """Starts the copies of the next `prefetch` blocks from `place` of the order on, where not under way already."""
        for index in self.order[place : place + self.prefetch]:
            packed = self.packed[index]
            if packed.slot is None:
                packed.slot = self.slots.pop(0)
                target = packed.slot.buffer[: packed.size]
                packed.arrival = self.placement.copy(packed.host, target, packed.slot.free)
                self.counts.moves[index] = self.counts.moves.get(index, 0) + 1
        held = sum(packed.slot is not None for packed in self.packed.values())
        self.counts.most = max(self.counts.most, len(self.blocks) - len(self.order) + held)

    def enter(self, place: int) -> None:
        packed = self.packed[self.order[place]]
        if packed.slot is None:  # called out of turn: what was fetched for nothing makes room
            self.release_all()
            self.fetch(place)
        self.placement.wait(packed.arrival)
        packed.bind(packed.slot.buffer)
        self.fetch(place + 1)

    def leave(self, place: int) -> None:
        packed = self.packed[self.order[place]]
        packed.slot.free = self.placement.computed()
        self.release(packed)

    def release(self, packed: Packed) -> None:
        packed.bind(packed.host)
        self.slots.append(packed.slot)
        packed.slot = packed.arrival = None

    def release_all(self) -> None:
        for packed in self.packed.values():
            if packed.slot is not None:
                packed.slot.free = self.placement.computed()
                self.release(packed)


def pack(group: Sequence[nn.Module], placement: Placement) -> Packed:
    """Copies a block's tensors into one host buffer, one at a time, and lets them live there."""
    found, size = [], 0
    for module in (child for member in group for child in member.modules()):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                found.append((module, name, tensor, size))
                size += -(-tensor.nbytes // ALIGN) * ALIGN
    packed = Packed(found, size, placement.host_buffer(size))
    for _, _, tensor, start in found:
        piece = packed.host[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
        piece.copy_(tensor.data)
        tensor.data = piece
    return packed
