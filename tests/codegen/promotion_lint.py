"""The promotion lint: finds C whose meaning changes where `int` has 16 bits.
`(a * b) >> 15` with two int16_t is right on a workstation and overflows on an MSP430, and no compiler warns. The lint reads
preprocessed C with pycparser, types every expression as a 16-bit machine would, follows intervals, and reports

- a product or a left shift computed in 16 bits although an operand was promoted from a shorter type, unless intervals prove
  that it fits (int8 * int8 does); of plain `int` and size_t, which are coordinates and addresses, only proved overflows;
- a sum or difference that provably overflows 16 bits; a left shift of an `int` by an unknown amount; a shift by 16 or more;
- a constant beyond 16 bits that is stored in, passed as, or compared with a 16-bit number.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pycparser import CParser, c_ast

from codegen.machine16 import (
    CHAR,
    INT,
    LONG,
    LONG_LONG,
    SHORT,
    SIZE,
    UNSIGNED,
    Function,
    Int,
    Other,
    Pointer,
    Record,
    Scope,
    Type,
    Value,
    common,
    unsigned,
)
from codegen.promotion_rules import comparison, counter, interval, modified, units_by_layer
from freeml.resources import resource_dir
from freeml.toolchains import find_host

INCLUDE = Path(__file__).resolve().parent / "include16"
ARITHMETIC = {"+", "-", "*", "/", "%", "&", "|", "^"}
COMPARISONS = {"<", ">", "<=", ">=", "==", "!="}
RANGES: dict[str, Callable[[Sequence[Value]], tuple[int, int]]] = {
    "fm_min": lambda a: (min(a[0].low, a[1].low), min(a[0].high, a[1].high)),
    "fm_max": lambda a: (max(a[0].low, a[1].low), max(a[0].high, a[1].high)),
    "fm_rows": lambda a: (a[0].low // a[1].high, a[0].high // a[1].low),
    "fm_columns": lambda a: (0, a[1].high - 1),
}
"""Functions of the runtime whose result has a known interval."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that would compute something else with a 16-bit int."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}"


def lint_files(files: Mapping[str, str]) -> list[Finding]:
    """Lint the emitted model.c, given all emitted files by path. Of the runtime's headers only declarations are read."""
    with tempfile.TemporaryDirectory(prefix="freeml-lint-") as scratch:
        folder = Path(scratch)
        for name, text in files.items():
            if name.endswith((".c", ".h")) and "/" not in name:
                (folder / name).write_text(text, encoding="utf-8")
        root = resource_dir("firmware")
        text = preprocessed(folder / "model.c", (folder, root / "common", root / "host"))
        return lint_text(_without_header_bodies(text, root.as_posix()), "model.c")


def lint_source(source: Path, include_dirs: Sequence[Path], defines: Sequence[str] = ()) -> list[Finding]:
    """Lint one C file and what it includes."""
    return lint_text(preprocessed(source, include_dirs, defines), source.name)


def preprocessed(source: Path, include_dirs: Sequence[Path], defines: Sequence[str] = ()) -> str:
    """The file preprocessed for a 16-bit machine, without parts for one compiler (mspabi.c is tested by running it)."""
    flags = ["-E", "-std=c99", "-nostdinc", "-U__GNUC__", "-U__clang__", "-D__attribute__(x)=", f"-I{INCLUDE}"]
    flags += [f"-D{define}" for define in defines] + [f"-I{folder}" for folder in include_dirs]
    command = [*find_host().compiler, *flags, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _without_header_bodies(text: str, root: str) -> str:
    """Preprocessed text whose function bodies below `root` are gone: parsing them again for every net takes long."""
    kept: list[str] = []
    inside, depth = False, 0
    for line in text.splitlines():
        marker = re.match(r'# \d+ "([^"]*)"', line)
        if marker:
            inside = marker[1].startswith(root)
            kept.append(line)
            continue
        for piece in re.split(r"(?<=[{}])|(?=[{}])", line) if inside else (line,):
            if inside and piece == "{" and (depth > 0 or ")" in "".join(kept[-3:]).rstrip()[-1:]):
                depth += 1
                kept.append(";" if depth == 1 else "")
            elif depth > 0:
                depth -= piece == "}"
            else:
                kept.append(piece)
    return "\n".join(kept)


def lint_text(text: str, name: str = "text.c") -> list[Finding]:
    """Lint preprocessed C."""
    checker = _Checker(units_by_layer(text))
    for item in CParser().parse(_without_assembly(text), name).ext:
        checker.external(item)
    return checker.findings


def _without_assembly(text: str) -> str:
    """Preprocessed text whose inline assembly is gone, with its operands: it computes what it says."""
    pieces, start = [], 0
    for found in re.finditer(r"\b__asm(__)?\b\s*(volatile|__volatile__)?\s*\(", text):
        depth, end = 1, found.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        pieces.append(text[start : found.start()])
        pieces.append("\n" * text[found.start() : end].count("\n"))
        start = end
    return "".join(pieces) + text[start:]


class _Checker:
    """Walks a translation unit, typing every expression."""

    def __init__(self, units: Mapping[str, int]) -> None:
        self.units = units
        self.findings: list[Finding] = []
        self.scope = Scope()
        self.typedefs: dict[str, Type] = {}
        self.records: dict[str, dict[str, Type]] = {}
        self.result: Type = Other()
        self.modified: set[str] = set()

    def report(self, node: c_ast.Node, problem: str) -> None:
        place = f"{Path(node.coord.file).name}:{node.coord.line}" if node.coord else "?"
        finding = Finding(place, problem)
        if finding not in self.findings:
            self.findings.append(finding)

    # --- declarations -------------------------------------------------------------------------------------------------

    def external(self, item: c_ast.Node) -> None:
        if isinstance(item, c_ast.FuncDef):
            type_ = self.type_of(item.decl.type)
            assert isinstance(type_, Function)
            self.scope.names[0][item.decl.name] = Value(type_)
            self.result, self.modified = type_.result, modified(item.body)
            self.scope.names.append({})
            for parameter in item.decl.type.args.params if item.decl.type.args else ():
                if getattr(parameter, "name", None):
                    self.scope.names[-1][parameter.name] = Value.of(self.type_of(parameter.type))
            if item.decl.name in self.units:  # called with [first, end) within them only
                last = self.units[item.decl.name]
                self.scope.names[-1]["first"] = Value(UNSIGNED, 0, last - 1, known=True)
                self.scope.names[-1]["end"] = Value(UNSIGNED, 1, last, known=True)
            self.statement(item.body)
            self.scope.names.pop()
        elif isinstance(item, c_ast.Typedef):
            found = self.type_of(item.type)
            self.typedefs[item.name] = SIZE if item.name == "size_t" else found
        elif isinstance(item, c_ast.Decl):
            self.declare(item)

    def declare(self, item: c_ast.Decl) -> None:
        type_ = self.type_of(item.type)
        value = Value.of(type_)
        if item.init is not None:
            found = self.initializer(item.init, type_)
            if isinstance(type_, Int) and (item.name not in self.modified or "const" in item.quals):
                value = found.converted(type_)
        if item.name:
            self.scope.names[-1][item.name] = value

    def initializer(self, node: c_ast.Node, type_: Type) -> Value:
        if not isinstance(node, c_ast.InitList):
            value = self.expression(node)
            self.stored(node, value, type_, "initializes")
            return value
        fields = list(self.records.get(type_.tag, {}).items()) if isinstance(type_, Record) else []
        for position, item in enumerate(node.exprs or ()):
            target: Type = type_.target if isinstance(type_, Pointer) else Other()
            if isinstance(item, c_ast.NamedInitializer):
                key = item.name[0]
                if isinstance(type_, Record) and isinstance(key, c_ast.ID):
                    target = self.records[type_.tag].get(key.name, Other())
                item = item.expr
            elif position < len(fields):
                target = fields[position][1]
            self.initializer(item, target)
        return Value(type_)

    def type_of(self, node: c_ast.Node) -> Type:
        if isinstance(node, (c_ast.TypeDecl, c_ast.Typename)):
            return self.type_of(node.type)
        if isinstance(node, (c_ast.PtrDecl, c_ast.ArrayDecl)):
            return Pointer(self.type_of(node.type))
        if isinstance(node, c_ast.FuncDecl):
            parameters = (
                tuple(self.type_of(p.type) for p in node.args.params if hasattr(p, "type")) if node.args else ()
            )
            return Function(self.type_of(node.type), parameters)
        if isinstance(node, (c_ast.Struct, c_ast.Union)):
            tag = node.name or f"@{id(node)}"
            if node.decls is not None:
                self.records[tag] = {d.name: self.type_of(d.type) for d in node.decls}
            return Record(tag)
        if isinstance(node, c_ast.Enum):
            return INT
        if isinstance(node, c_ast.IdentifierType):
            return self._named(node.names)
        return Other()

    def _named(self, names: list[str]) -> Type:
        if len(names) == 1 and names[0] in self.typedefs:
            return self.typedefs[names[0]]
        words = set(names)
        if words & {"void", "float", "double", "_Bool"}:
            return Other()
        if "char" in words:
            found = CHAR
        elif "short" in words:
            found = SHORT
        elif names.count("long") == 2:
            found = LONG_LONG
        else:
            found = LONG if "long" in words else INT
        return unsigned(found) if "unsigned" in words else found

    # --- statements ---------------------------------------------------------------------------------------------------

    def statement(self, node: c_ast.Node | None) -> None:
        if node is None:
            return
        if isinstance(node, c_ast.For):
            self._for(node)
        elif isinstance(node, (c_ast.Compound, c_ast.DeclList)):
            fresh = isinstance(node, c_ast.Compound)
            if fresh:
                self.scope.names.append({})
            for item in (node.block_items if fresh else node.decls) or ():
                self.statement(item)
            if fresh:
                self.scope.names.pop()
        elif isinstance(node, c_ast.Decl):
            self.declare(node)
        elif isinstance(node, c_ast.Typedef):
            self.external(node)
        elif isinstance(node, (c_ast.If, c_ast.While, c_ast.DoWhile, c_ast.Switch)):
            self.expression(node.cond)
            for branch in ("iftrue", "iffalse", "stmt"):
                self.statement(getattr(node, branch, None))
        elif isinstance(node, c_ast.Return):
            if node.expr is not None:
                self.stored(node, self.expression(node.expr), self.result, "is returned as")
        elif isinstance(node, (c_ast.Case, c_ast.Default, c_ast.Label)):
            inner = node.stmts if hasattr(node, "stmts") else [node.stmt]
            for item in inner or ():
                self.statement(item)
        elif not isinstance(node, (c_ast.Break, c_ast.Continue, c_ast.Goto, c_ast.EmptyStatement, c_ast.Pragma)):
            self.expression(node)

    def _for(self, node: c_ast.For) -> None:
        """A counter that only the loop's own step moves stays between where it starts and what it is compared with."""
        self.scope.names.append({})
        self.statement(node.init)
        name = counter(node)
        if name is not None and name not in modified(node.stmt):
            start, bound = self._start(node, name), self.expression(comparison(node).right)
            if isinstance(start.type, Int) and (start.known or start.constant) and (bound.known or bound.constant):
                self.scope.names[-1][name] = Value(start.type, start.low, max(start.low, bound.high), known=True)
        for part in (node.cond, node.next):
            self.statement(part)
        if name is not None and name in self.scope.names[-1]:
            value = self.scope.names[-1][name]
            if value.known and isinstance(value.type, Int) and not value.type.short:
                inside = Value(value.type, value.low, max(value.low, value.high - 1), known=True)
                self.scope.names[-1][name] = inside
        self.statement(node.stmt)
        self.scope.names.pop()

    def _start(self, node: c_ast.For, name: str) -> Value:
        declared = next((d for d in getattr(node.init, "decls", ()) if d.name == name), None)
        if declared is None or declared.init is None:
            return Value(Other())
        type_ = self.type_of(declared.type)
        return self.expression(declared.init).converted(type_)

    # --- expressions --------------------------------------------------------------------------------------------------

    def expression(self, node: c_ast.Node) -> Value:
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is not None:
            found: Value = method(node)
            return found
        for _, child in node.children():
            self.statement(child)
        return Value(Other())

    def stored(self, node: c_ast.Node, value: Value, target: Type, verb: str) -> None:
        """A constant must fit what it is stored in."""
        if isinstance(target, Int) and value.constant and not target.holds(value.low, value.high):
            wraps = not target.signed and -(1 << (target.bits - 1)) <= value.low < 0
            if not wraps:
                self.report(node, f"constant {value.low} {verb} a {target.bits}-bit number")

    def _id(self, node: c_ast.ID) -> Value:
        return self.scope.find(node.name)

    def _constant(self, node: c_ast.Constant) -> Value:
        if node.type == "string":
            return Value(Pointer(CHAR))
        if node.type == "char":
            return Value(INT, 0, 127, known=True, constant=True)
        text = node.value.lower()
        digits = text.rstrip("ul")
        number = int(digits, 0) if not (digits.startswith("0") and digits.isdigit()) else int(digits, 8)
        suffix = text[len(digits) :]
        order = [INT, UNSIGNED, LONG, unsigned(LONG), LONG_LONG, unsigned(LONG_LONG)]
        if "u" in suffix:
            order = [t for t in order if not t.signed]
        elif digits.isdecimal() and not digits.startswith("0"):
            order = [t for t in order if t.signed]
        if "l" in suffix:
            order = [t for t in order if t.rank >= (LONG_LONG if "ll" in suffix else LONG).rank]
        type_ = next(t for t in order if t.holds(number, number))
        return Value(type_, number, number, known=True, constant=True)

    def _cast(self, node: c_ast.Cast) -> Value:
        value, target = self.expression(node.expr), self.type_of(node.to_type)
        found = value.converted(target)
        constant = value.constant and found.low == value.low and found.high == value.high
        return Value(found.type, found.low, found.high, known=found.known, constant=constant)

    def _arrayref(self, node: c_ast.ArrayRef) -> Value:
        base = self.expression(node.name)
        self.expression(node.subscript)
        return Value.of(base.type.target) if isinstance(base.type, Pointer) else Value(Other())

    def _structref(self, node: c_ast.StructRef) -> Value:
        base = self.expression(node.name).type
        if isinstance(base, Pointer):
            base = base.target
        fields = self.records.get(base.tag, {}) if isinstance(base, Record) else {}
        return Value.of(fields.get(node.field.name, Other()))

    def _funccall(self, node: c_ast.FuncCall) -> Value:
        function = self.expression(node.name).type
        if isinstance(function, Pointer):
            function = function.target
        arguments = [self.expression(a) for a in (node.args.exprs if node.args else ())]
        if not isinstance(function, Function):
            return Value(Other())
        for argument, parameter in zip(arguments, function.parameters, strict=False):
            self.stored(node, argument, parameter, "is passed as")
        name = getattr(node.name, "name", "")
        if name in RANGES and all(isinstance(a.type, Int) for a in arguments):
            low, high = RANGES[name](arguments)
            return Value(function.result, low, high, known=any(a.known or a.constant for a in arguments))
        return Value.of(function.result)

    def _ternaryop(self, node: c_ast.TernaryOp) -> Value:
        self.expression(node.cond)
        one, two = self.expression(node.iftrue), self.expression(node.iffalse)
        if isinstance(one.type, Int) and isinstance(two.type, Int):
            both = Value(common(one.type, two.type), min(one.low, two.low), max(one.high, two.high))
            return Value(both.type, both.low, both.high, known=one.known and two.known)
        return one if isinstance(one.type, Pointer) else two

    def _unaryop(self, node: c_ast.UnaryOp) -> Value:
        if node.op == "sizeof":
            return Value(SIZE, 0, SIZE.high)
        value = self.expression(node.expr)
        if node.op == "&":
            return Value(Pointer(value.type))
        if node.op == "*":
            return Value.of(value.type.target) if isinstance(value.type, Pointer) else Value(Other())
        if not isinstance(value.type, Int):
            return value if node.op in ("++", "--", "p++", "p--") else Value(INT, 0, 1, known=True)
        if node.op == "-":
            type_ = value.type.promoted()
            low, high = -value.high, -value.low
            if value.known and not type_.holds(low, high):
                return Value.of(type_)
            return Value(type_, low, high, known=value.known, constant=value.constant)
        if node.op in ("+", "++", "--", "p++", "p--"):
            return value
        return Value(INT, 0, 1, known=True) if node.op == "!" else Value.of(value.type.promoted())

    def _assignment(self, node: c_ast.Assignment) -> Value:
        target, value = self.expression(node.lvalue), self.expression(node.rvalue)
        if node.op != "=":
            self.computed(node, node.op[:-1], target, value)
        else:
            self.stored(node, value, target.type, "is stored in")
        return Value.of(target.type)

    def _binaryop(self, node: c_ast.BinaryOp) -> Value:
        return self.computed(node, node.op, self.expression(node.left), self.expression(node.right))

    def computed(self, node: c_ast.Node, op: str, left: Value, right: Value) -> Value:
        """The value of `left op right`, reporting what goes wrong in 16 bits."""
        if not isinstance(left.type, Int) or not isinstance(right.type, Int):
            pointers = [v for v in (left, right) if isinstance(v.type, Pointer)]
            return pointers[0] if len(pointers) == 1 and op in "+-" else Value(INT, INT.low, INT.high)
        if op in ("<<", ">>"):
            return self._shifted(node, op, left, right)
        type_ = common(left.type, right.type)
        if op in ARITHMETIC | COMPARISONS:
            for number, other in ((left, right), (right, left)):
                assert isinstance(number.type, Int) and isinstance(other.type, Int)
                if number.constant and number.type.bits > 16 >= other.type.bits and not other.constant:
                    self.report(node, f"constant {number.low} meets a {other.type.bits}-bit number in `{op}`")
        if op in COMPARISONS or op in ("&&", "||"):
            return Value(INT, 0, 1, known=True)
        known = left.known and right.known
        if op in "/%" and right.constant and not type_.signed:
            known = True  # whatever the dividend is
        low, high = interval(op, left, right, type_)
        fits = type_.holds(low, high)
        if type_.bits == 16 and not fits:
            promoted = left.type.short or right.type.short
            if op == "*" and promoted:
                self.report(node, f"a product of promoted operands is computed in 16 bits ({low} to {high})")
            elif op in "+-*" and known and not (op == "-" and not type_.signed):
                self.report(node, f"`{op}` overflows 16 bits ({low} to {high})")
        if not fits:
            return Value.of(type_)
        return Value(type_, low, high, known=known, constant=left.constant and right.constant)

    def _shifted(self, node: c_ast.Node, op: str, left: Value, right: Value) -> Value:
        assert isinstance(left.type, Int)
        type_ = left.type.promoted()
        if right.known and right.high >= type_.bits:
            self.report(node, f"`{op}` by {right.high} of a {type_.bits}-bit number")
            return Value.of(type_)
        if op == ">>":
            low, high = (left.low >> right.low, left.high >> right.low) if right.known else (left.low, left.high)
            return Value(type_, min(low, left.low, 0), max(high, 0), known=left.known)
        low, high = (left.low << right.high, left.high << right.high) if right.known else (type_.low - 1, type_.high)
        if type_.bits == 16 and not (right.known and left.known and type_.holds(low, high)):
            self.report(node, "`<<` is computed in 16 bits and may overflow")
        if not type_.holds(low, high):
            return Value.of(type_)
        return Value(type_, low, high, known=left.known and right.known, constant=left.constant and right.constant)
