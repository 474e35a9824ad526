"""`python -m spanfold.cli`: how the supervisor starts the parts."""

from spanfold.cli import main

main()
