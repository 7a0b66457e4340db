"""Known functions in the place of networks: what a piece does with its network can then be compared exactly.

Nothing but PyTorch is imported here, because these run beside the student's code.
"""

from __future__ import annotations

import inspect

import torch
from torch import Tensor, nn


class Described(nn.Module):
    """A network that its class and its arguments describe, so that it can be made again in another process."""

    recipe: tuple
    """The arguments, in the order of `__init__`."""

    def __new__(cls, *arguments, **named):
        made = super().__new__(cls)
        bound = inspect.signature(cls.__init__).bind_partial(made, *arguments, **named)
        object.__setattr__(made, "recipe", bound.args[1:])
        return made

    def taking(self, dtype: torch.dtype) -> Described:
        """The same network for one dtype only, as real ones are; where its class has no `takes`, itself."""
        signature = inspect.signature(type(self).__init__)
        if "takes" not in signature.parameters:
            return self
        bound = signature.bind(self, *self.recipe)
        bound.apply_defaults()
        bound.arguments["takes"] = str(dtype).removeprefix("torch.")
        made = type(self)(*bound.args[1:])
        made.load_state_dict(self.state_dict())
        return made


def refuse_other_dtypes(takes: str, **given: Tensor | float | None) -> None:
    """Raise TypeError where a tensor of floats has another dtype than a network with such weights takes."""
    for name, value in given.items():
        dtype = str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else takes
        if takes and dtype != takes and value.is_floating_point():
            raise TypeError(f"the network's weights are {takes}, and it got {name} in {dtype}")


class Probe(Described):
    """A smooth function of all that a network is given, with weights that a loss can be differentiated by.

    output = gain sin(x + shift) + speed cos(t) + mark cos(1 + labels) + memory tanh(last), shaped like x.

    Args:
        seed: which function it is: each seed gives other weights.
        null: the label that stands for no label; None where labels are not allowed.
        takes: the only dtype in which it takes x and t, "float32" or "float64"; any where this is empty.
    """

    def __init__(self, seed: int = 0, null: int | None = None, takes: str = ""):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weights = 0.5 + torch.rand(5, generator=generator, dtype=torch.float64)
        self.gain, self.shift, self.speed, self.mark, self.memory = (nn.Parameter(w) for w in weights)
        self.null, self.takes = null, takes

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None, last: Tensor | None = None) -> Tensor:
        """x (B, *S), t (B,) or one number, labels (B,) int64, last (B, *S), to (B, *S)."""
        refuse_other_dtypes(self.takes, x=x, t=t)
        output = self.gain.to(x) * torch.sin(x + self.shift.to(x)) + self.speed.to(x) * torch.cos(self._column(t, x))
        if labels is not None:
            if self.null is not None and int(labels.max()) > self.null:
                raise ValueError(f"the network knows labels 0 to {self.null}, and got {int(labels.max())}")
            output = output + self.mark.to(x) * torch.cos(1 + self._column(labels, x))
        if last is not None:
            if last.shape != x.shape:
                raise ValueError(
                    f"the network's last estimate must be shaped like x {tuple(x.shape)}, got {tuple(last.shape)}"
                )
            output = output + self.memory.to(x) * torch.tanh(last)
        return output

    @staticmethod
    def _column(value: Tensor, x: Tensor) -> Tensor:
        value = torch.as_tensor(value)
        if value.ndim and value.shape != x.shape[:1]:
            raise ValueError(
                f"the network takes one time (or label) for each sample: for x {tuple(x.shape)} that is shape "
                f"({x.shape[0]},), and it got {tuple(value.shape)}"
            )
        return value.to(x).reshape(value.shape + (1,) * (x.ndim - value.ndim) if value.ndim else ())


class NormalDenoiser(Described):
    """The exact denoiser of a normal distribution in x = x0 + sigma eps: E[x0 | x] = m + C (C + sigma^2 I)^-1 (x - m).

    Called as denoise(x (B, D), sigma () or (B,)).
    """

    def __init__(self, mean: Tensor, cov: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.double())
        self.register_buffer("cov", cov.double())

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        mean, cov = self.mean.to(x), self.cov.to(x)
        sigma = torch.as_tensor(sigma).to(x).reshape(-1, 1, 1)
        eye = torch.eye(len(mean)).to(x)
        away = torch.linalg.solve(cov + sigma**2 * eye, (x - mean).unsqueeze(-1))
        return mean + (cov @ away).squeeze(-1)


class TokenProbe(Described):
    """Logits (B, L, K) that depend on every token of x (B, L) and on t (B,); tokens may include the mask K."""

    def __init__(self, categories: int, seed: int = 0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(categories + 1, categories, generator=generator, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        if x.is_floating_point():
            raise ValueError(f"the network takes int64 tokens, and got {x.dtype}")
        own = self.table[x]
        time = torch.as_tensor(t).to(own).reshape(-1, 1, 1)
        return own + 0.3 * own.mean(dim=1, keepdim=True) * torch.cos(time)
