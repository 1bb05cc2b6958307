"""What README.md and docs/ show is true: commands, settings, files, links, the page of parameters."""

import importlib
import importlib.util
import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from clones import Finished
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser
from dvc.utils.hydra import apply_overrides
from warm_python import warm_bin

from darkroom.base.nested import outputs_of
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.presets import read_preset, set_arguments

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "src" / "darkroom" / "cli"
# Generated pages have tests of their own.
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("src/plugins/**/*.md")})
PAGES = [page for page in PAGES if page.name not in ("CHANGELOG.md", "third-party-licences.md") and page.parent.name != "models"]
# Written by others of the same change, or by a generator that needs the packages of another machine.
GENERATED = ("docs/tour.md", "docs/third-party-licences.md")
SHA256 = "0" * 64
CONTENT = read_yaml(ROOT / "params.yaml")


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


run_lines = tool("run_lines")
parameters_table = tool("parameters_table")


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands() -> Iterator[tuple[str, str]]:
    """Yield every command of every page, with the page."""
    for page in PAGES:
        for line in run_lines.lines_of(page.read_text(encoding="utf-8")):
            for part in re.split(r" && |; | \| ", line.text):
                yield shown(page), part


LINES = sorted({(page, command) for page, command in commands()})


def words_of(command: str) -> list[str]:
    """Return the words of a command as a shell gives them, with presets and commits in place of `$(./darkroom …)`."""

    def preset(match: re.Match[str]) -> str:
        overlays = {name: read_preset(ROOT / "conf", name) for name in match[1].split()}
        return shlex.join(set_arguments(read_yaml(ROOT / "params.yaml"), overlays))

    command = re.sub(r"\$\(\./darkroom commit [^:)]*(:[^)]*)?\)", lambda match: "0" * 40 + (match[1] or ""), command)
    return shlex.split(re.sub(r"\$\(\./darkroom preset ([^)]*)\)", preset, command), comments=True)


def settings_fault(command: str, folder: Path) -> str | None:
    """Return what DVC or Darkroom says of the `-S` of a command, None if both accept them."""
    words = words_of(command.replace("SHA256", SHA256))
    if words[:2] == ["./darkroom", "tune"] or words[:2] == ["./darkroom", "repeat"]:
        names = list(itertools.takewhile(lambda word: not word.startswith("-"), words[2:]))
        overlays = {name: read_preset(ROOT / "conf", name) for name in names}
        words = [*words, *shlex.split(shlex.join(set_arguments(read_yaml(ROOT / "params.yaml"), overlays)))] if names else words
    overrides = [value for word, value in itertools.pairwise(words) if word == "-S"]
    if "--queue" in words:  # where commas separate values that are tried one after the other
        overrides = [override.partition(",")[0] for override in overrides]
    # DVC takes JSON as well, and needs a quarter of the time for it; but JSON has no numbers as keys.
    needs_yaml = any(re.search(r"[{,]\s*\d+:", override) for override in overrides)
    path = folder / ("params.yaml" if needs_yaml else "params.json")
    path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8") if needs_yaml else json.dumps(CONTENT), encoding="utf-8")
    try:
        apply_overrides(path, overrides)
        check_params(read_yaml(path) if needs_yaml else json.loads(path.read_text(encoding="utf-8")))
    except Exception as error:
        return f"{error}"
    return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", sorted({command for _, command in LINES if " -S " in command}))
def test_settings_that_are_shown_are_valid(command: str, tmp_path: Path) -> None:
    assert settings_fault(command, tmp_path) is None


@pytest.mark.parametrize("setting", ["train.rl=0.1", "train.lr=fast", "'download.parts=[2023]'", "split.method=random"])
def test_a_wrong_setting_is_seen(setting: str, tmp_path: Path) -> None:
    assert settings_fault(f"dvc exp run -S {setting}", tmp_path)


def command_fault(command: str) -> str | None:
    """Return what is wrong with a command: an unknown program, subcommand, flag, target or file."""
    words = words_of(command)
    match words:
        case ["dvc", *rest]:
            try:
                get_main_parser().parse_args(rest)
            except (DvcParserError, SystemExit) as error:
                return f"dvc: {error}"
        case ["make", *rest]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            targets = [word for word in rest if "=" not in word]
            return next((word for word in targets if not re.search(rf"^{word}:", makefile, re.MULTILINE)), None)
        case ["./darkroom", "--help"]:
            return None
        case ["./darkroom", name, *rest]:
            return darkroom_fault(name, rest)
        case ["python", script, *_]:
            return None if (ROOT / script).is_file() else script
        case [program, *_] if program.startswith("tools/"):
            return None if (ROOT / program).is_file() else program
        case [program, *_]:
            known = (
                "git",
                "gto",
                "pip",
                "curl",
                "ls",
                "docker",
                "mlflow",
                "MLFLOW_PASSWORD=change-this",
                "source",
                "grep",
                "cd",
                "rm",
                "pytest",
                "pre-commit",
                "CHAOS=long",
                "NO_ALBUMENTATIONS_UPDATE=1",
            )
            return None if program in known else program
    return None


class ParsedArguments(Exception):  # noqa: N818 (no error)
    """Raised in place of running a command whose arguments are right."""


def darkroom_fault(name: str, arguments: list[str]) -> str | None:
    """Return what a command's own parser says of its arguments."""
    from darkroom.base.command import Parser

    if not any((COMMANDS / each).exists() for each in (f"{name}.py", f"{name}/__init__.py")):
        return f"no command {name}"

    def parse(parser: Parser, given: list[str]) -> None:
        if "--help" not in given:
            Parser.parse_unpatched(parser, given)
        raise ParsedArguments

    Parser.parse_unpatched, Parser.parse = Parser.parse, parse  # type: ignore[attr-defined, method-assign, assignment]
    try:
        importlib.import_module(f"darkroom.cli.{name}").main(arguments)
    except ParsedArguments:
        return None
    except Exception as error:
        return str(error)
    finally:
        Parser.parse = Parser.parse_unpatched  # type: ignore[attr-defined, method-assign]
        del Parser.parse_unpatched  # type: ignore[attr-defined]
    return f"{name} did not read its arguments by Parser.parse"


@pytest.mark.parametrize(("page", "command"), LINES)
def test_commands_that_are_shown_exist(page: str, command: str) -> None:
    assert command_fault(command) is None, page


@pytest.mark.parametrize(
    "command",
    [
        "dvc exp rum -S train.lr=0.1",
        "dvc plots show --opne",
        "make reprp",
        "./darkroom predikt photo.jpg",
        "./darkroom find lr --step 5",
        "./darkroom repeat",
        "python src/tune.py",
        "darkrom doctor",
    ],
)
def test_a_wrong_command_is_seen(command: str) -> None:
    assert command_fault(command)


def test_every_page_is_run_or_holds_only_what_says_why_not() -> None:
    """run_lines runs PAGES; commands of any other page would be run by nobody."""
    elsewhere = {page for page, _ in LINES} - set(run_lines.PAGES)
    # CONTRIBUTING's are CI's own, and those of the tour are the pages' it refers to.
    assert elsewhere <= {"CONTRIBUTING.md", "docs/tour.md"}
    assert all((ROOT / page).is_file() for page in run_lines.PAGES)


def test_marks_are_those_that_run_lines_knows() -> None:
    known = r"<!-- (independent lines|in order|new clone|not run: .+|Made by .+) -->"
    for page in PAGES:
        for mark in re.findall(r"<!--.*?-->", re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8"))):
            assert re.fullmatch(known, mark), f"{shown(page)}: {mark}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line).lower()).replace(" ", "-") for line in headings}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if shown(target) in GENERATED and not target.exists():
            continue
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    written = run_lines.files_of(text)
    text = re.sub(r"\]\([^)]+\)", "", text)  # links, which are relative to the page: the test above
    for name in re.findall(r"(?<![\w/.-])((?:src|tests|tools|conf|benchmarks|docs)/[\w/.-]*\w(?:\.\w+)?)", text):
        if name not in written and not re.match(r"docs/(?:tour|third-party-licences)\.md", name):
            assert (ROOT / name).exists() or (ROOT / f"{name}.py").exists(), name


def test_the_page_of_parameters_is_current() -> None:
    assert parameters_table.PAGE.read_text(encoding="utf-8") == parameters_table.page(), "run: make generated"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("key", "example"), parameters_table.EXAMPLES.items(), ids=parameters_table.EXAMPLES)
def test_examples_of_parameters_are_accepted(key: str, example: str, tmp_path: Path) -> None:
    assert re.search(rf"{re.escape(key)}\b", example)
    assert settings_fault(f"dvc exp run {example}", tmp_path) is None


def test_the_page_of_commands_has_every_command_and_flag() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for path in (*COMMANDS.glob("[a-z]*.py"), *(each.parent for each in COMMANDS.glob("*/__init__.py"))):
        row = re.search(rf"^\| `{path.stem}.*$", page, re.MULTILINE)
        assert row, path.stem
        code = "".join(each.read_text(encoding="utf-8") for each in (path.glob("*.py") if path.is_dir() else [path]))
        flags = re.findall(r"add_(?:argument|output)\(\s*\"(-[^\"]+)\"", code)
        assert [flag for flag in flags if flag not in row[0]] == [], path.stem


def test_every_stage_and_section_has_a_heading() -> None:
    page = (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(read_yaml(ROOT / "params.yaml"))
    outputs = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
    for name, stage in read_yaml(ROOT / "dvc.yaml")["stages"].items():
        assert f"| {name} |" in outputs or f"| {name}@FORMAT |" in outputs
        for path in outputs_of(stage.get("do", stage)):
            assert path.replace("${item}", "FORMAT") in outputs, path


def test_the_documentation_s_index_has_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert [page.name for page in ROOT.glob("docs/*.md") if page.name != "README.md" and f"({page.name})" not in index] == []


def test_the_readme_is_short_and_its_images_small() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    assert len((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines()) <= 60
    images = [ROOT / path for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme)]
    assert len(images) == 2
    assert sum(path.stat().st_size for path in images) <= 300 * 1024


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", pytest.param("docs/sharing.md", marks=pytest.mark.thorough)])
def test_commands_run(page: str, finished: Finished, tmp_path: Path) -> None:
    clones = run_lines.Clones(tmp_path, warm_bin(), finished.clone.path)
    outcomes = list(run_lines.run_page(clones, (ROOT / page).read_text(encoding="utf-8")))
    assert len(outcomes) >= 5
    for line, _, done in outcomes:
        assert done.returncode == 0, f"{line.text}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
