"""Entry of the console script ``indextts-client``: a helpful word when something is not installed.

The commands themselves are in ``client.commands``.
"""

from __future__ import annotations

import importlib.util
import sys

NEEDED = ("httpx", "rich", "typer", "websockets")
EXIT_MISSING = 4


def main() -> int:
    """Run the command line; ends with ``SystemExit`` or gives the exit code."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"indextts-client needs {', '.join(missing)}. Install with:\n"
            f"  {sys.executable} -m pip install {' '.join(missing)}",
            file=sys.stderr,
        )
        return EXIT_MISSING
    from client.commands import app

    app()
    return 0


if __name__ == "__main__":
    sys.exit(main())
