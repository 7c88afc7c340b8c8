"""Steps compiled: traced once (`graphs`), then C++ for small nets on a CPU (`lanes`) or TorchInductor's graphs."""

from anila.samplers.compiled.graphs import GRAPHS, Graphs, graphs_of

__all__ = ["GRAPHS", "Graphs", "graphs_of"]
