"""`python -m core.engine WORKSPACE`: the detached engine, as `core.engine.client` starts it."""

import sys
from pathlib import Path

from core.engine.host import serve_detached
from core.errors import UserError
from core.workspace import open_workspace

if __name__ == "__main__":
    try:
        serve_detached(open_workspace(Path(sys.argv[1])))
    except UserError as error:
        sys.exit(f"dpotui engine: {error}")
