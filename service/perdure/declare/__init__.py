"""What users write: kinds, handlers, the builder, and the context that a handler is given.

Nothing in this room touches a database. A context is handed its abilities as a port, so it is the
same on the event loop, in a thread, in a child process and in a test; the builder is handed the
function that wires a service, so declarations know no runtime.

- `kind`: `TaskKind` and `NewTask`, values that producers import without handlers.
- `definition`, `handlers`, `annotations`: what a task is once it has been declared.
- `builder`, `registry`: from declarations to definitions; every mistake is reported at once.
- `machine`: a handler made of one for each state.
- `context`, with `state`, `memory`, `steps` and `stop`: one run, as its handler sees it.

**Which execution metadata is saved.** A run keeps one picture of its execution metadata, and every
write takes the newest picture while it holds the run's lock, which is let go only after the commit:
a checkpoint can not overtake a newer one. While `context.transaction()` is open, the model shows
work that may yet be rolled back. So what else is saved in that time (a step) is saved with the
model as it was at the entry, and a plain checkpoint is refused.
"""
