"""Classes at every noise level: one f(x, s)[y] for each class y, all computed in one pass.

    f(x, s)[y] = f₀(x, s) + ⟨e_y, h(u, s)⟩        f(x, s) = logsumexp_y f(x, s)[y]

f₀ is the density of `noise_conditional`, h its network's features of u, the saturated and scaled point, and e_y the
embedding of a class. exp f(·, s) is the law of noisy data of any class, exp f(·, s)[y] that of noisy data of class y,
up to one constant for all classes, and p(y | x, s) is the softmax (JEM: Grathwohl et al. 2020, eqs. 5-7; here of noisy
data). Far out u stops growing, and so do the features: like f₀, each class is normalisable whatever the weights.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from anila.density.networks.blurred_gaussian import BlurredGaussian
from anila.density.networks.conditional import labelled
from anila.density.networks.noise_conditional import NoiseConditional, saturated

GUIDED = 5.0
"""Highest noise, in sd of the data, with guidance: if classes differ by colour, more of it removes contrast."""


class ClassesAtLevels(NoiseConditional):
    """f(x, s) = logsumexp_y f(x, s)[y] of noisy data in [-1, 1]; f(x) is f at the lowest level.

    Args:
        net: U and its features: a module whose forward(u, s, pooled=True) gives (n, *event) and (n, net.pooled).
        base: The Gaussian with the moments of the data.
        lowest: s of f(x), in units of x.
        highest: s at which annealed draws begin.
        finest: The smallest s at which f is learned; by default that of f(x).
        adapter: As in `NoiseConditional`.
        classes: Number of classes.

    Raises:
        ValueError: As in `NoiseConditional`, or if there are fewer than two classes.
    """

    def __init__(
        self,
        net: nn.Module,
        base: BlurredGaussian,
        lowest: float,
        highest: float = 2.4,
        finest: float | None = None,
        adapter: nn.Module | None = None,
        *,
        classes: int,
    ):
        super().__init__(net, base, lowest, highest, finest, adapter)
        pooled: Any = net.pooled
        self.embedding = nn.Parameter(torch.zeros(classes, pooled))

    def forward(
        self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"] | None = None, by_class: bool = False
    ) -> Float[Tensor, "n *classes"]:
        """f(x, s), (n,), or f(x, s)[y] of every class, (n, classes)."""
        if not by_class:
            return super().forward(x, s)
        level = self.level(x) if s is None else s
        return self.known(x, level)[:, None] + self.learned_by_class(x, level, adapted=s is None)

    def logits(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n classes"]:
        """f(x)[y] of every class; their softmax is p(y | x)."""
        return self(x, by_class=True)

    def given(self, y: int | Int[Tensor, "n"], guidance: float = 0.0) -> "GivenAtLevels":
        """f of one class, at all levels.

        Args:
            y: A class, or one per row.
            guidance: w.

        Raises:
            ValueError: When called, if there is no such class, or not one for every row.
        """
        return GivenAtLevels(self, y, guidance)

    def guided(self, guidance: float) -> "GivenAtLevels":
        """f of all classes together, each with guidance."""
        return GivenAtLevels(self, None, guidance)

    def learned(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"], adapted: bool = False) -> Float[Tensor, "n"]:
        """The learned part of f for all classes together."""
        return self.learned_by_class(x, s, adapted).logsumexp(1)

    def learned_by_class(
        self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"], adapted: bool = False
    ) -> Float[Tensor, "n classes"]:
        """(|x − D₀|² − |x − D|²) / (2 s²) + ⟨e_y, h⟩, bounded in x."""
        x = saturated(x, s)
        u = self.scaled(x, s)
        points, h = self.net(u, s, pooled=True)
        if adapted and self.adapter:
            points = points + self.adapter(u, s)
        return self.nearer(x, s, points)[:, None] + h @ self.embedding.T


class GivenAtLevels(NoiseConditional):
    """x, s -> f(x, s)[y] + w log p(y | x, s); without a class, the logsumexp of these over all classes.

    With w above 0, points belong to their class more clearly than under its law, and vary less (Dhariwal & Nichol 2021,
    section 4, whose scale is 1 + w). At levels above 5 σ, σ the sd of the data, w is 0 (Kynkäänniemi et al. 2024).

    Args:
        joint: f of all classes.
        y: A class, or one per row; None for all together.
        guidance: w.
    """

    def __init__(self, joint: ClassesAtLevels, y: int | Int[Tensor, "n"] | None, guidance: float = 0.0):
        super().__init__(joint.net, joint.base, joint.lowest, joint.highest, joint.finest, joint.adapter)
        self.joint, self.y, self.guidance, self.widening = joint, y, guidance, joint.widening
        self.of_class = total if y is None else labelled(y)

    def guided(self, guidance: float) -> "GivenAtLevels":
        """The same with another guidance."""
        return GivenAtLevels(self.joint, self.y, guidance)

    def learned(self, x: Float[Tensor, "n *event"], s: Float[Tensor, "n"], adapted: bool = False) -> Float[Tensor, "n"]:
        """The learned part of f for the class."""
        logits = self.joint.learned_by_class(x, s, adapted)
        if not self.guidance:
            return self.of_class(logits)
        w = (self.guidance * (s <= GUIDED * self.data_sd))[:, None]
        return self.of_class(logits + w * (logits - logits.logsumexp(1, keepdim=True)))


def total(logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n"]:
    return logits.logsumexp(1)
