"""One byte there, one byte back, over TCP: the time that a program waits for an answer. Run inside namespaces.

requests_and_answers.py answer ADDRESS         answer one connection until it ends
requests_and_answers.py ask ADDRESS NUMBER     print the median of so many round trips, in seconds

Both run on one core: on two, it depends on the scheduler's mood whether a sleeping core has to be woken for each
byte, which takes longer than the whole way there and back.
"""

from __future__ import annotations

import gc
import os
import socket
import statistics
import sys
import time

PORT = 5202


def answer(address: str) -> None:
    with socket.create_server((address, PORT)) as listening:
        asked, _ = listening.accept()
        with asked:
            asked.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while byte := asked.recv(1):
                asked.send(byte)


def ask(address: str, number: int) -> float:
    gc.disable()
    with socket.create_connection((address, PORT)) as asking:
        asking.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(number):
            begun = time.perf_counter_ns()
            asking.send(b".")
            asking.recv(1)
            times.append(time.perf_counter_ns() - begun)
    return statistics.median(times) / 1e9


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if sys.argv[1] == "answer":
        answer(sys.argv[2])
    else:
        sys.stdout.write(f"{ask(sys.argv[2], int(sys.argv[3]))}\n")
