"""Chapter 9: whether sentences are like those of the text: their grammar, their pairs of words, copies."""

from __future__ import annotations

import re
from functools import lru_cache

import torch
from torch import Tensor

from diffusion_lab.data import Dataset, grammar
from diffusion_lab.metrics import energy_distance


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
