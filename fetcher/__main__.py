"""`python -m fetcher` is the `fetcher` command."""

from fetcher.cli.main import main

if __name__ == "__main__":
    main()
