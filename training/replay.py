"""A step's loss and its gradients. On a GPU, where starting small kernels takes longer than running them, they are
recorded once for each shape of the inputs as a CUDA graph, and replayed. Knows no model.

https://docs.pytorch.org/docs/stable/notes/cuda.html, "Whole-network capture".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor, nn

Work = Callable[..., tuple[Tensor, ...]]  # of the inputs: the loss, and what else is to be known
WARM_UP = 3  # runs before one is recorded: kernels are chosen, and compiled


class Recording:
    def __init__(self, work: Work, inputs: list[Tensor], parameters: list[nn.Parameter], pool):
        self.inputs, self.parameters = [value.clone() for value in inputs], parameters
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self.forget()
                work(*self.inputs)[0].backward()
        torch.cuda.current_stream().wait_stream(aside)
        self.forget()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.results = work(*self.inputs)
            self.results[0].backward()
        self.results = tuple(value.detach() for value in self.results)
        self.gradients = [p.grad for p in parameters]

    def forget(self) -> None:
        for p in self.parameters:
            p.grad = None

    def __call__(self, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        torch._foreach_copy_(self.inputs, inputs)
        self.graph.replay()
        for p, gradient in zip(self.parameters, self.gradients):
            p.grad = gradient
        return self.results


class Steps:
    """Gradients of `parameters`, whose addresses must not change."""

    def __init__(self, parameters: Iterable[nn.Parameter]):
        self.parameters, self.recorded, self.pool = list(parameters), {}, None

    def __call__(self, name: Hashable, work: Work, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """work(*inputs), after which each parameter that takes part has its gradient; on a GPU the results are
        overwritten by the next call. name: of the work, which must do the same each time."""
        if inputs[0].device.type != "cuda":
            results = work(*inputs)
            results[0].backward()
            return tuple(value.detach() for value in results)
        key = name, tuple(value.shape for value in inputs)
        if key not in self.recorded:
            self.pool = self.pool or torch.cuda.graph_pool_handle()
            self.recorded[key] = Recording(work, inputs, self.parameters, self.pool)
        return self.recorded[key](inputs)
