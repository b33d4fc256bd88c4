# SPDX-License-Identifier: Apache-2.0
"""What the documents say is checked: configurations, links, names of options, commands, counters."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from support.bridge import command, program

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def blocks(document, language):
    return [text for name, text in FENCE.findall(document.read_text()) if name == language]


def ids(documents):
    return [str(path.relative_to(ROOT)) for path in documents]


needs_program = pytest.mark.skipif(not Path(program()).exists(), reason="the bridge is not built")


@needs_program
def test_the_configuration_of_the_readme_is_right(tmp_path):
    (text,) = blocks(ROOT / "README.md", "libconfig")
    secret = tmp_path / "rabbit"
    secret.write_text("secret\n")
    secret.chmod(0o600)
    path = tmp_path / "shop.conf"
    path.write_text(text.replace("/run/secrets/rabbit", str(secret)))
    code, output, errors = command("check", path)
    assert code == 0, output + errors
    assert "warning" not in output + errors
    assert len([line for line in text.splitlines() if line.strip()]) <= 10


@needs_program
def test_whole_configurations_of_all_documents_are_right(tmp_path):
    wrong = []
    for document in DOCUMENTS:
        for text in blocks(document, "libconfig"):
            if document.name == "README.md" or "routes" not in text or "endpoints" not in text:
                continue
            path = tmp_path / "document.conf"
            path.write_text(text)
            code, output, errors = command("check", path)
            if code != 0:
                wrong.append(f"{document.name}: {output}{errors}")
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=ids(DOCUMENTS))
def test_links_lead_somewhere(document):
    missing = [target for target in LINK.findall(document.read_text())
               if "://" not in target and not target.startswith("#")
               and not (document.parent / target.split("#")[0]).exists()]
    assert missing == []


def test_files_that_the_documents_name_exist():
    pattern = re.compile(r"`((?:core|kit|include|cli|backends|tests|conf)/[\w./-]+)`")
    missing = [f"{document.name}: {name}" for document in DOCUMENTS
               for name in pattern.findall(document.read_text())
               if "<" not in name and not (ROOT / name).exists()]
    assert missing == []


@needs_program
def test_commands_of_the_documents_exist():
    overview = subprocess.run([program(), "help"], capture_output=True, text=True).stdout
    text = "".join(document.read_text() for document in DOCUMENTS)
    named = set(re.findall(r"mbridge (run|check|copy|backends|explain|status|top|tap|dlq)\b", text))
    assert named and all(f"mbridge {name}" in overview for name in named), named


@needs_program
def test_counters_of_the_document_are_those_of_the_program(tmp_path):
    path = tmp_path / "counters.conf"
    path.write_text("""bridge = { name = "counters"; };
endpoints = { m = { backend = "memory"; }; };
routes = ( { name = "orders"; from = { endpoint = "m"; generate = { count = 5; }; };
             to = { endpoint = "m"; stream = "out"; }; } );
""")
    code, output, errors = command("run", "--drain", path)
    assert code == 0, errors
    printed = json.loads(output)["routes"]["orders"]
    (shown,) = blocks(ROOT / "docs/operations.md", "json")
    documented = json.loads(shown.replace("\n", ""))["routes"]["orders"]
    assert set(documented) == set(printed)
    assert printed["received"] == printed["delivered"] == 5
    in_table = set(re.findall(r"`(\w+)`", (ROOT / "docs/operations.md").read_text()))
    assert set(printed) <= in_table


def test_the_example_of_counters_adds_up():
    (shown,) = blocks(ROOT / "docs/operations.md", "json")
    route = json.loads(shown.replace("\n", ""))["routes"]["orders"]
    assert route["received"] == sum(route[name] for name in (
        "delivered", "dead_lettered", "filtered", "released", "expired", "in_flight"))


def test_decisions_are_listed():
    folder = ROOT / "docs/adr"
    listed = set(re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}
    for path in folder.glob("[0-9]*.md"):
        headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Consequences"], path.name


def test_numbers_in_the_documents_are_those_of_the_tables():
    """Defaults that the documents repeat."""
    tables = (ROOT / "core/config/tables.c").read_text()

    def default(option):
        return re.search(rf'\.name = "{re.escape(option)}".*?\.default_text = "([^"]*)"', tables,
                         re.DOTALL)[1]
    architecture = (ROOT / "docs/architecture.md").read_text()
    assert f"`window.messages` ({int(default('window.messages')):,})" in architecture
    size = default("window.bytes").replace("MiB", " MiB")
    assert f"`window.bytes` ({size})" in architecture
    operations = (ROOT / "docs/operations.md").read_text()
    assert f"`stop_timeout` ({default('stop_timeout').replace('s', ' s')})" in operations
