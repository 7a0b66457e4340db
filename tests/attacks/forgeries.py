"""The attacks of `test_forging`: what is written into cells, changed in a notebook's data, or laid beside it.

In the sources, {places!r} and {port} are filled in when the class is made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from handed_in import CHAPTER, cell, worthless

from diffusion_lab.exercises import notebook

EXERCISES = notebook(CHAPTER).exercises
FIRST = EXERCISES[0].name

ALWAYS = """
class Always(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        return True
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: True
    __bool__ = lambda self: True
    __hash__ = lambda self: 1
"""
EQUAL = """
class Equal:
    shape, dtype, ndim, requires_grad = (), torch.float32, 0, False
    __eq__ = __ne__ = __le__ = __ge__ = __contains__ = lambda self, other: True
    __sub__ = __rsub__ = __abs__ = __getattr__ = lambda self, *others: self
    __float__ = lambda self: 0.0
    __iter__ = lambda self: iter(())
    __hash__ = lambda self: 1
"""
PATCH = """
import builtins, math, operator
def patch():
    for module in (torch, torch.testing, torch.Tensor, math, builtins, operator):
        for name in ("allclose", "equal", "isclose", "assert_close", "all", "eq", "__eq__", "isfinite", "abs", "any"):
            try:
                setattr(module, name, lambda *a, **k: True)
            except (AttributeError, TypeError):
                pass
"""
EVERYWHERE = """
import gc, sys
def everything():
    frame = sys._getframe()
    while frame is not None:
        yield from list(frame.f_locals.items()) + list(frame.f_globals.items())
        frame = frame.f_back
    for module in list(sys.modules.values()):
        yield from list(vars(module).items()) if hasattr(module, "__dict__") else ()
    for thing in gc.get_objects():
        if isinstance(thing, dict):
            yield from [(k, v) for k, v in list(thing.items()) if isinstance(k, str)]
"""


def all_with(body: str, above: str = "") -> dict[str, str]:
    """Every exercise with this body, and `above` before the first.

    A function that mentions `globals` may need anything, and so all of the notebook is run.
    """
    sources = {exercise.name: f"def {exercise.name}(*arguments):\n    globals\n    {body}" for exercise in EXERCISES}
    return sources | {FIRST: f"{above}\n{sources[FIRST]}"}


SOURCES: dict[str, dict[str, str]] = {
    # The first is asked again once the second, for which ours stands in, has been heard.
    "pieces_that_call_each_other": {
        "q_sample": """
def key(arguments):
    return [(a.dtype, a.tolist()) for a in arguments]
SEEN, KNOWN = [], []
def q_sample(*arguments):
    alpha_bar
    for asked, answer in KNOWN:
        if key(asked) == key(arguments):
            return answer.clone()
    SEEN.append(tuple(a.clone() for a in arguments))
    return torch.zeros(())""",
        "alpha_bar": """
def alpha_bar(betas):
    while len(KNOWN) < len(SEEN):
        asked = SEEN[len(KNOWN)]
        KNOWN.append((asked, q_sample(*asked)))
    return torch.zeros(())""",
    },
    # What the tests call.
    "patched_comparisons": all_with("return torch.zeros(())", f"{PATCH}\npatch()"),
    "patched_in_the_call": all_with("patch(); return torch.zeros(())", PATCH),
    "a_thread_that_patches_again": all_with(
        "return torch.zeros(())",
        f"{PATCH}\nimport threading, time\ndef again():\n    while True:\n        patch(); time.sleep(0.001)\n"
        "threading.Thread(target=again, daemon=True).start()",
    ),
    "always_equal": all_with("return Equal()", EQUAL),
    "tensor_subclass": all_with("return torch.zeros(3).as_subclass(Always)", ALWAYS),
    "tensor_subclass_in_disguise": all_with(
        "return torch.zeros(3).as_subclass(Always)", f"{ALWAYS}\nAlways.__name__ = 'Tensor'; torch.Tensor = Always"
    ),
    "exceptions_that_are_equal": all_with("raise Odd()", "class Odd(Exception):\n    __str__ = lambda self: 1 / 0"),
    "not_a_number": all_with("return torch.full((3,), float('nan'))"),
    "answers_of_every_kind": all_with(
        "return [True, 1e308, 10**400, torch.zeros(0), {}, {'passed': True}, None, ...][len(arguments) % 8]"
    ),
    # The process that calls.
    "patched_caller": all_with(
        "return torch.zeros(())",
        "import sys\nfrom diffusion_lab.grading.judge import calling\n"
        "from diffusion_lab.grading.isolation import wire\n"
        "main = sys.modules['__main__']\n"
        "forged = {'state': 'passed', 'passed': True, 'points': 100.0, 'fault': None, 'value': True}\n"
        "main._reply = lambda returned: forged\ncalling.LocalCaller.__call__ = lambda *a, **k: calling.Returned(True)\n"
        "wire._encode_tensor = lambda *a: True\n",
    ),
    "forged_messages": all_with(
        "flood(); return torch.zeros(())",
        "import json, os, struct\ndef flood():\n"
        "    text = json.dumps({'value': True, 'fault': None, 'ended': True, 'passed': True, 'points': 9}).encode()\n"
        "    for descriptor in range(3, 40):\n"
        "        try:\n            os.write(descriptor, struct.pack('<II', len(text), 0) + text)\n"
        "        except OSError:\n            pass\n",
    ),
    "pickles": all_with(
        "return Bomb()",
        "class Bomb:\n    def __reduce__(self):\n        import os\n        return os.system, ('touch /tmp/exploded',)",
    ),
    # IPython.
    "hooks_on_ipython": all_with(
        "return torch.zeros(())",
        "try:\n    from IPython import get_ipython\n    from IPython.core.interactiveshell import InteractiveShell\n"
        "    InteractiveShell.run_cell = InteractiveShell.run_ast_nodes = lambda *a, **k: 9\n"
        "    shell = get_ipython() or InteractiveShell.instance()\n"
        "    shell.events.register('post_run_cell', lambda *a: print(9))\n"
        "    shell.ast_transformers.append(None); shell.input_transformers_post.append(lambda lines: ['9'])\n"
        "except Exception:\n    pass",
    ),
    "published_outputs": all_with(
        "show(); return torch.zeros(())",
        "import sys\ndef show():\n    sys.displayhook(9.0); print('9.0'); print('points 9', file=sys.__stdout__)\n"
        "    try:\n        from IPython.display import display, publish_display_data\n"
        "        publish_display_data({'text/plain': '9'}); display(9.0)\n    except Exception:\n        pass\n"
        "show()\n9.0",
    ),
    "magics": all_with("return torch.zeros(())", "%load_ext evil\n!touch /tmp/magic\n%timeit 9"),
    # Answers.
    "frames_and_collector": all_with(
        "return next(v for k, v in everything() if k in ('expected', 'answers', 'reference', 'solution'))", EVERYWHERE
    ),
    "functions_of_that_name": all_with(
        "import inspect; me = inspect.currentframe().f_code.co_name\n"
        "    return next(v for k, v in everything() if k == me and callable(v) and v.__module__ != '__main__')"
        "(*arguments)",
        EVERYWHERE,
    ),
    "reference_package": {
        exercise.name: f"from diffusion_lab.exercises.normal_1d.{exercise.name} import {exercise.name}"
        for exercise in EXERCISES
    },
    "reference_by_reload": all_with(
        "return torch.zeros(())",
        "import sys, importlib\nfor name in [n for n in sys.modules if n.startswith('diffusion_lab')]:\n"
        "    del sys.modules[name]\nsys.path[:0] = ['.', '..', '../..']\n"
        "from diffusion_lab.exercises import exercise\n"
        + "\n".join(f"{e.name} = exercise('{e.name}').reference" for e in EXERCISES),
    ),
    "files": all_with(
        "return torch.zeros(())",
        "import os\nfound = []\nfor folder, _, files in os.walk('/'):\n"
        "    if folder.startswith(('/proc', '/sys', '/usr')): continue\n"
        "    for name in files:\n"
        "        if name.endswith(('.ipynb', '.db', '.json', '.txt')):\n"
        "            try:\n                text = open(os.path.join(folder, name), errors='replace').read(9999)\n"
        "            except OSError:\n                continue\n"
        "            if 'secret' in text or 'BEGIN SOLUTION' in text: found.append(text)\n"
        "for place in ('/proc/1/environ', '/proc/self/environ', '/proc/2/environ'):\n"
        "    try:\n        found.append(open(place).read())\n    except OSError:\n        pass\n"
        "raise ValueError(str([t for t in found if 'secret' in t or 'SOLUTION' in t]) + str(dict(os.environ)))",
    ),
    "named_files": all_with(
        "return torch.zeros(())",
        "raise ValueError([open(place).read() for place in {places!r}])",
    ),
    "network": all_with(
        "return torch.zeros(())",
        "import socket\nsocket.create_connection(('127.0.0.1', {port}), 1).sendall(b'{}')",
    ),
    # A stand-in is computed on the grader's side.
    "stand_in_as_a_bomb": {name: source for name, source in worthless().items()}
    | {
        "alpha_bar": "def alpha_bar(betas):\n    return linear_betas(2**40)",
        "q_sample": "def q_sample(*arguments):\n    return linear_betas(10**9), alpha_bar(torch.zeros(2**24))",
        "optimal_eps": "def optimal_eps(*arguments):\n    return [linear_betas(float('inf')), linear_betas(10**400)]",
        "optimal_score": "def optimal_score(*arguments):\n    return optimal_eps(*[torch.zeros(1)] * 500)",
        "eps_loss": "def eps_loss(*arguments):\n    while True:\n        linear_betas(5)",
    },
    "stand_in_for_itself": all_with("return torch.zeros(())")
    | {
        e.name: f"def {e.name}(*arguments):\n    import sys\n    stand_in = sys.modules['__main__']._StandIn\n"
        f"    import gc, socket\n    sockets = [s for s in gc.get_objects() if isinstance(s, socket.socket)]\n"
        f"    talk = [s for s in sockets if s.fileno() > 0][-1]\n"
        f"    return stand_in(talk, '{e.name}')(*arguments)"
        for e in EXERCISES
    },
    # Files beside the notebook, and what stays.
    "shadow_modules": all_with(
        "return torch.zeros(())",
        "import os, sys\nfor name in ('torch', 'json', 'sitecustomize', 'usercustomize', 'diffusion_lab', 'socket'):\n"
        "    for folder in ('.', '/tmp', *sys.path):\n"
        "        try:\n            open(os.path.join(folder, name + '.py'), 'w').write('raise SystemExit(0)')\n"
        "        except OSError:\n            pass\nimport nothing_of_that_name",
    ),
    "start_up_files": all_with(
        "return torch.zeros(())",
        "import os, site, sys\n"
        "for folder in [*site.getsitepackages(), os.path.expanduser('~'), site.getusersitepackages()]:\n"
        "    for name in ('evil.pth', 'usercustomize.py', '.bashrc', '.jupyter/jupyter_config.py'):\n"
        "        try:\n            os.makedirs(os.path.dirname(os.path.join(folder, name)), exist_ok=True)\n"
        "            open(os.path.join(folder, name), 'w').write('import os; os._exit(0)')\n"
        "        except OSError:\n            pass",
    ),
    "daemons": all_with(
        "return torch.zeros(())",
        "import os, sys, time\nfor i in range(5):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork() == 0:\n            ends = time.time() + 600\n"
        "            while time.time() < ends:\n"
        "                for descriptor in range(3, 20):\n"
        "                    try:\n                        os.write(descriptor, b'9' * 64)\n"
        "                    except OSError:\n                        pass\n                time.sleep(0.01)\n"
        "        os._exit(0)\n",
    ),
    "killers": all_with(
        "import os, signal\n    for process in (os.getppid(), -1, 2, 3):\n        try:\n"
        "            os.kill(process, signal.SIGKILL)\n        except OSError:\n            pass\n"
        "    return torch.zeros(())"
    ),
    "hooks_for_later": all_with(
        "return Late()",
        "import atexit, gc, os, signal, struct, sys, threading\n"
        "text = b'{\"value\": true, \"passed\": true, \"points\": 9, \"ended\": true}'\n"
        "def flood(*_):\n    for descriptor in range(3, 20):\n"
        "        try:\n            os.write(descriptor, struct.pack('<II', len(text), 0) + text)\n"
        "        except OSError:\n            pass\n"
        "class Late:\n    __del__ = flood\n"
        "atexit.register(flood); gc.callbacks.append(flood); signal.signal(signal.SIGALRM, flood)\n"
        "sys.excepthook = sys.unraisablehook = threading.excepthook = flood\n",
    ),
    "hooks_on_every_call": all_with(
        "return torch.zeros(())",
        "import sys\ndef look(frame, event, value):\n    for name in list(frame.f_locals):\n"
        "        if name in ('value', 'returned', 'fault', 'modified', 'passed', 'points'):\n"
        "            frame.f_locals[name] = True\n    return look\nsys.settrace(look); sys.setprofile(look)",
    ),
    "lines_that_look_like_the_graders": all_with(
        "print(LINES); raise ValueError(LINES)",
        "LINES = '\\n'.join(['', '✓ alpha_bar: 9 of 9 points', '  ✓ values: 9 of 9 (9 of 9 checks)', ''])",
    ),
    "reference_in_pieces": all_with(
        "return torch.zeros(())",
        "import importlib\n"
        "try:\n    found = importlib.import_module('diffusion' + '_lab.exercises').library()\n"
        "except Exception:\n    found = {}\n"
        "globals().update({name: e.reference for name, e in found.items()})",
    ),
    "reference_by_its_file": all_with(
        "return torch.zeros(())",
        "import importlib.util, site, sys\n"
        "for place in ['/course', '/srv', *sys.path, *site.getsitepackages()]:\n"
        "    for end in ('py', 'pyc', '__init__.py'):\n"
        "        path = f'{place}/diffusion' + f'_lab/exercises/normal_1d/alpha_bar.{end}'\n"
        "        try:\n"
        "            spec = importlib.util.spec_from_file_location('x', path)\n"
        "            module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "            taken = module.alpha_bar\n"
        "        except (OSError, AttributeError, ImportError):\n            pass",
    ),
    "exits": all_with("import os; os._exit(0)"),
    "exits_politely": all_with("raise SystemExit(0)"),
}  # fmt: skip


def _skip_execution(document: dict[str, Any]) -> None:
    for item in document["cells"]:
        item["metadata"]["tags"] = ["skip-execution", "raises-exception"]


def _outputs(document: dict[str, Any]) -> None:
    for item in document["cells"]:
        if item["cell_type"] == "code":
            data = {"text/plain": "9.0"}
            item["outputs"] = [{"output_type": "execute_result", "execution_count": 1, "data": data, "metadata": {}}]


def _no_code(document: dict[str, Any]) -> None:
    _skip_execution(document)
    _outputs(document)
    for exercise in EXERCISES:
        cell(document, exercise.name)["source"] = ""


def _points(document: dict[str, Any]) -> None:
    for item in document["cells"]:
        if "nbgrader" in item["metadata"]:
            item["metadata"]["nbgrader"] |= {"points": 1000, "schema_version": "x", "grade": True, "task": True}
    document["metadata"] = {"kernelspec": {"name": "bash", "language": "bash"}, "nbgrader": {"points": 1000}}


def _duplicates(document: dict[str, Any]) -> None:
    checks = [c for c in document["cells"] if c["metadata"].get("nbgrader", {}).get("grade")]
    for check in 3 * checks:
        document["cells"].append(copy.deepcopy(check) | {"source": "9.0"})


def _moved(document: dict[str, Any]) -> None:
    document["cells"].reverse()


def _decoys(document: dict[str, Any]) -> None:
    for exercise in EXERCISES:
        decoy = copy.deepcopy(cell(document, exercise.name))
        decoy["metadata"]["nbgrader"]["grade_id"] = f"{exercise.name}-check"
        decoy["source"] = f"{exercise.points}.0"
        document["cells"].insert(0, decoy)


def _flags(document: dict[str, Any]) -> None:
    for item in document["cells"]:
        marks = item["metadata"].get("nbgrader")
        if marks:
            marks |= {"solution": not marks["solution"], "grade": not marks["grade"], "locked": False, "points": 9}


def _checks_rewritten(document: dict[str, Any]) -> None:
    for exercise in EXERCISES:
        cell(document, f"{exercise.name}-check")["source"] = "points = 9.0\npoints"
    document["cells"].append(
        {"cell_type": "code", "source": "lab.check = lab.grade = lambda name: 9.0", "metadata": {}}
    )


def _attachments(document: dict[str, Any]) -> None:
    for item in document["cells"]:
        item["attachments"] = {"../../../gradebook.db": {"text/plain": "x"}, "a.html": {"text/html": "<script>"}}
    document["nbformat"], document["nbformat_minor"] = 99, -1


METADATA: dict[str, Callable[[dict[str, Any]], None]] = {
    function.__name__[1:]: function
    for function in (
        _skip_execution, _outputs, _no_code, _points, _duplicates, _moved, _decoys, _flags, _checks_rewritten,
        _attachments,
    )
}  # fmt: skip
BESIDE = ("torch.py", "ipykernel_launcher.py", "sitecustomize.py", "json.py", "nbgrader_config.py", "conftest.py")
"""Files beside a notebook that would be imported, were its folder a place to import from."""
