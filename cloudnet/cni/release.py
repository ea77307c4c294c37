"""Give back what a container had in the store: its endpoint and its addresses, together, and whatever is in the way.

A store that does not answer holds up no DEL: the pod is gone, so what is left to do is noted in the journal and done
when the store is back. Nothing is lost by that but time.
"""

from __future__ import annotations

import logging

import msgspec

from cloudnet.cni import journal, netconf
from cloudnet.cni.addresses import Source
from cloudnet.cni.identity import Identity
from cloudnet.cni.site import Site
from cloudnet.cni.wire import CniError, Code, Command, Environment
from cloudnet.errors import CloudnetError
from cloudnet.kernel.pods import Owner
from cloudnet.model.workloads import CNI, WorkloadEndpoint
from cloudnet.store.api import Conflict, Delete, NotFound, StoreUnavailable, Write

log = logging.getLogger(__name__)

_TRIES = 10  # of a deletion that others' writes overtook
_LONGEST = 256 << 10  # bytes of a configuration that the journal keeps


def release(site: Site, identity: Identity, source: Source) -> None:
    """Free a container's addresses and delete its endpoint, unless that is another container's by now.

    Raises:
        StoreUnavailable: the store does not answer.
        CloudnetError: an IPAM plugin failed.
    """
    for attempt in range(_TRIES):
        try:
            source.take_back(identity, _deletion(site, identity))
        except (Conflict, NotFound):
            if attempt == _TRIES - 1:
                raise
        else:
            return


def _deletion(site: Site, identity: Identity) -> tuple[Write, ...]:
    try:
        seen = site.store.get(WorkloadEndpoint, identity.name, identity.namespace)
    except NotFound:
        return ()
    if seen.value.container_id != identity.owner.container:
        return ()
    site.gate.dismiss(seen.value)
    return (Delete(WorkloadEndpoint, identity.name, identity.namespace, seen.revision),)


def release_or_note(site: Site, identity: Identity, source: Source, note: journal.Release) -> None:
    """Do it now, or note durably that it is to be done.

    Raises:
        CniError: neither was possible (code 11): ask again.
    """
    try:
        release(site, identity, source)
    except (StoreUnavailable, Conflict) as e:
        try:
            site.journal.add(note)
        except OSError as problem:
            raise CniError(
                Code.TRY_AGAIN, f"the store does not answer ({e}), and the release cannot be noted: {problem}"
            ) from e
        log.warning("noted what is to be released container=%s reason=%r", identity.owner.container, str(e))
    else:
        site.journal.done(identity.handle)


def note(identity: Identity, environment: Environment, conf: netconf.NetConf, data: bytes = b"") -> journal.Release:
    """Return what the journal has to know of a container; its configuration only where a plugin needs it again."""
    data = data or msgspec.json.encode(dict(conf.document))
    keeps = conf.ipam.delegated and len(data) <= _LONGEST
    return journal.Release(
        link=identity.link,
        handle=identity.handle,
        endpoint=identity.name,
        namespace=identity.namespace,
        network=identity.owner.network,
        container=identity.owner.container,
        interface=identity.owner.interface,
        configuration=data.decode() if keeps else "",
        netns=environment.netns if keeps else "",
        path=environment.path if keeps else (),
        args=dict(environment.args) if keeps else {},
    )


def finish(site: Site, handle: str) -> None:
    """Do what the journal has for a handle, if anything; the caller holds the link's lock.

    Raises:
        CloudnetError: it cannot be done yet.
    """
    pending = site.journal.find(handle)
    if pending is None:
        return
    owner = Owner(pending.network, pending.container, pending.interface)
    identity = Identity(CNI, pending.namespace, "", owner, pending.endpoint, pending.link, pending.handle)
    environment = Environment(pending.container, pending.netns, pending.interface, pending.args, pending.path)
    if pending.configuration:
        conf = netconf.parse(pending.configuration.encode(), Command.DEL)
        source = site.source(conf, environment)
    else:
        source = site.blocks()
    release(site, identity, source)
    site.journal.done(handle)
    log.info("released what was noted container=%s", pending.container)


def finish_all(site: Site) -> None:
    """Do all that the journal has; what cannot be done yet stays."""
    for pending in site.journal.all():
        try:
            with site.locks.holding(pending.link):
                finish(site, pending.handle)
        except CloudnetError as e:
            log.debug("cannot release yet container=%s reason=%r", pending.container, str(e))
