"""Chapter 9, text: readers of noisy words, which part of the recipe matters, samplers at equal cost, and GloVe."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from diffusion_lab import open_checkpoint, samplers, schedules, targets
from diffusion_lab.chapters.catalogue import get
from diffusion_lab.chapters.pieces import assemble
from diffusion_lab.chapters.run import build
from diffusion_lab.chapters.text import rounded_loss, to_ids
from diffusion_lab.data import Dataset, grammar, load
from diffusion_lab.denoisers import from_network, nearest_rows, self_conditioned, with_x0
from diffusion_lab.devices import make_accelerator
from diffusion_lab.levels import Level
from diffusion_lab.losses import prediction_loss
from diffusion_lab.metrics import energy_distance, word_accuracy
from diffusion_lab.samplers import initial_noise, sample
from diffusion_lab.schedules import Schedule
from diffusion_lab.train import Settings, Source, Trainer

LEVELS = (4.0, 3.0, 2.0, 1.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0)
SCHEDULE = schedules.square_root()
SHORT = Settings(steps=1200, batch=64, learning_rate=1e-3, ema_decay=0.99)
"""Training of the ablation, in place of the 2,000 steps of the shipped network."""
GLOVE = Settings(steps=2000, batch=64, learning_rate=1e-3, ema_decay=0.995)
COUNT = 500
EVALUATIONS = (5, 10, 20, 50, 100)
BLOCK = 10
"""Training steps whose mean loss is recorded as one number."""


def level_at(log_snr: float, like: Tensor, schedule: Schedule = SCHEDULE) -> Level:
    return schedule.at(schedule.time_at(torch.tensor(log_snr)), like=like)


def noise_like(x: Tensor, seed: int) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


def codes_of(ids: Tensor) -> Tensor:
    """Each pair of neighbouring words as one number; padding (word 0) makes no pair."""
    first, second = ids[:, :-1], ids[:, 1:]
    return (first * 100_003 + second)[(first > 0) & (second > 0)]


def _any(words: str) -> str:
    return f"(?:{'|'.join(words.split(','))})"


def _form(entries: str, *forms: int) -> str:
    """The words of "singular plural past" entries in these forms; "." is a form that is not used."""
    found = (entry.split()[form] for entry in entries.split(",") for form in forms)
    return f"(?:{'|'.join(word for word in found if word != '.')})"


@lru_cache(maxsize=1)
def language() -> re.Pattern:
    """All sentences that the grammar of the data can make, as one regular expression."""
    g = grammar
    article = "(?:the |an (?=[aeiou])|a (?![aeiou]))"
    place, when = f"{_any(g.WHERE)} the ", (f"(?: {_any(g.WHEN)})?", f"(?: {_any(g.PAST_WHEN)})?")

    def subjects(nouns: str, looks: str) -> tuple[str, str]:
        one, many = _form(nouns, 0), _form(nouns, 1)
        single = f"(?:{article}(?:{_any(looks)} )?{one}|(?:my|your|our|his|her|their) {one}|he|she)"
        return single, f"(?:{_any(g.NUMBERS)} {many}|the {many}|we|they|i|you)"

    def noun(nouns: str, looks: str = "") -> str:
        return article + (f"(?:{_any(looks)} )?" if looks else "") + _any(nouns)

    def clauses(nouns: str, looks: str, verbs: str, rest: str, ends: tuple[str, str] = ("", "")) -> list[str]:
        one, many = subjects(nouns, looks)
        return [
            f"{one} {_form(verbs, 0)} {rest}{ends[0]}",
            f"{many} {_form(verbs, 1)} {rest}{ends[0]}",
            f"(?:{one}|{many}) {_form(verbs, 2)} {rest}{ends[1]}",
        ]

    people, manner = (g.PEOPLE, g.FEELINGS), _any(g.MANNER)
    tall = (g.PEOPLE, g.PEOPLE_LOOKS)
    one, many = subjects(*people)
    always = f"{_any(g.ALWAYS)} "
    whom = f"the {_form(g.PEOPLE, 0)} "
    tense = (("is", when[0]), ("was", when[1]))
    kinds = [
        *clauses(g.ANIMALS, g.LOOKS, g.ANIMAL_ACTS, f"(?:{place}{_any(g.PLACES)}|{manner})"),
        *clauses(*people, g.PEOPLE_ACTS, manner),
        f"{one} {always}{_form(g.PEOPLE_ACTS, 0)} {manner}",
        f"{many} {always}{_form(g.PEOPLE_ACTS, 1)} {manner}",
        *clauses(*people, g.TRAVELS, f"to the {_any(g.PLACES)}", when),
        *clauses(*tall, g.HANDLES, noun(g.THINGS, g.QUALITIES), when),
        *clauses(*people, g.EATS, noun(g.FOODS, g.TASTES), when),
        *clauses(*people, g.DRINKS_IT, f"(?:hot|cold|fresh|warm) {_any(g.DRINKS)}", when),
        *clauses(*tall, g.MEETS, f"{whom}{place}{_any(g.ROOMS)}"),
        *clauses(*people, g.RIDES, noun(g.VEHICLES, g.COLOURS), when),
        *clauses(g.ANIMALS, g.LOOKS, g.CHASES, f"the {_form(g.ANIMALS, 0, 1)}", when),
        *clauses(*tall, g.GIVES, whom + noun(g.THINGS)),
        *(
            f"(?:the|my|your|this|that|every) {_any(g.THINGS + ',' + g.VEHICLES)} {verb} (?:(?:very|so|too) )?"
            f"{_any(g.QUALITIES + ',' + g.COLOURS)}{end}"
            for verb, end in tense
        ),
        f"the {_any(g.WEATHER)} {_any(g.SHINES)} over the {_any(g.PLACES)} {_any(g.WHEN)}",
    ]
    return re.compile("|".join(f"(?:{kind})" for kind in kinds))


def grammatical(text: str) -> bool:
    """Whether the grammar of the data can make this sentence."""
    return 3 <= len(text.split()) <= grammar.MAX_WORDS and language().fullmatch(text) is not None


def texts(ids: Tensor, data: Dataset, count: int | None = None) -> list[str]:
    """Sentences (N, L) of word numbers as text; 0 is padding."""
    words = data.info["words"]
    return [" ".join(words[i] for i in row if i) for row in ids[:count].tolist()]


class Judge:
    """How much sampled sentences (N, 8) of word numbers are like the text."""

    def __init__(self, data: Dataset):
        self.data = data
        self.known = codes_of(data.info["train_ids"]).unique()
        self.text = set(data.info["train_sentences"])

    def __call__(self, ids: Tensor) -> dict[str, float]:
        found = texts(ids, self.data)
        vectors, test = self.data.info["vectors"], self.data.info["test_ids"]
        return {
            "pairs": float(torch.isin(codes_of(ids), self.known).double().mean()),
            "grammatical": sum(map(grammatical, found)) / len(found),
            "copies": sum(text in self.text for text in found) / len(found),
            "energy": energy_distance(vectors[ids].flatten(1), vectors[test[:500]].flatten(1)),
        }


class Words:
    """What is known exactly of words in noise, with more and more knowledge of the text.

    A reader takes sentences x (B, L, D) at one level, and `mask` (B, L), and returns the probability of each word of
    the vocabulary at each place, (B, L, V); word 0, padding, is left out.
    """

    def __init__(self, data: Dataset):
        self.data, self.vectors = data, data.info["vectors"][1:]
        ids, size = data.info["train_ids"], len(self.vectors)
        first, second = ids[:, :-1], ids[:, 1:]
        both = second > 0
        count = torch.zeros(size, size)
        count.index_put_((first[both] - 1, second[both] - 1), torch.ones(int(both.sum())), accumulate=True)
        lengths = data.info["train_mask"].sum(dim=1)
        end = torch.bincount(ids[torch.arange(len(ids)), lengths - 1] - 1, minlength=size).float()
        self.often = torch.bincount(ids[ids > 0] - 1, minlength=size) / (ids > 0).sum()
        # A pair that the text does not have is given the weight of one pair, shared out as words are.
        total = count.sum(dim=1) + end
        self.start = torch.bincount(ids[:, 0] - 1, minlength=size) / len(ids)
        self.start = 0.999 * self.start + 0.001 * self.often
        self.next = (count + self.often) / (total + 1)[:, None]
        self.end = (end + 0.1) / (total + 1)

    def log_likelihood(self, x: Tensor, level: Level) -> Tensor:
        """log p(x | word) without what all words share, (B, L, V)."""
        alpha, sigma = level.alpha.reshape(()).float(), level.sigma.reshape(()).float()
        return (alpha * (x @ self.vectors.T) - alpha**2 * self.vectors.square().sum(dim=1) / 2) / sigma**2

    def alone(self, x: Tensor, level: Level, mask: Tensor) -> Tensor:
        """Each word by itself, as often as in the text."""
        return (self.log_likelihood(x, level) + self.often.log()).softmax(dim=-1)

    def chain(self, x: Tensor, level: Level, mask: Tensor) -> Tensor:
        """Words of a Markov chain with the text's pairs of neighbours: forward and backward through the sentence."""
        log_like = self.log_likelihood(x, level)
        like = (log_like - log_like.amax(dim=-1, keepdim=True)).exp()

        def normal(p: Tensor) -> Tensor:
            return p / p.sum(dim=-1, keepdim=True)

        forward = [normal(self.start * like[:, 0])]
        for place in range(1, x.shape[1]):
            here = normal((forward[-1] @ self.next) * like[:, place] + 1e-30)
            forward.append(torch.where(mask[:, place, None], here, forward[-1]))
        backward = [self.end.expand_as(forward[0])]
        for place in range(x.shape[1] - 1, 0, -1):
            here = normal((like[:, place] * backward[0]) @ self.next.T + 1e-30)
            backward.insert(0, torch.where(mask[:, place, None], here, self.end.expand_as(here)))
        return normal(torch.stack(forward, dim=1) * torch.stack(backward, dim=1) + 1e-30)

    def memory(self, x: Tensor, level: Level, mask: Tensor) -> Tensor:
        """Sentences of the training text and no others; of the length that is asked for."""
        ids, real = self.data.info["train_ids"], self.data.info["train_mask"]
        log_like = torch.cat([torch.zeros_like(x[..., :1]), self.log_likelihood(x, level)], dim=-1)  # word 0: padding
        total = torch.zeros(len(x), len(ids))
        for place in range(x.shape[1]):
            total += log_like[:, place, ids[:, place]]
        same = mask.sum(dim=1)[:, None] == real.sum(dim=1)
        weight = total.masked_fill(~same, -math.inf).softmax(dim=1)  # (B, sentences)
        out = torch.zeros(*x.shape[:2], len(self.vectors) + 1)
        for place in range(x.shape[1]):
            out[:, place].index_add_(1, ids[:, place], weight)
        return out[..., 1:]

    def tell(self, count: int, generator: torch.Generator) -> Tensor:
        """Sentences (count, 8) of word numbers that the chain makes, of lengths as they come."""
        ids = torch.zeros(count, grammar.MAX_WORDS, dtype=torch.long)
        table = torch.cat([self.next, self.end[:, None]], dim=1)
        word = torch.multinomial(self.start, count, replacement=True, generator=generator)
        running = torch.ones(count, dtype=torch.bool)
        for place in range(ids.shape[1]):
            ids[:, place] = torch.where(running, word + 1, 0)
            word = torch.multinomial(table[word], 1, generator=generator)[:, 0]
            running = running & (word < len(self.vectors))
            word = word.clamp(max=len(self.vectors) - 1)
        return ids


def masks_of(data: Dataset, count: int) -> Tensor:
    """Lengths as the training text has them."""
    masks = data.info["train_mask"]
    return masks[torch.randint(len(masks), (count,), generator=torch.Generator().manual_seed(3))]


def sentences_from(
    network, data: Dataset, accelerator, *, target=targets.x0, schedule=SCHEDULE, step=None, steps=50,
    clamp=True, remember=True, seed=0, count=COUNT,
) -> Tensor:  # fmt: skip
    """Word numbers (count, 8) of sampled sentences; 0 is padding."""
    generator, mask = torch.Generator().manual_seed(seed), masks_of(data, count)
    cond = {"mask": mask}
    denoise = (self_conditioned if remember else from_network)(network, target, cond)
    if clamp:
        denoise = with_x0(denoise, nearest_rows(data.info["vectors"][1:]))
    start = initial_noise(schedule, torch.randn((count, *data.train.shape[1:]), generator=generator))
    with accelerator.autocast():
        x, _ = sample(denoise, schedule, step or samplers.ddim(eta=1.0), start, steps=steps, generator=generator)
    return to_ids(x.float(), data) * mask


def survival(network, data: Dataset, log_snrs=LEVELS, count: int = 1000) -> list[dict]:
    """The share of held-out words recovered at each noise level, and the error of x0, by readers and by the network."""
    words, rows = Words(data), []
    test, mask, ids = (data.test[:count], data.info["test_mask"][:count], data.info["test_ids"][:count])
    cond, noise = {"mask": mask}, noise_like(test, 17)
    for log_snr in log_snrs:
        level = level_at(log_snr, test)
        x = level.noisy(test, noise)
        once = from_network(network, targets.x0, cond)(x, level).x0
        twice = from_network(network, targets.x0, {**cond, "last": once})(x, level).x0
        row = {"log_snr": log_snr}
        estimates = {"nearest": x / level.alpha.float(), "network": once, "twice": twice}
        for name, estimate in estimates.items():
            row[name] = word_accuracy(to_ids(estimate, data), ids, mask)
            row[f"{name} error"] = float((estimate - test)[mask].square().mean())
        for name in ("alone", "chain", "memory"):
            p = getattr(words, name)(x, level, mask)
            row[name] = word_accuracy(p.argmax(dim=-1) + 1, ids, mask)
            row[f"{name} error"] = float((p @ words.vectors - test)[mask].square().mean())
        rows.append(row)
    return rows


@lru_cache(maxsize=1)
def _loss_of_the_chapter() -> Callable:
    return rounded_loss(targets.x0, SCHEDULE, load("text", source="bundled"))


def padding_counted(network, x0: Tensor, eps: Tensor, level: Level, cond: dict) -> Tensor:
    """The chapter's loss, taken over padded places as well. The network sees the mask as ever."""
    mask = cond["mask"]
    others = {name: value for name, value in cond.items() if name != "mask"}

    def seeing(x: Tensor, t: Tensor, **given: Tensor) -> Tensor:
        return network(x, t, mask=mask, **given)

    return _loss_of_the_chapter()(seeing, x0, eps, level, others)


def train(data: Dataset, settings: Settings, *, remember=True, seed=0, **pieces):
    """A network trained on the sentences with these pieces in place of the chapter's."""
    chapter = get("text")
    own = assemble(chapter, data, build(chapter, data, seed), pieces)
    source = Source(data.train, mask=data.info["train_mask"], self_condition=own.target if remember else None)
    accelerator = make_accelerator("cpu", chapter.precision)
    trainer = Trainer(own.network, own.loss, own.schedule, source, settings, accelerator, seed)
    return trainer.fit(), own, accelerator, trainer.losses


def ablation(data: Dataset, judge: Judge, on_step: Callable, settings: Settings = SHORT) -> list[dict]:
    """One part of the recipe changed at a time, trained equally long, sampled at equal cost."""
    jobs = {
        "as in this chapter": {},
        "the same, another seed": {"seed": 1},
        "no rounding loss": {"loss": prediction_loss(targets.x0)},
        "no self-conditioning": {"remember": False},
        "padding counted in the loss": {"loss": padding_counted},
        "cosine schedule": {"schedule": schedules.cosine()},
        "target v, cosine schedule": {
            "schedule": schedules.cosine(), "target": targets.v, "loss": prediction_loss(targets.v),
        },
    }  # fmt: skip
    rows, mask, ids = [], data.info["test_mask"], data.info["test_ids"]
    for done, (name, pieces) in enumerate(jobs.items()):
        on_step("ablation", done, len(jobs))
        network, own, accelerator, losses = train(data, settings, **pieces)
        remember = pieces.get("remember", True)
        made = sentences_from(
            network, data, accelerator, target=own.target, schedule=own.schedule, remember=remember, steps=50
        )
        row = {"variant": name, **judge(made)}
        for log_snr in (0.0, -1.0, -3.0):
            level = level_at(log_snr, data.test, own.schedule)
            x = level.noisy(data.test, noise_like(data.test, 17))
            x0 = from_network(network, own.target, {"mask": mask})(x, level).x0
            row[f"right at {log_snr:g}"] = word_accuracy(to_ids(x0, data), ids, mask)
        if not rows:
            row["losses"] = [math.fsum(losses[i : i + BLOCK]) / BLOCK for i in range(0, len(losses), BLOCK)]
        rows.append(row)
    return rows


def compare_samplers(network, data: Dataset, accelerator, judge: Judge, on_step: Callable) -> list[dict]:
    """Steps, clamped and not, at equal network evaluations."""
    steps = {
        "DDIM, η = 0": samplers.ddim(),
        "DDIM, η = 1": samplers.ddim(eta=1.0),
        "DPM-Solver++(2M)": samplers.dpmpp_2m(),
    }
    rows, jobs = [], [(n, name, clamp) for n in EVALUATIONS for name in steps for clamp in (False, True)]
    for done, (n, name, clamp) in enumerate(jobs):
        on_step("samplers", done, len(jobs))
        ids = sentences_from(network, data, accelerator, step=steps[name], steps=n, clamp=clamp)
        rows.append({"evaluations": n, "sampler": name, "clamp": clamp, **judge(ids)})
    return rows


def remembering(network, data: Dataset, accelerator, judge: Judge) -> dict[str, dict]:
    """What the network's own last estimate is worth while sampling."""
    return {
        name: judge(sentences_from(network, data, accelerator, steps=50, remember=remember))
        for name, remember in (("with its last estimate", True), ("with zeros in its place", False))
    }


def capacity(vectors: Tensor) -> float:
    """The log-SNR at which a channel of these dimensions carries log V nats: 1/2 D log(1 + SNR) = log V."""
    return math.log(math.exp(2 * math.log(len(vectors)) / vectors.shape[1]) - 1)


def vocabulary(vectors: Tensor, seed: int) -> dict:
    """How many of the words survive each noise level, when each is read as the nearest; and by dot products."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(vectors), (3000,), generator=generator)
    rows = []
    for log_snr in LEVELS:
        level = level_at(log_snr, vectors)
        x = level.noisy(vectors[chosen], torch.randn(3000, vectors.shape[1], generator=generator))
        found = torch.cat([torch.cdist(part / level.alpha.float(), vectors).argmin(dim=1) for part in x.split(500)])
        rows.append(float((found == chosen).double().mean()))
    order = torch.arange(len(vectors))
    by_product = torch.cat([(part @ vectors.T).argmax(dim=1) for part in vectors.split(500)])
    return {
        "words": len(vectors),
        "dimensions": vectors.shape[1],
        "capacity": capacity(vectors),
        "right": rows,
        "lost_by_dot_product": float((by_product != order).double().mean()),
        "words_that_win": len(by_product.unique()),
    }


def glove(on_step: Callable, settings: Settings = GLOVE) -> dict:
    """The same chapter on GloVe's vectors, and what they say of words."""
    data = load("text", source="real")
    on_step("a network for GloVe", 0, 1)
    network, _, accelerator, _ = train(data, settings)
    ids = sentences_from(network, data, accelerator)
    return {
        "data": data.name,
        "training_steps": settings.steps,
        "batch": settings.batch,
        "survival": survival(network, data),
        "samples": texts(ids, data, 12),
        "judged": Judge(data)(ids),
        "sentence_words": vocabulary(data.info["vectors"][1:], 5),
        "all_words": vocabulary(data.info["glove_vectors"], 5),
    }


def run(on_step: Callable[[str, int, int], None], scale: float = 1.0) -> dict:
    """Everything that chapter 9 shows and a page has no time for. It needs GloVe: `diffusion-lab data fetch text`."""
    short, longer = (replace(settings, steps=int(settings.steps * scale)) for settings in (SHORT, GLOVE))
    of_glove = glove(on_step, longer)
    shipped = open_checkpoint(name="text", source="bundled")
    data, network, accelerator = shipped.dataset, shipped.network, shipped.accelerator
    judge, test = Judge(data), data.info["test_ids"]
    told = Words(data).tell(COUNT, torch.Generator().manual_seed(5))
    return {
        "data": f"{data.name}; {of_glove['data']}",
        "bundled": data.name,
        "count": COUNT,
        "block": BLOCK,
        "levels": list(LEVELS),
        "floor": judge(test[500:]),
        "chain": judge(told),
        "told": texts(told, data, 12),
        "vocabulary": vocabulary(data.info["vectors"][1:], 5),
        "samplers": compare_samplers(network, data, accelerator, judge, on_step),
        "remembering": remembering(network, data, accelerator, judge),
        "ablation": {"steps": short.steps, "rows": ablation(data, judge, on_step, short)},
        "glove": of_glove,
    }
