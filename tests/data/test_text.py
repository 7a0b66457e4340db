"""The project's sentences, their vectors from both sources, and the user's own sentences."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_lab.data import Dataset, grammar, load, phrases
from diffusion_lab.data.glove import read_glove
from diffusion_lab.data.grammar import sentences, vocabulary
from diffusion_lab.data.own_sentences import embed_sentences, load_sentences
from diffusion_lab.errors import DataError

WORDS = vocabulary([text for split in sentences() for text in split])
VECTORS = np.random.default_rng(0).normal(1, 2, (len(WORDS), 5)).astype(np.float32)


def lines_of(words: list[str], vectors: np.ndarray) -> list[str]:
    return [" ".join([word, *map(str, row)]) for word, row in zip(words, vectors, strict=True)]


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    """A GloVe file with the words of the sentences in another order, and some that no sentence has."""
    order = np.random.default_rng(1).permutation(len(WORDS))
    words = [*(WORDS[k] for k in order), "zebra", ",", "\x85", "été"]
    vectors = np.concatenate([VECTORS[order], np.ones((4, 5), np.float32)])
    path = tmp_path / "glove.test.5d.txt"
    path.write_text("\n".join(lines_of(words, vectors)) + "\n", encoding="utf-8")
    return path


def test_sentences_are_distinct_and_of_three_to_eight_words():
    train, test = sentences()
    assert (len(train), len(test)) == (4000, 1000) and len({*train, *test}) == 5000
    assert {len(text.split()) for text in train + test} == set(range(3, 9))
    assert 300 <= len(WORDS) <= 500
    assert set(vocabulary(test)) <= set(vocabulary(train)), "no test sentence has a word that was never trained"
    assert all(re.fullmatch(r"[a-z ]+", text) for text in train + test)


def test_sentences_do_not_depend_on_the_process():
    """The file by itself, which imports nothing that takes time to start."""
    code = f"import json, runpy; print(json.dumps(runpy.run_path({grammar.__file__!r})['sentences']()))"
    for seed in ("1", "2"):  # the order of Python's sets of words hangs on it
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert json.loads(done.stdout) == [list(split) for split in sentences()]


def test_articles_numbers_and_verbs_agree():
    for text in [*sentences()[0], *sentences()[1]]:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text
        assert not re.search(r"\b(two|three|four|five|six|seven|eight|nine|ten) (man|cat|dog|woman|child|boy)\b", text)
        assert not re.search(r"\b(he|she) (always |often )?(run|walk|go|like|love|want|eat|buy)\b", text), text
        assert not re.search(r"\b(they|we|men|cats|women|i|you) (runs|walks|goes|likes|loves|wants|buys|is)\b", text)
        assert not ("yesterday" in text and re.search(r"\b(is|runs|goes|likes|wants|buys|comes)\b", text)), text
        assert not (re.search(r"tomorrow|tonight", text) and re.search(r"\b(was|ran|went|liked|bought|came)\b", text))


def assert_consistent(data: Dataset) -> None:
    words, vectors = data.info["words"], data.info["vectors"]
    assert len(words) == len(vectors) == len(set(words)) and words[1:] == tuple(WORDS)
    assert not vectors[0].any()
    assert vectors[1:].mean(dim=0).abs().max() < 1e-5 and vectors[1:].square().mean() == pytest.approx(1, abs=1e-4)
    for split, points in (("train", data.train), ("test", data.test)):
        ids, mask = data.info[f"{split}_ids"], data.info[f"{split}_mask"]
        assert ids.dtype == torch.int64 and mask.dtype == torch.bool and ids.shape == mask.shape == points.shape[:2]
        texts = [" ".join(words[k] for k in row[keep]) for row, keep in zip(ids, mask, strict=True)]
        assert tuple(texts) == data.info[f"{split}_sentences"]
        # Every place is nearest to its own word, so that rounding undoes the embedding.
        assert torch.equal(torch.cdist(points.flatten(0, 1), vectors).argmin(dim=1), ids.flatten())
        assert len(data.info[f"{split}_sentence_vectors"]) == len(points)


def test_bundled_phrases():
    data = load("text", source="bundled")
    assert_consistent(data)
    assert "all-MiniLM-L6-v2" in data.name
    assert phrases.EMBEDDINGS.stat().st_size < 2**20
    whole = data.info["train_sentence_vectors"]
    assert whole.shape == (4000, 64) and whole.mean(dim=0).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("word", "near", "far"),
    [("cat", "dog", "hospital"), ("red", "green", "walks"), ("coffee", "tea", "king"), ("car", "truck", "sad")],
)
def test_related_words_are_nearer(word: str, near: str, far: str):
    info = load("text", source="bundled").info
    one, two, three = (info["vectors"][info["words"].index(name)] for name in (word, near, far))
    assert (one - two).norm() < (one - three).norm()


def test_related_sentences_are_nearer():
    """Test sentences whose nearest training sentence shares most of its words: far more than for a random one."""
    info = load("text", source="bundled").info
    nearest = torch.cdist(info["test_sentence_vectors"], info["train_sentence_vectors"]).argmin(dim=1)

    def shared(picks: list[int]) -> float:
        pairs = zip(info["test_sentences"], picks, strict=True)
        sets = [(set(text.split()), set(info["train_sentences"][pick].split())) for text, pick in pairs]
        return sum(len(a & b) / len(a | b) for a, b in sets) / len(sets)

    assert shared(nearest.tolist()) > 3 * shared(list(range(1000)))


def test_embeddings_of_other_sentences_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(phrases, "sentences", lambda: (["a cat sleeps"], ["a dog sleeps"]))
    with pytest.raises(DataError, match=r"other sentences; scripts/embed_text\.py"):
        load("text", source="bundled")


@pytest.mark.parametrize("form", ["plain", "gz", "with a header"])
def test_glove(form: str, glove: Path):
    if form == "with a header":
        glove.write_text(f"{len(WORDS) + 4} 5\n" + glove.read_text(encoding="utf-8"), encoding="utf-8")
    if form == "gz":
        glove.with_suffix(".txt.gz").write_bytes(gzip.compress(glove.read_bytes()))
        glove.unlink()
    data = load("text", source="real", root=glove.parent)
    assert_consistent(data)
    assert "GloVe" in data.name and data.source == "real"
    assert data.train.shape == (4000, 8, 5)
    assert len(data.info["glove_words"]) == len(WORDS) + 4 and "\x85" in data.info["glove_words"]
    expected = VECTORS - VECTORS.mean(axis=0)
    expected /= np.sqrt((expected**2).mean())
    np.testing.assert_allclose(data.info["vectors"][1:].numpy(), expected, atol=1e-5)
    place = data.info["glove_words"].index("cat")
    assert torch.equal(data.info["glove_vectors"][place], data.info["vectors"][data.info["words"].index("cat")])
    first = [expected[WORDS.index(word)] for word in data.info["train_sentences"][0].split()]
    np.testing.assert_allclose(data.info["train_sentence_vectors"][0].numpy(), np.mean(first, axis=0), atol=1e-5)


@pytest.mark.parametrize(("line", "columns"), [(1, 5), (7, 5), (7, 7), (7, 1)])
def test_a_line_of_other_columns_is_named(line: int, columns: int, glove: Path):
    lines = glove.read_text(encoding="utf-8").split("\n")[:50]
    parts = lines[line - 1].split(" ")
    lines[line - 1] = " ".join([*parts, "0.5"][:columns])
    glove.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=rf"{glove}, line {line}: {columns} columns, expected 6"):
        read_glove(glove)


@pytest.mark.parametrize("number", ["one", "nan", "inf", ""])
def test_a_column_that_is_no_number_is_named(number: str, glove: Path):
    lines = glove.read_text(encoding="utf-8").split("\n")[:50]
    lines[8] = " ".join([*lines[8].split(" ")[:-2], number, "0.5"])
    glove.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=rf"{glove}, line 9: a column is not a finite number"):
        read_glove(glove)


@pytest.mark.parametrize("bad", ["zoo 0.1", "zoo 0.1 0.2 x 0.4 0.5", "zoo 1 2 3 4 5 6"])
def test_one_bad_line_of_hundreds_is_left_out_and_told(bad: str, glove: Path):
    lines = glove.read_text(encoding="utf-8").split("\n")
    glove.write_text("\n".join([*lines[:200], bad, *lines[200:]]), encoding="utf-8")
    data = load("text", source="real", root=glove.parent)
    assert len(data.info["glove_words"]) == len(WORDS) + 4 and "zoo" not in data.info["glove_words"]
    (note,) = data.notes
    assert note.startswith(f"1 of {len(WORDS) + 5:,} lines") and f"{glove}, line 201: " in note


def test_a_file_that_was_cut_off_is_refused(glove: Path):
    glove.write_text(glove.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    with pytest.raises(DataError, match=rf"{glove}, line {len(WORDS) + 3}: .*the file seems cut off"):
        read_glove(glove)


def test_words_with_spaces_empty_lines_repeated_words_and_a_byte_order_mark(glove: Path):
    lines = glove.read_text(encoding="utf-8").split("\n")
    odd = [". . . 1 2 3 4 5", "", *lines[:3], "at name@domain.com 5 4 3 2 1", "", lines[3].split(" ")[0] + " 9 9 9 9 9"]
    glove.write_text("\n".join([*odd[:5], *lines[3:-1], *odd[5:]]) + "\n", encoding="utf-8-sig")
    words, vectors, notes = read_glove(glove)
    assert words[0] == ". . ." and vectors[0].tolist() == [1, 2, 3, 4, 5]
    assert words[-1] == "at name@domain.com" and vectors[-1].tolist() == [5, 4, 3, 2, 1]
    assert set(WORDS) < set(words) and len(words) == len(set(words)) == len(WORDS) + 6
    place = words.index(lines[3].split(" ")[0])
    assert vectors[place].tolist() == pytest.approx([float(part) for part in lines[3].split(" ")[1:]])
    assert len(notes) == 1 and notes[0].startswith("1 words of")


def test_a_truncated_glove_file_is_named(glove: Path):
    packed = glove.with_suffix(".txt.gz")
    packed.write_bytes(gzip.compress(glove.read_bytes())[:-20])
    with pytest.raises(DataError, match=f"{packed} is truncated or corrupt"):
        read_glove(packed)
    glove.write_bytes(b"\xff\xfe" + glove.read_bytes())
    with pytest.raises(DataError, match=f"{glove} is truncated or corrupt"):
        read_glove(glove)


@pytest.mark.parametrize("content", ["", "\n", "word\nother\n", "400000 50\n"])
def test_a_glove_file_without_vectors_is_named(content: str, glove: Path):
    glove.write_text(content)
    with pytest.raises(DataError, match=f"{glove} has no line of the form"):
        read_glove(glove)


def test_missing_words_are_named(glove: Path):
    text = glove.read_text(encoding="utf-8")
    glove.write_text(re.sub(r"(?m)^(cat|dog) .*\n", "", text), encoding="utf-8")
    with pytest.raises(DataError, match=r"lacks 2 words of the sentences, among them cat, dog"):
        load("text", root=glove.parent)


class Encoder:
    """Takes the place of sentence-transformers' model: the counts of five letters in each sentence."""

    def __init__(self, model: str, device: str) -> None:
        if "absent" in model:
            raise OSError("no such model")

    def encode(self, sentences: list[str], **settings: object) -> torch.Tensor:
        return torch.tensor([[float(text.count(letter)) for letter in "aeiou"] for text in sentences])


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = Encoder
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)


def test_own_sentences(encoder: None):
    texts = [f"sentence {'a' * k} and {'e' * (k % 3)}" for k in range(20)]
    assert embed_sentences(texts)[:, 0].tolist() == [k + 1 for k in range(20)]
    data = load_sentences(texts)
    assert data.kind == "words" and data.train.shape == (18, 5) and data.test.shape == (2, 5)
    assert sorted(data.info["train_sentences"] + data.info["test_sentences"]) == sorted(texts)
    assert data.train.mean(dim=0).abs().max() < 1e-5 and data.train.square().mean() == pytest.approx(1)


def test_a_sentence_that_repeats_another_is_in_one_split_only(encoder: None):
    texts = [f"number {'a' * k}" for k in range(20)]
    data = load_sentences(["\ufeff" + texts[0], *texts[1:], *(f" {text}\n" for text in texts[:7])])
    assert sorted(data.info["train_sentences"] + data.info["test_sentences"]) == sorted(texts)
    assert data.notes == ("7 of 27 sentences repeat others and are left out",)
    with pytest.raises(DataError, match="among them is a float: nan"):
        load_sentences([*texts, float("nan")])


def test_own_sentences_that_cannot_be_embedded(encoder: None, monkeypatch: pytest.MonkeyPatch):
    for nothing in ([], "one sentence"):
        with pytest.raises(DataError, match="a list of one or more sentences"):
            embed_sentences(nothing)
    with pytest.raises(DataError, match="sentence 2 of 3 is empty"):
        embed_sentences(["a", " ", "b"])
    with pytest.raises(DataError, match="'absent' cannot be loaded: no such model"):
        embed_sentences(["a"], model="absent")
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(DataError, match=r"pip install diffusion-lab\[text\]"):
        embed_sentences(["a"])


def test_the_script_reduces_by_principal_components():
    path = Path(__file__).parents[2] / "scripts" / "embed_text.py"
    spec = importlib.util.spec_from_file_location("embed_text", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    from sklearn.decomposition import PCA

    vectors = torch.randn(50, 12, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 13)
    reduced, kept = script.reduce(vectors, 4)
    expected = PCA(4).fit(vectors.numpy())
    assert kept == pytest.approx(expected.explained_variance_ratio_.sum(), abs=1e-5)
    np.testing.assert_allclose(reduced.abs().float(), np.abs(expected.transform(vectors.numpy())), atol=0.03)
