"""Schema names: what is accepted, and where they are put in."""

from __future__ import annotations

import pytest

from perdure.errors import ConfigurationError
from perdure.store.schema import in_schema, in_statement, quote_schema

NAMES = [
    ("perdure", '"perdure"'),
    ("Other Schema", '"Other Schema"'),
    ('we"ird', '"we""ird"'),
    ("100%", '"100%"'),
    ("it's", '"it\'s"'),
    ("back\\1slash", '"back\\1slash"'),
    ("é" * 20, '"' + "é" * 20 + '"'),
]


@pytest.mark.parametrize("name, quoted", NAMES)
def test_a_name_is_quoted_as_an_identifier(name: str, quoted: str) -> None:
    assert quote_schema(name) == quoted


@pytest.mark.parametrize("name", ["", "x" * 41, "é" * 21, "pg_perdure", "a\0b", "a\udc80"])
def test_a_name_that_postgresql_would_cut_or_refuse_is_an_error(name: str) -> None:
    with pytest.raises(ConfigurationError, match="schema_name"):
        quote_schema(name)


@pytest.mark.parametrize("name, quoted", NAMES)
def test_the_name_stands_before_dots_after_schema_and_in_search_paths(
    name: str, quoted: str
) -> None:
    text = (
        "create schema perdure; grant usage on schema perdure to x; select perdure.task(1), "
        "'%' from perdure.tasks set search_path = pg_catalog, perdure, pg_temp"
    )
    assert in_schema(text, name) == (
        f"create schema {quoted}; grant usage on schema {quoted} to x; select {quoted}.task(1), "
        f"'%' from {quoted}.tasks set search_path = pg_catalog, {quoted}, pg_temp"
    )


def test_the_word_is_left_alone_everywhere_else() -> None:
    text = "-- perdure migrate\nselect 'perdure', 'perdure_1', superperdure.x, perdures.y"
    assert in_schema(text, "other") == text


def test_a_statement_doubles_the_percent_signs_of_the_name_only() -> None:
    text = "select 1 from perdure.tasks where id = %(id)s::bigint and name like 'a%%'"
    assert in_statement(text, "100%") == text.replace("perdure.", '"100%%".')


def test_a_name_with_dollar_signs_does_not_end_a_function_body() -> None:
    text = "as $$ select perdure.x($1) $$; do $tag$ perdure.y $tag$"
    assert in_schema(text, "a$$b$_$") == (
        'as $__$ select "a$$b$_$".x($1) $__$; do $tag__$ "a$$b$_$".y $tag__$'
    )
