import socket
import threading

import pytest


@pytest.fixture
def agent(tmp_path):
    """Answer one question at a socket with the given bytes; the question is kept."""
    running = []

    def listen(answer):
        path = tmp_path / "agent.sock"
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()
        questions = []

        def serve():
            connection, _ = server.accept()
            with connection:
                questions.append(connection.makefile("rb").readline())
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        running.append((server, thread))
        return str(path), questions

    yield listen
    for server, thread in running:
        thread.join(5)
        server.close()
