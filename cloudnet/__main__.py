"""``python -m cloudnet``: the command line, where the ``cloudnet`` program is not on the path."""

from cloudnet.cli.main import main

if __name__ == "__main__":
    main()
