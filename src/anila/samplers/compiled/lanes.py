"""Steps of small nets as one C++ function: each chain has a vector lane, and a few chains make all steps at a time.

Chains are independent, so as many as a vector has lanes can make all their steps with everything they need in the
nearest cache. A matrix product multiplies one weight after the other by whole vectors. There are no calls between
operations and no passes over memory: for nets of up to some hundred thousand weights on a CPU, this is faster than a
library call for every layer (`docs/speed.md`).
"""

import ctypes
import re
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor, fx

from anila.samplers.compiled.rewrites import fill_by_shape
from anila.samplers.compiled.torch_internals import cpp_compiled
from anila.samplers.compiled.translation import Translation
from anila.samplers.compiled.variables import Stored, Unsupported, value_of

HEADER = Path(__file__).with_name("lanes.h")
LARGEST = 2**19
"""Most numbers shared by all chains, mainly weights: they are read for every vector, so they should fit in a cache."""
DEEPEST = 3 * 2**12
"""Most numbers that a chain holds at a time: each is a vector of up to 64 bytes on a thread's stack."""
MOST_LANES = 16
MOST_LINES, LINES = 10_000, 60
"""Most lines of a step, and of one function: compile time is more than linear. A thousand lines take a second."""
FLAGS = ("-O2", "-ffp-contract=fast", "--param=avoid-fma-max-bits=0", "-fno-math-errno", "-fsigned-zeros")
"""By default GCC contracts products and sums only in vectors of some widths, so a chain would depend on the width. -O3
compiles up to four times as long, and its steps are no faster."""


class Lanes:
    """A traced step compiled to a function that makes any number of steps.

    Args:
        graph: (*state, *noise, *constants) -> (*state, *infos), all but the constants with one row per chain; a single
            row may stand for all.
        state: Number of inputs that are state.
        noise: Number of inputs that are noise.
        chains: Number of chains.
        literals: The constants whose values never change, by their position.

    Raises:
        Unsupported: If the step is not row by row, or not small.
        Exception: Whatever the C++ compiler raises.
    """

    def __init__(
        self, graph: fx.GraphModule, state: int, noise: int, chains: int, literals: dict[int, Tensor] | None = None
    ):
        fill_by_shape(graph)
        inputs: list[fx.Node] = graph.graph.find_nodes(op="placeholder")
        outputs: Any = graph.graph.output_node().args[0]
        self.state, self.noise, self.constants = inputs[:state], inputs[state : state + noise], inputs[state + noise :]
        self.infos: list[fx.Node] = outputs[state:]
        if value_of(inputs[0]).device.type != "cpu" or not noise:
            raise Unsupported("chains are not on a CPU, or draw no noise")
        self.step = Translation(graph.graph, inputs[: state + noise])
        if len(self.step.lines) > MOST_LINES:
            raise Unsupported(f"a step takes {len(self.step.lines):,} operations, more than {MOST_LINES:,}")
        own = [self.step.stored(node) for node in self.state]
        ends = [self.step.packed(node) for node in outputs]
        if any(self.step.variables[end.name][0] != "V" for end in ends):
            raise Unsupported("a step's state or info holds booleans")
        if any(a.name != b.name and b.name in {s.name for s in own} for a, b in zip(own, ends, strict=False)):
            raise Unsupported("a part of the state takes the place of another")
        shared = sum(value_of(node).numel() for node in self.step.fixed if node not in self.step.given)
        if shared > LARGEST:
            raise Unsupported(f"a step reads {shared:,} numbers that f keeps, more than {LARGEST:,}")
        source = self.source(own, ends[:state], ends[state:], chains % MOST_LANES)
        known = {self.constants[k]: value for k, value in (literals or {}).items()}
        self.prepare = preparation(graph.graph, self.constants, known, [*self.step.fixed])
        self.function = cpp_compiled(source, FLAGS).run

    def source(self, own: list[Stored], states: list[Stored], infos: list[Stored], left: int) -> str:
        """The C++ source, given the variables of the state, those in which a step leaves state and infos, and the
        number of chains that do not fill a vector."""
        step = self.step
        drawn = [step.stored(node) for node in self.noise]
        lasting = {v.name for v in (*own, *step.given.values())}
        memory = placed(step, lasting | {v.name for v in drawn}, lasting | {v.name for v in (*states, *infos)})

        def named(what: str, variables: list[Stored]) -> dict[str, Stored]:
            return {f"{what}{k}": v for k, v in enumerate(variables)}

        def rows(how: str, pointers: dict[str, Stored], row: str = "0") -> list[str]:
            """Read or write the variables of chains, in this row of (rows, chains, numbers)."""
            sizes = {pointer: step.variables[v.name][1] for pointer, v in pointers.items()}
            where = {pointer: f"{pointer} + ({row} * chains + first) * {size}" for pointer, size in sizes.items()}
            return [f"{how}<{sizes[p]}>({where[p]}, rows, {v.name});" for p, v in pointers.items()]

        started, noised, ended = named("state", own), named("noise", drawn), named("last", own)
        told, given = named("info", infos), {step.fixed[node]: v for node, v in step.given.items()}
        kept = named("kept", states)
        names = [*started, *noised, *step.fixed.values(), *ended, *told, *kept]
        pointers = {p: f"real* {p} = p[{k}];" for k, p in enumerate(names)}
        calls, functions = in_functions(step.lines, memory, pointers)
        used = {p: v for (p, v), node in zip(noised.items(), self.noise, strict=True) if node.users}
        keep = " ".join(rows("write", kept, "(s / every)"))
        return FORM.format(
            cpu=torch.backends.cpu.get_cpu_capability(),
            real="float" if step.dtype == torch.float32 else "double",
            header=HEADER.read_text(),
            functions="\n".join(functions),
            left=0 if functions else left,
            begin=indented(1, [*pointers.values()], memory, rows("read", started | given)),
            step=indented(
                2,
                rows("read", used, "s"),
                calls,
                rows("write", told, "s"),
                [f"if (every && s % every == every - 1) {{ {keep} }}"],
                [
                    f"for (int i = 0; i < {step.variables[a.name][1]}; i++) {a.name}[i] = {b.name}[i];"
                    for a, b in zip(own, states, strict=True)
                    if a.name != b.name
                ],
            ),
            end=indented(1, rows("write", ended)),
        )

    def __call__(self, given: list[Tensor], constants: list[Tensor], every: int) -> list[Tensor]:
        """Make one step for each row of the noise.

        Args:
            given: State, (chains, ...), and noise, (steps, chains, ...).
            constants: The tensors that the step was traced with.
            every: Steps between states that are kept; 0 keeps none.

        Returns:
            The last state, (chains, ...), infos, (steps, chains), and the states kept, (kept, chains, ...).
        """
        states, (steps, chains) = given[: len(self.state)], given[-1].shape[:2]
        fixed = [x if x.dtype == self.step.dtype else x.to(self.step.dtype) for x in self.prepare(*constants)]
        last = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in states]
        infos = [states[0].new_empty(steps, chains, *value_of(node).shape[1:]) for node in self.infos]
        kept = [x.new_empty(steps // every if every else 0, *x.shape) for x in states]
        read = [x if x.is_contiguous() else x.contiguous() for x in (*given, *fixed)]
        tensors = [*read, *last, *infos, *kept]
        pointers = (ctypes.c_void_p * len(tensors))(*(x.data_ptr() for x in tensors))

        def run(first: int, end: int) -> None:
            self.function(pointers, *map(ctypes.c_long, (chains, first, end, steps, every)))

        in_parallel(run, chains)
        return [*last, *infos, *kept]


FORM = """// for {cpu}
typedef {real} real;
{header}
{functions}
template <class V> void some_rows(real* const* p, long chains, long first, int rows, long steps, long every) {{
    typedef Mask<V> M;
{begin}
    for (long s = 0; s < steps; s++) {{
{step}
    }}
{end}
}}

extern "C" void run(real* const* p, long chains, long first, long end, long steps, long every) {{
    typedef Vector<BYTES>::V Wide;
    constexpr int left = {left} % lanes<Wide>;
    typedef Vector<BYTES / (BYTES > 16 && left && left <= lanes<Wide> / 2 ? 2 : 1)>::V Narrow;
    for (; end - first > lanes<Narrow>; first += lanes<Wide>)
        some_rows<Wide>(p, chains, first, end - first < lanes<Wide> ? end - first : lanes<Wide>, steps, every);
    if (first < end) some_rows<Narrow>(p, chains, first, end - first, steps, every);
}}
"""


def in_functions(lines: list[str], memory: list[str], pointers: dict[str, str]) -> tuple[list[str], list[str]]:
    """The lines themselves if they are few; otherwise calls of functions that hold a part each, and these functions.

    Args:
        lines: Lines of a step.
        memory: Declarations of the two memories, then of the variables in them.
        pointers: Name of each pointer -> its declaration.
    """
    if len(lines) <= 2 * LINES:
        return lines, []
    calls, functions, (_, _, *variables) = [], [], memory
    for k, first in enumerate(range(0, len(lines), LINES)):
        part = lines[first : first + LINES]
        read = {*re.findall(r"\b[vc]\d+\b", " ".join(part))}
        own = [line for line in variables if line.split(" = ")[0].split()[-1] in read]
        own += [line for name, line in pointers.items() if name in read]
        head = f"template <class V> NOINLINE void part{k}(V* memory_V, Mask<V>* memory_M, real* const* p) {{"
        functions += [head, "    typedef Mask<V> M;", indented(1, own, part), "}"]
        calls.append(f"part{k}<V>(memory_V, memory_M, p);")
    return calls, functions


def placed(step: Translation, before: set[str], after: set[str]) -> list[str]:
    """The declarations of all variables, in one memory for each kind, reusing the place of variables no longer read.

    Args:
        step: The lines, and the variables in them.
        before: The variables that exist before the first line.
        after: The variables that are read after the last.

    Raises:
        Unsupported: If they need more than a thread's stack should hold.
    """
    first, last = dict.fromkeys(before, -1), dict.fromkeys(after, len(step.lines))
    for k, line in enumerate(step.lines):
        for name in re.findall(r"\bv\d+\b", line):
            first.setdefault(name, k)
            last[name] = max(last.get(name, k), k)
    places: dict[str, int] = {}
    most = {"V": 1, "M": 1}
    for name in sorted(first, key=first.__getitem__):
        kind, size = step.variables[name]
        place = 0
        for other in sorted(places, key=places.__getitem__):
            if step.variables[other][0] == kind and last.get(other, -1) >= first[name]:
                if place + size <= places[other]:
                    break
                place = max(place, places[other] + step.variables[other][1])
        places[name] = place
        most[kind] = max(most[kind], place + size)
    if sum(most.values()) > DEEPEST:
        raise Unsupported(f"a chain needs {sum(most.values()):,} numbers at a time, more than {DEEPEST:,}")
    memory = [f"{kind} memory_{kind}[{size}];" for kind, size in most.items()]
    kinds = {name: step.variables[name][0] for name in places}
    return memory + [f"{kinds[name]}* const {name} = memory_{kinds[name]} + {k};" for name, k in places.items()]


def in_parallel(run: Any, chains: int) -> None:
    """Call run(first, end) on ranges that cover all chains, in as many threads as torch has."""
    part = -(-chains // torch.get_num_threads() // MOST_LANES) * MOST_LANES
    first, *others = [(k, min(k + part, chains)) for k in range(0, chains, part)]
    threads = [Thread(target=run, args=ends) for ends in others]
    for thread in threads:
        thread.start()
    run(*first)
    for thread in threads:
        thread.join()


def preparation(
    graph: fx.Graph, constants: list[fx.Node], known: dict[fx.Node, Tensor], wanted: list[fx.Node]
) -> fx.GraphModule:
    """What torch computes before every call: constants -> the wanted results that depend on constants only.

    Args:
        graph: Graph of a step.
        constants: Its inputs that are given before every call.
        known: Those of them that never change; what follows from them and from numbers is computed here.
        wanted: The nodes to compute.
    """
    copy, known = fx.Graph(), {**known}
    of = {node: copy.placeholder(node.name) for node in constants}
    for node in graph.nodes:
        inputs = {*node.all_input_nodes}
        if node.op == "call_function" and known.keys() >= inputs:
            args, kwargs = fx.map_arg((node.args, node.kwargs), known.__getitem__)
            known[node] = node.target(*args, **kwargs)
        elif node.op == "call_function" and of.keys() | known.keys() >= inputs:
            for each in inputs - of.keys():
                of[each] = copy.get_attr(each.name)
            of[node] = copy.node_copy(node, of.__getitem__)
    for each in {*wanted} - of.keys():
        of[each] = copy.get_attr(each.name)
    copy.output([of[node] for node in wanted])
    copy.eliminate_dead_code()
    return fx.GraphModule({node.name: value for node, value in known.items()}, copy)


def indented(depth: int, *lines: list[str]) -> str:
    return "\n".join("    " * depth + line for part in lines for line in part)
