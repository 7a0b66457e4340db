"""The code that runs in the sandbox in front of an entry: the course's mathematics and networks, and a few calls.

Nothing of the package is there by itself. What an entry may import travels as text: the mathematics and the networks,
and no data, metric, exercise or grader.
"""

from __future__ import annotations

from pathlib import Path

from diffusion_lab.challenge.rules import Rules

PACKAGE = Path(__file__).resolve().parents[1]
SHARED = ("errors", "levels", "betas", "times", "schedules", "targets", "denoisers", "losses", "samplers", "networks")
"""Modules and folders of the package that an entry may import."""

IMPORTER = '''
import importlib.util, sys
class _Course:
    """Finds the modules of the course in a table of texts."""
    def find_spec(self, name, path=None, target=None):
        if name in SOURCES:
            return importlib.util.spec_from_loader(name, self, is_package=SOURCES[name][1])
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        exec(compile(SOURCES[module.__name__][0], f"<{module.__name__}>", "exec"), module.__dict__)
sys.meta_path.insert(0, _Course())
torch.set_num_threads(THREADS)
'''

CALLS = """
import time as _time
_parts, _label_parts, _held = [], [], {}

def _shapes():
    return {name: list(value.shape) for name, value in make_network().state_dict().items()}

def _take(data, labels):
    _parts.append(data)
    if labels is not None:
        _label_parts.append(labels)

def _train(seconds):
    data = torch.cat(_parts)
    if data.dtype == torch.uint8:
        data = data.float() / 127.5 - 1
    began = _time.process_time()
    network = make_network()
    trained = train(network, data, torch.cat(_label_parts) if _label_parts else None, seconds)
    spent = _time.process_time() - began
    return {k: v.detach().cpu() for k, v in (network if trained is None else trained).state_dict().items()}, spent

def _open(state):
    network = make_network()
    network.load_state_dict(state)
    _held["network"] = network.eval()

def _evaluate(x, t, labels):
    with torch.no_grad():
        return _held["network"](x, t) if labels is None else _held["network"](x, t, labels=labels)

def _sample(noise, labels, evaluations):
    def network(x, t, labels=None):
        return _network(x, t, labels)
    with torch.no_grad():
        return sample(network, noise, labels, evaluations)

# A fault is told with the line of the piece that made it.
_shapes.__wrapped__ = _open.__wrapped__ = make_network
_train.__wrapped__, _sample.__wrapped__ = train, sample
"""
"""What the trusted side calls. An entry may overwrite these, and then only its own answers are wrong."""


def course_code(threads: int) -> str:
    """A cell that makes the shared modules importable under their usual names."""
    sources = {"diffusion_lab": ("", True)}
    for name in SHARED:
        home = PACKAGE / name
        for path in sorted(home.rglob("*.py")) if home.is_dir() else [home.with_suffix(".py")]:
            parts = ["diffusion_lab", *path.relative_to(PACKAGE).with_suffix("").parts]
            is_package = parts[-1] == "__init__"
            module = ".".join(parts[:-1] if is_package else parts)
            sources[module] = (path.read_text(encoding="utf-8"), is_package)
    return f"SOURCES = {sources!r}\nTHREADS = {threads}\n{IMPORTER}"


def pieces_code(rules: Rules) -> list[str]:
    """Cells with the course's own pieces."""
    return [(Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8") for name in rules.pieces]
