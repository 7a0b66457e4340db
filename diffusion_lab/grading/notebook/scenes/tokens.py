"""Scenes of the chapters about words and boards: 9 and 10."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from diffusion_lab.discrete import DiscreteProcess
from diffusion_lab.exact.tokens import FiniteTokens
from diffusion_lab.exercises import library
from diffusion_lab.exercises.games.slots import MASKING, uniform_slots
from diffusion_lab.grading.notebook.scenes.stage import (
    Piece,
    Scene,
    data,
    generator,
    items,
    opened,
    own_slots,
    sampled,
    trained,
)
from diffusion_lab.levels import Level
from diffusion_lab.plots import Curves, Table, View
from diffusion_lab.samplers import sample

SENTENCES, BOARDS = 8, 16


def _drawn(name: str, chapter: str, says: str, count: int, steps: int) -> Scene:
    play = sampled(name, count, steps)
    return Scene(says, lambda piece: [play(piece)], data(chapter, count))


def _tuned(name: str, chapter: str, count: int, loss: Callable | None = None) -> Scene:
    play = trained(name, count, 25, steps=40, batch=64, rate=2e-3, loss=loss)
    return Scene(
        "Samples of the shipped network after 40 more steps of training with each loss. A loss that is only a "
        "constant factor off trains alike and looks right here; its check tells.",
        lambda piece: [play(piece)],
        data(chapter, count),
    )


# Chapter 9


def _sqrt_alpha_bar(piece: Piece) -> Iterator[View]:
    curve = Curves(torch.arange(1000), {"": piece(1000, 1e-4)}, "step t", "alpha_bar")
    yield curve
    yield sampled("sqrt_alpha_bar", SENTENCES, 25)(piece)


def _round_to_words(piece: Piece) -> list[View]:
    run = opened("text")
    words = run.dataset.info["vectors"][1:]
    clean = run.dataset.test[:1].expand(SENTENCES, -1, -1)
    noise = torch.randn(clean.shape, generator=generator())
    noisy = clean + torch.linspace(0, 1.5, SENTENCES).reshape(-1, 1, 1) * noise
    read = words[piece(noisy, words)]
    return [items(run, read * (clean.abs().sum(dim=-1, keepdim=True) > 0))]


def _self_conditioned(piece: Piece) -> list[View]:
    """The shipped network, asked by the piece, which hands it its last estimate."""
    run = opened("text")
    mask = run.dataset.info["train_mask"][:SENTENCES]

    def model(x: Tensor, t: Tensor, labels: Tensor | None = None, last: Tensor | None = None) -> Tensor:
        return run.network(x, t, mask=mask, last=torch.zeros_like(x) if last is None else last)

    class Denoiser:
        last: Tensor | None = None

        def __call__(self, x: Tensor, level: Level):
            output = piece(model, x, level.t.flatten().expand(len(x)), self.last, None)
            answer = run.pieces.target.solve(output, x, level)
            self.last = answer.x0
            if run.pieces.polish is not None:
                x0 = run.pieces.polish(answer.x0)
                answer = type(answer)(x0, (x - level.alpha * x0) / level.sigma)
            return answer

    start = run.start(SENTENCES, generator())
    x, _ = sample(Denoiser(), run.pieces.schedule, run.pieces.step, start, steps=25, generator=generator(1))
    return [items(run, x * mask.unsqueeze(-1))]


# Chapter 10


def _transition_matrix(piece: Piece) -> list[View]:
    jumps = piece(torch.tensor([0.9, 0.5, 0.0], dtype=torch.float64), 3)
    return [Table(jumps.reshape(-1, jumps.shape[-1]), "becomes token", "token, at alpha_bar 0.9, 0.5 and 0")]


def _chain() -> Tensor:
    """Twelve steps that are no multiples of one another, so that their order matters. (12, 3, 3)."""
    steps = torch.rand(12, 3, 3, generator=generator(), dtype=torch.float64) ** 2
    return 0.75 * torch.eye(3, dtype=torch.float64) + 0.25 * steps / steps.sum(dim=-1, keepdim=True)


def _cumulative(piece: Piece) -> list[View]:
    jumps = piece(_chain())
    lines = {f"0 becomes {k}": jumps[:, 0, k] for k in range(3)}
    return [Curves(torch.arange(len(jumps)), lines, "step t", "probability")]


def _posterior(piece: Piece) -> list[View]:
    run = opened("games")
    process = DiscreteProcess("uniform", 3)
    exact = FiniteTokens(run.dataset.info["boards"], process)
    own = own_slots("d3pm_posterior", piece, uniform_slots)

    start = process.start((BOARDS, 9), torch.rand(BOARDS, 9, generator=generator()))
    x, _ = sample(exact.denoise, own["schedule"], own["step"], start, steps=20, generator=generator(1))
    return [items(run, x)]


def _cross_entropy(piece: Piece) -> Callable:
    """The loss of a run by masks, made of a cross-entropy of tokens."""

    def loss(network: Callable, x0: Tensor, uniforms: Tensor, level: Level, cond: dict) -> Tensor:
        times = level.t.flatten().expand(len(x0)).float()

        def model(x: Tensor, t: Tensor) -> Tensor:
            return network(x, times[t.long()], **cond).float()

        return piece(model, x0, MASKING.noisy(x0, level, uniforms), torch.arange(len(x0)))

    return loss


def _board_to_bits(piece: Piece) -> Iterator[View]:
    run = opened("games")
    boards = data("games", BOARDS)().values
    bits = piece(boards)
    yield Table(bits.reshape(len(boards), -1), "bit", "board")
    yield items(run, library()["bits_to_board"].reference(bits)[0])


def _bits_to_board(piece: Piece) -> Iterator[View]:
    run = opened("games")
    bits = library()["board_to_bits"].reference(data("games", BOARDS)().values)
    noisy = bits + 0.6 * torch.randn(bits.shape, generator=generator())
    boards, valid = piece(noisy)
    yield items(run, boards)
    yield Curves(torch.arange(BOARDS), {"": valid.float()}, "board", "valid (1) or not (0)")


SCENES: dict[str, Scene] = {
    "sqrt_alpha_bar": Scene(
        "The schedule, and sentences by the shipped network on it.", _sqrt_alpha_bar, data("text", SENTENCES)
    ),
    "round_to_words": Scene(
        "One sentence with more noise from line to line, read as the nearest words.", _round_to_words
    ),
    "masked_x0_loss": _tuned("masked_x0_loss", "text", SENTENCES),
    "rounding_loss": _tuned("rounding_loss", "text", SENTENCES),
    "self_conditioned_x0": Scene(
        "Sentences by the shipped network, which the function shows its last estimate.", _self_conditioned,
        data("text", SENTENCES),
    ),
    "clamp_x0": _drawn(
        "clamp_x0", "text", "Sentences by the shipped network, whose estimates the function clamps to words.",
        SENTENCES, 25,
    ),
    "transition_matrix": Scene("The matrices of three levels, one below the other.", _transition_matrix),
    "cumulative_transitions": Scene("What has become of the token 0 after each of 12 steps.", _cumulative),
    "d3pm_posterior": Scene(
        "Boards by 20 steps of the function, with the exact belief about clean boards; red ones are illegal.",
        _posterior, data("games", BOARDS),
    ),
    "d3pm_loss": _tuned("d3pm_loss", "games", BOARDS, _cross_entropy),
    "d3pm_bound": _tuned("d3pm_bound", "games", BOARDS),
    "unmask_step": _drawn(
        "unmask_step", "games", "Boards by the shipped network, in 24 steps of the function; red ones are illegal.",
        BOARDS, 24,
    ),
    "board_to_bits": Scene("Boards as bits, and these bits read back as boards by our function.", _board_to_bits),
    "bits_to_board": Scene(
        "Noisy bits read as boards, red where illegal, and which are said to be valid.", _bits_to_board
    ),
}  # fmt: skip
