"""`python -m freeml`."""

from freeml.cli import main

if __name__ == "__main__":
    main()
