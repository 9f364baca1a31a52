"""A PostgreSQL of our own for demo, up and tests: found, made, started and stopped; also as root.

Every server has a *run folder* in the folder for temporary files: its lock, log, socket and, unless
a kept data folder was named, its data. The lock belongs to the Python process that owns the server,
so that the next start anywhere can tell the run folders nobody owns any more from those in use: it
ends the server left behind in such a folder, if there is one, and removes the folder.
"""

from perdure.embedded.server import EmbeddedServer

__all__ = ["EmbeddedServer"]
