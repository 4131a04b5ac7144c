"""Options of a command, or of the Python API, as what is asked of exits."""

from __future__ import annotations

from freeml.compression.budget import parse_size
from freeml.errors import FreemlError
from freeml.exits.asked import AskedExits, Training, asked_exits
from freeml.exits.rule import AskedRule, parse_rule


def parse_exits(
    exits: str,
    training: Training,
    exit_bytes: str | None,
    policy: str | None,
    confidence: float | None,
    max_drop: float | None,
    output: str | None = None,
    *,
    budgeted: bool = False,
) -> tuple[AskedExits, AskedRule]:
    """Which exits, and the rule; `max_drop` is that of a budget too where there is one. Raises FreemlError."""
    asked = asked_exits(
        exits, training=training, output=output,
        budget_bytes=None if exit_bytes is None else parse_size(exit_bytes, "--exit-bytes"),
    )  # fmt: skip
    if asked.kind == "none":
        given = (
            ("--policy", policy), ("--confidence", confidence), ("--exit-bytes", exit_bytes), ("--exit-output", output)
        )  # fmt: skip
        named = [name for name, value in given if value is not None]
        if named or training != "two-stage":
            named = named or ["--exit-training"]
            raise FreemlError(f"{' and '.join(named)}: expected exits to go with, found none; add --exits shared")
        return asked, AskedRule()
    rule = parse_rule(policy, max_drop, confidence)
    if rule.kind == "none":
        unused = (("--confidence", confidence), ("--max-drop", None if budgeted else max_drop))
        named = [name for name, value in unused if value is not None]
        if named:
            raise FreemlError(
                f"{' and '.join(named)}: expected a rule to promise something of, found --policy {policy}, which has "
                "no thresholds and promises nothing; leave it out, or choose another --policy"
            )
    return asked, rule
