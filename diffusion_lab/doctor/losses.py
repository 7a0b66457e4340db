"""The loss: what its network is shown and told, and what it is compared with, read off without any training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion_lab.doctor.calling import Raised, Reader, first_tensor
from diffusion_lab.doctor.findings import Finding
from diffusion_lab.doctor.listening import Asked, Listener, Path, column
from diffusion_lab.doctor.mixtures import name_mixture
from diffusion_lab.doctor.noising import spread_times, square_batch, wrong_dtype
from diffusion_lab.doctor.subject import Diffusion, said
from diffusion_lab.doctor.tables import table_for

PIECE = "loss"
PAGE = "01_normal_1d#why-guess-the-noise"
FLOOR_PAGE = "01_normal_1d#a-loss-that-cannot-be-zero"
KIND_PAGE = "02_normal_2d#which-question-to-ask"
TIME_PAGE = "05_mnist#what-time-is-it"
DRAWS = 4096


@dataclass(frozen=True)
class Learned:
    """What the loss says about itself, for the examination of the sampler."""

    prediction: str | None
    """What it trains the network for, where that is one of the known kinds."""
    told: tuple[float, float] | str | None
    """What it tells the network at the first and at the last level."""
    pixels: bool | None = None
    """Whether it takes data from 0 to 1 and scales them to [-1, 1] itself."""


class LossProbe:
    """Calls the loss with known data, and a network that says known things."""

    def __init__(self, subject: Diffusion, reader: Reader, path: Path, seed: int = 0):
        self.subject, self.reader, self.path = subject, reader, path
        self.change = 0.0
        self.gives_t = reader.takes(subject.loss, "t")
        self.gives_noise = reader.takes(subject.loss, "noise")
        shape = subject.sample_shape
        self.count = square_batch(shape)
        if not (self.gives_t and self.gives_noise):
            self.count = max(self.count, DRAWS // torch.Size(shape).numel())
        self.t = spread_times(self.count, len(path), seed)
        self.noise = torch.randn(self.count, *shape, generator=torch.Generator().manual_seed(seed + 1))
        self.x0 = torch.rand(self.count, *shape, generator=torch.Generator().manual_seed(seed + 2)) * 1.8 - 0.9

    def ask(self, x0: Tensor, noise: Tensor, answer: Tensor | float = 0.0, seed: int = 0) -> tuple[Asked, Tensor]:
        """The last call of the network, and the slope of the summed loss by its answer."""
        said_by_network = torch.full_like(x0, answer) if isinstance(answer, float) else answer.clone()
        said_by_network.requires_grad_()
        # A loss may ask for one sample at a time.
        listener = Listener(
            lambda x, told, call: said_by_network[call : call + 1] if len(x) < len(x0) else said_by_network
        )
        uniform = (self.t + 0.5).float() / len(self.path)
        betas, alpha_bar = table_for(self.subject, self.path)
        data = x0.clone()
        given = {
            "network": listener, "x0": data, "t": self.t, "noise": noise.clone(), "alpha_bar": alpha_bar,
            "betas": betas, "uniform": uniform, "sigma": self.path.sigma[self.t].float(),
        }  # fmt: skip
        with torch.enable_grad():
            value = first_tensor(PIECE, self.reader.call(PIECE, self.subject.loss, given, seed))
            if not listener.asked:
                raise Raised("the network was never called")
            if not value.requires_grad:
                raise CutOff
            try:
                (slope,) = torch.autograd.grad(value.sum(), said_by_network, allow_unused=True)
            except RuntimeError as error:
                if listener.asked[-1].x.dtype != torch.float32:
                    raise WrongType(listener.asked[-1].x.dtype) from error
                raise Raised(f"its gradient raised {type(error).__name__}: {error}") from error
        if slope is None:
            raise CutOff
        self.change = max(self.change, float((data - x0).abs().max()))
        return together(listener.asked, len(x0)), slope.double()


def together(asked: list[Asked], count: int) -> Asked:
    """The last call; or all of them as one, where each was for one sample."""
    if len(asked) != count or len(asked[-1].x) == count:
        return asked[-1]
    return Asked(*(torch.cat([getattr(a, name) for a in asked]) for name in ("x", "told")), None, asked[-1].answer)


class CutOff(Exception):
    """No gradient comes back from the loss to the network's answer."""


class WrongType(Exception):
    """The network was shown another dtype than that of the data. `args` has it."""


def examine_loss(probe: LossProbe) -> Iterator[Finding | Learned]:
    """The findings, and last what the loss trains for."""
    try:
        yield from _examine(probe)
    except WrongType as error:
        yield wrong_dtype(PIECE, error.args[0])
        yield Learned(None, None)
    except CutOff:
        yield Finding("cut-off", PIECE, "No gradient comes back from the loss to the network, so nothing is learned: "
                      "something on the way detaches, or makes a tensor anew.", "share of the answer that gets a "
                      "gradient", 0.0, 1.0, FLOOR_PAGE)  # fmt: skip
        yield Learned(None, None)


def _examine(probe: LossProbe) -> Iterator[Finding | Learned]:
    zero, one = torch.zeros_like(probe.x0), torch.ones_like(probe.x0)
    path = probe.path
    plain, _ = probe.ask(zero, probe.noise)
    shown, _ = probe.ask(one, probe.noise)
    if probe.gives_noise:
        other, _ = probe.ask(zero, probe.noise, seed=1)
        if probe.gives_t and not torch.equal(other.x, plain.x):
            yield Finding("draws-its-own-noise", PIECE, "It noises the data with noise of its own, beside the noise "
                          "that it is given.", "difference between two calls with the same noise",
                          float((other.x - plain.x).abs().max()), 0.0, PAGE)  # fmt: skip
            yield Learned(None, None)
            return
    flat_a = (shown.x - plain.x).double().flatten(1)
    if flat_a.shape != probe.noise.flatten(1).shape:
        raise Raised(f"it shows the network x of shape {tuple(shown.x.shape)} for x0 of {tuple(probe.x0.shape)}")
    uneven = float((flat_a - flat_a[:, :1]).abs().max())
    if uneven > 1e-4:
        yield Finding("wrong-axis", PIECE, "Inside one sample the entries have different noise levels: the (B,) "
                      "factors were multiplied along the last axis. Reshape them to (B, 1, ..., 1).",
                      "spread of the factors inside one sample", uneven, 0.0, "05_mnist#where-it-breaks")  # fmt: skip
        yield Learned(None, None)
        return
    a = flat_a.mean(dim=1)
    if _is_clean(probe, plain, zero):
        yield Finding("clean-input", PIECE, "The network is shown the clean data. It has to see x_t, the mixture of "
                      "data and noise.", "factor of the noise", 0.0, float(path.sigma[-1]), PAGE)  # fmt: skip
        yield Learned(None, None)
        return
    if probe.count > 1 and float(a.max() - a.min()) < 1e-6 and float(path.alpha.std()) > 1e-9:
        yield Finding("one-time-for-all", PIECE, "All samples of a batch have the same noise level. Draw or look up "
                      "one for each.", "different levels in a batch", 1, len(probe.t.unique()), TIME_PAGE)  # fmt: skip
        yield Learned(None, None)
        return
    pixels = _takes_pixels(probe, a, zero)
    if pixels:  # it takes data from 0 to 1 and brings them to [-1, 1] itself
        a = a / 2
        plain = Asked(plain.x + column(a, plain.x), plain.told, plain.labels, plain.answer)
    index = _levels(probe, a, plain)
    noise = probe.noise if probe.gives_noise else plain.x / column(path.sigma[index], plain.x)
    if probe.gives_noise:
        flat = probe.noise.double().flatten(1)
        b = (plain.x.double().flatten(1) * flat).sum(dim=1) / flat.square().sum(dim=1)
    else:
        size = float(noise.double().square().mean().sqrt())
        b = path.sigma[index] * (1.0 if abs(size - 1) < 0.06 else size)
    wrong = name_mixture(PIECE, a, b, index, path)
    if wrong is not None:
        yield wrong
    if shown.x.dtype != torch.float32:
        yield wrong_dtype(PIECE, shown.x.dtype)
    if probe.change > 0:
        yield Finding("changes-its-input", PIECE, "It writes into the clean data, which come again in the next epoch. "
                      "Make a new tensor.", "largest change of x0", probe.change, 0.0, PAGE)  # fmt: skip
    told = yield from _times(probe, plain, index)
    prediction = None
    if wrong is None:
        prediction = yield from _target(probe, index, noise, pixels)
    yield Learned(prediction, told, pixels)


def _levels(probe: LossProbe, a: Tensor, asked: Asked) -> Tensor:
    """The step of each sample: as given, as drawn, as told, or as its share of data says."""
    if probe.gives_t:
        return probe.t
    path = probe.path
    told = asked.told.round().long()
    steps = told if bool((asked.told == told).all()) and 0 <= int(told.min()) and int(told.max()) < len(path) else None
    if float(path.alpha.std()) < 1e-9:  # x0 + sigma eps: only what is told says where it is
        ratio = path.sigma / path.alpha
        nearest = (ratio.log() - asked.told.clamp(min=1e-30).log()[:, None]).abs().argmin(dim=1)
        fits = torch.allclose(ratio[nearest], asked.told, rtol=1e-2) or steps is None
        return nearest if fits else steps
    nearest = (path.alpha - a[:, None]).abs().argmin(dim=1)
    if not probe.gives_noise:
        return nearest
    drawn = probe.t if probe.reader.takes(probe.subject.loss, "uniform") else None
    choices = [index for index in (nearest, drawn, steps) if index is not None]
    flat, noise = asked.x.double().flatten(1), probe.noise.double().flatten(1)
    b = (flat * noise).sum(dim=1) / noise.square().sum(dim=1)
    named = [(name_mixture(PIECE, a, b, index, path), index) for index in choices]
    fits = [index for finding, index in named if finding is None]
    known = [index for finding, index in named if finding is not None and finding.code != "wrong-mixture"]
    return [*fits, *known, nearest][0]


def _is_clean(probe: LossProbe, plain: Asked, zero: Tensor) -> bool:
    """Whether other noise leaves what the network is shown as it is."""
    noise = 2 * probe.noise + 1 if probe.gives_noise else probe.noise
    other, _ = probe.ask(zero, noise, seed=0 if probe.gives_noise else 1)
    return torch.equal(other.x, plain.x)


def _takes_pixels(probe: LossProbe, a: Tensor, zero: Tensor) -> bool:
    """Whether data of 0 and 1 enter the mixture as -1 and 1."""
    data = probe.subject.data
    if probe.gives_noise:
        offset = probe.ask(zero, zero)[0].x.double().flatten(1).mean(dim=1)
        return bool((offset + a / 2).abs().max() < 1e-4) and float(a.max()) > 1.5
    return data is not None and float(data.min()) >= 0 and float(a.max()) > 1.5


def _times(probe: LossProbe, asked: Asked, index: Tensor) -> Iterator[Finding]:
    """What the network is told, and which levels are drawn. Returns what it is told at both ends."""
    told, path = asked.told, probe.path
    T = len(path)
    if not probe.gives_t:
        again = 0 if probe.reader.takes(probe.subject.loss, "uniform") else max(1, 12 * T // len(index))
        seen = torch.cat([index, *(_drawn(probe, seed) for seed in range(1, 1 + again))])
        first, last = int(seen.min()), int(seen.max())
        if int(index.min()) == int(index.max()):
            yield Finding("one-time-for-all", PIECE, "All samples of a batch get the same time. Draw one for each.",
                          "different times in a batch", 1, min(len(index), T), TIME_PAGE)  # fmt: skip
        elif last < T - 1:
            yield Finding("level-never-trained", PIECE, f"Training draws steps up to {last} and never the last one, "
                          "where samples start: the network has to guess there. `randint` leaves its upper end out, "
                          "so give it T.", "highest step drawn", last, T - 1, TIME_PAGE)  # fmt: skip
        elif first > 0:
            yield Finding("level-never-trained", PIECE, f"Training draws steps from {first} on and never the first "
                          "one, which the last step of sampling asks for.", "lowest step drawn", first, 0,
                          TIME_PAGE)  # fmt: skip
    if len(told) > 1 and bool((told == told[0]).all()) and int(index.min()) != int(index.max()):
        yield Finding("time-never-told", PIECE, "The network is told the same time for every noise level, so it "
                      "cannot know how noisy its input is.", "different times told", 1,
                      len(index.unique()), TIME_PAGE)  # fmt: skip
        return None
    if torch.allclose(told, (path.sigma / path.alpha)[index], rtol=1e-3):
        return "sigma"
    low, high = int(index.argmin()), int(index.argmax())
    if int(index[low]) == int(index[high]):
        return None
    slope = (told[high] - told[low]) / (index[high] - index[low])
    first = told[low] - slope * index[low]
    if float(((first + slope * index) - told).abs().max()) > 1e-3 * float((told.max() - told.min()).abs()):
        return None  # some other function of the level, such as the logarithm of sigma
    return float(first), float(first + slope * (T - 1))


def _drawn(probe: LossProbe, seed: int) -> Tensor:
    """The steps that training draws under another seed."""
    zero, one = torch.zeros_like(probe.x0), torch.ones_like(probe.x0)
    plain, _ = probe.ask(zero, probe.noise, seed=seed)
    a = (probe.ask(one, probe.noise, seed=seed)[0].x - plain.x).double().flatten(1).mean(dim=1)
    return _levels(probe, a / 2 if float(a.max()) > 1.5 else a, plain)


def _target(probe: LossProbe, index: Tensor, noise: Tensor, pixels: bool) -> Iterator[Finding]:
    """What the answer is compared with: a squared loss is lowest there. Returns the kind of prediction."""
    x0, path = probe.x0, probe.path
    _, low = probe.ask(x0, probe.noise, 0.0)
    _, high = probe.ask(x0, probe.noise, 1.0)
    _, higher = probe.ask(x0, probe.noise, 2.0)
    bend, next_bend = high - low, higher - high
    if not bool((bend.abs() > 1e-12).all()):
        share = float((bend.abs() > 1e-12).double().mean())
        yield Finding("not-squared", PIECE, "The loss does not grow as a square of the error. Only the squared error "
                      "is lowest at the mean, which is what a sampler needs; the absolute error leads to the median.",
                      "share of entries with a curved loss", share, 1.0, FLOOR_PAGE)  # fmt: skip
        return None
    if not torch.allclose(bend, next_bend, rtol=1e-2):
        off = float((next_bend / bend - 1).abs().max())
        yield Finding("not-squared", PIECE, "The loss is no plain square of the error: how fast it grows depends on "
                      "how large the error is, so that it is not lowest at the mean. A root of the mean does this.",
                      "change of its curvature", off, 0.0, FLOOR_PAGE)  # fmt: skip
        return None
    per_sample = bend.flatten(1)
    uneven = float((per_sample / per_sample[:, :1] - 1).abs().max())
    target = -low / bend
    alpha, sigma = (column(f[index].double(), target) for f in (path.alpha, path.sigma))
    x0, noise = x0.double(), noise.double()
    x0 = 2 * x0 - 1 if pixels else x0
    kinds = {kind: said(kind, x0, noise, alpha, sigma) for kind in ("eps", "x0", "v")}
    kinds["flow"] = noise - x0

    def is_it(wanted: Tensor) -> bool:
        return bool((target - wanted).abs().max() < 2e-3 * max(1.0, float(wanted.abs().max())))

    found = next((kind for kind, wanted in kinds.items() if is_it(wanted)), None)
    declared = probe.subject.prediction
    if found is not None and declared in (None, found):
        yield from _size(probe, bend, uneven)
        return found
    if found is not None:
        yield Finding("trained-for-another", PIECE, f"The network is compared with {_words(found)}, and it is said to "
                      f"predict {_words(declared)}.", f"mean square of target minus {declared}",
                      float((target - kinds[declared]).square().mean()), 0.0, KIND_PAGE)  # fmt: skip
        return found
    wanted = kinds[declared or "eps"]
    says = next(
        (text for text, wrong in _known(x0, noise, alpha, sigma) if is_it(wrong)),
        f"The network is compared with something that is not {_words(declared or 'eps')}, and no other known target.",
    )
    yield Finding("wrong-target", PIECE, says, f"mean square of target minus {declared or 'eps'}",
                  float((target - wanted).square().mean()), 0.0, KIND_PAGE)  # fmt: skip
    return None


def _size(probe: LossProbe, bend: Tensor, uneven: float) -> Iterator[Finding]:
    entries = torch.Size(probe.subject.sample_shape).numel()
    if uneven > 1e-2:
        yield Finding("entries-weigh-differently", PIECE, "Inside one sample some entries count more than others, as "
                      "if weights of the samples ran along the last axis, or batch and entries were averaged in the "
                      "wrong order.", "largest weight over smallest, minus 1", uneven, 0.0, PAGE)  # fmt: skip
    elif entries > 1 and bool(torch.isclose(bend, torch.tensor(2.0).double(), rtol=1e-3).all()):
        yield Finding("summed", PIECE, "The squared errors are added up over the entries, so that the loss grows with "
                      "the size of a sample, and the right learning rate with it. Take the mean.",
                      "entries of one sample that are added", entries, 1, PAGE)  # fmt: skip


def _words(kind: str) -> str:
    return {"eps": "the noise (eps)", "x0": "the clean data (x0)", "v": "v", "flow": "noise minus data"}[kind]


def _known(x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[tuple[str, Tensor], ...]:
    x = alpha * x0 + sigma * noise
    return (
        ("The target is v with the other sign: v is sqrt(alpha_bar) eps minus sqrt(1 - alpha_bar) x0.",
         sigma * x0 - alpha * noise),
        ("The two factors of v have changed places: near the data v is the noise.", sigma * noise - alpha * x0),
        ("The parts of v are added. The data are subtracted.", alpha * noise + sigma * x0),
        ("The target is made of the noisy x_t in the place of the clean data.", alpha * noise - sigma * x),
        ("The factors of v are the squares of what they should be: take roots.", alpha**2 * noise - sigma**2 * x0),
        ("The target is the noise as it was added, sqrt(1 - alpha_bar) eps. Compare with the noise itself.",
         sigma * noise),
        ("The target is the noise with the other sign.", -noise),
        ("The target is the noisy x_t, which the network sees anyway.", x),
        ("The target is data minus noise.", x0 - noise),
    )  # fmt: skip
