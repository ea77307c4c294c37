"""Write the pages under docs/reference that follow from the code: commands, settings, metrics, errors.

``make reference`` writes them; ``--check`` changes nothing and fails when a page is not what the code says.
"""

from __future__ import annotations

import ast
import inspect
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from cloudnet import config
from cloudnet.cli import main as cli
from cloudnet.config import AgentConfig, ControllerConfig, Setting
from cloudnet.manifests import crds
from cloudnet.model import cluster_events, manifests

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
SOURCES = sorted([*(ROOT / "cloudnet").rglob("*.py"), *(ROOT / "providers").rglob("*.py")])

SETTINGS = """# Settings

A setting is taken from the first of:

1. the flag, `--probe-interval 0.2`;
2. the environment, `CLOUDNET_PROBE_INTERVAL=0.2`;
3. the settings files, `probe_interval: 0.2`: the one named with `--config` (or `CLOUDNET_CONFIG`), over
   `~/.config/cloudnet/config.yaml`, over `/etc/cloudnet/config.yaml`;
4. the default.

This order is the same for every command. A settings file is YAML, or TOML where its name ends in `.toml`, and serves
all programs: settings stand at its top, those of one program alone in a section `agent` or `controller`, which wins
over the top. Other commands take from its top whatever they would take from a variable: `store`, `socket` and
`namespace`; `cloudnet preflight`, which speaks of both programs, from their sections too.

    store: etcd://10.0.0.1:2379,10.0.0.2:2379
    agent:
      probe_interval: 0.2
    controller:
      provider: aws

A value of the wrong type or out of range, or an unknown name in the file, stops the program with one line that names
the setting and where it was found. Unknown variables that begin with `CLOUDNET_` are left alone, because Kubernetes
makes some for a service of that name. All times are seconds.

A store in etcd takes what it needs from the variables that Calico uses, too: `ETCD_ENDPOINTS` where the URL is just
`etcd://`, `ETCD_CA_CERT_FILE`, `ETCD_CERT_FILE` and `ETCD_KEY_FILE` for TLS, `ETCD_USERNAME` and `ETCD_PASSWORD`.

For a flag write the name with dashes; a switch also has its opposite, `--no-allow-host-network`. For a variable write
it in capitals after `CLOUDNET_`.

`CLOUDNET_DEBUG=1` shows the traceback of an error instead of its one line. A provider's own settings stand in the
JSON file that `provider_config` names.
"""

COMMANDS = """# Commands

Every command that prints takes `-o json` for programs; the names in it are those of the table. `cloudnet --help` and
`cloudnet COMMAND --help` say the same as this page. An error is one line on standard error, and the
[exit code](errors.md) tells its kind. What every command takes from flags, variables and files, and in which order,
stands under [settings](settings.md).

`cloudnet --install-completion` lets the shell (bash, zsh, fish) complete commands, options, kinds and the names of
resources; `cloudnet --show-completion` prints the script for it.
"""

METRICS = """# Metrics

Agent and controller serve these at `/metrics` for Prometheus, on the address of the setting `metrics`. Beside them
`/healthz` says whether the program works, and `/readyz` whether it has done its first round: 200 when so, 503 with
the reason when not.
"""

EVENTS = """# Events

On Kubernetes, controller and agents tell at a node or pod what happened there: `kubectl describe node NAME` and
`kubectl describe pod NAME` show it below, `kubectl get events -A` all of it. Each is one sentence with the cause and
the next step. What comes again is counted in the same event; one object gets ten at once and one a minute, a program
writes a hundred at once and two a second. An event that cannot be written is lost; the program's log has the same
sentence. On etcd and sqlite there is only the log.
"""

ERRORS = """# Errors and exit codes

An error that cloudnet raises on purpose names the thing, what is wrong and the next step, in one line. A program that
uses cloudnet as a library catches it by what it wants to do about it; everything here derives from `CloudnetError`.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | an error, told in one line; or a defect of ours, with its traceback |
| 2 | wrong input: an argument, a setting or a document |
| 3 | the host lacks a program, a right or a kernel feature |
| 4 | what was asked for is not there |
| 5 | it is there already, or somebody else wrote first |
| 6 | the store or the agent does not answer now: the same command may succeed later |
| 7 | `cloudnet preflight` found what stands in the way |

A command that goes on after an error, as those that take several documents do, ends with the code that all its errors
have, and with 1 where they differ.
"""


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = [name for name, text in pages().items() if not _same(PAGES / name, text)]
    for name in [] if check else stale:
        (PAGES / name).write_text(pages()[name])
    if stale:
        verb = "does not say what the code says: run 'make reference'" if check else "written"
        sys.stdout.write("".join(f"docs/reference/{name}: {verb}\n" for name in stale))
    return 1 if check and stale else 0


def pages() -> Mapping[str, str]:
    return {
        "settings.md": "\n".join([SETTINGS, *_settings()]),
        "cli.md": "\n".join([COMMANDS, *_commands()]),
        "metrics.md": "\n".join([METRICS, *_metrics()]),
        "errors.md": "\n".join([ERRORS, *_errors()]),
        "events.md": "\n".join([EVENTS, *_events()]),
        "crds.yaml": _definitions("cloudnet's own kinds", crds.own_crds()),
        "crds-calico.yaml": _definitions("Calico's kinds, for a cluster without Calico", crds.calico_crds()),
    }


def _definitions(title: str, documents: Sequence[Mapping[str, Any]]) -> str:
    head = (
        f"# CustomResourceDefinitions of {title}; written by scripts/reference.py, printed by `cloudnet manifests`.\n"
    )
    return head + "---\n".join(manifests.dump(one) for one in documents)


def _same(page: Path, text: str) -> bool:
    return page.exists() and page.read_text() == text


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


# --- settings ---------------------------------------------------------------------------------------------------


def _settings() -> Iterator[str]:
    programs = ("agent", config.settings(AgentConfig)), ("controller", config.settings(ControllerConfig))
    for name, known in programs:
        yield f"## `cloudnet {name}`\n"
        yield _table(
            ("setting", "type", "default", "meaning"),
            [(f"`{s.name}`", _type(s), _default(s), s.says.meaning) for s in known],
        )


def _type(setting: Setting) -> str:
    noun = {str: "text", int: "integer", float: "number", bool: "switch"}[setting.type]
    says = setting.says
    if says.choices:
        return f"{noun}: {', '.join(says.choices)}"
    if math.isfinite(says.high):
        return f"{noun}, {says.low:g} to {says.high:.0f}"
    return f"{noun}, at least {says.low:g}" if math.isfinite(says.low) else noun


def _default(setting: Setting) -> str:
    if setting.required:
        return "required"
    if isinstance(setting.default, bool):
        return "on" if setting.default else "off"
    return "empty" if setting.default == "" else f"`{setting.default}`"


# --- commands ---------------------------------------------------------------------------------------------------


def _commands() -> Iterator[str]:
    program: Any = typer.main.get_command(cli.build(lab=True))  # Any: see _walk
    program.load_all()
    for words, command in _walk(program, "cloudnet"):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join([words, *(p.name.upper() if p.required else f"[{p.name.upper()}]" for p in arguments)])
        yield f"## `{usage}`\n"
        yield inspect.cleandoc(command.help or "") + "\n"
        if words in {"cloudnet agent", "cloudnet controller"}:
            yield f"`--config FILE`, and a flag for each of its [settings](settings.md#{words.replace(' ', '-')}).\n"
            continue
        rows = [(f"`{p.name.upper()}`", p.help or "") for p in arguments]
        rows += [(_flags(p), p.help or "") for p in command.params if p.param_type_name == "option"]
        rows = [row for row in rows if "--help" not in row[0]]
        if rows:
            yield _table(("option", "meaning"), rows)


def _walk(command: Any, words: str) -> Iterator[tuple[str, Any]]:  # Any: typer brings its own copy of click or not
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _walk(inner, f"{words} {name}")
    else:
        yield words, command


def _flags(option: Any) -> str:  # Any: as above
    return ", ".join(f"`{flag}`" for flag in [*option.opts, *option.secondary_opts])


# --- metrics ----------------------------------------------------------------------------------------------------


def _metrics() -> Iterator[str]:
    for path in sorted((ROOT / "cloudnet").glob("*/metrics.py")):
        tree = ast.parse(path.read_text())
        rows = sorted(_metric(node) for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_metric(node))
        yield f"## `cloudnet {path.parent.name}`\n"
        yield _table(("metric", "kind", "labels", "meaning"), rows)


def _is_metric(call: ast.Call) -> bool:
    return _name(call.func) in {"Counter", "Gauge", "Histogram", "Summary"} and bool(call.args)


def _metric(call: ast.Call) -> tuple[str, ...]:
    kind = _name(call.func)
    name, meaning = (ast.literal_eval(argument) for argument in call.args[:2])
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    labels = named.get("labelnames", call.args[2] if len(call.args) > 2 else None)  # noqa: PLR2004 - third argument
    shown = ", ".join(f"`{label}`" for label in ast.literal_eval(labels)) if labels else ""
    suffix = "_total" if kind == "Counter" and not name.endswith("_total") else ""
    return f"`{name}{suffix}`", kind.lower(), shown, meaning


# --- events ---------------------------------------------------------------------------------------------------


def _events() -> Iterator[str]:
    for reporter in cluster_events.Reporter:
        yield f"## Of `cloudnet {reporter.name.lower()}`\n"
        yield _table(
            ("reason", "type", "at a", "what happened", "what to do"),
            [
                (f"`{r.name}`", r.severity.value, r.about, r.meaning, r.remedy)
                for r in cluster_events.ALL
                if r.reporter is reporter
            ],
        )


# --- errors -----------------------------------------------------------------------------------------------------


def _errors() -> Iterator[str]:
    found = _error_classes()
    yield "## All of them\n"
    yield _table(
        ("error", "is a", "meaning"),
        [(f"`{module}.{name}`", f"`{base}`", meaning) for module, name, base, meaning in found],
    )


def _error_classes() -> list[tuple[str, str, str, str]]:
    """Return module, name, base and meaning of all that derives from CloudnetError, found by the names of bases."""
    classes = [
        (_module(p), n) for p in SOURCES for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.ClassDef)
    ]
    known = {"CloudnetError"}
    while more := {n.name for _, n in classes if known.intersection(map(_name, n.bases))} - known:
        known |= more
    return [
        (module, node.name, next(b for b in map(_name, node.bases) if b in known), _first_line(node))
        for module, node in classes
        if known.intersection(map(_name, node.bases))
    ]


def _module(path: Path) -> str:
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[words[0] == "providers" :]).removesuffix(".__init__")


def _first_line(node: ast.ClassDef) -> str:
    return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split()).replace("``", "`")


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


if __name__ == "__main__":
    sys.exit(main())
