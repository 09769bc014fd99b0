"""A step as one CUDA graph (``runtime.cuda_graph``): the host starts it once, not each kernel.

A step of DenseNet-121 is some 1,900 operator calls; at small batches the host is the limit.
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pulmonet.data.batches.load import side_stream

#: Steps of a new image size before one is recorded: kernels are chosen and states made in them.
WARM_STEPS = 3


class StepGraph:
    """Steps on whole batches of one image size: warmed up, recorded, then replayed.

    What changes from step to step lies in tensors that stay where they are: images, targets and
    learning rate. Dropout follows torch's seed. On a CPU, where nothing can be recorded, the step
    is done on the same tensors.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, device: torch.device) -> None:
        self._optimiser, self._rate = optimiser, torch.zeros((), device=device)
        self._stream = side_stream(device, "graph") if device.type == "cuda" else None
        self.forget()

    def forget(self) -> None:
        """Record anew: what a step does, or on what, has changed."""
        self._n_done, self._inputs = 0, list[Tensor]()
        self._graph: torch.cuda.CUDAGraph | None = None

    def run(
        self, work: Callable[..., tuple[Tensor, Tensor]], *batch: Tensor, rate: float, whole: bool
    ) -> tuple[Tensor, Tensor]:
        """What `work` gives of images and targets; a batch that is not `whole` needs no graph."""
        self._rate.fill_(rate)
        self._optimiser._warned_capturable_if_run_uncaptured = True  # short batches are meant
        for group in self._optimiser.param_groups:  # a checkpoint brings others
            group.update(lr=self._rate, capturable=True)
        if not whole:
            return work(*batch)
        if [one.shape for one in batch] != [one.shape for one in self._inputs]:
            self.forget()
            self._inputs = [one.clone() for one in batch]
        torch._foreach_copy_(self._inputs, batch)
        again = partial(work, *self._inputs)
        self._n_done += 1
        if self._stream is None:
            return again()
        if self._n_done <= WARM_STEPS:  # where it is recorded: libraries have memory for a stream
            current = torch.cuda.current_stream(self._stream.device)
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                found = again()
            current.wait_stream(self._stream)
            return found
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            mode = "thread_local"  # in which loader threads may copy meanwhile
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode=mode):
                self._found = again()
        self._graph.replay()
        loss, known = self._found
        return loss.clone(), known.clone()  # the next step writes into these
