"""masked_x0_loss: the error of estimated sentences, without their padding."""

import torch
from torch import Tensor

from diffusion_lab.exercises.record import CARE, Case, Draw, Exercise, Property, right, wrong
from diffusion_lab.exercises.text.inputs import real_words, sentence_shapes, with_gaps


def masked_x0_loss(pred: Tensor, x0: Tensor, mask: Tensor) -> Tensor:
    """The mean square error of the estimated embeddings, over real words only.

    Args:
        pred, x0: (B, L, D), the estimated and the true embeddings; what they hold at padded places means nothing and
            can be nan. The loss is differentiated by `pred`.
        mask: (B, L) bool, True for real words, wherever in the sentence they stand.

    Returns:
        (B,): for each sentence the mean over its words and over D; 0 for a sentence without any word.
    """
    gap = torch.where(mask.unsqueeze(-1), pred - x0, 0)  # 0 times nan would be nan
    return gap.square().mean(dim=-1).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def _error(pred, x0):
    return (pred - x0).square().mean(dim=-1)


def padding_counted(pred, x0, mask):
    """Padded places were counted. What a network says there means nothing: only words may count."""
    return _error(pred, x0).mean(dim=1)


def padding_in_the_number(pred, x0, mask):
    """The errors of padded places are gone, but the sum is still divided by L. Divide by the number of words, or short
    sentences hardly count."""
    return (_error(pred, x0) * mask).mean(dim=1)


def mask_turned_around(pred, x0, mask):
    """Here the padding is counted and the words are not: the mask is True for words."""
    return (_error(pred, x0) * ~mask).sum(dim=1) / (~mask).sum(dim=1).clamp(min=1)


def one_number_for_the_batch(pred, x0, mask):
    """This is one mean over all words of the batch. One value for each sentence is asked for: weights come later."""
    return (_error(pred, x0) * mask).sum() / mask.sum().clamp(min=1)


def divided_by_the_words_of_the_batch(pred, x0, mask):
    """Each sentence's sum was divided by the words of the whole batch. Divide by the words of that sentence."""
    return (_error(pred, x0) * mask).sum(dim=1) / mask.sum().clamp(min=1)


def sum_over_coordinates(pred, x0, mask):
    """The squares of a word were added up over D. The mean keeps the loss at one scale for every width D."""
    return ((pred - x0).square().sum(dim=-1) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def divided_by_no_words(pred, x0, mask):
    """A sentence without words gives 0 / 0, and one nan makes the loss of the whole batch nan."""
    return (_error(pred, x0) * mask).sum(dim=1) / mask.sum(dim=1)


def padding_times_zero(pred, x0, mask):
    """Padded places were multiplied by 0, and 0 times nan is nan. What stands there means nothing: choose with
    `torch.where`, or take the words out with the mask."""
    return (_error(pred, x0) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def words_at_the_front(pred, x0, mask):
    """The mask was only counted, and that many words were taken from the front. It says which places hold words: they
    can stand anywhere."""
    front = torch.arange(mask.shape[1]) < mask.sum(dim=1, keepdim=True)
    return masked_x0_loss(pred, x0, front)


def absolute_differences(pred, x0, mask):
    """The differences were not squared. Their absolute values pull to the median of what is possible, not to its
    mean."""
    gap = torch.where(mask.unsqueeze(-1), pred - x0, 0)
    return gap.abs().mean(dim=-1).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def root_of_the_mean(pred, x0, mask):
    """This is the root of the mean square error. The loss has no root."""
    return masked_x0_loss(pred, x0, mask).clamp(min=1e-12).sqrt()


def cut_off_from_the_estimate(pred, x0, mask):
    """`pred` was detached, or went through NumPy, so that no gradient reaches the network and nothing is learned."""
    return masked_x0_loss(pred.detach(), x0, mask)


def one_sentence_at_a_time(pred, x0, mask):
    values = []
    for guess, truth, real in zip(pred, x0, mask, strict=True):
        gap = (guess[real] - truth[real]) ** 2
        values.append(gap.mean() if len(gap) else torch.zeros((), dtype=pred.dtype))
    return torch.stack(values)


def einsum(pred, x0, mask):
    gap, weight = (pred - x0).masked_fill(~mask[..., None], 0.0), mask.to(pred)
    total = torch.einsum("bld,bld,bl->b", gap, gap, weight)
    return total / (weight.sum(1) * pred.shape[-1]).clamp(min=1)


def selected_values(pred, x0, mask):
    gap = torch.where(mask[..., None], pred - x0, torch.zeros_like(x0))
    words = torch.maximum(mask.sum(-1), torch.ones_like(mask.sum(-1)))
    return gap.pow(2).flatten(1).sum(1) / pred.shape[2] / words


def masked_after_the_square(pred, x0, mask):
    error = torch.where(mask, (pred - x0).square().mean(dim=-1), 0.0)
    return error.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def cases(draw: Draw):
    for b, length, d in sentence_shapes(draw):
        pred, x0, mask = draw.normal(b, length, d), draw.normal(b, length, d), real_words(draw, b, length)
        yield Case("every size equal" if b == length else "sentences", (pred, x0, mask), "words only")
    b, length, d = draw.integer(3, 5), draw.integer(5, 7), draw.integer(8, 9)
    words = torch.ones(b, length, dtype=torch.bool)
    yield Case("no padding", (draw.normal(b, length, d), draw.normal(b, length, d), words), "words only")
    mask = real_words(draw, b, length)
    mask[1] = False
    yield Case("a sentence without words", (draw.normal(b, length, d), draw.normal(b, length, d), mask), "no words")
    mask = with_gaps(draw, b, length)
    yield Case("padding between words", (draw.normal(b, length, d), draw.normal(b, length, d), mask), "any padding")
    mask, pred, x0 = with_gaps(draw, b, length), draw.normal(b, length, d), draw.normal(b, length, d)
    pred[~mask], x0[~mask] = torch.nan, torch.nan
    yield Case("nan at padded places", (pred, x0, mask), "any padding")


def padding_means_nothing(piece, draw: Draw):
    """Whatever stands at padded places, and however many of them there are."""
    b, length, d = 4, draw.integer(5, 7), draw.integer(6, 9)
    pred, x0, mask = draw.normal(b, length, d), draw.normal(b, length, d), real_words(draw, b, length)
    before = piece(pred, x0, mask)
    after = piece(torch.where(mask[..., None], pred, 9 * draw.normal(b, length, d)), x0, mask)
    if float((before - after).abs().max()) > 1e-6:
        return f"other values at padded places change the loss by up to {float((before - after).abs().max()):.3g}"
    more = draw.integer(2, 5)
    longer = [torch.cat([value, draw.normal(b, more, d)], dim=1) for value in (pred, x0)]
    after = piece(*longer, torch.cat([mask, torch.zeros(b, more, dtype=torch.bool)], dim=1))
    worst = float((before - after).abs().max())
    return None if worst < 1e-6 else f"{more} more padded places change the loss by up to {worst:.3g}"


EXERCISE = Exercise(
    chapter="text",
    kind="loss",
    title="Only words count",
    statement=r"""
Sentences of several lengths share one tensor, and short ones are filled up with padding. With $m_l = 1$ for real words,

$$L = \frac{1}{\sum_l m_l} \sum_l m_l\; \frac{1}{D} \left\lVert \hat x_{0,l} - x_{0,l} \right\rVert^2 .$$

The sum has as many terms as the sentence has words, and so has the number by which it is divided. Padding can stand
anywhere, and what is there, even nan, must not count. The loss trains the network: a gradient must reach $\hat x_0$.
""",
    reference=masked_x0_loss,
    parts={"words only": 3, "no words": 1, "any padding": 1, CARE: 1},
    cases=cases,
    trains=True,
    properties=(Property("padding changes nothing", padding_means_nothing, "words only"),),
    wrong_answers=(
        wrong(padding_counted),
        wrong(padding_in_the_number),
        wrong(mask_turned_around),
        wrong(one_number_for_the_batch),
        wrong(divided_by_the_words_of_the_batch),
        wrong(sum_over_coordinates),
        wrong(divided_by_no_words),
        wrong(padding_times_zero),
        wrong(words_at_the_front),
        wrong(absolute_differences),
        wrong(root_of_the_mean),
        wrong(cut_off_from_the_estimate),
    ),
    right_answers=(
        right(one_sentence_at_a_time),
        right(einsum),
        right(selected_values),
        right(masked_after_the_square),
    ),
    hints=(
        "Where does padding enter a mean? In two places.",
        "Bring the error to the shape (B, L) first, then use the mask.",
    ),
    source="Li et al. 2022 (Diffusion-LM), section 4.2, with padding left out",
)
