# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a compiler does not hold: who may include whom, and names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("include", "kit", "core", "backends", "cli", "tests")
LINES_MAX = 600

# Which parts of the tree the sources of a part may include; all may use the contract.
MAY_INCLUDE = {
    "include": (),
    "kit": ("kit",),
    "core": ("core", "kit"),
    "backends": ("kit",),
    "cli": ("cli", "core", "kit"),
}
LIBRARY_HEADERS = re.compile(
    r"(librdkafka|rabbitmq-c|amqp|proton|hiredis|libconfig|openssl|cmocka)\b")
LIBRARIES_OF = {
    "include": (),
    "kit": ("openssl",),
    "core": ("libconfig",),
    "cli": ("libconfig",),
}
PLATFORMS = re.compile(r"kafka|amqp|rabbit|redis|artemis|qpid", re.IGNORECASE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|(\"(?:\\.|[^\"\\\n])*\")", re.DOTALL)


def sources(*folders, suffixes=(".c", ".h")):
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))
            if path.suffix in suffixes and path.is_file()]


def name(path):
    return str(path.relative_to(ROOT))


def part_of(path):
    return path.relative_to(ROOT).parts[0]


def without_comments(text):
    return COMMENT.sub(lambda match: match[1] or "", text)


def includes(path):
    return re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("part", MAY_INCLUDE)
def test_includes_point_one_way(part):
    wrong = [f"{name(path)} includes {header}" for path in sources(part)
             for header in includes(path)
             if header.split("/")[0] in MAY_INCLUDE
             and header.split("/")[0] not in MAY_INCLUDE[part]]
    assert wrong == []


def test_a_backend_includes_no_other_backend():
    wrong = []
    for path in sources("backends"):
        own = path.relative_to(ROOT / "backends").parts[0]
        others = {folder.name for folder in (ROOT / "backends").iterdir()} - {own}
        wrong += [f"{name(path)} includes {header}" for header in includes(path)
                  if others & set(Path(header).parts[:-1])]
    assert wrong == []


@pytest.mark.parametrize("part", LIBRARIES_OF)
def test_libraries_stay_where_they_belong(part):
    wrong = [f"{name(path)} includes {header}" for path in sources(part)
             for header in includes(path)
             if (library := LIBRARY_HEADERS.match(header))
             and library[1] not in LIBRARIES_OF[part]]
    assert wrong == []


def test_core_knows_no_platform():
    wrong = [f"{name(path)}: {match[0]}" for path in sources("core")
             for match in PLATFORMS.finditer(without_comments(path.read_text()))]
    assert wrong == []


def test_every_source_names_its_licence():
    wrong = [name(path) for path in sources(*FOLDERS, suffixes=(".c", ".h", ".py"))
             if not any("SPDX-License-Identifier: Apache-2.0" in line
                        for line in path.read_text().splitlines()[:2])]
    assert wrong == []


def test_files_stay_readable():
    wrong = [f"{name(path)}: {count} lines"
             for path in sources(*FOLDERS, suffixes=(".c", ".h", ".py"))
             if (count := path.read_text().count("\n")) > LINES_MAX]
    assert wrong == []


def test_nothing_is_left_for_later():
    marks = re.compile("|".join(("TO" + "DO", "FIX" + "ME")))
    wrong = [f"{name(path)}: {match[0]}"
             for path in sources(*FOLDERS, suffixes=(".c", ".h", ".py"))
             for match in marks.finditer(path.read_text())]
    assert wrong == []


def test_the_rules_see_what_they_forbid():
    assert without_comments('a /* kafka */ b // redis\n"/* kafka */"') == 'a  b \n"/* kafka */"'
    assert LIBRARY_HEADERS.match("librdkafka/rdkafka.h") and LIBRARY_HEADERS.match("amqp.h")
    assert not LIBRARY_HEADERS.match("mbridge/backend.h")
