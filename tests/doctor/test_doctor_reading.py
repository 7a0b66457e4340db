"""What the doctor reads, what it says when it cannot, and how the command ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import diffusion_lab
from diffusion_lab.cli import app
from diffusion_lab.doctor import Diffusion, examine, read
from diffusion_lab.errors import PieceError, SourceError

RIGHT = """
import torch
from helper import T
betas = torch.linspace(1e-3, 0.2, T)
alphas_cumprod = torch.cumprod(1 - betas, dim=0)

def add_noise(x, timesteps, eps):
    kept = alphas_cumprod[timesteps][:, None]
    return kept.sqrt() * x + (1 - kept).sqrt() * eps
"""
CASES = {
    "no such name": ("x = 1\n", "has none of the names"),
    "a syntax error": ("betas = [0.1,\n\ndef f(:\n", r"mine\.py, line [13]"),
    "an error while it runs": ("a = 1\nbetas = 1 / 0\n", r"ZeroDivisionError: division by zero \(mine\.py, line 2\)"),
    "an exit": ("import sys\nsys.exit(3)\n", "it ends Python"),
    "an unknown argument": (
        "betas = [0.1, 0.9]\ndef q_sample(x0, t, noise, strength):\n    return x0\n",
        r"'strength' \(mine\.py, line 2\)",
    ),
    "words for numbers": ("betas = ['a', 'b']\n", "betas must be numbers"),
    "a table of no steps": ("betas = [[0.1, 0.2]]\n", r"shape \(T,\).*\(1, 2\)"),
    "a number for a function": ("loss = 3\n", "loss must be a function, got int"),
    "another prediction": ("betas = [0.1, 0.2]\nprediction = 'noise'\n", "must be one of eps, x0, v, got 'noise'"),
    "one time for both ends": ("betas = [0.1, 0.2]\ntold = (1, 1)\n", "two different numbers"),
}


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read_ends_with_2_and_its_reason(case: str, tmp_path: Path):
    text, message = CASES[case]
    file = write(tmp_path, text)
    with pytest.raises((SourceError, PieceError), match=message):
        examine(file)
    done = CliRunner().invoke(app, ["doctor", str(file)])
    assert done.exit_code == 2
    assert re.search(message, done.output)


def test_a_number_that_is_not_finite_is_none_as_data():
    checkup = examine(betas=[0.1, 0.9, 0.99], data=torch.tensor([[1.0, float("nan")]]), ddim_step=lambda x, t, s: x / 0)
    found = {finding["code"]: finding for finding in checkup.as_data()["findings"]}
    assert found["not-finite"]["piece"] in ("data", "ddim_step")
    json.loads(json.dumps(checkup.as_data(), allow_nan=False))


def test_a_missing_file_and_another_kind_of_file(tmp_path: Path):
    with pytest.raises(SourceError, match="no such file"):
        read(tmp_path / "none.py")
    with pytest.raises(SourceError, match=r"reads a \.py file"):
        read(write(tmp_path, "{}", "mine.ipynb"))


def test_nothing_found_ends_with_0_and_something_with_1(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("diffusion_lab.addresses.BOOK", "")
    monkeypatch.setattr("diffusion_lab.addresses.REPOSITORY", "")
    write(tmp_path, "T = 60\n", "helper.py")
    done = CliRunner().invoke(app, ["doctor", str(write(tmp_path, RIGHT))])
    assert done.exit_code == 0, done.output
    assert "Nothing is wrong with what was examined." in done.output
    assert "q_sample: the factors of data and noise" in done.output
    assert "loss: none was given" in done.output
    broken = write(tmp_path, RIGHT.replace("(1 - kept).sqrt()", "(1 - kept)"))
    done = CliRunner().invoke(app, ["doctor", str(broken), "--json"])
    assert done.exit_code == 1
    (finding,) = json.loads(done.output)["findings"]
    assert (finding["code"], finding["piece"]) == ("variance-for-deviation", "q_sample")
    assert "`diffusion-lab book 01_normal_1d`, section 'drowning a number'" in " ".join(
        examine(broken).as_text().split()
    )
    monkeypatch.setattr("diffusion_lab.addresses.BOOK", "https://example.org/book/")
    assert "https://example.org/book/01_normal_1d.html#drowning-a-number" in examine(broken).as_text()


def test_an_error_of_a_function_is_a_finding_with_its_line(tmp_path: Path):
    file = write(tmp_path, "betas = [0.1, 0.9]\ndef q_sample(x0, t, noise):\n    return x0 @ t\n")
    finding = examine(file).findings[-1]
    assert finding.code == "raises"
    assert re.search(r"RuntimeError: .*\(mine\.py, line 3\)", finding.says)


def test_what_a_function_prints_is_no_part_of_the_report(tmp_path: Path, capsys):
    examine(write(tmp_path, RIGHT.replace("from helper import T", "T = 60") + "    print('loud')\n"))
    assert capsys.readouterr() == ("", "")


def test_pieces_may_be_given_by_name_in_a_mapping_or_beside_a_file(tmp_path: Path):
    betas = torch.linspace(1e-3, 0.2, 60)
    assert diffusion_lab.examine(betas=betas.tolist()).well
    assert examine({"betas": betas.numpy()}).well
    assert examine(Diffusion(betas=betas), data=torch.rand(8, 2) * 255).codes == ("data-range",)
    with pytest.raises(PieceError, match="does not know beta"):
        examine(beta=betas)
    with pytest.raises(PieceError, match="give examine a file"):
        examine()


def test_a_function_with_an_unknown_table_is_left_out_and_named():
    checkup = examine(q_sample=lambda x0, t, noise: x0)
    assert checkup.well
    assert any(line.startswith("q_sample: it has a table of its own") for line in checkup.not_examined)


def test_the_shape_is_found_by_asking_the_network():
    class Wide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Conv2d(2, 8, 3, padding=1), torch.nn.SiLU())
            self.last = torch.nn.Conv2d(8, 1, 3, padding=1)

        def forward(self, x, t):
            waves = (t / 300.0).cos()[:, None, None, None].expand_as(x)
            return self.last(self.layers(torch.cat([x, waves], dim=1)))

    checkup = examine(network=Wide())
    assert checkup.well, checkup.as_text()
    assert any("(1, 28, 28)" in line for line in checkup.taken)
    odd = examine(network=lambda x, t: x @ torch.ones(5, 5))
    assert odd.well and any("say the `shape`" in line for line in odd.not_examined)


def test_names_that_mean_something_else_are_left_alone(tmp_path: Path):
    text = "betas = [0.01, 0.9, 0.99]\nema = 0.999\ncfg = {}\nscheduler = object()\nnoisy = 3\n"
    assert examine(write(tmp_path, text)).codes == ()


def test_the_report_says_what_was_taken_for_granted():
    checkup = examine(q_sample=lambda x0, t, noise, alpha_bar: x0)
    assert "linear betas of DDPM" in " ".join(checkup.as_text().split())
    assert not checkup.well


def test_labels_that_are_dropped_while_sampling_are_counted():
    betas = torch.linspace(1e-3, 0.3, 40)

    def sample(network, x, labels):
        left = torch.cumprod(1 - betas, dim=0)
        with torch.no_grad():
            for t in reversed(range(40)):
                seen = torch.where(torch.rand(len(x)) < 0.25, 10, labels)
                x = (x - betas[t] / (1 - left[t]).sqrt() * network(x, torch.full((len(x),), t), seen)) / (
                    1 - betas[t]
                ) ** 0.5
                x = x + betas[t].sqrt() * torch.randn_like(x) if t else x
        return x

    (finding,) = examine(betas=betas, sample=sample).findings
    assert finding.code == "drops-while-sampling"
    assert finding.measured == pytest.approx(0.75, abs=0.08)


def test_a_diffusion_and_a_scheduler_are_known_under_any_name(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "import torch\n\n\nclass Process:\n    betas = torch.linspace(1e-4, 0.02, 10)\n\n"
        "    def q_sample(self, x0, t, noise):\n        return x0\n\n\n"
        "class Scheduler:\n    set_timesteps = step = None\n\n\n"
        "process = same = Process()\nnoise_scheduler = Scheduler()\n"
    )
    found = read(tmp_path / "mine.py")
    assert len(found.betas) == 10 and found.q_sample is not None and type(found.scheduler).__name__ == "Scheduler"
    with (tmp_path / "mine.py").open("a") as file:
        file.write("sampling_scheduler = Scheduler()\nother = Process()\n")
    with pytest.raises(SourceError, match="none of the names"):  # which of two is meant nobody can tell
        read(tmp_path / "mine.py")
