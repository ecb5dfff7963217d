"""`python -m naru` is `naru`."""

from naru.cli.main import main

main()
