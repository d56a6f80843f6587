"""Causal convolutions over a clip that comes in pieces, in little memory: each frame of the output is a sum of picture
convolutions, one for each frame that it sees. Knows no network and no family.

Frames are kept with their channels last in memory, which the CPU's convolutions need no copies for; what a layer must
remember are the frames themselves and no copy of them. Activations stay [batch, channels, frames, height, width].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pieces import LARGE_PIECE, of_cpus
from .stream import Stream

STRIP = 2 * 2**20  # bytes of a frame that is made some rows at a time


class Window:
    """The frames that a convolution sees as it moves along a clip.

    before: those before the clip, oldest first: each [batch, channels, height, width], or None for one of zeros; or how
    often the clip's first frame stands there. coming: the `count` frames of the clip, each made when it is first seen.
    spare: what is no longer seen is not used by others either, so that a frame of the output may lie in its place.
    into: the clip that the result goes into, whose frames nobody needs once those of the window are made of them.
    The window has a tensor's dtype and device, by which a host's layers know where to bring their weights.
    """

    def __init__(
        self, before: Sequence[Tensor | None] | int, coming: Iterable[Tensor], count: int, spare: bool = False,
        into: Tensor | None = None,
    ):  # fmt: skip
        self.coming, self.spare, self.into = iter(coming), spare, into
        first = next(self.coming)
        self.frames = [*([first] * before if isinstance(before, int) else before), first]
        self.count = len(self.frames) - 1 + count
        self.dtype, self.device = first.dtype, first.device

    def seen(self, length: int) -> list[Tensor | None]:
        """The next `length` frames."""
        while len(self.frames) < length:
            self.frames.append(next(self.coming))
        return self.frames[:length]

    def move(self, frames: int) -> None:
        del self.frames[:frames]


class WindowConv3d(nn.Conv3d):
    """A 3D convolution of a `Window`; its padding acts on pictures only. -> [batch, channels, frames, height, width]"""

    def _conv_forward(self, window: Window, weight: Tensor, bias: Tensor | None, *_, **__) -> Tensor:
        count = (window.count - self.kernel_size[0]) // self.stride[0] + 1
        if by_pictures(window):
            made = (self.next_frame(window, weight, bias) for _ in range(count))
            return as_clip(made, count, window.into)
        piece = frames_at_once(window.frames[-1])
        if torch.is_grad_enabled() or (piece >= count and window.into is None):
            return self.next_frames(count, window, weight, bias)
        made = (self.next_frames(min(piece, count - i), window, weight, bias) for i in range(0, count, piece))
        return as_clip((frame for clip in made for frame in clip.unbind(2)), count, window.into)

    def next_frames(self, count: int, window: Window, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`count` frames of the output as a clip; the window moves on."""
        seen = window.seen((count - 1) * self.stride[0] + self.kernel_size[0])
        window.move(count * self.stride[0])
        real = [frame for frame in seen if frame is not None]
        if len(real) == 1:  # the first frame, before which there are zeros
            return self.whole(real, weight[:, :, -1:], bias)
        return self.whole([torch.zeros_like(real[0])] * (len(seen) - len(real)) + real, weight, bias)

    def whole(self, frames: Sequence[Tensor], weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv3d(torch.stack(frames, 2), weight, bias, self.stride, (0, *self.padding[1:]))

    def next_frame(self, window: Window, weight: Tensor, bias: Tensor | None) -> Tensor:
        """One frame of the output; the window moves on."""
        seen = window.seen(self.kernel_size[0])
        window.move(self.stride[0])
        place = None
        if window.spare and not any(seen[0] is frame for frame in window.frames):
            place = seen[0]
        return self.pictures(seen, weight, bias, place)

    def pictures(
        self, frames: list[Tensor | None], weight: Tensor, bias: Tensor | None, place: Tensor | None = None
    ) -> Tensor:  # fmt: skip
        """The sum of a convolution of each frame. A frame that stands at several places is convolved once, with the sum
        of their weights. place: a frame that the result may overwrite. The list is emptied: what nothing else holds
        makes room on the way."""
        taps: dict[int, tuple[Tensor, Tensor]] = {}
        for i, frame in enumerate(frames):
            if frame is not None:
                before = taps.get(id(frame))
                taps[id(frame)] = frame, weight[:, :, i] if before is None else before[1] + weight[:, :, i]
        waiting, total, frame = [*taps.values()][::-1], None, None
        taps.clear()
        frames.clear()
        rows = self.rows_at_once(waiting[0][0])
        if rows:
            return self.in_strips(waiting[::-1], bias, rows, place)
        while waiting:
            frame, tap = waiting.pop()
            part = self.picture(frame, tap, bias if total is None else None)
            total = part if total is None else total.add_(part)
        return total

    def picture(self, frame: Tensor, tap: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(frame, tap, bias, self.stride[1:], self.padding[1:])

    def rows_at_once(self, frame: Tensor) -> int:
        """How many rows of the output a strip has; 0 where it is not made in strips, of which it takes more than two:
        else the seams cost more time than the cache saves."""
        batch, _, height, width = frame.shape
        rows = max(STRIP // (batch * self.out_channels * width * frame.element_size()), 4)
        same_size = self.stride[1:] == (1, 1) and self.padding[1] == self.kernel_size[1] // 2
        return rows if same_size and 2 * rows < height and not torch.is_grad_enabled() else 0

    def in_strips(
        self, taps: list[tuple[Tensor, Tensor]], bias: Tensor | None, rows: int, place: Tensor | None
    ) -> Tensor:  # fmt: skip
        """The sum of a convolution of each frame, some rows of it at a time: what is added up stays in the processor's
        cache. A strip is written when the next one is made, which sees the last rows of what may be overwritten."""
        batch, _, height, width = taps[0][0].shape
        if place is None or place.shape[1] != self.out_channels:
            place = taps[0][0].new_empty(batch, height, width, self.out_channels).movedim(-1, 1)
        before = None
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            strip = None
            for frame, tap in taps:
                part = self.strip(frame, top, bottom, tap, bias if strip is None else None)
                strip = part if strip is None else strip.add_(part)
            if before is not None:
                place[:, :, top - rows : top] = before
            before = strip
        place[:, :, height - before.shape[2] :] = before
        return place

    def strip(self, frame: Tensor, top: int, bottom: int, tap: Tensor, bias: Tensor | None) -> Tensor:
        """Rows `top` to `bottom` of `picture`."""
        (reach, across), height = self.padding[1:], frame.shape[2]
        first, last = max(top - reach, 0), min(bottom + reach, height)
        if (first, last) == (top - reach, bottom + reach):
            return F.conv2d(frame[:, :, first:last], tap, bias, padding=(0, across))
        whole = F.conv2d(frame[:, :, first:last], tap, bias, padding=(reach, across))
        return whole[:, :, top - first : bottom - first]


def enlarged(frame: Tensor) -> Tensor:
    """Twice as high and wide, nearest neighbours."""
    return F.interpolate(frame, scale_factor=2.0, mode="nearest-exact")


def enlarged_convolution(frame: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """conv2d(enlarged(frame), weight, bias, padding=1) for a weight of 3 x 3, without the enlarged frame.

    Each of the four pixels that one becomes sees 2 x 2 pixels of the frame, so that 16 products do where 36 are.
    """
    batch, _, height, width = frame.shape
    out = frame.new_empty(batch, 2 * height, 2 * width, len(weight)).movedim(-1, 1)
    for top in (0, 1):
        rows = folded(weight, top, dim=2)
        for left in (0, 1):
            part = F.conv2d(frame, folded(rows, left, dim=3), bias, padding=1)
            out[:, :, top::2, left::2] = part[:, :, top : top + height, left : left + width]
    return out


def folded(weight: Tensor, second: int, dim: int) -> Tensor:
    """Three taps on doubled pixels as two on single ones, for the first or the second of a pair."""
    first, middle, last = weight.unbind(dim)
    return torch.stack([first + middle, last] if second else [first, middle + last], dim)


class EnlargingConv2d(nn.Conv2d):
    """A convolution of 3 x 3 over its input at twice the size."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, 3, padding=1)

    def _conv_forward(self, frame: Tensor, weight: Tensor, bias: Tensor | None, *_, **__) -> Tensor:
        if by_pictures(frame) and not torch.is_grad_enabled():
            return enlarged_convolution(frame, weight, bias)
        return super()._conv_forward(enlarged(frame), weight, bias)


class ClipNorm(nn.GroupNorm):
    """Group norm over all frames of a clip [batch, channels, frames, height, width].

    torch's own needs the whole clip a second time, and for channels that lie last it subtracts large squares from each
    other (an error of several standard deviations where the mean is 300 of them); here deviations from the mean are
    squared, in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        return as_clip(self.frames(x), x.shape[2])

    def frames(self, x: Tensor) -> Iterator[Tensor]:
        """The frames of what `forward` gives, each when it is asked for; x may be overwritten as far as they were."""
        if torch.is_grad_enabled() or (x.shape[2] == 1 and not by_pictures(x)):
            yield from super().forward(x.contiguous()).unbind(2)
            return
        shift, scale = self.shift_and_scale(x)
        for frame in as_frames(x):
            yield torch.addcmul(shift, frame, scale).to(x.dtype)

    def shift_and_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the norm adds after it has multiplied, and by what: both [batch, channels, 1, 1] in float32."""
        batch, count = len(x), x.shape[2]
        mean = sum(frame.mean((2, 3), dtype=torch.float32) for frame in as_frames(x)) / count
        mean = mean.view(batch, self.num_groups, -1).mean(-1, keepdim=True)
        shift = self.each_channel(mean)
        square = sum(torch.linalg.vector_norm(frame - shift, dim=(2, 3)).square() for frame in as_frames(x))
        square = square.view(batch, self.num_groups, -1).mean(-1, keepdim=True) / (count * x[0, 0, 0].numel())
        scale = self.each_channel((square + self.eps).rsqrt()) * self.weight.float()[:, None, None]
        return self.bias.float()[:, None, None] - shift * scale, scale

    def each_channel(self, of_groups: Tensor) -> Tensor:
        """[batch, groups, 1] -> [batch, channels, 1, 1]"""
        return of_groups.expand(-1, -1, self.num_channels // self.num_groups).reshape(len(of_groups), -1, 1, 1)


class FrameNorm(ClipNorm):
    """Group norm of each frame of a clip by itself."""

    def frames(self, x: Tensor) -> Iterator[Tensor]:
        for frame in x.split(1, dim=2):
            yield from super().frames(frame)


def by_pictures(x: Tensor | Window) -> bool:
    """Whether convolutions of pictures may be added up: in 16 bits each sum would be rounded."""
    return x.device.type in of_cpus and x.dtype == torch.float32


def frames_at_once(frame: Tensor) -> int:
    """How many of a clip's frames are convolved at a time where they go together."""
    return max(1, LARGE_PIECE // frame.nbytes)


def as_frames(x: Tensor) -> Iterator[Tensor]:
    """[batch, channels, frames, height, width] -> each frame [batch, channels, height, width]."""
    for frame in x.unbind(2):
        yield frame.contiguous(memory_format=torch.channels_last) if by_pictures(x) else frame


def as_clip(frames: Iterable[Tensor], count: int, into: Tensor | None = None) -> Tensor:
    """`count` frames as [batch, channels, frames, height, width], with channels last in memory where theirs are. Each
    is made when there is a place for it, so that they never lie there twice. into: the clip to put them in."""
    if into is None and count == 1:
        return next(iter(frames)).unsqueeze(2)
    if torch.is_grad_enabled():
        return torch.stack(list(frames), 2)
    for i, frame in enumerate(frames):
        if into is None:
            batch, channels, height, width = frame.shape
            into = (
                frame.new_empty(batch, count, height, width, channels).movedim(-1, 1) if by_pictures(frame)
                else frame.new_empty(batch, channels, count, height, width)
            )  # fmt: skip
        into[:, :, i] = frame
    return into


def remembered(frames: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Frames (or clips) for later, copied where they are parts of something larger that would stay with them."""
    if torch.is_grad_enabled():
        return list(frames)
    return [f if f is None or f.untyped_storage().nbytes() <= f.nbytes else f.clone() for f in frames]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Clips one after another as one."""
    count = sum(part.shape[2] for part in parts)
    return parts[0] if len(parts) == 1 else as_clip((frame for part in parts for frame in part.unbind(2)), count)


def one_by_one(layers: Sequence[Callable[[Tensor, Stream], Tensor]], x: Tensor, stream: Stream) -> Iterator[Tensor]:
    """Each frame of what layers make of a clip [batch, channels, frames, height, width]: what becomes of one is done
    before the next, and none stays longer than it is used. Those that are one in memory stay one."""
    for i, layer in enumerate(layers):
        if x.shape[2] > 1:
            parts, x = remembered(x.split(1, dim=2)), None
            while parts:
                yield from one_by_one(layers[i:], parts.pop(0), stream)
            return
        x = layer(x, stream)
    yield x


def silu(x: Tensor) -> Tensor:
    """In place where nothing must be remembered for a gradient: x is not used again."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def added(x: Tensor, other: Tensor) -> Tensor:
    """x + other, in x where nothing must be remembered for a gradient."""
    return x + other if torch.is_grad_enabled() else x.add_(other)
