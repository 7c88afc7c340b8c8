"""BlackJAX's MALA, HMC and NUTS behind one function, through its public API. Needs the extra `bench`.

Warm-ups: MALA's step size by dual averaging (Hoffman & Gelman 2014, section 3.2) of the acceptance averaged over
chains, towards 0.57; BlackJAX has no adaptation of its own for it, and its MALA takes no preconditioner. HMC and NUTS
by BlackJAX's `window_adaptation` with its defaults (diagonal mass matrix, acceptance 0.8), one for each chain.

BlackJAX's MALA step ε proposes x + ε ∇f + √(2 ε) ξ: ε is γ/2 here.
"""

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import blackjax  # pyright: ignore[reportMissingImports]
import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np

from targets import Target


class Draws(NamedTuple):
    """What one run of a sampler gave."""

    x: np.ndarray
    """Positions after every step, (steps, chains, d)."""
    accept: float
    """Mean acceptance probability."""
    gradients: float
    """Evaluations of ∇f a chain, warm-up apart."""
    warmup_gradients: float
    """The same of the warm-up."""
    seconds: float
    """Wall time of the steps, warm-up and compilation apart."""


def value_and_grad(target: Target, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and gradients by JAX, (chains,) and (chains, d)."""
    value, grad = jax.vmap(jax.value_and_grad(log_density(target)))(jnp.asarray(x))
    return np.asarray(value), np.asarray(grad)


def log_density(target: Target) -> Callable[[Any], Any]:
    return lambda x: target.f(jnp, x)


def dual_averaging(target: Target, x: Any, steps: int, key: Any) -> tuple[Any, Any, Any]:
    """MALA's warm-up: positions, the step size, and gradients spent, `steps` gradients a chain."""
    f = log_density(target)
    kernel = blackjax.mala.build_kernel()
    first = jnp.log(0.5 * target.dim ** (-1 / 3) / jnp.mean(jax.vmap(jax.grad(f))(x) ** 2))

    def step(carry: Any, k: Any) -> tuple[Any, None]:
        state, log_step, error, mean_log = carry
        keys = jax.random.split(jax.random.fold_in(key, k), len(x))
        state, info = jax.vmap(lambda a, s: kernel(a, s, f, jnp.exp(log_step)))(keys, state)
        error = (1 - 1 / (k + 10)) * error + (0.57 - info.acceptance_rate.mean()) / (k + 10)
        log_step = first + jnp.log(10.0) - jnp.sqrt(k) / 0.05 * error
        weight = k**-0.75
        return (state, log_step, error, weight * log_step + (1 - weight) * mean_log), None

    state = jax.vmap(lambda a: blackjax.mala.init(a, f))(x)
    carry, _ = jax.lax.scan(step, (state, first, 0.0, 0.0), jnp.arange(1.0, steps + 1))
    return carry[0].position, {"step_size": jnp.full(len(x), jnp.exp(carry[3]))}, jnp.float64(steps)


def windows(algorithm: Any, target: Target, x: Any, steps: int, key: Any, **more: Any) -> tuple[Any, Any, Any]:
    """BlackJAX's own warm-up, one for each chain: positions, settings a chain, and gradients spent."""
    adaptation = blackjax.window_adaptation(
        algorithm, log_density(target), adaptation_info_fn=lambda _s, info, _a: info.num_integration_steps, **more
    )

    def one(x: Any, key: Any) -> tuple[Any, Any, Any]:
        (state, settings), leapfrogs = adaptation.run(key, x, steps)  # pyright: ignore[reportCallIssue]
        adapted = {name: settings[name] for name in ("step_size", "inverse_mass_matrix")}
        return state.position, adapted, leapfrogs.sum()

    x, settings, gradients = jax.vmap(one)(x, jax.random.split(key, len(x)))
    return x, settings, gradients.mean().astype(float)


ALGORITHMS: dict[str, Any] = {"mala": blackjax.mala, "hmc": blackjax.hmc, "nuts": blackjax.nuts}


class Runner:
    """One of BlackJAX's samplers on one target, compiled once and run for many seeds."""

    def __init__(self, name: str, target: Target, warmup: int, leapfrog_steps: int, dense: bool = False):
        self.algorithm, self.target = ALGORITHMS[name], target
        self.more = {"num_integration_steps": leapfrog_steps} if name == "hmc" else {}
        if name == "mala":
            self.warm_up: Any = jax.jit(lambda x, key: dual_averaging(target, x, warmup, key))
        else:
            given = {"is_mass_matrix_diagonal": not dense, **self.more}
            self.warm_up = jax.jit(lambda x, key: windows(self.algorithm, target, x, warmup, key, **given))
        self.compiled: dict[int, Any] = {}

    def __call__(self, x0: np.ndarray, steps: int, seed: int) -> Draws:
        """Warm-up from x0, (chains, d), then so many steps."""
        x, settings, spent = self.warm_up(jnp.asarray(x0), jax.random.key(2 * seed))
        return self.walk(x, settings, steps, 2 * seed + 1)._replace(warmup_gradients=float(spent))

    def come_back(self, x0: np.ndarray, far: np.ndarray, steps: int, seed: int) -> np.ndarray:
        """Positions of chains from far out at the settings of a warm-up from x0, (steps, chains, d)."""
        _, settings, _ = self.warm_up(jnp.asarray(x0), jax.random.key(2 * seed))
        return self.walk(jnp.asarray(far), settings, steps, 2 * seed + 1).x

    def compile(self, chains: int, steps: int) -> None:
        """Warm-up and steps, before there are chains: so a caller knows what it costs."""
        x, key = jnp.zeros((chains, self.target.dim)), jax.random.key(0)
        x, settings, _ = jax.eval_shape(self.warm_up, x, key)
        self.warm_up = self.warm_up.lower(x, key).compile()
        self.compile_steps(x, settings, steps)

    def compile_steps(self, x: Any, settings: Any, steps: int) -> None:
        keys = jax.random.split(jax.random.key(0), x.shape[0])
        self.compiled[steps] = jax.jit(jax.vmap(self.chain(steps))).lower(x, settings, keys).compile()

    def walk(self, x: Any, settings: Any, steps: int, seed: int) -> Draws:
        """`steps` steps of fixed kernels, timed after compilation."""
        keys = jax.random.split(jax.random.key(seed), len(x))
        if steps not in self.compiled:
            self.compile_steps(x, settings, steps)
        began = time.perf_counter()
        path, accept, leapfrogs = jax.block_until_ready(self.compiled[steps](x, settings, keys))
        seconds = time.perf_counter() - began
        return Draws(np.asarray(path).swapaxes(0, 1), float(accept.mean()), float(leapfrogs.mean()), 0.0, seconds)

    def chain(self, steps: int) -> Callable[[Any, Any, Any], Any]:
        """(start, settings, key) -> positions, acceptance and gradients of one chain."""

        def one(x: Any, settings: Any, key: Any) -> Any:
            sampler = self.algorithm(log_density(self.target), **settings, **self.more)

            def step(state: Any, key: Any) -> Any:
                state, info = sampler.step(key, state)
                return state, (state.position, info.acceptance_rate, getattr(info, "num_integration_steps", 1))

            _, (path, accept, leapfrogs) = jax.lax.scan(step, sampler.init(x), jax.random.split(key, steps))
            return path, accept.mean(), leapfrogs.sum()

        return one
