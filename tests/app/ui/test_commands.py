"""The table of commands alone holds the keys; bindings, footer, help and palette follow it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from textual.actions import parse
from textual.app import App, ComposeResult
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

import mobvibe_app.ui
from mobvibe_app.studio.changes import ViewChanged
from mobvibe_app.ui.app import MobvibeApp
from mobvibe_app.ui.commands import COMMANDS, KEYS, Command, bindings, shown_keys
from mobvibe_app.ui.screens.build import BuildScreen
from mobvibe_app.ui.screens.help import help_table
from support.dashboard import shown
from support.polling import until
from support.scripted_studio import ScriptedStudio, build_changes, overview, services_up

APP = Path(mobvibe_app.ui.__file__).parents[1]
HELP_CELLS = 65
"""The cells of a help line in 80 columns."""
PLAIN_WORDS = {
    "ui/words/values.py": {"d", "h"},
    "preview/monitor.py": {"end"},
    "studio/conversations.py": {"i"},
}
"""Keys that are also plain words in these files."""


def test_every_command_has_a_row_in_the_help() -> None:
    lines = help_table(KEYS).plain.splitlines()
    assert max(map(len, lines)) <= HELP_CELLS
    rows = {tuple(row.split()) for row in lines}

    for command in COMMANDS:
        row = next(
            row for row in rows if row[-len(command.help.split()) :] == tuple(command.help.split())
        )
        first = shown_keys(command)[0] if command.keys else "ctrl+p"
        assert first in row, command.id


async def test_every_command_is_in_the_palette_if_it_can_act() -> None:
    built = [*services_up(), *build_changes()]
    async with shown(ScriptedStudio(built)) as on:

        def palette() -> set[str]:
            return {each.title for each in on.app.get_system_commands(on.app.screen)}

        await on.until(lambda: "QR code" in palette())
        assert not palette() & {"Cancel the job", "Next match", "My own view"}
        seen = palette()
        await on.search("types")
        await on.until(lambda: "Next match" in palette())
        seen |= palette()
        on.studio.show(overview("processing"))
        await on.until(lambda: "Cancel the job" in palette())
        seen |= palette()
        on.studio.show(ViewChanged("ada@x.org"))
        await on.until(lambda: "My own view" in palette())
        assert "Restart Postgres" not in palette()
        assert {each.title for each in COMMANDS} <= seen | palette()


def test_every_command_does_something() -> None:
    for command in COMMANDS:
        if isinstance(command.does, str):
            namespace, name, _ = parse(command.does)
            target = MobvibeApp if namespace == "app" else BuildScreen
            assert callable(getattr(target, f"action_{name}")), command.id


def test_each_id_is_used_once() -> None:
    ids = [each.id for each in {id(key): key for key in KEYS}.values()]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    "path",
    sorted(path for part in ("ui", "studio", "preview") for path in (APP / part).rglob("*.py")),
    ids=lambda path: str(path.relative_to(APP)),
)
def test_no_key_is_written_outside_the_table(path: Path) -> None:
    name = str(path.relative_to(APP))
    if name == "ui/commands.py":
        return
    names = {key for each in KEYS for key in (*each.keys.split(","), *shown_keys(each))}
    # Some keys are also plain words; a text that names such a key would name other keys too.
    keys = names - {"", "/", "up", "down"} - PLAIN_WORDS.get(name, set())
    tree = ast.parse(path.read_text())
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "Binding" not in called
    written = {word for text in _texts(tree) for word in text.replace(",", " ").split()}
    written |= {bare for word in written if (bare := word.strip("().;")).isalpha() or "+" in bare}
    assert not written & keys


def _texts(tree: ast.Module) -> Iterator[str]:
    """The strings of a module without its docstrings. An f-string's inserted value joins the words that it touches."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            skipped.update(map(id, node.values))
            yield "".join(
                part.value
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
                else "…"
                for part in node.values
            )
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in skipped
        ):
            yield node.value


def _moved(command: Command) -> Command:
    return replace(command, keys="f6") if command.id == "demos" else command


class MovedApp(App[None]):
    """An app that uses the table with one changed key."""

    BINDINGS = [*bindings(map(_moved, COMMANDS))]  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def compose(self) -> ComposeResult:
        """Show only the footer."""
        yield Footer()

    def action_command(self, command_id: str) -> None:
        """Record the command."""
        self.asked.append(command_id)


async def test_a_key_changed_in_the_table_changes_in_bindings_footer_and_help() -> None:
    app = MovedApp()
    async with app.run_test(size=(160, 10)) as pilot:
        await pilot.press("d", "f6")
        await until(lambda: "demos" in app.asked)
        await until(lambda: len(app.query(FooterKey)) > 1)
        footer = {key.description: key.key_display for key in app.query(FooterKey)}
    assert app.asked == ["demos"]
    assert (footer["Demos"], footer["Search"]) == ("f6", "/")
    rows = help_table(map(_moved, COMMANDS)).plain.splitlines()
    assert [row.split()[0] for row in rows if "replay a recorded build" in row] == ["f6"]
