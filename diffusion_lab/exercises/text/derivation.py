"""Chapter 9's derivation: which word is it? The posterior over words, and what it says of the noise."""

import math

import torch

from diffusion_lab.exercises.derivations import Derivation, Step
from diffusion_lab.exercises.record import right, wrong


def which_word_is_it(
    first: float, second: float, third: float, first_share: float, second_share: float, kept: float, seen: float
):
    """What a noisy embedding says about the word below it, where there are three words.

    Args:
        first: embedding of the first word, which is the one that was written.
        second: embedding of the second word.
        third: embedding of the third word.
        first_share: how often the first word comes in a text.
        second_share: how often the second one comes; the third comes in all other cases.
        kept: alpha^2, the share of the variance that is left; the noise has the variance 1 - kept.
        seen: the noisy embedding.

    Returns:
        A value for each step; a step that you have not done yet stays None. The words come in their order.
    """
    words = torch.tensor([first, second, third], dtype=torch.float64)
    shares = torch.tensor([first_share, second_share, 1 - first_share - second_share], dtype=torch.float64)
    alpha, sigma = math.sqrt(kept), math.sqrt(1 - kept)
    logits = shares.log() - (seen - alpha * words) ** 2 / (2 * sigma**2)
    chances = logits.exp() / logits.exp().sum()
    surprise = -math.log(chances[0])
    clean = (chances * words).sum()
    noise = (seen - alpha * clean) / sigma
    return logits, chances, surprise, clean, noise


def _words(first, second, third):
    return torch.tensor([first, second, third], dtype=torch.float64)


def _shares(first_share, second_share):
    return torch.tensor([first_share, second_share, 1 - first_share - second_share], dtype=torch.float64)


def words_alike(first, second, third, kept, seen):
    """Before you look, one word is more likely than another: the logarithm of its share counts."""
    return -((seen - math.sqrt(kept) * _words(first, second, third)) ** 2) / (2 * (1 - kept))


def not_halved(first, second, third, first_share, second_share, kept, seen):
    """In the exponent of a normal density the square is halved."""
    gaps = (seen - math.sqrt(kept) * _words(first, second, third)) ** 2
    return _shares(first_share, second_share).log() - gaps / (1 - kept)


def by_the_deviation(first, second, third, first_share, second_share, kept, seen):
    """The square is divided by the variance of the noise, 1 - alpha^2. This divides by its standard deviation."""
    gaps = (seen - math.sqrt(kept) * _words(first, second, third)) ** 2
    return _shares(first_share, second_share).log() - gaps / (2 * math.sqrt(1 - kept))


def words_not_scaled(first, second, third, first_share, second_share, kept, seen):
    """In a noisy embedding the word's own is alpha times as large: compare with that."""
    gaps = (seen - _words(first, second, third)) ** 2
    return _shares(first_share, second_share).log() - gaps / (2 * (1 - kept))


def share_for_its_logarithm(first, second, third, first_share, second_share, kept, seen):
    """This adds the share itself. In a logarithm of a product stand logarithms."""
    gaps = (seen - math.sqrt(kept) * _words(first, second, third)) ** 2
    return _shares(first_share, second_share) - gaps / (2 * (1 - kept))


def logarithm_to_base_2(first, second, third, first_share, second_share, kept, seen):
    """The logarithm of the share is natural, like that of the density."""
    gaps = (seen - math.sqrt(kept) * _words(first, second, third)) ** 2
    return _shares(first_share, second_share).log2() - gaps / (2 * (1 - kept))


def not_divided(logits):
    """These do not add up to 1 yet. Bayes divides by their sum."""
    return logits.exp()


def logits_divided(logits):
    """This divides the logarithms by their sum. Take the exponential of each first."""
    return logits / logits.sum()


def powers_of_two(logits):
    """The logarithms are natural, so take powers of e."""
    return (logits * math.log(2)).softmax(0)


def the_likeliest_word(logits):
    """This decides for one of the words. Bayes gives each its chance."""
    return (logits == logits.max()).double()


def in_bits(chances):
    """This is in bits. With a natural logarithm it is in nats."""
    return -math.log2(chances[0])


def sign_forgotten(chances):
    """A chance is below 1, so its logarithm is negative. A loss is the negative of it."""
    return math.log(chances[0])


def a_share_of_errors(chances):
    """This is how likely another word is. The loss is a logarithm."""
    return 1 - chances[0]


def all_words_at_once(chances):
    """This is the mean surprise over all words. It was the first that was written."""
    return -(chances * chances.log()).sum()


def rounded_to_a_word(first, second, third, chances):
    """This is the embedding of the likeliest word. Where errors cost their square, the best guess is the mean."""
    return _words(first, second, third)[chances.argmax()]


def words_in_the_middle(first, second, third):
    """This is the middle of the words. Each counts as much as it is likely."""
    return _words(first, second, third).mean()


def as_before_it_was_seen(first, second, third, first_share, second_share):
    """The words are weighed by how often they come. Use the chances after you have seen the embedding."""
    return (_words(first, second, third) * _shares(first_share, second_share)).sum()


def scaled_back_alone(kept, seen):
    """This undoes the factor of the embedding and keeps all of the noise. What you know of the words tells you more."""
    return seen / math.sqrt(kept)


def by_the_variance(kept, seen, clean):
    """What is not from the word is sigma times the noise: divide by sigma, and not by its square."""
    return (seen - math.sqrt(kept) * clean) / (1 - kept)


def guess_not_scaled(kept, seen, clean):
    """In x the clean embedding has the factor alpha: scale the guess before you subtract."""
    return (seen - clean) / math.sqrt(1 - kept)


def still_scaled(kept, seen, clean):
    """This is sigma times the noise. Divide by sigma."""
    return seen - math.sqrt(kept) * clean


def the_other_way_round(kept, seen, clean):
    """x is alpha times the clean embedding plus sigma times the noise, and this subtracts x."""
    return (math.sqrt(kept) * clean - seen) / math.sqrt(1 - kept)


def by_odds(first, second, third, first_share, second_share, kept, seen):
    """Densities of PyTorch, and the noise from the slope of the log-density."""
    words, shares = _words(first, second, third), _shares(first_share, second_share)
    x = torch.tensor(seen, dtype=torch.float64, requires_grad=True)
    normal = torch.distributions.Normal(math.sqrt(kept) * words, math.sqrt(1 - kept))
    joint = shares.log() + normal.log_prob(x)
    (score,) = torch.autograd.grad(joint.logsumexp(0), x)
    joint = joint.detach()
    chances = joint.softmax(0)
    noise = -math.sqrt(1 - kept) * score
    clean = (seen - math.sqrt(1 - kept) * noise) / math.sqrt(kept)
    return joint + math.log(2 * math.pi * (1 - kept)) / 2, chances, joint.logsumexp(0) - joint[0], clean, noise


def numbers(draw):
    """Words of which each may be the one."""
    while True:
        first_share = round(draw.number(0.2, 0.6), 2)
        found = {
            "first": round(draw.number(-1.8, 1.8), 1),
            "second": round(draw.number(-1.8, 1.8), 1),
            "third": round(draw.number(-1.8, 1.8), 1),
            "first_share": first_share,
            "second_share": round(draw.number(0.15, 0.85 - first_share), 2),
            "kept": round(draw.number(0.3, 0.8), 2),
            "seen": draw.choice((-1, 1)) * round(draw.number(0.2, 1.5), 1),
        }
        words = found["first"], found["second"], found["third"]
        if min(abs(a - b) for a, b in (words[:2], words[1:], words[::2])) < 0.4:
            continue
        if which_word_is_it(**found)[1].min() > 0.06:
            return found


TASK = Derivation(
    chapter="text",
    title="Which word is it?",
    question="""
Three words have the embeddings {first}, {second} and {third}. In texts the first comes with a probability of
{first_share}, the second with {second_share}, and else the third. A share alpha^2 = {kept} of the variance is left,
and you see the noisy embedding {seen}. The word that was written is the first.
""",
    about=r"""
Between embeddings and words stand two functions of the chapter: rounding, which says what word a noisy embedding is,
and the guess of the clean embedding, which need not be any word's. Both come from one posterior. Here you derive it for
three words with embeddings $e_1, e_2, e_3$ of one number each, at the level $x = \alpha e + \sigma \varepsilon$ with
$\sigma^2 = 1 - \alpha^2$. Where a step asks for three numbers, they come in the order of the words.
""",
    reference=which_word_is_it,
    numbers_from=numbers,
    minutes=15,
    steps=(
        Step(
            "logits",
            r"""Bayes: $p(k \mid x) \propto p(k)\, p(x \mid k)$, and $p(x \mid k)$ is normal. Take the natural
logarithm, and leave out what is the same for all words. What is left for each: the logarithm of what it was before,
and the exponent of the density?""",
            (
                wrong(words_alike),
                wrong(not_halved),
                wrong(by_the_deviation),
                wrong(words_not_scaled),
                wrong(share_for_its_logarithm),
                wrong(logarithm_to_base_2),
            ),
        ),
        Step(
            "chances",
            r"How likely is each word, given $x$?",
            (wrong(not_divided), wrong(logits_divided), wrong(powers_of_two), wrong(the_likeliest_word)),
        ),
        Step(
            "surprise",
            r"""The rounding loss asks how surprised you are at the word that was written: minus the logarithm of its
chance. What is it, in nats?""",
            (wrong(in_bits), wrong(sign_forgotten), wrong(a_share_of_errors), wrong(all_words_at_once)),
        ),
        Step(
            "clean",
            r"What is the best guess of the clean embedding, $\mathbb E[e \mid x]$, where errors cost their square?",
            (
                wrong(rounded_to_a_word),
                wrong(words_in_the_middle),
                wrong(as_before_it_was_seen),
                wrong(scaled_back_alone),
            ),
        ),
        Step(
            "noise",
            r"""Which noise goes with this guess: what does a perfect network that guesses $\varepsilon$ say at your
$x$?""",
            (wrong(by_the_variance), wrong(guess_not_scaled), wrong(still_scaled), wrong(the_other_way_round)),
        ),
    ),
    right_answers=(right(by_odds),),
    hints=("The noisy embedding of word k is normal around alpha e_k.",),
    source="Li et al. 2022, section 4.1, for the rounding; Bayes",
)
