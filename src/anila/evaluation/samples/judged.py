"""Samples as a classifier sees them: the share of which it is sure, and how evenly they fall into its classes.

    share   = share of samples with max_y p(y | x) > sure
    entropy = −Σ_y p̄_y log p̄_y / log k,   p̄ = mean over samples of p(· | x): 1 if all k are equal, 0 if one is all

This is the inception score split into its two parts (Salimans et al. 2016): the sharpness of each sample, and the
spread over all. The classifier must not have been trained on the samples, and the scores of real data are the
reference.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from anila.evaluation.samples.metrics import require_finite_rows


class Judged(NamedTuple):
    """Share and entropy, both between 0 and 1."""

    share: float
    entropy: float


@torch.no_grad()
def judged(
    x: Float[Tensor, "n *event"], classifier: Callable[[Tensor], Float[Tensor, "n classes"]], sure: float = 0.9
) -> Judged:
    """The share of samples of which a classifier is sure, and the entropy of their classes.

    Args:
        x: Samples, (n, *event).
        classifier: x -> logits of k >= 2 classes, (n, k).
        sure: Probability of one class above which a sample counts.

    Raises:
        ValueError: If a row is not finite.

    >>> judged(torch.tensor([[9.0, 0.0], [0.0, 9.0], [0.0, 0.0], [0.0, 0.0]]), lambda x: x)
    Judged(share=0.5, entropy=1.0)
    """
    require_finite_rows(x)
    p = classifier(x).double().softmax(1)
    classes = p.mean(0)
    share = (p.max(1).values > sure).double().mean()
    return Judged(float(share), float(torch.special.entr(classes).sum()) / math.log(len(classes)))
