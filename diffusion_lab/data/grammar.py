"""The project's own text: simple English sentences of three to eight words, drawn from a small grammar.

Subjects and verbs agree, animals eat what animals eat, and a sentence is never drawn twice. The choices use nothing of
Python's random module but `random()`, whose sequence for a seed is the same in every version.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

MAX_WORDS = 8
TRAIN, TEST = 4_000, 1_000

ANIMALS = "cat cats,dog dogs,bird birds,horse horses,cow cows,fish fish,bear bears,lion lions,pig pigs,monkey monkeys"
PEOPLE = (
    "man men,woman women,boy boys,girl girls,child children,teacher teachers,doctor doctors,student students,"
    "friend friends,king kings,queen queens,singer singers,driver drivers,artist artists,farmer farmers,writer writers"
)
FOODS = "apple,orange,cake,sandwich,egg,cookie,banana,potato,pizza,salad"
DRINKS = "water,milk,coffee,tea,juice"
THINGS = (
    "book,letter,picture,box,bag,chair,table,phone,ball,hat,coat,ring,key,cup,bottle,clock,camera,guitar,piano,knife"
)
VEHICLES = "car,bus,train,boat,plane,bike,truck"
PLACES = "house,garden,school,kitchen,park,city,village,forest,river,beach,church,hospital,library,office,market,island"
ROOMS = "kitchen,office,library,hospital,school,church,house,hotel,museum,theatre"
WEATHER = "sun,moon,wind,rain,snow,storm,star"

LOOKS = "big,small,old,young,white,black,brown,beautiful,lovely,strange"
PEOPLE_LOOKS = "tall,young,old,beautiful,famous,rich,poor,strange"
FEELINGS = "happy,sad,angry,tired,hungry,quiet,brave,clever,kind,lazy,proud,strong"
COLOURS = "red,green,blue,yellow,white,black,pink,purple"
QUALITIES = "new,old,cheap,expensive,heavy,light,broken,clean,dirty,small,big,empty"
TASTES = "sweet,fresh,hot,cold,warm,delicious"
NUMBERS = "two,three,four,five,six,seven,eight,nine,ten"

# Verbs are written "singular plural past"; "." is a form that a list of 12,000 common words may lack, and is not used.
ANIMAL_ACTS = "sleeps sleep .,runs run ran,moves move moved,. wait waited,plays play played,stays stay stayed,. jump ."
PEOPLE_ACTS = (
    ". sing .,. dance .,speaks speak spoke,. laugh laughed,works work worked,walks walk walked,talks talk talked,"
    "sleeps sleep .,. cry cried,reads read read,. wait waited"
)
TRAVELS = "walks walk walked,runs run ran,drives drive drove,goes go went,comes come came,returns return returned"
HANDLES = (
    "buys buy bought,sells sell sold,finds find found,loses lose lost,carries carry carried,wants want wanted,"
    "opens open opened,breaks break broke,makes make made,keeps keep kept,sees see saw,needs need needed"
)
EATS = ". eat ate,. cook cooked,likes like liked,loves love loved,wants want wanted,takes take took"
DRINKS_IT = "drinks drink .,likes like liked,loves love loved,wants want wanted"
MEETS = (
    "meets meet met,helps help helped,loves love loved,follows follow followed,"
    "sees see saw,calls call called,knows know knew"
)
RIDES = "drives drive drove,fixes fix fixed,. wash washed,buys buy bought,sells sell sold"
CHASES = "follows follow followed,watches watch watched,sees see saw,. hear heard,finds find found"
GIVES = "gives give gave,shows show showed,sends send sent,brings bring brought"
SHINES = "rises,falls,returns,appears,comes,stays"

MANNER = "slowly,quickly,quietly,carefully,together,alone,again,outside,inside"
WHEN = "today,tomorrow,tonight,now,later,soon"
PAST_WHEN = "yesterday,today,again,before"
ALWAYS = "always,never,often,sometimes,usually"
WHERE = "in,near,behind,outside"


class _Chooser:
    """Draws words from comma-separated lists; entries of several forms come as lists."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, count: int) -> int:
        return int(self._random.random() * count)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def word(self, words: str) -> str:
        entries = words.split(",")
        return entries[self.below(len(entries))]

    def forms(self, words: str) -> list[str]:
        return self.word(words).split()

    def article(self, phrase: str) -> str:
        """ "a", "an" or "the" before a noun phrase."""
        if self.chance(0.5):
            return f"the {phrase}"
        return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"

    def noun(self, nouns: str, adjectives: str = "", chance: float = 0.35) -> str:
        """A singular noun with its article, and perhaps an adjective."""
        name = self.word(nouns)
        return self.article(f"{self.word(adjectives)} {name}" if adjectives and self.chance(chance) else name)

    def subject(self, nouns: str, adjectives: str) -> tuple[str, int]:
        """A subject, and the form of its verb: 0 singular, 1 plural."""
        kind = self.below(10)
        name = self.forms(nouns)
        if kind < 5:
            return self.article(f"{self.word(adjectives)} {name[0]}" if self.chance(0.4) else name[0]), 0
        if kind < 7:
            return f"{self.word(NUMBERS)} {name[1]}", 1
        if kind < 8:
            return f"{self.word('my,your,our,his,her,their')} {name[0]}", 0
        if kind < 9:
            return f"the {name[1]}", 1
        return (("he", 0), ("she", 0), ("we", 1), ("they", 1), ("i", 1), ("you", 1))[self.below(6)]


def _sentence(choose: _Chooser) -> str:
    """One sentence; the caller drops those of the wrong length and those it has."""
    kind = choose.below(12)
    # A number in "forms" below picks the verb: 0 singular, 1 plural, 2 past for both.
    past = choose.chance(0.3)

    def verb(verbs: str, form: int) -> str:
        return choose.forms(verbs)[2 if past else form]

    def end(extra: str = "") -> str:
        return f" {extra}" if extra else f" {choose.word(PAST_WHEN if past else WHEN)}" if choose.chance(0.35) else ""

    if kind == 0:
        who, form = choose.subject(ANIMALS, LOOKS)
        where = f"{choose.word(WHERE)} the {choose.word(PLACES)}" if choose.chance(0.6) else choose.word(MANNER)
        return f"{who} {verb(ANIMAL_ACTS, form)} {where}"
    if kind == 1:
        who, form = choose.subject(PEOPLE, FEELINGS)
        if past or choose.chance(0.6):
            return f"{who} {verb(PEOPLE_ACTS, form)} {choose.word(MANNER)}"
        return f"{who} {choose.word(ALWAYS)} {verb(PEOPLE_ACTS, form)} {choose.word(MANNER)}"
    if kind == 2:
        who, form = choose.subject(PEOPLE, FEELINGS)
        return f"{who} {verb(TRAVELS, form)} to the {choose.word(PLACES)}{end()}"
    if kind == 3:
        who, form = choose.subject(PEOPLE, PEOPLE_LOOKS)
        return f"{who} {verb(HANDLES, form)} {choose.noun(THINGS, QUALITIES)}{end()}"
    if kind == 4:
        who, form = choose.subject(PEOPLE, FEELINGS)
        return f"{who} {verb(EATS, form)} {choose.noun(FOODS, TASTES)}{end()}"
    if kind == 5:
        who, form = choose.subject(PEOPLE, FEELINGS)
        return f"{who} {verb(DRINKS_IT, form)} {choose.word('hot,cold,fresh,warm')} {choose.word(DRINKS)}{end()}"
    if kind == 6:
        who, form = choose.subject(PEOPLE, PEOPLE_LOOKS)
        whom = choose.forms(PEOPLE)[0]
        return f"{who} {verb(MEETS, form)} the {whom} {choose.word(WHERE)} the {choose.word(ROOMS)}"
    if kind == 7:
        who, form = choose.subject(PEOPLE, FEELINGS)
        return f"{who} {verb(RIDES, form)} {choose.noun(VEHICLES, COLOURS, 0.6)}{end()}"
    if kind == 8:
        who, form = choose.subject(ANIMALS, LOOKS)
        return f"{who} {verb(CHASES, form)} the {choose.forms(ANIMALS)[choose.below(2)]}{end()}"
    if kind == 9:
        who, form = choose.subject(PEOPLE, PEOPLE_LOOKS)
        return f"{who} {verb(GIVES, form)} the {choose.forms(PEOPLE)[0]} {choose.noun(THINGS)}"
    if kind == 10:
        thing = f"{choose.word('the,my,your,this,that,every')} {choose.word(THINGS + ',' + VEHICLES)}"
        degree = choose.word("very ,so ,too ,")
        return f"{thing} {'was' if past else 'is'} {degree}{choose.word(QUALITIES + ',' + COLOURS)}{end()}"
    return f"the {choose.word(WEATHER)} {choose.word(SHINES)} over the {choose.word(PLACES)}{end(choose.word(WHEN))}"


def sentences() -> tuple[list[str], list[str]]:
    """4,000 training and 1,000 test sentences, all distinct."""
    choose = _Chooser(seed=0)
    found: dict[str, None] = {}  # a set that keeps its order
    while len(found) < TRAIN + TEST:
        sentence = _sentence(choose)
        if "." not in sentence and 3 <= len(sentence.split()) <= MAX_WORDS:
            found[sentence] = None
    everything = list(found)
    return everything[:TRAIN], everything[TRAIN:]


def vocabulary(texts: Sequence[str]) -> list[str]:
    """The words of these sentences, each once, in alphabetical order."""
    return sorted({word for text in texts for word in text.split()})
