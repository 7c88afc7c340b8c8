"""Class-conditional log-densities: a network with one output per class is a joint density of points and classes.

    log p(x, y) = f(x)[y] − log Z        log p(x) = logsumexp_y f(x)[y] − log Z        log p(y | x) = log softmax f(x)

So one network is a density, a density for each class, and a classifier (JEM: Grathwohl et al. 2020, "Your classifier is
secretly an energy based model and you should treat it like one", eqs. 5-7). A temperature or confining term changes the
joint density and belongs inside: Conditional(Confined(Tempered(net))).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from anila.messages import counted


class Conditional(nn.Module):
    """f(x) = logsumexp_y net(x)[y]: the log-density of x of any class.

    Args:
        net: Module (n, *event) -> (n, classes).

    >>> f = Conditional(nn.Linear(2, 3))
    >>> x = torch.randn(4, 2)
    >>> f(x).shape, f.logits(x).shape, f.given(2)(x).shape
    (torch.Size([4]), torch.Size([4, 3]), torch.Size([4]))
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Float[Tensor, "n *event"], by_class: bool = False) -> Float[Tensor, "n *classes"]:
        """f(x), (n,), or f(x)[y] of every class, (n, classes).

        Raises:
            ValueError: If the network does not give one number per class.
        """
        values = self.net(x)
        if values.ndim != 2:
            raise ValueError(
                f"a conditional network must give (n, classes): expected ({len(x)}, classes), got {tuple(values.shape)}"
            )
        return values if by_class else values.logsumexp(1)

    def logits(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n classes"]:
        """f(x)[y] of every class; their softmax is p(y | x)."""
        return self(x, by_class=True)

    def given(self, y: int | Int[Tensor, "n"]) -> "Given":
        """The log-density x -> f(x)[y] of a class; any sampler takes it.

        Args:
            y: A class, or one per row.

        Raises:
            ValueError: When called, if there is no such class, or not one for every row.
        """
        return Given(self, y)


class Given(nn.Module):
    """x -> f(x)[y].

    Args:
        joint: f of all classes.
        y: A class, or one for every row.
    """

    def __init__(self, joint: Conditional, y: int | Int[Tensor, "n"]):
        super().__init__()
        self.joint, self.of_class = joint, labelled(y)

    def forward(self, x: Float[Tensor, "n *event"]) -> Float[Tensor, "n"]:
        return self.of_class(self.joint.logits(x))


def labelled(y: int | Int[Tensor, "n"]) -> Callable[[Float[Tensor, "n classes"]], Float[Tensor, "n"]]:
    """logits -> logits[y], for one class or one per row.

    Raises:
        ValueError: When called, if there is no such class, or not one for every row.
    """
    labels = torch.as_tensor(y)
    lowest, highest = int(labels.min()), int(labels.max())

    def of_class(logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n"]:
        if not 0 <= lowest <= highest < logits.shape[1]:
            raise ValueError(f"given: classes are 0 to {logits.shape[1] - 1}; got {lowest} to {highest}")
        if labels.ndim and len(labels) != len(logits):
            raise ValueError(f"given: expected a class for each of {counted(len(logits), 'row')}, got {len(labels)}")
        return logits.gather(1, labels.to(logits.device).expand(len(logits))[:, None]).squeeze(1)

    return of_class
