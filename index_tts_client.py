"""The client under the name that users of the forks know; the same as ``indextts-client``."""

import sys

from client.cli import main

if __name__ == "__main__":
    sys.exit(main())
