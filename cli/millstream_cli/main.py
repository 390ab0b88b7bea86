"""`millstream`: look into a model store, make ways in it shorter, take away what nobody needs.

    millstream versions --model shop
    millstream compact  --model shop
    millstream collect  --model shop --dry-run
    millstream tables   --model shop --table item
    millstream erase    --model shop --table user --key 4711
    millstream replay   requests.jsonl --url http://shop

Where the store is comes from options or from MILLSTREAM_STORE_ENDPOINT, _REGION, _BUCKET and
_PREFIX; credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Exit status: 0 when done,
1 when the store did not do its part, 2 for a command that makes no sense.
"""

from __future__ import annotations

import logging

import click

from millstream_cli.erasing import erase
from millstream_cli.replay.command import replay
from millstream_cli.tables.command import tables
from millstream_cli.upkeep import collect, compact, maintain
from millstream_cli.versions import versions
from millstream_core.kernels import bring_kernels


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--verbose", is_flag=True, help="Say what is being done.")
def millstream(*, verbose: bool) -> None:
    """Look after the model store of millstream, and ask its servers again."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(message)s",
    )


for _command in (versions, tables, compact, collect, maintain, erase, replay):
    millstream.add_command(_command)


def main() -> None:
    """The entry point."""
    bring_kernels()
    millstream()


if __name__ == "__main__":
    main()
