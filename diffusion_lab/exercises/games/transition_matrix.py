"""transition_matrix: how tokens become other tokens."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong


def transition_matrix(alpha_bar_t: Tensor, K: int) -> Tensor:
    """The probabilities q(x_t = j | x_0 = i) of the process that replaces tokens by uniform ones.

    Args:
        alpha_bar_t: (B,), in [0, 1], how likely a token was left alone up to t.
        K: how many different tokens there are.

    Returns:
        (B, K, K): row i, column j is the probability that token i has become token j.
    """
    keep = alpha_bar_t.reshape(-1, 1, 1)
    same = torch.eye(K, dtype=alpha_bar_t.dtype, device=alpha_bar_t.device)
    return keep * same + (1 - keep) / K


def _parts(alpha_bar_t, K):
    return alpha_bar_t.reshape(-1, 1, 1), torch.eye(K, dtype=alpha_bar_t.dtype)


def rows_above_one(alpha_bar_t, K):
    """The rows do not sum to 1. What is not kept, 1 - alpha_bar, is shared by all K tokens: divide by K."""
    keep, same = _parts(alpha_bar_t, K)
    return keep * same + (1 - keep)


def never_itself_again(alpha_bar_t, K):
    """A disturbed token is drawn from all K tokens, its own among them. Here its own share is missing from the
    diagonal, and the rows sum to less than 1."""
    keep, same = _parts(alpha_bar_t, K)
    return keep * same + (1 - keep) / K * (1 - same)


def always_another_token(alpha_bar_t, K):
    """Here a disturbed token always becomes another one, so that the diagonal is alpha_bar alone. A disturbed token is
    drawn from all K tokens, its own among them."""
    keep, same = _parts(alpha_bar_t, K)
    return keep * same + (1 - keep) / (K - 1) * (1 - same)


def root_as_for_numbers(alpha_bar_t, K):
    """The square root of alpha_bar was used, as for numbers. Probabilities are mixed by alpha_bar itself."""
    keep, same = _parts(alpha_bar_t.sqrt(), K)
    return keep * same + (1 - keep) / K


def kept_and_disturbed_swapped(alpha_bar_t, K):
    """With alpha_bar = 1 nothing is disturbed and the matrix is the identity. Here it is the other way round."""
    keep, same = _parts(1 - alpha_bar_t, K)
    return keep * same + (1 - keep) / K


def last_token_as_a_mask(alpha_bar_t, K):
    """Disturbed tokens all become the last one: that is the process with a mask. Here they become any token."""
    keep, same = _parts(alpha_bar_t, K)
    return keep * same + (1 - keep) * same[-1]


def factors_along_the_last_axis(alpha_bar_t, K):
    """The (B,) factors were multiplied along the columns. Reshape them to (B, 1, 1): a matrix for each of them."""
    return alpha_bar_t * torch.eye(K, dtype=alpha_bar_t.dtype) + (1 - alpha_bar_t) / K


def one_matrix_for_all(alpha_bar_t, K):
    """Every matrix is that of the first level. Each entry of `alpha_bar_t` has a matrix of its own."""
    keep, same = _parts(alpha_bar_t[:1], K)
    return (keep * same + (1 - keep) / K).expand(len(alpha_bar_t), K, K)


def levels_multiplied_up(alpha_bar_t, K):
    """The entries were multiplied up, as if each were a single step. alpha_bar is that product already: each entry
    leads from the data to its own t."""
    keep, same = _parts(alpha_bar_t.cumprod(dim=0), K)
    return keep * same + (1 - keep) / K


def room_for_a_mask(alpha_bar_t, K):
    """There is one token too many. This process has no mask: its K tokens become one another."""
    keep, same = _parts(alpha_bar_t, K + 1)
    return keep * same + (1 - keep) / (K + 1)


def one_matrix_at_a_time(alpha_bar_t, K):
    found = torch.empty(len(alpha_bar_t), K, K, dtype=alpha_bar_t.dtype)
    for b, keep in enumerate(alpha_bar_t):
        found[b] = (1 - keep) / K
        found[b].diagonal().add_(keep)
    return found


def between_two_ends(alpha_bar_t, K):
    same = torch.eye(K).to(alpha_bar_t)
    return torch.lerp(torch.ones_like(same) / K, same, alpha_bar_t[:, None, None])


def through_numpy(alpha_bar_t, K):
    import numpy as np

    keep = alpha_bar_t.numpy().astype(np.float64)
    found = np.einsum("b,ij->bij", keep, np.eye(K)) + ((1 - keep) / K)[:, None, None]
    return torch.from_numpy(found).to(alpha_bar_t.dtype)


def cases(draw: Draw):
    k, n = draw.integer(3, 6), draw.integer(3, 5)
    yield Case("several levels", (draw.uniform(draw.integer(7, 9), low=0.1, high=0.9), k))
    yield Case("a single level", (draw.uniform(1, low=0.1, high=0.9), k))
    yield Case("only two tokens", (draw.uniform(3, low=0.1, high=0.9), 2))
    yield Case("as many levels as tokens", (draw.uniform(n, low=0.1, high=0.9), n))
    yield Case("clean, and nothing left", (torch.tensor([1.0, 0.0, 0.5, 0.25], dtype=torch.float64), k))


def rows_sum_to_one(piece, draw: Draw):
    k = draw.integer(3, 7)
    sums = piece(draw.uniform(4), k).sum(dim=-1)
    worst = float((sums - 1).abs().max())
    return None if worst < 1e-6 else f"the rows do not sum to 1: the sums are off by up to {worst:.3g}"


def two_steps_are_one(piece, draw: Draw):
    """Steps are matrix products, and their alpha_bar multiply."""
    k, first, second = draw.integer(3, 7), draw.uniform(3), draw.uniform(3)
    none = piece(torch.ones(2, dtype=torch.float64), k)
    if not float((none - torch.eye(k)).abs().max()) < 1e-6:
        return "with alpha_bar = 1 nothing happens, and the matrix is the identity"
    gap = piece(first, k) @ piece(second, k) - piece(first * second, k)
    worst = float(gap.abs().max())
    if worst < 1e-6:
        return None
    return f"the product of two matrices is not the matrix of the product alpha_bar: it is off by up to {worst:.3g}"


EXERCISE = Exercise(
    chapter="games",
    kind="schedule",
    title="Tokens that become other tokens",
    statement=r"""
A token cannot get a little noisy. It is left alone with probability $\bar\alpha_t$, or else replaced by any of the $K$
tokens, each as likely, its own among them:

$$
\begin{aligned}
\bar Q_t &= \bar\alpha_t\, I + \frac{1 - \bar\alpha_t}{K}\, \mathbf 1 \mathbf 1^\top, \\
(\bar Q_t)_{ij} &= q(x_t = j \mid x_0 = i).
\end{aligned}
$$

Each row is a distribution. Make one matrix for each entry of `alpha_bar_t`.
""",
    reference=transition_matrix,
    parts={"values": 3, "a chain of steps": 1, CARE: 1},
    cases=cases,
    properties=(
        Property("rows sum to 1", rows_sum_to_one),
        Property("two steps are one", two_steps_are_one, "a chain of steps"),
    ),
    wrong_answers=(
        wrong(rows_above_one),
        wrong(never_itself_again),
        wrong(always_another_token),
        wrong(root_as_for_numbers),
        wrong(kept_and_disturbed_swapped),
        wrong(last_token_as_a_mask),
        wrong(factors_along_the_last_axis),
        wrong(one_matrix_for_all),
        wrong(levels_multiplied_up),
        wrong(room_for_a_mask),
    ),
    right_answers=(right(one_matrix_at_a_time), right(between_two_ends), right(through_numpy)),
    hints=("What must each row sum to?", "A disturbed token can become itself again."),
    source="Austin et al. 2021 (D3PM), appendix A.2.1",
)
