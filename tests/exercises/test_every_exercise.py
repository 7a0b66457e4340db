"""What holds for all exercises: their graders are tried on right and wrong answers, and their texts are read."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap

import pytest
import torch

from diffusion_lab.chapters import get
from diffusion_lab.errors import LabError
from diffusion_lab.exercises import CARE, Draw, Exercise, library, notebook
from diffusion_lab.exercises.catalogue import BEYOND, CHAPTERS, LAB, NOTEBOOKS, find, folder_name, number_of
from diffusion_lab.exercises.driving import piece_of
from diffusion_lab.exercises.record import KINDS
from diffusion_lab.grading.judge.auditing import SEEDS, audit
from diffusion_lab.grading.judge.calling import LocalCaller
from diffusion_lab.grading.judge.checking import check
from diffusion_lab.grading.judge.questions import questions

GIVEN = {"math", "torch", "Tensor", "nn", "functional"}
"""The names that a notebook imports for the student."""
EXERCISES = list(library().values())
every = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: f"{exercise.chapter}-{exercise.name}")
TRAINED = ("tiny_denoiser", "conv_denoiser")
"""Networks, each answer of which is trained to be judged."""


@pytest.mark.parametrize(
    "exercise",
    [pytest.param(item, marks=[pytest.mark.slow] if item.name in TRAINED else []) for item in EXERCISES],
    ids=[f"{item.chapter}-{item.name}" for item in EXERCISES],
)
def test_wrong_answers_are_named_and_right_ones_accepted(exercise: Exercise):
    assert audit(exercise, seeds=SEEDS[:1]).gaps == ()


@pytest.mark.parametrize(
    "exercise",
    [pytest.param(i, marks=pytest.mark.nightly if i.name in TRAINED else pytest.mark.slow) for i in EXERCISES],
    ids=[f"{item.chapter}-{item.name}" for item in EXERCISES],
)
def test_they_are_on_cases_that_count_for_marks(exercise: Exercise):
    assert audit(exercise, seeds=SEEDS[1:2]).gaps == ()


@pytest.mark.nightly
@every
def test_the_grader_is_as_good_on_other_draws(exercise: Exercise):
    assert audit(exercise, seeds=(*SEEDS[2:], 20, 21)).gaps == ()


@every
def test_an_empty_piece_gets_nothing_and_is_told_so(exercise: Exercise):
    def not_written(*arguments):
        raise NotImplementedError

    verdict = check(exercise, LocalCaller(not_written))
    assert (verdict.state, verdict.points, verdict.out_of) == ("not written", 0, exercise.points)


@every
def test_the_solution_stands_alone(exercise: Exercise):
    """It becomes a notebook's cell, where nothing is there but what the notebook imports."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(exercise.reference)))
    function = tree.body[0]
    assert len(tree.body) == 1 and not function.decorator_list
    assert not [node for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
    piece = piece_of(exercise)
    code = piece.__code__
    annotations = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} - set(code.co_names)
    used = {name for name in code.co_names if name in piece.__globals__}
    assert used <= GIVEN
    assert annotations & set(piece.__globals__) <= GIVEN


@every
def test_texts_are_complete(exercise: Exercise):
    docstring = inspect.getdoc(exercise.reference)
    assert "Args:" in docstring and "Returns:" in docstring
    assert set(inspect.signature(piece_of(exercise)).parameters) <= set(
        docstring.replace(",", " ").replace(":", " ").split()
    )
    assert all(hint.hint and len(hint.hint) < 420 for hint in exercise.wrong_answers)
    assert len({answer.name for answer in exercise.wrong_answers}) == len(exercise.wrong_answers)
    assert exercise.kind in KINDS and exercise.title and exercise.source
    assert "$" in exercise.statement or "`" in exercise.statement
    assert len(exercise.hints) >= 2
    assert exercise.parts[CARE] == 1 and exercise.points >= 4


@every
def test_a_dtype_that_the_statement_promises_is_asked_for(exercise: Exercise):
    """Only where another one could come in: a table in float64, or a network that takes one dtype."""
    docstring = " ".join(inspect.getdoc(exercise.reference).split())
    promised = re.search(r"of the dtype of (\w+)", docstring.partition("Returns:")[2])
    if promised and promised[1] in exercise.parameters and ("float64" in docstring or "called as" in docstring):
        assert exercise.like == promised[1]
        assert all(question.mixed is not None for question in questions(exercise, 0))


@every
def test_hints_give_no_solution_away(exercise: Exercise):
    """No line of the solution's code stands in the statement, a hint or a wrong answer's hint."""
    source = inspect.getsource(exercise.reference).split('"""')[-1]
    lines = [line.strip() for line in source.splitlines() if len(line.strip()) > 15]
    texts = [exercise.statement, *exercise.hints, *(answer.hint for answer in exercise.wrong_answers)]
    assert not [line for line in lines for text in texts if line in " ".join(text.split())]


@every
def test_cases_differ_from_seed_to_seed(exercise: Exercise):
    def plain(argument):
        if not isinstance(argument, torch.Tensor):
            return repr(argument)
        return argument.dtype, argument.shape, argument.detach().numpy().tobytes()

    def arguments(seed: int) -> list[tuple]:
        return [tuple(map(plain, case.arguments)) for case in exercise.cases(Draw(seed, exercise.name))]

    first = arguments(1)
    assert first == arguments(1) and first != arguments(2)


@pytest.mark.parametrize("chapter", (*CHAPTERS, *BEYOND))
def test_every_chapter_has_a_schedule_a_loss_and_a_sampler(chapter: str):
    book = notebook(chapter)
    assert {exercise.kind for exercise in book.exercises} >= {"schedule", "loss", "sampler"}
    assert all(exercise.chapter == chapter for exercise in book.exercises)
    assert 150 < len(book.recall.split()) < 600 and len(book.closing.split()) > 30


def test_the_numbers_beyond_the_ten_are_those_of_the_chapters():
    assert len(CHAPTERS) == 10 and not {f"{chapter}{LAB}" for chapter in BEYOND} & set(NOTEBOOKS)
    for chapter in (*CHAPTERS, *BEYOND):
        assert number_of(chapter) == get(chapter).number
        assert {find(word) for word in (chapter, number_of(chapter), folder_name(chapter))} == {chapter}
    with pytest.raises(LabError, match=r"and beyond them heartbeats \(11\), points \(12\), satellite \(13\)"):
        find(99)


def test_no_exercise_is_there_twice():
    assert len(EXERCISES) >= 60
    titles = [exercise.title for exercise in EXERCISES]
    assert len(set(titles)) == len(titles)
