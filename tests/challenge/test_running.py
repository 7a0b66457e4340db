"""Entries in the sandbox: what is trained, counted and refused. Networks whose answer is known tell the truth."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small_challenge import RULES

from diffusion_lab.challenge import ChallengeError, read_entry

# Whatever it is asked, it answers x + number: what a sampler makes of that can be written down.
SHIFT = """
class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.number = nn.Parameter(torch.zeros(1))
    def forward(self, x, t, labels=None):
        return x + self.number

def make_network():
    return Shift()
"""
TWICE = """
def sample(network, noise, labels, evaluations):
    for _ in range(evaluations):
        noise = network(noise, torch.tensor(0.5))
    return noise
"""
NOISE = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
WEIGHTS = {"number": torch.tensor([0.25])}


def drawn(runner, *cells: str, evaluations: int = 4, weights=WEIGHTS, **options):
    return runner(*cells, **options).sample(weights, NOISE, None, evaluations, 0)


def test_the_entry_s_own_network_and_sampler_are_used_and_counted(runner):
    run = runner(SHIFT, TWICE)
    assert run.shapes() == {"number": (1,)}
    samples, spent = run.sample(WEIGHTS, NOISE, None, 4, 0)
    assert torch.allclose(samples, NOISE + 4 * 0.25) and spent == 4


def test_half_a_batch_costs_half_an_evaluation(runner):
    halves = """
def sample(network, noise, labels, evaluations):
    return torch.cat([network(noise[:32], 0.5), noise[32:]])
"""
    samples, spent = drawn(runner, SHIFT, halves)
    assert spent == 0.5 and torch.allclose(samples[:32], NOISE[:32] + 0.25) and torch.equal(samples[32:], NOISE[32:])


def test_the_course_s_own_entry_trains_in_its_time(runner):
    run = runner()
    shapes = run.shapes()
    weights, spent = run.train(0)
    assert 0 < spent < RULES.seconds + 3
    assert run.check(weights, shapes) == sum(value.numel() for value in weights.values()) > 50_000
    samples, evaluations = run.sample(weights, NOISE, None, 4, 0)
    assert samples.shape == NOISE.shape and evaluations == 4


def test_the_page_s_example_spends_what_it_may(runner):
    """Heun's step asks twice, and once where it ends: four evaluations are two steps, of three evaluations."""
    page = (Path(__file__).resolve().parents[2] / "book" / "challenge.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?STEP = samplers.heun.*?)```", page, re.DOTALL)
    for evaluations, spent in ((1, 1), (4, 3), (20, 19)):
        assert drawn(runner, SHIFT, example, evaluations=evaluations)[1] == spent


def test_training_sees_the_training_data_and_one_piece_changes_it(runner, spiral):
    found = SHIFT + "def train(network, data, labels, seconds):\n    network.number.data = data[:, :1].mean(0)\n"
    weights, _ = runner(found).train(0)
    assert torch.allclose(weights["number"], spiral.train[:, :1].mean(0))


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("for _ in range(evaluations + 1): noise = network(noise, 0.5)\n    return noise", "more than 4 evaluations"),
        # A refusal that is caught is still one.
        (
            "for _ in range(99):\n        try: noise = network(noise, 0.5)\n        except Exception: pass\n"
            "    return noise",
            "more than 4 evaluations",
        ),
        ("return network(torch.cat([noise] * 5), 0.5)[:len(noise)]", "more than 4 evaluations"),
        ("return network(noise[:, :1], 0.5)", r"x of shape \(B, 2\)"),
        ("return noise[:10]", r"shape \(64, 2\), got a tensor of shape \(10, 2\)"),
        ("return noise.round().long()", "float tensor"),
        ("return {'sliced Wasserstein to held-out points': 0.0}", "got something else"),
        ("noise[3] = math.nan\n    return noise", "1 of 64 samples hold numbers that are not finite"),
        ("return noise / 0 * 0", "64 of 64"),
        ("return 1 / 0", r"raised ZeroDivisionError: division by zero \(line 2: return 1 / 0\)"),
        ("return next(iter(network.parameters()))", "AttributeError"),
        ("return _held['network'](noise, 0.5)", "KeyError"),  # no weights where samples are made
        ("return torch.cat(_parts)[:len(noise)]", "non-empty list"),  # nor training data
        ("import os; os._exit(0)", "ended"),
        # An exception of this name does not make it the end of the process, in the course's own words.
        ("class ProcessGone(Exception): pass\n    raise ProcessGone('out of luck')", "raised ProcessGone: out of luck"),
    ],
)
def test_what_a_sampler_may_not_do(runner, sampler: str, message: str):
    with pytest.raises(ChallengeError, match=message):
        drawn(runner, SHIFT, f"def sample(network, noise, labels, evaluations):\n    {sampler}\n")


def test_held_out_data_and_scores_are_nowhere_in_the_sandbox(runner):
    """Not as a module, not as a file, not in memory; and the folder of real data is not there."""
    search = """
import gc, os
found = []
for name in ("data", "metrics", "chapters", "challenge.scoring", "grading", "exercises"):
    try:
        __import__(f"diffusion_lab.{name}")
        found.append(name)
    except ImportError:
        pass
found += [path for path in ("/work", "/home", "/root") if os.path.isdir(path) and os.listdir(path)
          and not any(sys.prefix.startswith(path) or sys.base_prefix.startswith(path) for _ in [0])]
found += [str(a.shape) for a in gc.get_objects() if isinstance(a, torch.Tensor) and len(a.shape) and len(a) == 10000]
if found:
    raise ValueError(found)
"""
    assert drawn(runner, SHIFT, TWICE, search)[1] == 4


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def make_network():\n    return nn.Linear(400, 400)",
            "160,400 parameters; the challenge 'spiral' allows 100,",
        ),
        ("def make_network():\n    return 3", "make_network raised AttributeError"),
        ("def make_network(:", "cell 1 raised SyntaxError"),
        ("import os\nif os.fork() == 0:\n    while True: pass\nimport time; time.sleep(9)", "too many processes"),
    ],
)
def test_what_a_network_may_not_be(runner, code: str, message: str):
    with pytest.raises(ChallengeError, match=message):
        runner(code).shapes()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return network.state_dict()", "raised AttributeError"),
        ("raise KeyboardInterrupt", "train|ended"),
        ("network.number.data = torch.full((1,), math.nan)", "not finite: number"),
        ("return nn.Linear(2, 2)", "bias is unknown|number is missing"),
    ],
)
def test_what_a_training_may_not_do(runner, body: str, message: str):
    run = runner(SHIFT, f"def train(network, data, labels, seconds):\n    {body}\n")
    with pytest.raises(ChallengeError, match=message):
        run.check(run.train(0)[0], run.shapes())


def test_a_training_that_lies_about_its_network_is_counted_here(runner):
    """make_network says it is small, and the weights that come out of the training are not."""
    more = "def train(network, data, labels, seconds):\n    network.more = nn.Parameter(torch.zeros(200_000))\n"
    run = runner(SHIFT, more)
    with pytest.raises(ChallengeError, match="more is unknown"):
        run.check(run.train(0)[0], run.shapes())
    big = {"number": torch.zeros(200_000)}
    with pytest.raises(ChallengeError, match="200,000 parameters"):
        run.check(big, {"number": (200_000,)})


def test_weights_from_elsewhere_are_opened_by_the_entry_s_code_where_they_fit(runner, tmp_path):
    """Both ways of entering at once: weights from a file, and the code that opens them."""
    (tmp_path / "mine.py").write_text(SHIFT + TWICE)
    save_file({"number": torch.tensor([2.0])}, tmp_path / "mine.safetensors")
    entry = read_entry(RULES, tmp_path / "mine.py", tmp_path / "mine.safetensors")
    run = runner(*entry.cells)
    assert run.check(entry.weights, run.shapes()) == 1
    samples, _ = run.sample(entry.weights, NOISE, None, 4, 0)
    assert torch.allclose(samples, NOISE + 4 * 2.0)
    for other, message in (
        ({"number": torch.zeros(2)}, r"number is \(2,\) and should be \(1,\)"),
        ({"numbers": torch.zeros(1)}, "number is missing; numbers is unknown"),
    ):
        with pytest.raises(ChallengeError, match=message):
            run.check(other, run.shapes())


@pytest.mark.slow
def test_an_endless_training_ends(runner):
    """However it treats the clock that it may look at: the kernel counts its processor time."""
    endless = "import time\ndef train(network, data, labels, seconds):\n    while True:\n        try:\n"
    endless += "            while True: pass\n        except BaseException: pass\n"
    with pytest.raises(ChallengeError, match=r"train: .* may use 11 seconds of processor time"):
        runner(endless, rules=replace(RULES, seconds=1.0)).train(0)
