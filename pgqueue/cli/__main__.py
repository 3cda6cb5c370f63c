"""``python -m pgqueue.cli``, for those who have the package and not its command."""

from pgqueue.cli.program import main

main()
