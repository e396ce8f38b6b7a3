"""``python -m etsearch`` is ``ets``."""

from etsearch.cli.main import main

main()
