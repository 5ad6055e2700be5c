"""The effect of an edit on a file, and the protected files and contents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mobvibe_worker.errors import WorkspaceError
from mobvibe_worker.workspace.editing import count_changed_lines
from mobvibe_worker.workspace.staged import StagedFolder

LONG = "".join(f"export const value{n} = {n};\n" for n in range(40))
PROTECTED = [
    *("package.json", "Package.JSON", "package-lock.json", "tsconfig.json", "tsconfig.build.json"),
    *("metro.config.js", "babel.config.cjs", "app.config.ts", "app.json", "eslint.config.mjs"),
    *("jest.config.ts", "a/b/vite.config.js", ".npmrc", ".env", ".env.local", ".git/config"),
    *(".git/hooks/pre-commit", ".gitattributes", ".expo/settings.json", ".claude/settings.json"),
    *("node_modules/.bin/tsc", "node_modules/typescript/lib/tsc.js", "a/node_modules/x/index.js"),
    *("AGENTS.md", "CLAUDE.md", "patches/expo.patch", "plugins/with-shell.js", "a/.hidden/x.ts"),
    *("expo-env.d.ts", "eas.json", ".eslintrc.js", "android/x.ts", "dist/x.js"),
]


@pytest.fixture
def staged(tmp_path: Path) -> StagedFolder:
    return StagedFolder(tmp_path)


@pytest.mark.parametrize("path", PROTECTED)
def test_files_that_this_machine_executes_cannot_be_written(
    staged: StagedFolder, path: str
) -> None:
    file = staged.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("theirs")
    (staged.root / "mine.ts").write_text("mine")
    uses: list[Callable[[], object]] = [
        lambda: staged.write(path, "mine"),
        lambda: staged.edit(path, "theirs", "mine"),
        lambda: staged.delete(path),
        lambda: staged.rename("mine.ts", path),
        lambda: staged.rename(path, "taken.ts"),
    ]
    for use in uses:
        with pytest.raises(WorkspaceError):
            use()
    assert file.read_text() == "theirs"


def test_settings_can_be_read_but_secrets_cannot(staged: StagedFolder) -> None:
    (staged.root / "app.json").write_text("{}")
    (staged.root / ".env").write_text("KEY=secret")
    assert staged.read("app.json") == "{}"
    with pytest.raises(WorkspaceError, match="hidden"):
        staged.read(".env")
    assert list(staged.snapshot()) == ["app.json"]
    assert staged.search("secret") == ()


@pytest.mark.parametrize(
    "text",
    [
        "// @ts-nocheck\nexport {}",
        "/* eslint-disable */\nexport {}",
        "// @ts-ignore\n1\n// @ts-expect-error\n2\n// @ts-ignore\n3",
        "const a = 1;\n// ... rest of the code unchanged\n",
        "<View>\n{/* rest of routes remain the same */}\n</View>",
        "// existing imports here\n",
        "/* ...rest of component... */\n// rest of your styles remain the same",
        "a\x00b",
        "half a \ud800 character",
    ],
)
def test_dishonest_contents_are_refused(staged: StagedFolder, text: str) -> None:
    with pytest.raises(WorkspaceError):
        staged.write("App.tsx", text)
    staged.write("App.tsx", "export {};\n")
    with pytest.raises(WorkspaceError):
        staged.edit("App.tsx", "export {};", text)
    assert staged.read("App.tsx") == "export {};\n"


@pytest.mark.parametrize(
    "text",
    [
        "// the rest of the day stays free\nconst [first, ...rest] = days;",
        "// @ts-expect-error: the library's types lag behind\nlegacy();",
        "<Text>Same as before? Rest of the world.</Text>",
    ],
)
def test_honest_contents_are_not_refused(staged: StagedFolder, text: str) -> None:
    staged.write("App.tsx", text)


def test_shrinking_a_file_needs_an_explicit_flag(staged: StagedFolder) -> None:
    staged.write("App.tsx", LONG)
    for text in ("", LONG[:200]):
        with pytest.raises(WorkspaceError, match="replaces_all"):
            staged.write("App.tsx", text)
    staged.write("App.tsx", "export {};\n", replaces_all=True)
    assert staged.read("App.tsx") == "export {};\n"


@pytest.mark.parametrize(
    ("old", "complaint"),
    [
        ("", "is empty"),
        ("value", "occurs 40 times"),
        ("export konst value33 = 33;", "nearest line is 34"),
        ("export const value7  = 7;", "was not found"),
        ("value[0-9] = 7", "was not found"),
    ],
)
def test_an_edit_must_match_exactly_one_place(
    staged: StagedFolder, old: str, complaint: str
) -> None:
    staged.write("a.ts", LONG)
    with pytest.raises(WorkspaceError, match=complaint):
        staged.edit("a.ts", old, "x")
    with pytest.raises(WorkspaceError, match="are equal"):
        staged.edit("a.ts", "value7 = 7", "value7 = 7")
    assert staged.read("a.ts") == LONG


def test_an_edit_keeps_line_endings_and_the_byte_order_mark(staged: StagedFolder) -> None:
    file = staged.root / "a.ts"
    file.write_bytes(b"\xef\xbb\xbfone\r\n\ttwo\r\nthree\r\n")
    assert staged.read("a.ts") == "one\n\ttwo\nthree\n"
    staged.edit("a.ts", "one\n\ttwo\n", "1\n2\n")
    assert file.read_bytes() == b"\xef\xbb\xbf1\r\n2\r\nthree\r\n"


def test_binary_files_cannot_be_read_or_overwritten(staged: StagedFolder) -> None:
    for content in (b"\xff\xfe\x00a", b"\x89PNG\r\n\x1a\n\x00"):
        (staged.root / "icon.png").write_bytes(content)
        with pytest.raises(WorkspaceError, match="not a text file"):
            staged.read("icon.png")
        with pytest.raises(WorkspaceError, match="not a text file"):
            staged.write("icon.png", "x")
    staged.delete("icon.png")


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [
        (None, "a\nb\n", (2, 0)),
        ("a\nb\n", None, (0, 2)),
        ("a\nb\nc\n", "a\nB\nc\nd\n", (2, 1)),
        ("a\n", "a\n", (0, 0)),
    ],
)
def test_changed_lines_are_counted(
    before: str | None, after: str | None, counts: tuple[int, int]
) -> None:
    assert count_changed_lines(before, after) == counts
