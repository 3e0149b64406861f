"""`python -m turnout_server` is `turnout`."""

from turnout_server.cli import main

if __name__ == "__main__":
    main()
