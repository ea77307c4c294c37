"""``cloudnet get``, ``apply`` and the like: every kind of resource, on every store, with the habits of calicoctl."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import typer

from cloudnet.cli import ask, exits, kind_names, output, resource_input, resource_view, resource_write
from cloudnet.cli.resource_input import Bad, Given
from cloudnet.cli.resource_write import Result, Verb, Way
from cloudnet.errors import BadInput, CloudnetError
from cloudnet.model import kinds, manifests, patches
from cloudnet.model.patches import PatchType
from cloudnet.model.resources import Metadata, Resource
from cloudnet.store import documents
from cloudnet.store.api import NotFound, Store, Stored

STORE = "sqlite:///var/lib/cloudnet/store.sqlite"


def _kinds(incomplete: str) -> list[str]:
    return [word for word in kind_names.every_word() if word.startswith(incomplete)]


def _names(context: typer.Context, incomplete: str) -> list[str]:
    """Return names of resources for completion; a store that does not answer completes nothing."""
    try:
        kind = kind_names.find(str(context.params.get("kind") or ""))
        with ask.store(str(context.params.get("store") or STORE)) as opened:
            found = [stored.value.meta.name for stored in opened.list(kind.type).items]
    except CloudnetError:
        return []
    return [name for name in found if name.startswith(incomplete)]


Kind = Annotated[str, typer.Argument(metavar="KIND", help="node, ippools, gnp…", autocompletion=_kinds)]
MaybeKind = Annotated[str, typer.Argument(metavar="[KIND]", help="node, ippools, gnp…", autocompletion=_kinds)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="of the resource", autocompletion=_names)]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="of resources", autocompletion=_names)]
Files = Annotated[
    list[str] | None,
    typer.Option("--file", "--filename", "-f", help="YAML or JSON: file, folder of them, or - for standard input"),
]
Namespace = Annotated[
    str, typer.Option("--namespace", "-n", envvar="CLOUDNET_NAMESPACE", help="where none is named [default: default]")
]
AllNamespaces = Annotated[bool, typer.Option("--all-namespaces", "-A", "-a", help="resources of every namespace")]
Where = Annotated[str, typer.Option("--store", envvar="CLOUDNET_STORE", help="where the cluster's resources are")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="say what would become of each document, and change nothing")]
Form = Annotated[
    str,
    typer.Option("--output", "-o", help="table, wide, yaml, json, name, or custom-columns=NAME,CIDR:.spec.cidr"),
]


# --- reading ----------------------------------------------------------------------------------------------------


def get(
    kind: MaybeKind = "",
    names: Names = None,
    *,
    file: Files = None,
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    export: Annotated[bool, typer.Option("--export", help="leave out what belongs to this store alone")] = False,
    store: Where = STORE,
    form: Form = "table",
) -> None:
    """Show resources: all of some kinds (``nodes,ippools``), some by name, or those that documents name.

    What ``-o yaml`` prints can be applied again: with its resourceVersion only while nobody else has changed the
    resource, with ``--export`` to any store.
    """
    form = resource_view.check(form)
    word, wanted = kind_names.split(kind, list(names or ()))
    with ask.store(store) as opened:
        found, results = (
            _named_in(opened, resource_input.read(file, namespace=namespace))
            if file
            else _found(opened, word, wanted, namespace=namespace, everywhere=all_namespaces)
        )
    one = len(found) == 1 and (len(wanted) == 1 or bool(file))
    if found or not results:
        resource_view.show(found, form, one=one, namespaces=all_namespaces, export=export)
    _end(results)


def _found(
    store: Store, words: str, names: Sequence[str], *, namespace: str, everywhere: bool
) -> tuple[list[Stored[Resource]], list[Result]]:
    found: list[Stored[Resource]] = []
    results = []
    for kind in kind_names.find_all(words):
        space = (namespace or resource_input.DEFAULT_NAMESPACE) if kind.namespaced else ""
        if not names:
            listing = documents.list_all(store, kind.type, None if everywhere else space or None)
            found += listing.items
            results += [_unreadable(kind, *place, problem) for place, problem in listing.unreadable.items()]
        for name in names:
            try:
                found.append(documents.get(store, kind.type, name, space))
            except CloudnetError as error:
                results.append(resource_write.failed(f"{kind.name.lower()}/{name}", error))
    return found, results


def _unreadable(kind: kinds.Kind[Any], namespace: str, name: str, problem: str) -> Result:
    where = f" in {namespace}" if namespace else ""
    return Result(
        f"{kind.name.lower()}/{name}{where}", "failed", f"makes no sense as it is stored: {problem}", exits.FAILED
    )


def _named_in(store: Store, given: Iterable[Given | Bad]) -> tuple[list[Stored[Resource]], list[Result]]:
    found: list[Stored[Resource]] = []
    results = []
    for one in given:
        try:
            if isinstance(one, Bad):
                raise one.error
            meta = one.value.meta
            found.append(documents.get(store, type(one.value), meta.name, meta.namespace))
        except CloudnetError as error:
            results.append(resource_write.failed(one.title, error))
    return found, results


def describe(
    kind: Kind,
    names: Names = None,
    *,
    namespace: Namespace = "",
    all_namespaces: AllNamespaces = False,
    store: Where = STORE,
) -> None:
    """Tell all of a resource in plain words, and what hangs together with it: a pool's blocks, a node's routes."""
    from cloudnet.cli import describe as words  # noqa: PLC0415 - what hangs together is for those who ask

    word, wanted = kind_names.split(kind, list(names or ()))
    with ask.store(store) as opened:
        found, results = _found(opened, word, wanted, namespace=namespace, everywhere=all_namespaces)
        for i, stored in enumerate(found):
            typer.echo(("\n" if i else "") + "\n".join(words.lines(stored, opened)))
    if not found and not results:
        typer.echo("none")
    _end(results)


# --- writing ----------------------------------------------------------------------------------------------------


def apply(
    *,
    file: Files = None,
    namespace: Namespace = "",
    dry_run: DryRun = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Create what is not there yet, and replace what is. A document that is right already is left alone.

    Goes on after a document that fails, and says what became of each.
    """
    _write(_needed(file), Way(Verb.APPLY, dry=dry_run), namespace=namespace, store=store, form=form)


def create(
    *,
    file: Files = None,
    skip_exists: Annotated[bool, typer.Option("--skip-exists", help="pass over what is there already")] = False,
    namespace: Namespace = "",
    dry_run: DryRun = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Create resources; what exists already is refused. Goes on after a document that fails."""
    way = Way(Verb.CREATE, dry=dry_run, skip=skip_exists)
    _write(_needed(file), way, namespace=namespace, store=store, form=form)


def replace(
    *,
    file: Files = None,
    namespace: Namespace = "",
    dry_run: DryRun = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Replace resources that exist, whole. Goes on after a document that fails.

    A document with a resourceVersion is refused when somebody else has changed the resource since.
    """
    _write(_needed(file), Way(Verb.REPLACE, dry=dry_run), namespace=namespace, store=store, form=form)


def delete(
    kind: MaybeKind = "",
    names: Names = None,
    *,
    file: Files = None,
    skip_not_exists: Annotated[bool, typer.Option("--skip-not-exists", help="pass over what is not there")] = False,
    namespace: Namespace = "",
    dry_run: DryRun = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Remove resources, by kind and name or as documents name them. Goes on after one that fails."""
    way = Way(Verb.DELETE, dry=dry_run, skip=skip_not_exists)
    if file:
        _write(file, way, namespace=namespace, store=store, form=form)
        return
    word, wanted = kind_names.split(kind, list(names or ()))
    found = kind_names.find(word)
    if not wanted:
        raise BadInput("missing, and needed: nothing is deleted for its kind alone", path="NAME")
    space = (namespace or resource_input.DEFAULT_NAMESPACE) if found.namespaced else ""
    with ask.store(store) as opened:
        results = [_delete(opened, found, Metadata(name, space), way) for name in wanted]
    _report(results, form, dry=dry_run)


def _delete(store: Store, kind: kinds.Kind[Any], meta: Metadata, way: Way) -> Result:  # Any: kinds.of says so
    title = f"{kind.name.lower()}/{meta.name}{f' in {meta.namespace}' if meta.namespace else ''}"
    try:
        if way.dry:
            store.get(kind.type, meta.name, meta.namespace)
        else:
            store.delete(kind.type, meta.name, meta.namespace)
    except NotFound as error:
        return Result(title, "skipped, for there is none") if way.skip else resource_write.failed(title, error)
    except CloudnetError as error:
        return resource_write.failed(title, error)
    return Result(title, "deleted")


def patch(
    kind: Kind,
    name: Name,
    *,
    text: Annotated[str, typer.Option("--patch", "-p", help="what to change, in YAML or JSON; - is stdin")],
    type_: Annotated[
        PatchType, typer.Option("--type", "-t", help="a merge, or the operations of a JSON patch")
    ] = PatchType.STRATEGIC,
    namespace: Namespace = "",
    dry_run: DryRun = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Change fields of one resource; null removes one. A strategic merge is a merge: lists are replaced whole."""
    change = _one_document(text)

    def edit(value: Resource) -> Resource:
        changed = patches.apply(json.loads(value.meta.document), change, type_)
        return resource_input.changed_to(value, changed)

    _change(kind, name, edit, namespace=namespace, dry=dry_run, store=store, form=form)


def label(
    kind: Kind,
    name: Name,
    labels: Annotated[list[str], typer.Argument(metavar="LABEL...", help="key=value sets, key- removes")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="change labels that have another value")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="remove the labels of these keys")] = False,
    namespace: Namespace = "",
    dry_run: DryRun = False,
    store: Where = STORE,
    form: output.Output = output.Format.TABLE,
) -> None:
    """Set or remove labels of one resource; a label that has another value is left alone without ``--overwrite``."""
    wanted = _labels(labels, remove=remove)

    def edit(value: Resource) -> Resource:
        for key, new in wanted.items():
            old = value.meta.labels.get(key)
            if None not in (old, new) and old != new and not overwrite:
                raise BadInput(f"is {old!r} already: say --overwrite to make it {new!r}", path=f"label {key}")
        document = patches.merge(json.loads(value.meta.document), {"metadata": {"labels": wanted}})
        return resource_input.changed_to(value, document)

    _change(kind, name, edit, namespace=namespace, dry=dry_run, store=store, form=form)


def _labels(words: Sequence[str], *, remove: bool) -> dict[str, str | None]:
    """Return new values by key, nothing for a label that is to go."""
    found: dict[str, str | None] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if remove or (not equals and word.endswith("-")):
            found[word.removesuffix("-") if not remove else key] = None
        elif equals:
            found[key] = value
        else:
            raise BadInput(f"expected key=value or key-, found {word!r}", path="LABEL")
    return found


# --- what they share --------------------------------------------------------------------------------------------


def _needed(files: Sequence[str] | None) -> Sequence[str]:
    if not files:
        raise BadInput("missing, and needed: files, folders, or - for standard input", path="--file")
    return files


def _one_document(text: str) -> Any:  # Any: a patch
    origin = "--patch"
    if text == "-":
        import sys  # noqa: PLC0415 - for this alone

        text = sys.stdin.read()
    found = manifests.load_all(text, origin)
    if len(found) != 1:
        raise BadInput(f"expected one document, found {len(found)}", path=origin)
    return found[0]


def _write(files: Sequence[str], way: Way, *, namespace: str, store: str, form: output.Format) -> None:
    given = resource_input.read(files, namespace=namespace)
    with ask.store(store, make=way.verb in {Verb.APPLY, Verb.CREATE} and not way.dry) as opened:
        results = list(resource_write.carry_out(opened, given, way))
    _report(results, form, dry=way.dry)


def _change(
    kind: str, name: str, edit: Any, *, namespace: str, dry: bool, store: str, form: output.Format
) -> None:  # Any: a pure function from resource to resource
    found = kind_names.find(kind)
    space = (namespace or resource_input.DEFAULT_NAMESPACE) if found.namespaced else ""
    with ask.store(store) as opened:
        done = resource_write.change(opened, found.type, name, edit, namespace=space, dry=dry)
    _report([Result(f"{found.name.lower()}/{name}{f' in {space}' if space else ''}", done)], form, dry=dry)


def _report(results: Sequence[Result], form: output.Format, *, dry: bool) -> None:
    if form is output.Format.JSON:
        output.print_json({"results": results, "dry_run": dry})
        _end(results, silent=True)
    for line in _lines(results, dry=dry):
        typer.echo(line)
    _end(results)


def _lines(results: Sequence[Result], *, dry: bool) -> Iterator[str]:
    note = " (dry run)" if dry else ""
    for one in results:
        if not one.failed:
            yield f"{one.resource} {one.result}{note}" + (f"; {one.message}" if one.message else "")
    if len(results) > 1:
        bad = sum(one.failed for one in results)
        yield f"{len(results)} documents, {bad or 'none'} failed{note}"


def _end(results: Sequence[Result], *, silent: bool = False) -> None:
    """Say what failed, and leave with the exit code that the errors have in common."""
    bad = [one for one in results if one.failed]
    for one in [] if silent else bad:
        typer.echo(f"error: {one.resource}: {one.message}", err=True)
    if bad or silent:
        raise typer.Exit(exits.of_all(one.code for one in bad))
