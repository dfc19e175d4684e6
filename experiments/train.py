"""Run ``edge-marl train`` where its command is not at hand, in either of two ways:

- ``python -m edge_marl.experiments.train ...`` runs in a copy of the project's folder, which is
  what ``ray job submit --working-dir .`` makes;
- ``python experiments/train.py ...`` runs in a checkout, and where ``ray submit`` copies this file
  alone to a machine that has the project installed.
"""

import sys
from pathlib import Path

if not __package__:
    # Python has put this file's folder first, where modules such as `statistics` would be taken
    # for those of the standard library.
    _root = Path(__file__).resolve().parent.parent
    sys.path[:1] = [str(_root)] if (_root / "edge_marl" / "__init__.py").is_file() else []


def main() -> None:
    """Run ``edge-marl train`` with the arguments of this process."""
    from edge_marl.experiments import cli

    sys.argv[:1] = ["edge-marl", "train"]
    cli.main()


if __name__ == "__main__":
    main()
