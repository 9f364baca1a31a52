"""Plans of statements and of what functions run inside, as they were executed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from perdure.store.database import statements

_PARAMETER = re.compile(r"%\((\w+)\)s(::[a-z ]+(?:\[\])?)?|%%")
_REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck")
_NESTED = {
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_buffers": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
}


@dataclass(frozen=True)
class Plan:
    """An executed plan: its nodes as EXPLAIN writes them, and the statement if it was nested."""

    root: dict[str, Any]
    text: str = ""

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Every node, parents first."""
        left = [self.root]
        while left:
            node = left.pop()
            yield node
            left += node.get("Plans", ())

    def scans(self, table: str) -> set[str]:
        """How blocks of the table or its ranges were read: names of indexes, else of nodes.

        A table without a block, or a part that was never begun, is not read at all.
        """
        found = set()
        for node in self._reading(table):
            if node["Shared Hit Blocks"] + node["Shared Read Blocks"]:
                below = (n["Index Name"] for n in Plan(node).nodes() if "Index Name" in n)
                found.add(re.sub(r"_(default|\d+)(?=_)", "", next(below, node["Node Type"])))
        return found

    def read(self, table: str) -> float:
        """How many rows of the table were looked at, those that a filter has removed included."""
        return float(
            sum(
                (node["Actual Rows"] + sum(node.get(key, 0) for key in _REMOVED))
                * node["Actual Loops"]
                for node in self._reading(table)
                if node["Node Type"] != "Tid Scan"
            )
        )

    @property
    def blocks(self) -> int:
        """How many blocks the execution has touched."""
        return int(self.root["Shared Hit Blocks"]) + int(self.root["Shared Read Blocks"])

    @property
    def rows(self) -> int:
        """Rows that it returned."""
        return int(self.root["Actual Rows"])

    def _reading(self, table: str) -> list[dict[str, Any]]:
        of_table = re.compile(rf"{table}(_default|_\d+)?")
        return [
            node
            for node in self.nodes()
            if of_table.fullmatch(node.get("Relation Name", ""))
            and node["Node Type"] != "ModifyTable"
        ]


def prepare(
    connection: psycopg.Connection[Any], name: str, values: Mapping[str, Any], schema: str
) -> sql.Composed:
    """PREPARE the shipped statement `name`, once a session; returns the EXECUTE for the values."""
    order: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] is None:
            return "%"
        if match[1] not in order:
            order.append(match[1])
        return f"${order.index(match[1]) + 1}{match[2] or ''}"

    text = _PARAMETER.sub(number, statements(schema)[name].decode())
    known = connection.execute("select from pg_prepared_statements where name = %s", [name])
    if known.rowcount == 0:
        connection.execute(f"prepare {name} as {text}".encode())
    literals = sql.SQL(", ").join(sql.Literal(values[key]) for key in order)
    arguments = sql.SQL("({})").format(literals) if order else sql.SQL("")
    return sql.SQL("execute {}{}").format(sql.Identifier(name), arguments)


def explain(
    connection: psycopg.Connection[Any],
    name: str,
    values: Mapping[str, Any],
    schema: str = "perdure",
) -> list[Plan]:
    """The plans of a shipped statement and, before it, of all that it runs inside functions.

    It runs in a transaction that is rolled back.
    """
    return explained(connection, prepare(connection, name, values, schema))


def explained(
    connection: psycopg.Connection[Any], query: sql.Composed | str, values: Sequence[Any] = ()
) -> list[Plan]:
    """The same of any query."""
    heard: list[str] = []
    connection.execute(b"load 'auto_explain'")
    for key, value in _NESTED.items():
        connection.execute("select set_config(%s, %s, false)", (key, value))

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        heard.append(diagnostic.message_primary or "")

    with connection.transaction(force_rollback=True):
        connection.add_notice_handler(hear)
        connection.execute(query.encode() if isinstance(query, str) else query, values or None)
        connection.remove_notice_handler(hear)
    connection.execute(b"set auto_explain.log_min_duration = -1")
    found = [json.loads(text[text.index("{") :]) for text in heard if "plan:" in text]
    return [Plan(one["Plan"], one["Query Text"]) for one in found]
