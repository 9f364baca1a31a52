"""The page of docs/reference about Python: the names of the package as their source says them.

Signatures are those of the source text, not of `inspect`, which tells them otherwise from one
Python to the next. A docstring that says "for the runtime" keeps its name out of the page.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from tests.kit.house import ROOT

PACKAGE: Final = ROOT / "service/perdure"
GROUPS: Final = {
    "Declare a service": "TaskService ServiceBuilder TaskBuilder TaskKind RetryPolicy Exponential"
    " Linear Delays UNLIMITED Timeouts StateMachine Lifespan Reachable DiskFree TimeWindow Options",
    "Schedules": "Every Cron Once ScheduleOptions",
    "Clients": "TaskClient TaskHandle SyncTaskClient SyncTaskHandle NewTask Edge EnqueueOptions"
    " CopyOptions UpdateOptions SignalOptions SearchOptions TaskSearch SyncTaskSearch",
    "What clients answer": "Answer TaskView TaskSummary Page HistoryEntry BulkCancelled QueueState"
    " ConstraintState WorkerState ScheduleState ScheduleView FireView Occurrence",
    "What handlers get": "TaskContext SyncTaskContext Stop SyncStop Step SyncStep Enqueued Inputs"
    " Input",
    "What handlers return": "Success Failure Retry Suspended Cancelled Outcome Next End",
    "Tests without a database": "run arun Facts Rehearsal NoDatabase",
    "Words in signatures": "AnyHandler AsyncHandler SyncHandler Returned Task CallersConnection"
    " Identified ErrorClasses Backoff Trigger Upgrade Probe Listener LifespanFactory"
    " SingletonFactory Spanned UniqueKeyOf UniquePolicy WhenFull PutPolicy CatchUp Overlap"
    " NameKind",
}
"""The names of the page, in order. Errors have a page of their own."""
HOMES: Final = {
    "client.requests": "CopyOptions SearchOptions SignalOptions Task UniqueKeyOf UpdateOptions",
    "client.search": "SyncTaskSearch TaskSearch",
    "declare.builder": "ServiceBuilder",
    "declare.constraints": "Probe",
    "declare.definition": "WhenFull",
    "declare.kind": "CallersConnection Enqueued EnqueueOptions Identified",
    "declare.lifespans": "LifespanFactory Spanned",
    "declare.listeners": "Listener",
    "declare.new_schedule": "PutPolicy ScheduleOptions",
    "declare.singletons": "SingletonFactory",
    "declare.steps": "Step SyncStep",
    "declare.stop": "Stop SyncStop",
    "declare.task_builder": "AnyHandler AsyncHandler ErrorClasses Returned SyncHandler TaskBuilder",
    "run.options": "Options",
    "store.operations": "NameKind",
    "store.search": "Page",
    "tasks.checkpoints": "Upgrade",
    "tasks.policies": "Backoff UniquePolicy",
    "tasks.schedules": "CatchUp Overlap",
    "tasks.triggers": "Trigger",
    "testing": "Facts NoDatabase Rehearsal arun run",
}
"""Where the names are that `perdure` does not give."""
GIVEN: Final = (
    "TaskService ServiceBuilder TaskBuilder Lifespan TaskHandle TaskSearch TaskContext Stop Step"
    " Inputs"
)
"""Classes that programs are given, and do not make."""
TWINS: Final = re.compile(r"Sync(TaskClient|TaskHandle|TaskSearch|TaskContext|Stop|Step)")
"""Classes of synchronous programs, and of which of the others they have the members."""
WIDTH: Final = 100
"""That of the formatter, which reads the page, too."""
NOT_FOR_USERS: Final = re.compile(r"(?i)\bfor the runtime\b")
Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


def homes() -> dict[str, str]:
    """The module of each name of the page, and of all that `perdure` gives."""
    given = re.findall(
        r"(?m)^from (\S+) import (\w+) as ", (PACKAGE / "__init__.pyi").read_text("utf-8")
    )
    return {name: home for home, name in given} | {
        name: f"perdure.{home}" for home, names in HOMES.items() for name in names.split()
    }


def names() -> list[str]:
    """Those that have a heading on the page."""
    return [name for group in GROUPS.values() for name in group.split()]


@cache
def source(module: str) -> ast.Module:
    """A module of the package, parsed."""
    file = inspect.getsourcefile(importlib.import_module(module))
    assert file is not None
    return ast.parse(Path(file).read_text("utf-8"))


def statements(body: Sequence[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """The statements of a module, with the text that stands below each; also under an `if`."""
    for position, one in enumerate(body):
        match body[position + 1 : position + 2]:
            case [ast.Expr(ast.Constant(str(below)))]:
                yield one, below
            case _:
                yield one, ""
        if isinstance(one, ast.If):
            yield from statements(one.body)


def found(module: str, name: str) -> tuple[ast.stmt, str]:
    """The statement that gives a name its meaning, and the text below it."""
    for one, below in statements(source(module).body):
        match one:
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() if one.name == name:
                return one, below
            case ast.AnnAssign(ast.Name(target)) | ast.Assign([ast.Name(target)]) if target == name:
                return one, below
    raise LookupError(f"{module} has no {name}")


def said(node: ast.expr) -> str:
    """An expression, on one line; what is private to its module is an ellipsis."""
    text = ast.unparse(node)
    text = "..." if isinstance(node, ast.Name) and node.id.startswith("_") else text
    return text if '"' in text else text.replace("'", '"')


def parameters(function: Function) -> Iterator[str]:
    """Each parameter of a function as it is written, with the bare `/` and `*`."""
    given = function.args
    plain = [*given.posonlyargs, *given.args]
    defaults = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    for position, (one, default) in enumerate(zip(plain, defaults, strict=True), 1):
        yield parameter(one, default)
        if position == len(given.posonlyargs):
            yield "/"
    if given.vararg is not None:
        yield f"*{parameter(given.vararg, None)}"
    elif given.kwonlyargs:
        yield "*"
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield parameter(one, default)
    if given.kwarg is not None:
        yield f"**{parameter(given.kwarg, None)}"


def parameter(one: ast.arg, default: ast.expr | None) -> str:
    """A parameter as it is written."""
    hint = "" if one.annotation is None else f": {said(one.annotation)}"
    if default is None:
        return f"{one.arg}{hint}"
    return f"{one.arg}{hint}{' = ' if hint else '='}{said(default)}"


def signature(function: Function, indent: str = "", *, bound: bool = False) -> Iterator[str]:
    """The lines of a stub of a function; a bound one is shown as it is called, without self."""
    given = [*parameters(function)]
    shown = {"classmethod", "staticmethod", "asynccontextmanager", "contextmanager"}
    for decorator in map(said, function.decorator_list):
        if decorator in shown:
            yield f"{indent}@{decorator}"
    is_static = any(said(one) == "staticmethod" for one in function.decorator_list)
    if bound and not is_static:
        given = given[1:] if given[1:2] != ["/"] else given[2:]
    kind = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    returns = "" if function.returns is None else f" -> {said(function.returns)}"
    head, tail = f"{indent}{kind} {function.name}(", f"){returns}: ..."
    line = f"{head}{', '.join(given)}{tail}"
    if len(line) <= WIDTH:
        yield line
    else:
        yield from (head, *(f"{indent}    {one}," for one in given), f"{indent}{tail}")


def markdown(doc: str | None) -> Iterator[str]:
    """A docstring, its `Args` and `Raises` as lists."""
    listed = False
    for line in inspect.cleandoc(doc or "").splitlines():
        if line in ("Args:", "Raises:"):
            listed = True
            yield from (line, "")
        elif listed and (item := re.match(r" {4}(\w[\w, ]*?): (.*)", line)):
            words = ", ".join(f"`{word}`" for word in item[1].split(", "))
            yield f"- {words}: {item[2]}"
        elif listed and line.startswith("    "):
            yield line.removeprefix("    ")
        else:
            listed = listed and not line
            yield line.strip()
    yield ""


def classes(thing: type) -> Iterator[ast.ClassDef]:
    """The class and what it is made of in the package, but for bases that the page has."""
    for one in thing.__mro__:
        on_page = one is not thing and one.__name__ in names()
        if one.__module__.startswith("perdure.") and not on_page:
            node = found(one.__module__, one.__name__)[0]
            assert isinstance(node, ast.ClassDef)
            yield node


def members(thing: type) -> dict[str, list[Function]]:
    """Its public methods and properties, each with all its overloads, as they come."""
    every: dict[str, list[Function]] = {}
    for owner in classes(thing):
        own: dict[str, list[Function]] = {}
        for one in owner.body:
            if isinstance(one, Function) and not one.name.startswith("_"):
                own.setdefault(one.name, []).append(one)
        every = every | {name: nodes for name, nodes in own.items() if name not in every}
    return {name: nodes for name, nodes in every.items() if is_for_users(nodes)}


def is_for_users(nodes: Sequence[Function]) -> bool:
    """Whether what it is for concerns those who use the package."""
    return not any(NOT_FOR_USERS.search(ast.get_docstring(one) or "") for one in nodes)


def is_property(nodes: Sequence[Function]) -> bool:
    """Whether it is read, not called."""
    return any(said(each).endswith("property") for each in nodes[0].decorator_list)


def headline(node: ast.ClassDef) -> str:
    """How the class begins; a base that the page does not have is what it is generic in."""
    bases = []
    for base in node.bases:
        name = base.value if isinstance(base, ast.Subscript) else base
        if ast.unparse(name) in names() or ast.unparse(name) not in all_types():
            bases.append(said(base))
        elif isinstance(base, ast.Subscript):
            bases.append(f"Generic[{said(base.slice).strip('()')}]")
    bases += [f"{keyword.arg}={said(keyword.value)}" for keyword in node.keywords]
    return f"class {node.name}{'(' if bases else ''}{', '.join(bases)}{')' if bases else ''}:"


@cache
def all_types() -> frozenset[str]:
    """The names of all classes and aliases of the package."""
    return frozenset(
        name
        for file in PACKAGE.rglob("*.py")
        for pattern in (r"(?m)^class (\w+)", r"(?m)^ *(\w+): TypeAlias")
        for name in re.findall(pattern, file.read_text("utf-8"))
    )


def class_block(node: ast.ClassDef) -> Iterator[str]:
    """The class with its fields, and how one is made."""
    yield from (f"@{said(one)}" for one in node.decorator_list)
    inside: list[str] = []
    for one in node.body:
        match one:
            case ast.AnnAssign(ast.Name(name), hint, value) if name == "_" or name[0] != "_":
                default = "" if value is None else f" = {said(value)}"
                inside.append(f"    {name}: {said(hint)}{default}")
            case ast.Assign([ast.Name(name)], value) if not name.startswith("_"):
                inside.append(f"    {name} = {said(value)}")
    inits = [one for one in node.body if isinstance(one, Function) and one.name == "__init__"]
    overloads = [one for one in inits if one.decorator_list] or inits
    if model_of(node.name) not in GIVEN.split():
        inside += [""] * bool(inside and overloads)
        inside += [line for one in overloads for line in signature(one, "    ")]
    yield headline(node) + ("" if inside else " ...")
    yield from inside


def block(lines: Iterator[str]) -> Iterator[str]:
    """Lines of Python."""
    yield from ("```python", *lines, "```", "")


def method(owner: str, nodes: Sequence[Function]) -> Iterator[str]:
    """A method: its heading, its signatures, what it does."""
    name = nodes[0].name
    yield from (f"#### {owner}.{name}" if owner else f"### {name}", "")
    shown = [one for one in nodes if any(said(d) == "overload" for d in one.decorator_list)]
    lines = [line for one in shown or nodes for line in signature(one, bound=bool(owner))]
    yield from block(iter(lines))
    yield from markdown(ast.get_docstring(nodes[-1]))
    keys = re.findall(r"\*\*(\w+): Unpack\[(\w+)", "\n".join(lines))
    for word, keys_of in dict.fromkeys(keys):
        yield from (f"`{word}` are those of [{keys_of}](#{keys_of.lower()}).", "")


def properties(every: dict[str, list[Function]]) -> Iterator[str]:
    """The properties as a list."""
    read = [nodes[0] for nodes in every.values() if is_property(nodes)]
    yield from ["Properties:", ""] * bool(read)
    for one in read:
        text = re.sub(r"\s+", " ", ast.get_docstring(one) or "")
        hint = "" if one.returns is None else said(one.returns)
        yield f"- `{one.name}: {hint}` - {text.replace(' Raises: ', ' Raises ')}"
    yield from [""] * bool(read)


def a_class(thing: type, node: ast.ClassDef) -> Iterator[str]:
    """A class: what it is, its fields, its methods; of a twin, what its model has not."""
    yield from block(class_block(node))
    yield from markdown(ast.get_docstring(node))
    every = members(thing)
    if (model := model_of(node.name)) != node.name:
        others = members(getattr(importlib.import_module(homes()[model]), model))
        assert others.keys() == every.keys(), f"{model} and its twin have other members"
        yield from (f"Its members are those of [{model}](#{model.lower()}), without `await`.", "")
        every = {k: v for k, v in every.items() if accepted(v) != accepted(others[k])}
    yield from properties(every)
    for nodes in every.values():
        if not is_property(nodes):
            yield from method(node.name, nodes)


def model_of(name: str) -> str:
    """The class whose twin this one is, or itself."""
    twin = TWINS.fullmatch(name)
    return name if twin is None else twin[1]


def accepted(nodes: Sequence[Function]) -> list[str]:
    """The names of what a method takes."""
    return [one.arg for one in ast.walk(nodes[-1].args) if isinstance(one, ast.arg)]


def entry(name: str) -> Iterator[str]:
    """One name: its heading, where it is from unless from `perdure`, what it is."""
    home = homes()[name]
    node, below = found(home, name)
    if isinstance(node, Function):
        yield from method("", [node])
        return
    yield from (f"### {name}", "")
    if name in " ".join(HOMES.values()).split() and home != "perdure.testing":
        yield from (f"In `{home}`.", "")
    if isinstance(node, ast.ClassDef):
        yield from a_class(getattr(importlib.import_module(home), name), node)
        return
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    assert node.value is not None
    yield from block(meaning(name, said(node.value)))
    yield from markdown(below)


def meaning(name: str, value: str) -> Iterator[str]:
    """What a name stands for; a long union in lines."""
    if len(f"{name} = {value}") <= WIDTH:
        yield f"{name} = {value}"
    else:
        fits = len(value) <= WIDTH - 4
        lines = [value] if fits else value.replace(" | ", "\n| ").splitlines()
        yield from (f"{name} = (", *(f"    {line}" for line in lines), ")")


def python() -> Iterator[str]:
    """Every public name, what it takes and what it gives.

    Names are imported from `perdure`, those of the tests from `perdure.testing`. Of what says that
    it is elsewhere a program is given values, and needs the name for annotations at most. What is
    raised is told with each call, and in [errors](errors.md).
    """
    for title, group in GROUPS.items():
        links = (f"[{name}](#{name.lower()})" for name in group.split())
        yield f"- [{title}](#{title.lower().replace(' ', '-')}): {' · '.join(links)}"
    yield ""
    for title, group in GROUPS.items():
        yield from (f"## {title}", "")
        for name in group.split():
            yield from entry(name)


def unexplained(page: str) -> set[str]:
    """What the signatures of the page name, is of the package, and has no heading."""
    said_there = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    words = set(re.findall(r"\b_?[A-Z]\w+", " ".join(said_there)))
    return (words & all_types()) - set(names())
