"""Every small change to a module that its tests should notice.

Owns: the kinds of change, and a module's source with one of them. Must not know: which module, how tests are run.
"""

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

Change = Callable[[Any], ast.AST]

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change; `line` is the source line that was changed, `change` what it became."""

    number: int
    line: str
    change: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """All of them, in the order of the source. Strings, annotations and docstrings are left alone."""
    lines = source.splitlines()
    count = len(list(_places(ast.parse(source))))
    number = 0
    for index in range(count):
        for change in _changes(_nth(ast.parse(source), index)):
            tree = ast.parse(source)
            node = _nth(tree, index)
            before = ast.unparse(node)
            after = change(node)
            _replace(tree, node, after)
            ast.fix_missing_locations(tree)
            number += 1
            line = lines[getattr(node, "lineno", 1) - 1].strip()
            yield Mutant(number, line, f"{before} → {ast.unparse(after)}", tree)


def _places(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that may be changed, in a fixed order."""
    skipped = {id(part) for node in ast.walk(tree) for part in _unchanged(node)}
    for node in ast.walk(tree):
        if id(node) not in skipped and any(True for _ in _changes(node)):
            yield node


def _nth(tree: ast.Module, index: int) -> ast.AST:
    return list(_places(tree))[index]


def _unchanged(node: ast.AST) -> Iterator[ast.AST]:
    """What lies below annotations and decorators: it changes nothing that runs."""
    parts: list[ast.AST | None] = []
    if isinstance(node, ast.AnnAssign | ast.arg):
        parts.append(node.annotation)
    if isinstance(node, ast.FunctionDef):
        parts += [node.returns, *node.decorator_list]
    if isinstance(node, ast.ClassDef):
        parts += [*node.decorator_list, *node.bases]
    for part in parts:
        if part is not None:
            yield from ast.walk(part)


def _changes(node: ast.AST) -> Iterator[Change]:
    find = _KINDS.get(type(node))
    return iter(()) if find is None else find(node)


def _of_comparison(node: Any) -> Iterator[Change]:
    for place, op in enumerate(node.ops):
        for other in _COMPARED.get(type(op), ()):
            yield _compared(place, other)


def _of_arithmetic(node: Any) -> Iterator[Change]:
    if type(node.op) in _COMPUTED:
        yield _with(op=_COMPUTED[type(node.op)]())


def _of_logic(node: Any) -> Iterator[Change]:
    yield _with(op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def _of_sign(node: Any) -> Iterator[Change]:
    if isinstance(node.op, ast.Not | ast.USub):
        yield lambda it: it.operand


def _of_constant(node: Any) -> Iterator[Change]:
    if isinstance(node.value, bool):
        yield lambda it: ast.Constant(not it.value)
    elif isinstance(node.value, int | float):
        yield lambda it: ast.Constant(it.value + 1)
        yield lambda it: ast.Constant(it.value * 2 if it.value else -1)


def _of_call(node: Any) -> Iterator[Change]:
    if isinstance(node.func, ast.Name) and node.func.id in _SWAPPED:
        yield _with(func=ast.Name(_SWAPPED[node.func.id], ast.Load()))


def _of_choice(_node: Any) -> Iterator[Change]:
    yield _with(test=ast.Constant(True))
    yield _with(test=ast.Constant(False))


_KINDS: dict[type[ast.AST], Callable[[Any], Iterator[Change]]] = {
    ast.Compare: _of_comparison,
    ast.BinOp: _of_arithmetic,
    ast.AugAssign: _of_arithmetic,
    ast.BoolOp: _of_logic,
    ast.UnaryOp: _of_sign,
    ast.Constant: _of_constant,
    ast.Call: _of_call,
    ast.If: _of_choice,
    ast.IfExp: _of_choice,
}


def _compared(place: int, other: type[ast.cmpop]) -> Change:
    def change(node: Any) -> ast.AST:
        changed = copy.deepcopy(node)
        changed.ops[place] = other()
        return cast("ast.AST", changed)

    return change


def _with(**fields: ast.AST) -> Change:
    def change(node: Any) -> ast.AST:
        changed = copy.deepcopy(node)
        for name, value in fields.items():
            setattr(changed, name, value)
        return cast("ast.AST", changed)

    return change


def _replace(tree: ast.Module, node: ast.AST, other: ast.AST) -> None:
    """Put `other` where `node` is."""
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is node:
                setattr(parent, name, other)
            elif isinstance(value, list):
                value[:] = [other if each is node else each for each in value]
