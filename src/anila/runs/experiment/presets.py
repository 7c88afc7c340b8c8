"""What can be trained by name: our best known settings, and the papers' own, with the result each is known to reach.

`-stanley` presets follow Karimi, Xie & Li 2023 (arXiv 2310.12667) and the authors' public scripts, `-anatomy` presets
Nijkamp et al. 2020 (arXiv 1903.12370). Where the source is silent, the summary says what we chose. In our
parametrisation the papers' noise scale ε is temperature ε² at step_size 1; the anatomy study's x ← x − ∂F + εz is
step_size ε², temperature 1 and f = −2F/ε², hence network.temperature ε²/2.
"""

from dataclasses import replace
from typing import NamedTuple

from anila.runs.experiment.changes import Changes
from anila.runs.experiment.experiment import Experiment, Stage
from anila.runs.experiment.settings import Data, Network, Objective, Optimizer, Sampler, Start, Training


class Preset(NamedTuple):
    """Settings; `KNOWN_TO` describes them."""

    experiment: Experiment
    exact: Changes = {}  # noqa: RUF012
    """What else changes when a Metropolis sampler replaces an unadjusted one."""
    on_gpu: tuple[str, ...] = ()
    """Settings, key=value, for learning on a GPU: a net as wide and batches as large as it has time for."""


RINGS = Experiment(
    data=Data(name="rings"),
    network=Network(name="mlp", hidden=(128, 128), fourier=64, fourier_scale=0.4, confine=1.5),
    sampler=Sampler(name="anisotropic_mala", steps=2, step_size=0.02, threshold=10.0, global_every=1, draw_steps=100),
    start=Start(name="persistent", kind="data"),
    optimizer=Optimizer(name="adam", learning_rate=5e-3, decay="cosine", warmup=50),
    training=Training(
        iterations=1200, batch=1000, chains=500, ema=0.99, log_every=10, checkpoint_every=400, picture_every=400
    ),
)

MIXTURE = replace(RINGS, data=Data(name="mixture"))

TABLE = replace(
    RINGS,
    data=Data(name="table", held_out=0.2),
    network=Network(name="mlp", hidden=(128, 128), whitened=True, confine=1.0),
    sampler=Sampler(
        name="anisotropic_mala", steps=5, step_size=0.3, threshold=3.0, accept=0.57, global_every=5, draw_steps=200
    ),
    training=replace(RINGS.training, iterations=500, batch=500, chains=250, checkpoint_every=250, picture_every=500),
)
KERNEL = replace(
    TABLE,
    data=Data(name="table"),
    network=Network(name="kernel"),
    objective=Objective(name="none"),
    sampler=replace(TABLE.sampler, global_every=0),
    training=Training(iterations=1),
)

FLOWERS_CHAINS = Experiment(
    data=Data(name="flowers102", size=32, flip=True),
    network=Network(name="vanilla", width=16, nonlinearity="silu"),
    sampler=Sampler(name="anisotropic", steps=40, step_size=10.0, threshold=0.005, clipped=0.01, temperature=1e-5),
    start=Start(name="replay", size=2000, fresh=0.05),
    optimizer=Optimizer(name="adam", learning_rate=3e-4, momentum=0.0, decay="cosine", warmup=50),
    training=Training(
        iterations=2000, batch=32, data_noise=0.03, max_grad_norm=1.0, ema=0.99, log_every=10, checkpoint_every=100,
        picture_every=250,
    ),
)  # fmt: skip
MNIST_CHAINS = replace(FLOWERS_CHAINS, data=Data(name="mnist", size=32))
CIFAR10_CHAINS = replace(FLOWERS_CHAINS, data=Data(name="cifar10", size=32, flip=True))

LEVELS, LOWEST = (0.04, 6.0), 0.1
"""Noise levels at which images are learned, and the level of f(x)."""
WITHOUT_CHAINS = Stage(share=0.85)
ON_THE_FINAL_LAW = Stage(
    share=0.15,
    changes={
        "objective": {"name": "likelihood"},
        "anchor": {"name": "denoising", "sd": LOWEST},
        "optimizer": {"learning_rate": 5e-4, "momentum": 0.5, "warmup": 20},
        "training": {"data_noise": LOWEST, "max_grad_norm": 1.0, "ema": 0.99, "checkpoint_every": 100},
    },
)
"""Algorithm 1 trains the adapter. Its gradient is limited to the norm of the anchor's, which it would swamp."""
FLOWERS = Experiment(
    data=Data(name="flowers102", size=32, flip=True),
    network=Network(
        name="unet", widths=(32, 64, 64), adapter=(16, 32, 32), lowest=LOWEST, highest=LEVELS[1], finest=LEVELS[0]
    ),
    objective=Objective(name="denoising", sd=LEVELS),
    sampler=Sampler(name="langevin", steps=10, step_size=0.003, levels=32, level_steps=2, draw_steps=50),
    start=Start(name="paired", fresh=0.01),
    optimizer=Optimizer(name="adam", learning_rate=2e-3, decay="cosine", warmup=100),
    training=Training(
        minutes=20, batch=32, max_grad_norm=1000.0, ema=0.999, log_every=10, checkpoint_every=500, picture_every=1000
    ),
    stages=(WITHOUT_CHAINS, ON_THE_FINAL_LAW),
)
WITH_CLASSES = replace(
    FLOWERS,
    network=replace(FLOWERS.network, classes="auto"),
    sampler=replace(FLOWERS.sampler, guidance=6.0),
    training=replace(FLOWERS.training, classify=10.0),
)
WIDE = (
    "network.widths=[96,192,256]", "network.adapter=[48,96,128]", "training.batch=128",
    "optimizer.learning_rate=1e-3",
)  # fmt: skip
GREY = replace(WITH_CLASSES, sampler=replace(WITH_CLASSES.sampler, level_steps=4, guidance=4.0))
MNIST = replace(GREY, data=Data(name="mnist", size=32))
FASHION_MNIST = replace(GREY, data=Data(name="fashion-mnist", size=32))
FASTER = replace(
    ON_THE_FINAL_LAW,
    changes=ON_THE_FINAL_LAW.changes | {"optimizer": {"learning_rate": 1e-3, "momentum": 0.5, "warmup": 20}},
)
"""At half of that rate f did not learn where chains from photographs of objects go: they became rough."""
CIFAR10 = replace(WITH_CLASSES, data=Data(name="cifar10", size=32, flip=True), stages=(WITHOUT_CHAINS, FASTER))

EXACT_IMAGES: Changes = {
    "network": {"confine": 1.0},
    "sampler": {"step_size": 0.01, "threshold": 10.0, "clipped": None, "temperature": 1.0, "accept": 0.57},
    "start": {"name": "persistent", "size": None},
    "training": {"max_grad_norm": None},
}
"""Exact chains of images: temperature 1, a base measure, an adaptive step size, all chains moved in each iteration.

At the low temperature of the unadjusted recipe nothing would be accepted: its drift is far larger than its noise.
"""

AS_PRINTED = Training(batch=100, rollbacks=None)
"""The papers have no guard."""
TOY_ANATOMY = Network(name="toy", slope=0.05)
EPSILON_TOY = 0.125
RINGS_ANATOMY = Experiment(
    data=Data(name="rings"),
    network=replace(TOY_ANATOMY, temperature=EPSILON_TOY**2 / 2),
    sampler=Sampler(name="langevin", steps=500, step_size=EPSILON_TOY**2),
    start=Start(name="persistent", kind="uniform", scale=1.0, size=10_000),
    optimizer=Optimizer(name="sgd", learning_rate=0.1 * EPSILON_TOY**2 / 2),
    training=replace(AS_PRINTED, iterations=200_000, log_every=100, checkpoint_every=5000, picture_every=5000),
)
RINGS_SHORTRUN = Experiment(
    data=Data(name="rings"),
    network=replace(TOY_ANATOMY, temperature=0.01**2 / 2),
    sampler=Sampler(name="langevin", steps=100, step_size=0.01**2),
    start=Start(name="noise", kind="normal", scale=2.0),
    optimizer=Optimizer(name="adam", learning_rate=1e-4),
    training=replace(AS_PRINTED, iterations=100_000, log_every=100, checkpoint_every=5000, picture_every=5000),
)
RINGS_STANLEY = Experiment(
    data=Data(name="rings"),
    network=TOY_ANATOMY,
    sampler=Sampler(name="anisotropic", steps=100, threshold=0.01, temperature=EPSILON_TOY**2),
    start=Start(name="persistent", kind="uniform", scale=1.0),
    optimizer=Optimizer(name="sgd", learning_rate=1e-4),
    training=replace(AS_PRINTED, iterations=10_000, log_every=20, checkpoint_every=1000, picture_every=2000),
)

IMAGE_TRAINING = replace(AS_PRINTED, iterations=100_000, log_every=20, checkpoint_every=1000, picture_every=1000)
FIVE_CONV = Network(name="vanilla", width=64, nonlinearity="leaky_relu", slope=0.2)
ANATOMY_VANILLA = Network(name="vanilla", width=32, nonlinearity="leaky_relu", slope=0.05)

CIFAR10_STANLEY = Experiment(
    data=Data(name="cifar10", size=32),
    network=FIVE_CONV,
    sampler=Sampler(name="anisotropic", steps=100, threshold=2e-4, temperature=0.01**2),
    start=Start(name="persistent", kind="uniform", scale=1.0),
    optimizer=Optimizer(name="adam", learning_rate=1e-4),
    training=replace(IMAGE_TRAINING, batch=64),
)
FLOWERS_STANLEY = Experiment(
    data=Data(name="flowers102", size=32),
    network=FIVE_CONV,
    sampler=Sampler(name="anisotropic", steps=50, threshold=1e-4, temperature=0.01**2),
    start=Start(name="persistent", kind="uniform", scale=1.0),
    optimizer=Optimizer(name="sgd", learning_rate=1e-3),
    training=IMAGE_TRAINING,
)
FLOWERS_ANATOMY = Experiment(
    data=Data(name="flowers102", size=32),
    network=Network(name="nonlocal", slope=0.05, temperature=0.0075**2 / 2),
    sampler=Sampler(name="langevin", steps=500, step_size=0.0075**2),
    start=Start(name="persistent", kind="uniform", scale=1.0, size=8189),
    optimizer=Optimizer(
        name="sgd", learning_rate=0.1 * 0.0075**2 / 2, decay="exponential", final_rate=5e-4 * 0.0075**2 / 2
    ),
    training=replace(IMAGE_TRAINING, iterations=200_000, data_noise=0.015),
)
CIFAR10_ANATOMY = Experiment(
    data=Data(name="cifar10", size=32),
    network=replace(ANATOMY_VANILLA, temperature=0.01**2 / 2),
    sampler=Sampler(name="langevin", steps=150, step_size=0.01**2),
    start=Start(name="noise", kind="uniform", scale=1.0),
    optimizer=Optimizer(name="adam", learning_rate=1e-4),
    training=replace(IMAGE_TRAINING, data_noise=0.03),
)

PRESETS: dict[str, Preset] = {
    "rings": Preset(RINGS),
    "mixture": Preset(MIXTURE),
    "kernel": Preset(KERNEL),
    "table": Preset(TABLE),
    "mnist": Preset(MNIST, on_gpu=WIDE),
    "fashion-mnist": Preset(FASHION_MNIST, on_gpu=WIDE),
    "flowers": Preset(FLOWERS, on_gpu=WIDE),
    "cifar10": Preset(CIFAR10, on_gpu=WIDE),
    "mnist-chains": Preset(MNIST_CHAINS, EXACT_IMAGES),
    "flowers-chains": Preset(FLOWERS_CHAINS, EXACT_IMAGES),
    "cifar10-chains": Preset(CIFAR10_CHAINS, EXACT_IMAGES),
    "rings-stanley": Preset(RINGS_STANLEY),
    "rings-anatomy": Preset(RINGS_ANATOMY),
    "rings-anatomy-shortrun": Preset(RINGS_SHORTRUN),
    "mixture-anatomy": Preset(replace(RINGS_ANATOMY, data=Data(name="mixture"))),
    "flowers-stanley": Preset(FLOWERS_STANLEY),
    "flowers-anatomy": Preset(FLOWERS_ANATOMY),
    "cifar10-stanley": Preset(CIFAR10_STANLEY),
    "cifar10-anatomy": Preset(CIFAR10_ANATOMY),
}
