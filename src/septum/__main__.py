"""``python -m septum``."""

from septum.cli import main

main()
