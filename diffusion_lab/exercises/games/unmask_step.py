"""unmask_step: reveal some of the hidden cells."""

import torch
from torch import Tensor

from diffusion_lab.exercises.games.inputs import belief, uniforms_for
from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def unmask_step(
    x: Tensor, p_x0: Tensor, alpha_bar_t: Tensor, alpha_bar_s: Tensor, uniform_when: Tensor, uniform_what: Tensor
) -> Tensor:
    """From tokens at level t to tokens at a cleaner level s, for the process that hides tokens behind a mask.

    Args:
        x: (B, L) int64: tokens 0..K-1, or the mask K.
        p_x0: (B, L, K), the network's probabilities of the clean token in each cell.
        alpha_bar_t: (), the share of revealed cells now, the same for the batch.
        alpha_bar_s: (), the share to reach, alpha_bar_t < alpha_bar_s <= 1.
        uniform_when: (B, L), uniform in [0, 1): a hidden cell is revealed where it is below the chance of that.
        uniform_what: (B, L), uniform in [0, 1): a revealed cell gets the first token at which the running sum of p_x0
            is above it.

    Returns:
        (B, L) int64. A cell that was revealed before stays as it is.
    """
    K = p_x0.shape[-1]
    chance = (alpha_bar_s - alpha_bar_t) / (1 - alpha_bar_t)
    token = (p_x0.cumsum(dim=-1) <= uniform_what.unsqueeze(-1)).sum(dim=-1).clamp(max=K - 1)
    return torch.where((x == K) & (uniform_when < chance), token, x)


def _chance(alpha_bar_t, alpha_bar_s):
    return (alpha_bar_s - alpha_bar_t) / (1 - alpha_bar_t)


def _token(p_x0, uniform):
    return (p_x0.cumsum(dim=-1) <= uniform.unsqueeze(-1)).sum(dim=-1).clamp(max=p_x0.shape[-1] - 1)


def _revealed(x, p_x0, chance, uniform_when, uniform_what):
    return torch.where((x == p_x0.shape[-1]) & (uniform_when < chance), _token(p_x0, uniform_what), x)


def most_likely_token(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """Every revealed cell got its most likely token. Samples are drawn: the most likely ones are all alike."""
    change = (x == p_x0.shape[-1]) & (uniform_when < _chance(alpha_bar_t, alpha_bar_s))
    return torch.where(change, p_x0.argmax(dim=-1), x)


def hides_again(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """Cells that were revealed before are hidden again. On the way back a revealed cell stays revealed: others were
    drawn to fit it."""
    K = p_x0.shape[-1]
    token = torch.where(x == K, _token(p_x0, uniform_what), x)
    return torch.where(uniform_when < _chance(alpha_bar_t, alpha_bar_s), token, torch.full_like(x, K))


def draws_revealed_cells_again(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """Cells that were revealed before got another token. Only hidden cells change."""
    return torch.where(uniform_when < _chance(alpha_bar_t, alpha_bar_s), _token(p_x0, uniform_what), x)


def chance_not_divided(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The chance is alpha_bar_s - alpha_bar_t, a share of all cells. Only hidden cells can be revealed, a share of
    1 - alpha_bar_t: divide by it, or some stay hidden to the end."""
    return _revealed(x, p_x0, alpha_bar_s - alpha_bar_t, uniform_when, uniform_what)


def share_to_reach_as_the_chance(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """Hidden cells are revealed with chance alpha_bar_s. But some are open already, and too many are revealed early."""
    return _revealed(x, p_x0, alpha_bar_s, uniform_when, uniform_what)


def chance_to_stay_hidden(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """(1 - alpha_bar_s) / (1 - alpha_bar_t) is the chance to stay hidden. What is compared with `uniform_when` is the
    chance to be revealed."""
    return _revealed(x, p_x0, (1 - alpha_bar_s) / (1 - alpha_bar_t), uniform_when, uniform_what)


def all_at_once(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """Every hidden cell was revealed in one step. Cells revealed together cannot look at one another: only some are
    revealed at each step."""
    return _revealed(x, p_x0, torch.ones_like(alpha_bar_t), uniform_when, uniform_what)


def one_uniform_for_both(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The same uniform decided whether a cell is revealed and with what. Those revealed have small uniforms, so that
    the first tokens come too often."""
    return _revealed(x, p_x0, _chance(alpha_bar_t, alpha_bar_s), uniform_when, uniform_when)


def share_of_the_cells_to_reach(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The chance is 1 - alpha_bar_t / alpha_bar_s: of the cells that are open at s, the share that is hidden at t.
    Asked for is a share of the cells hidden now: divide by 1 - alpha_bar_t."""
    return _revealed(x, p_x0, 1 - alpha_bar_t / alpha_bar_s, uniform_when, uniform_what)


def divided_by_what_stays_hidden(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The chance was divided by 1 - alpha_bar_s, the share that is hidden afterwards. Only cells that are
    hidden now can be revealed: divide by 1 - alpha_bar_t."""
    chance = (alpha_bar_s - alpha_bar_t) / (1 - alpha_bar_s)
    return _revealed(x, p_x0, chance, uniform_when, uniform_what)


def revealed_above_the_chance(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """Cells are revealed where `uniform_when` is above the chance, which is as likely as 1 minus the chance. A uniform
    number is below c with probability c."""
    change = (x == p_x0.shape[-1]) & (uniform_when >= _chance(alpha_bar_t, alpha_bar_s))
    return torch.where(change, _token(p_x0, uniform_what), x)


def uniforms_swapped(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The two uniforms have changed places: `uniform_when` decides whether a cell is revealed, `uniform_what` which
    token it gets."""
    return _revealed(x, p_x0, _chance(alpha_bar_t, alpha_bar_s), uniform_what, uniform_when)


def revealed_at_the_chance_too(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """A cell whose uniform equals the chance was revealed. Uniforms start at 0 and end before 1, so that with < a
    chance of 0 means never and a chance of 1 always."""
    change = (x == p_x0.shape[-1]) & (uniform_when <= _chance(alpha_bar_t, alpha_bar_s))
    return torch.where(change, _token(p_x0, uniform_what), x)


def first_sum_that_reaches(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The first token was taken whose running sum reaches the uniform. For a uniform of 0 that is the first token, even
    where its probability is 0: the sum must be above."""
    token = (p_x0.cumsum(dim=-1) < uniform_what.unsqueeze(-1)).sum(dim=-1).clamp(max=p_x0.shape[-1] - 1)
    change = (x == p_x0.shape[-1]) & (uniform_when < _chance(alpha_bar_t, alpha_bar_s))
    return torch.where(change, token, x)


def token_before(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The token is one too early: the last whose running sum is still below the uniform. Take the first whose sum is
    above it."""
    change = (x == p_x0.shape[-1]) & (uniform_when < _chance(alpha_bar_t, alpha_bar_s))
    return torch.where(change, (_token(p_x0, uniform_what) - 1).clamp(min=0), x)


def last_token_taken_for_the_mask(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """The token K - 1 was taken for the mask. Tokens are 0 to K - 1, and the mask is one more: K."""
    K = p_x0.shape[-1]
    change = (x == K - 1) & (uniform_when < _chance(alpha_bar_t, alpha_bar_s))
    return torch.where(change, _token(p_x0, uniform_what), x)


def board_by_board(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """One uniform decided for a whole board, so that all its cells are revealed together. Each cell has its own."""
    return _revealed(x, p_x0, _chance(alpha_bar_t, alpha_bar_s), uniform_when[:, :1], uniform_what)


def clean_board_hidden_anew(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    """All hidden cells got a token, and then a share of all cells was hidden, those that were open among them. A
    revealed cell stays revealed: only hidden ones may stay hidden."""
    K = p_x0.shape[-1]
    clean = torch.where(x == K, _token(p_x0, uniform_what), x)
    return torch.where(uniform_when < alpha_bar_s, clean, torch.full_like(x, K))


def cell_by_cell(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    K, found = p_x0.shape[-1], x.clone()
    chance = 1 - float(1 - alpha_bar_s) / float(1 - alpha_bar_t)
    for b, cell in (x == K).nonzero().tolist():
        if float(uniform_when[b, cell]) < chance:
            total = 0.0
            for token in range(K):
                total += float(p_x0[b, cell, token])
                if total > float(uniform_what[b, cell]) or token == K - 1:
                    found[b, cell] = token
                    break
    return found


def in_flat_rows(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    K, found = p_x0.shape[-1], x.reshape(-1).clone()
    chosen = ((found == K) & (uniform_when.reshape(-1) * (1 - alpha_bar_t) < alpha_bar_s - alpha_bar_t)).nonzero()[:, 0]
    sums = p_x0.reshape(-1, K)[chosen].cumsum(dim=1).contiguous()
    place = torch.searchsorted(sums, uniform_what.reshape(-1)[chosen][:, None].contiguous(), right=True)
    found[chosen] = place[:, 0].clamp(max=K - 1)
    return found.reshape(x.shape)


def through_numpy(x, p_x0, alpha_bar_t, alpha_bar_s, uniform_when, uniform_what):
    import numpy as np

    K, found = p_x0.shape[-1], x.numpy().copy()
    chance = ((alpha_bar_s - alpha_bar_t) / (1 - alpha_bar_t)).item()
    above = np.cumsum(p_x0.numpy().astype(np.float64), axis=-1) > uniform_what.numpy()[..., None]
    above[..., -1] = True
    change = (found == K) & (uniform_when.numpy() < chance)
    found[change] = above.argmax(axis=-1)[change]
    return torch.from_numpy(found)


def _question(draw: Draw, b: int, cells: int, k: int, now: float, after: float, hidden: float):
    x = torch.where(draw.uniform(b, cells) < hidden, k, draw.integers(0, k, b, cells))
    p_x0 = belief(draw, b, cells, k)
    here, there = (torch.tensor(value, dtype=torch.float64) for value in (now, after))
    chance = (after - now) / (1 - now)
    when = uniforms_for(draw, torch.tensor([chance, 1 - chance], dtype=torch.float64).expand(b, cells, 2))
    return x, p_x0, here, there, when, uniforms_for(draw, p_x0)


def _on_borders(draw: Draw, k: int):
    """Uniforms that equal the chance or a running sum, in numbers that are exact in float32 too."""
    x, p_x0, here, there, when, what = _question(draw, 4, 9, k, 0.25, 0.625, 2.0)
    when[:2] = draw.uniform(2, 9, high=0.45)
    when[0, :3], when[2] = 0.0, 0.5  # the chance is 0.5
    what[0] = p_x0[0].cumsum(dim=-1)[torch.arange(9), draw.integers(0, k - 1, 9)]
    p_x0[1, :, -1] += p_x0[1, :, 0]
    p_x0[1, :, 0], what[1] = 0, 0.0
    return x, p_x0, here, there, when, what


def cases(draw: Draw):
    k, n = draw.integer(3, 5), draw.integer(4, 5)
    # Above 0.6 a chance that is divided by 1 - alpha_bar_s would be nearly 1, which is another mistake.
    now, after = draw.number(0.28, 0.35), draw.number(0.54, 0.6)
    yield Case("several boards", _question(draw, 6, draw.integer(9, 12), k, now, after, 0.6))
    yield Case("one board", _question(draw, 1, draw.integer(30, 36), k, now, after, 0.6))
    yield Case("every size equal", _question(draw, n, n, n, now, after, 0.7))
    yield Case("all hidden, the first step", _question(draw, 4, draw.integer(9, 12), k, 0.0, after, 2.0))
    yield Case("a uniform that equals the chance or a running sum", _on_borders(draw, k), "on a border")
    yield Case("the last step, to alpha_bar = 1", _question(draw, 4, 9, k, now, 1.0, 0.7), "the last step")


def shares_are_right(piece, draw: Draw):
    """Uniforms on an even grid show the chances themselves."""
    k, n = draw.integer(3, 5), 1000
    now, after = draw.number(0.1, 0.4), draw.number(0.5, 0.9)
    p = belief(draw, k)
    x, here, there = torch.full((1, n), k), *(torch.tensor(a, dtype=torch.float64) for a in (now, after))
    grid = ((torch.arange(n) + 0.5) / n).double()
    found = piece(x, p.expand(1, n, k).contiguous(), here, there, grid[draw.permutation(n)][None], grid[None])
    share, truth = float((found != k).double().mean()), (after - now) / (1 - now)
    if abs(share - truth) > 0.002:
        return (
            f"from alpha_bar {now} to {after}, {share:.3f} of the hidden cells are revealed, and {truth:.3f} should be"
        )
    clean = torch.tensor(1.0, dtype=torch.float64)
    found = piece(x, p.expand(1, n, k).contiguous(), here, clean, grid[draw.permutation(n)][None], grid[None])
    shares = torch.bincount(found.flatten().clamp(0, k), minlength=k + 1)[:k] / n
    worst = float((shares - p).abs().max())
    return None if worst < 0.003 else f"the tokens are drawn with other probabilities than p_x0: off by {worst:.3f}"


EXERCISE = Exercise(
    chapter="games",
    kind="sampler",
    title="Revealing cells",
    statement=r"""
With a mask, a disturbed token is hidden and the network can see that it is: the token $K$. At level $t$ the share
$\bar\alpha_t$ of the cells is revealed, at the cleaner level $s$ it is $\bar\alpha_s$. By Bayes, a hidden cell is
revealed on the way with probability

$$\frac{\bar\alpha_s - \bar\alpha_t}{1 - \bar\alpha_t},$$

and its token is drawn from $p_\theta(x_0 \mid x_t)$. It happens where a uniform number is *below* the chance, and the
token is the first whose running sum of probabilities is *above* the other one. A revealed cell never changes again.
That is also how a board is reconstructed: cells that you trust are revealed from the start.
""",
    reference=unmask_step,
    parts={"values": 3, "on a border": 1, "the last step": 1, CARE: 1},
    cases=cases,
    properties=(Property("shares on a grid of uniforms", shares_are_right),),
    wrong_answers=(
        wrong(most_likely_token),
        wrong(hides_again),
        wrong(draws_revealed_cells_again),
        wrong(chance_not_divided),
        wrong(share_to_reach_as_the_chance),
        wrong(chance_to_stay_hidden),
        wrong(all_at_once),
        wrong(one_uniform_for_both),
        wrong(share_of_the_cells_to_reach),
        wrong(divided_by_what_stays_hidden),
        wrong(revealed_above_the_chance),
        wrong(uniforms_swapped),
        wrong(revealed_at_the_chance_too),
        wrong(first_sum_that_reaches),
        wrong(token_before),
        wrong(last_token_taken_for_the_mask),
        wrong(board_by_board),
        wrong(clean_board_hidden_anew),
    ),
    right_answers=(right(cell_by_cell), right(in_flat_rows), right(through_numpy)),
    hints=(
        "Which cells may change at all?",
        "Of the cells that are hidden now, which share must be open at level s?",
        "How many running sums lie at or below the uniform?",
    ),
    source="Austin et al. 2021 (D3PM), appendix A.2.2; Sahoo et al. 2024 (MDLM), equation 5",
)
