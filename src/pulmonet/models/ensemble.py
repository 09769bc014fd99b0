"""A deep ensemble as one network."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: A key of an `Ensemble`'s state_dict, with the number of its member.
MEMBER_KEY = re.compile(r"^members\.(\d+)\.")


class Ensemble(nn.Module):
    """Networks as one, whose score is the mean of theirs.

    A deep ensemble (Lakshminarayanan et al. 2017). Takes and gives what its members do; the keys
    of its state_dict are theirs behind ``members.0.``, ``members.1.``, ...
    """

    def __init__(self, members: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, n_outputs), float32, of (B, 1, S, S) pixels."""
        return mean_logits([member(images) for member in self.members])


def mean_logits(of_members: Sequence[Tensor]) -> Tensor:
    """The logits (B, n_outputs) whose sigmoid is the mean of the members' sigmoids.

    float32; finite where the members' are, however large.
    """
    logits = torch.stack([member.float() for member in of_members])
    return F.logsigmoid(logits).logsumexp(dim=0) - F.logsigmoid(-logits).logsumexp(dim=0)
