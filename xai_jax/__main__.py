"""`python -m xai_jax COMMAND`: explain photographs, test concepts, list networks."""

import shlex
import sys

from xai_jax.cli import concepts, explain, models
from xai_jax.cli.common import LONGEST, Parser
from xai_jax.core.allocation import keep_freed_memory
from xai_jax.core.messages import excerpt
from xai_jax.io.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns the exit status: 2, and one line on standard error, for a user's mistake."""
    parser = Parser(prog="python -m xai_jax", description="Explain, visualise and invert image networks.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (explain, concepts, models):
        command.add(commands)
    words = sys.argv[1:] if arguments is None else arguments
    chosen = parser.parse_args(words)
    chosen.command = shlex.join(["python", "-m", "xai_jax", *words])
    keep_freed_memory()
    try:
        return chosen.run(chosen)
    except UserError as error:
        print(f"{parser.prog}: {excerpt(error, LONGEST)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
