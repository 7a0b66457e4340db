"""Reading entries, and the table: nothing is unpickled, nothing half-written, nothing recorded that does not count."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import diffusion_lab.challenge as open_challenge
from diffusion_lab.challenge import ChallengeError, as_markdown, read_entry, read_table, rules_of, with_row, write_table
from diffusion_lab.challenge.entering import start
from diffusion_lab.challenge.reference import reference_entries
from diffusion_lab.challenge.scoring import copied, score
from diffusion_lab.challenge.table import Row
from diffusion_lab.cli import app
from diffusion_lab.data import load
from diffusion_lab.errors import LabError

RULES = rules_of("spiral")
ROW = Row(
    "one", "spiral", "data", "distance", ("loss",), "abc", True, 10, 1.0,
    {"1": [1.0, 2.0, 3.0]}, {"1": [0.5, 0.5, 0.5]}, {"1": {"other": 1.0}}, 0.01, "a processor", {"torch": "2"},
)  # fmt: skip


def test_both_ways_of_entering_are_read(tmp_path: Path):
    code = tmp_path / "fast.py"
    code.write_text("STEP = 3\ndef loss(network, x0, noise, level, cond):\n    return 0\n")
    save_file({"w": torch.ones(3)}, tmp_path / "w.safetensors")
    entry = read_entry(RULES, code, tmp_path / "w.safetensors")
    assert entry.name == "fast" and entry.pieces == ("STEP", "loss")
    assert list(entry.weights) == ["w"] and entry.weights["w"].tolist() == [1, 1, 1]
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": "text"},
        {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": "BATCH = 7"},
    ]
    notebook = tmp_path / "book.ipynb"
    notebook.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    assert read_entry(RULES, notebook, name="Ada").cells == ("BATCH = 7",)


@pytest.mark.parametrize(
    ("code", "pieces"),
    [
        ("STEP, GUIDANCE = 1, 2", ("STEP", "GUIDANCE")),
        ("import torch\nfrom somewhere import something as loss", ("loss",)),
        ("if True:\n    GUIDANCE = 2.0", ("GUIDANCE",)),
        ("try:\n    import fast\nexcept ImportError:\n    for BATCH in (7,):\n        pass", ("BATCH",)),
    ],
)
def test_a_piece_counts_however_it_is_bound(code: str, pieces: tuple[str, ...], tmp_path: Path):
    (tmp_path / "entry.py").write_text(code)
    assert read_entry(RULES, tmp_path / "entry.py").pieces == pieces


@pytest.mark.parametrize(
    ("code", "own"),
    [
        ("def helper():\n    STEP = 3", "helper"),
        ("class Mine:\n    STEP = 3", "Mine"),
        ("seven = [STEP for STEP in (7,)]", "seven"),
        ("import math\nSTEP: int", "nothing"),
    ],
)
def test_a_name_inside_of_something_replaces_nothing(code: str, own: str, tmp_path: Path):
    (tmp_path / "entry.py").write_text(code)
    with pytest.raises(ChallengeError, match=f"replaces none of the course's pieces: it defines {own};"):
        read_entry(RULES, tmp_path / "entry.py")


class Trap:
    """Whoever unpickles it makes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_a_pickle_is_refused_and_never_opened(tmp_path: Path):
    file, sprung = tmp_path / "w.safetensors", tmp_path / "sprung"
    for content in (pickle.dumps(Trap(str(sprung))), b"", b"\x08\0\0\0\0\0\0\0nonsense"):
        file.write_bytes(content)
        with pytest.raises(ChallengeError, match="no safetensors file"):
            read_entry(RULES, None, file)
    torch.save({"w": Trap(str(sprung))}, file)
    with pytest.raises(ChallengeError, match="pickles"):
        read_entry(RULES, None, file)
    assert not sprung.exists()


def test_files_that_cannot_be_entries(tmp_path: Path):
    (tmp_path / "long.py").write_text("#" * 20_001)
    (tmp_path / "a.txt").write_text("x = 1")
    (tmp_path / "typo.py").write_text("def samplings(network, noise, labels, evaluations):\n    return noise\n")
    (tmp_path / "empty.py").write_text("# nothing yet\n")
    (tmp_path / "latin.py").write_bytes("x = 'é'".encode("latin-1"))
    save_file({"w": torch.zeros(1_000_000)}, tmp_path / "big.safetensors")
    save_file({"w": torch.zeros(100_001)}, tmp_path / "over.safetensors")
    save_file({"w": torch.tensor([float("inf")])}, tmp_path / "inf.safetensors")
    for name, message in (
        ("long.py", "at most 20,000"), ("a.txt", "Python file"), ("latin.py", "UTF-8"),
        ("none.py", "there is no such file"),
        ("typo.py", "replaces none of the course's pieces: it defines samplings; the pieces are .*sample"),
        ("empty.py", "it defines nothing"),
    ):  # fmt: skip
        with pytest.raises(LabError, match=message):
            read_entry(RULES, tmp_path / name)
    with pytest.raises(ChallengeError, match="larger than"):
        read_entry(RULES, None, tmp_path / "big.safetensors")
    for name, message in (("over", "100,001 parameters"), ("inf", "not finite: w")):
        with pytest.raises(ChallengeError, match=message):
            read_entry(RULES, None, tmp_path / f"{name}.safetensors")
    with pytest.raises(ChallengeError, match="nowhere"):
        read_entry(RULES, None, tmp_path / "nowhere")
    for name in ("a|b", "x" * 41, "a\x1b[31mb"):
        with pytest.raises(ChallengeError, match="name has"):
            read_entry(RULES, None, name=name)


def test_names_that_do_not_exist():
    with pytest.raises(ChallengeError, match="'cifar10'; the challenges are spiral and mnist"):
        rules_of("cifar10")
    with pytest.raises(ChallengeError, match="'huge'"):
        rules_of("spiral", "huge")


def test_a_table_is_read_as_it_was_written_and_one_name_has_one_row(tmp_path: Path):
    path = tmp_path / "spiral.json"
    assert read_table(path) == []
    write_table(path, with_row([replace(ROW, name="two"), ROW], replace(ROW, parameters=11)))
    assert read_table(path) == [replace(ROW, name="two"), replace(ROW, parameters=11)]
    assert list(tmp_path.iterdir()) == [path]
    for broken in ("", "[]", '{"entries": [{"name": "x"}]}', path.read_text().replace("2.0", "NaN")):
        path.write_text(broken)
        with pytest.raises(ChallengeError, match="no table of a challenge"):
            read_table(path)


def test_a_row_in_words_has_mean_and_spread_and_its_place():
    better = replace(ROW, name="better", values={"1": [0.6, 0.6, 0.6]}, trained_here=False)
    lines = as_markdown([ROW, better]).splitlines()
    assert "true data score 0.5." in lines[0]
    assert lines[-2].startswith("| better |") and "brought along" in lines[-2]
    assert "| 2 ± 1 |" in lines[-1] and "`loss`" in lines[-1] and lines[-1].endswith("| 1% |")
    assert as_markdown([]) == ""


@pytest.mark.slow
def test_true_data_score_at_the_floor_and_copies_are_seen():
    """The truth itself, drawn anew, is the best that any entry can be; copies are seen."""
    data = load("spiral")
    held, copies = data.test[5000:5500], data.train[:500]
    first = score("spiral", data, held, None, 0)[0]
    assert first.value < 1.5 * first.floor and first.passed
    noise, labels = start(replace(RULES, samples=500), data, 0)
    assert labels is None and score("spiral", data, noise, None, 0)[0].value > 5 * first.floor
    assert copied(data, copies) == 1.0 and copied(data, held) < 0.05


@pytest.mark.parametrize("fault", ["", "at the end"])
def test_nothing_is_recorded_of_an_entry_that_fails(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command with an `enter` of our own, for what happens around it."""

    def enter(rules, entry, **options):
        if fault:
            raise ChallengeError(fault)
        return replace(ROW, name=entry.name)

    monkeypatch.setattr(open_challenge, "enter", enter)
    (tmp_path / "mine.py").write_text("BATCH = 8")
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["challenge", "spiral", str(tmp_path / "mine.py"), "--out", str(out)])
    if fault:
        assert done.exit_code == 2 and "error: at the end" in done.output and not out.exists()
    else:
        assert done.exit_code == 0, done.output
        assert [row.name for row in read_table(out / "spiral.json")] == ["mine"]
        assert "| mine |" in (out / "spiral.md").read_text(encoding="utf-8")


def test_the_recorded_entries_are_those_of_the_files_and_keep_to_the_rules():
    """Where this fails after an entry has changed: python scripts/record_challenge.py CHALLENGE."""
    for challenge in open_challenge.NAMES:
        rules = rules_of(challenge)
        rows = open_challenge.reference_table(challenge)
        files = {name: read_entry(rules, path, name=name) for name, path in reference_entries(challenge).items()}
        assert {row.name: row.digest for row in rows} == {name: entry.digest for name, entry in files.items()}
        for row in rows:
            assert row.challenge == challenge and row.parameters <= rules.parameters
            assert row.seconds <= rules.seconds + 3 and row.processor
            assert [int(count) for count in row.values] == list(rules.evaluations)
            assert all(len(values) == len(rules.seeds) for values in row.values.values())
            assert all(min(row.values[count]) > 0.5 * row.floor for count in row.values), "better than the truth"
            # More evaluations, better samples: the course's own entry without this would be a broken sampler.
            assert row.name != "the course" or row.mean(1) > row.mean(4) > row.mean(20) >= row.floor * 0.9
