"""`python -m experiments`: see `experiments.cli`."""

import os

os.environ.setdefault(
    "GIT_PYTHON_REFRESH", "quiet"
)  # without git, GitPython would end here and doctor could not say so

from experiments.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
