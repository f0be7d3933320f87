"""``python -m tamis.cli``: the command line without its installed script."""

from tamis.cli.app import program

if __name__ == "__main__":
    program()
