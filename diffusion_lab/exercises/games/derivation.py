"""Chapter 10's derivation: one step back for tokens, by Bayes, with random tokens and with masks."""

import torch

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def one_step_back_for_tokens(tokens: int, kept: float, beta: float):
    """What a token was one step ago, if it is another one now than in the data.

    Args:
        tokens: how many different tokens there are.
        kept: alpha_bar_{t-1}, how likely a token was left alone in all steps before t.
        beta: how likely step t does not leave it alone.

    Returns:
        A value for each step; a step that you have not done yet stays None. Where there are three numbers, they are for
        the data's token, for the token that you see, and for any one of the others.
    """
    redrawn = (1 - kept) / tokens
    forward = torch.tensor([beta / tokens, 1 - beta + beta / tokens, beta / tokens], dtype=torch.float64)
    before = torch.tensor([kept + redrawn, redrawn, redrawn], dtype=torch.float64)
    count = torch.tensor([1, 1, tokens - 2], dtype=torch.float64)
    together = float((count * forward * before).sum())
    chances = forward * before / together
    unmasked = kept * beta / (1 - kept * (1 - beta))
    return forward, before, together, chances, unmasked


def _three(a, b, c):
    return torch.tensor([a, b, c], dtype=torch.float64)


def never_itself(tokens, beta):
    """A token that is drawn anew is drawn from all tokens, so it may become what it was."""
    return _three(beta / tokens, 1 - beta, beta / tokens)


def from_the_data(tokens, beta):
    """This is what the data's token becomes. The question is how likely each token becomes the one that you see."""
    return _three(1 - beta + beta / tokens, beta / tokens, beta / tokens)


def always_another(tokens, beta):
    """A token that is drawn anew is drawn from all tokens, and this leaves its own out: divide by all of them."""
    return _three(beta / (tokens - 1), 1 - beta, beta / (tokens - 1))


def not_shared(tokens, beta):
    """beta is shared by all the tokens that may come. Divide by how many there are."""
    return _three(beta, 1 - beta + beta, beta)


def after_the_step(tokens, kept, beta):
    """Step t has happened here already. The question is about the time before it."""
    after = kept * (1 - beta)
    other = (1 - after) / tokens
    return _three(after + other, other, other)


def left_alone_only(tokens, kept):
    """A token that was drawn anew may have come out as the data's own."""
    return _three(kept, (1 - kept) / tokens, (1 - kept) / tokens)


def rest_not_shared(kept):
    """What is not left alone is shared by all tokens. Divide by how many there are."""
    return _three(kept + 1 - kept, 1 - kept, 1 - kept)


def as_for_numbers(tokens, kept):
    """Numbers are multiplied by the root of alpha_bar. Probabilities are mixed by alpha_bar itself."""
    other = (1 - kept**0.5) / tokens
    return _three(kept**0.5 + other, other, other)


def one_other_only(forward, before):
    """There are more tokens than these three: the last product comes as often as there are others."""
    return (forward * before).sum()


def one_too_many(tokens, forward, before):
    """Two tokens have a place of their own, so two fewer than all are others."""
    return (_three(1, 1, tokens - 1) * forward * before).sum()


def others_left_out(forward, before):
    """On its way the token may have been any other one."""
    return (forward * before)[:2].sum()


def at_once(forward, before):
    """The sum comes last: each way has a probability of its own, the product of its two steps."""
    return forward.sum() * before.sum()


def not_divided(forward, before):
    """These are the probabilities of both together. Bayes divides by that of what you see."""
    return forward * before


def forward_alone(forward, together):
    """How likely the token was to be there before step t counts too."""
    return forward / together


def before_alone(before):
    """This is what you knew before. What you see now tells something about it."""
    return before


def divided_by_the_three(forward, before):
    """These three add up to 1, but the last is only one of many others: divide by what you have for all together."""
    return forward * before / (forward * before).sum()


def masked_now(beta):
    """This is how likely step t masks a token that is open. You also know that it may have been masked before."""
    return beta


def both_together(kept, beta):
    """This is the probability of both. Divide by that of a mask at all."""
    return kept * beta


def by_the_masks_before(kept, beta):
    """Divide by the probability of a mask after step t. This has the one before it."""
    return kept * beta / (1 - kept)


def still_masked(kept, beta):
    """This is how likely it was masked already. The question is about the opposite."""
    return (1 - kept) / (1 - kept * (1 - beta))


def by_matrices(tokens, kept, beta):
    """Transition matrices over all tokens, and Bayes over all of them; a mask is one token more."""

    def uniform(keep):
        return keep * torch.eye(tokens, dtype=torch.float64) + (1 - keep) / tokens

    step, earlier = uniform(1 - beta), uniform(kept)
    forward, before = step[:, 1], earlier[0]  # token 0 in the data, token 1 is seen, and token 2 is another
    joint = forward * before
    after = 1 - kept * (1 - beta)
    return forward[:3], before[:3], joint.sum(), (joint / joint.sum())[:3], (after - (1 - kept)) / after


def numbers(draw):
    return {
        "tokens": draw.integer(4, 12),
        "kept": round(draw.number(0.2, 0.85), 2),
        "beta": round(draw.number(0.06, 0.45), 2),
    }


TASK = Derivation(
    chapter="games",
    title="One step back, without numbers to add noise to",
    question="""
There are {tokens} different tokens. A token is left alone in all steps before t with probability alpha_bar = {kept}.
Step t draws it anew with probability beta = {beta}, from all tokens alike. After step t you see another token than
the one in the data.
""",
    about=r"""
Tokens cannot be scaled, so their noise is a chance of being drawn anew. The way back is the same as ever: Bayes. Here
you work it out for one token that you know in the data, $x_0$, while after step $t$ you see another one, $x_t$. Where a
step asks for three numbers, the first is for the data's token, the second for the token that you see, and the third for
any *one* of the others.
""",
    reference=one_step_back_for_tokens,
    numbers_from=numbers,
    minutes=15,
    steps=(
        Step(
            "forward",
            r"""Suppose you knew $x_{t-1}$. How likely does step $t$ lead to the token that you see: from the data's
token, from the one that you see itself, and from one of the others? That is $q(x_t \mid x_{t-1})$, for three
$x_{t-1}$.""",
            (wrong(never_itself), wrong(from_the_data), wrong(always_another), wrong(not_shared)),
        ),
        Step(
            "before",
            r"""How likely was $x_{t-1}$ each of these three, if all you know is the data's token? That is $q(x_{t-1}
\mid x_0)$. A token that is drawn anew may come out as what it was.""",
            (
                wrong(after_the_step),
                wrong(left_alone_only),
                wrong(rest_not_shared),
                wrong(as_for_numbers),
            ),
        ),
        Step(
            "together",
            r"""How likely is it, then, to see your token after step $t$? Add the ways up over *all* tokens that
$x_{t-1}$ can be. This is the denominator in Bayes' rule, $q(x_t \mid x_0)$.""",
            (wrong(one_other_only), wrong(one_too_many), wrong(others_left_out), wrong(at_once)),
        ),
        Step(
            "chances",
            r"So how likely was $x_{t-1}$ each of the three, now that you see $x_t$: $q(x_{t-1} \mid x_t, x_0)$?",
            (wrong(not_divided), wrong(forward_alone), wrong(before_alone), wrong(divided_by_the_three)),
        ),
        Step(
            "unmasked",
            r"""Now with masks: a token that is not left alone becomes a mask, and stays one. Both probabilities are as
before, and after step $t$ you see a mask. How likely was the token still open before step $t$?""",
            (wrong(masked_now), wrong(both_together), wrong(by_the_masks_before), wrong(still_masked)),
        ),
    ),
    right_answers=(right(by_matrices),),
    hints=("With probability beta the token is drawn from all tokens, its own among them.",),
    source="Austin et al. 2021, equation 3 and appendix A.2",
)
