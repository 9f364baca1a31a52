"""The command line; only main.py and given.py are loaded before a command is known."""
