"""DEL: cut the link, free what the store holds. Whatever is gone already is no error; the store may even be away."""

from __future__ import annotations

from cloudnet.cni import release
from cloudnet.cni.site import Request, Site


def delete(site: Site, request: Request, data: bytes) -> bytes:
    """Detach a container; ``data`` is the configuration as it came.

    Raises:
        CloudnetError: it cannot be: ask again.
    """
    identity = site.identify(request)
    source = site.source(request.conf, request.environment)
    note = release.note(identity, request.environment, request.conf, data)
    with site.locks.holding(identity.link):
        site.pods.cut(identity.link, identity.owner)
        release.release_or_note(site, identity, source, note)
    return b""
