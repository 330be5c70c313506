"""Rules that every source keeps, read from syntax trees and by codespell."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEARNER = sorted((ROOT / "metarl").rglob("*.py"))
FAMILIES = sorted((ROOT / "envs" / "metarl_envs").rglob("*.py"))

# Imported by functions alone, when Stable-Baselines3 is asked for.
SB3 = ROOT / "metarl" / "sb3"
# Stable-Baselines3 draws from the global generators, so their states belong to its checkpoints.
ASKS_FOR_GENERATORS = "envs/metarl_envs/check/leftovers.py"
"""Recognises generators in other people's environments, and draws from none."""
KEEPS_GLOBAL_STATES = {"metarl/sb3/state.py"}

SPEAKING = [
    path
    for folder in ("metarl", "envs", "experiments", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

WITHOUT_SB3 = [path for path in LEARNER if SB3 not in path.parents]

UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}

# What makes a generator of its own; everything else in numpy.random uses the global one.
OWN_GENERATORS = {
    "BitGenerator", "Generator", "MT19937", "PCG64", "PCG64DXSM", "Philox", "RandomState", "SFC64",
    "SeedSequence", "default_rng",
}  # fmt: skip
GLOBAL_SEEDS = {
    "torch.manual_seed", "torch.seed", "torch.set_rng_state", "torch.random.manual_seed",
    "torch.cuda.manual_seed", "torch.cuda.manual_seed_all", "torch.default_generator",
}  # fmt: skip
TORCH_SAMPLERS = {
    "torch.bernoulli", "torch.multinomial", "torch.normal", "torch.rand", "torch.randint",
    "torch.randn", "torch.randperm",
}  # fmt: skip
TENSOR_SAMPLERS = {"bernoulli_", "exponential_", "normal_", "random_", "uniform_"}


def runs_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def imports(tree: ast.AST, *, module_level: bool = False) -> Iterator[tuple[int, str]]:
    """(line, full name) of everything imported absolutely, or only what runs at import time."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif not (module_level and runs_later(node)):
            yield from imports(node, module_level=module_level)


def imported(tree: ast.AST, packages: set[str], *, module_level: bool = False) -> list[str]:
    found = imports(tree, module_level=module_level)
    return [f"{line}: {name}" for line, name in found if name.split(".")[0] in packages]


def names(tree: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Every dotted name with its import alias resolved: np.random.seed -> numpy.random.seed."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            aliases |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}

    def resolve(node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (owner := resolve(node.value)):
            return f"{owner}.{node.attr}"
        return None

    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (name := resolve(node)):
            yield node, name.removeprefix("builtins.")


def unsafe(tree: ast.AST) -> list[str]:
    """Uses of anything that could run code found in a file or a string."""
    return imported(tree, UNSAFE_MODULES) + [
        f"{node.lineno}: {name}" for node, name in names(tree) if name in UNSAFE_CALLS
    ]


def global_randomness(tree: ast.AST) -> list[str]:
    """Draws from, and seeds of, a generator that no checkpoint holds."""
    found = imported(tree, {"random"})
    resolved = {id(node): name for node, name in names(tree)}
    for node, name in names(tree):
        is_numpy = name.startswith("numpy.random.") and name.split(".")[2] not in OWN_GENERATORS
        if is_numpy or name in GLOBAL_SEEDS:
            found.append(f"{node.lineno}: {name}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or any(k.arg == "generator" for k in node.keywords):
            continue
        name = resolved.get(id(node.func), "")
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in TORCH_SAMPLERS or method in TENSOR_SAMPLERS:
            found.append(f"{node.lineno}: {name or method} without generator=")
    return found


def offences(files: list[Path], check) -> list[str]:
    assert files
    return [
        f"{path.relative_to(ROOT).as_posix()}:{offence}"
        for path in files
        for offence in check(ast.parse(path.read_text("utf-8")))
    ]


def test_no_source_can_run_code_from_data():
    assert offences(LEARNER + FAMILIES, unsafe) == []


def test_no_source_uses_a_global_generator():
    known = {ROOT / name for name in (*KEEPS_GLOBAL_STATES, ASKS_FOR_GENERATORS)}
    files = [path for path in LEARNER + FAMILIES if path not in known]
    assert offences(files, global_randomness) == []


def test_learner_imports_stable_baselines3_only_when_asked_for():
    def importing(tree: ast.AST) -> list[str]:
        found = imports(tree, module_level=True)
        ours = ("stable_baselines3.", "metarl.sb3.")
        return [f"{line}: {name}" for line, name in found if f"{name}.".startswith(ours)]

    assert WITHOUT_SB3 != LEARNER
    assert offences(WITHOUT_SB3, importing) == []


def of_a_policy(tree: ast.AST) -> list[str]:
    """Texts that are the names of a policy's entries, whole or as the head of an f-string."""
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [
        f"{node.lineno}: {node.value}"
        for node in texts
        if isinstance(node.value, str)
        and re.fullmatch(r"(weight|bias)_\w*|log_std|obs_(mean|var|count)|task\.\w+", node.value)
    ]


def test_only_policies_know_the_names_of_their_weights():
    policies = ROOT / "metarl" / "policies"
    assert offences([path for path in LEARNER if policies in path.parents], of_a_policy) != []
    assert offences([path for path in LEARNER if policies not in path.parents], of_a_policy) == []


@pytest.mark.parametrize("package", ["rollouts", "adaptation", "outer", "evaluation", "training"])
def test_the_learner_knows_environments_by_their_protocol_alone(package):
    def importing(tree: ast.AST) -> list[str]:
        found = ("metarl_envs.BatchEnv", "metarl_envs.batch_env", "metarl_envs.engines")
        return [f"{line}: {name}" for line, name in imports(tree) if name.startswith(found)]

    assert offences(sorted((ROOT / "metarl" / package).rglob("*.py")), importing) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from cloudpickle import loads",
        "import torch as t\nt.load('x')",
        "from torch import load\nload('x')",
        "from yaml import load as read\nread('x')",
        "eval('1')",
        "import builtins\nbuiltins.exec('1')",
    ],
)
def test_unsafe_code_is_recognised(source):
    assert unsafe(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    ["policy.eval()", "json.load(f)", "safetensors.torch.load(b)", "import metarl.pickled"],
)
def test_safe_code_is_let_through(source):
    assert not unsafe(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.random.seed(0)",
        "from numpy import random\nrandom.normal()",
        "from numpy.random import rand\nrand()",
        "import random",
        "import torch\ntorch.manual_seed(0)",
        "import torch\ntorch.randn(3)",
        "x.normal_()",
    ],
)
def test_global_randomness_is_recognised(source):
    assert global_randomness(ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "import numpy as np\nnp.random.default_rng(0).normal()",
        "import torch\ntorch.randn(3, generator=g)",
        "import torch\ntorch.Generator().manual_seed(0)",
        "x.normal_(generator=g)",
    ],
)
def test_own_generators_are_let_through(source):
    assert not global_randomness(ast.parse(source))


def test_lazy_and_type_only_imports_are_not_module_level():
    source = "if TYPE_CHECKING:\n    import a\ntry:\n    import b\nexcept E:\n    pass\n"
    source += "def f():\n    import c\nclass C:\n    import d"
    found = imports(ast.parse(source), module_level=True)
    assert [name for _, name in found] == ["b", "d"]


def repository_files() -> list[Path]:
    """Tracked files, and new ones that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def test_no_file_names_a_path_of_one_machine():
    of_one_machine = re.compile(rb"(?<![\w.~/-])/(?:work|root|tmp/bash_jobs)\b(?!-)")
    found = [
        f"{path.relative_to(ROOT)}: {match[0].decode()}"
        for path in repository_files()
        if b"\0" not in (content := path.read_bytes())
        for match in of_one_machine.finditer(content)
    ]
    assert found == []


def test_no_file_is_large():
    def limit(path: Path) -> int:
        return 5_000_000 if path.is_relative_to(ROOT / "videos") else 1_000_000

    assert [p for p in repository_files() if p.stat().st_size > limit(p)] == []


@pytest.mark.skipif(find_spec("codespell_lib") is None, reason="needs codespell")
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mends the robot.", "Mends ==> Fixes"),  # codespell:ignore
        ("Worlds that faulted.", "faulted ==> diverged"),  # codespell:ignore
        ("A meta-objective", "meta-objective ==> outer update"),  # codespell:ignore
        ("Of teh robot.", "teh ==> the"),  # codespell:ignore
        ("Fixes the diverged robot, as in `faulted_episodes`.", None),
    ],
)
def test_words_that_the_field_does_not_use_are_spelling_mistakes(tmp_path, text, found):
    (tmp_path / "page.md").write_text(text)
    command = [sys.executable, "-m", "codespell_lib", tmp_path / "page.md"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = [line.partition(": ")[2] for line in result.stdout.splitlines()]
    assert lines == ([found] if found else []), result.stderr
    assert (result.returncode == 0) == (found is None)


def first_words(tree: ast.AST) -> list[str]:
    """Docstrings, those of fields too, that begin with a question word."""
    asks = re.compile(r"\s*(What|How|Which|Whether|Where|Why|Who|When)\b")
    return [
        f"{node.lineno}: {node.value.value[:40]!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and asks.match(str(node.value.value))
    ]


def test_docstrings_begin_with_a_noun_or_a_verb():
    assert offences(SPEAKING, first_words) == []


def test_a_question_word_at_a_docstrings_head_is_recognised():
    source = 'class A:\n    x: int\n    """{}"""'
    assert first_words(ast.parse(source.format("Whether it ran."))) == ["3: 'Whether it ran.'"]
    assert first_words(ast.parse(source.format("True if it ran; what it does when."))) == []
