"""Entry point of `python -m experiments`; the commands are in `experiments.cli.app`."""

import os

# Without git, importing GitPython would fail here, and doctor could not report the missing program.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

from experiments.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main()
