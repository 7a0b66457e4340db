"""The training loop: one for all chapters.

The loop owns all randomness. It draws the batch, the times, the noise and the dropped labels from one generator, and
hands them to a loss that is a pure function. What a network draws by itself, as dropout does, has a seed of its own at
each step. Two runs with the same seed, machine and number of threads are equal, also
when one of them was interrupted and resumed. The loop lets the number of threads follow what other programs leave;
OMP_NUM_THREADS fixes it.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusion_lab import threads
from diffusion_lab.checkpoints import load_tensors, load_weights, save_tensors
from diffusion_lab.denoisers import evaluating, modules_of
from diffusion_lab.devices import own_randomness
from diffusion_lab.errors import CheckpointError, TrainingError
from diffusion_lab.levels import Level
from diffusion_lab.muon import Muon
from diffusion_lab.schedules import Schedule
from diffusion_lab.targets import Target


def _adamw(network: nn.Module, **options) -> torch.optim.AdamW:
    return torch.optim.AdamW(network.parameters(), **options)


OPTIMIZERS: dict[str, tuple[str, Callable[..., torch.optim.Optimizer]]] = {
    "adamw": ("AdamW", _adamw),
    "muon": ("Muon and AdamW", Muon),
}
"""The optimizers: what model cards call them, and what makes one for a network."""


@dataclass(frozen=True)
class Settings:
    """How long and how fast to train."""

    steps: int
    batch: int
    learning_rate: float = 2e-3
    warmup: int = 100
    ema_decay: float = 0.999
    clip: float = 1.0
    weight_decay: float = 0.0
    optimizer: str = "adamw"
    """Of `OPTIMIZERS`; "muon" learns faster where most weights are in kernels and matrices of a few hundred rows, see
    `Muon`. Its own work grows with the cube of their shorter side."""

    def __post_init__(self):
        for name in ("steps", "batch", "warmup"):
            least, value = (0 if name == "warmup" else 1), getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise TrainingError(f"{name} must be a whole number of at least {least}, got {value!r}")
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise TrainingError(f"{name} must be a number above 0 and finite, got {value!r}")
        if not 0 <= self.ema_decay < 1:
            raise TrainingError(f"ema_decay must be at least 0 and below 1, got {self.ema_decay!r}")
        if not 0 <= self.weight_decay < math.inf:
            raise TrainingError(f"weight_decay must be a number of at least 0, got {self.weight_decay!r}")
        if self.optimizer not in OPTIMIZERS:
            raise TrainingError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}")


def make_optimizer(network: nn.Module, settings: Settings, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that the settings name, for the weights of a network on this device."""
    _, make = OPTIMIZERS[settings.optimizer]
    return make(
        network,
        lr=settings.learning_rate,
        betas=(0.9, 0.99),
        weight_decay=settings.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )


RISEN, GROWN = 3.0, 100.0
"""Signs that training has diverged: the loss is 3 times what it was at first; the largest weight is 100 times what it
was, and what 1 would be."""


def drop_labels(labels: Tensor, p: float, null: int, uniform: Tensor) -> Tensor:
    """Replace each label (B,) by `null` where its uniform (B,) is below p. The input is left as it is."""
    return torch.where(uniform < p, torch.full_like(labels, null), labels)


@dataclass(frozen=True)
class Source:
    """The data that batches are drawn from, and the conditions that go with each sample."""

    data: Tensor
    """(N, *S); float for numbers, int64 for tokens."""
    labels: Tensor | None = None
    """(N,) int64."""
    mask: Tensor | None = None
    """(N, L) bool, True for real tokens."""
    classes: int = 0
    """The label `classes` means no label."""
    drop_share: float = 0.0
    """The share of labels replaced by no label, for classifier-free guidance (Ho & Salimans 2022, algorithm 1)."""
    drop_labels: Callable[[Tensor, float, int, Tensor], Tensor] = drop_labels
    """(labels, share, null, uniform) -> labels."""
    self_condition: Target | None = None
    """The target by which the network's own estimate of x0 is found; half of the batches get it."""

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, dict]:
        """x0 (n, *S), noise of its shape, uniforms (n,) for the times, and the conditions."""
        index = torch.randint(len(self.data), (n,), generator=generator)
        x0 = self.data[index]
        # One uniform in each n-th of [0, 1), in random order: the times of a batch cover the path evenly.
        uniforms = (
            torch.randperm(n, generator=generator) + torch.rand(n, generator=generator, dtype=torch.float64)
        ) / n
        if x0.is_floating_point():
            noise = torch.randn(x0.shape, generator=generator)
        else:
            noise = torch.rand(x0.shape, generator=generator)
        cond = {}
        if self.labels is not None:
            cond["labels"] = self.drop_labels(
                self.labels[index], self.drop_share, self.classes, torch.rand(n, generator=generator)
            )
        if self.mask is not None:
            cond["mask"] = self.mask[index]
        return x0, noise, uniforms, cond


@torch.no_grad()
def ema_update(average: nn.Module, online: nn.Module, decay: float) -> None:
    """average <- decay average + (1 - decay) online, weights and buffers, in place."""
    pairs = list(zip(_tensors(average), _tensors(online), strict=True))
    floats = [(a, o.detach()) for a, o in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [o for _, o in floats], 1 - decay)
    for a, o in pairs:
        if not a.is_floating_point():
            a.copy_(o)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Weights and buffers, each once; `state_dict` has a weight that two layers share twice."""
    return [*network.parameters(), *network.buffers()]


def learning_rate_at(step: int, settings: Settings) -> float:
    """Linear warm-up, then a half cosine down to 0 (Loshchilov & Hutter 2017)."""
    warmup = min(settings.warmup, settings.steps // 10)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class Trainer:
    """The state of one training run: networks, optimiser, generator, losses so far."""

    network: nn.Module
    loss: Callable[..., Tensor]
    schedule: Schedule
    source: Source
    settings: Settings
    accelerator: object
    seed: int = 0
    identity: dict = field(default_factory=dict)
    """Settings that must be equal for a state file to be resumed."""
    update_average: Callable[[nn.Module, nn.Module, float], None] = ema_update
    """(average, online, decay) -> None, in place."""

    def __post_init__(self):
        import copy

        rank = self.accelerator.process_index
        self.generator = torch.Generator().manual_seed(self.seed * 1_000_003 + rank)
        self.average = copy.deepcopy(self.network).to(self.accelerator.device).requires_grad_(False)
        self.optimizer = make_optimizer(self.network, self.settings, self.accelerator.device)
        self.prepared, self.optimizer = self.accelerator.prepare(self.network, self.optimizer)
        self.losses: list[float] = []
        self._first_size = _size(self.network)

    def fit(self, state: Path | None = None, resume: bool = False, on_step: Callable[[int, float], None] | None = None):
        """Train to the end and return the averaged network.

        Args:
            state: where to keep what is needed to go on after an interruption; None keeps nothing.
            resume: go on from `state` where it exists.
            on_step: called with (steps done, loss) after each step.

        Raises:
            TrainingError: where the loss is not finite.
            CheckpointError: where `state` belongs to a run with other settings.
        """
        if resume and state is not None and state.is_file():
            self._load(state)
        self.prepared.train()
        # Ten times a run, and only between steps: a state in the middle of one could not be continued exactly.
        save_every = max(1, self.settings.steps // 10)
        for step in range(len(self.losses), self.settings.steps):
            threads.follow()
            # A seed for each step, not a state to carry along: so a resumed run needs no more than its number.
            with own_randomness(self.accelerator.device, self._seed_of(step)):
                self.losses.append(self._step(step))
            if on_step is not None:
                on_step(step + 1, self.losses[-1])
            if state is not None and ((step + 1) % save_every == 0 or step + 1 == self.settings.steps):
                self._save(state)
        return self.average.eval()

    def _seed_of(self, step: int) -> int:
        return zlib.crc32(f"{self.seed} {self.accelerator.process_index} {step}".encode())

    def _step(self, step: int) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, self.settings)
        loss, x0, level = self._loss(self.generator)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(self._diagnose(step, f"the loss is {value}", x0, level))
        self.accelerator.backward(loss)
        size = self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.settings.clip)
        if not math.isfinite(size):
            raise TrainingError(self._diagnose(step, f"the loss is {value:.3g} and its gradient {size}", x0, level))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        # Early averages forget fast, so that the random start does not stay in them.
        with torch.no_grad():
            self.update_average(self.average, self.network, min(self.settings.ema_decay, (1 + step) / (10 + step)))
        return value

    def _loss(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Level]:
        """The mean loss () of a batch, its x0 (B, *S), and its levels."""
        x0, noise, uniforms, cond = self.source.draw(self.settings.batch, generator)
        coin = torch.rand((), generator=generator)
        device = self.accelerator.device
        level = self.schedule.at(self.schedule.density(uniforms, self.schedule), like=noise)
        level = type(level)(*(f.to(device) for f in level))
        x0, noise = x0.to(device), noise.to(device)
        cond = {name: value.to(device) for name, value in cond.items()}
        if self.source.self_condition is not None:
            cond["last"] = self._own_estimate(x0, noise, level, cond, use=bool(coin < 0.5))
        return self.loss(self.prepared, x0, noise, level, cond).mean(), x0, level

    def _own_estimate(self, x0, noise, level, cond, use: bool) -> Tensor:
        """What the network sees of its last estimate: nothing in half of the steps (Chen et al. 2023, algorithm 1)."""
        nothing = torch.zeros_like(x0)
        if not use:
            return nothing
        target, x = self.source.self_condition, level.noisy(x0, noise)
        with evaluating(modules_of(self.network)):
            output = target.evaluate(self.network, x, level, {**cond, "last": nothing})
            return target.solve(output.float(), x, level).x0

    def _diagnose(self, step: int, what: str, x0: Tensor, level) -> str:
        size, first = _size(self.network), self._first_size
        rate = f"lower the learning rate ({self.settings.learning_rate:g})"
        if not bool(x0.isfinite().all() if x0.is_floating_point() else True):
            cause = "the data hold values that are not finite"
        elif not all(bool(f.isfinite().all()) for f in (level.alpha, level.sigma)):
            cause = f"the schedule '{self.schedule.name}' gave values that are not finite"
        elif not math.isfinite(first):
            cause = "the network began with weights that are not finite"
        elif not math.isfinite(size):
            cause = f"the weights overflowed: {rate}"
        elif size > GROWN * max(first, 1.0):
            cause = f"training diverged, the largest weight has grown from {first:.2g} to {size:.2g}: {rate}"
        elif step and not (late := self._loss_elsewhere()) < RISEN * (early := self.losses[0]):
            cause = f"training diverged, another batch has a loss of {late:.2g}, the first one had {early:.2g}: {rate}"
        elif what.startswith("the loss is") and "gradient" in what:
            cause = (
                "weights, data, schedule and loss are finite, so the derivative made it: look for the root or the "
                "logarithm of something that can be 0, also where its result is not used afterwards"
            )
        else:
            cause = (
                "the weights, data and schedule are finite, so the loss or the network made it: look for a division by "
                f"sigma or alpha (here they are at least {float(level.sigma.min()):.2g} "
                f"and {float(level.alpha.min()):.2g})"
            )
        return f"{what} at step {step + 1} of {self.settings.steps}; likely cause: {cause}"

    def _loss_elsewhere(self) -> float:
        """The loss of another batch: an ordinary one where the network is sound and one batch alone met a bad value."""
        with torch.no_grad():
            return float(self._loss(torch.Generator().manual_seed(self.seed + 1))[0])

    def _save(self, path: Path) -> None:
        if not self.accelerator.is_main_process:
            return
        tensors = {"generator": self.generator.get_state(), "losses": torch.tensor(self.losses, dtype=torch.float64)}
        tensors |= {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for index, entries in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in entries.items()}
        save_tensors(path, tensors, self.identity)

    def _load(self, path: Path) -> None:
        tensors, identity = load_tensors(path)
        different = sorted(k for k in identity.keys() | self.identity.keys() if identity.get(k) != self.identity.get(k))
        if different:
            changes = ", ".join(f"{k} was {identity.get(k)!r} and is {self.identity.get(k)!r}" for k in different)
            raise CheckpointError(f"{path} cannot be resumed: {changes}. Run without --resume to start again.")

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

        load_weights(self.network, part("network."), path)
        load_weights(self.average, part("average."), path)
        optimizer = self.optimizer.state_dict()
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part("optimizer.").items():
            index, _, entry = name.partition(".")
            state.setdefault(int(index), {})[entry] = value
        self.optimizer.load_state_dict({**optimizer, "state": state})
        self.generator.set_state(tensors["generator"])
        self.losses = tensors["losses"].tolist()


def _size(network: nn.Module) -> float:
    """The largest weight; NaN where one is not finite."""
    with torch.no_grad():
        largest = [parameter.abs().max() for parameter in network.parameters() if parameter.numel()]
        return float(torch.stack([value.float() for value in largest]).max()) if largest else 0.0
