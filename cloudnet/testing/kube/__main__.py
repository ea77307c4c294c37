"""The stand-in API server as a program, until SIGTERM: ``python -m cloudnet.testing.kube --host 10.0.255.1``."""

from __future__ import annotations

import argparse
import signal
import sys

from cloudnet.testing.kube.server import ApiServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="cloudnet.testing.kube", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at")
    parser.add_argument("--port", type=int, default=6443, help="the port to listen at")
    parser.add_argument("--token", default="", help="who does not bring this bearer token is refused")
    wanted = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS)  # threads inherit it: only we hear of the end
    with ApiServer(host=wanted.host, port=wanted.port) as api:
        if wanted.token:
            api.faults.tokens.add(wanted.token)
        signal.sigwait(_ENDINGS)
    return 0


_ENDINGS = {signal.SIGTERM, signal.SIGINT}


if __name__ == "__main__":
    sys.exit(main())
