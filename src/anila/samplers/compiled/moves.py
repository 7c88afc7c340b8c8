"""Moves of kernels that count or choose (`Scheduled`): each is compiled, while Python still decides which to make.

Global moves, mixtures and replica exchange depend on numbers that a graph cannot hold. But their steps consist of
functions of tensors, and these are compiled, one per call.
"""

from typing import TYPE_CHECKING, Any

from anila.samplers.compiled import graphs_of, is_compiled
from anila.samplers.compiled.worth import pays
from anila.samplers.kernel import Move, Scheduled

if TYPE_CHECKING:
    from anila.samplers.compiled.graphs import Graphs


class CompiledMove:
    """A move that is compiled when first made, or left as it is if that is impossible or, unasked, does not pay.

    Args:
        move: (state, noise) -> (state, info), of tensors.
        steps: Number of steps of the run.
        unasked: Whether nobody asked to compile; then only what pays is compiled, and there is no warning.
        look: Whether to compare a move compiled earlier with the move as it is now.
    """

    def __init__(self, move: Move, steps: int, unasked: bool, look: bool):
        self.move, self.steps, self.unasked, self.look = move, steps, unasked, look
        self.was_made = False
        self.graphs: Graphs | None = None

    def __call__(self, state: Any, noise: Any) -> tuple[Any, Any]:
        """One move."""
        if not self.was_made:
            self.was_made, self.graphs = True, self.compiled(state, noise)
        if self.graphs is None:
            return self.move(state, noise)
        state, info, _ = self.graphs(state, type(noise)(*(field[None] for field in noise)))
        return state, type(info)(*(field[0] for field in info))

    def compiled(self, state: Any, noise: Any) -> "Graphs | None":
        """Graphs of the move from states like this, if wanted."""

        def draw_noise() -> Any:
            return noise

        if self.unasked and not (is_compiled(self.move, state) or pays(self.move, state, draw_noise, self.steps)):
            return None
        return graphs_of(self.move, state, draw_noise, self.unasked, self.look)

    def how(self) -> str:
        """How the move is made."""
        return self.graphs.how() if self.graphs else "uncompiled"


def with_compiled_moves(step: Scheduled, steps: int, unasked: bool, look: bool) -> Scheduled:
    """The same step with compiled moves; the arguments are those of `CompiledMove`."""

    def compiled(move: Move) -> Move:
        if isinstance(move, Scheduled):
            return with_compiled_moves(move, steps, unasked, look)
        return CompiledMove(move, steps, unasked, look)

    return Scheduled(step.schedule, *map(compiled, step.moves))


def how_made(step: Any) -> str:
    """How a step that is not one graph is made: all the ways in which its moves are."""
    return "; ".join(dict.fromkeys(ways(step))) or "uncompiled"


def ways(step: Any) -> list[str]:
    """The ways of the moves that were made."""
    if isinstance(step, Scheduled):
        return [way for move in step.moves for way in ways(move)]
    return [step.how()] if isinstance(step, CompiledMove) and step.was_made else []
