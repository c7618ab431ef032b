"""The parser of one command."""

from __future__ import annotations

import argparse


def new_command(
    commands: argparse._SubParsersAction, name: str, about: str, more: str
) -> argparse.ArgumentParser:
    """The parser of one command; the first sentence of `about` stands in `gtnet --help`."""
    return commands.add_parser(
        name,
        help=about.partition(":")[0].partition(". ")[0].replace("\n", " ").rstrip("."),
        description=about,
        epilog=more,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
